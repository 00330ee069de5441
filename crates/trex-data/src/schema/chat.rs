//! Conversations in the forms of ShareGPT (`from`, `value`) and chat messages (`role`, `content`), and Alpaca histories.

use serde_json::Value;
use trex_domain::{Message, Role};

/// The turns of a conversation column; or why it is none.
pub(super) fn turns(json: &str) -> Result<Vec<Message>, String> {
    let value: Value = serde_json::from_str(json).map_err(|err| format!("the conversation is not JSON: {err}"))?;
    let Value::Array(turns) = value else {
        return Err("the conversation is not a list of turns".to_owned());
    };
    turns.iter().enumerate().map(|(at, value)| turn(value).map_err(|why| format!("turn {}: {why}", at + 1))).collect()
}

/// Splits a conversation into the turns before the last answer and that answer.
pub(super) fn prompt_and_answer(mut turns: Vec<Message>) -> Result<(Vec<Message>, String), String> {
    let last = turns.pop().ok_or("the conversation has no turns")?;
    if last.role != Role::Assistant {
        return Err("the conversation does not end with an answer of the model".to_owned());
    }
    match turns.last() {
        Some(question) if question.role == Role::User => Ok((turns, last.content)),
        _ => Err("the last answer does not follow a turn of the person".to_owned()),
    }
}

/// Earlier exchanges: a list of pairs of question and answer. An empty text is none.
pub(super) fn history(json: &str) -> Result<Vec<Message>, String> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let pairs: Vec<[String; 2]> =
        serde_json::from_str(json).map_err(|err| format!("the history is not a list of pairs: {err}"))?;
    Ok(pairs.into_iter().flat_map(|[question, answer]| [Message::user(question), Message::assistant(answer)]).collect())
}

fn turn(value: &Value) -> Result<Message, String> {
    let name = first_of(value, &["role", "from"]).and_then(Value::as_str).ok_or("no role")?;
    let role = match name.to_lowercase().as_str() {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" => Role::Assistant,
        _ => return Err(format!("the role {name:?} is not supported")),
    };
    let content = first_of(value, &["content", "value"]).ok_or("no content")?;
    Ok(Message { role, content: text_of(content)? })
}

fn first_of<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| value.get(key))
}

/// A text, or a list of text parts as some chat services write it.
fn text_of(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| part.get("text").and_then(Value::as_str));
            let texts: Option<Vec<&str>> = texts.collect();
            texts.map(|texts| texts.join("\n")).ok_or_else(|| "a part that is not text".to_owned())
        }
        _ => Err("the content is not text".to_owned()),
    }
}
