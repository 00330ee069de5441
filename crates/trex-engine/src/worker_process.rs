//! Runs each job in a child process of its own, so that a crash or a hang takes down one trial and never the run.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use trex_domain::{Executor, FailureClass, Job, JobControl, JobOutcome, WorkerEvent};

/// How long a worker is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Silence after which it counts as hung; it beats every two seconds.
    silence: Duration,
    /// Time that it gets to stop by itself, however much it says meanwhile.
    grace: Duration,
}

const PATIENCE: Patience = Patience { silence: Duration::from_mins(1), grace: Duration::from_secs(10) };

/// Last bytes of a worker's standard error that are kept for the message.
const KEPT_STDERR: usize = 2000;

/// Starts worker processes.
#[derive(Clone, Debug)]
pub struct WorkerProcesses {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Threads of a worker.
    pub threads: usize,
}

impl Executor for WorkerProcesses {
    fn run(&self, job: &Job, control: &mut dyn JobControl) -> JobOutcome {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(err) => {
                return failed(
                    FailureClass::Config,
                    "worker.cannot_start",
                    format!("{}: {err}", self.program.display()),
                );
            }
        };
        let stderr = child.stderr.take().map(collect_stderr);
        let events = child.stdout.take().map(read_events);
        let input = child.stdin.take().and_then(|stdin| send_job(stdin, job));
        let outcome = match events {
            Some(events) => follow(input, &events, control, PATIENCE),
            None => None,
        };
        // Whatever happened, no process outlives its job.
        child.kill().ok();
        let status = child.wait();
        outcome.unwrap_or_else(|| died(status, &stderr.and_then(|thread| thread.join().ok()).unwrap_or_default()))
    }

    fn run_all(&self, jobs: &[&Job], on_event: &mut dyn FnMut(usize, &WorkerEvent) -> bool) -> Vec<JobOutcome> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            let mut workers = Vec::new();
            for (place, job) in jobs.iter().enumerate() {
                let mut forward = Forward { place, sender: sender.clone(), stop: &stop };
                workers.push(scope.spawn(move || self.run(job, &mut forward)));
            }
            drop(sender);
            for (place, event) in receiver {
                if !on_event(place, &event) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }
}

/// Hands the events of one of several workers to the thread that waits for all of them.
struct Forward<'a> {
    place: usize,
    sender: Sender<(usize, WorkerEvent)>,
    stop: &'a AtomicBool,
}

impl JobControl for Forward<'_> {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        let is_heard = self.sender.send((self.place, event.clone())).is_ok();
        is_heard && !self.stop.load(Ordering::Relaxed)
    }
}

impl WorkerProcesses {
    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env("RAYON_NUM_THREADS", self.threads.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal reaches a whole group. It is meant for the run, which asks its worker to stop in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn()
    }
}

/// Writes the job; the returned handle keeps standard input open, which tells the worker to go on.
fn send_job(mut stdin: ChildStdin, job: &Job) -> Option<ChildStdin> {
    let mut line = serde_json::to_vec(job).ok()?;
    line.push(b'\n');
    stdin.write_all(&line).ok()?;
    Some(stdin)
}

fn read_events(stdout: impl Read + Send + 'static) -> Receiver<WorkerEvent> {
    let (sender, receiver) = sync_channel(256);
    let body = move || forward(stdout, &sender);
    std::thread::Builder::new().name("worker-events".to_owned()).spawn(body).ok();
    receiver
}

/// Passes on every line that is an event. Libraries may print anything in between, text or not.
fn forward(stdout: impl Read, sender: &SyncSender<WorkerEvent>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while matches!(stdout.read_until(b'\n', &mut line), Ok(1..)) {
        let event = serde_json::from_slice(&line);
        line.clear();
        let Ok(event) = event else { continue };
        if sender.send(event).is_err() {
            return;
        }
    }
}

fn collect_stderr(mut stderr: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text[text.len().saturating_sub(KEPT_STDERR)..]).trim().to_owned()
    })
}

/// Passes events on until the last one; `None` when the process died without one.
fn follow(
    mut input: Option<ChildStdin>,
    events: &Receiver<WorkerEvent>,
    control: &mut dyn JobControl,
    patience: Patience,
) -> Option<JobOutcome> {
    let mut stop_by: Option<Instant> = None;
    loop {
        let wait = stop_by.map_or(patience.silence, |moment| moment.saturating_duration_since(Instant::now()));
        if stop_by.is_some() && wait.is_zero() {
            let message = format!("did not stop within {} s", patience.grace.as_secs());
            return Some(failed(FailureClass::Cancelled, "worker.deaf", message));
        }
        let event = match events.recv_timeout(wait) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if stop_by.is_some() => continue,
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("no sign of life for {} s", patience.silence.as_secs());
                return Some(failed(FailureClass::Hung, "worker.silent", message));
            }
        };
        if !control.on_event(&event) && stop_by.is_none() {
            drop(input.take());
            stop_by = Some(Instant::now() + patience.grace);
        }
        match event {
            WorkerEvent::Trained(done) => return Some(JobOutcome::Trained(done)),
            WorkerEvent::Tried(done) => return Some(JobOutcome::Tried(done)),
            WorkerEvent::Evaluated(done) => return Some(JobOutcome::Evaluated(done)),
            WorkerEvent::Embedded(done) => return Some(JobOutcome::Embedded(done)),
            WorkerEvent::Answered(done) => return Some(JobOutcome::Answered(done)),
            WorkerEvent::Failed { class, code, message, hint } => {
                return Some(JobOutcome::Failed { class, code, message, hint });
            }
            _ => {}
        }
    }
}

fn died(status: std::io::Result<ExitStatus>, stderr: &str) -> JobOutcome {
    let how = match status {
        Ok(status) => status.to_string(),
        Err(err) => err.to_string(),
    };
    let tail = if stderr.is_empty() { String::new() } else { format!(": {stderr}") };
    // What Rust's allocator prints before it aborts.
    let (class, code) = if stderr.contains("memory allocation of ") {
        (FailureClass::OutOfMemory, "worker.out_of_memory")
    } else {
        (FailureClass::Crashed, "worker.died")
    };
    failed(class, code, format!("the worker died ({how}){tail}"))
}

fn failed(class: FailureClass, code: &str, message: String) -> JobOutcome {
    JobOutcome::Failed { class, code: code.to_owned(), message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts events and answers each with `goes_on`.
    struct Count {
        events: usize,
        goes_on: bool,
    }

    impl JobControl for Count {
        fn on_event(&mut self, _event: &WorkerEvent) -> bool {
            self.events += 1;
            self.goes_on
        }
    }

    /// Follows a worker that beats so often, then neither speaks nor dies. No time is waited for.
    #[track_caller]
    fn check(num_beats: usize, goes_on: bool, expected: FailureClass, num_heard: usize) {
        let (sender, receiver) = sync_channel(num_beats + 1);
        for _ in 0..num_beats {
            sender.send(WorkerEvent::Heartbeat).unwrap();
        }
        let mut control = Count { events: 0, goes_on };
        let patience = Patience { silence: Duration::ZERO, grace: Duration::ZERO };
        let outcome = follow(None, &receiver, &mut control, patience);
        let Some(JobOutcome::Failed { class, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((class, control.events), (expected, num_heard));
    }

    #[test]
    fn a_worker_that_is_silent_or_does_not_stop_is_given_up() {
        check(0, true, FailureClass::Hung, 0);
        check(3, true, FailureClass::Hung, 3);
        // Beating on after the request to stop buys no time.
        check(3, false, FailureClass::Cancelled, 1);
    }
}
