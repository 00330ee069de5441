//! Whether the intervals mean what they say: widths, coverage and false alarms in simulation.

use rand::RngExt as _;
use trex_domain::{ContentHash, ItemScore, Metric, Score, seeded_rng};
use trex_eval::{MIN_DIFFERENT, compare, mcnemar_p, score_of, sign_flip_p, wilson95};

use crate::scored_all;

fn score(metric: Metric, items: &[ItemScore], seed: u64) -> Score {
    score_of(metric, "search", items, ContentHash::of_bytes(b"items"), seed).unwrap()
}

fn coin_flips(rng: &mut impl rand::Rng, n: usize, share: f64) -> Vec<f64> {
    (0..n).map(|_| f64::from(u8::from(rng.random::<f64>() < share))).collect()
}

#[test]
fn a_score_carries_what_it_was_given() {
    let items = scored_all([1.0, 0.0, 1.0, 1.0]);
    let blob = ContentHash::of_bytes(b"blob");
    let score = score_of(Metric::Accuracy, "select", &items, blob, 1).unwrap();
    assert_eq!((score.metric, score.n, score.split.as_str(), score.items), (Metric::Accuracy, 4, "select", blob));
    assert!((score.value - 0.75).abs() < 1e-12);
}

#[test]
fn the_probability_of_the_gold_answers_is_their_mean_where_all_items_have_one_and_count_alike() {
    let mut items = scored_all([1.0, 0.0]);
    assert_eq!(score(Metric::Accuracy, &items, 1).gold_prob, None);
    items[0].gold_prob = Some(0.75);
    assert_eq!(score(Metric::Accuracy, &items, 1).gold_prob, None);
    items[1].gold_prob = Some(0.25);
    assert_eq!(score(Metric::Accuracy, &items, 1).gold_prob, Some(0.5));
    assert_eq!(score(Metric::MacroF1, &items, 1).gold_prob, None);
}

#[test]
fn proportions_without_spread_get_the_wilson_interval() {
    for metric in [Metric::Accuracy, Metric::MacroF1] {
        let all_right = score(metric, &scored_all([1.0; 10]), 1);
        assert!((all_right.value - 1.0).abs() < 1e-12);
        assert!((all_right.ci95[0] - wilson95(10, 10)[0]).abs() < 1e-12 && all_right.ci95[0] < 0.8);
        let all_wrong = score(metric, &scored_all([0.0; 10]), 1);
        assert!(all_wrong.value.abs() < 1e-12);
        assert!((all_wrong.ci95[1] - wilson95(0, 10)[1]).abs() < 1e-12 && all_wrong.ci95[1] > 0.2);
    }
}

#[test]
fn the_bootstrap_interval_of_a_share_has_the_binomial_width() {
    let items = scored_all((0..400).map(|index| f64::from(u8::from(index % 4 != 0))));
    let score = score(Metric::Accuracy, &items, 5);
    // 2 · 1.96 · sqrt(p (1 - p) / n).
    let expected = 2.0 * 1.96 * (0.75_f64 * 0.25 / 400.0).sqrt();
    let width = score.ci95[1] - score.ci95[0];
    assert!((width / expected - 1.0).abs() < 0.08, "{width} instead of {expected}");
}

#[test]
fn intervals_cover_the_truth_about_nineteen_times_in_twenty() {
    let mut rng = seeded_rng(11, "coverage");
    let covers = |_: &u64| {
        let [low, high] = score(Metric::Accuracy, &scored_all(coin_flips(&mut rng, 150, 0.7)), 1).ci95;
        (low..=high).contains(&0.7)
    };
    let covered = (0..300).filter(covers).count();
    assert!((270..=297).contains(&covered), "{covered} of 300");
}

#[test]
fn macro_f1_on_many_items_and_classes_is_bootstrapped() {
    let mut rng = seeded_rng(4, "labels");
    let items: Vec<ItemScore> = (0..2000)
        .map(|index| {
            let gold = format!("label {}", rng.random_range(0..20));
            let predicted = if rng.random::<f64>() < 0.6 { gold.clone() } else { format!("label {}", index % 20) };
            let score = trex_eval::score_item(Metric::MacroF1, &predicted, &gold);
            ItemScore { id: format!("{index}"), predicted, gold, score, gold_logprob: None, gold_prob: None }
        })
        .collect();
    let score = score(Metric::MacroF1, &items, 1);
    assert!(score.ci95[0] < score.value && score.value < score.ci95[1]);
    assert!((0.02..0.08).contains(&(score.ci95[1] - score.ci95[0])), "{}", score.display());
}

#[test]
fn the_standard_error_of_a_comparison_is_that_of_paired_differences() {
    let mut rng = seeded_rng(2, "paired");
    let (ours, theirs) = (coin_flips(&mut rng, 300, 0.8), coin_flips(&mut rng, 300, 0.6));
    let diffs: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a - b).collect();
    let expected = 1.96 * trex_eval::std_dev(&diffs) / 300_f64.sqrt();
    let without_spread =
        compare(Metric::Accuracy, &scored_all(ours.clone()), &scored_all(theirs.clone()), 0.0, 1).unwrap();
    let half = (without_spread.effect.ci95[1] - without_spread.effect.ci95[0]) / 2.0;
    assert!((half / expected - 1.0).abs() < 0.06, "{half} instead of {expected}");
    assert!((without_spread.effect.diff - diffs.iter().sum::<f64>() / 300.0).abs() < 1e-12);
    assert!(without_spread.significant);

    let with_spread = compare(Metric::Accuracy, &scored_all(ours), &scored_all(theirs), 0.2, 1).unwrap();
    let wider = (with_spread.effect.ci95[1] - with_spread.effect.ci95[0]) / 2.0;
    assert!((wider - half.hypot(1.959_963_984_540_054 * 0.2)).abs() < 1e-9);
    assert!(!with_spread.significant && (with_spread.seed_sd - 0.2).abs() < 1e-12);
}

#[test]
fn few_differing_items_are_never_significant() {
    for num_better in 0..=MIN_DIFFERENT {
        for metric in [Metric::Accuracy, Metric::MacroF1] {
            let ours = scored_all((0..40).map(|index| f64::from(u8::from(index < 20 + num_better))));
            let theirs = scored_all((0..40).map(|index| f64::from(u8::from(index < 20))));
            let comparison = compare(metric, &ours, &theirs, 0.0, 1).unwrap();
            assert_eq!(comparison.significant, num_better >= MIN_DIFFERENT, "{metric} {num_better}: {comparison:?}");
        }
    }
    let rounding = compare(Metric::Chrf, &scored_all([0.1 + 0.2; 50]), &scored_all([0.3; 50]), 0.0, 1).unwrap();
    assert!(!rounding.significant);
}

#[test]
fn equal_candidates_rarely_look_better() {
    let mut rng = seeded_rng(17, "null");
    let mut false_alarms = 0;
    for seed in 0..400 {
        let ours = scored_all(coin_flips(&mut rng, 200, 0.7));
        let theirs = scored_all(coin_flips(&mut rng, 200, 0.7));
        let comparison = compare(Metric::Accuracy, &ours, &theirs, 0.0, seed).unwrap();
        false_alarms += usize::from(comparison.significant);
    }
    // 2.5 % nominal: 10 of 400.
    assert!((1..=20).contains(&false_alarms), "{false_alarms} of 400");
}

#[test]
fn better_candidates_are_mostly_found() {
    let mut rng = seeded_rng(19, "power");
    let found = (0..100).filter(|seed| {
        let ours = scored_all(coin_flips(&mut rng, 200, 0.8));
        let theirs = scored_all(coin_flips(&mut rng, 200, 0.6));
        compare(Metric::Accuracy, &ours, &theirs, 0.0, *seed).unwrap().significant
    });
    // The power of this test is 99 %.
    let found = found.count();
    assert!(found >= 92, "{found} of 100");
}

#[test]
fn three_tests_agree_on_a_clear_and_on_an_absent_difference() {
    let half = scored_all((0..60).map(|index| f64::from(u8::from(index % 2 == 0))));
    let most = scored_all((0..60).map(|index| f64::from(u8::from(index % 2 == 0 || index % 3 == 0))));
    let p_values =
        |ours: &[_], theirs: &[_]| [mcnemar_p(ours, theirs).unwrap(), sign_flip_p(ours, theirs, 1, 5000).unwrap()];
    assert!(p_values(&most, &half).iter().all(|p| *p < 0.01));
    assert!(compare(Metric::Accuracy, &most, &half, 0.0, 1).unwrap().significant);
    assert!(!compare(Metric::Accuracy, &half, &most, 0.0, 1).unwrap().significant);
    assert!(p_values(&half, &half).iter().all(|p| *p >= 1.0));
}
