//! A trained model behind HTTP, asked as other programs ask OpenAI's: the same words as `trex ask`, whole, in pieces and in a
//! form, and nobody let in who has no business here.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::program::Program;

/// The service while a test asks it; ended with it.
struct Service {
    child: Child,
    url: String,
    model: String,
}

impl Service {
    fn start(program: &Program, args: &[&str], key: Option<&str>) -> Self {
        let arguments = [&["serve"], args, &["--workspace", "w", "--port", "0", "--threads", "1", "--json"]].concat();
        let mut command = program.command(&arguments);
        command.env_remove("TREX_SERVE_KEY").envs(key.map(|key| ("TREX_SERVE_KEY", key)));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line:?}"));
        let word = |key: &str| said[key].as_str().unwrap().to_owned();
        Self { url: word("url"), model: word("model"), child }
    }

    /// Status and body of an answer.
    fn post(&self, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
        let mut request = ureq::post(format!("{}/chat/completions", self.url))
            .config()
            .http_status_as_error(false)
            .build()
            .header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body.to_string()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    #[track_caller]
    fn completion(&self, body: &Value) -> Value {
        let (status, text) = self.post(&[], body);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn refusal(&self, headers: &[(&str, &str)], body: &Value, expected: u16) -> Value {
        let (status, text) = self.post(headers, body);
        assert_eq!(status, expected, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["error"].clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn question(words: &str, more: Value) -> Value {
    let mut body = json!({ "model": "any", "messages": [{ "role": "user", "content": words }], "max_tokens": 6 });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// Of a workspace `w` with a trained node.
pub(crate) fn check_served(program: &Program, node: &str) {
    let service = Service::start(program, &[node], None);
    assert_eq!(service.model, format!("tiny:{node}"));
    let asked = program.json(&["ask", node, "what", "now?", "--workspace", "w", "--max-new-tokens", "6"]);
    let whole = service.completion(&question("what now?", json!({})));
    let words = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(words.trim(), asked["tuned"]["text"].as_str().unwrap(), "{whole}");
    assert!(whole["usage"]["completion_tokens"].as_u64().unwrap() <= 6, "{whole}");
    check_stream(&service, words);
    check_forms(&service);
    check_refused(&service);
    let taken = service.url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/v1");
    let refusal = program.refused(&["serve", node, "--workspace", "w", "--port", taken], 3, "serve.cannot_listen");
    assert!(refusal.message.contains(taken), "{refusal:?}");
    drop(service);
    check_end(program, node);
    check_reach(program, node);
}

/// The pieces are the whole, and what was counted comes where it is asked for.
fn check_stream(service: &Service, words: &str) {
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (status, text) = service.post(&[], &question("what now?", more));
    assert_eq!(status, 200, "{text}");
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{text}");
    let chunks: Vec<Value> = data[..data.len() - 1].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), words);
    let ended: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(ended.len(), 1, "{text}");
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].as_u64().unwrap() > 0, "{text}");
}

/// A schema is kept to by a model that knows nothing of JSON, a stop word is never said, and a seed draws the same again.
fn check_forms(service: &Service) {
    let schema = json!({ "type": "object", "properties": { "right": { "type": "boolean" } }, "required": ["right"],
        "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "verdict", "schema": schema } });
    let answer = service.completion(&question("is it?", json!({ "response_format": format, "max_tokens": 60 })));
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["right"].is_boolean(), "{text}");

    let said = |more: Value| service.completion(&question("what now?", more))["choices"][0].clone();
    let plain = said(json!({}))["message"]["content"].as_str().unwrap().to_owned();
    let word = plain.split_whitespace().last().unwrap();
    let stopped = said(json!({ "stop": word }));
    assert!(!stopped["message"]["content"].as_str().unwrap().contains(word), "{stopped}");
    assert_eq!(stopped["finish_reason"], "stop");
    let drawn = |seed: u64| said(json!({ "temperature": 1.5, "seed": seed, "max_tokens": 12 }))["message"].clone();
    assert_eq!(drawn(1), drawn(1));
    assert!((2..8).any(|seed| drawn(seed) != drawn(1)), "every seed draws the same");
}

fn check_refused(service: &Service) {
    let refused = |more: Value| service.refusal(&[], &question("x", more), 400);
    assert_eq!(refused(json!({ "n": 2 }))["param"], "n");
    assert_eq!(refused(json!({ "max_tokens": 100_000 }))["param"], "messages");
    let odd =
        json!({ "type": "json_schema", "json_schema": { "schema": { "$ref": "https://elsewhere.example/schema" } } });
    assert_eq!(refused(json!({ "response_format": odd }))["param"], "response_format");
    // A web page with a name of its own that leads here.
    let foreign = service.refusal(&[("Host", "evil.example:8765")], &question("x", json!({})), 403);
    assert_eq!(foreign["type"], "permission_error");
    let list = ureq::get(format!("{}/models", service.url)).call().unwrap().body_mut().read_to_string().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap()["data"][0]["id"], service.model);
    let elsewhere = ureq::get(format!("{}/nothing", service.url)).config().http_status_as_error(false).build().call();
    assert_eq!(elsewhere.unwrap().status().as_u16(), 404);
}

/// It ends by itself when the program that holds its input is gone.
fn check_end(program: &Program, node: &str) {
    let args = ["serve", node, "--workspace", "w", "--port", "0", "--until-input-ends", "--json"];
    let mut command = program.command(&args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"serving\""), "{line}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Other machines only with a key, and never while the switch says offline.
fn check_reach(program: &Program, node: &str) {
    let args = ["serve", node, "--workspace", "w", "--host", "0.0.0.0"];
    program.refused(&args, 3, "serve.offline");
    let mut online = program.command(&args);
    online.env_remove("HF_HUB_OFFLINE").env_remove("TREX_OFFLINE").env_remove("TREX_SERVE_KEY");
    let keyless = online.output().unwrap();
    assert!(String::from_utf8_lossy(&keyless.stderr).contains("error[serve.no_key]"), "{keyless:?}");
    let service = Service::start(program, &["base"], Some("long-and-random"));
    assert_eq!(service.model, "tiny:base");
    for headers in [&[][..], &[("Authorization", "Bearer wrong")]] {
        assert_eq!(service.refusal(headers, &question("x", json!({})), 401)["type"], "authentication_error");
    }
    let (status, text) =
        service.post(&[("Authorization", "Bearer long-and-random")], &question("what now?", json!({})));
    assert_eq!(status, 200, "{text}");
}
