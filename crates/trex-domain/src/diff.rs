//! The difference between two variants as named settings with "from" and "to". Always computed, never written by hand.

use std::collections::BTreeMap;

use crate::{DomainError, Operator, Recipe, TrainConfig, VariantDiff};
use serde_json::Value;

/// Text for a setting that is not there.
const OFF: &str = "off";

/// Every setting in which two variants differ: `learning_rate`, `lora.r`, `recipe.near_dedup` and so on.
///
/// An operator's text is its parameters, `on` where it has none and `off` where it is absent; `recipe.order` stands for
/// equal operators in another order.
pub fn variant_diff(from: (&Recipe, &TrainConfig), to: (&Recipe, &TrainConfig)) -> Result<VariantDiff, DomainError> {
    let before = settings(from)?;
    let after = settings(to)?;
    let text = |map: &BTreeMap<String, String>, name: &str| map.get(name).cloned().unwrap_or_else(|| OFF.to_owned());
    let mut diff: VariantDiff = before
        .keys()
        .chain(after.keys())
        .map(|name| (name.clone(), (text(&before, name), text(&after, name))))
        .filter(|(_, (from, to))| from != to)
        .collect();
    let same_operators = !diff.keys().any(|name| name.starts_with("recipe."));
    if same_operators && from.0 != to.0 {
        diff.insert("recipe.order".to_owned(), (order(from.0), order(to.0)));
    }
    Ok(diff)
}

/// An operator's parameters as text, such as `shingle_words 3, threshold 0.8`.
fn operator_text(operator: &Operator) -> Result<String, DomainError> {
    let mut leaves = BTreeMap::new();
    flatten("", &json(operator)?, &mut leaves);
    leaves.remove("op");
    let parameters: Vec<_> = leaves.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    Ok(if parameters.is_empty() { "on".to_owned() } else { parameters.join(", ") })
}

fn settings((recipe, config): (&Recipe, &TrainConfig)) -> Result<BTreeMap<String, String>, DomainError> {
    let mut out = BTreeMap::new();
    flatten("", &json(config)?, &mut out);
    for operator in &recipe.operators {
        let text = operator_text(operator)?;
        let entry = out.entry(format!("recipe.{}", operator.name())).or_default();
        // The same operator may stand twice in a recipe of the person.
        if !entry.is_empty() {
            entry.push_str("; ");
        }
        entry.push_str(&text);
    }
    Ok(out)
}

fn order(recipe: &Recipe) -> String {
    recipe.operators.iter().map(Operator::name).collect::<Vec<_>>().join(", ")
}

fn json(value: &impl serde::Serialize) -> Result<Value, DomainError> {
    serde_json::to_value(value).map_err(DomainError::NotJson)
}

fn flatten(name: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, entry) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, entry, out);
            }
        }
        Value::String(text) => {
            out.insert(name.to_owned(), text.clone());
        }
        other => {
            out.insert(name.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_what_changed_and_nothing_else() {
        let base = (Recipe::default(), TrainConfig::default());
        let mut next = base.clone();
        next.0.operators = vec![Operator::ValidAnswer, Operator::NearDedup { threshold: 0.8, shingle_words: 3 }];
        next.1.lora.r = 16;
        next.1.learning_rate = 0.0006;
        let diff = variant_diff((&base.0, &base.1), (&next.0, &next.1)).unwrap();
        let lines: Vec<_> = diff.iter().map(|(name, (from, to))| format!("{name}: {from} -> {to}")).collect();
        let expected = [
            "learning_rate: 0.0002 -> 0.0006",
            "lora.r: 8 -> 16",
            "recipe.near_dedup: off -> shingle_words 3, threshold 0.8",
            "recipe.valid_answer: off -> on",
        ];
        assert_eq!(lines, expected);
        assert!(variant_diff((&base.0, &base.1), (&base.0, &base.1)).unwrap().is_empty());
        let mut turned = next.clone();
        turned.0.operators.reverse();
        let diff = variant_diff((&next.0, &next.1), (&turned.0, &turned.1)).unwrap();
        assert_eq!(diff["recipe.order"].1, "near_dedup, valid_answer");
    }
}
