//! Reads adapters that other programs wrote. Base models are not read here.

pub(crate) mod gguf_lora;
pub(crate) mod peft;

use std::path::Path;

use candle_core::Device;
use trex_domain::{ContentHash, LoraConfig};

use crate::lora::Adapter;
use crate::{ModelConfig, TrainError};

pub use peft::peft_lora_config;

/// Names an adapter by its content: of both files of a PEFT folder, or of the one file.
pub(crate) fn adapter_hash(path: &Path) -> Result<ContentHash, TrainError> {
    if !path.is_dir() {
        return Ok(ContentHash::of_bytes(&trex_fs::read(path)?));
    }
    let hash = |name| Ok::<_, TrainError>(ContentHash::of_bytes(&trex_fs::read(&path.join(name))?));
    Ok(ContentHash::of_value("trex.peft-folder.v1", &(hash(peft::CONFIG_FILE)?, hash(peft::WEIGHT_FILE)?))?)
}

impl Adapter {
    /// Adapters to go on from, for a training with this configuration; one of another shape is refused.
    pub(crate) fn continued(
        path: &Path,
        lora: &LoraConfig,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let found = Self::load(path, config, device)?;
        if !found.config.has_shape_of(lora) {
            let shown = |lora: &LoraConfig| {
                let LoraConfig { r, lora_alpha, use_rslora, .. } = lora;
                let targets = lora.target_modules.names().unwrap_or_default().join(", ");
                let mut parts =
                    vec![format!("r {r}"), format!("lora_alpha {lora_alpha}"), format!("use_rslora {use_rslora}")];
                parts.extend(lora.patterns_text().into_iter().map(|(name, entries)| format!("{name} {entries}")));
                format!("{} on {targets}", parts.join(", "))
            };
            let why = format!("it has {}, the training asks for {}", shown(&found.config), shown(lora));
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
        Ok(Self { config: lora.clone(), pairs: found.pairs })
    }
}
