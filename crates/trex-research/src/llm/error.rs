//! The errors of asking a language model. Their class decides whether asking again may help.

use std::io;
use std::time::Duration;

use trex_domain::{ErrorClass, Problem};

use crate::ResearchError;

/// What can go wrong in asking a language model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The gate to the network refused.
    #[error(transparent)]
    Gate(#[from] ResearchError),
    /// A name before the colon that is no preset.
    #[error("no Researcher is called {text:?}")]
    UnknownPreset {
        /// As given.
        text: String,
        /// The nearest preset.
        nearest: Option<String>,
    },
    /// A service with several models, and none is named.
    #[error("{preset} serves several models and none is named")]
    NoModelNamed {
        /// The preset.
        preset: &'static str,
    },
    /// No connection.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Where.
        host: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// Nothing came for too long.
    #[error("{host} sent nothing for {} s", limit.as_secs_f64())]
    TimedOut {
        /// Where.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended in the middle of an answer.
    #[error("the answer of {host} broke off after {received} bytes")]
    CutOff {
        /// Where.
        host: String,
        /// Bytes that came.
        received: usize,
        /// Why, where the connection says it.
        source: Option<io::Error>,
    },
    /// The key is missing or wrong.
    #[error("{host} does not accept the key (status {status}): {excerpt}")]
    Unauthorised {
        /// Where.
        host: String,
        /// HTTP status.
        status: u16,
        /// What the service says.
        excerpt: String,
    },
    /// Too many questions, or no credit is left.
    #[error("{host} takes no more questions for now: {excerpt}")]
    RateLimited {
        /// Where.
        host: String,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
        /// What the service says.
        excerpt: String,
    },
    /// The service failed.
    #[error("{host} failed (status {status}): {excerpt}")]
    Unavailable {
        /// Where.
        host: String,
        /// HTTP status.
        status: u16,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
        /// What the service says.
        excerpt: String,
    },
    /// The service does not take the question.
    #[error("{host} refuses the question (status {status}): {excerpt}")]
    Refused {
        /// Where.
        host: String,
        /// HTTP status.
        status: u16,
        /// What the service says.
        excerpt: String,
    },
    /// An answer that is neither JSON nor a stream of events.
    #[error("{host} answers with {found:?} instead of JSON or an event stream")]
    WrongContentType {
        /// Where.
        host: String,
        /// What came.
        found: String,
    },
    /// JSON that is not the protocol's.
    #[error("{host} does not speak the protocol: {excerpt}")]
    Protocol {
        /// Where.
        host: String,
        /// What came.
        excerpt: String,
        /// Why it cannot be read, where it is no JSON at all.
        source: Option<serde_json::Error>,
    },
    /// More than an answer can be.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// Where.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// The caller wants no answer any more.
    #[error("the question was taken back")]
    Cancelled,
    /// A service that failed repeatedly is left alone for a while.
    #[error("{host} failed {failures} times in a row and is not asked for another {wait_s} s")]
    CircuitOpen {
        /// Where.
        host: String,
        /// Failures in a row.
        failures: usize,
        /// Seconds until it is tried again.
        wait_s: u64,
    },
    /// No answer was of the form that was asked for.
    #[error("{model} did not answer in the form that was asked for, {attempts} times: {last}")]
    OffSchema {
        /// Who was asked.
        model: String,
        /// Answers.
        attempts: usize,
        /// What was wrong with the last.
        last: String,
    },
    /// The file system refused.
    #[error(transparent)]
    Files(#[from] trex_fs::FsError),
}

impl ModelError {
    /// As the port to language models takes it.
    pub(crate) fn boxed(self) -> Box<dyn Problem + Send + Sync> {
        Box::new(self)
    }

    /// How long the service asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Problem for ModelError {
    fn code(&self) -> &'static str {
        match self {
            Self::Gate(err) => err.code(),
            Self::UnknownPreset { .. } => "llm.unknown_preset",
            Self::NoModelNamed { .. } => "llm.no_model_named",
            Self::Unreachable { .. } => "llm.unreachable",
            Self::TimedOut { .. } => "llm.timed_out",
            Self::CutOff { .. } => "llm.cut_off",
            Self::Unauthorised { .. } => "llm.unauthorised",
            Self::RateLimited { .. } => "llm.rate_limited",
            Self::Unavailable { .. } => "llm.unavailable",
            Self::Refused { status: 404, .. } => "llm.not_found",
            Self::Refused { status: 400 | 422, .. } => "llm.bad_request",
            Self::Refused { .. } => "llm.refused",
            Self::WrongContentType { .. } => "llm.wrong_content_type",
            Self::Protocol { .. } => "llm.protocol",
            Self::TooLarge { .. } => "llm.too_large",
            Self::Cancelled => "llm.cancelled",
            Self::CircuitOpen { .. } => "llm.circuit_open",
            Self::OffSchema { .. } => "llm.off_schema",
            Self::Files(err) => err.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Gate(err) => return err.hint(),
            Self::Files(err) => return err.hint(),
            Self::UnknownPreset { nearest, .. } => {
                let presets =
                    "`trex researcher presets` lists them; an address such as http://127.0.0.1:8080#MODEL works too";
                return Some(match nearest {
                    Some(name) => format!("did you mean {name}? {presets}"),
                    None => presets.to_owned(),
                });
            }
            Self::NoModelNamed { preset } => return Some(format!("write {preset}:MODEL")),
            Self::Unreachable { .. } | Self::TimedOut { .. } => {
                "check that the program that serves the model runs and listens there; `trex researcher test` tries it"
            }
            Self::CutOff { .. } | Self::Unavailable { .. } | Self::CircuitOpen { .. } => "try again later",
            Self::Unauthorised { .. } => "store the key with `trex researcher key set NAME`, or set its variable",
            Self::RateLimited { .. } => "wait, or look at the limits and the credit of your account",
            Self::Refused { status: 404, .. } => "check the name of the model and the address",
            Self::Refused { .. } => "check the name of the model and that it takes this kind of question",
            Self::WrongContentType { .. } | Self::Protocol { .. } => {
                "check the address: it must lead to chat completions of OpenAI or messages of Anthropic, mostly up to /v1"
            }
            Self::TooLarge { .. } | Self::OffSchema { .. } => "use a more able model; the Playbook answers meanwhile",
            Self::Cancelled => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Gate(err) => err.class(),
            Self::Files(err) => err.class(),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::CutOff { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::CircuitOpen { .. } => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        }
    }
}
