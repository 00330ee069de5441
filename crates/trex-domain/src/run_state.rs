//! The state of a run, folded from its events. The engine decides from this value alone, so recovery is a second fold.
//! Long because all events are folded in one place.

mod orders;
mod records;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ActionRecord, BudgetLimit, Claim, Comparison, ContentHash, Continued, Cost, DomainError, DryRunDone, DryRunFailure,
    Event, GatePolicy, Insight, Judgement, ModelCall, NodeId, NodeState, OrderRecord, Phase, PruneReason, Recipe,
    ReviewDecision, ReviewId, ReviewRecord, ReviewRequest, ReviewSubject, ReviewVerdict, RunFailure, Score, StopReason,
    StoredEvent, Strategy, TaskSpec, TreePart, VariantId, Verdict, WarmStart, check_transition, edited, variant_diff,
};

use records::DataRecord;
pub use records::{ForecastError, NodeRecord, TrialKey, TrialRecord, TrialStatus, VariantRecord};

/// The state of a run. Maps are ordered, so everything that is derived from it is, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunState {
    /// Number of the last event that was applied.
    pub seq: u64,
    /// The task.
    pub task: Option<TaskSpec>,
    /// The seed.
    pub seed: u64,
    /// Version that began the run.
    pub version: String,
    /// Base model.
    pub model: Option<ContentHash>,
    /// When the run began.
    pub started: crate::Millis,
    /// When the last event was recorded.
    pub updated: crate::Millis,
    /// Current phase.
    pub phase: Option<Phase>,
    /// The data.
    pub data: Option<DataRecord>,
    /// Scores of the untouched base by (split, seed).
    pub base_scores: BTreeMap<(String, u64), Score>,
    /// What was taken from similar past tasks.
    pub warm_start: Option<WarmStart>,
    /// What documents say about the task; empty where nothing was looked up.
    pub claims: Vec<Claim>,
    /// Claims that were left out because their passage does not contain them; absent where nothing was looked up.
    pub unsupported_claims: Option<usize>,
    /// Strategies and experiments in order of creation.
    pub node_order: Vec<NodeId>,
    /// Strategies and experiments.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Variants.
    pub variants: BTreeMap<VariantId, VariantRecord>,
    /// What dry runs measured, by what they stand for.
    pub dry_runs: BTreeMap<ContentHash, DryRunDone>,
    /// Dry runs that failed, with the variant that they were made for, by what they stand for.
    pub failed_dry_runs: BTreeMap<ContentHash, (VariantId, DryRunFailure)>,
    /// Trials.
    pub trials: BTreeMap<TrialKey, TrialRecord>,
    /// Trials in the order they were started.
    pub trial_order: Vec<TrialKey>,
    /// Best variant so far; the untouched base where absent.
    pub incumbent: Option<VariantId>,
    /// Finished experiments since the incumbent last changed.
    pub since_gain: usize,
    /// Spread over seeds: what was repeated, scores, standard deviation.
    pub noise: Vec<(String, Vec<f64>, f64)>,
    /// What the search chose to do, with the candidates, in order.
    pub actions: Vec<ActionRecord>,
    /// Insights.
    pub insights: Vec<Insight>,
    /// Questions to language models, in order.
    pub calls: Vec<ModelCall>,
    /// How much the run decides without a person; all of it where absent.
    pub gates: Option<GatePolicy>,
    /// What a person was asked, in order.
    pub reviews: Vec<ReviewRecord>,
    /// What a person ordered about the tree, in order.
    pub orders: Vec<OrderRecord>,
    /// What a person wants to go first.
    pub pinned: BTreeSet<TreePart>,
    /// What a person does not want to be gone on with, and why.
    pub forbidden: BTreeMap<TreePart, String>,
    /// Why the search ended.
    pub stopped: Option<StopReason>,
    /// Times the sealed split was opened.
    pub final_opened: usize,
    /// What is taken to the sealed split.
    pub finalist: Option<VariantId>,
    /// Scores on the sealed split: base first.
    pub final_scores: BTreeMap<Option<VariantId>, Score>,
    /// Scores of the finalist's further seeds on the sealed split.
    pub final_repeats: BTreeMap<(VariantId, u64), Score>,
    /// Duplicates not run.
    pub duplicates_avoided: usize,
    /// Duplicates run; a test holds that this stays 0.
    pub duplicates_run: usize,
    /// Sum of costs.
    pub cost: Cost,
    /// The same by the phase in which it was spent.
    pub cost_by_phase: BTreeMap<Phase, Cost>,
    /// The part of it that scoring the untouched base cost, on all splits and seeds.
    pub base_cost: Cost,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Folder of the deliverables.
    pub delivered: Option<String>,
    /// The verdict, once the run ended.
    pub verdict: Option<Verdict>,
    /// The comparison behind the verdict, on the sealed split.
    pub final_comparison: Option<Comparison>,
    /// The judgement that the verdict is.
    pub judgement: Option<Judgement>,
    /// Times the run was resumed.
    pub resumed: usize,
    /// The error that ended the run, until it is resumed.
    pub failure: Option<RunFailure>,
}

impl RunState {
    /// Folds a list of stored events, which must start at number 1 and have no gap.
    pub fn from_events(events: &[StoredEvent]) -> Result<Self, DomainError> {
        let mut state = Self::default();
        for stored in events {
            state.apply_stored(stored)?;
        }
        Ok(state)
    }

    /// Applies one stored event.
    pub fn apply_stored(&mut self, stored: &StoredEvent) -> Result<(), DomainError> {
        if stored.seq != self.seq + 1 {
            return Err(illegal(&stored.event, format!("number {} after {}", stored.seq, self.seq)));
        }
        // Wall time is what passed while a process was at work: the gap before a resume, or before a person's word, does
        // not count.
        if self.seq == 0 {
            self.started = stored.at;
        } else if !matches!(stored.event, Event::RunResumed { .. } | Event::ReviewDecided(_)) {
            self.book(Cost { wall_s: stored.at.secs_since(self.updated), ..Cost::default() });
        }
        self.updated = stored.at;
        self.apply(&stored.event)?;
        self.seq = stored.seq;
        Ok(())
    }

    /// The task, or an error when the run has not begun.
    pub fn task(&self) -> Result<&TaskSpec, DomainError> {
        self.task.as_ref().ok_or(DomainError::IllegalEvent { event: "any", why: "the run has not begun".to_owned() })
    }

    /// Wall seconds up to a moment at which a program works on the run: what passed since the last event is added.
    pub fn wall_s_at(&self, now: crate::Millis) -> f64 {
        let goes_on = self.verdict.is_none() && self.failure.is_none();
        self.cost.wall_s + if goes_on { now.secs_since(self.updated) } else { 0.0 }
    }

    /// A finalist that is the first winner is measured again, on more seeds.
    fn note_spread(&mut self, of: &str, scores: &[f64], sd: f64) {
        self.noise.retain(|(known, ..)| known != of);
        self.noise.push((of.to_owned(), scores.to_vec(), sd));
    }

    /// Standard deviation over seeds to widen intervals with: the largest that was measured.
    pub fn seed_sd(&self) -> f64 {
        self.noise.iter().map(|(_, _, sd)| *sd).fold(0.0, f64::max)
    }

    /// Experiments below a strategy, in order of creation.
    pub fn experiments<'a>(&'a self, strategy: &'a NodeId) -> impl Iterator<Item = (&'a NodeId, &'a NodeRecord)> {
        self.node_order.iter().filter_map(move |id| {
            let node = self.nodes.get(id)?;
            (node.parent == *strategy && node.strategy.is_none()).then_some((id, node))
        })
    }

    /// Strategies in order of creation.
    pub fn strategies(&self) -> impl Iterator<Item = (&NodeId, &NodeRecord, &Strategy)> {
        self.node_order.iter().filter_map(|id| {
            let node = self.nodes.get(id)?;
            Some((id, node, node.strategy.as_ref()?))
        })
    }

    /// The experiment that is not through yet.
    pub fn open_experiment(&self) -> Option<(&NodeId, &NodeRecord)> {
        self.node_order
            .iter()
            .filter_map(|id| Some((id, self.nodes.get(id)?)))
            .find(|(_, node)| node.strategy.is_none() && !node.finished)
    }

    /// The score of a variant's trial on a split.
    pub fn trial_score(&self, key: &TrialKey, split: &str) -> Option<&Score> {
        self.trials.get(key)?.scores.get(split)
    }

    /// The select score of the variant at the top rung with training seed 0; the base's for `None`.
    pub fn select_score(&self, variant: Option<&VariantId>) -> Option<&Score> {
        let Some(variant) = variant else {
            return self.base_scores.get(&("select".to_owned(), 0));
        };
        let top = self.task.as_ref()?.top_rung();
        self.trial_score(&(variant.clone(), top, 0), "select")
    }

    /// The first limit that would be broken by a trial of cost `next`, with what is set aside for trials that run.
    pub fn broken_limit(&self, next: &Cost) -> Option<BudgetLimit> {
        let mut taken = self.cost;
        taken += self.reserved();
        self.task.as_ref()?.budget.broken_by(&taken, next, self.trials.len())
    }

    /// What is set aside for the trials that have begun and are not over.
    pub fn reserved(&self) -> Cost {
        let mut sum = Cost::default();
        for trial in self.trials.values().filter(|trial| trial.status == TrialStatus::Running) {
            sum += trial.reserved;
        }
        sum
    }

    /// How far forecasts of processor time were off; `None` before a trial that had one is over.
    pub fn forecast_error(&self) -> Option<ForecastError> {
        let settled = self.trials.values().filter(|trial| trial.status == TrialStatus::Scored);
        let errors: Vec<f64> = settled
            .filter(|trial| trial.reserved.cpu_s > 0.0 && trial.cost.cpu_s > 0.0)
            .map(|trial| (trial.reserved.cpu_s / trial.cost.cpu_s).ln())
            .collect();
        if errors.is_empty() {
            return None;
        }
        let of = errors.len();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / of as f64;
        Some(ForecastError {
            of,
            factor: mean(&mut errors.iter().map(|error| error.abs())).exp(),
            bias: mean(&mut errors.iter().copied()).exp(),
        })
    }

    /// Applies an event; an event that contradicts the state changes nothing and is an error.
    pub fn apply(&mut self, event: &Event) -> Result<(), DomainError> {
        if !matches!(event, Event::RunStarted { .. }) && self.task.is_none() {
            return Err(illegal(event, "the run has not begun".to_owned()));
        }
        if self.verdict.is_some() && !matches!(event, Event::Warned { .. }) {
            return Err(illegal(event, "the run has ended".to_owned()));
        }
        match event {
            Event::RunStarted { task, seed, version, model } => {
                if self.task.is_some() {
                    return Err(illegal(event, "the run has begun already".to_owned()));
                }
                self.task = Some((**task).clone());
                self.seed = *seed;
                self.version.clone_from(version);
                self.model = Some(*model);
            }
            Event::RunResumed { times } => {
                self.resumed = *times;
                self.failure = None;
            }
            Event::RunFailed(failure) => self.failure = Some(failure.clone()),
            Event::PhaseStarted { phase } => self.start_phase(event, *phase)?,
            Event::DataImported { pool, search, select, final_, rows, seeded_prompts, profiles } => {
                self.data = Some(DataRecord {
                    blobs: [*pool, *search, *select, *final_],
                    rows: *rows,
                    seeded_prompts: *seeded_prompts,
                    profiles: profiles.clone(),
                });
            }
            Event::BaseScored { seed, score, cost } => {
                self.base_scores.insert((score.split.clone(), *seed), score.clone());
                self.spend(None, cost);
            }
            Event::WarmStarted { warm_start } => self.take_warm_start(event, warm_start)?,
            Event::Surveyed { claims, unsupported } => {
                self.claims.clone_from(claims);
                self.unsupported_claims = Some(*unsupported);
            }
            Event::NoiseMeasured { of, scores, sd } => self.note_spread(of, scores, *sd),
            Event::ActionChosen(record) => self.actions.push(record.clone()),
            Event::InsightDistilled { insight } => self.insights.push(insight.clone()),
            Event::ModelCalled { call } => self.count_call(call),
            Event::GatesSet { policy } => self.gates = Some(policy.clone()),
            Event::ReviewAsked(request) => self.ask_review(event, request)?,
            Event::ReviewDecided(decision) => self.decide_review(event, decision)?,
            Event::Ordered(record) => self.take_order(event, record)?,
            Event::SearchStopped { reason } => self.stopped = Some(reason.clone()),
            Event::Warned { message, .. } => self.warnings.push(message.clone()),
            Event::Delivered { folder } => self.delivered = Some(folder.clone()),
            Event::FinalistChosen { .. }
            | Event::FinalOpened { .. }
            | Event::FinalScored { .. }
            | Event::Judged(_)
            | Event::RunFinished { .. } => self.apply_ending(event)?,
            Event::StrategyProposed { .. }
            | Event::Decided { .. }
            | Event::ExperimentProposed { .. }
            | Event::ExperimentFinished { .. }
            | Event::IncumbentCompared { .. } => self.apply_node(event)?,
            Event::DryRun { shape, done, .. } => {
                self.dry_runs.insert(*shape, done.clone());
                self.book(Cost { wall_s: 0.0, ..done.cost });
            }
            Event::DryRunFailed { variant, shape, failure } => {
                self.failed_dry_runs.insert(*shape, (variant.clone(), failure.clone()));
            }
            Event::VariantVerified { .. }
            | Event::VariantRejected { .. }
            | Event::DuplicateAvoided { .. }
            | Event::VariantPromoted { .. }
            | Event::VariantPruned { .. } => self.apply_variant(event)?,
            Event::TrialStarted { .. }
            | Event::TrialInterrupted { .. }
            | Event::TrialTrained { .. }
            | Event::TrialScored { .. }
            | Event::TrialFailed { .. } => self.apply_trial(event)?,
        }
        Ok(())
    }

    fn apply_ending(&mut self, event: &Event) -> Result<(), DomainError> {
        match event {
            Event::FinalistChosen { variant, .. } => {
                if self.final_opened > 0 {
                    return Err(illegal(event, "the sealed split is open".to_owned()));
                }
                self.finalist = Some(variant.clone());
            }
            Event::FinalOpened { times, .. } => self.final_opened = *times,
            Event::FinalScored { variant, seed, score, cost } => {
                if self.final_opened == 0 {
                    return Err(illegal(event, "the sealed split is closed".to_owned()));
                }
                match (variant, seed) {
                    (Some(variant), 1..) => drop(self.final_repeats.insert((variant.clone(), *seed), score.clone())),
                    _ => drop(self.final_scores.insert(variant.clone(), score.clone())),
                }
                self.spend(variant.as_ref(), cost);
            }
            Event::Judged(judgement) => {
                self.judgement = Some(*judgement);
                // Without a gain nothing takes the place of the base; what had taken it before gives way to the better estimate.
                let has_best = judgement.gain || self.incumbent.is_some();
                if let Some(finalist) = self.finalist.as_ref().filter(|_| has_best) {
                    self.incumbent = Some(finalist.clone());
                }
            }
            Event::RunFinished { verdict, comparison, .. } => {
                self.verdict = Some(*verdict);
                self.final_comparison = *comparison;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reviews that the run waits for.
    pub fn pending_reviews(&self) -> impl Iterator<Item = &ReviewRecord> {
        self.reviews.iter().filter(|review| review.is_pending())
    }

    /// The newest review about something.
    pub fn review_of(&self, subject: &ReviewSubject) -> Option<&ReviewRecord> {
        self.reviews.iter().rev().find(|review| review.request.subject == *subject)
    }

    /// What a person did not want, and why: evidence for whatever is proposed later.
    pub fn rejections(&self) -> impl Iterator<Item = (&ReviewRequest, &str)> {
        self.reviews.iter().filter(|review| review.is_rejected()).filter_map(|review| {
            let reason = review.decision.as_ref()?.reason.as_deref()?;
            Some((&review.request, reason))
        })
    }

    fn ask_review(&mut self, event: &Event, request: &ReviewRequest) -> Result<(), DomainError> {
        if request.id != ReviewId::new(self.reviews.len() + 1) {
            return Err(illegal(event, format!("{} is not the next review", request.id)));
        }
        self.reviews.push(ReviewRecord { request: request.clone(), asked: self.updated, decision: None });
        Ok(())
    }

    fn decide_review(&mut self, event: &Event, decision: &ReviewDecision) -> Result<(), DomainError> {
        let place = self.reviews.iter().position(|review| review.request.id == decision.id);
        let place = place.ok_or_else(|| illegal(event, format!("{} was not asked", decision.id)))?;
        if !self.reviews[place].is_open() {
            return Err(illegal(event, format!("{} is decided", decision.id)));
        }
        let subject = self.reviews[place].request.subject.clone();
        let reason = || decision.reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
        match (&subject, &decision.verdict) {
            // A run that is not begun, or a split that stays sealed, is the driver's business.
            (_, ReviewVerdict::Approve) | (ReviewSubject::Task | ReviewSubject::Final, ReviewVerdict::Reject) => {}
            (_, ReviewVerdict::Edit { changes }) => self.edit_subject(event, &subject, changes)?,
            (ReviewSubject::Strategy { node }, ReviewVerdict::Reject) => {
                self.node_mut(event, node)?.rejected = Some(reason());
            }
            (ReviewSubject::Variant { variant }, ReviewVerdict::Reject) => {
                let note = format!("a person rejected it: {}", reason());
                self.move_variant(event, variant, NodeState::Rejected)?.note = Some(note);
            }
            (ReviewSubject::Claim { place }, ReviewVerdict::Reject) => {
                let claim = self.claims.get_mut(*place);
                claim.ok_or_else(|| illegal(event, format!("there is no claim {place}")))?.rejected = Some(reason());
            }
        }
        self.book(Cost { person_min: decision.person_min, ..Cost::default() });
        self.reviews[place].decision = Some(decision.clone());
        Ok(())
    }

    fn edit_subject(
        &mut self,
        event: &Event,
        subject: &ReviewSubject,
        changes: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(), DomainError> {
        let allowed = subject.editable();
        match subject {
            ReviewSubject::Strategy { node } => {
                let record = self.node_mut(event, node)?;
                let strategy = record.strategy.as_ref().ok_or_else(|| illegal(event, format!("{node} has none")))?;
                let strategy = edited(strategy, changes, allowed)?;
                record.title.clone_from(&strategy.title);
                record.strategy = Some(strategy);
                Ok(())
            }
            ReviewSubject::Variant { variant } => self.edit_variant(event, variant, changes, allowed),
            ReviewSubject::Task | ReviewSubject::Claim { .. } | ReviewSubject::Final => {
                edited(&serde_json::Value::Null, changes, allowed).map(|_| ())
            }
        }
    }

    /// What differs from the parent is worked out anew.
    fn edit_variant(
        &mut self,
        event: &Event,
        id: &VariantId,
        changes: &BTreeMap<String, serde_json::Value>,
        allowed: &[&str],
    ) -> Result<(), DomainError> {
        let record = self.variants.get(id).ok_or_else(|| illegal(event, format!("{id} does not exist")))?;
        if record.state != NodeState::Proposed {
            return Err(illegal(event, format!("{id} is {} already", record.state.as_str())));
        }
        let mut variant = edited(&record.variant, changes, allowed)?;
        variant.config.validate()?;
        let parent = variant.parent.as_ref().and_then(|parent| self.variants.get(parent));
        let (recipe, config) = match parent {
            Some(parent) => (parent.variant.recipe.clone(), parent.variant.config.clone()),
            None => (Recipe::default(), self.task()?.train.clone()),
        };
        variant.diff = variant_diff((&recipe, &config), (&variant.recipe, &variant.config))?;
        if let Some(record) = self.variants.get_mut(id) {
            record.variant = variant;
        }
        Ok(())
    }

    fn take_warm_start(&mut self, event: &Event, warm_start: &WarmStart) -> Result<(), DomainError> {
        if self.warm_start.is_some() || !self.nodes.is_empty() {
            return Err(illegal(event, "the search has begun already".to_owned()));
        }
        self.warm_start = Some(warm_start.clone());
        Ok(())
    }

    fn start_phase(&mut self, event: &Event, phase: Phase) -> Result<(), DomainError> {
        if self.phase.is_some_and(|current| phase <= current) {
            return Err(illegal(event, format!("phase {} comes before the present one", phase.as_str())));
        }
        self.phase = Some(phase);
        Ok(())
    }

    fn apply_node(&mut self, event: &Event) -> Result<(), DomainError> {
        match event {
            Event::StrategyProposed { node, strategy } => {
                let record =
                    NodeRecord::new(NodeId::base(), strategy.title.clone(), Some(strategy.clone()), Vec::new());
                self.add_node(event, node, record)
            }
            Event::ExperimentProposed { node, title, variants } => {
                let parent = node.strategy_part().filter(|parent| self.nodes.contains_key(parent));
                let parent = parent.ok_or_else(|| illegal(event, format!("{node} has no strategy")))?;
                let ids = variants.iter().map(|variant| variant.id.clone()).collect();
                self.add_node(event, node, NodeRecord::new(parent, title.clone(), None, ids))?;
                for variant in variants {
                    self.variants.insert(variant.id.clone(), VariantRecord::new(variant.clone()));
                }
                Ok(())
            }
            Event::Decided { node, because, candidates } => {
                self.node_mut(event, node)?.decision = Some((because.clone(), candidates.clone()));
                self.actions.push(ActionRecord::of_expansion(node, because, candidates));
                Ok(())
            }
            Event::ExperimentFinished { node, winner, value } => {
                let record = self.node_mut(event, node)?;
                record.finished = true;
                record.winner.clone_from(winner);
                record.value = *value;
                self.since_gain += 1;
                Ok(())
            }
            Event::IncumbentCompared { candidate, comparison, replaced, .. } => {
                self.node_mut(event, &candidate.node())?.comparison = Some(*comparison);
                if *replaced {
                    self.incumbent = Some(candidate.clone());
                    self.since_gain = 0;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn apply_variant(&mut self, event: &Event) -> Result<(), DomainError> {
        match event {
            Event::VariantVerified { variant, data, ledger, key, warnings, memory_bytes } => {
                let record = self.move_variant(event, variant, NodeState::Verified)?;
                record.data = Some(*data);
                record.ledger = Some(ledger.clone());
                record.key = Some(*key);
                record.memory_bytes = *memory_bytes;
                record.warnings.clone_from(warnings);
            }
            Event::VariantRejected { variant, reason, .. } => {
                self.move_variant(event, variant, NodeState::Rejected)?.note = Some(reason.clone());
            }
            Event::DuplicateAvoided { variant, of } => {
                let record = self.move_variant(event, variant, NodeState::Cached)?;
                record.note = Some(format!("equal to {of}"));
                record.duplicate_of = Some(of.clone());
                self.duplicates_avoided += 1;
            }
            Event::VariantPromoted { variant, rung } => {
                self.move_variant(event, variant, NodeState::Promoted)?.rung = *rung;
            }
            // Older versions pruned what had failed, which hid the failure.
            Event::VariantPruned { variant, reason: PruneReason::Failed }
                if self.variants.get(variant).is_some_and(|record| record.state == NodeState::Failed) => {}
            Event::VariantPruned { variant, reason } => {
                let record = self.move_variant(event, variant, NodeState::Pruned)?;
                if record.note.is_none() {
                    record.note = Some(reason.note());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn apply_trial(&mut self, event: &Event) -> Result<(), DomainError> {
        match event {
            Event::TrialStarted { variant, rung, seed, attempt, continues, reserved } => {
                let record = TrialRecord::new(*attempt, continues.clone(), *reserved);
                self.start_trial(event, (variant.clone(), *rung, *seed), record)
            }
            Event::TrialInterrupted { variant, rung, seed, message, .. } => {
                let trial = self.trial_mut(event, &(variant.clone(), *rung, *seed))?;
                trial.failure = Some(message.clone());
                Ok(())
            }
            Event::TrialTrained { variant, rung, seed, done } => {
                let trial = self.trial_mut(event, &(variant.clone(), *rung, *seed))?;
                if trial.status != TrialStatus::Running {
                    return Err(illegal(event, format!("{variant} at rung {rung} is not running")));
                }
                trial.status = TrialStatus::Trained;
                trial.done = Some(done.clone());
                trial.cost += done.cost;
                self.spend(Some(variant), &done.cost);
                Ok(())
            }
            Event::TrialScored { variant, rung, seed, score, cost, .. } => {
                let trial = self.trial_mut(event, &(variant.clone(), *rung, *seed))?;
                if trial.status == TrialStatus::Running {
                    return Err(illegal(event, format!("{variant} at rung {rung} has no weights yet")));
                }
                trial.status = TrialStatus::Scored;
                trial.scores.insert(score.split.clone(), score.clone());
                // What a winner costs on further splits was not set aside for its trial.
                if score.split == "search" {
                    trial.cost += *cost;
                }
                self.spend(Some(variant), cost);
                if *seed == 0 && score.split == "search" {
                    self.move_variant(event, variant, NodeState::Evaluated)?;
                }
                Ok(())
            }
            Event::TrialFailed { variant, rung, seed, message, .. } => {
                let trial = self.trial_mut(event, &(variant.clone(), *rung, *seed))?;
                trial.status = TrialStatus::Failed;
                trial.failure = Some(message.clone());
                if *seed == 0 {
                    self.move_variant(event, variant, NodeState::Failed)?.note = Some(message.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start_trial(&mut self, event: &Event, key: TrialKey, record: TrialRecord) -> Result<(), DomainError> {
        if let Some(trial) = self.trials.get_mut(&key) {
            if trial.status != TrialStatus::Running {
                return Err(illegal(event, format!("{} at rung {} is finished", key.0, key.1)));
            }
            trial.attempts = record.attempts;
            return Ok(());
        }
        if key.2 == 0 {
            self.move_variant(event, &key.0, NodeState::Running)?;
        }
        self.count_duplicate(&key);
        if let Some(Continued { variant, steps, .. }) = &record.continues
            && let Some(own) = self.variants.get_mut(&key.0)
        {
            own.note = Some(format!("goes on from {variant} at step {steps}, up to which both are equal"));
        }
        self.trial_order.push(key.clone());
        self.trials.insert(key, record);
        Ok(())
    }

    /// Counts a trial whose key, rung and seed equal those of a trial of another variant.
    fn count_duplicate(&mut self, key: &TrialKey) {
        let Some(content) = self.variants.get(&key.0).and_then(|record| record.key) else {
            return;
        };
        let equal = |other: &TrialKey| {
            other.0 != key.0
                && (other.1, other.2) == (key.1, key.2)
                && self.variants.get(&other.0).and_then(|record| record.key) == Some(content)
        };
        if self.trials.keys().any(equal) {
            self.duplicates_run += 1;
        }
    }

    fn add_node(&mut self, event: &Event, id: &NodeId, record: NodeRecord) -> Result<(), DomainError> {
        if self.nodes.contains_key(id) {
            return Err(illegal(event, format!("{id} exists")));
        }
        self.node_order.push(id.clone());
        self.nodes.insert(id.clone(), record);
        Ok(())
    }

    fn node_mut(&mut self, event: &Event, id: &NodeId) -> Result<&mut NodeRecord, DomainError> {
        self.nodes.get_mut(id).ok_or_else(|| illegal(event, format!("{id} does not exist")))
    }

    fn trial_mut(&mut self, event: &Event, key: &TrialKey) -> Result<&mut TrialRecord, DomainError> {
        self.trials.get_mut(key).ok_or_else(|| illegal(event, format!("{} at rung {} was not started", key.0, key.1)))
    }

    fn move_variant(
        &mut self,
        event: &Event,
        id: &VariantId,
        to: NodeState,
    ) -> Result<&mut VariantRecord, DomainError> {
        let record = self.variants.get_mut(id).ok_or_else(|| illegal(event, format!("{id} does not exist")))?;
        record.state = check_transition(id.as_str(), record.state, to)?;
        Ok(record)
    }

    fn count_call(&mut self, call: &ModelCall) {
        let money = call.money.unwrap_or(0.0);
        self.cost += Cost { tokens: call.usage.total(), money, ..Cost::default() };
        self.calls.push(call.clone());
    }

    /// Adds to the sum and to the present phase; what comes before the first phase belongs to none.
    fn book(&mut self, cost: Cost) {
        self.cost += cost;
        if let Some(phase) = self.phase {
            *self.cost_by_phase.entry(phase).or_default() += cost;
        }
    }

    fn spend(&mut self, variant: Option<&VariantId>, cost: &Cost) {
        // Wall time of the run is counted from event to event; here it would count twice.
        self.book(Cost { wall_s: 0.0, ..*cost });
        let Some(id) = variant else {
            self.base_cost += *cost;
            return;
        };
        if let Some(record) = self.variants.get_mut(id) {
            record.cost += *cost;
        }
    }
}

fn illegal(event: &Event, why: String) -> DomainError {
    DomainError::IllegalEvent { event: event.kind(), why }
}
