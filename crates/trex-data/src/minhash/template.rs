//! Finds the shingles that more than half of the texts have, in bounded memory. Removes nothing itself.

use std::collections::HashMap;

use rand::RngExt as _;
use rayon::prelude::*;

use super::{KeyHasher, Template, Texts, shingles};
use crate::DataError;
use crate::text::normalise_key;

/// Below so many texts nothing is taken for a template.
const MIN_TEXTS: usize = 20;

/// Texts that are drawn to find candidates. A shingle of more than half of all texts is in less than a quarter of the
/// drawn ones with a chance below e^-128 (Hoeffding, 1963: exp(-2 · 1024 · 0.25²)).
const NUM_DRAWN: usize = 1024;

/// Drawn texts that are looked at together, and shingles from which on no more are: long texts need fewer.
const DRAWN_AT_A_TIME: usize = 64;
const MAX_SHINGLES: usize = 4 << 20;

/// The shingles that more than half of 20 or more texts have: candidates from drawn texts, counted over all.
pub(super) fn template_of<T: Texts + ?Sized>(texts: &T, shingle_words: usize) -> Result<Template, DataError> {
    if texts.len() < MIN_TEXTS {
        return Ok(Template::default());
    }
    let candidates = candidates(texts, shingle_words)?;
    if candidates.is_empty() {
        return Ok(Template::default());
    }
    let mut counts: HashMap<u64, usize> = HashMap::new();
    texts.for_each_portion(&mut |_, portion| {
        let found: Vec<Vec<u64>> = portion
            .par_iter()
            .with_min_len(16)
            .map(|text| {
                let mut set = shingles(&normalise_key(text), shingle_words);
                set.retain(|shingle| candidates.contains(shingle));
                set
            })
            .collect();
        for shingle in found.iter().flatten() {
            *counts.entry(*shingle).or_default() += 1;
        }
        Ok(())
    })?;
    counts.retain(|_, count| 2 * *count > texts.len());
    Ok(counts.into_keys().collect())
}

/// The shingles of at least a quarter of the drawn texts.
fn candidates<T: Texts + ?Sized>(texts: &T, shingle_words: usize) -> Result<Template, DataError> {
    let numbers = drawn(texts.len());
    let mut counts: HashMap<u64, usize, std::hash::BuildHasherDefault<KeyHasher>> = HashMap::default();
    let mut num_looked_at = 0;
    for numbers in numbers.chunks(DRAWN_AT_A_TIME) {
        for text in texts.get(numbers)? {
            num_looked_at += 1;
            for shingle in shingles(&normalise_key(&text), shingle_words) {
                *counts.entry(shingle).or_default() += 1;
            }
        }
        if counts.len() > MAX_SHINGLES {
            break;
        }
    }
    counts.retain(|_, count| 4 * *count >= num_looked_at);
    Ok(counts.into_keys().collect())
}

/// Numbers in a drawn order, each once; all of them where there are few.
fn drawn(num_texts: usize) -> Vec<usize> {
    if num_texts <= NUM_DRAWN {
        return (0..num_texts).collect();
    }
    let mut rng = trex_domain::seeded_rng(0, "trex-data/template");
    let mut seen = std::collections::HashSet::with_capacity(NUM_DRAWN);
    let draw = std::iter::repeat_with(|| rng.random_range(0..num_texts));
    draw.filter(|number| seen.insert(*number)).take(NUM_DRAWN).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    #[test]
    fn shingles_of_most_texts_are_found() {
        let mut rng = trex_domain::seeded_rng(9, "most");
        for size in [19_usize, 20, 101, 3000] {
            let mut text = || {
                let shared = (0..9).filter(|_| rng.random_range(0..10) < 5).map(|word| format!("shared{word}"));
                let mut words: Vec<String> = shared.collect();
                words.extend((0..5).map(|_| format!("own{}", rng.random_range(0..1_000_000))));
                words.join(" ")
            };
            let texts: Vec<String> = (0..size).map(|_| text()).collect();
            let mut counts: HashMap<u64, usize> = HashMap::new();
            for text in &texts {
                for shingle in shingles(text, 1) {
                    *counts.entry(shingle).or_default() += 1;
                }
            }
            counts.retain(|_, count| 2 * *count > size && size >= MIN_TEXTS);
            let expected: Template = counts.into_keys().collect();
            assert_eq!(template_of(&texts[..], 1).unwrap(), expected, "{size}");
        }
    }
}
