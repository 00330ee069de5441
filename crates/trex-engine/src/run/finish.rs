//! The end of a run: finalists on further seeds, the sealed split opened once, the verdict, what a person takes away.

use std::path::PathBuf;

use trex_domain::{
    Comparison, DataPort, Event, EventLog, Executor, ExportRequest, Exporter, ItemScore, Job, Judgement, ModelCard,
    Phase, Researcher, TrainMethod, VariantId, Verdict,
};

use super::Driver;
use super::jobs::{Scoring, Split};
use crate::export_check::select_job;
use crate::{EngineError, ExportCheck, ExportPrecision, Weights};

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    pub(super) fn finalists(&mut self) -> Result<(), EngineError> {
        if let Some(incumbent) = self.state.incumbent.clone()
            && self.repeat_on_seeds(&incumbent)?
        {
            return Ok(());
        }
        self.enter(Phase::Final)
    }

    /// Opens the sealed split once and scores the base and the incumbent on it.
    pub(super) fn open_final(&mut self) -> Result<(), EngineError> {
        if self.state.final_opened == 0 {
            self.gate_final()?;
            if self.state.pending_reviews().next().is_some() {
                return Ok(());
            }
            let reason = "the search has ended: base and incumbent are judged".to_owned();
            return self.record(vec![Event::FinalOpened { times: self.settings.final_openings_before + 1, reason }]);
        }
        let contenders = [None].into_iter().chain(self.state.incumbent.clone().map(Some));
        for variant in contenders.collect::<Vec<_>>() {
            if self.state.final_scores.contains_key(&variant) {
                continue;
            }
            return self.score_final(variant);
        }
        self.enter(Phase::Deliver)
    }

    fn score_final(&mut self, variant: Option<VariantId>) -> Result<(), EngineError> {
        let adapter = match &variant {
            Some(id) => Some(self.trained(&(id.clone(), self.task()?.top_rung(), 0))?.adapter),
            None => None,
        };
        let what = variant.as_ref().map_or_else(|| "base on final".to_owned(), |id| format!("{id} on final"));
        let scoring = Scoring { adapter, split: Split::Final, take: self.split_len(Split::Final), seed: 0 };
        let (score, cost) = self.score(&what, scoring)?;
        self.record(vec![Event::FinalScored { variant, score, cost }])
    }

    /// Exports the incumbent and ends the run.
    pub(super) fn deliver(&mut self) -> Result<(), EngineError> {
        let folder = format!("exports/{}", self.run);
        if self.state.delivered.is_none() {
            if let Some(incumbent) = self.state.incumbent.clone() {
                self.export(&incumbent, &folder)?;
            }
            return self.record(vec![Event::Delivered { folder }]);
        }
        let base = self.state.final_scores.get(&None);
        let tuned = self.state.incumbent.as_ref().and_then(|id| self.state.final_scores.get(&Some(id.clone())));
        let comparison = match (tuned, base) {
            (Some(tuned), Some(base)) => Some(self.compare_scores(tuned, base, false)?),
            _ => None,
        };
        let judgement = comparison.as_ref().map(|comparison| self.judge(comparison)).transpose()?;
        let is_gain = judgement.is_some_and(|judgement| judgement.gain);
        let verdict = if is_gain { Verdict::Gain } else { Verdict::NoRealGain };
        let wall_s = self.clock.now().secs_since(self.began);
        // Trials clean up after themselves unless the program died just then.
        trex_fs::remove_dir_all(&self.settings.workspace.join("scratch").join(self.run.to_string()))?;
        let finished = Event::RunFinished { verdict, comparison, wall_s };
        self.record(judgement.map(Event::Judged).into_iter().chain([finished]).collect())
    }

    /// Judges the incumbent by the sealed split and by its comparison with the base on select, among as many as were compared.
    fn judge(&self, final_: &Comparison) -> Result<Judgement, EngineError> {
        let scores = (self.state.select_score(self.state.incumbent.as_ref()), self.state.select_score(None));
        let select = match scores {
            (Some(candidate), Some(base)) => Some(self.compare_scores(candidate, base, false)?),
            _ => None,
        };
        let compared = self.state.nodes.values().filter(|node| node.comparison.is_some()).count();
        Ok(trex_eval::judge(final_, select.as_ref(), compared))
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
