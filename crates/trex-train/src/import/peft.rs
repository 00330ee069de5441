//! Reads a PEFT adapter folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Plain LoRA only; what PEFT can do beyond it (DoRA, biases, whole modules, expressions as target) is refused by name.
//! Ranks and alphas that differ by module are folded exactly into one: a lower rank is filled up with zeros, and the
//! ratio of the scales goes into B. Zero rows and columns get no gradient, so training leaves them as they are.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use serde::Deserialize;
use serde_json::Value;
use trex_domain::{LoraConfig, TargetModules};

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
    let targets = target_modules(config, &lora)?;
    raw.check_patterns(&config_path, &targets.iter().map(|(module, _)| module.as_str()).collect::<Vec<_>>())?;
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
        check_shapes(&path, &module, &pair, shape)?;
        pairs.insert(module.clone(), raw.uniform(&path, &module, pair, &lora)?);
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

fn check_shapes(path: &Path, module: &str, pair: &LoraPair, shape: (usize, usize)) -> Result<(), TrainError> {
    let (out, inner) = shape;
    let (a, b) = (pair.a.dims(), pair.b.dims());
    let fits = matches!((a, b), ([rank, columns], [rows, other]) if rank == other && *columns == inner && *rows == out);
    if fits {
        return Ok(());
    }
    let why = format!("{module} has A {a:?} and B {b:?}, this model needs A (r, {inner}) and B ({out}, r)");
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
        if self.lora_alpha < 1.0 || self.lora_alpha.fract() != 0.0 {
            return refuse(&format!("lora_alpha is {}, not a whole number of at least 1", self.lora_alpha));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole and at least 1")]
        let lora_alpha = self.lora_alpha as usize;
        Ok(LoraConfig {
            r: self.rank_pattern.values().copied().fold(self.r, usize::max),
            lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules,
            use_rslora: self.use_rslora,
        })
    }

    /// A key that fits no layer is an expression, or for another model: leaving it out would change the numbers.
    fn check_patterns(&self, path: &Path, modules: &[&str]) -> Result<(), TrainError> {
        let mut keys = self.rank_pattern.keys().chain(self.alpha_pattern.keys());
        match keys.find(|key| !modules.iter().any(|module| key_fits(key, module))) {
            None => Ok(()),
            Some(key) => {
                let why = format!("rank_pattern or alpha_pattern has the key {key:?}, which names no target module");
                Err(TrainError::UnsupportedAdapter { path: path.to_owned(), why })
            }
        }
    }

    /// The factor that PEFT puts on the output of this module.
    fn scale(&self, module: &str) -> f64 {
        let rank = pattern(&self.rank_pattern, module).unwrap_or(self.r) as f64;
        let alpha = pattern(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The same adapter with the rank and scale of `lora`.
    fn uniform(&self, path: &Path, module: &str, pair: LoraPair, lora: &LoraConfig) -> Result<LoraPair, TrainError> {
        let (rank, _) = pair.a.dims2()?;
        let expected = pattern(&self.rank_pattern, module).unwrap_or(self.r);
        if rank != expected {
            let why = format!("{module} has rank {rank}, {CONFIG_FILE} says {expected}");
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
        let ratio = self.scale(module) / lora.scale();
        let LoraPair { mut a, mut b } = pair;
        if (ratio - 1.0).abs() > f64::EPSILON {
            b = (b * ratio)?;
        }
        if rank < lora.r {
            a = a.pad_with_zeros(0, 0, lora.r - rank)?;
            b = b.pad_with_zeros(1, 0, lora.r - rank)?;
        }
        Ok(LoraPair { a: a.to_dtype(DType::F32)?.contiguous()?, b: b.contiguous()? })
    }
}

/// A key of a pattern is a module path or the end of one, as in PEFT; expressions are not understood and fit nothing.
fn pattern<T: Copy>(patterns: &BTreeMap<String, T>, module: &str) -> Option<T> {
    patterns.iter().find(|(key, _)| key_fits(key, module)).map(|(_, value)| *value)
}

fn key_fits(key: &str, module: &str) -> bool {
    module == key || module.strip_suffix(key).is_some_and(|before| before.ends_with('.'))
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
