//! `trex run` and `trex resume`: carry a task to its report.

use std::path::Path;
use std::sync::Arc;

use trex_domain::{EventLog as _, LoraConfig, Memory, RunId, RunState, TaskSpec, TrainConfig};
use trex_engine::{NewRun, Ports, parse_task_file, resume_run, start_run};
use trex_ftbench::{mini_task, mini_tasks};
use trex_store::{RunStatus, Workspace, Writer, require_free_bytes};
use trex_train::peft_lora_config;

use crate::args::{MachineArgs, ResumeArgs, RunArgs, TaskArgs};
use crate::commands::report;
use crate::error::{CliError, CommandError};
use crate::observer::LiveObserver;
use crate::output::Output;
use crate::researcher;
use crate::system::{self, SystemClock};
use crate::wiring::{self, DataPorts, PeftExporter};

pub(crate) fn run(args: &RunArgs, output: &mut Output) -> Result<(), CliError> {
    let task = resolve_task(&args.task)?;
    task.validate()?;
    task.check_trials()?;
    let model = wiring::find_model(&task.model.0)?;
    let dir = args.workspace.workspace.as_path();
    let mut settings = wiring::run_settings(dir, model, &args.machine);
    let answerers = researcher::settings_for_run(args.researcher.as_deref())?;
    // Before anything is written: the device may not be there.
    let workers = wiring::workers(&settings, &task)?;
    Workspace::init(dir, &SystemClock)?;
    let mut writer = open(dir, &args.machine)?;
    if let Some(name) = unfinished(dir)?.filter(|_| !args.new) {
        return Err(CommandError::UnfinishedRun { path: dir.to_owned(), name }.into());
    }
    settings.final_openings_before = final_openings(&writer, &task, None)?;
    researcher::keep_settings(dir, &answerers)?;
    settings.memory = memory(output)?;
    let researcher = researcher::researcher(dir, answerers, settings.memory.clone())?;
    settings.warm_start = !args.no_warm_start;
    settings.gates = args.gates.policy();
    let start = NewRun { id: system::new_run_id(), task, seed: args.task.seed };
    let id = start.id;
    let (data, mut observer) = (DataPorts::new(dir, &settings.model)?, LiveObserver::new(output));
    let ports =
        Ports { log: &mut writer, data: &data, executor: &workers, researcher: &researcher, exporter: &PeftExporter };
    let state = start_run(ports, &settings, start, &SystemClock, &mut observer)?;
    deliver(dir, id, &state, output)
}

pub(crate) fn resume(args: &ResumeArgs, output: &mut Output) -> Result<(), CliError> {
    let dir = args.workspace.workspace.as_path();
    let mut writer = open(dir, &args.machine)?;
    let run = writer.latest_run()?.ok_or_else(|| CommandError::NoRun { path: dir.to_owned() })?;
    let events = writer.events(run.id, 0)?;
    let recorded = RunState::from_events(&events)?;
    if recorded.verdict.is_some() {
        return deliver(dir, run.id, &recorded, output);
    }
    let model = wiring::find_model(&recorded.task()?.model.0)?;
    let mut settings = wiring::run_settings(dir, model, &args.machine);
    settings.final_openings_before = final_openings(&writer, recorded.task()?, Some(run.id))?;
    settings.memory = memory(output)?;
    let workers = wiring::workers(&settings, recorded.task()?)?;
    let researcher = researcher::researcher(dir, researcher::kept_settings(dir)?, settings.memory.clone())?;
    let (data, mut observer) = (DataPorts::new(dir, &settings.model)?, LiveObserver::new(output));
    let ports =
        Ports { log: &mut writer, data: &data, executor: &workers, researcher: &researcher, exporter: &PeftExporter };
    let state = resume_run(ports, &settings, run.id, &SystemClock, &mut observer)?;
    deliver(dir, run.id, &state, output)
}

/// Name of the unfinished run of a folder. One that never got its data holds nothing that could be lost, and often is a mistake
/// that was just mended.
pub(crate) fn unfinished(dir: &Path) -> Result<Option<String>, CliError> {
    if !Workspace::at(dir).database().is_file() {
        return Ok(None);
    }
    let reader = Workspace::open_reader(dir)?;
    let Some(run) = reader.latest_run()?.filter(|run| run.status == RunStatus::Running) else { return Ok(None) };
    let state = RunState::from_events(&reader.events(run.id, 0)?)?;
    Ok(state.data.map(|_| run.name))
}

/// What is known from other runs; a run goes on without it where it cannot be had, and says so.
fn memory(output: &mut Output) -> Result<Option<Arc<dyn Memory>>, CliError> {
    let (memory, trouble) = wiring::memory();
    if let Some(trouble) = trouble {
        let value = serde_json::json!({"type": "note", "message": trouble});
        output.result(&value, || format!("note: {trouble}"))?;
    }
    Ok(memory)
}

fn open(dir: &Path, machine: &MachineArgs) -> Result<Writer, CliError> {
    system::catch_stop_signals();
    let writer = Workspace::open_writer(dir, &SystemClock)?;
    require_free_bytes(dir, machine.reserve_bytes)?;
    Ok(writer)
}

/// How often the other runs of the workspace opened the sealed split of the same data.
fn final_openings(writer: &Writer, task: &TaskSpec, except: Option<RunId>) -> Result<usize, CliError> {
    let mut openings = 0;
    for run in writer.runs()?.into_iter().filter(|run| Some(run.id) != except) {
        let state = writer.state(run.id)?;
        let same_data = state.task()?.data == task.data;
        openings += usize::from(same_data && state.final_opened > 0);
    }
    Ok(openings)
}

/// The task that arguments name, with what they change in it.
pub(crate) fn resolve_task(args: &TaskArgs) -> Result<TaskSpec, CliError> {
    let mut task = named_task(&args.task, args.data.as_deref())?;
    if let Some(model) = &args.model {
        task.model.0.clone_from(model);
    }
    if let Some(trials) = args.trials {
        task.budget.trials = trials;
    }
    take_adapter_shape(&mut task.train)?;
    Ok(task)
}

/// A built-in task, or that of a file; `data` stands in for the data of a file.
pub(crate) fn named_task(name: &str, data: Option<&Path>) -> Result<TaskSpec, CliError> {
    let path = Path::new(name);
    if path.extension().is_some_and(|ext| ext == "toml") || path.is_file() {
        return Ok(parse_task_file(path, data)?);
    }
    if let Ok(mini) = mini_task(name) {
        return Ok(mini.spec());
    }
    let names: Vec<String> = mini_tasks().iter().map(trex_ftbench::MiniTask::name).collect();
    let nearest = trex_domain::nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
    Err(CommandError::UnknownTask { name: name.to_owned(), nearest }.into())
}

/// A run that goes on from an adapter has its shape; a task file need not repeat it, and may not contradict it.
fn take_adapter_shape(train: &mut TrainConfig) -> Result<(), CliError> {
    let Some(folder) = train.adapter.as_ref().filter(|path| path.is_dir()) else { return Ok(()) };
    let lora_dropout = train.lora.lora_dropout;
    let found = LoraConfig { lora_dropout, ..peft_lora_config(folder)? };
    let is_default = LoraConfig { lora_dropout, ..LoraConfig::default() } == train.lora;
    if !is_default && !found.has_shape_of(&train.lora) {
        return Err(CommandError::OtherAdapterShape { path: folder.clone() }.into());
    }
    train.lora = found;
    Ok(())
}

/// Writes the three forms of the report and says what came of the run.
fn deliver(dir: &Path, run: RunId, state: &RunState, output: &mut Output) -> Result<(), CliError> {
    let report = report::write_files(dir, run, state)?;
    if output.is_json() {
        return output.result(&serde_json::json!({"type": "report", "report": report}), String::new);
    }
    output.line("")?;
    output.line(report::summary(dir, &report).trim_end())
}
