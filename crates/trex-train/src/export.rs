//! Writes what a person takes away: a PEFT adapter folder that other tools load.

use std::path::Path;

use candle_core::Device;
use serde_json::json;

use crate::lora::{Adapter, serialize};
use crate::{ModelConfig, TrainError};

/// Writes `adapter_model.safetensors` and `adapter_config.json` as PEFT reads them, with the tokenizer files of the base.
///
/// `base_model` is what PEFT shall load the base from. The configuration has few keys on purpose: older PEFT versions
/// refuse unknown ones.
pub fn write_peft_folder(adapter: &Path, model_dir: &Path, base_model: &str, out: &Path) -> Result<(), TrainError> {
    let config = ModelConfig::load(&model_dir.join("config.json"))?;
    let adapter = Adapter::load(adapter, &config, &Device::Cpu)?;
    let weights = serialize(&adapter.named_tensors(), ("format", "pt"))?;
    trex_fs::write_atomic(&out.join("adapter_model.safetensors"), &weights)?;
    let lora = &adapter.config;
    let peft = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
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
    trex_fs::write_json(&out.join("adapter_config.json"), &peft)?;
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"] {
        let source = model_dir.join(name);
        if source.is_file() {
            trex_fs::write_atomic(&out.join(name), &trex_fs::read(&source)?)?;
        }
    }
    Ok(())
}
