//! Asks the untouched model and a trained one the same question, each in a worker of its own, as an evaluation does it. No
//! split is opened, nothing is scored and nothing of it is kept.

use std::path::{Path, PathBuf};

use serde::Serialize;
use trex_domain::{
    Backend, EvalJob, EvalMode, Example, Executor, GenerationConfig, ItemScore, Job, JobControl, JobOutcome, Message,
    Metric, Origin, RunState, WorkerEvent,
};
use trex_fs::BlobStore;

use crate::EngineError;
use crate::run::{RunSettings, job_failure};

/// What is asked, and how answers are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The conversation up to the answer; the last turn is the person's.
    pub messages: Vec<Message>,
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub generation: GenerationConfig,
}

/// Both answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Of the untouched model.
    pub base: Answer,
    /// Of the trained one.
    pub tuned: Answer,
}

/// One answer and what it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The words.
    pub text: String,
    /// Wall seconds, with loading the model.
    pub wall_s: f64,
}

struct Silent;

impl JobControl for Silent {
    fn on_event(&mut self, _event: &WorkerEvent) -> bool {
        true
    }
}

/// Asks both. `adapter` is that of the trained model; `scratch` is a folder that only this call uses, and is gone after it.
pub fn ask(
    state: &RunState,
    settings: &RunSettings,
    executor: &impl Executor,
    (adapter, scratch): (&Path, &Path),
    question: &Question,
) -> Result<Answers, EngineError> {
    let both = || {
        let base = answer_of(state, settings, executor, (None, scratch), question)?;
        let tuned = answer_of(state, settings, executor, (Some(adapter.to_owned()), scratch), question)?;
        Ok(Answers { base, tuned })
    };
    let answers = both();
    trex_fs::remove_dir_all(scratch)?;
    answers
}

fn answer_of(
    state: &RunState,
    settings: &RunSettings,
    executor: &impl Executor,
    (adapter, scratch): (Option<PathBuf>, &Path),
    question: &Question,
) -> Result<Answer, EngineError> {
    let task = state.task()?;
    let blobs = BlobStore::new(scratch);
    let items = blobs.put_lines(&[item(question)])?;
    let job = Job::Eval(EvalJob {
        model_dir: settings.model.dir.clone(),
        adapter,
        items: blobs.path(&items),
        take: 1,
        metric: Metric::ExactMatch,
        mode: EvalMode::Generate { max_new_tokens: question.max_new_tokens, generation: question.generation },
        seed: 0,
        blobs_dir: blobs.root().to_owned(),
        threads: settings.threads,
        backend: Backend::Auto,
        device: settings.device_for(task),
        precision: task.train.precision,
        quantization: task.train.quantization,
    });
    let outcome = executor.run(&job, &mut Silent);
    let JobOutcome::Evaluated(done) = outcome else { return Err(job_failure("asking a model", outcome)) };
    let scores: Vec<ItemScore> = blobs.get_lines(&done.items)?;
    let text = scores.into_iter().next().map(|score| score.predicted).unwrap_or_default();
    Ok(Answer { text, wall_s: done.cost.wall_s })
}

/// The gold answer is never looked at; a row without one would be raw text.
fn item(question: &Question) -> Example {
    Example {
        id: "question".to_owned(),
        prompt: question.messages.clone(),
        answer: "-".to_owned(),
        options: Vec::new(),
        group: None,
        rejected: None,
        origin: Origin { source: "ask".to_owned(), row: 0, changed_by: Vec::new() },
    }
}
