//! `trex net`: what left this machine or wanted to, and what public sources have for some words.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use trex_data::RecipeFile;
use trex_domain::Clock as _;
use trex_research::{
    DatasetRequest, FetchedDataset, FoundPaper, FoundRepo, HubKind, NetAttempt, NetLog, download_dataset, find_papers,
    find_repos,
};

use crate::args::net::{FetchArgs, FindArgs, NetArgs, NetCommand};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::system::SystemClock;
use crate::{researcher, wiring};

pub(crate) fn run(args: &NetArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        NetCommand::Log { last } => log(*last, output),
        NetCommand::Papers(find) => papers(find, output),
        NetCommand::Datasets(find) => repos(find, HubKind::Dataset, output),
        NetCommand::Models(find) => repos(find, HubKind::Model, output),
        NetCommand::Fetch(args) => fetch(args, output),
    }
}

/// Fetches a data set and writes the recipe by which its rows come in: with their licence, compared with evaluation items.
fn fetch(args: &FetchArgs, output: &mut Output) -> Result<(), CliError> {
    if args.out.exists() {
        return Err(CommandError::OutputExists { path: args.out.clone() }.into());
    }
    let max_bytes = args.max_mib.saturating_mul(1 << 20);
    let request = DatasetRequest {
        repo_id: &args.dataset,
        revision: args.revision.as_deref(),
        only: args.only.as_deref(),
        max_bytes,
    };
    let found = download_dataset(&researcher::net_gate()?, request)?;
    let recipe = decontaminating_recipe(&found, &args.evaluation)?;
    trex_fs::write_atomic(&args.out, recipe.to_toml()?.as_bytes())?;
    let licence = found.licence.as_deref().unwrap_or(trex_domain::UNKNOWN_LICENCE);
    output.result(&serde_json::json!({"dataset": found, "recipe": args.out}), || {
        let mut lines = vec![format!(
            "{} at {}: {} files, {} bytes, licence {licence}{}",
            found.id,
            found.commit,
            found.files.len(),
            found.bytes,
            if found.gated { ", gated" } else { "" }
        )];
        lines
            .push(format!("recipe written to {}; its rows are compared with the evaluation items", args.out.display()));
        lines.push(format!("next: trex recipe run {} --out FOLDER", args.out.display()));
        lines.push(match &found.licence {
            Some(licence) => format!("in a task file that trains on them: license = \"{licence}\" in [data]"),
            None => "its card names no licence: ask its owner before you train on it".to_owned(),
        });
        lines.join("\n")
    })
}

/// Every file is a source with the licence of the card; rows like an evaluation item are left out, equal ones once.
fn decontaminating_recipe(found: &FetchedDataset, evaluation: &[PathBuf]) -> Result<RecipeFile, CliError> {
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(CommandError::Input);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!("name = {}\n", quoted(&found.id.replace('/', "-")));
    let items: Result<Vec<String>, CommandError> =
        evaluation.iter().map(|path| Ok(quoted(&absolute(path)?.display().to_string()))).collect();
    writeln!(text, "evaluation = [{}]", items?.join(", ")).ok();
    for path in &found.files {
        writeln!(text, "\n[[sources]]\npath = {}", quoted(&path.display().to_string())).ok();
        if let Some(licence) = &found.licence {
            writeln!(text, "license = {}", quoted(licence)).ok();
        }
    }
    for step in ["exact_dedup", "decontaminate", "decontaminate_near"] {
        writeln!(text, "\n[[operators]]\nop = {}", quoted(step)).ok();
    }
    Ok(RecipeFile::parse(&text, Path::new("fetched recipe"))?)
}

fn log(last: Option<usize>, output: &mut Output) -> Result<(), CliError> {
    let mut attempts = NetLog::read(&researcher::net_log_path()?)?;
    let skip = last.map_or(0, |last| attempts.len().saturating_sub(last));
    attempts.drain(..skip);
    output.result(&attempts, || {
        let line = |one: &NetAttempt| {
            let at = one.at.map(trex_domain::Millis::to_utc_text).unwrap_or_default();
            let what =
                one.refused.as_ref().map_or_else(|| "let through".to_owned(), |code| format!("refused [{code}]"));
            format!("{at}  {what:<28}{}  {}", one.url, one.what)
        };
        let lines: Vec<String> = attempts.iter().map(line).collect();
        if lines.is_empty() { "nothing has tried to leave this machine".to_owned() } else { lines.join("\n") }
    })
}

fn papers(find: &FindArgs, output: &mut Output) -> Result<(), CliError> {
    let found = find_papers(&researcher::net_gate()?, &find.words.join(" "), find.limit)?;
    let added = if find.add { add_papers(&found)? } else { 0 };
    output.result(&serde_json::json!({"papers": found, "added": added}), || {
        let line = |one: &FoundPaper| {
            let licence = one.licence.as_deref().unwrap_or("licence not told");
            format!("{}  {}  {}\n    {}", one.id, one.published, licence, one.title)
        };
        let mut lines: Vec<String> = found.iter().map(line).collect();
        if find.add {
            lines.push(format!("{added} abstracts added to the library"));
        }
        if lines.is_empty() { "nothing was found".to_owned() } else { lines.join("\n") }
    })
}

/// Abstracts become documents of the library, so they are cited like everything else.
fn add_papers(found: &[FoundPaper]) -> Result<usize, CliError> {
    let Some(base) = wiring::knowledge()? else { return Err(CommandError::KnowledgeOff.into()) };
    let mut added = 0;
    for paper in found {
        let (document, passages) = paper.document()?;
        let what = base.add_document(&document, &passages, SystemClock.now())?;
        added += usize::from(what == trex_store::AddedDocument::Added);
    }
    Ok(added)
}

fn repos(find: &FindArgs, kind: HubKind, output: &mut Output) -> Result<(), CliError> {
    let found = find_repos(&researcher::net_gate()?, kind, &find.words.join(" "), find.limit)?;
    output.result(&found, || {
        let line = |one: &FoundRepo| {
            let licence = one.licence.as_deref().unwrap_or("licence not told");
            let gated = if one.gated { "  gated: its terms have to be accepted" } else { "" };
            let size = one.size.as_ref().map(|size| format!("  {size}")).unwrap_or_default();
            format!("{}  {licence}{size}  {} downloads{gated}", one.id, one.downloads)
        };
        let lines: Vec<String> = found.iter().map(line).collect();
        if lines.is_empty() { "nothing was found".to_owned() } else { lines.join("\n") }
    })
}
