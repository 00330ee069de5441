//! Finds the words that a pool's questions all begin and end with, so that filters judge the rows and not the template.

use std::collections::BTreeMap;

use trex_domain::Example;

/// Share of rows that must have a word at its place for it to be part of the template.
const SHARED_BY: f64 = 0.9;
/// Below so many rows nothing is taken for a template.
const MIN_ROWS: usize = 5;

/// The last turn of every row without the words that nearly all rows begin or end with, in the order of the rows.
///
/// A row that does not follow the template, or that consists of nothing else, is left whole. White space is folded.
pub(super) fn own_parts(rows: &[Example]) -> Vec<String> {
    let forward: Vec<Vec<&str>> = rows.iter().map(|row| row.question().split_whitespace().collect()).collect();
    let backward: Vec<Vec<&str>> = forward.iter().map(|words| words.iter().rev().copied().collect()).collect();
    let (head, tail) = (shared_start(&forward), shared_start(&backward));
    let own = |(words, reversed): (&Vec<&str>, &Vec<&str>)| {
        let skipped = if words.starts_with(&head) { head.len() } else { 0 };
        let left_out = if reversed.starts_with(&tail) { tail.len() } else { 0 };
        let end = words.len().saturating_sub(left_out);
        let part = words.get(skipped..end).filter(|part| !part.is_empty());
        part.unwrap_or(words.as_slice()).join(" ")
    };
    forward.iter().zip(&backward).map(own).collect()
}

/// The longest run of first words that at least [`SHARED_BY`] of the rows have in common.
fn shared_start<'a>(rows: &[Vec<&'a str>]) -> Vec<&'a str> {
    let mut shared = Vec::new();
    if rows.len() < MIN_ROWS {
        return shared;
    }
    let mut following: Vec<&Vec<&'a str>> = rows.iter().collect();
    loop {
        let mut counts: BTreeMap<&'a str, usize> = BTreeMap::new();
        for word in following.iter().filter_map(|words| words.get(shared.len())) {
            *counts.entry(word).or_default() += 1;
        }
        let most_frequent = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((word, _)) = most_frequent.filter(|(_, count)| *count as f64 >= SHARED_BY * rows.len() as f64) else {
            return shared;
        };
        following.retain(|words| words.get(shared.len()) == Some(&word));
        shared.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::open_row;
    use super::*;

    #[test]
    fn the_template_is_cut_off_on_both_sides() {
        let mut rows: Vec<_> = (0..20)
            .map(|row| open_row(row, &format!("Is this spam?\nText: word{row} more{row}\nAnswer:"), "x"))
            .collect();
        rows.push(open_row(20, "no template here", "x"));
        let parts = own_parts(&rows);
        assert_eq!(parts[3], "word3 more3");
        assert_eq!(parts[20], "no template here");
    }

    #[test]
    fn equal_questions_stay_whole() {
        let rows: Vec<_> = (0..6).map(|row| open_row(row, "all the same", "x")).collect();
        assert_eq!(own_parts(&rows)[0], "all the same");
    }
}
