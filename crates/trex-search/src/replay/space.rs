//! A surface in the form that a replay reads fast: scores by point, seed and rung, the truth, and what a training costs.

use std::collections::BTreeMap;

use super::{Ask, Record};
use crate::{SearchError, Surface};

/// Items of the search split that a rung is scored on at least, as in a run.
const MIN_ITEMS: usize = 30;

/// What one recorded training showed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    /// Search scores by rung; fewer than rungs where it failed.
    pub(super) search: Vec<f64>,
    /// Select score at the top.
    pub(super) select: f64,
}

/// A surface, looked up.
#[derive(Clone, Debug)]
pub struct Space<'a> {
    surface: &'a Surface,
    seeds: u64,
    places: Vec<Vec<usize>>,
    index: BTreeMap<Vec<usize>, usize>,
    shown: BTreeMap<(usize, u64), Shown>,
    truths: Vec<f64>,
    /// Share of a full training up to each rung.
    shares: Vec<f64>,
    /// Items of search and of select.
    items: [f64; 2],
}

impl<'a> Space<'a> {
    /// Looks a surface up; an error where no seed is recorded for every point.
    pub fn new(surface: &'a Surface) -> Result<Self, SearchError> {
        let header = &surface.header;
        let seeds = surface.whole_seeds();
        if seeds == 0 {
            let why = format!("no seed is recorded for all of its {} points", header.num_points());
            return Err(SearchError::BadSurface { line: 0, why });
        }
        let places: Vec<Vec<usize>> = (0..header.num_points()).map(|point| header.place(point)).collect();
        let eta = header.eta as f64;
        let power = |rung: usize| i32::try_from(header.rungs - 1 - rung).unwrap_or(i32::MAX);
        let shares: Vec<f64> = (0..header.rungs).map(|rung| eta.powi(-power(rung))).collect();
        let items = header.base[0].len();
        let shown = surface.trials.iter().filter(|((_, seed), _)| *seed < seeds).map(|(key, trial)| {
            let rungs = trial.rungs.iter().zip(&shares);
            let search = rungs.map(|(rung, share)| rung.search.mean_of_first(items_at(items, *share))).collect();
            (*key, Shown { search, select: trial.select.mean() })
        });
        Ok(Self {
            surface,
            seeds,
            index: places.iter().cloned().zip(0..).collect(),
            shown: shown.collect(),
            truths: (0..places.len()).map(|point| surface.truth(point)).collect(),
            places,
            shares,
            items: [items as f64, header.base[1].len() as f64],
        })
    }

    /// Recorded seeds.
    pub fn num_seeds(&self) -> u64 {
        self.seeds
    }

    /// Points of the grid.
    pub fn num_points(&self) -> usize {
        self.places.len()
    }

    /// Values of each dimension.
    pub fn lengths(&self) -> Vec<usize> {
        self.surface.header.dimensions.iter().map(|one| one.values.len()).collect()
    }

    /// Names of the dimensions.
    pub fn dimension(&self, number: usize) -> &str {
        self.surface.header.dimensions.get(number).map_or("", |one| one.name.as_str())
    }

    /// Number of the value of a point in each dimension.
    pub fn place(&self, point: usize) -> &[usize] {
        &self.places[point]
    }

    /// The point at a place.
    pub fn point_at(&self, place: &[usize]) -> Option<usize> {
        self.index.get(place).copied()
    }

    /// The highest rung.
    pub fn top(&self) -> usize {
        self.surface.header.rungs - 1
    }

    /// Factor between two rungs.
    pub fn eta(&self) -> usize {
        self.surface.header.eta
    }

    pub(super) fn trial(&self, point: usize, seed: u64) -> Option<&Shown> {
        self.shown.get(&(point, seed))
    }

    /// Standard error of a search score at a rung.
    pub(super) fn se(&self, score: f64, rung: usize) -> f64 {
        let share = self.shares.get(rung).copied().unwrap_or(1.0);
        let items = items_at(self.surface.header.base[0].len(), share).max(1);
        (score * (1.0 - score) / items as f64).sqrt()
    }

    /// The untouched base on the select split.
    pub fn base_select(&self) -> f64 {
        self.surface.header.base[1].mean()
    }

    /// The untouched base on the final split.
    pub fn base_truth(&self) -> f64 {
        self.surface.base_truth()
    }

    /// The true value of a point.
    pub fn truth(&self, point: usize) -> f64 {
        self.truths[point]
    }

    /// The true value of the best point.
    pub fn best_truth(&self) -> f64 {
        self.truths.iter().copied().fold(self.base_truth(), f64::max)
    }

    /// What an ask costs, in full trainings. A higher rung goes on from the rung below; what is known is trained again.
    pub fn cost(&self, record: &Record, ask: Ask) -> f64 {
        let whole = self.shares.get(ask.rung).copied().unwrap_or(1.0);
        match record.highest(ask.point) {
            Some((rung, _)) if rung < ask.rung => whole - self.shares[rung],
            _ => whole,
        }
    }

    /// The fully trained point with the most right answers on search and select together; of equal ones the first.
    pub fn recommended(&self, record: &Record) -> Option<usize> {
        let value = |point: &usize, select: f64| {
            let search = record.highest(*point).map_or(0.0, |(_, score)| score);
            self.items[0] * search + self.items[1] * select
        };
        let all = record.select.iter().map(|(point, select)| (*point, value(point, *select)));
        // `min_by` keeps the first of equal ones.
        all.min_by(|a, b| b.1.total_cmp(&a.1)).map(|(point, _)| point)
    }
}

fn items_at(items: usize, share: f64) -> usize {
    crate::numbers::share_of(items, share).max(MIN_ITEMS).min(items)
}
