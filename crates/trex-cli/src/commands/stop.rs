//! `trex stop`: asks the program that works on a run to stop in order, as its first Ctrl-C does. Waits for nothing and
//! kills nothing.

use serde_json::json;
use trex_store::{LeaseOwner, Workspace};

use crate::args::WorkspaceArgs;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let path = &args.workspace;
    let reader = Workspace::open_reader(path)?;
    let owner = reader.writer().ok_or_else(|| CommandError::NobodyAtWork { path: path.clone() })?;
    ask_to_stop(&owner)?;
    let LeaseOwner { pid, command, .. } = &owner;
    let value = json!({"type": "stop_asked", "pid": pid, "command": command});
    output.result(&value, || format!("asked {command} (process {pid}) to stop; `trex resume` goes on later"))
}

/// Asks a process of this program's own to stop as its first Ctrl-C does; where there is no such signal it is ended at once,
/// which loses nothing that was written down.
pub(crate) fn end_in_order(process: &mut std::process::Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};

        // A process that has ended needs no asking.
        kill_process(Pid::from_child(process), Signal::TERM).ok();
    }
    #[cfg(not(unix))]
    process.kill().ok();
}

#[cfg(unix)]
fn ask_to_stop(owner: &LeaseOwner) -> Result<(), CommandError> {
    use rustix::process::{Pid, Signal, kill_process};

    let refused = |source| CommandError::CannotStop { pid: owner.pid, host: owner.host.clone(), source };
    let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| refused(std::io::ErrorKind::InvalidData.into()))?;
    kill_process(pid, Signal::TERM).map_err(|err| refused(err.into()))
}

#[cfg(not(unix))]
fn ask_to_stop(owner: &LeaseOwner) -> Result<(), CommandError> {
    let source = std::io::ErrorKind::Unsupported.into();
    Err(CommandError::CannotStop { pid: owner.pid, host: owner.host.clone(), source })
}
