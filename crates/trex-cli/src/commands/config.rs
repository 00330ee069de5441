//! `trex config`: configuration files of other trainers in and out.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use trex_domain::{ImportedConfig, TrainConfig, TrainerFormat, export_trainer_config, import_trainer_config};
use trex_engine::{parse_task_file, trained_weights};

use crate::args::WorkspaceArgs;
use crate::args::export::{ConfigArgs, ConfigCommand};
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::wiring;

pub(crate) fn run(args: &ConfigArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        ConfigCommand::Import { file, from, rows } => {
            let imported = import_trainer_config(&read_file(file)?, from.map(Into::into), *rows)?;
            let text = import_text(file, &imported)?;
            output.result(&imported, || text)
        }
        ConfigCommand::Export { source, to, workspace } => export(source, (*to).into(), workspace, output),
    }
}

fn read_file(path: &Path) -> Result<Value, CliError> {
    let text = trex_fs::read_to_string(path)?;
    // JSON is YAML, but its own parser says better what is wrong with it.
    if path.extension().is_some_and(|ext| ext == "json") {
        return serde_json::from_str(&text)
            .map_err(|source| CommandError::BadJson { path: path.to_owned(), source }.into());
    }
    serde_saphyr::from_str(&text)
        .map_err(|source| CommandError::BadYaml { path: path.to_owned(), source: Box::new(source) }.into())
}

#[derive(Serialize)]
struct TrainTable<'a> {
    train: &'a TrainConfig,
}

/// `[train]` of a task file, with everything that a person must know as comments above it.
fn import_text(file: &Path, imported: &ImportedConfig) -> Result<String, CliError> {
    let mut lines = vec![format!("# From {}, read as a file of {}.", file.display(), shown(imported.format))];
    if let Some(model) = &imported.base_model {
        lines.push(format!("# Base model: {model}; take it in with `trex model add` and name it as `model`."));
    }
    let assumed = imported.assumed.iter();
    lines.extend(assumed.map(|(name, value)| format!("# assumed, since the file leaves it out: {name} = {value}")));
    lines.extend(imported.warnings.iter().map(|warning| format!("# warning: {warning}")));
    lines.push(String::new());
    lines.push(toml::to_string(&TrainTable { train: &imported.config }).map_err(CommandError::NoToml)?);
    Ok(lines.join("\n"))
}

fn shown(format: TrainerFormat) -> &'static str {
    match format {
        TrainerFormat::Trl => "TRL",
        TrainerFormat::Axolotl => "Axolotl",
        TrainerFormat::LlamaFactory => "LLaMA-Factory",
        TrainerFormat::Unsloth => "Unsloth",
        TrainerFormat::Peft => "PEFT",
    }
}

fn export(source: &str, format: TrainerFormat, workspace: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let (config, model) = config_of(source, workspace)?;
    let model = wiring::find_model(&model).and_then(|facts| wiring::base_model_id(&facts)).unwrap_or(model);
    let (file, warnings) = export_trainer_config(&config, format, &model);
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if output.is_json() {
        return output.result(&json!({"config": file, "warnings": warnings}), String::new);
    }
    let text = match format {
        TrainerFormat::Peft => serde_json::to_string_pretty(&file).map_err(CommandError::NotJson)?,
        _ => serde_saphyr::to_string(&file).map_err(CommandError::NoYaml)?,
    };
    output.line(text.trim_end())
}

/// The settings of a task file or of a variant, and the name of their model.
fn config_of(source: &str, workspace: &WorkspaceArgs) -> Result<(TrainConfig, String), CliError> {
    let path = Path::new(source);
    if path.extension().is_some_and(|ext| ext == "toml") || path.is_file() {
        let task = parse_task_file(path, None)?;
        return Ok((task.train, task.model.0));
    }
    let state = latest(workspace)?.state;
    let ((variant, ..), _) = trained_weights(&state, source)?;
    let record = state.variants.get(&variant).ok_or_else(|| CommandError::UnknownNode { name: source.to_owned() })?;
    Ok((record.variant.config.clone(), state.task()?.model.0.clone()))
}
