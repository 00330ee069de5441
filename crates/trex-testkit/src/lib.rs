//! Fixtures and fakes for the tests of the other crates; a dev-dependency only.
//!
//! Clocks that stand or step, sample values of every domain type that tests need, whole event lists, an event log in
//! memory, one that fails where it is told to, a temporary workspace folder, and on the loopback device a language model service
//! that misbehaves and a hub with one repository, the only things here that have a thread and a socket. Imports the domain only, so every crate may use
//! it. Nothing here draws a random number.

mod clock;
mod failing_log;
mod hub_server;
mod memory_log;
mod model_server;
mod samples;
mod sequences;
mod workspace;

pub use clock::{FixedClock, START, SteppingClock};
pub use failing_log::{Dies, FailingLog, FailingLogError};
pub use hub_server::{COMMIT, HubServer};
pub use memory_log::MemoryLog;
pub use model_server::{Heard, ModelServer, Reaction};
pub use samples::{cost, hash, ledger, node_id, run_id, score, strategy, task, train_done, variant, variant_id};
pub use sequences::{finished_run, legal_events, started, stored};
pub use workspace::{FOLDERS, TempWorkspace};
