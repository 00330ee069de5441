//! The end of a run: finalists on further seeds, the sealed split opened once, the verdict, what a person takes away.

use std::path::PathBuf;

use trex_domain::{
    DataPort, Event, EventLog, Executor, ExportRequest, Exporter, ItemScore, Job, Judgement, ModelCard, Phase,
    Researcher, Score, TrainMethod, VariantId, Verdict,
};
use trex_eval::{Evidence, SeedSpread};

use super::Driver;
use super::jobs::{Scoring, Split};
use crate::export_check::select_job;
use crate::{EngineError, ExportCheck, ExportPrecision, Weights};

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// Chooses what is taken to the sealed split and trains it on further seeds.
    pub(super) fn finalists(&mut self) -> Result<(), EngineError> {
        let Some(finalist) = self.state.finalist.clone() else {
            return match self.best_estimate() {
                Some(chosen) => self.record(vec![chosen]),
                None => self.enter(Phase::Final),
            };
        };
        if self.repeat_on_seeds(&finalist, self.task()?.search.finalist_seeds)? {
            return Ok(());
        }
        self.enter(Phase::Final)
    }

    /// The winner with the best score on search and select together; of equal ones the earliest.
    fn best_estimate(&self) -> Option<Event> {
        let top = self.state.task.as_ref()?.top_rung();
        let pooled = |variant: &VariantId| {
            let select = self.state.select_score(Some(variant))?;
            let search = self.state.trial_score(&(variant.clone(), top, 0), "search")?;
            let merit = trex_eval::pooled_merit(&[(search.merit(), search.n), (select.merit(), select.n)]);
            Some((variant.clone(), merit, select.metric))
        };
        let winners = self.candidates().filter_map(pooled);
        // `min_by` keeps the first of equal ones.
        let (variant, merit, metric) = winners.min_by(|a, b| b.1.total_cmp(&a.1))?;
        // The merit of a metric of which less is better is its value turned round.
        Some(Event::FinalistChosen { variant, value: metric.merit(merit), of: self.candidates().count() })
    }

    /// The winners that were scored on the select split, in the order of their experiments.
    fn candidates(&self) -> impl Iterator<Item = &VariantId> {
        let winners = self.state.node_order.iter().filter_map(|node| self.state.nodes.get(node)?.winner.as_ref());
        winners.filter(|winner| self.state.select_score(Some(winner)).is_some())
    }

    /// What was taken to the sealed split; older versions took the incumbent.
    fn finalist(&self) -> Option<&VariantId> {
        self.state.finalist.as_ref().or(self.state.incumbent.as_ref())
    }

    /// Opens the sealed split once and scores the base and all trainings of the finalist on it.
    pub(super) fn open_final(&mut self) -> Result<(), EngineError> {
        if self.state.final_opened == 0 {
            self.gate_final()?;
            if self.state.pending_reviews().next().is_some() {
                return Ok(());
            }
            let reason = "the search has ended: base and finalist are judged".to_owned();
            return self.record(vec![Event::FinalOpened { times: self.settings.final_openings_before + 1, reason }]);
        }
        if !self.state.final_scores.contains_key(&None) {
            return self.score_final(None, 0);
        }
        let Some(finalist) = self.finalist().cloned() else { return self.enter(Phase::Deliver) };
        for seed in self.trainings(&finalist)? {
            let is_scored = match seed {
                0 => self.state.final_scores.contains_key(&Some(finalist.clone())),
                _ => self.state.final_repeats.contains_key(&(finalist.clone(), seed)),
            };
            if !is_scored {
                return self.score_final(Some(finalist), seed);
            }
        }
        self.enter(Phase::Deliver)
    }

    /// The seeds on which a variant was trained to the top and scored on select.
    fn trainings(&self, variant: &VariantId) -> Result<Vec<u64>, EngineError> {
        let task = self.state.task()?;
        let is_scored =
            |seed: &u64| self.state.trial_score(&(variant.clone(), task.top_rung(), *seed), "select").is_some();
        Ok((0..=task.search.finalist_seeds as u64).filter(is_scored).collect())
    }

    fn score_final(&mut self, variant: Option<VariantId>, seed: u64) -> Result<(), EngineError> {
        let adapter = match &variant {
            Some(id) => Some(self.trained(&(id.clone(), self.task()?.top_rung(), seed))?.adapter),
            None => None,
        };
        let what = match &variant {
            Some(id) if seed > 0 => format!("{id} seed {seed} on final"),
            Some(id) => format!("{id} on final"),
            None => "base on final".to_owned(),
        };
        let scoring = Scoring { adapter, split: Split::Final, take: self.split_len(Split::Final), seed: 0 };
        let (score, cost) = self.score(&what, scoring)?;
        self.record(vec![Event::FinalScored { variant, seed, score, cost }])
    }

    /// Judges the finalist, exports what is best and ends the run.
    pub(super) fn deliver(&mut self) -> Result<(), EngineError> {
        if self.state.judgement.is_none()
            && let Some(judgement) = self.judge()?
        {
            return self.record(vec![Event::Judged(judgement)]);
        }
        let folder = format!("exports/{}", self.run);
        if self.state.delivered.is_none() {
            if let Some(incumbent) = self.state.incumbent.clone() {
                self.export(&incumbent, &folder)?;
            }
            return self.record(vec![Event::Delivered { folder }]);
        }
        let base = self.state.final_scores.get(&None);
        let tuned = self.finalist().and_then(|id| self.state.final_scores.get(&Some(id.clone())));
        let comparison = match (tuned, base) {
            (Some(tuned), Some(base)) => Some(self.compare_scores(tuned, base, false)?),
            _ => None,
        };
        let is_gain = self.state.judgement.is_some_and(|judgement| judgement.gain);
        let verdict = if is_gain { Verdict::Gain } else { Verdict::NoRealGain };
        let wall_s = self.clock.now().secs_since(self.began);
        // Trials clean up after themselves unless the program died just then.
        trex_fs::remove_dir_all(&self.settings.workspace.join("scratch").join(self.run.to_string()))?;
        self.record(vec![Event::RunFinished { verdict, comparison, wall_s }])
    }

    /// Judges all trainings of the finalist by sealed and select split, as `trex_eval::judge` says; `None` where there is no
    /// finalist.
    fn judge(&self) -> Result<Option<Judgement>, EngineError> {
        let Some(finalist) = self.finalist() else { return Ok(None) };
        let (metric, seed, top) = (self.task()?.metric, self.state.seed, self.task()?.top_rung());
        let of_select = |variant: &VariantId, seed: u64| {
            self.state.trial_score(&(variant.clone(), top, seed), "select").map(|score| self.items_of(score))
        };
        let of_final = |seed: u64| {
            let score = match seed {
                0 => self.state.final_scores.get(&Some(finalist.clone())),
                _ => self.state.final_repeats.get(&(finalist.clone(), seed)),
            };
            score.map(|score| self.items_of(score))
        };
        let (mut selected, mut sealed) = (Vec::new(), Vec::new());
        for seed in self.trainings(finalist)? {
            let (Some(select), Some(final_)) = (of_select(finalist, seed), of_final(seed)) else { continue };
            selected.push(select?);
            sealed.push(final_?);
        }
        let (Some(base_final), false) = (self.state.final_scores.get(&None), sealed.is_empty()) else {
            return Ok(None);
        };
        let final_ = trex_eval::compare_mean(metric, &sealed, &self.items_of(base_final)?, seed)?;
        let select = match self.state.select_score(None) {
            Some(base) => Some(trex_eval::compare_mean(metric, &selected, &self.items_of(base)?, seed)?),
            None => None,
        };
        let of_finalist = [&selected, &sealed].map(|items| trex_eval::seed_spread(metric, items, seed));
        let of_finalist = of_finalist.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        let mut spreads: Vec<_> = SeedSpread::of_same_trainings(&of_finalist).into_iter().collect();
        let repeated = self.state.noise.iter().filter_map(|(of, ..)| of.parse::<VariantId>().ok());
        for variant in repeated.filter(|variant| variant != finalist) {
            let seeds = self.trainings(&variant)?;
            let items =
                seeds.into_iter().filter_map(|seed| of_select(&variant, seed)).collect::<Result<Vec<_>, _>>()?;
            spreads.extend(trex_eval::seed_spread(metric, &items, seed)?);
        }
        let on_search = |variant: &VariantId| self.state.trial_score(&(variant.clone(), top, 0), "search");
        let on_items = on_search(finalist).map_or(0, |score| score.n);
        Ok(Some(trex_eval::judge(&Evidence {
            final_: &final_,
            select: select.as_ref(),
            compared: self.candidates().count(),
            trainings: sealed.len(),
            tried: self.state.variants.keys().filter(|variant| on_search(variant).is_some()).count(),
            chosen_on: on_items + select.as_ref().map_or(0, |select| select.effect.n),
            seed_variance: trex_eval::seed_variance(&spreads, select.as_ref().unwrap_or(&final_)),
        })))
    }

    fn items_of(&self, score: &Score) -> Result<Vec<ItemScore>, EngineError> {
        Ok(self.blobs.get_lines(&score.items)?)
    }

    /// Writes the adapter folder, or the whole model where all of it was trained, and scores it anew; what is not what was
    /// trained is removed.
    fn export(&mut self, variant: &VariantId, folder: &str) -> Result<(), EngineError> {
        let key = (variant.clone(), self.task()?.top_rung(), 0);
        let adapter = self.blobs.path(&self.trained(&key)?.adapter);
        let config = self.state.variants.get(variant).map(|record| &record.variant.config);
        let whole_model = config.is_some_and(|config| config.method == TrainMethod::Full);
        let name = if whole_model { "model" } else { "adapter" };
        let out = self.settings.workspace.join(folder).join(name);
        let mut card = ModelCard::of_variant(&self.state, &self.run.to_string(), variant);
        card.license.clone_from(&self.settings.model.license);
        let request =
            ExportRequest { adapter: &adapter, whole_model, model: &self.settings.model, card: &card, out: &out };
        self.ports.exporter.export(request).map_err(|err| EngineError::Export(err.into()))?;
        let expected = match self.state.trials.get(&key).and_then(|trial| trial.scores.get("select")) {
            Some(score) => self.blobs.get_lines(&score.items)?,
            None => self.score_export(&self.beside_base(adapter)?)?,
        };
        let (weights, precision, form) = if whole_model {
            (
                Weights { model_dir: out.clone(), adapter: None, quantization: trex_domain::Quantization::None },
                ExportPrecision::F32,
                "merged",
            )
        } else {
            (self.beside_base(out.clone())?, ExportPrecision::Adapter, "PEFT")
        };
        let found = self.score_export(&weights)?;
        let checked = ExportCheck::new(&expected, &found, precision).into_result(form);
        if checked.is_err() {
            trex_fs::remove_dir_all(&out)?;
        }
        checked.map(|_| ())
    }

    fn beside_base(&self, adapter: PathBuf) -> Result<Weights, EngineError> {
        let quantization = self.task()?.train.quantization;
        Ok(Weights { model_dir: self.settings.model.dir.clone(), adapter: Some(adapter), quantization })
    }

    fn score_export(&mut self, weights: &Weights) -> Result<Vec<ItemScore>, EngineError> {
        let job = Job::Eval(select_job(&self.state, self.settings, weights)?);
        let done = self.run_scoring("export on select", &job)?;
        Ok(self.blobs.get_lines(&done.items)?)
    }
}
