//! Bytes → text in windows, with the way back from a place in the text to line and byte. Parses nothing.
//!
//! Only one window is in memory at a time. A window ends at a line break where it can; what a parser does not consume of
//! it begins the next one.

use std::io::{self, Read};
use std::ops::Range;

use encoding_rs::{DecoderResult, GB18030, GBK, WINDOWS_1252};

/// Bytes of an ordinary window.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

/// A row that takes more bytes than this is set aside unread: rows are what memory grows with.
pub(super) const MAX_WINDOW_BYTES: usize = 32 << 20;

/// So many bytes lie between two marks of a text that is not UTF-8, so that the way back is short.
const MARK_EVERY: usize = 4096;

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

/// A file, or what is packed in one, as windows of text.
pub(super) struct TextWindows {
    input: Box<dyn Read + Send>,
    /// Bytes that were read and not consumed; the first lies at `base`.
    raw: Vec<u8>,
    base: Place,
    /// Unknown while everything was ASCII, which all but UTF-16 write alike.
    encoding: Option<Encoding>,
    at_end: bool,
    window_bytes: usize,
    sizes: Sizes,
    failure: Option<io::Error>,
}

/// Bytes of an ordinary window and of the largest one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) ordinary: usize,
    pub(super) largest: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { ordinary: WINDOW_BYTES, largest: MAX_WINDOW_BYTES }
    }
}

impl TextWindows {
    /// Begins at the start of a file. Recognises UTF-16 and byte order marks by its first bytes.
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self::with_sizes(input, Sizes::default())
    }

    /// As [`Self::new`], with windows of another size.
    pub(super) fn with_sizes(input: Box<dyn Read + Send>, sizes: Sizes) -> Self {
        let base = Place { line: 1, byte_offset: 0 };
        let mut windows = Self {
            input,
            raw: Vec::new(),
            base,
            encoding: None,
            at_end: false,
            window_bytes: sizes.ordinary,
            sizes,
            failure: None,
        };
        windows.fill();
        let (encoding, mark_len) = by_mark(&windows.raw);
        windows.encoding = encoding.or_else(|| utf16_by_zeros(&windows.raw));
        windows.raw.drain(..mark_len);
        windows.base.byte_offset = mark_len as u64;
        windows
    }

    /// The bytes that lie before the reader, decoded. Bytes that mean nothing become U+FFFD and count as damaged.
    pub(super) fn window(&mut self) -> Decoded {
        self.fill();
        let whole = if self.at_end { self.raw.len() } else { whole_utf8(&self.raw) };
        if self.encoding.is_none() && !self.raw[..whole].is_ascii() {
            self.encoding = Some(detect_unmarked(&self.raw[..whole]));
        }
        let encoding = self.encoding.unwrap_or(Encoding::Utf8);
        let end = if self.at_end { self.raw.len() } else { window_end(&self.raw, encoding) };
        Decoded::new(&self.raw[..end], encoding, self.base, self.at_end)
    }

    /// Goes on behind this place of the window.
    pub(super) fn consume(&mut self, window: &Decoded, at: usize) {
        let place = window.place(at);
        let num_bytes = usize::try_from(place.byte_offset - self.base.byte_offset).unwrap_or(self.raw.len());
        self.raw.drain(..num_bytes.min(self.raw.len()));
        self.base = place;
        self.window_bytes = self.sizes.ordinary;
    }

    /// Makes the next window larger; `false` where it may not be.
    pub(super) fn grow(&mut self) -> bool {
        let may_grow = !self.at_end && self.window_bytes < self.sizes.largest;
        if may_grow {
            self.window_bytes *= 2;
        }
        may_grow
    }

    /// Why reading ended early, once.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn fill(&mut self) {
        let wanted = self.window_bytes.saturating_sub(self.raw.len());
        if self.at_end || wanted == 0 {
            return;
        }
        let read = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.raw);
        self.at_end = match read {
            Ok(num_read) => num_read < wanted,
            Err(err) => {
                self.failure = Some(err);
                true
            }
        };
    }
}

/// The text of a window.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    text: String,
    encoding: Encoding,
    base: Place,
    /// Whether nothing follows.
    is_last: bool,
    /// Marks on the way: place in the text, place in the file. Never empty.
    marks: Vec<(usize, u64)>,
    /// Places of line breaks in the text.
    breaks: Vec<usize>,
    /// Places in the text of bytes that could not be decoded.
    damaged: Vec<usize>,
}

impl Decoded {
    fn new(bytes: &[u8], encoding: Encoding, base: Place, is_last: bool) -> Self {
        let mut decoded = Self {
            text: String::new(),
            encoding,
            base,
            is_last,
            marks: vec![(0, base.byte_offset)],
            breaks: Vec::new(),
            damaged: Vec::new(),
        };
        match encoding {
            Encoding::Utf8 => decoded.push_utf8(bytes),
            _ => decoded.push_in_pieces(bytes),
        }
        decoded.breaks = memchr::memchr_iter(b'\n', decoded.text.as_bytes()).collect();
        decoded
    }

    fn push_utf8(&mut self, bytes: &[u8]) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            text.clone_into(&mut self.text);
            return;
        }
        let mut at = self.base.byte_offset;
        for chunk in bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            at += (chunk.valid().len() + chunk.invalid().len()) as u64;
            if !chunk.invalid().is_empty() {
                self.push_damage(at);
            }
        }
    }

    /// A replacement for bytes that end at this byte of the file.
    fn push_damage(&mut self, file_end: u64) {
        self.damaged.push(self.text.len());
        self.text.push('\u{fffd}');
        self.marks.push((self.text.len(), file_end));
    }

    fn push_in_pieces(&mut self, bytes: &[u8]) {
        let mut start = 0;
        while start < bytes.len() {
            let end = piece_end(bytes, start, self.encoding);
            let file_start = self.base.byte_offset + start as u64;
            self.marks.push((self.text.len(), file_start));
            let piece = &bytes[start..end];
            match self.encoding {
                Encoding::Utf16Le => self.push_utf16(piece, u16::from_le_bytes),
                Encoding::Utf16Be => self.push_utf16(piece, u16::from_be_bytes),
                Encoding::Gbk => self.push_gbk(piece, file_start),
                Encoding::Latin1 | Encoding::Utf8 => {
                    self.text.push_str(&WINDOWS_1252.decode_without_bom_handling(piece).0);
                }
            }
            start = end;
        }
    }

    /// A lone surrogate takes as many bytes as the U+FFFD that stands for it, so no mark is needed behind it.
    fn push_utf16(&mut self, bytes: &[u8], unit_from: fn([u8; 2]) -> u16) {
        let (units, rest) = bytes.as_chunks::<2>();
        for c in char::decode_utf16(units.iter().map(|pair| unit_from(*pair))) {
            if c.is_err() {
                self.damaged.push(self.text.len());
            }
            self.text.push(c.unwrap_or('\u{fffd}'));
        }
        if !rest.is_empty() {
            self.damaged.push(self.text.len());
            self.text.push('\u{fffd}');
        }
    }

    fn push_gbk(&mut self, bytes: &[u8], file_start: u64) {
        let mut decoder = GBK.new_decoder_without_bom_handling();
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            self.text.reserve(decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(0));
            let (result, num_read) = decoder.decode_to_string_without_replacement(rest, &mut self.text, true);
            at += num_read;
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(_, _) => {
                    self.push_damage(file_start + at as u64);
                    decoder = GBK.new_decoder_without_bom_handling();
                }
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing follows.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether bytes could not be decoded.
    pub(super) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
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

    /// The lines as ranges of the text, without their line breaks, and the end of the last. With `is_final` a line
    /// without a line break at the end counts.
    pub(super) fn lines(&self, is_final: bool) -> (Vec<Range<usize>>, usize) {
        let mut ranges = Vec::with_capacity(self.breaks.len() + 1);
        let mut start = 0;
        for line_break in &self.breaks {
            ranges.push(self.trimmed(start, *line_break));
            start = line_break + 1;
        }
        if is_final && start < self.text.len() {
            ranges.push(self.trimmed(start, self.text.len()));
            start = self.text.len();
        }
        (ranges, start)
    }

    fn trimmed(&self, start: usize, end: usize) -> Range<usize> {
        start..start + self.text[start..end].trim_end_matches('\r').len()
    }

    /// Whether this range holds bytes that could not be decoded.
    pub(super) fn is_damaged(&self, range: &Range<usize>) -> bool {
        let from = self.damaged.partition_point(|at| *at < range.start);
        self.damaged.get(from).is_some_and(|at| *at < range.end)
    }

    /// Line and byte of a place in the text.
    pub(super) fn place(&self, at: usize) -> Place {
        let mark = self.marks.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let (text_start, file_start) = self.marks.get(mark).copied().unwrap_or_default();
        let before = self.text.get(text_start..at).unwrap_or_default();
        let num_breaks = self.breaks.partition_point(|line_break| *line_break < at);
        Place {
            line: self.base.line + num_breaks as u64,
            byte_offset: file_start + encoded_len(before, self.encoding) as u64,
        }
    }
}

fn encoded_len(text: &str, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 => text.len(),
        Encoding::Utf16Le | Encoding::Utf16Be => text.encode_utf16().count() * 2,
        // GB 18030 holds GBK and has no character that it cannot write.
        Encoding::Gbk => GB18030.encode(text).0.len(),
        Encoding::Latin1 => text.chars().count(),
    }
}

/// The encoding that a byte order mark names, and its length.
fn by_mark(bytes: &[u8]) -> (Option<Encoding>, usize) {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => (Some(Encoding::Utf8), 3),
        [0xff, 0xfe, ..] => (Some(Encoding::Utf16Le), 2),
        [0xfe, 0xff, ..] => (Some(Encoding::Utf16Be), 2),
        _ => (None, 0),
    }
}

fn detect_unmarked(bytes: &[u8]) -> Encoding {
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
    matches!(by_mark(bytes).0.or_else(|| utf16_by_zeros(bytes)), Some(Encoding::Utf16Le | Encoding::Utf16Be))
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

/// Where the decoded part of a window that is not the last one ends: behind the last line break, else between two
/// characters.
fn window_end(bytes: &[u8], encoding: Encoding) -> usize {
    let after_break = match encoding {
        Encoding::Utf16Le => bytes.as_chunks::<2>().0.iter().rposition(|unit| *unit == [b'\n', 0]).map(|at| 2 * at + 2),
        Encoding::Utf16Be => bytes.as_chunks::<2>().0.iter().rposition(|unit| *unit == [0, b'\n']).map(|at| 2 * at + 2),
        // In GBK no second byte is below 0x40, so a line break is always one.
        Encoding::Utf8 | Encoding::Gbk | Encoding::Latin1 => memchr::memrchr(b'\n', bytes).map(|at| at + 1),
    };
    after_break.unwrap_or_else(|| match encoding {
        Encoding::Utf8 => whole_utf8(bytes),
        Encoding::Latin1 => bytes.len(),
        Encoding::Gbk => bytes.iter().rposition(|byte| *byte < 0x40).map_or(bytes.len(), |at| at + 1),
        Encoding::Utf16Le | Encoding::Utf16Be => {
            let end = bytes.len() & !1;
            if ends_with_high_surrogate(&bytes[..end], encoding) { end - 2 } else { end }
        }
    })
}

/// The length without a character that is cut off at the end.
fn whole_utf8(bytes: &[u8]) -> usize {
    let is_lead = |byte: u8| byte >= 0xc0;
    let start = bytes.len().saturating_sub(3);
    let cut = bytes[start..].iter().rposition(|byte| is_lead(*byte)).map(|at| start + at);
    let Some(lead) = cut else { return bytes.len() };
    let wanted = match bytes[lead] {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    };
    if bytes.len() - lead < wanted { lead } else { bytes.len() }
}

/// The end of the piece at `start`: about [`MARK_EVERY`] bytes, and between two characters.
fn piece_end(bytes: &[u8], start: usize, encoding: Encoding) -> usize {
    let end = (start + MARK_EVERY).min(bytes.len());
    if end == bytes.len() {
        return end;
    }
    match encoding {
        Encoding::Utf8 | Encoding::Latin1 => end,
        Encoding::Gbk => bytes[end..].iter().position(|byte| *byte < 0x40).map_or(bytes.len(), |at| end + at + 1),
        Encoding::Utf16Le | Encoding::Utf16Be => {
            let splits_pair = ends_with_high_surrogate(&bytes[..end], encoding) && end + 2 <= bytes.len();
            if splits_pair { end + 2 } else { end }
        }
    }
}

fn ends_with_high_surrogate(bytes: &[u8], encoding: Encoding) -> bool {
    let last = bytes.last_chunk::<2>().map(|pair| match encoding {
        Encoding::Utf16Be => u16::from_be_bytes(*pair),
        _ => u16::from_le_bytes(*pair),
    });
    last.is_some_and(|unit| (0xd800..0xdc00).contains(&unit))
}
