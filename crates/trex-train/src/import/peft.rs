//! Reads a PEFT adapter folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Plain LoRA only; what PEFT can do beyond it (DoRA, biases, whole modules, expressions as target or as key of a
//! pattern) is refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use serde::Deserialize;
use serde_json::Value;
use trex_domain::{DomainError, LoraConfig, TargetModules};

use crate::export::SafetensorsFile;
use crate::lora::{Adapter, LoraPair, peft_name, target_modules};
use crate::{ModelConfig, TrainError};

pub(super) const CONFIG_FILE: &str = "adapter_config.json";
pub(super) const WEIGHT_FILE: &str = "adapter_model.safetensors";

/// `adapter_config.json` as written; defaults are PEFT's.
#[derive(Debug, Deserialize)]
struct RawConfig {
    peft_type: Option<String>,
    #[serde(default = "default_rank")]
    r: usize,
    #[serde(default = "default_alpha")]
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Option<Value>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    bias: Option<String>,
    modules_to_save: Option<Vec<String>>,
    layers_to_transform: Option<Value>,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

fn default_rank() -> usize {
    8
}

fn default_alpha() -> f64 {
    8.0
}

/// What an adapter folder says of its shape, so that a training can go on from it.
pub fn peft_lora_config(dir: &Path) -> Result<LoraConfig, TrainError> {
    let path = dir.join(CONFIG_FILE);
    read_config(&path)?.lora_config(&path)
}

/// Reads the adapter of a folder and checks names and shapes against the model.
pub(crate) fn load(dir: &Path, config: &ModelConfig, device: &Device) -> Result<Adapter, TrainError> {
    let config_path = dir.join(CONFIG_FILE);
    let raw = read_config(&config_path)?;
    let lora = raw.lora_config(&config_path)?;
    let targets = target_modules(config, &lora).map_err(|err| in_file(&config_path, err))?;
    let path = dir.join(WEIGHT_FILE);
    let mut file = SafetensorsFile::open(&path)?;
    let mut pairs = BTreeMap::new();
    for (module, shape) in targets {
        let mut pick = |letter| {
            let name = peft_name(&module, letter);
            // Adapters saved by hand carry the adapter's name in the key.
            let named = name.replace(".weight", ".default.weight");
            let found = if file.contains(&name) { name } else { named };
            Ok::<_, TrainError>(file.tensor_f32(&found)?.to_device(device)?)
        };
        let pair = LoraPair { a: pick('A')?, b: pick('B')? };
        check_shapes(&path, &module, &pair, shape, lora.rank_of(&module))?;
        let (a, b) = (pair.a.to_dtype(DType::F32)?.contiguous()?, pair.b.to_dtype(DType::F32)?.contiguous()?);
        pairs.insert(module, LoraPair { a, b });
    }
    let expected = 2 * pairs.len();
    if file.names().count() != expected {
        let known = |name: &str| pairs.keys().any(|module| name.contains(module.as_str()));
        let strange = file.names().find(|name| !known(name)).unwrap_or("more than one adapter").to_owned();
        let why = format!("{strange} belongs to no target module of this model");
        return Err(TrainError::Mismatch { path, why });
    }
    Ok(Adapter { config: lora, pairs })
}

fn read_config(path: &Path) -> Result<RawConfig, TrainError> {
    let bytes = trex_fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })
}

/// Names the file of an entry of a pattern that this model has no use for.
fn in_file(path: &Path, err: TrainError) -> TrainError {
    match err {
        TrainError::Domain(fault @ DomainError::BadModulePattern { .. }) => {
            TrainError::UnsupportedAdapter { path: path.to_owned(), why: fault.to_string() }
        }
        other => other,
    }
}

fn check_shapes(
    path: &Path,
    module: &str,
    pair: &LoraPair,
    (out, inner): (usize, usize),
    expected: usize,
) -> Result<(), TrainError> {
    let (a, b) = (pair.a.dims(), pair.b.dims());
    let fits = matches!((a, b), ([rank, columns], [rows, other]) if rank == other && *columns == inner && *rows == out);
    let why = match a.first() {
        Some(rank) if fits && *rank == expected => return Ok(()),
        Some(rank) if fits => format!("{module} has rank {rank}, {CONFIG_FILE} says {expected}"),
        _ => format!("{module} has A {a:?} and B {b:?}, this model needs A (r, {inner}) and B ({out}, r)"),
    };
    Err(TrainError::Mismatch { path: path.to_owned(), why })
}

impl RawConfig {
    fn lora_config(&self, path: &Path) -> Result<LoraConfig, TrainError> {
        let refuse = |why: &str| Err(TrainError::UnsupportedAdapter { path: path.to_owned(), why: why.to_owned() });
        match self.peft_type.as_deref() {
            Some("LORA") => {}
            other => return refuse(&format!("peft_type {:?} is not LORA", other.unwrap_or("none"))),
        }
        let features = [
            (self.use_dora, "use_dora is set"),
            (self.fan_in_fan_out, "fan_in_fan_out is set"),
            (self.bias.as_deref().is_some_and(|bias| bias != "none"), "it trains biases"),
            (self.modules_to_save.as_ref().is_some_and(|names| !names.is_empty()), "modules_to_save is set"),
            (self.layers_to_transform.as_ref().is_some_and(|v| !v.is_null()), "layers_to_transform is set"),
        ];
        if let Some((_, why)) = features.into_iter().find(|(is_set, _)| *is_set) {
            return refuse(why);
        }
        let Some(target_modules) = targets(self.target_modules.as_ref()) else {
            return refuse("target_modules is neither a list of names nor \"all-linear\"");
        };
        let Some(lora_alpha) = whole(self.lora_alpha) else {
            return refuse(&format!("lora_alpha is {}, not a whole number of at least 1", self.lora_alpha));
        };
        let mut alpha_pattern = BTreeMap::new();
        for (key, alpha) in &self.alpha_pattern {
            let Some(alpha) = whole(*alpha) else {
                return refuse(&format!("alpha_pattern has {alpha} for {key}, not a whole number of at least 1"));
            };
            alpha_pattern.insert(key.clone(), alpha);
        }
        let lora = LoraConfig {
            r: self.r,
            lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules,
            use_rslora: self.use_rslora,
            rank_pattern: self.rank_pattern.clone(),
            alpha_pattern,
        };
        let lora = lora.without_idle_patterns();
        match lora.check_patterns() {
            Ok(()) => Ok(lora),
            Err(fault) => refuse(&fault.to_string()),
        }
    }
}

/// An alpha as a whole number of at least 1.
fn whole(alpha: f64) -> Option<usize> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole and at least 1")]
    ((1.0..1e15).contains(&alpha) && alpha.fract() == 0.0).then_some(alpha as usize)
}

/// A list of names, `"all-linear"`, or one plain name.
fn targets(value: Option<&Value>) -> Option<TargetModules> {
    match value? {
        Value::String(word) if word == "all-linear" => Some(TargetModules::Keyword(word.clone())),
        Value::String(word) if TargetModules::ALL_LINEAR.contains(&word.as_str()) => {
            Some(TargetModules::List(vec![word.clone()]))
        }
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(last_part)).collect::<Option<Vec<_>>>()?;
            Some(TargetModules::List(names))
        }
        _ => None,
    }
}

/// `self_attn.q_proj` names the same layers as `q_proj`.
fn last_part(path: &str) -> String {
    path.rsplit('.').next().unwrap_or(path).to_owned()
}
