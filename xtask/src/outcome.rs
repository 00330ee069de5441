//! What a finished run reported, read from its report.json. Only the fields that scripts may rely on are read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The parts of a report that must not depend on how often the run was killed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) final_score: Value,
    pub(crate) verdict: Value,
    pub(crate) trials: Value,
    /// blake3 of the best adapter; null where the base won.
    pub(crate) adapter: Value,
}

impl Outcome {
    /// Fails where the run is not finished or a field is missing.
    pub(crate) fn from_report(report: &Value) -> Result<Self> {
        let field = |name: &str| report.get(name).cloned().with_context(|| format!("report has no `{name}`"));
        if field("status")? != "finished" {
            bail!("the run is not finished: its status is {}", field("status")?);
        }
        let best = field("best")?;
        let adapter = best.get("adapter").cloned().unwrap_or(Value::Null);
        Ok(Self { final_score: field("final")?, verdict: field("verdict")?, trials: field("trials")?, adapter })
    }

    /// One line for each field in which `other` differs.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("final", &self.final_score, &other.final_score),
            ("verdict", &self.verdict, &other.verdict),
            ("trials", &self.trials, &other.trials),
            ("adapter", &self.adapter, &other.adapter),
        ];
        let different = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
        different.map(|(name, ours, theirs)| format!("{name}: {ours} became {theirs}")).collect()
    }
}

/// Reads the one report of a workspace.
pub(crate) fn read_report(workspace: &Path) -> Result<Value> {
    let path = find_file(workspace, "report.json")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// The newest file of that name below a folder.
pub(crate) fn find_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    collect(folder, name, &mut found)?;
    found.sort();
    let newest = found.pop();
    newest.map(|(_, path)| path).with_context(|| format!("there is no {name} below {}", folder.display()))
}

fn collect(folder: &Path, name: &str, found: &mut Vec<(std::time::SystemTime, PathBuf)>) -> Result<()> {
    let listing = || format!("cannot list {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let file_type = entry.file_type().with_context(listing)?;
        if file_type.is_dir() {
            collect(&entry.path(), name, found)?;
        } else if entry.file_name() == name {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).with_context(listing)?;
            found.push((modified, entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "status": "finished", "final": {"score": 0.5}, "verdict": "improved", "trials": 3,
            "best": {"adapter": "abc"}
        })
    }

    #[test]
    fn differences_are_named() {
        let mut other = report();
        other["trials"] = json!(4);
        other["best"] = Value::Null;
        let outcome = Outcome::from_report(&report()).unwrap();
        let different = outcome.differences(&Outcome::from_report(&other).unwrap());
        assert_eq!(different, ["trials: 3 became 4", "adapter: \"abc\" became null"]);
        assert!(outcome.differences(&outcome).is_empty());
    }

    #[test]
    fn an_unfinished_run_has_no_outcome() {
        let mut unfinished = report();
        unfinished["status"] = json!("running");
        assert!(Outcome::from_report(&unfinished).unwrap_err().to_string().contains("running"));
        assert!(Outcome::from_report(&json!({})).unwrap_err().to_string().contains("status"));
    }

    #[test]
    fn a_file_is_found_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("report.json"), "{}").unwrap();
        assert_eq!(find_file(dir.path(), "report.json").unwrap(), deep.join("report.json"));
        assert_eq!(read_report(dir.path()).unwrap(), json!({}));
        assert!(find_file(dir.path(), "report.html").unwrap_err().to_string().contains("report.html"));
    }
}
