//! From item scores to one number. Says nothing about how sure it is: see [`crate::score_of`].

use std::collections::BTreeMap;

use trex_domain::{ItemScore, Metric};

use crate::text::normalise;

/// Returns the value of the metric over all items, in [0, 1]; 0 for no items.
///
/// The mean of the item scores, except for macro-F1: that is the unweighted mean of F1 = 2 TP / (gold + predicted) over
/// the labels that occur as gold or predicted, as scikit-learn's `f1_score(average="macro")`. Labels are equal when
/// they are equal after [`normalise`]. The order of the items does not matter, to the last bit.
pub fn aggregate(metric: Metric, items: &[ItemScore]) -> f64 {
    let items: Vec<&ItemScore> = items.iter().collect();
    aggregate_refs(metric, &items)
}

pub(crate) fn aggregate_refs(metric: Metric, items: &[&ItemScore]) -> f64 {
    let mut statistic = Statistic::new(metric, items);
    if let Statistic::Mean(scores) = &mut statistic {
        // A sum of floats depends on its order in the last bits; sorting takes that away.
        scores.sort_by(f64::total_cmp);
    }
    let everything: Vec<usize> = (0..items.len()).collect();
    statistic.of(&everything)
}

/// Returns the sample standard deviation (divisor n - 1); 0 for fewer than two values.
pub fn std_dev(scores: &[f64]) -> f64 {
    if scores.len() < 2 {
        return 0.0;
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    (squares / (scores.len() - 1) as f64).sqrt()
}

/// A metric over a multiset of items, in a form that is cheap to evaluate thousands of times.
pub(crate) enum Statistic {
    /// The mean of these item scores.
    Mean(Vec<f64>),
    /// Macro-F1 over labels that are numbered in the order of their text.
    MacroF1 {
        /// (gold, predicted) of each item.
        labels: Vec<(usize, usize)>,
        /// Number of labels.
        num_labels: usize,
    },
}

impl Statistic {
    pub(crate) fn new(metric: Metric, items: &[&ItemScore]) -> Self {
        if metric != Metric::MacroF1 {
            return Self::Mean(items.iter().map(|item| item.score).collect());
        }
        let texts: Vec<_> = items.iter().map(|item| (normalise(&item.gold), normalise(&item.predicted))).collect();
        let mut codes: BTreeMap<&str, usize> =
            texts.iter().flat_map(|(gold, predicted)| [(gold.as_str(), 0), (predicted.as_str(), 0)]).collect();
        for (number, code) in codes.values_mut().enumerate() {
            *code = number;
        }
        let code = |text: &String| codes.get(text.as_str()).copied().unwrap_or_default();
        let labels = texts.iter().map(|(gold, predicted)| (code(gold), code(predicted))).collect();
        Self::MacroF1 { labels, num_labels: codes.len() }
    }

    /// The value over the items at these positions, which may repeat; 0 for none.
    pub(crate) fn of(&self, picks: &[usize]) -> f64 {
        if picks.is_empty() {
            return 0.0;
        }
        match self {
            Self::Mean(scores) => picks.iter().map(|&pick| scores[pick]).sum::<f64>() / picks.len() as f64,
            Self::MacroF1 { labels, num_labels } => macro_f1(labels, *num_labels, picks),
        }
    }
}

fn macro_f1(labels: &[(usize, usize)], num_labels: usize, picks: &[usize]) -> f64 {
    // Per label: items that are right, and items that have it as gold plus items that have it as prediction.
    let mut counts = vec![(0_u32, 0_u32); num_labels];
    for &pick in picks {
        let (gold, predicted) = labels[pick];
        counts[gold].1 += 1;
        counts[predicted].1 += 1;
        counts[gold].0 += u32::from(gold == predicted);
    }
    let (mut sum, mut present) = (0.0, 0_u32);
    for (right, occurrences) in counts {
        if occurrences > 0 {
            sum += f64::from(2 * right) / f64::from(occurrences);
            present += 1;
        }
    }
    sum / f64::from(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(gold: &str, predicted: &str) -> ItemScore {
        let score = crate::score_item(Metric::MacroF1, predicted, gold);
        ItemScore { id: String::new(), predicted: predicted.into(), gold: gold.into(), score, gold_logprob: None }
    }

    #[test]
    fn macro_f1_counts_classes_alike() {
        let items = [item("a", "a"), item("a", "A."), item("a", "a"), item("b", "a")];
        // a: 2·3/(3+4), b: 0.
        assert!((aggregate(Metric::MacroF1, &items) - 3.0 / 7.0).abs() < 1e-12);
        assert!((aggregate(Metric::Accuracy, &items) - 0.75).abs() < 1e-12);
        assert!(aggregate(Metric::MacroF1, &[]).abs() < 1e-12);
        assert!(aggregate(Metric::Chrf, &[]).abs() < 1e-12);
    }

    #[test]
    fn standard_deviation_of_few_values() {
        assert!(std_dev(&[]).abs() < 1e-12);
        assert!(std_dev(&[0.3]).abs() < 1e-12);
        assert!((std_dev(&[1.0, 2.0, 3.0, 4.0]) - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
