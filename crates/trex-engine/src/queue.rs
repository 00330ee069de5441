//! Several tasks that share one machine: which of them has it next, and when one gives way to another.
//!
//! Higher priorities go first and do not wait for lower ones to end. Among equal ones the machine goes to whoever has had it
//! for the shortest time, in turns, so a long task keeps no short one waiting (least attained service first: Nuyens and
//! Wierman, "The foreground–background queue: a survey", 2008). A run that gives way is stopped in order, as by `trex stop`,
//! and goes on later; nothing of it is lost. Decides only: it starts no process and reads no clock.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trex_domain::{Millis, RunId};

/// Times that a run is tried again after a trouble that may pass.
const MOST_ATTEMPTS: usize = 3;

/// Time until it is.
const AGAIN_AFTER_MS: i64 = 15_000;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// Waits for its turn.
    Waiting,
    /// Has the machine.
    Running,
    /// Kept from its turns by a person.
    Held,
    /// Its run has its verdict.
    Done,
    /// Its run ended with an error.
    Failed,
}

/// A task in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueEntry {
    /// Its number, which no other entry has had.
    pub id: u64,
    /// Task as `trex run` takes it; absent where an unfinished run is gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Workspace of its run.
    pub workspace: PathBuf,
    /// Further arguments of `trex run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Higher goes first.
    pub priority: i32,
    /// Where it stands.
    pub state: QueueState,
    /// Whether its run was begun, so that it is gone on with.
    pub begun: bool,
    /// The newest run of its workspace before its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_before: Option<RunId>,
    /// Milliseconds that it has had the machine for.
    pub served_ms: i64,
    /// Troubles in a row that may pass.
    #[serde(default)]
    pub attempts: usize,
    /// It is not tried before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Millis>,
    /// What was last said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a process of an entry ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueEnding {
    /// The run has its verdict.
    Done,
    /// It was stopped in order.
    Stopped {
        /// Whether the queue asked for it, and not a person.
        asked: bool,
    },
    /// Another program is at work on its run, which is no trouble of the run.
    Busy,
    /// Something was missing or failed that may come back.
    MayPass(String),
    /// Anything else.
    Failed(String),
}

/// The tasks in the order of the list, which decides where nothing else does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Number of the entry that was added last.
    #[serde(default)]
    pub last_id: u64,
    /// The entries.
    #[serde(default)]
    pub entries: Vec<QueueEntry>,
}

impl Queue {
    /// Adds a task at the end of the list.
    pub fn add(&mut self, task: Option<String>, workspace: PathBuf, arguments: Vec<String>, priority: i32) -> u64 {
        self.last_id += 1;
        let begun = task.is_none();
        self.entries.push(QueueEntry {
            id: self.last_id,
            task,
            workspace,
            arguments,
            priority,
            state: QueueState::Waiting,
            begun,
            run_before: None,
            served_ms: 0,
            attempts: 0,
            not_before: None,
            note: None,
        });
        self.last_id
    }

    /// The entry with a number.
    pub fn entry(&self, id: u64) -> Option<&QueueEntry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The same, to be changed.
    pub fn entry_mut(&mut self, id: u64) -> Option<&mut QueueEntry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// Puts an entry before another one, or at the end of the list; whether both are there.
    pub fn put_before(&mut self, id: u64, before: Option<u64>) -> bool {
        let place = |queue: &Self, id| queue.entries.iter().position(|entry| entry.id == id);
        let Some(from) = place(self, id) else { return false };
        if before.is_some_and(|before| place(self, before).is_none()) {
            return false;
        }
        let entry = self.entries.remove(from);
        let to = before.and_then(|before| place(self, before)).unwrap_or(self.entries.len());
        // Before itself: where it was.
        self.entries.insert(if before == Some(id) { from } else { to }, entry);
        true
    }

    /// Whoever has the machine next, where anyone may have it at this time.
    pub fn next(&self, now: Millis) -> Option<&QueueEntry> {
        let ready =
            |entry: &&QueueEntry| entry.state == QueueState::Waiting && entry.not_before.is_none_or(|time| time <= now);
        // `min_by_key` keeps the first of equal ones.
        self.entries.iter().filter(ready).min_by_key(|entry| (-i64::from(entry.priority), entry.served_ms))
    }

    /// Whether entries wait that may have their turn later.
    pub fn is_waited_in(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == QueueState::Waiting)
    }

    /// Whether the entry that has the machine has to give it up: because a person holds it or took it out, because something
    /// of higher priority waits, or because its turn of `slice_ms` is over and an equal one waits.
    pub fn gives_way(&self, running: u64, turn_ms: i64, slice_ms: i64, now: Millis) -> bool {
        let Some(entry) = self.entry(running) else { return true };
        if entry.state != QueueState::Running {
            return true;
        }
        self.next(now).is_some_and(|next| {
            next.priority > entry.priority || (next.priority == entry.priority && turn_ms >= slice_ms)
        })
    }

    /// An entry has the machine from now on; `newest` is the newest run of its workspace.
    pub fn begin(&mut self, id: u64, newest: Option<RunId>) {
        if let Some(entry) = self.entry_mut(id) {
            if !entry.begun {
                entry.run_before = newest;
            }
            entry.state = QueueState::Running;
            entry.not_before = None;
        }
    }

    /// An entry has had the machine for a time, and its process ended.
    pub fn end(&mut self, id: u64, turn_ms: i64, ending: QueueEnding, now: Millis) {
        // A person may have taken it out meanwhile.
        let Some(entry) = self.entry_mut(id) else { return };
        entry.served_ms += turn_ms;
        entry.begun |= ending != QueueEnding::Busy;
        let was_held = entry.state == QueueState::Held;
        let may_pass = matches!(ending, QueueEnding::MayPass(_));
        entry.attempts = if may_pass { entry.attempts + 1 } else { 0 };
        let (state, note) = match ending {
            QueueEnding::Done => (QueueState::Done, None),
            QueueEnding::Stopped { asked: true } if was_held => (QueueState::Held, None),
            QueueEnding::Stopped { asked: true } => (QueueState::Waiting, None),
            QueueEnding::Stopped { asked: false } => (QueueState::Held, Some("stopped by a person".to_owned())),
            QueueEnding::Busy => {
                entry.not_before = Some(Millis(now.0 + AGAIN_AFTER_MS));
                let note = "another program is at work on it".to_owned();
                (if was_held { QueueState::Held } else { QueueState::Waiting }, Some(note))
            }
            QueueEnding::MayPass(why) if entry.attempts < MOST_ATTEMPTS => {
                entry.not_before = Some(Millis(now.0 + AGAIN_AFTER_MS));
                (if was_held { QueueState::Held } else { QueueState::Waiting }, Some(why))
            }
            QueueEnding::MayPass(why) | QueueEnding::Failed(why) => (QueueState::Failed, Some(why)),
        };
        (entry.state, entry.note) = (state, note);
    }

    /// What was running when the program that works the queue off was killed waits again.
    pub fn recover(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.state == QueueState::Running) {
            (entry.state, entry.begun) = (QueueState::Waiting, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: i64 = 1_000;

    /// Entries 1, 2, … with these priorities.
    fn queue(priorities: &[i32]) -> Queue {
        let mut queue = Queue::default();
        for (at, priority) in priorities.iter().enumerate() {
            queue.add(Some("ftbench/mini-1".to_owned()), PathBuf::from(format!("w{at}")), Vec::new(), *priority);
        }
        queue
    }

    fn order(queue: &Queue) -> Vec<u64> {
        queue.entries.iter().map(|entry| entry.id).collect()
    }

    /// Who has the machine over time, where every task takes so many turns.
    fn worked_off(mut queue: Queue, turns: &[usize]) -> Vec<u64> {
        let mut left = turns.to_vec();
        let mut order = Vec::new();
        while let Some(id) = queue.next(Millis(0)).map(|entry| entry.id) {
            queue.begin(id, None);
            let at = usize::try_from(id - 1).unwrap();
            left[at] -= 1;
            let ending = if left[at] == 0 { QueueEnding::Done } else { QueueEnding::Stopped { asked: true } };
            queue.end(id, SLICE, ending, Millis(0));
            order.push(id);
        }
        order
    }

    #[test]
    fn equal_ones_take_turns_and_higher_ones_go_first() {
        assert_eq!(worked_off(queue(&[0, 0]), &[3, 1]), [1, 2, 1, 1]);
        assert_eq!(worked_off(queue(&[0, 0, 0]), &[2, 2, 2]), [1, 2, 3, 1, 2, 3]);
        assert_eq!(worked_off(queue(&[0, 5, -1]), &[2, 2, 1]), [2, 2, 1, 1, 3]);
    }

    #[test]
    fn a_run_gives_way_to_higher_priority_at_once_and_to_its_equals_after_its_turn() {
        for (priorities, turn_ms, expected) in [
            (&[0][..], 9_999, false),
            (&[0, 0][..], 999, false),
            (&[0, 0][..], 1_000, true),
            (&[0, 1][..], 0, true),
            (&[1, 0][..], 9_999, false),
        ] {
            let mut queue = queue(priorities);
            queue.begin(1, None);
            assert_eq!(queue.gives_way(1, turn_ms, SLICE, Millis(0)), expected, "{priorities:?} after {turn_ms}");
        }
        let mut held = queue(&[0]);
        held.begin(1, None);
        held.entry_mut(1).unwrap().state = QueueState::Held;
        assert!(held.gives_way(1, 0, SLICE, Millis(0)));
        assert!(Queue::default().gives_way(1, 0, SLICE, Millis(0)), "it was taken out");
    }

    #[test]
    fn endings_lead_where_they_should() {
        let after = |begun: QueueState, ending: QueueEnding| {
            let mut queue = queue(&[0]);
            queue.begin(1, None);
            queue.entry_mut(1).unwrap().state = begun;
            queue.end(1, 10, ending, Millis(0));
            queue.entries[0].state
        };
        let trouble = || "no memory".to_owned();
        for (begun, ending, expected) in [
            (QueueState::Running, QueueEnding::Done, QueueState::Done),
            (QueueState::Held, QueueEnding::Done, QueueState::Done),
            (QueueState::Running, QueueEnding::Stopped { asked: true }, QueueState::Waiting),
            (QueueState::Held, QueueEnding::Stopped { asked: true }, QueueState::Held),
            (QueueState::Running, QueueEnding::Stopped { asked: false }, QueueState::Held),
            (QueueState::Running, QueueEnding::MayPass(trouble()), QueueState::Waiting),
            (QueueState::Held, QueueEnding::MayPass(trouble()), QueueState::Held),
            (QueueState::Running, QueueEnding::Busy, QueueState::Waiting),
            (QueueState::Held, QueueEnding::Busy, QueueState::Held),
            (QueueState::Running, QueueEnding::Failed(trouble()), QueueState::Failed),
        ] {
            assert_eq!(after(begun, ending.clone()), expected, "{begun:?} {ending:?}");
        }
    }

    #[test]
    fn a_trouble_that_may_pass_is_waited_for_and_not_for_ever() {
        let mut queue = queue(&[0]);
        let mut now = 0;
        for attempt in 1..=MOST_ATTEMPTS {
            assert_eq!(queue.next(Millis(now)).map(|entry| entry.id), Some(1));
            queue.begin(1, None);
            queue.end(1, 10, QueueEnding::MayPass("busy".to_owned()), Millis(now));
            let waits = attempt < MOST_ATTEMPTS;
            assert_eq!(queue.is_waited_in(), waits);
            assert!(queue.next(Millis(now + AGAIN_AFTER_MS - 1)).is_none());
            now += AGAIN_AFTER_MS;
        }
        assert_eq!((queue.entries[0].state, queue.entries[0].note.as_deref()), (QueueState::Failed, Some("busy")));
    }

    #[test]
    fn the_list_is_put_in_another_order() {
        for (id, before, expected) in [
            (3, Some(1), [3, 1, 2]),
            (1, Some(3), [2, 1, 3]),
            (1, None, [2, 3, 1]),
            (2, Some(2), [1, 2, 3]),
            (2, Some(9), [1, 2, 3]),
            (9, Some(1), [1, 2, 3]),
        ] {
            let mut queue = queue(&[0, 0, 0]);
            assert_eq!(queue.put_before(id, before), id != 9 && before != Some(9));
            assert_eq!(order(&queue), expected, "{id} before {before:?}");
        }
    }

    #[test]
    fn what_ran_when_the_program_was_killed_is_gone_on_with() {
        let mut queue = queue(&[0, 0]);
        queue.begin(1, None);
        queue.recover();
        assert_eq!((queue.entries[0].state, queue.entries[0].begun), (QueueState::Waiting, true));
        assert!(!queue.entries[1].begun);
        assert_eq!(queue.add(None, PathBuf::from("w9"), Vec::new(), 0), 3, "numbers are not given twice");
        assert!(queue.entries[2].begun);
    }
}
