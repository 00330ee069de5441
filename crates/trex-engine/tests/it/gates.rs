//! Gates: what waits for a person, what a decision changes, time-outs, and that nothing waits by default.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use trex_domain::{
    DecidedBy, Event, GatePolicy, GateStage, NodeState, Problem, ReviewDecision, ReviewDesk, ReviewSubject,
    ReviewVerdict, RunId, RunState, StrategyKind, TimeoutChoice, Verdict, WorkerEvent,
};
use trex_engine::{EngineError, Observer, ReviewBox, ReviewStatus, review_entries};
use trex_testkit::run_id;

use crate::fakes::Surface;
use crate::researcher::{FakeResearcher, plan, rates};
use crate::world::World;

/// Answers every question as its table says, by the kind of the subject; what is not in it stays open.
#[derive(Debug, Default)]
struct FakeDesk {
    asked: Mutex<usize>,
    answers: Mutex<Vec<ReviewDecision>>,
}

impl ReviewDesk for FakeDesk {
    fn decisions(&self, _: RunId) -> Result<Vec<ReviewDecision>, Box<dyn Problem + Send + Sync>> {
        Ok(self.answers.lock().unwrap().clone())
    }

    fn pause(&self) {
        *self.asked.lock().unwrap() += 1;
    }
}

fn decision(number: usize, verdict: ReviewVerdict) -> ReviewDecision {
    let reason = Some("because I say so".to_owned());
    ReviewDecision { id: trex_domain::ReviewId::new(number), verdict, reason, by: DecidedBy::Person, person_min: 2.0 }
}

fn only(stage: GateStage) -> GatePolicy {
    let autonomy = GateStage::ALL.map(|one| (one, if one == stage { 0 } else { 100 }));
    GatePolicy { autonomy: autonomy.into(), ..GatePolicy::default() }
}

fn world(policy: GatePolicy, answers: Vec<ReviewDecision>) -> World {
    let mut world = World::new(Surface::Effect(0.4));
    world.researcher = FakeResearcher(vec![
        plan(StrategyKind::AdjustTraining, 0.9, vec![rates(&[8e-4, 2e-4])]),
        plan(StrategyKind::Baseline, 0.2, vec![rates(&[1e-3])]),
    ]);
    world.settings.gates = Some(policy);
    world.settings.desk = Some(Arc::new(FakeDesk { answers: Mutex::new(answers), ..FakeDesk::default() }));
    world
}

fn waits(result: &Result<RunState, EngineError>) -> bool {
    matches!(result, Err(EngineError::ReviewWaits { .. }))
}

#[test]
fn nothing_waits_by_default() {
    let mut world = World::new(Surface::Effect(0.4));
    let state = world.start().unwrap();
    assert!(state.gates.is_none() && state.reviews.is_empty());
    assert!(!world.events().iter().any(|event| event.kind().starts_with("review")));
}

#[test]
fn a_rejected_strategy_is_not_searched_and_the_reason_is_kept() {
    let answers = vec![decision(1, ReviewVerdict::Reject), decision(2, ReviewVerdict::Approve)];
    let mut world = world(only(GateStage::Strategy), answers);
    let state = world.start().unwrap();
    assert_eq!(state.verdict, Some(Verdict::Gain), "the other strategy is searched");
    assert!(state.nodes.values().all(|node| node.parent.as_str() != "s1"), "{:?}", state.node_order);
    let reasons: Vec<_> = state.rejections().map(|(request, reason)| (request.subject.clone(), reason)).collect();
    let subject = ReviewSubject::Strategy { node: trex_domain::NodeId::strategy(1) };
    assert_eq!(reasons, [(subject, "because I say so")]);
    assert!((state.cost.person_min - 4.0).abs() < 1e-9);
}

#[test]
fn an_edited_variant_trains_with_the_new_values_and_a_rejected_one_never() {
    let changes = BTreeMap::from([("config.learning_rate".to_owned(), 9e-4.into())]);
    let answers = vec![
        decision(1, ReviewVerdict::Edit { changes }),
        decision(2, ReviewVerdict::Reject),
        decision(3, ReviewVerdict::Approve),
    ];
    let mut world = world(only(GateStage::Training), answers);
    let state = world.start().unwrap();
    let variant = |name: &str| &state.variants[&trex_testkit::variant_id(name)];
    assert_eq!(variant("s1.e1.a").variant.diff["learning_rate"].1, "0.0009");
    assert_eq!(variant("s1.e1.b").state, NodeState::Rejected);
    assert!(variant("s1.e1.b").note.as_ref().unwrap().contains("because I say so"));
    assert!(world.trainings().keys().all(|name| !name.starts_with("s1.e1.b")), "{:?}", world.trainings());
}

#[test]
fn a_decision_that_cannot_be_taken_is_named_once_and_waited_over() {
    let changes = BTreeMap::from([("config.learning_rate".to_owned(), 7.into())]);
    let policy = GatePolicy { wait_min: Some(1.0), ..only(GateStage::Training) };
    let mut world = world(policy, vec![decision(1, ReviewVerdict::Edit { changes })]);
    assert!(waits(&world.start()));
    let notes = world
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Warned { code, .. } if code == "review.unusable"));
    assert_eq!(notes.count(), 1);
}

#[test]
fn a_time_out_decides_as_was_chosen() {
    for (then, rejected) in [(TimeoutChoice::Approve, false), (TimeoutChoice::Reject, true)] {
        let mut world = world(GatePolicy { wait_min: Some(1.0), then, ..only(GateStage::Strategy) }, Vec::new());
        let state = world.start().unwrap();
        assert!(state.reviews.iter().all(|review| review.is_rejected() == rejected), "{:?}", state.reviews);
        assert!(state.reviews.iter().all(|review| review.decision.as_ref().unwrap().by == DecidedBy::Timeout));
        assert!(state.cost.person_min.abs() < 1e-12);
    }
    let mut stopping = world(GatePolicy { wait_min: Some(1.0), ..only(GateStage::Strategy) }, Vec::new());
    assert!(waits(&stopping.start()));
    assert!(waits(&stopping.resume()), "nobody has decided meanwhile");
    let answers = vec![decision(1, ReviewVerdict::Approve), decision(2, ReviewVerdict::Approve)];
    stopping.settings.desk = Some(Arc::new(FakeDesk { answers: Mutex::new(answers), ..FakeDesk::default() }));
    assert_eq!(stopping.resume().unwrap().verdict, Some(Verdict::Gain), "what was decided meanwhile is taken");
}

#[test]
fn the_task_and_the_sealed_split_wait_by_default_and_a_no_can_be_taken_back() {
    let mut world = world(only(GateStage::Evaluation), vec![decision(1, ReviewVerdict::Reject)]);
    let err = world.start().unwrap_err();
    assert_eq!(err.code(), "review.rejected");
    assert!(world.events().iter().all(|event| !matches!(event, Event::FinalOpened { .. })));
    assert_eq!(world.resume().unwrap_err().code(), "review.rejected");
    let answers = vec![decision(1, ReviewVerdict::Approve)];
    world.settings.desk = Some(Arc::new(FakeDesk { answers: Mutex::new(answers), ..FakeDesk::default() }));
    assert_eq!(world.resume().unwrap().final_opened, 1);
    let mut held = self::world(GatePolicy { wait_min: Some(1.0), ..GatePolicy::default() }, Vec::new());
    assert!(waits(&held.start()));
    let entries = review_entries(&world_state(&held), run_id(1), &ReviewBox::of(held.workspace.path()));
    assert_eq!((entries.len(), entries[0].request.stage), (1, GateStage::Requirement));
    assert_eq!(entries[0].status, ReviewStatus::Waiting);
}

fn world_state(world: &World) -> RunState {
    let mut state = RunState::default();
    for event in world.events() {
        state.apply(&event).unwrap();
    }
    state
}

/// Asks to stop at the first look while something waits.
struct Impatient;

impl Observer for Impatient {
    fn recorded(&mut self, _: &trex_domain::StoredEvent, _: &RunState) {}

    fn progress(&mut self, what: &str, _: &WorkerEvent, _: &RunState) -> bool {
        !what.starts_with("review")
    }
}

#[test]
fn waiting_can_be_stopped() {
    let mut world = world(only(GateStage::Strategy), Vec::new());
    let err = world.start_watched_by(&mut Impatient).unwrap_err();
    assert!(matches!(err, EngineError::Stopped), "{err}");
}
