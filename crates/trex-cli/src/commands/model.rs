//! `trex model`: base models in, and a list of them.

mod found;

use std::path::{Path, PathBuf};

use serde_json::json;
use trex_domain::ModelFacts;
use trex_research::{download_gguf, download_model};

use crate::args::{ModelArgs, ModelCommand};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::{measures, researcher, wiring};

pub(crate) fn run(args: &ModelArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        ModelCommand::Add { source, name } => add(source, name.as_deref(), output),
        ModelCommand::List => list(output),
        ModelCommand::Found => found::run(output),
    }
}

fn add(source: &str, name: Option<&str>, output: &mut Output) -> Result<(), CliError> {
    let name = name.map_or_else(|| default_name(source), str::to_owned);
    // The name becomes that of a folder, and must not hide the model that comes with the program.
    let is_plain = Path::new(&name).file_name().is_some_and(|file| file == name.as_str());
    if !is_plain || name.starts_with('.') || name == wiring::BUNDLED {
        return Err(CommandError::BadModelName { name }.into());
    }
    let path = match source.strip_prefix("hub:") {
        Some(id) => fetch(id)?,
        None => PathBuf::from(source),
    };
    let facts = wiring::registry()?.add(&name, &path, source)?;
    let in_place = path.is_dir();
    let mut value = facts_json(&facts);
    value["in_place"] = json!(in_place);
    output.result(&value, || added_text(&facts, in_place))
}

/// A folder is not copied, so that a large model takes its room once; then it must stay where it is.
fn added_text(facts: &ModelFacts, in_place: bool) -> String {
    let millions = facts.num_parameters as f64 / 1e6;
    let place = facts.dir.display();
    let kept = if in_place {
        format!("used where it lies, {place}; tasks need it to stay there")
    } else {
        format!("kept in {place}; the file itself is not needed any more")
    };
    format!("{} is ready: {millions:.1} M parameters, {kept}", facts.name)
}

/// `OWNER/NAME` fetches a Hugging Face folder, `OWNER/NAME/FILE.gguf` one file.
fn fetch(id: &str) -> Result<PathBuf, CliError> {
    let gate = researcher::net_gate()?;
    let parts: Vec<&str> = id.splitn(3, '/').collect();
    if let [owner, name, file] = parts.as_slice() {
        return Ok(download_gguf(&gate, &format!("{owner}/{name}"), None, file)?);
    }
    Ok(download_model(&gate, id, None)?)
}

/// The file's or repository's own name in lower case, without endings.
fn default_name(source: &str) -> String {
    let path = Path::new(source.strip_prefix("hub:").unwrap_or(source));
    let stem = if path.extension().is_some_and(|ext| ext == "gguf") { path.file_stem() } else { path.file_name() };
    stem.map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().to_lowercase())
}

fn list(output: &mut Output) -> Result<(), CliError> {
    let models = wiring::known_models()?;
    let mut value: Vec<_> = models.iter().map(|(name, dir)| json!({"name": name, "dir": dir})).collect();
    let mut lines: Vec<_> = models.iter().map(|(name, dir)| format!("{name}\t{}", dir.display())).collect();
    // A model that cannot be fine-tuned, and that no task names: said apart.
    if let Some(embedder) = measures::find_embedder()? {
        let (name, dir) = (measures::EMBEDDER, &embedder.dir);
        value.push(json!({"name": name, "dir": dir, "embeds": true}));
        lines.push(format!("{name}\t{}\tfor semantic steps and search only", dir.display()));
    }
    output.result(&value, || lines.join("\n"))
}

fn facts_json(facts: &ModelFacts) -> serde_json::Value {
    json!({
        "name": facts.name,
        "dir": facts.dir,
        "hash": facts.hash,
        "parameters": facts.num_parameters,
        "layers": facts.num_layers,
        "hidden_size": facts.hidden_size,
        "vocab_size": facts.vocab_size,
        "max_position": facts.max_position,
        "license": facts.license,
    })
}
