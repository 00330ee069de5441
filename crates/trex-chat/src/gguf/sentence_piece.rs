//! SentencePiece vocabularies (`tokenizer.ggml.model = "llama"`) as byte-fallback BPE, the form in which their models'
//! `tokenizer.json` gives them. Only those that put no space before a text, such as Gemma's: with such a space the
//! reference implementations disagree about what follows a special token.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What stands for a space within tokens.
const SPACE: &str = "▁";

/// Longest token that is looked at, in characters. Vocabularies keep to 16 or so; whitespace runs are longer.
const MOST_CHARS: usize = 256;

/// The merges that make `normal` tokens (text, id and score) out of two others, the most important first.
///
/// SentencePiece joins the neighbours whose union has the highest score; BPE joins those that stand first in a list.
/// Order as in transformers' `generate_merges`.
pub(super) fn merges(normal: &[(&str, usize, f64)]) -> Vec<(String, String)> {
    let ids: BTreeMap<&str, usize> = normal.iter().map(|(text, id, _)| (*text, *id)).collect();
    let mut found = Vec::new();
    for (text, _, score) in normal {
        let splits = text.char_indices().skip(1).take(MOST_CHARS);
        let mut own: Vec<_> = splits
            .map(|(at, _)| text.split_at(at))
            .filter_map(|(left, right)| Some(((ids.get(left)?, ids.get(right)?), *score, left, right)))
            .collect();
        own.sort_by_key(|(order, ..)| *order);
        found.extend(own);
    }
    let chars = |text: &str| text.chars().count();
    found.sort_by(|(_, score, left, right), (_, other_score, other_left, other_right)| {
        let by_left = || chars(other_left).cmp(&chars(left));
        let by_right = || chars(other_right).cmp(&chars(right));
        other_score.total_cmp(score).then_with(by_left).then_with(by_right)
    });
    found.into_iter().map(|(_, _, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// The `normalizer` of `tokenizer.json`.
pub(super) fn normalizer_json() -> Value {
    json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE })
}

/// The `pre_tokenizer` of `tokenizer.json`.
pub(super) fn pre_tokenizer_json() -> Value {
    json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false })
}

/// The `decoder` of `tokenizer.json`.
pub(super) fn decoder_json() -> Value {
    json!({
        "type": "Sequence",
        "decoders": [
            { "type": "Replace", "pattern": { "String": SPACE }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_union_with_the_highest_score_is_joined_first() {
        let normal = [("a", 0, -9.0), ("b", 1, -9.0), ("ab", 2, -2.0), ("ba", 3, -1.0), ("aba", 4, -3.0)];
        let found = merges(&normal);
        let expected = [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")];
        assert_eq!(found, expected.map(|(left, right)| (left.to_owned(), right.to_owned())));
    }
}
