//! Compares a parsed task file with the JSON schema of the task file, so that every complaint names a place and what was
//! expected there. Knows only the parts of JSON Schema that the generated schema uses.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use trex_domain::nearest;

use super::{Source, TaskFileError};

/// Checks the whole file; the first complaint in order of the file is returned.
pub(super) fn check_root(
    source: &Source<'_>,
    root: &Spanned<DeTable<'_>>,
    schema: &Value,
) -> Result<(), TaskFileError> {
    Checker { source, definitions: schema.get("$defs") }.check_table(schema, root.get_ref(), 0, "")
}

struct Checker<'a> {
    source: &'a Source<'a>,
    definitions: Option<&'a Value>,
}

impl<'a> Checker<'a> {
    fn check_table(
        &self,
        schema: &'a Value,
        table: &DeTable<'_>,
        start: usize,
        path: &str,
    ) -> Result<(), TaskFileError> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let any_value = schema.get("additionalProperties").filter(|rest| rest.is_object());
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let Some(expected) = properties.and_then(|known| known.get(name)).or(any_value) else {
                let known: Vec<_> = properties.into_iter().flat_map(|known| known.keys().cloned()).collect();
                return Err(self.unknown_key(name, key.span().start, path, known));
            };
            self.check_value(expected, value, &full)?;
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if !table.contains_key(key) {
                let key = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                return Err(TaskFileError::MissingKey { place: Box::new(self.source.place(start)), key });
            }
        }
        Ok(())
    }

    fn unknown_key(&self, name: &str, offset: usize, path: &str, mut known: Vec<String>) -> TaskFileError {
        known.sort();
        TaskFileError::UnknownKey {
            place: Box::new(self.source.place(offset)),
            key: name.to_owned(),
            table: path.to_owned(),
            nearest: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
            known,
        }
    }

    fn check_value(&self, schema: &'a Value, value: &Spanned<DeValue<'_>>, key: &str) -> Result<(), TaskFileError> {
        let (alternatives, words) = self.alternatives(schema);
        let place = Box::new(self.source.place(value.span().start));
        if let DeValue::String(found) = value.get_ref()
            && !words.is_empty()
        {
            if words.contains(&found.as_ref()) {
                return Ok(());
            }
            let allowed = words.into_iter().map(str::to_owned).collect();
            return Err(TaskFileError::UnknownWord { place, key: key.to_owned(), found: found.to_string(), allowed });
        }
        let Some(fitting) = alternatives.iter().find(|one| fits(one, value.get_ref())) else {
            let mut expected: Vec<_> = alternatives.iter().filter_map(|one| type_in_words(one)).collect();
            expected.dedup();
            return Err(TaskFileError::WrongType {
                place,
                key: key.to_owned(),
                found: value_in_words(value.get_ref()),
                expected: expected.join(" or "),
            });
        };
        match value.get_ref() {
            DeValue::Table(table) => self.check_table(fitting, table, value.span().start, key),
            DeValue::Array(items) => match fitting.get("items") {
                Some(item) => items.iter().try_for_each(|entry| self.check_value(item, entry, key)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// What a value may be, and the words of a closed list. References are followed, `anyOf` and `oneOf` taken apart.
    fn alternatives(&self, schema: &'a Value) -> (Vec<&'a Value>, Vec<&'a str>) {
        let (mut found, mut words) = (Vec::new(), Vec::new());
        let mut open = vec![schema];
        while let Some(schema) = open.pop() {
            let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            if let Some(target) = name.and_then(|name| self.definitions?.get(name)) {
                open.push(target);
                continue;
            }
            if let Some(parts) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
                open.extend(parts.iter().rev());
                continue;
            }
            words.extend(schema.get("const").and_then(Value::as_str));
            words.extend(schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
            found.push(schema);
        }
        (found, words)
    }
}

/// The JSON types that a schema allows; none where it allows all.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_natural(schema: &Value) -> bool {
    schema.get("minimum").and_then(Value::as_f64).is_some_and(|minimum| minimum >= 0.0)
}

fn fits(schema: &Value, value: &DeValue<'_>) -> bool {
    let types = types(schema);
    let allowed = |kind: &str| types.is_empty() || types.contains(&kind);
    match value {
        DeValue::String(_) => allowed("string"),
        DeValue::Integer(number) => {
            allowed("number") || allowed("integer") && !(is_natural(schema) && number.as_str().starts_with('-'))
        }
        DeValue::Float(_) => allowed("number"),
        DeValue::Boolean(_) => allowed("boolean"),
        DeValue::Datetime(_) => false,
        DeValue::Array(_) => allowed("array"),
        DeValue::Table(_) => allowed("object"),
    }
}

fn type_in_words(schema: &Value) -> Option<&'static str> {
    let kind = types(schema).into_iter().find(|kind| *kind != "null")?;
    Some(match kind {
        "string" => "a text in quotes",
        "integer" if is_natural(schema) => "a whole number of at least 0",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    })
}

fn value_in_words(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        DeValue::Integer(number) => format!("the whole number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
