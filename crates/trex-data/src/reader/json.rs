//! JSON lines, JSON arrays and objects one after another. A broken value costs itself, not its neighbours.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use rayon::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Decoded;
use super::{Consumed, Sink};

/// After so many broken objects no more is tried to find the next one early: every try may cost a pass over the rest.
const MAX_RESYNCS: usize = 200;

/// Lines that one task parses.
const LINES_PER_TASK: usize = 64;

/// One object per line.
pub(super) fn read_lines(sink: &mut Sink, window: &Decoded, is_final: bool) -> Consumed {
    let (lines, end) = window.lines(is_final);
    let text = window.text();
    let parsed: Vec<Option<Result<Entries, String>>> = lines
        .par_iter()
        .with_min_len(LINES_PER_TASK)
        .map(|range| {
            let line = &text[range.clone()];
            (!line.trim().is_empty()).then(|| parse(line))
        })
        .collect();
    for (range, entries) in lines.into_iter().zip(parsed) {
        if let Some(entries) = entries {
            add(sink, window, range, entries);
        }
    }
    Consumed::up_to(end)
}

/// Values one after another: in one array, or without one.
#[derive(Clone, Debug)]
pub(super) struct Values {
    place: ValuesPlace,
    num_resyncs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValuesPlace {
    BeforeArray,
    InArray,
    AfterArray,
    /// Behind text after the end, which was set aside.
    AfterRest,
    NoArray,
}

impl Values {
    /// One array of objects, however it is laid out.
    pub(super) fn of_array() -> Self {
        Self { place: ValuesPlace::BeforeArray, num_resyncs: 0 }
    }

    /// Objects one after another, each over several lines.
    pub(super) fn without_array() -> Self {
        Self { place: ValuesPlace::NoArray, num_resyncs: 0 }
    }

    /// What is to be said when nothing follows.
    pub(super) fn remark(&self) -> Option<String> {
        (self.place == ValuesPlace::InArray).then(|| "its closing bracket is missing".to_owned())
    }

    pub(super) fn read(&mut self, sink: &mut Sink, window: &Decoded, is_final: bool) -> Consumed {
        let text = window.text();
        let mut at = 0;
        if self.place == ValuesPlace::BeforeArray {
            at = text.find('[').map_or(text.len(), |at| at + 1);
            self.place = ValuesPlace::InArray;
        }
        while at < text.len() {
            if self.place == ValuesPlace::AfterRest {
                return Consumed::up_to(text.len());
            }
            if self.place == ValuesPlace::AfterArray {
                let rest = text[at..].trim();
                if !rest.is_empty() {
                    self.place = ValuesPlace::AfterRest;
                    let start = at + (text[at..].len() - text[at..].trim_start().len());
                    sink.set_aside(window, start..start + rest.len(), "text after the end of the array".to_owned());
                }
                return Consumed::up_to(text.len());
            }
            let next = self.read_values(sink, window, at, is_final);
            at = next.at;
            if next.is_incomplete {
                return Consumed::up_to(at);
            }
            if text[at..].starts_with(']') {
                if self.place == ValuesPlace::InArray {
                    self.place = ValuesPlace::AfterArray;
                } else {
                    let reason = "a closing bracket without an opening one".to_owned();
                    sink.set_aside(window, at..at + 1, reason);
                }
                at += 1;
            }
        }
        Consumed::up_to(at)
    }

    /// Reads values separated by commas or white space, up to a `]` that ends them, a value that the window cuts off, or
    /// the end.
    fn read_values(&mut self, sink: &mut Sink, window: &Decoded, start: usize, is_final: bool) -> Next {
        let text = window.text();
        let mut at = start;
        loop {
            at += text[at..].len() - text[at..].trim_start_matches(|c: char| c == ',' || c.is_whitespace()).len();
            if at >= text.len() || text[at..].starts_with(']') {
                return Next { at, is_incomplete: false };
            }
            let mut end = value_end(text, at);
            if end == text.len() && !is_final && !is_closed(&text[at..]) {
                return Next { at, is_incomplete: true };
            }
            let mut entries = None;
            if text[at..].starts_with('{') {
                let parsed = parse(&text[at..end]);
                if parsed.is_err() && self.num_resyncs < MAX_RESYNCS {
                    self.num_resyncs += 1;
                    end = resync(text, at).map_or(end, |next| next.min(end));
                } else {
                    entries = Some(parsed);
                }
            }
            let value = text[at..end].trim_end_matches(|c: char| c == ',' || c.is_whitespace());
            let range = at..at + value.len();
            let entries = entries.unwrap_or_else(|| parse(value));
            add(sink, window, range, entries);
            at = end;
        }
    }
}

/// Where the reading of values stopped.
struct Next {
    at: usize,
    is_incomplete: bool,
}

/// Whether a value that ends with the window is whole: it ends with the bracket that closes it.
fn is_closed(value: &str) -> bool {
    value.starts_with(['{', '[']) && value.ends_with(['}', ']']) && parse(value).is_ok()
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
fn add(sink: &mut Sink, window: &Decoded, range: Range<usize>, entries: Result<Entries, String>) {
    let entries = match entries {
        Ok(entries) => entries,
        Err(reason) => return sink.set_aside(window, range, reason),
    };
    let mut values = BTreeMap::new();
    for (name, value) in entries {
        let name = sink.field(&name);
        if let Some(value) = value {
            values.insert(name, value);
        }
    }
    sink.keep(window, range, values);
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
        entries.push((name.into_owned(), text));
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
struct RawEntries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

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
                while let Some((CowKey(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(RawEntries(entries))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct CowKey<'a>(#[serde(borrow)] Cow<'a, str>);
