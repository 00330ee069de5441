//! The ways of searching that are compared. All but the tree's know nothing of strategies and choose points of the grid.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::tree::Tree;
use super::{Ask, Contender, Record, Space, tpe};
use crate::SearchError;

/// Names that [`contender`] knows. `trex` is the search of a run with default settings, `trex-rungs` the
/// same with the rungs of the surface.
pub const CONTENDERS: [&str; 11] =
    ["random", "grid", "sequential", "greedy", "tpe", "asha", "bohb", "uct", "thompson", "trex-rungs", "trex"];

/// Returns the contender of that name.
pub fn contender(name: &str) -> Result<Box<dyn Contender>, SearchError> {
    Ok(match name {
        "random" => Box::new(Random),
        "grid" => Box::<Grid>::default(),
        "sequential" => Box::new(Sequential),
        "greedy" => Box::new(Greedy),
        "tpe" => Box::new(Tpe),
        "asha" => Box::new(Halving { name: "asha", model: false }),
        "bohb" => Box::new(Halving { name: "bohb", model: true }),
        "uct" => Box::new(Tree::uct()),
        "thompson" => Box::new(Tree::thompson()),
        "trex-rungs" => Box::new(Tree::trex_rungs()),
        "trex" => Box::new(Tree::trex()),
        _ => {
            let suggestion = trex_domain::nearest(name, CONTENDERS);
            return Err(SearchError::UnknownPolicy { name: name.to_owned(), suggestion });
        }
    })
}

/// Draws points uniformly, with replacement, and trains each to the top.
struct Random;

impl Contender for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn next(&mut self, space: &Space<'_>, _record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        Some(Ask { point: tpe::uniform(space, rng), rung: space.top() })
    }
}

/// Goes through the grid, the dimensions in an order that is drawn once.
#[derive(Default)]
struct Grid {
    order: Vec<usize>,
}

impl Contender for Grid {
    fn name(&self) -> &'static str {
        "grid"
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        let lengths = space.lengths();
        if self.order.is_empty() {
            self.order = (0..lengths.len()).collect();
            self.order.shuffle(rng);
        }
        let mut left = record.asked;
        let mut place = vec![0; lengths.len()];
        for dimension in &self.order {
            place[*dimension] = left % lengths[*dimension];
            left /= lengths[*dimension];
        }
        let is_through = left > 0;
        if is_through { None } else { Some(Ask { point: space.point_at(&place)?, rung: space.top() }) }
    }
}

/// The fully trained point with the highest search score; of equal ones the first.
fn best_point(space: &Space<'_>, record: &Record) -> Option<usize> {
    record.at_rung(space.top()).into_iter().min_by(|a, b| b.1.total_cmp(&a.1)).map(|(point, _)| point)
}

fn is_known(record: &Record, point: usize) -> bool {
    record.scores.contains_key(&point) || record.failed.contains(&point)
}

/// The points that differ from one in a single dimension, dimension by dimension.
pub(super) fn neighbours(space: &Space<'_>, point: usize, dimensions: &[usize]) -> Vec<usize> {
    let mut out = Vec::new();
    for dimension in dimensions {
        let length = space.lengths()[*dimension];
        for value in 0..length {
            let mut place = space.place(point).to_vec();
            if place[*dimension] != value {
                place[*dimension] = value;
                out.extend(space.point_at(&place));
            }
        }
    }
    out
}

/// One setting at a time from the best point, in the order of the dimensions; a drawn point where all are known.
struct Sequential;

impl Contender for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        let dimensions: Vec<usize> = (0..space.lengths().len()).collect();
        let near = best_point(space, record).map(|best| neighbours(space, best, &dimensions));
        let fresh = near.and_then(|near| near.into_iter().find(|point| !is_known(record, *point)));
        Some(Ask { point: fresh.unwrap_or_else(|| tpe::uniform(space, rng)), rung: space.top() })
    }
}

/// A drawn neighbour of the best point; a drawn point where all are known.
struct Greedy;

impl Contender for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        let dimensions: Vec<usize> = (0..space.lengths().len()).collect();
        let mut near = best_point(space, record).map_or_else(Vec::new, |best| neighbours(space, best, &dimensions));
        near.retain(|point| !is_known(record, *point));
        near.shuffle(rng);
        Some(Ask { point: near.first().copied().unwrap_or_else(|| tpe::uniform(space, rng)), rung: space.top() })
    }
}

struct Tpe;

impl Contender for Tpe {
    fn name(&self) -> &'static str {
        "tpe"
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        let scored = record.at_rung(space.top());
        let starts = record.asked < tpe::STARTUP || scored.len() < 2;
        let point = if starts { tpe::uniform(space, rng) } else { tpe::propose(space, &scored, rng) };
        Some(Ask { point, rung: space.top() })
    }
}

/// Asynchronous successive halving (Li et al., 2020); with a model, points are drawn as in BOHB (Falkner et al., 2018).
struct Halving {
    name: &'static str,
    model: bool,
}

/// Share of points that BOHB draws uniformly; ρ of the paper.
const BOHB_RANDOM: f64 = 1.0 / 3.0;

impl Contender for Halving {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask> {
        if let Some(ask) = (0..space.top()).rev().find_map(|rung| promotable(space, record, rung)) {
            return Some(ask);
        }
        let point = if self.model { modelled(space, record, rng) } else { tpe::uniform(space, rng) };
        Some(Ask { point, rung: 0 })
    }
}

/// The best point of a rung that is among its best 1/η and was not promoted.
fn promotable(space: &Space<'_>, record: &Record, rung: usize) -> Option<Ask> {
    let mut ranked = record.at_rung(rung);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(ranked.len() / space.eta());
    let waiting = ranked
        .into_iter()
        .find(|(point, _)| record.highest(*point).is_some_and(|(at, _)| at == rung) && !record.failed.contains(point));
    waiting.map(|(point, _)| Ask { point, rung: rung + 1 })
}

/// From the highest rung with enough points, as BOHB does.
fn modelled(space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> usize {
    let enough = space.lengths().len() + 2;
    let scored = (0..=space.top()).rev().map(|rung| record.at_rung(rung)).find(|scored| scored.len() >= enough);
    match scored {
        Some(scored) if rng.random::<f64>() >= BOHB_RANDOM => tpe::propose(space, &scored, rng),
        _ => tpe::uniform(space, rng),
    }
}
