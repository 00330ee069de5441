//! The prompt template of a task: text with places for columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use trex_domain::PromptSpec;

use super::nearest_column;
use crate::DataError;

/// The place of the options, which is filled later, per seed.
pub(super) const OPTIONS: &str = "options";

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Input,
    Column(String),
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Parses a template. Braces around anything that could not be a column name, as in JSON, are text.
    pub(super) fn parse(prompt: &PromptSpec, columns: &[String], file: &str) -> Result<Self, DataError> {
        let mut parts = Vec::new();
        let mut rest = prompt.template.as_str();
        while let Some(open) = rest.find('{') {
            let (before, from_brace) = rest.split_at(open);
            push_text(&mut parts, before);
            let inside = from_brace[1..].find(['{', '}']).map(|end| &from_brace[1..=end]);
            let name = inside.filter(|name| from_brace[1 + name.len()..].starts_with('}'));
            let Some(name) = name else {
                push_text(&mut parts, "{");
                rest = &from_brace[1..];
                continue;
            };
            parts.push(part(name, prompt, columns, file)?);
            rest = &from_brace[name.len() + 2..];
        }
        push_text(&mut parts, rest);
        Ok(Self { parts })
    }

    /// Whether `{input}` occurs.
    pub(super) fn needs_input(&self) -> bool {
        self.parts.contains(&Part::Input)
    }

    /// Whether a column fills a place here.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Fills the places; or the name of a column without value.
    pub(super) fn render(&self, input: &str, values: &BTreeMap<Arc<str>, String>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(fixed) => fixed,
                Part::Input => input,
                Part::Column(name) => values.get(name.as_str()).ok_or_else(|| name.clone())?.trim(),
            });
        }
        Ok(text)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn part(name: &str, prompt: &PromptSpec, columns: &[String], file: &str) -> Result<Part, DataError> {
    match name {
        "input" => Ok(Part::Input),
        OPTIONS if prompt.options.is_empty() => Err(DataError::NoOptions),
        OPTIONS => Ok(Part::Text("{options}".to_owned())),
        _ if columns.iter().any(|column| column == name) => Ok(Part::Column(name.to_owned())),
        _ if could_be_column(name) => Err(DataError::UnknownPlaceholder {
            file: file.to_owned(),
            placeholder: name.to_owned(),
            columns: columns.to_vec(),
            nearest: nearest_placeholder(name, columns),
        }),
        _ => Ok(Part::Text(format!("{{{name}}}"))),
    }
}

fn could_be_column(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && name.chars().all(|c| c.is_alphanumeric() || " _-.".contains(c))
}

fn nearest_placeholder(name: &str, columns: &[String]) -> Option<String> {
    let known: Vec<String> = ["input", OPTIONS].into_iter().map(String::from).chain(columns.iter().cloned()).collect();
    nearest_column(name, &known)
}
