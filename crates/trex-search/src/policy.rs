//! Policies: which strategy gets the next experiment. They rank strategies only; batches go up the rungs by themselves.
//!
//! Rules that all of them share
//! - A strategy that is exhausted is never chosen.
//! - Progressive widening (Coulom, 2007): a strategy may have at most `⌈k · N^α⌉` experiments, and always one, where `N`
//!   counts the experiments of the *whole tree*, finished and in flight. When that would close every strategy it is lifted.
//!   Greedy, sequential and random, which are there for comparison, ignore it.
//! - Values are min-max-normalised over the strategies' best and mean scores and the base; `Q = (max + mean) / 2`, because the best
//!   variant is wanted and the mean says how lucky the best was. A failure counts [`FAILURE_VALUE`] in the mean, an
//!   experiment in flight counts 0 (virtual loss). An unvisited strategy has the base's value (first-play urgency).
//! - PUCT and UCT visit every strategy once before any twice, in order of the priors.
//! - Stagnation: after two experiments without gain, strategies of a kind that the last two experiments did not have go
//!   first, where there are any. Random and sequential ignore this.
//! - Of equal ranks the higher prior is taken, then the lower expected cost, then the earlier strategy.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::{CandidateNumbers, NodeId, SearchSettings, nearest};

use crate::{FAILURE_VALUE, SearchError, StrategyView, TreeView};

/// Finished experiments without gain after which another kind of strategy goes first.
const STAGNATION: usize = 2;

/// Names that [`policy`] knows.
pub const POLICY_NAMES: [&str; 6] = ["puct", "uct", "greedy", "sequential", "thompson", "random"];

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
/// `Q + c·P·√N / (1 + n)` with the Researcher's priors `P`, normalised (Silver et al., 2017). The default.
#[derive(Clone, Copy, Debug)]
pub struct Puct;
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
        _ => {
            return Err(SearchError::UnknownPolicy { name: name.to_owned(), suggestion: nearest(name, POLICY_NAMES) });
        }
    })
}

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn select(&self, view: &TreeView, _settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view);
        table.choose(|_| rng.random::<f64>(), |_| "drawn uniformly".to_owned())
    }
}

impl Policy for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn select(&self, view: &TreeView, _settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view);
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

    fn select(&self, view: &TreeView, _settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view).away_from_stagnation(view);
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
        Table::within_limit(view, settings).away_from_stagnation(view).first_plays_first(rank, "PUCT")
    }
}

impl Policy for Thompson {
    fn name(&self) -> &'static str {
        "thompson"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, rng: &mut ChaCha8Rng) -> Option<Choice> {
        // The spread of a normalised value before anything is known; half the range.
        const PRIOR_SD: f64 = 0.5;
        let table = Table::within_limit(view, settings).away_from_stagnation(view);
        table.choose(
            |row| row.value + PRIOR_SD / (1.0 + row.view.children() as f64).sqrt() * standard_normal(rng),
            |row| format!("highest draw from the posterior around {:.3}", row.value),
        )
    }
}

/// A candidate with its numbers.
struct Row<'a> {
    view: &'a StrategyView,
    /// Q.
    value: f64,
    /// P, normalised over the candidates.
    prior: f64,
}

/// The strategies that may be chosen.
struct Table<'a> {
    rows: Vec<Row<'a>>,
    stagnant: bool,
}

impl<'a> Table<'a> {
    /// Every strategy that is not exhausted.
    fn all(view: &'a TreeView) -> Self {
        Self::of(view, view.strategies.iter().filter(|strategy| !strategy.exhausted).collect())
    }

    /// Those of them that progressive widening leaves open; all where it would leave none.
    fn within_limit(view: &'a TreeView, settings: &SearchSettings) -> Self {
        let limit = widening_limit(settings, view.total_visits());
        let open = |one: &&StrategyView| !one.exhausted && (one.children() as f64) < limit;
        let within: Vec<_> = view.strategies.iter().filter(open).collect();
        if within.is_empty() { Self::all(view) } else { Self::of(view, within) }
    }

    fn of(view: &'a TreeView, chosen: Vec<&'a StrategyView>) -> Self {
        let priors: f64 = chosen.iter().map(|one| one.prior.max(0.0)).sum();
        let uniform = 1.0 / chosen.len().max(1) as f64;
        let range = Range::of(view);
        let row = |one: &'a StrategyView| Row {
            view: one,
            value: q_value(one, &range, view.base),
            prior: if priors > 0.0 { one.prior.max(0.0) / priors } else { uniform },
        };
        Self { rows: chosen.into_iter().map(row).collect(), stagnant: false }
    }

    fn away_from_stagnation(mut self, view: &TreeView) -> Self {
        let is_new = |row: &Row<'_>| !view.recent.contains(&row.view.kind);
        if view.since_gain >= STAGNATION && self.rows.iter().any(is_new) {
            self.stagnant = self.rows.iter().any(|row| !is_new(row));
            self.rows.retain(is_new);
        }
        self
    }

    /// Takes the unvisited strategy with the highest prior, else the strategy with the highest rank.
    fn first_plays_first(self, rank: impl Fn(&Row<'_>) -> f64, name: &str) -> Option<Choice> {
        if self.rows.iter().all(|row| row.view.children() > 0) {
            return self.choose(&rank, |row| {
                format!("highest {name} score {:.3} (value {:.3}, prior {:.2})", rank(row), row.value, row.prior)
            });
        }
        let first_play = |row: &Row<'_>| {
            // Every rank is finite, so that an unvisited row is above all visited ones.
            if row.view.children() == 0 { row.prior } else { f64::NEG_INFINITY }
        };
        let numbers = self.numbers(&rank);
        let mut choice = self.choose(first_play, |row| format!("not tried yet, prior {:.2}", row.prior))?;
        choice.candidates = numbers;
        Some(choice)
    }

    fn numbers(&self, mut rank: impl FnMut(&Row<'_>) -> f64) -> Vec<CandidateNumbers> {
        let number = |row: &Row<'_>| CandidateNumbers {
            node: row.view.node.clone(),
            visits: row.view.children(),
            value: row.value,
            prior: row.prior,
            rank: rank(row),
        };
        self.rows.iter().map(number).collect()
    }

    /// Takes the row with the highest rank.
    fn choose(&self, rank: impl FnMut(&Row<'_>) -> f64, because: impl Fn(&Row<'_>) -> String) -> Option<Choice> {
        let candidates = self.numbers(rank);
        // `min_by` keeps the first of equal ones.
        let (_, row) = candidates.iter().zip(&self.rows).min_by(|(a, row_a), (b, row_b)| {
            let by_cost = row_a.view.expected_cost.total_cmp(&row_b.view.expected_cost);
            b.rank.total_cmp(&a.rank).then(b.prior.total_cmp(&a.prior)).then(by_cost)
        })?;
        let mut because = because(row);
        if self.stagnant {
            because.push_str("; the last experiments brought no gain, so another kind goes first");
        }
        Some(Choice { node: row.view.node.clone(), because, candidates })
    }
}

fn widening_limit(settings: &SearchSettings, total_visits: usize) -> f64 {
    (settings.widening_k * (total_visits as f64).powf(settings.widening_alpha)).ceil().max(1.0)
}

/// The interval of the strategies' best and mean scores and the base's. A view keeps no lower single score, and Q needs none.
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(view: &TreeView) -> Self {
        let scores = view.strategies.iter().flat_map(|one| [one.best, one.mean]).flatten();
        let start = Self { low: view.base, high: view.base };
        scores.fold(start, |range, score| Self { low: range.low.min(score), high: range.high.max(score) })
    }

    fn normalised(&self, score: f64) -> f64 {
        let span = self.high - self.low;
        if span > 0.0 { (score - self.low) / span } else { 0.5 }
    }
}

fn q_value(one: &StrategyView, range: &Range, base: f64) -> f64 {
    let children = one.children() as f64;
    if one.children() == 0 {
        return range.normalised(base);
    }
    let successes = (one.visits - one.failures) as f64;
    let sum = one.mean.map_or(0.0, |mean| successes * range.normalised(mean)) + one.failures as f64 * FAILURE_VALUE;
    let mean = sum / children;
    let best = one.best.map_or(mean, |best| range.normalised(best));
    f64::midpoint(best, mean)
}

/// A standard normal number by Box and Muller (1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trex_domain::{StrategyKind, seeded_rng};

    use super::*;

    const KINDS: [StrategyKind; 4] =
        [StrategyKind::Baseline, StrategyKind::RefineData, StrategyKind::AdjustTraining, StrategyKind::ConstructData];

    fn strategy(number: usize, prior: f64) -> StrategyView {
        StrategyView {
            node: NodeId::strategy(number),
            kind: KINDS[(number - 1) % 4],
            prior,
            visits: 0,
            in_flight: 0,
            best: None,
            mean: None,
            failures: 0,
            exhausted: false,
            expected_cost: 2.0,
        }
    }

    fn visited(number: usize, visits: usize, best: f64, mean: f64) -> StrategyView {
        StrategyView { visits, best: Some(best), mean: Some(mean), ..strategy(number, 0.25) }
    }

    fn tree(strategies: Vec<StrategyView>) -> TreeView {
        TreeView { strategies, base: 0.5, since_gain: 0, recent: Vec::new() }
    }

    fn select(name: &str, view: &TreeView, seed: u64) -> Option<Choice> {
        policy(name).unwrap().select(view, &SearchSettings::default(), &mut seeded_rng(seed, "test"))
    }

    #[track_caller]
    fn check(name: &str, view: &TreeView, expected: usize) {
        assert_eq!(select(name, view, 1).unwrap().node, NodeId::strategy(expected), "{name}");
    }

    #[test]
    fn an_unknown_policy_is_answered_with_the_nearest() {
        let err = policy("pukt").err().unwrap();
        assert!(matches!(err, SearchError::UnknownPolicy { suggestion: Some("puct"), .. }), "{err:?}");
        for name in POLICY_NAMES {
            assert_eq!(policy(name).unwrap().name(), name);
        }
    }

    #[test]
    fn unvisited_strategies_come_first_in_order_of_their_priors() {
        let view = tree(vec![strategy(1, 0.2), strategy(2, 0.6), strategy(3, 0.4)]);
        check("puct", &view, 2);
        check("uct", &view, 2);
        check("greedy", &view, 2);
        check("sequential", &view, 2);
        let view = tree(vec![visited(1, 1, 0.99, 0.99), strategy(2, 0.1), strategy(3, 0.4)]);
        check("puct", &view, 3);
        check("greedy", &view, 1);
        let numbers = select("puct", &view, 1).unwrap().candidates;
        assert_eq!(numbers.len(), 2, "progressive widening closes the first");
        assert!(numbers.iter().all(|one| one.rank.is_finite()), "{numbers:?}");
    }

    #[test]
    fn the_better_strategy_is_chosen_and_virtual_loss_moves_the_next_elsewhere() {
        let mut view = tree(vec![visited(1, 2, 0.7, 0.66), visited(2, 2, 0.72, 0.7), visited(3, 2, 0.6, 0.6)]);
        check("puct", &view, 2);
        check("uct", &view, 2);
        view.strategies[1].in_flight = 2;
        check("puct", &view, 1);
    }

    #[test]
    fn a_failing_strategy_is_worth_less_than_one_that_brings_the_base() {
        let failing = StrategyView { visits: 1, failures: 1, ..strategy(1, 0.25) };
        let view = tree(vec![failing, visited(2, 1, 0.5, 0.5), visited(3, 1, 0.4, 0.4)]);
        check("greedy", &view, 2);
        let numbers = select("greedy", &view, 1).unwrap().candidates;
        assert!((numbers[0].value - FAILURE_VALUE).abs() < 1e-12, "{numbers:?}");
    }

    #[test]
    fn widening_limits_a_favourite_and_is_lifted_when_nothing_else_is_left() {
        // 5 experiments: ⌈5^0.6⌉ = 3 per strategy.
        let mut view = tree(vec![visited(1, 3, 0.9, 0.9), visited(2, 2, 0.6, 0.6)]);
        check("puct", &view, 2);
        view.strategies[1].exhausted = true;
        check("puct", &view, 1);
        view.strategies[0].exhausted = true;
        for name in POLICY_NAMES {
            assert_eq!(select(name, &view, 1), None, "{name}");
        }
    }

    #[test]
    fn stagnation_prefers_a_kind_that_was_not_tried_last() {
        let mut view = tree(vec![visited(1, 1, 0.6, 0.6), visited(2, 1, 0.9, 0.9), visited(3, 1, 0.55, 0.55)]);
        check("puct", &view, 2);
        view.recent = vec![StrategyKind::RefineData, StrategyKind::RefineData];
        view.since_gain = 1;
        check("puct", &view, 2);
        view.since_gain = 2;
        check("puct", &view, 1);
        assert!(select("puct", &view, 1).unwrap().because.contains("another kind"));
        view.recent = vec![StrategyKind::Baseline, StrategyKind::AdjustTraining];
        check("greedy", &view, 2);
        view.strategies.retain(|one| one.kind == StrategyKind::Baseline);
        check("puct", &view, 1);
    }

    #[test]
    fn equal_candidates_without_priors_crash_nothing() {
        let equal: Vec<_> = (1..=4).map(|n| StrategyView { prior: 0.0, ..visited(n, 1, 0.5, 0.5) }).collect();
        for name in POLICY_NAMES {
            let choice = select(name, &tree(equal.clone()), 3).unwrap();
            assert!(choice.candidates.iter().all(|one| one.rank.is_finite() && (one.value - 0.5).abs() < 1e-12));
            assert_eq!(select(name, &tree(Vec::new()), 3), None);
        }
    }

    /// Plays `rounds` experiments with noisy rewards and returns how many went to the best strategy.
    fn play(name: &str, means: &[f64], rounds: usize, seed: u64) -> usize {
        let mut rng = seeded_rng(seed, "surface");
        let mut draws = seeded_rng(seed, "policy");
        let settings = SearchSettings { widening_alpha: 1.0, ..SearchSettings::default() };
        let mut rewards: Vec<Vec<f64>> = vec![Vec::new(); means.len()];
        for _ in 0..rounds {
            let mut strategies: Vec<_> = (1..=means.len()).map(|number| strategy(number, 0.25)).collect();
            for (view, seen) in strategies.iter_mut().zip(&rewards).filter(|(_, seen)| !seen.is_empty()) {
                view.visits = seen.len();
                view.best = seen.iter().copied().max_by(f64::total_cmp);
                view.mean = Some(seen.iter().sum::<f64>() / seen.len() as f64);
            }
            let choice = policy(name).unwrap().select(&tree(strategies), &settings, &mut draws).unwrap();
            let arm = (1..=means.len()).find(|number| NodeId::strategy(*number) == choice.node).unwrap() - 1;
            rewards[arm].push(means[arm] + 0.02 * standard_normal(&mut rng));
        }
        rewards[0].len()
    }

    #[test]
    fn informed_policies_spend_more_on_the_best_strategy_than_random_does() {
        let means = [0.60, 0.56, 0.53, 0.50];
        let mean = |name| (0..200).map(|seed| play(name, &means, 10, seed)).sum::<usize>() as f64 / 200.0;
        let random = mean("random");
        assert!((random - 2.5).abs() < 0.3, "{random}");
        for name in ["puct", "uct", "greedy", "thompson"] {
            assert!(mean(name) > random + 1.0, "{name}: {} against {random}", mean(name));
        }
        assert!(mean("puct") > 5.0, "{}", mean("puct"));
    }

    proptest! {
        #[test]
        fn every_policy_chooses_an_open_strategy_and_chooses_it_again(
            rows in proptest::collection::vec((0usize..4, 0usize..3, 0usize..3, 0.0f64..1.0, any::<bool>()), 0..8),
            since_gain in 0usize..4,
            seed in any::<u64>(),
        ) {
            let strategies: Vec<_> = rows.iter().enumerate().map(|(index, (good, bad, flying, best, exhausted))| {
                let score = (*good > 0).then_some(*best);
                StrategyView {
                    visits: good + bad, failures: *bad, in_flight: *flying, best: score,
                    mean: score.map(|score| score * 0.9), exhausted: *exhausted, ..strategy(index + 1, *best)
                }
            }).collect();
            let mut view = tree(strategies);
            view.since_gain = since_gain;
            view.recent = vec![StrategyKind::RefineData, StrategyKind::Baseline];
            for name in POLICY_NAMES {
                let choice = select(name, &view, seed);
                prop_assert_eq!(&choice, &select(name, &view, seed));
                let open = view.strategies.iter().filter(|one| !one.exhausted).count();
                prop_assert_eq!(choice.is_some(), open > 0);
                if let Some(choice) = choice {
                    prop_assert!(view.strategies.iter().any(|one| one.node == choice.node && !one.exhausted));
                    prop_assert!(choice.candidates.iter().any(|one| one.node == choice.node));
                }
            }
        }
    }
}
