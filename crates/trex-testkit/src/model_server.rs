//! A language model service on the loopback device that behaves as it is told to, badly for the most part.
//!
//! Speaks as much of HTTP and of chat completions as the tests of clients need. It thinks nothing: answers are given.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the service does with one question.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Streams this text in pieces of a few bytes, as chat completions do, with 7 tokens read and 3 written.
    Says(String),
    /// The same without streaming.
    SaysAtOnce(String),
    /// Streams this text and leaves in the middle of the next event.
    BreaksOffAfter(String),
    /// Takes the question and sends nothing, for as long as the service lives.
    Nothing,
    /// Streams this text and then nothing more, for as long as the service lives.
    StallsAfter(String),
    /// A status with a body of JSON.
    Status(u16, &'static [(&'static str, &'static str)], String),
    /// Status 200 with a body of this content type.
    Body(&'static str, String),
    /// So many bytes of text in one answer.
    Bytes(usize),
    /// Leaves without a word.
    HangsUp,
}

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Path of the address.
    pub path: String,
    /// Headers in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Heard {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The service; it ends when it is dropped.
#[derive(Debug)]
pub struct ModelServer {
    address: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Starts a service that reacts to each question in turn; the last reaction is repeated.
    ///
    /// # Panics
    /// Panics where the loopback device has no free port.
    pub fn start(reactions: Vec<Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback device has a free port");
        let address = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let (heard, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, done) = (heard.clone(), stop.clone());
        let thread = std::thread::spawn(move || serve(&listener, &reactions, &log, &done));
        Self { address, heard, stop, thread: Some(thread) }
    }

    /// Its address, without a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All questions so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        TcpStream::connect(self.address.trim_start_matches("http://")).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(listener: &TcpListener, reactions: &[Reaction], log: &Mutex<Vec<Heard>>, stop: &AtomicBool) {
    // Connections that are kept open without a word.
    let mut held = Vec::new();
    for (number, stream) in listener.incoming().enumerate() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        let Some(heard) = read(&stream) else { continue };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
        let Some(reaction) = reactions.get(number).or(reactions.last()) else { continue };
        // A client that has gone is what several tests want.
        stream.write_all(&answer(reaction)).ok();
        if matches!(reaction, Reaction::Nothing | Reaction::StallsAfter(_)) {
            held.push(stream);
        }
    }
}

fn read(stream: &TcpStream) -> Option<Heard> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Heard { path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn answer(reaction: &Reaction) -> Vec<u8> {
    match reaction {
        Reaction::Says(text) => stream(&(pieces(text) + &ending())),
        Reaction::SaysAtOnce(text) => whole("application/json; charset=utf-8", &document(text)),
        Reaction::BreaksOffAfter(text) => stream(&(pieces(text) + "data: {\"choices\": [{\"del")),
        Reaction::Nothing | Reaction::HangsUp => Vec::new(),
        Reaction::StallsAfter(text) => stream(&pieces(text)),
        Reaction::Status(status, headers, body) => with_head(*status, "application/json", headers, body),
        Reaction::Body(content_type, body) => whole(content_type, body),
        Reaction::Bytes(count) => {
            stream(&format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{}\"}}}}]}}\n\n", "x".repeat(*count)))
        }
    }
}

/// Events with a few characters of text each.
fn pieces(text: &str) -> String {
    const SIZE: usize = 5;
    let characters: Vec<char> = text.chars().collect();
    let event = |piece: &[char]| {
        let piece: String = piece.iter().collect();
        format!("data: {{\"choices\": [{{\"delta\": {{\"content\": {}}}}}]}}\r\n\r\n", quoted(&piece))
    };
    characters.chunks(SIZE).map(event).collect()
}

fn ending() -> String {
    let last = r#"data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}"#;
    let usage = r#"data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}"#;
    format!("{last}\n\n{usage}\n\ndata: [DONE]\n\n")
}

fn document(text: &str) -> String {
    format!(
        r#"{{"choices": [{{"message": {{"role": "assistant", "content": {}}}, "finish_reason": "stop"}}], "usage": {{"prompt_tokens": 7, "completion_tokens": 3}}}}"#,
        quoted(text)
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|character| match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            other if other.is_control() => format!("\\u{:04x}", u32::from(other)),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Without a length, so that the end of the connection is the end of the answer.
fn stream(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n{body}").into_bytes()
}

fn whole(content_type: &str, body: &str) -> Vec<u8> {
    with_head(200, content_type, &[], body)
}

fn with_head(status: u16, content_type: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let lines = lines.concat();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    )
    .into_bytes()
}
