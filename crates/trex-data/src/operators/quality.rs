//! Rows that are broken or off-topic. Judges what is particular to a row: the pool's template is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use rayon::prelude::*;
use trex_domain::Example;
use unicode_normalization::char::is_combining_mark;

use super::Outcome;
use super::template::QuestionTemplate;
use crate::DataError;
use crate::minhash::{KeyHasher, hash_word};
use crate::pool::Pool;
use crate::text::{normalise_key, words};

/// Fewer words than this repeat themselves by chance: `no no` is no broken row.
const MIN_WORDS_FOR_REPETITION: usize = 8;
/// Sentences that only filler and failed downloads contain.
const BOILERPLATE: [&str; 6] = [
    "lorem ipsum dolor",
    "as an ai language model",
    "please enable javascript",
    "javascript is disabled in your browser",
    "404 not found",
    "403 forbidden",
];
/// Texts that stand for a missing one.
const PLACEHOLDERS: [&str; 9] =
    ["null", "nan", "n/a", "#n/a", "undefined", "[deleted]", "[removed]", "[object object]", "#ref!"];

/// Drops rows that repeat one word, are mostly symbols, or are boilerplate.
///
/// Repetition is the share of the most frequent word among at least eight words. Open answers are judged together with
/// their question, options are not.
pub(super) fn quality(rows: Pool, max_repetition: f64, max_symbol_ratio: f64) -> Result<Outcome, DataError> {
    let template = QuestionTemplate::of(&rows)?;
    Outcome::filtered(rows, |row| {
        let own = template.own_part(row);
        let text = judged_text(row, &own);
        if is_boilerplate(&own, &text) {
            return Some("boilerplate");
        }
        if repetition(&text) > max_repetition {
            return Some("repeats one word");
        }
        (symbol_ratio(&text) > max_symbol_ratio).then_some("mostly symbols")
    })
}

/// Drops rows of whose words less than `min_known_share` occur in at least `min_rows` other rows.
///
/// Known words are counted over all questions and answers; rows without words are left to other operators.
///
/// In memory are about 32 bytes for every distinct word of the pool.
pub(super) fn topic(rows: Pool, min_known_share: f64, min_rows: usize) -> Result<Outcome, DataError> {
    let template = QuestionTemplate::of(&rows)?;
    let key_of = |row: &Example| normalise_key(&judged_text(row, &template.own_part(row)));
    let mut rows_with: HashMap<u64, u32, BuildHasherDefault<KeyHasher>> = HashMap::default();
    rows.for_each_portion(|_, rows| {
        let words_of = |row: &Example| {
            let (key, answer) = (key_of(row), normalise_key(&row.answer));
            words(&key).chain(words(&answer)).map(hash_word).collect::<BTreeSet<u64>>()
        };
        let found: Vec<BTreeSet<u64>> = rows.par_iter().with_min_len(32).map(words_of).collect();
        for word in found.iter().flatten() {
            *rows_with.entry(*word).or_default() += 1;
        }
        Ok(())
    })?;
    let is_known = |word: &u64| rows_with.get(word).is_some_and(|count| *count as usize > min_rows);
    Outcome::filtered(rows, |row| {
        let key = key_of(row);
        let total = words(&key).count();
        let known = words(&key).map(hash_word).filter(is_known).count();
        ((known as f64) < min_known_share * total as f64).then_some("words that hardly any other row has")
    })
}

fn judged_text(row: &Example, own: &str) -> String {
    if row.options.is_empty() { format!("{own}\n{}", row.answer) } else { own.to_owned() }
}

fn is_boilerplate(own: &str, text: &str) -> bool {
    let bare = own.trim().to_lowercase();
    let key = normalise_key(text);
    PLACEHOLDERS.contains(&bare.as_str()) || BOILERPLATE.iter().any(|sentence| key.contains(sentence))
}

fn repetition(text: &str) -> f64 {
    let key = normalise_key(text);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words(&key) {
        *counts.entry(word).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let most = counts.values().max().copied().unwrap_or(0);
    if total < MIN_WORDS_FOR_REPETITION { 0.0 } else { most as f64 / total as f64 }
}

fn symbol_ratio(text: &str) -> f64 {
    let is_symbol = |c: &char| !c.is_alphanumeric() && !c.is_whitespace() && !is_combining_mark(*c);
    let total = text.trim().chars().count();
    let symbols = text.trim().chars().filter(is_symbol).count();
    if total == 0 { 0.0 } else { symbols as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, made};
    use super::*;

    fn pool(particular: &[&str]) -> Vec<Example> {
        let prompt =
            |text: &&str| format!("Decide on the mood of this review and give one word.\nReview: {text}\nMood:");
        particular.iter().map(prompt).enumerate().map(|(row, prompt)| choice_row(row, &prompt, "yes")).collect()
    }

    #[test]
    fn the_template_does_not_hide_broken_rows() {
        let rows = pool(&[
            "a fine film with good actors",
            "spam spam spam spam spam spam spam spam spam",
            "@@@ ### $$$ %% !!",
            "[deleted]",
            "Lorem ipsum dolor sit amet",
            "no, no",
            "I did not like the end of it",
        ]);
        let outcome = made(quality(rows.into(), 0.5, 0.4));
        assert_eq!(ids(&outcome.rows), ["t/0", "t/5", "t/6"]);
        assert_eq!(outcome.dropped.get("boilerplate"), Some(&2));
    }

    #[test]
    fn rows_of_another_topic_are_dropped() {
        let mut texts = vec!["the film was good and the actors too"; 6];
        texts.push("mitochondria synthesise adenosine triphosphate");
        texts.push("the actors and the film");
        assert_eq!(made(topic(pool(&texts).into(), 0.5, 3)).dropped.values().sum::<usize>(), 1);
        assert_eq!(made(topic(pool(&texts).into(), 0.5, 3)).rows.last().unwrap().id, "t/7");
    }
}
