//! The single-writer lease: an operating system lock on `workspace.lock`. It ends with the process that holds it, so
//! nothing has to be cleaned up after a crash. What the file says only serves messages; the lock decides.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trex_domain::{Clock, Millis};
use trex_fs::FsError;

use crate::StoreError;

const FILE_NAME: &str = "workspace.lock";

/// How often the lock is tried, because [`is_held`] holds it for a moment.
const TRIES: usize = 5;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Who holds a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseOwner {
    /// Process id.
    pub pid: u32,
    /// Name of the machine.
    pub host: String,
    /// Program and first argument, such as `trex run`.
    pub command: String,
    /// Since when.
    pub since: Millis,
}

/// The lease; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
}

impl Lease {
    /// Takes the lease of a workspace folder, or says who has it.
    pub(crate) fn acquire(dir: &Path, clock: &dyn Clock) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        let fs_error = |action| {
            let path = path.clone();
            move |err| StoreError::from(FsError::io(action, path, err))
        };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(fs_error("open"))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: dir.to_owned(), owner: owner_from_file(&mut file) });
            }
            Err(TryLockError::Error(err)) => return Err(fs_error("lock")(err)),
        }
        let text = serde_json::to_vec(&this_process(clock.now()))
            .map_err(|source| FsError::NotJson { path: path.clone(), source })?;
        file.set_len(0).and_then(|()| file.write_all(&text)).map_err(fs_error("write"))?;
        Ok(Self { file })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing the file does the same; a failure here has no other consequence.
        self.file.unlock().ok();
    }
}

/// Whether a process holds the lease of a workspace folder. Needs no right to write; takes a shared lock for a moment.
pub(crate) fn is_held(dir: &Path) -> bool {
    // Without the file nobody has ever written.
    let Ok(file) = File::open(dir.join(FILE_NAME)) else {
        return false;
    };
    // Unlocked with the file; where locks are not to be had, nobody has one.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Who took the lease of a workspace folder last, held or not; `None` where the file cannot be read.
pub(crate) fn last_owner(dir: &Path) -> Option<LeaseOwner> {
    owner_from_file(&mut File::open(dir.join(FILE_NAME)).ok()?)
}

fn try_lock(file: &File) -> Result<(), TryLockError> {
    let mut tried = file.try_lock();
    for _ in 1..TRIES {
        if !matches!(tried, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(PAUSE);
        tried = file.try_lock();
    }
    tried
}

/// What the holder wrote; `None` while it is writing, or where a locked file cannot be read.
fn owner_from_file(file: &mut File) -> Option<LeaseOwner> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn this_process(since: Millis) -> LeaseOwner {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Further arguments may be private, the first is the name of the command.
    let command = match arguments.next() {
        Some(argument) => format!("{program} {}", argument.to_string_lossy()),
        None => program,
    };
    LeaseOwner { pid: std::process::id(), host: host_name(), command, since }
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".to_owned())
}

#[cfg(test)]
mod tests {
    use trex_domain::{ErrorClass, Problem as _};
    use trex_testkit::{FixedClock, START, TempWorkspace};

    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = TempWorkspace::empty();
        let clock = FixedClock::default();
        let lease = Lease::acquire(folder.path(), &clock).unwrap();
        let err = Lease::acquire(folder.path(), &clock).unwrap_err();
        assert_eq!((err.code(), err.class()), ("store.locked", ErrorClass::Resource));
        assert!(err.hint().unwrap().contains("trex watch"));
        assert!(err.to_string().contains(&format!("process {}", std::process::id())), "{err}");
        assert!(matches!(err, StoreError::Locked { owner: Some(owner), .. } if owner.since == START));
        assert!(is_held(folder.path()));
        assert_eq!(last_owner(folder.path()).unwrap().since, START);
        drop(lease);
        assert!(!is_held(folder.path()));
        Lease::acquire(folder.path(), &clock).unwrap();
    }

    #[test]
    fn a_file_that_a_dead_process_left_does_not_lock() {
        let folder = TempWorkspace::empty();
        folder.write(FILE_NAME, r#"{"pid":1,"host":"h","command":"trex run","since":0}"#.repeat(9));
        let _lease = Lease::acquire(folder.path(), &FixedClock::default()).unwrap();
        let err = Lease::acquire(folder.path(), &FixedClock::default()).unwrap_err();
        assert!(matches!(err, StoreError::Locked { owner: Some(owner), .. } if owner.pid == std::process::id()));
    }
}
