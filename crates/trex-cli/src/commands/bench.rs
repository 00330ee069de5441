//! `trex bench`: how well the search decides, on recorded trainings, how well requirements are read, and how often the
//! verifier is right.

mod forecast;
mod honesty;
mod record;
mod requirements;
mod researcher;
mod search;
mod surfaces;
mod verifier;

use std::path::PathBuf;

use trex_domain::{ErrorClass, Problem};

use crate::args::bench::{BenchArgs, BenchCommand};
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn run(args: &BenchArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        BenchCommand::Record(args) => record::run(args, output),
        BenchCommand::Search(args) => search::run(args, output),
        BenchCommand::Honesty(args) => honesty::run(args, output),
        BenchCommand::Forecast { workspaces } => forecast::run(workspaces, output),
        BenchCommand::Verifier { seed } => verifier::run(*seed, output),
        BenchCommand::Researcher(args) => researcher::run(args, output),
        BenchCommand::Requirements { wrong } => requirements::run(*wrong, output),
    }
}

/// What only a benchmark can get wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A file that was recorded on something else.
    #[error("{} holds a surface of another task, model or seed", path.display())]
    OtherSurface {
        /// The file.
        path: PathBuf,
    },
    /// A score between right and wrong.
    #[error("item {item} has score {score}, and a surface keeps only right and wrong")]
    GradedMetric {
        /// The item.
        item: String,
        /// Its score.
        score: f64,
    },
    /// A name that nobody has who proposes.
    #[error("nobody who proposes is named {name:?}")]
    UnknownAnswerer {
        /// As given.
        name: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A worker that failed.
    #[error("a worker failed: {message}")]
    Worker {
        /// Its words.
        message: String,
    },
}

impl Problem for BenchError {
    fn code(&self) -> &'static str {
        match self {
            Self::OtherSurface { .. } => "bench.other_surface",
            Self::GradedMetric { .. } => "bench.graded_metric",
            Self::UnknownAnswerer { .. } => "bench.unknown_answerer",
            Self::Worker { .. } => "bench.worker",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherSurface { .. } => Some("give another file with --out, or remove this one".to_owned()),
            Self::GradedMetric { .. } => Some("take a task whose metric is accuracy or exact_match".to_owned()),
            Self::UnknownAnswerer { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Self::UnknownAnswerer { .. } => Some(
                "known are playbook, strong, guessing, weak, garbled, random and default; models are named with --model"
                    .to_owned(),
            ),
            Self::Worker { .. } => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Worker { .. } => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        }
    }
}
