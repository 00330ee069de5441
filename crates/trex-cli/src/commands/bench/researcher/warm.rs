//! What searches of other surfaces are worth to a search: the knowledge base of a run, filled by them and by nothing else.

use std::sync::Arc;

use serde::Serialize;
use trex_domain::{Lesson, Memory};
use trex_search::Estimate;
use trex_store::KnowledgeBase;

use super::{Played, WARM};
use crate::args::bench::ResearcherBenchArgs;
use crate::error::CliError;
use crate::system::SystemClock;

/// What the Playbook's searches taught, by surface and by number of the search.
pub(super) struct Taught {
    lessons: Vec<Vec<Lesson>>,
    /// Folder of the knowledge bases.
    scratch: tempfile::TempDir,
}

impl Taught {
    /// Carries the searches out, where a warm start is among what is compared.
    pub(super) fn by(surfaces: &[Played], args: &ResearcherBenchArgs) -> Result<Self, CliError> {
        let workspace = args.workspace.workspace.as_path();
        let scratch =
            tempfile::tempdir_in(workspace).map_err(|err| trex_fs::FsError::io("create folder", workspace, err))?;
        let mut lessons = Vec::new();
        if super::names(args)?.iter().any(|name| name == WARM) {
            for played in surfaces {
                lessons.push(searched(played, args.searches)?);
            }
        }
        Ok(Self { lessons, scratch })
    }

    /// A knowledge base that has seen one search of every other surface.
    pub(super) fn memory(&self, place: usize, number: u64) -> Result<Arc<dyn Memory>, CliError> {
        let path = self.scratch.path().join(format!("{place}-{number}.db"));
        let knowledge = KnowledgeBase::open(&path, &SystemClock)?;
        for (_, lessons) in self.lessons.iter().enumerate().filter(|(other, _)| *other != place) {
            if let Some(lesson) = usize::try_from(number).ok().and_then(|number| lessons.get(number)) {
                knowledge.learn(lesson).map_err(CliError::of_port)?;
            }
        }
        Ok(Arc::new(knowledge))
    }
}

fn searched(played: &Played, searches: u64) -> Result<Vec<Lesson>, CliError> {
    let mut lessons = Vec::new();
    for number in 0..searches {
        let found = played.search("playbook", None, None, number)?;
        lessons.extend(Lesson::of(&found.events)?);
    }
    Ok(lessons)
}

/// How much sooner a search with a warm start is as far as one without it gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WarmGain {
    /// True value of what a search without it recommends at the end.
    cold: Estimate,
    /// Trainings of a search.
    budget: usize,
    /// Trainings after which a warm search is there on average; absent where it does not get there.
    reached_after: Option<usize>,
    /// Mean true value of what is recommended after each training, without and with it.
    cold_progress: Vec<f64>,
    warm_progress: Vec<f64>,
}

impl WarmGain {
    /// Of searches by number, each with its value after each training; `None` where there are none.
    pub(super) fn of(cold: &[Vec<f64>], warm: &[Vec<f64>]) -> Option<Self> {
        let ends: Vec<f64> = cold.iter().filter_map(|one| one.last().copied()).collect();
        let budget = cold.first()?.len();
        let mean = |searches: &[Vec<f64>], at: usize| {
            Estimate::of(&searches.iter().filter_map(|one| one.get(at).copied()).collect::<Vec<_>>()).mean
        };
        let means = |searches: &[Vec<f64>]| (0..budget).map(|at| mean(searches, at)).collect::<Vec<_>>();
        let (cold_progress, warm_progress) = (means(cold), means(warm));
        let cold = Estimate::of(&ends);
        let reached_after = warm_progress.iter().position(|value| *value >= cold.mean).map(|at| at + 1);
        Some(Self { cold, budget, reached_after, cold_progress, warm_progress })
    }

    pub(super) fn text(&self) -> String {
        let Self { cold, budget, .. } = self;
        let end = format!("without a warm start {budget} trainings end at {:.4}", cold.mean);
        match self.reached_after {
            Some(after) => {
                let saved = 100.0 * (1.0 - after as f64 / (*budget).max(1) as f64);
                format!("{end}; with one that is reached after {after}: {saved:.0} % of the cost saved")
            }
            None => format!("{end}; with one that is not reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_start_saves_what_is_left_when_it_is_as_far() {
        let cold = vec![vec![0.5, 0.6, 0.7, 0.8], vec![0.5, 0.6, 0.6, 0.6]];
        let gain = |warm: Vec<Vec<f64>>| WarmGain::of(&cold, &warm).unwrap();
        let early = gain(vec![vec![0.6, 0.7, 0.7, 0.7], vec![0.6, 0.7, 0.8, 0.8]]);
        assert_eq!((early.reached_after, early.budget), (Some(2), 4));
        assert!(early.text().ends_with("50 % of the cost saved"), "{}", early.text());
        assert_eq!(gain(vec![vec![0.5; 4]; 2]).reached_after, None);
        assert_eq!(WarmGain::of(&[], &[]), None);
    }
}
