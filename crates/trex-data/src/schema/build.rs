//! One row → one example, or the reason why not.

use std::collections::BTreeMap;

use trex_domain::{Example, FieldMap, Message, Origin, PromptSpec, QuarantinedRow, Role};

use super::template::Template;
use super::{SchemaGuess, SchemaKind, chat};
use crate::{DataError, RawRow, RawTable};

/// Unknown answers that an error lists.
const MAX_LISTED: usize = 10;

/// All that is needed to turn rows into examples.
pub(super) struct Plan<'a> {
    pub(super) source_name: &'a str,
    pub(super) schema: &'a SchemaGuess,
    pub(super) template: &'a Template,
    pub(super) prompt: &'a PromptSpec,
    pub(super) fields: &'a FieldMap,
}

/// Rows that fitted and rows that did not.
pub(super) struct Built {
    pub(super) examples: Vec<Example>,
    pub(super) quarantined: Vec<QuarantinedRow>,
    /// Answers that are none of the options, with their counts.
    unknown_labels: BTreeMap<String, usize>,
}

impl Built {
    /// Fails when answers are outside the options and some option has no row, or no row is left at all: then the mapping
    /// is wrong, not the rows.
    pub(super) fn check_labels(&self, file: &str, prompt: &PromptSpec) -> Result<(), DataError> {
        let has_rows = |option: &String| self.examples.iter().any(|example| example.answer == *option);
        let all_occur = !self.examples.is_empty() && prompt.options.iter().all(has_rows);
        if self.unknown_labels.is_empty() || all_occur {
            return Ok(());
        }
        let mut found: Vec<(&String, &usize)> = self.unknown_labels.iter().collect();
        found.sort_by_key(|(label, count)| (std::cmp::Reverse(**count), *label));
        Err(DataError::LabelsUnknown {
            file: file.to_owned(),
            found: found.into_iter().take(MAX_LISTED).map(|(label, _)| shortened(label)).collect(),
            expected: prompt.options.clone(),
        })
    }
}

enum Misfit {
    Label(String),
    Other(String),
}

impl From<String> for Misfit {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// Turns all rows into examples.
pub(super) fn examples(table: &RawTable, plan: &Plan<'_>) -> Built {
    let mut built = Built { examples: Vec::new(), quarantined: Vec::new(), unknown_labels: BTreeMap::new() };
    for row in &table.rows {
        match plan.example(row) {
            Ok(example) => built.examples.push(example),
            Err(Misfit::Other(reason)) => built.quarantined.push(plan.set_aside(table, row, reason)),
            Err(Misfit::Label(label)) => {
                let reason = format!("the answer {:?} is none of {:?}", shortened(&label), plan.prompt.options);
                built.quarantined.push(plan.set_aside(table, row, reason));
                *built.unknown_labels.entry(label).or_default() += 1;
            }
        }
    }
    built
}

fn shortened(label: &str) -> String {
    label.chars().take(60).collect()
}

impl Plan<'_> {
    fn example(&self, row: &RawRow) -> Result<Example, Misfit> {
        let (turns, answer) = if self.schema.is_chat() { self.chat(row)? } else { self.single(row)? };
        let answer = self.mapped(answer.trim());
        if !self.prompt.options.is_empty() && !self.prompt.options.contains(&answer) {
            return Err(Misfit::Label(answer));
        }
        let group = self.fields.group.as_ref().and_then(|column| row.values.get(column));
        Ok(Example {
            id: format!("{}/{}", self.source_name, row.row),
            prompt: turns,
            answer,
            options: self.prompt.options.clone(),
            group: group.filter(|group| !group.trim().is_empty()).map(|group| group.trim().to_owned()),
            rejected: None,
            origin: Origin { source: self.source_name.to_owned(), row: row.row, changed_by: Vec::new() },
        })
    }

    fn mapped(&self, answer: &str) -> String {
        self.fields.labels.get(answer).map_or(answer, String::as_str).to_owned()
    }

    /// A row with one question.
    fn single(&self, row: &RawRow) -> Result<(Vec<Message>, String), String> {
        let answer = match &self.schema.answer {
            Some(column) => row.values.get(column).ok_or_else(|| no_value(column))?.clone(),
            None => String::new(),
        };
        let input = if self.template.needs_input() { self.input(row)? } else { String::new() };
        let mut turns = self.opening(row, Vec::new());
        if let Some(column) = &self.schema.history {
            turns.extend(chat::history(row.values.get(column).map_or("", String::as_str))?);
        }
        turns.push(Message::user(self.rendered(&input, row)?));
        Ok((turns, answer))
    }

    /// A row with a whole conversation: the last turn of the person passes the template, the others stay.
    fn chat(&self, row: &RawRow) -> Result<(Vec<Message>, String), String> {
        let column = self.schema.input.first().ok_or("no conversation column")?;
        let turns = chat::turns(row.values.get(column).ok_or_else(|| no_value(column))?)?;
        let (turns, answer) = chat::prompt_and_answer(turns)?;
        let mut turns = self.opening(row, turns);
        if let Some(question) = turns.last_mut() {
            question.content = self.rendered(question.content.trim(), row)?;
        }
        Ok((turns, answer))
    }

    /// The turns with one system turn before them, made of the task's, the row's and the conversation's own.
    fn opening(&self, row: &RawRow, mut turns: Vec<Message>) -> Vec<Message> {
        let mut texts: Vec<String> = self.prompt.system.iter().cloned().collect();
        texts.extend(self.schema.system.as_ref().and_then(|column| row.values.get(column)).cloned());
        if turns.first().is_some_and(|turn| turn.role == Role::System) {
            texts.push(turns.remove(0).content);
        }
        texts.retain(|text| !text.trim().is_empty());
        if !texts.is_empty() {
            turns.insert(0, Message::system(texts.join("\n\n")));
        }
        turns
    }

    fn rendered(&self, input: &str, row: &RawRow) -> Result<String, String> {
        // The place of the options would be filled wherever it stands, so it must not come from the data.
        let values = self.template.columns().filter_map(|column| row.values.get(column).map(String::as_str));
        if values.chain([input]).any(|text| text.contains("{options}")) {
            return Err("the text holds {options}, which is a placeholder of prompts".to_owned());
        }
        self.template.render(input, &row.values).map_err(|column| no_value(&column))
    }

    /// What fills `{input}`.
    fn input(&self, row: &RawRow) -> Result<String, String> {
        let value = |column: &String| row.values.get(column).map(|text| text.trim());
        let Some((first, others)) = self.schema.input.split_first() else {
            return Ok(String::new());
        };
        if self.schema.kind == SchemaKind::Unknown {
            let named = |column: &String| Some(format!("{column}: {}", value(column)?));
            return Ok(self.schema.input.iter().filter_map(named).collect::<Vec<_>>().join("\n"));
        }
        let mut input = value(first).ok_or_else(|| no_value(first))?.to_owned();
        for text in others.iter().filter_map(value).filter(|text| !text.is_empty()) {
            input.push_str("\n\n");
            input.push_str(text);
        }
        for (letter, text) in ('A'..='Z').zip(self.schema.choices.iter().map(value)) {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                input.extend(['\n', letter, '.', ' ']);
                input.push_str(text);
            }
        }
        Ok(input)
    }

    fn set_aside(&self, table: &RawTable, row: &RawRow, reason: String) -> QuarantinedRow {
        let cells = table.fields.iter().filter_map(|column| Some(format!("{column}: {}", row.values.get(column)?)));
        QuarantinedRow {
            file: self.source_name.to_owned(),
            line: row.line,
            byte_offset: row.byte_offset,
            reason,
            excerpt: cells.collect::<Vec<_>>().join(" | ").chars().take(200).collect(),
        }
    }
}

fn no_value(column: &str) -> String {
    format!("no value in column {column:?}")
}
