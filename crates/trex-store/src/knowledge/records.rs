//! What goes from lab to lab: lessons and, where asked for, documents. Out as records, in as a merge that adds what is new
//! and changes nothing that is there.

use serde::{Deserialize, Serialize};
use trex_domain::{Document, Lesson, Millis, Passage};

use super::{AddedDocument, KnowledgeBase, from_json};
use crate::StoreError;

/// A lesson with the lab that it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabLesson {
    /// Where it was learned.
    pub lab: String,
    /// What was learned.
    pub lesson: Lesson,
}

/// A document with the lab that added it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabDocument {
    /// Where it was added.
    pub lab: String,
    /// The document.
    pub document: Document,
    /// Its passages, in order.
    pub passages: Vec<Passage>,
}

/// Everything that may leave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnowledgeRecords {
    /// Lessons of runs that ended, by run.
    pub lessons: Vec<LabLesson>,
    /// Documents, by hash.
    pub documents: Vec<LabDocument>,
}

/// What a merge added, and what was there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Runs that are new.
    pub lessons_added: usize,
    /// Runs that were known.
    pub lessons_known: usize,
    /// Documents that are new.
    pub documents_added: usize,
    /// Documents that were known.
    pub documents_known: usize,
    /// Comparisons that are new.
    pub evidence_added: usize,
}

impl KnowledgeBase {
    /// What may leave: lessons of runs that ended, and documents where `with_documents` says so.
    pub fn records(&self, with_documents: bool) -> Result<KnowledgeRecords, StoreError> {
        let lessons = self.ended_lessons()?;
        let mut documents = Vec::new();
        if with_documents {
            for entry in self.documents()? {
                let passages = self.passages_of(&entry.document.hash)?;
                documents.push(LabDocument { lab: entry.lab, document: entry.document, passages });
            }
            documents.sort_by_key(|one| one.document.hash);
        }
        Ok(KnowledgeRecords { lessons, documents })
    }

    fn ended_lessons(&self) -> Result<Vec<LabLesson>, StoreError> {
        let sqlite = self.sqlite("read lessons");
        let connection = self.connection();
        let sql = "SELECT lab, body FROM lessons WHERE ended = 1 ORDER BY run";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let rows: Vec<_> = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        let lesson = |(lab, body): (String, String)| Ok(LabLesson { lab, lesson: from_json(&self.path, &body)? });
        rows.into_iter().map(lesson).collect()
    }

    /// Adds what is new, in one transaction. A run, a comparison or a document that is known stays as it is.
    pub fn merge(&self, records: &KnowledgeRecords, now: Millis) -> Result<Merged, StoreError> {
        let sqlite = self.sqlite("import");
        self.write("import", |tx| {
            let count = || -> Result<usize, StoreError> {
                let rows: i64 = tx.query_row("SELECT count(*) FROM evidence", [], |row| row.get(0)).map_err(&sqlite)?;
                Ok(super::number(rows))
            };
            let before = count()?;
            let mut merged = Merged::default();
            for LabLesson { lab, lesson } in &records.lessons {
                let sql = "SELECT EXISTS (SELECT 1 FROM lessons WHERE run = ?1)";
                let known: bool = tx.query_row(sql, [lesson.run.to_string()], |row| row.get(0)).map_err(&sqlite)?;
                if known {
                    merged.lessons_known += 1;
                    continue;
                }
                self.keep_lesson(tx, lesson, lab)?;
                merged.lessons_added += 1;
            }
            for LabDocument { lab, document, passages } in &records.documents {
                match self.keep_document(tx, document, passages, lab, now)? {
                    AddedDocument::Added => merged.documents_added += 1,
                    AddedDocument::Known => merged.documents_known += 1,
                }
            }
            merged.evidence_added = count()? - before;
            Ok(merged)
        })
    }
}
