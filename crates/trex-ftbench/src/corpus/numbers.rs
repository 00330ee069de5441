//! Number facts as plain sentences: spelling, order, sums, units and truth values. Holds no questions.

use rand_chacha::ChaCha8Rng;

use crate::tasks::mini06::NUMBERS;
use crate::words::{NAMES, NOUNS, below, between, pick};

/// A true sentence about numbers.
pub(super) fn sentence(rng: &mut ChaCha8Rng) -> String {
    match below(rng, 8) {
        0 => spelling(rng),
        1 => counting(rng),
        2 => order(rng),
        3 | 4 => sum(rng),
        5 => unit(rng),
        6 => truth(rng),
        _ => having(rng),
    }
}

fn spelling(rng: &mut ChaCha8Rng) -> String {
    let number = below(rng, NUMBERS.len());
    let word = NUMBERS[number];
    match below(rng, 2) {
        0 => format!("{word} is written {number} ."),
        _ => format!("the number {number} is called {word} ."),
    }
}

fn counting(rng: &mut ChaCha8Rng) -> String {
    let from = between(rng, 0, 40);
    let numbers: Vec<String> = (from..from + 5).map(|number| number.to_string()).collect();
    format!("count : {} .", numbers.join(" "))
}

fn order(rng: &mut ChaCha8Rng) -> String {
    let (left, right) = (between(rng, 0, 40), between(rng, 0, 40));
    match left.cmp(&right) {
        std::cmp::Ordering::Less => format!("{left} is less than {right} , so {left} < {right} ."),
        std::cmp::Ordering::Equal => format!("{left} is as much as {right} ."),
        std::cmp::Ordering::Greater => format!("{left} is more than {right} , so {left} > {right} ."),
    }
}

fn sum(rng: &mut ChaCha8Rng) -> String {
    let (left, right) = (between(rng, 0, 25), between(rng, 0, 15));
    match below(rng, 5) {
        0 => format!("{left} plus {right} is {} .", left + right),
        1 => format!("{left} + {right} = {} .", left + right),
        2 => format!("{} minus {right} is {left} .", left + right),
        3 => format!("{} - {right} = {left} .", left + right),
        _ => {
            let (left, right) = (between(rng, 1, 9), between(rng, 1, 9));
            format!("{left} times {right} is {} .", left * right)
        }
    }
}

/// Small amounts of a few units; the task asks more.
fn unit(rng: &mut ChaCha8Rng) -> String {
    const UNITS: [(&str, &str, i64); 7] = [
        ("hours", "minutes", 60),
        ("minutes", "seconds", 60),
        ("days", "hours", 24),
        ("weeks", "days", 7),
        ("years", "months", 12),
        ("metres", "centimetres", 100),
        ("kilograms", "grams", 1_000),
    ];
    let (large, small, factor) = *pick(rng, &UNITS);
    let amount = between(rng, 1, 5);
    format!("{amount} {large} have {} {small} .", amount * factor)
}

fn truth(rng: &mut ChaCha8Rng) -> String {
    let (left, right) = (below(rng, 2) == 0, below(rng, 2) == 0);
    match below(rng, 3) {
        0 => format!("{left} and {right} makes {} .", left && right),
        1 => format!("{left} or {right} makes {} .", left || right),
        _ => format!("not {left} is {} .", !left),
    }
}

fn having(rng: &mut ChaCha8Rng) -> String {
    let (first, more) = (between(rng, 1, 12), between(rng, 1, 9));
    let (name, noun) = (pick(rng, &NAMES), pick(rng, &NOUNS));
    format!("{name} has {first} of the {noun} kind , gets {more} more and now has {} .", first + more)
}
