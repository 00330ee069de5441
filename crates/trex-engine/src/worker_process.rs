//! Runs each job in a child process of its own, so that a crash or a hang takes down one trial and never the run.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use trex_domain::{Executor, FailureClass, Job, JobControl, JobOutcome, WorkerEvent};

/// Silence after which a worker counts as hung; it beats every two seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Time that a worker gets to stop by itself.
const GRACE: Duration = Duration::from_secs(10);

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
            Some(events) => follow(&mut child, input, &events, control),
            None => None,
        };
        // Whatever happened, no process outlives its job.
        child.kill().ok();
        let status = child.wait();
        let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
        outcome.unwrap_or_else(|| died(status, &stderr))
    }
}

impl WorkerProcesses {
    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.args)
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
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

fn forward(stdout: impl Read, sender: &SyncSender<WorkerEvent>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        let Ok(event) = serde_json::from_str(&line) else { continue };
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
    child: &mut Child,
    mut input: Option<ChildStdin>,
    events: &Receiver<WorkerEvent>,
    control: &mut dyn JobControl,
) -> Option<JobOutcome> {
    loop {
        let patience = if input.is_some() { SILENCE } else { GRACE };
        let event = match events.recv_timeout(patience) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().ok();
                let class = if input.is_some() { FailureClass::Hung } else { FailureClass::Cancelled };
                return Some(failed(class, "worker.silent", format!("no sign of life for {} s", patience.as_secs())));
            }
        };
        let goes_on = control.on_event(&event);
        if !goes_on {
            input = None;
        }
        match event {
            WorkerEvent::Trained(done) => return Some(JobOutcome::Trained(done)),
            WorkerEvent::Evaluated(done) => return Some(JobOutcome::Evaluated(done)),
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
    failed(FailureClass::Crashed, "worker.died", format!("the worker died ({how}){tail}"))
}

fn failed(class: FailureClass, code: &str, message: String) -> JobOutcome {
    JobOutcome::Failed { class, code: code.to_owned(), message, hint: None }
}
