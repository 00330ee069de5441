//! The tokenizer side of a Hugging Face model folder: which file says what, and which of two wins.
//!
//! Order of templates as in transformers (`chat_templating_writing.md`): `chat_template.jinja`, then `chat_template` in
//! `tokenizer_config.json` (a string or a list of named ones), then the legacy `chat_template.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;
use trex_domain::Problem as _;

use crate::ChatError;

/// Special tokens that templates may name.
const SPECIAL_NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What a model folder says about text.
pub(crate) struct Folder {
    /// The tokenizer, without truncation and padding.
    pub(crate) tokenizer: Tokenizer,
    /// Where it was read.
    pub(crate) tokenizer_path: PathBuf,
    /// Text of each special token by name, such as `eos_token`.
    pub(crate) special_tokens: BTreeMap<&'static str, String>,
    /// The chat template.
    pub(crate) template: String,
    /// The file that holds it.
    pub(crate) template_path: PathBuf,
    /// Token ids that end generation, from `generation_config.json`.
    pub(crate) generation_eos_ids: Vec<u32>,
}

/// Reads the folder.
pub(crate) fn read_folder(folder: &Path) -> Result<Folder, ChatError> {
    let tokenizer_path = folder.join("tokenizer.json");
    let tokenizer = read_tokenizer(&tokenizer_path)?;
    let config: Map<String, Value> = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let token_map: Map<String, Value> = read_json(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
    let generation: GenerationConfig = read_json(&folder.join("generation_config.json"))?.unwrap_or_default();
    let (template, template_path) = find_template(folder, &config)?;
    let special_tokens = SPECIAL_NAMES
        .into_iter()
        .filter_map(|name| Some((name, token_text(&config, name).or_else(|| token_text(&token_map, name))?)))
        .collect();
    Ok(Folder {
        tokenizer,
        tokenizer_path,
        special_tokens,
        template,
        template_path,
        generation_eos_ids: generation.eos_token_id.map_or_else(Vec::new, OneOrMany::into_vec),
    })
}

/// The chat template of a model folder, byte for byte, from whichever file holds it; none for base models.
pub fn chat_template(folder: &Path) -> Result<Option<String>, ChatError> {
    let config: Map<String, Value> = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    match find_template(folder, &config) {
        Ok((text, _)) => Ok(Some(text)),
        Err(ChatError::NoTemplate { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}

#[derive(Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// A tokenizer file without its cutting and padding.
pub(crate) fn read_tokenizer(path: &Path) -> Result<Tokenizer, ChatError> {
    let Some(text) = read_text(path)? else {
        return Err(ChatError::FileMissing { path: path.to_owned() });
    };
    let bad = |source| ChatError::BadTokenizer { path: path.to_owned(), source };
    let mut tokenizer: Tokenizer = text.parse().map_err(bad)?;
    // Files saved after a training carry its cutting and padding; lengths are decided elsewhere.
    tokenizer.with_truncation(None).map_err(bad)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// A special token is written as its text or as an object with the text as `content`.
pub(crate) fn token_text(map: &Map<String, Value>, name: &str) -> Option<String> {
    let value = map.get(name)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn find_template(folder: &Path, config: &Map<String, Value>) -> Result<(String, PathBuf), ChatError> {
    let own_file = folder.join("chat_template.jinja");
    if let Some(text) = read_text(&own_file)? {
        return Ok((text, own_file));
    }
    if let Some(text) = config.get("chat_template").and_then(default_template) {
        return Ok((text.to_owned(), folder.join("tokenizer_config.json")));
    }
    let legacy_file = folder.join("chat_template.json");
    let legacy: Map<String, Value> = read_json(&legacy_file)?.unwrap_or_default();
    if let Some(text) = legacy.get("chat_template").and_then(default_template) {
        return Ok((text.to_owned(), legacy_file));
    }
    Err(ChatError::NoTemplate { folder: folder.to_owned() })
}

/// The template itself, or the one named `default` of a list of `{"name", "template"}`.
fn default_template(value: &Value) -> Option<&str> {
    let named_default = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
    match value {
        Value::String(text) => Some(text),
        Value::Array(entries) => entries.iter().find(named_default)?.get("template")?.as_str(),
        _ => None,
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ChatError> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text);
    value.map(Some).map_err(|source| ChatError::NotJson { path: path.to_owned(), source })
}

/// The text of a file; none if there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, ChatError> {
    match trex_fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.code() == "fs.not_found" => Ok(None),
        Err(err) => Err(err.into()),
    }
}
