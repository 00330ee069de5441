//! Keys of rows as hashes with the number of their row: 16 bytes each, sorted instead of kept in a table. Knows nothing of
//! what the keys mean.
//!
//! Of 2^32 keys two different ones have one hash of 96 bits with a chance of about 1 in 2^33.

use rayon::prelude::*;

/// The hash of a key, and the number of a row that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Keyed {
    hash: [u32; 3],
    row: u32,
}

impl Keyed {
    /// A key of some texts, in order.
    pub(crate) fn of_texts(texts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Self::of_hash(&hasher.finalize())
    }

    /// A key of a sorted set.
    pub(crate) fn of_set(set: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for value in set {
            hasher.update(&value.to_le_bytes());
        }
        Self::of_hash(&hasher.finalize())
    }

    fn of_hash(hash: &blake3::Hash) -> Self {
        let (words, _) = hash.as_bytes().as_chunks::<4>();
        let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        Self { hash: [word(0), word(1), word(2)], row: 0 }
    }

    /// The same key at a row. Rows beyond 2^32 are all the last one.
    pub(crate) fn with_row(self, row: usize) -> Self {
        Self { row: u32::try_from(row).unwrap_or(u32::MAX), ..self }
    }

    /// Whether two have one key.
    fn is_like(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

/// Numbers the keys of rows in order.
pub(crate) fn numbered(keys: Vec<Keyed>) -> Vec<Keyed> {
    keys.into_iter().enumerate().map(|(row, key)| key.with_row(row)).collect()
}

/// For every row of `num_rows` the first row that has its key; none where it is the first itself.
pub(crate) fn repeats(mut keys: Vec<Keyed>, num_rows: usize) -> Vec<Option<u32>> {
    keys.par_sort_unstable();
    let mut firsts = vec![None; num_rows];
    for alike in keys.chunk_by(Keyed::is_like) {
        let [first, others @ ..] = alike else { continue };
        for other in others {
            if let Some(slot) = firsts.get_mut(other.row as usize) {
                *slot = Some(first.row);
            }
        }
    }
    firsts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_keys_is_named() {
        let keys = ["b", "a", "b", "c", "a", "b"].map(|text| Keyed::of_texts(&[text])).to_vec();
        assert_eq!(repeats(numbered(keys), 6), [None, None, Some(0), None, Some(1), Some(0)]);
    }

    #[test]
    fn where_a_text_ends_makes_a_difference() {
        assert_ne!(Keyed::of_texts(&["a", "bc"]), Keyed::of_texts(&["ab", "c"]));
    }
}
