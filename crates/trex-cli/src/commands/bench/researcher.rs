//! `trex bench researcher`: what each kind of answerer is worth to a search of the same budget.
//!
//! The search is that of a run, verifier, policy and sealed split included; only who proposes differs. On a recorded surface it
//! trains nothing, so many searches are affordable; on a task it trains for real.

mod answerers;
mod outcome;
mod replayed;
mod served;
mod warm;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use trex_domain::{
    DataPort, DomainError, Event, EventLog, Executor, Exporter, LanguageModel, Memory, Millis, Operator, Recipe, RunId,
    RunState, SearchSettings, StoredEvent, TaskSpec, TrainConfig, VariantId,
};
use trex_engine::{NewRun, Ports, RunSettings, start_run};
use trex_fs::FsError;
use trex_research::llm::StoredModel;
use trex_search::grid;

use self::answerers::{Anybody, Drawn, Scripted, playbook};
use self::outcome::{Outcome, Summary, Tally, table};
use self::replayed::{Recorded, Replay};
use self::served::Served;
use self::warm::{Taught, WarmGain};
use crate::args::MachineArgs;
use crate::args::bench::ResearcherBenchArgs;
use crate::commands::bench::{BenchError, surfaces};
use crate::commands::run::named_task;
use crate::error::CliError;
use crate::output::Output;
use crate::researcher as models;
use crate::system::{self, SystemClock};
use crate::wiring::{self, DataPorts, PeftExporter};

/// Who may be compared, in the order of the table.
const ANSWERERS: [&str; 8] = ["playbook", "warm", "strong", "guessing", "weak", "garbled", "random", "default"];

/// The Playbook with what its searches of the other surfaces taught.
const WARM: &str = "warm";

/// No search ends before its budget for want of gains.
const NO_PLATEAU: usize = 1000;

/// What was found.
#[derive(Serialize)]
struct Found {
    /// Surface or task.
    on: String,
    /// Trainings of a search.
    budget: usize,
    /// The untouched base on the sealed split.
    base: f64,
    /// The best point of the surface there; absent on real trainings.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<f64>,
    answerers: Vec<Summary>,
    /// What a warm start saved, where it was among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    warm: Option<WarmGain>,
}

pub(crate) fn run(args: &ResearcherBenchArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    trex_fs::create_dir_all(args.workspace.workspace.as_path())?;
    let mut found = Vec::new();
    // Without searches a surface only tells the strong answerer which points are good.
    if args.searches > 0 {
        let surfaces = args.surfaces.iter().map(|path| Played::new(path, args)).collect::<Result<Vec<_>, _>>()?;
        let taught = Taught::by(&surfaces, args)?;
        for (place, played) in surfaces.iter().enumerate() {
            found.push(on_surface(place, played, &taught, args)?);
        }
    }
    for name in &args.tasks {
        found.push(on_task(name, args)?);
    }
    output.result(&found, || found.iter().map(text).collect::<Vec<_>>().join("\n\n"))
}

fn text(found: &Found) -> String {
    let best = found.best.map_or_else(String::new, |best| format!(", best point {best:.4}"));
    let head = format!("{}: {} trainings a search, base {:.4}{best}", found.on, found.budget, found.base);
    let warm = found.warm.as_ref().map_or_else(String::new, |warm| format!("\n\n{}", warm.text()));
    format!("{head}\n\n{}{warm}", table(&found.answerers))
}

/// The names to compare, the Playbook first, then models of the person.
fn names(args: &ResearcherBenchArgs) -> Result<Vec<String>, CliError> {
    let given = &args.answerers;
    if let Some(name) = given.iter().find(|name| !ANSWERERS.contains(&name.as_str())) {
        let nearest = trex_domain::nearest(name, ANSWERERS).map(str::to_owned);
        return Err(BenchError::UnknownAnswerer { name: name.clone(), nearest }.into());
    }
    let wanted = |name: &str| {
        let is_possible = name != WARM || (args.surfaces.len() > 1 && args.searches > 0);
        is_possible && (given.is_empty() || given.iter().any(|one| one == name))
    };
    let chosen = ANSWERERS.iter().filter(|name| wanted(name));
    Ok(chosen.map(|name| (*name).to_owned()).chain(args.models.iter().cloned()).collect())
}

/// What a scripted or drawn answerer chooses from.
struct Choices {
    points: Vec<(Recipe, TrainConfig)>,
    best: Vec<(Recipe, TrainConfig)>,
    default: (Recipe, TrainConfig),
}

impl Choices {
    fn of(task: &TaskSpec, recorded: Option<&Recorded>) -> Self {
        let owned = |(recipe, config): (&Recipe, &TrainConfig)| (recipe.clone(), config.clone());
        let grid = grid(task);
        let points: Vec<_> = grid.configurations.iter().map(|one| owned((&one.recipe, &one.config))).collect();
        // Nobody knows the best points of a task that no surface was recorded of; those of another one are taken for good.
        let best = recorded.map_or_else(|| points.clone(), |one| one.best_points().into_iter().map(owned).collect());
        let decontaminated = Operator::Decontaminate { ngram_words: 8, max_overlap: 0.7 };
        let default = (Recipe { operators: vec![Operator::ValidAnswer, decontaminated] }, task.train.clone());
        Self { points, best, default }
    }

    /// A Researcher for the search with this number.
    fn answerer(
        &self,
        name: &str,
        model: Option<Arc<dyn LanguageModel>>,
        workspace: &Path,
        number: u64,
    ) -> Result<Anybody, CliError> {
        let scripted = |model: Scripted| playbook(Some(Arc::new(model)), workspace);
        let best: Vec<_> = self.best.iter().map(|(recipe, config)| (recipe, config)).collect();
        Ok(Anybody(match name {
            "random" => Box::new(Drawn::at_random(self.points.clone())),
            "default" => Box::new(Drawn::fixed(self.default.0.clone(), self.default.1.clone())),
            "strong" => {
                let served = Served::start(Scripted::strong(&best))?;
                Box::new(playbook(Some(Arc::new(served)), workspace))
            }
            "guessing" => Box::new(scripted(Scripted::guessing(&self.points, number))),
            "weak" => Box::new(scripted(Scripted::weak())),
            "garbled" => Box::new(scripted(Scripted::garbled())),
            _ => Box::new(playbook(model, workspace)),
        }))
    }
}

/// A model of the person, whose answers are kept, so that the same question is asked once in all searches.
fn kept_model(name: &str, workspace: &Path) -> Result<Option<Arc<dyn LanguageModel>>, CliError> {
    if ANSWERERS.contains(&name) {
        return Ok(None);
    }
    let (model, _) = models::model_behind(name)?;
    Ok(Some(Arc::new(StoredModel::new(model, models::calls_folder(workspace), Arc::new(SystemClock)))))
}

/// A surface that searches are simulated on, with what all of them share.
struct Played {
    name: String,
    recorded: Recorded,
    data: DataPorts,
    task: TaskSpec,
    choices: Choices,
    settings: RunSettings,
    /// Nobody asks for what a simulated search leaves behind; only the answers of models are kept.
    scratch: tempfile::TempDir,
}

/// A simulated search.
struct Search {
    outcome: Outcome,
    /// True value of what would be recommended after each training.
    progress: Vec<f64>,
    events: Vec<StoredEvent>,
}

impl Played {
    fn new(path: &Path, args: &ResearcherBenchArgs) -> Result<Self, CliError> {
        let (name, surface) = surfaces::from_file(path)?;
        let recorded = Recorded::new(path, surface)?;
        let workspace = args.workspace.workspace.as_path();
        let scratch = tempfile::tempdir_in(workspace).map_err(|err| FsError::io("create folder", workspace, err))?;
        let data = DataPorts::without_models(scratch.path());
        let task = bench_task(recorded.task.clone(), args.budget);
        let choices = Choices::of(&task, Some(&recorded));
        let settings = run_settings(scratch.path(), recorded.model.clone(), args.threads);
        Ok(Self { name, recorded, data, task, choices, settings, scratch })
    }

    /// The search with this number, with what `memory` knows where there is one.
    fn search(
        &self,
        name: &str,
        model: Option<Arc<dyn LanguageModel>>,
        memory: Option<Arc<dyn Memory>>,
        number: u64,
    ) -> Result<Search, CliError> {
        let replay = Replay::new(&self.recorded, &self.data, self.scratch.path(), number);
        let answerer = self.choices.answerer(name, model, self.scratch.path(), number)?;
        let settings = RunSettings { warm_start: memory.is_some(), memory, ..self.settings.clone() };
        let (outcome, state, tally, events) =
            search((&replay, &replay, &replay), &answerer, &settings, &self.task, number)?;
        let surface = &self.recorded.surface;
        let truth = |id: &VariantId| {
            let variant = state.variants.get(id).map(|record| &record.variant);
            variant.map_or(surface.base_truth(), |one| surface.truth(self.recorded.nearest(&one.recipe, &one.config)))
        };
        let score = state.finalist.as_ref().map_or(surface.base_truth(), truth);
        let outcome = Outcome { score, alike: alike(&self.recorded, &state, &tally), ..outcome };
        let progress = tally.progress(self.task.budget.trials, surface.base_truth(), &truth);
        replay.clean_up()?;
        Ok(Search { outcome, progress, events })
    }
}

fn on_surface(place: usize, played: &Played, taught: &Taught, args: &ResearcherBenchArgs) -> Result<Found, CliError> {
    let mut by_name: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    let mut progress: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    let names = names(args)?;
    for name in &names {
        let model = kept_model(name, args.workspace.workspace.as_path())?;
        let searches = if model.is_some() { args.model_searches } else { args.searches };
        for number in 0..searches {
            let memory = if name == WARM { Some(taught.memory(place, number)?) } else { None };
            let found = played.search(name, model.clone(), memory, number)?;
            by_name.entry(name.clone()).or_default().push(found.outcome);
            progress.entry(name.clone()).or_default().push(found.progress);
        }
    }
    let recorded = &played.recorded;
    let best = recorded.best_points().first().map(|(recipe, config)| recorded.nearest(recipe, config));
    let of = |name: &str| progress.get(name).map(Vec::as_slice);
    Ok(Found {
        on: played.name.clone(),
        budget: args.budget,
        base: recorded.surface.base_truth(),
        best: best.map(|point| recorded.surface.truth(point)),
        answerers: summaries(&names, &by_name),
        warm: of("playbook").zip(of(WARM)).and_then(|(cold, warm)| WarmGain::of(cold, warm)),
    })
}

/// Trained variants that fall on a point on which an earlier one fell.
fn alike(recorded: &Recorded, state: &RunState, tally: &Tally) -> usize {
    let mut seen = BTreeSet::new();
    let variants = tally.trained().filter_map(|id| state.variants.get(id)).map(|record| &record.variant);
    variants.filter(|one| !seen.insert(recorded.nearest(&one.recipe, &one.config))).count()
}

fn on_task(name: &str, args: &ResearcherBenchArgs) -> Result<Found, CliError> {
    let task = bench_task(named_task(name, None)?, args.budget);
    let workspace = args.workspace.workspace.as_path();
    let model = wiring::find_model(&task.model.0)?;
    let data = DataPorts::new(workspace, &model)?;
    let settings = run_settings(workspace, model, args.threads);
    let workers = wiring::local_workers(args.threads)?;
    let recorded = args.surfaces.first().map(|path| Recorded::new(path, surfaces::from_file(path)?.1)).transpose()?;
    let choices = Choices::of(&task, recorded.as_ref());
    let mut by_name: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    let names = names(args)?;
    for name in &names {
        let model = kept_model(name, workspace)?;
        for number in 1..=args.seeds {
            let answerer = choices.answerer(name, model.clone(), workspace, number)?;
            let (outcome, ..) = search((&data, &workers, &PeftExporter), &answerer, &settings, &task, number)?;
            by_name.entry(name.clone()).or_default().push(outcome);
        }
    }
    let bases: Vec<f64> = by_name.values().flatten().map(|one| one.base).collect();
    let base = trex_search::Estimate::of(&bases).mean;
    Ok(Found {
        on: name.to_owned(),
        budget: args.budget,
        base,
        best: None,
        answerers: summaries(&names, &by_name),
        warm: None,
    })
}

fn summaries(names: &[String], by_name: &BTreeMap<String, Vec<Outcome>>) -> Vec<Summary> {
    let playbook = by_name.get("playbook").map(Vec::as_slice);
    let one = |name: &String| Some(Summary::of(name, by_name.get(name)?, playbook.filter(|_| name != "playbook")));
    names.iter().filter_map(one).collect()
}

/// Every search has the same number of full trainings and nothing else that ends it.
fn bench_task(task: TaskSpec, budget: usize) -> TaskSpec {
    let search = SearchSettings { plateau: NO_PLATEAU, finalist_seeds: 0, ..SearchSettings::default() };
    let budget = trex_domain::Budget { trials: budget, ..trex_domain::Budget::default() };
    TaskSpec { search, budget, ..task }
}

fn run_settings(workspace: &Path, model: trex_domain::ModelFacts, threads: usize) -> RunSettings {
    let machine = MachineArgs { threads: Some(threads), workers: 1, device: None, reserve_bytes: 0 };
    RunSettings { warm_start: false, desk: None, ..wiring::run_settings(workspace, model, &machine) }
}

/// Carries out one search; `number` is its seed.
fn search<D: DataPort, X: Executor, E: Exporter>(
    (data, executor, exporter): (&D, &X, &E),
    answerer: &Anybody,
    settings: &RunSettings,
    task: &TaskSpec,
    number: u64,
) -> Result<(Outcome, RunState, Tally, Vec<StoredEvent>), CliError> {
    let mut log = MemoryLog::default();
    let mut tally = Tally::default();
    let start = NewRun { id: system::new_run_id(), task: task.clone(), seed: number };
    let ports = Ports { log: &mut log, data, executor, researcher: answerer, exporter };
    let state = start_run(ports, settings, start, &SystemClock, &mut tally)?;
    Ok((tally.outcome(&state), state, tally, log.0))
}

/// The events of one search, which nobody asks for again.
#[derive(Debug, Default)]
struct MemoryLog(Vec<StoredEvent>);

impl EventLog for MemoryLog {
    type Error = DomainError;

    fn append(&mut self, run: RunId, at: Millis, events: Vec<Event>) -> Result<Vec<StoredEvent>, DomainError> {
        let first = self.0.len() as u64 + 1;
        let numbered = (first..).zip(events).map(|(seq, event)| StoredEvent { seq, run, at, event });
        let numbered: Vec<StoredEvent> = numbered.collect();
        self.0.extend_from_slice(&numbered);
        Ok(numbered)
    }

    fn events(&self, _: RunId, after: u64) -> Result<Vec<StoredEvent>, DomainError> {
        Ok(self.0.iter().filter(|one| one.seq > after).cloned().collect())
    }
}
