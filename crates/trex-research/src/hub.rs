//! Downloads of models and data sets into the hub's normal cache. What is there already is used without the network.
//!
//! Files are taken from one commit, small ones first and weights last: a snapshot with all its weights is whole, and one
//! without them is gone on with. No code of a repository is ever run.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

use crate::hub_cache::{SHARD_INDEX, is_commit, is_complete, snapshot};
use crate::sources::{is_gated, licence_in_card};
use crate::{NetGate, ResearchError};

/// Times that a broken download is taken up again.
const RETRIES: usize = 2;

/// Gets a model with safetensors weights and returns its snapshot folder in the cache.
///
/// `repo_id` is `owner/name`; `revision` a branch, tag or commit, `main` where absent. Runs on the caller's thread.
pub fn download_model(gate: &NetGate, repo_id: &str, revision: Option<&str>) -> Result<PathBuf, ResearchError> {
    let revision = checked_names(repo_id, revision)?;
    let cache = absolute(&gate.settings().cache)?;
    if let Some(found) = snapshot(&cache, repo_id, revision).filter(|found| is_complete(found)) {
        return Ok(found);
    }
    let source = Source::open(gate, &cache, (RepoType::Model, repo_id), revision)?;
    let files = source.model_files()?;
    source.fetch_all(&files)?;
    let folder = source.finish(revision)?;
    if is_complete(&folder) {
        return Ok(folder);
    }
    Err(ResearchError::NotAModel { repo: repo_id.to_owned(), missing: "complete set of weights".to_owned() })
}

/// A data set in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchedDataset {
    /// `owner/name`.
    pub id: String,
    /// The commit that its files are of.
    pub commit: String,
    /// Its files of rows.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Licence, as its card has it.
    pub licence: Option<String>,
    /// Whether its terms had to be accepted.
    pub gated: bool,
}

/// Asks for a data set.
#[derive(Clone, Copy, Debug)]
pub struct DatasetRequest<'a> {
    /// `owner/name`.
    pub repo_id: &'a str,
    /// A branch, tag or commit; `main` where absent.
    pub revision: Option<&'a str>,
    /// Only files whose path contains this; all where absent.
    pub only: Option<&'a str>,
    /// Bytes of all its files that are fetched at most.
    pub max_bytes: u64,
}

/// Gets the files of rows of a data set; those that are in the cache already are not fetched again. Refuses more than
/// `max_bytes` before anything is fetched. No code of a data set is run, and nothing is trained on here.
pub fn download_dataset(gate: &NetGate, request: DatasetRequest<'_>) -> Result<FetchedDataset, ResearchError> {
    let DatasetRequest { repo_id, max_bytes, .. } = request;
    let revision = checked_names(repo_id, request.revision)?;
    let cache = absolute(&gate.settings().cache)?;
    let source = Source::open(gate, &cache, (RepoType::Dataset, repo_id), revision)?;
    let is_wanted = |name: &str| is_rows_file(name) && request.only.is_none_or(|part| name.contains(part));
    let rows: Vec<&Listed> = source.facts.siblings.iter().filter(|one| is_wanted(&one.rfilename)).collect();
    if rows.is_empty() {
        return Err(ResearchError::NoRows { repo: repo_id.to_owned() });
    }
    let bytes = rows.iter().filter_map(|one| one.size).sum();
    if bytes > max_bytes {
        return Err(ResearchError::TooLarge { repo: repo_id.to_owned(), bytes, limit: max_bytes });
    }
    source.fetch_all(&rows)?;
    let folder = source.finish(revision)?;
    Ok(FetchedDataset {
        id: repo_id.to_owned(),
        commit: source.facts.sha.clone(),
        files: rows.iter().map(|one| folder.join(&one.rfilename)).collect(),
        bytes,
        licence: source.facts.card.as_ref().and_then(licence_in_card),
        gated: is_gated(&source.facts.gated),
    })
}

/// Gets one GGUF file of a repository and returns its path in the cache.
pub fn download_gguf(
    gate: &NetGate,
    repo_id: &str,
    revision: Option<&str>,
    file: &str,
) -> Result<PathBuf, ResearchError> {
    let revision = checked_names(repo_id, revision)?;
    let cache = absolute(&gate.settings().cache)?;
    if !is_plain_name(file) || !has_extension(file, "gguf") {
        return Err(ResearchError::NotAModel { repo: repo_id.to_owned(), missing: format!("GGUF file {file:?}") });
    }
    let cached = snapshot(&cache, repo_id, revision).map(|folder| folder.join(file));
    if let Some(found) = cached.filter(|found| found.is_file()) {
        return Ok(found);
    }
    let source = Source::open(gate, &cache, (RepoType::Model, repo_id), revision)?;
    let Some(wanted) = source.facts.siblings.iter().find(|one| one.rfilename == file) else {
        return Err(ResearchError::NotAModel { repo: repo_id.to_owned(), missing: file.to_owned() });
    };
    source.fetch_all(&[wanted])?;
    Ok(source.finish(revision)?.join(file))
}

/// A file as the hub lists it.
#[derive(Deserialize)]
struct Listed {
    rfilename: String,
    /// Bytes.
    size: Option<u64>,
}

/// A repository as the hub describes it.
#[derive(Deserialize)]
struct RepoFacts {
    sha: String,
    siblings: Vec<Listed>,
    #[serde(default, rename = "cardData")]
    card: Option<serde_json::Value>,
    #[serde(default)]
    gated: serde_json::Value,
}

/// A repository at one commit.
struct Source<'a> {
    gate: &'a NetGate,
    kind: RepoType,
    repo_id: &'a str,
    cache: Cache,
    facts: RepoFacts,
    pinned: ApiRepo,
}

impl<'a> Source<'a> {
    fn open(
        gate: &'a NetGate,
        cache: &Path,
        (kind, repo_id): (RepoType, &'a str),
        revision: &str,
    ) -> Result<Self, ResearchError> {
        let endpoint = &gate.settings().endpoint;
        let kinds = if matches!(kind, RepoType::Dataset) { "datasets" } else { "models" };
        gate.check(&format!("{endpoint}/api/{kinds}/{repo_id}"), &format!("downloading {repo_id}"))?;
        let cache = Cache::new(cache.to_path_buf());
        let api = api(gate, &cache).map_err(|source| hub_error(repo_id, "connection", source))?;
        let facts =
            list(&api, (kind, repo_id), revision).map_err(|source| hub_error(repo_id, "list of files", source))?;
        if !is_commit(&facts.sha) {
            return Err(ResearchError::NotAModel { repo: repo_id.to_owned(), missing: "commit".to_owned() });
        }
        let pinned = api.repo(Repo::with_revision(repo_id.to_owned(), kind, facts.sha.clone()));
        Ok(Self { gate, kind, repo_id, cache, facts, pinned })
    }

    /// The files of a safetensors model, weights last.
    fn model_files(&self) -> Result<Vec<&Listed>, ResearchError> {
        let missing = |what: &str| ResearchError::NotAModel { repo: self.repo_id.to_owned(), missing: what.to_owned() };
        let names = || self.facts.siblings.iter().filter(|one| is_plain_name(&one.rfilename));
        for required in ["config.json", "tokenizer.json"] {
            if !names().any(|one| one.rfilename == required) {
                return Err(missing(required));
            }
        }
        let mut files: Vec<_> = names().filter(|one| is_side_file(&one.rfilename)).collect();
        let weights: Vec<_> = names().filter(|one| has_extension(&one.rfilename, "safetensors")).collect();
        if weights.is_empty() {
            return Err(missing("safetensors weights"));
        }
        // Some repositories carry the weights a second time under another name.
        let is_usual = |one: &&&Listed| one.rfilename.starts_with("model");
        if weights.iter().any(|one| is_usual(&one)) {
            files.extend(weights.iter().filter(is_usual));
        } else {
            files.extend(weights);
        }
        Ok(files)
    }

    fn fetch_all(&self, files: &[&Listed]) -> Result<(), ResearchError> {
        for file in files {
            self.fetch(file)?;
        }
        Ok(())
    }

    fn fetch(&self, file: &Listed) -> Result<(), ResearchError> {
        let name = &file.rfilename;
        let known = self.cache.repo(self.repo()).get(name);
        let path = if let Some(path) = known {
            path
        } else {
            self.gate.check(&self.pinned.url(name), &format!("downloading {name} of {}", self.repo_id))?;
            self.pinned.download(name).map_err(|source| hub_error(self.repo_id, name, source))?
        };
        let found = fs::metadata(&path).map_err(|source| ResearchError::io("look at", &path, source))?.len();
        match file.size {
            Some(expected) if expected != found => {
                forget(&path)?;
                Err(ResearchError::Truncated { path, expected, found })
            }
            _ => Ok(()),
        }
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repo_id.to_owned(), self.kind, self.facts.sha.clone())
    }

    /// Lets the revision's name point to the commit and returns the folder.
    fn finish(&self, revision: &str) -> Result<PathBuf, ResearchError> {
        let named = self.cache.repo(Repo::with_revision(self.repo_id.to_owned(), self.kind, revision.to_owned()));
        let folder = named.pointer_path(&self.facts.sha);
        named.create_ref(&self.facts.sha).map_err(|source| ResearchError::io("name", &folder, source))?;
        Ok(folder)
    }
}

fn api(gate: &NetGate, cache: &Cache) -> Result<Api, ApiError> {
    let settings = gate.settings();
    ApiBuilder::from_cache(cache.clone())
        .with_endpoint(settings.endpoint.clone())
        // Only the token that was passed in: the file that the builder found beside the cache is not used.
        .with_token(settings.token.as_ref().map(|token| token.expose().to_owned()))
        .with_progress(false)
        .with_retries(RETRIES)
        .build()
}

fn list(api: &Api, (kind, repo_id): (RepoType, &str), revision: &str) -> Result<RepoFacts, ApiError> {
    let repo = api.repo(Repo::with_revision(repo_id.to_owned(), kind, revision.to_owned()));
    let mut response = repo.info_request().query("blobs", "true").call().map_err(Box::new)?;
    Ok(response.body_mut().read_json().map_err(Box::new)?)
}

fn hub_error(repo: &str, what: &str, source: ApiError) -> ResearchError {
    ResearchError::Hub { repo: repo.to_owned(), what: what.to_owned(), source: Box::new(source) }
}

/// Removes a bad file and what it links to, so that the next attempt starts afresh.
fn forget(path: &Path) -> Result<(), ResearchError> {
    let remove = |path: &Path| fs::remove_file(path).map_err(|source| ResearchError::io("remove", path, source));
    let target = fs::canonicalize(path).map_err(|source| ResearchError::io("resolve", path, source))?;
    remove(path)?;
    if target.exists() { remove(&target) } else { Ok(()) }
}

fn absolute(path: &Path) -> Result<PathBuf, ResearchError> {
    std::path::absolute(path).map_err(|source| ResearchError::io("resolve", path, source))
}

fn has_extension(name: &str, wanted: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == wanted)
}

fn is_side_file(name: &str) -> bool {
    matches!(name, "config.json" | "generation_config.json" | "special_tokens_map.json" | SHARD_INDEX)
        || (name.starts_with("tokenizer") && has_extension(name, "json"))
        || name.starts_with("chat_template")
}

/// Whether rows can be read from a file of that name, in folders or not.
fn is_rows_file(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let readable = ["parquet", "arrow", "jsonl", "ndjson", "json", "csv", "tsv"];
    let is_description = matches!(name, "dataset_infos.json" | "dataset_info.json" | "state.json");
    name.split('/').all(is_plain_name) && !is_description && readable.iter().any(|wanted| has_extension(plain, wanted))
}

/// Checks repository and revision, which become parts of addresses and paths; returns the revision.
fn checked_names<'a>(repo_id: &str, revision: Option<&'a str>) -> Result<&'a str, ResearchError> {
    let bad = |text: &str| ResearchError::BadRepository { text: text.to_owned() };
    let is_repo = repo_id.split('/').count() <= 2 && repo_id.split('/').all(is_plain_name);
    if !is_repo {
        return Err(bad(repo_id));
    }
    let revision = revision.unwrap_or("main");
    if revision.split('/').all(is_plain_name) { Ok(revision) } else { Err(bad(revision)) }
}

/// One part of a path that stays where it is put.
fn is_plain_name(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(is_known) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(repo: &str, revision: Option<&str>, valid: bool) {
        assert_eq!(checked_names(repo, revision).is_ok(), valid, "{repo} {revision:?}");
    }

    #[test]
    fn names_cannot_leave_the_cache() {
        check("owner/name-1.5_b", None, true);
        check("gpt2", Some("refs/pr/5"), true);
        check("../x", None, false);
        check("a/b/c", None, false);
        check("a/", None, false);
        check("a/b", Some("../../x"), false);
        check("a/b", Some(""), false);
        check("a/b?x=1", None, false);
    }

    #[test]
    fn rows_are_read_from_known_files_that_stay_where_they_are_put() {
        let wanted = ["train.csv", "data/train-00000-of-00001.parquet", "a/b/x.jsonl.zst", "x.json"];
        assert!(wanted.iter().all(|name| is_rows_file(name)));
        let unwanted = ["README.md", "load.py", "../x.csv", "a/.hidden/x.csv", "dataset_infos.json", "x.csv.exe"];
        assert!(!unwanted.iter().any(|name| is_rows_file(name)));
    }

    #[test]
    fn only_files_that_loading_needs_are_side_files() {
        let wanted = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", SHARD_INDEX];
        assert!(wanted.iter().all(|name| is_side_file(name)));
        assert!(
            !["README.md", "pytorch_model.bin", "tokenizer.model", "modeling.py"].iter().any(|name| is_side_file(name))
        );
    }
}
