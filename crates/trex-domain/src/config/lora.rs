//! Low-rank adapters: which layers get one, of what rank and scale, under the names of PEFT's `LoraConfig`.
//!
//! Knows the names of modules, not a model: whether a model has them is for the verifier and the trainer to say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// The linear layers that get an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetModules {
    /// `"all-linear"`: every projection of every layer.
    Keyword(String),
    /// Names such as `q_proj`.
    List(Vec<String>),
}

impl TargetModules {
    /// All projections of a Llama-family layer, in the order of the layer.
    pub const ALL_LINEAR: [&'static str; 7] =
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    /// Projections that stand for several of those in some families (Phi-3).
    pub const FUSED: [&'static str; 2] = ["qkv_proj", "gate_up_proj"];

    /// Every projection of a layer.
    pub fn all() -> Self {
        Self::Keyword("all-linear".to_owned())
    }

    /// Resolves the keyword, for a Llama-family layer, and checks every name.
    pub fn names(&self) -> Result<Vec<&'static str>, DomainError> {
        let unknown = |name: &str| DomainError::UnknownTargetModule { name: name.to_owned() };
        match self {
            Self::Keyword(word) if word == "all-linear" => Ok(Self::ALL_LINEAR.to_vec()),
            Self::Keyword(word) => Err(unknown(word)),
            Self::List(names) if names.is_empty() => Err(unknown("")),
            Self::List(names) => {
                if let Some(name) = names.iter().find(|name| !Self::known().any(|known| known == name.as_str())) {
                    return Err(unknown(name));
                }
                Ok(Self::known().filter(|known| names.iter().any(|name| name == known)).collect())
            }
        }
    }

    /// Whether a projection gets an adapter in the models that have it.
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::Keyword(_) => true,
            Self::List(names) => names.iter().any(|target| target == name),
        }
    }

    fn known() -> impl Iterator<Item = &'static str> {
        Self::ALL_LINEAR.into_iter().chain(Self::FUSED)
    }
}

/// Low-rank adapters: `y = x Wᵀ + scale · (x Aᵀ) Bᵀ` with A of shape (r, in) and B of shape (out, r).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank, at least 1.
    pub r: usize,
    /// Numerator of the scale, at least 1; PEFT and Ollama read an integer.
    pub lora_alpha: usize,
    /// Share of adapter inputs that are zeroed in training, in [0, 1).
    #[serde(default)]
    pub lora_dropout: f64,
    /// Where adapters sit.
    pub target_modules: TargetModules,
    /// Scale by alpha/√r instead of alpha/r.
    #[serde(default)]
    pub use_rslora: bool,
    /// Ranks of single modules that differ from `r`. A key is a module's path or the end of one, from the name of the
    /// projection on: `q_proj`, `self_attn.q_proj`, `layers.3.mlp.down_proj`. Of several keys that fit a module the
    /// first in alphabetical order counts, as in the files that PEFT writes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Numerators of the scale of single modules that differ from `lora_alpha`, by the same keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, usize>,
}

impl LoraConfig {
    /// Largest rank.
    pub const MAX_RANK: usize = 1024;

    const RANK_PATTERN: &'static str = "lora.rank_pattern";

    /// Whether adapters of the other configuration are adapters of this one: everything but the dropout is equal.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let same_targets = self.target_modules.names().ok() == other.target_modules.names().ok();
        let same_patterns = self.rank_pattern == other.rank_pattern && self.alpha_pattern == other.alpha_pattern;
        let same_scale = self.lora_alpha == other.lora_alpha && self.use_rslora == other.use_rslora;
        same_targets && same_patterns && same_scale && self.r == other.r
    }

    /// Rank of the adapter of a module, such as `model.layers.0.self_attn.q_proj`.
    pub fn rank_of(&self, module: &str) -> usize {
        value_for(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// The factor on the output of a module's adapter.
    pub fn scale_of(&self, module: &str) -> f64 {
        let alpha = value_for(&self.alpha_pattern, module).unwrap_or(self.lora_alpha) as f64;
        let rank = self.rank_of(module) as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The alpha that gives the scale of most modules where all are scaled by alpha / rank, as in llama.cpp.
    pub fn general_alpha(&self) -> f64 {
        let (alpha, rank) = (self.lora_alpha as f64, self.r as f64);
        if self.use_rslora { alpha * rank.sqrt() } else { alpha }
    }

    /// The largest rank of all.
    pub fn max_rank(&self) -> usize {
        self.rank_pattern.values().copied().fold(self.r, usize::max)
    }

    /// Whether modules differ in rank or scale.
    pub fn has_patterns(&self) -> bool {
        !self.rank_pattern.is_empty() || !self.alpha_pattern.is_empty()
    }

    /// Both patterns, with the names of their settings.
    fn patterns(&self) -> [(&'static str, &BTreeMap<String, usize>); 2] {
        [(Self::RANK_PATTERN, &self.rank_pattern), ("lora.alpha_pattern", &self.alpha_pattern)]
    }

    /// The patterns that say something: name, and entries such as `down_proj 24, q_proj 4`.
    pub fn patterns_text(&self) -> Vec<(&'static str, String)> {
        let text = |pattern: &BTreeMap<String, usize>| {
            pattern.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
        };
        let patterns = [("rank_pattern", &self.rank_pattern), ("alpha_pattern", &self.alpha_pattern)];
        patterns
            .into_iter()
            .filter(|(_, pattern)| !pattern.is_empty())
            .map(|(name, pattern)| (name, text(pattern)))
            .collect()
    }

    /// Checks the keys and values of both patterns, as far as that is possible without a model.
    pub fn check_patterns(&self) -> Result<(), DomainError> {
        for (setting, pattern) in self.patterns() {
            let most = if setting == Self::RANK_PATTERN { Self::MAX_RANK } else { usize::MAX };
            for (key, value) in pattern {
                if let Some(fault) = self.fault(pattern, key, *value, most) {
                    return Err(DomainError::BadModulePattern { setting, key: key.clone(), fault });
                }
            }
        }
        Ok(())
    }

    /// Refuses keys that fit none of the modules that get an adapter: they were written for another model, and to leave
    /// them out would train something else.
    pub fn check_patterns_fit(&self, modules: &[&str]) -> Result<(), DomainError> {
        let keys =
            self.patterns().into_iter().flat_map(|(setting, pattern)| pattern.keys().map(move |key| (setting, key)));
        match keys.into_iter().find(|(_, key)| !modules.iter().any(|module| key_fits(key, module))) {
            None => Ok(()),
            Some((setting, key)) => {
                let fault = ModulePatternFault::NotInModel;
                Err(DomainError::BadModulePattern { setting, key: key.clone(), fault })
            }
        }
    }

    /// The same adapters without entries that have no effect.
    #[must_use]
    pub fn without_idle_patterns(mut self) -> Self {
        for pattern in [&mut self.rank_pattern, &mut self.alpha_pattern] {
            let keys: Vec<String> = pattern.keys().cloned().collect();
            pattern.retain(|key, _| hidden_by(keys.iter(), key).is_none());
        }
        self
    }

    fn fault(
        &self,
        pattern: &BTreeMap<String, usize>,
        key: &str,
        value: usize,
        most: usize,
    ) -> Option<ModulePatternFault> {
        let Some(module) = ModuleKey::parse(key) else { return Some(ModulePatternFault::NoModule) };
        if !self.target_modules.includes(module.name) {
            return Some(ModulePatternFault::NoTarget { name: module.name.to_owned() });
        }
        if !(1..=most).contains(&value) {
            return Some(ModulePatternFault::OutOfRange { value });
        }
        let by = hidden_by(pattern.keys(), key)?.clone();
        Some(ModulePatternFault::NoEffect { by })
    }
}

/// The key before this one that fits every module that it fits.
fn hidden_by<'k>(mut keys: impl Iterator<Item = &'k String>, key: &str) -> Option<&'k String> {
    keys.find(|other| other.as_str() < key && key_fits(other, key))
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 16,
            lora_dropout: 0.0,
            target_modules: TargetModules::all(),
            use_rslora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

/// What is wrong with an entry of `rank_pattern` or `alpha_pattern`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModulePatternFault {
    /// Not the path of a projection, nor the end of one.
    #[error("it is no module such as q_proj, self_attn.q_proj or layers.3.mlp.down_proj")]
    NoModule,
    /// A projection without an adapter.
    #[error("{name} is not among the target modules")]
    NoTarget {
        /// Name of the projection.
        name: String,
    },
    /// A rank or alpha out of range.
    #[error("its value is {value}, allowed is a rank from 1 to {}, an alpha of at least 1", LoraConfig::MAX_RANK)]
    OutOfRange {
        /// As given.
        value: usize,
    },
    /// Nothing that gets an adapter in this model.
    #[error("this model has no such target module")]
    NotInModel,
    /// Another key wins everywhere.
    #[error("{by} stands before it and fits every module that it fits, so it has no effect")]
    NoEffect {
        /// The other key.
        by: String,
    },
}

/// A key of a pattern, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleKey<'k> {
    /// Name of the projection.
    pub name: &'k str,
    /// The one layer that is meant, counted from 0.
    pub layer: Option<usize>,
}

/// The part of a layer that a projection belongs to.
fn block_of(name: &str) -> &'static str {
    let attends = matches!(name, "q_proj" | "k_proj" | "v_proj" | "o_proj" | "qkv_proj");
    if attends { "self_attn" } else { "mlp" }
}

impl<'k> ModuleKey<'k> {
    /// Path of a projection of a layer, such as `model.layers.0.self_attn.q_proj`.
    pub fn path(layer: u64, name: &str) -> String {
        format!("model.layers.{layer}.{}.{name}", block_of(name))
    }

    /// Reads the path of a projection, or the end of one; nothing where it is neither.
    pub fn parse(key: &'k str) -> Option<Self> {
        let mut parts = key.rsplit('.');
        let name = parts.next().filter(|name| TargetModules::known().any(|known| known == *name))?;
        match parts.next() {
            None => return Some(Self { name, layer: None }),
            Some(found) if found == block_of(name) => {}
            Some(_) => return None,
        }
        let Some(number) = parts.next() else { return Some(Self { name, layer: None }) };
        let layer = number.parse::<usize>().ok().filter(|layer| layer.to_string() == number)?;
        match [parts.next(), parts.next(), parts.next()] {
            [None | Some("layers"), None, None] | [Some("layers"), Some("model"), None] => {
                Some(Self { name, layer: Some(layer) })
            }
            _ => None,
        }
    }
}

/// Whether a key of a pattern means this module: it is its path, or the end of it.
fn key_fits(key: &str, module: &str) -> bool {
    module == key || module.strip_suffix(key).is_some_and(|before| before.ends_with('.'))
}

fn value_for(pattern: &BTreeMap<String, usize>, module: &str) -> Option<usize> {
    pattern.iter().find(|(key, _)| key_fits(key, module)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(ranks: &[(&str, usize)]) -> LoraConfig {
        let rank_pattern = ranks.iter().map(|(key, rank)| ((*key).to_owned(), *rank)).collect();
        LoraConfig { rank_pattern, ..LoraConfig::default() }
    }

    #[test]
    fn target_modules_resolve_in_layer_order() {
        let list = TargetModules::List(vec!["v_proj".into(), "q_proj".into()]);
        assert_eq!(list.names().unwrap(), ["q_proj", "v_proj"]);
        assert_eq!(TargetModules::all().names().unwrap().len(), 7);
        let fused = TargetModules::List(vec!["gate_up_proj".into(), "o_proj".into()]);
        assert_eq!(fused.names().unwrap(), ["o_proj", "gate_up_proj"]);
    }

    #[test]
    fn modules_have_the_ranks_and_scales_of_their_patterns() {
        let mut lora = with(&[("layers.1.self_attn.q_proj", 2), ("q_proj", 4), ("mlp.down_proj", 32)]);
        lora.alpha_pattern.insert("down_proj".to_owned(), 64);
        lora.check_patterns().unwrap();
        let ranks = ["0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.down_proj", "1.mlp.up_proj"]
            .map(|path| lora.rank_of(&format!("model.layers.{path}")));
        assert_eq!((ranks, lora.max_rank()), ([4, 2, 32, 8], 32));
        let check = |lora: &LoraConfig, path: &str, expected: f64| {
            let scale = lora.scale_of(&format!("model.layers.{path}"));
            assert!((scale - expected).abs() < 1e-12, "{path}: {scale}, expected {expected}");
        };
        check(&lora, "1.self_attn.q_proj", 8.0);
        check(&lora, "0.mlp.down_proj", 2.0);
        check(&lora, "0.mlp.up_proj", 2.0);
        lora.use_rslora = true;
        check(&lora, "1.self_attn.q_proj", 16.0 / 2f64.sqrt());
        check(&lora, "0.mlp.down_proj", 64.0 / 32f64.sqrt());
        check(&lora, "0.mlp.up_proj", 16.0 / 8f64.sqrt());
    }

    #[test]
    fn keys_of_patterns_are_paths_or_their_ends() {
        let module = |name, layer| Some(ModuleKey { name, layer });
        let cases = [
            ("q_proj", module("q_proj", None)),
            ("self_attn.qkv_proj", module("qkv_proj", None)),
            ("3.mlp.down_proj", module("down_proj", Some(3))),
            ("layers.12.self_attn.o_proj", module("o_proj", Some(12))),
            ("model.layers.0.mlp.gate_up_proj", module("gate_up_proj", Some(0))),
            ("", None),
            ("proj", None),
            ("c_attn", None),
            (".q_proj", None),
            ("mlp.q_proj", None),
            ("layers.03.mlp.up_proj", None),
            ("layers.x.mlp.up_proj", None),
            ("decoder.layers.3.mlp.up_proj", None),
            ("base.model.layers.3.mlp.up_proj", None),
            ("^model.*q_proj", None),
        ];
        for (key, expected) in cases {
            assert_eq!(ModuleKey::parse(key), expected, "{key}");
        }
    }

    #[test]
    fn entries_that_cannot_be_meant_are_refused_with_the_reason() {
        let check = |lora: &LoraConfig, expected: ModulePatternFault| match lora.check_patterns() {
            Err(DomainError::BadModulePattern { fault, .. }) => assert_eq!(fault, expected),
            other => panic!("{other:?}"),
        };
        check(&with(&[("wq", 4)]), ModulePatternFault::NoModule);
        check(&with(&[("q_proj", 0)]), ModulePatternFault::OutOfRange { value: 0 });
        check(&with(&[("q_proj", 1025)]), ModulePatternFault::OutOfRange { value: 1025 });
        // "down_proj" is before "layers…" in the alphabet, so PEFT would never look at the second.
        let shadowed = with(&[("down_proj", 4), ("layers.3.mlp.down_proj", 2)]);
        check(&shadowed, ModulePatternFault::NoEffect { by: "down_proj".to_owned() });
        let kept = shadowed.without_idle_patterns();
        assert_eq!(kept.rank_pattern, [("down_proj".to_owned(), 4)].into());
        kept.check_patterns_fit(&["model.layers.0.mlp.down_proj"]).unwrap();
        let err = kept.check_patterns_fit(&["model.layers.0.mlp.up_proj"]).unwrap_err();
        assert_eq!(err.to_string(), "lora.rank_pattern: down_proj: this model has no such target module");
        let target_modules = TargetModules::List(vec!["v_proj".to_owned()]);
        let elsewhere = LoraConfig { target_modules, ..with(&[("q_proj", 4)]) };
        check(&elsewhere, ModulePatternFault::NoTarget { name: "q_proj".to_owned() });
        let mut alpha = LoraConfig::default();
        alpha.alpha_pattern.insert("q_proj".to_owned(), 0);
        check(&alpha, ModulePatternFault::OutOfRange { value: 0 });
        alpha.alpha_pattern.insert("q_proj".to_owned(), 5000);
        alpha.check_patterns().unwrap();
    }

    #[test]
    fn a_configuration_without_patterns_is_written_as_before_there_were_any() {
        let text = serde_json::to_string(&LoraConfig::default()).unwrap();
        assert!(!text.contains("pattern"), "{text}");
        let config = with(&[("q_proj", 4)]);
        let read: LoraConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert!(read.has_shape_of(&config) && !read.has_shape_of(&LoraConfig::default()));
    }
}
