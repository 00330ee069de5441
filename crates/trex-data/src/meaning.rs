//! Texts by what they mean: which text of a row is compared, and one vector for each. Runs no model: who has one hands
//! it in.

use trex_domain::{Embedder, Example, Role, Vectors};

use crate::DataError;

/// Words of a piece. Encoders look at the first 256 tokens or so, which are about 200 words; a text beyond that is
/// measured piece by piece, so that two long texts are not equal because they begin alike.
const PIECE_WORDS: usize = 150;

/// Lanes of a sum, so that the compiler may compute them at once; the order of the terms is fixed.
const LANES: usize = 16;

/// What a row asks: all turns but those of the system, which many rows share; with the options where they stand in the
/// prompt.
pub(crate) fn question_text(row: &Example) -> String {
    let turns: Vec<&str> =
        row.prompt.iter().filter(|turn| turn.role != Role::System).map(|turn| turn.content.as_str()).collect();
    let text = turns.join("\n");
    if !row.has_seeded_prompt() {
        return text;
    }
    let mut options = row.options.clone();
    options.sort_unstable();
    text.replace("{options}", &options.join(", "))
}

/// One vector of length 1 per text, in order.
pub(crate) fn vectors_of(texts: &[String], embedder: &dyn Embedder) -> Result<Vectors, DataError> {
    let mut pieces = Vec::with_capacity(texts.len());
    let mut num_pieces = Vec::with_capacity(texts.len());
    for text in texts {
        let before = pieces.len();
        push_pieces(text, &mut pieces);
        num_pieces.push(pieces.len() - before);
    }
    let found = embedder.embed(&pieces).map_err(DataError::measuring)?;
    let wrong = |found| DataError::WrongVectors { expected: pieces.len(), found };
    if found.len() != pieces.len() {
        return Err(wrong(found.len()));
    }
    let mut values = Vec::with_capacity(texts.len() * found.width());
    let mut next = 0;
    for count in num_pieces {
        let mut sum = found.row(next).to_vec();
        for piece in next + 1..next + count {
            sum.iter_mut().zip(found.row(piece)).for_each(|(sum, value)| *sum += value);
        }
        if count > 1 {
            to_unit_length(&mut sum);
        }
        values.append(&mut sum);
        next += count;
    }
    Vectors::new(found.width(), values).ok_or_else(|| wrong(found.len()))
}

/// The text itself where it is short, else runs of its words.
fn push_pieces(text: &str, pieces: &mut Vec<String>) {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() <= PIECE_WORDS {
        pieces.push(text.trim().to_owned());
        return;
    }
    pieces.extend(words.chunks(PIECE_WORDS).map(|words| words.join(" ")));
}

fn to_unit_length(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        for value in vector {
            *value /= length;
        }
    }
}

/// The cosine of two vectors of length 1.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (left_blocks, left_rest) = left.as_chunks::<LANES>();
    let (right_blocks, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left_blocks.iter().zip(right_blocks) {
        for ((sum, left), right) in lanes.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
pub(crate) mod tests {
    use trex_domain::{ContentHash, MeasureError, Message};

    use super::*;
    use crate::operators::tests::open_row;

    /// Counts words in buckets: texts of the same words in any order are equal, of other words nearly orthogonal.
    #[derive(Debug)]
    pub(crate) struct WordCounts;

    const BUCKETS: u64 = 1021;

    impl Embedder for WordCounts {
        fn name(&self) -> ContentHash {
            ContentHash::of_bytes(b"word counts")
        }

        fn embed(&self, texts: &[String]) -> Result<Vectors, MeasureError> {
            let width = usize::try_from(BUCKETS).unwrap();
            let mut values = vec![0f32; texts.len() * width];
            for (text, vector) in texts.iter().zip(values.chunks_exact_mut(width)) {
                for word in text.split_whitespace() {
                    let hash = ContentHash::of_bytes(word.to_lowercase().as_bytes()).to_string();
                    let number = u64::from_str_radix(&hash[..12], 16).unwrap();
                    vector[usize::try_from(number % BUCKETS).unwrap()] += 1.0;
                }
                to_unit_length(vector);
            }
            Ok(Vectors::new(width, values).unwrap())
        }
    }

    #[test]
    fn long_texts_are_measured_to_their_end() {
        let long = "same ".repeat(400);
        let texts =
            [long.clone(), format!("{long}{}", "but another end ".repeat(17)), "short".to_owned(), String::new()];
        let vectors = vectors_of(&texts, &WordCounts).unwrap();
        assert_eq!(vectors.len(), 4);
        let cosine = dot(vectors.row(0), vectors.row(1));
        assert!(cosine < 0.9999 && cosine > 0.8, "{cosine}");
        for index in 0..3 {
            assert!((dot(vectors.row(index), vectors.row(index)) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn the_system_turn_is_not_compared_and_options_are() {
        let mut row = open_row(0, "Which? {options}", "b");
        row.options = ["b", "a"].map(String::from).to_vec();
        row.prompt.insert(0, Message { role: Role::System, content: "You are terse.".to_owned() });
        assert_eq!(question_text(&row), "Which? a, b");
    }

    #[test]
    fn a_dot_product_has_all_terms() {
        let left: Vec<f32> = (0..37_u8).map(f32::from).collect();
        assert!((dot(&left, &left) - 16_206.0).abs() < 1e-2);
    }
}
