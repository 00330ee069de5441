//! `trex data`: what a source holds, which of its rows are bad, how it is trained on, and its rows in other forms.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use serde_json::json;
use trex_chat::ChatModel;
use trex_data::{
    DataError, ExampleReader, HfFolder, ProfileOptions, SchemaKind, SourceRows, profile_html, profile_source,
    quarantine_csv,
};
use trex_domain::{DataProfile, Example, FieldMap, PromptSpec, QuarantinedRow, RowCounts, RowForm, TrainObjective};

use crate::args::{DataArgs, DataCommand, DataExportArgs, ProfileArgs, QuarantineArgs, ShowArgs, SourceArgs};
use crate::commands::data_forms::{check_spared, usual_format, write_form, written_text};
use crate::commands::{as_trained, data_rows};
use crate::error::CliError;
use crate::output::Output;
use crate::{system, wiring};

pub(crate) fn run(args: &DataArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        DataCommand::Profile(args) => profile(args, output),
        DataCommand::Quarantine(args) => quarantine(args, output),
        DataCommand::Show(args) => show(args, output),
        DataCommand::Search(args) => data_rows::search(args, output),
        DataCommand::Export(args) => export(args, output),
    }
}

/// Which columns hold what, as far as the person says.
pub(crate) fn fields(args: &SourceArgs) -> FieldMap {
    FieldMap {
        input: args.input.clone(),
        answer: args.answer.clone(),
        group: args.group.clone(),
        ..FieldMap::default()
    }
}

/// Says on a terminal how far a long reading is; `false` once the person wants to stop.
pub(crate) fn told(progress: &str) -> bool {
    if io::stderr().is_terminal() {
        eprint!("\r\u{1b}[K{progress}");
    }
    !system::stop_requested()
}

/// Takes the line of [`told`] away.
pub(crate) fn told_all() {
    if io::stderr().is_terminal() {
        eprint!("\r\u{1b}[K");
    }
}

fn profile(args: &ProfileArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let chat = args.model.as_deref().map(chat_model).transpose()?;
    let count = chat.as_ref().map(|chat| move |row: &Example| num_tokens(chat, row));
    let mut progress = |rows: RowCounts| told(&format!("{} rows read", rows.input));
    let options = ProfileOptions {
        fields: fields(&args.source),
        num_tokens: count.as_ref().map(|count| -> &(dyn Fn(&Example) -> usize + Sync) { count }),
        progress: Some(&mut progress),
    };
    let profile = profile_source(&args.source.file, options)?;
    told_all();
    if args.html && !output.is_json() {
        return output.line(profile_html(&profile).trim_end());
    }
    output.result(&profile, || profile_text(&profile))
}

/// The tokenizer and template of a model by name.
pub(crate) fn chat_model(name: &str) -> Result<ChatModel, CliError> {
    Ok(ChatModel::load(&wiring::find_model(name)?.dir)?)
}

/// Tokens of prompt and answer; rows without an answer count their prompt.
pub(crate) fn num_tokens(chat: &ChatModel, row: &Example) -> usize {
    let prompt = row.rendered_prompt(0);
    match chat.encode_example(&prompt, &row.answer, usize::MAX) {
        Ok(encoded) => encoded.prompt.len() + encoded.completion.len(),
        Err(_no_answer) => chat.encode_prompt(&prompt).map_or(0, |ids| ids.len()),
    }
}

fn quarantine(args: &QuarantineArgs, output: &mut Output) -> Result<(), CliError> {
    let mut reader = ExampleReader::guessed(&args.source.file, &fields(&args.source))?;
    let (mut rows, mut num_quarantined, mut num_input) = (Vec::new(), 0, 0);
    while let Some(chunk) = reader.next_chunk()? {
        num_input += chunk.input;
        num_quarantined += chunk.quarantined.len();
        let free = args.limit.saturating_sub(rows.len());
        rows.extend(chunk.quarantined.into_iter().take(free));
    }
    if args.csv && !output.is_json() {
        return output.line(quarantine_csv(&rows).trim_end());
    }
    let value = json!({ "in": num_input, "quarantined": num_quarantined, "rows": rows });
    output.result(&value, || quarantine_text(&rows, num_quarantined, num_input))
}

fn quarantine_text(rows: &[QuarantinedRow], num_quarantined: usize, num_input: usize) -> String {
    let mut text = format!("{num_quarantined} of {num_input} rows are quarantined\n");
    for row in rows {
        let excerpt: String = row.excerpt.chars().take(80).collect();
        let excerpt = excerpt.replace(char::is_control, " ");
        writeln!(text, "{}:{} (byte {}): {}\n    {excerpt}", row.file, row.line, row.byte_offset, row.reason)
            .expect("writing to a string cannot fail");
    }
    text
}

/// What a training on a source minimises unless something else is asked for.
fn usual_objective(args: &ShowArgs) -> Result<TrainObjective, DataError> {
    let reader = ExampleReader::guessed(&args.source.file, &fields(&args.source))?;
    Ok(match reader.schema().kind {
        SchemaKind::Preference => TrainObjective::Dpo,
        SchemaKind::RawText => TrainObjective::Pretrain,
        _ => TrainObjective::Sft,
    })
}

/// The source as it is, or, for raw text, as a task reads it.
fn reader_for(args: &ShowArgs, objective: TrainObjective) -> Result<ExampleReader, DataError> {
    let (file, fields) = (&args.source.file, fields(&args.source));
    if objective.row_form() != RowForm::Text {
        return ExampleReader::guessed(file, &fields);
    }
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    ExampleReader::asked(file, name, &PromptSpec::default(), &fields, RowForm::Text)
}

/// The rows that are wanted of a source.
fn wanted_rows(args: &ShowArgs, mut reader: ExampleReader, count: usize) -> Result<Vec<Example>, DataError> {
    let fits = |row: &Example| {
        args.filter.as_ref().is_none_or(|text| row.prompt_text().contains(text) || row.answer.contains(text))
    };
    let (mut rows, mut skipped) = (Vec::new(), 0);
    while let Some(chunk) = reader.next_chunk()? {
        for row in chunk.examples.into_iter().filter(fits) {
            if skipped < args.skip {
                skipped += 1;
            } else if rows.len() < count {
                rows.push(row);
            }
        }
        if rows.len() == count {
            break;
        }
    }
    Ok(rows)
}

fn show(args: &ShowArgs, output: &mut Output) -> Result<(), CliError> {
    if let Some(page) = args.page {
        return data_rows::page(args, page, output);
    }
    if let Some(count) = args.as_trained {
        let objective = args.objective.map_or_else(|| usual_objective(args), |name| Ok(name.into()))?;
        let rows = wanted_rows(args, reader_for(args, objective)?, count)?;
        let chat = chat_model(&args.model)?;
        let view = as_trained::view(&chat, &rows, objective, args.max_length)?;
        if args.html && !output.is_json() {
            return output.line(as_trained::html(&view).trim_end());
        }
        let has_colour = output.is_terminal();
        return output.result(&view, || as_trained::text(&view, has_colour));
    }
    let reader = ExampleReader::guessed(&args.source.file, &fields(&args.source))?;
    let rows = wanted_rows(args, reader, args.rows)?;
    output.result(&rows, || rows.iter().map(row_text).collect::<Vec<_>>().join("\n"))
}

/// A row as a conversation.
pub(crate) fn row_text(row: &Example) -> String {
    let mut text = format!("── {}\n", row.id);
    for turn in &row.prompt {
        writeln!(text, "{}: {}", turn.role.as_str(), turn.content).expect("writing to a string cannot fail");
    }
    if row.is_text() {
        return harmless(&text);
    }
    writeln!(text, "→ {}", row.answer).expect("writing to a string cannot fail");
    if let Some(rejected) = row.rejected_answer() {
        writeln!(text, "not {rejected}").expect("writing to a string cannot fail");
    }
    harmless(&text)
}

/// Text of data without characters that a terminal takes for commands.
fn harmless(text: &str) -> String {
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn export(args: &DataExportArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let fields = fields(&args.source);
    let mut progress = |rows: RowCounts| told(&format!("{} rows looked at", rows.input));
    let options = ProfileOptions { fields: fields.clone(), progress: Some(&mut progress), num_tokens: None };
    let profile = profile_source(&args.source.file, options)?;
    told_all();
    let counts = profile.rows;
    let rows = SourceRows { path: args.source.file.clone(), fields, len: counts.kept };
    let none: &[Example] = &[];
    let folder = HfFolder {
        name: &profile.name,
        train: &rows,
        dev: &none,
        test: &none,
        profile: &profile,
        outcome: None,
        recipe: None,
        license: args.license.as_deref(),
    };
    let format = args.format.as_deref().unwrap_or_else(|| usual_format(&profile.schema));
    check_spared(&args.out, format, std::slice::from_ref(&args.source.file))?;
    let written = write_form(&args.out, format, &profile.schema, &folder)?;
    let value = json!({ "rows": counts, "written": written });
    output.result(&value, || {
        format!("{} rows written, {} quarantined\n{}", counts.kept, counts.quarantined, written_text(&written))
    })
}

fn profile_text(profile: &DataProfile) -> String {
    let rows = profile.rows;
    let mut text = format!(
        "{}\nformat: {} ({})\nschema: {}\nrows: {} in, {} kept, {} quarantined\n",
        profile.name, profile.format, profile.format_reason, profile.schema, rows.input, rows.kept, rows.quarantined
    );
    if profile.schema.starts_with("unknown") {
        text.push_str("hint: say in a task file, under [data.fields], which columns are input and answer\n");
    }
    let about = if profile.duplicates_estimated { "about " } else { "" };
    let counts = [
        ("exact duplicates", about, profile.exact_duplicates),
        ("near duplicates", "", profile.near_duplicates),
        ("rows whose prompt has another answer elsewhere", about, profile.conflicting_answers),
        ("empty", "", profile.empty),
        ("rows that look personal", "", profile.pii_rows),
    ];
    for (what, about, count) in counts {
        writeln!(text, "{what}: {about}{count}").expect("writing to a string cannot fail");
    }
    if profile.near_duplicates_among < rows.kept {
        writeln!(text, "  near duplicates were looked for among the first {} rows", profile.near_duplicates_among)
            .expect("writing to a string cannot fail");
    }
    let named = [("personal", &profile.pii), ("language", &profile.languages), ("label", &profile.labels)];
    for (what, counts) in named {
        for (name, count) in counts {
            writeln!(text, "  {what} {name:?}: {count}").expect("writing to a string cannot fail");
        }
    }
    for (unit, buckets) in [("characters", &profile.lengths), ("tokens", &profile.token_lengths)] {
        for bucket in buckets {
            writeln!(text, "  {}–{} {unit}: {} rows", bucket.from, bucket.to - 1, bucket.rows)
                .expect("writing to a string cannot fail");
        }
    }
    for row in &profile.quarantine_sample {
        writeln!(text, "  quarantined {}:{} (byte {}): {}", row.file, row.line, row.byte_offset, row.reason)
            .expect("writing to a string cannot fail");
    }
    for sample in &profile.samples {
        writeln!(text, "  e.g. {sample}").expect("writing to a string cannot fail");
    }
    harmless(&text)
}
