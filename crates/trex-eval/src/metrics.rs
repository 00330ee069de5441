//! What one prediction is worth against its gold answer. Does not extract the answer from the model's text: see
//! [`crate::first_answer`], [`crate::choose_option`] and [`crate::last_number`].

use trex_domain::Metric;

use crate::last_number;
use crate::text::{is_space, normalise, rouge_tokens, squad_tokens};

/// Longest character n-gram of chrF (Popović, 2015).
const CHRF_ORDER: usize = 6;
/// Weight β² of recall in chrF2.
const CHRF_BETA_SQUARED: f64 = 4.0;
/// Numbers that differ relatively by no more count as equal.
const NUMERIC_TOLERANCE: f64 = 1e-6;

/// Returns the score of one prediction in [0, 1]; no number for bits per byte.
///
/// - Accuracy, exact match and macro-F1: 1 when both texts are equal after [`normalise`], else 0. (Macro-F1 itself is
///   computed over all items by [`crate::aggregate`].)
/// - ROUGE-1, ROUGE-2, ROUGE-L: the F-measure of Google's `rouge-score` without stemmer. Its tokens are runs of
///   `[a-z0-9]` in the lower-cased text; every other character, hence all Chinese, Cyrillic or accented letters, only
///   separates. Text without ASCII letters or digits therefore scores 0, even against itself, as it does there, and so
///   does ROUGE-2 of a single token. Use chrF for such languages.
/// - Token F1: as in SQuAD 2.0; two texts without any token score 1. Text without spaces is one token.
/// - chrF: sacrebleu's sentence chrF2 (character order 6, no words, β = 2, case kept, white space removed, no epsilon
///   smoothing), divided by 100. Two empty texts score 0, as there.
/// - Numeric match: 1 when the last number of the prediction equals the last number of the gold text within a relative
///   1e-6; 0 when either has none.
/// - Bits per byte: no number, since it compares a model with a text and not two texts.
pub fn score_item(metric: Metric, predicted: &str, gold: &str) -> f64 {
    match metric {
        Metric::Accuracy | Metric::ExactMatch | Metric::MacroF1 => {
            f64::from(u8::from(normalise(predicted) == normalise(gold)))
        }
        Metric::Rouge1 => rouge_n(predicted, gold, 1),
        Metric::Rouge2 => rouge_n(predicted, gold, 2),
        Metric::RougeL => rouge_l(predicted, gold),
        Metric::TokenF1 => token_f1(predicted, gold),
        Metric::Chrf => chrf2(predicted, gold),
        Metric::NumericMatch => f64::from(u8::from(numbers_match(predicted, gold))),
        Metric::BitsPerByte => f64::NAN,
    }
}

fn rouge_n(predicted: &str, gold: &str, n: usize) -> f64 {
    let (predicted, gold) = (predicted.to_lowercase(), gold.to_lowercase());
    Overlap::of_ngrams(&rouge_tokens(&predicted), &rouge_tokens(&gold), n).f1()
}

fn rouge_l(predicted: &str, gold: &str) -> f64 {
    let (predicted, gold) = (predicted.to_lowercase(), gold.to_lowercase());
    let (predicted, gold) = (rouge_tokens(&predicted), rouge_tokens(&gold));
    let common = longest_common_subsequence(&predicted, &gold);
    Overlap { predicted: predicted.len(), gold: gold.len(), common }.f1()
}

fn token_f1(predicted: &str, gold: &str) -> f64 {
    let (predicted, gold) = (squad_tokens(predicted), squad_tokens(gold));
    if predicted.is_empty() && gold.is_empty() {
        return 1.0;
    }
    Overlap::of_ngrams(&predicted, &gold, 1).f1()
}

/// Mean precision P and recall R over the orders that both texts reach, then (1 + β²) P R / (β² P + R).
fn chrf2(predicted: &str, gold: &str) -> f64 {
    let without_spaces = |text: &str| text.chars().filter(|c| !is_space(*c)).collect::<Vec<_>>();
    let (predicted, gold) = (without_spaces(predicted), without_spaces(gold));
    let order = CHRF_ORDER.min(predicted.len()).min(gold.len());
    if order == 0 {
        return 0.0;
    }
    let (mut precision, mut recall) = (0.0, 0.0);
    for n in 1..=order {
        let overlap = Overlap::of_ngrams(&predicted, &gold, n);
        precision += overlap.precision() / order as f64;
        recall += overlap.recall() / order as f64;
    }
    if precision + recall <= 0.0 {
        return 0.0;
    }
    let score = (1.0 + CHRF_BETA_SQUARED) * precision * recall / (CHRF_BETA_SQUARED * precision + recall);
    score.min(1.0)
}

fn numbers_match(predicted: &str, gold: &str) -> bool {
    let (Some(predicted), Some(gold)) = (last_number(predicted), last_number(gold)) else {
        return false;
    };
    (predicted - gold).abs() <= NUMERIC_TOLERANCE * gold.abs()
}

/// Sizes of two bags and of what they have in common.
#[derive(Clone, Copy)]
struct Overlap {
    predicted: usize,
    gold: usize,
    common: usize,
}

impl Overlap {
    fn of_ngrams<T: Ord>(predicted: &[T], gold: &[T], n: usize) -> Self {
        let bag = |tokens| {
            let mut grams: Vec<&[T]> = <[T]>::windows(tokens, n).collect();
            grams.sort_unstable();
            grams
        };
        let (predicted, gold) = (bag(predicted), bag(gold));
        let (mut left, mut right) = (predicted.iter().peekable(), gold.iter().peekable());
        let mut common = 0;
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let order = a.cmp(b);
            common += usize::from(order.is_eq());
            if order.is_le() {
                left.next();
            }
            if order.is_ge() {
                right.next();
            }
        }
        Self { predicted: predicted.len(), gold: gold.len(), common }
    }

    fn precision(self) -> f64 {
        self.common as f64 / self.predicted.max(1) as f64
    }

    fn recall(self) -> f64 {
        self.common as f64 / self.gold.max(1) as f64
    }

    /// 2 P R / (P + R), 0 where nothing is common.
    fn f1(self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall > 0.0 { (2.0 * precision * recall / (precision + recall)).min(1.0) } else { 0.0 }
    }
}

/// Length of the longest common subsequence by the usual table, of which one row is kept.
fn longest_common_subsequence<T: PartialEq>(left: &[T], right: &[T]) -> usize {
    let mut row = vec![0; right.len()];
    for a in left {
        let (mut above_left, mut to_the_left) = (0, 0);
        for (b, cell) in right.iter().zip(&mut row) {
            let above = *cell;
            *cell = if a == b { above_left + 1 } else { above.max(to_the_left) };
            (above_left, to_the_left) = (above, *cell);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: Metric, predicted: &str, gold: &str, expected: f64) {
        let score = score_item(metric, predicted, gold);
        assert!((score - expected).abs() < 1e-12, "{metric} of {predicted:?} against {gold:?}: {score}");
    }

    #[test]
    fn closed_answers() {
        for metric in [Metric::Accuracy, Metric::ExactMatch, Metric::MacroF1] {
            check(metric, " Positive.", "positive", 1.0);
            check(metric, "positive", "negative", 0.0);
            check(metric, "", "", 1.0);
            check(metric, "", "positive", 0.0);
            check(metric, "?", "!", 0.0);
        }
    }

    #[test]
    fn overlap_metrics_by_hand() {
        check(Metric::Rouge1, "the cat sat", "the cat ran home", 2.0 * (2.0 / 3.0) * 0.5 / (2.0 / 3.0 + 0.5));
        check(Metric::Rouge2, "the cat sat", "the cat ran home", 2.0 * 0.5 * (1.0 / 3.0) / (0.5 + 1.0 / 3.0));
        check(Metric::RougeL, "a x b y c", "a b c", 0.75);
        check(Metric::Rouge2, "yes", "yes", 0.0);
        check(Metric::Rouge1, "北京", "北京", 0.0);
        check(Metric::TokenF1, "The cat!", "a cat", 1.0);
        check(Metric::TokenF1, "the", "a", 1.0);
        check(Metric::TokenF1, "", "cat", 0.0);
        check(Metric::TokenF1, "cat cat", "cat", 2.0 / 3.0);
        check(Metric::Chrf, "北京", "北京", 1.0);
        check(Metric::Chrf, "", "", 0.0);
        check(Metric::Chrf, "ab", "cd", 0.0);
    }

    #[test]
    fn numbers() {
        check(Metric::NumericMatch, "so it is $1,234.50.", "#### 1234.5", 1.0);
        check(Metric::NumericMatch, "50 %", "50", 1.0);
        check(Metric::NumericMatch, "1000000.5", "1000000", 1.0);
        check(Metric::NumericMatch, "1000002", "1000000", 0.0);
        check(Metric::NumericMatch, "0.0000001", "0", 0.0);
        check(Metric::NumericMatch, "-3", "3", 0.0);
        check(Metric::NumericMatch, "no idea", "3", 0.0);
        check(Metric::NumericMatch, "none", "none", 0.0);
    }
}
