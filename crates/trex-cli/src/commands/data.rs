//! `trex data profile`: what a file holds.

use std::fmt::Write as _;

use trex_domain::DataProfile;

use crate::args::{DataArgs, DataCommand};
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn run(args: &DataArgs, output: &mut Output) -> Result<(), CliError> {
    let DataCommand::Profile { file } = &args.command;
    let profile = trex_data::profile_file(file)?;
    output.result(&profile, || profile_text(&profile))
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
    let counts = [
        ("exact duplicates", profile.exact_duplicates),
        ("near duplicates", profile.near_duplicates),
        ("rows whose prompt has another answer elsewhere", profile.conflicting_answers),
        ("empty", profile.empty),
        ("rows that look personal", profile.pii_rows),
    ];
    for (what, count) in counts {
        writeln!(text, "{what}: {count}").expect("writing to a string cannot fail");
    }
    for (label, count) in &profile.labels {
        writeln!(text, "  label {label:?}: {count}").expect("writing to a string cannot fail");
    }
    for bucket in &profile.lengths {
        writeln!(text, "  {}–{} characters: {} rows", bucket.from, bucket.to - 1, bucket.rows)
            .expect("writing to a string cannot fail");
    }
    for row in &profile.quarantine_sample {
        writeln!(text, "  quarantined {}:{} (byte {}): {}", row.file, row.line, row.byte_offset, row.reason)
            .expect("writing to a string cannot fail");
    }
    for sample in &profile.samples {
        writeln!(text, "  e.g. {sample}").expect("writing to a string cannot fail");
    }
    text
}
