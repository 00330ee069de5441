//! The tree search on a grid: the policies, the halving and the extrapolation of a run, with a Researcher that proposes
//! points of the grid as the built-in one proposes variants.
//!
//! Strategies work on dimensions: learning rate, recipe, all of the training scheme, everything (a fusion). A batch starts
//! from the best point of its strategy, else from the best of all, else from the task's own settings.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::{NodeId, SearchSettings, StrategyKind};

use super::{Ask, Contender, Record, Space};
use crate::numbers::mean;
use crate::surface::{ADVICE, START};
use crate::{
    Extrapolation, Measured, NOISE, Observation, Policy, Process, StrategyView, TreeView, carried, extrapolate, kept,
    policy,
};

/// Scored points before the surrogate is asked, as in the built-in Researcher.
const MIN_SCORED: usize = 4;

/// Weights of the uncertainty for the members of a batch, as in the built-in Researcher.
const BOLDNESS: [f64; 3] = [0.3, 1.0, 2.0];

/// Distance of two recipes on the scale on which 1 is a moderate change, over √2.
const RECIPE_DISTANCE: f64 = 0.6;

/// The tree as one contender keeps it.
pub(super) struct Tree {
    name: &'static str,
    policy: Option<Box<dyn Policy>>,
    settings: SearchSettings,
    /// Whether the surrogate orders proposals; drawn at random otherwise.
    modelled: bool,
    /// Whether batches climb the rungs; everything is trained to the top otherwise.
    climbs: bool,
    branches: Vec<Branch>,
    open: Option<Batch>,
    since_gain: usize,
    recent: Vec<StrategyKind>,
    best_value: Option<f64>,
}

/// A strategy.
struct Branch {
    kind: StrategyKind,
    /// Names of the dimensions that it changes; empty stands for all.
    works_on: &'static [&'static str],
    prior: f64,
    values: Vec<f64>,
    failures: usize,
    best: Option<(f64, usize)>,
    exhausted: bool,
}

/// A batch on its way up.
struct Batch {
    branch: usize,
    points: Vec<usize>,
    rung: usize,
}

const SCHEME: &[&str] = &["learning_rate", "rank", "max_steps", "lr_scheduler_type"];

impl Tree {
    fn new(name: &'static str, policy_name: &str) -> Self {
        let branch = |kind, works_on, prior| Branch {
            kind,
            works_on,
            prior,
            values: Vec::new(),
            failures: 0,
            best: None,
            exhausted: false,
        };
        Self {
            name,
            policy: policy(policy_name).ok(),
            settings: SearchSettings { policy: policy_name.to_owned(), ..SearchSettings::default() },
            modelled: true,
            climbs: SearchSettings::default().rungs > 1,
            // Priors as the built-in Researcher gives them to a pool with a tenth of dirt.
            branches: vec![
                branch(StrategyKind::Baseline, &["learning_rate", "max_steps"], 0.9),
                branch(StrategyKind::RefineData, &["recipe"], 0.5),
                branch(StrategyKind::AdjustTraining, SCHEME, 0.4),
                branch(StrategyKind::Fuse, &[], 0.3),
            ],
            open: None,
            since_gain: 0,
            recent: Vec::new(),
            best_value: None,
        }
    }

    pub(super) fn trex() -> Self {
        Self::new("trex", "puct")
    }

    pub(super) fn trex_rungs() -> Self {
        Self { climbs: true, ..Self::new("trex-rungs", "puct") }
    }

    pub(super) fn uct() -> Self {
        Self { modelled: false, ..Self::new("uct", "uct") }
    }

    pub(super) fn thompson() -> Self {
        Self::new("thompson", "thompson")
    }

    fn view(&self, space: &Space<'_>) -> TreeView {
        let scored = self.branches.iter().filter(|one| one.kind != StrategyKind::Fuse && one.best.is_some()).count();
        let strategies = self.branches.iter().enumerate().map(|(index, one)| StrategyView {
            node: NodeId::strategy(index + 1),
            kind: one.kind,
            prior: one.prior,
            visits: one.values.len() + one.failures,
            in_flight: 0,
            best: one.values.iter().copied().max_by(f64::total_cmp),
            mean: mean(&one.values),
            values: one.values.clone(),
            failures: one.failures,
            repaired: 0,
            expected_effect: 0.0,
            pinned: false,
            exhausted: one.exhausted || (one.kind == StrategyKind::Fuse && scored < 2),
            expected_cost: 1.0,
        });
        TreeView {
            strategies: strategies.collect(),
            base: space.base_select(),
            since_gain: self.since_gain,
            recent: self.recent.clone(),
        }
    }

    /// The next ask of the open batch; `None` when it is through, which is then booked.
    fn advance(&mut self, space: &Space<'_>, record: &Record) -> Option<Ask> {
        let mut batch = self.open.take()?;
        loop {
            batch.points.retain(|point| !record.failed.contains(point));
            let waits = |point: &&usize| record.highest(**point).is_none_or(|(rung, _)| rung < batch.rung);
            if let Some(point) = batch.points.iter().find(waits).copied() {
                let ask = Ask { point, rung: batch.rung };
                self.open = Some(batch);
                return Some(ask);
            }
            let mut ranked: Vec<(usize, f64)> =
                batch.points.iter().filter_map(|point| Some((*point, record.highest(*point)?.1))).collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            if batch.rung == space.top() || ranked.is_empty() {
                self.close(&batch, &ranked, record);
                return None;
            }
            ranked.sort_by(|a, b| record.promise(b.0).partial_cmp(&record.promise(a.0)).unwrap_or(Ordering::Equal));
            let keep = kept(ranked.len(), space.eta());
            let goes_on = |one: &&(usize, f64)| !self.is_hopeless(space, record, one.1, batch.rung);
            let points: Vec<usize> = ranked.iter().take(keep).filter(goes_on).map(|(point, _)| *point).collect();
            if points.is_empty() {
                self.close_early(&batch, &ranked, record, space);
                return None;
            }
            batch = Batch { points, rung: batch.rung + 1, ..batch };
        }
    }

    fn is_hopeless(&self, space: &Space<'_>, record: &Record, score: f64, rung: usize) -> bool {
        let best = record.at_rung(space.top()).into_iter().map(|(_, score)| score).max_by(f64::total_cmp);
        let reach = best.zip(extrapolated(space, record, score, rung)).map(|(best, one)| one.reach(best));
        reach.is_some_and(|reach| reach < self.settings.min_reach)
    }

    fn close(&mut self, batch: &Batch, ranked: &[(usize, f64)], record: &Record) {
        let winner = ranked.first().map(|(point, _)| *point);
        let value = winner.and_then(|point| Some((*record.select.get(&point)?, point)));
        self.book(batch.branch, value);
    }

    /// A batch that ended below the top has its best score, carried up.
    fn close_early(&mut self, batch: &Batch, ranked: &[(usize, f64)], record: &Record, space: &Space<'_>) {
        let gain = mean(&gains(space, record, batch.rung)).unwrap_or(0.0);
        let value = ranked.first().map(|(_, score)| score + gain);
        if let (Some(value), Some(branch)) = (value, self.branches.get_mut(batch.branch)) {
            branch.values.push(value);
        }
        self.finish(batch.branch, false);
    }

    fn book(&mut self, number: usize, value: Option<(f64, usize)>) {
        let Some(branch) = self.branches.get_mut(number) else { return };
        let Some((value, point)) = value else {
            branch.failures += 1;
            return self.finish(number, false);
        };
        branch.values.push(value);
        if branch.best.is_none_or(|(best, _)| value > best) {
            branch.best = Some((value, point));
        }
        let is_gain = self.best_value.is_none_or(|best| value > best);
        if is_gain {
            self.best_value = Some(value);
        }
        self.finish(number, is_gain);
    }

    fn finish(&mut self, number: usize, is_gain: bool) {
        self.since_gain = if is_gain { 0 } else { self.since_gain + 1 };
        self.recent.extend(self.branches.get(number).map(|branch| branch.kind));
        let old = self.recent.len().saturating_sub(2);
        self.recent.drain(..old);
        for branch in &mut self.branches {
            branch.exhausted = false;
        }
    }

    fn expand(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Batch> {
        loop {
            let view = self.view(space);
            let choice = self.policy.as_ref()?.select(&view, &self.settings, rng)?;
            let branch = view.strategies.iter().position(|one| one.node == choice.node)?;
            let points = self.propose(branch, space, record, rng);
            if !points.is_empty() {
                let start = if self.climbs { 0 } else { space.top() };
                return Some(Batch { branch, points, rung: start });
            }
            self.branches[branch].exhausted = true;
        }
    }

    fn propose(&self, number: usize, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let branch = &self.branches[number];
        let best = branch.best.map(|(_, point)| point).or_else(|| space.recommended(record));
        let Some(parent) = best.or_else(|| space.point_at(&START)) else { return Vec::new() };
        let mut open: Vec<usize> = (0..space.num_points())
            .filter(|point| !record.scores.contains_key(point) && !record.failed.contains(point))
            .filter(|point| changes_only(space, parent, *point, branch.works_on))
            .collect();
        if !self.modelled {
            open.shuffle(rng);
            open.truncate(self.settings.batch);
            return open;
        }
        open.sort_by_key(|point| distance(space, parent, *point));
        if record.scores.is_empty() && branch.kind == StrategyKind::Baseline {
            // As the built-in Researcher begins: the task's settings, a higher rate, and all that it advises.
            open.truncate(self.settings.batch.saturating_sub(1));
            open.extend(space.point_at(&ADVICE));
            return open;
        }
        by_surrogate(space, record, &open, self.settings.batch)
    }
}

impl Contender for Tree {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        loop {
            if let Some(ask) = self.advance(space, record) {
                return Some(ask);
            }
            self.open = Some(self.expand(space, record, rng)?);
        }
    }
}

/// What points gained from a rung to the top.
fn gains(space: &Space<'_>, record: &Record, rung: usize) -> Vec<f64> {
    let gain = |scores: &Vec<f64>| Some(scores.get(space.top())? - scores.get(rung)?);
    record.scores.values().filter_map(gain).collect()
}

fn extrapolated(space: &Space<'_>, record: &Record, score: f64, rung: usize) -> Option<Extrapolation> {
    extrapolate(score, space.se(score, rung), &gains(space, record, rung))
}

/// Whether two points differ in nothing but these dimensions; no names stand for all.
fn changes_only(space: &Space<'_>, from: usize, to: usize, names: &[&str]) -> bool {
    let pairs = space.place(from).iter().zip(space.place(to)).enumerate();
    let mut others = pairs.filter(|(dimension, _)| !names.is_empty() && !names.contains(&space.dimension(*dimension)));
    others.all(|(_, (a, b))| a == b)
}

/// Number of settings that differ, then how far, the larger value of two equally near ones first.
fn distance(space: &Space<'_>, from: usize, to: usize) -> (usize, usize, bool) {
    let (from, to) = (space.place(from), space.place(to));
    let differing = from.iter().zip(to).filter(|(a, b)| a != b).count();
    let far = from.iter().zip(to).map(|(a, b)| a.abs_diff(*b)).sum();
    (differing, far, from.iter().zip(to).any(|(a, b)| b < a))
}

/// The members of a batch: as they come while little is scored, then those with the highest optimistic estimate.
fn by_surrogate(space: &Space<'_>, record: &Record, open: &[usize], count: usize) -> Vec<usize> {
    let mut seen = observations(space, record);
    if seen.len() < MIN_SCORED {
        return open.iter().take(count).copied().collect();
    }
    let mut chosen = Vec::new();
    let mut taken = BTreeSet::new();
    for place in 0..count {
        let Some(process) = Process::fit(&seen) else { break };
        let boldness = BOLDNESS.get(place % BOLDNESS.len()).copied().unwrap_or(1.0);
        let scored = open.iter().filter(|point| !taken.contains(*point)).map(|point| {
            let (mean, sd) = process.predict(&features(space, *point));
            (mean + boldness * sd, mean, *point)
        });
        // `min_by` keeps the first of equal ones, which is the nearest.
        let Some((_, mean, point)) = scored.min_by(|a, b| b.0.total_cmp(&a.0)) else { break };
        // The next one is chosen as if this one had brought what is expected of it.
        seen.push(Observation { features: features(space, point), score: mean, noise: NOISE });
        taken.insert(point);
        chosen.push(point);
    }
    chosen
}

/// Scores of all points, carried up to the top: on search and select together where both are known.
fn observations(space: &Space<'_>, record: &Record) -> Vec<Observation> {
    let gains: Vec<Vec<f64>> = (0..=space.top()).map(|rung| gains(space, record, rung)).collect();
    let measure = |point: usize| {
        let (rung, score) = record.highest(point)?;
        let (score, se) = match record.select.get(&point) {
            Some(select) => space.pooled(score, *select),
            None => carried(score, space.se(score, rung), &gains[rung]),
        };
        Some(Measured { features: features(space, point), score, se })
    };
    crate::observations(record.scores.keys().filter_map(|point| measure(*point)).collect())
}

/// Settings on scales on which a distance of 1 is a moderate change: a step of a dimension, and recipes by name.
fn features(space: &Space<'_>, point: usize) -> Vec<f64> {
    let lengths = space.lengths();
    let mut out = Vec::new();
    for (dimension, value) in space.place(point).iter().enumerate() {
        if space.dimension(dimension) == "recipe" {
            out.extend((0..lengths[dimension]).map(|one| if one == *value { RECIPE_DISTANCE } else { 0.0 }));
        } else {
            out.push(*value as f64);
        }
    }
    out
}
