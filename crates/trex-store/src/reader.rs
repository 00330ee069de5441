//! A workspace that is only read, lease or no lease. Each call sees what was committed when it began.

use trex_domain::{Millis, RunId, RunState, StoredEvent};

use crate::database::Database;
use crate::lease::{is_held, last_owner};
use crate::{LeaseOwner, RunSummary, StoreError, Workspace};

/// A workspace that is open for reading.
#[derive(Debug)]
pub struct Reader {
    workspace: Workspace,
    database: Database,
}

impl Reader {
    pub(crate) fn new(workspace: Workspace, database: Database) -> Self {
        Self { workspace, database }
    }

    /// The folder.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Whether a program is writing at this moment. A run without a verdict that nobody writes to is interrupted.
    pub fn has_writer(&self) -> bool {
        is_held(self.workspace.dir())
    }

    /// Since when the program has the lease that took it last, which is the one at work where [`Self::has_writer`] says so;
    /// `None` where that cannot be read.
    pub fn writer_since(&self) -> Option<Millis> {
        last_owner(self.workspace.dir()).map(|owner| owner.since)
    }

    /// The program that is writing at this moment; `None` where there is none, or where it is just being said.
    pub fn writer(&self) -> Option<LeaseOwner> {
        self.has_writer().then(|| last_owner(self.workspace.dir())).flatten()
    }

    /// All runs, the newest first.
    pub fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        self.database.runs()
    }

    /// The newest run, where there is one.
    pub fn latest_run(&self) -> Result<Option<RunSummary>, StoreError> {
        Ok(self.runs()?.into_iter().next())
    }

    /// All events of a run with `seq > after`, in order; none for a run that is not there.
    pub fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, StoreError> {
        self.database.events(run, after)
    }

    /// The state of a run; an error where there is no such run.
    pub fn state(&self, run: RunId) -> Result<RunState, StoreError> {
        self.database.state(run)
    }
}
