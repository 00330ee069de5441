//! `trex new`: words and data to a task file, with questions before anything is settled that changes what is optimised.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use serde_json::json;
use trex_data::{ProfileOptions, profile_source};
use trex_domain::TaskKind;
use trex_engine::parse_task_file;
use trex_research::analyse_requirement;
use trex_research::requirements::{
    DataFacts, Field, Given, OpenQuestion, Origin, RequirementProblem, Rules, TaskDraft, analyse,
};

use crate::args::NewArgs;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::{researcher, system};

pub(crate) fn run(args: &NewArgs, output: &mut Output) -> Result<(), CliError> {
    let rules = Rules::built_in()?;
    let mut given = Given {
        data: args.data.first().map(|path| facts_of(path)).transpose()?,
        memory_bytes: system::machine_bytes(),
        answers: answers(&args.answer)?,
        suggested: BTreeMap::new(),
    };
    let asker = researcher::asker(None, researcher::settings_for_run(args.researcher.as_deref())?)?;
    if let Some(suggested) = analyse_requirement(&asker, &args.words, &given) {
        given.suggested = suggested.answer;
    }
    let mut draft = analyse(&args.words, &given, &rules);
    if output.is_terminal() && std::io::stdin().is_terminal() {
        draft = ask_person(draft, &args.words, &mut given, &rules)?;
    }
    if args.accept {
        // What contradicts itself is the person's to settle.
        let is_disputed =
            |field: &str| draft.problems.iter().any(|problem| problem.settled_by.as_deref() == Some(field));
        let open = draft.questions.iter().filter(|question| !question.proposed.is_empty());
        for question in open.filter(|question| !is_disputed(&question.field)) {
            given.answers.insert(question.field.clone(), question.proposed.clone());
        }
        draft = analyse(&args.words, &given, &rules);
    }
    let written = if draft.is_settled() { write_task(args, &draft)? } else { None };
    let value = json!({"draft": draft, "settled": draft.is_settled(), "written": written});
    output.result(&value, || draft_text(&draft, written.as_deref()))
}

fn facts_of(path: &Path) -> Result<DataFacts, CliError> {
    let options = ProfileOptions { fields: trex_domain::FieldMap::default(), num_tokens: None, progress: None };
    Ok(DataFacts::from_profile(&profile_source(path, options)?))
}

/// `field=value`, each checked against what the field can be.
fn answers(texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut answers = BTreeMap::new();
    for text in texts {
        let bad = || CommandError::BadAnswer { text: text.clone() };
        let (field, value) = text.split_once('=').ok_or_else(bad)?;
        let (field, value) = (field.trim(), value.trim());
        if !is_answer(field, value) {
            return Err(bad().into());
        }
        answers.insert(field.to_owned(), value.to_owned());
    }
    Ok(answers)
}

fn is_answer(field: &str, value: &str) -> bool {
    let word = || serde_json::Value::String(value.to_owned());
    match field {
        "kind" => serde_json::from_value::<TaskKind>(word()).is_ok(),
        "metric" => serde_json::from_value::<trex_domain::Metric>(word()).is_ok(),
        "options" => value.split(',').filter(|option| !option.trim().is_empty()).count() >= 2,
        _ => false,
    }
}

/// Asks one question after the other; an empty line takes what is proposed.
fn ask_person(mut draft: TaskDraft, words: &str, given: &mut Given, rules: &Rules) -> Result<TaskDraft, CliError> {
    let mut lines = std::io::stdin().lock().lines();
    while let Some(question) = next_question(&draft) {
        eprintln!("{}", question.question);
        let Some(line) = lines.next() else { break };
        let line = line.map_err(CommandError::Input)?;
        let answer = if line.trim().is_empty() { question.proposed.clone() } else { line.trim().to_owned() };
        if is_answer(&question.field, &answer) {
            given.answers.insert(question.field, answer);
            draft = analyse(words, given, rules);
        } else {
            eprintln!("{answer:?} is no answer for {}", question.field);
        }
    }
    Ok(draft)
}

fn next_question(draft: &TaskDraft) -> Option<OpenQuestion> {
    let settles = |problem: &RequirementProblem| {
        let field = problem.settled_by.clone()?;
        Some(OpenQuestion { field, question: problem.message.clone(), proposed: String::new() })
    };
    draft.problems.iter().find_map(settles).or_else(|| draft.questions.first().cloned())
}

/// Writes the task file and reads it back; `None` where no data is named, without which there is no task.
fn write_task(args: &NewArgs, draft: &TaskDraft) -> Result<Option<String>, CliError> {
    let Some(train) = args.data.first() else { return Ok(None) };
    if args.out.exists() {
        return Err(CommandError::OutputExists { path: args.out.clone() }.into());
    }
    let folder = std::path::absolute(train).map_err(|err| trex_fs::FsError::io("resolve", train, err))?;
    trex_fs::write_atomic(&args.out, task_text(draft, &folder, &args.data[1..])?.as_bytes())?;
    parse_task_file(&args.out, None)?;
    Ok(Some(args.out.display().to_string()))
}

/// Every field with where it comes from beside it.
fn task_text(draft: &TaskDraft, train: &Path, others: &[std::path::PathBuf]) -> Result<String, CliError> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let path = |path: &Path| -> Result<String, CliError> {
        let whole = std::path::absolute(path).map_err(|err| trex_fs::FsError::io("resolve", path, err))?;
        Ok(quoted(&whole.to_string_lossy()))
    };
    let mut text = String::from(
        "# Made by `trex new`. Beside each field stands where it comes from; change what is not meant.\n\n",
    );
    let mut line = |key: &str, value: String, note: String| {
        let note = if note.is_empty() { note } else { format!("  # {note}") };
        writeln!(text, "{key} = {value}{note}").expect("writing to a string cannot fail");
    };
    line("name", quoted(&slug(&draft.goal)), String::new());
    line("goal", quoted(&draft.goal), String::new());
    line("kind", quoted(&word(&draft.kind.value)), note(&draft.kind));
    let direction = if draft.lower_is_better { "lower" } else { "higher" };
    line(
        "metric",
        quoted(draft.metric.value.as_str()),
        format!("{}; {direction} is better, {}", note(&draft.metric), draft.range),
    );
    line("model", quoted(&draft.model.value), note(&draft.model));
    text.push_str("\n[data]\n");
    let keys = ["train", "dev", "test"];
    for (key, file) in keys.iter().zip(std::iter::once(train).chain(others.iter().map(std::path::PathBuf::as_path))) {
        writeln!(text, "{key} = {}", path(file)?).expect("writing to a string cannot fail");
    }
    if others.len() < 2 {
        text.push_str("# What is not named here is held out of the training rows.\n");
    }
    if !draft.options.value.is_empty() {
        let options = toml::Value::Array(draft.options.value.iter().cloned().map(toml::Value::String).collect());
        let template = quoted(&format!("{}\n{{input}}", draft.goal));
        write!(text, "\n[prompt]\ntemplate = {template}\noptions = {options}  # {}\n", note(&draft.options))
            .expect("writing to a string cannot fail");
    }
    text.push_str(&limits_text(draft));
    Ok(text)
}

fn limits_text(draft: &TaskDraft) -> String {
    let mut budget = String::new();
    let mut limit = |key: &str, value: Option<String>, note: String| {
        if let Some(value) = value {
            writeln!(budget, "{key} = {value}  # {note}").expect("writing to a string cannot fail");
        }
    };
    limit("trials", draft.trials.value.map(|value| value.to_string()), note(&draft.trials));
    limit("wall_s", draft.wall_s.value.map(|value| format!("{value:?}")), note(&draft.wall_s));
    limit("money", draft.money.value.map(|value| format!("{value:?}")), note(&draft.money));
    let mut text = if budget.is_empty() { budget } else { format!("\n[budget]\n{budget}") };
    if let Some(target) = draft.target.value {
        write!(text, "\n[search]\ntarget = {target:?}  # {}\n", note(&draft.target))
            .expect("writing to a string cannot fail");
    }
    text
}

fn note<T>(field: &Field<T>) -> String {
    let origin = match field.origin {
        Origin::Said => "said",
        Origin::Inferred => "inferred",
        Origin::Default => "default",
    };
    format!("{origin}: {}", field.because.replace(['\n', '\r'], " "))
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A short name of the first words, in letters, digits and dashes.
fn slug(goal: &str) -> String {
    const WORDS: usize = 4;
    let words = goal.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.take(WORDS).collect::<Vec<_>>().join("-").to_lowercase();
    let slug: String = slug.chars().take(40).collect();
    if slug.is_empty() { "task".to_owned() } else { slug }
}

fn draft_text(draft: &TaskDraft, written: Option<&str>) -> String {
    let mut lines = vec![
        format!("kind     {:<28}{}", word(&draft.kind.value), note(&draft.kind)),
        format!("metric   {:<28}{}", draft.metric.value.as_str(), note(&draft.metric)),
        format!("options  {:<28}{}", draft.options.value.join(", "), note(&draft.options)),
        format!("model    {:<28}{}", draft.model.value, note(&draft.model)),
    ];
    let limits = [
        ("target", draft.target.value.map(|value| value.to_string()), note(&draft.target)),
        ("trials", draft.trials.value.map(|value| value.to_string()), note(&draft.trials)),
        ("time", draft.wall_s.value.map(|value| format!("{value} s")), note(&draft.wall_s)),
        ("money", draft.money.value.map(|value| format!("{value} USD")), note(&draft.money)),
    ];
    for (name, value, note) in limits {
        lines.extend(value.map(|value| format!("{name:<9}{value:<28}{note}")));
    }
    for problem in &draft.problems {
        let settled = problem.settled_by.as_ref().map(|field| format!("; settle it with --answer {field}=…"));
        lines.push(format!("cannot be [{}]: {}{}", problem.code, problem.message, settled.unwrap_or_default()));
    }
    for question in &draft.questions {
        lines.push(format!(
            "open: {} Answer with --answer {}=…, or take all proposals with --accept",
            question.question, question.field
        ));
    }
    lines.push(match (written, draft.is_settled()) {
        (Some(path), _) => format!("written to {path}; run it with `trex run {path}`"),
        (None, true) => "nothing is written: name the data with --data".to_owned(),
        (None, false) => "nothing is written before that is settled".to_owned(),
    });
    lines.join("\n")
}
