//! Configuration files of other trainers, read into ours.
//!
//! Every key of the file is either applied or listed: nothing is dropped silently. Both spellings of renamed arguments
//! are read (transformers 5: `warmup_steps` may be a fraction, `eval_strategy`, …). What a file leaves out has the default
//! of its tool, not ours, because that is what the file means there; those defaults are listed too.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{DomainError, LoraConfig, SchedulerType, TargetModules, TrainConfig, TrainMethod};

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
    /// Keys that were applied, with what they set.
    pub applied: Vec<(String, String)>,
    /// Settings that the file leaves out and whose default is the tool's: ours and value.
    pub assumed: Vec<(String, String)>,
    /// What was not taken over, and why; one line each.
    pub warnings: Vec<String>,
}

/// What a key sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    LearningRate,
    Scheduler,
    WarmupRatio,
    WarmupSteps,
    MaxSteps,
    Epochs,
    BatchSize,
    Accumulation,
    WeightDecay,
    MaxGradNorm,
    Beta1,
    Beta2,
    Epsilon,
    MaxLength,
    LabelSmoothing,
    Rank,
    Alpha,
    Dropout,
    Targets,
    TargetLinear,
    RsLora,
    Method,
    UsePeft,
    BaseModel,
    /// Fine as long as it says what is so here anyway.
    Only(&'static [&'static str], &'static str),
    /// Has no counterpart in a training configuration.
    Elsewhere(&'static str),
}

const DATA: Setting = Setting::Elsewhere("data belongs into [data] and [prompt] of the task file");
const OUTPUT: Setting = Setting::Elsewhere("where results lie is the workspace's business");
const PACE: Setting = Setting::Elsewhere("logging, checkpoints and evaluation have their own pace here");
const NOT_4BIT: Setting =
    Setting::Only(&["false", "null", ""], "the base is trained against in the form in which the model folder holds it");

/// Names of all tools with what they set. One table, because tools borrow each other's names.
const KEYS: &[(&str, Setting)] = &[
    ("learning_rate", Setting::LearningRate),
    ("lr_scheduler_type", Setting::Scheduler),
    ("lr_scheduler", Setting::Scheduler),
    ("warmup_ratio", Setting::WarmupRatio),
    ("warmup_steps", Setting::WarmupSteps),
    ("max_steps", Setting::MaxSteps),
    ("num_train_epochs", Setting::Epochs),
    ("num_epochs", Setting::Epochs),
    ("per_device_train_batch_size", Setting::BatchSize),
    ("per_gpu_train_batch_size", Setting::BatchSize),
    ("micro_batch_size", Setting::BatchSize),
    ("batch_size", Setting::BatchSize),
    ("gradient_accumulation_steps", Setting::Accumulation),
    ("weight_decay", Setting::WeightDecay),
    ("max_grad_norm", Setting::MaxGradNorm),
    ("adam_beta1", Setting::Beta1),
    ("adam_beta2", Setting::Beta2),
    ("adam_epsilon", Setting::Epsilon),
    ("max_length", Setting::MaxLength),
    ("max_seq_length", Setting::MaxLength),
    ("max_seq_len", Setting::MaxLength),
    ("sequence_len", Setting::MaxLength),
    ("cutoff_len", Setting::MaxLength),
    ("label_smoothing_factor", Setting::LabelSmoothing),
    ("label_smoothing", Setting::LabelSmoothing),
    ("r", Setting::Rank),
    ("lora_r", Setting::Rank),
    ("lora_rank", Setting::Rank),
    ("lora_alpha", Setting::Alpha),
    ("lora_dropout", Setting::Dropout),
    ("target_modules", Setting::Targets),
    ("lora_target_modules", Setting::Targets),
    ("lora_target", Setting::Targets),
    ("lora_target_linear", Setting::TargetLinear),
    ("use_rslora", Setting::RsLora),
    ("peft_use_rslora", Setting::RsLora),
    ("finetuning_type", Setting::Method),
    ("training_type", Setting::Method),
    ("adapter", Setting::Method),
    ("use_lora", Setting::UsePeft),
    ("use_peft", Setting::UsePeft),
    ("model_name_or_path", Setting::BaseModel),
    ("model_name", Setting::BaseModel),
    ("base_model", Setting::BaseModel),
    ("base_model_name_or_path", Setting::BaseModel),
    ("peft_type", Setting::Only(&["lora"], "only LoRA is known")),
    ("task_type", Setting::Only(&["causal_lm", "null"], "only causal language models are trained")),
    ("stage", Setting::Only(&["sft"], "only supervised fine-tuning is run")),
    ("bias", Setting::Only(&["none"], "biases are not trained")),
    ("use_dora", Setting::Only(&["false"], "DoRA is not implemented")),
    ("optim", Setting::Only(ADAMW, "the optimiser is AdamW in 32 bits")),
    ("optimizer", Setting::Only(ADAMW, "the optimiser is AdamW in 32 bits")),
    ("bf16", Setting::Only(&["false", "auto"], "training is in 32-bit floats")),
    ("fp16", Setting::Only(&["false", "auto"], "training is in 32-bit floats")),
    ("tf32", Setting::Only(&["false", "auto"], "training is in 32-bit floats")),
    ("load_in_4bit", NOT_4BIT),
    ("load_in_8bit", NOT_4BIT),
    ("quantization_bit", NOT_4BIT),
    ("train_on_inputs", Setting::Only(&["false"], "the loss is on answers only")),
    ("completion_only_loss", Setting::Only(&["true", "null"], "the loss is on answers only")),
    ("assistant_only_loss", Setting::Only(&["true", "false"], "the loss is on answers only")),
    ("do_train", Setting::Only(&["true"], "a run always trains")),
    ("inference_mode", Setting::Only(&["true", "false"], "")),
    ("modules_to_save", Setting::Only(&["null", "[]"], "whole modules are not trained beside adapters")),
    ("fan_in_fan_out", Setting::Only(&["false"], "weights are stored (out, in)")),
    ("revision", Setting::Only(&["null"], "the revision is fixed when the model is added")),
    ("seed", Setting::Elsewhere("give it to `trex run --seed`")),
    ("data_seed", Setting::Elsewhere("one seed decides everything: `trex run --seed`")),
    ("dataset", DATA),
    ("datasets", DATA),
    ("dataset_name", DATA),
    ("dataset_dir", DATA),
    ("dataset_text_field", DATA),
    ("dataset_prepared_path", DATA),
    ("template", Setting::Elsewhere("the chat template is the model's own")),
    ("chat_template", Setting::Elsewhere("the chat template is the model's own")),
    ("val_set_size", DATA),
    ("val_size", DATA),
    ("max_samples", DATA),
    ("output_dir", OUTPUT),
    ("overwrite_output_dir", OUTPUT),
    ("report_to", PACE),
    ("logging_steps", PACE),
    ("save_steps", PACE),
    ("save_strategy", PACE),
    ("save_total_limit", PACE),
    ("eval_strategy", PACE),
    ("evaluation_strategy", PACE),
    ("eval_steps", PACE),
    ("load_best_model_at_end", PACE),
    ("metric_for_best_model", Setting::Elsewhere("the metric is the task's")),
    ("greater_is_better", Setting::Elsewhere("the metric is the task's")),
];

/// AdamW by the names of transformers; variants with other numbers are not among them.
const ADAMW: &[&str] = &["adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"];

/// Tables that tools put settings into.
const TABLES: [&str; 9] =
    ["training", "train", "lora", "peft", "peft_config", "lora_config", "model", "sft", "training_arguments"];

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
    warmup_steps: Option<f64>,
    epochs: Option<f64>,
    method: Option<TrainMethod>,
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
            Some(setting) if value.is_null() || setting == Setting::MaxSteps && value.as_i64() == Some(-1) => {}
            Some(setting) => {
                self.set(setting, path, value)?;
                self.seen.push(setting);
                self.applied.push((path.to_owned(), shortened(value)));
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

    fn set(&mut self, setting: Setting, path: &str, value: &Value) -> Result<(), DomainError> {
        let config = &mut self.config;
        let lora = &mut config.lora;
        match setting {
            Setting::LearningRate => config.learning_rate = number(path, value)?,
            Setting::WarmupRatio => config.warmup_ratio = number(path, value)?,
            Setting::WarmupSteps => self.warmup_steps = Some(number(path, value)?),
            Setting::Epochs => self.epochs = Some(number(path, value)?),
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
            Setting::RsLora => lora.use_rslora = truth(path, value)?,
            Setting::Targets => lora.target_modules = targets(path, value)?,
            Setting::TargetLinear => {
                if truth(path, value)? {
                    lora.target_modules = TargetModules::Keyword("all-linear".to_owned());
                }
            }
            Setting::Scheduler => self.set_scheduler(path, value),
            Setting::Method => self.method = Some(self.method_of(path, value)?),
            Setting::UsePeft => {
                let adapters = truth(path, value)?;
                self.method = Some(if adapters { TrainMethod::Lora } else { TrainMethod::Full });
            }
            Setting::BaseModel => self.base_model = Some(plain_case(value)),
            Setting::Only(..) | Setting::Elsewhere(_) => {}
        }
        Ok(())
    }

    fn set_scheduler(&mut self, path: &str, value: &Value) {
        match serde_json::from_value::<SchedulerType>(value.clone()) {
            Ok(kind) => self.config.lr_scheduler_type = kind,
            Err(_unknown) => {
                let kept = self.config.lr_scheduler_type;
                let kept = serde_json::to_value(kept).map_or_else(|_| String::new(), |kept| plain_text(&kept));
                self.warnings.push(format!("{path} = {} is not available: {kept} is used", shortened(value)));
            }
        }
    }

    fn method_of(&mut self, path: &str, value: &Value) -> Result<TrainMethod, DomainError> {
        match plain_text(value).as_str() {
            "lora" => Ok(TrainMethod::Lora),
            "qlora" => {
                self.warnings.push(format!(
                    "{path} = \"qlora\" is taken for lora: the base is used in the form in which the model folder holds it"
                ));
                Ok(TrainMethod::Lora)
            }
            "full" => Ok(TrainMethod::Full),
            _ => Err(bad(path, value, "lora, qlora or full")),
        }
    }

    fn finish(mut self) -> Result<ImportedConfig, DomainError> {
        self.config.method = self.method.unwrap_or_else(|| self.method_by_keys());
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
        if self.seen.contains(&Setting::MaxSteps) {
            return;
        }
        let Some(epochs) = self.epochs else {
            if self.format != TrainerFormat::Peft {
                let kept = self.config.max_steps;
                self.warnings.push(format!("the file says nothing of the length of the training; max_steps is {kept}"));
            }
            return;
        };
        let Some(rows) = self.rows else {
            let kept = self.config.max_steps;
            self.warnings.push(format!(
                "{epochs} epochs are not taken over: trials are counted in steps, and the number of rows is not known; \
                 max_steps stays {kept}"
            ));
            return;
        };
        let steps = (rows as f64 * epochs / self.config.effective_batch_size().max(1) as f64).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of steps")]
        let steps = steps.max(1.0) as usize;
        self.config.max_steps = steps;
        self.seen.push(Setting::MaxSteps);
        self.applied.push((format!("{epochs} epochs of {rows} rows"), format!("max_steps = {steps}")));
    }

    /// A fraction is a share of all steps (transformers 5), a larger number counts steps.
    fn resolve_warmup(&mut self) {
        let Some(warmup) = self.warmup_steps else { return };
        if warmup < 1.0 {
            // The share given by its own name wins over the 0 that transformers 4 writes beside it.
            if warmup > 0.0 || !self.seen.contains(&Setting::WarmupRatio) {
                self.config.warmup_ratio = warmup;
            }
        } else if warmup < self.config.max_steps as f64 {
            self.config.warmup_ratio = warmup / self.config.max_steps as f64;
        } else {
            let steps = self.config.max_steps;
            self.warnings.push(format!("{warmup} warm-up steps are not taken over: a trial has {steps} steps"));
        }
    }

    /// Settings that the file leaves out and whose value is not our default.
    fn assumed(&self) -> Vec<(String, String)> {
        let (found, ours) = (&self.config, TrainConfig::default());
        let scheduler =
            |kind: SchedulerType| serde_json::to_value(kind).map_or_else(|_| String::new(), |v| plain_text(&v));
        let rows = [
            (Setting::LearningRate, "learning_rate", found.learning_rate.to_string(), ours.learning_rate.to_string()),
            (
                Setting::Scheduler,
                "lr_scheduler_type",
                scheduler(found.lr_scheduler_type),
                scheduler(ours.lr_scheduler_type),
            ),
            (Setting::WarmupRatio, "warmup_ratio", found.warmup_ratio.to_string(), ours.warmup_ratio.to_string()),
            (
                Setting::BatchSize,
                "per_device_train_batch_size",
                found.per_device_train_batch_size.to_string(),
                ours.per_device_train_batch_size.to_string(),
            ),
            (Setting::MaxLength, "max_length", found.max_length.to_string(), ours.max_length.to_string()),
            (Setting::Rank, "lora.r", found.lora.r.to_string(), ours.lora.r.to_string()),
            (Setting::Alpha, "lora.lora_alpha", found.lora.lora_alpha.to_string(), ours.lora.lora_alpha.to_string()),
        ];
        let is_given = |setting: Setting| {
            self.seen.contains(&setting) || setting == Setting::WarmupRatio && self.warmup_steps.is_some()
        };
        let assumed = rows.into_iter().filter(|(setting, _, found, ours)| !is_given(*setting) && found != ours);
        assumed.map(|(_, name, found, _)| (name.to_owned(), found)).collect()
    }
}

fn bad(path: &str, value: &Value, expected: &'static str) -> DomainError {
    DomainError::BadSetting { key: path.to_owned(), value: shortened(value), expected }
}

/// A number, also one in quotes: YAML takes `2e-4` for a text.
fn number(path: &str, value: &Value) -> Result<f64, DomainError> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| bad(path, value, "a number"))
}

fn count(path: &str, value: &Value) -> Result<usize, DomainError> {
    let number = number(path, value)?;
    if number < 0.0 || number.fract() != 0.0 || number > 1e15 {
        return Err(bad(path, value, "a whole number of at least 0"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let count = number as usize;
    Ok(count)
}

fn truth(path: &str, value: &Value) -> Result<bool, DomainError> {
    match plain_text(value).as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(bad(path, value, "true or false")),
    }
}

/// A list, `all-linear` (`all` in LLaMA-Factory), or names separated by commas.
fn targets(path: &str, value: &Value) -> Result<TargetModules, DomainError> {
    let names: Vec<String> = match value {
        Value::String(word) if matches!(word.as_str(), "all-linear" | "all") => {
            return Ok(TargetModules::Keyword("all-linear".to_owned()));
        }
        Value::String(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
        Value::Array(names) => names.iter().map(plain_case).collect(),
        _ => return Err(bad(path, value, "a list of names or all-linear")),
    };
    if names == ["all"] || names == ["all-linear"] {
        return Ok(TargetModules::Keyword("all-linear".to_owned()));
    }
    Ok(TargetModules::List(names))
}

/// A value as its text in lower case.
fn plain_text(value: &Value) -> String {
    plain_case(value).to_lowercase()
}

fn plain_case(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value for a message.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        text
    } else {
        format!("{}…", text.chars().take(LONGEST).collect::<String>())
    }
}

#[cfg(test)]
mod tests;
