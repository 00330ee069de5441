//! Readers, operators, profile, splits and the prepared-data cache.
//!
//! A file becomes a [`RawTable`], a table becomes [`trex_domain::Example`]s, examples become splits and, through a recipe,
//! training data. Nothing here knows a model or a tokenizer. All functions block and may be called from any thread; files
//! are read as a whole, and originals are never modified.

mod error;
mod export;
mod import;
mod language;
mod minhash;
mod operators;
mod pii;
mod prepare;
mod profile;
mod reader;
mod recipe_file;
mod recipe_run;
mod schema;
mod split;
mod text;

pub use error::DataError;
pub use export::{
    ExportFormat, HfFolder, axolotl_block, dataset_info_entry, quarantine_csv, write_export, write_hf_folder,
};
pub use import::DataService;
pub use operators::{Aids, StepTrace, TouchedRow, run_recipe};
pub use pii::{PiiKind, pii_kinds, pii_spans};
pub use profile::{ProfileOptions, TableFacts, escape, profile_examples, profile_file, profile_html, profile_source};
pub use reader::{RawChunk, RawRow, RawTable, TableReader, read_table};
pub use recipe_file::{
    Mixture, OperatorDoc, ParameterDoc, RecipeBudget, RecipeChange, RecipeFile, RecipePlace, RecipeSource, RecipeSplit,
    diff_recipes, operator_docs, recipe_schema,
};
pub use recipe_run::{RecipeOutcome, RecipeProgress, RecipeRequest, SourceCounts, run_recipe_file};
pub use schema::{ExampleChunk, ExampleReader, SchemaGuess, SchemaKind, examples_from_table};
pub use split::{
    HELD_OUT_DEV_SHARE, HELD_OUT_TEST_SHARE, HeldOut, HoldOut, count_leaks, hold_out, search_and_select,
    shuffled_and_capped,
};
