//! The scoreboard: every run of the workspaces that are remembered, and tables of measurements as `cargo xtask bench`
//! writes them. Reads only; a run without an opened sealed split has no final score here, and none is made up.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tauri::State;
use trex_explorer::ShownScore;
use trex_store::{StoreError, Workspace};
use ts_rs::TS;

use crate::clock::now;
use crate::dropped::checked;
use crate::error::ShellError;
use crate::shell::Shell;
use crate::view::{Moment, run_view};

/// Files of measurements that are read from a folder at most.
const MAX_TABLES: usize = 200;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct ScoreRow {
    /// Folder of its workspace.
    #[ts(type = "string")]
    pub workspace: PathBuf,
    /// Its id.
    pub run: String,
    /// Name of its task.
    pub task: String,
    /// Base model.
    pub model: String,
    /// Metric.
    pub metric: String,
    /// Seed.
    #[ts(type = "number")]
    pub seed: u64,
    /// `running`, `finished`, `failed` or `interrupted`.
    pub status: String,
    /// When it began, in milliseconds since 1970.
    #[ts(type = "number")]
    pub started_ms: i64,
    /// The untouched base.
    pub base: Option<ShownScore>,
    /// The best model, on the same split.
    pub best: Option<ShownScore>,
    /// Paired difference on the sealed split, with its interval.
    pub gain: Option<[f64; 3]>,
    /// Items of that comparison.
    #[ts(type = "number | null")]
    pub gain_n: Option<usize>,
    /// Verdict, once the run ended.
    pub verdict: Option<String>,
    /// Trials that were started.
    #[ts(type = "number")]
    pub trials: usize,
    /// Wall seconds at work.
    pub wall_s: f64,
    /// Processor seconds.
    pub cpu_s: f64,
}

/// A table of measurements.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct BenchTable {
    /// What was measured.
    pub name: String,
    /// On which machine.
    pub machine: String,
    /// What and how much.
    pub rows: Vec<(String, String)>,
}

#[tauri::command(async)]
pub(crate) fn scoreboard(shell: State<'_, Shell>) -> Vec<ScoreRow> {
    let mut rows: Vec<ScoreRow> = Vec::new();
    for workspace in &shell.settings().recent {
        // A workspace that is gone or damaged has no scores; the first screen says what is wrong with it.
        rows.extend(rows_of(workspace).unwrap_or_default());
    }
    rows.sort_by(|a, b| (&a.task, b.started_ms).cmp(&(&b.task, a.started_ms)));
    rows
}

/// The runs of one workspace.
pub fn rows_of(workspace: &Path) -> Result<Vec<ScoreRow>, StoreError> {
    let reader = Workspace::open_reader(workspace)?;
    let newest = reader.latest_run()?.map(|run| run.id);
    let mut rows = Vec::new();
    for run in reader.runs()? {
        let state = reader.state(run.id)?;
        if state.seq == 0 {
            continue;
        }
        // Only the newest run can be the one that is worked on.
        let at_work = reader.has_writer() && newest == Some(run.id);
        let view = run_view(&state, run.id, Moment { at_work, now: now() });
        rows.push(ScoreRow {
            workspace: workspace.to_owned(),
            run: view.run,
            task: view.task,
            model: view.model,
            metric: view.metric,
            seed: view.seed,
            status: view.status,
            started_ms: view.started_ms,
            base: view.base,
            best: view.best,
            gain: view.gain,
            gain_n: view.gain_n,
            verdict: view.verdict,
            trials: view.budget.trials,
            wall_s: view.budget.wall_s,
            cpu_s: view.budget.cpu_s,
        });
    }
    Ok(rows)
}

/// The tables of a folder, by the names of their files. Files that hold no table are passed over.
#[tauri::command(async)]
pub(crate) fn bench_tables(folder: PathBuf) -> Result<Vec<BenchTable>, ShellError> {
    let folder = checked(&folder)?;
    let unreadable = |err: std::io::Error| ShellError::bad_path(&folder, &err.to_string());
    let entries = std::fs::read_dir(&folder).map_err(unreadable)?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    Ok(files.iter().take(MAX_TABLES).filter_map(|file| table(file)).collect())
}

fn table(file: &Path) -> Option<BenchTable> {
    let value: Value = serde_json::from_str(&trex_fs::read_to_string(file).ok()?).ok()?;
    let rows = value["rows"].as_array()?.iter().filter_map(|row| {
        let [name, value] = row.as_array()?.as_slice() else { return None };
        Some((name.as_str()?.to_owned(), value.as_str()?.to_owned()))
    });
    let machine = &value["machine"];
    let machine = machine.as_str().map_or_else(|| machine.to_string(), str::to_owned);
    Some(BenchTable { name: value["name"].as_str()?.to_owned(), machine, rows: rows.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_other_files_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("b.json", r#"{"name":"kb","machine":"two cores","rows":[["search","3 ms"],["odd"]],"details":{}}"#);
        write("a.json", "not JSON");
        write("c.json", r#"{"rows": 3}"#);
        write("README.md", "# no");
        let tables = bench_tables(folder.path().to_owned()).unwrap();
        let expected = BenchTable {
            name: "kb".to_owned(),
            machine: "two cores".to_owned(),
            rows: vec![("search".to_owned(), "3 ms".to_owned())],
        };
        assert_eq!(tables, [expected]);
    }

    #[test]
    fn a_folder_without_runs_has_no_scores() {
        assert!(rows_of(Path::new("/no/such/workspace")).is_err());
    }
}
