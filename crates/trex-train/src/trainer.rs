//! The training loop of one trial: adapters on a frozen base, from its beginning, a lower rung's end or a crash.
//!
//! Data order, dropout and initialisation depend on the seed and the step only, so a resumed training writes the same bytes as one that was never interrupted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use rand::Rng as _;
use trex_chat::{ChatModel, Encoded};
use trex_domain::{ContentHash, Example, MetricPoint, TrainDone, TrainJob, WorkerEvent, seeded_rng};
use trex_fs::BlobStore;

use crate::autograd::adapter_parameters;
use crate::batch::train_batch;
use crate::checkpoint::{self, Checkpoint, CheckpointHeader};
use crate::decoder::Dropout;
use crate::lora::Adapter;
use crate::optimizer::AdamW;
use crate::step::{Objective, TrainStep};
use crate::usage::{Meter, peak_rss_bytes};
use crate::{ModelConfig, TrainError, backend};

/// A mean loss above this multiple of the first step's counts as divergence.
const DIVERGENCE_FACTOR: f64 = 4.0;

/// Steps whose mean loss is judged.
const DIVERGENCE_WINDOW: usize = 5;

/// Loss in nats below which the first step's is not taken as the measure.
const DIVERGENCE_FLOOR: f64 = 2.0;

/// Receives events; returning `false` asks for an orderly stop.
pub trait EventSink {
    /// Takes one event.
    fn send(&mut self, event: WorkerEvent) -> bool;
}

/// Trains as the job says and stores adapter and checkpoint as blobs.
pub fn train(job: &TrainJob, sink: &mut dyn EventSink) -> Result<TrainDone, TrainError> {
    Trainer::new(job, sink)?.run(sink)
}

struct Trainer<'a> {
    job: &'a TrainJob,
    id: ContentHash,
    config: ModelConfig,
    backend: Box<dyn TrainStep>,
    optimizer: AdamW,
    examples: Vec<Encoded>,
    header: CheckpointHeader,
    tokens: u64,
    supervised_tokens: u64,
    meter: Meter,
}

impl<'a> Trainer<'a> {
    fn new(job: &'a TrainJob, sink: &mut dyn EventSink) -> Result<Self, TrainError> {
        let meter = Meter::start();
        job.config.validate()?;
        let device = Device::Cpu;
        let config = ModelConfig::load(&job.model_dir.join("config.json"))?;
        let tokenizer = ChatModel::load(&job.model_dir)?;
        tokenizer.check_fits(config.vocab_size)?;
        let examples = encode(job, &tokenizer, &config)?;
        let id = job_id(job, &config)?;
        let restored = latest_checkpoint(job, &id, &device)?;
        let adapter = match &restored {
            Some((path, checkpoint)) => checkpoint.adapter(path, &config)?,
            None => initial_adapter(job, &config, &device)?,
        };
        let mut optimizer = AdamW::new(adapter_parameters(&adapter)?);
        let mut header =
            CheckpointHeader { job: id, step: 0, curve: Vec::new(), first_loss: None, lora: job.config.lora.clone() };
        if let Some((path, checkpoint)) = restored {
            checkpoint.restore(&path, &mut optimizer)?;
            header = checkpoint.header;
        }
        let backend = backend::open(job, &config, &adapter, &optimizer.parameters, sink)?;
        Ok(Self { job, id, config, backend, optimizer, examples, header, tokens: 0, supervised_tokens: 0, meter })
    }

    fn run(mut self, sink: &mut dyn EventSink) -> Result<TrainDone, TrainError> {
        let first = self.header.step;
        let mut saved = first;
        for step in first..self.job.stop_step {
            let point = self.step(step)?;
            let done = step + 1 - first;
            let rate = done as f64 / self.meter.wall_s();
            let progress =
                WorkerEvent::Progress { phase: "train".to_owned(), done: step + 1, total: self.job.stop_step, rate };
            let goes_on = sink.send(WorkerEvent::Metric(point)) && sink.send(progress);
            let is_last = step + 1 == self.job.stop_step;
            if !goes_on || (!is_last && step + 1 - saved >= self.job.checkpoint_every.max(1)) {
                self.save_checkpoint()?;
                saved = step + 1;
                sink.send(WorkerEvent::Checkpoint { step: saved });
            }
            if !goes_on {
                return Err(TrainError::Cancelled { step: step + 1 });
            }
        }
        self.finish()
    }

    /// One optimiser step; `step` counts from 0.
    fn step(&mut self, step: usize) -> Result<MetricPoint, TrainError> {
        let config = &self.job.config;
        let indices = batch_indices(self.examples.len(), config.effective_batch_size(), step, self.job.seed);
        let supervised: usize = indices.iter().map(|index| self.examples[*index].completion.len()).sum();
        let objective = Objective { divisor: supervised as f64, label_smoothing: config.label_smoothing_factor };
        let mut gradients = self.optimizer.zero_gradients();
        let mut loss_sum = 0.0;
        for (micro, chunk) in indices.chunks(config.per_device_train_batch_size).enumerate() {
            let examples: Vec<&Encoded> = chunk.iter().map(|index| &self.examples[*index]).collect();
            let batch = train_batch(&examples);
            let dropout = Dropout::new(self.job.seed, step, micro, config.lora.lora_dropout);
            loss_sum += self.backend.accumulate(&batch, objective, dropout, &mut gradients)?;
            self.tokens += batch.tree.tokens().len() as u64;
        }
        self.supervised_tokens += supervised as u64;
        self.check_divergence(step, loss_sum)?;
        let learning_rate = config.learning_rate_at(step, self.job.total_steps);
        let grad_norm = self.optimizer.step(&mut gradients, config, learning_rate, step + 1);
        self.backend.set_parameters(&self.optimizer.parameters)?;
        if !grad_norm.is_finite() {
            return Err(TrainError::Diverged { step: step + 1, loss: loss_sum });
        }
        let point = MetricPoint { step: step + 1, loss: loss_sum, learning_rate, grad_norm };
        self.header.step = step + 1;
        self.header.curve.push(point);
        Ok(point)
    }

    /// Judges the mean of the last steps: one batch of bad rows is not a divergence, a loss that is no number is.
    fn check_divergence(&mut self, step: usize, loss: f64) -> Result<(), TrainError> {
        let first = *self.header.first_loss.get_or_insert(loss);
        let curve = &self.header.curve;
        let recent = curve[curve.len().saturating_sub(DIVERGENCE_WINDOW - 1)..].iter().map(|point| point.loss);
        let recent: Vec<f64> = recent.chain([loss]).collect();
        let mean = recent.iter().sum::<f64>() / recent.len() as f64;
        // A loss near zero may grow many times without harm, hence the floor.
        let is_far_off = recent.len() == DIVERGENCE_WINDOW && mean > DIVERGENCE_FACTOR * first.max(DIVERGENCE_FLOOR);
        if loss.is_finite() && !is_far_off {
            return Ok(());
        }
        Err(TrainError::Diverged { step: step + 1, loss })
    }

    fn save_checkpoint(&self) -> Result<(), TrainError> {
        let bytes = checkpoint::to_bytes(&self.header, &self.optimizer)?;
        Ok(trex_fs::write_atomic(&scratch_path(self.job), &bytes)?)
    }

    /// The adapter as it is now.
    fn adapter(&self) -> Result<Adapter, TrainError> {
        let mut tensors = BTreeMap::new();
        for parameter in &self.optimizer.parameters {
            let tensor = Tensor::from_slice(&parameter.values, parameter.shape.as_slice(), &Device::Cpu)?;
            tensors.insert(parameter.name.clone(), tensor);
        }
        Adapter::from_tensors(&scratch_path(self.job), &self.config, self.job.config.lora.clone(), &tensors)
    }

    fn finish(self) -> Result<TrainDone, TrainError> {
        let blobs = BlobStore::new(&self.job.blobs_dir);
        debug_assert_eq!(self.id, self.header.job);
        let checkpoint = blobs.put(&checkpoint::to_bytes(&self.header, &self.optimizer)?)?;
        let adapter = blobs.put(&self.adapter()?.to_bytes()?)?;
        Ok(TrainDone {
            adapter,
            checkpoint,
            steps: self.header.step,
            curve: self.header.curve,
            tokens: self.tokens,
            supervised_tokens: self.supervised_tokens,
            truncated: self.examples.iter().filter(|example| example.truncated).count(),
            peak_rss_bytes: peak_rss_bytes(),
            cost: self.meter.cost(),
        })
    }
}

/// Fresh adapters, or those that the job goes on from.
fn initial_adapter(job: &TrainJob, config: &ModelConfig, device: &Device) -> Result<Adapter, TrainError> {
    match &job.init_adapter {
        Some(path) => Adapter::continued(path, &job.config.lora, config, device),
        None => Adapter::new(config, &job.config.lora, job.seed, device),
    }
}

/// Names a job by everything that decides its bytes, up to where it stops.
fn job_id(job: &TrainJob, config: &ModelConfig) -> Result<ContentHash, TrainError> {
    let data = job.data.file_name().map(|name| name.to_string_lossy().into_owned());
    let facts = (data, &job.config, job.seed, job.total_steps, config, job.backend);
    let id = ContentHash::of_value("trex.train-job.v2", &facts)?;
    // Another adapter under the same path is another job.
    let Some(adapter) = &job.init_adapter else { return Ok(id) };
    Ok(ContentHash::of_value("trex.train-job-from-adapter.v1", &(id, crate::import::adapter_hash(adapter)?))?)
}

fn scratch_path(job: &TrainJob) -> PathBuf {
    job.scratch_dir.join("checkpoint.safetensors")
}

/// The checkpoint to go on from: this job's own where there is one, else the lower rung's.
fn latest_checkpoint(
    job: &TrainJob,
    id: &ContentHash,
    device: &Device,
) -> Result<Option<(PathBuf, Checkpoint)>, TrainError> {
    let own = scratch_path(job);
    let candidates = own.is_file().then_some(own).into_iter().chain(job.resume_from.clone());
    for path in candidates {
        let checkpoint = Checkpoint::load(&path, id, device)?;
        if checkpoint.header.step <= job.stop_step {
            return Ok(Some((path, checkpoint)));
        }
    }
    Ok(None)
}

fn encode(job: &TrainJob, tokenizer: &ChatModel, config: &ModelConfig) -> Result<Vec<Encoded>, TrainError> {
    let rows: Vec<Example> = trex_fs::read_lines(&job.data)?;
    if rows.is_empty() {
        return Err(TrainError::NoRows { path: job.data.clone() });
    }
    let limit = job.config.max_length.min(config.max_position);
    rows.iter().map(|row| Ok(tokenizer.encode_example(&row.rendered_prompt(job.seed), &row.answer, limit)?)).collect()
}

/// The examples of optimiser step `step`: the endless row of seeded permutations, cut into batches.
fn batch_indices(rows: usize, batch: usize, step: usize, seed: u64) -> Vec<usize> {
    let first = step * batch;
    let mut indices = Vec::with_capacity(batch);
    for epoch in first / rows..=(first + batch - 1) / rows {
        let order = permutation(rows, seed, epoch);
        let start = first.max(epoch * rows) - epoch * rows;
        let end = (first + batch).min((epoch + 1) * rows) - epoch * rows;
        indices.extend_from_slice(&order[start..end]);
    }
    indices
}

/// Fisher and Yates' shuffle of `0..rows` for one epoch.
fn permutation(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = seeded_rng(seed, &format!("order/{epoch}"));
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        let other = usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap_or(last);
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_epoch_visits_every_row_once(rows in 1usize..40, batch in 1usize..20, seed in any::<u64>()) {
            let steps = (rows * 3).div_ceil(batch);
            let stream: Vec<usize> = (0..steps).flat_map(|step| batch_indices(rows, batch, step, seed)).collect();
            for epoch in stream.chunks_exact(rows) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert!(sorted.into_iter().eq(0..rows));
            }
        }
    }
}
