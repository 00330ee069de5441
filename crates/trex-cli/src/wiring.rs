//! Joins adapters to the engine's ports, and names to models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_data::{DataError, DataService, Measures};
use trex_domain::{
    ContentHash, DataPort, DataSource, DeviceChoice, Embedder, ErrorClass, ExportRequest, Exporter, ImportRequest,
    ImportedData, Memory, ModelCard, ModelFacts, Precision, PreparedData, PreparedRequest, Problem, SplitSource,
    TaskSpec,
};
use trex_engine::{OrderBox, ReviewBox, RunSettings, WorkerProcesses};
use trex_ftbench::{FtBenchError, mini_task};
use trex_store::KnowledgeBase;
use trex_train::{
    DeviceBuild, ExportForm, ExportSource, FloatType, MAX_SHARD_BYTES, ModelRegistry, ThisMachine, TrainError,
    export_model, inspect_hardware, model_facts, plan_device,
};

use crate::args::MachineArgs;
use crate::error::{CliError, CommandError};
use crate::system::SystemClock;
use crate::worker_program::{self, Circumstances, WorkerProgram};
use crate::{measures, system};

/// The name of the model that comes with the program.
pub(crate) const BUNDLED: &str = "bundled";

/// What the bundled model is called outside.
const BUNDLED_NAME: &str = "trex-mini";

/// The bundled model: file names and contents.
const BUNDLED_FILES: [(&str, &[u8]); 6] = [
    ("README.md", include_bytes!("../../../assets/models/trex-mini/README.md")),
    ("chat_template.jinja", include_bytes!("../../../assets/models/trex-mini/chat_template.jinja")),
    ("config.json", include_bytes!("../../../assets/models/trex-mini/config.json")),
    ("model.safetensors", include_bytes!("../../../assets/models/trex-mini/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../assets/models/trex-mini/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../assets/models/trex-mini/tokenizer_config.json")),
];

/// Data of files and of built-in tasks.
#[derive(Debug)]
pub(crate) struct DataPorts {
    service: DataService,
}

impl DataPorts {
    /// Data of a workspace, with the models that measure rows where an operator asks for it.
    pub(crate) fn new(workspace: &Path, model: &ModelFacts) -> Result<Self, CliError> {
        let embedder = measures::find_embedder()?.map(|facts| measures::embedder(&facts, workspace)).transpose()?;
        let measures = Measures {
            embedder: embedder.map(|embedder| -> Arc<dyn Embedder> { Arc::new(embedder) }),
            losses: Some(Arc::new(measures::loss_meter(model, workspace)?)),
            writer: Some(Arc::new(measures::local_writer(model, workspace)?)),
        };
        Ok(Self { service: DataService::new(workspace).with_measures(measures) })
    }

    /// Data of a workspace where nothing measures or writes rows.
    pub(crate) fn without_models(workspace: &Path) -> Self {
        Self { service: DataService::new(workspace) }
    }
}

/// An error of either source of data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataPortError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    FtBench(#[from] FtBenchError),
    #[error("{key} and {other} have the same content: {}", path.display())]
    SameFile { key: &'static str, other: &'static str, path: PathBuf },
}

impl Problem for DataPortError {
    fn code(&self) -> &'static str {
        match self {
            Self::Data(err) => err.code(),
            Self::FtBench(err) => err.code(),
            Self::SameFile { .. } => "data.same_file",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Data(err) => err.hint(),
            Self::FtBench(err) => err.hint(),
            Self::SameFile { key, .. } => Some(format!(
                "a model must be scored on rows that it was not trained or chosen on: give {key} a file of its own, or leave \
                 it out, and rows are held out of data.train"
            )),
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Data(err) => err.class(),
            Self::FtBench(err) => err.class(),
            Self::SameFile { .. } => ErrorClass::Permanent,
        }
    }
}

impl DataPort for DataPorts {
    type Error = DataPortError;

    fn import(&self, request: ImportRequest<'_>) -> Result<ImportedData, DataPortError> {
        let DataSource::Builtin { name } = &request.task.data else {
            refuse_same_files(&request.task.data)?;
            return Ok(self.service.import_files(&request)?);
        };
        let data = mini_task(name)?.generate(request.seed);
        let sizes = &request.task.splits;
        let capped = |mut rows: Vec<_>, limit: usize| {
            rows.truncate(if limit == 0 { usize::MAX } else { limit });
            rows
        };
        let (search, select) = (capped(data.search, sizes.search), capped(data.select, sizes.select));
        Ok(self.service.import_generated(name, &data.pool, &search, &select, &capped(data.final_, sizes.final_))?)
    }

    fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, DataPortError> {
        Ok(self.service.prepare(request)?)
    }
}

/// Refuses two sources of rows that are one file, whatever their paths look like. The import itself says which file is
/// missing or empty.
fn refuse_same_files(data: &DataSource) -> Result<(), DataPortError> {
    let DataSource::Files { train, dev, test, .. } = data else {
        return Ok(());
    };
    let sources = [("data.train", Some(train)), ("data.dev", file_of(dev)), ("data.test", file_of(test))];
    let nothing = ContentHash::of_bytes(&[]);
    let mut seen: Vec<(&'static str, ContentHash)> = Vec::new();
    for (key, path) in sources {
        let Some(path) = path else { continue };
        let Ok(hash) = trex_fs::hash_file(path) else { continue };
        if let Some((other, _)) = seen.iter().find(|(_, known)| *known == hash && hash != nothing) {
            return Err(DataPortError::SameFile { key, other, path: path.clone() });
        }
        seen.push((key, hash));
    }
    Ok(())
}

fn file_of(source: &SplitSource) -> Option<&PathBuf> {
    match source {
        SplitSource::File(path) => Some(path),
        SplitSource::HeldOut => None,
    }
}

/// Writes PEFT folders, and whole models where all weights were trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeftExporter;

impl Exporter for PeftExporter {
    fn export(&self, request: ExportRequest<'_>) -> Result<(), Box<dyn Problem + Send + Sync>> {
        let ExportRequest { adapter, whole_model, model, card, out } = request;
        let mut card = card.clone();
        name_base(&mut card, model).map_err(CliError::into_problem)?;
        let source = ExportSource { model_dir: &model.dir, adapter, card: &card };
        // As they were trained, to the last bit; narrower formats are made by `trex export`.
        let whole = ExportForm::Merged { dtype: Some(FloatType::F32), max_shard_bytes: MAX_SHARD_BYTES };
        let form = if whole_model { whole } else { ExportForm::Peft };
        let written = export_model(&source, form, out, &mut |_, _| ());
        written.map(|_| ()).map_err(|err| -> Box<dyn Problem + Send + Sync> { Box::new(err) })
    }
}

/// Tells the card what the base is called and how it is fetched.
pub(crate) fn name_base(card: &mut ModelCard, model: &ModelFacts) -> Result<(), CliError> {
    card.base_model = base_model_id(model)?;
    let own_name = if model.name == BUNDLED { BUNDLED_NAME } else { &model.name };
    card.base_name = card.hub_id().map_or(own_name, |(_, name)| name).to_owned();
    Ok(())
}

/// What other programs fetch a base by: the id where it came from the hub as a folder, else its own folder.
pub(crate) fn base_model_id(model: &ModelFacts) -> Result<String, CliError> {
    let entries = registry()?.entries()?;
    let id = entries.get(&model.name).and_then(|entry| entry.source.strip_prefix("hub:"));
    let whole = id.filter(|id| id.split('/').count() == 2);
    Ok(whole.map_or_else(|| model.dir.display().to_string(), str::to_owned))
}

/// The registry of models of this person.
pub(crate) fn registry() -> Result<ModelRegistry, CliError> {
    Ok(ModelRegistry::new(system::cache_dir()?))
}

/// Finds a model by name: the bundled one, one of the registry, or one that the set-up left in the cache folder.
pub(crate) fn find_model(name: &str) -> Result<ModelFacts, CliError> {
    if name == BUNDLED {
        return Ok(model_facts(BUNDLED, &unpack_bundled()?)?);
    }
    let registry = registry()?;
    let entries = registry.entries()?;
    if let Some(entry) = entries.get(name) {
        return Ok(model_facts(name, &entry.dir)?);
    }
    if let Some(path) = fetched_by_setup(name)? {
        return Ok(registry.add(name, &path, &path.display().to_string())?);
    }
    let known: Vec<&str> = entries.keys().map(String::as_str).chain([BUNDLED]).collect();
    let nearest = trex_domain::nearest(name, known).map(str::to_owned);
    Err(CommandError::UnknownModel { name: name.to_owned(), nearest }.into())
}

/// All names that `find_model` takes, with their folders.
pub(crate) fn known_models() -> Result<BTreeMap<String, PathBuf>, CliError> {
    let mut models: BTreeMap<String, PathBuf> =
        registry()?.entries()?.into_iter().map(|(name, entry)| (name, entry.dir)).collect();
    models.insert(BUNDLED.to_owned(), unpack_bundled()?);
    Ok(models)
}

/// A GGUF file in a folder of that name below the cache folder.
fn fetched_by_setup(name: &str) -> Result<Option<PathBuf>, CliError> {
    let is_plain = Path::new(name).file_name().is_some_and(|file| file == name);
    let dir = system::cache_dir()?.join(name);
    if !is_plain || !dir.is_dir() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(&dir).map_err(|err| trex_fs::FsError::io("list", &dir, err))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "gguf")))
}

/// Writes the bundled model below the cache folder, once per version of its weights.
fn unpack_bundled() -> Result<PathBuf, CliError> {
    let contents: Vec<_> =
        BUNDLED_FILES.iter().map(|(name, bytes)| (*name, trex_domain::ContentHash::of_bytes(bytes))).collect();
    let name = trex_domain::ContentHash::of_value("trex.bundled.v1", &contents)?.short();
    let dir = system::cache_dir()?.join("bundled").join(name);
    for (name, bytes) in BUNDLED_FILES {
        let path = dir.join(name);
        let complete = path.metadata().is_ok_and(|meta| meta.len() == bytes.len() as u64);
        if !complete {
            trex_fs::write_atomic(&path, bytes)?;
        }
    }
    Ok(dir)
}

/// The surroundings of a run on this machine.
pub(crate) fn run_settings(workspace: &Path, model: ModelFacts, machine: &MachineArgs) -> RunSettings {
    // A checkpoint costs a write of the adapters and Adam's moments; ten steps of a small model take about as long.
    const CHECKPOINT_EVERY: usize = 10;
    RunSettings {
        workspace: workspace.to_owned(),
        model,
        threads: machine.threads.unwrap_or_else(system::num_processors),
        workers: workers_at_once(machine),
        device: machine.device,
        machine_bytes: system::machine_bytes(),
        disk_bytes: trex_store::free_bytes(workspace).unwrap_or(0),
        checkpoint_every: CHECKPOINT_EVERY,
        final_openings_before: 0,
        memory: None,
        warm_start: true,
        gates: None,
        desk: Some(Arc::new(ReviewBox::of(workspace))),
        orders: Some(Arc::new(OrderBox::of(workspace))),
    }
}

/// Workers that run at the same time: one where jobs may be computed on a GPU, which they would have to share.
fn workers_at_once(machine: &MachineArgs) -> usize {
    let is_open = matches!(machine.device, None | Some(DeviceChoice::Auto));
    let has_gpu = || {
        let hardware = inspect_hardware(&ThisMachine);
        !hardware.nvidia.cards.is_empty() || !hardware.metal.is_empty()
    };
    if machine.workers > 1 && is_open && has_gpu() { 1 } else { usize::from(machine.workers) }
}

/// The knowledge base of this machine, with the embedding model where it is; none where it is switched off.
pub(crate) fn knowledge() -> Result<Option<KnowledgeBase>, CliError> {
    let Some(path) = system::knowledge_file()? else { return Ok(None) };
    let base = KnowledgeBase::open(&path, &SystemClock)?;
    let Some(facts) = measures::find_embedder()? else { return Ok(Some(base)) };
    let measured = system::cache_dir()?.join("measured");
    Ok(Some(base.with_embedder(Arc::new(measures::embedder(&facts, &measured)?))))
}

/// The same for a run, which goes on without it where it cannot be opened.
pub(crate) fn memory() -> (Option<Arc<dyn Memory>>, Option<String>) {
    match knowledge() {
        Ok(base) => (base.map(|base| -> Arc<dyn Memory> { Arc::new(base) }), None),
        Err(err) => (None, Some(format!("nothing is learned from this run: {}", err.told()))),
    }
}

/// Workers are this program, started again, or a build for cards.
pub(crate) fn workers(settings: &RunSettings, task: &TaskSpec) -> Result<WorkerProcesses, CliError> {
    let program = worker_program(settings.device.unwrap_or(task.device), task.train.precision)?.path;
    Ok(worker_processes(program, settings.threads))
}

/// Workers that are this program, which has the processor at any rate.
pub(crate) fn local_workers(threads: usize) -> Result<WorkerProcesses, CliError> {
    Ok(worker_processes(worker_program(DeviceChoice::Cpu, Precision::F32)?.path, threads))
}

fn worker_processes(program: PathBuf, threads: usize) -> WorkerProcesses {
    WorkerProcesses { program, args: vec!["worker".to_owned()], threads }
}

/// The program that runs jobs for a device; an error where it is this one, and this one cannot have the device.
pub(crate) fn worker_program(choice: DeviceChoice, precision: Precision) -> Result<WorkerProgram, CliError> {
    let this = std::env::current_exe().map_err(|err| trex_fs::FsError::io("find", "this program", err))?;
    let program = worker_program::choose(&Circumstances {
        choice,
        named: system::named_worker(),
        this: &this,
        build: DeviceBuild::THIS,
        is_file: &Path::is_file,
        hardware: &|| inspect_hardware(&ThisMachine),
    })?;
    let may_fail = !matches!(choice, DeviceChoice::Auto | DeviceChoice::Cpu);
    if may_fail && program.path == this {
        let plan = plan_device(choice, DeviceBuild::THIS, &inspect_hardware(&ThisMachine), precision);
        plan.map_err(|fault| TrainError::Device { choice, fault })?;
    }
    Ok(program)
}
