//! Which versions of a recipe were run in a workspace, and what each changed. Runs nothing and takes nothing back.
//!
//! The folder `recipes` holds each version once, as canonical TOML under its hash, and one small file per run that names
//! it; runs that go on at the same time write different files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Millis};
use trex_fs::{FsError, read_to_string, write_atomic, write_json};

use crate::{DataError, RecipeChange, RecipeFile, RecipeOutcome, diff_recipes};

/// A run of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedRun {
    recipe: String,
    hash: ContentHash,
    at: Millis,
    train: ContentHash,
    rows: [usize; 3],
}

/// A version of a recipe, as it stood from one run on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecipeVersion {
    /// Hash of the recipe.
    pub hash: ContentHash,
    /// When it was run first, of the runs that follow each other.
    pub at: Millis,
    /// How often it was run before another version was.
    pub runs: usize,
    /// Training, dev and test rows of the last of these runs.
    pub rows: [usize; 3],
    /// Blob of its training rows.
    pub train: ContentHash,
    /// What differs from the version before; empty for the first.
    pub changes: Vec<RecipeChange>,
}

/// Records that a recipe was run.
pub fn record_recipe_run(
    workspace: &Path,
    recipe: &RecipeFile,
    outcome: &RecipeOutcome,
    at: Millis,
) -> Result<(), DataError> {
    let folder = workspace.join("recipes");
    let hash = recipe.hash()?;
    write_atomic(&folder.join(format!("{hash}.toml")), recipe.to_toml()?.as_bytes())?;
    let run = RecordedRun { recipe: recipe.name.clone(), hash, at, train: outcome.train, rows: outcome.rows };
    let Millis(millis) = at;
    let mut number = 0;
    loop {
        let path = folder.join(format!("run-{millis:014}-{number:02}.json"));
        if !path.exists() {
            return Ok(write_json(&path, &run)?);
        }
        number += 1;
    }
}

/// The versions of the recipe of this name, the oldest first; none where it was never run.
pub fn recipe_history(workspace: &Path, name: &str) -> Result<Vec<RecipeVersion>, DataError> {
    let folder = workspace.join("recipes");
    let mut versions: Vec<RecipeVersion> = Vec::new();
    let mut before: Option<RecipeFile> = None;
    for run in runs_of(&folder, name)? {
        if let Some(last) = versions.last_mut().filter(|last| last.hash == run.hash) {
            last.runs += 1;
            (last.rows, last.train) = (run.rows, run.train);
            continue;
        }
        let recipe = version(&folder, &run.hash)?;
        let changes = before.as_ref().map(|before| diff_recipes(before, &recipe)).transpose()?.unwrap_or_default();
        before = Some(recipe);
        let RecordedRun { hash, at, train, rows, .. } = run;
        versions.push(RecipeVersion { hash, at, runs: 1, rows, train, changes });
    }
    Ok(versions)
}

/// Runs in the order of their files, which is that of their times. A file that is damaged is an error: a history with a
/// gap would say that something else changed.
fn runs_of(folder: &Path, name: &str) -> Result<Vec<RecordedRun>, DataError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |err| FsError::io("list", folder, err);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        if is_json && path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("run-")) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut runs = Vec::new();
    for path in paths {
        let run: Result<RecordedRun, _> = serde_json::from_str(&read_to_string(&path)?);
        let run = run.map_err(|source| FsError::NotJson { path, source })?;
        if run.recipe == name {
            runs.push(run);
        }
    }
    Ok(runs)
}

fn version(folder: &Path, hash: &ContentHash) -> Result<RecipeFile, DataError> {
    let path = folder.join(format!("{hash}.toml"));
    let recipe = RecipeFile::read(&path)?;
    let found = recipe.hash()?;
    if found != *hash {
        return Err(DataError::VersionChanged { path, found });
    }
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use trex_domain::{Problem as _, RowLedger};

    use super::*;

    fn recipe(threshold: f64) -> RecipeFile {
        let text = format!(
            "name = \"r\"\n[[sources]]\npath = \"a\"\n[[operators]]\nop = \"near_dedup\"\nthreshold = {threshold:?}\n"
        );
        RecipeFile::parse(&text, Path::new("r.toml")).unwrap()
    }

    fn outcome(recipe: &RecipeFile, num_rows: usize) -> RecipeOutcome {
        let blob = ContentHash::of_bytes(b"rows");
        RecipeOutcome {
            recipe: recipe.hash().unwrap(),
            train: blob,
            dev: blob,
            test: blob,
            rows: [num_rows, 0, 0],
            sources: Vec::new(),
            ledger: RowLedger::default(),
            traces: Vec::new(),
            is_decontaminated: false,
            leaked: 0,
            models: Vec::new(),
        }
    }

    #[test]
    fn versions_follow_each_other_with_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recipe_history(dir.path(), "r").unwrap(), []);
        let mut other = recipe(0.8);
        other.name = "other".to_owned();
        let runs = [(recipe(0.8), 5), (recipe(0.8), 6), (recipe(0.9), 6), (other, 7), (recipe(0.8), 8)];
        for (number, (recipe, at)) in runs.iter().enumerate() {
            record_recipe_run(dir.path(), recipe, &outcome(recipe, number), Millis(*at)).unwrap();
        }
        let versions = recipe_history(dir.path(), "r").unwrap();
        let seen: Vec<_> = versions.iter().map(|version| (version.at, version.runs, version.rows[0])).collect();
        assert_eq!(seen, [(Millis(5), 2, 1), (Millis(6), 1, 2), (Millis(8), 1, 4)]);
        assert_eq!((versions[0].hash, versions[0].changes.len()), (versions[2].hash, 0));
        let change = &versions[1].changes[0];
        assert_eq!(change.setting, "operators.near_dedup.threshold");
        assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some("0.8"), Some("0.9")));
    }

    #[test]
    fn a_version_that_was_changed_by_hand_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        record_recipe_run(dir.path(), &recipe(0.8), &outcome(&recipe(0.8), 1), Millis(1)).unwrap();
        let path = dir.path().join("recipes").join(format!("{}.toml", recipe(0.8).hash().unwrap()));
        std::fs::write(&path, recipe(0.7).to_toml().unwrap()).unwrap();
        assert_eq!(recipe_history(dir.path(), "r").unwrap_err().code(), "recipe.version_changed");
    }
}
