//! Asks the untouched model and a trained one the same question, each in a worker of its own, as an evaluation does it. No
//! split is opened, nothing is scored, and nothing of it is kept but what the caller keeps.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
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
    /// What stands before everything as the system's turn.
    pub system: Option<String>,
    /// What was asked and answered before, the oldest first.
    pub earlier: Vec<Turn>,
    /// What is asked now.
    pub words: String,
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub generation: GenerationConfig,
}

impl Question {
    /// The conversation of one of the two models up to its answer: each goes on from what it said itself.
    fn messages(&self, own: impl Fn(&Answers) -> &Answer) -> Vec<Message> {
        let turn = |turn: &Turn| [Message::user(&turn.words), Message::assistant(&own(&turn.answers).text)];
        let system = self.system.iter().map(Message::system);
        system.chain(self.earlier.iter().flat_map(turn)).chain([Message::user(&self.words)]).collect()
    }
}

/// One question of a conversation with what both answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The question.
    pub words: String,
    /// The answers.
    #[serde(flatten)]
    pub answers: Answers,
}

/// Both answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Of the untouched model.
    pub base: Answer,
    /// Of the trained one.
    pub tuned: Answer,
}

/// One answer and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The words.
    pub text: String,
    /// Wall seconds, with loading the model.
    pub wall_s: f64,
}

/// Listens to nothing and stops nothing.
pub(crate) struct Silent;

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
        let answer = |adapter, messages| answer_of(state, settings, executor, (adapter, scratch), (question, messages));
        let base = answer(None, question.messages(|answers| &answers.base))?;
        let tuned = answer(Some(adapter.to_owned()), question.messages(|answers| &answers.tuned))?;
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
    (question, messages): (&Question, Vec<Message>),
) -> Result<Answer, EngineError> {
    let task = state.task()?;
    let blobs = BlobStore::new(scratch);
    let items = blobs.put_lines(&[item(messages)])?;
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
fn item(prompt: Vec<Message>) -> Example {
    Example {
        id: "question".to_owned(),
        prompt,
        answer: "-".to_owned(),
        options: Vec::new(),
        group: None,
        rejected: None,
        origin: Origin { source: "ask".to_owned(), row: 0, changed_by: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_on_from_its_own_answers() {
        let answer = |text: &str| Answer { text: text.to_owned(), wall_s: 1.0 };
        let earlier = Turn {
            words: "first".to_owned(),
            answers: Answers { base: answer("of the base"), tuned: answer("of the trained") },
        };
        let question = Question {
            system: Some("be brief".to_owned()),
            earlier: vec![earlier],
            words: "second".to_owned(),
            max_new_tokens: 8,
            generation: GenerationConfig::default(),
        };
        let expected = |own: &str| {
            let (system, first) = (Message::system("be brief"), Message::user("first"));
            vec![system, first, Message::assistant(own), Message::user("second")]
        };
        assert_eq!(question.messages(|answers| &answers.base), expected("of the base"));
        assert_eq!(question.messages(|answers| &answers.tuned), expected("of the trained"));
    }
}
