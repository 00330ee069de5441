//! Proposals of the Playbook as data: `assets/playbook/proposals.toml` says what is tried when something was found. Knows
//! conditions and bounded changes; what is proposed is checked like everything else.

use std::collections::BTreeMap;

use serde::Deserialize;
use trex_domain::{Operator, StrategyKind, StrategyRequest, TrainConfig, TrainMethod};

use crate::ResearchError;
use crate::diagnosis::{Diagnosis, Relation};
use crate::facts::Facts;
use crate::moves::{Candidate, rounded};
use crate::playbook::Parent;
use crate::recipes::with_all;
use crate::stages::ConfigChange;

/// The proposals.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proposals {
    proposal: Vec<Proposal>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    code: String,
    kind: Vec<StrategyKind>,
    when: Vec<(String, Relation, f64)>,
    #[serde(default)]
    urgent: bool,
    #[serde(default)]
    set: BTreeMap<String, f64>,
    #[serde(default)]
    times: BTreeMap<String, f64>,
    #[serde(default)]
    add: Vec<Operator>,
    rationale: String,
    source: String,
}

/// What the conditions look at.
pub(crate) type Situation = BTreeMap<String, f64>;

impl Proposals {
    /// Those that come with the program.
    pub(crate) fn built_in() -> Result<Self, ResearchError> {
        let text = include_str!("../../../assets/playbook/proposals.toml");
        toml::from_str(text)
            .map_err(|source| ResearchError::BadRules { file: "proposals.toml", source: Box::new(source) })
    }

    /// Candidates for a kind of strategy, the urgent ones or the others, in their order.
    pub(crate) fn candidates(
        &self,
        kind: StrategyKind,
        urgent: bool,
        situation: &Situation,
        parent: &Parent<'_>,
        max_steps: usize,
    ) -> Vec<Candidate> {
        let fitting = self.proposal.iter().filter(|one| one.urgent == urgent && one.kind.contains(&kind));
        fitting.filter_map(|one| one.candidate(situation, parent, max_steps)).collect()
    }
}

impl Proposal {
    fn holds(&self, situation: &Situation) -> bool {
        let holds = |(name, relation, limit): &(String, Relation, f64)| {
            situation.get(name).is_some_and(|value| relation.holds(*value, *limit))
        };
        self.when.iter().all(holds)
    }

    /// The changed parent; none where a condition fails, nothing would change, or the change is out of bounds.
    fn candidate(&self, situation: &Situation, parent: &Parent<'_>, max_steps: usize) -> Option<Candidate> {
        if !self.holds(situation) {
            return None;
        }
        let recipe = with_all(parent.recipe, &self.add);
        let change = self.change(parent.config);
        let config = match change {
            Some(change) => change.applied_to(parent.config, max_steps).ok()?,
            None => parent.config.clone(),
        };
        if recipe == *parent.recipe && config == *parent.config {
            return None;
        }
        Some(Candidate { recipe, config, why: format!("{}: {} ({})", self.code, self.rationale, self.source) })
    }

    fn change(&self, config: &TrainConfig) -> Option<ConfigChange> {
        if self.set.is_empty() && self.times.is_empty() {
            return None;
        }
        let mut change = ConfigChange::default();
        for (name, value) in &self.set {
            put(&mut change, name, *value);
        }
        for (name, factor) in &self.times {
            put(&mut change, name, now(config, name)? * factor);
        }
        if config.method != TrainMethod::Lora {
            (change.lora_r, change.lora_alpha, change.lora_dropout) = (None, None, None);
        }
        Some(change)
    }
}

/// The present value of a setting.
fn now(config: &TrainConfig, name: &str) -> Option<f64> {
    Some(match name {
        "learning_rate" => config.learning_rate,
        "lora_r" => config.lora.r as f64,
        "lora_alpha" => config.lora.lora_alpha as f64,
        "max_steps" => config.max_steps as f64,
        "per_device_train_batch_size" => config.per_device_train_batch_size as f64,
        "gradient_accumulation_steps" => config.gradient_accumulation_steps as f64,
        "warmup_ratio" => config.warmup_ratio,
        _ => return None,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of settings; negative ones become 0"
)]
fn put(change: &mut ConfigChange, name: &str, value: f64) {
    let count = Some((value.round() as usize).max(1));
    match name {
        "learning_rate" => change.learning_rate = Some(rounded(value)),
        "lora_r" => change.lora_r = count,
        "lora_alpha" => change.lora_alpha = count,
        "lora_dropout" => change.lora_dropout = Some(value),
        "max_steps" => change.max_steps = count,
        "warmup_ratio" => change.warmup_ratio = Some(value),
        "weight_decay" => change.weight_decay = Some(value),
        "label_smoothing_factor" => change.label_smoothing_factor = Some(value),
        "per_device_train_batch_size" => change.per_device_train_batch_size = count,
        "gradient_accumulation_steps" => change.gradient_accumulation_steps = count,
        _ => {}
    }
}

/// What is known of task, data, hardware and the last trial.
pub(crate) fn situation(request: &StrategyRequest<'_>, diagnosis: Option<&Diagnosis>, memory_bytes: u64) -> Situation {
    let facts = Facts::of(request);
    let mut out = Situation::new();
    let mut put = |name: &str, value: f64| {
        out.insert(name.to_owned(), value);
    };
    put("rows", facts.rows as f64);
    put("is_closed", f64::from(u8::from(facts.is_closed)));
    put("label_skew", facts.skew);
    put("duplicate_share", facts.share(facts.exact_duplicates.max(facts.near_duplicates)));
    put("conflict_share", facts.share(facts.conflicts));
    if let Some(base) = facts.base {
        put("base_score", base);
    }
    let weights = request.model.num_parameters as f64;
    put("weights_millions", weights / 1e6);
    if memory_bytes > 0 && weights > 0.0 {
        put("memory_gb_per_billion_weights", memory_bytes as f64 / weights);
    }
    for (name, value) in diagnosis.into_iter().flat_map(|one| &one.features) {
        out.insert((*name).to_owned(), *value);
    }
    for finding in diagnosis.into_iter().flat_map(|one| &one.findings) {
        out.insert(format!("finding.{}", finding.code), 1.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use trex_domain::Recipe;

    use super::*;
    use crate::DiagnosisRules;

    #[test]
    fn every_proposal_can_be_made_and_says_where_it_comes_from() {
        let proposals = Proposals::built_in().unwrap().proposal;
        let codes = DiagnosisRules::built_in().unwrap();
        let known: Vec<&str> = codes.codes().collect();
        let (recipe, config) = (Recipe::default(), TrainConfig::default());
        let parent = Parent { id: None, recipe: &recipe, config: &config };
        let mut seen = std::collections::BTreeSet::new();
        for one in &proposals {
            assert!(seen.insert(&one.code), "{}", one.code);
            assert!(!one.rationale.is_empty() && !one.source.is_empty() && !one.kind.is_empty(), "{one:?}");
            for (name, ..) in &one.when {
                let code = name.strip_prefix("finding.");
                assert!(code.is_none_or(|code| known.contains(&code)), "{name}");
            }
            // Values just on the right side of every condition.
            let fulfilled = one.when.iter().map(|(name, relation, limit)| {
                let value = if matches!(relation, Relation::Below) { limit - 0.1 } else { limit + 0.1 };
                (name.clone(), value)
            });
            let situation: Situation = fulfilled.collect();
            let candidate = one.candidate(&situation, &parent, 240);
            assert!(candidate.is_some_and(|one| one.config.validate().is_ok()), "{}", one.code);
            assert!(one.candidate(&Situation::new(), &parent, 240).is_none(), "nothing is known: {}", one.code);
        }
        assert!(proposals.len() >= 18);
    }
}
