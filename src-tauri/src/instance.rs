//! One window for one person: a second start brings the first window to the front, with what it was asked to open, and
//! ends. A lock of the operating system says who is first, so a window that was killed leaves nothing in the way.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two looks for a request.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long a second start waits for the first window to take its request, or to be gone: one that is being closed does not
/// answer, and a person who opens the program again means to have it.
const PATIENCE: Duration = Duration::from_secs(3);

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
                Self::instead(lock, request)
            }
            // A file system without locks: better two windows than none.
            Ok(()) | Err(TryLockError::Error(_)) => Some(Self { request, _lock: Some(lock) }),
        }
    }

    /// The window in the place of one that ends without having taken the request; none where it is taken.
    fn instead(lock: File, request: PathBuf) -> Option<Self> {
        let begun = Instant::now();
        while request.exists() && begun.elapsed() < PATIENCE {
            if lock.try_lock().is_ok() {
                std::fs::remove_file(&request).ok();
                return Some(Self { request, _lock: Some(lock) });
            }
            std::thread::sleep(LOOK_EVERY / 6);
        }
        None
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

    /// What the first window is asked for by a second start, which ends.
    fn asked(first: &Instance, folder: &Path, path: Option<&Path>) -> Option<PathBuf> {
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Instance::first(folder, path));
            let request = loop {
                match first.requested() {
                    Some(request) => break request,
                    None => std::thread::yield_now(),
                }
            };
            assert!(second.join().unwrap().is_none(), "the request was taken");
            request
        })
    }

    #[test]
    fn a_second_start_asks_the_first_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::first(folder.path(), None).unwrap();
        assert_eq!(first.requested(), None);
        assert_eq!(asked(&first, folder.path(), Some(Path::new("/w"))), Some(PathBuf::from("/w")));
        assert_eq!(asked(&first, folder.path(), None), None);
        assert_eq!(first.requested(), None);
        drop(first);
        assert!(Instance::first(folder.path(), None).is_some(), "nothing is left in the way");
    }

    #[test]
    fn a_start_beside_a_window_that_ends_comes_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::first(folder.path(), None).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Instance::first(folder.path(), None));
            while !folder.path().join("show-request").exists() {
                std::thread::yield_now();
            }
            // It ends without a look at the request.
            drop(first);
            let second = second.join().unwrap().expect("the place is free");
            assert_eq!(second.requested(), None, "it asks nothing of itself");
        });
    }
}
