//! Who answers for the Researcher, in which order at which stage, and what that costs: a small TOML file. Holds no key.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::Stage;

use crate::ResearchError;
use crate::llm::{Endpoint, PriceTable};

/// The answerer without a language model.
pub const PLAYBOOK: &str = "playbook";

/// What the name of a model of this program's own registry begins with.
pub const LOCAL: &str = "local:";

/// The settings of the Researcher.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResearcherSettings {
    /// Who is asked, in this order until one answers: `preset:model`, an address, `local:NAME`, or `playbook`, which always answers last.
    pub order: Vec<String>,
    /// Another order for single stages.
    pub stages: BTreeMap<Stage, Vec<String>>,
    /// Prices in US dollars for a million tokens.
    #[schemars(with = "BTreeMap<String, BTreeMap<String, f64>>")]
    pub prices: PriceTable,
}

impl ResearcherSettings {
    /// Settings in which one answerer comes before the Playbook.
    #[must_use]
    pub fn with_first(self, answerer: &str) -> Self {
        Self { order: vec![answerer.to_owned()], stages: BTreeMap::new(), ..self }
    }

    /// Reads a file; the defaults where there is none.
    pub fn read(path: &Path) -> Result<Self, ResearchError> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = trex_fs::read_to_string(path)?;
        let settings: Self = toml::from_str(&text)
            .map_err(|source| ResearchError::BadSettings { path: path.to_owned(), source: Box::new(source) })?;
        if let Some((model, _)) = settings.prices.0.iter().find(|(_, price)| !price.is_valid()) {
            return Err(ResearchError::BadPrice { model: model.clone() });
        }
        Ok(settings)
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<(), ResearchError> {
        let text = toml::to_string_pretty(self).map_err(|source| ResearchError::NoToml { source: Box::new(source) })?;
        Ok(trex_fs::write_atomic(path, text.as_bytes())?)
    }

    /// Who is asked at a stage before the Playbook, in order, each once.
    pub fn models_for(&self, stage: Stage) -> Vec<&str> {
        let order = self.stages.get(&stage).unwrap_or(&self.order);
        let before = order.iter().map(String::as_str).take_while(|name| *name != PLAYBOOK);
        let mut names = Vec::new();
        for name in before {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Everybody who is asked at any stage.
    pub fn models(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Stage::ALL.into_iter().flat_map(|stage| self.models_for(stage)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Checks that every name can be parsed. `lookup` returns the value of an environment variable.
    pub fn check(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), crate::llm::ModelError> {
        let elsewhere = self.models().into_iter().filter(|name| !name.starts_with(LOCAL));
        elsewhere.into_iter().try_for_each(|name| Endpoint::parse(name, lookup).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;

    use super::*;

    #[test]
    fn a_file_says_who_answers_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("researcher.toml");
        assert_eq!(ResearcherSettings::read(&path).unwrap(), ResearcherSettings::default());
        let text = "order = [\"ollama:a\", \"ollama:a\", \"openai:b\", \"playbook\", \"jan:c\"]\n\
                    [stages]\npropose_experiments = [\"playbook\"]\n\
                    [prices.\"openai:b\"]\ninput = 1.5\noutput = 6\n";
        std::fs::write(&path, text).unwrap();
        let settings = ResearcherSettings::read(&path).unwrap();
        assert_eq!(settings.models_for(Stage::ProposeStrategies), ["ollama:a", "openai:b"]);
        assert!(settings.models_for(Stage::ProposeExperiments).is_empty());
        assert_eq!(settings.models(), ["ollama:a", "openai:b"]);
        settings.write(&path).unwrap();
        assert_eq!(ResearcherSettings::read(&path).unwrap(), settings);
        for (text, code) in [
            ("ordr = []", "researcher.bad_settings"),
            ("[stages]\ndream = []", "researcher.bad_settings"),
            ("[prices.m]\ninput = -1.0\noutput = 1.0", "researcher.bad_price"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(ResearcherSettings::read(&path).unwrap_err().code(), code, "{text}");
        }
    }
}
