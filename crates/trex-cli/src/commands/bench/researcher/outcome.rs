//! What one search came to, counted while it goes on, and many of them in a few numbers with their intervals.

use std::collections::BTreeMap;

use serde::Serialize;
use trex_domain::{Event, NodeState, RunState, StoredEvent, VariantId, WorkerEvent};
use trex_engine::Observer;
use trex_search::Estimate;

/// Counts while a search goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Best score on the search split so far; that of the base at first.
    best: Option<f64>,
    base: Option<f64>,
    /// First scores of variants, and whether each beat all before it.
    scored: BTreeMap<VariantId, Scored>,
    calls: usize,
    unusable: usize,
    repairs: usize,
    tokens: u64,
    from_model: Vec<VariantId>,
    /// What would be recommended, with the trainings until then, whenever it changed.
    recommended: Vec<(usize, VariantId)>,
}

/// The first score of a variant on the search split.
#[derive(Clone, Copy, Debug)]
struct Scored {
    beats_base: bool,
    is_best: bool,
}

impl Observer for Tally {
    fn recorded(&mut self, event: &StoredEvent, state: &RunState) {
        match &event.event {
            Event::BaseScored { score, .. } if score.split == "search" => {
                self.base = Some(score.merit());
                self.best = self.base.filter(|base| beats(*base, self.best)).or(self.best);
            }
            Event::TrialScored { variant, rung, seed: 0, score, .. }
                if score.split == "search" && state.task.as_ref().is_some_and(|task| *rung == task.top_rung()) =>
            {
                let value = score.merit();
                let scored = Scored { beats_base: beats(value, self.base), is_best: beats(value, self.best) };
                self.scored.entry(variant.clone()).or_insert(scored);
                if scored.is_best {
                    self.best = Some(value);
                }
            }
            Event::TrialScored { seed: 0, score, .. } if score.split == "select" => {
                let best = recommended(state);
                if best != self.recommended.last().map(|(_, id)| id) {
                    self.recommended.extend(best.map(|id| (state.trials.len(), id.clone())));
                }
            }
            Event::ModelCalled { call } => {
                self.calls += 1;
                self.unusable += usize::from(call.failure.is_some());
                self.repairs += call.repairs;
                self.tokens += call.usage.total();
                self.from_model.extend(call.variants.iter().cloned());
            }
            _ => {}
        }
    }

    fn progress(&mut self, _: &str, _: &WorkerEvent, _: &RunState) -> bool {
        !crate::system::stop_requested()
    }
}

/// The variant with the best score on search and select together, which is what goes to the sealed split.
fn recommended(state: &RunState) -> Option<&VariantId> {
    let top = state.task.as_ref()?.top_rung();
    let value = |id: &VariantId| {
        let search = state.trial_score(&(id.clone(), top, 0), "search")?;
        let select = state.select_score(Some(id))?;
        let (items, more) = (search.n as f64, select.n as f64);
        Some((items * search.merit() + more * select.merit()) / (items + more).max(1.0))
    };
    let valued = state.variants.keys().filter_map(|id| Some((id, value(id)?)));
    // `min_by` keeps the first of equal ones.
    valued.min_by(|a, b| b.1.total_cmp(&a.1)).map(|(id, _)| id)
}

/// Whether a value is higher than another one, where there is one.
fn beats(value: f64, other: Option<f64>) -> bool {
    other.is_none_or(|other| value > other)
}

/// One search in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Variants that were proposed.
    pub(super) proposed: usize,
    /// Those that the verifier or the dry run rejected.
    pub(super) rejected: usize,
    /// Those that the trainer could not tell from an earlier one, and that were not trained.
    pub(super) duplicates: usize,
    /// Trained ones that no dimension of the surface tells from an earlier one; 0 on real trainings.
    pub(super) alike: usize,
    /// Those that were trained to the end.
    pub(super) trained: usize,
    /// Of these, those that scored higher on the search split than the base.
    pub(super) beat_base: usize,
    /// Of these, those that scored higher than everything before them.
    pub(super) improved: usize,
    /// Trainings, further seeds included.
    pub(super) trials: usize,
    /// Processor seconds of all jobs.
    pub(super) cpu_s: f64,
    /// Questions to a model, and those without a usable answer.
    pub(super) calls: usize,
    /// Questions without a usable answer.
    pub(super) unusable: usize,
    /// Answers that were sent back.
    pub(super) repairs: usize,
    /// Tokens of all questions and answers.
    pub(super) tokens: u64,
    /// Variants of the model, those trained, and those that scored higher than everything before them.
    pub(super) model_proposed: usize,
    /// Variants of the model that were trained.
    pub(super) model_trained: usize,
    /// Variants of the model that scored higher than everything before them.
    pub(super) model_improved: usize,
    /// Score on the sealed split of what was taken to it; the base's where nothing was.
    pub(super) score: f64,
    /// The base on the same items.
    pub(super) base: f64,
}

impl Tally {
    /// The numbers of a search that has ended.
    pub(super) fn outcome(&self, state: &RunState) -> Outcome {
        let count =
            |states: &[NodeState]| state.variants.values().filter(|record| states.contains(&record.state)).count();
        let trained = |id: &&VariantId| self.scored.contains_key(*id);
        let improved = |id: &&VariantId| self.scored.get(*id).is_some_and(|one| one.is_best);
        let base = state.final_scores.get(&None).map_or(0.0, trex_domain::Score::merit);
        let tuned = state.finalist.as_ref().and_then(|id| state.final_scores.get(&Some(id.clone())));
        Outcome {
            proposed: state.variants.len(),
            rejected: count(&[NodeState::Rejected]),
            duplicates: state.duplicates_avoided,
            alike: 0,
            trained: self.scored.len(),
            beat_base: self.scored.values().filter(|one| one.beats_base).count(),
            improved: self.scored.values().filter(|one| one.is_best).count(),
            trials: state.trials.len(),
            cpu_s: state.cost.cpu_s,
            calls: self.calls,
            unusable: self.unusable,
            repairs: self.repairs,
            tokens: self.tokens,
            model_proposed: self.from_model.len(),
            model_trained: self.from_model.iter().filter(trained).count(),
            model_improved: self.from_model.iter().filter(improved).count(),
            score: tuned.map_or(base, trex_domain::Score::merit),
            base,
        }
    }

    /// The true value of what would be recommended after each training, that of the base before anything was.
    pub(super) fn progress(&self, budget: usize, base: f64, truth: &dyn Fn(&VariantId) -> f64) -> Vec<f64> {
        let after = |trials: usize| {
            let reached = self.recommended.iter().rev().find(|(until, _)| *until <= trials);
            reached.map_or(base, |(_, id)| truth(id))
        };
        (1..=budget).map(after).collect()
    }

    /// Variants that were trained, in the order of their names.
    pub(super) fn trained(&self) -> impl Iterator<Item = &VariantId> {
        self.scored.keys()
    }
}

/// Many searches of one answerer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// Who proposed.
    pub(super) answerer: String,
    /// Searches.
    pub(super) searches: usize,
    /// Share of the proposals that may be run: neither rejected nor a duplicate.
    pub(super) executable: Estimate,
    /// Share of the trained ones that scored higher than the base on the search split.
    pub(super) beat_base: Estimate,
    /// Share of the trained ones that scored higher than everything before them.
    pub(super) improving: Estimate,
    /// Share of the proposals that were duplicates.
    pub(super) duplicates: Estimate,
    /// Share of the trained ones that the surface does not tell from an earlier one.
    pub(super) alike: Estimate,
    /// Score on the sealed split.
    pub(super) score: Estimate,
    /// The same minus that of the Playbook in the search of the same number; absent where that was not run.
    pub(super) beside_playbook: Option<Estimate>,
    /// Trainings of a search.
    pub(super) trials: Estimate,
    /// Processor seconds of a search.
    pub(super) cpu_s: Estimate,
    /// Questions to a model in all searches, without a usable answer, sent back, and tokens.
    pub(super) calls: usize,
    /// Questions without a usable answer.
    pub(super) unusable: usize,
    /// Answers that were sent back.
    pub(super) repairs: usize,
    /// Tokens of all questions and answers.
    pub(super) tokens: u64,
    /// Variants of the model in all searches.
    pub(super) model_proposed: usize,
    /// Of these, those that were trained.
    pub(super) model_trained: usize,
    /// Of these, those that scored higher than everything before them.
    pub(super) model_improved: usize,
}

impl Summary {
    /// Of searches in the order of their numbers; `playbook` has those of the Playbook.
    pub(super) fn of(answerer: &str, found: &[Outcome], playbook: Option<&[Outcome]>) -> Self {
        let estimate = |of: &dyn Fn(&Outcome) -> f64| Estimate::of(&found.iter().map(of).collect::<Vec<_>>());
        let sum = |of: &dyn Fn(&Outcome) -> usize| found.iter().map(of).sum();
        let beside = |theirs: &[Outcome]| {
            Estimate::of(&found.iter().zip(theirs).map(|(a, b)| a.score - b.score).collect::<Vec<_>>())
        };
        Self {
            answerer: answerer.to_owned(),
            searches: found.len(),
            executable: estimate(&|one| {
                share(one.proposed.saturating_sub(one.rejected + one.duplicates), one.proposed)
            }),
            beat_base: estimate(&|one| share(one.beat_base, one.trained)),
            improving: estimate(&|one| share(one.improved, one.trained)),
            duplicates: estimate(&|one| share(one.duplicates, one.proposed)),
            alike: estimate(&|one| share(one.alike, one.trained)),
            score: estimate(&|one| one.score),
            beside_playbook: playbook.map(beside),
            trials: estimate(&|one| one.trials as f64),
            cpu_s: estimate(&|one| one.cpu_s),
            calls: sum(&|one| one.calls),
            unusable: sum(&|one| one.unusable),
            repairs: sum(&|one| one.repairs),
            tokens: found.iter().map(|one| one.tokens).sum(),
            model_proposed: sum(&|one| one.model_proposed),
            model_trained: sum(&|one| one.model_trained),
            model_improved: sum(&|one| one.model_improved),
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The summaries as a table of Markdown.
pub(super) fn table(summaries: &[Summary]) -> String {
    let mut lines = vec![
        "| who proposes | searches | executable | improving | duplicates | alike | score, sealed split | beside the Playbook | trainings | model: asked, unusable, tokens | model: proposed, trained, improving |".to_owned(),
        "|---|---:|---:|---:|---:|---:|---|---|---:|---|---|".to_owned(),
    ];
    let percent = |one: &Estimate| format!("{:.0} %", 100.0 * one.mean);
    let interval = |one: &Estimate| format!("{:.4} [{:.4}, {:.4}]", one.mean, one.ci95[0], one.ci95[1]);
    for one in summaries {
        let beside = one
            .beside_playbook
            .as_ref()
            .map_or_else(String::new, |gap| format!("{:+.4} [{:+.4}, {:+.4}]", gap.mean, gap.ci95[0], gap.ci95[1]));
        let (asked, own) = if one.calls == 0 {
            (String::new(), String::new())
        } else {
            (
                format!("{}, {}, {}", one.calls, one.unusable, one.tokens),
                format!("{}, {}, {}", one.model_proposed, one.model_trained, one.model_improved),
            )
        };
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {beside} | {:.1} | {asked} | {own} |",
            one.answerer,
            one.searches,
            percent(&one.executable),
            percent(&one.improving),
            percent(&one.duplicates),
            percent(&one.alike),
            interval(&one.score),
            one.trials.mean,
        ));
    }
    lines.join("\n")
}
