//! The gates of a run: which decisions wait for a person, and waiting. Works only where the run has a policy; the default
//! has none and nothing waits.

use trex_domain::{
    Claim, DataPort, DecidedBy, Event, EventLog, Executor, Exporter, GateStage, NodeId, Researcher, ReviewDecision,
    ReviewId, ReviewRequest, ReviewSubject, ReviewVerdict, Risk, Strategy, StrategyKind, TimeoutChoice, Variant,
    WorkerEvent,
};

use super::Driver;
use crate::review::expiry;
use crate::{EngineError, PortError};

/// Changed settings with which a variant counts as wholly new.
const NEW_SETTINGS: f64 = 6.0;

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// Takes a person's decisions, or lets time pass; `true` while something waits, so that nothing else is done.
    pub(super) fn await_reviews(&mut self) -> Result<bool, EngineError> {
        if self.state.gates.is_none() || !self.state.reviews.iter().any(trex_domain::ReviewRecord::is_open) {
            return Ok(false);
        }
        let decided = self.new_decisions()?;
        if !decided.is_empty() {
            self.record(decided.into_iter().map(Event::ReviewDecided).collect())?;
            return Ok(true);
        }
        let Some(review) = self.state.pending_reviews().next() else { return Ok(false) };
        let (id, expires) = (review.request.id, expiry(&self.state, review));
        if expires.is_some_and(|expires| self.clock.now() >= expires) {
            let decision = self.by_timeout(id)?;
            self.record(vec![Event::ReviewDecided(decision)])?;
            return Ok(true);
        }
        let Some(desk) = self.settings.desk.clone() else { return Err(EngineError::ReviewWaits { id }) };
        // A worker that waits says the same; so whoever looks may ask to stop.
        if !self.observer.progress(&format!("review {id}"), &WorkerEvent::Heartbeat, &self.state) {
            self.stop_asked = true;
            return Ok(true);
        }
        desk.pause();
        Ok(true)
    }

    /// Decisions that lie there and may follow; one that may not is named once and passed over.
    fn new_decisions(&mut self) -> Result<Vec<ReviewDecision>, EngineError> {
        let Some(desk) = &self.settings.desk else { return Ok(Vec::new()) };
        let lying = desk.decisions(self.run).map_err(|err| EngineError::Log(PortError::from(err)))?;
        let mut after = self.state.clone();
        let (mut fit, mut notes) = (Vec::new(), Vec::new());
        for decision in lying {
            let review = self.state.reviews.iter().find(|review| review.request.id == decision.id);
            let is_news = review.is_some_and(|review| review.is_open() && review.decision.as_ref() != Some(&decision));
            if !is_news || self.passed_over.contains(&decision.id) {
                continue;
            }
            match after.apply(&Event::ReviewDecided(decision.clone())) {
                Ok(()) => fit.push(decision),
                Err(err) => {
                    self.passed_over.insert(decision.id);
                    let message = format!("the decision on {} cannot be taken: {err}", decision.id);
                    notes.push(Event::Warned { code: "review.unusable".to_owned(), message });
                }
            }
        }
        self.record(notes)?;
        Ok(fit)
    }

    fn by_timeout(&self, id: ReviewId) -> Result<ReviewDecision, EngineError> {
        let then = self.state.gates.as_ref().map_or(TimeoutChoice::Stop, |policy| policy.then);
        let verdict = match then {
            TimeoutChoice::Approve => ReviewVerdict::Approve,
            TimeoutChoice::Reject => ReviewVerdict::Reject,
            TimeoutChoice::Stop => return Err(EngineError::ReviewWaits { id }),
        };
        let reason = Some("nobody decided in time".to_owned());
        Ok(ReviewDecision { id, verdict, reason, by: DecidedBy::Timeout, person_min: 0.0 })
    }

    /// Whether the task may be begun. Asks a person first where that is risky.
    pub(super) fn gate_task(&mut self) -> Result<(), EngineError> {
        let limited = self.state.task()?.budget.wall_s.is_some() || self.state.task()?.budget.cpu_s.is_some();
        // The task steers everything that is spent, and a wrong one wastes all of it.
        let risk = Risk { cost: if limited { 0.5 } else { 1.0 }, novelty: 0.5, doubt: 0.3, irreversibility: 0.7 };
        let task = self.state.task()?;
        let question = format!(
            "is this the task: {}, measured by {}, with at most {} trials?",
            task.goal, task.metric, task.budget.trials
        );
        self.gate_alone(GateStage::Requirement, ReviewSubject::Task, risk, question)
    }

    /// Whether the sealed split may be opened. Asks a person first where that is risky.
    pub(super) fn gate_final(&mut self) -> Result<(), EngineError> {
        let best = self.state.incumbent.as_ref().map(ToString::to_string);
        let doubt = if best.is_some() { 0.3 } else { 1.0 };
        let risk = Risk { cost: 0.0, novelty: 0.0, doubt, irreversibility: 1.0 };
        let who = best.map_or_else(|| "the untouched base alone".to_owned(), |best| format!("the base and {best}"));
        let question = format!("is the search over, so that the sealed split is opened once for {who}?");
        self.gate_alone(GateStage::Evaluation, ReviewSubject::Final, risk, question)
    }

    /// Ends the run where a person said no; asks where nobody was asked and the risk is above what may pass.
    fn gate_alone(
        &mut self,
        stage: GateStage,
        subject: ReviewSubject,
        risk: Risk,
        question: String,
    ) -> Result<(), EngineError> {
        let Some(policy) = self.state.gates.clone() else { return Ok(()) };
        if let Some(review) = self.state.review_of(&subject) {
            let rejected = review.decision.as_ref().filter(|_| review.is_rejected());
            return rejected.map_or(Ok(()), |decision| {
                let reason = decision.reason.clone().unwrap_or_default();
                Err(EngineError::RejectedInReview { id: decision.id, reason })
            });
        }
        if !policy.holds_alone(stage, &risk) {
            return Ok(());
        }
        let request = self.request(0, stage, subject, risk, question);
        self.record(vec![Event::ReviewAsked(request)])
    }

    /// Questions about the least supported of new claims.
    pub(super) fn gate_claims(&self, claims: &[Claim]) -> Vec<Event> {
        let about = |(place, claim): (usize, &Claim)| {
            let risk = Risk { cost: 0.0, novelty: 0.2, doubt: 1.0 - claim.support, irreversibility: 0.0 };
            let question = format!("does {} say this: {}", claim.title, claim.statement);
            (ReviewSubject::Claim { place }, risk, question)
        };
        self.gate_batch(GateStage::Literature, claims.iter().enumerate().map(about).collect(), 0)
    }

    /// Questions about the riskiest of new strategies.
    pub(super) fn gate_strategies(&self, named: &[(NodeId, Strategy)]) -> Vec<Event> {
        let trials = self.state.task.as_ref().map_or(1, |task| task.budget.trials.max(1)) as f64;
        let warm = self.state.warm_start.is_some();
        let risk = |strategy: &Strategy| Risk {
            cost: strategy.expected_cost / trials,
            novelty: match (strategy.kind, warm) {
                (StrategyKind::Baseline, _) => 0.1,
                (_, true) => 0.3,
                (_, false) => 0.6,
            },
            doubt: 1.0 - strategy.prior,
            irreversibility: 0.0,
        };
        let about = |(node, strategy): &(NodeId, Strategy)| {
            let question = format!("is {node} worth trials: {}? {}", strategy.title, strategy.hypothesis);
            (ReviewSubject::Strategy { node: node.clone() }, risk(strategy), question)
        };
        self.gate_batch(GateStage::Strategy, named.iter().map(about).collect(), 0)
    }

    /// Questions about the riskiest variants of a new batch: those that change data, and those that change training only.
    pub(super) fn gate_variants(&self, strategy: &NodeId, variants: &[Variant]) -> Vec<Event> {
        let prior = self.state.nodes.get(strategy).and_then(|node| node.strategy.as_ref()).map_or(0.5, |one| one.prior);
        let Some(task) = &self.state.task else { return Vec::new() };
        let left = task.budget.trials.saturating_sub(self.state.trials.len()).max(1) as f64;
        let about = |variant: &Variant| {
            let steps = variant.config.max_steps as f64 / task.train.max_steps.max(1) as f64;
            let risk = Risk {
                cost: steps * task.search.rungs as f64 / left,
                novelty: variant.diff.len() as f64 / NEW_SETTINGS,
                doubt: 1.0 - prior,
                irreversibility: 0.0,
            };
            let question = format!("may {} train? {}: {}", variant.id, changes(variant), variant.why);
            (ReviewSubject::Variant { variant: variant.id.clone() }, risk, question)
        };
        let (data, training): (Vec<&Variant>, Vec<&Variant>) =
            variants.iter().partition(|variant| variant.diff.keys().any(|name| name.starts_with("recipe.")));
        let mut events = self.gate_batch(GateStage::Data, data.into_iter().map(about).collect(), 0);
        let training = training.into_iter().map(about).collect();
        events.extend(self.gate_batch(GateStage::Training, training, events.len()));
        events
    }

    /// Questions about the riskiest of a batch; `offset` reviews are to be asked before these.
    pub(super) fn gate_batch(
        &self,
        stage: GateStage,
        batch: Vec<(ReviewSubject, Risk, String)>,
        offset: usize,
    ) -> Vec<Event> {
        let Some(policy) = &self.state.gates else { return Vec::new() };
        let risks: Vec<Risk> = batch.iter().map(|(_, risk, _)| *risk).collect();
        let held = self.state.reviews.iter().filter(|review| review.request.stage == stage).count();
        let places = policy.held(stage, &risks, self.decisions_before(stage), held);
        let mut out = Vec::new();
        for (place, (subject, risk, question)) in batch.into_iter().enumerate() {
            if places.contains(&place) {
                out.push(Event::ReviewAsked(self.request(offset + out.len(), stage, subject, risk, question)));
            }
        }
        out
    }

    /// Decisions of a stage so far, with and without a person.
    fn decisions_before(&self, stage: GateStage) -> usize {
        let changes_data = |variant: &Variant| variant.diff.keys().any(|name| name.starts_with("recipe."));
        let variants = self.state.variants.values().map(|record| changes_data(&record.variant));
        match stage {
            GateStage::Strategy => self.state.strategies().count(),
            GateStage::Data => variants.filter(|data| *data).count(),
            GateStage::Training => variants.filter(|data| !*data).count(),
            GateStage::Literature => self.state.claims.len(),
            GateStage::Requirement | GateStage::Evaluation => 0,
        }
    }

    fn request(
        &self,
        offset: usize,
        stage: GateStage,
        subject: ReviewSubject,
        risk: Risk,
        question: String,
    ) -> ReviewRequest {
        let id = ReviewId::new(self.state.reviews.len() + offset + 1);
        ReviewRequest { id, stage, subject, question, risk, score: risk.score() }
    }
}

fn changes(variant: &Variant) -> String {
    let all: Vec<String> = variant.diff.iter().map(|(name, (from, to))| format!("{name} {from} → {to}")).collect();
    if all.is_empty() { "nothing changes".to_owned() } else { all.join(", ") }
}
