//! The training loop of one trial, from its beginning, a lower rung's end or a crash: steps, evaluations, checkpoints,
//! events, and what is left behind.
//!
//! Data order, dropout, noise and initialisation depend on the seed and the step only, so a resumed training writes the same
//! bytes as one that was never interrupted. What a step computes is decided in [`crate::stepper`].

use std::time::{Duration, Instant};

use candle_core::Device;
use trex_chat::ChatModel;
use trex_domain::{
    ContentHash, Cost, MetricPoint, Precision, Quantization, TrainDone, TrainJob, TrainObjective, WorkerEvent,
};
use trex_fs::BlobStore;

use crate::autograd::adapter_parameters;
use crate::backend::{self, Base, Numbers};
use crate::checkpoint::{self, Checkpoint, CheckpointHeader, Values};
use crate::device::Placement;
use crate::early_stop;
use crate::lora::Adapter;
use crate::optimizer::{AdamW, Parameter};
use crate::rows::Encoding;
use crate::scratch::Scratch;
use crate::stepper::{Plan, Pulse, RowSet, Stepper, Work};
use crate::trained::Trained;
use crate::usage::{Meter, peak_rss_bytes};
use crate::weights::FrozenWeights;
use crate::{ModelConfig, TrainError};

/// A mean loss above this multiple of the first step's counts as divergence.
const DIVERGENCE_FACTOR: f64 = 4.0;

/// Steps whose mean loss is judged.
const DIVERGENCE_WINDOW: usize = 5;

/// Loss in nats below which the first step's is not taken as the measure.
const DIVERGENCE_FLOOR: f64 = 2.0;

/// Weight of a new loss in the exponential mean.
const EMA_SHARE: f64 = 0.1;

/// Shortest time between two reports within a step; below the second that a person waits for at most.
const REPORT_EVERY: Duration = Duration::from_millis(300);

/// Receives events; returning `false` asks for an orderly stop.
pub trait EventSink {
    /// Takes one event.
    fn send(&mut self, event: WorkerEvent) -> bool;
}

/// Trains as the job says and stores result and checkpoint as blobs.
pub fn train(job: &TrainJob, sink: &mut dyn EventSink) -> Result<TrainDone, TrainError> {
    Trainer::new(job, sink)?.run(sink)
}

struct Trainer<'a> {
    job: &'a TrainJob,
    model: ModelConfig,
    stepper: Stepper,
    /// Parameters with which the model is the base, where the loss compares with it.
    base: Vec<Parameter>,
    header: CheckpointHeader,
    best: Option<Values>,
    scratch: Scratch,
    reporter: Reporter,
    evaluating: bool,
}

impl<'a> Trainer<'a> {
    fn new(job: &'a TrainJob, sink: &mut dyn EventSink) -> Result<Self, TrainError> {
        let meter = Meter::start();
        job.config.validate()?;
        let model = ModelConfig::load(&job.model_dir.join("config.json"))?;
        let chat = ChatModel::load(&job.model_dir)?;
        chat.check_fits(model.vocab_size)?;
        let limit = job.config.max_length.min(model.max_position);
        let encoding = Encoding { chat: &chat, objective: job.config.objective, limit, seed: job.seed };
        let rows = encoding.read(&job.data)?;
        let dev = job.dev.as_ref().filter(|_| job.config.eval_steps > 0).map(|path| encoding.read(path)).transpose()?;
        if job.config.eval_steps > 0 && dev.is_none() {
            return Err(TrainError::NoDevRows);
        }
        let trained = Trained { model: &model, config: &job.config };
        let placement = crate::device::open(job.device, job.config.precision, sink)?;
        let meter = meter.on(placement.device());
        let weights = load_weights(job, &trained, &placement, sink)?;
        let fresh = trained.fresh(job.seed, trained.is_full().then_some(&weights.floats))?;
        let base = if job.config.objective == TrainObjective::Dpo { fresh.clone() } else { Vec::new() };
        let mut optimizer = AdamW::new(start(job, &trained, fresh)?);
        let id = job_id(job, &model)?;
        let scratch = Scratch::new(&job.scratch_dir, job.config.save_total_limit);
        let mut header = CheckpointHeader { job: id, step: 0, curve: Vec::new(), first_loss: None };
        let mut best = None;
        if let Some(checkpoint) = latest_checkpoint(job, &model, &scratch, &id)? {
            best = checkpoint.restore(&mut optimizer, job.config.load_best_model_at_end)?;
            header = CheckpointHeader { job: id, ..checkpoint.header };
        }
        let base_weights = Base { weights, placement };
        let mut step = backend::open(job, &trained, base_weights, &optimizer.parameters, sink)?;
        step.set_parameters(&optimizer.parameters)?;
        let plan = Plan {
            config: job.config.clone(),
            seed: job.seed,
            total_steps: job.total_steps,
            hidden_size: model.hidden_size,
        };
        let micro_batch = job.micro_batch.unwrap_or(usize::MAX).min(job.config.per_device_train_batch_size);
        let mut stepper = Stepper::new(plan, step, optimizer, rows, micro_batch);
        stepper.dev = RowSet::new(dev.unwrap_or_default());
        let reporter = Reporter { meter, first: header.step, total: job.stop_step, ema: None, last: Instant::now() };
        Ok(Self { job, model, stepper, base, header, best, scratch, reporter, evaluating: false })
    }

    fn run(mut self, sink: &mut dyn EventSink) -> Result<TrainDone, TrainError> {
        let first = self.header.step;
        if !self.base.is_empty() && first < self.job.stop_step {
            let watch = &mut |pulse, work: &Work| self.reporter.within("reference", first, pulse, work, sink);
            self.stepper.compute_references(&self.base, (first, self.job.stop_step), watch)?;
        }
        let mut saved = first;
        for step in first..self.job.stop_step {
            if early_stop::is_over(&self.job.config, &self.header.curve) {
                break;
            }
            let goes_on = match self.step(step, sink) {
                Err(err @ TrainError::Cancelled { .. }) => {
                    // In the evaluation after a step the weights are ahead of the curve, and the step is done again.
                    if step > saved && !self.evaluating {
                        self.save_checkpoint()?;
                    }
                    return Err(err);
                }
                done => done?,
            };
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
        self.say_early_stop(sink);
        self.finish()
    }

    /// One optimiser step with its evaluation and its events; returns whether to go on. `step` counts from 0.
    fn step(&mut self, step: usize, sink: &mut dyn EventSink) -> Result<bool, TrainError> {
        let reporter = &mut self.reporter;
        let stepped = self.stepper.step(step, &mut |pulse, work| reporter.within("train", step, pulse, work, sink))?;
        self.check_divergence(step, stepped.loss)?;
        let before = self.header.curve.last().map_or(stepped.loss, |point| point.loss_ema);
        let mut point = MetricPoint {
            step: step + 1,
            loss: stepped.loss,
            learning_rate: stepped.learning_rate,
            grad_norm: stepped.grad_norm,
            loss_ema: before + EMA_SHARE * (stepped.loss - before),
            eval_loss: None,
        };
        if early_stop::is_due(&self.job.config, step + 1, self.job.total_steps) {
            let reporter = &mut self.reporter;
            let watch = &mut |pulse, work: &Work| reporter.within("eval", step, pulse, work, sink);
            self.evaluating = true;
            point.eval_loss = Some(self.stepper.eval_loss(step, watch)?);
            self.evaluating = false;
        }
        self.header.step = step + 1;
        self.header.curve.push(point);
        if self.job.config.load_best_model_at_end && early_stop::last_is_best(&self.header.curve) {
            let parameters = &self.stepper.optimizer.parameters;
            self.best = Some(parameters.iter().map(|parameter| parameter.values.clone()).collect());
        }
        self.reporter.ema = Some(point.loss_ema);
        let progress = self.reporter.progress("train", step + 1, &self.stepper.work);
        Ok(sink.send(WorkerEvent::Metric(point)) && sink.send(progress))
    }

    /// Judges the mean of the last steps: one batch of bad rows is not a divergence.
    fn check_divergence(&mut self, step: usize, loss: f64) -> Result<(), TrainError> {
        let first = *self.header.first_loss.get_or_insert(loss);
        let curve = &self.header.curve;
        let recent = curve[curve.len().saturating_sub(DIVERGENCE_WINDOW - 1)..].iter().map(|point| point.loss);
        let recent: Vec<f64> = recent.chain([loss]).collect();
        let mean = recent.iter().sum::<f64>() / recent.len() as f64;
        // A loss near zero may grow many times without harm, hence the floor.
        if recent.len() == DIVERGENCE_WINDOW && mean > DIVERGENCE_FACTOR * first.max(DIVERGENCE_FLOOR) {
            return Err(TrainError::Diverged { step: step + 1, loss });
        }
        Ok(())
    }

    fn say_early_stop(&self, sink: &mut dyn EventSink) {
        if self.header.step < self.job.stop_step {
            let evaluations = self.job.config.early_stopping_patience;
            let message = format!(
                "stopped early after step {}: the dev loss has not improved for {evaluations} evaluations",
                self.header.step
            );
            sink.send(WorkerEvent::Warning { message });
        }
    }

    fn checkpoint_bytes(&self) -> Result<Vec<u8>, TrainError> {
        checkpoint::to_bytes(&self.header, &self.stepper.optimizer, self.best.as_ref())
    }

    fn save_checkpoint(&self) -> Result<(), TrainError> {
        self.scratch.write(self.header.step, &self.checkpoint_bytes()?)
    }

    fn finish(mut self) -> Result<TrainDone, TrainError> {
        let blobs = BlobStore::new(&self.job.blobs_dir);
        let checkpoint = blobs.put(&self.checkpoint_bytes()?)?;
        let parameters = &mut self.stepper.optimizer.parameters;
        for (parameter, best) in parameters.iter_mut().zip(self.best.take().unwrap_or_default()) {
            parameter.values = best;
        }
        let trained = Trained { model: &self.model, config: &self.job.config };
        let adapter = blobs.put(&trained.file_bytes(parameters)?)?;
        let disk_bytes = blobs.num_bytes(&checkpoint) + blobs.num_bytes(&adapter);
        Ok(TrainDone {
            adapter,
            checkpoint,
            steps: self.header.step,
            curve: self.header.curve,
            tokens: self.stepper.work.tokens,
            supervised_tokens: self.stepper.work.supervised,
            truncated: self.stepper.train.rows().iter().filter(|row| row.truncated).count(),
            peak_rss_bytes: peak_rss_bytes(),
            cost: Cost { disk_bytes, ..self.reporter.meter.cost() },
        })
    }
}

/// Says how far a training is.
struct Reporter {
    meter: Meter,
    /// Steps that were done before.
    first: usize,
    total: usize,
    ema: Option<f64>,
    last: Instant,
}

impl Reporter {
    /// After a micro-batch: a report where the last is some time ago. Returns whether to go on.
    fn within(&mut self, phase: &str, done: usize, pulse: Pulse, work: &Work, sink: &mut dyn EventSink) -> bool {
        if let Pulse::SmallerMicroBatch(rows) = pulse {
            let message = format!("memory did not suffice; micro-batches have {rows} rows from now on");
            return sink.send(WorkerEvent::Warning { message });
        }
        if self.last.elapsed() < REPORT_EVERY {
            return true;
        }
        let progress = self.progress(phase, done, work);
        sink.send(progress)
    }

    fn progress(&mut self, phase: &str, done: usize, work: &Work) -> WorkerEvent {
        self.last = Instant::now();
        let seconds = self.meter.wall_s();
        WorkerEvent::Progress {
            phase: phase.to_owned(),
            done,
            total: self.total,
            rate: done.saturating_sub(self.first) as f64 / seconds,
            tokens_per_s: work.tokens as f64 / seconds,
            peak_rss_bytes: peak_rss_bytes(),
            loss_ema: self.ema,
        }
    }
}

/// The weights of the base; full training and a quantised base know only products of 32-bit floats, and say so.
pub(crate) fn load_weights(
    job: &TrainJob,
    trained: &Trained<'_>,
    placement: &Placement,
    sink: &mut dyn EventSink,
) -> Result<FrozenWeights, TrainError> {
    let mut numbers = Numbers { precision: job.config.precision, quantization: job.config.quantization };
    let mut placement = placement.clone();
    let mut say = |message: &str| sink.send(WorkerEvent::Warning { message: message.to_owned() });
    if trained.is_full() {
        if numbers.precision != Precision::F32 {
            say("every weight is trained, so all are kept in 32-bit floats and precision is not heeded");
        }
        numbers = Numbers { precision: Precision::F32, quantization: Quantization::None };
        placement = placement.in_single_precision();
    } else if numbers.precision != Precision::F32 && !numbers.quantization.is_none() && !placement.is_card() {
        say("the base is kept quantised and multiplied in 32-bit floats, so precision is not heeded");
    }
    let weights = backend::load_weights(&job.model_dir, trained.model, numbers, job.backend, &placement)?;
    for warning in &weights.warnings {
        say(warning);
    }
    Ok(weights)
}

/// The parameters to start from: fresh ones, or those of an adapter that the job goes on from.
pub(crate) fn start(
    job: &TrainJob,
    trained: &Trained<'_>,
    fresh: Vec<Parameter>,
) -> Result<Vec<Parameter>, TrainError> {
    let Some(path) = &job.init_adapter else { return Ok(fresh) };
    if trained.is_full() {
        let why = "full training has no adapter to go on from".to_owned();
        return Err(TrainError::Mismatch { path: path.clone(), why });
    }
    adapter_parameters(&Adapter::continued(path, &job.config.lora, trained.model, &Device::Cpu)?)
}

/// Names a job by everything that decides its bytes, up to where it stops; but for the device, which decides the rounding
/// only: a checkpoint of one device is gone on from on another.
fn job_id(job: &TrainJob, config: &ModelConfig) -> Result<ContentHash, TrainError> {
    let name = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let (data, dev) = (name(&job.data), job.dev.as_ref().and_then(name));
    let facts = (data, dev, &job.config, job.seed, job.total_steps, config, job.backend);
    let id = ContentHash::of_value("trex.train-job.v3", &facts)?;
    // Another adapter under the same path is another job.
    let Some(adapter) = &job.init_adapter else { return Ok(id) };
    Ok(ContentHash::of_value("trex.train-job-from-adapter.v1", &(id, crate::import::adapter_hash(adapter)?))?)
}

/// The checkpoint to go on from: this job's own where there is one, else the lower rung's or that of a training which is equal
/// so far.
fn latest_checkpoint(
    job: &TrainJob,
    model: &ModelConfig,
    scratch: &Scratch,
    id: &ContentHash,
) -> Result<Option<Checkpoint>, TrainError> {
    for path in scratch.newest_first() {
        let checkpoint = Checkpoint::load(&path, id)?;
        if checkpoint.header.step <= job.stop_step {
            return Ok(Some(checkpoint));
        }
    }
    let Some(path) = &job.resume_from else { return Ok(None) };
    let checkpoint = match &job.resume_config {
        None => Checkpoint::load(path, id)?,
        Some(config) => {
            let other = TrainJob { config: (**config).clone(), total_steps: config.max_steps, ..job.clone() };
            let checkpoint = Checkpoint::load(path, &job_id(&other, model)?)?;
            let steps = checkpoint.header.step;
            if job.total_steps != job.config.max_steps || !job.config.is_equal_until(config, steps) {
                let why = format!("its training is not equal to this one for the first {steps} steps");
                return Err(TrainError::Mismatch { path: path.clone(), why });
            }
            checkpoint
        }
    };
    Ok(Some(checkpoint).filter(|checkpoint| checkpoint.header.step <= job.stop_step))
}
