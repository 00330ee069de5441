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

/// The turns that a cell holds, where it is a list of turns; a text is none.
pub(super) fn listed_turns(cell: &str) -> Option<Vec<Message>> {
    let is_list = cell.trim_start().starts_with('[');
    is_list.then(|| turns(cell).ok()).flatten().filter(|turns| !turns.is_empty())
}

/// Earlier exchanges: a list of pairs of question and answer, or of turns. An empty text is none.
pub(super) fn history(json: &str) -> Result<Vec<Message>, String> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    if let Some(turns) = listed_turns(json) {
        return Ok(turns);
    }
    let pairs: Vec<[String; 2]> =
        serde_json::from_str(json).map_err(|err| format!("the history is not a list of pairs: {err}"))?;
    Ok(pairs.into_iter().flat_map(|[question, answer]| [Message::user(question), Message::assistant(answer)]).collect())
}

/// Roles of what a tool answers; templates of Qwen and Hermes show it to the model as a turn of the person.
const TOOL_ROLES: [&str; 5] = ["tool", "function", "observation", "ipython", "function_response"];

/// Roles of ShareGPT for a call that the model makes.
const CALL_ROLES: [&str; 2] = ["function_call", "tool_call"];

fn turn(value: &Value) -> Result<Message, String> {
    let name = first_of(value, &["role", "from"]).and_then(Value::as_str).ok_or("no role")?.to_lowercase();
    let calls = value.get("tool_calls").filter(|calls| !calls.is_null()).map(tool_calls).transpose()?;
    let content = match first_of(value, &["content", "value"]) {
        Some(Value::Null) | None if calls.is_some() => String::new(),
        Some(content) => text_of(content)?,
        None => return Err("no content".to_owned()),
    };
    if TOOL_ROLES.contains(&name.as_str()) {
        return Ok(Message::user(format!("<tool_response>\n{content}\n</tool_response>")));
    }
    if CALL_ROLES.contains(&name.as_str()) {
        return Ok(Message::assistant(format!("<tool_call>\n{content}\n</tool_call>")));
    }
    let role = match name.as_str() {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" => Role::Assistant,
        _ => return Err(format!("the role {name:?} is not supported")),
    };
    let thought = first_of(value, &["reasoning_content", "thinking"]).and_then(Value::as_str);
    let thought = thought.filter(|thought| !thought.trim().is_empty());
    let parts = [thought.map(|thought| format!("<think>\n{thought}\n</think>")), Some(content), calls];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    Ok(Message { role, content: parts.join("\n") })
}

/// Calls in the form of Hermes, which Qwen 2.5 and 3 write as well: one JSON object with name and arguments each.
fn tool_calls(calls: &Value) -> Result<String, String> {
    let calls = calls.as_array().ok_or("the tool calls are not a list")?;
    let mut texts = Vec::with_capacity(calls.len());
    for call in calls {
        let function = call.get("function").unwrap_or(call);
        let name = function.get("name").ok_or("a tool call without a name")?;
        let arguments = match function.get("arguments") {
            // OpenAI writes the arguments as a text that holds JSON.
            Some(Value::String(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_not_json| Value::String(text.clone()))
            }
            Some(arguments) => arguments.clone(),
            None => Value::Object(serde_json::Map::new()),
        };
        texts.push(format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"));
    }
    Ok(texts.join("\n"))
}

/// What the system turn says about tools, in the words of the Qwen and Hermes templates. An empty list is none.
pub(super) fn tools_text(tools: &str) -> Option<String> {
    let tools = tools.trim();
    let list: Vec<Value> = match serde_json::from_str(tools) {
        Ok(Value::Array(list)) => list,
        Ok(Value::Null) => Vec::new(),
        Ok(other) => vec![other],
        Err(_not_json) if tools.is_empty() => Vec::new(),
        Err(_not_json) => vec![Value::String(tools.to_owned())],
    };
    if list.is_empty() {
        return None;
    }
    let signatures: Vec<String> = list.iter().map(Value::to_string).collect();
    Some(format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\nFor each function call, return a json \
         object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": \
         <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>",
        signatures.join("\n")
    ))
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
