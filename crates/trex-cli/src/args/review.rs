//! Arguments of `trex review`, and of the gates of `trex run`.

use clap::{Args, Subcommand, ValueEnum};
use trex_domain::{DomainError, GatePolicy, GateStage, ReviewId, TimeoutChoice};

use crate::args::WorkspaceArgs;

pub(crate) const REVIEW_HELP: &str = "\
A run that was begun with `trex run --review` holds its riskiest decisions until a person has looked: the task, claims found in
documents, strategies, variants, and the opening of the sealed split. A decision lies in the workspace until the run takes it,
at once or when it is resumed. The reason of a rejection is evidence for what is proposed next.

  trex review list                                        what waits, the riskiest first
  trex review show r2                                     what it is about, with every setting
  trex review edit r2 --set config.learning_rate=0.0005   let it pass with other values
  trex review reject r3 --reason \"we tried that in May\"";

#[derive(Debug, Args)]
pub(crate) struct ReviewArgs {
    #[command(subcommand)]
    pub(crate) command: ReviewCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// List what waits for a person.
    List {
        #[command(flatten)]
        workspace: WorkspaceArgs,
        /// List what is decided, too.
        #[arg(long)]
        all: bool,
    },
    /// Show what a review is about.
    Show(OneReview),
    /// Let it pass as it is.
    Approve(WordArgs),
    /// Let it pass with other values.
    Edit {
        #[command(flatten)]
        word: WordArgs,
        /// Setting and new value, such as config.lora.r=16; the value is JSON, else text.
        #[arg(long, value_name = "NAME=VALUE", required = true)]
        set: Vec<String>,
    },
    /// Do not let it pass.
    Reject(WordArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneReview {
    /// Name, as `trex review list` shows it.
    pub(crate) id: ReviewId,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WordArgs {
    #[command(flatten)]
    pub(crate) review: OneReview,
    /// Why; a rejection needs one.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Minutes that it took, for the ledger; counted from `trex review show` where absent.
    #[arg(long)]
    pub(crate) minutes: Option<f64>,
}

/// How much a run decides without a person.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Hold the riskiest decisions for a person (`trex review`); without it the run decides everything alone.
    #[arg(long)]
    pub(crate) review: bool,
    /// Percent of the decisions of a stage that pass without a person: requirement (80), literature (90), strategy (70), data
    /// (60), training (90) or evaluation (85).
    #[arg(long, value_name = "STAGE=PERCENT", value_parser = parse_autonomy, requires = "review")]
    pub(crate) autonomy: Vec<(GateStage, u8)>,
    /// Minutes that a decision waits; for ever where absent.
    #[arg(long, value_name = "MINUTES", requires = "review")]
    pub(crate) review_wait: Option<f64>,
    /// What happens then.
    #[arg(long, value_enum, default_value_t = ThenArg::Stop, requires = "review_wait")]
    pub(crate) review_then: ThenArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThenArg {
    /// It passes.
    Approve,
    /// It does not pass.
    Reject,
    /// The run ends, to be resumed.
    Stop,
}

impl GateArgs {
    /// The policy; none where no person is to be asked.
    pub(crate) fn policy(&self) -> Option<GatePolicy> {
        let then = match self.review_then {
            ThenArg::Approve => TimeoutChoice::Approve,
            ThenArg::Reject => TimeoutChoice::Reject,
            ThenArg::Stop => TimeoutChoice::Stop,
        };
        let autonomy = self.autonomy.iter().copied().collect();
        self.review.then_some(GatePolicy { autonomy, wait_min: self.review_wait, then })
    }
}

fn parse_autonomy(text: &str) -> Result<(GateStage, u8), DomainError> {
    let wanted = || DomainError::OutOfRange {
        field: "autonomy",
        value: text.to_owned(),
        allowed: "STAGE=PERCENT, such as strategy=50",
    };
    let (stage, percent) = text.split_once('=').ok_or_else(wanted)?;
    let stage = stage.trim().parse::<GateStage>()?;
    let percent = percent.trim().trim_end_matches('%').parse::<u8>().ok().filter(|percent| *percent <= 100);
    Ok((stage, percent.ok_or_else(wanted)?))
}
