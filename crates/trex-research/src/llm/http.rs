//! One question over HTTP: a helper thread reads the socket, the caller waits with limits and may give up at any moment.
//!
//! Follows no redirect, so that a key goes nowhere but where it was meant for. Knows nothing of what is asked.

use std::io::{self, Read as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use trex_domain::ReplyControl;

use crate::Secret;
use crate::llm::ModelError;

/// Limits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Until the connection is there.
    pub connect: Duration,
    /// Until the first byte of the answer is there: a model may read a long prompt first.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For the whole answer.
    pub whole: Duration,
    /// Attempts where an error may pass.
    pub attempts: usize,
    /// Most bytes of an answer.
    pub max_bytes: usize,
    /// Longest pause that a service may ask for.
    pub longest_pause: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(5),
            idle: Duration::from_mins(1),
            whole: Duration::from_mins(15),
            attempts: 4,
            max_bytes: 4 << 20,
            longest_pause: Duration::from_mins(1),
        }
    }
}

/// Bytes of an error's text that are read.
const ERROR_BYTES: usize = 16 << 10;

/// Characters of an error's text that are shown.
const EXCERPT_CHARS: usize = 300;

/// How often it is looked whether the answer is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A question on its way.
pub(super) struct Outgoing {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) headers: Vec<(&'static str, Secret)>,
    pub(super) body: String,
    /// Whether it goes to this machine, past any proxy.
    pub(super) is_local: bool,
}

/// The head of an answer.
struct Head {
    status: u16,
    content_type: String,
    retry_after: Option<Duration>,
}

enum Piece {
    Head(Head),
    Bytes(Vec<u8>),
    End,
    NoConnection(Box<ureq::Error>),
    Broken(io::Error),
}

/// Takes a piece of an answer: its content type, its bytes, and who follows the answer.
pub(super) type TakePiece<'a> = dyn FnMut(&str, &[u8], &mut dyn ReplyControl) -> Result<(), ModelError> + 'a;

/// Sends a question and passes the pieces of a good answer on. Bad status codes become
/// errors.
pub(super) fn exchange(
    outgoing: Outgoing,
    limits: &CallLimits,
    control: &mut dyn ReplyControl,
    take: &mut TakePiece<'_>,
) -> Result<(), ModelError> {
    let (host, secrets) = (outgoing.host.clone(), secrets_of(&outgoing));
    let mut waiting = Waiting::new(start(outgoing, limits), limits, host.clone());
    let head = match waiting.next(control)? {
        Piece::Head(head) => head,
        Piece::NoConnection(source) => return Err(no_connection(host, limits, source)),
        _ => return Err(ModelError::CutOff { host, received: 0, source: None }),
    };
    if head.status != 200 {
        let text = waiting.error_text(control)?;
        return Err(status_error(host, &head, &masked(&text, &secrets)));
    }
    loop {
        match waiting.next(control)? {
            Piece::Bytes(bytes) => take(&head.content_type, &bytes, control)?,
            Piece::End => return Ok(()),
            Piece::Broken(source) => {
                return Err(ModelError::CutOff { host, received: waiting.received, source: Some(source) });
            }
            Piece::Head(_) | Piece::NoConnection(_) => {
                return Err(ModelError::CutOff { host, received: waiting.received, source: None });
            }
        }
    }
}

/// The caller's side of a call.
struct Waiting<'a> {
    pieces: Receiver<Piece>,
    limits: &'a CallLimits,
    host: String,
    began: Instant,
    received: usize,
    has_begun: bool,
}

impl<'a> Waiting<'a> {
    fn new(pieces: Receiver<Piece>, limits: &'a CallLimits, host: String) -> Self {
        Self { pieces, limits, host, began: Instant::now(), received: 0, has_begun: false }
    }

    /// The next piece, unless the answer is not wanted any more, is too slow, or is too long.
    fn next(&mut self, control: &dyn ReplyControl) -> Result<Piece, ModelError> {
        let since = Instant::now();
        let limit = if self.has_begun { self.limits.idle } else { self.limits.first_byte };
        loop {
            if !control.goes_on() {
                return Err(ModelError::Cancelled);
            }
            match self.pieces.recv_timeout(LOOK_EVERY.min(limit)) {
                Ok(piece) => return self.counted(piece),
                Err(RecvTimeoutError::Disconnected) => return Ok(Piece::End),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for (spent, limit) in [(since.elapsed(), limit), (self.began.elapsed(), self.limits.whole)] {
                if spent >= limit {
                    return Err(ModelError::TimedOut { host: self.host.clone(), limit });
                }
            }
        }
    }

    fn counted(&mut self, piece: Piece) -> Result<Piece, ModelError> {
        self.has_begun = true;
        if let Piece::Bytes(bytes) = &piece {
            self.received += bytes.len();
        }
        if self.received > self.limits.max_bytes {
            return Err(ModelError::TooLarge { host: self.host.clone(), limit: self.limits.max_bytes });
        }
        Ok(piece)
    }

    fn error_text(&mut self, control: &dyn ReplyControl) -> Result<String, ModelError> {
        let mut text = Vec::new();
        while let Piece::Bytes(bytes) = self.next(control)? {
            text.extend(bytes);
            if text.len() > ERROR_BYTES {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Begins the call on a thread of its own. The thread ends when the answer does, when nobody waits any more and another
/// piece comes, or at the limit for the whole call.
fn start(outgoing: Outgoing, limits: &CallLimits) -> Receiver<Piece> {
    let (sender, receiver) = mpsc::channel();
    let limits = *limits;
    let spawned = std::thread::Builder::new().name("language-model".to_owned()).spawn({
        let sender = sender.clone();
        move || call(&outgoing, &limits, &sender)
    });
    if let Err(err) = spawned {
        sender.send(Piece::NoConnection(Box::new(ureq::Error::Io(err)))).ok();
    }
    receiver
}

fn call(outgoing: &Outgoing, limits: &CallLimits, sender: &Sender<Piece>) {
    match send(outgoing, limits) {
        // Whoever asked may have gone; then nobody needs the rest.
        Err(err) => drop(sender.send(Piece::NoConnection(Box::new(err)))),
        Ok(response) => pass_on(response, sender),
    }
}

fn send(outgoing: &Outgoing, limits: &CallLimits) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(limits.connect))
        .timeout_global(Some(limits.whole));
    if outgoing.is_local {
        config = config.proxy(None);
    }
    let mut request = config.build().new_agent().post(&outgoing.url).content_type("application/json");
    for (name, value) in &outgoing.headers {
        request = request.header(*name, value.expose());
    }
    request.send(outgoing.body.as_bytes())
}

fn pass_on(response: ureq::http::Response<ureq::Body>, sender: &Sender<Piece>) {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let head = Head {
        status: response.status().as_u16(),
        content_type: header("content-type").unwrap_or_default().to_ascii_lowercase(),
        retry_after: header("retry-after").and_then(|text| retry_after(&text)),
    };
    if sender.send(Piece::Head(head)).is_err() {
        return;
    }
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let piece = match reader.read(&mut buffer) {
            Ok(0) => Piece::End,
            Ok(count) => Piece::Bytes(buffer[..count].to_vec()),
            Err(err) => Piece::Broken(err),
        };
        let is_last = !matches!(piece, Piece::Bytes(_));
        if sender.send(piece).is_err() || is_last {
            return;
        }
    }
}

/// Seconds as `Retry-After` gives them; its other form, a date, is not used by the services that are asked here.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn no_connection(host: String, limits: &CallLimits, source: Box<ureq::Error>) -> ModelError {
    match *source {
        ureq::Error::Timeout(_) => ModelError::TimedOut { host, limit: limits.connect },
        _ => ModelError::Unreachable { host, source },
    }
}

fn status_error(host: String, head: &Head, text: &str) -> ModelError {
    let (status, retry_after) = (head.status, head.retry_after);
    let excerpt = excerpt(text);
    match status {
        401 | 403 => ModelError::Unauthorised { host, status, excerpt },
        429 => ModelError::RateLimited { host, retry_after, excerpt },
        408 | 500..=599 => ModelError::Unavailable { host, status, retry_after, excerpt },
        _ => ModelError::Refused { host, status, excerpt },
    }
}

/// The beginning of a text on one line.
pub(super) fn excerpt(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable: String = one_line.chars().filter(|c| !c.is_control()).collect();
    if printable.is_empty() {
        return "no text".to_owned();
    }
    if printable.chars().count() <= EXCERPT_CHARS {
        return printable;
    }
    printable.chars().take(EXCERPT_CHARS).chain("…".chars()).collect()
}

fn secrets_of(outgoing: &Outgoing) -> Vec<Secret> {
    outgoing.headers.iter().map(|(_, value)| value.clone()).collect()
}

/// Services repeat a wrong key in their answer; it is shown to nobody.
fn masked(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let bare = secret.expose().trim_start_matches("Bearer ");
        if bare.len() >= 4 {
            text = text.replace(bare, "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_and_nonsense_is_none() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(retry_after(text), expected.map(Duration::from_secs), "{text:?}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("-1", None);
        check("soon", None);
        check("1e400", None);
    }

    #[test]
    fn a_key_in_an_answer_is_masked() {
        let secrets = [Secret::new("Bearer sk-abcdef".to_owned())];
        assert_eq!(masked("Incorrect key: sk-abcdef.", &secrets), "Incorrect key: ***.");
        assert_eq!(excerpt("  a\n\tb\u{7} "), "a b");
        assert_eq!(excerpt(&"x".repeat(400)).chars().count(), EXCERPT_CHARS + 1);
    }
}
