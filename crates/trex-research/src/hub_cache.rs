//! The hub's cache on this machine: where it lies and whether it holds a whole model. Downloads nothing.
//!
//! Layout (huggingface_hub, "Understand caching"): `models--OWNER--NAME/refs/REVISION` holds a commit,
//! `models--OWNER--NAME/snapshots/COMMIT/` the files as links into `blobs/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ResearchError;

/// The list of a sharded model's files.
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";

/// The cache folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `HOME/.cache/huggingface/hub` (`USERPROFILE` on Windows).
pub(crate) fn cache_folder(value: impl Fn(&str) -> Option<String>) -> Result<PathBuf, ResearchError> {
    if let Some(folder) = value("HF_HUB_CACHE") {
        return Ok(folder.into());
    }
    if let Some(home) = value("HF_HOME") {
        return Ok(Path::new(&home).join("hub"));
    }
    let home = value("HOME").or_else(|| value("USERPROFILE")).ok_or(ResearchError::NoCacheFolder)?;
    Ok(Path::new(&home).join(".cache").join("huggingface").join("hub"))
}

/// The snapshot folder of a revision, where the cache has one.
pub(crate) fn snapshot(cache: &Path, repo: &str, revision: &str) -> Option<PathBuf> {
    let folder = cache.join(format!("models--{}", repo.replace('/', "--")));
    let snapshots = folder.join("snapshots");
    let named = fs::read_to_string(folder.join("refs").join(revision)).ok();
    let commit = named.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
    let found = snapshots.join(&commit);
    (is_commit(&commit) && found.is_dir()).then_some(found)
}

/// Whether a snapshot has everything that loading needs: configuration, tokenizer and all weights.
pub(crate) fn is_complete(snapshot: &Path) -> bool {
    ["config.json", "tokenizer.json"].iter().all(|name| snapshot.join(name).is_file()) && has_all_weights(snapshot)
}

/// Whether a text is a commit's name.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

fn has_all_weights(snapshot: &Path) -> bool {
    let index = snapshot.join(SHARD_INDEX);
    if !index.is_file() {
        return has_whole_file(snapshot);
    }
    let parsed = fs::read(index).ok().and_then(|bytes| serde_json::from_slice::<ShardIndex>(&bytes).ok());
    parsed.is_some_and(|index| {
        !index.weight_map.is_empty() && index.weight_map.values().all(|shard| snapshot.join(shard).is_file())
    })
}

fn has_whole_file(snapshot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(snapshot) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A shard without its index says nothing about the others.
        name.ends_with(".safetensors") && !name.contains("-of-") && entry.path().is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[track_caller]
    fn check(values: &[(&str, &str)], expected: Option<&str>) {
        let value = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(cache_folder(value).ok(), expected.map(PathBuf::from));
    }

    #[test]
    fn the_cache_folder_is_found_as_other_programs_find_it() {
        check(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("HOME", "/u")], Some("/c"));
        check(&[("HF_HOME", "/h"), ("HOME", "/u")], Some("/h/hub"));
        check(&[("HOME", "/u")], Some("/u/.cache/huggingface/hub"));
        check(&[], None);
    }

    #[test]
    fn a_snapshot_is_complete_only_with_all_shards() {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--a--b");
        let folder = repo.join("snapshots").join(COMMIT);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(repo.join("refs")).unwrap();
        assert_eq!(snapshot(cache.path(), "a/b", "main"), None);
        fs::write(repo.join("refs/main"), COMMIT).unwrap();
        assert_eq!(snapshot(cache.path(), "a/b", "main"), Some(folder.clone()));
        assert_eq!(snapshot(cache.path(), "a/b", COMMIT), Some(folder.clone()));
        assert_eq!(snapshot(cache.path(), "a/c", "main"), None);
        fs::write(repo.join("refs/bad"), "../..").unwrap();
        assert_eq!(snapshot(cache.path(), "a/b", "bad"), None);

        let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        put("config.json", "{}");
        put("tokenizer.json", "{}");
        assert!(!is_complete(&folder));
        put("model-00001-of-00002.safetensors", "x");
        assert!(!is_complete(&folder));
        let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
        put(SHARD_INDEX, &format!(r#"{{"metadata":{{}},"weight_map":{{"a":"{one}","b":"{two}"}}}}"#));
        assert!(!is_complete(&folder));
        put(two, "x");
        assert!(is_complete(&folder));
        fs::remove_file(folder.join("tokenizer.json")).unwrap();
        assert!(!is_complete(&folder));
    }
}
