//! The command line: names, defaults and the help that teaches them.
//! Long because commands that belong together are found together.

pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod export;
pub(crate) mod kb;
pub(crate) mod net;
pub(crate) mod orders;
pub(crate) mod queue;
pub(crate) mod researcher;
pub(crate) mod review;
pub(crate) mod score;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use trex_domain::{DeviceChoice, Quantization, TrainObjective};

use crate::args::ask::{ASK_HELP, AskArgs};
use crate::args::bench::BenchArgs;
use crate::args::export::{BaseGgufArgs, ConfigArgs, EXPORT_HELP, ExportArgs, ProbeArgs};
use crate::args::kb::KbArgs;
use crate::args::net::{NET_HELP, NetArgs};
use crate::args::orders::{BRANCH_HELP, BranchArgs, FORBID_HELP, ForbidArgs, PartArgs};
use crate::args::queue::{QUEUE_HELP, QueueArgs};
use crate::args::researcher::{RESEARCHER_HELP, ResearcherArgs};
use crate::args::review::{GateArgs, REVIEW_HELP, ReviewArgs};
use crate::args::score::{SCORE_HELP, ScoreArgs};
use crate::args::serve::{SERVE_HELP, ServeArgs};

/// Fine-tunes language models on this machine: researches, trains, evaluates and reports by itself.
///
/// A run takes a task (what the model should do better, and data), measures the untouched model, lets a Researcher propose
/// strategies, trains candidates in worker processes, keeps a candidate only when a paired test says that it is better, and
/// judges the best one once on a sealed split. Everything is kept in a workspace folder; a run that was interrupted in any
/// way goes on with `trex resume`.
#[derive(Debug, Parser)]
#[command(name = "trex", version, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print JSON: one document, or one line per event where a command follows something.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a defect of this program, or `trex repro` found a difference
  2  the command line is wrong
  3  wrong input: task, data, model or configuration; the message says what to change
  4  something is missing that may come back: memory, disk, or another process holds the workspace
  5  the network or a worker failed; trying again may help
  6  stopped on request; `trex resume` goes on

First steps:
  trex run ftbench/mini-1 --workspace demo      a whole run on built-in data, some minutes
  trex tree --workspace demo                    what was tried
  trex report --workspace demo                  what came of it";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a workspace folder.
    Init(WorkspaceArgs),
    /// Make a task file of plain words and data.
    #[command(after_long_help = "\
Says of each field whether the words said it, or it was inferred, or it is a default. What changes what is optimised is asked: on a
terminal one question after the other, else as a list to be answered with --answer. Nothing is written before that.

  trex new \"Tell whether a review is positive or negative, by accuracy\" --data reviews.csv --out task.toml")]
    New(NewArgs),
    /// Carry out a task from data to report.
    #[command(after_long_help = "\
TASK is a built-in task (ftbench/mini-1 … ftbench/mini-10) or a TOML file; see examples/sst2.toml for one with comments.
The workspace is created where there is none. With --json each event is one line; `type` names it, `seq` numbers it.
Interrupt at any time, even with kill -9: `trex resume` goes on and comes to the same result.")]
    Run(RunArgs),
    /// Say what a task would take on this machine, before a run begins: memory, disk, time.
    #[command(after_long_help = "\
Brings the rows in beside the workspace, asks the verifier about the configuration that the task starts from, and measures a few
optimiser steps and a few scored items with the base model, which takes some seconds. Nothing of it is kept.
The time is that of a run which takes every trial of its budget and ends none early, for the task as it stands: most runs end
before that, and strategies that take more steps or write rows cost more.")]
    Forecast(ForecastArgs),
    /// Go on with the run of a workspace that was interrupted.
    Resume(ResumeArgs),
    /// Let several tasks share this machine: priorities, turns, holding and releasing.
    #[command(after_long_help = QUEUE_HELP)]
    Queue(QueueArgs),
    /// Ask the program that works on a run to stop in order, also from another terminal.
    Stop(WorkspaceArgs),
    /// Say how far the run is.
    Status(WorkspaceArgs),
    /// Follow the run of a workspace, also from another terminal.
    Watch(WatchArgs),
    /// Draw the search tree.
    Tree(WorkspaceArgs),
    /// Show a node: base, a strategy (s2), an experiment (s2.e1) or a variant (s2.e1.a).
    Show(NodeArgs),
    /// Say what is wrong with a variant, by its data, its curve and its answers on the search split, and what to try next.
    Diagnose(DiagnoseArgs),
    /// Say why the search did what it did with a node, from which candidates and numbers.
    #[command(after_long_help = "\
NODE is a strategy (s2), an experiment (s2.e1), a variant (s2.e1.a), or base for the end of the search.
The chosen candidate is marked with an arrow; --json prints the records as they are kept.")]
    Why(NodeArgs),
    /// Have the search go on with a node before others: below its strategy, or with a variant of a batch.
    Pin(PartArgs),
    /// Take a pin back.
    Unpin(PartArgs),
    /// Have the search never go on with a node, nor with anything below it.
    #[command(after_long_help = FORBID_HELP)]
    Forbid(ForbidArgs),
    /// Take what `trex forbid` said back.
    Allow(PartArgs),
    /// Have a variant trained next that differs from a node in settings of your own.
    #[command(after_long_help = BRANCH_HELP)]
    Branch(BranchArgs),
    /// Print the report of the run.
    Report(ReportArgs),
    /// Train a node again from nothing and compare the bytes.
    Repro(NodeArgs),
    /// Ask the untouched model and a trained node the same question.
    #[command(after_long_help = ASK_HELP)]
    Ask(AskArgs),
    /// Score the untouched model and a trained node on your own prompts.
    #[command(after_long_help = SCORE_HELP)]
    Score(ScoreArgs),
    /// Answer other programs with a trained node, as OpenAI's chat completions do.
    #[command(after_long_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Write a trained node in a form that other tools load.
    #[command(after_long_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Read and write configuration files of other trainers.
    Config(ConfigArgs),
    /// Add and list base models.
    Model(ModelArgs),
    /// Look at data, and write it in other forms.
    Data(DataArgs),
    /// Check, compare and run data recipes.
    Recipe(RecipeArgs),
    /// Choose, test and pay the language models that research beside the Playbook.
    #[command(after_long_help = RESEARCHER_HELP)]
    Researcher(ResearcherArgs),
    /// What left this machine or wanted to, and what arXiv and the Hugging Face Hub have.
    #[command(after_long_help = NET_HELP)]
    Net(NetArgs),
    /// Decide what a run holds for a person.
    #[command(after_long_help = REVIEW_HELP)]
    Review(ReviewArgs),
    /// What earlier runs taught and what documents say: add, search, show, share.
    #[command(after_long_help = "\
The knowledge base is one file for all workspaces of this machine: knowledge.db in the cache folder, or the file that
TREX_KNOWLEDGE names. TREX_KNOWLEDGE=off switches it off: runs take nothing from it and leave nothing there.")]
    Kb(KbArgs),
    /// Measure parts of the program: how well the search decides, how well requirements are read.
    Bench(BenchArgs),
    /// Say what this machine offers and what is missing.
    Doctor(DoctorArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Run one job from standard input; started by other commands.
    #[command(hide = true)]
    Worker,
    /// Answer questions and print the numbers behind the answers.
    #[command(hide = true)]
    Probe(ProbeArgs),
    /// Write a base model as a GGUF file of 32-bit floats.
    #[command(hide = true)]
    BaseGguf(BaseGgufArgs),
    /// Make the bundled model from nothing.
    #[command(hide = true)]
    MakeModel(MakeModelArgs),
    /// Time single parts of the program; for the benchmarks.
    #[command(hide = true)]
    Measure(MeasureArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    #[command(subcommand)]
    pub(crate) command: MeasureCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureCommand {
    /// Optimiser steps on made-up tokens.
    Steps {
        /// Model folder.
        #[arg(long)]
        model: PathBuf,
        /// Sequences of a batch.
        #[arg(long, default_value_t = 4)]
        batch: usize,
        /// Tokens of a sequence.
        #[arg(long, default_value_t = 256)]
        seq: usize,
        /// Optimiser steps.
        #[arg(long, default_value_t = 5)]
        steps: usize,
        /// Rank of the adapters.
        #[arg(long, default_value_t = 8)]
        rank: usize,
        /// Share of each sequence that carries loss.
        #[arg(long, default_value_t = 0.25)]
        supervised: f64,
        /// Frozen weights in bfloat16.
        #[arg(long)]
        bf16: bool,
        /// Number format of the frozen base: none, as_stored, q8_0, q6_k, q5_k, q4_k or q4_0.
        #[arg(long, default_value = "none")]
        quantization: Quantization,
        /// Automatic differentiation instead of the engine.
        #[arg(long)]
        autograd: bool,
    },
    /// Scoring and greedy generation on made-up prompts.
    Eval {
        /// Model folder.
        #[arg(long)]
        model: PathBuf,
        /// Prompts that go through the model together.
        #[arg(long, default_value_t = 16)]
        prompts: usize,
        /// Tokens of a prompt.
        #[arg(long, default_value_t = 96)]
        prompt_tokens: usize,
        /// Tokens at the beginning that all prompts share.
        #[arg(long, default_value_t = 40)]
        shared_tokens: usize,
        /// Tokens that are generated after each prompt.
        #[arg(long, default_value_t = 64)]
        new_tokens: usize,
        /// Times that everything is done.
        #[arg(long, default_value_t = 3)]
        repeats: usize,
        /// Weights in bfloat16.
        #[arg(long)]
        bf16: bool,
    },
    /// Hybrid search over made-up passages.
    Kb {
        /// Folder that is emptied and filled.
        #[arg(long)]
        folder: PathBuf,
        /// Passages.
        #[arg(long, default_value_t = 100_000)]
        passages: usize,
        /// Questions.
        #[arg(long, default_value_t = 500)]
        questions: usize,
    },
    /// Large matrix products on all threads.
    Product,
}

#[derive(Debug, Args)]
pub(crate) struct WorkspaceArgs {
    /// Folder of the workspace.
    #[arg(long, short, default_value = ".", env = "TREX_WORKSPACE")]
    pub(crate) workspace: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// What the model should do better, in English or Chinese.
    pub(crate) words: String,
    /// Data to train on; a second file is for dev, a third for test, and what is missing is held out of the first.
    #[arg(long, num_args = 1..=3)]
    pub(crate) data: Vec<PathBuf>,
    /// Answer to an open question: kind=KIND, metric=METRIC or options=A,B,….
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) answer: Vec<String>,
    /// Take the proposed answer of every open question.
    #[arg(long)]
    pub(crate) accept: bool,
    /// Language model to ask where the words say nothing certain, as for `trex run`.
    #[arg(long, env = "TREX_RESEARCHER")]
    pub(crate) researcher: Option<String>,
    /// File to write.
    #[arg(long, short, default_value = "task.toml")]
    pub(crate) out: PathBuf,
}

/// Which task, and what is changed in it.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// A built-in task or a TOML file.
    pub(crate) task: String,
    /// Seed of everything random; the same seed gives the same result on the same kind of processor.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder that the data paths of the task file start from; the file's own folder where absent.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Base model instead of the task's: `bundled`, or a name of `trex model list`.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Most training trials instead of the task's.
    #[arg(long)]
    pub(crate) trials: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ForecastArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// Folder that the run would have, for the free space of its disk.
    #[arg(long, short, default_value = ".", env = "TREX_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Threads of a worker; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal, instead of the task's.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Language model to ask before the Playbook instead of those of `trex researcher use`: preset:MODEL, an address, or
    /// playbook for none.
    #[arg(long, env = "TREX_RESEARCHER")]
    pub(crate) researcher: Option<String>,
    /// Begin a new run although the workspace holds an unfinished one.
    #[arg(long)]
    pub(crate) new: bool,
    /// Take nothing from earlier runs; later ones still learn from this one.
    #[arg(long)]
    pub(crate) no_warm_start: bool,
    #[command(flatten)]
    pub(crate) gates: GateArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Threads of a worker; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Variants of a batch that are trained at the same time, each by a worker with its share of the threads. May pay on many
    /// processors where a small model cannot keep them busy; on two it brought nothing. On a GPU there is one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// auto, cpu, cuda, cuda:N or metal, instead of the task's; the fastest that can be had where neither says.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
    /// Refuse to start with fewer free bytes on the workspace's disk.
    #[arg(long, default_value_t = 256 << 20)]
    pub(crate) reserve_bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Start after the event with this number.
    #[arg(long, default_value_t = 0)]
    pub(crate) after: u64,
    /// Print what is there and return instead of waiting for the end.
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Node or variant, as `trex tree` names it.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Language model to ask for the cause, as for `trex run`.
    #[arg(long, env = "TREX_RESEARCHER")]
    pub(crate) researcher: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Print the page with tree and curves.
    #[arg(long, conflicts_with = "md")]
    pub(crate) html: bool,
    /// Print Markdown, the default.
    #[arg(long)]
    pub(crate) md: bool,
    /// Print a summary in words instead, in which every number is one that was measured.
    #[arg(long, conflicts_with_all = ["md", "html"])]
    pub(crate) words: bool,
    /// Language model to write it, as for `trex run`; the Playbook does where absent.
    #[arg(long, env = "TREX_RESEARCHER")]
    pub(crate) researcher: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Take in a GGUF file, a Hugging Face folder, or hub:OWNER/NAME.
    #[command(after_long_help = "\
A folder is used where it lies and must stay there. A GGUF file enters once: its tokenizer, template and shape are
written out as Hugging Face files in the model cache (TREX_CACHE), the weights are linked or copied to them, and the file
itself may go. A hub id is fetched into the normal Hugging Face cache (HF_HUB_CACHE, HF_HOME); HF_HUB_OFFLINE=1 keeps off the network
and uses what the cache holds. hub:OWNER/NAME/FILE.gguf takes one GGUF file of a repository.")]
    Add {
        /// A path, or hub:ID.
        source: String,
        /// Name to use in tasks; the file or repository name where absent.
        #[arg(long)]
        name: Option<String>,
    },
    /// List the models that tasks can name.
    List,
    /// List what lies in the Hugging Face cache and in the folders of LM Studio and Ollama, and whether `add` takes it.
    #[command(after_long_help = "\
Looks where HF_HUB_CACHE, HF_HOME and OLLAMA_MODELS say, else where those programs keep their models in the home folder. Only
looks; `trex model add PATH --name NAME` takes one in.")]
    Found,
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Read a file, an archive or a folder of any supported form and say what is in it.
    Profile(ProfileArgs),
    /// List the rows that could not be read or do not fit, with place and reason.
    Quarantine(QuarantineArgs),
    /// Show rows as conversations, or as a model is trained on them.
    Show(ShowArgs),
    /// Find the rows that fit a question best, by what they mean.
    Search(SearchArgs),
    /// Write the rows in a form that other tools load.
    Export(DataExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// JSONL, JSON, CSV, TSV, text, Parquet or Arrow, also in .gz, .zst or .zip, or a folder of them.
    pub(crate) file: PathBuf,
    /// Column that is the input; guessed where absent.
    #[arg(long)]
    pub(crate) input: Option<String>,
    /// Column with the answer; guessed where absent.
    #[arg(long)]
    pub(crate) answer: Option<String>,
    /// Column whose equal values belong together.
    #[arg(long)]
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print a page with pictures.
    #[arg(long)]
    pub(crate) html: bool,
    /// Count tokens with the tokenizer of this model.
    #[arg(long)]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print CSV that is safe to open in a spreadsheet.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Rows that are printed at most.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Show so many rows as the model sees them, with the trained tokens marked.
    #[arg(long, value_name = "N")]
    pub(crate) as_trained: Option<usize>,
    /// Rows that are passed over first.
    #[arg(long, default_value_t = 0)]
    pub(crate) skip: usize,
    /// Rows that are shown, without --as-trained.
    #[arg(long, default_value_t = 5)]
    pub(crate) rows: usize,
    /// Show only rows with this text in prompt or answer.
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Show this page of the rows, from 1, and how many there are; uses an index that is made once.
    #[arg(long, value_name = "N", conflicts_with = "as_trained")]
    pub(crate) page: Option<usize>,
    /// Model whose tokenizer and chat template are used.
    #[arg(long, default_value = "bundled")]
    pub(crate) model: String,
    /// Tokens of an example at most, as in training.
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_length: usize,
    /// What the training minimises; told from the rows where absent: dpo for pairs, pretrain for raw text, else sft.
    #[arg(long, value_enum, requires = "as_trained")]
    pub(crate) objective: Option<ObjectiveName>,
    /// Print a page instead of text.
    #[arg(long, requires = "as_trained")]
    pub(crate) html: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveName {
    Sft,
    Pretrain,
    Dpo,
    Orpo,
}

impl From<ObjectiveName> for TrainObjective {
    fn from(name: ObjectiveName) -> Self {
        match name {
            ObjectiveName::Sft => Self::Sft,
            ObjectiveName::Pretrain => Self::Pretrain,
            ObjectiveName::Dpo => Self::Dpo,
            ObjectiveName::Orpo => Self::Orpo,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// What is looked for, in plain words.
    pub(crate) query: String,
    /// Rows that are shown.
    #[arg(long, default_value_t = 10)]
    pub(crate) rows: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DataExportArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// File to write; a folder for hf.
    #[arg(long, short)]
    pub(crate) out: PathBuf,
    /// messages, prompt-completion, preference, sharegpt, csv, parquet, or hf for a Hugging Face dataset folder; where
    /// absent, preference for preference pairs and messages for all else.
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Licence identifier for the card of a dataset folder.
    #[arg(long)]
    pub(crate) license: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    #[command(subcommand)]
    pub(crate) command: RecipeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Check a recipe and print it in its canonical form, with its hash.
    Check {
        /// A TOML file.
        file: PathBuf,
    },
    /// Say what two recipes do differently.
    Diff {
        /// A TOML file.
        before: PathBuf,
        /// A TOML file.
        after: PathBuf,
    },
    /// List the versions of a recipe that were run in a workspace, with what each changed.
    History {
        /// A TOML file, or the name of a recipe.
        file: PathBuf,
        #[command(flatten)]
        workspace: WorkspaceArgs,
    },
    /// List the operators with their parameters, defaults and reasons.
    Operators,
    /// Print the JSON schema of recipe files.
    Schema,
    /// Run a recipe, and write what came out.
    #[command(after_long_help = "\
The result is kept in the workspace by content: a second run with the same recipe and the same data is found, not done.
Ctrl-C stops in order; the same command goes on where it was stopped.")]
    Run(RecipeRunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeRunArgs {
    /// A TOML file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Folder to write train, dev and test to; nothing is written where absent.
    #[arg(long, short)]
    pub(crate) out: Option<PathBuf>,
    /// Form of the files, as for `trex data export`.
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// JSON lines with `id` and `loss` of each row under the base model, for difficulty_filter; measured where absent.
    #[arg(long)]
    pub(crate) losses: Option<PathBuf>,
    /// Model whose tokenizer counts, for token_filter, whose losses are measured, for difficulty_filter, and which writes
    /// where --writer names no other.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Model that writes texts: a name of `trex model list`, or a language model as for `trex run --researcher`, to which
    /// the rows are then sent.
    #[arg(long)]
    pub(crate) writer: Option<String>,
    /// Licence identifier for the card of a dataset folder.
    #[arg(long)]
    pub(crate) license: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Device that jobs would ask for.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}

#[derive(Debug, Args)]
pub(crate) struct MakeModelArgs {
    /// Folder to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Optimiser steps of the first part.
    #[arg(long, default_value_t = 1500)]
    pub(crate) steps: usize,
    /// Tokens per step.
    #[arg(long, default_value_t = 2048)]
    pub(crate) tokens_per_step: usize,
    /// Optimiser steps of the second part, which practises what the mini tasks ask for.
    #[arg(long, default_value_t = 1000)]
    pub(crate) practice_steps: usize,
    /// Take the first part as it lies in the folder and do the second only.
    #[arg(long)]
    pub(crate) skip_general: bool,
}
