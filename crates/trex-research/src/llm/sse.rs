//! Server-sent events out of bytes, as the WHATWG standard defines them; only the data is kept. Knows no protocol above.

/// Takes bytes in pieces of any size and gives the data of complete events.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: Vec<String>,
    after_return: bool,
}

impl EventStream {
    /// The data of the events that these bytes complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in bytes {
            // A line may end in `\r\n`, `\n` or `\r`.
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        events
    }

    /// The data of an event that lacks the empty line at the end of the stream.
    pub(super) fn finish(mut self) -> Option<String> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.take_event()
    }

    fn end_line(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            return self.take_event();
        }
        if let Some(value) = line.strip_prefix("data:") {
            self.data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        }
        None
    }

    fn take_event(&mut self) -> Option<String> {
        let data = std::mem::take(&mut self.data);
        (!data.is_empty()).then(|| data.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut stream = EventStream::default();
        let mut out: Vec<String> = chunks.iter().flat_map(|chunk| stream.feed(chunk)).collect();
        out.extend(stream.finish());
        out
    }

    #[test]
    fn events_are_found_whatever_ends_a_line() {
        let check = |text: &str, expected: &[&str]| assert_eq!(events(&[text.as_bytes()]), expected, "{text:?}");
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b", &["a", "b"]);
        check(": keep-alive\n\nevent: x\nid: 1\ndata: a\ndata: b\n\n", &["a\nb"]);
        check("\n\n\n", &[]);
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(cut in 0usize..40, end in prop::sample::select(vec!["\n", "\r\n", "\r"])) {
            let text = format!("data: {{\"a\": \"é\"}}{end}{end}data: b{end}{end}");
            let cut = cut.min(text.len());
            let (head, tail) = text.as_bytes().split_at(cut);
            prop_assert_eq!(events(&[head, tail]), events(&[text.as_bytes()]));
        }
    }
}
