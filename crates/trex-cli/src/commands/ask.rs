//! `trex ask NODE WORDS`: what the untouched model and a trained one answer, side by side.

use trex_domain::{DomainError, GenerationConfig, Message, TrialKey};
use trex_engine::{Answers, Question, ask, trained_weights};
use trex_fs::BlobStore;

use crate::args::MachineArgs;
use crate::args::ask::AskArgs;
use crate::commands::report::latest;
use crate::error::CliError;
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
    output.result(&value, || text(&key, &answers))
}

fn question(args: &AskArgs) -> Result<Question, DomainError> {
    let generation = GenerationConfig {
        do_sample: args.temperature.is_some(),
        temperature: args.temperature.unwrap_or(1.0),
        seed: args.seed,
        ..GenerationConfig::default()
    };
    generation.validate()?;
    let system = args.system.iter().map(Message::system);
    let messages = system.chain([Message::user(args.words.join(" "))]).collect();
    Ok(Question { messages, max_new_tokens: args.max_new_tokens, generation })
}

fn text(key: &TrialKey, answers: &Answers) -> String {
    format!(
        "base ({:.1} s):\n{}\n\n{} ({:.1} s):\n{}",
        answers.base.wall_s, answers.base.text, key.0, answers.tuned.wall_s, answers.tuned.text
    )
}
