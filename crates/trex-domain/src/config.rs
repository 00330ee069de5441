//! Training configuration under the names of Hugging Face `TrainingArguments` and PEFT `LoraConfig`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// How the learning rate moves after the warm-up (names of transformers' `lr_scheduler_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    /// Falls linearly to zero.
    Linear,
    /// Falls along half a cosine to zero.
    #[default]
    Cosine,
    /// Stays.
    Constant,
    /// Stays after the warm-up, named so for transformers.
    ConstantWithWarmup,
    /// Stays, then falls linearly to zero over the last fifth of the steps (warm-up–stable–decay).
    WarmupStableDecay,
}

/// Which weights are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainMethod {
    /// Low-rank adapters on a frozen base.
    #[default]
    Lora,
    /// Every weight.
    Full,
}

/// Number format of the forward and backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Frozen weights, and what is multiplied with them, in bfloat16; sums, adapters and all else in 32-bit floats.
    Bf16,
}

/// The linear layers that get an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetModules {
    /// `"all-linear"`: every projection of every layer.
    Keyword(String),
    /// Names such as `q_proj`.
    List(Vec<String>),
}

impl TargetModules {
    /// All projections of a Llama-family layer, in the order of the layer.
    pub const ALL_LINEAR: [&'static str; 7] =
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    /// Projections that stand for several of those in some families (Phi-3).
    pub const FUSED: [&'static str; 2] = ["qkv_proj", "gate_up_proj"];

    /// Resolves the keyword, for a Llama-family layer, and checks every name.
    pub fn names(&self) -> Result<Vec<&'static str>, DomainError> {
        let unknown = |name: &str| DomainError::UnknownTargetModule { name: name.to_owned() };
        match self {
            Self::Keyword(word) if word == "all-linear" => Ok(Self::ALL_LINEAR.to_vec()),
            Self::Keyword(word) => Err(unknown(word)),
            Self::List(names) if names.is_empty() => Err(unknown("")),
            Self::List(names) => {
                let known: Vec<_> = Self::ALL_LINEAR.into_iter().chain(Self::FUSED).collect();
                if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
                    return Err(unknown(name));
                }
                Ok(known.into_iter().filter(|known| names.iter().any(|name| name == known)).collect())
            }
        }
    }
}

/// Low-rank adapters: `y = x Wᵀ + scale · (x Aᵀ) Bᵀ` with A of shape (r, in) and B of shape (out, r).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank, at least 1.
    pub r: usize,
    /// Numerator of the scale, at least 1; PEFT and Ollama read an integer.
    pub lora_alpha: usize,
    /// Share of adapter inputs that are zeroed in training, in [0, 1).
    #[serde(default)]
    pub lora_dropout: f64,
    /// Where adapters sit.
    pub target_modules: TargetModules,
    /// Scale by alpha/√r instead of alpha/r.
    #[serde(default)]
    pub use_rslora: bool,
}

impl LoraConfig {
    /// Whether adapters of the other configuration are adapters of this one: everything but the dropout is equal.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let same_targets = self.target_modules.names().ok() == other.target_modules.names().ok();
        same_targets && self.r == other.r && self.lora_alpha == other.lora_alpha && self.use_rslora == other.use_rslora
    }

    /// The factor on the adapter's output.
    pub fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha as f64 / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 16,
            lora_dropout: 0.0,
            target_modules: TargetModules::Keyword("all-linear".to_owned()),
            use_rslora: false,
        }
    }
}

/// One training configuration. Defaults are this project's for LoRA on small models, not transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Which weights are trained.
    pub method: TrainMethod,
    /// Adapter settings; ignored by full fine-tuning.
    pub lora: LoraConfig,
    /// Peak learning rate, above 0.
    pub learning_rate: f64,
    /// Shape of the schedule.
    pub lr_scheduler_type: SchedulerType,
    /// Share of all steps that warm up, in [0, 1).
    pub warmup_ratio: f64,
    /// Optimiser steps of a full-fidelity trial, at least 1.
    pub max_steps: usize,
    /// Examples per micro-batch.
    pub per_device_train_batch_size: usize,
    /// Micro-batches per optimiser step.
    pub gradient_accumulation_steps: usize,
    /// Decoupled weight decay; never applied to norms.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global L2 norm; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// Adam's first decay.
    pub adam_beta1: f64,
    /// Adam's second decay.
    pub adam_beta2: f64,
    /// Adam's denominator guard.
    pub adam_epsilon: f64,
    /// Longest example in tokens; longer prompts lose their beginning and the loss of it is reported.
    pub max_length: usize,
    /// Label smoothing in [0, 1).
    pub label_smoothing_factor: f64,
    /// Number format.
    pub precision: Precision,
    /// Adapter to go on from: a PEFT folder, or a GGUF adapter; `lora` must have its shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: TrainMethod::Lora,
            lora: LoraConfig::default(),
            learning_rate: 2e-4,
            lr_scheduler_type: SchedulerType::Cosine,
            warmup_ratio: 0.05,
            max_steps: 120,
            per_device_train_batch_size: 16,
            gradient_accumulation_steps: 1,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_length: 512,
            label_smoothing_factor: 0.0,
            precision: Precision::F32,
            adapter: None,
        }
    }
}

impl TrainConfig {
    /// Checks every range; the error names the field, the value and what is allowed.
    pub fn validate(&self) -> Result<(), DomainError> {
        let unit = |value: f64| (0.0..1.0).contains(&value);
        let checks = [
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate < 1.0,
                "above 0 and below 1",
            ),
            ("warmup_ratio", self.warmup_ratio, unit(self.warmup_ratio), "in [0, 1)"),
            ("max_steps", self.max_steps as f64, self.max_steps >= 1, "at least 1"),
            (
                "per_device_train_batch_size",
                self.per_device_train_batch_size as f64,
                self.per_device_train_batch_size >= 1,
                "at least 1",
            ),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps as f64,
                self.gradient_accumulation_steps >= 1,
                "at least 1",
            ),
            ("weight_decay", self.weight_decay, unit(self.weight_decay), "in [0, 1)"),
            (
                "max_grad_norm",
                self.max_grad_norm,
                self.max_grad_norm >= 0.0 && self.max_grad_norm.is_finite(),
                "0 or more",
            ),
            ("adam_beta1", self.adam_beta1, unit(self.adam_beta1), "in [0, 1)"),
            ("adam_beta2", self.adam_beta2, unit(self.adam_beta2), "in [0, 1)"),
            ("adam_epsilon", self.adam_epsilon, self.adam_epsilon > 0.0, "above 0"),
            ("max_length", self.max_length as f64, self.max_length >= 8, "at least 8"),
            ("label_smoothing_factor", self.label_smoothing_factor, unit(self.label_smoothing_factor), "in [0, 1)"),
            ("lora.r", self.lora.r as f64, (1..=1024).contains(&self.lora.r), "from 1 to 1024"),
            ("lora.lora_alpha", self.lora.lora_alpha as f64, self.lora.lora_alpha >= 1, "at least 1"),
            ("lora.lora_dropout", self.lora.lora_dropout, unit(self.lora.lora_dropout), "in [0, 1)"),
        ];
        for (field, value, valid, allowed) in checks {
            if !valid {
                return Err(DomainError::OutOfRange { field, value: value.to_string(), allowed });
            }
        }
        self.lora.target_modules.names().map(|_| ())
    }

    /// Examples per optimiser step.
    pub fn effective_batch_size(&self) -> usize {
        self.per_device_train_batch_size * self.gradient_accumulation_steps
    }

    /// Learning rate for optimiser step `step` (from 0) of `total` steps.
    ///
    /// Warm-up is linear from `1/warmup` of the peak, then the schedule runs over the remaining steps, as transformers'
    /// `get_scheduler` does.
    pub fn learning_rate_at(&self, step: usize, total: usize) -> f64 {
        let warmup = (self.warmup_ratio * total as f64).ceil();
        let step = step as f64;
        if step < warmup {
            return self.learning_rate * (step + 1.0) / (warmup + 1.0);
        }
        let progress = ((step - warmup) / (total as f64 - warmup).max(1.0)).clamp(0.0, 1.0);
        let factor = match self.lr_scheduler_type {
            SchedulerType::Linear => 1.0 - progress,
            SchedulerType::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            SchedulerType::Constant | SchedulerType::ConstantWithWarmup => 1.0,
            SchedulerType::WarmupStableDecay => ((1.0 - progress) / 0.2).min(1.0),
        };
        self.learning_rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rejected(change: impl FnOnce(&mut TrainConfig), field: &str) {
        let mut config = TrainConfig::default();
        change(&mut config);
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains(field), "{text}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        TrainConfig::default().validate().unwrap();
        check_rejected(|c| c.learning_rate = 0.0, "learning_rate");
        check_rejected(|c| c.learning_rate = -1.0, "learning_rate");
        check_rejected(|c| c.learning_rate = f64::NAN, "learning_rate");
        check_rejected(|c| c.lora.r = 0, "lora.r");
        check_rejected(|c| c.lora.lora_alpha = 0, "lora.lora_alpha");
        check_rejected(|c| c.max_steps = 0, "max_steps");
        check_rejected(|c| c.lora.target_modules = TargetModules::List(vec!["wq".into()]), "wq");
    }

    #[test]
    fn schedules_start_low_peak_and_end() {
        let config = |kind| TrainConfig {
            lr_scheduler_type: kind,
            warmup_ratio: 0.1,
            learning_rate: 1e-3,
            ..TrainConfig::default()
        };
        for kind in [SchedulerType::Linear, SchedulerType::Cosine, SchedulerType::WarmupStableDecay] {
            let config = config(kind);
            assert!(config.learning_rate_at(0, 100) < 2e-4);
            assert!((config.learning_rate_at(10, 100) - 1e-3).abs() < 1e-9);
            assert!(config.learning_rate_at(99, 100) < 6e-5);
        }
        assert!((config(SchedulerType::Constant).learning_rate_at(99, 100) - 1e-3).abs() < 1e-12);
        assert!((config(SchedulerType::Cosine).learning_rate_at(55, 100) - 5e-4).abs() < 1e-9);
    }

    #[test]
    fn target_modules_resolve_in_layer_order() {
        let list = TargetModules::List(vec!["v_proj".into(), "q_proj".into()]);
        assert_eq!(list.names().unwrap(), ["q_proj", "v_proj"]);
        assert_eq!(TargetModules::Keyword("all-linear".into()).names().unwrap().len(), 7);
        let fused = TargetModules::List(vec!["gate_up_proj".into(), "o_proj".into()]);
        assert_eq!(fused.names().unwrap(), ["o_proj", "gate_up_proj"]);
    }
}
