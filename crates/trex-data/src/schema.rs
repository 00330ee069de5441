//! What the columns of a table are, and rows → examples by the task's prompt.
//!
//! The guess can be overridden by the task's [`FieldMap`]. A row that does not fit is set aside with its reason; a setting
//! that no row can fit is an error. Options in a prompt are not rendered here but per seed, by [`Example::rendered_prompt`].

mod build;
mod chat;
mod choice;
mod detect;
mod paragraphs;
mod preference;
mod stream;
mod template;

use trex_domain::{Example, FieldMap, PromptSpec, QuarantinedRow, RowForm, nearest};

use crate::{DataError, RawTable};
use template::Template;

pub use stream::{ExampleChunk, ExampleReader};

/// A usual form of training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// A text and its label.
    Classification,
    /// Alpaca: instruction, input, output.
    Instruction,
    /// ShareGPT: turns with `from` and `value`.
    ShareGpt,
    /// Chat messages with `role` and `content`.
    Messages,
    /// A prompt and its completion.
    PromptCompletion,
    /// A question and its answer.
    QuestionAnswer,
    /// A question with one column per option.
    MultipleChoice,
    /// A prompt with a better and a worse answer.
    Preference,
    /// A prompt, a completion and whether it is a good one.
    UnpairedPreference,
    /// Any other text and what becomes of it.
    InputOutput,
    /// Text without answers.
    RawText,
    /// As the task says.
    Mapped,
    /// None of these.
    Unknown,
}

impl SchemaKind {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Instruction => "instruction",
            Self::ShareGpt => "sharegpt",
            Self::Messages => "messages",
            Self::PromptCompletion => "prompt/completion",
            Self::QuestionAnswer => "question/answer",
            Self::MultipleChoice => "multiple choice",
            Self::Preference => "preference pairs",
            Self::UnpairedPreference => "unpaired preference",
            Self::InputOutput => "input/output",
            Self::RawText => "raw text",
            Self::Mapped => "mapped",
            Self::Unknown => "unknown",
        }
    }
}

/// What the columns were taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaGuess {
    /// The form.
    pub kind: SchemaKind,
    /// Why.
    pub reason: String,
    /// The columns that fill `{input}`, in order. For a conversation, its column.
    pub input: Vec<String>,
    /// The columns with the options of a multiple choice question, A first.
    pub choices: Vec<String>,
    /// The column with all options as a list.
    pub choice_list: Option<String>,
    /// The column with the gold answer; none in conversations and raw text.
    pub answer: Option<String>,
    /// The column with the system turn.
    pub system: Option<String>,
    /// The column with earlier turns.
    pub history: Option<String>,
    /// The column with the tools that the model may call.
    pub tools: Option<String>,
    /// The column with the worse answer.
    pub rejected: Option<String>,
    /// The column that says whether the answer is a good one.
    pub verdict: Option<String>,
}

impl SchemaGuess {
    /// Form and columns, such as `classification (text, label)`.
    pub fn describe(&self) -> String {
        let columns = [&self.system, &self.tools, &self.history].into_iter().flatten();
        let columns = columns.chain(&self.input).chain(&self.choices).chain(&self.choice_list).chain(&self.answer);
        let columns = columns.chain(&self.rejected).chain(&self.verdict).map(String::as_str);
        let columns = columns.collect::<Vec<_>>().join(", ");
        if columns.is_empty() { self.kind.as_str().to_owned() } else { format!("{} ({columns})", self.kind.as_str()) }
    }

    /// Whether the rows are whole conversations.
    pub fn is_chat(&self) -> bool {
        matches!(self.kind, SchemaKind::ShareGpt | SchemaKind::Messages)
    }
}

/// Turns rows into examples; rows that do not fit come back with the reason, in the second place.
///
/// `{input}` of the template is the input (for Alpaca the instruction and its input, for multiple choice the question and
/// its options), `{COLUMN}` that column; `{options}` stays as it is. In a conversation `{input}` is the last turn of the
/// person, and all turns before it stay.
pub fn examples_from_table(
    table: &RawTable,
    source_name: &str,
    prompt: &PromptSpec,
    fields: &FieldMap,
) -> Result<(Vec<Example>, Vec<QuarantinedRow>, SchemaGuess), DataError> {
    let schema = asked_schema(table, source_name, Asked { prompt, form: RowForm::Answers }, fields)?;
    let template = Template::parse(prompt, &table.fields, source_name)?;
    let plan = build::Plan { source_name, schema: &schema, template: &template, prompt, fields };
    let mut labels = build::Labels::default();
    let built = build::examples(&table.rows, &table.fields, &plan, &mut labels);
    labels.check(source_name, prompt)?;
    Ok((built.examples, built.quarantined, schema))
}

/// What a task wants of a source.
#[derive(Clone, Copy)]
struct Asked<'a> {
    prompt: &'a PromptSpec,
    form: RowForm,
}

impl Asked<'_> {
    /// The prompt that its rows pass: raw text passes none, and the answers of a pair are its own and no options.
    fn prompt_for(&self, schema: &SchemaGuess) -> PromptSpec {
        match self.form {
            RowForm::Text => bare_prompt(),
            RowForm::Pairs if schema.kind == SchemaKind::Preference => {
                PromptSpec { options: Vec::new(), ..self.prompt.clone() }
            }
            RowForm::Pairs | RowForm::Answers => self.prompt.clone(),
        }
    }
}

/// The schema of a table for a task; what no row can fit is an error.
fn asked_schema(
    table: &RawTable,
    source_name: &str,
    asked: Asked<'_>,
    fields: &FieldMap,
) -> Result<SchemaGuess, DataError> {
    check_columns(table, source_name, fields)?;
    let schema = detect::schema_of(table, fields);
    if asked.form == RowForm::Text {
        return text_schema(&schema, table, source_name, fields);
    }
    if asked.form == RowForm::Pairs && schema.kind != SchemaKind::Preference && asked.prompt.options.is_empty() {
        return Err(DataError::NoPairs {
            file: source_name.to_owned(),
            found: schema.describe(),
            columns: table.fields.clone(),
        });
    }
    let template = Template::parse(&asked.prompt_for(&schema), &table.fields, source_name)?;
    let no_column = |role| no_column(role, &schema, table, source_name);
    if template.needs_input() && schema.input.is_empty() && schema.kind != SchemaKind::Preference {
        return Err(no_column("input"));
    }
    if schema.answer.is_none() && !schema.is_chat() {
        return Err(no_column("answer"));
    }
    Ok(schema)
}

fn no_column(role: &'static str, schema: &SchemaGuess, table: &RawTable, source_name: &str) -> DataError {
    DataError::NoColumn {
        file: source_name.to_owned(),
        role,
        reason: schema.reason.clone(),
        columns: table.fields.clone(),
    }
}

/// Columns that hold the text where a table has others beside it.
const TEXT_COLUMNS: [&str; 6] = ["text", "content", "document", "article", "body", "passage"];

/// The column with the text, whatever else there is.
fn text_schema(
    schema: &SchemaGuess,
    table: &RawTable,
    source_name: &str,
    fields: &FieldMap,
) -> Result<SchemaGuess, DataError> {
    let only = || schema.input.first().filter(|_| schema.kind == SchemaKind::RawText);
    let named = || TEXT_COLUMNS.iter().find_map(|name| table.fields.iter().find(|field| plain_name(field) == *name));
    let Some(column) = fields.input.as_ref().or_else(only).or_else(named).cloned() else {
        return Err(no_column("input", schema, table, source_name));
    };
    let reason = format!("the task reads raw text, and column {column:?} has it");
    Ok(SchemaGuess {
        kind: SchemaKind::RawText,
        reason,
        input: vec![column],
        choices: Vec::new(),
        choice_list: None,
        answer: None,
        system: None,
        history: None,
        tools: None,
        rejected: None,
        verdict: None,
    })
}

/// A prompt that is the input and nothing else.
fn bare_prompt() -> PromptSpec {
    PromptSpec { max_new_tokens: 1, ..PromptSpec::default() }
}

/// With nothing asked, a table of unknown columns gets all of them as the prompt.
fn guessed_schema(table: &RawTable, fields: &FieldMap) -> (SchemaGuess, SchemaGuess) {
    let schema = detect::schema_of(table, fields);
    let mut complete = schema.clone();
    if complete.input.is_empty() && complete.kind != SchemaKind::Preference {
        complete.input.clone_from(&table.fields);
    }
    (schema, complete)
}

/// A column name without case and punctuation: `Question_Text` → `questiontext`.
pub(crate) fn plain_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn check_columns(table: &RawTable, source_name: &str, fields: &FieldMap) -> Result<(), DataError> {
    let asked = [
        ("data.fields.input", &fields.input),
        ("data.fields.answer", &fields.answer),
        ("data.fields.group", &fields.group),
    ];
    for (asked_by, column) in asked {
        let Some(column) = column else { continue };
        if !table.fields.contains(column) {
            return Err(DataError::MissingColumn {
                file: source_name.to_owned(),
                column: column.clone(),
                asked_by,
                columns: table.fields.clone(),
                nearest: nearest_column(column, &table.fields),
            });
        }
    }
    Ok(())
}

/// The column that was probably meant; case is no difference.
fn nearest_column(name: &str, columns: &[String]) -> Option<String> {
    let same = columns.iter().find(|column| plain_name(column) == plain_name(name));
    let found = same.map(String::as_str).or_else(|| nearest(name, columns.iter().map(String::as_str)));
    found.map(String::from)
}

#[cfg(test)]
mod tests;
