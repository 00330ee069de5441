//! Arguments of `trex net`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct NetArgs {
    #[command(subcommand)]
    pub(crate) command: NetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// List every attempt to reach the network from this machine, refused ones too, oldest first.
    Log {
        /// List the newest so many only.
        #[arg(long)]
        last: Option<usize>,
    },
    /// Look for papers on arXiv.
    Papers(FindArgs),
    /// Look for data sets on the Hugging Face Hub, with licence and size.
    Datasets(FindArgs),
    /// Look for models on the Hugging Face Hub, with licence and size.
    Models(FindArgs),
    /// Fetch the rows of a data set from the Hugging Face Hub and write a recipe that decontaminates them before anything is
    /// trained on.
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// The data set, OWNER/NAME.
    pub(crate) dataset: String,
    /// The recipe file to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Files with evaluation items that its rows are compared with; give those of your task.
    #[arg(long, required = true)]
    pub(crate) evaluation: Vec<PathBuf>,
    /// Branch, tag or commit; main where absent.
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Take only files whose path contains this, such as train.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Fetch at most so many MiB.
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_mib: u64,
}

#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    /// What is looked for.
    #[arg(required = true)]
    pub(crate) words: Vec<String>,
    /// Most results.
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: usize,
    /// Add the abstracts of the papers that were found to the library of `trex kb`, so that runs can cite them.
    #[arg(long)]
    pub(crate) add: bool,
}

pub(crate) const NET_HELP: &str = "\
Everything that leaves this machine passes one gate: TREX_OFFLINE=1 or HF_HUB_OFFLINE=1 shuts it, and only known hosts are
reached otherwise. Each attempt is written to net.jsonl in the cache folder before it is made; one that cannot be written
down is not made. Addresses are logged without what stands behind a question mark.";
