//! The worker process: one job in on standard input, events out on standard output, cancel by closing standard input.
//!
//! A job that is run by hand says `"detached": true`, so that the end of the input does not stop it:
//! `trex worker < job.json`. Such a file may have line breaks. The result is that of the same job without.
//!
//! Three threads beside those that compute: this one computes; one beats so that the parent knows the process lives; one waits for the end of
//! standard input, which means that the parent asks to stop or is gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use trex_domain::{FailureClass, Job, Problem, WorkerEvent};

use crate::TrainError;
use crate::hardware::ThisMachine;
use crate::hardware::sensors::{EnergyCounters, card_temperature_c, cpu_temperature_c};
use crate::trainer::EventSink;

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Stack of a thread that computes: autograd walks the graph of a model by recursion.
const STACK_BYTES: usize = 32 << 20;

/// Shortest time between two progress lines of one job.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What stands in the input: a job, and how it is watched.
#[derive(Deserialize)]
struct Order {
    #[serde(flatten)]
    job: Job,
    /// Whether the end of the input means nothing.
    #[serde(default)]
    detached: bool,
}

/// Runs one job from `input` and writes its events to `output`; returns whether it succeeded.
///
/// `input` must stay open while the job shall run: its end asks for a stop, unless the job is detached.
pub fn run_worker(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> bool {
    let mut input = BufReader::new(input);
    let writer = Arc::new(Mutex::new(output));
    let order = match read_order(&mut input) {
        Ok(order) => order,
        Err(err) => {
            let event = WorkerEvent::Failed {
                class: FailureClass::Config,
                code: "worker.bad_job".to_owned(),
                message: format!("not a job: {err}"),
                hint: Some("write one JSON document to standard input".to_owned()),
            };
            write_event(&writer, &event);
            return false;
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    if !order.detached {
        watch_input(input, stop.clone());
    }
    beat(writer.clone(), stop.clone());
    let mut sink = LineSink { writer: writer.clone(), stop: stop.clone(), last_progress: None };
    let result = run_job(&order.job, &mut sink);
    let succeeded = result.is_ok();
    write_event(&writer, &result.unwrap_or_else(|err| failure_event(&err)));
    // Ends the heartbeat, so that nothing comes after the last line for long.
    stop.store(true, Ordering::Relaxed);
    succeeded
}

/// Reads lines until they are one JSON document; one that is empty so far is none.
fn read_order(input: &mut impl BufRead) -> Result<Order, serde_json::Error> {
    let mut text = String::new();
    loop {
        let at_end = input.read_line(&mut text).map_err(serde_json::Error::io)? == 0;
        match serde_json::from_str(&text) {
            Err(err) if err.is_eof() && !at_end && !text.trim().is_empty() => {}
            order => return order,
        }
    }
}

/// Runs a job in this process, on as many threads as it says; 0 leaves their number to the machine.
pub fn run_job(job: &Job, sink: &mut (dyn EventSink + Send)) -> Result<WorkerEvent, TrainError> {
    pool(job.threads())?.install(|| match job {
        Job::Train(job) => crate::trainer::train(job, sink).map(WorkerEvent::Trained),
        Job::DryRun(job) => crate::dry_run::dry_run(job, sink).map(WorkerEvent::Tried),
        Job::Eval(job) => crate::evaluate::evaluate(job, sink).map(WorkerEvent::Evaluated),
        Job::Embed(job) => crate::embedder::embed(job, sink).map(WorkerEvent::Embedded),
        Job::Answer(job) => crate::answer::answer(job, sink).map(WorkerEvent::Answered),
    })
}

/// So many threads; 0 leaves their number to the machine.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES).build();
    pool.map_err(|source| TrainError::Threads { threads, source })
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

impl<W: Write + Send> EventSink for LineSink<W> {
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

/// What was read of the sensors last.
#[derive(Default)]
struct Sensors {
    energy: Option<(Instant, EnergyCounters)>,
}

impl Sensors {
    /// What they say now; `None` where nothing can be read.
    fn read(&mut self) -> Option<WorkerEvent> {
        // A worker that was built for cards is one that works on them.
        let card = if cfg!(feature = "cuda") { card_temperature_c(&ThisMachine) } else { None };
        let temperature_c = card.or_else(|| cpu_temperature_c(&ThisMachine));
        let now = EnergyCounters::read(&ThisMachine).map(|counters| (Instant::now(), counters));
        let before = std::mem::replace(&mut self.energy, now);
        let power_w = before.zip(self.energy.as_ref()).map(|((then, before), (now, counters))| {
            counters.joules_since(&before) / now.duration_since(then).as_secs_f64().max(1e-3)
        });
        (temperature_c.is_some() || power_w.is_some()).then_some(WorkerEvent::Sensors { temperature_c, power_w })
    }
}

fn beat<W: Write + Send + 'static>(writer: Arc<Mutex<W>>, stop: Arc<AtomicBool>) {
    spawn("heartbeat", move || {
        let mut sensors = Sensors::default();
        while !stop.load(Ordering::Relaxed) && write_event(&writer, &WorkerEvent::Heartbeat) {
            if let Some(event) = sensors.read() {
                write_event(&writer, &event);
            }
            std::thread::sleep(HEARTBEAT);
        }
    });
}

/// Starts a named thread that ends with the process. Without it the job still runs: it is only less well watched.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).ok();
}
