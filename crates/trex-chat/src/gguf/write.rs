//! GGUF metadata of the tokenizer and chat template of a Hugging Face folder: the inverse of what this module reads.
//!
//! Keys as in ggml's `docs/gguf.md`. Byte-level BPE is written with the name of its way of splitting text; BPE with byte
//! fall-back (Llama 2, Mistral, Gemma) as `llama` with scores that give llama.cpp the same order of merges. Anything
//! else is refused, never guessed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::metadata::MetaValue;
use super::pre_tokenizer::PreTokenizer;
use crate::folder::{chat_template, read_json, token_text};
use crate::{ChatError, ChatModel};

/// Kinds of tokens (`llama_token_type` of llama.cpp).
mod token_type {
    pub(super) const NORMAL: i64 = 1;
    pub(super) const CONTROL: i64 = 3;
    pub(super) const USER_DEFINED: i64 = 4;
    pub(super) const UNUSED: i64 = 5;
    pub(super) const BYTE: i64 = 6;
}

/// What the metadata says of the tokens: text and kind by id, and the merges in order.
struct Vocabulary {
    texts: Vec<String>,
    kinds: Vec<i64>,
    merges: Vec<(String, String)>,
}

/// All `tokenizer.*` keys for the tokenizer of a model folder whose embedding has `vocab_size` rows.
pub fn gguf_tokenizer_metadata(folder: &Path, vocab_size: usize) -> Result<BTreeMap<String, MetaValue>, ChatError> {
    let path = folder.join("tokenizer.json");
    let file: Option<Map<String, Value>> = read_json(&path)?;
    let file = file.ok_or(ChatError::FileMissing { path })?;
    let field = |name: &str| file.get(name).cloned().unwrap_or_default();
    let model = field("model");
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if kind != "BPE" {
        return Err(ChatError::UnsupportedTokenizer { name: kind.to_owned() });
    }
    let vocabulary = read_vocabulary(&model, &field("added_tokens"), vocab_size)?;
    let mut meta = BTreeMap::new();
    let mut put = |key: &str, value: MetaValue| meta.insert(format!("tokenizer.{key}"), value);
    if model.get("byte_fallback").and_then(Value::as_bool) == Some(true) {
        put("ggml.model", text("llama"));
        put("ggml.pre", text("default"));
        put("ggml.scores", scores(&vocabulary));
        put("ggml.add_space_prefix", MetaValue::Bool(adds_space_prefix(&field("normalizer"), &field("pre_tokenizer"))));
    } else {
        let name = PreTokenizer::name_of(&field("pre_tokenizer"), &field("normalizer"));
        let name =
            name.ok_or_else(|| ChatError::UnsupportedPreTokenizer { name: splitting(&field("pre_tokenizer")) })?;
        put("ggml.model", text("gpt2"));
        put("ggml.pre", text(name));
        let merges = vocabulary.merges.iter().map(|(left, right)| text(&format!("{left} {right}")));
        put("ggml.merges", MetaValue::Array(merges.collect()));
    }
    put("ggml.tokens", MetaValue::Array(vocabulary.texts.iter().map(|token| text(token)).collect()));
    put("ggml.token_type", MetaValue::Array(vocabulary.kinds.iter().map(|kind| MetaValue::I64(*kind)).collect()));
    meta.extend(special_tokens(folder, &field("post_processor"))?);
    if let Some(template) = chat_template(folder)? {
        meta.insert("tokenizer.chat_template".to_owned(), MetaValue::Str(template));
    }
    Ok(meta)
}

fn text(text: &str) -> MetaValue {
    MetaValue::Str(text.to_owned())
}

/// A name for a splitting that has none.
fn splitting(pre_tokenizer: &Value) -> String {
    pre_tokenizer.to_string().chars().take(200).collect()
}

fn read_vocabulary(model: &Value, added: &Value, vocab_size: usize) -> Result<Vocabulary, ChatError> {
    let mut tokens: BTreeMap<usize, (String, i64)> = BTreeMap::new();
    let id_of = |value: &Value| value.as_u64().and_then(|id| usize::try_from(id).ok());
    for (token, id) in model.get("vocab").and_then(Value::as_object).into_iter().flatten() {
        let kind = if is_byte(token) { token_type::BYTE } else { token_type::NORMAL };
        tokens.extend(id_of(id).map(|id| (id, (token.clone(), kind))));
    }
    for token in added.as_array().into_iter().flatten() {
        let special = token.get("special").and_then(Value::as_bool) == Some(true);
        let kind = if special { token_type::CONTROL } else { token_type::USER_DEFINED };
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
        tokens.extend(token.get("id").and_then(id_of).map(|id| (id, (content.to_owned(), kind))));
    }
    let num_tokens = tokens.keys().next_back().map_or(0, |id| id + 1);
    if num_tokens > vocab_size {
        return Err(ChatError::TokenizerMismatch { tokenizer: num_tokens, model: vocab_size });
    }
    // The embedding may have more rows than there are tokens; llama.cpp wants a token for each.
    let filler = |id: usize| (format!("[PAD{id}]"), token_type::UNUSED);
    let (texts, kinds) = (0..vocab_size).map(|id| tokens.remove(&id).unwrap_or_else(|| filler(id))).unzip();
    let merges = model.get("merges").and_then(Value::as_array).into_iter().flatten().filter_map(merge).collect();
    Ok(Vocabulary { texts, kinds, merges })
}

/// `"a b"`, or `["a", "b"]` since tokenizers 0.20.
fn merge(value: &Value) -> Option<(String, String)> {
    if let Some(text) = value.as_str() {
        return text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    }
    let [left, right] = value.as_array()?.as_slice() else { return None };
    Some((left.as_str()?.to_owned(), right.as_str()?.to_owned()))
}

/// `<0x0A>` and its like.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// llama.cpp merges the pair whose union has the highest score first: minus the place of its first merge.
fn scores(vocabulary: &Vocabulary) -> MetaValue {
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    for (rank, (left, right)) in vocabulary.merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let last = vocabulary.merges.len();
    let score = |token: &String| MetaValue::F64(-(ranks.get(token).copied().unwrap_or(last) as f64));
    MetaValue::Array(vocabulary.texts.iter().map(score).collect())
}

/// Whether a space goes before the text: `Prepend ▁` in the normalizer, or a Metaspace that prepends.
fn adds_space_prefix(normalizer: &Value, pre_tokenizer: &Value) -> bool {
    let has = |value: &Value, wanted: &str| value.to_string().contains(wanted);
    has(normalizer, "\"Prepend\"")
        || (has(pre_tokenizer, "\"Metaspace\"") && !has(pre_tokenizer, "\"prepend_scheme\":\"never\""))
}

fn special_tokens(folder: &Path, post_processor: &Value) -> Result<BTreeMap<String, MetaValue>, ChatError> {
    let model = ChatModel::load(folder)?;
    let config: Map<String, Value> = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let unknown = token_text(&config, "unk_token").map(|token| model.encode(&token)).transpose()?;
    let unknown = unknown.filter(|ids| ids.len() == 1).map(|ids| ids[0]);
    let eos = model.eos_ids().first().copied();
    let end_of_turn = Some(model.end_of_turn_id()).filter(|id| Some(*id) != eos);
    let ids = [
        ("bos", model.bos_id()),
        ("eos", eos),
        ("eot", end_of_turn),
        ("unknown", unknown),
        ("padding", model.pad_id()),
    ];
    let mut meta: BTreeMap<String, MetaValue> = ids
        .into_iter()
        .filter_map(|(name, id)| Some((format!("tokenizer.ggml.{name}_token_id"), MetaValue::U64(u64::from(id?)))))
        .collect();
    let by_config = config.get("add_bos_token").and_then(Value::as_bool);
    let begins_with_bos = model.bos_id().is_some() && by_config.unwrap_or_else(|| begins_with_special(post_processor));
    meta.insert("tokenizer.ggml.add_bos_token".to_owned(), MetaValue::Bool(begins_with_bos));
    let ends_with_eos = config.get("add_eos_token").and_then(Value::as_bool) == Some(true);
    meta.insert("tokenizer.ggml.add_eos_token".to_owned(), MetaValue::Bool(ends_with_eos));
    Ok(meta)
}

/// Whether a `TemplateProcessing`, alone or in a sequence, puts a special token before the text.
fn begins_with_special(post_processor: &Value) -> bool {
    let parts = post_processor.get("processors").and_then(Value::as_array);
    let mut steps = parts.into_iter().flatten().chain([post_processor]);
    steps.any(|step| step.pointer("/single/0/SpecialToken").is_some())
}
