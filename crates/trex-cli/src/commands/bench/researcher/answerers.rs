//! Who proposes in the comparison: the Playbook, the Playbook with a language model beside it, random draws, and nobody.
//!
//! Four models are scripted. The strong one knows the best points of the surface and proposes them in turns, over HTTP, so it
//! is a bound on what any model could bring; the guessing one proposes points of the grid that are drawn; the weak one answers
//! in the right form and proposes what cannot help; `garbled` keeps to no form.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use trex_domain::{
    AnswerForm, Effect, Insight, LanguageModel, ModelCall, ModelReply, ModelRequest, NodeId, Operator, Problem, Recipe,
    ReplyControl, Researcher, RunState, Stage, Strategy, StrategyKind, StrategyRequest, TokenUsage, TrainConfig,
    Variant, VariantId, seeded_rng,
};
use trex_research::{Assistant, AssistedResearcher, ResearcherSettings};

use crate::system::SystemClock;

/// Bytes of a token in the ledger of a scripted model.
const BYTES_PER_TOKEN: u64 = 4;

/// Best points that the strong model knows.
const KNOWN_POINTS: usize = 6;

/// The Playbook, with a model beside it where one is given.
pub(super) fn playbook(model: Option<Arc<dyn LanguageModel>>, workspace: &Path) -> AssistedResearcher {
    let mut settings = ResearcherSettings::default();
    let mut assistants = BTreeMap::new();
    if let Some(model) = model {
        let name = model.name().to_owned();
        for stage in [Stage::ProposeStrategies, Stage::DraftRecipe, Stage::ProposeExperiments] {
            settings.stages.insert(stage, vec![name.clone()]);
        }
        assistants.insert(name, Assistant { model, is_local: true });
    }
    let researcher = AssistedResearcher::new(settings, assistants, Arc::new(SystemClock), Arc::new(|| true));
    researcher.with_blobs(&workspace.join("blobs"))
}

/// A model that says what it was told to say.
pub(super) struct Scripted {
    name: &'static str,
    changes: Vec<Value>,
    recipes: Vec<Value>,
    /// Questions so far, for taking turns.
    asked: AtomicUsize,
}

impl Scripted {
    /// Proposes the best points of a grid, from the best.
    pub(super) fn strong(best: &[(&Recipe, &TrainConfig)]) -> Self {
        Self::proposing("scripted:strong", &best[..best.len().min(KNOWN_POINTS)])
    }

    /// Proposes drawn points of a grid.
    pub(super) fn guessing(points: &[(Recipe, TrainConfig)], number: u64) -> Self {
        let mut drawn: Vec<_> = points.iter().map(|(recipe, config)| (recipe, config)).collect();
        drawn.shuffle(&mut seeded_rng(number, "bench/guessing"));
        Self::proposing("scripted:guessing", &drawn)
    }

    fn proposing(name: &'static str, points: &[(&Recipe, &TrainConfig)]) -> Self {
        let change = |(_, config): &(&Recipe, &TrainConfig)| {
            json!({
                "learning_rate": config.learning_rate,
                "lora_r": config.lora.r,
                "lora_alpha": config.lora.lora_alpha,
                "max_steps": config.max_steps,
                "per_device_train_batch_size": config.per_device_train_batch_size,
            })
        };
        let recipe = |(recipe, _): &(&Recipe, &TrainConfig)| Value::from(steps(recipe));
        Self {
            name,
            changes: points.iter().map(change).collect(),
            recipes: points.iter().map(recipe).collect(),
            asked: AtomicUsize::new(0),
        }
    }

    /// Proposes settings and recipes in the right form that learn nothing, too much, or from next to no rows.
    pub(super) fn weak() -> Self {
        let changes = [1e-6, 0.25, 3e-6].map(|rate| json!({"learning_rate": rate, "lora_r": 1, "lora_alpha": 1}));
        let recipes = [5, 6, 7].map(|percent| json!([{"op": "stratified_sample", "percent": percent}]));
        Self { name: "scripted:weak", changes: changes.to_vec(), recipes: recipes.to_vec(), asked: AtomicUsize::new(0) }
    }

    /// Keeps to no form.
    pub(super) fn garbled() -> Self {
        Self { name: "scripted:garbled", changes: Vec::new(), recipes: Vec::new(), asked: AtomicUsize::new(0) }
    }

    /// The answer at a stage to a question of so many bytes, and what both count.
    pub(super) fn says(&self, stage: &str, bytes_read: usize) -> (String, TokenUsage) {
        let text = self.answer(stage).to_string();
        let tokens = |bytes: usize| bytes as u64 / BYTES_PER_TOKEN;
        let usage = TokenUsage { prompt_tokens: tokens(bytes_read), completion_tokens: tokens(text.len()) };
        (text, usage)
    }

    fn answer(&self, stage: &str) -> Value {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let (why, from) = ("it is in the script", |list: &[Value]| -> Vec<Value> {
            (0..list.len()).filter_map(|at| list.get((turn + at) % list.len()).cloned()).take(3).collect()
        });
        let is_garbled = self.changes.is_empty();
        match stage {
            _ if is_garbled => json!({"thoughts": "Sure! Try a larger model."}),
            "propose_strategies" => json!({"strategies": [{
                "kind": "adjust_training",
                "title": "as the script has it",
                "hypothesis": "these settings bring more",
                "rationale": why,
                "facts": [1],
            }]}),
            "propose_experiments" => {
                let one = |change: Value| json!({"change": change, "why": why});
                json!({"experiments": from(&self.changes).into_iter().map(one).collect::<Vec<_>>()})
            }
            _ => {
                let one = |steps: Value| json!({"steps": steps, "why": why});
                json!({"recipes": from(&self.recipes).into_iter().map(one).collect::<Vec<_>>()})
            }
        }
    }
}

/// The steps of a recipe as a model names them; what the Playbook adds to every recipe is left out.
fn steps(recipe: &Recipe) -> Vec<Value> {
    let step = |operator: &Operator| match operator {
        Operator::Decontaminate { .. } => None,
        Operator::StratifiedSample { .. } => Some(json!({"op": "stratified_sample", "percent": 50})),
        other => Some(json!({"op": other.name()})),
    };
    recipe.operators.iter().filter_map(step).collect()
}

impl LanguageModel for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn ask(
        &self,
        request: &ModelRequest,
        _: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        let stage = match &request.form {
            AnswerForm::JsonSchema { name, .. } => name.as_str(),
            AnswerForm::JsonObject | AnswerForm::Text => "",
        };
        let (text, usage) = self.says(stage, request.messages.iter().map(|turn| turn.content.len()).sum());
        Ok(ModelReply { text, usage, cut_at_limit: false, replayed: false })
    }
}

/// Draws from a list of recipes and configurations, with replacement, or proposes the first of it once.
pub(super) struct Drawn {
    list: Vec<(Recipe, TrainConfig)>,
    at_random: bool,
}

impl Drawn {
    /// Random search.
    pub(super) fn at_random(list: Vec<(Recipe, TrainConfig)>) -> Self {
        Self { list, at_random: true }
    }

    /// A fixed default.
    pub(super) fn fixed(recipe: Recipe, config: TrainConfig) -> Self {
        Self { list: vec![(recipe, config)], at_random: false }
    }
}

impl Researcher for Drawn {
    fn strategies(&self, _: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        Ok(vec![Strategy {
            kind: StrategyKind::AdjustTraining,
            title: if self.at_random { "random draws" } else { "the default" }.to_owned(),
            hypothesis: "none".to_owned(),
            rationale: "for comparison".to_owned(),
            evidence: Vec::new(),
            expected_effect: 0.0,
            expected_cost: 1.0,
            prior: 0.5,
        }])
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        _: &NodeId,
        node: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        let mut rng = seeded_rng(request.state.seed, &format!("bench/{node}"));
        let drawn: Vec<&(Recipe, TrainConfig)> = if self.at_random {
            (0..count).filter_map(|_| self.list.get(rng.random_range(0..self.list.len()))).collect()
        } else if request.state.variants.is_empty() {
            self.list.iter().collect()
        } else {
            Vec::new()
        };
        let start = (&Recipe::default(), &request.task.train);
        let variant = |(at, (recipe, config)): (usize, &(Recipe, TrainConfig))| {
            Ok(Variant {
                id: VariantId::new(node, at),
                parent: None,
                diff: trex_domain::variant_diff(start, (recipe, config))?,
                why: "for comparison".to_owned(),
                recipe: recipe.clone(),
                config: config.clone(),
            })
        };
        drawn.into_iter().enumerate().map(variant).collect()
    }

    fn distil(&self, _: &RunState, _: &NodeId, _: Effect, _: bool) -> Vec<Insight> {
        Vec::new()
    }
}

/// Any Researcher, for a run that is told which one only when it begins.
pub(super) struct Anybody(pub(super) Box<dyn Researcher>);

impl Researcher for Anybody {
    fn strategies(&self, request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        self.0.strategies(request)
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        node: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        self.0.variants(request, strategy, node, count)
    }

    fn take_calls(&self) -> Vec<ModelCall> {
        self.0.take_calls()
    }

    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
        self.0.distil(state, node, effect, significant)
    }
}
