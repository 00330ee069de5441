//! What the losses on the dev rows say: which step was the best, and whether to go on. Read off the curve, so that a
//! resumed training decides as one that was never interrupted.

use trex_domain::{MetricPoint, TrainConfig};

/// Whether the step that ends with `steps_done` steps is followed by an evaluation.
pub(crate) fn is_due(config: &TrainConfig, steps_done: usize, total_steps: usize) -> bool {
    config.eval_steps > 0 && (steps_done.is_multiple_of(config.eval_steps) || steps_done == total_steps)
}

/// Whether the last point has the lowest dev loss so far; the first of equal ones is the best.
pub(crate) fn last_is_best(curve: &[MetricPoint]) -> bool {
    let Some((last, before)) = curve.split_last() else { return false };
    last.eval_loss.is_some_and(|loss| before.iter().filter_map(|point| point.eval_loss).all(|other| loss < other))
}

/// Whether the dev loss has not become better for as many evaluations as the patience is long, as transformers'
/// `EarlyStoppingCallback` counts them: better is lower than the best before by more than the threshold.
pub(crate) fn is_over(config: &TrainConfig, curve: &[MetricPoint]) -> bool {
    if config.early_stopping_patience == 0 {
        return false;
    }
    let (mut best, mut waited) = (f64::INFINITY, 0);
    for loss in curve.iter().filter_map(|point| point.eval_loss) {
        waited = if best - loss > config.early_stopping_threshold { 0 } else { waited + 1 };
        best = best.min(loss);
    }
    waited >= config.early_stopping_patience
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(losses: &[f64], threshold: f64, expected: (bool, bool)) {
        let config = TrainConfig {
            eval_steps: 1,
            early_stopping_patience: 2,
            early_stopping_threshold: threshold,
            ..TrainConfig::default()
        };
        let point = |loss: &f64| MetricPoint { eval_loss: Some(*loss), ..MetricPoint::default() };
        let curve: Vec<_> = losses.iter().map(point).collect();
        assert_eq!((is_over(&config, &curve), last_is_best(&curve)), expected, "{losses:?}");
    }

    #[test]
    fn patience_counts_evaluations_without_a_better_loss() {
        check(&[], 0.0, (false, false));
        check(&[2.0], 0.0, (false, true));
        check(&[2.0, 2.0], 0.0, (false, false));
        check(&[2.0, 2.1, 2.2], 0.0, (true, false));
        check(&[2.0, 2.1, 1.9], 0.0, (false, true));
        check(&[2.0, 1.99, 1.98], 0.1, (true, true));
    }

    #[test]
    fn evaluations_are_due_at_multiples_and_at_the_end() {
        let config = TrainConfig { eval_steps: 4, ..TrainConfig::default() };
        let due: Vec<usize> = (1..=10).filter(|step| is_due(&config, *step, 10)).collect();
        assert_eq!(due, [4, 8, 10]);
        assert!(!is_due(&TrainConfig::default(), 10, 10));
    }
}
