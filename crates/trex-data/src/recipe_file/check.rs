//! Compares a parsed recipe with the JSON schema of recipe files, so that an unknown key or operator is named with its
//! place and the nearest known one. Types of values are left to the parser.

use std::path::Path;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use trex_domain::nearest;

use super::{OperatorDoc, ParameterDoc, RecipeFile, RecipePlace};
use crate::DataError;

/// The schema with its keys in order.
pub(super) fn schema() -> Value {
    sorted(schemars::schema_for!(RecipeFile).to_value())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

/// Line and column of a byte of a text.
pub(super) fn place_of(text: &str, path: &Path, offset: usize) -> RecipePlace {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    RecipePlace {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Checks keys and operator names of the whole file.
pub(super) fn check(text: &str, path: &Path) -> Result<(), DataError> {
    let root = DeTable::parse(text).map_err(|err| super::refused(text, path, &err))?;
    let schema = schema();
    let checker = Checker { text, path, schema: &schema };
    checker.table(&schema, root.get_ref(), "")
}

struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
    schema: &'a Value,
}

impl Checker<'_> {
    fn table(&self, schema: &Value, table: &DeTable<'_>, name: &str) -> Result<(), DataError> {
        let Some(schema) = self.variant(schema, table)? else { return Ok(()) };
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
        if schema.get("additionalProperties").is_some_and(Value::is_object) {
            return Ok(());
        }
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let Some(expected) = properties.get(key.get_ref().as_ref()) else {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                return Err(self.unknown("key", key.get_ref(), key.span().start, name, &known));
            };
            self.value(expected, value, key.get_ref())?;
        }
        Ok(())
    }

    fn value(&self, schema: &Value, value: &Spanned<DeValue<'_>>, name: &str) -> Result<(), DataError> {
        let schema = self.resolved(schema);
        match value.get_ref() {
            DeValue::Table(table) => self.table(schema, table, name),
            DeValue::Array(items) => match schema.get("items") {
                Some(item) => items.iter().try_for_each(|entry| self.value(item, entry, name)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Follows references and takes what is not `null` of alternatives.
    fn resolved<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        loop {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#"));
            let alternatives = schema.get("anyOf").and_then(Value::as_array);
            let next = match (target, alternatives) {
                (Some(path), _) => self.schema.pointer(path),
                (None, Some(parts)) => {
                    parts.iter().find(|part| part.get("type").and_then(Value::as_str) != Some("null"))
                }
                (None, None) => return schema,
            };
            match next {
                Some(next) => schema = next,
                None => return schema,
            }
        }
    }

    /// Of an operator the schema that its `op` names; of anything else the schema itself.
    fn variant<'s>(&'s self, schema: &'s Value, table: &DeTable<'_>) -> Result<Option<&'s Value>, DataError> {
        let schema = self.resolved(schema);
        let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else { return Ok(Some(schema)) };
        let Some((_, op)) = table.iter().find(|(key, _)| key.get_ref() == "op") else { return Ok(None) };
        let DeValue::String(found) = op.get_ref() else { return Ok(None) };
        let variant = variants.iter().find(|variant| name_of(variant) == Some(found));
        if variant.is_none() {
            let known: Vec<&str> = variants.iter().filter_map(name_of).collect();
            return Err(self.unknown("operator", found, op.span().start, "operators", &known));
        }
        Ok(variant)
    }

    fn unknown(&self, what: &'static str, found: &str, offset: usize, table: &str, known: &[&str]) -> DataError {
        DataError::RecipeUnknown {
            place: Box::new(place_of(self.text, self.path, offset)),
            what,
            found: found.to_owned(),
            table: table.into(),
            nearest: nearest(found, known.iter().copied()).map(str::to_owned),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn name_of(variant: &Value) -> Option<&str> {
    variant.pointer("/properties/op/const").and_then(Value::as_str)
}

/// The operators as their types document them.
pub(super) fn operator_docs() -> Vec<OperatorDoc> {
    let schema = schemars::schema_for!(trex_domain::Operator).to_value();
    let variants = schema.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| {
        let doc = value.get("description").and_then(Value::as_str).unwrap_or_default();
        doc.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let doc = |variant: &Value| {
        let properties = variant.get("properties").and_then(Value::as_object)?;
        let parameters = properties.iter().filter(|(name, _)| *name != "op").map(|(name, value)| ParameterDoc {
            name: name.clone(),
            doc: text(value),
            default: value.get("default").cloned(),
        });
        Some(OperatorDoc { name: name_of(variant)?.to_owned(), doc: text(variant), parameters: parameters.collect() })
    };
    variants.iter().filter_map(doc).collect()
}
