//! Values of other trainers' files: one setting's text, number or list, or an error that names its key. Knows no key.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{DomainError, Precision, TargetModules};

pub(super) fn bad(path: &str, value: &Value, expected: &'static str) -> DomainError {
    DomainError::BadSetting { key: path.to_owned(), value: shortened(value), expected }
}

/// A number, also one in quotes: YAML takes `2e-4` for a text.
pub(super) fn number(path: &str, value: &Value) -> Result<f64, DomainError> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| bad(path, value, "a number"))
}

/// Ranks or alphas by module. What keys mean is checked with the whole configuration.
pub(super) fn pattern(path: &str, value: &Value) -> Result<BTreeMap<String, usize>, DomainError> {
    let map = value.as_object().ok_or_else(|| bad(path, value, "a table of modules with whole numbers"))?;
    map.iter().map(|(key, number)| Ok((key.clone(), count(&format!("{path}.{key}"), number)?))).collect()
}

pub(super) fn count(path: &str, value: &Value) -> Result<usize, DomainError> {
    let number = number(path, value)?;
    if number < 0.0 || number.fract() != 0.0 || number > 1e15 {
        return Err(bad(path, value, "a whole number of at least 0"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let count = number as usize;
    Ok(count)
}

pub(super) fn truth(path: &str, value: &Value) -> Result<bool, DomainError> {
    match plain_text(value).as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(bad(path, value, "true or false")),
    }
}

/// True or false, or the name of a way to do it that differs in where activations are kept only.
pub(super) fn checkpointing(path: &str, value: &Value) -> Result<bool, DomainError> {
    match plain_text(value).as_str() {
        "unsloth" | "offload" | "offload_disk" => Ok(true),
        _ => truth(path, value),
    }
}

/// `auto` of Axolotl is bfloat16 where the processor has it; here it is a choice of the person.
pub(super) fn precision(path: &str, value: &Value) -> Result<Precision, DomainError> {
    match plain_text(value).as_str() {
        "auto" => Ok(Precision::F32),
        "full" => Ok(Precision::Bf16),
        _ => truth(path, value).map(|bf16| if bf16 { Precision::Bf16 } else { Precision::F32 }),
    }
}

/// A list, `all-linear` (`all` in LLaMA-Factory), or names separated by commas.
pub(super) fn targets(path: &str, value: &Value) -> Result<TargetModules, DomainError> {
    let names: Vec<String> = match value {
        Value::String(word) if matches!(word.as_str(), "all-linear" | "all") => {
            return Ok(TargetModules::Keyword("all-linear".to_owned()));
        }
        Value::String(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
        Value::Array(names) => names.iter().map(plain_case).collect(),
        _ => return Err(bad(path, value, "a list of names or all-linear")),
    };
    if names == ["all"] || names == ["all-linear"] {
        return Ok(TargetModules::Keyword("all-linear".to_owned()));
    }
    Ok(TargetModules::List(names))
}

/// A value as its text in lower case.
pub(super) fn plain_text(value: &Value) -> String {
    plain_case(value).to_lowercase()
}

pub(super) fn plain_case(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value for a message.
pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        text
    } else {
        format!("{}…", text.chars().take(LONGEST).collect::<String>())
    }
}
