//! Use cases, scheduler, verifier, budgets, recovery and the report.
//!
//! [`start_run`] and [`resume_run`] block until the run has ended; they use one thread and one worker process at a time.
//! Everything outside comes in through the ports of `trex-domain`. No SQL, no tensor and no socket here.

mod ask;
mod asked_writer;
mod error;
mod export_check;
mod forecast;
mod honesty;
mod live;
mod local_model;
mod measure;
mod orders;
mod own_items;
mod queue;
mod report;
mod repro;
mod review;
mod run;
mod task_file;
mod verifier;
mod why;
mod worker_process;

pub use ask::{Answer, Answers, Question, Turn, ask};
pub use asked_writer::{AskedWriter, WritingListener};
pub use error::{EngineError, PortError};
pub use export_check::{ExportCheck, ExportPrecision, ExportTolerance, Weights, score_on_select, trained_weights};
pub use forecast::{Forecast, ForecastRequest, Need, Refused, TimeForecast, forecast};
pub use honesty::{HonestySettings, HonestySummary, Truth, simulate_honesty};
pub use live::{BudgetUse, TreeLook, progress_line, tree_text};
pub use local_model::{LocalModel, LocalModelError, estimate_answer_bytes};
pub use measure::{MeasureListener, WorkerMeter};
pub use orders::{BranchStart, OrderBox, branch_start, foreseen, give_order};
pub use own_items::{OwnItem, OwnScore, OwnScores, score_own};
pub use queue::{Queue, QueueEnding, QueueEntry, QueueState};
pub use report::{
    REPORT_SCHEMA, build_report, mark_interrupted, report_html, report_markdown, report_schema, schema_text, why_best,
};
pub use repro::{Reproduction, reproduce};
pub use review::{PersonsWord, ReviewBox, ReviewEntry, ReviewStatus, decide_review, review_entries};
pub use run::{NewRun, Observer, Ports, RunSettings, resume_run, start_run};
pub use task_file::{FilePlace, TaskFileError, parse_task_file, task_schema};
pub use verifier::bench::{VerifierSummary, measure_verifier};
pub use verifier::{Passed, Proposal, Rejection, check_recipe, estimate_disk_bytes, estimate_memory_bytes, verify};
pub use why::{action_text, actions_about, order_text};
pub use worker_process::WorkerProcesses;
