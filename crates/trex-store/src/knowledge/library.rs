//! Documents and their passages: added, listed, shown, removed. Reads no file; that is done before.

use rusqlite::OptionalExtension as _;
use serde::Serialize;
use trex_domain::{ContentHash, Document, DocumentKind, KnowledgeError, Millis, Passage, PassageId, Place, Vectors};

use super::search::passage_of;
use super::{KnowledgeBase, column, number, problem, vectors};
use crate::StoreError;

/// Passages whose vectors are asked for at once.
const CHUNK: usize = 512;

/// A document of the library as a listing shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentEntry {
    /// The document.
    #[serde(flatten)]
    pub document: Document,
    /// Its passages.
    pub passages: usize,
    /// Where it was added.
    pub lab: String,
    /// When.
    pub added: Millis,
}

/// A passage with its document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassageEntry {
    /// The passage.
    #[serde(flatten)]
    pub passage: Passage,
    /// Its document.
    pub document: Document,
    /// Its number within the document, from 1.
    pub number: usize,
    /// Passages of the document.
    pub of: usize,
}

/// What adding a document did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedDocument {
    /// It is there now.
    Added,
    /// It was there already.
    Known,
}

const DOCUMENT: &str = "SELECT hash, title, kind, file, bytes, lab, added_ms,
    (SELECT count(*) FROM passages WHERE document = documents.id) FROM documents";

impl KnowledgeBase {
    /// Adds a document with its passages; one with the same content is left as it is.
    pub fn add_document(
        &self,
        document: &Document,
        passages: &[Passage],
        now: Millis,
    ) -> Result<AddedDocument, StoreError> {
        self.write("add a document", |tx| self.keep_document(tx, document, passages, &self.lab, now))
    }

    pub(super) fn keep_document(
        &self,
        tx: &rusqlite::Transaction<'_>,
        document: &Document,
        passages: &[Passage],
        lab: &str,
        now: Millis,
    ) -> Result<AddedDocument, StoreError> {
        let sqlite = self.sqlite("add a document");
        let Document { hash, title, kind, file, bytes } = document;
        let added = tx.execute(
            "INSERT OR IGNORE INTO documents (hash, title, kind, file, bytes, lab, added_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (hash.to_string(), title, kind.as_str(), file, bytes.cast_signed(), lab, now.0),
        );
        if added.map_err(&sqlite)? == 0 {
            return Ok(AddedDocument::Known);
        }
        let id = tx.last_insert_rowid();
        let mut statement = tx
            .prepare_cached(
                "INSERT OR IGNORE INTO passages (name, document, seq, page, offset, heading, text)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .map_err(&sqlite)?;
        for (seq, passage) in passages.iter().enumerate() {
            let Place { page, heading, offset } = &passage.place;
            let row = (passage.id.as_str(), id, column(seq), page.map(column), column(*offset), heading, &passage.text);
            statement.execute(row).map_err(&sqlite)?;
        }
        Ok(AddedDocument::Added)
    }

    /// Makes the vectors that passages do not have yet, and returns how many; 0 where there is no model. `progress` hears
    /// how many are done and returns `false` to stop.
    pub fn embed_passages(&self, progress: &mut dyn FnMut(usize, usize) -> bool) -> Result<usize, KnowledgeError> {
        let Some(embedder) = &self.embedder else { return Ok(0) };
        let model = embedder.name().to_string();
        let missing = self.passages_without_vector(&model).map_err(problem)?;
        let mut done = 0;
        for chunk in missing.chunks(CHUNK) {
            if !progress(done, missing.len()) {
                break;
            }
            let texts: Vec<String> = chunk.iter().map(|(_, text)| text.clone()).collect();
            let vectors = embedder.embed(&texts)?;
            let ids: Vec<i64> = chunk.iter().map(|(id, _)| *id).collect();
            self.keep_vectors(&model, &ids, &vectors).map_err(problem)?;
            done += chunk.len();
        }
        Ok(done)
    }

    fn passages_without_vector(&self, model: &str) -> Result<Vec<(i64, String)>, StoreError> {
        let sqlite = self.sqlite("read passages");
        let sql = "SELECT id, coalesce(heading || '. ', '') || text FROM passages
                   WHERE id NOT IN (SELECT passage FROM passage_vectors WHERE model = ?1) ORDER BY id";
        let connection = self.connection();
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([model], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).map_err(&sqlite)
    }

    fn keep_vectors(&self, model: &str, passages: &[i64], made: &Vectors) -> Result<(), StoreError> {
        let sqlite = self.sqlite("keep vectors");
        self.write("keep vectors", |tx| {
            let sql = "INSERT OR REPLACE INTO passage_vectors (passage, model, scale, vector) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = tx.prepare_cached(sql).map_err(&sqlite)?;
            for (row, passage) in passages.iter().enumerate() {
                let (scale, numbers) = vectors::rounded(made.row(row));
                statement.execute((passage, model, f64::from(scale), vectors::bytes(&numbers))).map_err(&sqlite)?;
            }
            Ok(())
        })
    }

    /// All documents, by title.
    pub fn documents(&self) -> Result<Vec<DocumentEntry>, StoreError> {
        let sqlite = self.sqlite("read documents");
        let connection = self.connection();
        let mut statement = connection.prepare(&format!("{DOCUMENT} ORDER BY title, hash")).map_err(&sqlite)?;
        let rows = statement.query_map([], document_of);
        rows.and_then(Iterator::collect).map_err(&sqlite)
    }

    /// A passage by its name.
    pub fn passage(&self, id: &PassageId) -> Result<Option<PassageEntry>, StoreError> {
        let sqlite = self.sqlite("read passages");
        let connection = self.connection();
        let sql = "SELECT name, page, heading, offset, text, seq, document FROM passages WHERE name = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((passage_of(row)?, row.get::<_, i64>(5)?, row.get::<_, i64>(6)?));
        let Some((passage, seq, document)) =
            connection.query_row(sql, [id.as_str()], read).optional().map_err(&sqlite)?
        else {
            return Ok(None);
        };
        let entry =
            connection.query_row(&format!("{DOCUMENT} WHERE id = ?1"), [document], document_of).map_err(&sqlite)?;
        Ok(Some(PassageEntry { passage, document: entry.document, number: number(seq) + 1, of: entry.passages }))
    }

    /// All passages of a document, in order.
    pub fn passages_of(&self, document: &ContentHash) -> Result<Vec<Passage>, StoreError> {
        let sqlite = self.sqlite("read passages");
        let connection = self.connection();
        let sql = "SELECT name, page, heading, offset, text FROM passages
                   WHERE document = (SELECT id FROM documents WHERE hash = ?1) ORDER BY seq";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([document.to_string()], passage_of);
        rows.and_then(Iterator::collect).map_err(&sqlite)
    }

    /// Removes a document with its passages; `false` where there is none.
    pub fn remove_document(&self, document: &ContentHash) -> Result<bool, StoreError> {
        let sqlite = self.sqlite("remove a document");
        self.write("remove a document", |tx| {
            // The passages go with it by cascade, which fires the trigger that keeps the index of words in step.
            let removed = tx.execute("DELETE FROM documents WHERE hash = ?1", [document.to_string()]);
            Ok(removed.map_err(&sqlite)? > 0)
        })
    }
}

fn document_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<DocumentEntry> {
    let (hash, kind): (String, String) = (row.get(0)?, row.get(2)?);
    let hash = hash
        .parse()
        .map_err(|err| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(err)))?;
    let kind = match kind.as_str() {
        "markdown" => DocumentKind::Markdown,
        "html" => DocumentKind::Html,
        "bibtex" => DocumentKind::Bibtex,
        "pdf" => DocumentKind::Pdf,
        _ => DocumentKind::Text,
    };
    let (bytes, passages): (i64, i64) = (row.get(4)?, row.get(7)?);
    let document = Document { hash, title: row.get(1)?, kind, file: row.get(3)?, bytes: bytes.cast_unsigned() };
    Ok(DocumentEntry { document, passages: number(passages), lab: row.get(5)?, added: Millis(row.get(6)?) })
}
