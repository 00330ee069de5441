//! The errors of scoring: sets of items that cannot be scored or compared.

use trex_domain::{ErrorClass, Problem};

/// What can be wrong with items or settings.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum EvalError {
    /// Nothing to score.
    #[error("no items to score in {split}")]
    NoItems {
        /// Split, or side of a comparison.
        split: String,
    },
    /// An item score that is not a number in [0, 1], or below 0 for bits per byte.
    #[error("item {id} has score {score}, allowed is [0, 1]")]
    ScoreOutOfRange {
        /// The item.
        id: String,
        /// Its score.
        score: f64,
    },
    /// Two items of one side have the same id, so pairs are not defined.
    #[error("item {id} occurs twice in the {side}")]
    DuplicateItem {
        /// The item.
        id: String,
        /// `candidate` or `incumbent`.
        side: &'static str,
    },
    /// An item of one side that the other does not have.
    #[error("item {id} is missing in the {side}")]
    UnpairedItem {
        /// The item.
        id: String,
        /// The side without it, `candidate` or `incumbent`.
        side: &'static str,
    },
    /// One item, two gold answers: the sides were scored on different data.
    #[error("item {id} has different gold answers in candidate and incumbent")]
    GoldDiffers {
        /// The item.
        id: String,
    },
    /// An exact test of right and wrong got a score between them.
    #[error("item {id} has score {score}, allowed is 0 or 1")]
    NotBinary {
        /// The item.
        id: String,
        /// Its score.
        score: f64,
    },
    /// A seed spread that is negative or not a number.
    #[error("the standard deviation over seeds is {value}, allowed is 0 or more")]
    BadSeedSpread {
        /// As given.
        value: f64,
    },
}

impl Problem for EvalError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoItems { .. } => "eval.no_items",
            Self::ScoreOutOfRange { .. } => "eval.score_out_of_range",
            Self::DuplicateItem { .. } => "eval.duplicate_item",
            Self::UnpairedItem { .. } => "eval.unpaired_item",
            Self::GoldDiffers { .. } => "eval.gold_differs",
            Self::NotBinary { .. } => "eval.not_binary",
            Self::BadSeedSpread { .. } => "eval.bad_seed_spread",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoItems { .. } => "give the split at least one row",
            Self::UnpairedItem { .. } | Self::GoldDiffers { .. } => "score both models on the same items",
            Self::NotBinary { .. } => "use the paired bootstrap or the sign-flip test for graded metrics",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::NoItems { .. } => ErrorClass::Permanent,
            _ => ErrorClass::Bug,
        }
    }
}
