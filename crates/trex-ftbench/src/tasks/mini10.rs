//! Task 10, complex decisions: three desks, each with a fixed policy that has exceptions and trade-offs.
//!
//! The policies are written in [`desks`]; a prompt tells the desk, the one limit that changes from case to case, and the
//! facts of the case. The task asks for one of approve, deny and escalate and draws them in equal shares.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use self::desks::Case;
use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{pick, plain};

mod desks;

/// The task.
pub(crate) struct Mini10;

const OPTIONS: [&str; 3] = ["approve", "deny", "escalate"];

const ENDINGS: [&str; 3] = ["answer with one of: {options}", "decision, one of: {options}", "what now: {options}?"];

impl Generator for Mini10 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 10,
            title: "complex decisions",
            goal: "Decide each case by the desk's policy: approve, deny or escalate.",
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            options: &OPTIONS,
            max_new_tokens: 6,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let wanted = *pick(rng, &OPTIONS);
        let case = draw(rng, wanted);
        RawItem {
            prompt: format!("{case} {}", pick(rng, &ENDINGS)),
            answer: wanted.to_owned(),
            options: OPTIONS.map(String::from).to_vec(),
            group: case.to_string(),
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        Case::parse(prompt).is_some_and(|case| case.decision() == plain(answer))
    }
}

/// Draws a desk, then cases of that desk until one has the wanted decision; every desk has all three.
fn draw(rng: &mut ChaCha8Rng, wanted: &str) -> Case {
    let desk = *pick(rng, &Case::DESKS);
    loop {
        let case = desk(rng);
        if case.decision() == wanted {
            return case;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tasks::mini06::testing;

    #[track_caller]
    fn check(case: &str, expected: &str) {
        let prompt = format!("{case} answer with one of: {{options}}");
        for option in OPTIONS {
            assert_eq!(Mini10.check(&prompt, option), option == expected, "{case}: {option}");
        }
    }

    #[test]
    fn refunds_follow_the_policy() {
        check("refund desk, limit 20 days. case: guest, bought 12 days ago, 80 euros, sealed.", "approve");
        check("refund desk, limit 20 days. case: guest, bought 25 days ago, 80 euros, sealed.", "deny");
        check("refund desk, limit 20 days. case: member, bought 25 days ago, 80 euros, sealed.", "approve");
        check("refund desk, limit 20 days. case: member, bought 35 days ago, 300 euros, opened.", "escalate");
        check("refund desk, limit 20 days. case: guest, bought 50 days ago, 80 euros, damaged.", "approve");
        check("refund desk, limit 20 days. case: guest, bought 50 days ago, 280 euros, damaged.", "escalate");
        check("refund desk, limit 20 days. case: guest, bought 2 days ago, 280 euros, opened.", "deny");
        check("refund desk, limit 20 days. case: guest, bought 2 days ago, 40 euros, opened.", "approve");
    }

    #[test]
    fn leave_follows_the_policy() {
        check("leave desk, notice 2 weeks. case: illness, 4 days off, asked 0 weeks ahead, busy season.", "approve");
        check("leave desk, notice 2 weeks. case: illness, 14 days off, asked 5 weeks ahead, busy season.", "escalate");
        check("leave desk, notice 2 weeks. case: holiday, 4 days off, asked 3 weeks ahead, quiet season.", "approve");
        check("leave desk, notice 2 weeks. case: holiday, 4 days off, asked 3 weeks ahead, busy season.", "deny");
        check("leave desk, notice 2 weeks. case: wedding, 5 days off, asked 3 weeks ahead, busy season.", "escalate");
        check("leave desk, notice 2 weeks. case: wedding, 4 days off, asked 2 weeks ahead, busy season.", "approve");
        check("leave desk, notice 2 weeks. case: holiday, 16 days off, asked 8 weeks ahead, busy season.", "escalate");
    }

    #[test]
    fn doors_follow_the_policy() {
        check("door desk, open 8 to 18. case: admin, vault, 9 o'clock, escorted.", "approve");
        check("door desk, open 8 to 18. case: admin, vault, 9 o'clock, alone.", "escalate");
        check("door desk, open 8 to 18. case: staff, vault, 9 o'clock, escorted.", "deny");
        check("door desk, open 8 to 18. case: staff, office, 20 o'clock, alone.", "escalate");
        check("door desk, open 8 to 18. case: guest, lobby, 18 o'clock, alone.", "deny");
        check("door desk, open 8 to 18. case: guest, lobby, 17 o'clock, alone.", "approve");
        check("door desk, open 8 to 18. case: guest, lab, 10 o'clock, alone.", "deny");
        check("door desk, open 8 to 18. case: staff, lab, 10 o'clock, alone.", "escalate");
        check("door desk, open 8 to 18. case: staff, lab, 10 o'clock, escorted.", "approve");
    }

    #[test]
    fn decisions_come_in_equal_shares() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for item in testing::items(&Mini10, 1, 3_000) {
            *counts.entry(item.answer).or_default() += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| count.abs_diff(1_000) < 120), "{counts:?}");
    }

    #[test]
    fn the_task_keeps_its_promises() {
        testing::check_generator(&Mini10);
    }
}
