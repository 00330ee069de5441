//! Truth values of task 9: drawing an expression with a wanted value, and working one out. Knows no prompts.
//!
//! `BODY = TERM [JOINT TERM] | (TERM JOINT TERM) JOINT TERM`, `TERM = [not] ATOM`, `ATOM = true | false | N > N | N < N`,
//! `JOINT = and | or`.

use rand_chacha::ChaCha8Rng;

use crate::words::{below, between, pick};

const JOINTS: [&str; 2] = ["and", "or"];

/// Draws an expression that has the wanted value.
pub(super) fn draw(rng: &mut ChaCha8Rng, wanted: bool) -> String {
    loop {
        let body = draw_any(rng);
        if value(&body) == Some(wanted) {
            return body;
        }
    }
}

fn draw_any(rng: &mut ChaCha8Rng) -> String {
    let pair = format!("{} {} {}", term(rng), pick(rng, &JOINTS), term(rng));
    if below(rng, 2) == 0 {
        return pair;
    }
    format!("({pair}) {} {}", pick(rng, &JOINTS), term(rng))
}

fn term(rng: &mut ChaCha8Rng) -> String {
    let not = if below(rng, 3) == 0 { "not " } else { "" };
    let atom = match below(rng, 4) {
        0 => "true".to_owned(),
        1 => "false".to_owned(),
        2 => format!("{} > {}", between(rng, 0, 20), between(rng, 0, 20)),
        _ => format!("{} < {}", between(rng, 0, 20), between(rng, 0, 20)),
    };
    format!("{not}{atom}")
}

/// Works an expression out; nothing when the text is not one.
pub(super) fn value(body: &str) -> Option<bool> {
    let Some(inner) = body.strip_prefix('(') else {
        return pair_value(body);
    };
    let (pair, rest) = inner.split_once(") ")?;
    let (joint, last) = rest.split_once(' ')?;
    joined([pair_value(pair)?, term_value(last)?], joint)
}

fn pair_value(text: &str) -> Option<bool> {
    for joint in JOINTS {
        if let Some((left, right)) = text.split_once(&format!(" {joint} ")) {
            return joined([term_value(left)?, term_value(right)?], joint);
        }
    }
    term_value(text)
}

fn joined(pair: [bool; 2], joint: &str) -> Option<bool> {
    match joint {
        "and" => Some(pair[0] && pair[1]),
        "or" => Some(pair[0] || pair[1]),
        _ => None,
    }
}

fn term_value(text: &str) -> Option<bool> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["not", ref atom @ ..] => Some(!atom_value(atom)?),
        _ => atom_value(&words),
    }
}

fn atom_value(words: &[&str]) -> Option<bool> {
    let number = |word: &str| word.parse::<i64>().ok();
    match *words {
        ["true"] => Some(true),
        ["false"] => Some(false),
        [left, ">", right] => Some(number(left)? > number(right)?),
        [left, "<", right] => Some(number(left)? < number(right)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Option<bool>) {
        assert_eq!(value(body), expected, "{body}");
    }

    #[test]
    fn follows_the_tables_of_truth() {
        check("true and false", Some(false));
        check("true or false", Some(true));
        check("not true or not false", Some(true));
        check("(true or false) and not true", Some(false));
        check("(false and true) or 3 < 5", Some(true));
        check("not 3 < 5", Some(false));
        check("4 > 4 or 4 < 4", Some(false));
        check("true and", None);
        check("true and true and true", None);
        check("(true", None);
        check("(true) nor true", None);
        check("one > two", None);
        check("", None);
    }
}
