//! Stops what cannot work before it costs training time. Rules, not a model: each has a stable code and says what would help.

use trex_domain::{
    BudgetLimit, Cost, MemoryBackend, Metric, MicroBatch, ModelFacts, PreparedData, RowForm, TaskKind, TaskSpec,
    TrainConfig, TrainMethod, TrainObjective, Variant, estimate_memory,
};

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
    /// Why, and what would help.
    pub reason: String,
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
    if variant.recipe.has_after_writing("decontaminate") {
        return Ok(());
    }
    let reason = if variant.recipe.has("decontaminate") {
        "a model writes texts behind decontaminate, which are compared with nothing; move that operator behind them"
    } else {
        "the recipe does not decontaminate against the evaluation splits; add that operator"
    };
    Err(Rejection { code: "verify.no_decontamination", reason: reason.to_owned() })
}

/// Checks a variant whose data is prepared.
pub fn verify(proposal: &Proposal<'_>) -> Result<Passed, Rejection> {
    let config = &proposal.variant.config;
    config.validate().map_err(|err| Rejection { code: "verify.configuration", reason: err.to_string() })?;
    check_adapter(&proposal.task.train, config)?;
    check_base(&proposal.task.train, config)?;
    check_leak(proposal.data)?;
    check_form(config, proposal.data)?;
    check_labels(proposal)?;
    check_length(proposal)?;
    let memory_bytes = estimate_memory_bytes(proposal.model, config, proposal.data);
    check_memory(memory_bytes, proposal.machine_bytes)?;
    check_cost(proposal)?;
    Ok(Passed { memory_bytes, warnings: warnings(proposal) })
}

/// An adapter that is trained on keeps its shape.
fn check_adapter(start: &TrainConfig, config: &TrainConfig) -> Result<(), Rejection> {
    if config.adapter.is_none() || config.lora.has_shape_of(&start.lora) {
        return Ok(());
    }
    let reason = "the run goes on from an adapter, whose rank, alpha and target modules cannot change";
    Err(Rejection { code: "verify.adapter_shape", reason: reason.to_owned() })
}

/// All variants of a run are scored on one base, and an adapter is scored on the base that it was trained on.
fn check_base(start: &TrainConfig, config: &TrainConfig) -> Result<(), Rejection> {
    if config.quantization == start.quantization {
        return Ok(());
    }
    let (of_run, found) = (start.quantization, config.quantization);
    let reason = format!("quantization is {found}, but everything in this run is scored on a base kept as {of_run}");
    Err(Rejection { code: "verify.quantization", reason })
}

fn check_leak(data: &PreparedData) -> Result<(), Rejection> {
    if data.leaked == 0 {
        return Ok(());
    }
    let reason = format!("{} rows equal an evaluation item after all operators", data.leaked);
    Err(Rejection { code: "verify.leak", reason })
}

/// The rows must be what the objective is for.
fn check_form(config: &TrainConfig, data: &PreparedData) -> Result<(), Rejection> {
    let objective = config.objective.as_str();
    let (fitting, code, wanted) = match config.objective.row_form() {
        RowForm::Answers => {
            (data.rows - data.texts, "verify.no_answers", "an answer; train on raw text with objective = \"pretrain\"")
        }
        RowForm::Pairs => {
            let wanted = "a better and a worse answer; give preference pairs, or add the operator preference_pairs to rows \
                          with options";
            (data.pairs, "verify.no_pairs", wanted)
        }
        RowForm::Text => {
            (data.texts, "verify.not_text", "text alone; rows with answers are trained on with another objective")
        }
    };
    if fitting >= data.rows {
        return Ok(());
    }
    let reason = format!("objective {objective}: {fitting} of {} rows have {wanted}", data.rows);
    Err(Rejection { code, reason })
}

fn check_labels(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let options = &proposal.task.prompt.options;
    // Pairs and raw text have answers of their own or none, whatever the options of the evaluation items are.
    let has_answers = proposal.variant.config.objective.row_form() == RowForm::Answers;
    if proposal.task.kind != TaskKind::Choice || !has_answers || options.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> =
        options.iter().filter(|option| !proposal.data.labels.contains(option)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let reason = format!("no row is left with the answer {}; loosen the filters", missing.join(", "));
    Err(Rejection { code: "verify.label_coverage", reason })
}

/// Even the shortest encoding of the mean example must fit, or most of the data would be cut.
fn check_length(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    // Raw text is cut into blocks, nothing of it is lost.
    if proposal.variant.config.objective == TrainObjective::Pretrain {
        return Ok(());
    }
    let limit = proposal.variant.config.max_length.min(proposal.model.max_position);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of lengths")]
    let least_tokens = proposal.data.mean_chars as usize / MOST_CHARS_PER_TOKEN;
    if least_tokens <= limit {
        return Ok(());
    }
    let reason =
        format!("the mean example has over {least_tokens} tokens, {limit} fit; raise max_length or shorten the rows");
    Err(Rejection { code: "verify.length", reason })
}

fn check_memory(needed: u64, machine: u64) -> Result<(), Rejection> {
    if machine == 0 || needed < machine / 10 * 9 {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    let reason = format!(
        "about {} MiB are needed, the machine has {} MiB; lower per_device_train_batch_size and raise gradient_accumulation_steps",
        mib(needed),
        mib(machine)
    );
    Err(Rejection { code: "verify.memory", reason })
}

fn check_cost(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let limit = match proposal.task.budget.broken_by(&proposal.spent, &proposal.forecast, 0) {
        None | Some(BudgetLimit::Trials) => return Ok(()),
        Some(limit) => limit,
    };
    let reason = format!(
        "a full trial is forecast to take {:.0} s and would break the {limit:?} budget",
        proposal.forecast.wall_s
    );
    Err(Rejection { code: "verify.budget", reason })
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
    use trex_domain::{ContentHash, Quantization, Recipe, RowLedger};

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
        check(|_, _, _, _, machine| *machine = 1 << 20, "verify.memory");
        check(
            |task, _, _, forecast, _| {
                task.budget.wall_s = Some(10.0);
                forecast.wall_s = 11.0;
            },
            "verify.budget",
        );
    }
}
