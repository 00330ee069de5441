//! PEFT adapter folders.

use std::path::Path;

use serde_json::json;
use trex_domain::ModelCard;

use super::{ExportSource, Exported, copy_tokenizer};
use crate::TrainError;
use crate::lora::serialize;

/// Writes `adapter_model.safetensors` and `adapter_config.json` as PEFT reads them, with the tokenizer files of the base
/// and a model card.
///
/// The configuration has few keys on purpose: older PEFT versions refuse unknown ones.
pub(super) fn write(source: &ExportSource<'_>, out: &Path) -> Result<Exported, TrainError> {
    let (config, adapter) = source.load_adapter("a PEFT folder")?;
    let weights = serialize(&adapter.named_tensors(), ("format", "pt"))?;
    trex_fs::write_atomic(&out.join("adapter_model.safetensors"), &weights)?;
    let lora = &adapter.config;
    let mut peft = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": source.card.base_model,
        "revision": null,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": config.target_names(&lora.target_modules)?,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "modules_to_save": null,
        "use_rslora": lora.use_rslora,
        "use_dora": false,
    });
    for (name, pattern) in [("rank_pattern", &lora.rank_pattern), ("alpha_pattern", &lora.alpha_pattern)] {
        if !pattern.is_empty() {
            peft[name] = json!(pattern);
        }
    }
    trex_fs::write_json(&out.join("adapter_config.json"), &peft)?;
    copy_tokenizer(source.model_dir, out)?;
    let mut card = source.card.clone();
    card.notes.extend(source.card.note_on_quantised_base());
    trex_fs::write_atomic(&out.join("README.md"), card.markdown("peft", &["lora"]).as_bytes())?;
    let mut warnings: Vec<String> = source.card.note_on_quantised_base().into_iter().collect();
    let rank = lora.max_rank();
    if rank > VLLM_RANK {
        warnings.push(format!("rank {rank} needs `--max-lora-rank` in vLLM, whose limit is {VLLM_RANK} by default"));
    }
    if lora.has_patterns() {
        warnings.push(ONE_SCALE.to_owned());
    }
    Ok(Exported { weights: out.to_owned(), encoding: "F32".to_owned(), warnings })
}

/// Rank that vLLM loads without being told.
const VLLM_RANK: usize = 16;

/// vLLM's `PEFTHelper` scaled every module by `r` and `lora_alpha` until 2026.
const ONE_SCALE: &str = "ranks or alphas differ by module: PEFT and recent versions of vLLM read that, older programs scale \
     some modules wrongly; give them the merged model or the GGUF adapter";

/// Writes a PEFT folder with a card that knows the base only.
pub fn write_peft_folder(adapter: &Path, model_dir: &Path, base_model: &str, out: &Path) -> Result<(), TrainError> {
    let card = ModelCard { base_model: base_model.to_owned(), ..ModelCard::default() };
    write(&ExportSource { model_dir, adapter, card: &card }, out).map(|_| ())
}
