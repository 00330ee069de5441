//! Messages of Anthropic: the question as JSON, and the answer out of stream events or one document. Opens no connection.

use serde_json::{Value, json};
use trex_domain::{AnswerForm, ModelRequest, Role};

use crate::llm::Endpoint;
use crate::llm::remote::{Gathered, StreamFault};

/// The version of the protocol that is spoken.
pub(super) const VERSION: &str = "2023-06-01";

/// The body of a question. A schema becomes a tool that the model has to use, which is how this service takes schemas.
pub(super) fn body(endpoint: &Endpoint, request: &ModelRequest) -> Value {
    let is_system = |role: Role| role == Role::System;
    let system: Vec<&str> = request
        .messages
        .iter()
        .filter(|message| is_system(message.role))
        .map(|message| message.content.as_str())
        .collect();
    let turns: Vec<_> = request.messages.iter().filter(|message| !is_system(message.role)).collect();
    let mut body = json!({
        "model": endpoint.model(),
        "messages": turns,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": true,
    });
    if !system.is_empty() {
        body["system"] = json!(system.join("\n\n"));
    }
    if let AnswerForm::JsonSchema { name, schema } = &request.form {
        body["tools"] = json!([{"name": name, "description": "Gives the answer.", "input_schema": schema}]);
        body["tool_choice"] = json!({"type": "tool", "name": name});
    }
    body
}

/// Takes one event of a stream, or the one document; returns the piece of text in it.
pub(super) fn take(data: &str, gathered: &mut Gathered) -> Result<String, StreamFault> {
    let event: Value = serde_json::from_str(data).map_err(StreamFault::NotJson)?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_u64);
    match event["type"].as_str() {
        Some("message_start") => {
            gathered.usage.prompt_tokens = number("/message/usage/input_tokens").unwrap_or(0);
            Ok(String::new())
        }
        Some("content_block_delta") => {
            Ok(text("/delta/text").or_else(|| text("/delta/partial_json")).unwrap_or_default())
        }
        Some("message_delta") => {
            gathered.usage.completion_tokens = number("/usage/output_tokens").unwrap_or(0);
            gathered.cut_at_limit = event.pointer("/delta/stop_reason") == Some(&json!("max_tokens"));
            Ok(String::new())
        }
        Some("message_stop") => {
            gathered.is_complete = true;
            Ok(String::new())
        }
        Some("message") => Ok(whole(&event, gathered)),
        Some("error") => Err(StreamFault::Told {
            status: status_of(event.pointer("/error/type").and_then(Value::as_str)),
            text: text("/error/message").unwrap_or_default(),
        }),
        // `ping`, the ends of blocks, and whatever comes to the protocol later.
        Some(_) => Ok(String::new()),
        None => Err(StreamFault::Foreign),
    }
}

fn whole(message: &Value, gathered: &mut Gathered) -> String {
    let number = |pointer: &str| message.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    gathered.usage.prompt_tokens = number("/usage/input_tokens");
    gathered.usage.completion_tokens = number("/usage/output_tokens");
    gathered.cut_at_limit = message["stop_reason"] == "max_tokens";
    gathered.is_complete = true;
    let blocks = message["content"].as_array().into_iter().flatten();
    let said = blocks.map(|block| match block["type"].as_str() {
        Some("text") => block["text"].as_str().unwrap_or_default().to_owned(),
        Some("tool_use") => block["input"].to_string(),
        _ => String::new(),
    });
    said.collect()
}

/// The HTTP status that an error inside a stream would have had.
fn status_of(kind: Option<&str>) -> u16 {
    match kind {
        Some("rate_limit_error") => 429,
        Some("authentication_error" | "permission_error") => 401,
        Some("invalid_request_error") => 400,
        Some("not_found_error") => 404,
        _ => 529,
    }
}
