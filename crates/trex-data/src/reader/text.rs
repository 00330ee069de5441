//! Files of text: finds out how one is laid out and hands its windows to the parser for it. Parses nothing itself.

use std::collections::BTreeMap;

use super::decode::{Decoded, MAX_WINDOW_BYTES, TextWindows};
use super::delimited::Records;
use super::sniff::Format;
use super::source::{Content, Part, is_too_large};
use super::{Consumed, Opened, PartReader, Sink, json, sniff};
use crate::DataError;

/// Opens a file of text; white space alone is an error.
pub(super) fn open(part: &Part, content: Content, sink: &mut Sink) -> Result<Opened, DataError> {
    let (reader, format, reason) = sniffed(part, content, sink)?;
    Ok(Opened { reader: Box::new(reader), format, reason })
}

/// The reader, the format and the reason for it.
fn sniffed(part: &Part, content: Content, sink: &mut Sink) -> Result<(TextReader, String, String), DataError> {
    let is_packed = content.is_packed;
    let mut windows = TextWindows::new(content.input);
    let mut first = windows.window();
    while first.text().trim().is_empty() {
        if let Some(source) = windows.take_failure() {
            return Err(part.failure(source));
        }
        if first.is_last() {
            return Err(DataError::EmptyFile { path: part.path.clone() });
        }
        let end = first.text().len();
        windows.consume(&first, end);
        first = windows.window();
    }
    let (format, reason) = sniff::format_of(first.text(), &part.extension());
    let described = format.describe(first.encoding());
    let parser = match format {
        Format::JsonLines => Parser::JsonLines,
        Format::JsonArray => Parser::Json(json::Values::of_array()),
        Format::JsonObjects => Parser::Json(json::Values::without_array()),
        Format::Delimited(dialect) => Parser::Delimited(Records::new(dialect, sink)),
        Format::Text => Parser::Lines,
    };
    let reader = TextReader { part: part.clone(), windows, first: Some(first), parser, is_packed, is_cut_line: false };
    Ok((reader, described, reason))
}

enum Parser {
    JsonLines,
    Json(json::Values),
    Delimited(Records),
    Lines,
}

struct TextReader {
    part: Part,
    windows: TextWindows,
    /// The window that was sniffed.
    first: Option<Decoded>,
    parser: Parser,
    is_packed: bool,
    /// Whether the window begins within a row that was set aside for its length.
    is_cut_line: bool,
}

impl PartReader for TextReader {
    fn read_into(&mut self, sink: &mut Sink) -> Result<bool, DataError> {
        let mut window = self.first.take().unwrap_or_else(|| self.windows.window());
        if std::mem::take(&mut self.is_cut_line) {
            let end = window.text().find('\n').map_or(window.text().len(), |at| at + 1);
            self.is_cut_line = !window.text()[..end].ends_with('\n') && !window.is_last();
            self.windows.consume(&window, end);
            return Ok(!window.is_last() || end < window.text().len());
        }
        loop {
            let consumed = self.parse(sink, &window, window.is_last());
            if consumed.up_to > 0 || window.is_last() {
                self.windows.consume(&window, consumed.up_to);
                break;
            }
            if !self.windows.grow() {
                self.give_up(sink, &window);
                break;
            }
            window = self.windows.window();
        }
        if !window.is_last() {
            return Ok(true);
        }
        self.finish(sink, &window)?;
        Ok(false)
    }

    fn remark(&self) -> Option<String> {
        match &self.parser {
            Parser::Json(values) => values.remark(),
            _ => None,
        }
    }
}

impl TextReader {
    fn parse(&mut self, sink: &mut Sink, window: &Decoded, is_final: bool) -> Consumed {
        match &mut self.parser {
            Parser::JsonLines => json::read_lines(sink, window, is_final),
            Parser::Json(values) => values.read(sink, window, is_final),
            Parser::Delimited(records) => records.read(sink, window, is_final),
            Parser::Lines => read_lines(sink, window, is_final),
        }
    }

    /// The row at the start of the window is longer than any window may be.
    fn give_up(&mut self, sink: &mut Sink, window: &Decoded) {
        let has_lines = matches!(self.parser, Parser::JsonLines | Parser::Lines);
        if has_lines {
            let reason = format!("a row of more than {} MiB", MAX_WINDOW_BYTES >> 20);
            sink.set_aside(window, 0..window.text().len(), reason);
            self.windows.consume(window, window.text().len());
            self.is_cut_line = true;
            return;
        }
        let consumed = self.parse(sink, window, true);
        self.windows.consume(window, consumed.up_to.max(1));
    }

    /// Packed data that breaks off costs what is behind the break; a disk that fails is an error.
    fn finish(&mut self, sink: &mut Sink, window: &Decoded) -> Result<(), DataError> {
        let Some(source) = self.windows.take_failure() else {
            return Ok(());
        };
        if !self.is_packed || is_too_large(&source) {
            return Err(self.part.failure(source));
        }
        let place = window.place(window.text().len());
        let reason = format!("the packed data breaks off here: {source}");
        sink.set_aside_at(place.line, place.byte_offset, reason, String::new());
        Ok(())
    }
}

/// Every line with something on it is a row with the one column `text`.
fn read_lines(sink: &mut Sink, window: &Decoded, is_final: bool) -> Consumed {
    let (lines, end) = window.lines(is_final);
    let name = sink.field("text");
    for range in lines {
        let line = window.text()[range.clone()].trim();
        if !line.is_empty() {
            sink.keep(window, range, BTreeMap::from([(name.clone(), line.to_owned())]));
        }
    }
    Consumed::up_to(end)
}

/// Reads a file in windows of other sizes than the one that it was sniffed in.
#[cfg(test)]
pub(super) fn read_in_windows(part: &Part, sizes: super::decode::Sizes) -> Result<super::RawTable, DataError> {
    let mut sink = Sink { file: part.name.as_str().into(), ..Sink::default() };
    let (mut reader, format, _) = sniffed(part, part.open()?, &mut sink)?;
    reader.windows = TextWindows::with_sizes(part.open()?.input, sizes);
    reader.first = None;
    while reader.read_into(&mut sink)? {}
    let super::RawChunk { rows, quarantined, input } = sink.chunk;
    let fields = sink.fields.iter().map(ToString::to_string).collect();
    Ok(super::RawTable { format, fields, rows, quarantined, input, ..super::RawTable::default() })
}
