//! Insights as pooled evidence: what a change does to the score, over all experiments that compared it.
//!
//! Effects are pooled with random effects (DerSimonian and Laird, 1986): tasks differ, so the effect itself is allowed to
//! differ between them, and disagreement widens the interval. What an insight is worth is decided by the pooled interval
//! alone; nobody writes it by hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentHash, DomainError, Effect, Metric, TaskKind, VariantDiff, VariantId};

/// Changes that are named; more are told as their number.
const MAX_NAMED: usize = 6;

/// Half the width of the 95 % interval in standard errors.
const Z95: f64 = 1.959_964;

/// Experiments from which on an insight may be retired.
const RETIRE_FROM: usize = 3;

/// An effect so small, either way, that it is not worth a trial: half a point of accuracy.
const NEGLIGIBLE: f64 = 0.005;

/// What an insight is about: a change, on tasks of one kind and metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InsightKey {
    /// The changes, such as `learning_rate raised` or `exact_dedup added`, in alphabetical order.
    pub changes: Vec<String>,
    /// Kind of the tasks.
    pub kind: TaskKind,
    /// Metric of the tasks.
    pub metric: Metric,
}

impl InsightKey {
    /// Names the insight by content, so that two labs speak of the same one.
    pub fn id(&self) -> Result<ContentHash, DomainError> {
        ContentHash::of_value("trex.insight.v1", self)
    }

    /// Where it is known to hold.
    pub fn scope(&self) -> String {
        format!("{} tasks scored by {}", self.kind.as_str(), self.metric)
    }

    /// The changes in words.
    pub fn changes_text(&self) -> String {
        if self.changes.len() <= MAX_NAMED {
            return self.changes.join(", ");
        }
        let shown = &self.changes[..MAX_NAMED];
        format!("{} and {} more changes", shown.join(", "), self.changes.len() - MAX_NAMED)
    }
}

/// The differences between two variants as words that other tasks can share: directions instead of values.
pub fn change_words(diff: &VariantDiff) -> Vec<String> {
    let word = |(name, (from, to)): (&String, &(String, String))| {
        let setting = name.strip_prefix("recipe.").unwrap_or(name);
        match (from.as_str(), to.as_str(), from.parse::<f64>(), to.parse::<f64>()) {
            ("off", ..) => format!("{setting} added"),
            (_, "off", ..) => format!("{setting} removed"),
            (_, _, Ok(from), Ok(to)) if to > from => format!("{setting} raised"),
            (_, _, Ok(_), Ok(_)) => format!("{setting} lowered"),
            _ if name.starts_with("recipe.") => format!("{setting} changed"),
            (_, to, ..) => format!("{setting} {to}"),
        }
    };
    diff.iter().map(word).collect()
}

/// One paired comparison that speaks for or against an insight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Names the comparison by content: the same two trainings on the same items are one piece of evidence, however often
    /// they were repeated and wherever they come from.
    pub id: ContentHash,
    /// What it is about.
    pub key: InsightKey,
    /// The task, as [`crate::TaskFeatures::key`] names it.
    pub task: ContentHash,
    /// The run.
    pub run: crate::RunId,
    /// The variant that was compared.
    pub variant: VariantId,
    /// The measured effect.
    pub effect: Effect,
}

/// Several effects as one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pooled {
    /// The mean effect with its 95 % interval; `n` is the sum of items.
    pub effect: Effect,
    /// How many comparisons.
    pub experiments: usize,
    /// How many agree with the sign of the mean.
    pub supporting: usize,
    /// How many lie on the other side with their whole interval.
    pub contradicting: usize,
    /// Standard deviation of the true effect between tasks (τ).
    pub between: f64,
    /// What that amounts to.
    pub status: InsightStatus,
}

/// What an insight is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InsightStatus {
    /// The pooled interval excludes zero, over at least two comparisons.
    Established,
    /// Not yet decided.
    Tentative,
    /// Whole intervals lie on both sides of zero, and the pooled one includes it.
    Contested,
    /// At least three comparisons, and no more than half a point of effect left, with zero in the interval; or an interval
    /// of less than half a point to both sides. Not offered any more; new evidence may bring it back.
    Retired,
}

impl InsightStatus {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Tentative => "tentative",
            Self::Contested => "contested",
            Self::Retired => "retired",
        }
    }
}

/// An insight with its evidence pooled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KnownInsight {
    /// Its name by content.
    pub id: ContentHash,
    /// What it is about.
    pub key: InsightKey,
    /// In a sentence.
    pub statement: String,
    /// The pooled evidence.
    pub pooled: Pooled,
    /// Labs that the evidence comes from.
    pub labs: Vec<String>,
}

impl KnownInsight {
    /// The insight that some evidence amounts to; none without any.
    pub fn of(key: InsightKey, effects: &[Effect], labs: Vec<String>) -> Result<Option<Self>, DomainError> {
        let Some(pooled) = pool(effects) else { return Ok(None) };
        let Effect { diff, ci95: [low, high], n } = pooled.effect;
        let outcome = match (low > 0.0, high < 0.0) {
            (true, _) => "helps",
            (_, true) => "hurts",
            _ => "may be chance",
        };
        let experiments = if pooled.experiments == 1 {
            "1 experiment".to_owned()
        } else {
            format!("{} experiments", pooled.experiments)
        };
        let statement = format!(
            "{} {outcome}: {diff:+.3} [{low:+.3}, {high:+.3}] {} over {experiments} and {n} items, {} for and {} against it",
            key.changes_text(),
            key.metric,
            pooled.supporting,
            pooled.contradicting,
        );
        Ok(Some(Self { id: key.id()?, key, statement, pooled, labs }))
    }
}

/// Pools effects with random effects; none where there are none. Effects that are not finite are left out.
///
/// With weights w = 1/se², fixed mean m and Q = Σ w (d − m)², τ² = max(0, (Q − (k − 1)) / (Σw − Σw²/Σw)); the pooled mean
/// weighs by 1/(se² + τ²).
pub fn pool(effects: &[Effect]) -> Option<Pooled> {
    let measured = effects.iter().filter(|one| one.diff.is_finite() && one.ci95.iter().all(|edge| edge.is_finite()));
    let known: Vec<(f64, f64, &Effect)> = measured.map(|one| (one.diff, standard_error(one), one)).collect();
    if known.is_empty() {
        return None;
    }
    let count = known.len() as f64;
    let weights: Vec<f64> = known.iter().map(|(_, se, _)| 1.0 / (se * se)).collect();
    let sum: f64 = weights.iter().sum();
    let fixed = known.iter().zip(&weights).map(|((diff, ..), weight)| weight * diff).sum::<f64>() / sum;
    let spread: f64 = known.iter().zip(&weights).map(|((diff, ..), weight)| weight * (diff - fixed).powi(2)).sum();
    let scale = sum - weights.iter().map(|weight| weight * weight).sum::<f64>() / sum;
    let between = if scale > 0.0 { ((spread - (count - 1.0)) / scale).max(0.0) } else { 0.0 };
    let total: f64 = known.iter().map(|(_, se, _)| 1.0 / (se * se + between)).sum();
    let mean = known.iter().map(|(diff, se, _)| diff / (se * se + between)).sum::<f64>() / total;
    let half = Z95 / total.sqrt();
    let agrees = |diff: f64| diff * mean > 0.0;
    let opposes = |one: &Effect| (mean > 0.0 && one.ci95[1] < 0.0) || (mean < 0.0 && one.ci95[0] > 0.0);
    let effect =
        Effect { diff: mean, ci95: [mean - half, mean + half], n: known.iter().map(|(_, _, one)| one.n).sum() };
    let supporting = known.iter().filter(|(diff, ..)| agrees(*diff)).count();
    let contradicting = known.iter().filter(|(_, _, one)| opposes(one)).count();
    let status = status(&effect, known.len(), contradicting);
    Some(Pooled { effect, experiments: known.len(), supporting, contradicting, between: between.sqrt(), status })
}

/// From the 95 % interval. An interval without width comes of very few items that differ; it is taken for one of 1/n.
fn standard_error(effect: &Effect) -> f64 {
    let width = (effect.ci95[1] - effect.ci95[0]).abs();
    (width / (2.0 * Z95)).max(1.0 / effect.n.max(1) as f64)
}

fn status(effect: &Effect, experiments: usize, contradicting: usize) -> InsightStatus {
    let [low, high] = effect.ci95;
    let excludes_zero = low > 0.0 || high < 0.0;
    let is_nothing = (!excludes_zero && effect.diff.abs() <= NEGLIGIBLE) || (low > -NEGLIGIBLE && high < NEGLIGIBLE);
    if experiments >= RETIRE_FROM && is_nothing {
        return InsightStatus::Retired;
    }
    match (experiments >= 2 && excludes_zero, contradicting > 0) {
        (true, _) => InsightStatus::Established,
        (false, true) => InsightStatus::Contested,
        (false, false) => InsightStatus::Tentative,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(diff: f64, half: f64, n: usize) -> Effect {
        Effect { diff, ci95: [diff - half, diff + half], n }
    }

    #[track_caller]
    fn check(effects: &[Effect], status: InsightStatus) -> Pooled {
        let pooled = pool(effects).unwrap();
        assert_eq!(pooled.status, status, "{pooled:?}");
        pooled
    }

    #[test]
    fn one_experiment_is_never_enough() {
        let pooled = check(&[effect(0.1, 0.02, 400)], InsightStatus::Tentative);
        assert!((pooled.effect.diff - 0.1).abs() < 1e-12 && (pooled.effect.ci95[0] - 0.08).abs() < 1e-9);
        assert_eq!(pool(&[]), None);
    }

    #[test]
    fn agreement_narrows_the_interval_and_disagreement_widens_it() {
        let once = effect(0.05, 0.06, 400);
        check(&[once], InsightStatus::Tentative);
        let agreed = check(&[once, effect(0.05, 0.06, 400), effect(0.06, 0.06, 400)], InsightStatus::Established);
        assert!(agreed.effect.ci95[0] > 0.0 && agreed.between < 1e-9 && agreed.effect.n == 1200);
        let disagreed = check(&[effect(0.1, 0.02, 400), effect(-0.08, 0.02, 400)], InsightStatus::Contested);
        assert!(disagreed.between > 0.1 && disagreed.effect.ci95[0] < 0.0 && disagreed.effect.ci95[1] > 0.0);
        assert_eq!((disagreed.supporting, disagreed.contradicting), (1, 1));
    }

    #[test]
    fn what_turns_out_to_be_nothing_is_retired() {
        let lucky = effect(0.03, 0.02, 400);
        check(&[lucky, effect(0.03, 0.02, 400)], InsightStatus::Established);
        let rest = [lucky, effect(-0.02, 0.02, 400), effect(-0.01, 0.02, 400), effect(0.0, 0.02, 400)];
        check(&rest, InsightStatus::Retired);
    }

    /// The numbers of `metafor::rma(yi = c(.1, .3, .35), sei = c(.05, .1, .08), method = "DL")` by hand:
    /// w = 400, 100, 156.25; m = 0.18993..; Q = 7.7619..; τ² = 0.013987...
    #[test]
    fn pooling_is_that_of_dersimonian_and_laird() {
        let given = [(0.1, 0.05), (0.3, 0.1), (0.35, 0.08)].map(|(diff, se)| effect(diff, se * Z95, 100));
        let pooled = pool(&given).unwrap();
        let (w, sum) = ([400.0, 100.0, 156.25], 656.25);
        let fixed = (w[0] * 0.1 + w[1] * 0.3 + w[2] * 0.35) / sum;
        let q = w[0] * (0.1_f64 - fixed).powi(2) + w[1] * (0.3_f64 - fixed).powi(2) + w[2] * (0.35_f64 - fixed).powi(2);
        let tau2 = (q - 2.0) / (sum - (w[0] * w[0] + w[1] * w[1] + w[2] * w[2]) / sum);
        assert!((pooled.between * pooled.between - tau2).abs() < 1e-9, "{} {tau2}", pooled.between);
        let v = [0.0025 + tau2, 0.01 + tau2, 0.0064 + tau2];
        let total: f64 = v.iter().map(|v| 1.0 / v).sum();
        let mean = (0.1 / v[0] + 0.3 / v[1] + 0.35 / v[2]) / total;
        assert!((pooled.effect.diff - mean).abs() < 1e-9 && mean > fixed, "{pooled:?}");
    }

    #[test]
    fn changes_are_told_as_directions_that_tasks_share() {
        let change = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let diff = VariantDiff::from([
            ("learning_rate".to_owned(), change("0.0002", "0.0006")),
            ("lora.r".to_owned(), change("32", "8")),
            ("lr_scheduler_type".to_owned(), change("cosine", "linear")),
            ("recipe.exact_dedup".to_owned(), change("off", "on")),
            ("recipe.near_dedup".to_owned(), change("threshold 0.8", "threshold 0.9")),
            ("recipe.topic_filter".to_owned(), change("min_rows 2", "off")),
        ]);
        let expected = [
            "learning_rate raised",
            "lora.r lowered",
            "lr_scheduler_type linear",
            "exact_dedup added",
            "near_dedup changed",
            "topic_filter removed",
        ];
        assert_eq!(change_words(&diff), expected);
    }
}
