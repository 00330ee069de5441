//! Bytes → text, with the way back from a place in the text to line and byte. Parses nothing.

use std::ops::Range;

use encoding_rs::{GB18030, GBK, WINDOWS_1252};

/// How a file writes its characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
    Gbk,
    /// Read as Windows-1252, its superset, as the encoding standard asks for (<https://encoding.spec.whatwg.org/>).
    Latin1,
}

/// Where something starts in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: u64,
    /// From 0.
    pub(super) byte_offset: u64,
}

/// The text of a file.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    text: String,
    encoding: Encoding,
    /// For each line: start in the text, start in the file. Never empty.
    starts: Vec<(usize, u64)>,
    /// Numbers (from 0) of lines with bytes that could not be decoded, in order.
    damaged: Vec<usize>,
}

impl Decoded {
    /// Decodes a file. Bytes that mean nothing become U+FFFD, and their line counts as damaged.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        let (encoding, mark_len) = detect(&bytes);
        if encoding == Encoding::Utf8 && mark_len == 0 {
            return match String::from_utf8(bytes) {
                Ok(text) => Self::from_utf8(text),
                Err(err) => Self::line_by_line(err.as_bytes(), 0, encoding),
            };
        }
        Self::line_by_line(&bytes, mark_len, encoding)
    }

    fn from_utf8(text: String) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len());
        let starts = std::iter::once(0).chain(after_breaks).map(|at| (at, at as u64)).collect();
        Self { text, encoding: Encoding::Utf8, starts, damaged: Vec::new() }
    }

    fn line_by_line(bytes: &[u8], mark_len: usize, encoding: Encoding) -> Self {
        let mut decoded = Self { text: String::new(), encoding, starts: Vec::new(), damaged: Vec::new() };
        let mut start = mark_len;
        while start < bytes.len() {
            let end = line_end(bytes, start, encoding);
            let (line, is_damaged) = decode_line(&bytes[start..end], encoding);
            if is_damaged {
                decoded.damaged.push(decoded.starts.len());
            }
            decoded.starts.push((decoded.text.len(), start as u64));
            decoded.text.push_str(&line);
            start = end;
        }
        if decoded.starts.is_empty() {
            decoded.starts.push((0, mark_len as u64));
        }
        decoded
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Name of the encoding for messages.
    pub(super) fn encoding(&self) -> &'static str {
        match self.encoding {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16Le | Encoding::Utf16Be => "UTF-16",
            Encoding::Gbk => "GBK",
            Encoding::Latin1 => "Latin-1",
        }
    }

    /// The lines as ranges of the text, without their line breaks.
    pub(super) fn line_ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let ends: Vec<usize> = self.starts.iter().skip(1).map(|(at, _)| *at).chain([self.text.len()]).collect();
        let mut ranges = Vec::with_capacity(ends.len());
        for ((start, _), end) in self.starts.iter().zip(ends) {
            let line = self.text[*start..end].trim_end_matches(['\n', '\r']);
            ranges.push(*start..start + line.len());
        }
        ranges.into_iter()
    }

    /// Whether a line of this range holds bytes that could not be decoded.
    pub(super) fn is_damaged(&self, range: &Range<usize>) -> bool {
        if self.damaged.is_empty() {
            return false;
        }
        let (first, last) = (self.line_at(range.start), self.line_at(range.end.saturating_sub(1).max(range.start)));
        let from = self.damaged.partition_point(|line| *line < first);
        self.damaged.get(from).is_some_and(|line| *line <= last)
    }

    /// Line and byte of a place in the text.
    pub(super) fn place(&self, at: usize) -> Place {
        let line = self.line_at(at);
        let (text_start, file_start) = self.starts.get(line).copied().unwrap_or_default();
        let before = self.text.get(text_start..at).unwrap_or_default();
        Place { line: line as u64 + 1, byte_offset: file_start + self.encoded_len(before) as u64 }
    }

    fn line_at(&self, at: usize) -> usize {
        self.starts.partition_point(|(start, _)| *start <= at).saturating_sub(1)
    }

    fn encoded_len(&self, text: &str) -> usize {
        match self.encoding {
            Encoding::Utf8 => text.len(),
            Encoding::Utf16Le | Encoding::Utf16Be => text.encode_utf16().count() * 2,
            // GB 18030 holds GBK and has no character that it cannot write.
            Encoding::Gbk => GB18030.encode(text).0.len(),
            Encoding::Latin1 => text.chars().count(),
        }
    }
}

/// The encoding and the length of its byte order mark.
fn detect(bytes: &[u8]) -> (Encoding, usize) {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        [0xff, 0xfe, ..] => (Encoding::Utf16Le, 2),
        [0xfe, 0xff, ..] => (Encoding::Utf16Be, 2),
        _ => (detect_unmarked(bytes), 0),
    }
}

fn detect_unmarked(bytes: &[u8]) -> Encoding {
    if let Some(encoding) = utf16_by_zeros(bytes) {
        return encoding;
    }
    let (mut num_sound, mut num_broken) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        num_sound += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        num_broken += usize::from(!chunk.invalid().is_empty());
    }
    // Text in another encoding hardly ever holds sound UTF-8 sequences; a damaged file holds many.
    if num_broken == 0 || num_sound > 2 * num_broken {
        return Encoding::Utf8;
    }
    if looks_like_gbk(bytes) {
        return Encoding::Gbk;
    }
    if looks_like_latin1(bytes) { Encoding::Latin1 } else { Encoding::Utf8 }
}

/// UTF-16 of mostly Latin text has a zero in every second byte.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    matches!(detect(bytes).0, Encoding::Utf16Le | Encoding::Utf16Be)
}

fn utf16_by_zeros(bytes: &[u8]) -> Option<Encoding> {
    let sample = &bytes[..bytes.len().min(4096) & !1];
    if sample.len() < 4 || bytes.len() % 2 == 1 {
        return None;
    }
    let zeros = |offset: usize| sample.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let (high_first, low_first) = (zeros(0), zeros(1));
    let many = sample.len() / 4;
    if low_first >= many && high_first * 10 < low_first {
        return Some(Encoding::Utf16Le);
    }
    (high_first >= many && low_first * 10 < high_first).then_some(Encoding::Utf16Be)
}

/// Chinese text in GBK consists of pairs from the GB 2312 block; accented Latin letters mostly stand alone.
fn looks_like_gbk(bytes: &[u8]) -> bool {
    let (mut num_pairs, mut num_common, mut num_broken) = (0_usize, 0_usize, 0_usize);
    let mut rest = bytes;
    while let [lead, tail @ ..] = rest {
        rest = tail;
        if lead.is_ascii() {
            continue;
        }
        match tail.first() {
            Some(trail) if *trail >= 0x40 && *trail != 0x7f && *trail != 0xff => {
                let in_gb2312 = matches!(lead, 0xa1..=0xa9 | 0xb0..=0xf7) && *trail >= 0xa1;
                num_pairs += 1;
                num_common += usize::from(in_gb2312);
                rest = &tail[1..];
            }
            _ => num_broken += 1,
        }
    }
    num_common * 10 >= (num_pairs + num_broken) * 7 && num_broken * 10 <= num_pairs && num_pairs > 0
}

/// Letters, and the punctuation of Windows-1252.
fn looks_like_latin1(bytes: &[u8]) -> bool {
    let is_usual = |byte: u8| {
        let is_letter = byte >= 0xc0 && !matches!(byte, 0xd7 | 0xf7 | 0xfe | 0xff);
        let is_mark = matches!(byte, 0x80 | 0x82..=0x87 | 0x8b | 0x91..=0x97 | 0x99 | 0x9b | 0x9c | 0xa0..=0xbf);
        is_letter || is_mark
    };
    let high = bytes.iter().filter(|byte| !byte.is_ascii());
    let (num_high, num_usual) =
        high.fold((0_usize, 0_usize), |(n, usual), byte| (n + 1, usual + usize::from(is_usual(*byte))));
    num_usual * 10 >= num_high * 9
}

/// The first byte after the line break that ends the line at `start`.
fn line_end(bytes: &[u8], start: usize, encoding: Encoding) -> usize {
    let rest = &bytes[start..];
    let after_break = match encoding {
        Encoding::Utf16Le => rest.chunks_exact(2).position(|unit| unit == [b'\n', 0]).map(|at| 2 * at + 2),
        Encoding::Utf16Be => rest.chunks_exact(2).position(|unit| unit == [0, b'\n']).map(|at| 2 * at + 2),
        // In GBK no second byte is below 0x40, so a line break is always one.
        Encoding::Utf8 | Encoding::Gbk | Encoding::Latin1 => {
            rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
        }
    };
    after_break.map_or(bytes.len(), |len| start + len)
}

/// The text of a line and whether it is damaged.
fn decode_line(line: &[u8], encoding: Encoding) -> (String, bool) {
    match encoding {
        Encoding::Utf8 => match std::str::from_utf8(line) {
            Ok(text) => (text.to_owned(), false),
            Err(_not_utf8) => (String::from_utf8_lossy(line).into_owned(), true),
        },
        Encoding::Utf16Le => decode_utf16(line, u16::from_le_bytes),
        Encoding::Utf16Be => decode_utf16(line, u16::from_be_bytes),
        Encoding::Gbk => {
            let (text, is_damaged) = GBK.decode_without_bom_handling(line);
            (text.into_owned(), is_damaged)
        }
        Encoding::Latin1 => (WINDOWS_1252.decode_without_bom_handling(line).0.into_owned(), false),
    }
}

fn decode_utf16(line: &[u8], unit_from: fn([u8; 2]) -> u16) -> (String, bool) {
    let units: Vec<u16> = line.as_chunks::<2>().0.iter().map(|pair| unit_from(*pair)).collect();
    match String::from_utf16(&units) {
        Ok(text) => (text, line.len() % 2 == 1),
        Err(_lone_surrogate) => (String::from_utf16_lossy(&units), true),
    }
}
