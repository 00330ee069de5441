//! Readers, operators, profile, splits and the prepared-data cache.
//!
//! A file becomes a [`RawTable`], a table becomes [`trex_domain::Example`]s, examples become splits and, through a recipe,
//! training data. Nothing here knows a model or a tokenizer. All functions block and may be called from any thread; files
//! are read as a whole, and originals are never modified.

mod error;
mod minhash;
mod operators;
mod prepare;
mod text;

pub use error::DataError;
pub use operators::run_recipe;
