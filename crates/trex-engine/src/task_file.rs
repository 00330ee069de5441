//! The TOML task file: raw as written, then checked against its own schema, then resolved into a [`TaskSpec`].
//!
//! Every complaint names file, line and column. Opens no data file and no model: whether those fit is found out by the
//! import and the verifier.

mod check;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use trex_domain::{
    Budget, DataSource, DataTerms, DeviceChoice, DomainError, FieldMap, GenerationConfig, LoraConfig, Metric, ModelRef,
    Problem, PromptSpec, SearchSettings, SplitSizes, SplitSource, TaskKind, TaskSpec, TrainConfig, nearest,
};
use trex_fs::FsError;
use trex_search::POLICY_NAMES;

use crate::report::schema_text;

/// Names that other trainers (older transformers, Axolotl, LLaMA-Factory, Unsloth) use for settings of `[train]`, and
/// the path of ours below it. `warmup_steps` takes a fraction since transformers 5.
const TRAIN_ALIASES: [(&str, &[&str]); 18] = [
    ("max_seq_length", &["max_length"]),
    ("max_seq_len", &["max_length"]),
    ("cutoff_len", &["max_length"]),
    ("sequence_len", &["max_length"]),
    ("per_gpu_train_batch_size", &["per_device_train_batch_size"]),
    ("micro_batch_size", &["per_device_train_batch_size"]),
    ("lr_scheduler", &["lr_scheduler_type"]),
    ("warmup_steps", &["warmup_ratio"]),
    ("label_smoothing", &["label_smoothing_factor"]),
    ("finetuning_type", &["method"]),
    ("lora_r", &["lora", "r"]),
    ("lora_rank", &["lora", "r"]),
    ("lora_alpha", &["lora", "lora_alpha"]),
    ("lora_dropout", &["lora", "lora_dropout"]),
    ("lora_target", &["lora", "target_modules"]),
    ("lora_target_modules", &["lora", "target_modules"]),
    ("target_modules", &["lora", "target_modules"]),
    ("use_rslora", &["lora", "use_rslora"]),
];

/// Everyday names of settings that we do not have under that name, the name that does it, and what differs.
const MISNOMERS: [(&[&str], &str, &str); 10] = [
    (
        &["epochs", "epoch", "num_epochs", "max_epochs", "num_train_epochs", "n_epochs"],
        "train.max_steps",
        "there are no epochs: write rows × epochs ÷ per_device_train_batch_size ÷ gradient_accumulation_steps",
    ),
    (&["steps", "num_steps", "num_train_steps", "max_iters", "iterations"], "train.max_steps", ""),
    (&["lr", "learn_rate", "max_lr"], "train.learning_rate", ""),
    (
        &["batch_size", "batch", "bs", "train_batch_size"],
        "train.per_device_train_batch_size",
        "times gradient_accumulation_steps it is the batch of one optimiser step",
    ),
    (&["grad_accum", "gradient_accumulation", "accumulation_steps"], "train.gradient_accumulation_steps", ""),
    (&["max_len", "seq_len", "seq_length", "context_length", "block_size"], "train.max_length", ""),
    (&["warmup", "warmup_proportion"], "train.warmup_ratio", "it is a fraction of max_steps"),
    (&["scheduler", "lr_schedule", "schedule"], "train.lr_scheduler_type", ""),
    (&["clip", "grad_clip", "max_norm", "gradient_clipping"], "train.max_grad_norm", ""),
    (&["rank", "alpha", "dropout"], "train.lora", "its keys are r, lora_alpha and lora_dropout"),
];

/// A place in a file; line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The file.
    pub path: PathBuf,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl std::fmt::Display for FilePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// What can be wrong with a task file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskFileError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(FsError),
    /// It is not TOML.
    #[error("{place}: not valid TOML: {}", detail.message())]
    Syntax {
        /// Where.
        place: Box<FilePlace>,
        /// What the parser found.
        detail: Box<toml::de::Error>,
    },
    /// A key that no task file has.
    #[error("{place}: unknown key {key:?}{}", inside(table))]
    UnknownKey {
        /// Where.
        place: Box<FilePlace>,
        /// The key.
        key: String,
        /// Table that it stands in; empty for the top level.
        table: String,
        /// The known key that is nearest.
        nearest: Option<String>,
        /// All keys of that table.
        known: Vec<String>,
    },
    /// One setting under two of its names.
    #[error("{place}: {key} says the same as {canonical}, which is there too")]
    KeyTwice {
        /// Where.
        place: Box<FilePlace>,
        /// The other name.
        key: String,
        /// Our name.
        canonical: String,
    },
    /// A key that must be there.
    #[error("{place}: the key {key} is missing")]
    MissingKey {
        /// Where its table begins.
        place: Box<FilePlace>,
        /// Path of the key.
        key: String,
    },
    /// A value of another type.
    #[error("{place}: {key} is {found}, expected {expected}")]
    WrongType {
        /// Where.
        place: Box<FilePlace>,
        /// Path of the key.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A word outside a closed list.
    #[error("{place}: {key} is {found:?}, expected one of {}", allowed.join(", "))]
    UnknownWord {
        /// Where.
        place: Box<FilePlace>,
        /// Path of the key.
        key: String,
        /// What stands there.
        found: String,
        /// The list.
        allowed: Vec<String>,
    },
    /// A text or list with nothing in it.
    #[error("{place}: {key} is empty, expected {expected}")]
    Empty {
        /// Where.
        place: Box<FilePlace>,
        /// Path of the key.
        key: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("{place}: {key} and {other} exclude each other")]
    Conflict {
        /// Where.
        place: Box<FilePlace>,
        /// One.
        key: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A template that shows the model nothing of the row.
    #[error("{place}: prompt.template has no placeholder such as {{input}}")]
    TemplateWithoutInput {
        /// Where.
        place: Box<FilePlace>,
    },
    /// A value out of its range.
    #[error("{place}: {source}")]
    OutOfRange {
        /// Where.
        place: Box<FilePlace>,
        /// What is allowed.
        source: DomainError,
    },
    /// The parser refused what the schema allows.
    #[error("{place}: {}", detail.message())]
    Refused {
        /// Where.
        place: Box<FilePlace>,
        /// What was expected.
        detail: Box<toml::de::Error>,
    },
}

impl Problem for TaskFileError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "task.unreadable",
            Self::Syntax { .. } => "task.syntax",
            Self::UnknownKey { .. } => "task.unknown_key",
            Self::KeyTwice { .. } => "task.key_twice",
            Self::MissingKey { .. } => "task.missing_key",
            Self::WrongType { .. } | Self::Refused { .. } => "task.wrong_type",
            Self::UnknownWord { .. } => "task.unknown_word",
            Self::Empty { .. } => "task.empty",
            Self::Conflict { .. } => "task.conflict",
            Self::TemplateWithoutInput { .. } => "task.template_without_input",
            Self::OutOfRange { .. } => "task.out_of_range",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, nearest, known, .. } => Some(unknown_key_hint(key, nearest.as_deref(), known)),
            Self::KeyTwice { key, .. } => Some(format!("remove {key}")),
            Self::MissingKey { key, .. } => Some(format!("add {key}")),
            Self::UnknownWord { found, allowed, .. } => {
                let near = nearest(found, allowed.iter().map(String::as_str));
                Some(near.map_or_else(|| "write one of them".to_owned(), |word| format!("did you mean {word:?}?")))
            }
            Self::Conflict { other, .. } => Some(format!("remove {other}")),
            Self::TemplateWithoutInput { .. } => {
                Some("write {input} where the input column belongs, or {COLUMN} for any column".to_owned())
            }
            Self::OutOfRange { source, .. } => source.hint(),
            Self::Unreadable(err) => err.hint(),
            Self::WrongType { key, expected, .. } => Some(format!("set {key} to {expected}")),
            Self::Empty { key, expected, .. } => Some(format!("set {key} to {expected}")),
            Self::Syntax { .. } | Self::Refused { .. } => {
                Some("compare the line with examples/sst2.toml, a task file with comments".to_owned())
            }
        }
    }
}

fn unknown_key_hint(key: &str, nearest: Option<&str>, known: &[String]) -> String {
    match (instead_of(key), nearest) {
        (Some(instead), _) => instead,
        (None, Some(nearest)) => format!("did you mean {nearest:?}?"),
        (None, None) => format!("known keys here: {}", known.join(", ")),
    }
}

/// What to write for an everyday name such as `lr`.
fn instead_of(key: &str) -> Option<String> {
    let (_, ours, remark) = MISNOMERS.iter().find(|(names, ..)| names.contains(&key))?;
    let (table, name) = ours.split_once('.')?;
    let place = if *ours == "train.lora" { "[train.lora]".to_owned() } else { format!("{name} in [{table}]") };
    Some(if remark.is_empty() { format!("write {place}") } else { format!("write {place}; {remark}") })
}

fn inside(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{table}]") }
}

/// Reads a task file.
///
/// Relative paths of data files are taken from `data_dir`, or from the folder of the task file where that is absent.
pub fn parse_task_file(path: &Path, data_dir: Option<&Path>) -> Result<TaskSpec, TaskFileError> {
    let text = trex_fs::read_to_string(path).map_err(TaskFileError::Unreadable)?;
    let folder = data_dir.or_else(|| path.parent()).unwrap_or_else(|| Path::new(""));
    parse_task_text(&text, path, folder)
}

/// The JSON schema of the task file as indented text with sorted keys, as it lies in `assets/schemas`.
pub fn task_schema() -> String {
    schema_text(raw_schema())
}

/// The file as written; every default is that of the domain type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "TREX task file")]
struct RawTask {
    /// Short name.
    name: String,
    /// The requirement in plain words.
    goal: String,
    /// Closed or open answers.
    kind: TaskKind,
    /// What counts.
    metric: Metric,
    /// Base model: `bundled`, or a name given by `trex model add`.
    #[serde(default = "bundled")]
    model: ModelRef,
    /// Rows.
    data: RawData,
    /// Row → conversation; the input and nothing else where absent.
    #[serde(default)]
    prompt: PromptSpec,
    /// How open answers are generated.
    #[serde(default)]
    generation: GenerationConfig,
    /// Upper limits on the evaluation splits.
    #[serde(default)]
    splits: SplitSizes,
    /// Where training starts from.
    #[serde(default)]
    train: TrainConfig,
    /// Limits of the run.
    #[serde(default)]
    budget: Budget,
    /// How the tree is explored.
    #[serde(default)]
    search: SearchSettings,
    /// What jobs are computed on: auto, cpu, cuda, cuda:N or metal.
    #[serde(default)]
    device: DeviceChoice,
}

/// Either `builtin`, or `train` with optional `dev` and `test`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawData {
    /// A generated task of this project, such as `ftbench/mini-1`; instead of files.
    #[serde(default)]
    builtin: Option<String>,
    /// Training rows.
    #[serde(default)]
    train: Option<PathBuf>,
    /// Rows for the search and select splits; held out of the training rows where absent.
    #[serde(default)]
    dev: Option<PathBuf>,
    /// Rows for the sealed final split; held out of the training rows where absent.
    #[serde(default)]
    test: Option<PathBuf>,
    /// Columns.
    #[serde(default)]
    fields: FieldMap,
    /// Licence of the rows, as the Hugging Face Hub names it, such as `cc-by-4.0`; unknown where absent.
    #[serde(default)]
    license: Option<String>,
    /// Whether what comes of the run is meant for commercial use.
    #[serde(default)]
    commercial_use: bool,
}

fn bundled() -> ModelRef {
    ModelRef("bundled".to_owned())
}

fn raw_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(RawTask);
    // Missing settings of `[train.lora]` are filled in from the defaults before the file is read.
    if let Some(lora) = schema.pointer_mut("/$defs/LoraConfig").and_then(serde_json::Value::as_object_mut) {
        lora.remove("required");
    }
    schema
}

/// The text with its name, to turn byte offsets into places.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> FilePlace {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        FilePlace {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn place_of(&self, err: &toml::de::Error) -> FilePlace {
        self.place(err.span().map_or(0, |span| span.start))
    }

    /// Where the value of a dotted key stands; the start of its nearest table where it is not written down.
    fn place_of_key(&self, root: &Spanned<DeTable<'_>>, key: &str) -> FilePlace {
        let mut offset = 0;
        let mut table = Some(root.get_ref());
        for part in key.split('.') {
            let Some((name, value)) = table.and_then(|table| table.get_key_value(part)) else { break };
            offset = name.span().start;
            table = value.get_ref().as_table();
        }
        self.place(offset)
    }
}

fn parse_task_text(text: &str, path: &Path, folder: &Path) -> Result<TaskSpec, TaskFileError> {
    let source = Source { path, text };
    let syntax =
        |err: toml::de::Error| TaskFileError::Syntax { place: Box::new(source.place_of(&err)), detail: Box::new(err) };
    let mut root = DeTable::parse(text).map_err(syntax)?;
    rename_aliases(&source, root.get_mut())?;
    check::check_root(&source, &root, raw_schema().as_value())?;
    let lora_defaults = toml::to_string(&LoraConfig::default()).unwrap_or_default();
    let lora_defaults = DeTable::parse(&lora_defaults).map_err(syntax)?;
    let mut complete = root.clone();
    fill_lora(complete.get_mut(), lora_defaults.get_ref());
    let raw = RawTask::deserialize(toml::Deserializer::from(complete))
        .map_err(|err| TaskFileError::Refused { place: Box::new(source.place_of(&err)), detail: Box::new(err) })?;
    let task = resolve(raw, folder, &|key| source.place_of_key(&root, key))?;
    validate(&task, &|key| source.place_of_key(&root, key))?;
    Ok(task)
}

/// Gives settings that stand under another trainer's name ours; they keep their place for messages.
fn rename_aliases<'i>(source: &Source<'_>, root: &mut DeTable<'i>) -> Result<(), TaskFileError> {
    let Some(DeValue::Table(train)) = root.get_mut("train").map(Spanned::get_mut) else {
        return Ok(());
    };
    for (alias, path) in TRAIN_ALIASES {
        let Some((name, value)) = train.remove_entry(alias) else { continue };
        let span = name.span();
        let (target, key): (&mut DeTable<'i>, &'static str) = match path {
            [table, key] => {
                let table = Spanned::new(span.clone(), (*table).into());
                let lora =
                    train.entry(table).or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
                match lora.get_mut() {
                    DeValue::Table(lora) => (lora, key),
                    // The check finds that `lora` is no table.
                    _ => continue,
                }
            }
            [key] => (&mut *train, key),
            _ => continue,
        };
        if target.contains_key(key) {
            let canonical = format!("train.{}", path.join("."));
            return Err(TaskFileError::KeyTwice {
                place: Box::new(source.place(span.start)),
                key: format!("train.{alias}"),
                canonical,
            });
        }
        target.insert(Spanned::new(span, key.into()), value);
    }
    Ok(())
}

fn fill_lora<'i>(root: &mut DeTable<'i>, defaults: &DeTable<'i>) {
    let Some(DeValue::Table(train)) = root.get_mut("train").map(Spanned::get_mut) else {
        return;
    };
    let Some(DeValue::Table(lora)) = train.get_mut("lora").map(Spanned::get_mut) else {
        return;
    };
    for (key, value) in defaults {
        if !lora.contains_key(key.get_ref().as_ref()) {
            lora.insert(key.clone(), value.clone());
        }
    }
}

fn resolve(raw: RawTask, folder: &Path, place: &dyn Fn(&str) -> FilePlace) -> Result<TaskSpec, TaskFileError> {
    let texts = [
        ("name", &raw.name, "a short name"),
        ("goal", &raw.goal, "what the model should do better, in plain words"),
        ("model", &raw.model.0, "a model name such as bundled"),
    ];
    for (key, text, expected) in texts {
        if text.trim().is_empty() {
            return Err(TaskFileError::Empty { place: Box::new(place(key)), key, expected });
        }
    }
    // Items of a built-in task may bring their options along.
    let needs_options = raw.kind == TaskKind::Choice && (raw.data.builtin.is_none() || !raw.prompt.options.is_empty());
    check_prompt(needs_options, &raw.prompt, place)?;
    if !POLICY_NAMES.contains(&raw.search.policy.as_str()) {
        return Err(TaskFileError::UnknownWord {
            place: Box::new(place("search.policy")),
            key: "search.policy".to_owned(),
            found: raw.search.policy,
            allowed: POLICY_NAMES.map(str::to_owned).to_vec(),
        });
    }
    Ok(TaskSpec {
        name: raw.name,
        goal: raw.goal,
        kind: raw.kind,
        metric: raw.metric,
        model: raw.model,
        data: resolve_data(raw.data, folder, place)?,
        splits: raw.splits,
        prompt: raw.prompt,
        generation: raw.generation,
        train: TrainConfig { adapter: raw.train.adapter.map(|path| folder.join(path)), ..raw.train },
        budget: raw.budget,
        search: raw.search,
        device: raw.device,
    })
}

fn check_prompt(
    needs_options: bool,
    prompt: &PromptSpec,
    place: &dyn Fn(&str) -> FilePlace,
) -> Result<(), TaskFileError> {
    let is_empty = prompt.options.iter().any(|option| option.trim().is_empty());
    if needs_options && (prompt.options.len() < 2 || is_empty) {
        let expected = "at least two answers for a choice task, none of them empty";
        return Err(TaskFileError::Empty { place: Box::new(place("prompt.options")), key: "prompt.options", expected });
    }
    // `{options}` alone shows the model the answers, but nothing of the row.
    let rest = prompt.template.replace("{options}", "");
    let has_placeholder = rest.split_once('{').is_some_and(|(_, after)| after.contains('}'));
    if has_placeholder {
        Ok(())
    } else {
        Err(TaskFileError::TemplateWithoutInput { place: Box::new(place("prompt.template")) })
    }
}

fn resolve_data(raw: RawData, folder: &Path, place: &dyn Fn(&str) -> FilePlace) -> Result<DataSource, TaskFileError> {
    let split = |path: Option<PathBuf>| path.map_or(SplitSource::HeldOut, |path| SplitSource::File(folder.join(path)));
    match (raw.builtin, raw.train) {
        (Some(_), Some(_)) => Err(TaskFileError::Conflict {
            place: Box::new(place("data.builtin")),
            key: "data.builtin",
            other: "data.train",
        }),
        (None, None) => Err(TaskFileError::MissingKey { place: Box::new(place("data")), key: "data.train".to_owned() }),
        (Some(name), None) => {
            let others = [("data.dev", raw.dev.is_some()), ("data.test", raw.test.is_some())];
            match others.into_iter().find(|(_, given)| *given) {
                Some((other, _)) => {
                    Err(TaskFileError::Conflict { place: Box::new(place(other)), key: "data.builtin", other })
                }
                None => Ok(DataSource::Builtin { name }),
            }
        }
        (None, Some(train)) => Ok(DataSource::Files {
            train: folder.join(train),
            dev: split(raw.dev),
            test: split(raw.test),
            fields: raw.fields,
            terms: DataTerms { license: raw.license, commercial_use: raw.commercial_use },
        }),
    }
}

fn validate(task: &TaskSpec, place: &dyn Fn(&str) -> FilePlace) -> Result<(), TaskFileError> {
    let Err(source) = task.validate() else {
        return Ok(());
    };
    let key = match &source {
        DomainError::OutOfRange { field, .. } => match field.split_once('.') {
            Some(("search" | "budget" | "prompt" | "generation" | "train", _)) => (*field).to_owned(),
            None if matches!(*field, "kind" | "metric") => (*field).to_owned(),
            _ => format!("train.{field}"),
        },
        _ => "train.lora.target_modules".to_owned(),
    };
    Err(TaskFileError::OutOfRange { place: Box::new(place(&key)), source })
}

#[cfg(test)]
mod tests;
