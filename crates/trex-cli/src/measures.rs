//! Joins the models that measure rows, or write texts for them, to their ports: vectors, losses and texts by workers, texts
//! also by the language models that a Researcher may ask.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_domain::{ModelFacts, TextWriter, WorkerEvent};
use trex_engine::{AskedWriter, WorkerMeter, WorkerProcesses};
use trex_research::llm::StoredModel;
use trex_train::{EmbedderFacts, embedder_facts};

use crate::error::CliError;
use crate::{researcher, system, wiring};

/// The embedding model, and its folder below the cache folder, where `cargo xtask setup` puts it.
pub(crate) const EMBEDDER: &str = "all-minilm-l6-v2";

/// Most tokens of a row whose loss is measured; the default context of training.
const LOSS_TOKENS: usize = 1024;

/// Most tokens of a prompt and what is written behind it: of 32 texts at a time, keys and values fit into memory.
const WRITING_TOKENS: usize = 2048;

/// Where the embedding model lies, or would lie.
pub(crate) fn embedder_dir() -> Result<PathBuf, CliError> {
    Ok(system::cache_dir()?.join(EMBEDDER))
}

/// The embedding model, where it is; one that is there and damaged is an error.
pub(crate) fn find_embedder() -> Result<Option<EmbedderFacts>, CliError> {
    let dir = embedder_dir()?;
    // The weights are placed last.
    if !dir.join("model.safetensors").is_file() {
        return Ok(None);
    }
    Ok(Some(embedder_facts(&dir)?))
}

/// Makes vectors, and keeps them in `workspace`.
pub(crate) fn embedder(facts: &EmbedderFacts, workspace: &Path) -> Result<WorkerMeter<WorkerProcesses>, CliError> {
    meter(facts.dir.clone(), facts.hash, facts.max_tokens, workspace)
}

/// Measures the losses of a model, and keeps them in `workspace`.
pub(crate) fn loss_meter(model: &ModelFacts, workspace: &Path) -> Result<WorkerMeter<WorkerProcesses>, CliError> {
    meter(model.dir.clone(), model.hash, LOSS_TOKENS.min(model.max_position), workspace)
}

/// Writes texts with a local model, and keeps them in `workspace`.
pub(crate) fn local_writer(model: &ModelFacts, workspace: &Path) -> Result<WorkerMeter<WorkerProcesses>, CliError> {
    meter(model.dir.clone(), model.hash, WRITING_TOKENS.min(model.max_position), workspace)
}

/// Writes texts with a model of this machine, or, where the name has a colon, with one that a service or another program
/// serves.
pub(crate) fn writer(name: &str, workspace: &Path) -> Result<Box<dyn TextWriter>, CliError> {
    if !name.contains(':') {
        return Ok(Box::new(local_writer(&wiring::find_model(name)?, workspace)?));
    }
    let (model, is_local) = researcher::model_behind(name)?;
    if !is_local {
        writeln!(io::stderr(), "note: prompts and answers of the rows are sent to {}", model.name()).ok();
    }
    let folder = researcher::calls_folder(workspace);
    let stored = StoredModel::new(model, folder, Arc::new(system::SystemClock));
    let say = |done: usize, total: usize| {
        say_progress("write", done, total);
        !system::stop_requested()
    };
    Ok(Box::new(AskedWriter::new(Arc::new(stored), Box::new(say))?))
}

fn say_progress(phase: &str, done: usize, total: usize) {
    if io::stderr().is_terminal() {
        let end = if done == total { "\r\u{1b}[K" } else { "" };
        eprint!("\r\u{1b}[K{phase}: {done} of {total}{end}");
    }
}

fn meter(
    model_dir: PathBuf,
    model: trex_domain::ContentHash,
    max_length: usize,
    workspace: &Path,
) -> Result<WorkerMeter<WorkerProcesses>, CliError> {
    let threads = system::num_processors();
    Ok(WorkerMeter {
        executor: wiring::local_workers(threads)?,
        model_dir,
        model,
        workspace: absolute(workspace)?,
        threads,
        max_length,
        listener: Box::new(hear),
    })
}

/// Workers may be started in another folder.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|err| trex_fs::FsError::io("find", path, err).into())
}

/// Says on a terminal how far a worker is; `false` once the person wants to stop.
fn hear(event: &WorkerEvent) -> bool {
    if let WorkerEvent::Progress { phase, done, total, rate, .. } = event
        && io::stderr().is_terminal()
    {
        eprint!("\r\u{1b}[K{phase}: {done} of {total}, {rate:.0}/s");
        if done == total {
            eprint!("\r\u{1b}[K");
        }
    }
    !system::stop_requested()
}
