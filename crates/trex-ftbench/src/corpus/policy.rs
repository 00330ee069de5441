//! One rule and one case, with options: simpler rules than the desks of task 10, told in the question.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from};
use crate::words::{NAMES, below, between, pick};

/// One exercise.
pub(super) fn policy(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 5) {
        0 => limit(rng),
        1 => exception(rng),
        2 => age(rng),
        3 => unclear(rng),
        _ => meaning(rng),
    }
}

fn limit(rng: &mut ChaCha8Rng) -> Exchange {
    let (most, asked) = (between(rng, 2, 30), between(rng, 1, 40));
    let right = if asked <= most { "approve" } else { "deny" };
    let question = format!("rule : up to {most} days is fine . {} asks for {asked} days .", pick(rng, &NAMES));
    choose_from(rng, &question, &["approve", "deny"], right)
}

/// Members are an exception to the limit.
fn exception(rng: &mut ChaCha8Rng) -> Exchange {
    let (most, asked) = (10 * between(rng, 2, 9), 10 * between(rng, 1, 12));
    let is_member = below(rng, 2) == 0;
    let right = if is_member || asked <= most { "approve" } else { "deny" };
    let who = if is_member { "a member" } else { "a guest" };
    let question = format!("rule : at most {most} euros , but members may take more . {who} asks for {asked} euros .");
    choose_from(rng, &question, &["approve", "deny", "escalate"], right)
}

fn age(rng: &mut ChaCha8Rng) -> Exchange {
    let (least, years) = (between(rng, 6, 18), between(rng, 3, 25));
    let right = if years >= least { "yes" } else { "no" };
    let question = format!("you must be {least} or older . {} is {years} . may they come in ?", pick(rng, &NAMES));
    choose_from(rng, &question, &["yes", "no"], right)
}

fn unclear(rng: &mut ChaCha8Rng) -> Exchange {
    const CASES: [(&str, &str); 6] = [
        ("the paper is complete and signed", "approve"),
        ("all rules are kept", "approve"),
        ("the paper is false", "deny"),
        ("a guest is alone at night", "deny"),
        ("the sum is very large and nobody is sure", "escalate"),
        ("two rules disagree", "escalate"),
    ];
    let (case, right) = *pick(rng, &CASES);
    let question = format!(
        "say yes to good cases , no to bad ones , ask the boss if unsure . {} says : {case} .",
        pick(rng, &NAMES)
    );
    choose_from(rng, &question, &["approve", "deny", "escalate"], right)
}

fn meaning(rng: &mut ChaCha8Rng) -> Exchange {
    const MEANINGS: [(&str, &str); 3] = [
        ("to say yes to a request", "approve"),
        ("to say no to a request", "deny"),
        ("to ask the boss about a request", "escalate"),
    ];
    let (meaning, right) = *pick(rng, &MEANINGS);
    choose_from(rng, &format!("one word for this : {meaning} ."), &["approve", "deny", "escalate"], right)
}
