//! Keys of remote services: from the environment, else from the secret store of the system, else, where none answers, from a
//! file that only its owner may read. Shows none of them.
//!
//! The file also lists the names that lie in the store, so that nothing is asked of the store for a service without a key.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::llm::Endpoint;
use crate::secret_store::{SecretStore, StoreFault};
use crate::{ResearchError, Secret};

use file::{Kept, KeyFile};

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In the secret store of the system.
    SecretStore,
    /// In a file, unencrypted, that only its owner may read.
    File,
}

/// Where a key was put.
#[derive(Debug)]
pub struct Stored {
    /// The place.
    pub place: KeyPlace,
    /// Why it is not in the secret store, where it was meant to be.
    pub because: Option<StoreFault>,
}

/// The keys of a person.
#[derive(Clone, Debug)]
pub struct Keys {
    file: KeyFile,
    store: Arc<dyn SecretStore>,
}

impl Keys {
    /// Reads, writes and asks nothing yet.
    pub fn new(path: PathBuf, store: Arc<dyn SecretStore>) -> Self {
        Self { file: KeyFile::new(path), store }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The secret store.
    pub fn store(&self) -> &dyn SecretStore {
        &*self.store
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
            None => self.stored(endpoint.key_name()),
        }
    }

    fn stored(&self, name: &str) -> Result<Option<Secret>, ResearchError> {
        match self.file.read()?.remove(name) {
            None => Ok(None),
            Some(Kept::Here(text)) => Ok(Some(Secret::new(text))),
            Some(Kept::Elsewhere { .. }) => {
                let key = self.store.get(name).map_err(|source| self.fault("read", name, source))?;
                let gone = || ResearchError::KeyGone { name: name.to_owned(), store: self.store.title() };
                key.ok_or_else(gone).map(Some)
            }
        }
    }

    /// Where the stored keys lie, by name. Asks the store nothing.
    pub fn places(&self) -> Result<BTreeMap<String, KeyPlace>, ResearchError> {
        Ok(self.file.read()?.into_iter().map(|(name, kept)| (name, kept.place())).collect())
    }

    /// Keeps a key in the secret store, in the file where none answers. A store that answers and refuses is an error: its owner
    /// may unlock it.
    pub fn set(&self, name: &str, key: &Secret) -> Result<Stored, ResearchError> {
        // A file that cannot be read is noticed before anything is stored.
        self.file.read()?;
        match self.store.set(name, key) {
            Ok(()) => {
                self.file.put(name, Kept::in_store())?;
                Ok(Stored { place: KeyPlace::SecretStore, because: None })
            }
            Err(fault) if fault.is_absence() => {
                self.file.put(name, Kept::Here(key.expose().to_owned()))?;
                Ok(Stored { place: KeyPlace::File, because: Some(fault) })
            }
            Err(fault) => Err(self.fault("store", name, fault)),
        }
    }

    /// Keeps a key in the file whether a secret store answers or not.
    pub fn set_in_file(&self, name: &str, key: &Secret) -> Result<Stored, ResearchError> {
        if self.places()?.get(name) == Some(&KeyPlace::SecretStore) {
            // An old copy that stays in a store is encrypted, and nothing asks for it any more.
            self.store.remove(name).ok();
        }
        self.file.put(name, Kept::Here(key.expose().to_owned()))?;
        Ok(Stored { place: KeyPlace::File, because: None })
    }

    /// Forgets a key; says where it lay, none where there was none.
    pub fn remove(&self, name: &str) -> Result<Option<KeyPlace>, ResearchError> {
        let Some(place) = self.places()?.remove(name) else { return Ok(None) };
        if place == KeyPlace::SecretStore {
            // Whether it was still there does not matter; it is not now.
            self.store.remove(name).map_err(|source| self.fault("remove", name, source))?;
        }
        self.file.remove(name)?;
        Ok(Some(place))
    }

    fn fault(&self, action: &'static str, name: &str, source: StoreFault) -> ResearchError {
        ResearchError::SecretStore { action, name: name.to_owned(), store: self.store.title(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use trex_domain::Problem as _;

    use super::*;
    use crate::secret_store::NoStore;

    /// What a fake store does.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Mood {
        Answers,
        SaysNothing,
        StaysLocked,
    }

    #[derive(Debug)]
    struct FakeStore {
        kept: Mutex<BTreeMap<String, Secret>>,
        mood: Mutex<Mood>,
        asked: Mutex<usize>,
    }

    impl FakeStore {
        fn new(mood: Mood) -> Arc<Self> {
            Arc::new(Self { kept: Mutex::default(), mood: Mutex::new(mood), asked: Mutex::default() })
        }

        fn becomes(&self, mood: Mood) {
            *self.mood.lock().unwrap() = mood;
        }

        fn asked(&self) -> usize {
            *self.asked.lock().unwrap()
        }

        fn answers(&self) -> Result<(), StoreFault> {
            *self.asked.lock().unwrap() += 1;
            match *self.mood.lock().unwrap() {
                Mood::Answers => Ok(()),
                Mood::SaysNothing => Err(StoreFault::Silent { seconds: 5 }),
                Mood::StaysLocked => {
                    Err(StoreFault::Locked { source: Box::new(keyring::Error::NoStorageAccess("locked".into())) })
                }
            }
        }
    }

    impl SecretStore for FakeStore {
        fn title(&self) -> &'static str {
            "a fake store"
        }

        fn check(&self) -> Result<(), StoreFault> {
            self.answers()
        }

        fn get(&self, name: &str) -> Result<Option<Secret>, StoreFault> {
            self.answers()?;
            Ok(self.kept.lock().unwrap().get(name).cloned())
        }

        fn set(&self, name: &str, secret: &Secret) -> Result<(), StoreFault> {
            self.answers()?;
            self.kept.lock().unwrap().insert(name.to_owned(), secret.clone());
            Ok(())
        }

        fn remove(&self, name: &str) -> Result<bool, StoreFault> {
            self.answers()?;
            Ok(self.kept.lock().unwrap().remove(name).is_some())
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn openai() -> Endpoint {
        Endpoint::parse("openai:m", |_| None).unwrap()
    }

    /// The key that is found without any variable, or the code of the error.
    fn found(keys: &Keys) -> Result<Option<String>, &'static str> {
        let found = keys.find(&openai(), |_| None).map_err(|err| err.code())?;
        Ok(found.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn keys_are_kept_by_name_and_the_environment_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path().join("deep/keys.toml"), Arc::new(NoStore));
        assert_eq!(found(&keys), Ok(None));
        let stored = keys.set("openai", &secret("sk-stored")).unwrap();
        assert!(stored.place == KeyPlace::File && matches!(stored.because, Some(StoreFault::Off)), "{stored:?}");
        keys.set("anthropic", &secret("sk-other")).unwrap();
        assert_eq!(keys.places().unwrap().into_keys().collect::<Vec<_>>(), ["anthropic", "openai"]);
        assert_eq!(found(&keys), Ok(Some("sk-stored".to_owned())));
        let lookup = |name: &str| (name == "OPENAI_API_KEY").then(|| " sk-set ".to_owned());
        assert_eq!(keys.find(&openai(), lookup).unwrap().unwrap().expose(), "sk-set");
        assert_eq!(keys.remove("openai").unwrap(), Some(KeyPlace::File));
        assert_eq!(keys.remove("openai").unwrap(), None);
        assert_eq!(found(&keys), Ok(None));
    }

    #[test]
    fn a_store_that_answers_keeps_the_key_and_the_file_only_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = FakeStore::new(Mood::Answers);
        let keys = Keys::new(dir.path().join("keys.toml"), store.clone());
        assert_eq!(found(&keys), Ok(None));
        assert_eq!(store.asked(), 0, "nothing is asked for where nothing is stored");
        keys.set_in_file("openai", &secret("sk-old")).unwrap();
        assert_eq!(keys.set("openai", &secret("sk-new")).unwrap().place, KeyPlace::SecretStore);
        let text = fs::read_to_string(keys.path()).unwrap();
        assert!(text.contains("openai") && !text.contains("sk-"), "{text}");
        assert_eq!(found(&keys), Ok(Some("sk-new".to_owned())));
        assert_eq!(keys.places().unwrap()["openai"], KeyPlace::SecretStore);

        store.becomes(Mood::SaysNothing);
        assert_eq!(found(&keys), Err("researcher.store_silent"));
        assert_eq!(keys.remove("openai").unwrap_err().code(), "researcher.store_silent");
        assert_eq!(keys.places().unwrap().len(), 1, "what could not be removed is not forgotten");
        store.becomes(Mood::StaysLocked);
        let err = keys.set("openai", &secret("sk-newer")).unwrap_err();
        assert!(err.code() == "researcher.store_locked" && err.hint().unwrap().contains("--file"), "{err:?}");

        store.becomes(Mood::Answers);
        store.kept.lock().unwrap().clear();
        assert_eq!(found(&keys), Err("researcher.key_gone"));
        assert_eq!(keys.remove("openai").unwrap(), Some(KeyPlace::SecretStore));
        assert_eq!(found(&keys), Ok(None));
    }

    #[test]
    fn where_no_store_answers_the_file_takes_over_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = FakeStore::new(Mood::Answers);
        let keys = Keys::new(dir.path().join("keys.toml"), store.clone());
        keys.set("openai", &secret("sk-1")).unwrap();
        store.becomes(Mood::SaysNothing);
        let stored = keys.set("openai", &secret("sk-2")).unwrap();
        assert!(stored.place == KeyPlace::File && stored.because.is_some(), "{stored:?}");
        assert_eq!(found(&keys), Ok(Some("sk-2".to_owned())));
        store.becomes(Mood::Answers);
        assert_eq!(found(&keys), Ok(Some("sk-2".to_owned())), "the newer one counts");
        keys.set("openai", &secret("sk-3")).unwrap();
        keys.set_in_file("openai", &secret("sk-4")).unwrap();
        assert!(store.kept.lock().unwrap().is_empty(), "no old copy stays behind");
        assert_eq!(found(&keys), Ok(Some("sk-4".to_owned())));
    }
}
