//! `trex kb`: the knowledge base of this machine, from documents in to bundles out.

mod bundle;
mod shown;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trex_domain::{Clock as _, ContentHash, Knowledge as _, Lesson, Memory as _, PassageId, Problem as _};
use trex_library::{find_documents, read_document};
use trex_store::{AddedDocument, KnowledgeBase, Workspace};

use crate::args::kb::{KbArgs, KbCommand};
use crate::commands::data::{told, told_all};
use crate::commands::data_rows::no_embedder;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::system::{self, SystemClock};
use crate::wiring;

pub(crate) fn run(args: &KbArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        KbCommand::Key { file } => return bundle::key(file, output),
        KbCommand::Import { file, preview: true, trust } => return bundle::look_into(file, trust.as_deref(), output),
        _ => {}
    }
    let Some(base) = wiring::knowledge()? else { return Err(CommandError::KnowledgeOff.into()) };
    match &args.command {
        KbCommand::Add { paths } => add(&base, paths, output),
        KbCommand::Search { words, limit } => search(&base, &words.join(" "), *limit, output),
        KbCommand::Show { id } => show(&base, id, output),
        KbCommand::List => list(&base, output),
        KbCommand::Remove { id } => remove(&base, id, output),
        KbCommand::Graph { from, depth, dot } => graph(&base, from.as_deref(), *depth, *dot, output),
        KbCommand::Learn { workspace } => learn(&base, workspace, output),
        KbCommand::Export { file, with_documents, preview, sign } => {
            let plan = bundle::Plan { with_documents: *with_documents, preview: *preview, key: sign.as_deref() };
            bundle::export(&base, file, &plan, output)
        }
        KbCommand::Import { file, trust, .. } => bundle::import(&base, file, trust.as_deref(), output),
        KbCommand::Key { .. } => Ok(()),
    }
}

/// Adds what can be read; what cannot is told, and the rest goes on. Fails where nothing could be read.
fn add(base: &KnowledgeBase, paths: &[PathBuf], output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let mut files = Vec::new();
    for path in paths {
        files.extend(find_documents(path)?);
    }
    let mut lines = Vec::new();
    let mut added = Vec::new();
    let mut failed = Vec::new();
    for (done, file) in files.iter().enumerate() {
        if !told(&format!("{done} of {} documents read", files.len())) {
            return Err(trex_data::DataError::Cancelled.into());
        }
        let read = match read_document(file) {
            Ok(read) => read,
            Err(err) if files.len() == 1 => return Err(err.into()),
            Err(err) => {
                lines.push(format!("not read: {err}"));
                failed.push(json!({ "file": file, "code": err.code(), "message": err.to_string() }));
                continue;
            }
        };
        let is_new = base.add_document(&read.document, &read.passages, SystemClock.now())? == AddedDocument::Added;
        let what = if is_new { "added" } else { "known" };
        let (hash, num_passages) = (read.document.hash, read.passages.len());
        lines.push(format!("{what} {}: {}, {num_passages} passages", hash.short(), read.document.title));
        added.push(json!({ "document": read.document, "passages": num_passages, "new": is_new }));
    }
    told_all();
    let embedded = embed(base)?;
    if !base.has_embedder() {
        lines.push(format!("note: {}; passages are found by their words only", no_embedder()));
    }
    let value = json!({ "documents": added, "failed": failed, "embedded": embedded });
    output.result(&value, || lines.join("\n"))
}

/// Makes the vectors that are missing.
fn embed(base: &KnowledgeBase) -> Result<usize, CliError> {
    let mut progress = |done: usize, all: usize| told(&format!("{done} of {all} passages compared by meaning"));
    let made = base.embed_passages(&mut progress).map_err(CliError::of_port)?;
    told_all();
    Ok(made)
}

fn search(base: &KnowledgeBase, question: &str, limit: usize, output: &mut Output) -> Result<(), CliError> {
    embed(base)?;
    let passages = base.passages(question, limit).map_err(CliError::of_port)?;
    let insights = shown::fitting_insights(&base.all_insights()?, question, limit);
    let by = if base.has_embedder() { "words and meaning" } else { "words" };
    let value = json!({ "by": by, "passages": passages, "insights": insights });
    output.result(&value, || {
        let mut text = shown::passages(&passages, &insights);
        if !base.has_embedder() {
            writeln!(text, "note: {}; passages are found by their words only", no_embedder())
                .expect("writing to a string cannot fail");
        }
        text
    })
}

fn show(base: &KnowledgeBase, id: &str, output: &mut Output) -> Result<(), CliError> {
    if let Ok(passage) = id.parse::<PassageId>()
        && let Some(entry) = base.passage(&passage)?
    {
        return output.result(&entry, || shown::passage(&entry));
    }
    if let Some(entry) = only(base.documents()?, |entry| entry.document.hash, id) {
        let passages = base.passages_of(&entry.document.hash)?;
        let value = json!({ "document": entry, "passages": passages });
        return output.result(&value, || shown::document(&entry, &passages));
    }
    if let Some(detail) = base.insight(id)? {
        return output.result(&detail, || shown::insight(&detail));
    }
    if let Some((key, lab, features)) = only(base.known_tasks()?, |(key, ..)| *key, id) {
        let experiments = base.experiments_of(&key)?;
        let value = json!({ "key": key, "lab": lab, "features": features, "experiments": experiments });
        return output.result(&value, || shown::task(&key, &lab, &features, &experiments));
    }
    Err(CommandError::UnknownKnowledge { id: id.to_owned() }.into())
}

/// The one whose hash begins so; none where several do.
fn only<T>(all: Vec<T>, hash: impl Fn(&T) -> ContentHash, prefix: &str) -> Option<T> {
    let mut fitting = all.into_iter().filter(|one| hash(one).to_string().starts_with(prefix));
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

fn list(base: &KnowledgeBase, output: &mut Output) -> Result<(), CliError> {
    let (documents, tasks, insights) = (base.documents()?, base.known_tasks()?, base.all_insights()?);
    let listed: Vec<_> =
        tasks.iter().map(|(key, lab, features)| json!({ "key": key, "lab": lab, "features": features })).collect();
    let value = json!({
        "path": base.path(), "lab": base.lab(), "documents": documents, "tasks": listed, "insights": insights,
    });
    output.result(&value, || shown::list(base.path(), base.lab(), &documents, &tasks, &insights))
}

fn remove(base: &KnowledgeBase, id: &str, output: &mut Output) -> Result<(), CliError> {
    let Some(entry) = only(base.documents()?, |entry| entry.document.hash, id) else {
        return Err(CommandError::UnknownKnowledge { id: id.to_owned() }.into());
    };
    base.remove_document(&entry.document.hash)?;
    let line =
        format!("removed {}: {}, {} passages", entry.document.hash.short(), entry.document.title, entry.passages);
    output.result(&json!({ "removed": entry.document.hash }), || line)
}

fn graph(
    base: &KnowledgeBase,
    from: Option<&str>,
    depth: usize,
    dot: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let whole = base.graph()?;
    let graph = match from {
        None => whole,
        Some(from) => {
            whole.around(from, depth).ok_or_else(|| CommandError::UnknownKnowledge { id: from.to_owned() })?
        }
    };
    output.result(&graph, || if dot { graph.to_dot() } else { shown::graph(&graph) })
}

fn learn(base: &KnowledgeBase, workspace: &Path, output: &mut Output) -> Result<(), CliError> {
    let reader = Workspace::open_reader(workspace)?;
    let mut learned = BTreeMap::new();
    for run in reader.runs()? {
        if let Some(lesson) = Lesson::of(&reader.events(run.id, 0)?)? {
            base.learn(&lesson).map_err(CliError::of_port)?;
            learned.insert(run.id.to_string(), (run.name, lesson.experiments.len(), lesson.evidence.len()));
        }
    }
    let lines = learned.iter().map(|(run, (name, experiments, evidence))| {
        format!("{run} {name}: {experiments} experiments, {evidence} comparisons")
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    output.result(&json!({ "runs": learned }), || text)
}
