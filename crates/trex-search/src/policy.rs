//! Policies: which strategy gets the next experiment. They rank strategies only; batches go up the rungs by themselves.
//!
//! Rules that all of them share
//! - A strategy that is exhausted is never chosen.
//! - Where a person pinned strategies, or something below them, the policy chooses among those alone while one is open.
//! - Progressive widening (Coulom, 2007): a strategy may have at most `⌈k · N^α⌉` experiments, and always one, where `N`
//!   counts the experiments of the *whole tree*, finished and in flight. When that would close every strategy it is lifted.
//!   Greedy, sequential and random, which are there for comparison, ignore it.
//! - Values are min-max-normalised over the strategies' best and mean scores and the base; `Q` mixes maximum and mean
//!   (`best_weight`), because the best variant is wanted and the mean says how lucky the best was. In the mean a failure
//!   counts `failure_value`, one that a later experiment of the strategy made good `repair_value`, and an experiment in
//!   flight `virtual_loss`. An unvisited strategy has the base's value (first-play urgency).
//! - PUCT and UCT visit every strategy once before any twice, in order of the priors.
//! - Stagnation: after `stagnation` experiments without gain, strategies of a kind that the last two experiments did not have go
//!   first, where there are any; a fusion is such a kind. Random, sequential, TPE and ASHA ignore this.
//! - Of equal ranks the higher prior is taken, then the lower expected cost, then the earlier strategy.

mod prior;
mod table;
#[cfg(test)]
mod tests;
mod tpe;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::{CandidateNumbers, NodeId, Promotion, SearchSettings, nearest};

use crate::policy::table::{Row, Table};
use crate::{SearchError, TreeView};

pub use prior::{ValueModel, surrogate_priors};
pub use tpe::Tpe;

/// Names that [`policy`] knows.
pub const POLICY_NAMES: [&str; 8] = ["puct", "uct", "greedy", "sequential", "thompson", "tpe", "asha", "random"];

/// What a policy chose, with the numbers it chose by.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The strategy.
    pub node: NodeId,
    /// Why, in a sentence.
    pub because: String,
    /// The strategies that could have been chosen, in order of creation.
    pub candidates: Vec<CandidateNumbers>,
}

/// Says where the next experiment goes.
pub trait Policy: Send + Sync {
    /// The name in `search.policy`.
    fn name(&self) -> &'static str;

    /// Among whom a variant must stand out to go up a rung.
    fn promotion(&self, settings: &SearchSettings) -> Promotion {
        settings.promotion
    }

    /// Chooses a strategy; `None` when all are exhausted. `rng` is used only by the policies that draw.
    fn select(&self, view: &TreeView, settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice>;
}

/// Draws uniformly. For comparison.
#[derive(Clone, Copy, Debug)]
pub struct Random;
/// Goes round: the strategy with the fewest experiments, the earlier one first. For comparison.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;
/// Takes the strategy with the highest Q; never explores on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Greedy;
/// UCB1 over strategies: `Q + c·√(ln N / n)` (Kocsis & Szepesvári, 2006).
#[derive(Clone, Copy, Debug)]
pub struct Uct;
/// `Q + c·P·√N / (1 + n)` (Silver et al., 2017) with priors `P` that mix the Researcher's word with what a surrogate over the
/// experiments so far expects ([`surrogate_priors`]). The default.
#[derive(Clone, Copy, Debug)]
pub struct Puct;
/// Draws uniformly, and lets variants up a rung only where they stand out among all of the run (Li et al., 2020).
#[derive(Clone, Copy, Debug)]
pub struct Asha;
/// Draws each strategy's value from a normal posterior and takes the best draw.
#[derive(Clone, Copy, Debug)]
pub struct Thompson;

/// Returns the policy of that name.
pub fn policy(name: &str) -> Result<Box<dyn Policy>, SearchError> {
    Ok(match name {
        "random" => Box::new(Random),
        "sequential" => Box::new(Sequential),
        "greedy" => Box::new(Greedy),
        "uct" => Box::new(Uct),
        "puct" => Box::new(Puct),
        "thompson" => Box::new(Thompson),
        "tpe" => Box::new(Tpe),
        "asha" => Box::new(Asha),
        _ => {
            return Err(SearchError::UnknownPolicy { name: name.to_owned(), suggestion: nearest(name, POLICY_NAMES) });
        }
    })
}

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view, settings);
        table.choose(|_| rng.random::<f64>(), |_| "drawn uniformly".to_owned())
    }
}

impl Policy for Asha {
    fn name(&self) -> &'static str {
        "asha"
    }

    fn promotion(&self, _settings: &SearchSettings) -> Promotion {
        Promotion::Asynchronous
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view, settings);
        table.choose(|_| rng.random::<f64>(), |_| "drawn uniformly; rungs decide what goes on".to_owned())
    }
}

impl Policy for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view, settings);
        table.choose(
            |row| -(row.view.children() as f64),
            |row| format!("next in turn with {} experiments", row.view.children()),
        )
    }
}

impl Policy for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view, settings).away_from_stagnation(view);
        table.choose(|row| row.value, |row| format!("highest value {:.3}", row.value))
    }
}

impl Policy for Uct {
    fn name(&self) -> &'static str {
        "uct"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let total = view.total_visits() as f64;
        let rank = |row: &Row<'_>| {
            let visits = row.view.children().max(1) as f64;
            row.value + settings.exploration * (total.max(1.0).ln() / visits).sqrt()
        };
        Table::within_limit(view, settings).away_from_stagnation(view).first_plays_first(rank, "UCT")
    }
}

impl Policy for Puct {
    fn name(&self) -> &'static str {
        "puct"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let total = view.total_visits() as f64;
        let rank = |row: &Row<'_>| {
            row.value + settings.exploration * row.prior * total.sqrt() / (1.0 + row.view.children() as f64)
        };
        let table = Table::within_limit(view, settings).away_from_stagnation(view);
        with_surrogate(table, view, settings).first_plays_first(rank, "PUCT")
    }
}

impl Policy for Thompson {
    fn name(&self) -> &'static str {
        "thompson"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::within_limit(view, settings).away_from_stagnation(view);
        table.choose(
            |row| row.value + settings.thompson_sd / (1.0 + row.view.children() as f64).sqrt() * standard_normal(rng),
            |row| format!("highest draw from the posterior around {:.3}", row.value),
        )
    }
}

/// Mixes what the surrogate expects of each strategy into the Researcher's priors.
fn with_surrogate<'a>(mut table: Table<'a>, view: &TreeView, settings: &SearchSettings) -> Table<'a> {
    let chosen: Vec<_> = table.rows.iter().map(|row| row.view).collect();
    let weight = settings.surrogate_weight;
    if let Some(expected) = surrogate_priors(view, &chosen) {
        for (row, expected) in table.rows.iter_mut().zip(expected) {
            row.prior = (1.0 - weight) * row.prior + weight * expected;
        }
    }
    table
}

/// A standard normal number by Box and Muller (1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
