//! A surface in the form that a replay reads fast: scores by point, seed and rung, the truth, and what a training costs.

use std::collections::BTreeMap;

use rand::RngExt as _;
use trex_domain::seeded_rng;

use super::{Ask, Record};
use crate::{Outcomes, Probabilities, SearchError, Surface};

/// Items of the search split that a rung is scored on at least, as in a run.
const MIN_ITEMS: usize = 30;

/// What one recorded training showed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    /// Search scores by rung; fewer than rungs where it failed.
    pub(super) search: Vec<f64>,
    /// What promotions go by, by rung.
    pub(super) promise: Vec<f64>,
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
    base_select: f64,
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
        let lengths = [header.base[0].len(), header.base[1].len()];
        let every = lengths.map(|length| (0..length).collect::<Vec<usize>>());
        Ok(Self {
            surface,
            seeds,
            index: places.iter().cloned().zip(0..).collect(),
            shown: shown_on(surface, seeds, &shares, &every),
            truths: (0..places.len()).map(|point| surface.truth(point)).collect(),
            places,
            shares,
            items: lengths.map(|length| length as f64),
            base_select: header.base[1].mean(),
        })
    }

    /// The same space as a search sees it whose search and select items were drawn anew, with replacement and as many (a
    /// bootstrap sample): all contenders of a number see the same ones. The truth stays that of the sealed split.
    #[must_use]
    pub fn redrawn(&self, number: u64) -> Self {
        let mut rng = seeded_rng(number, "replay/items");
        let base = &self.surface.header.base;
        let picks = [base[0].len(), base[1].len()]
            .map(|length| (0..length).map(|_| rng.random_range(0..length)).collect::<Vec<usize>>());
        Self {
            shown: shown_on(self.surface, self.seeds, &self.shares, &picks),
            base_select: share_right(&base[1], &picks[1]),
            ..self.clone()
        }
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
        self.base_select
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

    /// A score on search and select together, with its standard error.
    pub(super) fn pooled(&self, search: f64, select: f64) -> (f64, f64) {
        let [items, more] = self.items;
        let score = (items * search + more * select) / (items + more).max(1.0);
        (score, (score * (1.0 - score) / (items + more).max(1.0)).sqrt())
    }

    /// The fully trained point with the most right answers on search and select together; of equal ones the first.
    pub fn recommended(&self, record: &Record) -> Option<usize> {
        let value = |point: &usize, select: f64| {
            let search = record.highest(*point).map_or(0.0, |(_, score)| score);
            self.pooled(search, select).0
        };
        let all = record.select.iter().map(|(point, select)| (*point, value(point, *select)));
        // `min_by` keeps the first of equal ones.
        all.min_by(|a, b| b.1.total_cmp(&a.1)).map(|(point, _)| point)
    }
}

/// What trainings show on these items of search and select.
fn shown_on(
    surface: &Surface,
    seeds: u64,
    shares: &[f64],
    [search, select]: &[Vec<usize>; 2],
) -> BTreeMap<(usize, u64), Shown> {
    let recorded = surface.trials.iter().filter(|((_, seed), _)| *seed < seeds);
    let shown = recorded.map(|(key, trial)| {
        let rungs = trial.rungs.iter().zip(shares);
        let on_rung = |(rung, share): (&crate::RecordedRung, &f64)| {
            let items = &search[..items_at(search.len(), *share)];
            let right = share_right(&rung.search, items);
            let promise = rung.gold.as_ref().filter(|_| *share < 1.0).and_then(|gold| mean_of(gold, items));
            (right, promise.unwrap_or(right))
        };
        let (search, promise) = rungs.map(on_rung).unzip();
        (*key, Shown { search, promise, select: share_right(&trial.select, select) })
    });
    shown.collect()
}

/// Share of these items that is right; 0 of a training that failed.
fn share_right(outcomes: &Outcomes, items: &[usize]) -> f64 {
    let right = outcomes.as_slice();
    let count = items.iter().filter(|item| right.get(**item).copied().unwrap_or(false)).count();
    count as f64 / items.len().max(1) as f64
}

/// Mean probability of the gold answers of these items.
fn mean_of(gold: &Probabilities, items: &[usize]) -> Option<f64> {
    let sum = items.iter().map(|item| gold.get(*item)).sum::<Option<f64>>()?;
    Some(sum / items.len().max(1) as f64)
}

fn items_at(items: usize, share: f64) -> usize {
    crate::numbers::share_of(items, share).max(MIN_ITEMS).min(items)
}
