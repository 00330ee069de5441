//! OpenAI's chat completions as text: what a request asks for, and the documents that answer it. Opens no socket and runs no
//! model.
//!
//! What a field means is OpenAI's documentation of `POST /v1/chat/completions`; `top_k`, `min_p` and `repetition_penalty` are
//! named as vLLM and llama.cpp name them. A field that would change the answer and cannot be kept is refused; one that is
//! unknown is left alone, as clients send many.

use serde::Deserialize;
use serde_json::{Value, json};
use trex_domain::{GenerationConfig, Message, Millis, Role};
use trex_train::{Ended, Said};

/// Stop words that a request may have.
const MAX_STOPS: usize = 4;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    /// The field that is wrong.
    pub(super) param: Option<&'static str>,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, kind: "invalid_request_error", param: Some(param), message: message.into() }
    }

    pub(super) fn other(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, param: None, message: message.into() }
    }

    /// The document that says so.
    pub(super) fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": null } })
    }
}

/// A request as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    messages: Vec<WrittenMessage>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    seed: Option<i64>,
    stop: Option<Stop>,
    response_format: Option<ResponseFormat>,
    n: Option<u64>,
    logprobs: Option<bool>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct WrittenMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) messages: Vec<Message>,
    pub(super) max_new_tokens: Option<usize>,
    pub(super) generation: GenerationConfig,
    pub(super) seed: u64,
    pub(super) stop: Vec<String>,
    pub(super) schema: Option<Value>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Request {
    /// Reads a request; what it leaves out of how tokens are chosen is as in `task`.
    pub(super) fn parse(body: &[u8], task: GenerationConfig) -> Result<Self, Refusal> {
        let written: Written = serde_json::from_slice(body)
            .map_err(|err| Refusal::other(400, "invalid_request_error", format!("not a chat completion: {err}")))?;
        refuse_what_cannot_be_kept(&written)?;
        let messages = written.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        if messages.is_empty() {
            return Err(Refusal::bad("messages", "there is no message"));
        }
        Ok(Self {
            messages,
            max_new_tokens: limit(&written)?,
            generation: generation(&written, task)?,
            seed: written.seed.map_or(0, i64::cast_unsigned),
            stop: stops(written.stop)?,
            schema: schema(written.response_format)?,
            stream: written.stream,
            include_usage: written.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

fn refuse_what_cannot_be_kept(written: &Written) -> Result<(), Refusal> {
    let is_set = |value: Option<f64>| value.is_some_and(|value| value != 0.0);
    let some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let cannot = [
        ("n", written.n.is_some_and(|n| n != 1), "one answer is given to a request"),
        ("logprobs", written.logprobs == Some(true), "log-probabilities are not given"),
        ("frequency_penalty", is_set(written.frequency_penalty), "use repetition_penalty"),
        ("presence_penalty", is_set(written.presence_penalty), "use repetition_penalty"),
        ("tools", some(&written.tools), "the model calls no tools; use response_format with a schema"),
        ("functions", some(&written.functions), "the model calls no functions; use response_format with a schema"),
    ];
    match cannot.into_iter().find(|(_, is_asked, _)| *is_asked) {
        Some((param, _, why)) => Err(Refusal::bad(param, format!("{param}: {why}"))),
        None => Ok(()),
    }
}

fn message(written: &WrittenMessage) -> Result<Message, Refusal> {
    let role = match written.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            return Err(Refusal::bad(
                "messages",
                format!("messages: no role {other:?}; known are system, user, assistant"),
            ));
        }
    };
    let content = match &written.content {
        None => return Err(Refusal::bad("messages", "messages: a message has no content")),
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Parts(parts)) => parts.iter().map(words).collect::<Result<Vec<_>, _>>()?.concat(),
    };
    Ok(Message { role, content })
}

fn words(part: &Part) -> Result<&str, Refusal> {
    let text = part.text.as_deref().filter(|_| part.kind == "text");
    text.ok_or_else(|| Refusal::bad("messages", format!("messages: the model reads no {:?}, only text", part.kind)))
}

fn limit(written: &Written) -> Result<Option<usize>, Refusal> {
    match written.max_completion_tokens.or(written.max_tokens) {
        Some(0) => Err(Refusal::bad("max_tokens", "max_tokens must be at least 1")),
        limit => Ok(limit),
    }
}

fn generation(written: &Written, task: GenerationConfig) -> Result<GenerationConfig, Refusal> {
    let mut config = task;
    if let Some(temperature) = written.temperature {
        if temperature.is_nan() || temperature < 0.0 {
            return Err(Refusal::bad("temperature", "temperature must be at least 0"));
        }
        config.do_sample = temperature > 0.0;
        // Without drawing there is no temperature.
        config.temperature = if config.do_sample { temperature } else { GenerationConfig::default().temperature };
    }
    let asks_to_draw = [written.top_p, written.min_p].into_iter().flatten().any(|share| share > 0.0 && share < 1.0);
    if written.temperature.is_none() && (asks_to_draw || written.top_k.is_some_and(|k| k > 1)) {
        config.do_sample = true;
    }
    if config.do_sample {
        config.top_p = written.top_p.unwrap_or(config.top_p);
        config.top_k = written.top_k.unwrap_or(config.top_k);
        config.min_p = written.min_p.unwrap_or(config.min_p);
    } else {
        let plain = GenerationConfig::default();
        (config.top_p, config.top_k, config.min_p) = (plain.top_p, plain.top_k, plain.min_p);
    }
    config.repetition_penalty = written.repetition_penalty.unwrap_or(config.repetition_penalty);
    config.validate().map_err(|err| Refusal::other(400, "invalid_request_error", err.to_string()))?;
    Ok(config)
}

fn stops(stop: Option<Stop>) -> Result<Vec<String>, Refusal> {
    let stops = match stop {
        None => Vec::new(),
        Some(Stop::One(word)) => vec![word],
        Some(Stop::Several(words)) => words,
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) {
        return Err(Refusal::bad("stop", format!("stop: at most {MAX_STOPS} words, none of them empty")));
    }
    Ok(stops)
}

fn schema(format: Option<ResponseFormat>) -> Result<Option<Value>, Refusal> {
    let Some(format) = format else { return Ok(None) };
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_schema" => {
            let schema = format.json_schema.and_then(|named| named.schema);
            schema
                .map(Some)
                .ok_or_else(|| Refusal::bad("response_format", "response_format: json_schema.schema is missing"))
        }
        other => {
            let message = format!("response_format: no type {other:?}; known are text and json_schema");
            Err(Refusal::bad("response_format", message))
        }
    }
}

/// What all documents of one answer share.
#[derive(Clone, Debug)]
pub(super) struct Heading {
    pub(super) id: String,
    pub(super) created: Millis,
    pub(super) model: String,
}

impl Heading {
    fn document(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created.0 / 1000, "model": self.model, "choices": choices,
        })
    }

    /// A whole answer.
    pub(super) fn completion(&self, said: &Said) -> Value {
        let message = json!({ "role": "assistant", "content": said.text });
        let choice = json!({ "index": 0, "message": message, "finish_reason": reason(said), "logprobs": null });
        let mut document = self.document("chat.completion", &json!([choice]));
        document["usage"] = usage(said);
        document
    }

    /// The first part of a streamed answer.
    pub(super) fn first_chunk(&self) -> Value {
        self.chunk(&json!({ "role": "assistant", "content": "" }), None)
    }

    /// A piece of text.
    pub(super) fn text_chunk(&self, text: &str) -> Value {
        self.chunk(&json!({ "content": text }), None)
    }

    /// What ends the text.
    pub(super) fn last_chunk(&self, said: &Said) -> Value {
        self.chunk(&json!({}), Some(reason(said)))
    }

    /// What was counted, where a client wants to know.
    pub(super) fn usage_chunk(&self, said: &Said) -> Value {
        let mut document = self.document("chat.completion.chunk", &json!([]));
        document["usage"] = usage(said);
        document
    }

    fn chunk(&self, delta: &Value, reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason, "logprobs": null });
        self.document("chat.completion.chunk", &json!([choice]))
    }
}

fn reason(said: &Said) -> &'static str {
    match said.ended {
        Ended::Length => "length",
        Ended::Stop | Ended::Cancelled => "stop",
    }
}

fn usage(said: &Said) -> Value {
    let (read, written) = (said.prompt_tokens, said.completion_tokens);
    json!({ "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written })
}

/// The list of what is served.
pub(super) fn models(name: &str, created: Millis) -> Value {
    let model = json!({ "id": name, "object": "model", "created": created.0 / 1000, "owned_by": "trex" });
    json!({ "object": "list", "data": [model] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<Request, Refusal> {
        Request::parse(body.to_string().as_bytes(), GenerationConfig::default())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = json!({ "model": "any", "messages": [{ "role": "user", "content": "hello" }] });
        body[field] = value;
        body
    }

    #[test]
    fn a_plain_request_is_answered_as_the_task_says() {
        let task = GenerationConfig { repetition_penalty: 1.3, ..GenerationConfig::default() };
        let body = with("unknown_field", json!({ "kept": "by nobody" }));
        let request = Request::parse(body.to_string().as_bytes(), task).unwrap();
        assert_eq!((request.messages, request.generation), (vec![Message::user("hello")], task));
        assert!(!request.stream && request.max_new_tokens.is_none() && request.schema.is_none());
    }

    #[test]
    fn contents_may_come_in_parts_and_developers_speak_for_the_system() {
        let body = json!({ "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "be " }, { "type": "text", "text": "brief" }] },
            { "role": "user", "content": "why?" }, { "role": "assistant", "content": "so" },
        ] });
        let expected = vec![Message::system("be brief"), Message::user("why?"), Message::assistant("so")];
        assert_eq!(parse(&body).unwrap().messages, expected);
    }

    #[test]
    fn a_temperature_draws_and_none_does_not() {
        let drawn = |field: &str, value: Value| parse(&with(field, value)).unwrap().generation;
        assert!(drawn("temperature", json!(0.7)).do_sample);
        assert!(!drawn("temperature", json!(0)).do_sample);
        assert!(drawn("top_p", json!(0.9)).do_sample);
        assert!(!drawn("top_p", json!(1.0)).do_sample);
        assert!((drawn("repetition_penalty", json!(1.2)).repetition_penalty - 1.2).abs() < 1e-9);
    }

    #[test]
    fn words_that_end_an_answer_come_alone_or_in_a_list() {
        assert_eq!(parse(&with("stop", json!("\n"))).unwrap().stop, ["\n"]);
        assert_eq!(parse(&with("stop", json!(["a", "b"]))).unwrap().stop, ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let cases = [
            ("messages", json!([])),
            ("messages", json!([{ "role": "tool", "content": "x" }])),
            ("messages", json!([{ "role": "user" }])),
            ("messages", json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }])),
            ("n", json!(2)),
            ("logprobs", json!(true)),
            ("presence_penalty", json!(0.5)),
            ("tools", json!([{ "type": "function" }])),
            ("max_tokens", json!(0)),
            ("temperature", json!(-1)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("response_format", json!({ "type": "json_object" })),
            ("response_format", json!({ "type": "json_schema" })),
        ];
        for (field, value) in cases {
            let refusal = parse(&with(field, value.clone())).unwrap_err();
            assert_eq!((refusal.status, refusal.param), (400, Some(field)), "{field}: {value}");
            assert_eq!(refusal.body()["error"]["param"], field);
        }
        for body in ["", "[]", "{}", "{\"messages\":3}"] {
            let refusal = Request::parse(body.as_bytes(), GenerationConfig::default()).unwrap_err();
            assert_eq!((refusal.status, refusal.param), (400, None), "{body}");
        }
        let both = json!({ "messages": [{ "role": "user", "content": "x" }], "temperature": 1.0, "top_p": 1.5 });
        assert_eq!(parse(&both).unwrap_err().status, 400);
    }

    #[test]
    fn an_answer_is_told_whole_and_in_parts() {
        let heading = Heading { id: "chatcmpl-1".to_owned(), created: Millis(5_000), model: "demo".to_owned() };
        let said = Said { text: "yes".to_owned(), prompt_tokens: 4, completion_tokens: 1, ended: Ended::Length };
        let whole = heading.completion(&said);
        assert_eq!(whole["choices"][0]["message"]["content"], "yes");
        assert_eq!((&whole["choices"][0]["finish_reason"], &whole["created"]), (&json!("length"), &json!(5)));
        assert_eq!(whole["usage"], json!({ "prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5 }));
        assert_eq!(heading.text_chunk("ye")["choices"][0]["delta"], json!({ "content": "ye" }));
        assert_eq!(heading.last_chunk(&said)["choices"][0]["finish_reason"], "length");
        assert_eq!(heading.usage_chunk(&said)["choices"], json!([]));
    }
}
