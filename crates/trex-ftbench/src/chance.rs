//! What a guesser scores who knows the form of a mini task but not the question: the zero of its scale.
//!
//! Worked out from the items, never written down, so it is true for every seed and split. The metrics belong to another
//! crate; the caller hands them in as [`Scoring`].

use std::collections::BTreeMap;

use trex_domain::{Example, ItemScore, Metric, TaskKind};

/// How answers are scored.
#[derive(Clone, Copy)]
pub struct Scoring {
    /// The score in [0, 1] of a prediction against the gold answer.
    pub item: fn(Metric, predicted: &str, gold: &str) -> f64,
    /// The value of the metric over all items.
    pub all: fn(Metric, &[ItemScore]) -> f64,
}

/// Scores in [0, 1] of the two kinds of guessers; both are 0 where there are no items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Of a guesser whose answer varies: any option of the item with equal probability; where answers are open, the gold
    /// answer of any other item.
    pub varying: f64,
    /// Of the best guesser that gives one answer to all items; that answer is the gold answer of one of them.
    pub constant: f64,
}

impl Chance {
    /// The score of the better guesser.
    pub fn score(self) -> f64 {
        self.varying.max(self.constant)
    }
}

/// The chance scores of these items.
///
/// Both are exact expectations for metrics that are means over items. Macro-F1 of the varying guesser is that of the
/// expected counts of gold and guessed labels; it takes all items to have the same labels.
pub(crate) fn chance(kind: TaskKind, metric: Metric, items: &[Example], scoring: Scoring) -> Chance {
    match kind {
        TaskKind::Choice | TaskKind::Preference => choice_chance(metric, items, scoring),
        // No built-in task is one of raw text, about which there is nothing to guess.
        TaskKind::Generate | TaskKind::Text => open_chance(metric, items, scoring),
    }
}

fn choice_chance(metric: Metric, items: &[Example], scoring: Scoring) -> Chance {
    let guess = |item: &Example, predicted: &str| ItemScore {
        id: item.id.clone(),
        predicted: predicted.to_owned(),
        gold: item.answer.clone(),
        score: (scoring.item)(metric, predicted, &item.answer),
        gold_logprob: None,
        gold_prob: None,
    };
    let every_option = |item: &Example| item.options.iter().map(|option| guess(item, option)).collect::<Vec<_>>();
    let varying = if metric == Metric::MacroF1 {
        (scoring.all)(metric, &items.iter().flat_map(every_option).collect::<Vec<_>>())
    } else {
        // Items with many options do not count more than those with few.
        let of_items = items.iter().map(|item| (scoring.all)(metric, &every_option(item)));
        of_items.sum::<f64>() / items.len().max(1) as f64
    };
    let always = |answer: &str| items.iter().map(|item| guess(item, answer)).collect::<Vec<_>>();
    let constant = counted_answers(items).into_keys().map(|answer| (scoring.all)(metric, &always(answer)));
    Chance { varying, constant: constant.fold(0.0, f64::max) }
}

/// Compares all answers with each other; equal ones once, with their counts as weights.
fn open_chance(metric: Metric, items: &[Example], scoring: Scoring) -> Chance {
    let answers = counted_answers(items);
    let (mut constant, mut pairs) = (0.0_f64, 0.0);
    for (guess, guess_count) in &answers {
        let mut total = 0.0;
        for (gold, gold_count) in &answers {
            let score = (scoring.item)(metric, guess, gold);
            // An item does not lend its answer to itself.
            let others = if guess == gold { gold_count - 1.0 } else { *gold_count };
            pairs += guess_count * others * score;
            total += gold_count * score;
        }
        constant = constant.max(total / items.len() as f64);
    }
    let num_pairs = items.len() * items.len().saturating_sub(1);
    Chance { varying: pairs / num_pairs.max(1) as f64, constant }
}

fn counted_answers(items: &[Example]) -> BTreeMap<&str, f64> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item.answer.as_str()).or_insert(0.0) += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trex_domain::{Message, Origin};

    use super::*;
    use crate::mini_tasks;

    /// Stands in for the crate of metrics: equal or not, and the mean or macro-F1 of that.
    const EQUALITY: Scoring = Scoring {
        item: |_, predicted, gold| f64::from(u8::from(predicted == gold)),
        all: |metric, items| if metric == Metric::MacroF1 { macro_f1(items) } else { mean(items) },
    };

    fn mean(items: &[ItemScore]) -> f64 {
        items.iter().map(|item| item.score).sum::<f64>() / items.len().max(1) as f64
    }

    fn macro_f1(items: &[ItemScore]) -> f64 {
        let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for item in items {
            counts.entry(&item.gold).or_default().1 += 1.0;
            counts.entry(&item.predicted).or_default().1 += 1.0;
            counts.entry(&item.gold).or_default().0 += 2.0 * item.score;
        }
        counts.values().map(|(right, all)| right / all).sum::<f64>() / counts.len().max(1) as f64
    }

    fn items(answers: &[&str], options: &[&str]) -> Vec<Example> {
        let item = |(row, answer): (usize, &&str)| Example {
            id: row.to_string(),
            prompt: vec![Message::user("?")],
            answer: (*answer).to_owned(),
            rejected: None,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            group: None,
            origin: Origin::default(),
        };
        answers.iter().enumerate().map(item).collect()
    }

    #[track_caller]
    fn check(kind: TaskKind, metric: Metric, answers: &[&str], options: &[&str], varying: f64, constant: f64) {
        let found = chance(kind, metric, &items(answers, options), EQUALITY);
        assert!((found.varying - varying).abs() < 1e-12 && (found.constant - constant).abs() < 1e-12, "{found:?}");
        assert!((found.score() - varying.max(constant)).abs() < 1e-12);
    }

    #[test]
    fn chance_by_hand() {
        use Metric::{Accuracy, ExactMatch, MacroF1};
        use TaskKind::{Choice, Generate};
        check(Choice, Accuracy, &["a", "a", "a", "b"], &["a", "b"], 0.5, 0.75);
        check(Choice, Accuracy, &["a", "b", "c", "d"], &["a", "b", "c", "d"], 0.25, 0.25);
        // Guessing: F1 of a is 2 · 3/8 / (3/4 + 1/2) = 0.6, of b 2 · 1/8 / (1/4 + 1/2) = 1/3. Always a: (6/7 + 0) / 2.
        check(Choice, MacroF1, &["a", "a", "a", "b"], &["a", "b"], f64::midpoint(0.6, 1.0 / 3.0), 3.0 / 7.0);
        // Of the twelve ordered pairs six are equal.
        check(Generate, ExactMatch, &["a", "a", "a", "b"], &[], 0.5, 0.75);
        check(Generate, ExactMatch, &["a", "b"], &[], 0.0, 0.5);
        check(Generate, ExactMatch, &["a"], &[], 0.0, 1.0);
        for kind in [Choice, Generate] {
            check(kind, Accuracy, &[], &["a", "b"], 0.0, 0.0);
        }
    }

    #[test]
    fn items_with_many_options_count_like_those_with_few() {
        let mixed = [items(&["a"], &["a", "b"]), items(&["c"], &["a", "b", "c", "d"])].concat();
        let found = chance(TaskKind::Choice, Metric::Accuracy, &mixed, EQUALITY);
        assert!((found.varying - f64::midpoint(0.5, 0.25)).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_task_under_macro_f1_has_the_same_labels_everywhere() {
        for task in mini_tasks().into_iter().filter(|task| task.spec().metric == Metric::MacroF1) {
            let data = task.generate(3);
            let labels = task.spec().prompt.options;
            assert!(data.search.iter().chain(&data.final_).all(|item| item.options == labels), "{}", task.name());
        }
    }

    #[test]
    fn every_task_leaves_room_above_chance() {
        for task in mini_tasks() {
            let found = task.chance(&task.generate(3).search, EQUALITY);
            assert!((0.0..0.9).contains(&found.score()), "{}: {found:?}", task.name());
        }
    }

    proptest! {
        /// Over single items: the varying guesser of an open task is the mean over all pairs, and no constant answer
        /// beats the most frequent one; the order of the items does not matter.
        #[test]
        fn open_chance_is_the_mean_over_pairs(answers in prop::collection::vec("[abc]", 2..20)) {
            let texts: Vec<&str> = answers.iter().map(String::as_str).collect();
            let found = chance(TaskKind::Generate, Metric::ExactMatch, &items(&texts, &[]), EQUALITY);
            let n = texts.len();
            let equal = |skip_self: bool| {
                (0..n).flat_map(|i| (0..n).map(move |j| (i, j)))
                    .filter(|(i, j)| !(skip_self && i == j) && texts[*i] == texts[*j]).count()
            };
            prop_assert!((found.varying - equal(true) as f64 / (n * (n - 1)) as f64).abs() < 1e-9);
            // A random constant is no better than the best one.
            prop_assert!(found.constant + 1e-9 >= equal(false) as f64 / (n * n) as f64);
            prop_assert!(found.constant <= 1.0 + 1e-9);
            let reversed: Vec<&str> = texts.iter().rev().copied().collect();
            let again = chance(TaskKind::Generate, Metric::ExactMatch, &items(&reversed, &[]), EQUALITY);
            prop_assert!((again.varying - found.varying).abs() < 1e-9 && (again.constant - found.constant).abs() < 1e-9);
        }

        #[test]
        fn guessing_among_options_is_right_one_time_in_k(answers in prop::collection::vec("[abcd]", 1..20)) {
            let texts: Vec<&str> = answers.iter().map(String::as_str).collect();
            let options = ["a", "b", "c", "d"];
            let found = chance(TaskKind::Choice, Metric::Accuracy, &items(&texts, &options), EQUALITY);
            prop_assert!((found.varying - 0.25).abs() < 1e-12);
            prop_assert!(found.constant >= 0.25);
            let macro_f1 = chance(TaskKind::Choice, Metric::MacroF1, &items(&texts, &options), EQUALITY);
            prop_assert!(macro_f1.score() <= found.score() + 1e-9);
        }
    }
}
