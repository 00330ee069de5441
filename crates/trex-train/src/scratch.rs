//! Checkpoints on the way: `checkpoint-<step>.safetensors` in the job's own folder, the newest few of them.

use std::path::{Path, PathBuf};

use crate::TrainError;

/// The folder of a job that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
    /// Files that are kept.
    limit: usize,
}

impl Scratch {
    /// Uses `dir`, which need not exist.
    pub(crate) fn new(dir: &Path, limit: usize) -> Self {
        Self { dir: dir.to_owned(), limit: limit.max(1) }
    }

    /// Writes the checkpoint of a step and removes the oldest beyond the limit.
    pub(crate) fn write(&self, step: usize, bytes: &[u8]) -> Result<(), TrainError> {
        trex_fs::write_atomic(&self.path(step), bytes)?;
        for old in self.steps().into_iter().skip(self.limit) {
            let path = self.path(old);
            std::fs::remove_file(&path).map_err(|err| trex_fs::FsError::io("remove", &path, err))?;
        }
        Ok(())
    }

    /// Files of steps, the newest first.
    pub(crate) fn newest_first(&self) -> Vec<PathBuf> {
        self.steps().into_iter().map(|step| self.path(step)).collect()
    }

    fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("checkpoint-{step}.safetensors"))
    }

    fn steps(&self) -> Vec<usize> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let step = |name: &str| name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut steps: Vec<usize> = names.filter_map(|name| step(&name)).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), 2);
        assert!(scratch.newest_first().is_empty());
        for step in [3, 9, 12] {
            scratch.write(step, b"x").unwrap();
        }
        trex_fs::write_atomic(&dir.path().join("checkpoint-x.safetensors"), b"").unwrap();
        let names: Vec<_> = scratch.newest_first().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["checkpoint-12.safetensors", "checkpoint-9.safetensors"]);
    }
}
