//! A run on a recorded surface: data, workers and exporter that look up what was really trained instead of training it.
//!
//! Rows, recipes and the verifier are real. A variant brings what the nearest point of the grid brought, so settings that no
//! dimension of the grid has change nothing here. As in `trex bench search`, every search has items of search and select that
//! were drawn anew from the recorded ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use trex_domain::{
    ContentHash, Cost, DataPort, DryRunDone, EvalDone, EvalJob, Executor, ExportRequest, Exporter, FailureClass,
    ImportRequest, ImportedData, ItemScore, Job, JobControl, JobOutcome, MetricPoint, ModelFacts, Operator,
    PreparedData, PreparedRequest, Problem, Recipe, SchedulerType, TaskSpec, TrainConfig, TrainDone, TrainJob,
    seeded_rng,
};
use trex_fs::BlobStore;
use trex_search::{Grid, Surface, grid};

use crate::commands::bench::BenchError;
use crate::error::CliError;
use crate::wiring::{self, DataPortError, DataPorts};

/// Name of an adapter in an exported folder.
const ADAPTER: &str = "adapter";

/// A surface with the task that it was recorded on.
pub(super) struct Recorded {
    pub(super) surface: Surface,
    pub(super) task: TaskSpec,
    pub(super) model: ModelFacts,
    grid: Grid,
}

impl Recorded {
    pub(super) fn new(path: &Path, surface: Surface) -> Result<Self, CliError> {
        let task = (*surface.header.task).clone();
        let model = wiring::find_model(&task.model.0)?;
        let grid = grid(&task);
        let hash = ContentHash::of_value("trex.grid.v1", &grid.configurations)?;
        if (surface.header.model, surface.header.grid) != (model.hash, hash) {
            return Err(BenchError::OtherSurface { path: path.to_owned() }.into());
        }
        Ok(Self { surface, task, model, grid })
    }

    /// The points from the best on the sealed split.
    pub(super) fn best_points(&self) -> Vec<(&Recipe, &TrainConfig)> {
        let mut order: Vec<usize> = (0..self.grid.configurations.len()).collect();
        order.sort_by(|a, b| self.surface.truth(*b).total_cmp(&self.surface.truth(*a)));
        order.into_iter().map(|point| &self.grid.configurations[point]).map(|one| (&one.recipe, &one.config)).collect()
    }

    /// The point that a variant is nearest to.
    pub(super) fn nearest(&self, recipe: &Recipe, config: &TrainConfig) -> usize {
        point_at(&self.grid, nearest_recipe(&self.grid, recipe), config)
    }
}

/// What another form of the schedule counts beside the logarithms of ratios: as much as twice the steps.
const OTHER_SCHEDULE: f64 = std::f64::consts::LN_2;

/// Whether the learning rate stays where the warm-up leaves it.
fn is_flat(config: &TrainConfig) -> bool {
    matches!(config.lr_scheduler_type, SchedulerType::Constant | SchedulerType::ConstantWithWarmup)
}

/// The point with that recipe that is nearest to a configuration, by the ratios of the settings.
fn point_at(grid: &Grid, recipe: usize, config: &TrainConfig) -> usize {
    let ratio = |a: usize, b: usize| (a.max(1) as f64 / b.max(1) as f64).ln().abs();
    let distance = |at: &TrainConfig| {
        (at.learning_rate / config.learning_rate).ln().abs()
            + ratio(at.lora.r, config.lora.r)
            + ratio(at.max_steps, config.max_steps)
            + ratio(at.effective_batch_size(), config.effective_batch_size())
            + if is_flat(at) == is_flat(config) { 0.0 } else { OTHER_SCHEDULE }
    };
    let all = grid.configurations.iter().enumerate().filter(|(_, one)| one.place.get(1) == Some(&recipe));
    // `min_by` keeps the first of equal ones.
    let nearest = all.min_by(|(_, a), (_, b)| distance(&a.config).total_cmp(&distance(&b.config)));
    nearest.map_or(0, |(point, _)| point)
}

/// The recipe of the grid that shares most operators with this one, as a share of all operators of both.
fn nearest_recipe(grid: &Grid, recipe: &Recipe) -> usize {
    let names = |recipe: &Recipe| recipe.operators.iter().map(Operator::name).collect::<BTreeSet<_>>();
    let ours = names(recipe);
    let alike = |theirs: &Recipe| {
        let theirs = names(theirs);
        ours.intersection(&theirs).count() as f64 / ours.union(&theirs).count().max(1) as f64
    };
    let all = grid.configurations.iter().filter_map(|one| Some((*one.place.get(1)?, alike(&one.recipe))));
    all.min_by(|a, b| b.1.total_cmp(&a.1)).map_or(0, |(place, _)| place)
}

/// The ports of one simulated search.
pub(super) struct Replay<'a> {
    recorded: &'a Recorded,
    data: &'a DataPorts,
    blobs: BlobStore,
    /// Recorded seed that this search sees.
    seed: u64,
    /// Recorded items that make up search, select and final.
    items: [Vec<usize>; 3],
    /// Blobs of the three splits, once they are imported.
    splits: RefCell<Vec<ContentHash>>,
    /// Recipes of the grid by prepared rows.
    recipes: RefCell<BTreeMap<PathBuf, usize>>,
    /// What is removed at the end.
    written: RefCell<BTreeSet<PathBuf>>,
}

/// What stands in the place of trained weights.
#[derive(Serialize, Deserialize)]
struct Weights {
    point: usize,
    /// Weights of two trainings are never equal, even where the surface does not tell them apart.
    of: ContentHash,
}

impl<'a> Replay<'a> {
    /// `number` draws the items and names the seed of the trainings; the same number does so for everybody, as in
    /// `trex bench search`.
    pub(super) fn new(recorded: &'a Recorded, data: &'a DataPorts, workspace: &Path, number: u64) -> Self {
        let mut rng = seeded_rng(number, "replay/items");
        let base = &recorded.surface.header.base;
        let mut drawn = |length: usize| (0..length).map(|_| rng.random_range(0..length)).collect::<Vec<_>>();
        let items = [drawn(base[0].len()), drawn(base[1].len()), (0..base[2].len()).collect()];
        Self {
            recorded,
            data,
            blobs: BlobStore::new(workspace.join("blobs")),
            seed: number % recorded.surface.whole_seeds().max(1),
            items,
            splits: RefCell::default(),
            recipes: RefCell::default(),
            written: RefCell::default(),
        }
    }

    /// Removes what was written for this search; hundreds of them would fill the disk.
    pub(super) fn clean_up(self) -> Result<(), CliError> {
        for path in self.written.into_inner() {
            std::fs::remove_file(&path).map_err(|err| trex_fs::FsError::io("remove", &path, err))?;
        }
        Ok(())
    }

    /// Writes a blob without waiting for the disk: it is read in a moment and lost with the process at worst.
    fn put(&self, content: &[u8]) -> Result<ContentHash, trex_fs::FsError> {
        let name = ContentHash::of_bytes(content);
        let path = self.blobs.path(&name);
        if !self.blobs.contains(&name) {
            if let Some(folder) = path.parent() {
                trex_fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, content).map_err(|err| trex_fs::FsError::io("write", &path, err))?;
            self.written.borrow_mut().insert(path);
        }
        Ok(name)
    }

    fn train(&self, job: &TrainJob) -> Result<JobOutcome, trex_fs::FsError> {
        let recipe = self.recipes.borrow().get(&job.data).copied().unwrap_or(0);
        let point = point_at(&self.recorded.grid, recipe, &job.config);
        let Some(trial) = self.recorded.surface.trials.get(&(point, self.seed)) else {
            return Ok(failed(format!("point {point} is not recorded")));
        };
        if let Some(why) = &trial.failed {
            return Ok(failed(why.clone()));
        }
        let of = ContentHash::of_bytes(format!("{:?} {} {}", job.config, job.data.display(), job.seed).as_bytes());
        let weights = serde_json::to_vec(&Weights { point, of }).unwrap_or_default();
        let adapter = self.put(&weights)?;
        let on_curve = |(step, loss): &(usize, f64)| MetricPoint {
            step: *step,
            loss: *loss,
            loss_ema: *loss,
            learning_rate: job.config.learning_rate_at(*step, job.total_steps),
            ..MetricPoint::default()
        };
        Ok(JobOutcome::Trained(TrainDone {
            adapter,
            checkpoint: adapter,
            steps: job.stop_step,
            curve: trial.curve.iter().map(on_curve).collect(),
            tokens: 0,
            supervised_tokens: 0,
            truncated: 0,
            peak_rss_bytes: 0,
            cost: Cost { cpu_s: trial.cpu_s, ..Cost::default() },
        }))
    }

    fn score(&self, job: &EvalJob) -> Result<JobOutcome, trex_fs::FsError> {
        let place = self.splits.borrow().iter().position(|split| self.blobs.path(split) == job.items);
        let Some(split) = place else { return Ok(failed("a split that was not recorded".to_owned())) };
        let surface = &self.recorded.surface;
        let outcomes = match &job.adapter {
            None => surface.header.base.get(split),
            Some(path) => {
                let path = if path.is_dir() { path.join(ADAPTER) } else { path.clone() };
                let weights: Option<Weights> = serde_json::from_slice(&trex_fs::read(&path)?).ok();
                let trial = weights.and_then(|weights| surface.trials.get(&(weights.point, self.seed)));
                trial.and_then(|trial| match split {
                    0 => trial.rungs.last().map(|rung| &rung.search),
                    1 => Some(&trial.select),
                    _ => Some(&trial.final_),
                })
            }
        };
        let Some(outcomes) = outcomes else { return Ok(failed("a training that was not recorded".to_owned())) };
        let right = |item: &usize| outcomes.as_slice().get(*item).copied().unwrap_or(false);
        let item = |(at, item): (usize, &usize)| ItemScore {
            id: format!("{at:05}"),
            predicted: if right(item) { "right" } else { "wrong" }.to_owned(),
            gold: "right".to_owned(),
            score: f64::from(u8::from(right(item))),
            gold_logprob: None,
            gold_prob: None,
        };
        let scores: Vec<ItemScore> = self.items[split].iter().take(job.take).enumerate().map(item).collect();
        let lines: Vec<String> = scores.iter().filter_map(|one| serde_json::to_string(one).ok()).collect();
        let items = self.put((lines.join("\n") + "\n").as_bytes())?;
        Ok(JobOutcome::Evaluated(EvalDone { items, n: scores.len(), cost: Cost::default() }))
    }
}

fn failed(message: String) -> JobOutcome {
    JobOutcome::Failed { class: FailureClass::Diverged, code: "bench.replayed".to_owned(), message, hint: None }
}

/// Costs nothing, finds nothing: what a surface knows of a point it tells in the trial.
fn tried(job: &TrainJob) -> JobOutcome {
    JobOutcome::Tried(DryRunDone {
        rows: 1,
        row_tokens: 1,
        row_supervised: 1,
        truncated: 0,
        micro_batch_rows: job.config.per_device_train_batch_size,
        loss: 1.0,
        peak_rss_bytes: 0,
        load: Cost::default(),
        encoding: Cost::default(),
        micro_batch: Cost::default(),
        cost: Cost::default(),
    })
}

impl DataPort for Replay<'_> {
    type Error = DataPortError;

    fn import(&self, request: ImportRequest<'_>) -> Result<ImportedData, DataPortError> {
        let seed = self.recorded.surface.header.seed;
        let imported = self.data.import(ImportRequest { seed, ..request })?;
        *self.splits.borrow_mut() = vec![imported.search, imported.select, imported.final_];
        Ok(imported)
    }

    fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, DataPortError> {
        let recipe = nearest_recipe(&self.recorded.grid, request.recipe);
        let seed = self.recorded.surface.header.seed;
        let prepared = self.data.prepare(PreparedRequest { seed, ..request })?;
        self.recipes.borrow_mut().entry(self.blobs.path(&prepared.data)).or_insert(recipe);
        Ok(prepared)
    }
}

impl Executor for Replay<'_> {
    fn run(&self, job: &Job, _: &mut dyn JobControl) -> JobOutcome {
        let outcome = match job {
            Job::Train(job) => self.train(job),
            Job::DryRun(job) => Ok(tried(job)),
            Job::Eval(job) => self.score(job),
            Job::Embed(_) | Job::Answer(_) => Ok(failed("a surface holds neither vectors nor answers".to_owned())),
        };
        outcome.unwrap_or_else(|err| JobOutcome::Failed {
            class: FailureClass::DiskFull,
            code: err.code().to_owned(),
            message: err.to_string(),
            hint: err.hint(),
        })
    }
}

impl Exporter for Replay<'_> {
    fn export(&self, request: ExportRequest<'_>) -> Result<(), Box<dyn Problem + Send + Sync>> {
        let copy = || -> Result<(), trex_fs::FsError> {
            trex_fs::create_dir_all(request.out)?;
            let path = request.out.join(ADAPTER);
            std::fs::copy(request.adapter, &path).map_err(|err| trex_fs::FsError::io("write", &path, err))?;
            self.written.borrow_mut().insert(path);
            Ok(())
        };
        copy().map_err(|err| -> Box<dyn Problem + Send + Sync> { Box::new(err) })
    }
}

#[cfg(test)]
mod tests {
    use trex_ftbench::mini_task;

    use super::*;

    #[test]
    fn a_variant_falls_on_the_nearest_point() {
        let grid = grid(&mini_task("ftbench/mini-1").unwrap().spec());
        for (point, one) in grid.configurations.iter().enumerate() {
            assert_eq!(point_at(&grid, nearest_recipe(&grid, &one.recipe), &one.config), point);
        }
        let check = |recipe: usize, more: Operator, expected: usize| {
            let one = grid.configurations.iter().find(|one| one.place[1] == recipe).unwrap();
            let operators = one.recipe.operators.iter().cloned().chain([more]).collect();
            assert_eq!(nearest_recipe(&grid, &Recipe { operators }), expected);
        };
        check(0, Operator::Normalise, 0);
        check(0, Operator::StratifiedSample { rows: 9 }, 3);
        check(1, Operator::QualityFilter { max_repetition: 0.4, max_symbol_ratio: 0.4 }, 1);
        let start = &grid.configurations[0];
        let place = |config: TrainConfig| grid.configurations[point_at(&grid, 0, &config)].place.clone();
        let rate = start.config.learning_rate;
        assert_eq!(place(TrainConfig { learning_rate: rate * 1.5, ..start.config.clone() })[0], 0);
        assert_eq!(place(TrainConfig { learning_rate: rate * 1e4, ..start.config.clone() })[0], 4);
        assert_eq!(place(TrainConfig { weight_decay: 0.1, ..start.config.clone() }), start.place);
    }
}
