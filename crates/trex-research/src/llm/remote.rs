//! A language model behind an address: one question with retries, the breaker and the gate around it.

use std::sync::{Arc, Mutex, PoisonError};

use trex_domain::{Clock, ErrorClass, LanguageModel, ModelReply, ModelRequest, Problem, ReplyControl, TokenUsage};

use crate::llm::breaker::Breaker;
use crate::llm::http::{CallLimits, Outgoing, excerpt, exchange};
use crate::llm::retry::{Pause, pause_after};
use crate::llm::sse::EventStream;
use crate::llm::{Endpoint, ModelError, Wire, anthropic, openai};
use crate::net::host_of;
use crate::{NetGate, Secret};

/// What a remote model needs of the world.
#[derive(Clone)]
pub struct Surroundings {
    /// The gate that every question passes.
    pub gate: Arc<NetGate>,
    /// For the breaker.
    pub clock: Arc<dyn Clock>,
    /// For the pauses between attempts.
    pub pause: Arc<dyn Pause>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// A model behind an address.
#[derive(Debug)]
pub struct RemoteModel {
    endpoint: Endpoint,
    key: Option<Secret>,
    limits: CallLimits,
    surroundings: Surroundings,
    breaker: Mutex<Breaker>,
}

impl RemoteModel {
    /// Opens nothing yet.
    pub fn new(endpoint: Endpoint, key: Option<Secret>, limits: CallLimits, surroundings: Surroundings) -> Self {
        Self { endpoint, key, limits, surroundings, breaker: Mutex::default() }
    }

    /// Asks, and asks again where the error may pass: after a pause, at most as often as the limits say.
    fn ask_patiently(&self, request: &ModelRequest, control: &mut dyn ReplyControl) -> Result<ModelReply, ModelError> {
        self.check_breaker()?;
        let mut attempt = 1;
        let outcome = loop {
            let err = match self.ask_once(request, control) {
                Ok(reply) => break Ok(reply),
                Err(err) => err,
            };
            let asked = err.retry_after();
            let is_too_long = asked.is_some_and(|pause| pause > self.limits.longest_pause);
            if err.class() != ErrorClass::Transient || attempt >= self.limits.attempts || is_too_long {
                break Err(err);
            }
            let pause = pause_after(attempt, asked, self.endpoint.name());
            if !self.surroundings.pause.wait(pause, &|| control.goes_on()) {
                break Err(ModelError::Cancelled);
            }
            attempt += 1;
        };
        self.note(&outcome);
        outcome
    }

    fn check_breaker(&self) -> Result<(), ModelError> {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.closed_at(self.surroundings.clock.now()).map_err(|(wait_ms, failures)| ModelError::CircuitOpen {
            host: self.endpoint.name().to_owned(),
            failures,
            wait_s: u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000),
        })
    }

    fn note(&self, outcome: &Result<ModelReply, ModelError>) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(err) if err.class() == ErrorClass::Transient => breaker.failed(self.surroundings.clock.now()),
            Err(ModelError::Cancelled | ModelError::Gate(_)) => {}
            _ => breaker.succeeded(),
        }
    }

    fn ask_once(&self, request: &ModelRequest, control: &mut dyn ReplyControl) -> Result<ModelReply, ModelError> {
        let outgoing = self.outgoing(request)?;
        let host = outgoing.host.clone();
        let mut reading = Reading::new(self.endpoint.wire(), host);
        exchange(outgoing, &self.limits, control, &mut |content_type, bytes, control| {
            reading.take(content_type, bytes, control)
        })?;
        reading.finish(control)
    }

    fn outgoing(&self, request: &ModelRequest) -> Result<Outgoing, ModelError> {
        let url = self.endpoint.url();
        let host = host_of(&url)?;
        self.surroundings.gate.check_model(&url, self.key.is_some(), &format!("asking {}", self.endpoint.name()))?;
        let key = |prefix: &str| self.key.as_ref().map(|key| Secret::new(format!("{prefix}{}", key.expose())));
        let (body, headers) = match self.endpoint.wire() {
            Wire::OpenAi => (
                openai::body(&self.endpoint, request),
                key("Bearer ").map(|key| ("authorization", key)).into_iter().collect(),
            ),
            Wire::Anthropic => {
                let version = ("anthropic-version", Secret::new(anthropic::VERSION.to_owned()));
                let headers: Vec<_> = key("").map(|key| ("x-api-key", key)).into_iter().chain([version]).collect();
                (anthropic::body(&self.endpoint, request), headers)
            }
        };
        Ok(Outgoing { url, host, headers, body: body.to_string(), is_local: self.endpoint.is_local() })
    }
}

impl LanguageModel for RemoteModel {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn ask(
        &self,
        request: &ModelRequest,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        self.ask_patiently(request, control).map_err(ModelError::boxed)
    }
}

/// What a protocol has told so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) text: String,
    pub(super) usage: TokenUsage,
    pub(super) cut_at_limit: bool,
    pub(super) is_complete: bool,
}

/// What can be wrong with one event of a stream.
#[derive(Debug)]
pub(super) enum StreamFault {
    /// No JSON.
    NotJson(serde_json::Error),
    /// JSON of something else.
    Foreign,
    /// The service reports an error of its own, with the status that it would have had.
    Told { status: u16, text: String },
}

/// An answer that is being read.
struct Reading {
    wire: Wire,
    host: String,
    form: Option<BodyForm>,
    gathered: Gathered,
    received: usize,
}

enum BodyForm {
    Events(EventStream),
    Document(Vec<u8>),
}

impl Reading {
    fn new(wire: Wire, host: String) -> Self {
        Self { wire, host, form: None, gathered: Gathered::default(), received: 0 }
    }

    fn take(&mut self, content_type: &str, bytes: &[u8], control: &mut dyn ReplyControl) -> Result<(), ModelError> {
        self.received += bytes.len();
        let form = match self.form.take() {
            Some(form) => form,
            None => self.form_of(content_type)?,
        };
        match form {
            BodyForm::Document(mut document) => {
                document.extend_from_slice(bytes);
                self.form = Some(BodyForm::Document(document));
            }
            BodyForm::Events(mut stream) => {
                let events = stream.feed(bytes);
                self.form = Some(BodyForm::Events(stream));
                for event in events {
                    self.take_event(&event, control)?;
                }
            }
        }
        Ok(())
    }

    fn form_of(&self, content_type: &str) -> Result<BodyForm, ModelError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Ok(BodyForm::Events(EventStream::default())),
            // Some servers do not stream; then the whole answer comes as one document.
            "application/json" => Ok(BodyForm::Document(Vec::new())),
            found => Err(ModelError::WrongContentType { host: self.host.clone(), found: excerpt(found) }),
        }
    }

    fn take_event(&mut self, data: &str, control: &mut dyn ReplyControl) -> Result<(), ModelError> {
        let taken = match self.wire {
            Wire::OpenAi => openai::take(data, &mut self.gathered),
            Wire::Anthropic => anthropic::take(data, &mut self.gathered),
        };
        let piece = taken.map_err(|fault| self.error_from(fault, data))?;
        if !piece.is_empty() {
            control.on_text(&piece);
            self.gathered.text.push_str(&piece);
        }
        Ok(())
    }

    fn error_from(&self, fault: StreamFault, data: &str) -> ModelError {
        let (host, retry_after) = (self.host.clone(), None);
        match fault {
            StreamFault::NotJson(source) => ModelError::Protocol { host, excerpt: excerpt(data), source: Some(source) },
            StreamFault::Foreign => ModelError::Protocol { host, excerpt: excerpt(data), source: None },
            StreamFault::Told { status, text } => match status {
                401 | 403 => ModelError::Unauthorised { host, status, excerpt: excerpt(&text) },
                429 => ModelError::RateLimited { host, retry_after, excerpt: excerpt(&text) },
                500.. => ModelError::Unavailable { host, status, retry_after, excerpt: excerpt(&text) },
                _ => ModelError::Refused { host, status, excerpt: excerpt(&text) },
            },
        }
    }

    fn finish(mut self, control: &mut dyn ReplyControl) -> Result<ModelReply, ModelError> {
        match self.form.take() {
            Some(BodyForm::Events(stream)) => {
                // The last event may lack its empty line, or be the half of one.
                let last = stream.finish().map(|event| self.take_event(&event, control));
                if let Some(Err(err)) = last.filter(|taken| !matches!(taken, Err(ModelError::Protocol { .. }))) {
                    return Err(err);
                }
            }
            Some(BodyForm::Document(document)) => {
                let text = String::from_utf8_lossy(&document).into_owned();
                self.take_event(&text, control)?;
                self.gathered.is_complete = true;
            }
            None => {}
        }
        if !self.gathered.is_complete {
            return Err(ModelError::CutOff { host: self.host, received: self.received, source: None });
        }
        let Gathered { text, usage, cut_at_limit, .. } = self.gathered;
        Ok(ModelReply { text, usage, cut_at_limit, replayed: false })
    }
}
