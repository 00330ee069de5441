//! Sums in signs, small truth values and small conversions: the skills of task 9 in other words and smaller numbers.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from, exchange};
use crate::words::{NAMES, NOUNS, below, between, pick};

/// One exercise.
pub(super) fn math(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 10) {
        0..4 => sum(rng),
        4 => chain(rng),
        5 => story(rng),
        6 => compare(rng),
        7 | 8 => logic(rng),
        _ => unit(rng),
    }
}

fn sum(rng: &mut ChaCha8Rng) -> Exchange {
    let (left, right) = (between(rng, 0, 25), between(rng, 0, 12));
    let total = left + right;
    match below(rng, 6) {
        0 => exchange(format!("{left} + {right} ="), total.to_string()),
        1 => exchange(format!("add {left} and {right} ."), total.to_string()),
        2 => exchange(format!("{left} plus {right} makes ?"), total.to_string()),
        3 => exchange(format!("{total} - {right} ="), left.to_string()),
        4 => exchange(format!("take {right} from {total} ."), left.to_string()),
        _ => {
            let (left, right) = (between(rng, 1, 9), between(rng, 1, 6));
            exchange(format!("{left} times {right} makes ?"), (left * right).to_string())
        }
    }
}

fn chain(rng: &mut ChaCha8Rng) -> Exchange {
    let (first, second, third) = (between(rng, 1, 9), between(rng, 1, 9), between(rng, 1, 9));
    let middle = first + second;
    let value = middle + third;
    exchange(format!("start with {first} , add {second} , then add {third} ."), format!("{value}"))
}

fn story(rng: &mut ChaCha8Rng) -> Exchange {
    let (left, right) = (between(rng, 1, 12), between(rng, 1, 9));
    let (name, other, noun) = (pick(rng, &NAMES), pick(rng, &NAMES), pick(rng, &NOUNS));
    exchange(
        format!("{name} has {left} , {other} gives {right} more for the {noun} . how many are there now ?"),
        (left + right).to_string(),
    )
}

fn compare(rng: &mut ChaCha8Rng) -> Exchange {
    let left = between(rng, 0, 40);
    let right = (left + between(rng, 1, 20)) % 41;
    let (left_said, right_said) = (left.to_string(), right.to_string());
    let more = left.max(right).to_string();
    choose_from(rng, "which number is more ?", &[&left_said, &right_said], &more)
}

fn logic(rng: &mut ChaCha8Rng) -> Exchange {
    let (left, right) = (below(rng, 2) == 0, below(rng, 2) == 0);
    let (low, high) = (between(rng, 0, 12), between(rng, 0, 12));
    match below(rng, 5) {
        0 => exchange(format!("{left} and {right} makes ?"), (left && right).to_string()),
        1 => exchange(format!("{left} or {right} makes ?"), (left || right).to_string()),
        2 => exchange(format!("not {left} makes ?"), (!left).to_string()),
        3 => exchange(format!("does {low} > {high} hold ?"), (low > high).to_string()),
        _ => exchange(format!("does {low} < {high} hold ?"), (low < high).to_string()),
    }
}

fn unit(rng: &mut ChaCha8Rng) -> Exchange {
    const UNITS: [(&str, &str, i64); 6] = [
        ("hours", "minutes", 60),
        ("minutes", "seconds", 60),
        ("weeks", "days", 7),
        ("years", "months", 12),
        ("metres", "centimetres", 100),
        ("kilograms", "grams", 1_000),
    ];
    let (large, small, factor) = *pick(rng, &UNITS);
    let amount = between(rng, 1, 6);
    match below(rng, 3) {
        0 => exchange(format!("say {amount} {large} in {small} ."), (amount * factor).to_string()),
        1 => exchange(
            format!("{} {small} are as long or heavy as how many {large} ?", amount * factor),
            amount.to_string(),
        ),
        _ => exchange(format!("one of the {large} has how many {small} ?"), factor.to_string()),
    }
}
