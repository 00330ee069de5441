//! Arguments of `trex pin`, `unpin`, `forbid`, `allow` and `branch`.

use clap::Args;
use trex_domain::TreePart;

use crate::args::WorkspaceArgs;

pub(crate) const FORBID_HELP: &str = "\
Nothing new is begun below NODE; of a batch under way, what no worker is at goes no further. What was found there stays, and can
still be chosen in the end.

  trex forbid s2 --reason \"we tried that in May\"
  trex allow s2                                        take it back";

pub(crate) const BRANCH_HELP: &str = "\
The variant differs from NODE in the settings that are given: from the variant itself, from the winner of an experiment, from the
best of a strategy. It is checked like any proposal and trained next, before the search goes on by itself; `trex show NODE --json`
prints under `steering.branch_from` what there is to change.

  trex branch s2.e1.a --set config.learning_rate=0.0005
  trex branch s2 --set config.lora.r=16 --set config.lora.lora_alpha=32 --reason \"more room\"";

#[derive(Debug, Args)]
pub(crate) struct PartArgs {
    /// Strategy (s2), experiment (s2.e1) or variant (s2.e1.a), as `trex tree` names it.
    pub(crate) node: TreePart,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForbidArgs {
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Why.
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BranchArgs {
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Setting and new value, such as config.lora.r=16; the value is JSON, else text.
    #[arg(long, value_name = "NAME=VALUE", required = true)]
    pub(crate) set: Vec<String>,
    /// Why.
    #[arg(long)]
    pub(crate) reason: Option<String>,
}
