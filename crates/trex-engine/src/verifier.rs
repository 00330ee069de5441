//! Stops what cannot work before it costs training time. Rules, not a model: each has a stable code, the values that it
//! looked at, and what would help. How often it is right is measured by [`bench`].

pub(crate) mod bench;
mod ladder;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Display;

use trex_domain::{
    Cost, MemoryBackend, Metric, MicroBatch, ModelFacts, PreparedData, TaskSpec, TrainConfig, TrainMethod,
    TrainObjective, Variant, VariantId, estimate_memory,
};

pub(crate) use ladder::{check_dry_run, failed_dry_run};

/// A variant that may be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// Estimated peak memory in bytes.
    pub memory_bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A variant that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Stable code of the rule.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// The values that the rule looked at, by name.
    pub values: BTreeMap<&'static str, String>,
    /// What would help.
    pub advice: String,
    /// Settings with values that pass this rule, where the rule knows some.
    pub fix: BTreeMap<&'static str, String>,
}

impl Rejection {
    fn new(code: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let (values, fix) = (BTreeMap::new(), BTreeMap::new());
        Self { code, what: what.into(), values, advice: advice.into(), fix }
    }

    fn value(mut self, name: &'static str, value: impl Display) -> Self {
        self.values.insert(name, format!("{value}"));
        self
    }

    fn fixed_by(mut self, name: &'static str, value: impl Display) -> Self {
        self.fix.insert(name, format!("{value}"));
        self
    }

    /// The same of a variant that nothing was tried for, because another one of its shape was found wrong.
    pub(crate) fn known_from(mut self, other: &VariantId) -> Self {
        self.what = format!("{}; known from the dry run of {other}, which is equal in rows and shapes", self.what);
        self
    }

    /// Why, with which values, and what would help, in a sentence.
    pub fn reason(&self) -> String {
        let list = |map: &BTreeMap<&'static str, String>| {
            map.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
        };
        let values = if self.values.is_empty() { String::new() } else { format!(" ({})", list(&self.values)) };
        let fix = if self.fix.is_empty() { String::new() } else { format!(": {}", list(&self.fix)) };
        format!("{}{values}; {}{fix}", self.what, self.advice)
    }
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The task.
    pub task: &'a TaskSpec,
    /// The model.
    pub model: &'a ModelFacts,
    /// The variant.
    pub variant: &'a Variant,
    /// Its prepared data.
    pub data: &'a PreparedData,
    /// Forecast of a full-fidelity trial.
    pub forecast: Cost,
    /// What is spent already.
    pub spent: Cost,
    /// Memory of the machine in bytes; 0 where unknown.
    pub machine_bytes: u64,
    /// Free bytes of the workspace's disk; 0 where unknown.
    pub disk_bytes: u64,
}

/// Characters per token below which text is never encoded; the bound is loose on purpose.
const MOST_CHARS_PER_TOKEN: usize = 12;

/// Characters per token where only a guess is wanted.
const CHARS_PER_TOKEN: f64 = 3.0;

/// More passes over the data than this are likely to be learned by heart.
const MANY_PASSES: f64 = 10.0;

/// Checks a recipe before it is run: a recipe without decontamination, or with rows that a model writes behind it, never
/// trains.
pub fn check_recipe(variant: &Variant) -> Result<(), Rejection> {
    rules::recipe(variant)
}

/// Checks a variant whose data is prepared.
pub fn verify(proposal: &Proposal<'_>) -> Result<Passed, Rejection> {
    for rule in rules::ALL {
        rule(proposal)?;
    }
    let memory_bytes = estimate_memory_bytes(proposal.model, &proposal.variant.config, proposal.data);
    rules::memory(memory_bytes, proposal)?;
    Ok(Passed { memory_bytes, warnings: warnings(proposal) })
}

/// Bytes that a trial writes: two checkpoints more than are kept at most exist for a moment, each with values and Adam's two
/// moments, beside the result and the best weights.
pub fn estimate_disk_bytes(model: &ModelFacts, config: &TrainConfig) -> u64 {
    const FLOAT: u64 = 4;
    /// What `estimate_memory` keeps of a trained value in memory.
    const BYTES_PER_TRAINED: u64 = 24;
    let batch = MicroBatch { tokens: 0, supervised: 0 };
    let trained = estimate_memory(model, config, MemoryBackend::CpuEngine, batch).trained / BYTES_PER_TRAINED;
    trained * FLOAT * (3 * (config.save_total_limit as u64 + 1) + 2)
}

fn warnings(proposal: &Proposal<'_>) -> Vec<String> {
    let config = &proposal.variant.config;
    let mut warnings = Vec::new();
    let rows = proposal.data.rows.max(1) as f64;
    // A row of a batch is a block of raw text, else an example.
    let per_pass = match config.objective {
        TrainObjective::Pretrain => rows * proposal.data.mean_chars / CHARS_PER_TOKEN / config.max_length as f64,
        _ => rows,
    };
    let passes = (config.max_steps * config.effective_batch_size()) as f64 / per_pass.max(1.0);
    if passes > MANY_PASSES {
        warnings.push(format!("{passes:.0} passes over {} rows may be learned by heart", proposal.data.rows));
    }
    warnings.extend(rules::doubts(proposal));
    if proposal.task.metric == Metric::MacroF1 && !proposal.variant.recipe.has("label_balance") {
        warnings.push("macro-F1 weighs rare labels as much as common ones, the loss does not".to_owned());
    }
    warnings
}

/// Estimates the peak memory of a training in bytes, by the formula of [`trex_domain::estimate_memory`] for the
/// implementation that takes the method; lengths are guessed from the mean example.
pub fn estimate_memory_bytes(model: &ModelFacts, config: &TrainConfig, data: &PreparedData) -> u64 {
    /// Tokens of an answer, where only prompts have a length.
    const ANSWER_TOKENS: usize = 8;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of lengths")]
    let guessed_tokens = ((data.mean_chars / CHARS_PER_TOKEN) as usize + 16).min(config.max_length);
    let example_tokens = if config.objective == TrainObjective::Pretrain { config.max_length } else { guessed_tokens };
    let sequences = config.per_device_train_batch_size * if config.objective.is_preference() { 2 } else { 1 };
    let answer = if config.objective == TrainObjective::Pretrain { example_tokens } else { ANSWER_TOKENS };
    let batch = MicroBatch { tokens: (sequences * example_tokens) as u64, supervised: (sequences * answer) as u64 };
    let engine_takes_it = config.method == TrainMethod::Lora
        && !config.objective.is_preference()
        && config.lora.lora_dropout == 0.0
        && config.neftune_noise_alpha == 0.0
        && !config.gradient_checkpointing;
    let backend = if engine_takes_it { MemoryBackend::CpuEngine } else { MemoryBackend::Autograd };
    estimate_memory(model, config, backend, batch).total()
}

#[cfg(test)]
mod tests {
    use trex_domain::{ContentHash, Quantization, Recipe, RowLedger, TaskKind};

    use super::*;

    fn model() -> ModelFacts {
        ModelFacts {
            name: "m".into(),
            dir: "m".into(),
            hash: ContentHash::of_bytes(b"m"),
            num_parameters: 1_000_000,
            weights_bytes: 4_000_000,
            hidden_size: 64,
            intermediate_size: 128,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 16,
            vocab_size: 1000,
            max_position: 128,
            license: None,
            projections: Vec::new(),
        }
    }

    fn data() -> PreparedData {
        PreparedData {
            data: ContentHash::of_bytes(b"d"),
            rows: 400,
            labels: vec!["no".into(), "yes".into()],
            longest_chars: 200,
            mean_chars: 100.0,
            leaked: 0,
            pairs: 0,
            texts: 0,
            ledger: RowLedger::default(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut TaskSpec, &mut Variant, &mut PreparedData, &mut Cost, &mut u64), code: &str) {
        let mut task = trex_testkit::task();
        task.kind = TaskKind::Choice;
        task.prompt.options = vec!["yes".into(), "no".into()];
        let mut variant = trex_testkit::variant("s1.e1.a", 2e-4);
        variant.recipe =
            Recipe { operators: vec![trex_domain::Operator::Decontaminate { ngram_words: 8, max_overlap: 0.5 }] };
        let (mut data, mut forecast, mut machine_bytes) = (data(), Cost::default(), 1 << 34);
        change(&mut task, &mut variant, &mut data, &mut forecast, &mut machine_bytes);
        let model = model();
        let proposal = Proposal {
            task: &task,
            model: &model,
            variant: &variant,
            data: &data,
            forecast,
            spent: Cost::default(),
            machine_bytes,
            disk_bytes: 1 << 30,
        };
        let found = check_recipe(&variant)
            .and_then(|()| verify(&proposal).map(|_| ()))
            .map_or_else(|no| no.code, |()| "passed");
        assert_eq!(found, code);
    }

    #[test]
    fn every_rule_stops_what_it_is_for() {
        use TrainObjective::{Dpo, Pretrain};
        check(|_, _, _, _, _| (), "passed");
        check(|_, variant, _, _, _| variant.recipe = Recipe::default(), "verify.no_decontamination");
        let written = trex_domain::Operator::RejectedSynthesis { samples: 1, temperature: 1.0, max_new_tokens: 9 };
        let writes_first = written.clone();
        check(|_, variant, _, _, _| variant.recipe.operators.insert(0, writes_first), "passed");
        check(|_, variant, _, _, _| variant.recipe.operators.push(written), "verify.no_decontamination");
        check(|_, variant, _, _, _| variant.config.learning_rate = 0.0, "verify.configuration");
        check(|_, variant, _, _, _| variant.config.quantization = Quantization::Q8_0, "verify.quantization");
        check(
            |task, variant, _, _, _| {
                (task.train.quantization, variant.config.quantization) = (Quantization::Q8_0, Quantization::Q8_0);
            },
            "passed",
        );
        check(|_, _, data, _, _| data.leaked = 1, "verify.leak");
        check(|_, _, data, _, _| data.labels = vec!["yes".into()], "verify.label_coverage");
        check(|_, _, data, _, _| data.texts = 1, "verify.no_answers");
        check(|_, variant, data, _, _| (variant.config.objective, data.pairs) = (Dpo, 399), "verify.no_pairs");
        check(|_, variant, data, _, _| (variant.config.objective, data.pairs) = (Dpo, 400), "passed");
        check(|_, variant, _, _, _| variant.config.objective = Pretrain, "verify.not_text");
        check(|_, variant, data, _, _| (variant.config.objective, data.texts) = (Pretrain, 400), "passed");
        check(|_, _, data, _, _| data.mean_chars = 1e5, "verify.length");
        check(|_, variant, _, _, _| variant.config.lora.r = 65, "verify.rank");
        check(|_, variant, _, _, _| variant.config.max_steps = 49, "verify.steps");
        check(|_, variant, _, _, _| variant.config.max_steps = 48, "passed");
        check(|_, variant, _, _, _| variant.config.warmup_ratio = 12.0, "verify.warmup");
        check(|_, variant, _, _, _| variant.config.warmup_ratio = 11.0, "passed");
        check(|_, _, data, _, _| (data.rows, data.texts) = (0, 0), "verify.no_rows");
        check(|_, _, _, _, machine| *machine = 1 << 20, "verify.memory");
        check(
            |task, _, _, forecast, _| {
                task.budget.wall_s = Some(10.0);
                forecast.wall_s = 11.0;
            },
            "verify.budget",
        );
    }

    #[test]
    fn a_rejection_names_values_and_a_fix() {
        let no = Rejection::new("verify.rank", "too wide", "lower it").value("lora.r", 99).fixed_by("lora.r", 16);
        assert_eq!(no.reason(), "too wide (lora.r 99); lower it: lora.r 16");
        assert_eq!(Rejection::new("verify.x", "it is", "do not").reason(), "it is; do not");
    }
}
