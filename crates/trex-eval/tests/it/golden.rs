//! Compares with sacrebleu, rouge-score, scikit-learn and scipy; `tests/golden/make_golden.py` wrote the numbers.

use serde_json::Value;
use trex_domain::{ItemScore, Metric};
use trex_eval::{aggregate, discordant_p, mcnemar_p, score_item, sign_flip_p, std_dev, wilson95};

use crate::scored_all;

const TOLERANCE: f64 = 1e-9;

fn golden(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/golden.json")).unwrap();
    let cases = all[section].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[track_caller]
fn check(what: &str, case: &Value, ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= TOLERANCE, "{what}: {ours} instead of {theirs} in {case}");
}

#[test]
fn text_metrics_equal_the_reference_implementations() {
    let cases = golden("texts");
    assert!(cases.len() >= 40);
    for case in &cases {
        let (predicted, gold) = (case["predicted"].as_str().unwrap(), case["gold"].as_str().unwrap());
        for metric in [Metric::Rouge1, Metric::Rouge2, Metric::RougeL, Metric::TokenF1, Metric::Chrf] {
            check(metric.as_str(), case, score_item(metric, predicted, gold), &case[metric.as_str()]);
        }
    }
}

#[test]
fn macro_f1_equals_scikit_learn() {
    for case in golden("macro_f1") {
        let items: Vec<ItemScore> = texts(&case["gold"])
            .into_iter()
            .zip(texts(&case["predicted"]))
            .enumerate()
            .map(|(index, (gold, predicted))| ItemScore {
                id: index.to_string(),
                predicted: predicted.to_owned(),
                gold: gold.to_owned(),
                score: score_item(Metric::MacroF1, predicted, gold),
                gold_logprob: None,
                gold_prob: None,
            })
            .collect();
        check("macro_f1", &case, aggregate(Metric::MacroF1, &items), &case["macro_f1"]);
    }
}

#[test]
fn mcnemar_equals_the_binomial_test_of_scipy() {
    for case in golden("discordant") {
        let (left, right) = (count(&case["left"]), count(&case["right"]));
        check("discordant", &case, discordant_p(left, right), &case["p"]);
        let side = |ones: usize, zeros: usize| {
            let discordant = std::iter::repeat_n(1.0, ones).chain(std::iter::repeat_n(0.0, zeros));
            discordant.chain([1.0, 0.0, 0.0])
        };
        let candidate = scored_all(side(left, right));
        let incumbent = scored_all(
            side(left, right).enumerate().map(|(index, score)| if index < left + right { 1.0 - score } else { score }),
        );
        check("mcnemar", &case, mcnemar_p(&candidate, &incumbent).unwrap(), &case["p"]);
    }
}

#[test]
fn wilson_interval_equals_scipy() {
    for case in golden("wilson") {
        let ours = wilson95(count(&case["successes"]), count(&case["n"]));
        check("low", &case, ours[0], &case["ci95"][0]);
        check("high", &case, ours[1], &case["ci95"][1]);
    }
}

#[test]
fn sign_flips_come_near_the_exact_permutation_test() {
    const RESAMPLES: usize = 40_000;
    for case in golden("sign_flip") {
        let (candidate, incumbent) = (scored_all(numbers(&case["candidate"])), scored_all(numbers(&case["incumbent"])));
        let exact = case["p"].as_f64().unwrap();
        let ours = sign_flip_p(&candidate, &incumbent, 3, RESAMPLES).unwrap();
        // Four standard errors of a simulated share.
        let error = 4.0 * (exact * (1.0 - exact) / 40_000.0).sqrt() + 1.0 / 40_000.0;
        assert!((ours - exact).abs() <= error, "{ours} instead of {exact} ± {error} in {case}");
    }
}

#[test]
fn standard_deviation_equals_numpy() {
    for case in golden("std_dev") {
        check("std_dev", &case, std_dev(&numbers(&case["scores"])), &case["sd"]);
    }
}
