//! The ranges of operator parameters, checked before anything runs. Says nothing about whether a value is wise.

use trex_domain::Operator;

use crate::DataError;

const SHARE: &str = "above 0 and at most 1";
const AT_LEAST_ONE: &str = "of at least 1";

/// Checks the parameters of one operator.
pub(super) fn check(operator: &Operator) -> Result<(), DataError> {
    let require = |field, value: String, allowed, holds: bool| {
        if holds { Ok(()) } else { Err(DataError::BadParameter { operator: operator.name(), field, value, allowed }) }
    };
    let share = |field, value: f64| require(field, value.to_string(), SHARE, value > 0.0 && value <= 1.0);
    let positive = |field, value: usize| require(field, value.to_string(), AT_LEAST_ONE, value >= 1);
    match operator {
        Operator::LengthFilter { min_chars, max_chars } => {
            require("max_chars", max_chars.to_string(), "above min_chars", max_chars > min_chars)
        }
        Operator::NearDedup { threshold, shingle_words } => {
            share("threshold", *threshold)?;
            positive("shingle_words", *shingle_words)
        }
        Operator::ResolveConflicts { min_share } => {
            let holds = *min_share > 0.5 && *min_share <= 1.0;
            require("min_share", min_share.to_string(), "above 0.5 and at most 1", holds)
        }
        Operator::Decontaminate { ngram_words, max_overlap } => {
            positive("ngram_words", *ngram_words)?;
            share("max_overlap", *max_overlap)
        }
        Operator::QualityFilter { max_repetition, max_symbol_ratio } => {
            share("max_repetition", *max_repetition)?;
            share("max_symbol_ratio", *max_symbol_ratio)
        }
        Operator::TopicFilter { min_known_share, .. } => {
            let holds = (0.0..=1.0).contains(min_known_share);
            require("min_known_share", min_known_share.to_string(), "from 0 to 1", holds)
        }
        Operator::NeighbourAgreement { neighbours, min_agreement } => {
            positive("neighbours", *neighbours)?;
            share("min_agreement", *min_agreement)
        }
        Operator::LabelBalance { max_ratio, .. } => {
            let holds = *max_ratio >= 1.0 && max_ratio.is_finite();
            require("max_ratio", max_ratio.to_string(), AT_LEAST_ONE, holds)
        }
        Operator::StratifiedSample { rows } | Operator::Cap { rows } => positive("rows", *rows),
        Operator::FewShotPack { shots } => positive("shots", *shots),
        Operator::Normalise
        | Operator::ValidAnswer
        | Operator::CanonicalAnswer
        | Operator::ExactDedup
        | Operator::RegexDrop { .. }
        | Operator::ShuffleOptions
        | Operator::Shuffle => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::BalanceMode;

    use super::*;

    #[track_caller]
    fn check_bad(operator: &Operator, message: &str) {
        assert_eq!(check(operator).unwrap_err().to_string(), message);
    }

    #[test]
    fn values_outside_their_range_are_named() {
        check_bad(
            &Operator::NearDedup { threshold: 0.0, shingle_words: 3 },
            "near_dedup.threshold is 0, allowed is above 0 and at most 1",
        );
        check_bad(
            &Operator::NearDedup { threshold: f64::NAN, shingle_words: 3 },
            "near_dedup.threshold is NaN, allowed is above 0 and at most 1",
        );
        check_bad(
            &Operator::ResolveConflicts { min_share: 0.5 },
            "resolve_conflicts.min_share is 0.5, allowed is above 0.5 and at most 1",
        );
        check_bad(
            &Operator::LengthFilter { min_chars: 5, max_chars: 5 },
            "length_filter.max_chars is 5, allowed is above min_chars",
        );
        check_bad(
            &Operator::LabelBalance { mode: BalanceMode::Up, max_ratio: 0.9 },
            "label_balance.max_ratio is 0.9, allowed is of at least 1",
        );
        check_bad(&Operator::Cap { rows: 0 }, "cap.rows is 0, allowed is of at least 1");
        assert!(check(&Operator::ResolveConflicts { min_share: 1.0 }).is_ok());
    }
}
