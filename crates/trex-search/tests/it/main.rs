//! The public API over whole runs: a fake executor carries the steps of a batch out through `RunState::apply`.
#![expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]

mod batch;
mod fake;
mod forecast;
mod plan;
mod replay;
mod search;
