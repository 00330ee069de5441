//! Paragraphs of plain text: the lines between two empty ones are one row. Reads nothing and cuts no line.

use std::collections::BTreeMap;

use crate::{RawChunk, RawRow};

/// Whether some line follows an empty one.
pub(super) fn has_any(chunk: &RawChunk) -> bool {
    chunk.rows.windows(2).any(|pair| pair[0].file == pair[1].file && !follows(&pair[0], &pair[1]))
}

/// Joins the lines of every paragraph. One that goes on in the next chunk is cut there.
pub(super) fn joined(chunk: RawChunk) -> RawChunk {
    let mut rows: Vec<RawRow> = Vec::new();
    let mut last_line = 0;
    for row in chunk.rows {
        let line = row.line;
        match rows.last_mut().filter(|open| open.file == row.file && last_line + 1 == line) {
            Some(open) => append(&mut open.values, row.values),
            None => rows.push(row),
        }
        last_line = line;
    }
    RawChunk { input: rows.len() + chunk.quarantined.len(), rows, quarantined: chunk.quarantined }
}

fn append(texts: &mut BTreeMap<std::sync::Arc<str>, String>, more: BTreeMap<std::sync::Arc<str>, String>) {
    for (column, text) in more {
        let open = texts.entry(column).or_default();
        open.push('\n');
        open.push_str(&text);
    }
}

/// Whether a row is the line right below another one.
fn follows(row: &RawRow, next: &RawRow) -> bool {
    row.line + 1 == next.line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(lines: &[(u64, &str)]) -> RawChunk {
        let row = |(line, text): &(u64, &str)| RawRow {
            file: "t.txt".into(),
            line: *line,
            byte_offset: 0,
            row: *line - 1,
            values: BTreeMap::from([("text".into(), (*text).to_owned())]),
        };
        RawChunk { rows: lines.iter().map(row).collect(), quarantined: Vec::new(), input: lines.len() }
    }

    #[test]
    fn lines_are_joined_up_to_the_next_empty_one() {
        let text = chunk(&[(1, "a"), (2, "b"), (4, "c"), (7, "d"), (8, "e")]);
        assert!(has_any(&text));
        let found = joined(text);
        let texts: Vec<&str> = found.rows.iter().map(|row| row.values["text"].as_str()).collect();
        assert_eq!(texts, ["a\nb", "c", "d\ne"]);
        assert_eq!((found.input, found.rows[2].row), (3, 6));
    }

    #[test]
    fn a_text_without_empty_lines_has_no_paragraphs() {
        assert!(!has_any(&chunk(&[(1, "a"), (2, "b")])));
    }
}
