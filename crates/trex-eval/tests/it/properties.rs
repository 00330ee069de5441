//! Properties that hold for all items and texts.

use proptest::prelude::*;
use trex_domain::{ContentHash, ItemScore, Metric};
use trex_eval::{aggregate, compare, mcnemar_p, score_item, score_of, sign_flip_p};

const ALL: [Metric; 9] = [
    Metric::Accuracy,
    Metric::MacroF1,
    Metric::ExactMatch,
    Metric::Rouge1,
    Metric::Rouge2,
    Metric::RougeL,
    Metric::TokenF1,
    Metric::Chrf,
    Metric::NumericMatch,
];

/// (predicted label, gold label, graded score) per item.
type Rows = Vec<(u8, u8, u8)>;

fn rows(max_items: usize) -> impl Strategy<Value = Rows> {
    prop::collection::vec((0..4_u8, 0..3_u8, 0..=10_u8), 1..max_items)
}

/// Items of these rows: graded scores for chrF, right and wrong for labels.
fn items(metric: Metric, rows: &Rows) -> Vec<ItemScore> {
    let item = |(index, (predicted, gold, graded)): (usize, &(u8, u8, u8))| {
        let (predicted, gold) = (format!("l{predicted}"), format!("l{gold}"));
        let score =
            if metric == Metric::Chrf { f64::from(*graded) / 10.0 } else { score_item(metric, &predicted, &gold) };
        ItemScore { id: format!("item {index}"), predicted, gold, score, gold_logprob: None, gold_prob: None }
    };
    rows.iter().enumerate().map(item).collect()
}

/// The same items with other predictions.
fn rival(metric: Metric, rows: &Rows, shift: u8) -> Vec<ItemScore> {
    let other = rows.iter().map(|(predicted, gold, graded)| ((predicted + shift) % 4, *gold, (graded + shift) % 11));
    items(metric, &other.collect())
}

fn graded_or_labelled() -> impl Strategy<Value = Metric> {
    prop::sample::select(vec![Metric::Accuracy, Metric::MacroF1, Metric::Chrf])
}

fn reordered(mut items: Vec<ItemScore>, turn: usize) -> Vec<ItemScore> {
    let middle = turn % items.len();
    items.rotate_left(middle);
    items[middle / 2..].reverse();
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn item_scores_lie_between_0_and_1(predicted in any::<String>(), gold in any::<String>()) {
        for metric in ALL {
            let score = score_item(metric, &predicted, &gold);
            prop_assert!((0.0..=1.0).contains(&score), "{}: {}", metric, score);
        }
    }

    #[test]
    fn near_texts_score_between_0_and_1(predicted in "[ab1 ]{0,12}", gold in "[ab1 ]{0,12}") {
        for metric in ALL {
            let score = score_item(metric, &predicted, &gold);
            prop_assert!((0.0..=1.0).contains(&score), "{}: {}", metric, score);
        }
    }

    #[test]
    fn identical_texts_score_1(text in "[a-z]{1,6} [ -~\u{4e00}-\u{4e20}]{0,20} [0-9]{1,5}") {
        for metric in ALL {
            prop_assert!((score_item(metric, &text, &text) - 1.0).abs() < 1e-12, "{}", metric);
        }
    }

    #[test]
    fn the_interval_contains_the_value(metric in graded_or_labelled(), rows in rows(40), seed in any::<u64>()) {
        let items = items(metric, &rows);
        let score = score_of(metric, "search", &items, ContentHash::of_bytes(b""), seed).unwrap();
        prop_assert!((0.0..=1.0).contains(&score.ci95[0]) && (0.0..=1.0).contains(&score.ci95[1]));
        prop_assert!((score.ci95[0]..=score.ci95[1]).contains(&score.value), "{}", score.display());
        prop_assert_eq!(score.value.to_bits(), aggregate(metric, &items).to_bits());
    }

    #[test]
    fn the_order_of_items_changes_nothing(
        metric in graded_or_labelled(), rows in rows(40), shift in 1..4_u8, turns in (0..40_usize, 0..40_usize),
    ) {
        let (ours, theirs) = (items(metric, &rows), rival(metric, &rows, shift));
        let (ours_again, theirs_again) = (reordered(ours.clone(), turns.0), reordered(theirs.clone(), turns.1));
        let score = |items: &[_]| score_of(metric, "search", items, ContentHash::of_bytes(b""), 1).unwrap();
        prop_assert_eq!(score(&ours), score(&ours_again));
        let comparison = compare(metric, &ours, &theirs, 0.01, 1).unwrap();
        prop_assert_eq!(comparison, compare(metric, &ours_again, &theirs_again, 0.01, 1).unwrap());
        let flips = |ours: &[_], theirs: &[_]| sign_flip_p(ours, theirs, 1, 50).unwrap();
        prop_assert_eq!(flips(&ours, &theirs).to_bits(), flips(&ours_again, &theirs_again).to_bits());
    }

    #[test]
    fn equal_arguments_give_equal_results(metric in graded_or_labelled(), rows in rows(30), seed in any::<u64>()) {
        let (ours, theirs) = (items(metric, &rows), rival(metric, &rows, 1));
        let score = || score_of(metric, "search", &ours, ContentHash::of_bytes(b""), seed).unwrap();
        prop_assert_eq!(score(), score());
        let comparison = || compare(metric, &ours, &theirs, 0.0, seed).unwrap();
        prop_assert_eq!(comparison(), comparison());
    }

    #[test]
    fn nothing_beats_itself(metric in graded_or_labelled(), rows in rows(40), seed_sd in 0.0..0.1) {
        let items = items(metric, &rows);
        let comparison = compare(metric, &items, &items, seed_sd, 1).unwrap();
        prop_assert!(comparison.effect.diff.abs() < 1e-15 && !comparison.significant);
        prop_assert_eq!(comparison.effect.n, items.len());
        prop_assert!((comparison.effect.ci95[1] - 1.959_963_984_540_054 * seed_sd).abs() < 1e-12);
    }

    #[test]
    fn swapping_the_sides_mirrors_the_result(metric in graded_or_labelled(), rows in rows(40), shift in 1..4_u8) {
        let (ours, theirs) = (items(metric, &rows), rival(metric, &rows, shift));
        let (there, back) = (compare(metric, &ours, &theirs, 0.0, 1).unwrap(), compare(metric, &theirs, &ours, 0.0, 1).unwrap());
        prop_assert!((there.effect.diff + back.effect.diff).abs() < 1e-12);
        prop_assert!((there.effect.ci95[0] + back.effect.ci95[1]).abs() < 1e-12);
        prop_assert!(!(there.significant && back.significant));
        let difference = aggregate(metric, &ours) - aggregate(metric, &theirs);
        prop_assert_eq!(there.effect.diff.to_bits(), difference.to_bits());
    }

    #[test]
    fn p_values_are_probabilities(rows in rows(40), shift in 0..4_u8) {
        let (ours, theirs) = (items(Metric::Accuracy, &rows), rival(Metric::Accuracy, &rows, shift));
        let exact = mcnemar_p(&ours, &theirs).unwrap();
        let flips = sign_flip_p(&ours, &theirs, 1, 200).unwrap();
        prop_assert!(exact > 0.0 && exact <= 1.0 && flips > 0.0 && flips <= 1.0);
    }
}
