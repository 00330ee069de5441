//! The words of `assets/playbook/requirements.toml`, and where they occur in a text. Judges nothing.

use serde::Deserialize;

use crate::ResearchError;

/// All rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    rule: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    field: String,
    value: String,
    #[serde(default = "yes")]
    certain: bool,
    words: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Rules {
    /// The rules that come with the program.
    pub fn built_in() -> Result<Self, ResearchError> {
        Self::parse(include_str!("../../../../assets/playbook/requirements.toml"))
    }

    fn parse(text: &str) -> Result<Self, ResearchError> {
        toml::from_str(text)
            .map_err(|source| ResearchError::BadRules { file: "requirements.toml", source: Box::new(source) })
    }

    /// Every value of a field that the text says, with the word, in the order of the text.
    pub(super) fn certain(&self, field: &str, text: &str) -> Vec<(String, String)> {
        let mut found: Vec<(usize, String, String)> = Vec::new();
        for rule in self.rule.iter().filter(|rule| rule.field == field && rule.certain) {
            let first = rule.words.iter().filter_map(|word| Some((place(text, word)?, word))).min();
            if let Some((place, word)) = first
                && !found.iter().any(|(_, value, _)| *value == rule.value)
            {
                found.push((place, rule.value.clone(), word.clone()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, value, word)| (value, word)).collect()
    }

    /// The value of a field that the text says first.
    pub(super) fn first_certain(&self, field: &str, text: &str) -> Option<(String, String)> {
        self.certain(field, text).into_iter().next()
    }

    /// The value of a field that the text lets guess, certain words included.
    pub(super) fn guess(&self, field: &str, text: &str) -> Option<(String, String)> {
        let rules = self.rule.iter().filter(|rule| rule.field == field);
        let found =
            rules.flat_map(|rule| rule.words.iter().filter_map(|word| Some((place(text, word)?, word, &rule.value))));
        found.min().map(|(_, word, value)| (value.clone(), word.clone()))
    }
}

/// Lower case, dashes and quotes as spaces, one space between words.
pub(super) fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain = lower.replace(['-', '–', '_', '"', '“', '”', '\''], " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a word stands in a normalised text; one of Latin letters must not be a part of a longer one.
fn place(text: &str, word: &str) -> Option<usize> {
    let needs_borders = word.is_ascii();
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        let is_letter = |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphanumeric());
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !needs_borders || !(is_letter(before) || is_letter(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_in_order() {
        let rules = Rules::built_in().unwrap();
        let check = |field: &str, text: &str, expected: &[&str]| {
            let found = rules.certain(field, &normalised(text));
            let values: Vec<&str> = found.iter().map(|(value, _)| value.as_str()).collect();
            assert_eq!(values, expected, "{text}");
        };
        check("metric", "Macro-F1, then accuracy", &["macro_f1", "accuracy"]);
        check("metric", "inaccuracy", &[]);
        check("metric", "用宏平均F1评估", &["macro_f1"]);
        check("kind", "rewritten", &[]);
        check("problem", "Prometheus videoconference", &[]);
    }

    #[test]
    fn every_value_of_a_rule_is_one_that_exists() {
        for rule in Rules::built_in().unwrap().rule {
            let value = serde_json::Value::String(rule.value.clone());
            let is_known = match rule.field.as_str() {
                "metric" | "suggested_metric" => serde_json::from_value::<trex_domain::Metric>(value).is_ok(),
                "kind" => serde_json::from_value::<trex_domain::TaskKind>(value).is_ok(),
                "problem" => ["not_text", "test_split", "target_perfect"].contains(&rule.value.as_str()),
                _ => false,
            };
            assert!(is_known && !rule.words.is_empty(), "{rule:?}");
            for word in &rule.words {
                assert_eq!(*word, normalised(word), "words are matched in normal form");
            }
        }
    }
}
