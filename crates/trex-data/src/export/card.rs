//! The card of a Hugging Face dataset folder: YAML for the Hub, and what a reader must know. Claims no licence.

use std::fmt::Write as _;

use trex_domain::{DataProfile, UNKNOWN_LICENCE};

use super::Rows;
use crate::RecipeOutcome;

/// What a dataset folder is made of.
#[derive(Clone, Copy, Debug)]
pub struct HfFolder<'a> {
    /// Name of the dataset.
    pub name: &'a str,
    /// Training rows.
    pub train: &'a dyn Rows,
    /// Dev rows.
    pub dev: &'a dyn Rows,
    /// Test rows.
    pub test: &'a dyn Rows,
    /// Profile of the training rows.
    pub profile: &'a DataProfile,
    /// How they were made.
    pub outcome: Option<&'a RecipeOutcome>,
    /// The recipe in its canonical form.
    pub recipe: Option<&'a str>,
    /// Licence identifier of the Hub; `unknown` where absent.
    pub license: Option<&'a str>,
}

impl<'a> HfFolder<'a> {
    /// The splits under their names on the Hub.
    pub(super) fn splits(&self) -> [(&'static str, &'a dyn Rows); 3] {
        let [train, dev, test] = SPLITS;
        [(train, self.train), (dev, self.dev), (test, self.test)]
    }
}

/// Splits by their names on the Hub.
pub(super) const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// Where the file of a split lies in the folder.
pub(super) fn file_of(split: &str) -> String {
    format!("data/{split}-00000-of-00001.parquet")
}

/// A language is named that at least one in so many rows have; fewer are mostly mistaken ones.
const FEWEST_OF: usize = 25;

/// Stands in every card, so that one of ours is told from a file that somebody wrote.
pub const CARD_MARK: &str = "Made with TREX.";

/// The whole card.
pub(super) fn card(folder: &HfFolder<'_>) -> String {
    let mut text = yaml(folder);
    writeln!(text, "\n# {}\n\n{CARD_MARK}\n", one_line(folder.name)).ok();
    provenance(folder, &mut text);
    ledger(folder, &mut text);
    personal(folder.profile, &mut text);
    text
}

fn yaml(folder: &HfFolder<'_>) -> String {
    let num_rows: usize = folder.splits().iter().map(|(_, rows)| rows.len()).sum();
    let quoted = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "---\npretty_name: {}\nlicense: {}\n",
        quoted(folder.name),
        quoted(folder.license.unwrap_or("unknown"))
    );
    let told = || folder.profile.languages.iter().filter(|(code, _)| *code != "und");
    let num_told: usize = told().map(|(_, rows)| rows).sum();
    let languages: Vec<&String> =
        told().filter(|(_, rows)| **rows * FEWEST_OF >= num_told).map(|(code, _)| code).collect();
    if !languages.is_empty() {
        text.push_str("language:\n");
        for code in languages {
            writeln!(text, "- {code}").ok();
        }
    }
    let task = if folder.profile.labels.is_empty() { "text-generation" } else { "text-classification" };
    writeln!(text, "task_categories:\n- {task}\nsize_categories:\n- {}\nsource_datasets:\n- original", size(num_rows))
        .ok();
    text.push_str("configs:\n- config_name: default\n  data_files:\n");
    for (split, rows) in folder.splits() {
        if !rows.is_empty() {
            writeln!(text, "  - split: {split}\n    path: {}", file_of(split)).ok();
        }
    }
    text.push_str("---\n");
    text
}

/// The size classes of the Hub.
fn size(num_rows: usize) -> &'static str {
    match num_rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "10M<n<100M",
    }
}

fn provenance(folder: &HfFolder<'_>, text: &mut String) {
    text.push_str("## Provenance\n\n");
    let Some(outcome) = folder.outcome else {
        writeln!(text, "Rows of {}.", one_line(&folder.profile.name)).ok();
        return;
    };
    writeln!(
        text,
        "Recipe `{}`.\n\n| source | licence | content (blake3) | rows in | kept | quarantined |",
        outcome.recipe
    )
    .ok();
    text.push_str("|---|---|---|---:|---:|---:|\n");
    for source in &outcome.sources {
        let content = source.content.map_or_else(String::new, |content| content.to_string());
        let rows = source.rows;
        writeln!(
            text,
            "| {} | {} | `{content}` | {} | {} | {} |",
            cell(&source.name),
            cell(source.license.as_deref().unwrap_or(UNKNOWN_LICENCE)),
            rows.input,
            rows.kept,
            rows.quarantined
        )
        .ok();
    }
    if let Some(recipe) = folder.recipe {
        writeln!(text, "\n```toml\n{}\n```", recipe.trim_end().replace("```", "'''")).ok();
    }
}

fn ledger(folder: &HfFolder<'_>, text: &mut String) {
    let Some(outcome) = folder.outcome else { return };
    text.push_str("\n## Where every training row went\n\n| step | in | out | changed | added | dropped |\n|---|---:|---:|---:|---:|---|\n");
    for step in &outcome.ledger.steps {
        let dropped: Vec<String> = step.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = cell(&dropped.join(", "));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {dropped} |",
            step.operator, step.rows_in, step.rows_out, step.changed, step.added
        )
        .ok();
    }
    let writes = |step: &&trex_domain::OperatorCount| step.written > 0;
    for step in outcome.ledger.steps.iter().filter(writes) {
        let num_taken = step.written - step.rejected.values().sum::<usize>();
        writeln!(
            text,
            "\nOf {} texts that a language model wrote in the step {}, {num_taken} were taken.",
            step.written, step.operator
        )
        .ok();
    }
    for model in &outcome.models {
        writeln!(text, "\nA model was asked: `{}` (what for, and the hash of its content).", one_line(model)).ok();
    }
    let checked = if outcome.is_decontaminated { "was" } else { "was **not**" };
    writeln!(
        text,
        "\nThe training split {checked} compared with evaluation items; {} of its rows equal one.",
        outcome.leaked
    )
    .ok();
}

fn personal(profile: &DataProfile, text: &mut String) {
    text.push_str("\n## Personal and Sensitive Information\n\n");
    if profile.pii.is_empty() {
        text.push_str("No row of the training split looks like it carries personal data.\n");
    } else {
        writeln!(
            text,
            "{} of {} rows of the training split look like they carry personal data:\n",
            profile.pii_rows, profile.rows.kept
        )
        .ok();
        for (kind, count) in &profile.pii {
            writeln!(text, "- {kind}: {count} rows").ok();
        }
    }
    text.push_str("\nLooked for were e-mail addresses, phone, card and account numbers, network addresses, national ids of eight countries, keys and tokens, by their shape and check digits; names and street addresses were not.\n");
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('<', "&lt;")
}
