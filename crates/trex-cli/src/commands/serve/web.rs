//! The service on a port: which requests are let in, and how answers go out. Knows no model.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::IntoFuture as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request as WebRequest, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};
use trex_domain::{Clock as _, GenerationConfig, Millis};

use super::protocol::{Heading, Refusal, Request, models};
use super::voice::{Heard, Voice};
use crate::system::{self, SystemClock};

/// Largest request in bytes.
const MAX_BODY: usize = 4 << 20;

/// Pieces of an answer that may lie between the model and a slow client.
const PIECES: usize = 64;

/// How often the service looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all requests share.
pub(super) struct Service {
    pub(super) voice: Voice,
    pub(super) name: String,
    pub(super) generation: GenerationConfig,
    pub(super) started: Millis,
    pub(super) host: IpAddr,
    pub(super) key: Option<String>,
    pub(super) answered: AtomicU64,
}

/// Answers requests until a stop is asked for. Answers that are on their way are ended, because nobody says how long they take.
pub(super) fn serve(listener: TcpListener, service: Service) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let serving = axum::serve(listener, router(Arc::new(service))).into_future();
        tokio::select! {
            ended = serving => ended,
            () = asked_to_stop() => Ok(()),
        }
    })
}

async fn asked_to_stop() {
    while !system::stop_requested() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/v1/models", get(list))
        .route("/v1/chat/completions", post(complete))
        .fallback(|uri: Uri| async move {
            refused(&Refusal::other(404, "invalid_request_error", format!("nothing is served at {}", uri.path())))
        })
        .layer(middleware::from_fn_with_state(service.clone(), let_in))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(service)
}

/// Lets requests through that name this machine, and that bring the key where there is one.
async fn let_in(State(service): State<Arc<Service>>, request: WebRequest, next: Next) -> Response {
    match admitted(&service, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(&refusal),
    }
}

fn admitted(service: &Service, headers: &HeaderMap) -> Result<(), Refusal> {
    let word = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A web page that has its own name lead to this machine still names itself here.
    let is_ours = !service.host.is_loopback() || word(header::HOST).is_some_and(names_this_machine);
    if !is_ours {
        return Err(Refusal::other(403, "permission_error", "only programs of this machine are answered"));
    }
    let Some(key) = &service.key else { return Ok(()) };
    let given = word(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if is_same(given.as_bytes(), key.as_bytes()) {
        return Ok(());
    }
    Err(Refusal::other(401, "authentication_error", "the API key is missing or another one"))
}

fn names_this_machine(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = in_brackets.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Takes as long for a key that is nearly right as for one that is all wrong.
fn is_same(given: &[u8], key: &[u8]) -> bool {
    given.len() == key.len() && given.iter().zip(key).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(refusal.body())).into_response()
}

async fn list(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(models(&service.name, service.started))
}

async fn complete(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    match answer(&service, &body).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    }
}

async fn answer(service: &Service, body: &[u8]) -> Result<Response, Refusal> {
    let request = Request::parse(body, service.generation)?;
    let number = service.answered.fetch_add(1, Ordering::Relaxed) + 1;
    let created = SystemClock.now();
    let id = format!("chatcmpl-{:x}-{number}", service.started.0);
    let heading = Heading { id, created, model: service.name.clone() };
    let (stream, include_usage) = (request.stream, request.include_usage);
    let (listener, mut heard) = channel(PIECES);
    service.voice.ask(request, listener)?;
    if !stream {
        return whole(&heading, &mut heard).await;
    }
    // What is refused is refused with a status, which a stream that has begun no longer has.
    let first = heard.recv().await.unwrap_or_else(|| Heard::Fault(stopped()));
    if let Heard::Fault(refusal) = first {
        return Err(refusal);
    }
    let waiting = VecDeque::from([heading.first_chunk().to_string()]);
    let mut stream = Stream { heading, heard, include_usage, waiting, ended: false };
    stream.take(first);
    let events = futures_util::stream::unfold(stream, |mut stream| async move {
        let data = stream.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(data)), stream))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn whole(heading: &Heading, heard: &mut Receiver<Heard>) -> Result<Response, Refusal> {
    while let Some(one) = heard.recv().await {
        match one {
            Heard::Piece(_) => {}
            Heard::End(said) => return Ok(Json(heading.completion(&said)).into_response()),
            Heard::Fault(refusal) => return Err(refusal),
        }
    }
    Err(stopped())
}

fn stopped() -> Refusal {
    Refusal::other(503, "server_error", "the model has stopped")
}

/// A streamed answer while it goes out.
struct Stream {
    heading: Heading,
    heard: Receiver<Heard>,
    include_usage: bool,
    /// What is to be written next.
    waiting: VecDeque<String>,
    /// Whether nothing more will be heard.
    ended: bool,
}

impl Stream {
    fn take(&mut self, heard: Heard) {
        self.ended = !matches!(heard, Heard::Piece(_));
        self.waiting.extend(parts(&self.heading, heard, self.include_usage));
    }

    async fn next(&mut self) -> Option<String> {
        if self.waiting.is_empty() && !self.ended {
            let heard = self.heard.recv().await.unwrap_or_else(|| Heard::Fault(stopped()));
            self.take(heard);
        }
        self.waiting.pop_front()
    }
}

/// What is written of something that was heard.
fn parts(heading: &Heading, heard: Heard, include_usage: bool) -> Vec<String> {
    match heard {
        Heard::Piece(text) => vec![heading.text_chunk(&text).to_string()],
        Heard::End(said) => {
            let usage = include_usage.then(|| heading.usage_chunk(&said).to_string());
            let last = heading.last_chunk(&said).to_string();
            std::iter::once(last).chain(usage).chain(["[DONE]".to_owned()]).collect()
        }
        Heard::Fault(refusal) => vec![refusal.body().to_string(), "[DONE]".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_let_in() {
        let cases = [
            ("127.0.0.1:8765", true),
            ("localhost:8765", true),
            ("LOCALHOST", true),
            ("[::1]:8765", true),
            ("[::1]", true),
            ("127.8.0.1", true),
            ("evil.example:8765", false),
            ("localhost.evil.example", false),
            ("192.168.0.7:8765", false),
            ("", false),
        ];
        for (host, expected) in cases {
            assert_eq!(names_this_machine(host), expected, "{host}");
        }
    }

    #[test]
    fn a_key_is_the_same_or_it_is_not() {
        for (given, key, expected) in
            [("abc", "abc", true), ("abd", "abc", false), ("ab", "abc", false), ("", "", true)]
        {
            assert_eq!(is_same(given.as_bytes(), key.as_bytes()), expected, "{given} {key}");
        }
    }
}
