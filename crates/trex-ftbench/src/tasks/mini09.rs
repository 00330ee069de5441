//! Task 9, mathematics and logic: sums of one or two steps, truth values, and conversions of units.
//!
//! All numbers are whole and no result is negative. Sums are worked out from left to right; there is no precedence
//! because plus and minus do not need one and a product stands alone. The checker reads the question, not the drawn facts.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{between, pick, plain, weighted};

mod logic;
mod units;

/// The task.
pub(crate) struct Mini09;

/// Words before and after a sum.
const SUM_FRAMES: [(&str, &str); 3] = [("what is ", "?"), ("work out ", "."), ("find the result of ", ".")];
/// Words before a truth value.
const LOGIC_LEADS: [&str; 3] = ["is it true or false: ", "answer true or false: ", "give the truth value: "];

impl Generator for Mini09 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 9,
            title: "mathematics and logic",
            goal: "Work out short sums, truth values and conversions of units and answer with the result only.",
            kind: TaskKind::Generate,
            metric: Metric::ExactMatch,
            options: &[],
            max_new_tokens: 10,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        match weighted(rng, &[6, 6, 4, 4]) {
            0 => sum_item(rng, draw_one_step),
            1 => sum_item(rng, draw_two_steps),
            2 => logic_item(rng),
            _ => unit_item(rng),
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        solve(prompt).is_some_and(|expected| expected == plain(answer))
    }
}

/// Recomputes the answer from the question.
fn solve(prompt: &str) -> Option<String> {
    if let Some(body) = LOGIC_LEADS.iter().find_map(|lead| prompt.strip_prefix(lead)) {
        return logic::value(body).map(|value| value.to_string());
    }
    let sum = SUM_FRAMES.iter().find_map(|(before, after)| prompt.strip_prefix(before)?.strip_suffix(after));
    match sum {
        Some(body) => sum_value(body).map(|value| value.to_string()),
        None => units::value(prompt).map(|value| value.to_string()),
    }
}

fn item(prompt: String, answer: String, group: String) -> RawItem {
    RawItem { prompt, answer, options: Vec::new(), group }
}

fn sum_item(rng: &mut ChaCha8Rng, draw: impl Fn(&mut ChaCha8Rng) -> String) -> RawItem {
    let body = draw(rng);
    let (before, after) = pick(rng, &SUM_FRAMES);
    let answer = sum_value(&body).map(|value| value.to_string()).unwrap_or_default();
    item(format!("{before}{body}{after}"), answer, sum_group(&body))
}

fn logic_item(rng: &mut ChaCha8Rng) -> RawItem {
    let wanted = between(rng, 0, 1) == 1;
    let body = logic::draw(rng, wanted);
    item(format!("{}{body}", pick(rng, &LOGIC_LEADS)), wanted.to_string(), body)
}

fn unit_item(rng: &mut ChaCha8Rng) -> RawItem {
    let (prompt, group) = units::draw(rng);
    let answer = units::value(&prompt).map(|value| value.to_string()).unwrap_or_default();
    item(prompt, answer, group)
}

fn draw_one_step(rng: &mut ChaCha8Rng) -> String {
    let (left, right) = (between(rng, 1, 40), between(rng, 1, 30));
    match weighted(rng, &[3, 3, 1]) {
        0 => format!("{left} plus {right}"),
        1 => format!("{} minus {}", left.max(right), left.min(right)),
        _ => format!("{} times {}", between(rng, 2, 9), between(rng, 2, 9)),
    }
}

fn draw_two_steps(rng: &mut ChaCha8Rng) -> String {
    let (first, second) = (between(rng, 1, 20), between(rng, 1, 12));
    let (start, middle) = match between(rng, 0, 1) {
        0 => (format!("{first} plus {second}"), first + second),
        _ => (format!("{} minus {}", first.max(second), first.min(second)), (first - second).abs()),
    };
    let third = between(rng, 1, 9);
    let step = if middle >= third && between(rng, 0, 1) == 0 { "minus" } else { "plus" };
    format!("{start} {step} {third}")
}

/// Works `7 plus 5 minus 3` out from left to right; nothing when the text is not such a sum.
fn sum_value(body: &str) -> Option<i64> {
    let mut words = body.split_whitespace();
    let mut value: i64 = words.next()?.parse().ok()?;
    while let Some(step) = words.next() {
        let operand: i64 = words.next()?.parse().ok()?;
        value = match step {
            "plus" => value.checked_add(operand)?,
            "minus" => value.checked_sub(operand)?,
            "times" => value.checked_mul(operand)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A sum and the same sum with its operands swapped are one fact.
fn sum_group(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    match words[..] {
        [left, step @ ("plus" | "times"), right] => format!("{} {step} {}", left.min(right), left.max(right)),
        _ => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tasks::mini06::testing;

    #[track_caller]
    fn check(prompt: &str, expected: Option<&str>) {
        assert_eq!(solve(prompt).as_deref(), expected, "{prompt}");
    }

    #[test]
    fn answers_are_computed_from_the_question() {
        check("what is 7 plus 5?", Some("12"));
        check("work out 17 minus 9 plus 4.", Some("12"));
        check("find the result of 6 times 7.", Some("42"));
        check("is it true or false: 5 > 3 and not 2 > 4", Some("true"));
        check("convert 2 hours and 15 minutes to minutes.", Some("135"));
        check("what is 7 plus?", None);
        check("what is love?", None);
        check("work out 9223372036854775807 plus 1.", None);
    }

    #[test]
    fn swapped_operands_are_one_group() {
        assert_eq!(sum_group("7 plus 12"), sum_group("12 plus 7"));
        assert_ne!(sum_group("7 minus 3"), sum_group("3 minus 7"));
    }

    #[test]
    fn kinds_and_truth_values_keep_their_shares() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for item in testing::items(&Mini09, 1, 4_000) {
            let kind = match item.answer.as_str() {
                "true" => "true",
                "false" => "false",
                number => {
                    assert!(number.parse::<u32>().is_ok(), "{number}");
                    "number"
                }
            };
            *counts.entry(kind).or_default() += 1;
        }
        assert!(counts["true"].abs_diff(400) < 80 && counts["false"].abs_diff(400) < 80, "{counts:?}");
    }

    #[test]
    fn the_task_keeps_its_promises() {
        testing::check_generator(&Mini09);
    }
}
