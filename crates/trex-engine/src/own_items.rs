//! Scores the untouched model and a trained one on items that a person brings, by the metric and the way of answering of the
//! run's task, and compares them item by item. Opens no split and changes no run: what comes of it is told and not kept.

use std::path::{Path, PathBuf};

use serde::Serialize;
use trex_domain::{Backend, Comparison, EvalJob, Example, Executor, ItemScore, Job, JobOutcome, Metric, RunState};
use trex_fs::BlobStore;

use crate::EngineError;
use crate::ask::Silent;
use crate::run::{ATTEMPTS, RunSettings, job_failure};

/// A score with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OwnScore {
    /// The value of the task's metric.
    pub value: f64,
    /// Bootstrap interval over items at 95 %.
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
}

/// What both models answered to an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnItem {
    /// File and row.
    pub id: String,
    /// The last turn of the person.
    pub question: String,
    /// The right answer.
    pub gold: String,
    /// Answer of the untouched model.
    pub base: String,
    /// Its score.
    pub base_score: f64,
    /// Answer of the trained model.
    pub tuned: String,
    /// Its score.
    pub tuned_score: f64,
}

/// Both models on the same items.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnScores {
    /// What was measured.
    pub metric: Metric,
    /// The untouched model.
    pub base: OwnScore,
    /// The trained one.
    pub tuned: OwnScore,
    /// Trained minus untouched, over items; the spread of further seeds is not in it.
    pub gain: Comparison,
    /// Item by item, in the order of the file.
    pub items: Vec<OwnItem>,
}

/// Scores both. `adapter` is that of the trained model; `scratch` is a folder that only this call uses, and is gone after it.
pub fn score_own(
    state: &RunState,
    settings: &RunSettings,
    executor: &impl Executor,
    (adapter, scratch): (&Path, &Path),
    items: &[Example],
) -> Result<OwnScores, EngineError> {
    let both = || {
        let score = |adapter| scored(state, settings, executor, (adapter, scratch), items);
        Ok((score(None)?, score(Some(adapter.to_owned()))?))
    };
    let scores: Result<_, EngineError> = both();
    trex_fs::remove_dir_all(scratch)?;
    let (base, tuned) = scores?;
    let task = state.task()?;
    let of = |scores: &[ItemScore]| {
        let blob = trex_domain::ContentHash::of_bytes(&[]);
        let score = trex_eval::score_of(task.metric, "own", scores, blob, state.seed)?;
        Ok::<_, EngineError>(OwnScore { value: score.value, ci95: score.ci95, n: score.n })
    };
    Ok(OwnScores {
        metric: task.metric,
        base: of(&base)?,
        tuned: of(&tuned)?,
        gain: trex_eval::compare(task.metric, &tuned, &base, 0.0, state.seed)?,
        items: items.iter().zip(base.iter().zip(&tuned)).map(side_by_side).collect(),
    })
}

fn side_by_side((item, (base, tuned)): (&Example, (&ItemScore, &ItemScore))) -> OwnItem {
    OwnItem {
        id: item.id.clone(),
        question: item.question().to_owned(),
        gold: base.gold.clone(),
        base: base.predicted.clone(),
        base_score: base.score,
        tuned: tuned.predicted.clone(),
        tuned_score: tuned.score,
    }
}

fn scored(
    state: &RunState,
    settings: &RunSettings,
    executor: &impl Executor,
    (adapter, scratch): (Option<PathBuf>, &Path),
    items: &[Example],
) -> Result<Vec<ItemScore>, EngineError> {
    let task = state.task()?;
    let blobs = BlobStore::new(scratch);
    let stored = blobs.put_lines(items)?;
    let job = Job::Eval(EvalJob {
        model_dir: settings.model.dir.clone(),
        adapter,
        items: blobs.path(&stored),
        take: items.len(),
        metric: task.metric,
        mode: task.eval_mode(),
        seed: 0,
        blobs_dir: blobs.root().to_owned(),
        threads: settings.threads,
        backend: Backend::Auto,
        device: settings.device_for(task),
        precision: task.train.precision,
        quantization: task.train.quantization,
    });
    let mut attempt = 1;
    loop {
        match executor.run(&job, &mut Silent) {
            JobOutcome::Evaluated(done) => return Ok(blobs.get_lines(&done.items)?),
            JobOutcome::Failed { class, .. } if class.may_retry() && attempt < ATTEMPTS => attempt += 1,
            outcome => return Err(job_failure("scoring your items", outcome)),
        }
    }
}
