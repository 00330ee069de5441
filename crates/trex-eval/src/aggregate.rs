//! From item scores to one number. Says nothing about how sure it is: see [`crate::score_of`].

use std::collections::BTreeMap;

use trex_domain::{ItemScore, Metric};

use crate::text::normalise;

/// Returns the value of the metric over all items, in [0, 1] but for bits per byte; 0 for no items.
///
/// The mean of the item scores, except for macro-F1: that is the unweighted mean of F1 = 2 TP / (gold + predicted) over
/// the labels that occur as gold or predicted, as scikit-learn's `f1_score(average="macro")`. Labels are equal when
/// they are equal after [`normalise`]. Bits per byte are those of all texts over the bytes of all texts, so that a long
/// text weighs more. The order of the items does not matter, to the last bit.
pub fn aggregate(metric: Metric, items: &[ItemScore]) -> f64 {
    let items: Vec<&ItemScore> = items.iter().collect();
    aggregate_refs(metric, &items)
}

pub(crate) fn aggregate_refs(metric: Metric, items: &[&ItemScore]) -> f64 {
    let mut statistic = Statistic::new(metric, items);
    // A sum of floats depends on its order in the last bits; sorting takes that away.
    match &mut statistic {
        Statistic::Mean(scores) => scores.sort_by(f64::total_cmp),
        Statistic::Ratio(parts) => parts.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))),
        Statistic::MacroF1 { .. } => {}
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
    /// The first of these summed over the second: bits and bytes of each text.
    Ratio(Vec<(f64, f64)>),
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
        if metric == Metric::BitsPerByte {
            return Self::Ratio(items.iter().map(|item| bits_and_bytes(item)).collect());
        }
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
            Self::Ratio(parts) => {
                let sum = |part: fn(&(f64, f64)) -> f64| picks.iter().map(|&pick| part(&parts[pick])).sum::<f64>();
                let bytes = sum(|part| part.1);
                if bytes > 0.0 { sum(|part| part.0) / bytes } else { 0.0 }
            }
            Self::MacroF1 { labels, num_labels } => macro_f1(labels, *num_labels, picks),
        }
    }
}

/// Bits of a text, and its bytes: the log-likelihood is the one, and the score is the one over the other.
///
/// A text without a log-likelihood weighs as one byte.
fn bits_and_bytes(item: &ItemScore) -> (f64, f64) {
    let bits = item.gold_logprob.map(|nats| -nats / std::f64::consts::LN_2);
    match bits.filter(|bits| *bits > 0.0 && item.score > 0.0) {
        Some(bits) => (bits, bits / item.score),
        None => (item.score, 1.0),
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
        ItemScore {
            id: String::new(),
            predicted: predicted.into(),
            gold: gold.into(),
            score,
            gold_logprob: None,
            gold_prob: None,
        }
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
    fn bits_per_byte_weigh_texts_by_their_bytes() {
        let text = |id: &str, bits: f64, bytes: f64| ItemScore {
            id: id.to_owned(),
            predicted: String::new(),
            gold: String::new(),
            score: bits / bytes,
            gold_logprob: Some(-bits * std::f64::consts::LN_2),
            gold_prob: None,
        };
        let items = [text("a", 100.0, 50.0), text("b", 900.0, 950.0)];
        assert!((aggregate(Metric::BitsPerByte, &items) - 1.0).abs() < 1e-12);
        let turned = [items[1].clone(), items[0].clone()];
        assert_eq!(aggregate(Metric::BitsPerByte, &items).to_bits(), aggregate(Metric::BitsPerByte, &turned).to_bits());
        assert!(aggregate(Metric::BitsPerByte, &[]).abs() < 1e-12);
    }

    #[test]
    fn standard_deviation_of_few_values() {
        assert!(std_dev(&[]).abs() < 1e-12);
        assert!(std_dev(&[0.3]).abs() < 1e-12);
        assert!((std_dev(&[1.0, 2.0, 3.0, 4.0]) - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
