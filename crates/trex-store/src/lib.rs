//! The workspace database: migrations, runs, tree and events. The only crate that writes SQL.
//!
//! A [`Workspace`] is a folder. One [`Writer`] at a time appends events; it holds an operating system lock that ends
//! with its process, however that ends. Any number of [`Reader`]s follow along without a lock. Every append is one
//! durable transaction: the events, and the tables derived from them. The list of events is append-only and without
//! gaps, and only events that may follow are let in. The crate starts no thread; all calls block; a writer or reader
//! belongs to one thread at a time and may move between threads.
//!
//! A [`KnowledgeBase`] is another database, one for a machine: what runs taught and what documents say. It takes no lock;
//! each call is one transaction, and threads and processes take turns.

mod database;
mod error;
mod inspect;
mod knowledge;
mod lease;
mod projection;
mod reader;
mod schema;
mod space;
mod workspace;
mod writer;

pub use database::{RunStatus, RunSummary};
pub use error::{DamageCause, StoreError};
pub use knowledge::{
    AddedDocument, DocumentEntry, EdgeKind, Graph, GraphEdge, GraphNode, InsightChange, InsightDetail, InsightEvidence,
    KnowledgeBase, KnowledgeRecords, LabDocument, LabLesson, Merged, NodeKind, PassageEntry,
};
pub use lease::LeaseOwner;
pub use reader::Reader;
pub use space::{check_writable, free_bytes, require_free_bytes};
pub use workspace::Workspace;
pub use writer::Writer;
