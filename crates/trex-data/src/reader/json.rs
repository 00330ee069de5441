//! JSON lines, JSON arrays and objects one after another. A broken value costs itself, not its neighbours.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Collector;

/// After so many broken objects no more is tried to find the next one early: every try may cost a pass over the rest.
const MAX_RESYNCS: usize = 200;

/// One object per line.
pub(super) fn read_lines(collector: &mut Collector<'_>) -> Option<String> {
    for range in collector.source.line_ranges() {
        if !collector.source.text()[range.clone()].trim().is_empty() {
            add(collector, range);
        }
    }
    None
}

/// One array of objects, however it is laid out.
pub(super) fn read_array(collector: &mut Collector<'_>) -> Option<String> {
    let opening = collector.source.text().find('[').map_or(0, |at| at + 1);
    let mut at = read_values(collector, opening);
    let text = collector.source.text();
    if text[at..].starts_with(']') {
        at += 1;
        let rest = text[at..].trim();
        if !rest.is_empty() {
            let start = at + (text[at..].len() - text[at..].trim_start().len());
            collector.set_aside(start..start + rest.len(), "text after the end of the array".to_owned());
        }
        return None;
    }
    Some("its closing bracket is missing".to_owned())
}

/// Objects one after another, each over several lines.
pub(super) fn read_objects(collector: &mut Collector<'_>) -> Option<String> {
    let mut at = 0;
    let text = collector.source.text();
    while at < text.len() {
        at = read_values(collector, at);
        if text[at..].starts_with(']') {
            collector.set_aside(at..at + 1, "a closing bracket without an opening one".to_owned());
            at += 1;
        }
    }
    None
}

/// Reads values separated by commas or white space; returns the place of the `]` that ends them, or the end.
fn read_values(collector: &mut Collector<'_>, start: usize) -> usize {
    let text = collector.source.text();
    let mut at = start;
    let mut num_resyncs = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches(|c: char| c == ',' || c.is_whitespace()).len();
        if at >= text.len() || text[at..].starts_with(']') {
            return at;
        }
        let mut end = value_end(text, at);
        let is_broken_object = text[at..].starts_with('{') && parse(&text[at..end]).is_err();
        if is_broken_object && num_resyncs < MAX_RESYNCS {
            num_resyncs += 1;
            end = resync(text, at).map_or(end, |next| next.min(end));
        }
        let value = text[at..end].trim_end_matches(|c: char| c == ',' || c.is_whitespace());
        add(collector, at..at + value.len());
        at = end;
    }
}

/// Where the value at `start` ends: behind the bracket that closes it, or where a bare word ends.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let has_brackets = matches!(bytes.get(start), Some(b'{' | b'['));
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b']' | b'\n' if !has_brackets && at > start => return at,
            _ => {}
        }
        if has_brackets && depth == 0 && !in_string {
            return at + 1;
        }
    }
    text.len()
}

/// The next line that opens an object at the same indentation as the broken value at `start`.
fn resync(text: &str, start: usize) -> Option<usize> {
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[line_start..start];
    let is_indentation = before.chars().all(|c| c.is_whitespace() || c == '[');
    if !is_indentation {
        return None;
    }
    let opening = format!("\n{}{{", before.replace('[', " "));
    text[start..].find(&opening).map(|at| start + at + opening.len() - 1)
}

/// Adds the value at this range as a row, good or bad.
fn add(collector: &mut Collector<'_>, range: Range<usize>) {
    let text = &collector.source.text()[range.clone()];
    let entries = match parse(text) {
        Ok(entries) => entries,
        Err(reason) => return collector.set_aside(range, reason),
    };
    let mut values = BTreeMap::new();
    for (name, value) in entries {
        collector.know_field(&name);
        if let Some(value) = value {
            values.insert(name, value);
        }
    }
    collector.keep(range, values);
}

type Entries = Vec<(String, Option<String>)>;

/// The entries of an object, `null` as nothing, or why it is none.
fn parse(text: &str) -> Result<Entries, String> {
    if !text.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => "a JSON value that is not an object".to_owned(),
            Err(err) => format!("not JSON: {err}"),
        });
    }
    let RawEntries(raw) = serde_json::from_str(text).map_err(|err| format!("not JSON: {err}"))?;
    let mut entries: Entries = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        if entries.iter().any(|(earlier, _)| *earlier == name) {
            return Err(format!("the key {name:?} occurs twice"));
        }
        let text = text_of(value.get()).map_err(|err| format!("not JSON: {err}"))?;
        entries.push((name, text));
    }
    Ok(entries)
}

fn text_of(raw: &str) -> Result<Option<String>, serde_json::Error> {
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map(Some),
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') => Ok(Some(compact(raw))),
        _ => Ok(Some(raw.to_owned())),
    }
}

/// JSON without the white space between its tokens; order of keys and spelling of numbers stay.
fn compact(raw: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    raw.chars()
        .filter(|c| {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if in_string => is_escaped = true,
                '"' => in_string = !in_string,
                _ => return in_string || !c.is_whitespace(),
            }
            true
        })
        .collect()
}

/// An object as a list, so that the order of keys survives and doubled keys are seen.
struct RawEntries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = RawEntries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawEntries(entries))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}
