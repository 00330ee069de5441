//! The errors of a run, each with the code and hint of whatever part of the program it comes from.

use std::error::Error;
use std::fmt;

use trex_domain::{DomainError, ErrorClass, FailureClass, Problem, ReviewId, RunFailure, RunId, TreePart};
use trex_eval::EvalError;
use trex_fs::FsError;
use trex_search::SearchError;

use crate::{ExportCheck, TaskFileError};

/// An adapter's error behind a port: its text, causes, code and hint stay its own.
#[derive(Debug)]
pub struct PortError(Box<dyn Problem + Send + Sync>);

impl PortError {
    /// Wraps an adapter's error.
    pub fn new(err: impl Problem + Send + Sync + 'static) -> Self {
        Self(Box::new(err))
    }
}

impl From<Box<dyn Problem + Send + Sync>> for PortError {
    fn from(err: Box<dyn Problem + Send + Sync>) -> Self {
        Self(err)
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What can stop a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The event log.
    #[error(transparent)]
    Log(PortError),
    /// Import or preparation of data.
    #[error(transparent)]
    Data(PortError),
    /// The Researcher.
    #[error("the researcher failed")]
    Researcher(#[source] Box<dyn Error + Send + Sync>),
    /// The export of the result.
    #[error(transparent)]
    Export(PortError),
    /// A task file.
    #[error(transparent)]
    TaskFile(#[from] TaskFileError),
    /// A value or an event that contradicts the run.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Scores that cannot be compared.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An unknown policy.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// A job that no other attempt would mend, outside the search.
    #[error("{what}: {message}")]
    Job {
        /// What it was for.
        what: String,
        /// How it failed.
        class: FailureClass,
        /// Its own code.
        code: String,
        /// What happened.
        message: String,
        /// What the person can do.
        hint: Option<String>,
    },
    /// A run of another model than the one that is there now.
    #[error("the model {name} has changed since the run began")]
    ModelChanged {
        /// Its name.
        name: String,
    },
    /// A run that is not in the event log.
    #[error("the workspace has no run {run}")]
    UnknownRun {
        /// As given.
        run: RunId,
    },
    /// The person asked to stop.
    #[error("stopped on request; nothing that was finished is lost")]
    Stopped,
    /// Nobody decided in time, and the run is to wait for a person.
    #[error("the run waits for a person's decision on {id}")]
    ReviewWaits {
        /// The review.
        id: ReviewId,
    },
    /// A person said no to what the run cannot do without.
    #[error("a person rejected {id}: {reason}")]
    RejectedInReview {
        /// The review.
        id: ReviewId,
        /// As given.
        reason: String,
    },
    /// A review that the run does not have.
    #[error("the run has no review {id}")]
    UnknownReview {
        /// As given.
        id: ReviewId,
    },
    /// A review that is decided.
    #[error("{id} is decided, and the run has gone on")]
    ReviewDecided {
        /// The review.
        id: ReviewId,
    },
    /// A rejection without a reason.
    #[error("a rejection of {id} needs a reason")]
    NoReason {
        /// The review.
        id: ReviewId,
    },
    /// A branch that the budget has no trials for.
    #[error(
        "the budget has no trial left for a branch of {node}: the others are needed by what is under way, or for repeats"
    )]
    NoTrialLeft {
        /// As given.
        node: TreePart,
    },
    /// A variant that is not in the tree, or was never trained.
    #[error("{node} has no trained weights to reproduce")]
    NothingToReproduce {
        /// As given.
        node: String,
    },
    /// A variant that is not in the tree, or was never trained.
    #[error("{node} has no trained weights to export")]
    NothingToExport {
        /// As given.
        node: String,
    },
    /// An export that is not the model that was trained.
    #[error("the {form} export does not agree with the trained model on {} items: {}", check.n, numbers(check))]
    ExportDisagrees {
        /// Form and number format.
        form: String,
        /// The numbers.
        check: Box<ExportCheck>,
    },
}

impl EngineError {
    /// The error as it is recorded: with its causes in one sentence, the first line of each.
    pub(crate) fn to_failure(&self) -> RunFailure {
        let mut message = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            message = format!("{message}: {}", cause.to_string().lines().next().unwrap_or_default());
            next = cause.source();
        }
        RunFailure { code: self.code().to_owned(), message, hint: self.hint() }
    }
}

fn numbers(check: &ExportCheck) -> String {
    let ExportCheck { expected, found, tolerance, .. } = check;
    let likelihood = check.gold_logprob_diff.map_or_else(String::new, |diff| {
        format!("; gold log-likelihoods differ by {diff:.3} nats on average (allowed {:.4})", tolerance.gold_logprob)
    });
    format!("score {expected:.4} trained, {found:.4} exported (allowed difference {}){likelihood}", tolerance.score)
}

impl Problem for EngineError {
    fn code(&self) -> &'static str {
        match self {
            Self::Log(err) | Self::Data(err) | Self::Export(err) => err.0.code(),
            Self::Researcher(_) => "research.failed",
            Self::TaskFile(err) => err.code(),
            Self::Domain(err) => err.code(),
            Self::Fs(err) => err.code(),
            Self::Eval(err) => err.code(),
            Self::Search(err) => err.code(),
            Self::Job { .. } => "run.job_failed",
            Self::ModelChanged { .. } => "run.model_changed",
            Self::UnknownRun { .. } => "run.unknown",
            Self::Stopped => "run.stopped",
            Self::ReviewWaits { .. } => "review.waits",
            Self::RejectedInReview { .. } => "review.rejected",
            Self::UnknownReview { .. } => "review.unknown",
            Self::ReviewDecided { .. } => "review.decided",
            Self::NoReason { .. } => "review.no_reason",
            Self::NoTrialLeft { .. } => "order.no_trial_left",
            Self::NothingToReproduce { .. } => "run.nothing_to_reproduce",
            Self::NothingToExport { .. } => "export.nothing",
            Self::ExportDisagrees { .. } => "export.disagrees",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Log(err) | Self::Data(err) | Self::Export(err) => err.0.hint(),
            Self::TaskFile(err) => err.hint(),
            Self::Domain(err) => err.hint(),
            Self::Fs(err) => err.hint(),
            Self::Eval(err) => err.hint(),
            Self::Search(err) => err.hint(),
            Self::Job { hint, .. } => hint.clone(),
            Self::ModelChanged { .. } => {
                Some("put the old files back, or begin a new run in another workspace".to_owned())
            }
            Self::Stopped => Some("`trex resume` goes on from here".to_owned()),
            Self::ReviewWaits { id } => Some(format!(
                "`trex review show {id}` says what it is about; decide with `trex review approve`, `edit` or `reject`, then \
                 `trex resume`"
            )),
            Self::RejectedInReview { id, .. } => Some(format!(
                "begin a run of another task, or take it back with `trex review approve {id}` and go on with `trex resume`"
            )),
            Self::UnknownReview { .. } => Some("`trex review list --all` shows all of them".to_owned()),
            Self::ReviewDecided { .. } => {
                Some("only the task and the opening of the sealed split can be taken up again".to_owned())
            }
            Self::NoReason { .. } => Some("say why with --reason: it is evidence for what is proposed next".to_owned()),
            Self::NoTrialLeft { .. } => Some(
                "`trex repro` trains again what was tried; for another variant begin a run with more trials (--trials)"
                    .to_owned(),
            ),
            Self::NothingToReproduce { .. } => {
                Some("`trex tree` lists the variants; give one that was trained".to_owned())
            }
            Self::NothingToExport { .. } => Some(
                "`trex tree` lists the variants; give one that was trained, or `best` where something beat the base"
                    .to_owned(),
            ),
            Self::ExportDisagrees { .. } => Some(
                "nothing was kept; narrow formats round small changes away: try a wider one, or the adapter alone \
                     (gguf-lora), and report it where the widest one fails"
                    .to_owned(),
            ),
            Self::UnknownRun { .. } => Some("check the workspace folder and the id of the run".to_owned()),
            Self::Researcher(_) => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Log(err) | Self::Data(err) | Self::Export(err) => err.0.class(),
            Self::Fs(err) => err.class(),
            Self::ReviewWaits { .. } | Self::Job { class: FailureClass::OutOfMemory | FailureClass::DiskFull, .. } => {
                ErrorClass::Resource
            }
            Self::Job { class: FailureClass::Crashed | FailureClass::Hung, .. } => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        }
    }
}
