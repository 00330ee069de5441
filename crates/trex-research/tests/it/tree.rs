//! A run whose experiments are scored by a function: what the Playbook sees of a search.

use std::collections::BTreeMap;
use std::path::PathBuf;

use trex_domain::{
    Budget, ContentHash, Cost, DataProfile, DataSource, Event, FieldMap, LengthBucket, Metric, ModelFacts, ModelRef,
    NodeId, PromptSpec, Researcher as _, RowCounts, RowLedger, RunState, Score, SearchSettings, SplitSizes,
    SplitSource, Strategy, StrategyRequest, TaskKind, TaskSpec, TrainConfig, TrainDone, Variant, VariantId,
};
use trex_research::Playbook;

pub(crate) fn hash(text: &str) -> ContentHash {
    ContentHash::of_bytes(text.as_bytes())
}

pub(crate) fn task(kind: TaskKind) -> TaskSpec {
    let options = if kind == TaskKind::Choice { vec!["yes".into(), "no".into()] } else { Vec::new() };
    TaskSpec {
        device: trex_domain::DeviceChoice::Auto,
        name: "fake".into(),
        goal: "answer".into(),
        kind,
        metric: Metric::Accuracy,
        model: ModelRef("bundled".into()),
        data: DataSource::Files {
            train: PathBuf::from("train.csv"),
            dev: SplitSource::HeldOut,
            test: SplitSource::HeldOut,
            fields: FieldMap::default(),
            terms: trex_domain::DataTerms::default(),
        },
        splits: SplitSizes::default(),
        prompt: PromptSpec { system: None, template: "{input}".into(), options, max_new_tokens: 8 },
        generation: trex_domain::GenerationConfig::default(),
        train: TrainConfig::default(),
        budget: Budget::default(),
        search: SearchSettings { rungs: 1, ..SearchSettings::default() },
    }
}

pub(crate) fn dirty() -> DataProfile {
    DataProfile {
        rows: RowCounts { input: 1010, kept: 1000, quarantined: 10 },
        labels: [("yes", 700), ("no", 250), ("Yes.", 50)].map(|(label, rows)| (label.to_owned(), rows)).into(),
        exact_duplicates: 80,
        near_duplicates: 120,
        conflicting_answers: 40,
        lengths: vec![
            LengthBucket { from: 0, to: 10, rows: 5 },
            LengthBucket { from: 10, to: 200, rows: 985 },
            LengthBucket { from: 200, to: 4000, rows: 10 },
        ],
        leaked: Some(20),
        ..DataProfile::default()
    }
}

pub(crate) fn clean() -> DataProfile {
    DataProfile { rows: RowCounts { input: 500, kept: 500, quarantined: 0 }, ..DataProfile::default() }
}

fn model() -> ModelFacts {
    ModelFacts {
        name: "bundled".into(),
        dir: PathBuf::new(),
        hash: hash("model"),
        num_parameters: 1_000_000,
        weights_bytes: 4_000_000,
        hidden_size: 64,
        intermediate_size: 128,
        num_layers: 2,
        num_heads: 2,
        num_kv_heads: 2,
        head_dim: 32,
        vocab_size: 1000,
        max_position: 512,
        license: None,
        projections: Vec::new(),
    }
}

/// A run in the search phase.
pub(crate) struct Tree {
    pub(crate) state: RunState,
    pub(crate) profile: DataProfile,
    model: ModelFacts,
}

impl Tree {
    pub(crate) fn new(task: TaskSpec, profile: DataProfile, seed: u64) -> Self {
        let mut tree = Self { state: RunState::default(), profile, model: model() };
        tree.apply(&Event::RunStarted { task: Box::new(task), seed, version: "0".into(), model: hash("model") });
        tree.apply(&Event::BaseScored { seed: 0, score: score("select", 0.5), cost: Cost::default() });
        tree
    }

    #[track_caller]
    pub(crate) fn apply(&mut self, event: &Event) {
        if let Err(err) = self.state.apply(event) {
            panic!("{err}: {event:?}");
        }
    }

    fn request(&self) -> StrategyRequest<'_> {
        let task = self.state.task.as_ref().unwrap();
        StrategyRequest { task, profile: &self.profile, model: &self.model, state: &self.state }
    }

    pub(crate) fn strategies(&self) -> Vec<Strategy> {
        Playbook.strategies(self.request()).unwrap()
    }

    /// Records all strategies of the Playbook.
    pub(crate) fn propose_strategies(&mut self) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for (index, strategy) in self.strategies().into_iter().enumerate() {
            let node = NodeId::strategy(index + 1);
            self.apply(&Event::StrategyProposed { node: node.clone(), strategy });
            nodes.push(node);
        }
        nodes
    }

    pub(crate) fn next_node(&self, strategy: &NodeId) -> NodeId {
        strategy.experiment(self.state.experiments(strategy).count() + 1)
    }

    pub(crate) fn variants(&self, strategy: &NodeId, count: usize) -> Vec<Variant> {
        Playbook.variants(self.request(), strategy, &self.next_node(strategy), count).unwrap()
    }

    /// Runs a batch: `measure` returns the search and the select score. The winner by search score gets a value.
    pub(crate) fn run(
        &mut self,
        strategy: &NodeId,
        batch: Vec<Variant>,
        measure: &mut dyn FnMut(&Variant) -> [f64; 2],
    ) {
        let node = self.next_node(strategy);
        self.apply(&Event::ExperimentProposed { node: node.clone(), title: "batch".into(), variants: batch.clone() });
        let mut best: Option<(f64, f64, VariantId)> = None;
        for variant in batch {
            let [search, select] = measure(&variant);
            self.score(&variant.id, search);
            if best.as_ref().is_none_or(|(leader, _, _)| search > *leader) {
                best = Some((search, select, variant.id));
            }
        }
        let (winner, value) = best.map_or((None, None), |(_, value, id)| (Some(id), Some(value)));
        self.apply(&Event::ExperimentFinished { node, winner, value });
    }

    fn score(&mut self, id: &VariantId, search: f64) {
        let variant = id.clone();
        self.apply(&Event::VariantVerified {
            variant,
            data: hash("data"),
            ledger: RowLedger::default(),
            key: hash(id.as_str()),
            memory_bytes: 1,
            warnings: Vec::new(),
        });
        let (rung, seed, cost) = (0, 0, Cost::default());
        self.apply(&Event::TrialStarted {
            variant: id.clone(),
            rung,
            seed,
            attempt: 1,
            continues: None,
            reserved: Cost::default(),
        });
        let done = TrainDone {
            adapter: hash("adapter"),
            checkpoint: hash("checkpoint"),
            steps: 120,
            curve: Vec::new(),
            tokens: 1,
            supervised_tokens: 1,
            truncated: 0,
            peak_rss_bytes: 1,
            cost,
        };
        self.apply(&Event::TrialTrained { variant: id.clone(), rung, seed, done });
        let score = score("search", search);
        self.apply(&Event::TrialScored { variant: id.clone(), rung, seed, score, reused: false, cost });
    }

    /// The winner with the best value so far.
    pub(crate) fn best(&self) -> Option<&Variant> {
        let scored = self.state.nodes.values().filter_map(|node| Some((node.value?, node.winner.as_ref()?)));
        let (_, id) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(&self.state.variants[id].variant)
    }

    pub(crate) fn set_incumbent(&mut self, id: Option<VariantId>) {
        self.state.incumbent = id;
    }
}

pub(crate) fn score(split: &str, value: f64) -> Score {
    Score {
        metric: Metric::Accuracy,
        value,
        ci95: [value - 0.05, value + 0.05],
        n: 100,
        split: split.into(),
        items: hash("items"),
        gold_prob: None,
    }
}

/// Changes counted per setting name, for checks on diffs.
pub(crate) fn changed(variant: &Variant) -> BTreeMap<&str, &str> {
    variant.diff.iter().map(|(name, (_, to))| (name.as_str(), to.as_str())).collect()
}
