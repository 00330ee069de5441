//! `trex init`: creates a workspace.

use serde_json::json;
use trex_store::Workspace;

use crate::args::WorkspaceArgs;
use crate::error::CliError;
use crate::output::Output;
use crate::system::SystemClock;

pub(crate) fn run(args: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let workspace = Workspace::init(&args.workspace, &SystemClock)?;
    output.result(&json!({"workspace": workspace.dir()}), || format!("workspace {}", workspace.dir().display()))
}
