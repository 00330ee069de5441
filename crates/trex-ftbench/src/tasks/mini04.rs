//! Reasoning: who is at the end of a chain of two to four relations, told in any order and from either side.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{NAMES, below, contains_words, pick, plain, sample, shuffle};

/// Chance, in percent, that a link is told from its lower end.
const INVERSE_PERCENT: usize = 25;

/// One kind of relation. `A` is above `B` in [`Self::down`], `B` is below `A` in [`Self::up`].
struct Relation {
    name: &'static str,
    down: &'static str,
    up: &'static str,
    top: &'static str,
    bottom: &'static str,
}

const RELATIONS: [Relation; 6] = [
    comparison(["tall", "is taller than", "is shorter than", "who is the tallest ?", "who is the shortest ?"]),
    comparison(["old", "is older than", "is younger than", "who is the oldest ?", "who is the youngest ?"]),
    comparison(["fast", "is faster than", "is slower than", "who is the fastest ?", "who is the slowest ?"]),
    comparison(["heavy", "is heavier than", "is lighter than", "who is the heaviest ?", "who is the lightest ?"]),
    comparison(["left", "is left of", "is right of", "who is most left ?", "who is most right ?"]),
    comparison([
        "parent",
        "is parent of",
        "is child of",
        "who comes first in the family ?",
        "who comes last in the family ?",
    ]),
];

const fn comparison([name, down, up, top, bottom]: [&'static str; 5]) -> Relation {
    Relation { name, down, up, top, bottom }
}

/// Task 4.
pub(crate) struct Mini04;

impl Generator for Mini04 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 4,
            title: "reasoning",
            goal: "Read two to four relations between people and name the person at the asked end of the chain.",
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            options: &[],
            max_new_tokens: 8,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let relation = pick(rng, &RELATIONS);
        let hops = 2 + below(rng, 3);
        let chain: Vec<&str> = sample(rng, &NAMES, hops + 1).into_iter().copied().collect();
        let mut links: Vec<String> = chain.windows(2).map(|pair| link(rng, relation, pair[0], pair[1])).collect();
        shuffle(rng, &mut links);
        let (question, answer) = match below(rng, 2) {
            0 => (relation.top, chain[0]),
            _ => (relation.bottom, chain[hops]),
        };
        let mut options: Vec<String> = chain.iter().map(|name| (*name).to_owned()).collect();
        options.sort_unstable();
        RawItem {
            prompt: format!("{} {question} options : {{options}}", links.join(" ")),
            answer: answer.to_owned(),
            group: format!("{}/{}", relation.name, options.join("-")),
            options,
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        solve(prompt) == Some(plain(answer).as_str())
    }
}

fn link(rng: &mut ChaCha8Rng, relation: &Relation, above: &str, below_it: &str) -> String {
    if below(rng, 100) < INVERSE_PERCENT {
        format!("{below_it} {} {above} .", relation.up)
    } else {
        format!("{above} {} {below_it} .", relation.down)
    }
}

/// The one person of the asked end: above somebody and below nobody, or the other way round.
fn solve(prompt: &str) -> Option<&str> {
    let relation =
        RELATIONS.iter().find(|relation| prompt.contains(relation.top) || prompt.contains(relation.bottom))?;
    let mut above = BTreeSet::new();
    let mut below_them = BTreeSet::new();
    for sentence in prompt.split(" .") {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        let [first, .., last] = words[..] else { continue };
        if contains_words(sentence, relation.down) {
            above.insert(first);
            below_them.insert(last);
        } else if contains_words(sentence, relation.up) {
            above.insert(last);
            below_them.insert(first);
        }
    }
    let mut ends =
        if prompt.contains(relation.top) { above.difference(&below_them) } else { below_them.difference(&above) };
    ends.next().copied().filter(|_| ends.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: &str, expected: Option<&str>) {
        assert_eq!(solve(prompt), expected, "{prompt}");
    }

    #[test]
    fn the_end_of_a_chain_is_found_from_the_text() {
        check("ann is taller than bob . cid is shorter than bob . who is the tallest ?", Some("ann"));
        check("ann is taller than bob . cid is shorter than bob . who is the shortest ?", Some("cid"));
        check("bob is child of ann . bob is parent of cid . who comes last in the family ?", Some("cid"));
        // Two people are above bob.
        check("ann is left of bob . cid is left of bob . who is most left ?", None);
        check("who is it ?", None);
    }
}
