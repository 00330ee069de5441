//! Metrics by name, and a score that never travels without its interval and sample count.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ContentHash;

/// How predictions are compared with gold answers. Every metric but [`Metric::BitsPerByte`] is higher-is-better and lies
/// in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of items whose chosen option is the gold one.
    Accuracy,
    /// Unweighted mean of the per-class F1 over the classes that occur in gold or prediction.
    MacroF1,
    /// Share of items whose normalised text equals the gold text.
    ExactMatch,
    /// F-measure of unigram overlap.
    Rouge1,
    /// F-measure of bigram overlap.
    Rouge2,
    /// F-measure of the longest common subsequence.
    RougeL,
    /// F1 over the bag of normalised tokens, as in SQuAD.
    TokenF1,
    /// Character n-gram F-score (chrF2), scaled to [0, 1].
    Chrf,
    /// Share of items whose last number equals the gold number within a relative tolerance of 1e-6.
    NumericMatch,
    /// Bits that the model needs per byte of raw text, over all bytes of all texts; lower is better, and there is no upper end.
    BitsPerByte,
}

impl Metric {
    /// The stable name used in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro_f1",
            Self::ExactMatch => "exact_match",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rouge_l",
            Self::TokenF1 => "token_f1",
            Self::Chrf => "chrf",
            Self::NumericMatch => "numeric_match",
            Self::BitsPerByte => "bits_per_byte",
        }
    }

    /// Whether a smaller value is the better one.
    pub fn lower_is_better(self) -> bool {
        self == Self::BitsPerByte
    }

    /// A value turned so that more is better: what searches, comparisons and rankings look at.
    pub fn merit(self, value: f64) -> f64 {
        if self.lower_is_better() { -value } else { value }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A measured score with its 95 % interval, its sample count and the place of its per-item values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// What was measured.
    pub metric: Metric,
    /// The value; in [0, 1] for all metrics but bits per byte.
    pub value: f64,
    /// Percentile bootstrap interval at 95 %, `[low, high]`.
    pub ci95: [f64; 2],
    /// Number of items.
    pub n: usize,
    /// Names the split the items come from.
    pub split: String,
    /// Blob with one [`crate::ItemScore`] per line.
    pub items: ContentHash,
    /// Mean probability of the gold answer among the options, in [0, 1], where there are options: how many of the answers
    /// would be right if they were drawn. Early in a training it moves before any answer does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_prob: Option<f64>,
}

impl Score {
    /// The value turned so that more is better.
    pub fn merit(&self) -> f64 {
        self.metric.merit(self.value)
    }

    /// "0.812 [0.771, 0.850] n=340".
    pub fn display(&self) -> String {
        format!("{:.3} [{:.3}, {:.3}] n={}", self.value, self.ci95[0], self.ci95[1], self.n)
    }
}
