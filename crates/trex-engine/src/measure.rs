//! Vectors, losses and texts by worker processes: the adapters behind [`Embedder`], [`LossMeter`] and [`TextWriter`].
//!
//! What was measured or written once lies in the workspace by content, so a second recipe over the same rows starts no
//! worker. Decides nothing about rows.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trex_domain::{
    Backend, ContentHash, DeviceChoice, EmbedDone, EmbedJob, Embedder, EvalJob, EvalMode, Example, Executor,
    FailureClass, ItemScore, Job, JobControl, JobOutcome, LossMeter, MeasureError, Metric, Origin, Precision,
    TextWriter, Vectors, WorkerEvent, WritingRequest, WritingSettings, WrittenText,
};
use trex_fs::BlobStore;

use crate::EngineError;
use crate::run::{ATTEMPTS, job_failure};

/// Hears of a worker's events; `false` asks it to stop.
pub type MeasureListener = dyn Fn(&WorkerEvent) -> bool + Send + Sync;

/// Texts that one job writes: few enough that little is lost with a job, many enough that loading the model is little.
const TEXTS_OF_A_JOB: usize = 512;

/// A model that measures or writes, and where.
pub struct WorkerMeter<E> {
    /// Starts workers.
    pub executor: E,
    /// Folder of the model.
    pub model_dir: PathBuf,
    /// Its hash.
    pub model: ContentHash,
    /// The workspace.
    pub workspace: PathBuf,
    /// Threads of a worker.
    pub threads: usize,
    /// Most tokens of a row, for losses; of a prompt and what is written behind it, for texts.
    pub max_length: usize,
    /// Hears how far a worker is.
    pub listener: Box<MeasureListener>,
}

impl<E> fmt::Debug for WorkerMeter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerMeter")
            .field("model_dir", &self.model_dir)
            .field("workspace", &self.workspace)
            .finish_non_exhaustive()
    }
}

/// Passes events on.
struct Control<'a>(&'a MeasureListener);

impl JobControl for Control<'_> {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        (self.0)(event)
    }
}

impl<E: Executor + Send + Sync> WorkerMeter<E> {
    fn blobs(&self) -> BlobStore {
        BlobStore::new(self.workspace.join("blobs"))
    }

    /// The entry of what was measured of `input`.
    fn entry(&self, kind: &str, input: &impl Serialize) -> Result<PathBuf, EngineError> {
        let key = ContentHash::of_value("trex.measured.v1", &(kind, self.model, self.max_length, input))?;
        Ok(self.workspace.join("prepared").join(format!("{kind}-{key}.json")))
    }

    fn run(&self, what: &str, job: &Job) -> Result<JobOutcome, EngineError> {
        let mut attempt = 1;
        loop {
            match self.executor.run(job, &mut Control(&*self.listener)) {
                JobOutcome::Failed { class, .. } if class.may_retry() && attempt < ATTEMPTS => attempt += 1,
                JobOutcome::Failed { class: FailureClass::Cancelled, .. } => return Err(EngineError::Stopped),
                outcome @ JobOutcome::Failed { .. } => return Err(job_failure(what, outcome)),
                outcome => return Ok(outcome),
            }
        }
    }

    fn vectors_of(&self, texts: &[String]) -> Result<Vectors, EngineError> {
        let blobs = self.blobs();
        let entry = self.entry("vectors", &ContentHash::of_value("trex.texts.v1", &texts)?)?;
        if let Some(found) = known::<EmbedDone>(&entry).and_then(|done| read_vectors(&blobs, &done, texts.len()).ok()) {
            return Ok(found);
        }
        let job = Job::Embed(EmbedJob {
            model_dir: self.model_dir.clone(),
            texts: blobs.path(&blobs.put_lines(texts)?),
            blobs_dir: blobs.root().to_owned(),
            threads: self.threads,
        });
        let what = "embedding";
        let JobOutcome::Embedded(done) = self.run(what, &job)? else { return Err(wrong_answer(what)) };
        let vectors = read_vectors(&blobs, &done, texts.len())?;
        trex_fs::write_json(&entry, &done)?;
        Ok(vectors)
    }

    /// What an evaluation of so many items says of each.
    fn scores_of(
        &self,
        what: &str,
        items: &ContentHash,
        count: usize,
        (mode, seed): (EvalMode, u64),
    ) -> Result<Vec<ItemScore>, EngineError> {
        let blobs = self.blobs();
        let job = Job::Eval(EvalJob {
            model_dir: self.model_dir.clone(),
            adapter: None,
            items: blobs.path(items),
            take: count,
            metric: Metric::Accuracy,
            mode,
            seed,
            blobs_dir: blobs.root().to_owned(),
            threads: self.threads,
            backend: Backend::Auto,
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
            quantization: trex_domain::Quantization::None,
        });
        let JobOutcome::Evaluated(done) = self.run(what, &job)? else { return Err(wrong_answer(what)) };
        let scores: Vec<ItemScore> = blobs.get_lines(&done.items)?;
        if scores.len() == count { Ok(scores) } else { Err(wrong_answer(what)) }
    }

    fn texts_of(
        &self,
        requests: &[WritingRequest],
        settings: &WritingSettings,
    ) -> Result<Vec<WrittenText>, EngineError> {
        let entry = self.entry("written", &(settings, requests))?;
        if let Some(found) = known::<Texts>(&entry).filter(|found| found.texts.len() == requests.len()) {
            return Ok(found.texts);
        }
        let items = self.blobs().put_lines(&requests.iter().map(item_of).collect::<Vec<_>>())?;
        let mode = EvalMode::Write {
            max_new_tokens: settings.max_new_tokens,
            max_length: self.max_length,
            generation: settings.generation(),
        };
        let scores = self.scores_of("writing", &items, requests.len(), (mode, settings.seed))?;
        let texts = scores.into_iter().map(|score| WrittenText { text: score.predicted, is_whole: score.score > 0.5 });
        let texts = Texts { texts: texts.collect() };
        trex_fs::write_json(&entry, &texts)?;
        Ok(texts.texts)
    }

    fn losses_of(&self, rows: &[Example]) -> Result<Vec<f64>, EngineError> {
        let blobs = self.blobs();
        let items = blobs.put_lines(rows)?;
        let entry = self.entry("losses", &items)?;
        if let Some(found) = known::<Losses>(&entry).filter(|found| found.losses.len() == rows.len()) {
            return Ok(found.losses);
        }
        let mode = EvalMode::Loss { max_length: self.max_length };
        let scores = self.scores_of("losses of the base model", &items, rows.len(), (mode, 0))?;
        let losses = Losses { losses: scores.iter().map(|score| -score.score.ln()).collect() };
        trex_fs::write_json(&entry, &losses)?;
        Ok(losses.losses)
    }
}

/// Texts as a file.
#[derive(Deserialize, Serialize)]
struct Texts {
    texts: Vec<WrittenText>,
}

/// A request as an item of an evaluation.
fn item_of(request: &WritingRequest) -> Example {
    Example {
        id: request.id.clone(),
        prompt: request.messages.clone(),
        answer: String::new(),
        options: Vec::new(),
        group: None,
        rejected: None,
        origin: Origin::default(),
    }
}

/// Losses as a file.
#[derive(Deserialize, Serialize)]
struct Losses {
    losses: Vec<f64>,
}

/// An entry that is damaged counts as absent.
fn known<T: serde::de::DeserializeOwned>(entry: &Path) -> Option<T> {
    serde_json::from_str(&trex_fs::read_to_string(entry).ok()?).ok()
}

fn read_vectors(blobs: &BlobStore, done: &EmbedDone, expected: usize) -> Result<Vectors, EngineError> {
    let vectors = Vectors::from_bytes(done.width, &blobs.get(&done.vectors)?);
    vectors.filter(|vectors| vectors.len() == expected).ok_or_else(|| wrong_answer("embedding"))
}

fn wrong_answer(what: &str) -> EngineError {
    EngineError::Job {
        what: what.to_owned(),
        class: FailureClass::Config,
        code: "worker.wrong_answer".to_owned(),
        message: "the worker answered something else than was asked".to_owned(),
        hint: None,
    }
}

fn boxed(err: EngineError) -> MeasureError {
    Box::new(err)
}

/// Each text once, in the order in which they come first, and which of them each text is.
fn distinct(texts: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut once = Vec::new();
    let places = texts.iter().map(|text| {
        *numbers.entry(text).or_insert_with(|| {
            once.push(text.clone());
            once.len() - 1
        })
    });
    let places = places.collect();
    (once, places)
}

impl<E: Executor + Send + Sync> Embedder for WorkerMeter<E> {
    fn name(&self) -> ContentHash {
        self.model
    }

    fn embed(&self, texts: &[String]) -> Result<Vectors, MeasureError> {
        if texts.is_empty() {
            return Ok(Vectors::default());
        }
        let (once, places) = distinct(texts);
        let vectors = self.vectors_of(&once).map_err(boxed)?;
        Ok(vectors.gather(&places))
    }
}

impl<E: Executor + Send + Sync> LossMeter for WorkerMeter<E> {
    fn name(&self) -> ContentHash {
        self.model
    }

    fn losses(&self, rows: &[Example]) -> Result<Vec<f64>, MeasureError> {
        if rows.is_empty() { Ok(Vec::new()) } else { self.losses_of(rows).map_err(boxed) }
    }
}

impl<E: Executor + Send + Sync> TextWriter for WorkerMeter<E> {
    fn name(&self) -> ContentHash {
        self.model
    }

    fn write(&self, requests: &[WritingRequest], settings: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError> {
        let mut texts = Vec::with_capacity(requests.len());
        for requests in requests.chunks(TEXTS_OF_A_JOB) {
            texts.append(&mut self.texts_of(requests, settings).map_err(boxed)?);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use trex_domain::{Cost, EvalDone};

    use super::*;

    /// Answers with the length of each text, after some deaths.
    #[derive(Clone, Default)]
    struct Worker {
        jobs: Arc<Mutex<Vec<Job>>>,
        deaths: Arc<AtomicUsize>,
    }

    impl Executor for Worker {
        fn run(&self, job: &Job, _control: &mut dyn JobControl) -> JobOutcome {
            self.jobs.lock().unwrap().push(job.clone());
            let is_dying = self.deaths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if is_dying.is_ok() {
                let (code, message) = ("worker.died".to_owned(), "died".to_owned());
                return JobOutcome::Failed { class: FailureClass::Crashed, code, message, hint: None };
            }
            match job {
                Job::Embed(job) => {
                    let texts: Vec<String> = trex_fs::read_lines(&job.texts).unwrap();
                    let values: Vec<f32> = texts.iter().flat_map(|text| [text.len() as f32, 1.0]).collect();
                    let bytes = Vectors::new(2, values).unwrap().to_bytes();
                    let vectors = BlobStore::new(&job.blobs_dir).put(&bytes).unwrap();
                    JobOutcome::Embedded(EmbedDone { vectors, n: texts.len(), width: 2, cost: Cost::default() })
                }
                Job::Eval(job) => {
                    let rows: Vec<Example> = trex_fs::read_lines(&job.items).unwrap();
                    let is_writing = matches!(job.mode, EvalMode::Write { .. });
                    let score = |row: &Example| ItemScore {
                        id: row.id.clone(),
                        predicted: row.prompt.iter().map(|turn| turn.content.to_uppercase()).collect(),
                        gold: row.answer.clone(),
                        score: if is_writing { 1.0 } else { (-(row.answer.len() as f64)).exp() },
                        gold_logprob: None,
                        gold_prob: None,
                    };
                    let scores: Vec<ItemScore> = rows.iter().map(score).collect();
                    let items = BlobStore::new(&job.blobs_dir).put_lines(&scores).unwrap();
                    JobOutcome::Evaluated(EvalDone { items, n: scores.len(), cost: Cost::default() })
                }
                Job::Train(_) | Job::DryRun(_) | Job::Answer(_) => panic!("nothing is trained or answered"),
            }
        }
    }

    fn meter(workspace: &Path, worker: &Worker) -> WorkerMeter<Worker> {
        WorkerMeter {
            executor: worker.clone(),
            model_dir: "model".into(),
            model: ContentHash::of_bytes(b"model"),
            workspace: workspace.to_owned(),
            threads: 1,
            max_length: 64,
            listener: Box::new(|_| true),
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn texts_are_measured_once_and_come_back_in_order() {
        let (dir, worker) = (tempfile::tempdir().unwrap(), Worker::default());
        let meter = meter(dir.path(), &worker);
        let asked = texts(&["bbb", "a", "bbb", ""]);
        let vectors = meter.embed(&asked).unwrap();
        let lengths: Vec<f32> = (0..4).map(|index| vectors.row(index)[0]).collect();
        assert_eq!(lengths, [3.0, 1.0, 3.0, 0.0]);
        assert_eq!(meter.embed(&asked).unwrap(), vectors);
        assert_eq!(worker.jobs.lock().unwrap().len(), 1, "the second time nothing runs");
        let Job::Embed(job) = worker.jobs.lock().unwrap()[0].clone() else { panic!("an embedding was asked for") };
        assert_eq!(trex_fs::read_lines::<String>(&job.texts).unwrap(), texts(&["bbb", "a", ""]));
        let blob = std::fs::read_dir(dir.path().join("prepared")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(blob, "{").unwrap();
        assert_eq!(meter.embed(&asked).unwrap(), vectors, "a damaged entry counts as absent");
        assert!(meter.embed(&[]).unwrap().is_empty());
    }

    #[test]
    fn losses_are_those_of_the_rows() {
        let (dir, worker) = (tempfile::tempdir().unwrap(), Worker::default());
        let meter = meter(dir.path(), &worker);
        let row = |id: &str, answer: &str| Example {
            id: id.to_owned(),
            prompt: Vec::new(),
            answer: answer.to_owned(),
            options: Vec::new(),
            group: None,
            rejected: None,
            origin: trex_domain::Origin::default(),
        };
        let rows = [row("a", "xx"), row("b", "x")];
        let losses = meter.losses(&rows).unwrap();
        assert!((losses[0] - 2.0).abs() < 1e-12 && (losses[1] - 1.0).abs() < 1e-12, "{losses:?}");
        assert_eq!(meter.losses(&rows).unwrap(), losses);
        assert_eq!(worker.jobs.lock().unwrap().len(), 1);
    }

    #[test]
    fn texts_are_written_once_in_jobs_of_some_hundreds() {
        let (dir, worker) = (tempfile::tempdir().unwrap(), Worker::default());
        let meter = meter(dir.path(), &worker);
        let request = |number: usize| WritingRequest {
            id: format!("t/{number}"),
            messages: vec![trex_domain::Message::user(format!("say {number}"))],
        };
        let requests: Vec<_> = (0..TEXTS_OF_A_JOB + 2).map(request).collect();
        let settings = WritingSettings { max_new_tokens: 7, temperature: 0.7, seed: 3 };
        let texts = meter.write(&requests, &settings).unwrap();
        assert_eq!((texts.len(), texts[513].text.as_str(), texts[513].is_whole), (514, "SAY 513", true));
        assert_eq!(meter.write(&requests, &settings).unwrap(), texts);
        let jobs = worker.jobs.lock().unwrap().clone();
        let Some(Job::Eval(job)) = jobs.first() else { panic!("texts were asked for") };
        let EvalMode::Write { max_new_tokens, max_length, generation } = job.mode else { panic!("{:?}", job.mode) };
        assert_eq!((jobs.len(), job.seed, max_new_tokens, max_length), (2, 3, 7, 64));
        assert!(generation.do_sample && (generation.temperature - 0.7).abs() < 1e-12);
        meter.write(&requests, &WritingSettings { seed: 4, ..settings }).unwrap();
        assert_eq!(worker.jobs.lock().unwrap().len(), 4, "another seed is another text");
    }

    #[test]
    fn a_worker_that_dies_is_started_again_and_given_up_after_three_times() {
        let (dir, worker) = (tempfile::tempdir().unwrap(), Worker::default());
        worker.deaths.store(2, Ordering::Relaxed);
        assert_eq!(meter(dir.path(), &worker).embed(&texts(&["a"])).unwrap().len(), 1);
        worker.deaths.store(9, Ordering::Relaxed);
        let err = meter(dir.path(), &worker).embed(&texts(&["b"])).unwrap_err();
        assert_eq!((worker.jobs.lock().unwrap().len(), err.class()), (6, trex_domain::ErrorClass::Transient));
    }
}
