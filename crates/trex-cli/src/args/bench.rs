//! Arguments of `trex bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::WorkspaceArgs;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Train every point of a built-in task's grid and keep what came out, for `bench search` and `bench honesty`.
    #[command(after_long_help = "\
160 points with their seeds, real trainings: from ten minutes of processor time per seed on, by the size of the trainings.
Stop with Ctrl-C or kill; the same command goes on where it was. Seeds are recorded one after the other, and a replay uses
those that are whole.")]
    Record(RecordArgs),
    /// Simulate searches on recorded surfaces: what each way of searching finds for the same budget.
    #[command(after_long_help = "\
The unit of the budget is one training of full length. Regret is how far what a search recommends stays behind the best
point of the grid, on the sealed split. Contenders: random, grid, sequential, greedy, tpe, asha, bohb, uct, thompson,
trex-rungs (the search of a run with rungs) and trex (the search of a run with default settings).")]
    Search(ReplayArgs),
    /// Simulate searches whose candidates are equal, or better by a known gain, and count wrong verdicts.
    Honesty(HonestyArgs),
    /// How many proposals that were broken on purpose the verifier catches, and how many sound ones it stops.
    Verifier {
        /// Seed of the proposals.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// How near the forecasts of finished runs came to what their trials took.
    Forecast {
        /// Workspaces with runs.
        #[arg(long = "workspace", required = true)]
        workspaces: Vec<PathBuf>,
    },
    /// Searches of one budget that differ in who proposes: the Playbook, with a model beside it, random draws, one default.
    #[command(after_long_help = "\
On a surface nothing is trained: a variant brings what the nearest point of the grid brought, and rows, recipes and verifier are
real. On a built-in task everything is trained. strong and weak are scripted models beside the Playbook, the one with the best
points of the (first) surface, the other with useless ones; garbled keeps to no form.")]
    Researcher(ResearcherBenchArgs),
    /// How much of written requirements is read as it was meant.
    Requirements {
        /// List what was read wrong.
        #[arg(long)]
        wrong: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files of surfaces, as `trex bench record` writes them.
    #[arg(long = "surface", required = true)]
    pub(crate) surfaces: Vec<PathBuf>,
    /// Budget of a search in trainings of full length.
    #[arg(long, default_value_t = 16.0)]
    pub(crate) budget: f64,
    /// Simulated searches of each contender.
    #[arg(long, default_value_t = 200)]
    pub(crate) searches: u64,
    /// Contenders, separated by commas; all where absent.
    #[arg(long, value_delimiter = ',')]
    pub(crate) contenders: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResearcherBenchArgs {
    /// Files of surfaces, as `trex bench record` writes them.
    #[arg(long = "surface", required_unless_present = "tasks")]
    pub(crate) surfaces: Vec<PathBuf>,
    /// Tasks to train on for real: built-in ones, such as ftbench/mini-1, or task files.
    #[arg(long = "task")]
    pub(crate) tasks: Vec<String>,
    /// Budget of a search in trainings of full length.
    #[arg(long, default_value_t = 16)]
    pub(crate) budget: usize,
    /// Simulated searches of each answerer on a surface; with 0 a surface only tells the strong answerer of a task what is good.
    #[arg(long, default_value_t = 200)]
    pub(crate) searches: u64,
    /// Searches of each answerer on a task.
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Who proposes, separated by commas: playbook, strong, guessing, weak, garbled, random, default; all where absent.
    #[arg(long, value_delimiter = ',')]
    pub(crate) answerers: Vec<String>,
    /// Language models to put beside the Playbook, as `trex researcher use` takes them.
    #[arg(long = "model")]
    pub(crate) models: Vec<String>,
    /// Simulated searches of each of them on a surface.
    #[arg(long, default_value_t = 10)]
    pub(crate) model_searches: u64,
    /// Folder for the answers of models, and for what searches with `--task` leave behind.
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Threads of a worker.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
}

#[derive(Debug, Args)]
pub(crate) struct HonestyArgs {
    /// File of a surface, as `trex bench record` writes it.
    #[arg(long)]
    pub(crate) surface: PathBuf,
    /// Simulated searches of each kind.
    #[arg(long, default_value_t = 1000)]
    pub(crate) searches: u64,
    /// Experiments of a search.
    #[arg(long, default_value_t = 4)]
    pub(crate) experiments: usize,
    /// Variants of an experiment.
    #[arg(long, default_value_t = 3)]
    pub(crate) batch: usize,
    /// True gain, in standard errors of the paired difference on the select split.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) gain_se: f64,
    /// Trainings of the finalist on further seeds.
    #[arg(long, default_value_t = 2)]
    pub(crate) finalist_seeds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Task whose answers are right or wrong: a built-in one, such as ftbench/mini-1, or a task file.
    pub(crate) task: String,
    /// Optimiser steps at the start of the grid instead of the task's.
    #[arg(long)]
    pub(crate) max_steps: Option<usize>,
    /// Examples of a step at the start of the grid instead of the task's.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Train and score in bfloat16.
    #[arg(long)]
    pub(crate) bf16: bool,
    /// Items of search, select and final that are scored at most.
    #[arg(long, num_args = 3, value_names = ["SEARCH", "SELECT", "FINAL"])]
    pub(crate) items: Vec<usize>,
    /// File of the surface; one that is there is gone on with.
    #[arg(long, short)]
    pub(crate) out: PathBuf,
    /// Folder for data and what a training leaves behind.
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Seed of data and trainings.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Trainings of each point.
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Threads of a worker.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
}
