//! Unit conversions of task 9: drawing a question and answering one, always with a whole result. Holds no sums or logic.

use rand_chacha::ChaCha8Rng;

use crate::words::{below, between, pick};

/// Large unit, small unit, how many small ones make a large one, and the most of the large unit that is asked.
const UNITS: [(&str, &str, i64, i64); 9] = [
    ("hours", "minutes", 60, 12),
    ("minutes", "seconds", 60, 12),
    ("days", "hours", 24, 10),
    ("weeks", "days", 7, 12),
    ("years", "months", 12, 12),
    ("dozens", "pieces", 12, 12),
    ("metres", "centimetres", 100, 30),
    ("kilometres", "metres", 1_000, 30),
    ("kilograms", "grams", 1_000, 30),
];

/// Draws a question and the fact that it is about (the amount in both units, whatever the direction and the words).
pub(super) fn draw(rng: &mut ChaCha8Rng) -> (String, String) {
    let &(large, small, factor, most) = pick(rng, &UNITS);
    let amount = between(rng, 2, most);
    let extra = between(rng, 1, factor.min(100) - 1);
    let in_small = amount * factor;
    let group = format!("{amount} {large} {small}");
    match below(rng, 6) {
        0 => (format!("how many {small} are {amount} {large}?"), group),
        1 => (format!("convert {amount} {large} to {small}."), group),
        2 => (format!("how many {large} are {in_small} {small}?"), group),
        3 => (format!("convert {in_small} {small} to {large}."), group),
        4 => (format!("how many {small} are {amount} {large} and {extra} {small}?"), format!("{group} {extra}")),
        _ => (format!("convert {amount} {large} and {extra} {small} to {small}."), format!("{group} {extra}")),
    }
}

/// Answers a question; nothing when it is not one or the result is not whole.
pub(super) fn value(prompt: &str) -> Option<i64> {
    let words: Vec<&str> = prompt.strip_suffix(['?', '.'])?.split_whitespace().collect();
    match words[..] {
        ["how", "many", to, "are", amount, from] | ["convert", amount, from, "to", to] => converted(amount, from, to),
        ["how", "many", to, "are", amount, from, "and", extra, same]
        | ["convert", amount, from, "and", extra, same, "to", to]
            if same == to =>
        {
            converted(amount, from, to)?.checked_add(extra.parse().ok()?)
        }
        _ => None,
    }
}

fn converted(amount: &str, from: &str, to: &str) -> Option<i64> {
    let amount: i64 = amount.parse().ok()?;
    for (large, small, factor, _) in UNITS {
        if (from, to) == (large, small) {
            return amount.checked_mul(factor);
        }
        if (from, to) == (small, large) {
            return (amount % factor == 0).then_some(amount / factor);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: &str, expected: Option<i64>) {
        assert_eq!(value(prompt), expected, "{prompt}");
    }

    #[test]
    fn converts_in_both_directions() {
        check("how many minutes are 3 hours?", Some(180));
        check("how many hours are 180 minutes?", Some(3));
        check("convert 3 kilograms to grams.", Some(3000));
        check("convert 2 weeks and 3 days to days.", Some(17));
        check("how many days are 2 weeks and 3 days?", Some(17));
        check("how many hours are 181 minutes?", None);
        check("how many hours are 2 kilograms?", None);
        check("convert 2 weeks and 3 hours to days.", None);
        check("convert it", None);
    }
}
