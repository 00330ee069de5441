//! `trex recipe`: recipes checked, compared and run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use trex_data::{
    Aids, BlobRows, DataService, HfFolder, NearDedupCurve, RecipeChange, RecipeFile, RecipeOutcome, RecipeProgress,
    RecipeRequest, RecipeVersion, Rows as _, SchemaKind, TableFacts, diff_recipes, near_dedup_curve, operator_docs,
    profile_rows, recipe_history, recipe_schema, record_recipe_run, run_recipe_file,
};
use trex_domain::{Clock as _, ContentHash, Embedder, Example, LossMeter, Operator};

use crate::args::{RecipeArgs, RecipeCommand, RecipeRunArgs};
use crate::commands::data::{chat_model, num_tokens, told, told_all};
use crate::commands::data_forms::{HUB_FOLDER, check_spared, extension_of, usual_format, write_form, written_text};
use crate::error::CliError;
use crate::output::Output;
use crate::{measures, system, wiring};

pub(crate) fn run(args: &RecipeArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        RecipeCommand::Check { file } => check(file, output),
        RecipeCommand::Diff { before, after } => diff(before, after, output),
        RecipeCommand::History { file, workspace } => history(file, &workspace.workspace, output),
        RecipeCommand::Operators => operators(output),
        RecipeCommand::Schema => output.line(recipe_schema().trim_end()),
        RecipeCommand::Run(args) => run_file(args, output),
    }
}

fn check(file: &Path, output: &mut Output) -> Result<(), CliError> {
    let recipe = RecipeFile::read(file)?;
    let (hash, canonical) = (recipe.hash()?, recipe.to_toml()?);
    let curves: Vec<_> = recipe.operators.iter().filter_map(curve_of).collect();
    let value = json!({ "hash": hash, "recipe": recipe, "near_dedup": curves });
    output.result(&value, || {
        let curves: String = curves.iter().map(curve_text).collect();
        format!("# {hash}\n{curves}{canonical}")
    })
}

/// How a step that looks for near-duplicates compares.
fn curve_of(operator: &Operator) -> Option<NearDedupCurve> {
    match operator {
        Operator::NearDedup { threshold, .. } | Operator::DecontaminateNear { threshold, .. } => {
            Some(near_dedup_curve(*threshold))
        }
        _ => None,
    }
}

fn curve_text(curve: &NearDedupCurve) -> String {
    let chances: Vec<String> =
        curve.chances.iter().map(|(similarity, chance)| format!("{similarity}: {chance:.3}")).collect();
    format!(
        "# near duplicates: {} bands of {} values; chance that a pair is compared, by similarity: {}\n",
        curve.bands,
        curve.rows,
        chances.join(", ")
    )
}

fn diff(before: &Path, after: &Path, output: &mut Output) -> Result<(), CliError> {
    let changes = diff_recipes(&RecipeFile::read(before)?, &RecipeFile::read(after)?)?;
    output.result(&changes, || {
        if changes.is_empty() {
            return "the recipes say the same".to_owned();
        }
        changes.iter().map(change_text).collect::<Vec<_>>().join("\n")
    })
}

fn history(file: &Path, workspace: &Path, output: &mut Output) -> Result<(), CliError> {
    let name = if file.is_file() { RecipeFile::read(file)?.name } else { file.to_string_lossy().into_owned() };
    let versions = recipe_history(workspace, &name)?;
    output.result(&versions, || {
        if versions.is_empty() {
            return format!("{} holds no run of a recipe named {name:?}", workspace.display());
        }
        versions.iter().map(version_text).collect()
    })
}

fn version_text(version: &RecipeVersion) -> String {
    let [num_train, num_dev, num_test] = version.rows;
    let mut text = format!(
        "{} {} runs: {}, rows: {num_train} training, {num_dev} dev, {num_test} test\n",
        version.hash.short(),
        version.at.to_utc_text(),
        version.runs
    );
    for change in &version.changes {
        writeln!(text, "    {}", change_text(change)).expect("writing to a string cannot fail");
    }
    text
}

fn change_text(change: &RecipeChange) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("~ {}: {before} → {after}", change.setting),
        (Some(before), None) => format!("- {}: {before}", change.setting),
        (None, after) => format!("+ {}: {}", change.setting, after.as_deref().unwrap_or_default()),
    }
}

fn operators(output: &mut Output) -> Result<(), CliError> {
    let docs = operator_docs();
    output.result(&docs, || {
        let mut text = String::new();
        for operator in &docs {
            writeln!(text, "{}\n    {}", operator.name, operator.doc).expect("writing to a string cannot fail");
            for parameter in &operator.parameters {
                let default = parameter
                    .default
                    .as_ref()
                    .map_or_else(|| "required".to_owned(), |value| format!("default {value}"));
                writeln!(text, "    {} ({default}): {}", parameter.name, parameter.doc)
                    .expect("writing to a string cannot fail");
            }
        }
        text
    })
}

/// A line of the file of losses.
#[derive(Deserialize)]
struct Loss {
    id: String,
    loss: f64,
}

fn run_file(args: &RecipeRunArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let recipe = RecipeFile::read(&args.file)?;
    if let Some(out) = &args.out {
        check_outputs(args, out, &recipe)?;
    }
    let losses: Option<BTreeMap<String, f64>> = match &args.losses {
        Some(path) => {
            let lines: Vec<Loss> = trex_fs::read_lines(path)?;
            Some(lines.into_iter().map(|line| (line.id, line.loss)).collect())
        }
        None => None,
    };
    let chat = args.model.as_deref().map(chat_model).transpose()?;
    let count = chat.as_ref().map(|chat| move |row: &Example| num_tokens(chat, row));
    let workspace = &args.workspace.workspace;
    let asks = |asked: fn(&Operator) -> bool| recipe.operators.iter().any(asked);
    let embedder = if asks(Operator::needs_embeddings) { measures::find_embedder()? } else { None };
    let embedder = embedder.map(|facts| measures::embedder(&facts, workspace)).transpose()?;
    let measured = args.model.as_deref().filter(|_| asks(Operator::needs_losses) && losses.is_none());
    let meter = match measured {
        Some(name) => Some(measures::loss_meter(&wiring::find_model(name)?, workspace)?),
        None => None,
    };
    let writer = args.writer.as_ref().or(args.model.as_ref()).filter(|_| asks(Operator::needs_writer));
    let writer = writer.map(|name| measures::writer(name, workspace)).transpose()?;
    let aids = Aids {
        losses: losses.as_ref(),
        loss_meter: meter.as_ref().map(|meter| -> &dyn LossMeter { meter }),
        embedder: embedder.as_ref().map(|embedder| -> &dyn Embedder { embedder }),
        writer: writer.as_deref(),
        num_tokens: count.as_ref().map(|count| -> &(dyn Fn(&Example) -> usize + Sync) { count }),
    };
    let aids_name = aids_name(args)?;
    let base = base_of(&args.file);
    let request = RecipeRequest { recipe: &recipe, base, workspace, aids, aids_name: &aids_name };
    let is_json = output.is_json();
    let mut progress = |state: &RecipeProgress| {
        if is_json {
            output.line(&json!({ "type": "progress", "state": state }).to_string()).ok();
        }
        told(&format!("{}: {} rows read, {} there", state.stage, state.rows_read, state.rows_kept))
    };
    let (outcome, is_cached) = run_recipe_file(&request, &mut progress)?;
    told_all();
    record_recipe_run(workspace, &recipe, &outcome, system::SystemClock.now())?;
    let written = args.out.as_deref().map(|out| write(args, out, &recipe, &outcome)).transpose()?;
    let value = json!({ "type": "done", "cached": is_cached, "outcome": outcome, "written": written });
    output.result(&value, || {
        let mut text = outcome_text(&outcome, is_cached);
        text.push_str(&written.as_ref().map(written_text).unwrap_or_default());
        text
    })
}

/// What decides the result beside recipe and data: the losses by content, the tokenizer by name.
fn aids_name(args: &RecipeRunArgs) -> Result<String, CliError> {
    let losses = match &args.losses {
        Some(path) => ContentHash::of_bytes(&trex_fs::read(path)?).to_string(),
        None => String::new(),
    };
    let model = match &args.model {
        Some(name) => wiring::find_model(name)?.hash.to_string(),
        None => String::new(),
    };
    Ok(format!("{losses}/{model}"))
}

fn write(
    args: &RecipeRunArgs,
    out: &Path,
    recipe: &RecipeFile,
    outcome: &RecipeOutcome,
) -> Result<serde_json::Value, CliError> {
    let service = DataService::new(&args.workspace.workspace);
    let [num_train, num_dev, num_test] = outcome.rows;
    let rows = |name: ContentHash, len: usize| BlobRows { blobs: service.blobs().clone(), name, len };
    let (train, dev, test) = (rows(outcome.train, num_train), rows(outcome.dev, num_dev), rows(outcome.test, num_test));
    let profile = profile_rows(&recipe.name, &TableFacts::of_generated(num_train), &train)?;
    let canonical = recipe.to_toml()?;
    let folder = HfFolder {
        name: &recipe.name,
        train: &train,
        dev: &dev,
        test: &test,
        profile: &profile,
        outcome: Some(outcome),
        recipe: Some(&canonical),
        license: args.license.as_deref().or_else(|| recipe.license()),
    };
    let schema = schema_of(recipe, outcome);
    let format = args.format.as_deref().unwrap_or_else(|| usual_format(schema));
    if format == HUB_FOLDER {
        return write_form(out, format, schema, &folder);
    }
    let outcome_file = out.join("outcome.json");
    let is_ours = outcome_file.is_file();
    let written = write_form(&file_of("train", format, out), format, schema, &folder)?;
    for (split, rows) in [("dev", &dev), ("test", &test)] {
        let file = file_of(split, format, out);
        if !rows.is_empty() {
            write_form(&file, format, schema, &HfFolder { train: rows, ..folder })?;
        } else if is_ours {
            // It was written by an earlier run into this folder and belongs to no row of this one.
            trex_fs::remove_file(&file)?;
        }
    }
    trex_fs::write_json(&outcome_file, outcome)?;
    Ok(written)
}

fn file_of(split: &str, format: &str, out: &Path) -> PathBuf {
    out.join(format!("{split}.{}", extension_of(format)))
}

/// Refuses, before anything is done, to replace what the recipe reads.
fn check_outputs(args: &RecipeRunArgs, out: &Path, recipe: &RecipeFile) -> Result<(), CliError> {
    let paths = recipe.sources.iter().map(|source| &source.path).chain(&recipe.evaluation);
    let read: Vec<PathBuf> = paths.map(|path| base_of(&args.file).join(path)).collect();
    // Without a form it is one of JSON lines, whatever the rows are.
    let format = args.format.as_deref().unwrap_or_default();
    if format == HUB_FOLDER {
        return check_spared(out, format, &read);
    }
    ["train", "dev", "test"].iter().try_for_each(|split| check_spared(&file_of(split, format, out), format, &read))
}

/// Paths of a recipe are relative to its folder.
fn base_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the rows of a result are: pairs where a source has pairs or a step makes some.
fn schema_of<'o>(recipe: &RecipeFile, outcome: &'o RecipeOutcome) -> &'o str {
    let makes_pairs = |step: &Operator| matches!(step, Operator::PreferencePairs | Operator::RejectedSynthesis { .. });
    if recipe.operators.iter().any(makes_pairs) {
        return SchemaKind::Preference.as_str();
    }
    outcome.sources.first().map_or("", |source| source.schema.as_str())
}

fn outcome_text(outcome: &RecipeOutcome, is_cached: bool) -> String {
    let mut text = String::new();
    let [num_train, num_dev, num_test] = outcome.rows;
    let how = if is_cached { "found in the workspace" } else { "made" };
    writeln!(text, "{how}: {num_train} training rows, {num_dev} dev, {num_test} test")
        .expect("writing to a string cannot fail");
    for source in &outcome.sources {
        let rows = source.rows;
        writeln!(
            text,
            "source {}: {} ({}), licence {}: {} in, {} kept, {} quarantined, {} filtered",
            source.name,
            source.format,
            source.schema,
            source.license.as_deref().unwrap_or(trex_domain::UNKNOWN_LICENCE),
            rows.input,
            rows.kept,
            rows.quarantined,
            source.filtered
        )
        .expect("writing to a string cannot fail");
    }
    for (at, step) in outcome.ledger.steps.iter().enumerate() {
        writeln!(text, "{:>3}. {}: {} → {}", at + 1, step.operator, step.rows_in, step.rows_out)
            .expect("writing to a string cannot fail");
        if step.changed + step.added > 0 {
            writeln!(text, "       {} changed, {} added", step.changed, step.added)
                .expect("writing to a string cannot fail");
        }
        for (reason, count) in &step.dropped {
            writeln!(text, "       {count} dropped: {reason}").expect("writing to a string cannot fail");
        }
        if step.written > 0 {
            let num_taken = step.written - step.rejected.values().sum::<usize>();
            writeln!(text, "       {} texts written, {num_taken} taken", step.written)
                .expect("writing to a string cannot fail");
        }
        for (reason, count) in &step.rejected {
            writeln!(text, "       {count} not taken: {reason}").expect("writing to a string cannot fail");
        }
    }
    for trace in &outcome.traces {
        if let Some(skipped) = &trace.skipped {
            writeln!(text, "note: {} did nothing: {skipped}", trace.operator).expect("writing to a string cannot fail");
        }
    }
    let checked = if outcome.is_decontaminated { "compared" } else { "NOT compared" };
    writeln!(text, "{checked} with evaluation items; {} training rows equal one", outcome.leaked)
        .expect("writing to a string cannot fail");
    text
}
