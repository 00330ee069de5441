//! What cannot be scored or compared, and how it is said.

use trex_domain::{ContentHash, ErrorClass, Metric, Problem as _};
use trex_eval::{EvalError, compare, mcnemar_p, score_of, sign_flip_p};

use crate::{scored, scored_all};

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, EvalError>, code: &str, text: &str) {
    let err = result.unwrap_err();
    assert_eq!(err.code(), code);
    assert_eq!(err.to_string(), text);
}

#[test]
fn scores_need_items_with_valid_scores() {
    let score = |items: &[_]| score_of(Metric::Chrf, "select", items, ContentHash::of_bytes(b""), 1);
    check(score(&[]), "eval.no_items", "no items to score in select");
    check(score(&[scored("x", f64::NAN)]), "eval.score_out_of_range", "item x has score NaN, allowed is [0, 1]");
    check(score(&[scored("x", 1.5)]), "eval.score_out_of_range", "item x has score 1.5, allowed is [0, 1]");
    let err = score(&[]).unwrap_err();
    assert_eq!(err.class(), ErrorClass::Permanent);
    assert!(err.hint().is_some());
}

#[test]
fn comparisons_need_the_same_items_on_both_sides() {
    let three = scored_all([1.0, 0.0, 1.0]);
    let two = scored_all([1.0, 0.0]);
    let twice = [scored("a", 1.0), scored("a", 0.0)];
    let run = |ours: &[_], theirs: &[_]| compare(Metric::Accuracy, ours, theirs, 0.0, 1);
    check(run(&three, &two), "eval.unpaired_item", "item i0002 is missing in the incumbent");
    check(run(&two, &three), "eval.unpaired_item", "item i0002 is missing in the candidate");
    check(run(&twice, &two), "eval.duplicate_item", "item a occurs twice in the candidate");
    check(run(&[], &two), "eval.no_items", "no items to score in candidate");
    check(run(&two, &[]), "eval.no_items", "no items to score in incumbent");
    check(sign_flip_p(&three, &two, 1, 10), "eval.unpaired_item", "item i0002 is missing in the incumbent");
    let mut other_gold = two.clone();
    other_gold[1].gold = "maybe".to_owned();
    check(
        run(&two, &other_gold),
        "eval.gold_differs",
        "item i0001 has different gold answers in candidate and incumbent",
    );
}

#[test]
fn seed_spread_and_binary_scores_are_checked() {
    let two = scored_all([1.0, 0.5]);
    for value in [-0.1, f64::NAN, f64::INFINITY] {
        let err = compare(Metric::Chrf, &two, &two, value, 1).unwrap_err();
        assert_eq!(err.code(), "eval.bad_seed_spread");
    }
    check(mcnemar_p(&two, &two), "eval.not_binary", "item i0001 has score 0.5, allowed is 0 or 1");
}
