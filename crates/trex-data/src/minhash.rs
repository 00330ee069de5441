//! Near-duplicates by MinHash and locality-sensitive hashing (Broder, 1997; Indyk and Motwani, 1998).
//!
//! Signatures only propose pairs; every pair is checked by the exact Jaccard similarity of its shingle sets, so nothing
//! below the threshold is ever reported. What is missed follows the S-curve of [`Bands::for_threshold`]. Runs on the
//! threads of rayon; the result depends on the texts only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use rand::Rng as _;
use rayon::prelude::*;

use crate::text::{normalise_key, words};

/// Hash functions per signature: the standard error of an estimate is at most 0.5 / √128 ≈ 0.044.
const NUM_PERMUTATIONS: usize = 128;
/// Words per shingle where the caller has no wish.
const SHINGLE_WORDS: usize = 3;
/// Chance that a pair exactly at the threshold is proposed, at least.
const RECALL_AT_THRESHOLD: f64 = 0.98;
/// Below so many texts nothing is taken for a template.
const TEMPLATE_MIN_TEXTS: usize = 20;

/// The indices of rows that are near-duplicates of an earlier kept row, in order, with shingles of three words.
pub(crate) fn near_duplicate_rows(texts: &[String], threshold: f64) -> Vec<usize> {
    near_duplicate_rows_with(texts, threshold, SHINGLE_WORDS)
}

/// The indices of rows that are near-duplicates of an earlier kept row, in order.
pub(crate) fn near_duplicate_rows_with(texts: &[String], threshold: f64, shingle_words: usize) -> Vec<usize> {
    let first_rows = near_duplicates_of(texts, threshold, shingle_words);
    first_rows.iter().enumerate().filter(|(_, first)| first.is_some()).map(|(row, _)| row).collect()
}

/// For every text the earlier kept text that it nearly equals (the most similar one, the first of equals).
///
/// Two texts are near-duplicates when the Jaccard similarity |A ∩ B| / |A ∪ B| of their shingle sets is at least
/// `threshold`, in (0, 1]. Shingles that occur in more than half of 20 or more texts are the pool's template and do not
/// count, unless a text consists of nothing else. A text shorter than a shingle is one shingle.
pub(crate) fn near_duplicates_of(texts: &[String], threshold: f64, shingle_words: usize) -> Vec<Option<usize>> {
    let sets = shingle_sets(texts, shingle_words.max(1));
    let bands = Bands::for_threshold(threshold);
    let permutations = permutations();
    let keys: Vec<Vec<u64>> = sets.par_iter().map(|set| bands.keys(&signature(set, &permutations))).collect();
    let mut buckets: Vec<Buckets> = (0..bands.count).map(|_| Buckets::default()).collect();
    let mut result = Vec::with_capacity(texts.len());
    let mut candidates: Vec<usize> = Vec::new();
    for (row, row_keys) in keys.iter().enumerate() {
        candidates.clear();
        for (key, bucket) in row_keys.iter().zip(&buckets) {
            candidates.extend(bucket.rows(*key));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let original = most_similar(&sets, row, &candidates, threshold);
        if original.is_none() {
            for (key, bucket) in row_keys.iter().zip(&mut buckets) {
                bucket.insert(*key, row);
            }
        }
        result.push(original);
    }
    result
}

/// The kept rows of one band by key: chains through one list, which takes a third of the memory of a list per key.
#[derive(Default)]
struct Buckets {
    last: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    /// Row and the place of the one before it in its chain.
    entries: Vec<(u32, Option<u32>)>,
}

impl Buckets {
    fn insert(&mut self, key: u64, row: usize) {
        let (Ok(row), Ok(place)) = (u32::try_from(row), u32::try_from(self.entries.len())) else { return };
        let before = self.last.insert(key, place);
        self.entries.push((row, before));
    }

    fn rows(&self, key: u64) -> impl Iterator<Item = usize> {
        let mut next = self.last.get(&key).copied();
        std::iter::from_fn(move || {
            let (row, before) = *self.entries.get(next? as usize)?;
            next = before;
            Some(row as usize)
        })
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// For every text whether it nearly equals one of `known`. Nothing is a template here: what a pool shares with the items is
/// what is looked for.
pub(crate) fn near_any_of(known: &[String], texts: &[String], threshold: f64, shingle_words: usize) -> Vec<bool> {
    let set_of = |text: &String| shingles(&normalise_key(text), shingle_words.max(1));
    let known_sets: Vec<Vec<u64>> = known.par_iter().map(set_of).collect();
    let bands = Bands::for_threshold(threshold);
    let permutations = permutations();
    let mut buckets: Vec<HashMap<u64, Vec<usize>>> = vec![HashMap::new(); bands.count];
    for (index, set) in known_sets.iter().enumerate() {
        for (key, bucket) in bands.keys(&signature(set, &permutations)).into_iter().zip(&mut buckets) {
            bucket.entry(key).or_default().push(index);
        }
    }
    let is_near = |text: &String| {
        let set = set_of(text);
        let keys = bands.keys(&signature(&set, &permutations));
        let candidates: BTreeSet<usize> =
            keys.iter().zip(&buckets).filter_map(|(key, bucket)| bucket.get(key)).flatten().copied().collect();
        candidates.iter().filter_map(|index| known_sets.get(*index)).any(|known| jaccard(known, &set) >= threshold)
    };
    texts.par_iter().map(is_near).collect()
}

fn most_similar(sets: &[Vec<u64>], row: usize, candidates: &[usize], threshold: f64) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for candidate in candidates {
        let similarity = jaccard(sets.get(*candidate)?, sets.get(row)?);
        if similarity >= threshold && best.is_none_or(|(most, _)| similarity > most) {
            best = Some((similarity, *candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The sorted sets of hashed shingles, templates left out.
fn shingle_sets(texts: &[String], shingle_words: usize) -> Vec<Vec<u64>> {
    let sets: Vec<Vec<u64>> = texts.par_iter().map(|text| shingles(&normalise_key(text), shingle_words)).collect();
    if texts.len() < TEMPLATE_MIN_TEXTS {
        return sets;
    }
    let template = in_most_of(&sets);
    if template.is_empty() {
        return sets;
    }
    sets.into_par_iter().map(|set| without_template(set, &template)).collect()
}

/// The shingles that more than half of the sets have.
///
/// With n sets of s shingles in all, ⌈2s/n⌉ counters of Misra and Gries (1982) hold every one of them, and a second pass
/// counts exactly; a counter per shingle would take more memory than the sets.
fn in_most_of(sets: &[Vec<u64>]) -> HashSet<u64> {
    let num_shingles: usize = sets.iter().map(Vec::len).sum();
    let num_counters = (2 * num_shingles).div_ceil(sets.len().max(1)).max(1);
    let mut counters: HashMap<u64, usize, BuildHasherDefault<KeyHasher>> = HashMap::default();
    for shingle in sets.iter().flatten() {
        if let Some(count) = counters.get_mut(shingle) {
            *count += 1;
        } else if counters.len() < num_counters {
            counters.insert(*shingle, 1);
        } else {
            counters.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }
    let mut exact: HashMap<u64, usize> = counters.into_keys().map(|shingle| (shingle, 0)).collect();
    for shingle in sets.iter().flatten() {
        if let Some(count) = exact.get_mut(shingle) {
            *count += 1;
        }
    }
    exact.retain(|_, count| 2 * *count > sets.len());
    exact.into_keys().collect()
}

fn without_template(set: Vec<u64>, template: &HashSet<u64>) -> Vec<u64> {
    let own: Vec<u64> = set.iter().filter(|shingle| !template.contains(shingle)).copied().collect();
    if own.is_empty() { set } else { own }
}

/// The sorted distinct hashes of all runs of `length` words of a key; one hash of the whole where it is shorter.
pub(crate) fn shingles(key: &str, length: usize) -> Vec<u64> {
    let hashes: Vec<u64> = words(key).map(hash_word).collect();
    let mut set: Vec<u64> =
        if hashes.len() < length { vec![mix_all(&hashes)] } else { hashes.windows(length).map(mix_all).collect() };
    set.sort_unstable();
    set.dedup();
    set
}

/// |A ∩ B| / |A ∪ B| of two sorted sets; 1 for two empty ones.
fn jaccard(left: &[u64], right: &[u64]) -> f64 {
    let (mut shared, mut at_left, mut at_right) = (0_usize, 0, 0);
    while let (Some(a), Some(b)) = (left.get(at_left), right.get(at_right)) {
        shared += usize::from(a == b);
        at_left += usize::from(a <= b);
        at_right += usize::from(b <= a);
    }
    let union = left.len() + right.len() - shared;
    if union == 0 { 1.0 } else { shared as f64 / union as f64 }
}

/// FNV-1a, finished by the mixer of SplitMix64.
fn hash_word(word: &str) -> u64 {
    let fnv = word
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

fn mix_all(hashes: &[u64]) -> u64 {
    hashes.iter().fold(0, |state, hash| mix(state.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*hash)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Pairs (a, b) of the hash functions `(a·x + b) mod 2^64 >> 32` with odd a (Dietzfelbinger and others, 1997).
fn permutations() -> Vec<(u64, u64)> {
    let mut rng = trex_domain::seeded_rng(0, "trex-data/minhash");
    (0..NUM_PERMUTATIONS).map(|_| (rng.next_u64() | 1, rng.next_u64())).collect()
}

/// The smallest value of every hash function over the set; `NUM_PERMUTATIONS` entries.
fn signature(set: &[u64], permutations: &[(u64, u64)]) -> Vec<u32> {
    let smallest = |(factor, offset): &(u64, u64)| {
        let upper_half = |shingle: &u64| (factor.wrapping_mul(*shingle).wrapping_add(*offset) >> 32) as u32;
        set.iter().map(upper_half).min().unwrap_or(u32::MAX)
    };
    permutations.iter().map(smallest).collect()
}

/// How near deduplication at a threshold compares: what is missed follows this curve, and nothing below the threshold is
/// ever taken for a duplicate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct NearDedupCurve {
    /// Bands of a signature of 128 values.
    pub bands: usize,
    /// Values of a band.
    pub rows: usize,
    /// Similarity, and the chance that a pair of that similarity is compared.
    pub chances: Vec<(f64, f64)>,
}

/// The S-curve of a threshold, at the similarities 0.3, 0.4, … 1.0 and at the threshold itself.
pub fn near_dedup_curve(threshold: f64) -> NearDedupCurve {
    let bands = Bands::for_threshold(threshold);
    let mut similarities: Vec<f64> = (3..=10).map(|tenth| f64::from(tenth) / 10.0).chain([threshold]).collect();
    similarities.sort_by(f64::total_cmp);
    similarities.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    let chances = similarities.into_iter().map(|similarity| (similarity, bands.chance(similarity))).collect();
    NearDedupCurve { bands: bands.count, rows: bands.rows, chances }
}

/// How a signature is cut: `count` bands of `rows` values. Two texts meet when one band is equal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bands {
    count: usize,
    rows: usize,
}

impl Bands {
    /// The longest bands that still propose a pair at the threshold with a chance of 0.98.
    ///
    /// With similarity s, bands of r values and b of them, a pair is proposed with P(s) = 1 − (1 − s^r)^b. For the
    /// threshold 0.8 that gives r = 7, b = 18: P(0.6) = 0.40, P(0.7) = 0.79, P(0.8) = 0.986, P(0.9) = 0.99999.
    fn for_threshold(threshold: f64) -> Self {
        let cut = |rows: usize| Self { count: NUM_PERMUTATIONS / rows, rows };
        let reaches = |bands: &Self| bands.chance(threshold) >= RECALL_AT_THRESHOLD;
        (1..=NUM_PERMUTATIONS).rev().map(cut).find(reaches).unwrap_or(cut(1))
    }

    fn chance(self, similarity: f64) -> f64 {
        let exponent = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        1.0 - (1.0 - similarity.powi(exponent(self.rows))).powi(exponent(self.count))
    }

    /// One key per band.
    fn keys(self, signature: &[u32]) -> Vec<u64> {
        let key =
            |band: &[u32]| band.iter().fold(1, |state: u64, value| mix(state ^ u64::from(*value)).wrapping_add(state));
        signature.chunks_exact(self.rows).take(self.count).map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt as _};

    use super::*;

    fn random_words(rng: &mut impl Rng, count: usize) -> Vec<String> {
        (0..count).map(|_| format!("w{}", rng.random_range(0..50_000))).collect()
    }

    /// 300 unrelated texts of 60 words, each followed by a copy with `changes` words replaced.
    fn planted(changes: usize) -> Vec<String> {
        let mut rng = trex_domain::seeded_rng(5, "planted");
        let mut texts = Vec::new();
        for _ in 0..300 {
            let mut words = random_words(&mut rng, 60);
            texts.push(words.join(" "));
            for _ in 0..changes {
                let at = rng.random_range(0..words.len());
                words[at] = "changed".to_owned();
            }
            texts.push(words.join(" "));
        }
        texts
    }

    fn similarity(left: &str, right: &str) -> f64 {
        jaccard(&shingles(&normalise_key(left), 3), &shingles(&normalise_key(right), 3))
    }

    #[test]
    fn planted_duplicates_are_found_and_nothing_else() {
        let (mut similar, mut found_similar) = (0, 0);
        for changes in 0..8 {
            let texts = planted(changes);
            let originals = near_duplicates_of(&texts, 0.8, 3);
            for (row, original) in originals.iter().enumerate() {
                if let Some(original) = original {
                    let reported = similarity(&texts[row], &texts[*original]);
                    assert!(reported >= 0.8, "row {row} of {changes} changes has {reported}");
                }
                let is_copy_at_90 = row % 2 == 1 && similarity(&texts[row - 1], &texts[row]) >= 0.9;
                similar += usize::from(is_copy_at_90);
                found_similar += usize::from(is_copy_at_90 && *original == Some(row - 1));
            }
        }
        assert!(similar > 300, "only {similar} planted pairs are similar");
        assert!(found_similar * 10 >= similar * 9, "{found_similar} of {similar} were found");
    }

    /// Pairs by similarity in steps of 0.05: as many are found as the curve promises, within four standard deviations.
    #[test]
    fn recall_by_similarity_is_that_of_the_curve() {
        let bands = Bands::for_threshold(0.8);
        let mut by_similarity: std::collections::BTreeMap<usize, (f64, f64, f64)> = std::collections::BTreeMap::new();
        for changes in 1..5 {
            let texts = planted(changes);
            let originals = near_duplicates_of(&texts, 0.8, 3);
            for pair in 0..texts.len() / 2 {
                let similarity = similarity(&texts[2 * pair], &texts[2 * pair + 1]);
                if similarity < 0.8 {
                    continue;
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number from 16 to 20")]
                let bin = by_similarity.entry((similarity * 20.0) as usize).or_default();
                let chance = bands.chance(similarity);
                bin.0 += chance;
                bin.1 += f64::from(u8::from(originals[2 * pair + 1] == Some(2 * pair)));
                bin.2 += chance * (1.0 - chance);
            }
        }
        for (bin, (expected, found, variance)) in &by_similarity {
            println!("similarity from {:.2}: {found} found, {expected:.1} expected", *bin as f64 / 20.0);
            assert!((expected - found).abs() <= 4.0 * variance.sqrt() + 1.0, "bin {bin}: {found} of {expected}");
        }
        assert!(by_similarity.len() >= 3, "{by_similarity:?}");
    }

    #[test]
    fn recall_at_the_threshold_follows_the_curve() {
        let bands = Bands::for_threshold(0.8);
        assert_eq!(bands, Bands { count: 18, rows: 7 });
        assert!(bands.chance(0.8) > 0.98 && bands.chance(0.9) > 0.9999 && bands.chance(0.4) < 0.03);
        assert_eq!(Bands::for_threshold(1.0).rows, NUM_PERMUTATIONS);
        assert_eq!(Bands::for_threshold(0.001).rows, 1);
    }

    #[test]
    fn the_first_of_a_cluster_is_kept() {
        let long = "one two three four five six seven eight nine ten eleven twelve";
        let texts = [long, "something else", &long.to_uppercase(), "Something, else!", ""].map(String::from);
        assert_eq!(near_duplicates_of(&texts, 0.8, 3), [None, None, Some(0), Some(1), None]);
        assert_eq!(near_duplicate_rows(&texts, 0.8), [2, 3]);
    }

    #[test]
    fn shingles_of_most_sets_are_found_with_few_counters() {
        let mut rng = trex_domain::seeded_rng(9, "most");
        for size in [1_usize, 3, 20, 101] {
            let mut sets: Vec<Vec<u64>> = Vec::new();
            for _ in 0..size {
                let mut set: Vec<u64> = (0..9_u64).filter(|_| rng.random_range(0..10) < 5).collect();
                set.extend((0..5).map(|_| rng.random_range(100..1_000_000_u64)));
                set.sort_unstable();
                set.dedup();
                sets.push(set);
            }
            let mut counts: HashMap<u64, usize> = HashMap::new();
            sets.iter().flatten().for_each(|shingle| *counts.entry(*shingle).or_default() += 1);
            counts.retain(|_, count| 2 * *count > size);
            assert_eq!(in_most_of(&sets), counts.into_keys().collect::<HashSet<u64>>());
        }
    }

    #[test]
    fn a_template_alone_makes_no_duplicates() {
        let template = "read the review below and answer with one word which is either good or bad and nothing else";
        let texts: Vec<String> =
            (0..60).map(|row| format!("{template} review {row} is about thing {}", row * 7)).collect();
        assert!(near_duplicate_rows(&texts, 0.8).is_empty());
        let mut doubled = texts.clone();
        doubled.extend(texts);
        assert_eq!(near_duplicate_rows(&doubled, 0.8), (60..120).collect::<Vec<_>>());
    }

    #[test]
    fn the_number_of_threads_makes_no_difference() {
        let texts = planted(3);
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one_thread.install(|| near_duplicates_of(&texts, 0.8, 3));
        assert_eq!(near_duplicates_of(&texts, 0.8, 3), alone);
    }
}
