//! Orders about the tree, given while a run is at work and while it lies still: what they change, and that a killed run keeps
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use trex_domain::{Event, NodeState, Order, RunState, SplitSizes, StoredEvent, WorkerEvent};
use trex_engine::{Observer, OrderBox, give_order};
use trex_testkit::{Dies, run_id, variant_id};

use crate::fakes::Surface;
use crate::world::{World, settled};

fn world() -> World {
    let mut world = World::new(Surface::Effect(0.5));
    for plan in &mut world.researcher.0 {
        plan.batches.truncate(1);
    }
    world.task.splits = SplitSizes { search: 30, select: 30, final_: 30 };
    world.settings.orders = Some(Arc::new(OrderBox::of(world.workspace.path())));
    world
}

fn forbid(reason: &str) -> Order {
    Order::Forbid { reason: Some(reason.to_owned()) }
}

fn branch(changes: Value) -> Order {
    Order::Branch { changes: serde_json::from_value(changes).unwrap(), reason: None }
}

fn state_of(world: &World) -> RunState {
    let mut state = RunState::default();
    for event in world.events() {
        state.apply(&event).unwrap();
    }
    state
}

/// Kills the run when its first batch, `s1.e1`, was proposed, and leaves the orders there.
fn interrupted_with(world: &mut World, orders: &[(&str, Order)]) {
    trex_fs::remove_dir_all(&world.workspace.path().join("orders")).unwrap();
    for append in 0.. {
        world.begin_anew();
        world.log.die_at(append, Dies::AfterStoring);
        world.start().unwrap_err();
        if world.events().iter().any(|event| event.kind() == "experiment_proposed") {
            break;
        }
    }
    let (state, desk) = (state_of(world), OrderBox::of(world.workspace.path()));
    for (node, order) in orders {
        give_order(&state, run_id(1), &desk, node.parse().unwrap(), order.clone()).unwrap();
    }
}

/// Experiments in the order in which they were proposed, with why.
fn experiments(state: &RunState) -> Vec<(&str, &str)> {
    let decided = |id: &trex_domain::NodeId| state.nodes[id].decision.as_ref().map(|(because, _)| because.as_str());
    state.node_order.iter().filter_map(|id| Some((id.as_str(), decided(id)?))).collect()
}

#[test]
fn what_is_pinned_goes_first_and_what_is_forbidden_is_left_alone() {
    let mut world = world();
    interrupted_with(&mut world, &[("s3", Order::Pin), ("s2", forbid("we tried that"))]);
    let state = world.resume().unwrap();
    let tried = experiments(&state);
    assert_eq!((tried[0].0, tried[1].0), ("s1.e1", "s3.e1"), "{tried:?}");
    assert!(tried[1].1.ends_with("a person pinned it"), "{tried:?}");
    assert!(tried.iter().all(|(node, _)| !node.starts_with("s2.")), "{tried:?}");
    assert_eq!(state.forbidden_by("s2").map(|(_, reason)| reason), Some("we tried that"));
    assert_eq!(state.orders.len(), 2);
    assert!(world.trainings().keys().all(|name| !name.starts_with("s2.")));
}

#[test]
fn a_forbidden_batch_is_not_trained_and_what_is_allowed_again_is() {
    let mut world = world();
    interrupted_with(&mut world, &[("s1.e1", forbid("no"))]);
    let state = world.resume().unwrap();
    assert!(world.trainings().keys().all(|name| !name.starts_with("s1.e1.")), "{:?}", world.trainings());
    let rejected = &state.variants[&variant_id("s1.e1.a")];
    assert_eq!(rejected.state, NodeState::Rejected);
    assert_eq!(rejected.note.as_deref(), Some("a person forbade s1.e1: no"));
    interrupted_with(&mut world, &[("s1.e1", forbid("no")), ("s1.e1", Order::Allow)]);
    world.resume().unwrap();
    assert!(world.trainings().keys().any(|name| name.starts_with("s1.e1.")));
}

#[test]
fn a_branch_is_trained_next_and_checked_like_any_proposal() {
    let mut world = world();
    let unsafe_recipe = json!({ "recipe.operators": [{ "op": "exact_dedup" }] });
    let orders = [("s1.e1.a", branch(json!({ "config.learning_rate": 1.2e-3 }))), ("s1.e1.a", branch(unsafe_recipe))];
    interrupted_with(&mut world, &orders);
    let state = world.resume().unwrap();
    let tried: Vec<_> = experiments(&state).into_iter().map(|(node, _)| node).collect();
    assert_eq!(tried[..3], ["s1.e1", "s1.e2", "s1.e3"]);
    let made = &state.variants[&variant_id("s1.e2.a")];
    assert_eq!(made.variant.parent, Some(variant_id("s1.e1.a")));
    assert_eq!(made.variant.diff, BTreeMap::from([("learning_rate".into(), ("0.0003".into(), "0.0012".into()))]));
    assert!(world.trainings().contains_key("s1.e2.a-r0-s0"));
    assert_eq!(state.variants[&variant_id("s1.e3.a")].state, NodeState::Rejected, "it leaves leaked rows in");
}

/// Forbids a strategy as soon as the first batch is proposed.
struct Steering(OrderBox);

impl Observer for Steering {
    fn recorded(&mut self, event: &StoredEvent, state: &RunState) {
        if matches!(&event.event, Event::ExperimentProposed { node, .. } if node.as_str() == "s1.e1") {
            give_order(state, run_id(1), &self.0, "s2".parse().unwrap(), forbid("not now")).unwrap();
        }
    }

    fn progress(&mut self, _: &str, _: &WorkerEvent, _: &RunState) -> bool {
        true
    }
}

#[test]
fn a_run_at_work_takes_an_order_before_its_next_step() {
    let mut world = world();
    let mut steering = Steering(OrderBox::of(world.workspace.path()));
    let state = world.start_watched_by(&mut steering).unwrap();
    assert!(experiments(&state).iter().all(|(node, _)| !node.starts_with("s2.")));
    let kinds: Vec<_> = world.events().iter().map(Event::kind).collect();
    let at = |kind: &str| kinds.iter().position(|one| *one == kind).unwrap();
    assert!(at("ordered") < at("variant_verified"), "{kinds:?}");
}

#[test]
fn a_killed_run_keeps_its_orders_and_takes_none_twice() {
    let mut world = world();
    let orders =
        [("s3", Order::Pin), ("s2", forbid("no")), ("s1.e1.a", branch(json!({ "config.learning_rate": 1.2e-3 })))];
    interrupted_with(&mut world, &orders);
    let before = world.log.num_appends();
    let expected = settled(&world.resume().unwrap());
    let appends = world.log.num_appends() - before;
    assert!(appends > 30, "{appends}");
    for (append, dies) in (0..appends).step_by(2).zip([Dies::BeforeStoring, Dies::AfterStoring].into_iter().cycle()) {
        interrupted_with(&mut world, &orders);
        world.log.die_at(append, dies);
        world.resume().unwrap_err();
        assert_eq!(settled(&world.resume().unwrap()), expected, "killed at append {append}");
    }
}
