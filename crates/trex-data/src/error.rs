//! The errors of this crate: each names the file or split and says what to do. A bad row is not an error but data: see
//! [`trex_domain::QuarantinedRow`].

use std::fmt;
use std::path::PathBuf;

use trex_domain::{DomainError, ErrorClass, MeasureError, Problem};
use trex_fs::FsError;

use crate::RecipePlace;

/// An error of whoever measures rows or texts: its text, causes, code and hint stay its own.
#[derive(Debug)]
pub struct MeasureFailure(MeasureError);

impl fmt::Display for MeasureFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for MeasureFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// What can go wrong with data as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or blob cannot be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A value has no name by content.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// There is no such file.
    #[error("there is no file {}", path.display())]
    MissingFile {
        /// As given.
        path: PathBuf,
        /// A file of the same folder with a similar name.
        nearest: Option<String>,
        /// What the system said.
        source: FsError,
    },
    /// A folder or archive without a file that could hold data.
    #[error("{} holds no data", path.display())]
    EmptyFolder {
        /// As given.
        path: PathBuf,
    },
    /// Not one of several files can be read.
    #[error("none of {num_files} files can be read")]
    NothingReadable {
        /// How many there are.
        num_files: usize,
    },
    /// An archive that cannot be read.
    #[error("{} is no zip archive that can be read", path.display())]
    BadArchive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<zip::result::ZipError>,
    },
    /// A Parquet or Arrow file that cannot be read.
    #[error("{file} is damaged or of a form that is not read")]
    BadColumnar {
        /// File name.
        file: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Packed data that cannot be unpacked.
    #[error("{file} cannot be unpacked")]
    BadPacked {
        /// File name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Packed data that unfolds to more than data does.
    #[error("{file} unfolds to more than {max_times} times its size")]
    ExpandsTooMuch {
        /// File name.
        file: String,
        /// The limit.
        max_times: u64,
    },
    /// The file holds nothing but white space.
    #[error("{} is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a kind that is not read.
    #[error("{} is {found}, which cannot be imported", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// What it is, such as `a Parquet file`.
        found: &'static str,
    },
    /// A column that a setting or the template names is not in the file.
    #[error("{file} has no column {column:?} (asked for by {asked_by}); it has {}", quoted(columns))]
    MissingColumn {
        /// File name.
        file: String,
        /// The column.
        column: String,
        /// The setting that names it, such as `data.fields.answer`.
        asked_by: &'static str,
        /// The columns there are.
        columns: Vec<String>,
        /// The column that was probably meant.
        nearest: Option<String>,
    },
    /// The template has a placeholder that is neither a column nor one of ours.
    #[error("prompt.template has the placeholder {{{placeholder}}}, but {file} has only {}", quoted(columns))]
    UnknownPlaceholder {
        /// File name.
        file: String,
        /// Without its braces.
        placeholder: String,
        /// The columns there are.
        columns: Vec<String>,
        /// The column that was probably meant.
        nearest: Option<String>,
    },
    /// The template lists options, and there are none.
    #[error("prompt.template has {{options}}, but prompt.options is empty")]
    NoOptions,
    /// No column looks like what the task needs.
    #[error("no column of {file} looks like the {role} ({}); it has {}", reason, quoted(columns))]
    NoColumn {
        /// File name.
        file: String,
        /// `input` or `answer`.
        role: &'static str,
        /// What the detection found instead.
        reason: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A file of preference pairs was asked for.
    #[error("{file} holds no preference pairs: it was taken for {found}, with the columns {}", quoted(columns))]
    NoPairs {
        /// File name.
        file: String,
        /// What the detection found instead.
        found: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// Answers of the file are not among the options, and some option has no row.
    #[error("answers in {file} are not among the options: found {}, expected {}", quoted(found), quoted(expected))]
    LabelsUnknown {
        /// File name.
        file: String,
        /// Answers that occur, the most frequent first, at most ten.
        found: Vec<String>,
        /// The options.
        expected: Vec<String>,
    },
    /// Options that no training row has.
    #[error("no row of {file} has the answer {}", quoted(missing))]
    LabelsMissing {
        /// File name.
        file: String,
        /// The options without rows.
        missing: Vec<String>,
    },
    /// A split has no rows.
    #[error("the {split} split is empty: {reason}")]
    EmptySplit {
        /// `train`, `search`, `select` or `final`.
        split: &'static str,
        /// Where its rows went.
        reason: String,
    },
    /// A parameter of a recipe step that is outside its range.
    #[error("{operator}.{field} is {value}, allowed is {allowed}")]
    BadParameter {
        /// The step.
        operator: &'static str,
        /// The parameter.
        field: &'static str,
        /// As given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A regular expression of a recipe step that cannot be read.
    #[error("{operator}.pattern {pattern:?} is not a regular expression")]
    BadPattern {
        /// The step.
        operator: &'static str,
        /// As given.
        pattern: String,
        /// Why.
        source: regex::Error,
    },
    /// Decontamination was asked for without anything to compare with.
    #[error("decontaminate has no evaluation items to compare with")]
    NoEvaluation,
    /// An evaluation item that decontamination would have to leave out.
    #[error("{file}:{line}: an evaluation item cannot be compared with: {reason}")]
    UnreadableEvaluation {
        /// The file.
        file: String,
        /// Its line.
        line: u64,
        /// Why it is no item.
        reason: String,
    },
    /// A step needs the losses of the base model, and a row has none.
    #[error("difficulty_filter has no loss of the base model for {}", row.as_deref().unwrap_or("any row"))]
    NoLosses {
        /// Id of the row; none where there are no losses at all.
        row: Option<String>,
    },
    /// A step needs a tokenizer.
    #[error("token_filter has no tokenizer to count with")]
    NoTokenizer,
    /// A step compares meanings, and there is no embedding model.
    #[error("{operator} has no embedding model to compare meanings with")]
    NoEmbedder {
        /// The step, or the command.
        operator: &'static str,
    },
    /// A step has texts written, and there is no model to write them.
    #[error("{operator} has no language model to write with")]
    NoWriter {
        /// The step.
        operator: &'static str,
    },
    /// Vectors, losses or texts could not be had.
    #[error(transparent)]
    Measure(MeasureFailure),
    /// Vectors that are not those of the texts.
    #[error("{expected} texts were to be embedded, and {found} vectors came back")]
    WrongVectors {
        /// Texts.
        expected: usize,
        /// Vectors.
        found: usize,
    },
    /// Texts that are not those that were asked for.
    #[error("{expected} texts were asked for, and {found} came back")]
    WrongTexts {
        /// Requests.
        expected: usize,
        /// Texts.
        found: usize,
    },
    /// The counts of a recipe run do not add up.
    #[error(
        "the rows of recipe step {operator} do not add up: {rows_in} in, {added} added, {dropped} dropped, {rows_out} out"
    )]
    LedgerUnbalanced {
        /// The step.
        operator: String,
        /// Rows that came in.
        rows_in: usize,
        /// Rows made.
        added: usize,
        /// Rows dropped.
        dropped: usize,
        /// Rows that went out.
        rows_out: usize,
    },
    /// The pool of a recipe has no rows.
    #[error("the training pool {pool} has no rows")]
    EmptyPool {
        /// Its blob.
        pool: trex_domain::ContentHash,
    },
    /// A recipe that leaves nothing to train on.
    #[error("the recipe leaves no rows of {rows_in}; {operator} dropped most: {dropped}")]
    RecipeEmpty {
        /// The step that dropped most.
        operator: String,
        /// Rows it dropped.
        dropped: usize,
        /// Rows of the pool.
        rows_in: usize,
    },
    /// A key or an operator that no recipe file has.
    #[error("{place}: unknown {what} {found:?}{}", inside(table))]
    RecipeUnknown {
        /// Where.
        place: Box<RecipePlace>,
        /// `key` or `operator`.
        what: &'static str,
        /// As written.
        found: String,
        /// Table that it stands in; empty for the top level.
        table: Box<str>,
        /// The known one that is nearest.
        nearest: Option<String>,
        /// All that are known there.
        known: Box<[String]>,
    },
    /// A recipe file that is no TOML, or a value of another type.
    #[error("{place}: {message}")]
    RecipeRefused {
        /// Where.
        place: Box<RecipePlace>,
        /// What the parser found.
        message: String,
    },
    /// A recipe that TOML cannot express.
    #[error("the recipe has no TOML form")]
    RecipeNotToml {
        /// Why.
        source: toml::ser::Error,
    },
    /// A kept version of a recipe that is not what its name says.
    #[error("{} was changed: it holds the recipe {found}", path.display())]
    VersionChanged {
        /// The file.
        path: PathBuf,
        /// Hash of what it holds.
        found: trex_domain::ContentHash,
    },
    /// A row without two options was to become a preference pair.
    #[error("row {row} has not two options, of which one is the answer")]
    NoPair {
        /// Its id.
        row: String,
    },
    /// Rows that Parquet cannot express.
    #[error("the rows cannot be written as Parquet")]
    ParquetNotWritten {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// Files were asked of a task that generates its data.
    #[error("the task takes its data from {name}, not from files")]
    NotFiles {
        /// Name of the generator.
        name: String,
    },
}

impl DataError {
    /// A failed measurement; one that was stopped is a stop.
    pub(crate) fn measuring(err: MeasureError) -> Self {
        if err.code() == "run.stopped" { Self::Cancelled } else { Self::Measure(MeasureFailure(err)) }
    }
}

fn inside(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in {table}") }
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

impl Problem for DataError {
    fn code(&self) -> &'static str {
        match self {
            Self::Fs(source) => source.code(),
            Self::Domain(source) => source.code(),
            Self::MissingFile { .. } => "data.missing_file",
            Self::EmptyFolder { .. } => "data.empty_folder",
            Self::NothingReadable { .. } => "data.nothing_readable",
            Self::BadArchive { .. } => "data.bad_archive",
            Self::BadColumnar { .. } => "data.bad_columnar",
            Self::BadPacked { .. } => "data.bad_packed",
            Self::ExpandsTooMuch { .. } => "data.expands_too_much",
            Self::EmptyFile { .. } => "data.empty_file",
            Self::UnsupportedFormat { .. } => "data.unsupported_format",
            Self::MissingColumn { .. } => "data.missing_column",
            Self::UnknownPlaceholder { .. } => "data.unknown_placeholder",
            Self::NoOptions => "data.no_options",
            Self::NoColumn { .. } => "data.no_column",
            Self::NoPairs { .. } => "data.no_pairs",
            Self::LabelsUnknown { .. } => "data.labels_unknown",
            Self::LabelsMissing { .. } => "data.labels_missing",
            Self::EmptySplit { .. } => "data.empty_split",
            Self::BadParameter { .. } => "data.bad_parameter",
            Self::BadPattern { .. } => "data.bad_pattern",
            Self::NoEvaluation => "data.no_evaluation",
            Self::UnreadableEvaluation { .. } => "data.unreadable_evaluation",
            Self::NoLosses { .. } => "data.no_losses",
            Self::NoTokenizer => "data.no_tokenizer",
            Self::NoEmbedder { .. } => "data.no_embedder",
            Self::Measure(failure) => failure.0.code(),
            Self::NoWriter { .. } => "data.no_writer",
            Self::WrongVectors { .. } => "data.wrong_vectors",
            Self::WrongTexts { .. } => "data.wrong_texts",
            Self::LedgerUnbalanced { .. } => "data.ledger_unbalanced",
            Self::EmptyPool { .. } => "data.empty_pool",
            Self::RecipeEmpty { .. } => "data.recipe_empty",
            Self::RecipeUnknown { what: "operator", .. } => "recipe.unknown_operator",
            Self::RecipeUnknown { .. } => "recipe.unknown_key",
            Self::RecipeRefused { .. } => "recipe.refused",
            Self::RecipeNotToml { .. } => "recipe.not_toml",
            Self::VersionChanged { .. } => "recipe.version_changed",
            Self::NoPair { .. } => "data.no_pair",
            Self::ParquetNotWritten { .. } => "data.parquet_not_written",
            Self::Cancelled => "run.stopped",
            Self::NotFiles { .. } => "data.not_files",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fs(source) => source.hint(),
            Self::Domain(source) => source.hint(),
            Self::MissingFile { nearest: Some(name), .. } | Self::RecipeUnknown { nearest: Some(name), .. } => {
                Some(format!("did you mean {name:?}?"))
            }
            Self::MissingFile { .. } => Some("check the path; it is relative to the data folder".to_owned()),
            Self::EmptyFolder { .. } => Some("name a folder with JSONL, CSV, Parquet or text files".to_owned()),
            Self::NothingReadable { .. } => Some("name one of the files to see what is wrong with it".to_owned()),
            Self::BadArchive { .. } | Self::BadColumnar { .. } | Self::BadPacked { .. } => {
                Some("check that the file was written or downloaded completely".to_owned())
            }
            Self::ExpandsTooMuch { .. } => {
                Some("unpack it yourself if you trust it, and import what is in it".to_owned())
            }
            Self::EmptyFile { .. } => Some("check that the file was written or downloaded completely".to_owned()),
            Self::UnsupportedFormat { .. } => Some("unpack or convert it to JSONL, CSV, TSV or plain text".to_owned()),
            Self::MissingColumn { nearest, .. } | Self::UnknownPlaceholder { nearest, .. } => {
                Some(column_hint(nearest.as_deref()))
            }
            Self::NoOptions => {
                Some("list the answers in prompt.options, or take {options} out of the template".to_owned())
            }
            Self::NoColumn { role, .. } => Some(format!(
                "name the column in data.fields.{role}; raw text without answers is trained on with objective = \"pretrain\" \
                 in [train]"
            )),
            Self::NoPairs { .. } => Some(
                "give a file with the columns chosen and rejected (and prompt, unless both answers begin with it), or train \
                 with objective = \"sft\""
                    .to_owned(),
            ),
            Self::LabelsUnknown { found, expected, .. } => Some(labels_hint(found, expected)),
            Self::LabelsMissing { .. } => Some(
                "take the option out of prompt.options, add rows that have it, or map the labels of the file to it in \
                 [data.fields.labels]"
                    .to_owned(),
            ),
            Self::EmptySplit { split, .. } => Some(empty_split_hint(split)),
            Self::BadParameter { operator, field, allowed, .. } => {
                Some(format!("set {field} of {operator} to a value {allowed}"))
            }
            Self::BadPattern { .. } => Some("correct the pattern; the cause shows the place".to_owned()),
            Self::NoEvaluation => Some("give the task search, select and final rows, or drop the step".to_owned()),
            Self::UnreadableEvaluation { .. } => Some(
                "mend the row or take it out of the evaluation file: what is not compared with might be trained on".to_owned(),
            ),
            Self::NoLosses { row: None } => {
                Some("name the model that measures them, give a file of losses, or drop the step".to_owned())
            }
            Self::NoLosses { row: Some(_) } => {
                Some("put valid_answer before the step, or give the losses of all rows".to_owned())
            }
            Self::NoEmbedder { .. } => {
                Some("`cargo xtask setup` fetches all-MiniLM-L6-v2; `trex doctor` says whether it is there".to_owned())
            }
            Self::NoWriter { .. } => Some("name a model with --writer; `trex model list` lists them".to_owned()),
            Self::Measure(failure) => failure.0.hint(),
            Self::NoTokenizer => Some("name a model whose tokenizer counts, or use length_filter".to_owned()),
            Self::RecipeEmpty { operator, .. } => Some(format!("relax or remove {operator}")),
            Self::EmptyPool { .. } => Some("give the task training rows".to_owned()),
            Self::RecipeUnknown { known, .. } => Some(format!("known are {}", known.join(", "))),
            Self::RecipeRefused { .. } => Some(
                "assets/schemas/recipe.schema.json says what may stand there; `trex recipe operators` lists the steps"
                    .to_owned(),
            ),
            Self::VersionChanged { .. } => {
                Some("the folder recipes is the program's own: put the file back, or begin a new workspace".to_owned())
            }
            Self::NoPair { .. } => Some("make pairs with preference_pairs or rejected_synthesis, or name another form".to_owned()),
            Self::Cancelled => Some("the same command goes on where it stopped".to_owned()),
            Self::RecipeNotToml { .. }
            | Self::ParquetNotWritten { .. }
            | Self::WrongVectors { .. }
            | Self::WrongTexts { .. }
            | Self::LedgerUnbalanced { .. }
            | Self::NotFiles { .. } => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Fs(source) => source.class(),
            Self::Domain(source) => source.class(),
            Self::Measure(failure) => failure.0.class(),
            Self::NotFiles { .. }
            | Self::LedgerUnbalanced { .. }
            | Self::RecipeNotToml { .. }
            | Self::WrongVectors { .. }
            | Self::WrongTexts { .. } => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}

fn column_hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name:?}?"),
        None => "`trex data profile FILE` shows the columns; a file without header numbers them from 0".to_owned(),
    }
}

fn labels_hint(found: &[String], expected: &[String]) -> String {
    let raw = found.first().map_or("raw", String::as_str);
    let answer = expected.first().map_or("answer", String::as_str);
    format!("map them in [data.fields.labels], for example {raw:?} = {answer:?}, or check data.fields.answer")
}

fn empty_split_hint(split: &str) -> String {
    match split {
        "train" => "give more rows in data.train, or files of their own in data.dev and data.test".to_owned(),
        "final" => "name a file with rows in data.test, or give more rows in data.train".to_owned(),
        _ => "name a file with more rows in data.dev that are not in data.test, or give more rows in data.train"
            .to_owned(),
    }
}
