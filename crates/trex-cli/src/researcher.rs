//! Wires language models to the Researcher: settings, keys, the gate, and the folder that keeps questions and answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_domain::LanguageModel;
use trex_research::llm::{CallLimits, Endpoint, RemoteModel, SleepingPause, StoredModel, Surroundings};
use trex_research::{Assistant, AssistedResearcher, KeyFile, NetGate, NetSettings, ResearcherSettings};

use crate::error::CliError;
use crate::system::{self, SystemClock};

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
pub(crate) fn key_file() -> Result<KeyFile, CliError> {
    Ok(KeyFile::new(system::config_dir()?.join("keys.toml")))
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

/// A model behind a name, with its key.
pub(crate) fn remote_model(name: &str) -> Result<(RemoteModel, bool), CliError> {
    let endpoint = Endpoint::parse(name, variable)?;
    let gate = Arc::new(NetGate::new(NetSettings::from_lookup(variable)?)?);
    model_at(endpoint, gate)
}

fn model_at(endpoint: Endpoint, gate: Arc<NetGate>) -> Result<(RemoteModel, bool), CliError> {
    let key = key_file()?.find(&endpoint, variable)?;
    let is_local = endpoint.is_local();
    let surroundings = Surroundings { gate, clock: Arc::new(SystemClock), pause: Arc::new(SleepingPause) };
    Ok((RemoteModel::new(endpoint, key, CallLimits::default(), surroundings), is_local))
}

/// The Researcher of a run. Reaches nothing yet.
pub(crate) fn researcher(workspace: &Path, settings: ResearcherSettings) -> Result<AssistedResearcher, CliError> {
    let mut assistants = BTreeMap::new();
    let names = settings.models();
    if !names.is_empty() {
        let gate = Arc::new(NetGate::new(NetSettings::from_lookup(variable)?)?);
        for name in names {
            let (model, is_local) = model_at(Endpoint::parse(name, variable)?, gate.clone())?;
            let stored = StoredModel::new(Arc::new(model), calls_folder(workspace), Arc::new(SystemClock));
            let model: Arc<dyn LanguageModel> = Arc::new(stored);
            assistants.insert(name.to_owned(), Assistant { model, is_local });
        }
    }
    let goes_on = Arc::new(|| !system::stop_requested());
    Ok(AssistedResearcher::new(settings, assistants, Arc::new(SystemClock), goes_on))
}
