//! The errors of this crate.

use trex_domain::Problem;

/// What can go wrong when a task is asked for by name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FtBenchError {
    /// No task has this name.
    #[error("no FT-Bench task is named {name:?}")]
    UnknownTask {
        /// As given.
        name: String,
        /// The task that was probably meant.
        nearest: Option<String>,
    },
}

impl Problem for FtBenchError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownTask { .. } => "ftbench.unknown_task",
        }
    }

    fn hint(&self) -> Option<String> {
        let Self::UnknownTask { nearest, .. } = self;
        let names = "the mini tasks are ftbench/mini-1 to ftbench/mini-10";
        Some(nearest.as_ref().map_or_else(|| names.to_owned(), |near| format!("did you mean {near}? {names}")))
    }
}
