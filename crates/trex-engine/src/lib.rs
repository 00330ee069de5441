//! Use cases, scheduler, verifier, gates, budgets and recovery.

mod live;
mod report;
mod task_file;

pub use live::{BudgetUse, progress_line, tree_text};
pub use report::{REPORT_SCHEMA, build_report, report_html, report_markdown, report_schema};
pub use task_file::{FilePlace, TaskFileError, parse_task_file, task_schema};
