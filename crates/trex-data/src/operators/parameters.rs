//! The ranges of operator parameters, checked before anything runs. Says nothing about whether a value is wise.

use trex_domain::Operator;

use super::filter;
use crate::DataError;
use crate::language::is_language;
use crate::pii::PiiKind;

const SHARE: &str = "above 0 and at most 1";
const AT_LEAST_ONE: &str = "of at least 1";

/// Texts for a row at most: what 64 tries do not solve is beyond the model, and each try costs.
const MAX_SAMPLES: usize = 64;

/// Above it, draws are nearly noise.
const MAX_TEMPERATURE: f64 = 2.0;

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
        Operator::NearDedup { threshold, shingle_words } | Operator::DecontaminateNear { threshold, shingle_words } => {
            share("threshold", *threshold)?;
            positive("shingle_words", *shingle_words)
        }
        Operator::TokenFilter { min_tokens, max_tokens } => {
            require("max_tokens", max_tokens.to_string(), "above min_tokens", max_tokens > min_tokens)
        }
        Operator::DifficultyFilter { drop_easiest, drop_hardest } => {
            let holds = *drop_easiest >= 0.0 && *drop_hardest >= 0.0 && drop_easiest + drop_hardest < 1.0;
            require("drop_easiest", drop_easiest.to_string(), "of at least 0, below 1 with drop_hardest", holds)
        }
        Operator::TemplateRender { template, .. } => {
            require("template", template.clone(), "with a place {input}", template.contains("{input}"))
        }
        Operator::LanguageFilter { keep, .. } => {
            require("keep", "empty".to_owned(), "of at least one language", !keep.is_empty())?;
            let unknown = keep.iter().find(|code| !is_language(code));
            let value = unknown.cloned().unwrap_or_default();
            require("keep", value, "made of ISO 639-3 codes such as eng, deu, cmn", unknown.is_none())
        }
        Operator::RedactPii { kinds } => {
            let unknown = kinds.iter().find(|kind| PiiKind::from_name(kind).is_none());
            let value = unknown.cloned().unwrap_or_default();
            let allowed = "made of email, phone, card, iban, ip_address, national_id, secret";
            require("kinds", value, allowed, unknown.is_none())
        }
        Operator::RegexDrop { pattern } => filter::expression("regex_drop", pattern).map(|_| ()),
        Operator::RegexKeep { pattern } => filter::expression("regex_keep", pattern).map(|_| ()),
        Operator::SemanticDedup { threshold } => share("threshold", *threshold),
        Operator::SemanticFilter { like, min_similarity, .. } => likeness(like, *min_similarity),
        Operator::StratifiedSample { rows } | Operator::Cap { rows } | Operator::DiverseSample { rows } => {
            positive("rows", *rows)
        }
        Operator::FewShotPack { shots } => positive("shots", *shots),
        Operator::AnswerSynthesis { .. } | Operator::Paraphrase { .. } | Operator::RejectedSynthesis { .. } => {
            writing(operator)
        }
        Operator::Normalise
        | Operator::ValidAnswer
        | Operator::CanonicalAnswer
        | Operator::ExactDedup
        | Operator::MapAnswer { .. }
        | Operator::PreferencePairs
        | Operator::SortByLength { .. }
        | Operator::ShuffleOptions
        | Operator::Shuffle => Ok(()),
    }
}

/// The parameters of the steps that have texts written.
fn writing(operator: &Operator) -> Result<(), DataError> {
    let bad = |field, value, allowed| Err(DataError::BadParameter { operator: operator.name(), field, value, allowed });
    let (wanted, min_agreement, common) = match *operator {
        Operator::AnswerSynthesis { keep, min_agreement, samples, temperature, max_new_tokens, .. } => {
            if min_agreement <= 0.0 {
                return bad("min_agreement", min_agreement.to_string(), SHARE);
            }
            (("keep", keep), min_agreement, (samples, temperature, max_new_tokens))
        }
        Operator::Paraphrase { copies, min_agreement, samples, temperature, max_new_tokens } => {
            (("copies", copies), min_agreement, (samples, temperature, max_new_tokens))
        }
        Operator::RejectedSynthesis { samples, temperature, max_new_tokens } => {
            (("samples", samples), 1.0, (samples, temperature, max_new_tokens))
        }
        // They have none of these.
        _ => return Ok(()),
    };
    let (samples, temperature, max_new_tokens) = common;
    if !(0.0..=1.0).contains(&min_agreement) {
        return bad("min_agreement", min_agreement.to_string(), "from 0 to 1");
    }
    if samples == 0 || samples > MAX_SAMPLES {
        return bad("samples", samples.to_string(), "from 1 to 64");
    }
    if wanted.1 == 0 || wanted.1 > samples {
        return bad(wanted.0, wanted.1.to_string(), "of at least 1 and at most samples");
    }
    if !(temperature > 0.0 && temperature <= MAX_TEMPERATURE) {
        return bad("temperature", temperature.to_string(), "above 0 and at most 2");
    }
    if max_new_tokens == 0 {
        return bad("max_new_tokens", max_new_tokens.to_string(), AT_LEAST_ONE);
    }
    Ok(())
}

/// The parameters of `semantic_filter`.
fn likeness(like: &[String], min_similarity: f64) -> Result<(), DataError> {
    let bad =
        |field, value, allowed| Err(DataError::BadParameter { operator: "semantic_filter", field, value, allowed });
    if like.is_empty() {
        return bad("like", "empty".to_owned(), "of at least one text");
    }
    if !(min_similarity > -1.0 && min_similarity <= 1.0) {
        return bad("min_similarity", min_similarity.to_string(), "above -1 and at most 1");
    }
    Ok(())
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
        let paraphrase = |copies, samples, temperature| Operator::Paraphrase {
            copies,
            samples,
            min_agreement: 1.0,
            temperature,
            max_new_tokens: 9,
        };
        check_bad(&paraphrase(3, 2, 0.7), "paraphrase.copies is 3, allowed is of at least 1 and at most samples");
        check_bad(&paraphrase(1, 65, 0.7), "paraphrase.samples is 65, allowed is from 1 to 64");
        check_bad(&paraphrase(1, 2, 0.0), "paraphrase.temperature is 0, allowed is above 0 and at most 2");
        check_bad(
            &Operator::SemanticFilter { like: Vec::new(), min_similarity: 0.2, drop: false },
            "semantic_filter.like is empty, allowed is of at least one text",
        );
        check_bad(
            &Operator::SemanticFilter { like: vec!["x".to_owned()], min_similarity: f64::NAN, drop: false },
            "semantic_filter.min_similarity is NaN, allowed is above -1 and at most 1",
        );
        assert!(check(&Operator::ResolveConflicts { min_share: 1.0 }).is_ok());
    }
}
