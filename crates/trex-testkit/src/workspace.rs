//! A temporary folder laid out like a workspace. Makes no database: that is the store's business.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The folders of a workspace.
pub const FOLDERS: [&str; 6] = ["blobs", "recipes", "exports", "logs", "scratch", "prepared"];

/// A workspace folder of its own that is removed when dropped.
#[derive(Debug)]
pub struct TempWorkspace {
    dir: TempDir,
}

impl TempWorkspace {
    /// Makes an empty folder.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// Makes a folder with the folders of a workspace in it.
    pub fn with_folders() -> Self {
        let workspace = Self::empty();
        for name in FOLDERS {
            fs::create_dir(workspace.path().join(name)).expect("a folder can be made in a new folder");
        }
        workspace
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file below the folder, with its parents, and returns where it lies.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        let parent = path.parent().expect("a file below the folder has a parent");
        fs::create_dir_all(parent).expect("folders can be made in a temporary folder");
        fs::write(&path, content).expect("a file can be written in a temporary folder");
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_there_and_go_away() {
        let workspace = TempWorkspace::with_folders();
        let file = workspace.write("data/train.csv", "text,label\n");
        assert!(workspace.path().join("blobs").is_dir() && file.is_file());
        drop(workspace);
        assert!(!file.exists());
    }
}
