//! What the files of a sentence-transformers folder say about the encoder. Reads no weights.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::TrainError;

/// Largest width or vocabulary that is believed, far above any encoder: names and counts of tensors are made of these
/// numbers before a weight is looked at.
const MAX_SIZE: usize = 1 << 24;

/// Most layers that are believed.
const MAX_LAYERS: usize = 512;

/// The shape of a BERT encoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_layers: usize,
    pub(super) num_heads: usize,
    pub(super) vocab_size: usize,
    pub(super) max_position: usize,
    pub(super) num_types: usize,
    pub(super) layer_norm_eps: f64,
    /// Tokens of a text that are looked at: what the model was trained on, at most what it has positions for.
    pub(super) max_tokens: usize,
}

/// `config.json`.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct Sentence {
    max_seq_length: Option<usize>,
}

/// `1_Pooling/config.json`; what is absent is mean pooling.
#[derive(Default, Deserialize)]
struct Pooling {
    #[serde(rename = "pooling_mode_mean_tokens")]
    mean_tokens: Option<bool>,
    #[serde(default, rename = "pooling_mode_cls_token")]
    cls_token: bool,
    #[serde(default, rename = "pooling_mode_max_tokens")]
    max_tokens: bool,
    #[serde(default, rename = "pooling_mode_mean_sqrt_len_tokens")]
    mean_sqrt_len_tokens: bool,
}

impl Pooling {
    fn is_mean(&self) -> bool {
        let others = [self.cls_token, self.max_tokens, self.mean_sqrt_len_tokens];
        self.mean_tokens.unwrap_or(true) && !others.contains(&true)
    }
}

impl EncoderConfig {
    /// Reads the configuration of a folder; an error names the field that is not implemented or contradicts another.
    pub(super) fn load(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join("config.json");
        let raw: Raw = read(&path)?;
        if raw.model_type != "bert" {
            let architecture = raw.architectures.first().cloned().unwrap_or(raw.model_type);
            return Err(TrainError::NotImplemented {
                path,
                field: "model_type",
                value: architecture,
                known: "bert, for vectors of texts",
            });
        }
        let refused = |field, value: &str, known| {
            Err(TrainError::NotImplemented { path: path.clone(), field, value: value.to_owned(), known })
        };
        if raw.hidden_act != "gelu" {
            return refused("hidden_act", &raw.hidden_act, "gelu");
        }
        if let Some(kind) = raw.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return refused("position_embedding_type", kind, "absolute");
        }
        let pooling: Pooling = read_or_default(&dir.join("1_Pooling/config.json"))?;
        if !pooling.is_mean() {
            return refused("pooling_mode", "other than the mean of all tokens", "pooling_mode_mean_tokens");
        }
        let sentence: Sentence = read_or_default(&dir.join("sentence_bert_config.json"))?;
        let longest = raw.max_position_embeddings;
        let config = Self {
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: raw.num_attention_heads,
            vocab_size: raw.vocab_size,
            max_position: longest,
            num_types: raw.type_vocab_size,
            layer_norm_eps: raw.layer_norm_eps,
            max_tokens: sentence.max_seq_length.unwrap_or(longest).min(longest),
        };
        config.check(&path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), TrainError> {
        let wrong = |field, value: String, why| {
            Err(TrainError::InconsistentConfig { path: path.to_owned(), field, value, why })
        };
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_heads),
            ("vocab_size", self.vocab_size),
            ("type_vocab_size", self.num_types),
        ];
        if let Some((field, size)) = sizes.into_iter().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
            return wrong(field, size.to_string(), "is no size of an encoder");
        }
        if self.num_layers > MAX_LAYERS || self.max_position > MAX_SIZE {
            let (field, size) = if self.num_layers > MAX_LAYERS {
                ("num_hidden_layers", self.num_layers)
            } else {
                ("max_position_embeddings", self.max_position)
            };
            return wrong(field, size.to_string(), "is no size of an encoder");
        }
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            return wrong("num_attention_heads", self.num_heads.to_string(), "does not divide hidden_size");
        }
        // The two tokens that frame a text and one of the text.
        if self.max_tokens < 3 {
            return wrong("max_seq_length", self.max_tokens.to_string(), "leaves no room for a text");
        }
        if !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps.is_finite()) {
            return wrong("layer_norm_eps", self.layer_norm_eps.to_string(), "is no small number");
        }
        Ok(())
    }

    /// Names and shapes of all tensors that are needed, in the form of Hugging Face.
    pub(super) fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let mut shapes = vec![
            ("embeddings.word_embeddings.weight".to_owned(), vec![self.vocab_size, hidden]),
            ("embeddings.position_embeddings.weight".to_owned(), vec![self.max_position, hidden]),
            ("embeddings.token_type_embeddings.weight".to_owned(), vec![self.num_types, hidden]),
            ("embeddings.LayerNorm.weight".to_owned(), vec![hidden]),
            ("embeddings.LayerNorm.bias".to_owned(), vec![hidden]),
        ];
        for layer in 0..self.num_layers {
            let linears = [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", inner, hidden),
                ("output.dense", hidden, inner),
            ];
            for (name, rows, columns) in linears {
                shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![rows, columns]));
                shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![rows]));
            }
            for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
                shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![hidden]));
                shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![hidden]));
            }
        }
        shapes
    }

    /// Weights of all those tensors.
    pub(super) fn num_parameters(&self) -> usize {
        self.tensor_shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, TrainError> {
    let bytes = trex_fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })
}

fn read_or_default<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TrainError> {
    if path.is_file() { read(path) } else { Ok(T::default()) }
}
