//! Our configuration, written for other trainers, under the newest names of their settings.
//!
//! Only what differs between tools by name is translated; data and output stay the person's business.

use serde_json::{Map, Value, json};

use crate::{
    LoraConfig, Precision, Quantization, SchedulerType, TargetModules, TrainConfig, TrainMethod, TrainerFormat,
};

/// The settings of a file for this tool, and what could not be said there, one line each.
pub fn export_trainer_config(config: &TrainConfig, format: TrainerFormat, base_model: &str) -> (Value, Vec<String>) {
    let mut warnings = Vec::new();
    let value = match format {
        TrainerFormat::Trl => trl(config, base_model),
        TrainerFormat::LlamaFactory => llama_factory(config, base_model),
        TrainerFormat::Axolotl => axolotl(config, base_model, &mut warnings),
        TrainerFormat::Unsloth => unsloth(config, base_model),
        TrainerFormat::Peft => peft(config, base_model, &mut warnings),
    };
    if format != TrainerFormat::Peft {
        warnings.extend(warning_on_quantization(config.quantization));
        if uses_adapters(config) && config.lora.has_patterns() && format != TrainerFormat::Axolotl {
            let what = "rank_pattern and alpha_pattern are left out: the file of this tool has no place for them";
            warnings.push(what.to_owned());
        }
    }
    (Value::Object(value), warnings)
}

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Settings that have transformers' names in every tool that is built on its trainer.
fn training_arguments(config: &TrainConfig) -> Map<String, Value> {
    table(json!({
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": config.adam_epsilon,
        "bf16": config.precision == Precision::Bf16,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "gradient_checkpointing": config.gradient_checkpointing,
        "group_by_length": config.group_by_length,
        "label_smoothing_factor": config.label_smoothing_factor,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": scheduler(config.lr_scheduler_type),
        "max_grad_norm": config.max_grad_norm,
        "max_steps": config.max_steps,
        "neftune_noise_alpha": config.neftune_noise_alpha,
        "optim": "adamw_torch",
        "packing": config.packing,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "weight_decay": config.weight_decay,
    }))
}

fn scheduler(kind: SchedulerType) -> Value {
    serde_json::to_value(kind).unwrap_or_default()
}

/// Bits of the base in tools that are built on bitsandbytes.
fn bits(quantization: Quantization) -> Option<u8> {
    match quantization {
        Quantization::None | Quantization::AsStored => None,
        Quantization::Q8_0 | Quantization::Q6K | Quantization::Q5K => Some(8),
        Quantization::Q4K | Quantization::Q4_0 => Some(4),
    }
}

/// What is lost where only 4 and 8 bits can be said; q8_0 and q4_k are what such files come to when they are read.
fn warning_on_quantization(quantization: Quantization) -> Option<String> {
    match (quantization, bits(quantization)) {
        (Quantization::None | Quantization::Q8_0 | Quantization::Q4K, _) => None,
        (_, Some(bits)) => Some(format!("quantization = \"{quantization}\" is written as {bits} bits")),
        (_, None) => Some(format!("quantization = \"{quantization}\" is left out: the tool quantises at loading only")),
    }
}

/// `load_in_4bit` or `load_in_8bit`, where the base is quantised.
fn load_in_bits(config: &TrainConfig) -> Map<String, Value> {
    bits(config.quantization).map(|bits| (format!("load_in_{bits}bit"), json!(true))).into_iter().collect()
}

fn uses_adapters(config: &TrainConfig) -> bool {
    config.method == TrainMethod::Lora
}

fn trl(config: &TrainConfig, base_model: &str) -> Map<String, Value> {
    let mut map = training_arguments(config);
    map.extend(table(json!({
        "completion_only_loss": true,
        "max_length": config.max_length,
        "model_name_or_path": base_model,
        "use_peft": uses_adapters(config),
        // A fraction of all steps since transformers 5, which has no warmup_ratio any more.
        "warmup_steps": config.warmup_ratio,
    })));
    if uses_adapters(config) {
        map.extend(table(json!({
            "lora_alpha": config.lora.lora_alpha,
            "lora_dropout": config.lora.lora_dropout,
            "lora_r": config.lora.r,
            "lora_target_modules": config.lora.target_modules,
            "use_rslora": config.lora.use_rslora,
        })));
        map.extend(load_in_bits(config));
    }
    map
}

fn llama_factory(config: &TrainConfig, base_model: &str) -> Map<String, Value> {
    let mut map = training_arguments(config);
    map.extend(table(json!({
        "cutoff_len": config.max_length,
        "do_train": true,
        "finetuning_type": if uses_adapters(config) { "lora" } else { "full" },
        "model_name_or_path": base_model,
        "stage": "sft",
        "warmup_ratio": config.warmup_ratio,
    })));
    if uses_adapters(config) {
        let targets = match &config.lora.target_modules {
            TargetModules::Keyword(_) => "all".to_owned(),
            TargetModules::List(names) => names.join(","),
        };
        map.extend(table(json!({
            "lora_alpha": config.lora.lora_alpha,
            "lora_dropout": config.lora.lora_dropout,
            "lora_rank": config.lora.r,
            "lora_target": targets,
            "use_rslora": config.lora.use_rslora,
        })));
        map.extend(bits(config.quantization).map(|bits| ("quantization_bit".to_owned(), json!(bits))));
    }
    map
}

fn axolotl(config: &TrainConfig, base_model: &str, warnings: &mut Vec<String>) -> Map<String, Value> {
    if config.label_smoothing_factor > 0.0 {
        let factor = config.label_smoothing_factor;
        warnings.push(format!("label_smoothing_factor = {factor} is left out: Axolotl has no such setting"));
    }
    let mut map = table(json!({
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": config.adam_epsilon,
        "base_model": base_model,
        "bf16": config.precision == Precision::Bf16,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "gradient_checkpointing": config.gradient_checkpointing,
        "group_by_length": config.group_by_length,
        "learning_rate": config.learning_rate,
        "lr_scheduler": scheduler(config.lr_scheduler_type),
        "max_grad_norm": config.max_grad_norm,
        "max_steps": config.max_steps,
        "micro_batch_size": config.per_device_train_batch_size,
        "neftune_noise_alpha": config.neftune_noise_alpha,
        "optimizer": "adamw_torch",
        "sample_packing": config.packing,
        "sequence_len": config.max_length,
        "train_on_inputs": false,
        "warmup_ratio": config.warmup_ratio,
        "weight_decay": config.weight_decay,
    }));
    if uses_adapters(config) {
        map.extend(table(json!({
            "adapter": if bits(config.quantization) == Some(4) { "qlora" } else { "lora" },
            "lora_alpha": config.lora.lora_alpha,
            "lora_dropout": config.lora.lora_dropout,
            "lora_r": config.lora.r,
            "peft_use_rslora": config.lora.use_rslora,
        })));
        let (key, value) = match &config.lora.target_modules {
            TargetModules::Keyword(_) => ("lora_target_linear", json!(true)),
            TargetModules::List(names) => ("lora_target_modules", json!(names)),
        };
        map.insert(key.to_owned(), value);
        map.extend(patterns(&config.lora, ["lora_rank_pattern", "lora_alpha_pattern"]));
        map.extend(load_in_bits(config));
    }
    map
}

fn unsloth(config: &TrainConfig, base_model: &str) -> Map<String, Value> {
    let mut map = training_arguments(config);
    map.extend(table(json!({
        "max_seq_length": config.max_length,
        "model_name": base_model,
        "training_type": if uses_adapters(config) { "lora" } else { "full" },
        "warmup_ratio": config.warmup_ratio,
    })));
    if uses_adapters(config) {
        map.extend(table(json!({
            "lora_alpha": config.lora.lora_alpha,
            "lora_dropout": config.lora.lora_dropout,
            "r": config.lora.r,
            "target_modules": config.lora.target_modules,
            "use_rslora": config.lora.use_rslora,
        })));
        map.extend(load_in_bits(config));
    }
    map
}

fn peft(config: &TrainConfig, base_model: &str, warnings: &mut Vec<String>) -> Map<String, Value> {
    warnings.push("adapter_config.json holds the adapter's shape only: no learning rate, batch or schedule".to_owned());
    let mut map = table(json!({
        "base_model_name_or_path": base_model,
        "bias": "none",
        "lora_alpha": config.lora.lora_alpha,
        "lora_dropout": config.lora.lora_dropout,
        "peft_type": "LORA",
        "r": config.lora.r,
        "target_modules": config.lora.target_modules,
        "task_type": "CAUSAL_LM",
        "use_rslora": config.lora.use_rslora,
    }));
    map.extend(patterns(&config.lora, ["rank_pattern", "alpha_pattern"]));
    map
}

/// Ranks and alphas by module, under the names of a tool, where there are any.
fn patterns(lora: &LoraConfig, names: [&str; 2]) -> Map<String, Value> {
    let patterns = names.into_iter().zip([&lora.rank_pattern, &lora.alpha_pattern]);
    let said = patterns.filter(|(_, pattern)| !pattern.is_empty());
    said.map(|(name, pattern)| (name.to_owned(), json!(pattern))).collect()
}
