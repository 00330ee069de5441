//! Readers, operators, profile, splits, recipe files, exports and the prepared-data cache.
//!
//! A file, an archive or a folder is read by a [`TableReader`] into chunks of [`RawRow`]s, an [`ExampleReader`] makes
//! [`trex_domain::Example`]s of them, and examples become profiles, splits and, through a recipe, training data. Reading
//! takes bounded memory. Nothing here knows a model or a tokenizer: who has one hands in a function. All functions block
//! and may be called from any thread; work on many rows runs on the threads of rayon; originals are never modified.

mod error;
mod export;
mod import;
mod keyed;
mod language;
mod meaning;
mod minhash;
mod operators;
mod pii;
mod pool;
mod prepare;
mod profile;
mod reader;
mod recipe_file;
mod recipe_history;
mod recipe_run;
mod row_index;
mod schema;
mod search;
mod split;
mod text;

pub use error::{DataError, MeasureFailure};
pub use export::{
    BlobRows, CARD_MARK, ExportFormat, HfFolder, Rows, SourceRows, axolotl_block, dataset_info_entry, hf_folder_files,
    quarantine_csv, write_export, write_hf_folder,
};
pub use import::{DataService, Measures};
pub use minhash::{NearDedupCurve, near_dedup_curve};
pub use operators::{Aids, StepTrace, TouchedRow, run_recipe};
pub use pii::{PiiKind, pii_kinds, pii_spans};
pub use profile::{
    ProfileOptions, TableFacts, profile_examples, profile_file, profile_html, profile_rows, profile_source,
};
pub use reader::{RawChunk, RawRow, RawTable, TableReader, read_table};
pub use recipe_file::{
    Mixture, OperatorDoc, ParameterDoc, RecipeBudget, RecipeChange, RecipeFile, RecipePlace, RecipeSource, RecipeSplit,
    diff_recipes, operator_docs, recipe_schema,
};
pub use recipe_history::{RecipeVersion, recipe_history, record_recipe_run};
pub use recipe_run::{RecipeOutcome, RecipeProgress, RecipeRequest, SourceCounts, run_recipe_file};
pub use row_index::{IndexFacts, RowIndex, RowPage};
pub use schema::{ExampleChunk, ExampleReader, SchemaGuess, SchemaKind, examples_from_table};
pub use search::{SearchHit, SearchedBy, search_rows};
pub use split::{HELD_OUT_DEV_SHARE, HELD_OUT_TEST_SHARE, count_leaks};
