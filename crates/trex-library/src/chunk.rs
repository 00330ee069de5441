//! Sections of text cut into passages: whole paragraphs where they fit, else sentences, else words.

use trex_domain::Place;

/// Characters that a passage should have at most. The embedding model reads 256 tokens, about a thousand characters of
/// English; what lies behind would not be found by its meaning.
const MAX_CHARS: usize = 1000;

/// Characters up to which the next paragraph still joins.
const GOOD_CHARS: usize = 600;

/// Text below one heading or on one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) page: Option<usize>,
    pub(crate) heading: Option<String>,
    /// Characters of the document before it.
    pub(crate) offset: usize,
    pub(crate) text: String,
}

impl Section {
    pub(crate) fn whole(text: String) -> Self {
        Self { page: None, heading: None, offset: 0, text }
    }
}

/// Passages of all sections, in order, none of them empty.
pub(crate) fn passages(sections: &[Section]) -> Vec<(Place, String)> {
    let mut out = Vec::new();
    for section in sections {
        let mut current: Option<(usize, String)> = None;
        for (offset, piece) in pieces(&section.text) {
            current = match current {
                Some((start, text)) if fits(&text, &piece) => Some((start, text + "\n\n" + &piece)),
                Some(full) => {
                    out.push(placed(section, full));
                    Some((offset, piece))
                }
                None => Some((offset, piece)),
            };
        }
        out.extend(current.map(|last| placed(section, last)));
    }
    out
}

fn placed(section: &Section, (offset, text): (usize, String)) -> (Place, String) {
    let place = Place { page: section.page, heading: section.heading.clone(), offset: section.offset + offset };
    (place, text)
}

fn fits(text: &str, next: &str) -> bool {
    let length = text.chars().count();
    length < GOOD_CHARS && length + 2 + next.chars().count() <= MAX_CHARS
}

/// Paragraphs with the characters before them; long ones in parts of at most [`MAX_CHARS`].
fn pieces(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut offset = 0;
    for paragraph in text.split("\n\n") {
        let mut start = offset;
        for part in parts(paragraph) {
            let trimmed = part.trim();
            if !trimmed.is_empty() {
                let lead = part.chars().take_while(|c| c.is_whitespace()).count();
                out.push((start + lead, trimmed.to_owned()));
            }
            start += part.chars().count();
        }
        offset += paragraph.chars().count() + 2;
    }
    out
}

/// Cuts behind the last sentence that fits, else behind the last word, else anywhere between two characters.
fn parts(paragraph: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = paragraph;
    while let Some((limit, _)) = rest.char_indices().nth(MAX_CHARS) {
        let window = &rest[..limit];
        let sentence =
            [". ", "! ", "? ", ".\n", "。"].iter().filter_map(|end| Some(window.rfind(end)? + end.len())).max();
        let word =
            window.rfind(char::is_whitespace).map(|at| at + window[at..].chars().next().map_or(1, char::len_utf8));
        let cut = sentence.filter(|at| *at > limit / 3).or(word).filter(|at| *at > 0).unwrap_or(limit);
        out.push(&rest[..cut]);
        rest = &rest[cut..];
    }
    out.push(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paragraphs_stay_whole_and_small_ones_join() {
        let text = format!("one\n\ntwo\n\n{}\n\nlast", "long sentence. ".repeat(90));
        let found = passages(&[Section::whole(text.clone())]);
        assert!(found[0].1.starts_with("one\n\ntwo\n\nlong sentence.") && found[0].1.ends_with("sentence."));
        assert!(found.len() >= 2 && found.iter().all(|(_, text)| text.chars().count() <= MAX_CHARS + 2));
        let chars: Vec<char> = text.chars().collect();
        for (place, passage) in &found {
            let start: String = chars[place.offset..].iter().take(5).collect();
            assert!(passage.starts_with(start.trim_end()), "{place:?} {passage}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost_whatever_the_text(text in "[a-zäß。.!? \n]{0,4000}") {
            let found = passages(&[Section::whole(text.clone())]);
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            let joined: String = found.iter().map(|(_, text)| squeezed(text)).collect();
            prop_assert_eq!(joined, squeezed(&text));
            prop_assert!(found.iter().all(|(_, text)| !text.trim().is_empty() && text.chars().count() <= MAX_CHARS));
        }
    }
}
