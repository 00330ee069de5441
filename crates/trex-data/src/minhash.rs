//! Near-duplicates by MinHash and locality-sensitive hashing (Broder, 1997; Indyk and Motwani, 1998).
//!
//! Signatures only propose pairs; every pair is checked by the exact Jaccard similarity of its shingle sets, so nothing
//! below the threshold is ever reported. What is missed follows the S-curve of [`Bands::for_threshold`]. Runs on the
//! threads of rayon; the result depends on the texts only. Texts pass by in portions and are asked for again where a pair
//! is checked; what is kept of each stands at [`near_duplicates_of`].

mod columns;
mod template;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use rand::Rng as _;
use rayon::prelude::*;
use trex_domain::Example;
use trex_fs::ScratchFile;

use crate::DataError;
use crate::keyed::{Keyed, repeats};
use crate::pool::Pool;
use crate::text::{normalise_key, words};
use columns::Columns;
use template::template_of;

/// Hash functions per signature: the standard error of an estimate is at most 0.5 / √128 ≈ 0.044.
const NUM_PERMUTATIONS: usize = 128;
/// Words per shingle where the caller has no wish.
const SHINGLE_WORDS: usize = 3;
/// Chance that a pair exactly at the threshold is proposed, at least.
const RECALL_AT_THRESHOLD: f64 = 0.98;
/// Rows that are decided on together, and other rows that they are compared with at a time.
const ROWS_AT_A_TIME: usize = 512;
const OTHERS_AT_A_TIME: usize = 4096;
/// Texts in memory that make a portion.
const PORTION: usize = 4096;

/// Takes a portion of texts, with the number of the first.
pub(crate) type EachPortion<'a> = &'a mut dyn FnMut(usize, &[String]) -> Result<(), DataError>;

/// Texts that pass by in order and can be asked for by number.
pub(crate) trait Texts: Sync {
    /// Their number.
    fn len(&self) -> usize;

    /// Hands on all of them, some at a time, with the number of the first.
    fn for_each_portion(&self, each: EachPortion<'_>) -> Result<(), DataError>;

    /// Some of them.
    fn get(&self, numbers: &[usize]) -> Result<Vec<String>, DataError>;

    /// Where more may be written than fits into memory.
    fn scratch(&self) -> Option<&Arc<ScratchFile>>;
}

impl Texts for [String] {
    fn len(&self) -> usize {
        self.len()
    }

    fn for_each_portion(&self, each: EachPortion<'_>) -> Result<(), DataError> {
        self.chunks(PORTION).enumerate().try_for_each(|(number, portion)| each(number * PORTION, portion))
    }

    fn get(&self, numbers: &[usize]) -> Result<Vec<String>, DataError> {
        Ok(numbers.iter().filter_map(|number| self.get(*number)).cloned().collect())
    }

    fn scratch(&self) -> Option<&Arc<ScratchFile>> {
        None
    }
}

/// The rows of a pool, each by one text.
pub(crate) struct PoolTexts<'a> {
    /// The rows.
    pub(crate) pool: &'a Pool,
    /// The text of a row.
    pub(crate) text: fn(&Example) -> String,
}

impl Texts for PoolTexts<'_> {
    fn len(&self) -> usize {
        self.pool.len()
    }

    fn for_each_portion(&self, each: EachPortion<'_>) -> Result<(), DataError> {
        self.pool.for_each_portion(|first, rows| {
            let texts: Vec<String> = rows.par_iter().with_min_len(32).map(self.text).collect();
            each(first, &texts)
        })
    }

    fn get(&self, numbers: &[usize]) -> Result<Vec<String>, DataError> {
        Ok(self.pool.get(numbers)?.par_iter().with_min_len(32).map(self.text).collect())
    }

    fn scratch(&self) -> Option<&Arc<ScratchFile>> {
        match self.pool {
            Pool::Memory(_) => None,
            Pool::File { file, .. } => Some(file),
        }
    }
}

/// How many texts are near-duplicates of an earlier kept one, with shingles of three words.
pub(crate) fn num_near_duplicates(texts: &[String], threshold: f64) -> Result<usize, DataError> {
    let originals = near_duplicates_of(texts, threshold, SHINGLE_WORDS)?;
    Ok(originals.iter().flatten().count())
}

/// For every text the earlier kept text that it nearly equals (the most similar one, the first of equals). A text with
/// the very shingles of an earlier one has the answer of that one.
///
/// Two texts are near-duplicates when the Jaccard similarity |A ∩ B| / |A ∪ B| of their shingle sets is at least
/// `threshold`, in (0, 1]. Shingles that occur in more than half of 20 or more texts are the pool's template and do not
/// count, unless a text consists of nothing else. A text shorter than a shingle is one shingle.
///
/// In memory are, for each text, 16 bytes (the hash of its set) and then 8 bytes (the one it is a duplicate of), with 12
/// while a band is sorted, and for each band in which it is alike with another text that has not the very same shingles,
/// 8 bytes where it is kept and 4 for every two such texts. Keys of bands lie in the scratch file: 4 bytes each, written
/// twice.
pub(crate) fn near_duplicates_of<T: Texts + ?Sized>(
    texts: &T,
    threshold: f64,
    shingle_words: usize,
) -> Result<Vec<Option<u32>>, DataError> {
    let shingler = Shingler { words: shingle_words.max(1), template: template_of(texts, shingle_words.max(1))? };
    let bands = Bands::for_threshold(threshold);
    let permutations = permutations();
    let mut keys = Columns::new(bands.count, texts.scratch());
    let mut sets: Vec<Keyed> = Vec::with_capacity(texts.len());
    texts.for_each_portion(&mut |first, portion| {
        let marks = portion.par_iter().with_min_len(16).map(|text| {
            let set = shingler.set_of(text);
            (Keyed::of_set(&set), bands.keys(&signature(&set, &permutations)))
        });
        let marks: Vec<(Keyed, Vec<u32>)> = marks.collect();
        sets.extend((first..).zip(&marks).map(|(row, (set, _))| set.with_row(row)));
        keys.push(marks.iter().map(|(_, keys)| keys.as_slice()))
    })?;
    let copies = repeats(sets, texts.len());
    let groups = Groups::new(&keys, &copies, texts.scratch())?;
    let mut originals = near_originals(texts, &shingler, threshold, &groups)?;
    // A text with the very shingles of an earlier one is a duplicate of whatever that one is of, or of it.
    for (row, copy) in copies.iter().enumerate() {
        if let Some(first) = copy {
            let original = originals.get(*first as usize).copied().flatten().unwrap_or(*first);
            if let Some(slot) = originals.get_mut(row) {
                *slot = Some(original);
            }
        }
    }
    Ok(originals)
}

/// Which texts are alike in which band: groups of at least two, numbered from 1 in each band.
struct Groups {
    /// The group of every text by band; 0 for none.
    numbers: Columns,
    /// The number of groups by band.
    counts: Vec<usize>,
}

impl Groups {
    fn new(keys: &Columns, copies: &[Option<u32>], scratch: Option<&Arc<ScratchFile>>) -> Result<Self, DataError> {
        let mut numbers = Columns::new(keys.count(), scratch);
        numbers.begin(keys.blocks());
        let mut counts = Vec::with_capacity(keys.count());
        for band in 0..keys.count() {
            let mut groups = vec![0_u32; copies.len()];
            let mut sorted: Vec<u64> = Vec::with_capacity(copies.len());
            let mut row = 0_u32;
            keys.for_each_block(band, |block| {
                for key in block {
                    if copies.get(row as usize).is_some_and(Option::is_none) {
                        sorted.push(u64::from(*key) << 32 | u64::from(row));
                    }
                    row += 1;
                }
                Ok(())
            })?;
            sorted.par_sort_unstable();
            let mut count = 0;
            for alike in sorted.chunk_by(|left, right| left >> 32 == right >> 32).filter(|alike| alike.len() > 1) {
                count += 1;
                for entry in alike {
                    if let Some(group) = groups.get_mut(low_half(*entry) as usize) {
                        *group = count;
                    }
                }
            }
            drop(sorted);
            numbers.fill(band, &groups)?;
            counts.push(count as usize);
        }
        Ok(Self { numbers, counts })
    }
}

fn low_half(entry: u64) -> u32 {
    u32::try_from(entry & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The kept texts of all groups: chains through one list.
struct Kept {
    /// The place of the last kept text of every group, from 1; by band.
    last: Vec<Vec<u32>>,
    /// Text and the place of the one before it in its chain.
    entries: Vec<(u32, u32)>,
}

impl Kept {
    fn new(counts: &[usize]) -> Self {
        Self { last: counts.iter().map(|count| vec![0; count + 1]).collect(), entries: Vec::new() }
    }

    fn insert(&mut self, row: u32, groups: &[u32]) {
        for (group, last) in groups.iter().zip(&mut self.last).filter(|(group, _)| **group > 0) {
            let (Some(last), Ok(place)) = (last.get_mut(*group as usize), u32::try_from(self.entries.len() + 1)) else {
                continue;
            };
            self.entries.push((row, *last));
            *last = place;
        }
    }

    /// The kept texts that are alike with one in any band, in order.
    fn alike(&self, groups: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        for (group, last) in groups.iter().zip(&self.last).filter(|(group, _)| **group > 0) {
            let mut next = last.get(*group as usize).copied().unwrap_or(0);
            while let Some((row, before)) = (next as usize).checked_sub(1).and_then(|place| self.entries.get(place)) {
                found.push(*row);
                next = *before;
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A text that is alike with others in some band.
struct Alike {
    row: u32,
    groups: Vec<u32>,
    set: Vec<u64>,
    /// The most similar kept text so far.
    best: Option<(f64, u32)>,
}

impl Alike {
    fn compare(&mut self, other: u32, set: &[u64], threshold: f64) {
        let similarity = jaccard(set, &self.set);
        if similarity >= threshold && self.best.is_none_or(|(most, _)| similarity > most) {
            self.best = Some((similarity, other));
        }
    }
}

fn near_originals<T: Texts + ?Sized>(
    texts: &T,
    shingler: &Shingler,
    threshold: f64,
    groups: &Groups,
) -> Result<Vec<Option<u32>>, DataError> {
    let mut originals = vec![None; texts.len()];
    let mut kept = Kept::new(&groups.counts);
    let mut first = 0_u32;
    for block in 0..groups.numbers.blocks().len() {
        let columns = groups.numbers.block(block)?;
        let num_rows = columns.first().map_or(0, Vec::len);
        let mut waiting: Vec<(u32, Vec<u32>)> = Vec::new();
        for (at, row) in (0..num_rows).zip(first..) {
            let own: Vec<u32> = columns.iter().map(|column| column.get(at).copied().unwrap_or(0)).collect();
            if own.iter().any(|group| *group > 0) {
                waiting.push((row, own));
            }
        }
        for rows in waiting.chunks(ROWS_AT_A_TIME) {
            for decided in decide(texts, shingler, threshold, rows, &mut kept)? {
                if let Some(slot) = originals.get_mut(decided.row as usize) {
                    *slot = decided.best.map(|(_, original)| original);
                }
            }
        }
        first += u32::try_from(num_rows).unwrap_or(u32::MAX);
    }
    Ok(originals)
}

/// Compares some texts with the kept ones before them and with one another, in order.
fn decide<T: Texts + ?Sized>(
    texts: &T,
    shingler: &Shingler,
    threshold: f64,
    rows: &[(u32, Vec<u32>)],
    kept: &mut Kept,
) -> Result<Vec<Alike>, DataError> {
    let numbers: Vec<usize> = rows.iter().map(|(row, _)| *row as usize).collect();
    let sets = shingler.sets_of(texts, &numbers)?;
    let mut alike: Vec<Alike> = rows
        .iter()
        .zip(sets)
        .map(|((row, groups), set)| Alike { row: *row, groups: groups.clone(), set, best: None })
        .collect();
    let candidates: Vec<Vec<u32>> = alike.par_iter().map(|row| kept.alike(&row.groups)).collect();
    let others: BTreeSet<u32> = candidates.iter().flatten().copied().collect();
    let others: Vec<u32> = others.into_iter().collect();
    for others in others.chunks(OTHERS_AT_A_TIME) {
        let numbers: Vec<usize> = others.iter().map(|other| *other as usize).collect();
        let sets = shingler.sets_of(texts, &numbers)?;
        alike.par_iter_mut().zip(&candidates).for_each(|(row, candidates)| {
            for candidate in candidates {
                if let Some(set) = others.binary_search(candidate).ok().and_then(|at| sets.get(at)) {
                    row.compare(*candidate, set, threshold);
                }
            }
        });
    }
    let first = rows.first().map_or(0, |(row, _)| *row);
    for at in 0..alike.len() {
        let (before, rest) = alike.split_at_mut(at);
        let Some(row) = rest.first_mut() else { continue };
        for candidate in kept.alike(&row.groups).into_iter().filter(|candidate| *candidate >= first) {
            if let Some(other) =
                before.binary_search_by_key(&candidate, |other| other.row).ok().and_then(|at| before.get(at))
            {
                row.compare(candidate, &other.set, threshold);
            }
        }
        if row.best.is_none() {
            kept.insert(row.row, &row.groups);
        }
    }
    Ok(alike)
}

/// For every text whether it nearly equals one of `known`. Nothing is a template here: what a pool shares with the items is
/// what is looked for. In memory are 8 bytes per band of every known text.
pub(crate) fn near_any_of<K: Texts + ?Sized, T: Texts + ?Sized>(
    known: &K,
    texts: &T,
    threshold: f64,
    shingle_words: usize,
) -> Result<Vec<bool>, DataError> {
    let shingler = Shingler { words: shingle_words.max(1), template: Template::default() };
    let bands = Bands::for_threshold(threshold);
    let permutations = permutations();
    let marks_of = |text: &String| {
        let set = shingler.set_of(text);
        let keys = bands.keys(&signature(&set, &permutations));
        (set, keys)
    };
    let mut buckets: Vec<Vec<u64>> = vec![Vec::with_capacity(known.len()); bands.count];
    known.for_each_portion(&mut |first, portion| {
        let keys: Vec<Vec<u32>> = portion.par_iter().map(|text| marks_of(text).1).collect();
        for (item, keys) in (first as u64..).zip(keys) {
            keys.iter().zip(&mut buckets).for_each(|(key, bucket)| bucket.push(u64::from(*key) << 32 | item));
        }
        Ok(())
    })?;
    buckets.par_iter_mut().for_each(|bucket| bucket.sort_unstable());
    let mut result = Vec::with_capacity(texts.len());
    texts.for_each_portion(&mut |_, portion| {
        let marks: Vec<(Vec<u64>, BTreeSet<u32>)> = portion
            .par_iter()
            .with_min_len(16)
            .map(|text| {
                let (set, keys) = marks_of(text);
                let found = keys.iter().zip(&buckets).flat_map(|(key, bucket)| entries_of(bucket, *key));
                let found = found.collect();
                (set, found)
            })
            .collect();
        let mut is_near = vec![false; portion.len()];
        let others: BTreeSet<u32> = marks.iter().flat_map(|(_, found)| found).copied().collect();
        let others: Vec<u32> = others.into_iter().collect();
        for others in others.chunks(OTHERS_AT_A_TIME) {
            let numbers: Vec<usize> = others.iter().map(|other| *other as usize).collect();
            let sets: BTreeMap<u32, Vec<u64>> =
                others.iter().copied().zip(shingler.sets_of(known, &numbers)?).collect();
            is_near.par_iter_mut().zip(&marks).for_each(|(is_near, (set, found))| {
                let like = |item: &u32| sets.get(item).is_some_and(|known| jaccard(known, set) >= threshold);
                *is_near = *is_near || found.iter().any(like);
            });
        }
        result.append(&mut is_near);
        Ok(())
    })?;
    Ok(result)
}

/// The known texts of a key.
fn entries_of(bucket: &[u64], key: u32) -> impl Iterator<Item = u32> {
    let start = bucket.partition_point(|entry| entry >> 32 < u64::from(key));
    let own = bucket.iter().skip(start).take_while(move |entry| **entry >> 32 == u64::from(key));
    own.map(|entry| low_half(*entry))
}

/// Shingles that say nothing, because most texts have them.
type Template = HashSet<u64, BuildHasherDefault<KeyHasher>>;

/// Keys are hashes already.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHasher(u64);

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

/// Makes shingle sets.
struct Shingler {
    words: usize,
    template: Template,
}

impl Shingler {
    /// The sorted set of hashed shingles, the template left out.
    fn set_of(&self, text: &str) -> Vec<u64> {
        let set = shingles(&normalise_key(text), self.words);
        if self.template.is_empty() {
            return set;
        }
        let own: Vec<u64> = set.iter().filter(|shingle| !self.template.contains(shingle)).copied().collect();
        if own.is_empty() { set } else { own }
    }

    fn sets_of<T: Texts + ?Sized>(&self, texts: &T, numbers: &[usize]) -> Result<Vec<Vec<u64>>, DataError> {
        Ok(texts.get(numbers)?.par_iter().with_min_len(16).map(|text| self.set_of(text)).collect())
    }
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
pub(crate) fn hash_word(word: &str) -> u64 {
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

    /// One key per band. Different bands of values have one key by chance in 1 of 2^32 cases, which costs a comparison.
    fn keys(self, signature: &[u32]) -> Vec<u32> {
        let key = |band: &[u32]| {
            let hash = band.iter().fold(1, |state: u64, value| mix(state ^ u64::from(*value)).wrapping_add(state));
            (mix(hash) >> 32) as u32
        };
        signature.chunks_exact(self.rows).take(self.count).map(key).collect()
    }
}

#[cfg(test)]
mod tests;
