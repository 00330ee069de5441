//! Arguments of `trex ask`.

use std::path::PathBuf;

use clap::Args;
use trex_domain::DeviceChoice;

use crate::args::WorkspaceArgs;

pub(crate) const ASK_HELP: &str = "\
NODE is a variant (s2.e1.a), an experiment (s2.e1, its winner) or `best`; `trex tree` lists them.
Both models get the question in the chat template of the base. Without --temperature the likeliest token is taken.
With --conversation each model is first given what was asked before and what it answered itself; the new turn is added to the
file, one line of JSON for each. A file that is not there yet begins a conversation.

  trex ask best \"The scene was wonderful.\" --workspace demo
  trex ask best \"Why?\" --workspace demo --conversation talk.jsonl";

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// Variant, experiment, or `best`.
    pub(crate) node: String,
    /// The question.
    #[arg(required = true)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// What stands before the question as the system's turn.
    #[arg(long)]
    pub(crate) system: Option<String>,
    /// File of a conversation, which this question goes on.
    #[arg(long, value_name = "FILE")]
    pub(crate) conversation: Option<PathBuf>,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 128)]
    pub(crate) max_new_tokens: usize,
    /// Draw tokens at this temperature.
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads of a worker; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal, instead of the task's.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}
