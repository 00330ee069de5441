//! One window for one person: a second start brings the first window to the front, with what it was asked to open, and
//! ends. A lock of the operating system says who is first, so a window that was killed leaves nothing in the way.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two looks for a request.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Being the only window, for as long as this lives.
#[derive(Debug)]
pub struct Instance {
    request: PathBuf,
    /// Absent where the folder cannot be written; the window then works without the guard.
    _lock: Option<File>,
}

impl Instance {
    /// The first window in a folder of settings; none where there is one already, which is then asked to come to the front
    /// and to open `path`.
    pub fn first(folder: &Path, path: Option<&Path>) -> Option<Self> {
        let request = folder.join("show-request");
        let lock = trex_fs::create_dir_all(folder).ok().and_then(|()| File::create(folder.join("instance.lock")).ok());
        let Some(lock) = lock else { return Some(Self { request, _lock: None }) };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let wanted = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
                // Where this fails the first window stays where it is; a second one would do more harm.
                trex_fs::write_atomic(&request, wanted.as_bytes()).ok();
                None
            }
            // A file system without locks: better two windows than none.
            Ok(()) | Err(TryLockError::Error(_)) => Some(Self { request, _lock: Some(lock) }),
        }
    }

    /// What another start asked for since the last look: to come to the front, and perhaps to open something.
    pub fn requested(&self) -> Option<Option<PathBuf>> {
        let text = trex_fs::read_to_string(&self.request).ok()?;
        std::fs::remove_file(&self.request).ok()?;
        Some(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    /// Calls back with each request, for as long as the process lives.
    pub fn listen(self, mut come: impl FnMut(Option<PathBuf>) + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("instance".to_owned());
        let look = move || {
            loop {
                if let Some(path) = self.requested() {
                    come(path);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        thread.spawn(look).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_asks_the_first_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::first(folder.path(), None).unwrap();
        assert_eq!(first.requested(), None);
        assert!(Instance::first(folder.path(), Some(Path::new("/w"))).is_none());
        assert_eq!(first.requested(), Some(Some(PathBuf::from("/w"))));
        assert!(Instance::first(folder.path(), None).is_none());
        assert_eq!(first.requested(), Some(None));
        assert_eq!(first.requested(), None);
        drop(first);
        assert!(Instance::first(folder.path(), None).is_some(), "nothing is left in the way");
    }
}
