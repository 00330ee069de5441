//! A Researcher that reads its proposals from a table. It looks at the state only, as the port demands.

use std::error::Error;

use trex_domain::{
    Effect, Insight, NodeId, Operator, Recipe, Researcher, RunState, Strategy, StrategyKind, StrategyRequest,
    TrainConfig, Variant, VariantDiff,
};

use crate::fakes::{BROKEN_PATTERN, DIVERGES};

/// A variant to propose: learning rate and operators.
pub(crate) type Proposal = (f64, Vec<Operator>);

/// What is proposed below a strategy: one batch per experiment, then nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: StrategyKind,
    pub(crate) prior: f64,
    pub(crate) batches: Vec<Vec<Proposal>>,
    /// Whether there is nothing to propose while the base is unbeaten.
    pub(crate) waits_for_incumbent: bool,
}

/// Proposes from plans, one strategy each.
#[derive(Clone, Debug)]
pub(crate) struct FakeResearcher(pub(crate) Vec<Plan>);

pub(crate) fn plan(kind: StrategyKind, prior: f64, batches: Vec<Vec<Proposal>>) -> Plan {
    Plan { kind, prior, batches, waits_for_incumbent: false }
}

pub(crate) fn decontaminate() -> Operator {
    Operator::Decontaminate { ngram_words: 8, max_overlap: 0.5 }
}

/// Variants that differ in their learning rate only.
pub(crate) fn rates(rates: &[f64]) -> Vec<Proposal> {
    rates.iter().map(|rate| (*rate, vec![decontaminate()])).collect()
}

/// Variants that also drop duplicates.
pub(crate) fn cleaned(rates: &[f64]) -> Vec<Proposal> {
    rates.iter().map(|rate| (*rate, vec![Operator::ExactDedup, decontaminate()])).collect()
}

/// Three proposals of which none may train: a bad configuration, no decontamination, a recipe that cannot be run.
pub(crate) fn inadmissible() -> Vec<Proposal> {
    let broken = Operator::RegexDrop { pattern: BROKEN_PATTERN.to_owned() };
    vec![(0.0, vec![decontaminate()]), (3e-4, vec![Operator::ExactDedup]), (3e-4, vec![broken, decontaminate()])]
}

impl FakeResearcher {
    /// Five strategies of three variants a batch: two good ones, one of duplicates, one of inadmissible variants and one
    /// that waits for an incumbent and proposes, among others, a variant that diverges.
    pub(crate) fn real_shape() -> Self {
        let mut again = rates(&[3e-4, 3e-4, 7e-4]);
        again[1].1.insert(0, Operator::Normalise);
        let late = Plan {
            waits_for_incumbent: true,
            ..plan(StrategyKind::AdjustTraining, 0.9, vec![cleaned(&[5e-4, DIVERGES, 1e-3])])
        };
        Self(vec![
            plan(StrategyKind::AdjustTraining, 0.5, vec![rates(&[3e-4, 6e-4, 9e-4]), rates(&[1.1e-3, 1.5e-3, 2e-3])]),
            plan(StrategyKind::RefineData, 0.4, vec![cleaned(&[2e-4, 3e-4, 8e-4]), cleaned(&[9e-4, 1.2e-3, 4e-3])]),
            plan(StrategyKind::Baseline, 0.3, vec![again]),
            plan(StrategyKind::ConstructData, 0.2, vec![inadmissible()]),
            late,
        ])
    }

    fn plan(&self, strategy: &NodeId) -> Option<&Plan> {
        (1..).zip(&self.0).find(|(number, _)| NodeId::strategy(*number) == *strategy).map(|(_, plan)| plan)
    }
}

impl Researcher for FakeResearcher {
    fn strategies(&self, _request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        let strategy =
            |plan: &Plan| Strategy { prior: plan.prior, ..trex_testkit::strategy(plan.kind, plan.kind.as_str()) };
        Ok(self.0.iter().map(strategy).collect())
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        _node: &NodeId,
        _count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        let plan = self.plan(strategy).ok_or("a strategy that was never proposed")?;
        if plan.waits_for_incumbent && request.state.incumbent.is_none() {
            return Ok(Vec::new());
        }
        let mut batch = plan.batches.get(request.state.experiments(strategy).count()).cloned().unwrap_or_default();
        // What similar past tasks gained by is tried first, as the port asks for.
        if let Some(warm) = request.state.warm_start.as_ref().filter(|_| request.state.variants.is_empty()) {
            let first = warm.first.iter().map(|one| (one.config.learning_rate, one.recipe.operators.clone()));
            batch = first.chain(batch).collect();
        }
        let variant = |(learning_rate, operators): Proposal| Variant {
            // All get the same name on purpose: names are the engine's to give.
            id: trex_testkit::variant_id("s1.e1.a"),
            parent: request.state.incumbent.clone(),
            diff: VariantDiff::new(),
            why: "it is in the table".to_owned(),
            recipe: Recipe { operators },
            config: TrainConfig { learning_rate, ..request.task.train.clone() },
        };
        Ok(batch.into_iter().map(variant).collect())
    }

    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
        assert!(state.nodes[node].finished, "insights are drawn from a finished experiment");
        let statement = format!("{node} was tried");
        vec![Insight { statement, scope: "here".to_owned(), effect, significant, node: node.clone() }]
    }
}
