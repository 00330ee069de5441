//! Training configuration under the names of Hugging Face `TrainingArguments` and PEFT `LoraConfig`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DomainError, Quantization, RowForm, SchedulerKwargs, SchedulerType};

mod lora;

pub use lora::{LoraConfig, ModuleKey, ModulePatternFault, TargetModules};

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

/// What is minimised (LLaMA-Factory calls it `stage`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrainObjective {
    /// Cross-entropy of the answers; prompts carry no loss.
    #[default]
    Sft,
    /// Cross-entropy of every token of raw text, in blocks of `max_length` tokens (continued pre-training).
    Pretrain,
    /// Direct preference optimisation (Rafailov et al., 2023) of answers over rejected answers, against the frozen base.
    Dpo,
    /// Odds ratio preference optimisation (Hong et al., 2024), without a reference.
    Orpo,
}

impl TrainObjective {
    /// Whether rows are pairs of an answer and a rejected answer.
    pub fn is_preference(self) -> bool {
        matches!(self, Self::Dpo | Self::Orpo)
    }

    /// What its training rows must be.
    pub fn row_form(self) -> RowForm {
        match self {
            Self::Sft => RowForm::Answers,
            Self::Dpo | Self::Orpo => RowForm::Pairs,
            Self::Pretrain => RowForm::Text,
        }
    }

    /// The name that task files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Pretrain => "pretrain",
            Self::Dpo => "dpo",
            Self::Orpo => "orpo",
        }
    }
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
    /// The same in half precision, for cards without bfloat16. The processor rounds the weights to it and multiplies in
    /// 32-bit floats.
    F16,
}

/// One training configuration. Defaults are this project's for LoRA on small models, not transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the switches are those of other trainers' files")]
pub struct TrainConfig {
    /// Which weights are trained.
    pub method: TrainMethod,
    /// What is minimised.
    pub objective: TrainObjective,
    /// Adapter settings; ignored by full fine-tuning.
    pub lora: LoraConfig,
    /// Peak learning rate, above 0.
    pub learning_rate: f64,
    /// Shape of the schedule.
    pub lr_scheduler_type: SchedulerType,
    /// What only some schedules read.
    pub lr_scheduler_kwargs: SchedulerKwargs,
    /// Warm-up: below 1 a share of all steps, from 1 on a number of steps, as transformers 5 reads `warmup_steps`.
    #[serde(alias = "warmup_steps")]
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
    /// Label smoothing in [0, 1), as transformers' `LabelSmoother`; for DPO the share of pairs that are taken to be the
    /// wrong way round, below 0.5.
    pub label_smoothing_factor: f64,
    /// DPO's temperature, ORPO's weight of the odds ratio (TRL's `beta`), above 0.
    pub beta: f64,
    /// NEFTune (Jain et al., 2023): embeddings get uniform noise within ± alpha / √(length · width) in training; 0 is off.
    pub neftune_noise_alpha: f64,
    /// Whether short sequences share a block. Batches here are never padded and no sequence sees another, so sequences
    /// are packed in any case, and the setting is taken for the sake of other trainers' files only.
    pub packing: bool,
    /// Most tokens of a micro-batch, which bounds memory; 0 leaves it to `per_device_train_batch_size`. A sequence that
    /// is longer makes a micro-batch of its own. The loss does not depend on it but for rounding.
    pub max_tokens_per_micro_batch: usize,
    /// Whether the examples of an optimiser step are sorted by length before they are cut into micro-batches. It evens
    /// out memory and time; the step's gradient is the same but for rounding.
    pub group_by_length: bool,
    /// Whether activations are computed again in the backward pass instead of kept, layer by layer.
    pub gradient_checkpointing: bool,
    /// Optimiser steps between two losses on the dev rows; 0 is never.
    pub eval_steps: usize,
    /// Evaluations without a better dev loss after which training stops; 0 is never.
    pub early_stopping_patience: usize,
    /// How much better is better, in nats.
    pub early_stopping_threshold: f64,
    /// Whether the result is the weights with the best dev loss instead of the last.
    pub load_best_model_at_end: bool,
    /// Checkpoints on the way that are kept, at least 1. The best weights are in each of them.
    pub save_total_limit: usize,
    /// Number format.
    pub precision: Precision,
    /// Number format in which the frozen base is kept (QLoRA), and in which it is scored. It is dequantised layer by
    /// layer and multiplied in 32-bit floats, whatever `precision` says; training every weight has no frozen base.
    #[serde(skip_serializing_if = "Quantization::is_none")]
    pub quantization: Quantization,
    /// Adapter to go on from: a PEFT folder, or a GGUF adapter; `lora` must have its shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: TrainMethod::Lora,
            objective: TrainObjective::Sft,
            lora: LoraConfig::default(),
            learning_rate: 2e-4,
            lr_scheduler_type: SchedulerType::Cosine,
            lr_scheduler_kwargs: SchedulerKwargs::default(),
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
            beta: 0.1,
            neftune_noise_alpha: 0.0,
            packing: false,
            max_tokens_per_micro_batch: 0,
            group_by_length: false,
            gradient_checkpointing: false,
            eval_steps: 0,
            early_stopping_patience: 0,
            early_stopping_threshold: 0.0,
            load_best_model_at_end: false,
            save_total_limit: 1,
            precision: Precision::F32,
            quantization: Quantization::None,
            adapter: None,
        }
    }
}

impl TrainConfig {
    /// Checks every range; the error names the field, the value and what is allowed.
    pub fn validate(&self) -> Result<(), DomainError> {
        let checks = self.optimizer_checks().into_iter().chain(self.data_checks()).chain(self.lora_checks());
        for (field, value, valid, allowed) in checks {
            if !valid {
                return Err(DomainError::OutOfRange { field, value: value.to_string(), allowed });
            }
        }
        if self.method == TrainMethod::Full && !self.quantization.is_none() {
            return Err(DomainError::OutOfRange {
                field: "quantization",
                value: self.quantization.to_string(),
                allowed: "\"none\" where every weight is trained: only a frozen base can be quantised",
            });
        }
        self.lr_scheduler_kwargs.validate(self.lr_scheduler_type, self.learning_rate)?;
        self.lora.target_modules.names()?;
        self.lora.check_patterns()
    }

    fn optimizer_checks(&self) -> Vec<Check> {
        vec![
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate < 1.0,
                "above 0 and below 1",
            ),
            (
                "warmup_ratio",
                self.warmup_ratio,
                is_share(self.warmup_ratio) || is_count(self.warmup_ratio),
                "a share in [0, 1) or a whole number of steps",
            ),
            at_least_one("max_steps", self.max_steps),
            ("weight_decay", self.weight_decay, is_share(self.weight_decay), "in [0, 1)"),
            (
                "max_grad_norm",
                self.max_grad_norm,
                self.max_grad_norm >= 0.0 && self.max_grad_norm.is_finite(),
                "0 or more",
            ),
            ("adam_beta1", self.adam_beta1, is_share(self.adam_beta1), "in [0, 1)"),
            ("adam_beta2", self.adam_beta2, is_share(self.adam_beta2), "in [0, 1)"),
            ("adam_epsilon", self.adam_epsilon, self.adam_epsilon > 0.0, "above 0"),
            ("beta", self.beta, self.beta > 0.0 && self.beta.is_finite(), "above 0"),
            (
                "neftune_noise_alpha",
                self.neftune_noise_alpha,
                self.neftune_noise_alpha >= 0.0 && self.neftune_noise_alpha.is_finite(),
                "0 or more",
            ),
        ]
    }

    fn data_checks(&self) -> Vec<Check> {
        let smoothing = self.label_smoothing_factor;
        vec![
            at_least_one("per_device_train_batch_size", self.per_device_train_batch_size),
            at_least_one("gradient_accumulation_steps", self.gradient_accumulation_steps),
            at_least_one("save_total_limit", self.save_total_limit),
            ("max_length", self.max_length as f64, self.max_length >= 8, "at least 8"),
            ("label_smoothing_factor", smoothing, is_share(smoothing), "in [0, 1)"),
            (
                "label_smoothing_factor",
                smoothing,
                smoothing < 0.5 || !self.objective.is_preference(),
                "below 0.5 for preference pairs",
            ),
            (
                "early_stopping_threshold",
                self.early_stopping_threshold,
                self.early_stopping_threshold >= 0.0,
                "0 or more",
            ),
            (
                "eval_steps",
                self.eval_steps as f64,
                self.eval_steps > 0 || (self.early_stopping_patience == 0 && !self.load_best_model_at_end),
                "above 0 with early_stopping_patience or load_best_model_at_end",
            ),
        ]
    }

    fn lora_checks(&self) -> Vec<Check> {
        let lora = &self.lora;
        vec![
            ("lora.r", lora.r as f64, (1..=LoraConfig::MAX_RANK).contains(&lora.r), "from 1 to 1024"),
            ("lora.lora_alpha", lora.lora_alpha as f64, lora.lora_alpha >= 1, "at least 1"),
            ("lora.lora_dropout", lora.lora_dropout, is_share(lora.lora_dropout), "in [0, 1)"),
        ]
    }

    /// Examples per optimiser step.
    pub fn effective_batch_size(&self) -> usize {
        self.per_device_train_batch_size * self.gradient_accumulation_steps
    }
}

/// A field, its value, whether it is valid, and what is allowed.
type Check = (&'static str, f64, bool, &'static str);

fn at_least_one(field: &'static str, value: usize) -> Check {
    (field, value as f64, value >= 1, "at least 1")
}

fn is_share(value: f64) -> bool {
    (0.0..1.0).contains(&value)
}

fn is_count(value: f64) -> bool {
    value >= 1.0 && value.fract() == 0.0 && value < 1e9
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
        check_rejected(|c| (c.method, c.quantization) = (TrainMethod::Full, Quantization::Q8_0), "only a frozen base");
        check_rejected(|c| c.warmup_ratio = 1.5, "warmup_ratio");
        check_rejected(|c| c.beta = 0.0, "beta");
        check_rejected(|c| c.save_total_limit = 0, "save_total_limit");
        check_rejected(|c| c.early_stopping_patience = 2, "eval_steps");
        check_rejected(
            |c| (c.objective, c.label_smoothing_factor) = (TrainObjective::Dpo, 0.5),
            "label_smoothing_factor",
        );
        check_rejected(|c| c.lora.target_modules = TargetModules::List(vec!["wq".into()]), "wq");
        check_rejected(|c| c.lora.rank_pattern = [("wk".to_owned(), 4)].into(), "lora.rank_pattern: wk");
    }
}
