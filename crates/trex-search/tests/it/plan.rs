//! What a run has before it.

use trex_domain::{SearchSettings, TaskSpec};
use trex_search::{PlannedRun, plan_run};

use crate::fake;

#[track_caller]
fn check(change: impl FnOnce(&mut TaskSpec), seeded: bool, expected: PlannedRun) {
    let search =
        SearchSettings { eta: 3, rungs: 2, batch: 3, base_seeds: 4, finalist_seeds: 1, ..SearchSettings::default() };
    let mut task = fake::task(search);
    (task.train.max_steps, task.budget.trials) = (90, 6);
    change(&mut task);
    assert_eq!(plan_run(&task, [500, 60, 80, 100], seeded), expected);
}

#[test]
fn one_batch_and_the_repeats_are_counted() {
    // Three variants at 30 steps, one at 60 more, and twice 90 for the seeds.
    let expected = PlannedRun {
        trials: 6,
        trainings: 6,
        scorings: 5 + 4 + 1 + 2 + 3,
        steps: 3 * 30 + 60 + 2 * 90,
        items: 4 * 60 + 80 + 3 * 30 + 60 + 80 + 2 * 80 + 3 * 100,
    };
    check(|_| (), true, expected);
}

#[test]
fn an_unseeded_base_is_scored_once_and_no_seeds_are_repeated_where_none_are_asked_for() {
    let expected = PlannedRun {
        trials: 4,
        trainings: 4,
        scorings: 2 + 4 + 1 + 2,
        steps: 3 * 30 + 60,
        items: 60 + 80 + 3 * 30 + 60 + 80 + 2 * 100,
    };
    check(|task| (task.search.finalist_seeds, task.budget.trials) = (0, 4), false, expected);
}

#[test]
fn the_first_winner_is_repeated_once_and_the_finalist_on_every_seed() {
    // As above, with three repeats: one for the spread, two for the verdict.
    let expected = PlannedRun {
        trials: 7,
        trainings: 7,
        scorings: 5 + 4 + 1 + 3 + 4,
        steps: 3 * 30 + 60 + 3 * 90,
        items: 4 * 60 + 80 + 3 * 30 + 60 + 80 + 3 * 80 + 4 * 100,
    };
    check(|task| (task.search.finalist_seeds, task.budget.trials) = (2, 7), true, expected);
}

#[test]
fn a_budget_without_room_for_a_batch_trains_nothing() {
    let expected = PlannedRun { scorings: 2 + 1, items: 60 + 80 + 100, ..PlannedRun::default() };
    check(|task| task.budget.trials = 2, false, expected);
}
