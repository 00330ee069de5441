//! What is tried before a trial: some rows through the template and two micro-batches forward and backward. Says what came
//! of it and which trials are alike in it; judges nothing.

use serde::{Deserialize, Serialize};

use crate::{ContentHash, Cost, DomainError, FailureClass, TrainConfig};

/// What a dry run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRunDone {
    /// Rows that went through the template, spread evenly over the data.
    pub rows: usize,
    /// Their tokens.
    pub row_tokens: u64,
    /// Tokens of them that carry loss.
    pub row_supervised: u64,
    /// Rows of them that were cut to the maximal length.
    pub truncated: usize,
    /// Rows of a micro-batch; fewer than were asked for where memory did not suffice.
    pub micro_batch_rows: usize,
    /// Loss of the micro-batch with the longest rows, before anything is learned.
    pub loss: f64,
    /// Largest resident memory in bytes after a micro-batch of the longest rows; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
    /// What it took to load the model.
    pub load: Cost,
    /// What making tokens of all rows takes, carried over from the rows that were looked at.
    pub encoding: Cost,
    /// What a micro-batch of rows from all over the data took, forward and backward.
    pub micro_batch: Cost,
    /// What all of it took.
    pub cost: Cost,
}

impl DryRunDone {
    /// What one row takes in training.
    pub fn per_row(&self) -> Cost {
        self.micro_batch.times(1.0 / self.micro_batch_rows.max(1) as f64)
    }
}

/// Why a dry run did not come to its end. Stands for all trainings of the same shape, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunFailure {
    /// Kind of failure.
    pub class: FailureClass,
    /// Stable code of the worker's error.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// Names what a dry run depends on: trainings that differ only in rate, schedule, length and the like need one.
pub fn dry_run_shape(
    model: &ContentHash,
    data: &ContentHash,
    config: &TrainConfig,
) -> Result<ContentHash, DomainError> {
    let plain = TrainConfig::default();
    let shape = TrainConfig {
        learning_rate: plain.learning_rate,
        lr_scheduler_type: plain.lr_scheduler_type,
        lr_scheduler_kwargs: plain.lr_scheduler_kwargs,
        warmup_ratio: plain.warmup_ratio,
        max_steps: plain.max_steps,
        gradient_accumulation_steps: plain.gradient_accumulation_steps,
        weight_decay: plain.weight_decay,
        max_grad_norm: plain.max_grad_norm,
        adam_beta1: plain.adam_beta1,
        adam_beta2: plain.adam_beta2,
        adam_epsilon: plain.adam_epsilon,
        ..config.clone()
    };
    ContentHash::of_value("trex.dry-run.v1", &(model, data, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_neither_rows_nor_shapes_needs_no_second_dry_run() {
        let (model, data) = (ContentHash::of_bytes(b"m"), ContentHash::of_bytes(b"d"));
        let plain = TrainConfig::default();
        let shape = |config: &TrainConfig| dry_run_shape(&model, &data, config).unwrap();
        let alike = TrainConfig { learning_rate: 0.5, max_steps: 7, weight_decay: 0.3, ..plain.clone() };
        assert_eq!(shape(&plain), shape(&alike));
        let mut others = vec![TrainConfig { per_device_train_batch_size: 99, ..plain.clone() }];
        others.push(TrainConfig { max_length: 99, ..plain.clone() });
        others.push(TrainConfig { gradient_checkpointing: !plain.gradient_checkpointing, ..plain.clone() });
        let mut wider = plain.clone();
        wider.lora.r += 1;
        others.push(wider);
        assert!(others.iter().all(|other| shape(other) != shape(&plain)));
        assert_ne!(dry_run_shape(&model, &model, &plain).unwrap(), shape(&plain), "other rows");
    }
}
