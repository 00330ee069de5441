//! Chat completions: the question as JSON, and the answer out of stream events or one document. Opens no connection.

use serde::Deserialize;
use serde_json::{Value, json};
use trex_domain::{AnswerForm, ModelRequest, TokenUsage};

use crate::llm::Endpoint;
use crate::llm::remote::{Gathered, StreamFault};

/// The body of a question.
pub(super) fn body(endpoint: &Endpoint, request: &ModelRequest) -> Value {
    let limit = if endpoint.uses_completion_limit() { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({
        "model": endpoint.model(),
        "messages": request.messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        "temperature": request.temperature,
        "seed": request.seed,
    });
    body[limit] = json!(request.max_tokens);
    match &request.form {
        AnswerForm::Text => {}
        AnswerForm::JsonObject => body["response_format"] = json!({"type": "json_object"}),
        AnswerForm::JsonSchema { name, schema } => {
            body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema}});
        }
    }
    body
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    /// A piece, in a stream.
    #[serde(default)]
    delta: Option<Said>,
    /// The whole, in one document.
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// Takes one event of a stream, or the one document; returns the piece of text in it.
pub(super) fn take(data: &str, gathered: &mut Gathered) -> Result<String, StreamFault> {
    if data.trim() == "[DONE]" {
        gathered.is_complete = true;
        return Ok(String::new());
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(StreamFault::NotJson)?;
    if let Some(error) = chunk.error {
        let text = error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
        let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        return Err(StreamFault::Told { status: code.unwrap_or(500), text });
    }
    let is_known = chunk.choices.is_some() || chunk.usage.is_some();
    if let Some(usage) = chunk.usage {
        gathered.usage = TokenUsage { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens };
    }
    let Some(choice) = chunk.choices.into_iter().flatten().next() else {
        return if is_known { Ok(String::new()) } else { Err(StreamFault::Foreign) };
    };
    if let Some(reason) = choice.finish_reason {
        gathered.is_complete = true;
        gathered.cut_at_limit = reason == "length";
    }
    match choice.delta.or(choice.message) {
        Some(said) => Ok(said.content.unwrap_or_default()),
        None => Err(StreamFault::Foreign),
    }
}
