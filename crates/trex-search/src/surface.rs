//! Recorded surfaces: what every configuration of a grid brought when it was really trained, rung by rung and item by item.
//!
//! A file is a line of [`SurfaceHeader`] and one line per [`RecordedTrial`], with short names, because there are hundreds of
//! them. Only right or wrong is kept of an item, so a surface is of a metric that knows no more. The configurations
//! themselves are not in the file: [`grid`] makes them of the task, and the header names them by hash. Who trains and who
//! reads files is elsewhere.

mod bits;
mod grid;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Recipe, TaskSpec, TrainConfig};

pub use bits::{Outcomes, Probabilities};
pub(crate) use grid::{ADVICE, START};
pub use grid::{Dimension, Grid, grid};

use crate::SearchError;

/// The form of the files that this version reads and writes.
pub const SURFACE_FORMAT: &str = "trex.surface.v2";

/// One point of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Number of the value in each dimension.
    pub place: Vec<usize>,
    /// Whole recipe.
    pub recipe: Recipe,
    /// Whole training configuration.
    pub config: TrainConfig,
}

/// What was recorded, and what it was recorded on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurfaceHeader {
    /// [`SURFACE_FORMAT`].
    pub format: String,
    /// The task, with the settings that the grid was made from.
    pub task: Box<TaskSpec>,
    /// Hash of the base model.
    pub model: ContentHash,
    /// Seed of data and trainings.
    pub seed: u64,
    /// Fidelity levels.
    pub rungs: usize,
    /// Factor between them.
    pub eta: usize,
    /// The untouched base on search, select and final.
    pub base: [Outcomes; 3],
    /// What the grid spans; the last dimension runs fastest.
    pub dimensions: Vec<Dimension>,
    /// Hash of the grid's configurations.
    pub grid: ContentHash,
    /// Trainings of each point.
    pub seeds: u64,
}

impl SurfaceHeader {
    /// Points of the grid.
    pub fn num_points(&self) -> usize {
        self.dimensions.iter().map(|one| one.values.len()).product()
    }

    /// Number of the value that a point has in each dimension.
    pub fn place(&self, point: usize) -> Vec<usize> {
        let lengths: Vec<usize> = self.dimensions.iter().map(|one| one.values.len()).collect();
        grid::place_of(point, &lengths)
    }
}

/// A rung of a recorded training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "RungLine", into = "RungLine")]
pub struct RecordedRung {
    /// Optimiser steps since the start.
    pub steps: usize,
    /// Exponential mean of the loss at its end; absent where it was not a number.
    pub loss: Option<f64>,
    /// Right answers on the search split.
    pub search: Outcomes,
    /// Probabilities of the gold answers there; absent where the recording is from before they were kept.
    pub gold: Option<Probabilities>,
}

/// A rung as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RungLine {
    Whole(usize, Option<f64>, Outcomes, Probabilities),
    Old(usize, Option<f64>, Outcomes),
}

impl From<RungLine> for RecordedRung {
    fn from(line: RungLine) -> Self {
        match line {
            RungLine::Whole(steps, loss, search, gold) => Self { steps, loss, search, gold: Some(gold) },
            RungLine::Old(steps, loss, search) => Self { steps, loss, search, gold: None },
        }
    }
}

impl From<RecordedRung> for RungLine {
    fn from(rung: RecordedRung) -> Self {
        let RecordedRung { steps, loss, search, gold } = rung;
        match gold {
            Some(gold) => Self::Whole(steps, loss, search, gold),
            None => Self::Old(steps, loss, search),
        }
    }
}

/// A recorded training of one point with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedTrial {
    /// Number of the point.
    #[serde(rename = "p")]
    pub point: usize,
    /// Number of the seed.
    #[serde(rename = "s")]
    pub seed: u64,
    /// Rungs from the lowest.
    #[serde(rename = "r")]
    pub rungs: Vec<RecordedRung>,
    /// Loss over the training: (step, exponential mean).
    #[serde(rename = "l")]
    pub curve: Vec<(usize, f64)>,
    /// Right answers on the select split, of the top rung.
    #[serde(rename = "v")]
    pub select: Outcomes,
    /// Right answers on the final split, of the top rung.
    #[serde(rename = "f")]
    pub final_: Outcomes,
    /// Processor seconds, scoring included.
    #[serde(rename = "c")]
    pub cpu_s: f64,
    /// Why it has no result; then the outcomes are empty.
    #[serde(default, rename = "e", skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A surface as it was recorded so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Surface {
    /// What was recorded.
    pub header: SurfaceHeader,
    /// By (point, seed).
    pub trials: BTreeMap<(usize, u64), RecordedTrial>,
}

impl Surface {
    /// Reads the text of a file. A last line that was cut off is left out, so that a recording can go on after it.
    pub fn parse(text: &str) -> Result<Self, SearchError> {
        let mut lines = text.lines().enumerate();
        let bad = |line: usize, why: String| SearchError::BadSurface { line: line + 1, why };
        let (_, first) = lines.next().ok_or_else(|| bad(0, "the file is empty".to_owned()))?;
        let header: SurfaceHeader = serde_json::from_str(first).map_err(|err| bad(0, err.to_string()))?;
        if header.format != SURFACE_FORMAT {
            return Err(bad(0, format!("the form is {:?}, known is {SURFACE_FORMAT:?}", header.format)));
        }
        let mut trials = BTreeMap::new();
        for (number, line) in lines {
            match serde_json::from_str::<RecordedTrial>(line) {
                Ok(trial) => drop(trials.insert((trial.point, trial.seed), trial)),
                Err(_) if !text.ends_with('\n') && number + 1 == text.lines().count() => {}
                Err(err) => return Err(bad(number, err.to_string())),
            }
        }
        Ok(Self { header, trials })
    }

    /// The text of its file.
    pub fn to_text(&self) -> Result<String, SearchError> {
        let not_json = |err: serde_json::Error| SearchError::BadSurface { line: 0, why: err.to_string() };
        let mut text = serde_json::to_string(&self.header).map_err(not_json)?;
        text.push('\n');
        for trial in self.trials.values() {
            text.push_str(&serde_json::to_string(trial).map_err(not_json)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// What is not recorded yet, seed by seed, so that a recording that is stopped covers the grid as far as it can.
    pub fn missing(&self) -> Vec<(usize, u64)> {
        let points = self.header.num_points();
        let all = (0..self.header.seeds).flat_map(|seed| (0..points).map(move |point| (point, seed)));
        all.filter(|key| !self.trials.contains_key(key)).collect()
    }

    /// Seeds for which every point is recorded: those that a replay may use.
    pub fn whole_seeds(&self) -> u64 {
        let is_whole =
            |seed: &u64| (0..self.header.num_points()).all(|point| self.trials.contains_key(&(point, *seed)));
        (0..self.header.seeds).take_while(is_whole).count() as u64
    }

    /// The true value of a point as well as it is known: its mean on the final split over the whole seeds; a training that
    /// failed delivers the base.
    pub fn truth(&self, point: usize) -> f64 {
        let seeds = self.whole_seeds();
        let value = |seed: u64| match self.trials.get(&(point, seed)) {
            Some(trial) if trial.failed.is_none() => trial.final_.mean(),
            _ => self.base_truth(),
        };
        if seeds == 0 { self.base_truth() } else { (0..seeds).map(value).sum::<f64>() / seeds as f64 }
    }

    /// The base on the final split.
    pub fn base_truth(&self) -> f64 {
        self.header.base[2].mean()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A surface with known shape: the second dimension alone matters.
    pub(crate) fn sample(points: usize) -> Surface {
        let outcomes = |right: usize, of: usize| Outcomes::new((0..of).map(|item| item % 10 < right).collect());
        let base = [outcomes(3, 30), outcomes(3, 40), outcomes(3, 50)];
        let trial = |point: usize, seed: u64| RecordedTrial {
            point,
            seed,
            rungs: vec![RecordedRung {
                steps: 1,
                loss: Some(1.0),
                search: outcomes(3 + point, 30),
                gold: (point > 0).then(|| Probabilities::new(&[0.25; 30])),
            }],
            curve: vec![(1, 2.0)],
            select: outcomes(3 + point, 40),
            final_: outcomes(3 + point, 50),
            cpu_s: 1.0,
            failed: None,
        };
        let trials = (0..2).flat_map(|seed| (0..points).map(move |point| (point, seed)));
        Surface {
            header: SurfaceHeader {
                format: SURFACE_FORMAT.to_owned(),
                task: Box::new(trex_testkit::task()),
                model: ContentHash::of_bytes(b"model"),
                seed: 1,
                rungs: 1,
                eta: 3,
                base,
                dimensions: vec![Dimension { name: "x".to_owned(), values: vec!["1".to_owned(); points] }],
                grid: ContentHash::of_bytes(b"grid"),
                seeds: 3,
            },
            trials: trials.map(|(point, seed)| ((point, seed), trial(point, seed))).collect(),
        }
    }

    #[test]
    fn a_surface_survives_its_text_and_a_cut_off_end() {
        let surface = sample(3);
        let text = surface.to_text().unwrap();
        assert_eq!(Surface::parse(&text).unwrap(), surface);
        let cut = Surface::parse(&text[..text.len() - 20]).unwrap();
        assert_eq!(cut.trials.len(), surface.trials.len() - 1);
        assert_eq!(cut.missing()[0], (2, 1));
        let damaged = text.replacen("\"p\":0", "\"p\":x", 1);
        assert!(matches!(Surface::parse(&damaged), Err(SearchError::BadSurface { line: 2, .. })));
        assert!(Surface::parse("").is_err());
    }

    #[test]
    fn only_seeds_that_are_whole_count() {
        let mut surface = sample(3);
        assert_eq!(surface.whole_seeds(), 2);
        assert!((surface.truth(2) - 0.5).abs() < 1e-12);
        surface.trials.remove(&(1, 1));
        assert_eq!(surface.whole_seeds(), 1);
        assert_eq!(surface.missing().len(), 4);
        surface.trials.get_mut(&(2, 0)).unwrap().failed = Some("diverged".to_owned());
        assert!((surface.truth(2) - surface.base_truth()).abs() < 1e-12);
    }
}
