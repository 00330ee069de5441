//! One optimiser step: which rows, in which micro-batches, under which loss; and the loss on the dev rows.
//!
//! Knows no files and no events. What it draws depends on seed and step alone. Where memory does not suffice, a step is
//! begun again with half the micro-batch; the effective batch, and with it the result up to rounding, stays.

use trex_domain::TrainConfig;

use crate::TrainError;
use crate::batch::{LaidOut, Sharing, micro_batches, train_batch};
use crate::decoder::Dropout;
use crate::neftune::Neftune;
use crate::objective::{BatchLoss, Reference, Totals, answer_sum};
use crate::optimizer::{AdamW, Gradients, Parameter};
use crate::order::batch_indices;
use crate::rows::Row;
use crate::step::{Objective, TrainStep};

/// What happens within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// A micro-batch is done.
    MicroBatch,
    /// Memory did not suffice; from now on micro-batches have so many rows.
    SmallerMicroBatch(usize),
}

/// Hears of what happens; `false` asks to stop.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Pulse, &Work) -> bool;

/// What has been computed so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Tokens that went through the model in training.
    pub(crate) tokens: u64,
    /// Those of them that carried loss.
    pub(crate) supervised: u64,
}

/// What a step looked like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stepped {
    pub(crate) loss: f64,
    pub(crate) learning_rate: f64,
    pub(crate) grad_norm: f64,
}

/// Settings of a training that no step changes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) config: TrainConfig,
    pub(crate) seed: u64,
    pub(crate) total_steps: usize,
    /// Width of embeddings.
    pub(crate) hidden_size: usize,
}

/// Rows with their log-probabilities under the frozen base, where the loss asks for them.
#[derive(Debug, Default)]
pub(crate) struct RowSet {
    rows: Vec<Row>,
    references: Vec<Option<Reference>>,
}

impl RowSet {
    /// Rows without references.
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        let references = vec![None; rows.len()];
        Self { rows, references }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Takes optimiser steps.
pub(crate) struct Stepper {
    plan: Plan,
    backend: Box<dyn TrainStep>,
    pub(crate) optimizer: AdamW,
    pub(crate) train: RowSet,
    pub(crate) dev: RowSet,
    micro_batch: usize,
    pub(crate) work: Work,
}

impl Stepper {
    /// `micro_batch` is the number of rows of a micro-batch to begin with.
    pub(crate) fn new(
        plan: Plan,
        backend: Box<dyn TrainStep>,
        optimizer: AdamW,
        train: Vec<Row>,
        micro_batch: usize,
    ) -> Self {
        let (train, dev) = (RowSet::new(train), RowSet::default());
        Self { plan, backend, optimizer, train, dev, micro_batch: micro_batch.max(1), work: Work::default() }
    }

    /// Computes what the rows of steps `first..last` and the dev rows are worth under `base`, then goes back to the
    /// parameters as they are.
    pub(crate) fn compute_references(
        &mut self,
        base: &[Parameter],
        (first, last): (usize, usize),
        watch: Watch<'_>,
    ) -> Result<(), TrainError> {
        let mut used = vec![false; self.train.rows.len()];
        for step in first..last {
            self.indices(step).into_iter().for_each(|index| used[index] = true);
        }
        let indices: Vec<usize> = (0..used.len()).filter(|index| used[*index]).collect();
        self.backend.set_parameters(base)?;
        let dev: Vec<usize> = (0..self.dev.rows.len()).collect();
        for (of_train, indices) in [(true, indices), (false, dev)] {
            for chunk in self.cut(if of_train { &self.train } else { &self.dev }, &indices) {
                let set = if of_train { &mut self.train } else { &mut self.dev };
                let laid = lay(set, &chunk, Sharing::Prefixes);
                let losses = self.backend.row_losses(&laid.batch)?;
                for (index, pair) in chunk.iter().zip(laid.places.chunks_exact(2)) {
                    set.references[*index] = Some([-answer_sum(&losses, &pair[0]), -answer_sum(&losses, &pair[1])]);
                }
                if !watch(Pulse::MicroBatch, &self.work) {
                    return Err(TrainError::Cancelled { step: first });
                }
            }
        }
        self.backend.set_parameters(&self.optimizer.parameters)
    }

    fn indices(&self, step: usize) -> Vec<usize> {
        batch_indices(self.train.rows.len(), self.plan.config.effective_batch_size(), step, self.plan.seed)
    }

    /// One optimiser step; `step` counts from 0.
    pub(crate) fn step(&mut self, step: usize, watch: Watch<'_>) -> Result<Stepped, TrainError> {
        let before = self.work;
        let (loss, mut gradients) = loop {
            match self.gradients(step, watch) {
                Err(err) if err.is_out_of_memory() && self.micro_batch > 1 => {
                    (self.micro_batch, self.work) = (self.micro_batch / 2, before);
                    if !watch(Pulse::SmallerMicroBatch(self.micro_batch), &self.work) {
                        return Err(TrainError::Cancelled { step });
                    }
                }
                done => break done?,
            }
        };
        self.check_finite(step, loss, &gradients)?;
        let config = &self.plan.config;
        let learning_rate = config.learning_rate_at(step, self.plan.total_steps);
        let grad_norm = self.optimizer.step(&mut gradients, config, learning_rate, step + 1);
        self.backend.set_parameters(&self.optimizer.parameters)?;
        Ok(Stepped { loss, learning_rate, grad_norm })
    }

    /// Loss and gradients of an effective batch.
    fn gradients(&mut self, step: usize, watch: Watch<'_>) -> Result<(f64, Gradients), TrainError> {
        let mut indices = self.indices(step);
        if self.plan.config.group_by_length {
            indices.sort_by_key(|index| (self.train.rows[*index].num_tokens(), *index));
        }
        let objective = self.plan.config.objective;
        let totals = Totals::of(indices.iter().map(|index| &self.train.rows[*index]), objective);
        let sharing = if self.plan.config.neftune_noise_alpha > 0.0 { Sharing::Nothing } else { Sharing::Prefixes };
        let mut gradients = self.optimizer.zero_gradients();
        let (mut loss, mut place) = (0.0, 0);
        for (micro, chunk) in self.cut(&self.train, &indices).into_iter().enumerate() {
            let laid = lay(&self.train, &chunk, sharing);
            let dropout = self.disturbance(step, micro, place, &laid);
            loss += self.accumulate(&laid, &chunk, totals, dropout, &mut gradients)?;
            place += chunk.len();
            self.work.tokens += laid.batch.tree.tokens().len() as u64;
            self.work.supervised += laid.batch.rows.len() as u64;
            if !watch(Pulse::MicroBatch, &self.work) {
                return Err(TrainError::Cancelled { step });
            }
        }
        Ok((loss, gradients))
    }

    fn accumulate(
        &mut self,
        laid: &LaidOut,
        chunk: &[usize],
        totals: Totals,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        let config = &self.plan.config;
        if !config.objective.is_preference() {
            let objective = Objective { divisor: totals.tokens, label_smoothing: config.label_smoothing_factor };
            return self.backend.accumulate(&laid.batch, objective, dropout, gradients);
        }
        let references = references(&self.train, chunk);
        let loss = BatchLoss { config, totals, places: &laid.places, references: &references };
        self.backend.accumulate_weighed(&laid.batch, &|losses| loss.weigh(losses), dropout, gradients)
    }

    /// Loss on the dev rows: that of the objective, without dropout, noise and smoothing.
    pub(crate) fn eval_loss(&mut self, step: usize, watch: Watch<'_>) -> Result<f64, TrainError> {
        let config = TrainConfig { label_smoothing_factor: 0.0, ..self.plan.config.clone() };
        let totals = Totals::of(self.dev.rows.iter(), config.objective);
        let indices: Vec<usize> = (0..self.dev.rows.len()).collect();
        let mut sum = 0.0;
        for chunk in self.cut(&self.dev, &indices) {
            let laid = lay(&self.dev, &chunk, Sharing::Prefixes);
            let references = references(&self.dev, &chunk);
            let loss = BatchLoss { config: &config, totals, places: &laid.places, references: &references };
            sum += loss.weigh(&self.backend.row_losses(&laid.batch)?).loss;
            if !watch(Pulse::MicroBatch, &self.work) {
                return Err(TrainError::Cancelled { step });
            }
        }
        Ok(sum)
    }

    fn cut(&self, set: &RowSet, indices: &[usize]) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = indices.iter().map(|index| set.rows[*index].num_tokens()).collect();
        let cuts = micro_batches(&lengths, self.micro_batch, self.plan.config.max_tokens_per_micro_batch);
        cuts.into_iter().map(|cut| indices[cut].to_vec()).collect()
    }

    /// Dropout and noise of a micro-batch whose first row is the `place`th of its step.
    fn disturbance(&self, step: usize, micro: usize, place: usize, laid: &LaidOut) -> Option<Dropout> {
        let config = &self.plan.config;
        let dropout = Dropout::new(self.plan.seed, step, micro, config.lora.lora_dropout);
        if config.neftune_noise_alpha == 0.0 {
            return dropout;
        }
        let neftune = Neftune {
            alpha: config.neftune_noise_alpha,
            seed: self.plan.seed,
            step,
            first_place: place,
            hidden_size: self.plan.hidden_size,
        };
        Some(Dropout::with_noise(dropout, neftune.noise(laid)))
    }

    /// Names the first thing of a step that is not a number.
    fn check_finite(&self, step: usize, loss: f64, gradients: &Gradients) -> Result<(), TrainError> {
        let not_finite = |place| Err(TrainError::StepNotFinite { step: step + 1, place });
        if !loss.is_finite() {
            return not_finite(format!("the loss ({loss})"));
        }
        let bad = gradients.values.iter().position(|values| values.iter().any(|value| !value.is_finite()));
        let Some(parameter) = bad.and_then(|index| self.optimizer.parameters.get(index)) else { return Ok(()) };
        not_finite(format!("the gradient of {} {:?}", parameter.name, parameter.shape))
    }
}

fn lay(set: &RowSet, indices: &[usize], sharing: Sharing) -> LaidOut {
    let rows: Vec<&Row> = indices.iter().map(|index| &set.rows[*index]).collect();
    train_batch(&rows, sharing)
}

/// References of rows; where the loss has none, nothing reads them.
fn references(set: &RowSet, indices: &[usize]) -> Vec<Reference> {
    indices.iter().map(|index| set.references[*index].unwrap_or_default()).collect()
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod memory;
