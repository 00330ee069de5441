//! Proves that a trial can be repeated: trains it again from nothing and compares the bytes of the adapter.

use std::path::PathBuf;

use serde::Serialize;
use trex_domain::{
    Executor, Job, JobControl, JobOutcome, NodeId, RunState, TrainJob, TrialKey, VariantId, WorkerEvent,
};

use crate::EngineError;
use crate::run::{RunSettings, job_failure};

/// What a repetition showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reproduction {
    /// The variant.
    pub variant: VariantId,
    /// The rung that was repeated: the highest that was trained.
    pub rung: usize,
    /// blake3 of the adapter as recorded.
    pub recorded: String,
    /// blake3 of the adapter now.
    pub repeated: String,
    /// Whether they are equal.
    pub identical: bool,
}

struct Silent;

impl JobControl for Silent {
    fn on_event(&mut self, _event: &WorkerEvent) -> bool {
        true
    }
}

/// Repeats the highest trained rung of a node (its winner where it is an experiment) in a scratch folder of its own.
pub fn reproduce(
    state: &RunState,
    name: &str,
    settings: &RunSettings,
    executor: &impl Executor,
    scratch: PathBuf,
) -> Result<Reproduction, EngineError> {
    let variant = variant_of(state, name)?;
    let nothing = || EngineError::NothingToReproduce { node: name.to_owned() };
    let trained = state.trials.iter().filter(|((id, _, seed), _)| *id == variant && *seed == 0);
    let (key, recorded) = trained
        .filter_map(|(key, trial)| Some((key, trial.done.as_ref()?)))
        .max_by_key(|(key, _)| key.1)
        .ok_or_else(nothing)?;
    let job = repetition(state, key, settings, scratch)?;
    let blobs = job.blobs_dir.clone();
    // From nothing: checkpoints that an earlier attempt left would make the comparison worthless.
    trex_fs::remove_dir_all(&blobs)?;
    let outcome = executor.run(&Job::Train(job), &mut Silent);
    trex_fs::remove_dir_all(&blobs)?;
    let JobOutcome::Trained(done) = outcome else {
        return Err(job_failure(&format!("repeating {variant}"), outcome));
    };
    Ok(Reproduction {
        rung: key.1,
        recorded: recorded.adapter.to_string(),
        repeated: done.adapter.to_string(),
        identical: recorded.adapter == done.adapter,
        variant,
    })
}

fn variant_of(state: &RunState, name: &str) -> Result<VariantId, EngineError> {
    let nothing = || EngineError::NothingToReproduce { node: name.to_owned() };
    if let Ok(variant) = name.parse::<VariantId>() {
        return if state.variants.contains_key(&variant) { Ok(variant) } else { Err(nothing()) };
    }
    let node: NodeId = name.parse()?;
    state.nodes.get(&node).and_then(|record| record.winner.clone()).ok_or_else(nothing)
}

/// The trial's job from the first step on, with results kept apart from the workspace's blobs.
fn repetition(
    state: &RunState,
    key: &TrialKey,
    settings: &RunSettings,
    scratch: PathBuf,
) -> Result<TrainJob, EngineError> {
    let mut job = crate::run::train_job(state, key, settings, scratch.join("checkpoints"))?;
    (job.resume_from, job.resume_config) = (None, None);
    job.blobs_dir = scratch;
    Ok(job)
}
