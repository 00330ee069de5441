//! Keys of remote services: from the environment, else from a file that only its owner may read. Shows none of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::llm::Endpoint;
use crate::{ResearchError, Secret};

/// A file with keys by name.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// Reads and writes nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key for an endpoint: its environment variable, `TREX_RESEARCHER_KEY`, else the stored one.
    pub fn find(
        &self,
        endpoint: &Endpoint,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Secret>, ResearchError> {
        let variables = endpoint.key_variable().into_iter().chain(["TREX_RESEARCHER_KEY"]);
        let set = variables.filter_map(&lookup).map(|text| text.trim().to_owned()).find(|text| !text.is_empty());
        match set {
            Some(text) => Ok(Some(Secret::new(text))),
            None => Ok(self.all()?.remove(endpoint.key_name()).map(Secret::new)),
        }
    }

    /// The names under which keys are stored.
    pub fn names(&self) -> Result<Vec<String>, ResearchError> {
        Ok(self.all()?.into_keys().collect())
    }

    /// Stores a key.
    pub fn set(&self, name: &str, key: &Secret) -> Result<(), ResearchError> {
        let mut keys = self.all()?;
        keys.insert(name.to_owned(), key.expose().to_owned());
        self.write(&keys)
    }

    /// Forgets a key; `false` where there was none.
    pub fn remove(&self, name: &str) -> Result<bool, ResearchError> {
        let mut keys = self.all()?;
        let was_there = keys.remove(name).is_some();
        if was_there {
            self.write(&keys)?;
        }
        Ok(was_there)
    }

    fn all(&self) -> Result<BTreeMap<String, String>, ResearchError> {
        if !self.path.exists() {
            return Ok(BTreeMap::new());
        }
        let text = trex_fs::read_to_string(&self.path)?;
        // The parser's own message would show the line, which may hold a key.
        toml::from_str(&text).or(Err(ResearchError::BadKeyFile { path: self.path.clone() }))
    }

    /// The rights are set before the first byte is there.
    fn write(&self, keys: &BTreeMap<String, String>) -> Result<(), ResearchError> {
        let text = toml::to_string(keys).map_err(|source| ResearchError::NoToml { source: Box::new(source) })?;
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

    #[test]
    fn keys_are_kept_by_name_and_the_environment_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("deep/keys.toml"));
        let endpoint = Endpoint::parse("openai:m", |_| None).unwrap();
        assert_eq!(file.find(&endpoint, |_| None).unwrap(), None);
        file.set("openai", &Secret::new("sk-stored".to_owned())).unwrap();
        file.set("anthropic", &Secret::new("sk-other".to_owned())).unwrap();
        assert_eq!(file.names().unwrap(), ["anthropic", "openai"]);
        assert_eq!(file.find(&endpoint, |_| None).unwrap().unwrap().expose(), "sk-stored");
        let lookup = |name: &str| (name == "OPENAI_API_KEY").then(|| " sk-set ".to_owned());
        assert_eq!(file.find(&endpoint, lookup).unwrap().unwrap().expose(), "sk-set");
        assert!(file.remove("openai").unwrap() && !file.remove("openai").unwrap());
        assert_eq!(file.find(&endpoint, |_| None).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file_and_its_errors_show_no_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.toml"));
        file.set("openai", &Secret::new("sk-stored".to_owned())).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(file.path(), "openai = sk-unquoted").unwrap();
        let err = file.names().unwrap_err();
        assert!(!format!("{err} {err:?}").contains("unquoted"), "{err:?}");
    }
}
