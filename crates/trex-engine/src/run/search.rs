//! The search phase: where to spend next, one batch at a time, and what its winner means for the incumbent.

use std::f64::consts::SQRT_2;

use trex_domain::{
    ActionRecord, BudgetLimit, Comparison, DataPort, ErrorClass, Event, EventLog, Executor, Exporter, ItemScore,
    NodeId, NodeState, Phase, PreparedRequest, Problem as _, PruneReason, Researcher, Score, SearchAction, StopReason,
    StrategyRequest, TrialKey, Variant, VariantId, seeded_rng,
};
use trex_search::{
    BatchStep, TreeView, affordable_variants, explain_step, explain_stop, forecast_full_cost, forecast_trial_cost,
    next_in_batch, should_stop, tree_view,
};

use super::Driver;
use super::jobs::Split;
use crate::verifier::{Proposal, check_recipe, verify};
use crate::{EngineError, PortError};

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    pub(super) fn search(&mut self) -> Result<(), EngineError> {
        if self.state.stopped.is_some() {
            return self.enter(Phase::Finalists);
        }
        if let Some((node, _)) = self.state.open_experiment() {
            let node = node.clone();
            return self.advance_batch(&node);
        }
        let view = tree_view(&self.state, &self.exhausted);
        if let Some(reason) = should_stop(&self.state, &view) {
            return self.stop_search(&view, reason, Vec::new());
        }
        let count = affordable_variants(&self.state);
        if count == 0 {
            let limit = self.state.broken_limit(&self.cheapest_trial()?).unwrap_or(BudgetLimit::Trials);
            let mut notes = Vec::new();
            if self.state.trials.is_empty() {
                let message = format!("nothing was tried: the first trial would break the budget's limit ({limit:?})");
                notes.push(Event::Warned { code: "run.nothing_tried".to_owned(), message: message.to_lowercase() });
            }
            return self.stop_search(&view, StopReason::Budget { limit }, notes);
        }
        let task = self.task()?;
        let policy = trex_search::policy(&task.search.policy)?;
        let decisions = self.state.nodes.len() + self.exhausted.len();
        let mut rng = seeded_rng(self.state.seed, &format!("policy/{decisions}"));
        let Some(choice) = policy.select(&view, &task.search, &mut rng) else {
            return self.stop_search(&view, StopReason::Exhausted, Vec::new());
        };
        let node = choice.node.experiment(self.state.experiments(&choice.node).count() + 1);
        let variants = self.propose(&choice.node, &node, count)?;
        let mut events = self.model_calls();
        if variants.is_empty() {
            self.exhausted.insert(choice.node);
            return self.record(events);
        }
        self.exhausted.clear();
        let parent = self.state.nodes.get(&choice.node).map(|record| record.title.clone()).unwrap_or_default();
        let title = format!("{parent}, batch of {}", variants.len());
        let decided = Event::Decided { node: node.clone(), because: choice.because, candidates: choice.candidates };
        let questions = self.gate_variants(&choice.node, &variants);
        events.extend([Event::ExperimentProposed { node, title, variants }, decided]);
        events.extend(questions);
        self.record(events)
    }

    /// Ends the search with the reason and the numbers behind it.
    fn stop_search(&mut self, view: &TreeView, reason: StopReason, notes: Vec<Event>) -> Result<(), EngineError> {
        let chosen = Event::ActionChosen(explain_stop(&self.state, view, &reason));
        self.record([chosen, Event::SearchStopped { reason }].into_iter().chain(notes).collect())
    }

    fn propose(&self, strategy: &NodeId, node: &NodeId, count: usize) -> Result<Vec<Variant>, EngineError> {
        let task = self.task()?;
        let profile = self.pool_profile();
        let request =
            StrategyRequest { task: &task, profile: &profile, model: &self.settings.model, state: &self.state };
        let variants = self.ports.researcher.variants(request, strategy, node, count);
        let mut variants = variants.map_err(EngineError::Researcher)?;
        // Number and names of the variants are not the Researcher's to choose: a wrong name would overwrite another's record.
        variants.truncate(count);
        for (index, variant) in variants.iter_mut().enumerate() {
            variant.id = VariantId::new(node, index);
        }
        Ok(variants)
    }

    fn cheapest_trial(&self) -> Result<trex_domain::Cost, EngineError> {
        Ok(forecast_trial_cost(&self.state, &self.state.task()?.train, 0))
    }

    fn trained_noise_known(&self) -> bool {
        self.state.noise.iter().any(|(of, ..)| of != "base")
    }

    fn advance_batch(&mut self, node: &NodeId) -> Result<(), EngineError> {
        let step = next_in_batch(&self.state, node);
        let chosen: Vec<Event> = explain_step(&self.state, node, &step).map(Event::ActionChosen).into_iter().collect();
        let with_reason = |event| chosen.iter().cloned().chain([event]).collect();
        match step {
            BatchStep::Verify(variant) => self.verify_variant(&variant),
            BatchStep::Run { .. } if self.settings.workers > 1 => self.advance_together(node),
            BatchStep::Run { variant, rung, seed } => self.run_or_give_up((variant, rung, seed), chosen),
            BatchStep::Promote { variant, rung } => self.record(with_reason(Event::VariantPromoted { variant, rung })),
            BatchStep::Prune { variant, reason } => self.record(with_reason(Event::VariantPruned { variant, reason })),
            BatchStep::ScoreSelect { variant } => {
                let key = (variant, self.task()?.top_rung(), 0);
                self.score_trial(&key, Split::Select, self.split_len(Split::Select), chosen)
            }
            BatchStep::Finished { winner } => self.finish_experiment(node, winner),
        }
    }

    /// Runs a trial unless starting it would break the budget. What was started is always finished.
    fn run_or_give_up(&mut self, key: TrialKey, chosen: Vec<Event>) -> Result<(), EngineError> {
        let started = self.state.trials.contains_key(&key);
        let config = self.state.variants.get(&key.0).map(|record| record.variant.config.clone()).unwrap_or_default();
        let forecast = forecast_trial_cost(&self.state, &config, key.1);
        if !started && self.state.broken_limit(&forecast).is_some() {
            return self.record(vec![Event::VariantPruned { variant: key.0, reason: PruneReason::Budget }]);
        }
        self.advance_trial(&key, chosen)
    }

    fn verify_variant(&mut self, id: &VariantId) -> Result<(), EngineError> {
        let Some(record) = self.state.variants.get(id) else {
            return Err(EngineError::NothingToReproduce { node: id.to_string() });
        };
        let variant = record.variant.clone();
        let reject =
            |code: &str, reason: String| Event::VariantRejected { variant: id.clone(), code: code.to_owned(), reason };
        if let Some((by, reason)) = self.state.forbidden_by(id.as_str()) {
            let reason = format!("a person forbade {by}: {reason}");
            return self.record(vec![reject("order.forbidden", reason)]);
        }
        if let Err(no) = check_recipe(&variant) {
            return self.record(vec![reject(no.code, no.reason())]);
        }
        let Some(data) = self.state.data.as_ref() else { return self.record(Vec::new()) };
        let [pool, evaluation @ ..] = data.blobs;
        let request = PreparedRequest { pool, evaluation: &evaluation, recipe: &variant.recipe, seed: self.state.seed };
        let prepared = match self.ports.data.prepare(request) {
            Ok(prepared) => prepared,
            // A full disk says nothing about the recipe: the run ends here and can be resumed.
            Err(err) if err.class() != ErrorClass::Permanent => return Err(EngineError::Data(PortError::new(err))),
            // A recipe that cannot be run is a bad proposal, not a broken run.
            Err(err) => {
                let (code, reason) = (err.code(), err.to_string());
                return self.record(vec![reject(code, reason)]);
            }
        };
        let (task, settings) = (self.task()?, self.settings);
        let proposal = Proposal {
            task: &task,
            model: &settings.model,
            variant: &variant,
            data: &prepared,
            forecast: forecast_full_cost(&self.state, &variant.config),
            spent: self.state.cost,
            machine_bytes: settings.machine_bytes,
            disk_bytes: settings.disk_bytes,
        };
        let passed = match verify(&proposal) {
            Ok(passed) => passed,
            Err(no) => return self.record(vec![reject(no.code, no.reason())]),
        };
        let content = (settings.model.hash, prepared.data, &variant.config);
        let key = trex_domain::ContentHash::of_value("trex.trial.v1", &content)?;
        if let Some(of) = self.equal_variant(&key) {
            return self.record(vec![Event::DuplicateAvoided { variant: id.clone(), of }]);
        }
        let verified = Event::VariantVerified {
            variant: id.clone(),
            data: prepared.data,
            ledger: prepared.ledger.clone(),
            key,
            memory_bytes: passed.memory_bytes,
            warnings: passed.warnings,
        };
        let events = self.climb(&proposal, verified)?;
        self.record(events)
    }

    /// A variant that the trainer could not tell from one with this key.
    fn equal_variant(&self, key: &trex_domain::ContentHash) -> Option<VariantId> {
        let equal = self
            .state
            .variants
            .iter()
            .find(|(_, record)| record.key == Some(*key) && record.state != NodeState::Proposed);
        equal.map(|(id, _)| id.clone())
    }

    fn finish_experiment(&mut self, node: &NodeId, winner: Option<VariantId>) -> Result<(), EngineError> {
        let Some(winner) = winner else {
            return self.record(vec![Event::ExperimentFinished { node: node.clone(), winner: None, value: None }]);
        };
        let noise_seeds = self.task()?.search.noise_seeds();
        if !self.trained_noise_known() && self.repeat_on_seeds(&winner, noise_seeds)? {
            return Ok(());
        }
        let value = self.state.select_score(Some(&winner)).map(|score| score.value);
        let finished = Event::ExperimentFinished { node: node.clone(), winner: Some(winner.clone()), value };
        let incumbent = self.state.incumbent.clone();
        let Some(comparison) = self.compare(&winner, incumbent.as_ref())? else {
            return self.record(vec![finished]);
        };
        let replaced = comparison.significant;
        let compared = Event::IncumbentCompared { candidate: winner, incumbent, comparison, replaced };
        // Insights are drawn from the state in which the experiment is finished.
        let mut after = self.state.clone();
        after.apply(&finished)?;
        let insights = self.ports.researcher.distil(&after, node, comparison.effect, comparison.significant);
        let insights = insights.into_iter().map(|insight| Event::InsightDistilled { insight });
        let events: Vec<Event> = [finished, compared].into_iter().chain(insights).collect();
        self.record(self.model_calls().into_iter().chain(events).collect())
    }

    /// Compares select scores item by item; `None` where one is missing.
    fn compare(&self, candidate: &VariantId, incumbent: Option<&VariantId>) -> Result<Option<Comparison>, EngineError> {
        let scores = (self.state.select_score(Some(candidate)), self.state.select_score(incumbent));
        let (Some(candidate), Some(other)) = scores else { return Ok(None) };
        self.compare_scores(candidate, other, incumbent.is_some()).map(Some)
    }

    /// Compares two scores item by item. The spread of a difference of two trained models is √2 times that of one.
    pub(super) fn compare_scores(
        &self,
        candidate: &Score,
        other: &Score,
        both_trained: bool,
    ) -> Result<Comparison, EngineError> {
        let items = |score: &Score| self.blobs.get_lines::<ItemScore>(&score.items);
        let sd = self.state.seed_sd() * if both_trained { SQRT_2 } else { 1.0 };
        Ok(trex_eval::compare(candidate.metric, &items(candidate)?, &items(other)?, sd, self.state.seed)?)
    }

    /// Trains a variant on so many further seeds and measures the spread; `true` while there was something to do.
    pub(super) fn repeat_on_seeds(&mut self, variant: &VariantId, seeds: usize) -> Result<bool, EngineError> {
        let top = self.task()?.top_rung();
        let measured = self.state.noise.iter().find(|(of, ..)| of == variant.as_str());
        let measured = measured.map_or(0, |(_, scores, _)| scores.len());
        let mut scores: Vec<f64> =
            self.state.select_score(Some(variant)).map(|score| score.value).into_iter().collect();
        for seed in 1..=seeds as u64 {
            let key = (variant.clone(), top, seed);
            let trial = self.state.trials.get(&key);
            if let Some(score) = self.state.trial_score(&key, "select") {
                scores.push(score.value);
                continue;
            }
            match trial.map(|trial| trial.status) {
                Some(trex_domain::TrialStatus::Failed) => continue,
                Some(trex_domain::TrialStatus::Trained) => {
                    self.score_trial(&key, Split::Select, self.split_len(Split::Select), Vec::new())?;
                }
                None if self.seed_breaks_budget(variant) => continue,
                _ => self.advance_trial(&key, vec![Event::ActionChosen(repeat_record(&key))])?,
            }
            return Ok(true);
        }
        if scores.len() < 2 || scores.len() <= measured {
            return Ok(false);
        }
        let sd = trex_eval::std_dev(&scores);
        self.record(vec![Event::NoiseMeasured { of: variant.to_string(), scores, sd }])?;
        Ok(true)
    }

    fn seed_breaks_budget(&self, variant: &VariantId) -> bool {
        let config = self.state.variants.get(variant).map(|record| &record.variant.config);
        config.is_none_or(|config| self.state.broken_limit(&forecast_full_cost(&self.state, config)).is_some())
    }
}

/// Why a variant is trained on a further seed.
fn repeat_record((variant, _, seed): &TrialKey) -> ActionRecord {
    ActionRecord {
        action: SearchAction::Run,
        subject: variant.to_string(),
        because: format!("seed {seed}: the spread over seeds must be known before scores are compared"),
        candidates: Vec::new(),
    }
}
