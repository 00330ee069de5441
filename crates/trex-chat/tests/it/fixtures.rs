//! Model folders made on the spot, with a tokenizer that is trained once on generated text.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;
use trex_chat::{BUNDLED_SPECIAL_TOKENS, ChatError, ChatModel, train_bpe};

pub(crate) const EXTRA_SPECIAL_TOKENS: [&str; 4] = ["<s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];

/// One line per message and nothing special in it.
pub(crate) const PLAIN: &str = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                                {% if add_generation_prompt %}assistant: {% endif %}";

/// Generated sentences, the same every time.
pub(crate) fn corpus() -> Vec<String> {
    let subjects = ["the cat", "a dog", "my friend", "the naïve user", "nobody", "The assistant"];
    let verbs = ["likes", "sees", "answers", "doesn't want", "trains", "measures"];
    let objects = ["the model.", "a café!", "12 numbers", "the question?", "“quotes”", "loss = 0.25"];
    let mut lines = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        for (j, verb) in verbs.iter().enumerate() {
            for object in objects.iter().skip((i + j) % 3) {
                lines.push(format!("{subject} {verb} {object}\n"));
            }
        }
    }
    lines
}

pub(crate) fn tokenizer_json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| {
        let special: Vec<&str> = BUNDLED_SPECIAL_TOKENS.into_iter().chain(EXTRA_SPECIAL_TOKENS).collect();
        train_bpe(corpus().into_iter(), 350, &special).unwrap()
    })
}

/// The template of this name from `tests/golden/templates.json`.
pub(crate) fn template(name: &str) -> String {
    let templates: serde_json::Value = serde_json::from_str(include_str!("../golden/templates.json")).unwrap();
    templates[name].as_str().unwrap().to_owned()
}

/// A model folder with these files beside the trained tokenizer.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tokenizer.json", tokenizer_json());
    for (name, text) in files {
        write(dir.path(), name, text);
    }
    dir
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

/// A model with this template and `tokenizer_config.json`.
pub(crate) fn load(template: &str, config: &str) -> Result<ChatModel, ChatError> {
    ChatModel::load(folder(&[("chat_template.jinja", template), ("tokenizer_config.json", config)]).path())
}

pub(crate) fn chatml() -> ChatModel {
    load(&template("chatml"), r#"{"eos_token": "<|im_end|>"}"#).unwrap()
}

pub(crate) fn headers() -> ChatModel {
    load(&template("headers"), r#"{"bos_token": {"content": "<s>"}, "eos_token": "<|endoftext|>"}"#).unwrap()
}

pub(crate) fn thinking() -> ChatModel {
    load(&template("thinking"), r#"{"eos_token": "<|im_end|>"}"#).unwrap()
}
