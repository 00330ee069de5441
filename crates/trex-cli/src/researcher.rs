//! Wires language models to the Researcher: settings, keys, the gate, and the folder that keeps questions and answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_domain::{Knowledge, LanguageModel, Memory};
use trex_engine::LocalModel;
use trex_research::llm::{CallLimits, Endpoint, RemoteModel, SleepingPause, StoredModel, Surroundings};
use trex_research::{
    Asker, Assistant, AssistedResearcher, Keys, LOCAL, NetGate, NetLog, NetSettings, NoStore, ResearcherSettings,
    SecretStore, SystemStore,
};

use crate::error::CliError;
use crate::system::{self, SystemClock};
use crate::wiring;

/// Name of the settings, in the person's folder and in a workspace.
const SETTINGS: &str = "researcher.toml";

/// Folder of questions and answers below a workspace.
const CALLS: &str = "logs/researcher";

/// Value of an environment variable.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where the person's settings lie.
pub(crate) fn settings_path() -> Result<PathBuf, CliError> {
    Ok(system::config_dir()?.join(SETTINGS))
}

/// The stored keys.
pub(crate) fn keys() -> Result<Keys, CliError> {
    Ok(Keys::new(system::config_dir()?.join("keys.toml"), secret_store()))
}

/// The secret store of this system, unless `TREX_SECRET_STORE` says `off`.
fn secret_store() -> Arc<dyn SecretStore> {
    if variable("TREX_SECRET_STORE").as_deref() == Some("off") {
        Arc::new(NoStore)
    } else {
        Arc::new(SystemStore::new(variable))
    }
}

/// Folder of questions and answers of a workspace.
pub(crate) fn calls_folder(workspace: &Path) -> PathBuf {
    workspace.join(CALLS)
}

/// The settings for a new run: the person's, with `named` before the Playbook where it is given.
pub(crate) fn settings_for_run(named: Option<&str>) -> Result<ResearcherSettings, CliError> {
    let settings = ResearcherSettings::read(&settings_path()?)?;
    let settings = match named {
        Some(name) => settings.with_first(name),
        None => settings,
    };
    settings.check(&variable)?;
    Ok(settings)
}

/// Keeps the settings with the run, so that it is resumed with the same ones.
pub(crate) fn keep_settings(workspace: &Path, settings: &ResearcherSettings) -> Result<(), CliError> {
    Ok(settings.write(&workspace.join(SETTINGS))?)
}

/// The settings that a run was begun with.
pub(crate) fn kept_settings(workspace: &Path) -> Result<ResearcherSettings, CliError> {
    Ok(ResearcherSettings::read(&workspace.join(SETTINGS))?)
}

/// Where attempts to reach the network are written down.
pub(crate) fn net_log_path() -> Result<PathBuf, CliError> {
    Ok(system::cache_dir()?.join("net.jsonl"))
}

/// The gate that everything passes that leaves this machine.
pub(crate) fn net_gate() -> Result<NetGate, CliError> {
    let gate = NetGate::new(NetSettings::from_lookup(variable)?)?;
    Ok(gate.with_log(NetLog::new(net_log_path()?, Arc::new(SystemClock))))
}

/// The model behind a name, and whether it is on this machine.
pub(crate) fn model_behind(name: &str) -> Result<(Arc<dyn LanguageModel>, bool), CliError> {
    model_named(name, &Arc::new(net_gate()?))
}

/// `local:NAME` is a model of the registry, in a worker of its own; anything else is reached by its address.
fn model_named(name: &str, gate: &Arc<NetGate>) -> Result<(Arc<dyn LanguageModel>, bool), CliError> {
    let Some(own) = name.strip_prefix(LOCAL) else {
        let (model, is_local) = model_at(Endpoint::parse(name, variable)?, gate.clone())?;
        return Ok((Arc::new(model), is_local));
    };
    let threads = system::num_processors();
    let size = (threads, system::machine_bytes());
    let workers = wiring::local_workers(threads)?;
    let model = LocalModel::new(name.to_owned(), workers, wiring::find_model(own)?, size)?;
    Ok((Arc::new(model), true))
}

fn model_at(endpoint: Endpoint, gate: Arc<NetGate>) -> Result<(RemoteModel, bool), CliError> {
    let key = keys()?.find(&endpoint, variable)?;
    let is_local = endpoint.is_local();
    let surroundings = Surroundings { gate, clock: Arc::new(SystemClock), pause: Arc::new(SleepingPause) };
    Ok((RemoteModel::new(endpoint, key, CallLimits::default(), surroundings), is_local))
}

/// The Researcher of a run. Reaches nothing yet.
pub(crate) fn researcher(
    workspace: &Path,
    settings: ResearcherSettings,
    library: Option<Arc<dyn Memory>>,
) -> Result<AssistedResearcher, CliError> {
    let assistants = assistants(Some(workspace), &settings)?;
    let goes_on = Arc::new(|| !system::stop_requested());
    let researcher = AssistedResearcher::new(settings, assistants, Arc::new(SystemClock), goes_on);
    let library = library.map(|memory| -> Arc<dyn Knowledge> { memory });
    let blobs = workspace.join("blobs");
    Ok(researcher.with_blobs(&blobs).with_library(library).with_memory_bytes(system::machine_bytes()))
}

/// Models for single questions outside of a run; their answers are kept where a workspace is given.
pub(crate) fn asker(workspace: Option<&Path>, settings: ResearcherSettings) -> Result<Asker, CliError> {
    let assistants = assistants(workspace, &settings)?;
    Ok(Asker::new(settings, assistants, Arc::new(SystemClock), Arc::new(|| !system::stop_requested())))
}

fn assistants(
    workspace: Option<&Path>,
    settings: &ResearcherSettings,
) -> Result<BTreeMap<String, Assistant>, CliError> {
    let mut assistants = BTreeMap::new();
    let names = settings.models();
    if !names.is_empty() {
        let gate = Arc::new(net_gate()?);
        for name in names {
            let (mut model, is_local) = model_named(name, &gate)?;
            if let Some(workspace) = workspace {
                model = Arc::new(StoredModel::new(model, calls_folder(workspace), Arc::new(SystemClock)));
            }
            assistants.insert(name.to_owned(), Assistant { model, is_local });
        }
    }
    Ok(assistants)
}
