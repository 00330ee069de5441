//! How often the verifier is right: sound proposals drawn from a seed, and proposals that were broken on purpose in ways that
//! people know. Counts and judges nothing else; nothing is trained.
//! Long because it is a table of faults with what each of them breaks.
//!
//! The sound ones are made to be sound by simple arithmetic of their own, not by asking the verifier. Among the broken ones
//! are some that no rule knows, so that the share can be below one.

use std::collections::BTreeMap;

use rand::RngExt as _;
use serde::Serialize;
use trex_domain::{
    BalanceMode, Budget, ContentHash, Cost, DataSource, DataTerms, DeviceChoice, FieldMap, GenerationConfig,
    LoraConfig, Metric, ModelFacts, ModelRef, ModuleKey, Operator, PreparedData, PromptSpec, Quantization, Recipe,
    RowForm, RowLedger, SearchSettings, SplitSizes, SplitSource, TargetModules, TaskKind, TaskSpec, TrainConfig,
    TrainMethod, TrainObjective, Variant, VariantDiff, seeded_rng,
};

use super::{Proposal, check_recipe, verify};

/// Sound proposals of a measurement.
const NUM_SOUND: usize = 200;

/// What came of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifierSummary {
    /// Broken proposals that were rejected, of all.
    pub caught: usize,
    /// Broken proposals.
    pub broken: usize,
    /// 95 % interval of the share (Wilson).
    pub caught_ci95: [f64; 2],
    /// Sound proposals that were rejected, of all.
    pub false_alarms: usize,
    /// Sound proposals.
    pub sound: usize,
    /// 95 % interval of the share (Wilson).
    pub false_alarms_ci95: [f64; 2],
    /// Broken proposals that passed, by what is wrong with them.
    pub missed: Vec<&'static str>,
    /// Rules that spoke up for no reason, with what they said.
    pub wrong: Vec<String>,
    /// Rejections by rule.
    pub by_rule: BTreeMap<&'static str, usize>,
    /// Broken proposals that another rule than the expected one rejected.
    pub other_rule: Vec<String>,
}

/// Measures the verifier on proposals drawn from a seed.
pub fn measure_verifier(seed: u64) -> VerifierSummary {
    let mut summary = VerifierSummary {
        caught: 0,
        broken: 0,
        caught_ci95: [0.0, 1.0],
        false_alarms: 0,
        sound: 0,
        false_alarms_ci95: [0.0, 1.0],
        missed: Vec::new(),
        wrong: Vec::new(),
        by_rule: BTreeMap::new(),
        other_rule: Vec::new(),
    };
    for number in 0..NUM_SOUND {
        let case = Case::sound(seed, &format!("sound/{number}"), Shape::ALL[number % Shape::ALL.len()]);
        summary.sound += 1;
        if let Some((code, reason)) = case.rejection() {
            summary.false_alarms += 1;
            summary.wrong.push(format!("{code}: {reason}"));
        }
    }
    for fault in FAULTS {
        let mut case = Case::sound(seed, fault.what, fault.shape);
        (fault.spoil)(&mut case);
        summary.broken += 1;
        let Some((code, _)) = case.rejection() else {
            summary.missed.push(fault.what);
            continue;
        };
        summary.caught += 1;
        *summary.by_rule.entry(code).or_default() += 1;
        if code != fault.rule {
            summary.other_rule.push(format!("{}: {code} instead of {}", fault.what, fault.rule));
        }
    }
    summary.caught_ci95 = trex_eval::wilson95(summary.caught, summary.broken);
    summary.false_alarms_ci95 = trex_eval::wilson95(summary.false_alarms, summary.sound);
    summary
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Choice,
    Generate,
    Labels,
    Pairs,
    Text,
}

impl Shape {
    const ALL: [Self; 5] = [Self::Choice, Self::Generate, Self::Labels, Self::Pairs, Self::Text];
}

/// A proposal with everything that it refers to.
struct Case {
    task: TaskSpec,
    model: ModelFacts,
    variant: Variant,
    data: PreparedData,
    forecast: Cost,
    spent: Cost,
    machine_bytes: u64,
    disk_bytes: u64,
}

impl Case {
    fn rejection(&self) -> Option<(&'static str, String)> {
        let proposal = Proposal {
            task: &self.task,
            model: &self.model,
            variant: &self.variant,
            data: &self.data,
            forecast: self.forecast,
            spent: self.spent,
            machine_bytes: self.machine_bytes,
            disk_bytes: self.disk_bytes,
        };
        let checked = check_recipe(&self.variant).and_then(|()| verify(&proposal));
        checked.err().map(|no| (no.code, no.reason()))
    }

    /// A proposal of some shape that nothing is wrong with: a small model on a machine with plenty of everything, values
    /// from the ranges that people use, data that fits task and objective.
    fn sound(seed: u64, purpose: &str, shape: Shape) -> Self {
        let mut rng = seeded_rng(seed, &format!("verifier/{purpose}"));
        let rng = &mut rng;
        let model = MODELS[rng.random_range(0..MODELS.len())].facts();
        let task = task(shape, rng);
        let mut config = task.train.clone();
        config.learning_rate = 10f64.powf(rng.random_range(-5.0..-2.3));
        config.lora.r = [4, 8, 16, 32][rng.random_range(0..4)];
        config.lora.lora_alpha = config.lora.r * [1, 2][rng.random_range(0..2)];
        config.lora.lora_dropout = [0.0, 0.05, 0.1][rng.random_range(0..3)];
        if rng.random_bool(0.3) {
            config.lora.target_modules = some_projections(&model, rng);
        }
        if rng.random_bool(0.2) {
            let name = match &config.lora.target_modules {
                TargetModules::List(names) => names[0].clone(),
                TargetModules::Keyword(_) => model.projections[0].clone(),
            };
            config.lora.rank_pattern.insert(ModuleKey::path(0, &name), 2);
            config.lora.alpha_pattern.insert(name, config.lora.r);
        }
        config.max_steps = task.train.max_steps * [1, 1, 2][rng.random_range(0..3)];
        config.per_device_train_batch_size = [1, 2, 4, 8][rng.random_range(0..4)];
        config.gradient_accumulation_steps = [1, 2, 4][rng.random_range(0..3)];
        config.warmup_ratio = [0.0, 0.03, 0.1, 5.0][rng.random_range(0..4)];
        config.weight_decay = [0.0, 0.01, 0.1][rng.random_range(0..3)];
        config.label_smoothing_factor = [0.0, 0.0, 0.1][rng.random_range(0..3)];
        let data = data(&task, rng);
        let licence =
            [None, Some("mit"), Some("cc-by-4.0"), Some("cc-by-nc-4.0"), Some("other")][rng.random_range(0..5)];
        let task = TaskSpec { data: files_under(licence, false), ..task };
        let variant = Variant {
            id: trex_domain::VariantId::new(&trex_domain::NodeId::strategy(1).experiment(1), 0),
            parent: None,
            diff: VariantDiff::new(),
            why: "a sample".to_owned(),
            recipe: recipe(shape, &data, rng),
            config,
        };
        let forecast = Cost { wall_s: rng.random_range(1.0..400.0), ..Cost::default() };
        Self {
            task,
            model,
            variant,
            data,
            forecast,
            spent: Cost::default(),
            machine_bytes: 256 << 30,
            disk_bytes: 100 << 30,
        }
    }
}

/// One or more projections that the model has.
fn some_projections(model: &ModelFacts, rng: &mut impl rand::Rng) -> TargetModules {
    let first = rng.random_range(0..model.projections.len());
    let last = rng.random_range(first..model.projections.len());
    TargetModules::List(model.projections[first..=last].to_vec())
}

/// A base model by its numbers.
struct Base {
    name: &'static str,
    parameters: u64,
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    positions: usize,
    licence: Option<&'static str>,
    projections: &'static [&'static str],
}

/// Shapes of real models up to half a billion weights.
const MODELS: [Base; 5] = [
    Base {
        name: "mini",
        parameters: 2_400_000,
        hidden: 192,
        inner: 512,
        layers: 5,
        heads: 6,
        kv_heads: 2,
        vocab: 2048,
        positions: 1024,
        licence: Some("mit"),
        projections: &TargetModules::ALL_LINEAR,
    },
    Base {
        name: "small",
        parameters: 135_000_000,
        hidden: 576,
        inner: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        vocab: 49_152,
        positions: 8192,
        licence: Some("apache-2.0"),
        projections: &TargetModules::ALL_LINEAR,
    },
    Base {
        name: "medium",
        parameters: 362_000_000,
        hidden: 960,
        inner: 2560,
        layers: 32,
        heads: 15,
        kv_heads: 5,
        vocab: 49_152,
        positions: 8192,
        licence: None,
        projections: &TargetModules::ALL_LINEAR,
    },
    Base {
        name: "half",
        parameters: 494_000_000,
        hidden: 896,
        inner: 4864,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        vocab: 151_936,
        positions: 32_768,
        licence: Some("cc-by-nc-4.0"),
        projections: &TargetModules::ALL_LINEAR,
    },
    Base {
        name: "fused",
        parameters: 480_000_000,
        hidden: 1024,
        inner: 4096,
        layers: 24,
        heads: 16,
        kv_heads: 16,
        vocab: 32_064,
        positions: 4096,
        licence: Some("mit"),
        projections: &["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    },
];

impl Base {
    fn facts(&self) -> ModelFacts {
        ModelFacts {
            name: self.name.to_owned(),
            dir: self.name.into(),
            hash: ContentHash::of_bytes(self.name.as_bytes()),
            num_parameters: self.parameters,
            weights_bytes: 4 * self.parameters,
            hidden_size: self.hidden,
            intermediate_size: self.inner,
            num_layers: self.layers,
            num_heads: self.heads,
            num_kv_heads: self.kv_heads,
            head_dim: self.hidden / self.heads,
            vocab_size: self.vocab,
            max_position: self.positions,
            license: self.licence.map(str::to_owned),
            projections: self.projections.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn task(shape: Shape, rng: &mut impl rand::Rng) -> TaskSpec {
    let words = ["red", "green", "blue", "grey", "black", "white"];
    let options = words[..rng.random_range(2..=words.len())].iter().map(|word| (*word).to_owned()).collect();
    let (kind, metric, options, objective) = match shape {
        Shape::Choice => (
            TaskKind::Choice,
            [Metric::Accuracy, Metric::MacroF1][rng.random_range(0..2)],
            options,
            TrainObjective::Sft,
        ),
        Shape::Generate => {
            let metric =
                [Metric::ExactMatch, Metric::TokenF1, Metric::RougeL, Metric::NumericMatch][rng.random_range(0..4)];
            (TaskKind::Generate, metric, Vec::new(), TrainObjective::Sft)
        }
        Shape::Labels => (TaskKind::Generate, Metric::ExactMatch, options, TrainObjective::Sft),
        Shape::Pairs => {
            let objective = [TrainObjective::Dpo, TrainObjective::Orpo][rng.random_range(0..2)];
            (TaskKind::Preference, Metric::Accuracy, Vec::new(), objective)
        }
        Shape::Text => (TaskKind::Text, Metric::BitsPerByte, Vec::new(), TrainObjective::Pretrain),
    };
    TaskSpec {
        device: DeviceChoice::Auto,
        name: "sample".to_owned(),
        goal: "do it better".to_owned(),
        kind,
        metric,
        model: ModelRef("sample".to_owned()),
        data: DataSource::Builtin { name: "sample".to_owned() },
        splits: SplitSizes::default(),
        prompt: PromptSpec { template: "Question: {input}".to_owned(), options, ..PromptSpec::default() },
        generation: GenerationConfig::default(),
        train: TrainConfig {
            objective,
            max_steps: rng.random_range(20..400),
            max_length: [256, 512, 1024][rng.random_range(0..3)],
            ..TrainConfig::default()
        },
        budget: Budget { wall_s: [None, Some(7200.0)][rng.random_range(0..2)], ..Budget::default() },
        search: SearchSettings::default(),
    }
}

fn data(task: &TaskSpec, rng: &mut impl rand::Rng) -> PreparedData {
    let rows = rng.random_range(60..20_000);
    let form = task.train.objective.row_form();
    let longest = task.train.max_length;
    PreparedData {
        data: ContentHash::of_bytes(b"sample"),
        rows,
        labels: task.prompt.options.clone(),
        longest_chars: 6 * longest,
        mean_chars: rng.random_range(20.0..3.0 * longest as f64),
        leaked: 0,
        pairs: if form == RowForm::Pairs { rows } else { 0 },
        texts: if form == RowForm::Text { rows } else { 0 },
        ledger: RowLedger::default(),
    }
}

fn recipe(shape: Shape, data: &PreparedData, rng: &mut impl rand::Rng) -> Recipe {
    let is_closed = !data.labels.is_empty();
    let mut operators = Vec::new();
    let mut maybe = |step: Operator, rng: &mut dyn FnMut() -> bool| {
        if rng() {
            operators.push(step);
        }
    };
    let mut coin = || rng.random_bool(0.4);
    maybe(Operator::Normalise, &mut coin);
    if is_closed {
        maybe(Operator::CanonicalAnswer, &mut coin);
        maybe(Operator::ValidAnswer, &mut coin);
    }
    maybe(Operator::ExactDedup, &mut coin);
    maybe(Operator::NearDedup { threshold: 0.8, shingle_words: 3 }, &mut coin);
    maybe(Operator::LengthFilter { min_chars: 1, max_chars: 8000 }, &mut coin);
    if is_closed && shape == Shape::Choice {
        maybe(Operator::NeighbourAgreement { neighbours: 5, min_agreement: 0.4 }, &mut coin);
        maybe(Operator::LabelBalance { mode: BalanceMode::Up, max_ratio: 2.0 }, &mut coin);
    }
    let template = "Answer this. {input}".to_owned();
    maybe(Operator::TemplateRender { template, system: None }, &mut coin);
    let ngram_words = [5, 8, 13][rng.random_range(0..3)];
    operators.insert(0, Operator::Decontaminate { ngram_words, max_overlap: [0.5, 0.7, 0.8][rng.random_range(0..3)] });
    Recipe { operators }
}

/// Files under a licence.
fn files_under(license: Option<&str>, commercial_use: bool) -> DataSource {
    DataSource::Files {
        train: "train.jsonl".into(),
        dev: SplitSource::HeldOut,
        test: SplitSource::HeldOut,
        fields: FieldMap::default(),
        terms: DataTerms { license: license.map(str::to_owned), commercial_use },
    }
}

/// A way in which a proposal is broken.
struct Fault {
    /// What is wrong, in words.
    what: &'static str,
    /// The rule that should notice.
    rule: &'static str,
    /// What it is done to.
    shape: Shape,
    spoil: fn(&mut Case),
}

const fn fault(what: &'static str, rule: &'static str, shape: Shape, spoil: fn(&mut Case)) -> Fault {
    Fault { what, rule, shape, spoil }
}

/// Every planted fault. Those whose rule is `none` are known to be beyond the rules: only training shows them.
const FAULTS: &[Fault] = &[
    fault("no decontamination", "verify.no_decontamination", Shape::Choice, |c| c.variant.recipe = Recipe::default()),
    fault("decontamination was taken out", "verify.no_decontamination", Shape::Text, |c| {
        c.variant.recipe.operators.retain(|step| step.name() != "decontaminate");
    }),
    fault("n-grams longer than any prompt", "verify.weak_decontamination", Shape::Choice, |c| {
        c.variant.recipe.operators = vec![Operator::Decontaminate { ngram_words: 200, max_overlap: 0.7 }];
    }),
    fault("only whole copies count as leaks", "verify.weak_decontamination", Shape::Generate, |c| {
        c.variant.recipe.operators = vec![Operator::Decontaminate { ngram_words: 8, max_overlap: 1.0 }];
    }),
    fault("a learning rate of zero", "verify.configuration", Shape::Choice, |c| c.variant.config.learning_rate = 0.0),
    fault("a negative learning rate", "verify.configuration", Shape::Generate, |c| {
        c.variant.config.learning_rate = -1e-4;
    }),
    fault("a learning rate that is no number", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.learning_rate = f64::NAN;
    }),
    fault("a learning rate of two", "verify.configuration", Shape::Text, |c| c.variant.config.learning_rate = 2.0),
    fault("no steps", "verify.configuration", Shape::Choice, |c| c.variant.config.max_steps = 0),
    fault("an empty micro-batch", "verify.configuration", Shape::Pairs, |c| {
        c.variant.config.per_device_train_batch_size = 0;
    }),
    fault("no accumulation at all", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.gradient_accumulation_steps = 0;
    }),
    fault("rank zero", "verify.configuration", Shape::Choice, |c| c.variant.config.lora.r = 0),
    fault("alpha zero", "verify.configuration", Shape::Generate, |c| c.variant.config.lora.lora_alpha = 0),
    fault("everything is dropped out", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.lora.lora_dropout = 1.0;
    }),
    fault("all labels are smoothed away", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.label_smoothing_factor = 1.0;
    }),
    fault("more pairs wrong than right", "verify.configuration", Shape::Pairs, |c| {
        c.variant.config.label_smoothing_factor = 0.6;
    }),
    fault("weight decay above one", "verify.configuration", Shape::Choice, |c| c.variant.config.weight_decay = 1.5),
    fault("beta of zero", "verify.configuration", Shape::Pairs, |c| c.variant.config.beta = 0.0),
    fault("a first decay of one", "verify.configuration", Shape::Choice, |c| c.variant.config.adam_beta1 = 1.0),
    fault("negative noise on embeddings", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.neftune_noise_alpha = -5.0;
    }),
    fault("examples of four tokens", "verify.configuration", Shape::Generate, |c| c.variant.config.max_length = 4),
    fault("early stopping without evaluations", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.early_stopping_patience = 3;
    }),
    fault("a target that no layer has", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.lora.target_modules = trex_domain::TargetModules::List(vec!["c_attn".to_owned()]);
    }),
    fault("no target at all", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.lora.target_modules = trex_domain::TargetModules::List(Vec::new());
    }),
    fault("the parts of a projection that the model has as one", "verify.target_modules", Shape::Choice, |c| {
        c.model = MODELS[4].facts();
        let target_modules = TargetModules::List(vec!["q_proj".to_owned(), "v_proj".to_owned()]);
        c.variant.config.lora = LoraConfig { target_modules, ..LoraConfig::default() };
    }),
    fault("one projection too many", "verify.target_modules", Shape::Generate, |c| {
        c.model = MODELS[4].facts();
        let mut names = c.model.projections.clone();
        names.push("gate_proj".to_owned());
        c.variant.config.lora = LoraConfig { target_modules: TargetModules::List(names), ..LoraConfig::default() };
    }),
    fault("projections of another family", "verify.target_modules", Shape::Text, |c| {
        c.model = MODELS[1].facts();
        let target_modules = TargetModules::List(vec!["qkv_proj".to_owned()]);
        c.variant.config.lora = LoraConfig { target_modules, ..LoraConfig::default() };
    }),
    fault("every weight of a quantised base", "verify.configuration", Shape::Choice, |c| {
        c.variant.config.method = TrainMethod::Full;
        c.variant.config.quantization = Quantization::Q8_0;
    }),
    fault("another number format than the run's base", "verify.quantization", Shape::Choice, |c| {
        c.variant.config.quantization = Quantization::Q8_0;
    }),
    fault("a plain base in a quantised run", "verify.quantization", Shape::Choice, |c| {
        c.task.train.quantization = Quantization::Q8_0;
    }),
    fault("another adapter than the task's", "verify.other_adapter", Shape::Choice, |c| {
        c.variant.config.adapter = Some("elsewhere".into());
    }),
    fault("the adapter of the task is dropped", "verify.other_adapter", Shape::Generate, |c| {
        c.task.train.adapter = Some("given".into());
    }),
    fault("another rank than the adapter's", "verify.adapter_shape", Shape::Choice, |c| {
        let lora = LoraConfig { r: c.variant.config.lora.r * 2, ..c.variant.config.lora.clone() };
        (c.task.train.lora, c.task.train.adapter) = (lora, Some("given".into()));
        c.variant.config.adapter = c.task.train.adapter.clone();
    }),
    fault("other targets than the adapter's", "verify.adapter_shape", Shape::Choice, |c| {
        let target_modules = trex_domain::TargetModules::List(vec!["q_proj".to_owned()]);
        c.task.train.lora = LoraConfig { target_modules, ..c.variant.config.lora.clone() };
        c.task.train.adapter = Some("given".into());
        c.variant.config.adapter = c.task.train.adapter.clone();
    }),
    fault("every weight, from an adapter", "verify.method", Shape::Choice, |c| {
        c.task.train.adapter = Some("given".into());
        c.variant.config.adapter = c.task.train.adapter.clone();
        c.variant.config.method = TrainMethod::Full;
    }),
    fault("a rank wider than the model", "verify.rank", Shape::Choice, |c| {
        c.model = MODELS[0].facts();
        c.variant.config.lora.r = 512;
    }),
    fault("the largest rank on a narrow model", "verify.rank", Shape::Text, |c| {
        c.model = MODELS[1].facts();
        c.variant.config.lora.r = 1024;
    }),
    fault("one module's rank wider than the model", "verify.rank", Shape::Generate, |c| {
        c.model = MODELS[1].facts();
        c.variant.config.lora.target_modules = TargetModules::all();
        c.variant.config.lora.rank_pattern = [("down_proj".to_owned(), 1024)].into();
    }),
    fault("a rank for a projection of another family", "verify.module_patterns", Shape::Choice, |c| {
        (c.model, c.variant.config.lora.r) = (MODELS[1].facts(), 8);
        c.variant.config.lora.target_modules = TargetModules::all();
        c.variant.config.lora.rank_pattern = [("qkv_proj".to_owned(), 4)].into();
    }),
    fault("an alpha for a layer behind the last", "verify.module_patterns", Shape::Generate, |c| {
        (c.model, c.variant.config.lora.r) = (MODELS[1].facts(), 8);
        c.variant.config.lora.target_modules = TargetModules::all();
        let behind = format!("layers.{}.mlp.down_proj", c.model.num_layers);
        c.variant.config.lora.alpha_pattern = [(behind, 4)].into();
    }),
    fault("a rank for no module", "verify.configuration", Shape::Text, |c| {
        c.variant.config.lora.rank_pattern = [("c_attn".to_owned(), 4)].into();
    }),
    fault("a warm-up longer than training", "verify.warmup", Shape::Choice, |c| {
        c.variant.config.warmup_ratio = (c.variant.config.max_steps * 2) as f64;
    }),
    fault("a warm-up as long as training", "verify.warmup", Shape::Generate, |c| {
        c.variant.config.warmup_ratio = c.variant.config.max_steps as f64;
    }),
    fault("early stopping before the first look", "verify.eval_steps", Shape::Choice, |c| {
        c.variant.config.early_stopping_patience = 2;
        c.variant.config.eval_steps = c.variant.config.max_steps * 3;
    }),
    fault("the best of no look", "verify.eval_steps", Shape::Generate, |c| {
        c.variant.config.load_best_model_at_end = true;
        c.variant.config.eval_steps = c.variant.config.max_steps + 1;
    }),
    fault("ten times the steps of the task", "verify.steps", Shape::Choice, |c| {
        c.variant.config.max_steps = c.task.train.max_steps * 10;
    }),
    fault("a million steps", "verify.steps", Shape::Text, |c| c.variant.config.max_steps = 1_000_000),
    fault("a template without its input", "verify.template", Shape::Choice, |c| {
        let template = "Answer the question.".to_owned();
        c.variant.recipe.operators.push(Operator::TemplateRender { template, system: None });
    }),
    fault("a template with a misspelt place", "verify.template", Shape::Generate, |c| {
        let template = "Question: {inputs}".to_owned();
        c.variant.recipe.operators.push(Operator::TemplateRender { template, system: None });
    }),
    fault("a prompt that is the same for all rows", "verify.template", Shape::Choice, |c| {
        "Which is it?".clone_into(&mut c.task.prompt.template);
    }),
    fault("open answers are balanced", "verify.closed_operator", Shape::Generate, |c| {
        let step = Operator::LabelBalance { mode: BalanceMode::Up, max_ratio: 1.0 };
        c.variant.recipe.operators.push(step);
    }),
    fault("neighbours vote on open answers", "verify.closed_operator", Shape::Generate, |c| {
        c.variant.recipe.operators.push(Operator::NeighbourAgreement { neighbours: 5, min_agreement: 0.5 });
    }),
    fault("pairs are made for plain answers", "verify.pairs_unused", Shape::Choice, |c| {
        c.variant.recipe.operators.push(Operator::PreferencePairs);
    }),
    fault("one evaluation item is trained on", "verify.leak", Shape::Choice, |c| c.data.leaked = 1),
    fault("half of the rows are evaluation items", "verify.leak", Shape::Generate, |c| c.data.leaked = c.data.rows / 2),
    fault("a filter leaves nothing", "verify.no_rows", Shape::Choice, |c| {
        (c.data.rows, c.data.labels) = (0, Vec::new());
    }),
    fault("a filter leaves no text", "verify.no_rows", Shape::Text, |c| (c.data.rows, c.data.texts) = (0, 0)),
    fault("rows without a character", "verify.no_tokens", Shape::Generate, |c| c.data.mean_chars = 0.0),
    fault("texts are trained on as answers", "verify.no_answers", Shape::Choice, |c| c.data.texts = c.data.rows),
    fault("a few rows have no answer", "verify.no_answers", Shape::Generate, |c| c.data.texts = 3),
    fault("preferences without pairs", "verify.no_pairs", Shape::Pairs, |c| c.data.pairs = 0),
    fault("some pairs are none", "verify.no_pairs", Shape::Pairs, |c| c.data.pairs -= 1),
    fault("plain answers are trained on as preferences", "verify.no_pairs", Shape::Choice, |c| {
        c.variant.config.objective = TrainObjective::Dpo;
        c.variant.config.label_smoothing_factor = 0.0;
    }),
    fault("answers are trained on as raw text", "verify.not_text", Shape::Choice, |c| {
        c.variant.config.objective = TrainObjective::Pretrain;
    }),
    fault("an answer has no row left", "verify.label_coverage", Shape::Choice, |c| drop(c.data.labels.pop())),
    fault("answers are written otherwise than the options", "verify.label_coverage", Shape::Choice, |c| {
        c.data.labels = c.data.labels.iter().map(|label| label.to_uppercase()).collect();
    }),
    fault("numbers instead of the words of the options", "verify.label_coverage", Shape::Choice, |c| {
        c.data.labels = (0..c.data.labels.len()).map(|number| number.to_string()).collect();
    }),
    fault("numbers are counted where answers are words", "verify.metric", Shape::Labels, |c| {
        c.task.metric = Metric::NumericMatch;
    }),
    fault("classes are weighed where answers are open", "verify.metric", Shape::Generate, |c| {
        c.task.metric = Metric::MacroF1;
    }),
    fault("bits per byte of answers", "verify.metric", Shape::Choice, |c| c.task.metric = Metric::BitsPerByte),
    fault("answers longer than what is generated", "verify.answer_length", Shape::Labels, |c| {
        c.data.labels = ["a".repeat(900), "b".repeat(900)].into();
        c.task.prompt.options = c.data.labels.clone();
    }),
    fault("room for one token", "verify.answer_length", Shape::Labels, |c| {
        c.task.prompt.max_new_tokens = 1;
        c.data.labels = ["yes, that is so".repeat(3), "no, that is not so".repeat(3)].into();
        c.task.prompt.options = c.data.labels.clone();
    }),
    fault("documents in a short context", "verify.length", Shape::Choice, |c| {
        c.data.mean_chars = 60_000.0;
        c.variant.config.max_length = 512;
    }),
    fault("more than the model reads", "verify.length", Shape::Generate, |c| {
        c.model = MODELS[0].facts();
        c.data.mean_chars = 40_000.0;
        c.variant.config.max_length = 8192;
    }),
    fault("a licence without derived works", "verify.licence", Shape::Choice, |c| {
        c.model.license = Some("cc-by-nd-4.0".to_owned());
    }),
    fault("another one without derived works", "verify.licence", Shape::Text, |c| {
        c.model.license = Some("CC BY-NC-ND".to_owned());
    }),
    fault("data without derived works", "verify.licence", Shape::Generate, |c| {
        c.task.data = files_under(Some("cc-by-nd-4.0"), false);
    }),
    fault("data for research, of a task that is not", "verify.licence", Shape::Choice, |c| {
        c.task.data = files_under(Some("cc-by-nc-sa-4.0"), true);
    }),
    fault("a model for research, of a task that is not", "verify.licence", Shape::Choice, |c| {
        (c.model, c.variant.config.lora.r) = (MODELS[3].facts(), 8);
        c.variant.config.lora.target_modules = TargetModules::all();
        c.task.data = files_under(Some("mit"), true);
    }),
    fault("a full disk", "verify.disk", Shape::Choice, |c| c.disk_bytes = 4096),
    fault("all weights of a large model on a small disk", "verify.disk", Shape::Choice, |c| {
        (c.model, c.disk_bytes) = (MODELS[3].facts(), 2 << 30);
        c.variant.config.method = TrainMethod::Full;
    }),
    fault("a trial longer than the budget", "verify.budget", Shape::Choice, |c| {
        (c.task.budget.wall_s, c.forecast.wall_s) = (Some(60.0), 90.0);
    }),
    fault("a trial longer than what is left", "verify.budget", Shape::Generate, |c| {
        (c.task.budget.wall_s, c.forecast.wall_s, c.spent.wall_s) = (Some(100.0), 30.0, 80.0);
    }),
    fault("a batch that fits no memory", "verify.memory", Shape::Choice, |c| {
        c.machine_bytes = 2 << 30;
        (c.model, c.variant.config.per_device_train_batch_size) = (MODELS[3].facts(), 64);
        c.data.mean_chars = 1400.0;
    }),
    fault("all weights in half the memory", "verify.memory", Shape::Choice, |c| {
        (c.model, c.machine_bytes) = (MODELS[2].facts(), 4 << 30);
        c.variant.config.method = TrainMethod::Full;
    }),
    fault("a machine of 64 MiB", "verify.memory", Shape::Generate, |c| {
        (c.model, c.machine_bytes) = (MODELS[1].facts(), 64 << 20);
    }),
    fault("a rate at which everything diverges", "none", Shape::Choice, |c| c.variant.config.learning_rate = 0.9),
    fault("hundreds of passes over a handful of rows", "none", Shape::Choice, |c| {
        c.data.rows = 12;
        c.variant.config.per_device_train_batch_size = 8;
        c.variant.config.max_steps = c.task.train.max_steps;
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 6 asks for 95 % of at least 60 broken proposals with 2 % false alarms on 200 sound ones.
    #[test]
    fn broken_proposals_are_caught_and_sound_ones_pass() {
        let summary = measure_verifier(1);
        assert!(summary.broken >= 60 && summary.sound == 200, "{summary:#?}");
        assert!(summary.caught * 100 >= summary.broken * 95, "{summary:#?}");
        assert!(summary.false_alarms * 100 <= summary.sound * 2, "{summary:#?}");
        assert!(summary.other_rule.is_empty(), "{summary:#?}");
        let known: Vec<_> = FAULTS.iter().filter(|fault| fault.rule == "none").map(|fault| fault.what).collect();
        assert_eq!(summary.missed, known, "what is missed is what is known to be beyond the rules");
    }

    #[test]
    fn every_rejection_has_a_reason_with_advice() {
        for fault in FAULTS.iter().filter(|fault| fault.rule != "none") {
            let mut case = Case::sound(1, fault.what, fault.shape);
            (fault.spoil)(&mut case);
            let (code, reason) = case.rejection().unwrap();
            let (what, advice) = reason.split_once("; ").unwrap_or_default();
            assert!(what.len() > 10 && advice.len() > 10, "{code}: {reason}");
        }
    }
}
