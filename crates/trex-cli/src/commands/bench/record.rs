//! `trex bench record`: trains every point of a task's grid for real and keeps what came out as a surface.
//!
//! The file is written anew after every training, so the command can be stopped at any moment and goes on where it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use trex_domain::{
    Backend, ContentHash, DataPort as _, DeviceChoice, EvalJob, Executor as _, ImportRequest, ImportedData, ItemScore,
    Job, JobControl, JobOutcome, ModelFacts, Precision, PreparedRequest, TaskSpec, TrainDone, TrainJob, WorkerEvent,
};
use trex_engine::WorkerProcesses;
use trex_fs::BlobStore;
use trex_search::{
    Grid, Outcomes, Probabilities, RecordedRung, RecordedTrial, SURFACE_FORMAT, Surface, SurfaceHeader, grid,
};

use crate::args::bench::RecordArgs;
use crate::commands::bench::BenchError;
use crate::commands::run::named_task;
use crate::error::CliError;
use crate::output::Output;
use crate::system;
use crate::wiring::{self, DataPorts};

/// Points of the loss curve that are kept.
const CURVE_POINTS: usize = 8;

pub(crate) fn run(args: &RecordArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let recorder = Recorder::new(args)?;
    let mut surface = recorder.begin()?;
    let missing = surface.missing();
    let total = missing.len();
    for (number, key) in missing.into_iter().enumerate() {
        let Some(trial) = recorder.trial(&surface, key)? else { break };
        let line = format!(
            "{} of {total}: point {} seed {} {} {:.1} s processor",
            number + 1,
            trial.point,
            trial.seed,
            trial.failed.as_ref().map_or_else(|| format!("final {:.3}", trial.final_.mean()), Clone::clone),
            trial.cpu_s
        );
        surface.trials.insert(key, trial);
        trex_fs::write_atomic(&args.out, surface.to_text()?.as_bytes())?;
        if !output.is_json() {
            output.line(&line)?;
        }
    }
    let (done, missing) = (surface.trials.len(), surface.missing().len());
    output.result(&json!({"surface": args.out, "trials": done, "missing": missing}), || {
        format!("{}: {done} trainings recorded, {missing} missing", args.out.display())
    })
}

/// What all trainings of a surface share.
struct Recorder<'a> {
    args: &'a RecordArgs,
    grid: Grid,
    task: TaskSpec,
    model: ModelFacts,
    ports: DataPorts,
    data: ImportedData,
    workers: WorkerProcesses,
    blobs: BlobStore,
    /// Items of search, select and final that are scored at most.
    items: [usize; 3],
}

/// Stops a worker when the person asked for it.
struct Watch;

impl JobControl for Watch {
    fn on_event(&mut self, _event: &WorkerEvent) -> bool {
        !system::stop_requested()
    }
}

/// The task with what the arguments say about it.
fn recorded_task(args: &RecordArgs) -> Result<TaskSpec, CliError> {
    let mut task = named_task(&args.task, None)?;
    let train = &mut task.train;
    train.max_steps = args.max_steps.unwrap_or(train.max_steps);
    train.per_device_train_batch_size = args.batch.unwrap_or(train.per_device_train_batch_size);
    if args.bf16 {
        train.precision = Precision::Bf16;
    }
    task.validate()?;
    Ok(task)
}

impl<'a> Recorder<'a> {
    fn new(args: &'a RecordArgs) -> Result<Self, CliError> {
        let task = recorded_task(args)?;
        let model = wiring::find_model(&task.model.0)?;
        let ports = DataPorts::new(&args.workspace.workspace, &model)?;
        let data = ports.import(ImportRequest { task: &task, seed: args.seed })?;
        let workers = wiring::local_workers(args.threads)?;
        let blobs = BlobStore::new(args.workspace.workspace.join("blobs"));
        let grid = grid(&task);
        let items = <[usize; 3]>::try_from(args.items.as_slice()).unwrap_or([usize::MAX; 3]);
        Ok(Self { args, grid, task, model, ports, data, workers, blobs, items })
    }

    /// The surface as far as it is there, or a new one with the base scored.
    fn begin(&self) -> Result<Surface, CliError> {
        if self.args.out.is_file() {
            let surface = Surface::parse(&trex_fs::read_to_string(&self.args.out)?)?;
            let header = &surface.header;
            let found = (&*header.task, header.model, header.grid, header.seed);
            if found != (&self.task, self.model.hash, self.grid_hash()?, self.args.seed) {
                return Err(BenchError::OtherSurface { path: self.args.out.clone() }.into());
            }
            return Ok(surface);
        }
        let mut base = [Outcomes::default(), Outcomes::default(), Outcomes::default()];
        let splits = [self.data.search, self.data.select, self.data.final_];
        for ((outcomes, split), take) in base.iter_mut().zip(splits).zip(self.items) {
            *outcomes = self.score(None, split, take)?.0;
        }
        let header = SurfaceHeader {
            format: SURFACE_FORMAT.to_owned(),
            task: Box::new(self.task.clone()),
            model: self.model.hash,
            seed: self.args.seed,
            rungs: self.task.search.rungs,
            eta: self.task.search.eta,
            base,
            dimensions: self.grid.dimensions.clone(),
            grid: self.grid_hash()?,
            seeds: self.args.seeds,
        };
        Ok(Surface { header, trials: BTreeMap::new() })
    }

    fn grid_hash(&self) -> Result<ContentHash, CliError> {
        Ok(ContentHash::of_value("trex.grid.v1", &self.grid.configurations)?)
    }

    /// Trains a point up all rungs; `None` when a stop was asked for meanwhile.
    fn trial(&self, surface: &Surface, (point, seed): (usize, u64)) -> Result<Option<RecordedTrial>, CliError> {
        let mut trial = RecordedTrial {
            point,
            seed,
            rungs: Vec::new(),
            curve: Vec::new(),
            select: Outcomes::default(),
            final_: Outcomes::default(),
            cpu_s: 0.0,
            failed: None,
        };
        let Some(configuration) = self.grid.configurations.get(point) else { return Ok(None) };
        // What a recording left that was ended in the middle is of another process and would only be in the way.
        trex_fs::remove_dir_all(&self.scratch(point, seed))?;
        let evaluation = [self.data.search, self.data.select, self.data.final_];
        let prepared = self.ports.prepare(PreparedRequest {
            pool: self.data.pool,
            evaluation: &evaluation,
            recipe: &configuration.recipe,
            seed: self.args.seed,
        })?;
        let mut below: Option<TrainDone> = None;
        for rung in 0..surface.header.rungs {
            let config = configuration.config.clone();
            let job = TrainJob {
                model_dir: self.model.dir.clone(),
                data: self.blobs.path(&prepared.data),
                // As the engine names the seeds of a run.
                seed: self.args.seed.wrapping_mul(1000).wrapping_add(seed),
                total_steps: config.max_steps,
                stop_step: self.task.rung_steps(config.max_steps, rung),
                resume_from: below.as_ref().map(|done| self.blobs.path(&done.checkpoint)),
                resume_config: None,
                init_adapter: None,
                scratch_dir: self.scratch(point, seed),
                blobs_dir: self.blobs.root().to_owned(),
                device: DeviceChoice::Cpu,
                // A rung takes about a second; what is lost by a stop is not worth a checkpoint on the way.
                checkpoint_every: config.max_steps,
                threads: self.args.threads,
                backend: Backend::Auto,
                dev: None,
                micro_batch: None,
                config,
            };
            let done = match self.workers.run(&Job::Train(job), &mut Watch) {
                JobOutcome::Trained(done) => done,
                _ if system::stop_requested() => return Ok(None),
                JobOutcome::Failed { message, .. } => {
                    trial.failed = Some(message);
                    break;
                }
                JobOutcome::Tried(_) | JobOutcome::Evaluated(_) | JobOutcome::Embedded(_) | JobOutcome::Answered(_) => {
                    return Err(wrong_answer().into());
                }
            };
            let (search, cpu_s, gold) = self.score(Some(done.adapter), self.data.search, self.items[0])?;
            trial.cpu_s += done.cost.cpu_s + cpu_s;
            let loss = done.curve.last().map(|point| rounded(point.loss_ema)).filter(|loss| loss.is_finite());
            trial.rungs.push(RecordedRung { steps: done.steps, loss, search, gold });
            self.forget(below.replace(done))?;
        }
        if let Some(top) = below {
            if trial.failed.is_none() {
                let (select, select_s, _) = self.score(Some(top.adapter), self.data.select, self.items[1])?;
                let (final_, final_s, _) = self.score(Some(top.adapter), self.data.final_, self.items[2])?;
                (trial.select, trial.final_) = (select, final_);
                trial.cpu_s += select_s + final_s;
                trial.curve = thinned(&top);
            }
            self.forget(Some(top))?;
        }
        trex_fs::remove_dir_all(&self.scratch(point, seed))?;
        Ok(Some(trial))
    }

    fn scratch(&self, point: usize, seed: u64) -> PathBuf {
        self.args.workspace.workspace.join("scratch").join(format!("{point}-{seed}"))
    }

    /// Right and wrong on the first items of a split, the processor seconds that it took, and the probabilities of the gold
    /// answers where there are options.
    fn score(
        &self,
        adapter: Option<ContentHash>,
        split: ContentHash,
        take: usize,
    ) -> Result<(Outcomes, f64, Option<Probabilities>), CliError> {
        let job = Job::Eval(EvalJob {
            model_dir: self.model.dir.clone(),
            adapter: adapter.map(|hash| self.blobs.path(&hash)),
            items: self.blobs.path(&split),
            take,
            metric: self.task.metric,
            mode: self.task.eval_mode(),
            seed: 0,
            blobs_dir: self.blobs.root().to_owned(),
            threads: self.args.threads,
            backend: Backend::Auto,
            device: DeviceChoice::Cpu,
            precision: self.task.train.precision,
            quantization: self.task.train.quantization,
        });
        let done = match self.workers.run(&job, &mut Watch) {
            JobOutcome::Evaluated(done) => done,
            JobOutcome::Failed { message, .. } => return Err(BenchError::Worker { message }.into()),
            JobOutcome::Trained(_) | JobOutcome::Tried(_) | JobOutcome::Embedded(_) | JobOutcome::Answered(_) => {
                return Err(wrong_answer().into());
            }
        };
        let items: Vec<ItemScore> = self.blobs.get_lines(&done.items)?;
        if let Some(item) = items.iter().find(|item| item.score > 0.0 && item.score < 1.0) {
            return Err(BenchError::GradedMetric { item: item.id.clone(), score: item.score }.into());
        }
        remove(&self.blobs, &done.items)?;
        let gold = items.iter().map(|item| item.gold_prob).collect::<Option<Vec<f64>>>();
        let right = Outcomes::new(items.iter().map(|item| item.score > 0.5).collect());
        Ok((right, done.cost.cpu_s, gold.map(|gold| Probabilities::new(&gold))))
    }

    /// Removes what a training left: hundreds of adapters and checkpoints would fill the disk.
    fn forget(&self, done: Option<TrainDone>) -> Result<(), CliError> {
        let Some(done) = done else { return Ok(()) };
        remove(&self.blobs, &done.adapter)?;
        remove(&self.blobs, &done.checkpoint)
    }
}

fn wrong_answer() -> BenchError {
    BenchError::Worker { message: "it answered another kind of job".to_owned() }
}

fn remove(blobs: &BlobStore, name: &ContentHash) -> Result<(), CliError> {
    let path = blobs.path(name);
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(trex_fs::FsError::io("remove", &path, err).into())
        }
        _ => Ok(()),
    }
}

/// Evenly spaced points of the loss curve, the last one included.
fn thinned(done: &TrainDone) -> Vec<(usize, f64)> {
    let every = done.curve.len().div_ceil(CURVE_POINTS).max(1);
    let last = done.curve.len().saturating_sub(1);
    let kept = done.curve.iter().enumerate().filter(|(index, _)| (last - index).is_multiple_of(every));
    kept.filter(|(_, point)| point.loss_ema.is_finite())
        .map(|(_, point)| (point.step, rounded(point.loss_ema)))
        .collect()
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
