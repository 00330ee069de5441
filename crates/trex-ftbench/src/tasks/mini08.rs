//! Task 8, design and creativity: one line that uses given words in a given order and ends with a given word.
//!
//! The gold line comes from one template per mood ([`MOODS`]), so a model can learn the family and TokenF1 against gold
//! means something. The check looks at the constraints only and accepts any line that keeps them, whatever its mood.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{NOUNS, pick, plain, sample};

/// The task.
pub(crate) struct Mini08;

/// Mood and template; `A`, `B` and `C` stand for the words in order, `D` for the last one.
const MOODS: [(&str, &str); 6] = [
    ("calm", "the A rests beside the B while the C waits near the D"),
    ("sad", "long ago the A lost its B and nobody told the C about the D"),
    ("funny", "one silly A tickled the B until the C laughed at the D"),
    ("angry", "stop said the A because that B and this C broke my D"),
    ("proud", "see how our A won the B and every C cheers for the D"),
    ("scary", "at midnight some A crept behind the B as the C fled from the D"),
];

const LEADS: [(&str, &str); 2] = [("write a ", " line with the words: "), ("make one ", " line that uses: ")];
const ENDING: &str = " in this order, ending with ";

/// Fewest and most words of a line.
const LENGTH: std::ops::RangeInclusive<usize> = 6..=16;

impl Generator for Mini08 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 8,
            title: "constrained writing",
            goal: "Write one line in a given mood that uses three words in order and ends with a fourth.",
            kind: TaskKind::Generate,
            metric: Metric::TokenF1,
            options: &[],
            max_new_tokens: 40,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let (mood, template) = *pick(rng, &MOODS);
        let (before, after) = *pick(rng, &LEADS);
        let words: Vec<&str> = sample(rng, &NOUNS, 4).into_iter().copied().collect();
        let (used, last) = words.split_at(3);
        let (used, last) = (used.join(", "), last.join(""));
        let prompt = format!("{before}{mood}{after}{used}{ENDING}{last}");
        let group = format!("{mood}: {used}, {last}");
        RawItem { prompt, answer: filled(template, &words), options: Vec::new(), group }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        let Some((used, last)) = constraints_from_prompt(prompt) else { return false };
        let answer = plain(answer);
        let line: Vec<&str> = answer.split_whitespace().map(|word| word.trim_matches([',', '!', ';', ':'])).collect();
        let is_one_line = !answer.contains('\n') && LENGTH.contains(&line.len());
        is_one_line && line.last() == Some(&last) && occur_once_in_order(&line, &used, last)
    }
}

fn filled(template: &str, words: &[&str]) -> String {
    let word =
        |slot: &str| ["A", "B", "C", "D"].iter().position(|name| *name == slot).and_then(|at| words.get(at).copied());
    template.split(' ').map(|slot| word(slot).unwrap_or(slot)).collect::<Vec<_>>().join(" ")
}

/// The words to use in order, and the last word.
fn constraints_from_prompt(prompt: &str) -> Option<(Vec<&str>, &str)> {
    let (_, words) = prompt.split_once(": ")?;
    let (used, last) = words.split_once(ENDING)?;
    Some((used.split(", ").collect(), last.trim()))
}

/// Whether the given words, and then the last one, are the line's only uses of them and come in this order.
fn occur_once_in_order(line: &[&str], used: &[&str], last: &str) -> bool {
    let found = line.iter().filter(|word| used.contains(word) || **word == last);
    found.eq(used.iter().chain(std::iter::once(&last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::mini06::testing;

    #[track_caller]
    fn check(line: &str, expected: bool) {
        let prompt = "write a calm line with the words: road, moon, key in this order, ending with tower";
        assert_eq!(Mini08.check(prompt, line), expected, "{line}");
    }

    #[test]
    fn only_the_constraints_count() {
        check("the road rests beside the moon while the key waits near the tower", true);
        check("A road, a moon and a key lead to the tower.", true);
        check("the moon rests beside the road while the key waits near the tower", false);
        check("the road rests beside the moon while the key waits near the door", false);
        check("the road rests beside the moon and waits near the tower", false);
        check("the road the road moon key by the tower", false);
        check("road moon key tower", false);
        check("the road, the moon and\nthe key at the tower", false);
        check("the roads rest by the moon and the key in the tower", false);
    }

    #[test]
    fn templates_are_of_one_family_and_share_no_word_with_the_slots() {
        for (mood, template) in MOODS {
            let words: Vec<&str> = template.split(' ').collect();
            let slots: Vec<_> =
                words.iter().filter(|word| word.len() == 1 && word.chars().all(char::is_uppercase)).collect();
            assert_eq!(slots, [&"A", &"B", &"C", &"D"], "{mood}");
            assert_eq!(words.last(), Some(&"D"));
            assert!(words.iter().all(|word| !NOUNS.contains(word)), "{template}");
            assert!(LENGTH.contains(&words.len()));
        }
    }

    #[test]
    fn the_task_keeps_its_promises() {
        testing::check_generator(&Mini08);
    }
}
