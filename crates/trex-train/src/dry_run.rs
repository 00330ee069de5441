//! The trial of a trial: some rows through the template, then two micro-batches forward and backward, with time and memory
//! measured. Leaves nothing behind, neither adapter nor checkpoint, and judges nothing but whether it can be computed.
//!
//! The first micro-batch has the longest rows, because they decide the peak of memory; the second has rows from all over the
//! data, because they tell what a usual one takes, and everything is warm by then.

use std::time::Instant;

use trex_chat::ChatModel;
use trex_domain::{Cost, DryRunDone, Example, TrainJob, TrainObjective, WorkerEvent};

use crate::backend::{self, Base};
use crate::optimizer::{AdamW, Parameter};
use crate::rows::{Encoding, Row};
use crate::stepper::{Plan, Pulse, RowSet, Stepper, Work};
use crate::trained::Trained;
use crate::trainer::{EventSink, load_weights, start};
use crate::usage::{Meter, peak_rss_bytes};
use crate::{ModelConfig, TrainError};

/// Rows that go through the template at least, where there are as many.
const ROWS: usize = 10;

/// Tries what the job would train on.
pub fn dry_run(job: &TrainJob, sink: &mut dyn EventSink) -> Result<DryRunDone, TrainError> {
    let meter = Meter::start();
    job.config.validate()?;
    let model = ModelConfig::load(&job.model_dir.join("config.json"))?;
    let chat = ChatModel::load(&job.model_dir)?;
    chat.check_fits(model.vocab_size)?;
    let limit = job.config.max_length.min(model.max_position);
    let encoding = Encoding { chat: &chat, objective: job.config.objective, limit, seed: job.seed };
    let batch = job.config.per_device_train_batch_size.max(1);
    let sample = Sample::read(job, &encoding, batch)?;
    let (stepper, base) = open(job, &model, sample.longest, sink)?;
    let load = meter.cost().without(&sample.cost);
    let mut trial = Trial { stepper, base, rows: batch, sink };
    let loss = trial.step(0)?;
    let peak_rss_bytes = peak_rss_bytes();
    trial.stepper.train = RowSet::new(sample.typical.iter().take(batch).cloned().collect());
    let second = Meter::start();
    // Where there are fewer rows than a micro-batch has, some are taken more than once.
    trial.step(1)?;
    Ok(DryRunDone {
        rows: sample.typical.len(),
        row_tokens: sample.typical.iter().map(|row| row.num_tokens() as u64).sum(),
        row_supervised: sample.typical.iter().map(|row| row.num_losses() as u64).sum(),
        truncated: sample.typical.iter().filter(|row| row.truncated).count(),
        micro_batch_rows: trial.rows,
        loss,
        peak_rss_bytes,
        load,
        encoding: sample.encoding,
        micro_batch: second.cost().times(trial.rows as f64 / batch as f64),
        cost: meter.cost(),
    })
}

/// Rows that are tried.
struct Sample {
    /// As many as a micro-batch has, the longest first.
    longest: Vec<Row>,
    /// From all over the data.
    typical: Vec<Row>,
    /// What making tokens of all rows takes.
    encoding: Cost,
    /// What making tokens of these took.
    cost: Cost,
}

impl Sample {
    fn read(job: &TrainJob, encoding: &Encoding<'_>, batch: usize) -> Result<Self, TrainError> {
        let examples: Vec<Example> = trex_fs::read_lines(&job.data)?;
        if examples.is_empty() {
            return Err(TrainError::NoRows { path: job.data.clone() });
        }
        let wanted = batch.max(ROWS);
        let meter = Meter::start();
        let (typical, num_encoded) = if job.config.objective == TrainObjective::Pretrain {
            blocks(&examples, encoding, wanted)?
        } else {
            let spread = spread(&examples, wanted);
            (encoding.rows(&spread)?, spread.len())
        };
        let cost_of_typical = meter.cost();
        let longest = match encoding.objective {
            // All blocks but the last are equally long.
            TrainObjective::Pretrain => typical.clone(),
            _ => encoding.rows(&longest(&examples, batch))?,
        };
        let nothing = typical.iter().chain(&longest).filter(|row| row.num_losses() == 0).count();
        if nothing > 0 || typical.is_empty() {
            return Err(TrainError::NothingSupervised { path: job.data.clone(), rows: nothing.max(1) });
        }
        let share = examples.len() as f64 / num_encoded.max(1) as f64;
        Ok(Self { longest, typical, encoding: cost_of_typical.times(share), cost: meter.cost() })
    }
}

/// So many examples, evenly spread over all.
fn spread(examples: &[Example], wanted: usize) -> Vec<Example> {
    let count = wanted.min(examples.len());
    (0..count).filter_map(|index| examples.get(index * examples.len() / count)).cloned().collect()
}

/// So many examples with the most characters; of equally long ones those that come first.
fn longest(examples: &[Example], wanted: usize) -> Vec<Example> {
    let chars = |example: &Example| {
        let prompt: usize = example.prompt.iter().map(|turn| turn.content.len()).sum();
        prompt + example.answer.len() + example.rejected.as_ref().map_or(0, String::len)
    };
    let mut order: Vec<&Example> = examples.iter().collect();
    order.sort_by_key(|example| std::cmp::Reverse(chars(example)));
    order.into_iter().take(wanted).cloned().collect()
}

/// At least so many blocks of raw text where there are as many, and of how many texts they are made.
fn blocks(examples: &[Example], encoding: &Encoding<'_>, wanted: usize) -> Result<(Vec<Row>, usize), TrainError> {
    let mut count = wanted.min(examples.len());
    loop {
        let rows = encoding.rows(&examples[..count])?;
        if rows.len() >= wanted || count == examples.len() {
            return Ok((rows, count));
        }
        count = (2 * count).min(examples.len());
    }
}

/// Everything that a training opens, for a training of these rows; and the parameters with which the model is the base.
fn open(
    job: &TrainJob,
    model: &ModelConfig,
    rows: Vec<Row>,
    sink: &mut dyn EventSink,
) -> Result<(Stepper, Vec<Parameter>), TrainError> {
    // What a training says of its device and its weights is said by the training.
    let mut quiet = Quiet(sink);
    let trained = Trained { model, config: &job.config };
    let placement = crate::device::open(job.device, job.config.precision, &mut quiet)?;
    let weights = load_weights(job, &trained, &placement, &mut quiet)?;
    let fresh = trained.fresh(job.seed, trained.is_full().then_some(&weights.floats))?;
    let base = if job.config.objective == TrainObjective::Dpo { fresh.clone() } else { Vec::new() };
    let optimizer = AdamW::new(start(job, &trained, fresh)?);
    let mut step = backend::open(job, &trained, Base { weights, placement }, &optimizer.parameters, &mut quiet)?;
    step.set_parameters(&optimizer.parameters)?;
    let mut config = job.config.clone();
    config.gradient_accumulation_steps = 1;
    // The second micro-batch meets the weights of the first, so that no rate decides what is found.
    config.learning_rate = 0.0;
    let micro_batch = config.per_device_train_batch_size;
    let plan = Plan { config, seed: job.seed, total_steps: job.total_steps, hidden_size: model.hidden_size };
    Ok((Stepper::new(plan, step, optimizer, rows, micro_batch), base))
}

/// Steps of one micro-batch each.
struct Trial<'a> {
    stepper: Stepper,
    base: Vec<Parameter>,
    /// Rows of a micro-batch that memory suffices for.
    rows: usize,
    sink: &'a mut dyn EventSink,
}

impl Trial<'_> {
    /// Forward and backward pass of the rows that are set; returns the loss.
    fn step(&mut self, step: usize) -> Result<f64, TrainError> {
        let started = Instant::now();
        let (rows, sink) = (&mut self.rows, &mut *self.sink);
        let mut watch = |pulse, work: &Work| {
            if let Pulse::SmallerMicroBatch(fewer) = pulse {
                *rows = fewer;
            }
            sink.send(progress(step, work, started))
        };
        if !self.base.is_empty() {
            self.stepper.compute_references(&self.base, (step, step + 1), &mut watch)?;
        }
        Ok(self.stepper.step(step, &mut watch)?.loss)
    }
}

fn progress(step: usize, work: &Work, started: Instant) -> WorkerEvent {
    WorkerEvent::Progress {
        phase: "dry_run".to_owned(),
        done: step + 1,
        total: 2,
        rate: 0.0,
        tokens_per_s: work.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
        peak_rss_bytes: peak_rss_bytes(),
        loss_ema: None,
    }
}

/// Keeps what it hears to itself.
struct Quiet<'a>(&'a mut dyn EventSink);

impl EventSink for Quiet<'_> {
    fn send(&mut self, event: WorkerEvent) -> bool {
        match event {
            WorkerEvent::Progress { .. } => self.0.send(event),
            _ => true,
        }
    }
}
