//! `trex probe`: what a model says to given questions, as numbers, for comparison with other programs.

use std::path::{Path, PathBuf};

use trex_domain::ModelCard;
use trex_train::{GgufEncoding, Probe, probe, write_base_gguf};

use crate::args::export::{BaseGgufArgs, ProbeArgs};
use crate::commands::export::gguf_folder;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::wiring;

pub(crate) fn run(args: &ProbeArgs, output: &mut Output) -> Result<(), CliError> {
    let questions = serde_json::from_slice(&trex_fs::read(&args.questions)?).map_err(CommandError::NotJson)?;
    let model_dir = model_dir(&args.model, args.scratch.as_deref())?;
    let request = Probe {
        model_dir,
        adapter: args.adapter.clone(),
        quantization: args.quantization,
        questions,
        max_new_tokens: args.max_new_tokens,
    };
    let answers = probe(&request)?;
    let text = serde_json::to_string(&answers).map_err(CommandError::NotJson)?;
    output.line(&text)
}

/// `trex base-gguf`: the base beside which a GGUF adapter is compared.
pub(crate) fn base_gguf(args: &BaseGgufArgs, output: &mut Output) -> Result<(), CliError> {
    let dir = model_dir(&args.model, None)?;
    let card = ModelCard { base_model: dir.display().to_string(), task: "base".to_owned(), ..ModelCard::default() };
    let file = write_base_gguf(&dir, &card, GgufEncoding::F32, &args.out)?;
    output.line(&file.display().to_string())
}

fn model_dir(model: &str, scratch: Option<&Path>) -> Result<PathBuf, CliError> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.is_file() {
        let scratch = scratch.map_or_else(|| path.with_extension("unpacked"), Path::to_owned);
        return gguf_folder(path, Path::new(""), &scratch);
    }
    Ok(wiring::find_model(model)?.dir)
}
