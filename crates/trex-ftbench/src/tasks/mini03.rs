//! In-context learning: three worked lines show a rule, the fourth is the question.
//!
//! A line has four words: an animal, a colour and two things, in any order. The rule picks one of them. The three shown
//! lines always leave exactly one answer: where several rules explain them, all of those agree on the question.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{ANIMALS, COLOURS, NOUNS, pick, plain, sample, shuffle, weighted};

/// Lines shown with their answers.
const SHOTS: usize = 3;

/// Ways to ask; `S` is the three lines and the question.
const FRAMES: [&str; 4] = [
    "find the rule . S words : {options}",
    "S which word comes next ? one of : {options}",
    "do the same again . S options : {options}",
    "look and go on . S options : {options}",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    First,
    Last,
    Longest,
    Animal,
    Colour,
}

impl Rule {
    const ALL: [Self; 5] = [Self::First, Self::Last, Self::Longest, Self::Animal, Self::Colour];

    /// In percent, in the order of [`Self::ALL`].
    const SHARES: [usize; 5] = [20, 20, 10, 25, 25];

    /// The word of the line that the rule picks; nothing where it picks none or several.
    fn apply<'a>(self, line: &[&'a str]) -> Option<&'a str> {
        let only = |known: &[&str]| {
            let mut found = line.iter().copied().filter(|word| known.contains(word));
            found.next().filter(|_| found.next().is_none())
        };
        match self {
            Self::First => line.first().copied(),
            Self::Last => line.last().copied(),
            Self::Longest => {
                let most = line.iter().map(|word| word.len()).max()?;
                let mut longest = line.iter().copied().filter(|word| word.len() == most);
                longest.next().filter(|_| longest.next().is_none())
            }
            Self::Animal => only(&ANIMALS),
            Self::Colour => only(&COLOURS),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Longest => "longest",
            Self::Animal => "animal",
            Self::Colour => "colour",
        }
    }
}

/// Task 3.
pub(crate) struct Mini03;

impl Generator for Mini03 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 3,
            title: "in-context learning",
            goal: "Find the rule that three lines show and apply it to the fourth line.",
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            options: &[],
            max_new_tokens: 8,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let rule = Rule::ALL[weighted(rng, &Rule::SHARES)];
        // Most draws are clear at once; the loop ends because a clear one has positive probability.
        loop {
            if let Some(item) = draw(rng, rule) {
                return item;
            }
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        parse(prompt).and_then(|(shots, question)| solve(&shots, &question)) == Some(plain(answer).as_str())
    }
}

/// Four words in random order.
fn line(rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    let mut words = vec![*pick(rng, &ANIMALS), *pick(rng, &COLOURS)];
    words.extend(sample(rng, &NOUNS, 2));
    shuffle(rng, &mut words);
    words
}

fn draw(rng: &mut ChaCha8Rng, rule: Rule) -> Option<RawItem> {
    let lines: Vec<_> = (0..=SHOTS).map(|_| line(rng)).collect();
    let (question, shown) = lines.split_last()?;
    let shots: Vec<_> = shown.iter().map(|words| Some((words.clone(), rule.apply(words)?))).collect::<Option<_>>()?;
    let answer = solve(&shots, question)?;
    if rule.apply(question) != Some(answer) {
        return None;
    }
    let mut parts: Vec<String> =
        shots.iter().map(|(words, picked)| format!("{} -> {picked} .", words.join(" "))).collect();
    parts.push(format!("{} -> ?", question.join(" ")));
    Some(RawItem {
        prompt: pick(rng, &FRAMES).replace('S', &parts.join(" ")),
        answer: answer.to_owned(),
        options: question.iter().map(|word| (*word).to_owned()).collect(),
        group: rule.name().to_owned(),
    })
}

/// The answer on which all rules that explain the shots agree.
fn solve<'a>(shots: &[(Vec<&str>, &str)], question: &[&'a str]) -> Option<&'a str> {
    let explains = |rule: &Rule| shots.iter().all(|(words, picked)| rule.apply(words) == Some(picked));
    let mut answers = Rule::ALL.into_iter().filter(explains).map(|rule| rule.apply(question));
    let first = answers.next()??;
    answers.all(|other| other == Some(first)).then_some(first)
}

type Shot<'a> = (Vec<&'a str>, &'a str);

/// The worked lines and the question of a prompt: four words before each arrow, the answer behind it.
fn parse(prompt: &str) -> Option<(Vec<Shot<'_>>, Vec<&str>)> {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    let mut shots = Vec::new();
    for arrow in words.iter().enumerate().filter(|(_, word)| **word == "->").map(|(place, _)| place) {
        let before = words.get(arrow.checked_sub(4)?..arrow)?.to_vec();
        match *words.get(arrow + 1)? {
            "?" => return Some((shots, before)),
            picked => shots.push((before, picked)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: &str, answer: &str, expected: bool) {
        assert_eq!(Mini03.check(prompt, answer), expected, "{prompt} {answer}");
    }

    #[test]
    fn rules_are_read_off_the_prompt() {
        let first =
            "cat red cup tower -> cat . blue dog bridge pen -> blue . key hen pink map -> key . wall owl gold sky -> ?";
        check(first, "wall", true);
        check(first, "owl", false);
        let animal =
            "cat red cup tower -> cat . blue dog bridge pen -> dog . key hen pink map -> hen . wall owl gold sky -> ?";
        check(animal, "owl", true);
        check("no question", "owl", false);
        // Every colour shown is also the last word, and the question tells the two rules apart.
        let unclear = "cat cup tower red -> red . dog bridge pen blue -> blue . key hen map pink -> pink . wall gold owl sky -> ?";
        check(unclear, "gold", false);
    }
}
