//! Fixtures and fakes for the tests of the other crates; a dev-dependency only.
//!
//! Clocks that stand or step, sample values of every domain type that tests need, whole event lists, an event log in
//! memory, one that fails where it is told to, and a temporary workspace folder. Imports the domain only, so every crate may use it. Nothing here starts a
//! thread, opens a socket or draws a random number.

mod clock;
mod failing_log;
mod memory_log;
mod samples;
mod sequences;
mod workspace;

pub use clock::{FixedClock, START, SteppingClock};
pub use failing_log::{Dies, FailingLog, FailingLogError};
pub use memory_log::MemoryLog;
pub use samples::{cost, hash, ledger, node_id, run_id, score, strategy, task, train_done, variant, variant_id};
pub use sequences::{finished_run, legal_events, started, stored};
pub use workspace::{FOLDERS, TempWorkspace};
