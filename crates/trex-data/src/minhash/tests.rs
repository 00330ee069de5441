//! Planted duplicates, the curve, templates, and the plain comparison that the portions come to.

use rand::{Rng, RngExt as _};

use super::*;
use crate::operators::tests::open_row;
use crate::pool::tests::spilled;

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

/// Over texts in memory, and the same over rows of a file.
fn originals_of(texts: &[String]) -> Vec<Option<usize>> {
    let rows: Vec<Example> = texts.iter().enumerate().map(|(row, text)| open_row(row, text, "a")).collect();
    let (_dir, pool) = spilled(&rows);
    let found = near_duplicates_of(texts, 0.8, 3).unwrap();
    let by_file = PoolTexts { pool: &pool, text: Example::prompt_text };
    assert_eq!(near_duplicates_of(&by_file, 0.8, 3).unwrap(), found);
    found.into_iter().map(|original| original.map(|row| row as usize)).collect()
}

fn rows_of(texts: &[String]) -> Vec<usize> {
    (0..).zip(originals_of(texts)).filter(|(_, original)| original.is_some()).map(|(row, _)| row).collect()
}

fn similarity(left: &str, right: &str) -> f64 {
    jaccard(&shingles(&normalise_key(left), 3), &shingles(&normalise_key(right), 3))
}

#[test]
fn planted_duplicates_are_found_and_nothing_else() {
    let (mut similar, mut found_similar) = (0, 0);
    for changes in 0..8 {
        let texts = planted(changes);
        let originals = originals_of(&texts);
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
        let originals = originals_of(&texts);
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
    assert_eq!(originals_of(&texts), [None, None, Some(0), Some(1), None]);
    assert_eq!(rows_of(&texts), [2, 3]);
}

#[test]
fn a_template_alone_makes_no_duplicates() {
    let template = "read the review below and answer with one word which is either good or bad and nothing else";
    let texts: Vec<String> = (0..60).map(|row| format!("{template} review {row} is about thing {}", row * 7)).collect();
    assert!(rows_of(&texts).is_empty());
    let mut doubled = texts.clone();
    doubled.extend(texts);
    assert_eq!(rows_of(&doubled), (60..120).collect::<Vec<_>>());
}

/// Groups, portions and copies change nothing: the result is that of comparing each text with all kept ones before it
/// that share a band.
#[test]
fn the_first_of_similar_texts_decides_as_in_a_plain_comparison() {
    let mut rng = trex_domain::seeded_rng(11, "plain");
    let bases: Vec<Vec<String>> = (0..12).map(|_| random_words(&mut rng, 40)).collect();
    let mut text = |number: usize| {
        let mut words = bases[number % bases.len()].clone();
        for _ in 0..rng.random_range(0..3) {
            let at = rng.random_range(0..words.len());
            words[at] = format!("x{}", rng.random_range(0..4));
        }
        words.join(" ")
    };
    let texts: Vec<String> = (0..1500).map(&mut text).collect();
    let (bands, permutations) = (Bands::for_threshold(0.8), permutations());
    let sets: Vec<Vec<u64>> = texts.iter().map(|text| shingles(&normalise_key(text), 3)).collect();
    let keys: Vec<Vec<u32>> = sets.iter().map(|set| bands.keys(&signature(set, &permutations))).collect();
    let mut kept: Vec<usize> = Vec::new();
    let mut expected: Vec<Option<usize>> = Vec::new();
    for (row, set) in sets.iter().enumerate() {
        if let Some(first) = sets[..row].iter().position(|other| other == set) {
            expected.push(expected[first].or(Some(first)));
            continue;
        }
        let mut best: Option<(f64, usize)> = None;
        for other in kept.iter().filter(|other| keys[**other].iter().zip(&keys[row]).any(|(a, b)| a == b)) {
            let similarity = jaccard(&sets[*other], set);
            if similarity >= 0.8 && best.is_none_or(|(most, _)| similarity > most) {
                best = Some((similarity, *other));
            }
        }
        if best.is_none() {
            kept.push(row);
        }
        expected.push(best.map(|(_, original)| original));
    }
    assert!(originals_of(&texts) == expected);
    assert!(kept.len() > 12 && kept.len() < 700, "{}", kept.len());
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let texts = planted(3);
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = one_thread.install(|| originals_of(&texts));
    assert_eq!(originals_of(&texts), alone);
}
