//! The errors of this crate, and the shape in which every crate's errors reach a person.

use std::fmt;

use serde::Serialize;

use crate::TreePart;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Wrong input or configuration; trying again changes nothing.
    Permanent,
    /// Network or rate limit; trying again later may help.
    Transient,
    /// Memory, disk or a lock; helps when something is freed.
    Resource,
    /// A defect of this program.
    Bug,
}

/// An error as a person or a script sees it: a stable code, a sentence, its causes and what to do.
pub trait Problem: std::error::Error {
    /// A stable code such as `task.unknown_key`; never changes once published.
    fn code(&self) -> &'static str;

    /// What to do, where the person can do something.
    fn hint(&self) -> Option<String> {
        None
    }

    /// What kind of error it is.
    fn class(&self) -> ErrorClass {
        ErrorClass::Permanent
    }
}

/// What can be wrong with a value of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// A run id that is not a UUID.
    #[error("not a run id: {text:?}")]
    BadRunId {
        /// As given.
        text: String,
        /// Why.
        source: uuid::Error,
    },
    /// A node or variant name of another form.
    #[error("not a node name: {text:?}")]
    BadNodeId {
        /// As given.
        text: String,
    },
    /// A passage name of another form.
    #[error("not a passage: {text:?}")]
    BadPassageId {
        /// As given.
        text: String,
    },
    /// A review name of another form.
    #[error("not a review: {text:?}")]
    BadReviewId {
        /// As given.
        text: String,
    },
    /// A name of something that no order can be about.
    #[error("not a strategy, an experiment or a variant: {text:?}")]
    BadTreePart {
        /// As given.
        text: String,
    },
    /// A part that the tree does not have.
    #[error("the tree has no {node}")]
    UnknownTreePart {
        /// As given.
        node: TreePart,
    },
    /// An order that nothing follows any more.
    #[error("the search is over, so nothing of the tree is gone on with")]
    SearchOver,
    /// A part without precedence.
    #[error("{node} is not pinned")]
    NotPinned {
        /// As given.
        node: TreePart,
    },
    /// A part that nobody forbade by its own name.
    #[error("{node} is not forbidden{}", by.as_ref().map(|by| format!(" itself, but by {by}")).unwrap_or_default())]
    NotForbidden {
        /// As given.
        node: TreePart,
        /// What it lies below, where that is forbidden.
        by: Option<TreePart>,
    },
    /// A part that is not gone on with.
    #[error("{node} is forbidden{}", if by == node { String::new() } else { format!(" by {by}") })]
    IsForbidden {
        /// As given.
        node: TreePart,
        /// What was forbidden.
        by: TreePart,
    },
    /// A change by a person that cannot be made.
    #[error("{name} cannot be changed so: {why}")]
    BadEdit {
        /// Names of settings.
        name: String,
        /// Why.
        why: String,
    },
    /// A content hash that is not 64 hexadecimal digits.
    #[error("not a content hash: {text:?}")]
    BadHash {
        /// As given.
        text: String,
        /// Why.
        source: blake3::HexError,
    },
    /// A value that JSON cannot express.
    #[error("value has no JSON form")]
    NotJson(#[source] serde_json::Error),
    /// A number outside its range.
    #[error("{field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Field name.
        field: &'static str,
        /// As given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A budget that does not reach for one variant.
    #[error(
        "budget.trials is {trials}, this task needs at least {needed}: {rungs} for one variant on all rungs (search.rungs), \
         {finalist_seeds} for repeats of the finalist on further seeds (search.finalist_seeds) and {} for a repeat of the first \
         winner", finalist_seeds.min(&1)
    )]
    TooFewTrials {
        /// As given.
        trials: usize,
        /// The fewest that make sense.
        needed: usize,
        /// Rungs of the task.
        rungs: usize,
        /// Further seeds of the task.
        finalist_seeds: usize,
    },
    /// A setting of another program's file that has no usable value.
    #[error("{key} is {value}, expected {expected}")]
    BadSetting {
        /// Path of the key.
        key: String,
        /// As given.
        value: String,
        /// What should be there.
        expected: &'static str,
    },
    /// An adapter target that no supported layer has.
    #[error("unknown target module {name:?}")]
    UnknownTargetModule {
        /// As given.
        name: String,
    },
    /// An entry of `rank_pattern` or `alpha_pattern` that cannot be meant.
    #[error("{setting}: {key}: {fault}")]
    BadModulePattern {
        /// Which of the two.
        setting: &'static str,
        /// The key.
        key: String,
        /// What is wrong with it.
        fault: crate::ModulePatternFault,
    },
    /// An event that cannot follow what was recorded before.
    #[error("event {event} cannot follow: {why}")]
    IllegalEvent {
        /// Kind of event.
        event: &'static str,
        /// What contradicts it.
        why: String,
    },
    /// A state change that the table does not allow.
    #[error("{node} cannot go from {from} to {to}")]
    IllegalTransition {
        /// Node or variant.
        node: String,
        /// Present state.
        from: &'static str,
        /// Wanted state.
        to: &'static str,
    },
}

impl Problem for DomainError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadRunId { .. } => "domain.bad_run_id",
            Self::BadNodeId { .. } => "domain.bad_node_id",
            Self::BadPassageId { .. } => "knowledge.bad_passage_id",
            Self::BadReviewId { .. } => "review.bad_id",
            Self::BadTreePart { .. } => "order.bad_node",
            Self::UnknownTreePart { .. } => "order.unknown_node",
            Self::SearchOver => "order.search_over",
            Self::NotPinned { .. } => "order.not_pinned",
            Self::NotForbidden { .. } => "order.not_forbidden",
            Self::IsForbidden { .. } => "order.forbidden",
            Self::BadEdit { .. } => "review.bad_edit",
            Self::BadHash { .. } => "domain.bad_hash",
            Self::NotJson(_) => "domain.not_json",
            Self::OutOfRange { .. } => "config.out_of_range",
            Self::TooFewTrials { .. } => "budget.too_few_trials",
            Self::BadSetting { .. } => "config.bad_setting",
            Self::UnknownTargetModule { .. } => "config.unknown_target_module",
            Self::BadModulePattern { .. } => "config.bad_module_pattern",
            Self::IllegalEvent { .. } => "domain.illegal_event",
            Self::IllegalTransition { .. } => "domain.illegal_transition",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BadNodeId { .. } => {
                Some("nodes are named like base, s2, s2.e1, variants like s2.e1.a; see `trex tree`".to_owned())
            }
            Self::BadPassageId { .. } => {
                Some("passages have 16 hexadecimal digits, as `trex kb search` shows them".to_owned())
            }
            Self::BadReviewId { .. } => {
                Some("`trex review list` shows them; they are named r1, r2 and so on".to_owned())
            }
            Self::BadTreePart { .. } | Self::UnknownTreePart { .. } => {
                Some("`trex tree` shows them: strategies like s2, experiments like s2.e1, variants like s2.e1.a".to_owned())
            }
            Self::SearchOver => Some("begin another run with `trex run --new`".to_owned()),
            Self::NotPinned { .. } => Some("`trex tree` marks what is pinned".to_owned()),
            Self::NotForbidden { by: Some(by), .. } => Some(format!("allow that one: `trex allow {by}`")),
            Self::NotForbidden { by: None, .. } => Some("`trex tree` marks what is forbidden".to_owned()),
            Self::IsForbidden { by, .. } => Some(format!("allow it first: `trex allow {by}`")),
            Self::BadEdit { .. } => Some(
                "`trex review show ID`, or `trex show NODE --json` for a branch, prints every setting with its name and value"
                    .to_owned(),
            ),
            Self::OutOfRange { field, allowed, .. } => Some(format!("set {field} to a value {allowed}")),
            Self::TooFewTrials { needed, .. } => Some(format!(
                "allow at least {needed} trials (`trials` in [budget], or --trials), or lower rungs or finalist_seeds in [search]"
            )),
            Self::BadSetting { key, expected, .. } => Some(format!("set {key} to {expected}")),
            Self::BadModulePattern { setting, .. } => Some(format!("correct or leave out that entry of {setting}")),
            Self::UnknownTargetModule { .. } => {
                let known = [&crate::TargetModules::ALL_LINEAR[..], &crate::TargetModules::FUSED].concat().join(", ");
                Some(format!("use \"all-linear\", or such of {known} as the model has"))
            }
            _ => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::IllegalEvent { .. } | Self::IllegalTransition { .. } | Self::NotJson(_) => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Resource => "resource",
            Self::Bug => "bug",
        })
    }
}
