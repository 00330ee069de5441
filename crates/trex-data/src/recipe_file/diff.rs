//! What two recipes do differently, setting by setting. Judges neither.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::RecipeFile;
use crate::DataError;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecipeChange {
    /// The setting, such as `operators.near_dedup.threshold`; a second step of one name is `near_dedup#2`.
    pub setting: String,
    /// Its value in the first recipe; none where it is new.
    pub before: Option<String>,
    /// Its value in the second recipe; none where it is gone.
    pub after: Option<String>,
}

/// The differences from one recipe to another, in the order of the settings; none for equal ones.
pub fn diff_recipes(before: &RecipeFile, after: &RecipeFile) -> Result<Vec<RecipeChange>, DataError> {
    let (old, new) = (settings(before)?, settings(after)?);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| {
        let (before, after) = (old.get(name).cloned(), new.get(name).cloned());
        (before != after).then(|| RecipeChange { setting: name.clone(), before, after })
    };
    Ok(names.into_iter().filter_map(change).collect())
}

/// All settings by name; steps and sources by what they are called, and their order as a setting of its own.
fn settings(recipe: &RecipeFile) -> Result<BTreeMap<String, String>, DataError> {
    let value = serde_json::to_value(recipe).map_err(trex_domain::DomainError::NotJson)?;
    let mut settings = BTreeMap::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("operators", Value::Array(steps)) => named(&mut settings, "operators", "op", steps),
            ("sources", Value::Array(sources)) => named(&mut settings, "sources", "path", sources),
            _ => flatten(&mut settings, key, value),
        }
    }
    Ok(settings)
}

fn named(settings: &mut BTreeMap<String, String>, list: &str, by: &str, entries: &[Value]) {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in entries {
        let name = entry.get(by).and_then(Value::as_str).unwrap_or_default();
        let count = uses.entry(name).or_default();
        *count += 1;
        let name = if *count > 1 { format!("{name}#{count}") } else { name.to_owned() };
        flatten(settings, &format!("{list}.{name}"), entry);
        order.push(name);
    }
    settings.insert(format!("{list}.order"), order.join(", "));
}

fn flatten(settings: &mut BTreeMap<String, String>, name: &str, value: &Value) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                flatten(settings, &format!("{name}.{key}"), value);
            }
        }
        other => {
            settings.insert(name.to_owned(), other.to_string());
        }
    }
}
