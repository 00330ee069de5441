//! Orders about the tree from the outside: the box in which they lie until a run takes them, giving one, and what one does.
//!
//! The box is a folder of the workspace, `orders/RUN`, with one file for an order, numbered in the order in which they were
//! given. So a person can steer while the run holds the event log, and while no program works on the run: what lies there is
//! taken when it is resumed. What an order changes is said by the same function where it is given, foreseen and taken.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::Value;
use trex_domain::{
    DomainError, Event, GivenOrder, NodeId, Order, OrderDesk, OrderRecord, Problem, Recipe, RunId, RunState,
    TrainConfig, TreePart, Variant, VariantId, edited, variant_diff,
};
use trex_fs::FsError;
use trex_search::affordable_variants;

use crate::EngineError;
use crate::forecast::trainable_rows;

/// What of a variant a branch may change: roots of dotted names.
const CHANGEABLE: [&str; 2] = ["recipe", "config"];

/// The box of a workspace.
#[derive(Clone, Debug)]
pub struct OrderBox {
    folder: PathBuf,
}

impl OrderBox {
    /// The box of the workspace in this folder; nothing is made before an order is put there.
    pub fn of(workspace: &Path) -> Self {
        Self { folder: workspace.join("orders") }
    }

    /// Orders behind the one with this number. A file that cannot be read counts as absent. Whoever follows a run asks often,
    /// so only files whose names say that they are wanted are opened.
    pub fn lying(&self, run: RunId, after: u64) -> Vec<GivenOrder> {
        let Ok(entries) = std::fs::read_dir(self.of_run(run)) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter(|path| number_of(path).is_some_and(|number| number > after));
        let read = |path: PathBuf| serde_json::from_slice::<GivenOrder>(&trex_fs::read(&path).ok()?).ok();
        let mut orders: Vec<GivenOrder> = files.filter_map(read).filter(|order| order.number > after).collect();
        orders.sort_by_key(|order| order.number);
        orders
    }

    /// Puts an order behind all that lie there and all that the run has taken.
    fn put(&self, run: RunId, state: &RunState, node: TreePart, order: Order) -> Result<GivenOrder, EngineError> {
        let folder = self.of_run(run);
        trex_fs::create_dir_all(&folder)?;
        // Held until this returns, so that two who give orders at the same time do not take the same number.
        let _lock = lock(&folder.join(".lock"))?;
        let last = self.lying(run, 0).last().map_or(0, |order| order.number);
        let given = GivenOrder { number: last.max(state.last_order()) + 1, node, order };
        trex_fs::write_json(&folder.join(format!("{:06}.json", given.number)), &given)?;
        Ok(given)
    }

    fn of_run(&self, run: RunId) -> PathBuf {
        self.folder.join(run.to_string())
    }
}

/// The number in the name of an order's file.
fn number_of(path: &Path) -> Option<u64> {
    let is_order = path.extension().is_some_and(|extension| extension == "json");
    path.file_stem().filter(|_| is_order)?.to_str()?.parse().ok()
}

/// A lock of the operating system; closing the file gives it back.
fn lock(path: &Path) -> Result<File, FsError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|err| FsError::io("open", path, err))?;
    file.lock().map_err(|err| FsError::io("lock", path, err))?;
    Ok(file)
}

impl OrderDesk for OrderBox {
    fn orders(&self, run: RunId, after: u64) -> Result<Vec<GivenOrder>, Box<dyn Problem + Send + Sync>> {
        Ok(self.lying(run, after))
    }
}

/// Checks an order against the run and what lies in the box, and puts it there, where the run finds it.
pub fn give_order(
    state: &RunState,
    run: RunId,
    desk: &OrderBox,
    node: TreePart,
    order: Order,
) -> Result<GivenOrder, EngineError> {
    let order = trimmed(order);
    let after = foreseen(state, run, desk);
    // What the run would refuse is refused here, where the person can still mend it.
    what_follows(&after, &node, &order)?;
    desk.put(run, state, node, order)
}

/// Blank reasons are none.
fn trimmed(order: Order) -> Order {
    let told = |reason: Option<String>| {
        reason.map(|reason| reason.trim().to_owned()).filter(|reason: &String| !reason.is_empty())
    };
    match order {
        Order::Forbid { reason } => Order::Forbid { reason: told(reason) },
        Order::Branch { changes, reason } => Order::Branch { changes, reason: told(reason) },
        other => other,
    }
}

/// The state as it will be once the run has taken what lies in the box, for whoever looks at it before that.
pub fn foreseen(state: &RunState, run: RunId, desk: &OrderBox) -> RunState {
    let mut state = state.clone();
    if state.verdict.is_some() {
        return state;
    }
    for given in desk.lying(run, state.last_order()) {
        for event in order_events(&state, given) {
            // `order_events` gives what may follow only.
            state.apply(&event).ok();
        }
    }
    state
}

/// What is recorded when a run takes an order; where it cannot be carried out any more, that and why.
pub(crate) fn order_events(state: &RunState, given: GivenOrder) -> Vec<Event> {
    let following = what_follows(state, &given.node, &given.order);
    let refused = following.as_ref().err().map(ToString::to_string);
    let record = Event::Ordered(OrderRecord { given, refused });
    std::iter::once(record).chain(following.unwrap_or_default()).collect()
}

/// What an order makes beside its record: the experiment of a branch.
fn what_follows(state: &RunState, node: &TreePart, order: &Order) -> Result<Vec<Event>, EngineError> {
    state.check_order(node, order)?;
    let Order::Branch { changes, reason } = order else { return Ok(Vec::new()) };
    let variant = branched(state, node, changes, reason.as_deref())?;
    if affordable_variants(state) == 0 {
        return Err(EngineError::NoTrialLeft { node: node.clone() });
    }
    let experiment = variant.id.node();
    let because = format!("a person branched it from {node}");
    Ok(vec![
        Event::ExperimentProposed {
            node: experiment.clone(),
            title: format!("by hand, from {node}"),
            variants: vec![variant],
        },
        Event::Decided { node: experiment, because, candidates: Vec::new() },
    ])
}

fn branched(
    state: &RunState,
    node: &TreePart,
    changes: &BTreeMap<String, Value>,
    reason: Option<&str>,
) -> Result<Variant, EngineError> {
    let start = branch_start(state, node)?;
    let strategy = node.strategy();
    let experiment = strategy.experiment(state.experiments(&strategy).count() + 1);
    let draft = Variant {
        id: VariantId::new(&experiment, 0),
        parent: start.parent,
        diff: BTreeMap::new(),
        why: reason.map_or_else(|| "made by hand".to_owned(), |reason| format!("made by hand: {reason}")),
        recipe: start.recipe,
        config: start.config,
    };
    let mut variant = edited(&draft, changes, &CHANGEABLE)?;
    if (&variant.recipe, &variant.config) == (&draft.recipe, &draft.config) {
        let name = changes.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(DomainError::BadEdit { name, why: "that is what it is already".to_owned() }.into());
    }
    variant.config.validate()?;
    let parent = draft.parent.as_ref().and_then(|id| state.variants.get(id));
    let (no_steps, task) = (Recipe::default(), &state.task()?.train);
    let from = parent.map_or((&no_steps, task), |record| (&record.variant.recipe, &record.variant.config));
    variant.diff = variant_diff(from, (&variant.recipe, &variant.config))?;
    Ok(variant)
}

/// What a branch changes.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchStart {
    /// The variant; the task's starting point where absent.
    pub parent: Option<VariantId>,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its training configuration.
    pub config: TrainConfig,
}

/// What a branch of a part of the tree starts from: the variant itself, the winner of an experiment or else its first variant,
/// the best winner of a strategy, else the best of the run, else the task's starting point on rows that can be trained on.
pub fn branch_start(state: &RunState, node: &TreePart) -> Result<BranchStart, EngineError> {
    let variant = node.variant().or_else(|| first_choice(state, &node.node()?)).or_else(|| state.incumbent.clone());
    let record = variant.as_ref().and_then(|id| state.variants.get(id));
    Ok(match record {
        Some(record) => BranchStart {
            parent: variant,
            recipe: record.variant.recipe.clone(),
            config: record.variant.config.clone(),
        },
        None => {
            BranchStart { parent: None, recipe: trainable_rows(state.task()?), config: state.task()?.train.clone() }
        }
    })
}

fn first_choice(state: &RunState, node: &NodeId) -> Option<VariantId> {
    let record = state.nodes.get(node)?;
    if record.strategy.is_none() {
        return record.winner.clone().or_else(|| record.variants.first().cloned());
    }
    let winners = state.experiments(node).filter_map(|(_, experiment)| experiment.winner.as_ref());
    let scored = winners.filter_map(|id| Some((id, state.select_score(Some(id))?.merit())));
    scored.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trex_testkit::{TempWorkspace, finished_run, run_id};

    use super::*;

    /// A search under way with one finished experiment, its winner first.
    fn searching() -> RunState {
        let mut state = RunState::default();
        let is_later = |event: &Event| matches!(event, Event::SearchStopped { .. });
        for event in finished_run().into_iter().take_while(|event| !is_later(event)) {
            state.apply(&event).unwrap();
        }
        state
    }

    fn branch(changes: Value) -> Order {
        let changes = serde_json::from_value(changes).unwrap();
        Order::Branch { changes, reason: Some(" more room ".to_owned()) }
    }

    fn part(name: &str) -> TreePart {
        name.parse().unwrap()
    }

    #[test]
    fn orders_are_checked_numbered_and_foreseen() {
        let folder = TempWorkspace::empty();
        let (state, run, desk) = (searching(), run_id(1), OrderBox::of(folder.path()));
        let give = |node: &str, order| give_order(&state, run, &desk, part(node), order);
        let code = |node: &str, order| give(node, order).unwrap_err().code();
        let forbid = || Order::Forbid { reason: Some("  ".to_owned()) };
        assert_eq!(code("s7", Order::Pin), "order.unknown_node");
        assert_eq!(code("s1", Order::Unpin), "order.not_pinned");
        assert_eq!(code("s1", Order::Allow), "order.not_forbidden");
        assert!(desk.lying(run, 0).is_empty(), "what is refused is not put down");
        assert_eq!(give("s1.e1.a", Order::Pin).unwrap().number, 1);
        let forbidden = give("s1", forbid()).unwrap();
        assert_eq!((forbidden.number, forbidden.order), (2, Order::Forbid { reason: None }));
        assert_eq!(code("s1.e1", Order::Pin), "order.forbidden");
        assert_eq!(code("s1.e1", Order::Allow), "order.not_forbidden");
        let seen = foreseen(&state, run, &desk);
        assert!(seen.pinned.is_empty(), "what is forbidden goes first no more");
        assert_eq!(seen.forbidden_by("s1.e1.a"), Some((&part("s1"), "no reason was given")));
        assert_eq!((state.last_order(), seen.last_order()), (0, 2));
        give("s1", Order::Allow).unwrap();
        assert_eq!(foreseen(&state, run, &desk).forbidden_by("s1"), None);
        assert_eq!(desk.lying(run, 1).iter().map(|order| order.number).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_branch_is_a_variant_with_its_difference_below_the_same_strategy() {
        let folder = TempWorkspace::empty();
        let (state, run, desk) = (searching(), run_id(1), OrderBox::of(folder.path()));
        for node in ["s1", "s1.e1", "s1.e1.a"] {
            let events = what_follows(&state, &part(node), &branch(json!({ "config.lora.r": 16 }))).unwrap();
            let [Event::ExperimentProposed { node: experiment, variants, .. }, Event::Decided { .. }] = &events[..]
            else {
                panic!("{events:?}")
            };
            assert_eq!((experiment.as_str(), variants[0].id.as_str()), ("s1.e2", "s1.e2.a"));
            assert_eq!(variants[0].parent.as_ref().map(VariantId::as_str), Some("s1.e1.a"), "{node}");
            assert_eq!(variants[0].diff, BTreeMap::from([("lora.r".to_owned(), ("8".to_owned(), "16".to_owned()))]));
        }
        let give = |changes| give_order(&state, run, &desk, part("s1.e1.b"), branch(changes));
        for (changes, code) in [
            (json!({ "config.lora.rank": 16 }), "review.bad_edit"),
            (json!({ "id": "s9.e1.a" }), "review.bad_edit"),
            (json!({ "config.lora.r": 8 }), "review.bad_edit"),
            (json!({ "config.learning_rate": 7.0 }), "config.out_of_range"),
        ] {
            assert_eq!(give(changes.clone()).unwrap_err().code(), code, "{changes}");
        }
        give(json!({ "config.lora.r": 16 })).unwrap();
        give(json!({ "config.lora.r": 32 })).unwrap();
        let seen = foreseen(&state, run, &desk);
        let variant = |name: &str| &seen.variants[&name.parse::<VariantId>().unwrap()].variant;
        assert_eq!((variant("s1.e2.a").config.lora.r, variant("s1.e3.a").config.lora.r), (16, 32));
        assert_eq!(variant("s1.e2.a").why, "made by hand: more room");
    }

    #[test]
    fn a_branch_needs_a_trial_and_a_search_that_goes_on() {
        let mut state = searching();
        state.task.as_mut().unwrap().budget.trials = state.trials.len() + 1;
        let order = branch(json!({ "config.lora.r": 16 }));
        let code = |state: &RunState| what_follows(state, &part("s1"), &order).unwrap_err().code();
        assert_eq!(code(&state), "order.no_trial_left");
        let given = GivenOrder { number: 1, node: part("s1"), order: order.clone() };
        let events = order_events(&state, given);
        assert!(matches!(&events[..], [Event::Ordered(OrderRecord { refused: Some(_), .. })]), "{events:?}");
        state.apply(&events[0]).unwrap();
        assert_eq!(state.last_order(), 1, "an order that was refused is not taken up again");
        state.apply(&Event::SearchStopped { reason: trex_domain::StopReason::Exhausted }).unwrap();
        assert_eq!(code(&state), "order.search_over");
    }
}
