//! Examples of a source, chunk by chunk: the reader and the schema in one. The schema is taken from the first chunk.

use std::path::Path;

use trex_domain::{Example, FieldMap, PromptSpec, QuarantinedRow, RowForm};

use super::build::{self, Labels, Plan};
use super::template::Template;
use super::{Asked, SchemaGuess, asked_schema, bare_prompt, guessed_schema, paragraphs};
use crate::reader::file_name;
use crate::{DataError, RawChunk, RawTable, TableReader};

/// Some examples of a source, in order; `input = examples.len() + quarantined.len()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleChunk {
    /// Rows that became examples.
    pub examples: Vec<Example>,
    /// Rows that could not be read or did not fit the schema.
    pub quarantined: Vec<QuarantinedRow>,
    /// All of them.
    pub input: usize,
}

/// Examples of a file, an archive or a folder, in bounded memory.
#[derive(Debug)]
pub struct ExampleReader {
    reader: TableReader,
    name: String,
    schema: SchemaGuess,
    /// The schema with the columns that fill in where nothing was recognised.
    complete: SchemaGuess,
    template: Template,
    prompt: PromptSpec,
    fields: FieldMap,
    labels: Labels,
    first: Option<RawChunk>,
    is_asked: bool,
    /// Whether lines of plain text are joined to paragraphs.
    joins_lines: bool,
}

impl ExampleReader {
    /// Opens a source with everything guessed but what `fields` names.
    pub fn guessed(path: &Path, fields: &FieldMap) -> Result<Self, DataError> {
        Self::open(path, file_name(path), None, fields)
    }

    /// As [`Self::guessed`]; ids begin with `name`.
    pub(crate) fn guessed_as(path: &Path, name: String, fields: &FieldMap) -> Result<Self, DataError> {
        Self::open(path, name, None, fields)
    }

    /// Opens a source for a task, whose rows are to have this form; ids begin with `name`.
    ///
    /// A plain text of which raw text is asked is cut where lines are empty; where none is, every line stands alone.
    pub fn asked(
        path: &Path,
        name: String,
        prompt: &PromptSpec,
        fields: &FieldMap,
        form: RowForm,
    ) -> Result<Self, DataError> {
        Self::open(path, name, Some(Asked { prompt, form }), fields)
    }

    fn open(path: &Path, name: String, asked: Option<Asked<'_>>, fields: &FieldMap) -> Result<Self, DataError> {
        let mut reader = TableReader::open(path)?;
        let mut first = RawChunk::default();
        while first.rows.is_empty() {
            let Some(chunk) = reader.next_chunk()? else { break };
            first.rows.extend(chunk.rows);
            first.quarantined.extend(chunk.quarantined);
            first.input += chunk.input;
        }
        let mut sample = RawTable { fields: reader.fields(), rows: first.rows, ..RawTable::default() };
        let (schema, complete) = if let Some(asked) = asked {
            let schema = asked_schema(&sample, &name, asked, fields)?;
            (schema.clone(), schema)
        } else {
            super::check_columns(&sample, &name, fields)?;
            guessed_schema(&sample, fields)
        };
        let prompt = asked.map_or_else(bare_prompt, |asked| asked.prompt_for(&schema));
        let template = Template::parse(&prompt, &sample.fields, &name)?;
        first.rows = std::mem::take(&mut sample.rows);
        let wants_text = asked.is_some_and(|asked| asked.form == RowForm::Text);
        let joins_lines = wants_text && reader.format().starts_with("plain text") && paragraphs::has_any(&first);
        Ok(Self {
            reader,
            name,
            schema,
            complete,
            template,
            prompt,
            fields: fields.clone(),
            labels: Labels::default(),
            first: Some(first),
            is_asked: asked.is_some(),
            joins_lines,
        })
    }

    /// The next examples; none at the end. For a task, answers that are all outside its options are an error at the end.
    pub fn next_chunk(&mut self) -> Result<Option<ExampleChunk>, DataError> {
        let chunk = match self.first.take() {
            Some(first) => Some(first),
            None => self.reader.next_chunk()?,
        };
        let Some(chunk) = chunk else {
            if self.is_asked {
                self.labels.check(&self.name, &self.prompt)?;
            }
            return Ok(None);
        };
        let chunk = if self.joins_lines { paragraphs::joined(chunk) } else { chunk };
        let plan = Plan {
            source_name: &self.name,
            schema: &self.complete,
            template: &self.template,
            prompt: &self.prompt,
            fields: &self.fields,
        };
        let columns = self.reader.fields();
        let built = build::examples(&chunk.rows, &columns, &plan, &mut self.labels);
        let mut quarantined = chunk.quarantined;
        quarantined.extend(built.quarantined);
        quarantined.sort_by(|a, b| (&a.file, a.line, a.byte_offset).cmp(&(&b.file, b.line, b.byte_offset)));
        Ok(Some(ExampleChunk { examples: built.examples, quarantined, input: chunk.input }))
    }

    /// The name that ids begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the columns were taken for.
    pub fn schema(&self) -> &SchemaGuess {
        &self.schema
    }

    /// What the source was taken for.
    pub fn format(&self) -> String {
        self.reader.format()
    }

    /// Why.
    pub fn format_reason(&self) -> String {
        self.reader.format_reason()
    }

    /// The columns that were seen so far.
    pub fn fields(&self) -> Vec<String> {
        self.reader.fields()
    }

    /// Whether examples have answers at all; raw text has none.
    pub fn has_answers(&self) -> bool {
        self.schema.answer.is_some() || self.schema.is_chat()
    }
}
