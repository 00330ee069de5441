//! Bundles of knowledge: what leaves, and what comes in. Records are checked here before they are merged.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trex_domain::{Clock as _, PassageId};
use trex_library::{BundleContent, LibraryError, PublicKey, make_key, read_bundle, read_key, write_bundle};
use trex_store::{KnowledgeBase, KnowledgeRecords, LabDocument, LabLesson, Merged};

use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::system::SystemClock;

const LESSONS: &str = "lessons.jsonl";
const DOCUMENTS: &str = "documents.jsonl";
const INSIGHTS: &str = "insights.jsonl";

/// Characters of a text in a record; the largest that is written is a passage.
const MAX_TEXT: usize = 100_000;

/// How a bundle is written.
pub(super) struct Plan<'a> {
    pub(super) with_documents: bool,
    pub(super) preview: bool,
    pub(super) key: Option<&'a Path>,
}

pub(super) fn key(file: &Path, output: &mut Output) -> Result<(), CliError> {
    let public = make_key(file)?.to_string();
    output.result(&json!({ "file": file, "public_key": public }), || {
        format!("{}: keep it to yourself\npublic key: {public}", file.display())
    })
}

/// Writes what may leave; with `preview` prints the very records instead.
pub(super) fn export(base: &KnowledgeBase, file: &Path, plan: &Plan<'_>, output: &mut Output) -> Result<(), CliError> {
    let records = base.records(plan.with_documents)?;
    let members = members(base, &records)?;
    if plan.preview {
        for (member, values) in &members {
            for value in values {
                output.line(&format!("{member}: {value}"))?;
            }
        }
        let (lessons, documents) = (records.lessons.len(), records.documents.len());
        let summary = format!("{lessons} runs and {documents} documents would leave; nothing was written");
        return output.result(&json!({ "lessons": lessons, "documents": documents, "written": false }), || summary);
    }
    let key = plan.key.map(read_key).transpose()?;
    let manifest = write_bundle(file, base.lab(), SystemClock.now(), &members, key.as_ref())?;
    let counts: Vec<String> =
        manifest.members.iter().map(|one| format!("{} records in {}", one.records, one.name)).collect();
    let signed = key.map_or("not signed".to_owned(), |key| format!("signed by {}", key.public()));
    output.result(&json!({ "file": file, "manifest": manifest }), || {
        format!("{}: {}; {signed}", file.display(), counts.join(", "))
    })
}

fn members(base: &KnowledgeBase, records: &KnowledgeRecords) -> Result<BTreeMap<String, Vec<Value>>, CliError> {
    let mut members = BTreeMap::new();
    members.insert(LESSONS.to_owned(), values(&records.lessons)?);
    // For people to read; whoever imports pools the comparisons of the lessons anew.
    members.insert(INSIGHTS.to_owned(), values(&base.all_insights()?)?);
    if !records.documents.is_empty() {
        members.insert(DOCUMENTS.to_owned(), values(&records.documents)?);
    }
    Ok(members)
}

fn values<T: serde::Serialize>(all: &[T]) -> Result<Vec<Value>, CliError> {
    let value = |one| serde_json::to_value(one).map_err(|err| CommandError::NotJson(err).into());
    all.iter().map(value).collect()
}

/// What is in a bundle, from whom, and whether it could be merged.
pub(super) fn look_into(file: &Path, trust: Option<&str>, output: &mut Output) -> Result<(), CliError> {
    let content = trusted(file, trust)?;
    let records = checked(file, &content)?;
    let mut lines = vec![from(&content)];
    for LabLesson { lab, lesson } in &records.lessons {
        let (task, tried, compared) = (&lesson.task, lesson.experiments.len(), lesson.evidence.len());
        lines.push(format!(
            "run {} of {} ({}), lab {lab}: {tried} experiments, {compared} comparisons",
            lesson.run, task.name, task.model
        ));
    }
    for LabDocument { lab, document, passages } in &records.documents {
        lines.push(format!(
            "document {} {}, lab {lab}: {} passages",
            document.hash.short(),
            document.title,
            passages.len()
        ));
    }
    let value = json!({ "manifest": content.manifest, "signer": content.signer.map(|key| key.to_string()) });
    output.result(&value, || lines.join("\n"))
}

pub(super) fn import(
    base: &KnowledgeBase,
    file: &Path,
    trust: Option<&str>,
    output: &mut Output,
) -> Result<(), CliError> {
    let content = trusted(file, trust)?;
    let records = checked(file, &content)?;
    let merged = base.merge(&records, SystemClock.now())?;
    output.result(&json!({ "lab": content.manifest.lab, "merged": merged }), || {
        let Merged { lessons_added, lessons_known, documents_added, documents_known, evidence_added } = merged;
        format!(
            "{}\nadded {lessons_added} runs with {evidence_added} comparisons and {documents_added} documents; \
             {lessons_known} runs and {documents_known} documents were known and stay as they are",
            from(&content)
        )
    })
}

fn from(content: &BundleContent) -> String {
    let signed = content.signer.map_or("not signed".to_owned(), |key| format!("signed by {key}"));
    format!("bundle of lab {}, {}, {signed}", content.manifest.lab, content.manifest.created.to_utc_text())
}

fn trusted(file: &Path, trust: Option<&str>) -> Result<BundleContent, CliError> {
    let wanted = trust.map(str::parse::<PublicKey>).transpose()?;
    let content = read_bundle(file)?;
    if wanted.is_some() && content.signer != wanted {
        return Err(LibraryError::NotSigned { path: file.to_owned() }.into());
    }
    Ok(content)
}

/// The records, where each is one that this program could have written. Names that are given by content must fit it.
fn checked(file: &Path, content: &BundleContent) -> Result<KnowledgeRecords, CliError> {
    let damaged = |what: String| CliError::from(LibraryError::DamagedBundle { path: file.to_owned(), what });
    let records =
        KnowledgeRecords { lessons: parsed(file, content, LESSONS)?, documents: parsed(file, content, DOCUMENTS)? };
    for LabLesson { lesson, .. } in &records.lessons {
        let task = lesson.task.key()?;
        for one in &lesson.experiments {
            one.config.validate()?;
            let finite = [one.gain, one.select_gain].iter().flatten().all(|gain| gain.is_finite());
            if one.run != lesson.run || !finite || one.config.adapter.is_some() {
                return Err(damaged(format!("{} of run {} contradicts itself", one.variant, lesson.run)));
            }
        }
        for one in &lesson.evidence {
            let effect = one.effect;
            let ordered = effect.ci95[0] <= effect.diff && effect.diff <= effect.ci95[1] && effect.n > 0;
            if one.run != lesson.run || one.task != task || !ordered || one.key.changes.is_empty() {
                return Err(damaged(format!(
                    "a comparison of {} in run {} contradicts itself",
                    one.variant, lesson.run
                )));
            }
        }
    }
    for LabDocument { document, passages, .. } in &records.documents {
        for (number, passage) in passages.iter().enumerate() {
            let name = PassageId::new(&document.hash, number, &passage.text)?;
            if name != passage.id || passage.text.chars().count() > MAX_TEXT {
                return Err(damaged(format!("passage {} is not what its name says", passage.id)));
            }
        }
    }
    Ok(records)
}

fn parsed<T: DeserializeOwned>(file: &Path, content: &BundleContent, member: &str) -> Result<Vec<T>, CliError> {
    let values = content.records.get(member).map(Vec::as_slice).unwrap_or_default();
    let parse = |(index, value): (usize, &Value)| {
        T::deserialize(value).map_err(|source| {
            let (path, member) = (file.to_owned(), member.to_owned());
            LibraryError::BadRecord { path, member, line: index + 1, source }.into()
        })
    };
    values.iter().enumerate().map(parse).collect()
}
