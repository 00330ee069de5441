//! The worker process: one job in on standard input, events out on standard output, cancel by closing standard input.
//!
//! Three threads: this one computes; one beats so that the parent knows the process lives; one waits for the end of
//! standard input, which means that the parent asks to stop or is gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use trex_domain::{FailureClass, Job, Problem, WorkerEvent};

use crate::TrainError;
use crate::trainer::EventSink;

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Shortest time between two progress lines of one job.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs one job from `input` and writes its events to `output`; returns whether it succeeded.
///
/// `input` must stay open while the job shall run: its end asks for a stop.
pub fn run_worker(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> bool {
    let mut input = BufReader::new(input);
    let writer = Arc::new(Mutex::new(output));
    let mut line = String::new();
    let job = match input.read_line(&mut line) {
        Ok(_) => serde_json::from_str::<Job>(&line),
        Err(err) => Err(serde_json::Error::io(err)),
    };
    let job = match job {
        Ok(job) => job,
        Err(err) => {
            let event = WorkerEvent::Failed {
                class: FailureClass::Config,
                code: "worker.bad_job".to_owned(),
                message: format!("not a job: {err}"),
                hint: Some("write one JSON document on one line to standard input".to_owned()),
            };
            write_event(&writer, &event);
            return false;
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    watch_input(input, stop.clone());
    beat(writer.clone(), stop.clone());
    let mut sink = LineSink { writer: writer.clone(), stop, last_progress: None };
    let result = run_job(&job, &mut sink);
    let succeeded = result.is_ok();
    write_event(&writer, &result.unwrap_or_else(|err| failure_event(&err)));
    succeeded
}

/// Runs a job in this process.
pub fn run_job(job: &Job, sink: &mut dyn EventSink) -> Result<WorkerEvent, TrainError> {
    match job {
        Job::Train(job) => crate::trainer::train(job, sink).map(WorkerEvent::Trained),
        Job::Eval(job) => crate::evaluate::evaluate(job, sink).map(WorkerEvent::Evaluated),
    }
}

/// The last line of a failed job.
fn failure_event(err: &TrainError) -> WorkerEvent {
    let mut message = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        message.push_str(": ");
        message.push_str(err.to_string().lines().next().unwrap_or_default());
        cause = err.source();
    }
    WorkerEvent::Failed { class: err.failure_class(), code: err.code().to_owned(), message, hint: err.hint() }
}

/// Writes events as lines; progress at most five times a second.
struct LineSink<W> {
    writer: Arc<Mutex<W>>,
    stop: Arc<AtomicBool>,
    last_progress: Option<Instant>,
}

impl<W: Write> EventSink for LineSink<W> {
    fn send(&mut self, event: WorkerEvent) -> bool {
        let goes_on = !self.stop.load(Ordering::Relaxed);
        if let WorkerEvent::Progress { done, total, .. } = &event {
            let recent = self.last_progress.is_some_and(|last| last.elapsed() < PROGRESS_EVERY);
            if recent && done < total {
                return goes_on;
            }
            self.last_progress = Some(Instant::now());
        }
        write_event(&self.writer, &event) && goes_on
    }
}

/// Writes one line; `false` when nobody reads any more.
fn write_event<W: Write>(writer: &Mutex<W>, event: &WorkerEvent) -> bool {
    let Ok(mut line) = serde_json::to_string(event) else { return false };
    line.push('\n');
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    writer.write_all(line.as_bytes()).and_then(|()| writer.flush()).is_ok()
}

fn watch_input(mut input: impl Read + Send + 'static, stop: Arc<AtomicBool>) {
    spawn("stdin-watch", move || {
        let mut rest = [0u8; 256];
        while matches!(input.read(&mut rest), Ok(count) if count > 0) {}
        stop.store(true, Ordering::Relaxed);
    });
}

fn beat<W: Write + Send + 'static>(writer: Arc<Mutex<W>>, stop: Arc<AtomicBool>) {
    spawn("heartbeat", move || {
        while !stop.load(Ordering::Relaxed) && write_event(&writer, &WorkerEvent::Heartbeat) {
            std::thread::sleep(HEARTBEAT);
        }
    });
}

/// Starts a named thread that ends with the process. Without it the job still runs: it is only less well watched.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).ok();
}
