//! Every error of the command, with the exit code that scripts see.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use trex_domain::{ErrorClass, Problem};

/// An error of whatever part, kept whole.
#[derive(Debug)]
pub(crate) struct CliError(Box<dyn Problem + Send + Sync>);

impl<P: Problem + Send + Sync + 'static> From<P> for CliError {
    fn from(err: P) -> Self {
        Self(Box::new(err))
    }
}

impl CliError {
    /// An error that came through a port.
    pub(crate) fn from_problem(err: Box<dyn Problem + Send + Sync>) -> Self {
        Self(err)
    }

    /// The error of the part that it came from.
    pub(crate) fn into_problem(self) -> Box<dyn Problem + Send + Sync> {
        self.0
    }

    /// An error that came through a port and is boxed already.
    pub(crate) fn of_port(err: Box<dyn Problem + Send + Sync>) -> Self {
        Self(err)
    }

    /// The exit code, as `trex --help` lists them.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let code = match (self.0.code(), self.0.class()) {
            ("run.stopped", _) => 6,
            (_, ErrorClass::Bug) => 1,
            (_, ErrorClass::Permanent) => 3,
            (_, ErrorClass::Resource) => 4,
            (_, ErrorClass::Transient) => 5,
        };
        ExitCode::from(code)
    }

    /// For people: what happened, why, what to do.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error[{}]: {}", self.0.code(), self.0);
        for cause in self.causes() {
            write!(text, "\n  because: {cause}").expect("writing to a string cannot fail");
        }
        if let Some(hint) = self.0.hint() {
            write!(text, "\n  hint: {hint}").expect("writing to a string cannot fail");
        }
        text
    }

    /// What happened and why, in one line.
    pub(crate) fn told(&self) -> String {
        let causes: Vec<_> = self.causes().iter().map(|cause| format!(": {cause}")).collect();
        let causes = causes.concat();
        format!("error[{}]: {}{causes}", self.0.code(), self.0)
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    /// For scripts.
    pub(crate) fn json(&self) -> Value {
        json!({
            "type": "error",
            "code": self.0.code(),
            "class": self.0.class(),
            "message": self.0.to_string(),
            "causes": self.causes(),
            "hint": self.0.hint(),
        })
    }

    fn causes(&self) -> Vec<String> {
        causes(&*self.0)
    }
}

/// A fault that is told beside something else: what happened and why, in one line. Causes that a text before them tells
/// as well are told once.
pub(crate) fn with_causes(err: &dyn Error) -> String {
    let mut parts = vec![err.to_string()];
    for cause in causes(err) {
        if !parts.iter().any(|part| part.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

fn causes(err: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = err.source();
    while let Some(err) = next {
        // Some libraries add a backtrace to their text; the first line says what happened.
        causes.push(err.to_string().lines().next().unwrap_or_default().to_owned());
        next = err.source();
    }
    causes
}

/// What only the command itself can get wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// A model that is in no registry.
    #[error("no model is named {name:?}")]
    UnknownModel {
        /// As given.
        name: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A name that no added model can have.
    #[error("{name:?} cannot be the name of an added model")]
    BadModelName {
        /// As given.
        name: String,
    },
    /// Neither a built-in task nor a file.
    #[error("no task is named {name:?}, and there is no such file")]
    UnknownTask {
        /// As given.
        name: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A workspace without a run.
    #[error("{} holds no run", path.display())]
    NoRun {
        /// The workspace.
        path: PathBuf,
    },
    /// A workspace with a run that is not finished.
    #[error("{} holds an unfinished run of {name}", path.display())]
    UnfinishedRun {
        /// The workspace.
        path: PathBuf,
        /// Name of its task.
        name: String,
    },
    /// A workspace in which no program works.
    #[error("no program works in {}", path.display())]
    NobodyAtWork {
        /// The workspace.
        path: PathBuf,
    },
    /// A program that cannot be asked to stop.
    #[error("process {pid} on {host} cannot be asked to stop")]
    CannotStop {
        /// Its number.
        pid: u32,
        /// Its machine.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// A node that the tree does not have.
    #[error("the tree has no node {name}")]
    UnknownNode {
        /// As given.
        name: String,
    },
    /// The knowledge base is switched off.
    #[error("the knowledge base is switched off by TREX_KNOWLEDGE")]
    KnowledgeOff,
    /// Nothing in the knowledge base has that name.
    #[error("nothing in the knowledge base is named {id:?}, or several things are")]
    UnknownKnowledge {
        /// As given.
        id: String,
    },
    /// Nothing of the shown rows would be trained on.
    #[error("none of {num_rows} rows has a token to train on")]
    NothingTrained {
        /// Rows that were looked at.
        num_rows: usize,
    },
    /// A file that holds no conversation.
    #[error("{} holds no conversation", path.display())]
    BadConversation {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: trex_fs::FsError,
    },
    /// A file without a single item that can be scored.
    #[error("{} has no prompt with its answer; {set_aside} rows were set aside: {why}", path.display())]
    NoItems {
        /// The file.
        path: PathBuf,
        /// Rows that could not be used.
        set_aside: usize,
        /// Why the first of them cannot.
        why: String,
    },
    /// A service for other machines on one that is to be offline.
    #[error("{host} can be reached by other machines, and this one is switched offline")]
    ServeOffline {
        /// Address to listen at.
        host: std::net::IpAddr,
    },
    /// A port that cannot be listened at.
    #[error("cannot listen at {address}")]
    CannotListen {
        /// Address and port.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A service for other machines that asks for no key.
    #[error("{host} can be reached by other machines, and no key is set")]
    ServeWithoutKey {
        /// Address to listen at.
        host: std::net::IpAddr,
    },
    /// A form of export that does not exist.
    #[error("there is no export format {name:?}")]
    UnknownFormat {
        /// As given.
        name: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// No folder for models and caches can be found.
    #[error("no cache folder: neither TREX_CACHE, XDG_CACHE_HOME nor HOME is set")]
    NoCacheFolder,
    /// An adapter was asked for where there is none.
    #[error("{name} has no adapter that {form} could hold: every weight was trained")]
    NoAdapter {
        /// The variant.
        name: String,
        /// The form.
        form: &'static str,
    },
    /// A worker program that is not there.
    #[error("TREX_WORKER names {}, which is no file", path.display())]
    NoWorker {
        /// The path.
        path: PathBuf,
    },
    /// A folder that an export would have to mix with.
    #[error("{} is there and not empty", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file that would be replaced, and is not ours.
    #[error("{} would be replaced, and it is {what}", path.display())]
    OutputTaken {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A place for an export where nothing can be made.
    #[error("nothing can be written at {}", path.display())]
    OutputUnwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A task whose adapter settings are not those of the adapter that it goes on from.
    #[error("[train.lora] differs from the adapter {}", path.display())]
    OtherAdapterShape {
        /// The adapter.
        path: PathBuf,
    },
    /// A configuration file that is no JSON.
    #[error("{} is not valid JSON", path.display())]
    BadJson {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A configuration file that is no YAML.
    #[error("{} is not valid YAML", path.display())]
    BadYaml {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// A configuration without a TOML form.
    #[error("the configuration has no TOML form")]
    NoToml(#[source] toml::ser::Error),
    /// A configuration without a YAML form.
    #[error("the configuration has no YAML form")]
    NoYaml(#[source] serde_saphyr::ser::Error),
    /// A stage of research that asks no model.
    #[error("no stage that asks a model is named {name:?}")]
    UnknownStage {
        /// As given.
        name: String,
        /// Those that do.
        known: String,
    },
    /// An answer that no open question takes.
    #[error("{text:?} is no answer")]
    BadAnswer {
        /// As given.
        text: String,
    },
    /// A change that has no name.
    #[error("{text:?} is no change")]
    BadChange {
        /// As given.
        text: String,
    },
    /// Standard input that cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] std::io::Error),
    /// A key without a character.
    #[error("no key came on standard input")]
    EmptyKey,
    /// No folder for settings.
    #[error("no folder for settings is known")]
    NoConfigFolder,
    /// Output that cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// A value without a JSON form.
    #[error("the result has no JSON form")]
    NotJson(#[source] serde_json::Error),
}

impl Problem for CommandError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "model.unknown",
            Self::BadModelName { .. } => "model.bad_name",
            Self::UnknownTask { .. } => "task.unknown",
            Self::NoRun { .. } => "run.none",
            Self::UnfinishedRun { .. } => "run.unfinished",
            Self::NobodyAtWork { .. } => "run.nobody_at_work",
            Self::CannotStop { .. } => "run.cannot_stop",
            Self::UnknownNode { .. } => "run.unknown_node",
            Self::KnowledgeOff => "knowledge.off",
            Self::UnknownKnowledge { .. } => "knowledge.unknown",
            Self::NothingTrained { .. } => "data.nothing_trained",
            Self::BadConversation { .. } => "ask.bad_conversation",
            Self::NoItems { .. } => "score.no_items",
            Self::CannotListen { .. } => "serve.cannot_listen",
            Self::ServeOffline { .. } => "serve.offline",
            Self::ServeWithoutKey { .. } => "serve.no_key",
            Self::UnknownFormat { .. } => "data.unknown_format",
            Self::NoCacheFolder => "cli.no_cache_folder",
            Self::NoWorker { .. } => "worker.missing",
            Self::OutputExists { .. } => "export.exists",
            Self::OutputTaken { .. } => "export.taken",
            Self::NoAdapter { .. } => "export.no_adapter",
            Self::OutputUnwritable { .. } => "export.unwritable",
            Self::OtherAdapterShape { .. } => "adapter.other_shape",
            Self::BadJson { .. } | Self::BadYaml { .. } => "config.unreadable",
            Self::NoToml(_) | Self::NoYaml(_) => "config.not_written",
            Self::UnknownStage { .. } => "researcher.unknown_stage",
            Self::BadAnswer { .. } => "requirement.bad_answer",
            Self::BadChange { .. } => "review.bad_change",
            Self::Input(_) => "cli.input",
            Self::EmptyKey => "researcher.empty_key",
            Self::NoConfigFolder => "cli.no_config_folder",
            Self::Output(_) => "cli.output",
            Self::NotJson(_) => "cli.not_json",
        }
    }

    fn hint(&self) -> Option<String> {
        let did_you_mean = |nearest: &Option<String>, otherwise: &str| match nearest {
            Some(nearest) => format!("did you mean {nearest}? {otherwise}"),
            None => otherwise.to_owned(),
        };
        Some(match self {
            Self::UnknownModel { nearest, .. } => did_you_mean(
                nearest,
                "`trex model list` shows what there is, `trex model add` takes in a file, a folder or hub:OWNER/NAME, `--model bundled` needs none; `cargo xtask setup` fetches smollm2-135m-instruct",
            ),
            Self::UnknownTask { nearest, .. } => did_you_mean(
                nearest,
                "built-in tasks are ftbench/mini-1 to ftbench/mini-10; else give the path of a TOML file",
            ),
            Self::BadModelName { .. } => {
                "give it another with --name: letters, digits and dashes, and not the name of the bundled model"
                    .to_owned()
            }
            Self::NoRun { .. } => "begin one with `trex run TASK --workspace DIR`".to_owned(),
            Self::UnfinishedRun { .. } => "go on with `trex resume`, or begin another with `trex run --new`".to_owned(),
            Self::NobodyAtWork { .. } => "`trex status` says how far the run is, `trex resume` goes on".to_owned(),
            Self::CannotStop { .. } => "press Ctrl-C in the terminal that it runs in".to_owned(),
            Self::UnknownNode { .. } => "`trex tree` lists the nodes".to_owned(),
            Self::KnowledgeOff => "unset TREX_KNOWLEDGE, or set it to a file".to_owned(),
            Self::UnknownKnowledge { .. } => {
                "`trex kb list` shows documents, tasks and insights, `trex kb search` passages, `trex kb graph` nodes"
                    .to_owned()
            }
            Self::NothingTrained { .. } => {
                "check which column is the answer with `trex data profile`, and name it with --answer; answers longer than --max-length are not trained on either".to_owned()
            }
            Self::BadConversation { .. } => {
                "its lines are those that `trex ask --conversation` writes; name another file to begin anew".to_owned()
            }
            Self::NoItems { .. } => {
                "it needs the columns that the task's data has; `trex data profile FILE` says what is read, and what is wrong with rows"
                    .to_owned()
            }
            Self::CannotListen { .. } => {
                "choose another port with --port (0 takes a free one), and an address of this machine with --host".to_owned()
            }
            Self::ServeOffline { .. } => "leave --host out, so that only programs of this machine are answered".to_owned(),
            Self::ServeWithoutKey { .. } => {
                "set TREX_SERVE_KEY to a long random text and give it to clients as their API key, or leave --host out"
                    .to_owned()
            }
            Self::UnknownFormat { nearest, .. } => did_you_mean(
                nearest,
                "known are messages, prompt-completion, preference, sharegpt, csv, parquet, hf",
            ),
            Self::UnknownStage { known, .. } => format!("those are {known}"),
            Self::BadAnswer { .. } => {
                "write kind=choice, generate, preference or text, metric=NAME of a metric, or options=A,B with commas between"
                    .to_owned()
            }
            Self::BadChange { .. } => "write NAME=VALUE, such as config.lora.r=16".to_owned(),
            Self::EmptyKey => "pass the key on standard input: `trex researcher key set NAME < FILE`".to_owned(),
            Self::NoConfigFolder => "set TREX_CONFIG to a folder that you may write to".to_owned(),
            Self::NoCacheFolder => "set TREX_CACHE to a folder that you may write to".to_owned(),
            Self::NoAdapter { .. } => "use --format merged or --format gguf, which hold all weights".to_owned(),
            Self::NoWorker { .. } => "give the path of a build of trex, or unset TREX_WORKER".to_owned(),
            Self::OutputTaken { .. } => "give another place with --out; originals are only read".to_owned(),
            Self::OutputExists { .. } => "give a folder that is absent or empty with --out".to_owned(),
            Self::OutputUnwritable { .. } => {
                "give a folder with --out that can be made, below one that you may write to".to_owned()
            }
            Self::OtherAdapterShape { .. } => {
                "leave r, lora_alpha, target_modules and use_rslora out: they are the adapter's".to_owned()
            }
            Self::BadJson { .. } | Self::BadYaml { .. } => {
                "give the configuration file of TRL, Axolotl, LLaMA-Factory, Unsloth or PEFT as it is".to_owned()
            }
            Self::Input(_) | Self::Output(_) | Self::NotJson(_) | Self::NoToml(_) | Self::NoYaml(_) => return None,
        })
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::NotJson(_) | Self::NoToml(_) | Self::NoYaml(_) => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}
