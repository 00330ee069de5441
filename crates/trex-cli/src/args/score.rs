//! Arguments of `trex score`.

use std::path::PathBuf;

use clap::Args;
use trex_domain::DeviceChoice;

use crate::args::WorkspaceArgs;

pub(crate) const SCORE_HELP: &str = "\
NODE is a variant (s2.e1.a), an experiment (s2.e1, its winner) or `best`; `trex tree` lists them.
FILE has prompts with their right answers, in any form in which the task's data may come, and the columns of the task.
Both models answer all of them, as the task has it; the gain is compared item by item. No split of the run is opened, and
nothing of it changes what the run found. Rows that the run trained on are named: they say nothing about new ones.

  trex score best my-prompts.csv --workspace demo";

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Variant, experiment, or `best`.
    pub(crate) node: String,
    /// Prompts with their right answers.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Threads of a worker; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal, instead of the task's.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}
