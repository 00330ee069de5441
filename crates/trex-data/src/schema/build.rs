//! One row → one example, or the reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use rayon::prelude::*;
use trex_domain::{Example, FieldMap, Message, Origin, PromptSpec, QuarantinedRow, Role};

use super::preference::{self, Pair};
use super::template::Template;
use super::{SchemaGuess, SchemaKind, chat, choice};
use crate::{DataError, RawRow};

/// Unknown answers that an error lists.
const MAX_LISTED: usize = 10;

/// Distinct unknown answers that are counted.
const MAX_UNKNOWN: usize = 10_000;

/// Rows that one task turns into examples.
const ROWS_PER_TASK: usize = 64;

/// All that is needed to turn rows into examples.
pub(super) struct Plan<'a> {
    pub(super) source_name: &'a str,
    pub(super) schema: &'a SchemaGuess,
    pub(super) template: &'a Template,
    pub(super) prompt: &'a PromptSpec,
    pub(super) fields: &'a FieldMap,
}

/// Rows that fitted and rows that did not.
#[derive(Default)]
pub(super) struct Built {
    pub(super) examples: Vec<Example>,
    pub(super) quarantined: Vec<QuarantinedRow>,
}

/// The answers of all rows so far, as far as a closed answer space needs to know them.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    /// Options that some row has.
    seen: BTreeSet<String>,
    /// Answers that are none of the options, with their counts.
    unknown: BTreeMap<String, usize>,
}

impl Labels {
    /// Fails when answers are outside the options and some option has no row, or no row is left at all: then the mapping
    /// is wrong, not the rows.
    pub(super) fn check(&self, file: &str, prompt: &PromptSpec) -> Result<(), DataError> {
        let all_occur = !self.seen.is_empty() && prompt.options.iter().all(|option| self.seen.contains(option));
        if self.unknown.is_empty() || all_occur {
            return Ok(());
        }
        let mut found: Vec<(&String, &usize)> = self.unknown.iter().collect();
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

/// Turns rows into examples.
pub(super) fn examples(rows: &[RawRow], columns: &[String], plan: &Plan<'_>, labels: &mut Labels) -> Built {
    let mut built = Built::default();
    let examples: Vec<Result<Example, Misfit>> =
        rows.par_iter().with_min_len(ROWS_PER_TASK).map(|row| plan.example(row)).collect();
    for (row, example) in rows.iter().zip(examples) {
        match example {
            Ok(example) => {
                if !plan.prompt.options.is_empty() && !labels.seen.contains(&example.answer) {
                    labels.seen.insert(example.answer.clone());
                }
                built.examples.push(example);
            }
            Err(Misfit::Other(reason)) => built.quarantined.push(set_aside(columns, row, reason)),
            Err(Misfit::Label(label)) => {
                let reason = format!("the answer {:?} is none of {:?}", shortened(&label), plan.prompt.options);
                built.quarantined.push(set_aside(columns, row, reason));
                if labels.unknown.len() < MAX_UNKNOWN || labels.unknown.contains_key(&label) {
                    *labels.unknown.entry(label).or_default() += 1;
                }
            }
        }
    }
    built
}

fn set_aside(columns: &[String], row: &RawRow, reason: String) -> QuarantinedRow {
    let cells = columns.iter().filter_map(|column| Some(format!("{column}: {}", row.values.get(column.as_str())?)));
    QuarantinedRow {
        file: row.file.to_string(),
        line: row.line,
        byte_offset: row.byte_offset,
        reason,
        excerpt: cells.collect::<Vec<_>>().join(" | ").chars().take(200).collect(),
    }
}

fn shortened(label: &str) -> String {
    label.chars().take(60).collect()
}

impl Plan<'_> {
    fn example(&self, row: &RawRow) -> Result<Example, Misfit> {
        let mut options = self.prompt.options.clone();
        let (turns, answer) = match self.schema.kind {
            SchemaKind::Preference => {
                let pair = self.preference(row)?;
                if options.is_empty() {
                    options = vec![pair.chosen.clone(), pair.rejected];
                }
                (pair.prompt, pair.chosen)
            }
            _ if self.schema.is_chat() => self.chat(row)?,
            SchemaKind::PromptCompletion | SchemaKind::UnpairedPreference => match self.listed(row) {
                Some(turns) => self.conversation(row, turns)?,
                None => self.single(row)?,
            },
            _ => self.single(row)?,
        };
        let answer = self.mapped(answer.trim());
        if !options.is_empty() && !options.contains(&answer) {
            return Err(Misfit::Label(answer));
        }
        let group = self.fields.group.as_ref().and_then(|column| row.values.get(column.as_str()));
        Ok(Example {
            id: format!("{}/{}", self.source_name, row.row),
            prompt: turns,
            answer,
            options,
            group: group.filter(|group| !group.trim().is_empty()).map(|group| group.trim().to_owned()),
            rejected: None,
            origin: Origin { source: self.source_name.to_owned(), row: row.row, changed_by: Vec::new() },
        })
    }

    /// A row with a better and a worse answer.
    fn preference(&self, row: &RawRow) -> Result<Pair, String> {
        let value = |column: &Option<String>| {
            let column = column.as_ref().ok_or("no column for both answers")?;
            row.values.get(column.as_str()).map(String::as_str).ok_or_else(|| no_value(column))
        };
        let prompt = self.schema.input.first().and_then(|column| row.values.get(column.as_str()));
        let mut pair =
            preference::pair(prompt.map(String::as_str), value(&self.schema.answer)?, value(&self.schema.rejected)?)?;
        pair.prompt = self.opening(row, pair.prompt);
        if let Some(question) = pair.prompt.last_mut() {
            question.content = self.rendered(question.content.trim(), row)?;
        }
        Ok(pair)
    }

    /// A completion that somebody found bad is no answer.
    fn check_verdict(&self, row: &RawRow) -> Result<(), String> {
        match &self.schema.verdict {
            Some(column) if !row.values.get(column.as_str()).is_some_and(|verdict| is_good(verdict)) => {
                Err(format!("column {column:?} says that the completion is a bad one"))
            }
            _ => Ok(()),
        }
    }

    fn mapped(&self, answer: &str) -> String {
        self.fields.labels.get(answer).map_or(answer, String::as_str).to_owned()
    }

    /// A row with one question.
    fn single(&self, row: &RawRow) -> Result<(Vec<Message>, String), String> {
        self.check_verdict(row)?;
        let answer = match &self.schema.answer {
            Some(column) => self.answer(row.values.get(column.as_str()).ok_or_else(|| no_value(column))?, row)?,
            None => String::new(),
        };
        let input = if self.template.needs_input() { self.input(row)? } else { String::new() };
        let mut turns = self.opening(row, Vec::new());
        if let Some(column) = &self.schema.history {
            turns.extend(chat::history(row.values.get(column.as_str()).map_or("", String::as_str))?);
        }
        turns.push(Message::user(self.rendered(&input, row)?));
        Ok((turns, answer))
    }

    /// Prompt and completion as one conversation, where the prompt is a list of turns (TRL calls it conversational).
    fn listed(&self, row: &RawRow) -> Option<Vec<Message>> {
        let value = |column: Option<&String>| row.values.get(column?.as_str());
        let mut turns = chat::listed_turns(value(self.schema.input.first())?)?;
        let completion = value(self.schema.answer.as_ref())?;
        match chat::listed_turns(completion) {
            Some(answers) => turns.extend(answers),
            None => turns.push(Message::assistant(completion.clone())),
        }
        Some(turns)
    }

    /// A row with a whole conversation.
    fn chat(&self, row: &RawRow) -> Result<(Vec<Message>, String), String> {
        let column = self.schema.input.first().ok_or("no conversation column")?;
        let turns = chat::turns(row.values.get(column.as_str()).ok_or_else(|| no_value(column))?)?;
        self.conversation(row, turns)
    }

    /// The last turn of the person passes the template, the others stay.
    fn conversation(&self, row: &RawRow, turns: Vec<Message>) -> Result<(Vec<Message>, String), String> {
        self.check_verdict(row)?;
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
        texts.extend(self.schema.system.as_ref().and_then(|column| row.values.get(column.as_str())).cloned());
        let tools = self.schema.tools.as_ref().and_then(|column| row.values.get(column.as_str()));
        texts.extend(tools.and_then(|tools| chat::tools_text(tools)));
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
        let value = |column: &String| row.values.get(column.as_str()).map(|text| text.trim());
        let Some((first, others)) = self.schema.input.split_first() else {
            return Ok(String::new());
        };
        if self.schema.kind == SchemaKind::Unknown {
            let named = |column: &String| Some(format!("{column}: {}", value(column)?));
            // Columns that only later rows have come last.
            let is_late = |column: &&Arc<str>| !self.schema.input.iter().any(|known| **known == ***column);
            let late = row.values.keys().filter(is_late).map(ToString::to_string);
            let columns: Vec<String> = self.schema.input.iter().cloned().chain(late).collect();
            return Ok(columns.iter().filter_map(named).collect::<Vec<_>>().join("\n"));
        }
        let mut input = value(first).ok_or_else(|| no_value(first))?.to_owned();
        for text in others.iter().filter_map(value).filter(|text| !text.is_empty()) {
            input.push_str("\n\n");
            input.push_str(text);
        }
        if let Some(column) = &self.schema.choice_list {
            for choice in choice::list(value(column).ok_or_else(|| no_value(column))?)? {
                write!(input, "\n{}. {}", choice.label, choice.text).ok();
            }
        }
        for (letter, text) in ('A'..='Z').zip(self.schema.choices.iter().map(value)) {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                input.extend(['\n', letter, '.', ' ']);
                input.push_str(text);
            }
        }
        Ok(input)
    }

    /// The gold answer as the model should give it.
    fn answer(&self, raw: &str, row: &RawRow) -> Result<String, String> {
        if let Some(column) = &self.schema.choice_list {
            let choices = choice::list(row.values.get(column.as_str()).ok_or_else(|| no_value(column))?)?;
            return choice::answer(raw, &choices);
        }
        let is_question = self.schema.kind == SchemaKind::QuestionAnswer;
        Ok(if is_question { choice::first_answer(raw) } else { raw.to_owned() })
    }
}

fn is_good(verdict: &str) -> bool {
    matches!(verdict.trim().to_lowercase().as_str(), "true" | "1" | "yes" | "good")
}

fn no_value(column: &str) -> String {
    format!("no value in column {column:?}")
}
