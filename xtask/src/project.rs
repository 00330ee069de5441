//! Where the repository and its build products lie. Knows nothing of what is done with them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::MetadataCommand;

/// The repository and its target folder, both absolute.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Project {
    /// Asks cargo, so that a moved target folder is respected.
    pub(crate) fn find() -> Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cannot read the cargo workspace")?;
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            target: metadata.target_directory.into_std_path_buf(),
        })
    }

    /// The optimised `trex` binary, which may not be built yet.
    pub(crate) fn trex(&self) -> PathBuf {
        self.target.join("release").join(format!("trex{}", std::env::consts::EXE_SUFFIX))
    }

    /// The `trex` binary of tests and daily work.
    pub(crate) fn debug_trex(&self) -> PathBuf {
        self.target.join("debug").join(format!("trex{}", std::env::consts::EXE_SUFFIX))
    }

    /// A path as it is shown: relative to the repository where it lies inside.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
