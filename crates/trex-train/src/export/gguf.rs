//! GGUF files: the merged model in several number formats, and the adapter alone.
//!
//! The merged model is read, merged, arranged, rounded and written one tensor at a time. Tokenizer and chat template
//! come from the Hugging Face files of the base.

pub(crate) mod layout;
mod metadata;
mod name;
mod rope;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use serde_json::Value;
use trex_chat::MetaValue;
use trex_domain::{LoraConfig, ModelCard, Quantization};

use super::ExportSource;
use super::merge::MergedModel;
use super::safetensors_file::{FloatType, PlannedTensor};
use crate::lora::{Adapter, rescaled};
use crate::trained::TrainedFile;
use crate::{ModelConfig, TrainError};
use layout::Layout;
use metadata::{general, hyper_parameters};
use name::FileName;
use rope::scaled_rope;
use writer::{GgufTensor, encode, write_file};

/// Of the block formats that are written here (`GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u64 = 2;

/// Number formats of a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufEncoding {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Eight bits and a scale per 32 weights.
    Q8_0,
    /// Four and six bits in blocks of 256, mixed as llama.cpp mixes them.
    Q4KM,
    /// Five and six bits, mixed likewise.
    Q5KM,
    /// Six bits in blocks of 256.
    Q6K,
}

impl GgufEncoding {
    /// As file names have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4KM => "Q4_K_M",
            Self::Q5KM => "Q5_K_M",
            Self::Q6K => "Q6_K",
        }
    }

    fn is_quantised(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// `general.file_type` (`llama_ftype`).
    fn file_type(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
            Self::Bf16 => 32,
        }
    }

    /// The type of one tensor. Vectors stay in 32 bits; a row that cannot be cut into blocks gets a wider type that can
    /// (llama.cpp, `llama_tensor_get_type`). Where llama.cpp takes Q5_1 for Q5_K we take Q8_0: on weights that lie evenly
    /// around zero, Q5_1 is no nearer than the Q5_0 that stands for Q4_K (measured: 5.1 % against 5.0 % of their size).
    fn tensor_type(self, name: &str, shape: &[usize], model: ModelShape) -> GgmlDType {
        let &[_, columns] = shape else { return GgmlDType::F32 };
        let wanted = match self {
            Self::F32 => return GgmlDType::F32,
            Self::F16 => return GgmlDType::F16,
            Self::Bf16 => return GgmlDType::BF16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4KM => k_m_type(name, model, [GgmlDType::Q4K, GgmlDType::Q5K]),
            Self::Q5KM => k_m_type(name, model, [GgmlDType::Q5K, GgmlDType::Q6K]),
            Self::Q6K => GgmlDType::Q6K,
        };
        let mut found = wanted;
        while !columns.is_multiple_of(found.block_size()) {
            found = match found {
                GgmlDType::Q4K => GgmlDType::Q5_0,
                GgmlDType::Q5K | GgmlDType::Q6K => GgmlDType::Q8_0,
                _ => GgmlDType::F16,
            };
        }
        found
    }
}

/// What the mix of types depends on.
#[derive(Clone, Copy, Debug)]
struct ModelShape {
    num_layers: usize,
    is_tied: bool,
}

/// Six bits for the output and for half of the values and down projections; for joined projections of attention the
/// second of `types`, for the rest the first.
fn k_m_type(name: &str, model: ModelShape, types: [GgmlDType; 2]) -> GgmlDType {
    let [usual, joined] = types;
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let is_sensitive = name.contains("attn_v.") || name.contains("ffn_down.");
    match layer {
        Some(layer) if is_sensitive && gets_more_bits(layer, model.num_layers) => GgmlDType::Q6K,
        Some(_) if name.contains("attn_qkv.") => joined,
        None if name == "output.weight" || model.is_tied => GgmlDType::Q6K,
        Some(_) | None => usual,
    }
}

/// The first and last eighth, and every third layer between (llama.cpp, `use_more_bits`).
fn gets_more_bits(layer: usize, num_layers: usize) -> bool {
    let eighth = num_layers / 8;
    layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2
}

/// Writes the merged model into a folder and returns the file.
pub(crate) fn write_merged(
    source: &ExportSource<'_>,
    encoding: GgufEncoding,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<PathBuf, TrainError> {
    let (config, trained) = source.load()?;
    // A base that was rounded to blocks lies on their steps, and an adapter that is smaller than half a step would be
    // rounded away with it (SmolLM2 on q8_0, exported as Q8_0: 6.2 nats an answer off); around the base as it came,
    // steps lie anywhere (0.06).
    let kept = if encoding.is_quantised() { Quantization::None } else { source.card.quantization };
    let mut model = MergedModel::open(source.model_dir, &config, &trained, kept)?;
    let path = write_model(&mut model, &config, source.model_dir, source.card, encoding, out, progress)?;
    model.check_effect(source.adapter)?;
    Ok(path)
}

/// Writes a base model as it is, for comparisons that need it beside an adapter.
pub fn write_base_gguf(
    model_dir: &Path,
    card: &ModelCard,
    encoding: GgufEncoding,
    out: &Path,
) -> Result<PathBuf, TrainError> {
    trex_fs::create_dir_all(out)?;
    let config = ModelConfig::load(&model_dir.join("config.json"))?;
    let nothing = TrainedFile::Adapter(Adapter { config: LoraConfig::default(), pairs: BTreeMap::new() });
    let mut model = MergedModel::open(model_dir, &config, &nothing, Quantization::None)?;
    write_model(&mut model, &config, model_dir, card, encoding, out, &mut |_, _| ())
}

fn write_model(
    model: &mut MergedModel<'_>,
    config: &ModelConfig,
    model_dir: &Path,
    card: &ModelCard,
    encoding: GgufEncoding,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<PathBuf, TrainError> {
    let raw = raw_config(model_dir)?;
    let layout = Layout::of_config(&raw)?;
    let shape = ModelShape { num_layers: config.num_layers, is_tied: config.tie_word_embeddings };
    let planned: Vec<PlannedTensor> = model.tensors().to_vec();
    let mut tensors = Vec::with_capacity(planned.len());
    for PlannedTensor { name, shape: dims } in &planned {
        let name = layout.gguf_name(name)?;
        let dtype = encoding.tensor_type(&name, dims, shape);
        tensors.push(GgufTensor { name, shape: dims.clone(), dtype });
    }
    let file_name = FileName::new(card, config.num_parameters());
    let mut metadata = general(layout, "model", &file_name, card);
    metadata.push(("general.file_type".to_owned(), MetaValue::U64(encoding.file_type())));
    metadata.push(("general.quantization_version".to_owned(), MetaValue::U64(QUANTIZATION_VERSION)));
    metadata.extend(hyper_parameters(layout, &raw)?);
    let rope = scaled_rope(layout.architecture, &raw, config)?;
    metadata.extend(rope.metadata);
    for (name, values) in &rope.tensors {
        let shape = vec![values.len()];
        tensors.push(GgufTensor { name: (*name).to_owned(), shape, dtype: GgmlDType::F32 });
    }
    metadata.extend(trex_chat::gguf_tokenizer_metadata(model_dir, config.vocab_size)?);
    let path = out.join(file_name.file(encoding.label(), false));
    write_file(&path, &metadata, &tensors, &mut |index, tensor| {
        let Some(PlannedTensor { name, .. }) = planned.get(index) else {
            return Ok(FloatType::F32.encode(&rope.tensors[index - planned.len()].1));
        };
        let bytes = model.encoded(name, |weight| encode(&layout.tensor_to_gguf(name, weight)?, tensor.dtype))?;
        progress(index + 1, planned.len());
        Ok(bytes)
    })?;
    Ok(path)
}

/// Writes the adapter alone, in 32-bit floats, and returns the file.
///
/// llama.cpp scales by alpha / rank with one alpha for all and the rank of each pair, and takes an alpha of 0 for a scale
/// of 1: the alpha that is written is the one that gives our scale, and 0 is refused. Modules that it would scale
/// otherwise carry the ratio in B.
pub(crate) fn write_adapter(source: &ExportSource<'_>, out: &Path) -> Result<PathBuf, TrainError> {
    let (config, adapter) = source.load_adapter("a GGUF adapter")?;
    let layout = Layout::of_folder(source.model_dir)?;
    let alpha = adapter.config.general_alpha();
    if alpha <= 0.0 || adapter.pairs.is_empty() {
        let why = format!("alpha is {alpha}, which llama.cpp takes for a scale of 1");
        return Err(TrainError::NotExportable { what: "a GGUF adapter".to_owned(), why });
    }
    let file_name = FileName::new(source.card, config.num_parameters());
    let mut metadata = general(layout, "adapter", &file_name, source.card);
    metadata.push(("general.file_type".to_owned(), MetaValue::U64(GgufEncoding::F32.file_type())));
    metadata.push(("adapter.type".to_owned(), MetaValue::Str("lora".to_owned())));
    metadata.push(("adapter.lora.alpha".to_owned(), MetaValue::F64(alpha)));
    let (tensors, contents) = adapter_tensors(&adapter, alpha, layout)?;
    let path = out.join(file_name.file(GgufEncoding::F32.label(), true));
    write_file(&path, &metadata, &tensors, &mut |index, tensor| encode(&contents[index], tensor.dtype))?;
    Ok(path)
}

type AdapterTensors = (Vec<GgufTensor>, Vec<candle_core::Tensor>);

/// A as it is, B in the row order of its weight, times what alpha / rank leaves of the scale.
fn adapter_tensors(adapter: &Adapter, alpha: f64, layout: Layout) -> Result<AdapterTensors, TrainError> {
    let (mut tensors, mut contents) = (Vec::new(), Vec::new());
    for (module, pair) in &adapter.pairs {
        let name = format!("{module}.weight");
        let stored = layout.gguf_name(&name)?;
        let b = match layout.rotated_heads(&name) {
            Some(heads) => layout::permute(&pair.b, heads)?,
            None => pair.b.clone(),
        };
        let lora = &adapter.config;
        let b = rescaled(&b, lora.scale_of(module) / (alpha / lora.rank_of(module) as f64))?;
        for (ending, tensor) in [("lora_a", pair.a.clone()), ("lora_b", b)] {
            let shape = tensor.dims().to_vec();
            tensors.push(GgufTensor { name: format!("{stored}.{ending}"), shape, dtype: GgmlDType::F32 });
            contents.push(tensor);
        }
    }
    Ok((tensors, contents))
}

fn raw_config(dir: &Path) -> Result<Value, TrainError> {
    let path = dir.join("config.json");
    let bytes = trex_fs::read(&path)?;
    serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, shape: &[usize], expected: GgmlDType) {
        let model = ModelShape { num_layers: 32, is_tied: false };
        assert_eq!(GgufEncoding::Q4KM.tensor_type(name, shape, model), expected, "{name} {shape:?}");
    }

    #[test]
    fn types_are_mixed_as_llama_cpp_mixes_them() {
        check("blk.0.attn_v.weight", &[64, 512], GgmlDType::Q6K);
        check("blk.4.attn_v.weight", &[64, 512], GgmlDType::Q4K);
        check("blk.6.ffn_down.weight", &[64, 512], GgmlDType::Q6K);
        check("blk.31.ffn_down.weight", &[64, 512], GgmlDType::Q6K);
        check("blk.0.attn_q.weight", &[64, 512], GgmlDType::Q4K);
        check("output.weight", &[64, 512], GgmlDType::Q6K);
        check("token_embd.weight", &[64, 512], GgmlDType::Q4K);
        check("blk.0.attn_norm.weight", &[512], GgmlDType::F32);
    }

    #[test]
    fn wider_mixes_have_more_bits_in_the_same_places() {
        let model = ModelShape { num_layers: 32, is_tied: false };
        let check = |encoding: GgufEncoding, name: &str, expected| {
            assert_eq!(encoding.tensor_type(name, &[64, 512], model), expected, "{name}");
        };
        check(GgufEncoding::Q5KM, "blk.0.attn_v.weight", GgmlDType::Q6K);
        check(GgufEncoding::Q5KM, "blk.4.attn_v.weight", GgmlDType::Q5K);
        check(GgufEncoding::Q5KM, "blk.4.attn_qkv.weight", GgmlDType::Q6K);
        check(GgufEncoding::Q5KM, "output.weight", GgmlDType::Q6K);
        check(GgufEncoding::Q5KM, "token_embd.weight", GgmlDType::Q5K);
        check(GgufEncoding::Q6K, "blk.4.attn_q.weight", GgmlDType::Q6K);
        check(GgufEncoding::Q6K, "token_embd.weight", GgmlDType::Q6K);
        assert_eq!(GgufEncoding::Q5KM.tensor_type("blk.4.attn_q.weight", &[64, 96], model), GgmlDType::Q8_0);
        assert_eq!(GgufEncoding::Q6K.tensor_type("blk.4.attn_q.weight", &[64, 96], model), GgmlDType::Q8_0);
    }

    #[test]
    fn rows_that_do_not_divide_get_a_wider_type() {
        check("blk.0.attn_q.weight", &[64, 576], GgmlDType::Q5_0);
        check("blk.0.attn_v.weight", &[64, 576], GgmlDType::Q8_0);
        check("blk.0.attn_q.weight", &[64, 24], GgmlDType::F16);
        let tied = ModelShape { num_layers: 1, is_tied: true };
        assert_eq!(GgufEncoding::Q4KM.tensor_type("token_embd.weight", &[64, 576], tied), GgmlDType::Q8_0);
        assert_eq!(GgufEncoding::Q8_0.tensor_type("blk.0.attn_q.weight", &[64, 24], tied), GgmlDType::F16);
    }
}
