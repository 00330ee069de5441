//! `trex researcher`: who answers beside the Playbook, its keys and prices, and what it was asked.

use std::io::Read as _;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use trex_domain::{AnswerForm, Message, ModelRequest, Stage, ToTheEnd};
use trex_research::llm::{Endpoint, PRESETS, Price, Question, StoredCall, ask_structured};
use trex_research::{KeyPlace, Keys, LOCAL, PLAYBOOK, ResearchError, ResearcherSettings, Secret, Stored, stage_schema};

use crate::args::researcher::{KeyCommand, ResearcherArgs, ResearcherCommand};
use crate::error::{CliError, CommandError, with_causes};
use crate::output::Output;
use crate::researcher::{self, variable};

pub(crate) fn run(args: &ResearcherArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        ResearcherCommand::Presets => presets(output),
        ResearcherCommand::Show => show(output),
        ResearcherCommand::Use { names, stage } => set_order(names, stage.as_deref(), output),
        ResearcherCommand::Test { name } => test(name, output),
        ResearcherCommand::Key { command } => key(command, output),
        ResearcherCommand::Price { name, input, output: written } => {
            price(name, Price { input: *input, output: *written }, output)
        }
        ResearcherCommand::Calls { workspace, full } => calls(&workspace.workspace, *full, output),
        ResearcherCommand::Schema { stage } => schema(stage, output),
    }
}

fn presets(output: &mut Output) -> Result<(), CliError> {
    let value: Vec<_> = PRESETS
        .iter()
        .map(|preset| json!({"name": preset.name, "url": preset.base_url, "key_variable": preset.key_variable}))
        .collect();
    output.result(&value, || {
        let line = |name: &str, url: &str, key: &str| format!("{name:<12}{url:<36}{key}").trim_end().to_owned();
        let lines =
            PRESETS.iter().map(|preset| line(preset.name, preset.base_url, preset.key_variable.unwrap_or_default()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn show(output: &mut Output) -> Result<(), CliError> {
    let settings = ResearcherSettings::read(&researcher::settings_path()?)?;
    let keys: Vec<String> = researcher::keys()?.places()?.into_keys().collect();
    let order = |stage: Stage| {
        let names = settings.models_for(stage).into_iter().chain([PLAYBOOK]);
        names.collect::<Vec<_>>().join(", then ")
    };
    let stages: serde_json::Map<_, _> =
        Stage::ALL.into_iter().map(|stage| (stage.as_str().to_owned(), json!(order(stage)))).collect();
    output.result(&json!({"stages": stages, "prices": settings.prices, "keys": keys}), || {
        let mut lines: Vec<String> =
            Stage::ALL.into_iter().map(|stage| format!("{}: {}", stage.as_str(), order(stage))).collect();
        lines.extend(settings.prices.0.iter().map(|(name, price)| {
            format!("price of {name}: {} USD in, {} USD out, for a million tokens", price.input, price.output)
        }));
        lines.extend(keys.iter().map(|name| format!("key of {name}: ***")));
        lines.join("\n")
    })
}

fn set_order(names: &[String], stage: Option<&str>, output: &mut Output) -> Result<(), CliError> {
    let path = researcher::settings_path()?;
    let mut settings = ResearcherSettings::read(&path)?;
    match stage {
        Some(stage) => drop(settings.stages.insert(stage_named(stage)?, names.to_vec())),
        None => names.clone_into(&mut settings.order),
    }
    settings.check(&variable)?;
    settings.write(&path)?;
    show(output)
}

fn stage_named(name: &str) -> Result<Stage, CliError> {
    let found = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
    let known = Stage::ALL.map(Stage::as_str);
    found.ok_or_else(|| CommandError::UnknownStage { name: name.to_owned(), known: known.join(", ") }.into())
}

/// What the test question asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// A colour.
    colour: String,
}

fn test(name: &str, output: &mut Output) -> Result<(), CliError> {
    let (model, is_local) = researcher::model_behind(name)?;
    let began = Instant::now();
    let text = ModelRequest {
        messages: vec![Message::user("Say hello in one word.")],
        form: AnswerForm::Text,
        max_tokens: 20,
        temperature: 0.0,
        seed: 1,
    };
    let said = model.ask(&text, &mut ToTheEnd).map_err(CliError::from_problem)?;
    let messages = vec![Message::user("Name a colour. Answer with a JSON object whose only field is \"colour\".")];
    let question = Question { name: "probe", messages, max_tokens: 60, seed: 1 };
    let asked = ask_structured::<Probe>(&*model, &question, &|_| Ok(()), &mut ToTheEnd);
    let repairs = asked.repairs;
    let probe = asked.answer.map_err(CliError::from_problem)?;
    let tokens = said.usage.total() + asked.usage.total();
    let written = said.usage.completion_tokens + asked.usage.completion_tokens;
    let rate = written as f64 / began.elapsed().as_secs_f64().max(1e-9);
    let value = json!({
        "name": name, "local": is_local, "text": said.text, "colour": probe.colour, "repairs": repairs, "tokens": tokens,
        "tokens_per_s": rate,
    });
    output.result(&value, || {
        let place = if is_local { "on this machine" } else { "elsewhere" };
        format!(
            "{name} answers, {place}\ntext: {}\nschema: {{\"colour\": {:?}}}, sent back {repairs} times\n{tokens} tokens, {rate:.1} written per second with loading",
            said.text.trim(),
            probe.colour
        )
    })
}

fn key(command: &KeyCommand, output: &mut Output) -> Result<(), CliError> {
    let keys = researcher::keys()?;
    match command {
        KeyCommand::Set { name, file } => {
            let key = key_from_stdin()?;
            let stored = if *file { keys.set_in_file(name, &key)? } else { keys.set(name, &key)? };
            say_stored(&keys, name, &stored, output)
        }
        KeyCommand::List => list_keys(&keys, output),
        KeyCommand::Remove { name } => {
            let lay = keys.remove(name)?;
            output.result(&json!({"name": name, "removed": lay.is_some(), "place": lay}), || match lay {
                Some(place) => format!("the key of {name} is removed from {}", place_text(&keys, place)),
                None => format!("the key of {name} was not there"),
            })
        }
    }
}

fn key_from_stdin() -> Result<Secret, CliError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(CommandError::Input)?;
    let text = text.trim();
    if text.is_empty() { Err(CommandError::EmptyKey.into()) } else { Ok(Secret::new(text.to_owned())) }
}

/// Says where a key lies now; the one time that a file is not encrypted.
fn say_stored(keys: &Keys, name: &str, stored: &Stored, output: &mut Output) -> Result<(), CliError> {
    let place = place_text(keys, stored.place);
    let file = (stored.place == KeyPlace::File).then(|| keys.path().display().to_string());
    let why = stored.because.as_ref().map(|fault| with_causes(fault));
    let value = json!({
        "name": name,
        "place": stored.place,
        "file": file,
        "encrypted": stored.place == KeyPlace::SecretStore,
        "why": why,
    });
    output.result(&value, || match (stored.place, why) {
        (KeyPlace::SecretStore, _) => format!("the key of {name} is stored in {place}"),
        (KeyPlace::File, Some(why)) => {
            format!(
                "the key of {name} is stored in {place}, which only you may read; it is not encrypted, because {why}"
            )
        }
        (KeyPlace::File, None) => {
            format!("the key of {name} is stored in {place}, which only you may read; it is not encrypted")
        }
    })
}

fn list_keys(keys: &Keys, output: &mut Output) -> Result<(), CliError> {
    let places = keys.places()?;
    let value: Vec<_> = places.iter().map(|(name, place)| json!({"name": name, "place": place})).collect();
    output.result(&value, || {
        let line = |(name, place): (&String, &KeyPlace)| format!("{name}\t***\tin {}", place_text(keys, *place));
        let lines: Vec<String> = places.iter().map(line).collect();
        if lines.is_empty() { "no keys are stored".to_owned() } else { lines.join("\n") }
    })
}

fn place_text(keys: &Keys, place: KeyPlace) -> String {
    match place {
        KeyPlace::SecretStore => keys.store().title().to_owned(),
        KeyPlace::File => keys.path().display().to_string(),
    }
}

fn price(name: &str, price: Price, output: &mut Output) -> Result<(), CliError> {
    if !name.starts_with(LOCAL) {
        Endpoint::parse(name, variable)?;
    }
    if !price.is_valid() {
        return Err(ResearchError::BadPrice { model: name.to_owned() }.into());
    }
    let path = researcher::settings_path()?;
    let mut settings = ResearcherSettings::read(&path)?;
    settings.prices.0.insert(name.to_owned(), price);
    settings.write(&path)?;
    show(output)
}

fn calls(workspace: &std::path::Path, full: bool, output: &mut Output) -> Result<(), CliError> {
    let calls = StoredCall::all(&researcher::calls_folder(workspace)).map_err(CliError::from)?;
    output.result(&calls, || {
        let line = |call: &StoredCall| {
            let head = format!(
                "{}  {}  {} + {} tokens  {:.1} s",
                call.at.to_utc_text(),
                call.model,
                call.reply.usage.prompt_tokens,
                call.reply.usage.completion_tokens,
                call.seconds
            );
            if !full {
                return head;
            }
            let turns: Vec<String> =
                call.request.messages.iter().map(|turn| format!("[{}] {}", turn.role.as_str(), turn.content)).collect();
            format!("{head}\n{}\n[answer] {}\n", turns.join("\n"), call.reply.text)
        };
        let lines: Vec<String> = calls.iter().map(line).collect();
        if lines.is_empty() { "no model was asked".to_owned() } else { lines.join("\n") }
    })
}

fn schema(stage: &str, output: &mut Output) -> Result<(), CliError> {
    let schema = stage_schema(stage_named(stage)?);
    output.result(&schema, || trex_engine::schema_text(schema.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_stage_schema_is_the_generated_one() {
        for stage in Stage::ALL {
            let schema = stage_schema(stage);
            let name = format!("stage-{}.schema.json", stage.as_str().replace('_', "-"));
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/schemas").join(&name);
            let generated = trex_engine::schema_text(schema);
            if std::env::var_os("TREX_UPDATE").is_some() {
                trex_fs::write_atomic(&path, generated.as_bytes()).unwrap();
            }
            let committed = trex_fs::read_to_string(&path).unwrap();
            assert!(committed == generated, "{name} is out of date: run this test once with TREX_UPDATE=1");
        }
    }
}
