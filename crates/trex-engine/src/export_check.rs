//! Scores what was exported on the select split and refuses what is not the model that was trained.
//!
//! The exported files are loaded anew by a worker, like any other model; nothing is taken from the memory of the program
//! that wrote them. What counts as equal depends on the number format and is written down here, once.

use std::path::PathBuf;

use serde::Serialize;
use trex_domain::{
    ContentHash, EvalJob, Executor, ItemScore, Job, JobControl, JobOutcome, NodeId, Quantization, RunState, TrialKey,
    VariantId,
};
use trex_fs::BlobStore;

use crate::EngineError;
use crate::run::{ATTEMPTS, RunSettings, job_failure};

/// How much an export may differ from the model that was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExportTolerance {
    /// Largest difference of the scores; that of one item is always allowed unless this is 0.
    pub score: f64,
    /// Largest mean difference per item of the gold answer's log-likelihood in nats, for answers of up to
    /// 5 nats; in proportion for less likely ones, whose likelihoods every rounding moves more.
    pub gold_logprob: f64,
}

/// Negative log-likelihood of a gold answer, on average, up to which a limit in nats holds as it stands.
const USUAL_NATS: f64 = 5.0;

/// Number format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportPrecision {
    /// The adapter itself beside the same base.
    Adapter,
    /// Merged, 32-bit floats.
    F32,
    /// Merged, half precision.
    F16,
    /// Merged, bfloat16.
    Bf16,
    /// Merged, eight bits.
    Q8_0,
    /// Merged, four to six bits.
    Q4KM,
    /// Merged, five and six bits.
    Q5KM,
    /// Merged, six bits.
    Q6K,
}

impl ExportPrecision {
    /// What is allowed.
    ///
    /// An adapter is read back to the same numbers, up to the rounding of one alpha. Rounding of merged weights was
    /// measured on the bundled model, trained on its tasks; the limits are several times what was seen there.
    pub fn tolerance(self) -> ExportTolerance {
        let (score, gold_logprob) = match self {
            Self::Adapter => (0.0, 1e-4),
            Self::F32 => (0.005, 1e-3),
            Self::F16 => (0.01, 0.01),
            Self::Bf16 | Self::Q8_0 => (0.02, 0.1),
            Self::Q4KM => (0.1, 0.5),
            Self::Q5KM => (0.05, 0.3),
            Self::Q6K => (0.03, 0.2),
        };
        ExportTolerance { score, gold_logprob }
    }
}

/// Two sets of scores side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportCheck {
    /// Items.
    pub n: usize,
    /// Score of the trained model.
    pub expected: f64,
    /// Score of the export.
    pub found: f64,
    /// Mean difference per item of the gold answer's log-likelihood in nats, where it was computed.
    pub gold_logprob_diff: Option<f64>,
    /// What was allowed.
    pub tolerance: ExportTolerance,
}

impl ExportCheck {
    /// Compares item by item; both sides must hold the same items in the same order.
    pub fn new(expected: &[ItemScore], found: &[ItemScore], precision: ExportPrecision) -> Self {
        let mean =
            |scores: &[ItemScore]| scores.iter().map(|item| item.score).sum::<f64>() / scores.len().max(1) as f64;
        let same_items = expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| a.id == b.id);
        let differences: Option<Vec<f64>> =
            expected.iter().zip(found).map(|(a, b)| Some((a.gold_logprob? - b.gold_logprob?).abs())).collect();
        let differences = differences.filter(|differences| !differences.is_empty());
        let diff = differences.map(|found| found.iter().sum::<f64>() / found.len() as f64);
        let nats = expected.iter().filter_map(|item| item.gold_logprob).map(f64::abs).sum::<f64>();
        let mut tolerance = precision.tolerance();
        tolerance.gold_logprob *= (nats / expected.len().max(1) as f64 / USUAL_NATS).max(1.0);
        Self {
            n: found.len(),
            expected: mean(expected),
            found: if same_items { mean(found) } else { f64::NAN },
            gold_logprob_diff: diff,
            tolerance,
        }
    }

    /// Whether the export is the model that was trained.
    pub fn agrees(&self) -> bool {
        let one_item = if self.tolerance.score > 0.0 { 1.0 / self.n.max(1) as f64 } else { 0.0 };
        // Scores that are no shares, such as bits per byte, follow the rounding of one alpha.
        let allowed = self.tolerance.score.max(one_item) + 1e-6;
        // Comparisons with a value that is no number are false.
        let same_score = (self.expected - self.found).abs() <= allowed;
        same_score && self.gold_logprob_diff.is_none_or(|diff| diff <= self.tolerance.gold_logprob)
    }

    /// An error where it does not agree.
    pub fn into_result(self, form: &str) -> Result<Self, EngineError> {
        if self.agrees() {
            return Ok(self);
        }
        Err(EngineError::ExportDisagrees { form: form.to_owned(), check: Box::new(self) })
    }
}

/// Weights as an evaluation loads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Model folder.
    pub model_dir: PathBuf,
    /// Adapter blob, folder or GGUF file.
    pub adapter: Option<PathBuf>,
    /// Number format in which the base of an adapter is kept; merged weights are loaded as they are.
    pub quantization: Quantization,
}

/// Scores weights on the whole select split. A worker that dies is started again.
pub fn score_on_select(
    state: &RunState,
    settings: &RunSettings,
    executor: &impl Executor,
    control: &mut dyn JobControl,
    weights: &Weights,
) -> Result<Vec<ItemScore>, EngineError> {
    let blobs = BlobStore::new(settings.workspace.join("blobs"));
    let job = Job::Eval(select_job(state, settings, weights)?);
    let mut attempt = 1;
    loop {
        match executor.run(&job, control) {
            JobOutcome::Evaluated(done) => return Ok(blobs.get_lines(&done.items)?),
            JobOutcome::Failed { class, .. } if class.may_retry() && attempt < ATTEMPTS => attempt += 1,
            outcome => return Err(job_failure("scoring on select", outcome)),
        }
    }
}

pub(crate) fn select_job(state: &RunState, settings: &RunSettings, weights: &Weights) -> Result<EvalJob, EngineError> {
    let task = state.task()?;
    let blobs = BlobStore::new(settings.workspace.join("blobs"));
    let missing = || EngineError::NothingToExport { node: "a run without data".to_owned() };
    let data = state.data.as_ref().ok_or_else(missing)?;
    Ok(EvalJob {
        model_dir: weights.model_dir.clone(),
        adapter: weights.adapter.clone(),
        items: blobs.path(&data.blobs[2]),
        take: data.rows[2],
        metric: task.metric,
        mode: task.eval_mode(),
        seed: 0,
        blobs_dir: blobs.root().to_owned(),
        threads: settings.threads,
        backend: trex_domain::Backend::Auto,
        device: settings.device_for(task),
        precision: task.train.precision,
        quantization: weights.quantization,
    })
}

/// The weights that a name stands for: `best`, a variant, or the winner of an experiment; at their highest rung.
pub fn trained_weights(state: &RunState, name: &str) -> Result<(TrialKey, ContentHash), EngineError> {
    let nothing = || EngineError::NothingToExport { node: name.to_owned() };
    let variant = match name {
        "best" => state.incumbent.clone().ok_or_else(nothing)?,
        _ => variant_of(state, name).ok_or_else(nothing)?,
    };
    let trained = state.trials.iter().filter(|((id, _, seed), _)| *id == variant && *seed == 0);
    let trained = trained.filter_map(|(key, trial)| Some((key.clone(), trial.done.as_ref()?.adapter)));
    trained.max_by_key(|(key, _)| key.1).ok_or_else(nothing)
}

fn variant_of(state: &RunState, name: &str) -> Option<VariantId> {
    if let Ok(variant) = name.parse::<VariantId>() {
        return state.variants.contains_key(&variant).then_some(variant);
    }
    let node: NodeId = name.parse().ok()?;
    state.nodes.get(&node)?.winner.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(scores: &[f64], logprob: f64) -> Vec<ItemScore> {
        let item = |(index, score): (usize, &f64)| ItemScore {
            id: index.to_string(),
            predicted: String::new(),
            gold: String::new(),
            score: *score,
            gold_logprob: Some(logprob),
            gold_prob: None,
        };
        scores.iter().enumerate().map(item).collect()
    }

    #[track_caller]
    fn check(found: &[ItemScore], precision: ExportPrecision, agrees: bool) {
        let expected = items(&[1.0, 1.0, 0.0, 1.0], -1.0);
        assert_eq!(ExportCheck::new(&expected, found, precision).agrees(), agrees);
    }

    #[test]
    fn scores_and_likelihoods_must_both_agree() {
        use ExportPrecision::{Adapter, F16, Q4KM};
        let same = [1.0, 1.0, 0.0, 1.0];
        check(&items(&same, -1.0), Adapter, true);
        check(&items(&same, -1.001), Adapter, false);
        check(&items(&same, -1.001), F16, true);
        check(&items(&same, -1.4), F16, false);
        check(&items(&same, -1.4), Q4KM, true);
        check(&items(&same, f64::NAN), Q4KM, false);
    }

    #[test]
    fn limits_grow_with_unlikely_answers() {
        let differing = |nats: f64| {
            let (expected, found) = (items(&[1.0; 4], -nats), items(&[1.0; 4], -nats - 0.6));
            ExportCheck::new(&expected, &found, ExportPrecision::Q4KM).agrees()
        };
        assert!(!differing(5.0) && differing(10.0));
    }

    #[test]
    fn one_item_may_flip_where_weights_were_rounded() {
        let one = [1.0, 1.0, 1.0, 1.0];
        check(&items(&one, -1.0), ExportPrecision::F16, true);
        check(&items(&one, -1.0), ExportPrecision::Adapter, false);
        check(&items(&[1.0, 0.0, 1.0, 0.0], -1.0), ExportPrecision::F16, true);
        check(&items(&[0.0, 0.0, 0.0, 1.0], -1.0), ExportPrecision::F16, false);
    }

    #[test]
    fn other_items_never_agree() {
        check(&items(&[1.0, 1.0, 0.0], -1.0), ExportPrecision::Q4KM, false);
        let mut renamed = items(&[1.0, 1.0, 0.0, 1.0], -1.0);
        renamed[0].id = "other".to_owned();
        check(&renamed, ExportPrecision::Q4KM, false);
    }

    #[test]
    fn a_refusal_tells_both_scores() {
        let expected = items(&[1.0, 1.0, 0.0, 1.0], -1.0);
        let check = ExportCheck::new(&expected, &items(&[0.0; 4], -3.0), ExportPrecision::F16);
        let text = check.into_result("merged").unwrap_err().to_string();
        assert!(text.contains("0.7500") && text.contains("0.0000") && text.contains("2.000"), "{text}");
    }
}
