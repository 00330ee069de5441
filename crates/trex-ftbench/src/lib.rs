//! The ten mini tasks of FT-Bench, generated from a seed.
//!
//! A task draws clean items, splits them so that nothing is shared, and makes a training pool of 1,500 rows that is dirty
//! on purpose; a ledger says exactly which rows are dirty and how. Shares of the pool's rows, one kind per row:
//!
//! | kind | share | what it is |
//! |---|---|---|
//! | exact duplicate | 8 % | equals an earlier row |
//! | near duplicate | 5 % | a clean row with a small edit of its prompt |
//! | wrong label | 12 % | another option, or the answer of another row |
//! | off topic | 6 % | a question of another domain with an unrelated answer |
//! | format | 8 % | the answer in capitals, in quotes, behind "Answer:", with a full stop |
//! | leak | 3 % | prompt and answer of an evaluation item |
//! | empty answer | 2 % | no answer |
//! | overlong | 2 % | the question inside more than a hundred words of small talk |
//!
//! Evaluation splits are clean. Everything is a pure function of the seed: no clock, no files, no threads.

mod chance;
mod corpus;
mod dirt;
mod draw;
mod error;
mod generator;
mod pool;
mod practice;
mod task;
mod tasks;
mod words;

pub use chance::{Chance, Scoring};
pub use corpus::{Corpus, CorpusDoc, corpus, corpus_doc};
pub use dirt::{DirtKind, DirtLedger, DirtRates};
pub use error::FtBenchError;
pub use practice::practice_doc;
pub use task::{MiniData, MiniTask, mini_task, mini_tasks};
