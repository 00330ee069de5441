//! `trex report`, and the files that a finished run leaves.

use std::collections::BTreeMap;
use std::path::Path;

use trex_domain::{Clock as _, Report, ReportScore, RunId, RunState, TrainMethod, Verdict};
use trex_engine::{OrderBox, build_report, foreseen, mark_interrupted, report_html, report_markdown};
use trex_research::report_words;
use trex_store::Workspace;

use crate::args::{ReportArgs, WorkspaceArgs};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::researcher;
use crate::system::SystemClock;

pub(crate) fn run(args: &ReportArgs, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(&args.workspace)?;
    if args.words {
        return words(args, &latest, output);
    }
    let report = latest.report(files(&args.workspace.workspace, latest.run, &latest.state));
    if args.html && !output.is_json() {
        return output.line(&report_html(&report));
    }
    output.result(&report, || report_markdown(&report))
}

/// A summary in words by the stage that reports.
fn words(args: &ReportArgs, latest: &Latest, output: &mut Output) -> Result<(), CliError> {
    let settings = researcher::settings_for_run(args.researcher.as_deref())?;
    let asker = researcher::asker(Some(&args.workspace.workspace), settings)?;
    let said = report_words(&asker, &latest.state);
    let value = serde_json::json!({"by": said.by, "report": said.answer});
    output.result(&value, || {
        let answer = &said.answer;
        let line = |what: &str, text: &String| format!("{what}: {text}");
        let mut lines = vec![answer.summary.clone()];
        lines.extend(answer.limits.iter().map(|text| line("limit", text)));
        lines.extend(answer.next.iter().map(|text| line("next", text)));
        lines.push(format!("by {}", said.by));
        lines.join("\n")
    })
}

/// The latest run of a workspace.
pub(crate) struct Latest {
    pub(crate) run: RunId,
    /// Folded from its events; the wall time of a run at work is that of this moment.
    pub(crate) state: RunState,
    /// Whether a program works on it.
    pub(crate) at_work: bool,
}

impl Latest {
    /// `finished`, `running`, or where no program works on it, `failed` after an error and else `interrupted`.
    pub(crate) fn status(&self) -> &'static str {
        match (self.state.verdict, self.at_work) {
            (Some(_), _) => "finished",
            (None, true) => "running",
            (None, false) if self.state.failure.is_some() => "failed",
            (None, false) => "interrupted",
        }
    }

    /// With the orders that lie in the workspace and that the run has yet to take.
    pub(crate) fn foreseen(self, workspace: &Path) -> Self {
        Self { state: foreseen(&self.state, self.run, &OrderBox::of(workspace)), ..self }
    }

    /// Its report, which also says whether it was interrupted.
    pub(crate) fn report(&self, files: BTreeMap<String, String>) -> Report {
        let mut report = build_report(&self.state, self.run, files);
        if !self.at_work {
            mark_interrupted(&mut report);
        }
        report
    }
}

/// Opens the workspace for reading only.
pub(crate) fn latest(args: &WorkspaceArgs) -> Result<Latest, CliError> {
    let reader = Workspace::open_reader(&args.workspace)?;
    let run = reader.latest_run()?.ok_or_else(|| CommandError::NoRun { path: args.workspace.clone() })?.id;
    // Looked at before the events are read: a run that ends in between is not called interrupted.
    let at_work = reader.has_writer();
    let since = reader.writer_since();
    let mut state = reader.state(run)?;
    // A program that has not recorded anything yet, because it only begins to resume the run, has not worked on it yet.
    if at_work && since.is_none_or(|since| since <= state.updated) {
        state.cost.wall_s = state.wall_s_at(SystemClock.now());
    }
    Ok(Latest { run, state, at_work })
}

/// Writes `report.json`, `report.md` and `report.html` beside the exports of the run.
pub(crate) fn write_files(dir: &Path, run: RunId, state: &RunState) -> Result<Report, CliError> {
    let folder = dir.join("exports").join(run.to_string());
    let report = build_report(state, run, file_names(run, state));
    trex_fs::write_json(&folder.join("report.json"), &report)?;
    trex_fs::write_atomic(&folder.join("report.md"), report_markdown(&report).as_bytes())?;
    trex_fs::write_atomic(&folder.join("report.html"), report_html(&report).as_bytes())?;
    Ok(report)
}

/// Deliverables that are there, by kind, relative to the workspace.
fn files(dir: &Path, run: RunId, state: &RunState) -> BTreeMap<String, String> {
    let mut files = file_names(run, state);
    files.retain(|_, path| dir.join(path).exists());
    files
}

fn file_names(run: RunId, state: &RunState) -> BTreeMap<String, String> {
    let mut kinds = vec![("report_json", "report.json"), ("report_md", "report.md"), ("report_html", "report.html")];
    if state.incumbent.is_some() && state.delivered.is_some() {
        kinds.push(delivered(state));
    }
    kinds.into_iter().map(|(kind, name)| (kind.to_owned(), format!("exports/{run}/{name}"))).collect()
}

/// What was written beside the report: an adapter, or a whole model where all weights were trained.
fn delivered(state: &RunState) -> (&'static str, &'static str) {
    let best = state.incumbent.as_ref().and_then(|id| state.variants.get(id));
    match best.map(|record| record.variant.config.method) {
        Some(TrainMethod::Full) => ("model", "model"),
        _ => ("peft_adapter", "adapter"),
    }
}

/// The last lines of `trex run`.
pub(crate) fn summary(dir: &Path, report: &Report) -> String {
    let shown = |score: &Option<ReportScore>| match score {
        Some(score) => {
            format!("{:.3} [{:.3}, {:.3}] n={} ({})", score.score, score.ci95[0], score.ci95[1], score.n, score.split)
        }
        None => "not measured".to_owned(),
    };
    let verdict = match report.verdict {
        Some(Verdict::Gain) => "gain",
        Some(Verdict::NoRealGain) => "no real gain",
        None => "none yet",
    };
    let mut lines = vec![
        format!("verdict: {verdict}"),
        format!("base:    {}", shown(&report.base)),
        format!("final:   {}", shown(&report.final_)),
    ];
    if let Some(gain) = &report.gain {
        let [low, high] = gain.effect.ci95;
        let (diff, n) = (gain.effect.diff, gain.effect.n);
        lines.push(format!("gain:    {diff:+.3} [{low:+.3}, {high:+.3}] paired over {n} items"));
    }
    lines.push(format!(
        "trials:  {} run, {} duplicates avoided, {:.0} s wall, {:.0} s processor",
        report.trials, report.duplicates.avoided, report.cost.wall_s, report.cost.cpu_s
    ));
    lines.extend(report.files.iter().map(|(kind, path)| format!("{kind}: {}", dir.join(path).display())));
    lines.join("\n")
}
