//! The worker's manners: what it reads, when it stops, how many threads it uses, how often it speaks.

use std::io::{Read, Write as _};
use std::sync::{Arc, Mutex};

use trex_domain::{Job, TrainDone, TrainJob, WorkerEvent};
use trex_train::{EventSink, run_job, run_worker, train};

use crate::fixture::{Fixture, Sink};

/// Output that is kept.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn events(&self) -> Vec<WorkerEvent> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn trained(&self) -> Option<TrainDone> {
        self.events().into_iter().find_map(|event| match event {
            WorkerEvent::Trained(done) => Some(done),
            _ => None,
        })
    }
}

fn text_of(job: &TrainJob, detached: bool) -> String {
    let mut value = serde_json::to_value(Job::Train(job.clone())).unwrap();
    value["detached"] = detached.into();
    // With line breaks, as a person would keep it.
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn a_detached_job_from_a_file_gives_the_same_result() {
    let fixture = Fixture::new();
    let output = Output::default();
    let text = text_of(&fixture.train_job("file", 6), true);
    assert!(run_worker(std::io::Cursor::new(text.into_bytes()), output.clone()));
    let expected = train(&fixture.train_job("direct", 6), &mut Sink::default()).unwrap();
    assert_eq!(output.trained().unwrap().adapter, expected.adapter);
}

#[test]
fn the_end_of_the_input_stops_a_job_that_is_not_detached() {
    let fixture = Fixture::new();
    let output = Output::default();
    let mut job = fixture.train_job("closed", 100_000);
    job.total_steps = 100_000;
    let text = text_of(&job, false);
    assert!(!run_worker(std::io::Cursor::new(text.into_bytes()), output.clone()));
    let last = output.events().pop();
    assert!(matches!(&last, Some(WorkerEvent::Failed { code, .. }) if code == "train.cancelled"), "{last:?}");
}

#[test]
fn what_is_no_job_is_said() {
    for text in ["", "{", "{\"job\": \"dance\"}", "[]"] {
        let output = Output::default();
        assert!(!run_worker(std::io::Cursor::new(text.as_bytes().to_vec()), output.clone()));
        let events = output.events();
        assert!(matches!(&events[..], [WorkerEvent::Failed { code, .. }] if code == "worker.bad_job"), "{events:?}");
    }
}

/// Remembers on how many threads it was called.
#[derive(Default)]
struct Threads(Vec<usize>);

impl EventSink for Threads {
    fn send(&mut self, _event: WorkerEvent) -> bool {
        self.0.push(rayon::current_num_threads());
        true
    }
}

#[test]
fn a_job_runs_on_as_many_threads_as_it_says() {
    let fixture = Fixture::new();
    for threads in [1, 3] {
        let mut job = fixture.train_job(&format!("threads-{threads}"), 2);
        job.threads = threads;
        let mut sink = Threads::default();
        run_job(&Job::Train(job), &mut sink).unwrap();
        assert!(!sink.0.is_empty() && sink.0.iter().all(|count| *count == threads), "{:?}", sink.0);
    }
}

/// Counts what comes within the first step and stops there.
#[derive(Default)]
struct Impatient {
    progress: usize,
    metrics: usize,
}

impl EventSink for Impatient {
    fn send(&mut self, event: WorkerEvent) -> bool {
        match event {
            WorkerEvent::Progress { phase, tokens_per_s, peak_rss_bytes, .. } => {
                assert!(phase == "train" && tokens_per_s > 0.0);
                assert!(peak_rss_bytes > 0 || cfg!(not(target_os = "linux")));
                self.progress += 1;
            }
            WorkerEvent::Metric(_) => self.metrics += 1,
            _ => {}
        }
        self.progress < 2
    }
}

/// A step that would take minutes says where it is and ends when it is asked to.
#[test]
fn a_long_step_speaks_and_stops_between_micro_batches() {
    let fixture = Fixture::new();
    let mut job = fixture.train_job("long", 1);
    job.config.per_device_train_batch_size = 1;
    job.config.gradient_accumulation_steps = 50_000;
    let mut sink = Impatient::default();
    let err = train(&job, &mut sink).unwrap_err();
    assert_eq!(trex_domain::Problem::code(&err), "train.cancelled");
    assert_eq!((sink.progress, sink.metrics), (2, 0));
}

#[test]
fn the_metric_line_has_the_fields_that_readers_know() {
    let fixture = Fixture::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut output, sink) = std::io::pipe().unwrap();
    writer.write_all(text_of(&fixture.train_job("fields", 2), true).as_bytes()).unwrap();
    drop(writer);
    assert!(run_worker(reader, sink));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let metric = text.lines().find(|line| line.contains("\"metric\"")).unwrap();
    let metric: serde_json::Value = serde_json::from_str(metric).unwrap();
    for key in ["step", "loss", "loss_ema", "learning_rate", "grad_norm"] {
        assert!(metric[key].is_number(), "{key} in {metric}");
    }
}
