//! The file of keys: a key, or where else it lies, by name. Only its owner may read it; it is not encrypted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::KeyPlace;
use crate::ResearchError;

/// What the file has under a name. Has no `Debug`, which would show the key.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Kept {
    /// The key itself.
    Here(String),
    /// The key lies elsewhere.
    Elsewhere { lies_in: Elsewhere },
}

/// Places beside the file.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Elsewhere {
    SecretStore,
}

impl Kept {
    pub(super) fn in_store() -> Self {
        Self::Elsewhere { lies_in: Elsewhere::SecretStore }
    }

    pub(super) fn place(&self) -> KeyPlace {
        match self {
            Self::Here(_) => KeyPlace::File,
            Self::Elsewhere { lies_in: Elsewhere::SecretStore } => KeyPlace::SecretStore,
        }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read(&self) -> Result<BTreeMap<String, Kept>, ResearchError> {
        if !self.path.exists() {
            return Ok(BTreeMap::new());
        }
        let text = trex_fs::read_to_string(&self.path)?;
        // The parser's own message would show the line, which may hold a key.
        toml::from_str(&text).or(Err(ResearchError::BadKeyFile { path: self.path.clone() }))
    }

    pub(super) fn put(&self, name: &str, kept: Kept) -> Result<(), ResearchError> {
        let mut all = self.read()?;
        all.insert(name.to_owned(), kept);
        self.write(&all)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), ResearchError> {
        let mut all = self.read()?;
        all.remove(name);
        self.write(&all)
    }

    /// The rights are set before the first byte is there.
    fn write(&self, all: &BTreeMap<String, Kept>) -> Result<(), ResearchError> {
        let text = toml::to_string(all).map_err(|source| ResearchError::NoToml { source: Box::new(source) })?;
        if let Some(folder) = self.path.parent() {
            trex_fs::create_dir_all(folder)?;
        }
        let fresh = self.path.with_extension("new");
        let io = |action| move |source| ResearchError::io(action, &self.path, source);
        if fresh.exists() {
            fs::remove_file(&fresh).map_err(io("replace"))?;
        }
        let mut file = private_file(&fresh).map_err(io("create"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write"))?;
        fs::rename(&fresh, &self.path).map_err(io("replace"))
    }
}

#[cfg(unix)]
fn private_file(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A home folder on Windows is its owner's only, and what is made in it inherits that.
#[cfg(not(unix))]
fn private_file(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file_and_its_errors_show_no_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.toml"));
        file.put("openai", Kept::Here("sk-stored".to_owned())).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let check = |text: &str| {
            fs::write(file.path(), text).unwrap();
            let Err(err) = file.read() else { panic!("{text} is no file of keys") };
            assert!(!format!("{err} {err:?}").contains("sk-"), "{err:?}");
        };
        check("openai = sk-unquoted");
        check("openai = { lies_in = \"sk-odd\" }");
    }

    #[test]
    fn keys_of_older_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.toml"));
        fs::write(file.path(), "\"127.0.0.1\" = \"sk-a\"\nopenai = { lies_in = \"secret_store\" }\n").unwrap();
        let places: Vec<_> = file.read().unwrap().into_iter().map(|(name, kept)| (name, kept.place())).collect();
        let expected = [("127.0.0.1", KeyPlace::File), ("openai", KeyPlace::SecretStore)];
        assert_eq!(places, expected.map(|(name, place)| (name.to_owned(), place)));
    }
}
