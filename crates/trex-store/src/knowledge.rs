//! The knowledge base of a machine: what runs taught and what documents say, in one SQLite file that all workspaces feed.
//!
//! It lies outside of any workspace because its use is to carry knowledge from one to another. Lessons and documents are
//! the truth, everything else is derived from them. Several processes may have it open; each call is one transaction. It
//! holds no training row. It runs no model: vectors come from an [`Embedder`], where there is one.

mod graph;
mod learn;
mod library;
mod records;
mod search;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use trex_domain::{
    Clock, DomainError, Embedder, FoundPassage, Knowledge, KnowledgeError, KnownInsight, Lesson, Memory, Millis, RunId,
    SimilarTask, TaskFeatures, Vectors,
};

pub use graph::{EdgeKind, Graph, GraphEdge, GraphNode, NodeKind};
pub use learn::{InsightChange, InsightDetail, InsightEvidence};
pub use library::{AddedDocument, DocumentEntry, PassageEntry};
pub use records::{KnowledgeRecords, LabDocument, LabLesson, Merged};

use crate::{StoreError, schema};

/// Marks a database as a knowledge base ("TRKB").
const APPLICATION_ID: i64 = 0x5452_4B42;

const STEPS: &[M<'static>] = &[M::up(include_str!("../migrations/knowledge_01.sql"))];

const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// An open knowledge base. Calls block; threads take turns.
#[derive(Debug)]
pub struct KnowledgeBase {
    path: PathBuf,
    lab: String,
    connection: Mutex<Connection>,
    embedder: Option<Arc<dyn Embedder>>,
    /// Vectors of all passages, read once and again when the database has changed.
    matrix: Mutex<Option<vectors::Matrix>>,
}

impl KnowledgeBase {
    /// Opens the knowledge base at `path`, or makes an empty one there.
    pub fn open(path: &Path, clock: &dyn Clock) -> Result<Self, StoreError> {
        let sqlite = |err| StoreError::sqlite("open", path, err);
        if let Some(folder) = path.parent() {
            trex_fs::create_dir_all(folder)?;
        }
        let mut connection = Connection::open(path).map_err(sqlite)?;
        let found = schema::application_id(&connection).map_err(sqlite)?;
        let is_new = found == 0 && schema::version(&connection).map_err(sqlite)? == 0;
        if found != APPLICATION_ID && !is_new {
            return Err(StoreError::NotAKnowledgeBase { path: path.to_owned() });
        }
        schema::configure_writer(&connection).map_err(sqlite)?;
        schema::migrate(&mut connection, path, &MIGRATIONS)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        let lab = lab(&mut connection, clock.now()).map_err(sqlite)?;
        let (connection, matrix) = (Mutex::new(connection), Mutex::new(None));
        Ok(Self { path: path.to_owned(), lab, connection, embedder: None, matrix })
    }

    /// The same with a model that makes vectors.
    #[must_use]
    pub fn with_embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }

    /// Whether passages are compared by meaning, too.
    pub fn has_embedder(&self) -> bool {
        self.embedder.is_some()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of this machine's knowledge: a random id that tells what was learned here from what came with bundles.
    pub fn lab(&self) -> &str {
        &self.lab
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no transaction open: its guard rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sqlite(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |err| StoreError::sqlite(action, &self.path, err)
    }

    /// Does something in one transaction that writes.
    fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let sqlite = self.sqlite(action);
        let mut connection = self.connection();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sqlite)?;
        let done = work(&tx)?;
        tx.commit().map_err(&sqlite)?;
        drop(connection);
        self.matrix.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(done)
    }

    fn embed(&self, texts: &[String]) -> Result<Option<(String, Vectors)>, KnowledgeError> {
        let Some(embedder) = &self.embedder else { return Ok(None) };
        Ok(Some((embedder.name().to_string(), embedder.embed(texts)?)))
    }
}

/// The id of this knowledge base, made with it.
fn lab(connection: &mut Connection, now: Millis) -> rusqlite::Result<String> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let random: [u8; 10] = tx.query_row("SELECT randomblob(10)", [], |row| row.get(0))?;
    let id = RunId::from_parts(now, random).to_string();
    tx.execute("INSERT OR IGNORE INTO meta (one, lab, created_ms) VALUES (1, ?1, ?2)", (id, now.0))?;
    let lab = tx.query_row("SELECT lab FROM meta", [], |row| row.get(0))?;
    tx.commit()?;
    Ok(lab)
}

/// JSON of a value for a column.
fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    trex_domain::canonical_json(value).map_err(StoreError::Domain)
}

/// A value of a column that this program wrote.
fn from_json<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|source| StoreError::Damaged { path: path.to_owned(), cause: crate::DamageCause::RowNotJson(source) })
}

/// A number for a column; SQLite has signed ones only.
fn column(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of a column.
fn number(column: i64) -> usize {
    usize::try_from(column).unwrap_or(0)
}

fn problem(err: impl Into<StoreError>) -> KnowledgeError {
    Box::new(err.into())
}

impl From<DomainError> for StoreError {
    fn from(err: DomainError) -> Self {
        Self::Domain(err)
    }
}

impl Knowledge for KnowledgeBase {
    fn passages(&self, question: &str, limit: usize) -> Result<Vec<FoundPassage>, KnowledgeError> {
        let vector = self.embed(&[question.to_owned()])?;
        let vector = vector.as_ref().map(|(model, vectors)| (model.as_str(), vectors.row(0)));
        self.search(question, vector, limit).map_err(problem)
    }

    fn insights(&self, task: &TaskFeatures, limit: usize) -> Result<Vec<KnownInsight>, KnowledgeError> {
        let mut all = self.all_insights().map_err(problem)?;
        all.retain(|one| one.key.kind == task.kind && one.pooled.status != trex_domain::InsightStatus::Retired);
        // The same metric first, then what is surest: how many standard errors the effect is away from zero.
        let sureness = |one: &KnownInsight| {
            let [low, high] = one.pooled.effect.ci95;
            one.pooled.effect.diff.abs() / (high - low).abs().max(1e-9)
        };
        all.sort_by(|a, b| {
            let same_metric = (b.key.metric == task.metric).cmp(&(a.key.metric == task.metric));
            let by_status = a.pooled.status.cmp(&b.pooled.status);
            same_metric.then(by_status).then_with(|| sureness(b).total_cmp(&sureness(a))).then_with(|| a.id.cmp(&b.id))
        });
        all.truncate(limit);
        Ok(all)
    }

    fn similar_tasks(&self, task: &TaskFeatures, limit: usize) -> Result<Vec<SimilarTask>, KnowledgeError> {
        let known = self.known_tasks().map_err(problem)?;
        let goal = if known.is_empty() { None } else { self.embed(std::slice::from_ref(&task.goal))? };
        let mut similar = Vec::new();
        for (key, lab, features) in known {
            let meaning = match &goal {
                Some((model, vectors)) => self.goal_cosine(&key, model, vectors.row(0)).map_err(problem)?,
                None => None,
            };
            let similarity = trex_domain::similarity(task, &features, meaning);
            similar.push(SimilarTask {
                key,
                features,
                similarity,
                lab,
                experiments: Vec::new(),
                rejections: Vec::new(),
            });
        }
        similar.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.key.cmp(&b.key)));
        similar.truncate(limit);
        for one in &mut similar {
            one.experiments = self.experiments_of(&one.key).map_err(problem)?;
            one.rejections = self.rejections_of(&one.key).map_err(problem)?;
        }
        Ok(similar)
    }
}

impl Memory for KnowledgeBase {
    fn learn(&self, lesson: &Lesson) -> Result<(), KnowledgeError> {
        self.take_lesson(lesson).map_err(problem)?;
        let key = lesson.task.key().map_err(problem)?;
        if let Some(embedder) = &self.embedder {
            let model = embedder.name().to_string();
            if !self.has_goal_vector(&key, &model).map_err(problem)? {
                let vectors = embedder.embed(std::slice::from_ref(&lesson.task.goal))?;
                self.keep_goal_vector(&key, &model, &vectors).map_err(problem)?;
            }
        }
        Ok(())
    }
}
