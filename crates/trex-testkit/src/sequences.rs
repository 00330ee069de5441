//! Whole lists of events: one run from start to end, and any number of legal ones decoded from numbers.

use trex_domain::{
    CandidateNumbers, Comparison, Effect, Event, FailureClass, GivenOrder, Insight, Millis, NodeId, NodeState, Order,
    OrderRecord, Phase, PruneReason, RunId, RunState, StopReason, StoredEvent, StrategyKind, TrialStatus, VariantId,
    Verdict,
};

use crate::samples::{cost, hash, ledger, node_id, score, strategy, task, train_done, variant, variant_id};

/// The first event of a run of the sample task.
pub fn started(seed: u64) -> Event {
    Event::RunStarted { task: Box::new(task()), seed, version: "0.1.0".to_owned(), model: hash("model") }
}

/// Numbers events from 1, each one second after the one before.
pub fn stored(run: RunId, start: Millis, events: Vec<Event>) -> Vec<StoredEvent> {
    let at = |index: usize| Millis(start.0 + 1_000 * i64::try_from(index).unwrap_or(i64::MAX / 2_000));
    let number = |(index, event)| StoredEvent { seq: index as u64 + 1, run, at: at(index), event };
    events.into_iter().enumerate().map(number).collect()
}

/// A small run from start to end: one strategy, one experiment of three variants (one wins at the top rung, one is
/// pruned, one is rejected), a gain on the sealed split.
pub fn finished_run() -> Vec<Event> {
    let mut events = vec![started(7), phase(Phase::Import), data_imported(), phase(Phase::Baseline)];
    for (split, values) in [("search", [0.55, 0.53]), ("select", [0.56, 0.57])] {
        events.extend([0, 1].map(|seed| base_scored(split, seed as u64, values[seed])));
    }
    events.push(Event::NoiseMeasured { of: "base".to_owned(), scores: vec![0.56, 0.57], sd: 0.007 });
    events.push(phase(Phase::Research));
    let strategy = strategy(StrategyKind::AdjustTraining, "raise the learning rate");
    events.push(Event::StrategyProposed { node: NodeId::strategy(1), strategy });
    events.push(phase(Phase::Search));
    events.extend(searched());
    events.extend([
        phase(Phase::Finalists),
        phase(Phase::Final),
        Event::FinalOpened { times: 1, reason: "end of the run".to_owned() },
        Event::FinalScored { variant: None, seed: 0, score: score("final", 0.54), cost: cost(1.0) },
        Event::FinalScored {
            variant: Some(variant_id("s1.e1.a")),
            seed: 0,
            score: score("final", 0.69),
            cost: cost(1.0),
        },
        phase(Phase::Deliver),
        Event::Delivered { folder: "exports/sentiment".to_owned() },
        Event::RunFinished { verdict: Verdict::Gain, comparison: Some(comparison(0.15)), wall_s: 40.0 },
    ]);
    events
}

/// The experiment of [`finished_run`].
fn searched() -> Vec<Event> {
    let (winner, loser, bad) = ("s1.e1.a", "s1.e1.b", "s1.e1.c");
    let experiment = node_id("s1.e1");
    let mut events = vec![
        decided(NodeId::strategy(1)),
        Event::ExperimentProposed {
            node: experiment.clone(),
            title: "three learning rates".to_owned(),
            variants: vec![variant(winner, 4e-4), variant(loser, 8e-4), variant(bad, 0.5)],
        },
        verified(variant_id(winner)),
        verified(variant_id(loser)),
        Event::VariantRejected {
            variant: variant_id(bad),
            code: "verify.learning_rate".to_owned(),
            reason: "0.5 is far above what converges; use at most 0.01".to_owned(),
        },
    ];
    events.extend(trial(winner, 0, 0.61));
    events.extend(trial(loser, 0, 0.58));
    events.push(Event::VariantPromoted { variant: variant_id(winner), rung: 1 });
    events.push(Event::VariantPruned { variant: variant_id(loser), reason: PruneReason::Halving { place: 2, of: 2 } });
    events.extend(trial(winner, 1, 0.68));
    events.push(trial_scored(variant_id(winner), 1, "select", 0.67));
    let winner = variant_id(winner);
    events.push(Event::ExperimentFinished {
        node: experiment.clone(),
        winner: Some(winner.clone()),
        value: Some(0.67),
    });
    let comparison = comparison(0.11);
    events.push(Event::IncumbentCompared { candidate: winner, incumbent: None, comparison, replaced: true });
    let insight = Insight {
        statement: "a higher learning rate helps".to_owned(),
        scope: "this task".to_owned(),
        effect: comparison.effect,
        significant: true,
        node: experiment,
    };
    events.push(Event::InsightDistilled { insight });
    events.push(Event::SearchStopped { reason: StopReason::Exhausted });
    events
}

/// A trial from start to score on the search split.
fn trial(name: &str, rung: usize, value: f64) -> [Event; 3] {
    let id = variant_id(name);
    [
        Event::TrialStarted {
            variant: id.clone(),
            rung,
            seed: 0,
            attempt: 1,
            continues: None,
            reserved: trex_domain::Cost::default(),
        },
        trial_trained(id.clone(), rung),
        trial_scored(id, rung, "search", value),
    ]
}

/// Decodes numbers into a legal list of events: equal numbers give an equal list, a longer list of numbers goes on
/// where the shorter one stopped. A number whose event would be illegal adds nothing. The list starts a run.
pub fn legal_events(choices: &[u64]) -> Vec<Event> {
    let mut state = RunState::default();
    let mut events = Vec::new();
    let mut push = |event: Event, state: &mut RunState| {
        let mut next = state.clone();
        if next.apply(&event).is_ok() {
            *state = next;
            events.push(event);
        }
    };
    push(started(choices.len() as u64), &mut state);
    for choice in choices {
        if let Some(event) = event_from_choice(&state, *choice) {
            push(event, &mut state);
        }
    }
    events
}

fn event_from_choice(state: &RunState, choice: u64) -> Option<Event> {
    let detail = choice >> 3;
    match choice % 8 {
        0 => Some(strategy_event(state, detail)),
        1 => experiment_event(state, detail),
        2 => misc_event(state, detail),
        3 => node_event(state, detail),
        _ => {
            let id = pick(state.variants.keys(), detail)?.clone();
            variant_event(state, id, detail >> 8)
        }
    }
}

/// A number in [0, 1) with all its 53 bits in use.
fn unit(choice: u64) -> f64 {
    (choice.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64
}

fn pick<'a, T>(items: impl ExactSizeIterator<Item = &'a T>, choice: u64) -> Option<&'a T> {
    let count = items.len().max(1) as u64;
    items.into_iter().nth(usize::try_from(choice % count).ok()?)
}

fn strategy_event(state: &RunState, choice: u64) -> Event {
    let kinds = [StrategyKind::Baseline, StrategyKind::RefineData, StrategyKind::AdjustTraining];
    let kind = pick(kinds.iter(), choice).copied().unwrap_or(StrategyKind::Fuse);
    let number = state.strategies().count() + 1;
    Event::StrategyProposed { node: NodeId::strategy(number), strategy: strategy(kind, &format!("idea {number}")) }
}

fn experiment_event(state: &RunState, choice: u64) -> Option<Event> {
    let strategies: Vec<_> = state.strategies().map(|(id, ..)| id).collect();
    let parent = pick(strategies.iter(), choice)?;
    let node = parent.experiment(state.experiments(parent).count() + 1);
    let count = usize::try_from(choice >> 8).unwrap_or(0) % 3 + 1;
    let variants = (0..count).map(|index| variant(VariantId::new(&node, index).as_str(), 1e-4 + unit(choice) / 100.0));
    Some(Event::ExperimentProposed { title: "a batch".to_owned(), variants: variants.collect(), node })
}

fn misc_event(state: &RunState, choice: u64) -> Option<Event> {
    let phases = [Phase::Import, Phase::Baseline, Phase::Research, Phase::Search, Phase::Finalists];
    let split = if choice & 8 == 0 { "search" } else { "select" };
    match choice % 6 {
        0 => Some(base_scored(split, choice >> 60, unit(choice))),
        1 => phases.into_iter().find(|phase| state.phase.is_none_or(|now| *phase > now)).map(phase),
        2 => Some(Event::NoiseMeasured { of: "base".to_owned(), scores: vec![unit(choice); 2], sd: unit(!choice) }),
        3 => Some(Event::Warned { code: "test.warned".to_owned(), message: format!("warning {choice}") }),
        4 => Some(Event::RunResumed { times: state.resumed + 1 }),
        _ => Some(data_imported()),
    }
}

fn node_event(state: &RunState, choice: u64) -> Option<Event> {
    let node = pick(state.nodes.keys(), choice)?;
    let record = state.nodes.get(node)?;
    let winner = pick(record.variants.iter(), choice >> 8).cloned();
    match (choice >> 16) % 4 {
        0 => Some(decided(node.clone())),
        1 => {
            Some(Event::ExperimentFinished { node: node.clone(), value: winner.as_ref().map(|_| unit(choice)), winner })
        }
        2 => Some(order_event(state, node, choice)),
        _ => Some(Event::IncumbentCompared {
            candidate: winner?,
            incumbent: state.incumbent.clone(),
            comparison: comparison(unit(choice)),
            replaced: choice & (1 << 40) == 0,
        }),
    }
}

/// An order about a node; one that may not follow is left out by whoever asked.
fn order_event(state: &RunState, node: &NodeId, choice: u64) -> Event {
    let reason = (choice & 1 == 0).then(|| "we tried that".to_owned());
    let orders = [Order::Pin, Order::Unpin, Order::Forbid { reason }, Order::Allow];
    let order = pick(orders.iter(), choice >> 24).cloned().unwrap_or(Order::Pin);
    let node = node.as_str().parse().expect("nodes of a state are parts of a tree");
    let given = GivenOrder { number: state.last_order() + 1 + (choice & 2), node, order };
    Event::Ordered(OrderRecord { given, refused: (choice & 4 == 0).then(|| "too late".to_owned()) })
}

/// What may come next for a variant, so that long lists get deep into the table of states.
fn variant_event(state: &RunState, id: VariantId, choice: u64) -> Option<Event> {
    let record = state.variants.get(&id)?;
    let rung = record.rung;
    match record.state {
        NodeState::Proposed if choice.is_multiple_of(8) => Some(Event::VariantRejected {
            variant: id,
            code: "verify.test".to_owned(),
            reason: "not a good idea".to_owned(),
        }),
        NodeState::Proposed if choice % 8 == 1 => {
            let of = pick(state.variants.keys(), choice >> 3)?.clone();
            Some(Event::DuplicateAvoided { variant: id, of })
        }
        NodeState::Proposed => Some(verified(id)),
        NodeState::Verified | NodeState::Promoted if choice.is_multiple_of(8) => {
            Some(Event::VariantPruned { variant: id, reason: PruneReason::Budget })
        }
        NodeState::Verified | NodeState::Promoted => Some(Event::TrialStarted {
            variant: id,
            rung,
            seed: 0,
            attempt: 1,
            continues: None,
            reserved: trex_domain::Cost::default(),
        }),
        NodeState::Running => trial_event(state, id, rung, choice),
        NodeState::Evaluated if choice.is_multiple_of(4) => Some(trial_scored(id, rung, "select", unit(choice))),
        NodeState::Evaluated if rung < task().top_rung() => {
            Some(Event::VariantPromoted { variant: id, rung: rung + 1 })
        }
        NodeState::Evaluated => {
            Some(Event::VariantPruned { variant: id, reason: PruneReason::Halving { place: 2, of: 3 } })
        }
        // As older versions recorded it; changes nothing.
        NodeState::Failed => Some(Event::VariantPruned { variant: id, reason: PruneReason::Failed }),
        NodeState::Rejected | NodeState::Cached | NodeState::Pruned => None,
    }
}

fn trial_event(state: &RunState, id: VariantId, rung: usize, choice: u64) -> Option<Event> {
    let trial = state.trials.get(&(id.clone(), rung, 0))?;
    if trial.status != TrialStatus::Running {
        return Some(trial_scored(id, rung, "search", unit(choice)));
    }
    let (class, message) = (FailureClass::Crashed, "the worker was killed".to_owned());
    Some(match choice % 8 {
        0 => Event::TrialInterrupted { variant: id, rung, seed: 0, class, message },
        1 => Event::TrialStarted {
            variant: id,
            rung,
            seed: 0,
            attempt: trial.attempts + 1,
            continues: None,
            reserved: trex_domain::Cost::default(),
        },
        2 => Event::TrialFailed { variant: id, rung, seed: 0, class, message },
        _ => trial_trained(id, rung),
    })
}

fn phase(phase: Phase) -> Event {
    Event::PhaseStarted { phase }
}

fn base_scored(split: &str, seed: u64, value: f64) -> Event {
    Event::BaseScored { seed, score: score(split, value), cost: cost(0.25) }
}

fn decided(node: NodeId) -> Event {
    let numbers = CandidateNumbers { node: node.clone(), visits: 0, value: 0.5, prior: 0.4, rank: 0.9 };
    Event::Decided { node, because: "it was never tried".to_owned(), candidates: vec![numbers] }
}

fn verified(variant: VariantId) -> Event {
    Event::VariantVerified {
        data: hash("prepared"),
        ledger: ledger(200, 190),
        key: hash(variant.as_str()),
        memory_bytes: 300 << 20,
        warnings: Vec::new(),
        variant,
    }
}

fn trial_trained(variant: VariantId, rung: usize) -> Event {
    let done = train_done(&format!("{variant} {rung}"), 4 + 8 * rung);
    Event::TrialTrained { variant, rung, seed: 0, done }
}

fn trial_scored(variant: VariantId, rung: usize, split: &str, value: f64) -> Event {
    Event::TrialScored { variant, rung, seed: 0, score: score(split, value), reused: false, cost: cost(0.5) }
}

fn comparison(diff: f64) -> Comparison {
    let effect = Effect { diff, ci95: [diff - 0.04, diff + 0.04], n: 80 };
    Comparison { effect, seed_sd: 0.007, significant: diff > 0.04 }
}

fn data_imported() -> Event {
    Event::DataImported {
        pool: hash("pool"),
        search: hash("search"),
        select: hash("select"),
        final_: hash("final"),
        rows: [200, 60, 80, 100],
        seeded_prompts: false,
        profiles: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{START, run_id};

    #[test]
    fn the_finished_run_is_legal() {
        let state = RunState::from_events(&stored(run_id(1), START, finished_run())).unwrap();
        assert_eq!(state.incumbent, Some(variant_id("s1.e1.a")));
        assert_eq!((state.trials.len(), state.final_scores.len()), (3, 2));
    }

    #[test]
    fn decoded_lists_are_legal_and_reach_most_kinds() {
        let choices: Vec<u64> = (1..600_u64).map(|n| n.wrapping_mul(0xD134_2543_DE82_EF95).rotate_left(29)).collect();
        let events = legal_events(&choices);
        let kinds: BTreeSet<_> = events.iter().map(Event::kind).collect();
        assert!(kinds.len() >= 19 && kinds.contains("ordered"), "{kinds:?}");
        RunState::from_events(&stored(run_id(1), START, events)).unwrap();
    }
}
