//! Configuration files of other trainers, read into ours.
//!
//! Every key of the file is either applied or listed: nothing is dropped silently. Both spellings of renamed arguments
//! are read (transformers 5: `warmup_steps` may be a fraction, `eval_strategy`, …). What a file leaves out has the default
//! of its tool, not ours, because that is what the file means there; those defaults are listed too.

mod keys;
mod values;

use serde::Serialize;
use serde_json::{Map, Value};

use self::keys::{KEYS, Setting, TABLES};
use self::values::{
    bad, checkpointing, count, number, pattern, plain_case, plain_text, precision, shortened, targets, truth,
};
use crate::{DomainError, LoraConfig, Quantization, SchedulerType, TargetModules, TrainConfig, TrainMethod};

/// Whose configuration file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainerFormat {
    /// TRL, or transformers' `TrainingArguments`.
    Trl,
    /// Axolotl.
    Axolotl,
    /// LLaMA-Factory.
    LlamaFactory,
    /// Unsloth.
    Unsloth,
    /// `adapter_config.json` of PEFT.
    Peft,
}

/// What a file came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportedConfig {
    /// Whose file it was taken for.
    pub format: TrainerFormat,
    /// The configuration.
    pub config: TrainConfig,
    /// The base model that the file names.
    pub base_model: Option<String>,
    /// Keys that were applied, with what they set. No key is applied and warned about as not taken over.
    pub applied: Vec<(String, String)>,
    /// Settings that the file leaves out, by our names, and the value that was taken: the default of the tool, or ours where
    /// the tool has none.
    pub assumed: Vec<(String, String)>,
    /// What was not taken over, and why; one line each.
    pub warnings: Vec<String>,
}

/// Reads a configuration. `format` is told from the keys where it is absent; `rows` turns epochs into steps.
pub fn import_trainer_config(
    file: &Value,
    format: Option<TrainerFormat>,
    rows: Option<usize>,
) -> Result<ImportedConfig, DomainError> {
    let Some(map) = file.as_object() else {
        return Err(DomainError::BadSetting {
            key: "the file".to_owned(),
            value: shortened(file),
            expected: "a table of settings",
        });
    };
    let mut keys = Vec::new();
    flatten("", map, &mut keys);
    let format = format.unwrap_or_else(|| detect(&keys));
    let mut reader = Reader::new(format, rows);
    for (path, value) in &keys {
        reader.take(path, value)?;
    }
    reader.finish()
}

/// Every leaf with its path; tables of settings are opened, other tables and lists are leaves.
fn flatten<'v>(prefix: &str, map: &'v Map<String, Value>, out: &mut Vec<(String, &'v Value)>) {
    for (key, value) in map {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) if TABLES.contains(&key.as_str()) => flatten(&path, inner, out),
            _ => out.push((path, value)),
        }
    }
}

fn name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Told by names that only one tool has.
fn detect(keys: &[(String, &Value)]) -> TrainerFormat {
    let has = |wanted: &[&str]| keys.iter().any(|(path, _)| wanted.contains(&name(path)));
    if has(&["peft_type"]) {
        TrainerFormat::Peft
    } else if has(&["micro_batch_size", "sequence_len", "sample_packing", "lora_target_linear"]) {
        TrainerFormat::Axolotl
    } else if has(&["cutoff_len", "finetuning_type", "lora_rank", "lora_target", "stage"]) {
        TrainerFormat::LlamaFactory
    } else if has(&["max_seq_length", "use_gradient_checkpointing", "finetune_language_layers", "training_type"]) {
        TrainerFormat::Unsloth
    } else {
        TrainerFormat::Trl
    }
}

/// What a tool does where its file says nothing.
fn defaults(format: TrainerFormat) -> TrainConfig {
    let list = |names: &[&str]| TargetModules::List(names.iter().map(|name| (*name).to_owned()).collect());
    let all = TargetModules::Keyword("all-linear".to_owned());
    let lora = |r, lora_alpha, target_modules| LoraConfig { r, lora_alpha, target_modules, ..LoraConfig::default() };
    // transformers' `TrainingArguments`, from which all but Axolotl take what they do not set.
    let plain = TrainConfig {
        learning_rate: 5e-5,
        lr_scheduler_type: SchedulerType::Linear,
        warmup_ratio: 0.0,
        per_device_train_batch_size: 8,
        ..TrainConfig::default()
    };
    match format {
        TrainerFormat::Trl => TrainConfig { learning_rate: 2e-5, max_length: 1024, lora: lora(16, 32, all), ..plain },
        TrainerFormat::LlamaFactory => TrainConfig { max_length: 2048, lora: lora(8, 16, all), ..plain },
        TrainerFormat::Axolotl => TrainConfig {
            lr_scheduler_type: SchedulerType::Cosine,
            warmup_ratio: 0.03,
            per_device_train_batch_size: 1,
            lora: lora(8, 16, all),
            ..plain
        },
        TrainerFormat::Unsloth => TrainConfig {
            learning_rate: 2e-4,
            per_device_train_batch_size: 2,
            max_length: 2048,
            lora: lora(16, 16, all),
            ..plain
        },
        TrainerFormat::Peft => TrainConfig { lora: lora(8, 8, list(&["q_proj", "v_proj"])), ..TrainConfig::default() },
    }
}

struct Reader {
    format: TrainerFormat,
    rows: Option<usize>,
    config: TrainConfig,
    base_model: Option<String>,
    applied: Vec<(String, String)>,
    seen: Vec<Setting>,
    warnings: Vec<String>,
    /// The key that says so, and how many or which share.
    warmup_steps: Option<(String, f64)>,
    /// The key that says so, and how many.
    epochs: Option<(String, f64)>,
    method: Option<TrainMethod>,
    /// In how many bits the base is loaded, where it is quantised.
    bits: Option<u8>,
}

impl Reader {
    fn new(format: TrainerFormat, rows: Option<usize>) -> Self {
        Self {
            format,
            rows,
            config: defaults(format),
            base_model: None,
            applied: Vec::new(),
            seen: Vec::new(),
            warnings: Vec::new(),
            warmup_steps: None,
            epochs: None,
            method: None,
            bits: None,
        }
    }

    fn take(&mut self, path: &str, value: &Value) -> Result<(), DomainError> {
        let known = KEYS.iter().find(|(known, _)| *known == name(path)).map(|(_, setting)| *setting);
        match known {
            None => self.warn_unknown(path, value),
            Some(Setting::Elsewhere(why)) => self.warnings.push(format!("{path} is not taken over: {why}")),
            Some(Setting::Only(allowed, why)) => {
                if !allowed.contains(&plain_text(value).as_str()) {
                    self.warnings.push(format!("{path} = {} is not taken over: {why}", shortened(value)));
                }
            }
            // A setting that is there but empty has its default; minus one step means "by epochs" in transformers.
            // PEFT writes patterns that say nothing.
            Some(_) if value.as_object().is_some_and(Map::is_empty) => {}
            Some(setting) if value.is_null() || setting == Setting::MaxSteps && value.as_i64() == Some(-1) => {}
            Some(setting) => {
                if self.set(setting, path, value)? {
                    self.seen.push(setting);
                    self.applied.push((path.to_owned(), shortened(value)));
                }
            }
        }
        Ok(())
    }

    fn warn_unknown(&mut self, path: &str, value: &Value) {
        let known =
            KEYS.iter().filter(|(_, setting)| !matches!(setting, Setting::Elsewhere(_))).map(|(known, _)| *known);
        let near = crate::nearest(name(path), known).map(|near| format!(" (the nearest known one is {near})"));
        let near = near.unwrap_or_default();
        self.warnings.push(format!("{path} = {} is not taken over: nothing here does that{near}", shortened(value)));
    }

    /// Sets what a key says; `false` where it is only kept for the end, or cannot be taken over.
    fn set(&mut self, setting: Setting, path: &str, value: &Value) -> Result<bool, DomainError> {
        let config = &mut self.config;
        let lora = &mut config.lora;
        match setting {
            Setting::LearningRate => config.learning_rate = number(path, value)?,
            Setting::WarmupRatio => config.warmup_ratio = number(path, value)?,
            Setting::WarmupSteps => {
                self.warmup_steps = Some((path.to_owned(), number(path, value)?));
                return Ok(false);
            }
            Setting::Epochs => {
                self.epochs = Some((path.to_owned(), number(path, value)?));
                return Ok(false);
            }
            Setting::WeightDecay => config.weight_decay = number(path, value)?,
            Setting::MaxGradNorm => config.max_grad_norm = number(path, value)?,
            Setting::Beta1 => config.adam_beta1 = number(path, value)?,
            Setting::Beta2 => config.adam_beta2 = number(path, value)?,
            Setting::Epsilon => config.adam_epsilon = number(path, value)?,
            Setting::LabelSmoothing => config.label_smoothing_factor = number(path, value)?,
            Setting::Dropout => lora.lora_dropout = number(path, value)?,
            Setting::MaxSteps => config.max_steps = count(path, value)?,
            Setting::BatchSize => config.per_device_train_batch_size = count(path, value)?,
            Setting::Accumulation => config.gradient_accumulation_steps = count(path, value)?,
            Setting::MaxLength => config.max_length = count(path, value)?,
            Setting::Rank => lora.r = count(path, value)?,
            Setting::Alpha => lora.lora_alpha = count(path, value)?,
            Setting::RankPattern => lora.rank_pattern = pattern(path, value)?,
            Setting::AlphaPattern => lora.alpha_pattern = pattern(path, value)?,
            Setting::RsLora => lora.use_rslora = truth(path, value)?,
            Setting::Targets => lora.target_modules = targets(path, value)?,
            Setting::TargetLinear => {
                if truth(path, value)? {
                    lora.target_modules = TargetModules::Keyword("all-linear".to_owned());
                }
            }
            Setting::Packing => config.packing = truth(path, value)?,
            Setting::GradientCheckpointing => config.gradient_checkpointing = checkpointing(path, value)?,
            Setting::GroupByLength => config.group_by_length = truth(path, value)?,
            Setting::NeftuneNoise => config.neftune_noise_alpha = number(path, value)?,
            Setting::Precision => config.precision = precision(path, value)?,
            Setting::Scheduler => return Ok(self.set_scheduler(path, value)),
            Setting::Method => self.method = Some(self.method_of(path, value)?),
            Setting::UsePeft => {
                let adapters = truth(path, value)?;
                self.method = Some(if adapters { TrainMethod::Lora } else { TrainMethod::Full });
            }
            Setting::LoadInBits(bits) => {
                if truth(path, value)? {
                    self.quantise(bits);
                }
            }
            Setting::QuantizationBit => match count(path, value)? {
                0 | 16 | 32 => {}
                4 => self.quantise(4),
                8 => self.quantise(8),
                _ => return Err(bad(path, value, "4 or 8")),
            },
            Setting::BaseModel => self.base_model = Some(plain_case(value)),
            Setting::Only(..) | Setting::Elsewhere(_) => {}
        }
        Ok(true)
    }

    fn set_scheduler(&mut self, path: &str, value: &Value) -> bool {
        match serde_json::from_value::<SchedulerType>(value.clone()) {
            Ok(kind) => {
                self.config.lr_scheduler_type = kind;
                true
            }
            Err(_unknown) => {
                let kept = self.config.lr_scheduler_type;
                let kept = serde_json::to_value(kept).map_or_else(|_| String::new(), |kept| plain_text(&kept));
                self.warnings.push(format!("{path} = {} is not available: {kept} is used", shortened(value)));
                false
            }
        }
    }

    fn method_of(&mut self, path: &str, value: &Value) -> Result<TrainMethod, DomainError> {
        match plain_text(value).as_str() {
            "lora" => Ok(TrainMethod::Lora),
            "qlora" => {
                self.quantise(4);
                Ok(TrainMethod::Lora)
            }
            "full" => Ok(TrainMethod::Full),
            _ => Err(bad(path, value, "lora, qlora or full")),
        }
    }

    /// Of two wishes the smaller one counts.
    fn quantise(&mut self, bits: u8) {
        self.bits = Some(self.bits.map_or(bits, |found| found.min(bits)));
    }

    fn resolve_bits(&mut self) {
        let Some(bits) = self.bits else { return };
        if self.config.method == TrainMethod::Full {
            self.warnings.push(format!("a base in {bits} bits is not taken over: every weight is trained"));
            return;
        }
        self.config.quantization = if bits == 4 { Quantization::Q4K } else { Quantization::Q8_0 };
    }

    fn finish(mut self) -> Result<ImportedConfig, DomainError> {
        self.config.method = self.method.unwrap_or_else(|| self.method_by_keys());
        self.resolve_bits();
        // LLaMA-Factory doubles the rank where no alpha is given.
        if self.format == TrainerFormat::LlamaFactory && !self.seen.contains(&Setting::Alpha) {
            self.config.lora.lora_alpha = 2 * self.config.lora.r;
        }
        self.resolve_epochs();
        self.resolve_warmup();
        self.config.validate()?;
        let assumed = self.assumed();
        Ok(ImportedConfig {
            format: self.format,
            config: self.config,
            base_model: self.base_model,
            applied: self.applied,
            assumed,
            warnings: self.warnings,
        })
    }

    /// Files of TRL and Axolotl train every weight unless they ask for adapters.
    fn method_by_keys(&self) -> TrainMethod {
        let names_adapters = [Setting::Rank, Setting::Alpha, Setting::Targets, Setting::TargetLinear];
        let asks = self.seen.iter().any(|setting| names_adapters.contains(setting));
        let full = matches!(self.format, TrainerFormat::Trl | TrainerFormat::Axolotl) && !asks;
        if full { TrainMethod::Full } else { TrainMethod::Lora }
    }

    fn resolve_epochs(&mut self) {
        let kept = self.config.max_steps;
        let Some((path, epochs)) = self.epochs.take() else {
            if self.format != TrainerFormat::Peft && !self.seen.contains(&Setting::MaxSteps) {
                self.warnings.push(format!("the file says nothing of the length of the training; max_steps is {kept}"));
            }
            return;
        };
        if self.seen.contains(&Setting::MaxSteps) {
            self.warnings.push(format!("{path} = {epochs} is not taken over: max_steps is there too, and decides"));
            return;
        }
        let Some(rows) = self.rows else {
            self.warnings.push(format!(
                "{path} = {epochs} is not taken over: trials are counted in steps, and the number of rows is not known \
                 (--rows); max_steps stays {kept}"
            ));
            return;
        };
        let steps = (rows as f64 * epochs / self.config.effective_batch_size().max(1) as f64).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of steps")]
        let steps = steps.max(1.0) as usize;
        self.config.max_steps = steps;
        self.seen.push(Setting::MaxSteps);
        self.applied.push((path, format!("{epochs} epochs of {rows} rows: max_steps = {steps}")));
    }

    /// A fraction is a share of all steps (transformers 5), a larger number counts steps.
    fn resolve_warmup(&mut self) {
        let Some((path, warmup)) = self.warmup_steps.take() else { return };
        let steps = self.config.max_steps;
        if warmup >= 1.0 && warmup >= steps as f64 {
            self.warnings.push(format!("{path} = {warmup} is not taken over: a trial has {steps} steps"));
            return;
        }
        let share = if warmup < 1.0 { warmup } else { warmup / steps as f64 };
        // The share given by its own name wins over the 0 that transformers 4 writes beside it.
        if warmup > 0.0 || !self.seen.contains(&Setting::WarmupRatio) {
            self.config.warmup_ratio = share;
        }
        self.seen.push(Setting::WarmupSteps);
        self.applied.push((path, format!("{warmup}")));
    }

    /// What the file leaves out, in the order of our configuration.
    fn assumed(&self) -> Vec<(String, String)> {
        let config = &self.config;
        let lora = &config.lora;
        let word =
            |value: Result<Value, serde_json::Error>| value.map_or_else(|_| String::new(), |value| plain_text(&value));
        let mut rows = vec![
            (Setting::LearningRate, "learning_rate", config.learning_rate.to_string()),
            (Setting::Scheduler, "lr_scheduler_type", word(serde_json::to_value(config.lr_scheduler_type))),
            (Setting::WarmupRatio, "warmup_ratio", config.warmup_ratio.to_string()),
            (Setting::MaxSteps, "max_steps", config.max_steps.to_string()),
            (Setting::BatchSize, "per_device_train_batch_size", config.per_device_train_batch_size.to_string()),
            (Setting::Accumulation, "gradient_accumulation_steps", config.gradient_accumulation_steps.to_string()),
            (Setting::WeightDecay, "weight_decay", config.weight_decay.to_string()),
            (Setting::MaxGradNorm, "max_grad_norm", config.max_grad_norm.to_string()),
            (Setting::MaxLength, "max_length", config.max_length.to_string()),
        ];
        if config.method == TrainMethod::Lora {
            rows.extend([
                (Setting::Rank, "lora.r", lora.r.to_string()),
                (Setting::Alpha, "lora.lora_alpha", lora.lora_alpha.to_string()),
                (Setting::Dropout, "lora.lora_dropout", lora.lora_dropout.to_string()),
                (Setting::Targets, "lora.target_modules", word(serde_json::to_value(&lora.target_modules))),
            ]);
        }
        // The adapter's file has no place for the rest.
        if self.format == TrainerFormat::Peft {
            rows.retain(|(_, name, _)| name.starts_with("lora."));
        }
        // NF4 and its like are not implemented; the nearest that is.
        let quantization = self.config.quantization;
        let in_place_of = match quantization {
            Quantization::Q4K => Some("blocks of llama.cpp in place of 4 bits of bitsandbytes (NF4)"),
            Quantization::Q8_0 => Some("blocks of llama.cpp in place of 8 bits of bitsandbytes (LLM.int8)"),
            _ => None,
        };
        let quantization = in_place_of.map(|what| ("quantization".to_owned(), format!("{quantization}, {what}")));
        rows.into_iter()
            .filter(|(setting, ..)| !self.is_given(*setting))
            .map(|(_, name, value)| (name.to_owned(), value))
            .chain(quantization)
            .collect()
    }

    fn is_given(&self, setting: Setting) -> bool {
        let other = match setting {
            Setting::WarmupRatio => Setting::WarmupSteps,
            Setting::Targets => Setting::TargetLinear,
            setting => setting,
        };
        self.seen.contains(&setting) || self.seen.contains(&other)
    }
}

#[cfg(test)]
mod tests;
