//! Repairs the form of texts: Unicode, control characters, white space, mojibake. Words are never changed.

use encoding_rs::WINDOWS_1252;
use unicode_normalization::UnicodeNormalization as _;

use super::{Context, Outcome};
use crate::DataError;
use crate::pool::Pool;

/// Starts of UTF-8 sequences that were read as Windows-1252, with the characters that belong to each.
///
/// Only sequences that make no sense otherwise: `É®` is valid UTF-8 read wrongly too, but `NESTLÉ®` is a name.
const MOJIBAKE: [(&str, usize); 6] = [("ðŸ", 4), ("â€", 3), ("â‚", 3), ("â„", 3), ("Ã", 2), ("Â", 2)];

/// Normalises prompts, answers and options.
///
/// Options that would become equal to one another are left as they are, together with their answer.
pub(super) fn normalise(rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    Outcome::edited(rows, context, |row| {
        let before = row.clone();
        for turn in &mut row.prompt {
            turn.content = normalised(&turn.content);
        }
        let options: Vec<String> = row.options.iter().map(|option| normalised(option)).collect();
        if num_distinct(&options) == num_distinct(&row.options) {
            row.options = options;
            row.answer = normalised(&row.answer);
        }
        *row != before
    })
}

fn num_distinct(options: &[String]) -> usize {
    options.iter().collect::<std::collections::BTreeSet<_>>().len()
}

/// NFC; control characters removed; white space folded per line, except between code fences.
///
/// Repeated until nothing changes, because a repair can uncover another one (text that was garbled twice). Every round
/// but the first and the last shortens the text, so this ends.
fn normalised(text: &str) -> String {
    let mut current = text.to_owned();
    loop {
        let next = folded_lines(&without_controls(&repaired(&current.nfc().collect::<String>())));
        if next == current {
            return current;
        }
        current = next;
    }
}

/// Drops control characters and byte-order marks; line breaks become `\n`, tabs stay.
fn without_controls(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
    lines.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || *c == '\u{feff}')).collect()
}

fn folded_lines(text: &str) -> String {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code && !is_fence {
            lines.push(line.trim_end().to_owned());
        } else {
            lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines.join("\n").trim().to_owned()
}

/// Replaces sequences that are UTF-8 read as Windows-1252, such as `â€™` for `’`.
fn repaired(text: &str) -> String {
    if !text.contains(['Ã', 'Â', 'â', 'ð']) {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (repaired, length) = match repair_at(rest) {
            Some((character, length)) => (character, length),
            None => (first, first.len_utf8()),
        };
        result.push(repaired);
        rest = rest.get(length..).unwrap_or_default();
    }
    result
}

/// The character that was meant at the start of the text, and the bytes of the sequence that stands for it.
fn repair_at(text: &str) -> Option<(char, usize)> {
    let (start, num_chars) = MOJIBAKE.iter().find(|(start, _)| text.starts_with(start))?;
    let length = text.char_indices().nth(*num_chars).map_or(text.len(), |(at, _)| at);
    let sequence = text.get(..length)?;
    if let Some(character) = decoded(sequence) {
        return Some((character, length));
    }
    // The last byte of the closing quote, 9D, has no character in Windows-1252 and is often lost.
    (*start == "â€").then_some(('\u{201d}', start.len()))
}

fn decoded(sequence: &str) -> Option<char> {
    let (bytes, _, has_unmappable) = WINDOWS_1252.encode(sequence);
    if has_unmappable {
        return None;
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let mut characters = text.chars();
    let character = characters.next()?;
    (characters.next().is_none() && !character.is_ascii()).then_some(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{context, made, open_row};
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(normalised(text), expected, "{text:?}");
    }

    #[test]
    fn mojibake_is_repaired_and_names_are_not() {
        check("itâ€™s", "it’s");
        check("â€œquotedâ€\u{9d} â€“ 5Â\u{a0}â‚¬", "“quoted” – 5 €");
        check("â€œquotedâ€ text", "“quoted” text");
        check("cafÃ© naÃ¯ve Ãœber", "café naïve Über");
        check("twice Ã¢â‚¬â„¢", "twice ’");
        check("ðŸ˜€", "😀");
        check("NESTLÉ® PÃO Âme château", "NESTLÉ® PÃO Âme château");
    }

    #[test]
    fn white_space_is_folded_per_line_but_not_in_code() {
        check("  a \t b  \r\n\r\n c\u{0}\u{7}d ", "a b\n\ncd");
        check("run\n```\nif x:\n    y  =  1  \n```\n  done", "run\n```\nif x:\n    y  =  1\n```\ndone");
        check("e\u{301}", "é");
    }

    #[test]
    fn an_answer_stays_among_its_options() {
        let mut row = open_row(0, "q", "caf\u{65}\u{301}");
        row.options = ["cafe\u{301}", "tea "].map(String::from).to_vec();
        let outcome = made(normalise(vec![row].into(), &context("normalise")));
        assert_eq!(outcome.rows[0].options, ["café", "tea"]);
        assert_eq!(outcome.rows[0].answer, "café");
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(\\PC|[ÃÂâð€™œŸ˜ \n\t\u{80}-\u{9f}]){0,30}") {
            let once = normalised(&text);
            prop_assert_eq!(normalised(&once), once);
        }
    }
}
