//! Follows the run of a workspace: new events from number n on, and what the program that works on it says about its
//! progress. One thread per follower, which ends when it is told to or when the page is gone; it reads only.
//!
//! A new event is on its way within [`LOOK_EVERY`]; where much happens, states are sent at most every [`SEND_EVERY`].

use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trex_domain::{Event, Millis, RunId, RunState};
use trex_engine::{OrderBox, foreseen};
use trex_store::{Reader, Workspace};
use ts_rs::TS;

use crate::clock::now;
use crate::error::ShellError;
use crate::program::error_of;
use crate::view::{Moment, RunView, run_view};

/// Time between two looks at the list of events.
const LOOK_EVERY: Duration = Duration::from_millis(60);
/// Time between two looks where nobody works on the run.
const LOOK_AT_REST_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two states that are sent.
const SEND_EVERY: Duration = Duration::from_millis(120);

/// What a follower sends.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Update {
    /// The state of the run after the events so far.
    Run {
        /// The state.
        run: Box<RunView>,
    },
    /// What a worker is doing right now.
    Progress {
        /// The numbers.
        progress: Progress,
    },
    /// The workspace holds no run yet.
    NoRun,
    /// The program that works on the run ended with an error, or the workspace cannot be read.
    Problem {
        /// The error.
        error: ShellError,
    },
}

/// Progress of a training or a scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Progress {
    /// Which job.
    pub what: String,
    /// Part of the job.
    pub phase: String,
    /// Units done.
    #[ts(type = "number")]
    pub done: u64,
    /// Units altogether.
    #[ts(type = "number")]
    pub total: u64,
    /// Units per second.
    pub rate: f64,
    /// Tokens per second.
    #[serde(default)]
    pub tokens_per_s: Option<f64>,
    /// Largest resident memory of the worker.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub peak_rss_bytes: Option<u64>,
    /// Smoothed training loss.
    #[serde(default)]
    pub loss_ema: Option<f64>,
    /// The hottest place of processor or card in degrees Celsius, where it can be read.
    #[serde(default)]
    pub temperature_c: Option<f64>,
    /// Power of the processor in watts, where it can be read.
    #[serde(default)]
    pub power_w: Option<f64>,
}

/// Ends a follower.
#[derive(Clone, Debug, Default)]
pub struct StopFollowing(Arc<AtomicBool>);

impl StopFollowing {
    /// Has the follower end at its next look.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Follows until `send` says that nobody listens, or `stop` is set.
pub fn follow(folder: &Path, stop: &StopFollowing, mut send: impl FnMut(Update) -> bool) {
    let mut follower = Follower::new(folder);
    let mut told: Option<ShellError> = None;
    while !stop.is_stopped() {
        match follower.look() {
            Ok(updates) => {
                told = None;
                if !updates.into_iter().all(&mut send) {
                    return;
                }
            }
            Err(err) if told.as_ref() != Some(&err) => {
                told = Some(err.clone());
                if !send(Update::Problem { error: err }) {
                    return;
                }
            }
            Err(_) => {}
        }
        std::thread::sleep(if follower.at_work { LOOK_EVERY } else { LOOK_AT_REST_EVERY });
    }
}

struct Follower {
    folder: PathBuf,
    reader: Option<Reader>,
    run: Option<RunId>,
    state: RunState,
    at_work: bool,
    is_news: bool,
    /// Orders that lie in the workspace and that the run has yet to take.
    num_lying: usize,
    said_no_run: bool,
    sent: Option<Instant>,
    log: LogTail,
}

impl Follower {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            reader: None,
            run: None,
            state: RunState::default(),
            at_work: false,
            is_news: true,
            num_lying: 0,
            said_no_run: false,
            sent: None,
            log: LogTail::new(Workspace::at(folder).logs()),
        }
    }

    /// What happened since the last look.
    fn look(&mut self) -> Result<Vec<Update>, ShellError> {
        let mut updates = Vec::new();
        let has_database = Workspace::at(&self.folder).database().is_file();
        self.log.read(has_database, &mut updates);
        if !has_database {
            updates.extend(self.no_run());
            return Ok(updates);
        }
        let reader = match &self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Workspace::open_reader(&self.folder)?),
        };
        let at_work = reader.has_writer();
        self.is_news |= at_work != self.at_work;
        self.at_work = at_work;
        let Some(latest) = reader.latest_run()? else {
            updates.extend(self.no_run());
            return Ok(updates);
        };
        if self.run != Some(latest.id) {
            self.run = Some(latest.id);
            self.state = RunState::default();
            self.is_news = true;
        }
        for stored in reader.events(latest.id, self.state.seq)? {
            self.state.apply_stored(&stored)?;
            self.is_news = true;
        }
        let desk = OrderBox::of(&self.folder);
        let num_lying = desk.lying(latest.id, self.state.last_order()).len();
        self.is_news |= num_lying != std::mem::replace(&mut self.num_lying, num_lying);
        let is_early = self.at_work && self.sent.is_some_and(|sent| sent.elapsed() < SEND_EVERY);
        if self.is_news && !is_early && self.state.seq > 0 {
            self.is_news = false;
            self.sent = Some(Instant::now());
            let moment = Moment { at_work: self.at_work, now: now() };
            let state = foreseen(&self.state, latest.id, &desk);
            updates.push(Update::Run { run: Box::new(run_view(&state, latest.id, moment)) });
        }
        Ok(updates)
    }

    fn no_run(&mut self) -> Option<Update> {
        (!std::mem::replace(&mut self.said_no_run, true)).then_some(Update::NoRun)
    }
}

/// Reads what the newest started program prints, line by line.
struct LogTail {
    folder: PathBuf,
    file: Option<(PathBuf, u64)>,
}

impl LogTail {
    fn new(folder: PathBuf) -> Self {
        Self { folder, file: None }
    }

    /// The newest progress and errors since the last look. Of many progress lines only the last one matters.
    ///
    /// What a program said before the first look is over, and its run knows its error; but a program that ended before there
    /// was a run has told its error nowhere else.
    fn read(&mut self, has_database: bool, updates: &mut Vec<Update>) {
        let Some(newest) = newest_log(&self.folder) else { return };
        let is_first = self.file.is_none() && has_database;
        if self.file.as_ref().is_none_or(|(path, _)| *path != newest) {
            self.file = Some((newest.clone(), 0));
        }
        let Some((_, offset)) = &mut self.file else { return };
        let Ok(mut file) = std::fs::File::open(&newest) else { return };
        if file.seek(SeekFrom::Start(*offset)).is_err() {
            return;
        }
        let mut reader = BufReader::new(file);
        let mut progress: Vec<Progress> = Vec::new();
        let mut line = String::new();
        while let Ok(read) = reader.read_line(&mut line) {
            // A line that is being written is read when it is whole.
            if read == 0 || !line.ends_with('\n') {
                break;
            }
            *offset += read as u64;
            if let Ok(value) = serde_json::from_str::<Value>(&line) {
                take_line(&value, is_first, &mut progress, updates);
            }
            line.clear();
        }
        updates.extend(progress.into_iter().map(|progress| Update::Progress { progress }));
    }
}

fn take_line(value: &Value, is_first: bool, progress: &mut Vec<Progress>, updates: &mut Vec<Update>) {
    match value["type"].as_str() {
        Some("progress") => progress.extend(Progress::deserialize(value).ok()),
        Some("error") if !is_first => updates.push(Update::Problem { error: error_of("run", value) }),
        _ => {}
    }
}

/// The log that was begun last; names begin with the time.
fn newest_log(folder: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    names.filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")).max()
}

/// The state of the newest run up to and with event `seq`; how the tree looked then.
pub fn view_at(folder: &Path, seq: u64) -> Result<RunView, ShellError> {
    let reader = Workspace::open_reader(folder)?;
    let latest = reader.latest_run()?.ok_or_else(|| ShellError::no_run(folder))?;
    let mut state = RunState::default();
    for stored in reader.events(latest.id, 0)?.into_iter().take_while(|stored| stored.seq <= seq) {
        state.apply_stored(&stored)?;
    }
    Ok(run_view(&state, latest.id, Moment { at_work: true, now: state.updated }))
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct LogLine {
    /// Number of the event.
    #[ts(type = "number")]
    pub seq: u64,
    /// When, in milliseconds since 1970.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// Kind of the event.
    pub kind: String,
    /// The node that it is about.
    pub node: Option<String>,
    /// The event as it is stored.
    pub body: String,
}

/// Events of the newest run after `after`, at most `limit`.
pub fn log_lines(folder: &Path, after: u64, limit: usize) -> Result<Vec<LogLine>, ShellError> {
    let reader = Workspace::open_reader(folder)?;
    let Some(latest) = reader.latest_run()? else { return Ok(Vec::new()) };
    let events = reader.events(latest.id, after)?;
    let skipped = events.len().saturating_sub(limit);
    Ok(events.into_iter().skip(skipped).map(|stored| log_line(stored.seq, stored.at, &stored.event)).collect())
}

fn log_line(seq: u64, at: Millis, event: &Event) -> LogLine {
    let value = serde_json::to_value(event).unwrap_or_default();
    let node = ["variant", "candidate", "node"].iter().find_map(|key| value[key].as_str().map(str::to_owned));
    let body = serde_json::to_string(&value).unwrap_or_default();
    LogLine { seq, at_ms: at.0, kind: event.kind().to_owned(), node, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that a follower tells of a log that was there before it.
    fn told(with_database: bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let logs = Workspace::at(folder.path()).logs();
        std::fs::create_dir_all(&logs).unwrap();
        let line = r#"{"type":"error","code":"budget.too_few_trials","message":"too few","causes":[],"hint":null}"#;
        std::fs::write(logs.join("1-run.jsonl"), format!("{line}\n")).unwrap();
        let mut updates = Vec::new();
        LogTail::new(logs).read(with_database, &mut updates);
        let code = |update| match update {
            Update::Problem { error } => Some(error.code),
            _ => None,
        };
        updates.into_iter().filter_map(code).collect()
    }

    #[test]
    fn the_error_of_a_start_that_led_to_no_run_is_told() {
        assert_eq!(told(false), ["budget.too_few_trials"]);
        assert!(told(true).is_empty(), "that of an earlier run is over");
    }
}
