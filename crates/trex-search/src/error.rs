//! The errors of the search. Proposals that cannot be run are no errors: they are states of a variant.

use trex_domain::Problem;

/// What can be wrong with a request to the search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A policy that does not exist.
    #[error("unknown search policy {name:?}")]
    UnknownPolicy {
        /// As given.
        name: String,
        /// The known name that is nearest, where one is near.
        suggestion: Option<&'static str>,
    },
    /// A recorded surface that cannot be read.
    #[error("line {line} of the surface: {why}")]
    BadSurface {
        /// Line, from 1; 0 while writing.
        line: usize,
        /// Why.
        why: String,
    },
}

impl Problem for SearchError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownPolicy { .. } => "search.unknown_policy",
            Self::BadSurface { .. } => "search.bad_surface",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPolicy { suggestion: Some(name), .. } => {
                Some(format!("set search.policy to {name:?}, which is near, or to another known policy"))
            }
            Self::BadSurface { .. } => Some("record it again with `trex bench record`".to_owned()),
            Self::UnknownPolicy { suggestion: None, .. } => {
                Some(format!("set search.policy to one of {}", crate::POLICY_NAMES.join(", ")))
            }
        }
    }
}
