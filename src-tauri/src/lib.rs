//! The desktop shell: a window over the engine's use cases.
//!
//! The window reads workspaces and follows their events; everything that changes anything is done by the `trex` program,
//! which runs as a process of its own. So a run outlives the window, and killing the window loses nothing. The page is
//! local, its rights are listed one by one in `capabilities/`, and no command of it reaches the network. Commands run on
//! threads of their own; one thread follows the workspace that is shown.

mod clock;
mod commands;
mod desk;
mod dropped;
mod error;
mod follow;
mod instance;
mod logs;
mod program;
mod settings;
mod shell;
mod view;
mod window;

pub use commands::orders::Wish;
pub use commands::queue::QueueWish;
pub use commands::review::Word;
pub use commands::scores::{BenchTable, ScoreRow, rows_of};
pub use commands::{ExampleTask, HomeView, StartRequest, WorkspaceCard};
pub use dropped::{Dropped, DroppedKind, identify};
pub use error::ShellError;
pub use follow::{LogLine, Progress, StopFollowing, Update, follow, log_lines, view_at};
pub use instance::Instance;
pub use logs::write_bundle;
pub use program::Program;
pub use settings::{Language, Settings, Theme};
pub use shell::Shell;
pub use view::{BudgetView, DecisionView, FailureView, Moment, RunView, TimelinePoint, run_view};
pub use window::{run, with_commands};
