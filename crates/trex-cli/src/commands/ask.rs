//! `trex ask NODE WORDS`: what the untouched model and a trained one answer, side by side.

use std::path::Path;

use trex_domain::{GenerationConfig, TrialKey};
use trex_engine::{Answers, Question, Turn, ask, trained_weights};
use trex_fs::{BlobStore, FsError};

use crate::args::MachineArgs;
use crate::args::ask::AskArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::wiring;

pub(crate) fn run(args: &AskArgs, output: &mut Output) -> Result<(), CliError> {
    let state = latest(&args.workspace)?.state;
    let (key, adapter) = trained_weights(&state, &args.node)?;
    let model = wiring::find_model(&state.task()?.model.0)?;
    if state.model.is_some_and(|hash| hash != model.hash) {
        return Err(trex_engine::EngineError::ModelChanged { name: model.name }.into());
    }
    let question = question(args)?;
    let dir = args.workspace.workspace.as_path();
    let machine = MachineArgs { threads: args.threads, device: args.device, reserve_bytes: 0, workers: 1 };
    let settings = wiring::run_settings(dir, model, &machine);
    let workers = wiring::workers(&settings, state.task()?)?;
    let adapter = BlobStore::new(dir.join("blobs")).path(&adapter);
    let scratch = dir.join("scratch").join(format!("ask-{}", std::process::id()));
    let answers = ask(&state, &settings, &workers, (&adapter, &scratch), &question)?;
    let value = serde_json::json!({ "type": "ask", "node": key.0, "base": answers.base, "tuned": answers.tuned });
    if let Some(path) = &args.conversation {
        keep(path, question, answers.clone())?;
    }
    output.result(&value, || text(&key, &answers))
}

/// The conversation with one turn more; as a whole, so that a file is never left half written.
fn keep(path: &Path, question: Question, answers: Answers) -> Result<(), CliError> {
    let turn = Turn { words: question.words, answers };
    let mut lines = Vec::new();
    for turn in question.earlier.iter().chain([&turn]) {
        let line = serde_json::to_string(turn).map_err(|err| FsError::io("write", path, err.into()))?;
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    trex_fs::write_atomic(path, &lines)?;
    Ok(())
}

fn question(args: &AskArgs) -> Result<Question, CliError> {
    let generation = GenerationConfig {
        do_sample: args.temperature.is_some(),
        temperature: args.temperature.unwrap_or(1.0),
        seed: args.seed,
        ..GenerationConfig::default()
    };
    generation.validate()?;
    let earlier = match &args.conversation {
        Some(path) if path.exists() => {
            trex_fs::read_lines(path).map_err(|source| CommandError::BadConversation { path: path.clone(), source })?
        }
        _ => Vec::new(),
    };
    Ok(Question {
        system: args.system.clone(),
        earlier,
        words: args.words.join(" "),
        max_new_tokens: args.max_new_tokens,
        generation,
    })
}

fn text(key: &TrialKey, answers: &Answers) -> String {
    format!(
        "base ({:.1} s):\n{}\n\n{} ({:.1} s):\n{}",
        answers.base.wall_s, answers.base.text, key.0, answers.tuned.wall_s, answers.tuned.text
    )
}
