//! A run that is killed anywhere, any number of times, comes to the result of a run that was not, and does nothing twice.
//!
//! Finding the worker of a process needs Linux' `/proc`; where that is missing, these tests say so and end.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, RngExt as _};
use serde_json::Value;
use trex_domain::seeded_rng;

use crate::life::{Life, is_alive};
use crate::outcome::Outcome;
use crate::program::{Program, TINY};
use crate::schema::check_schema;

/// Kills in all.
const KILLS: usize = 50;

/// Kills of one run.
const KILLS_OF_A_RUN: usize = 12;

/// Most lines that are read before the next kill.
const MOST_LINES: usize = 14;

/// Longest busy wait after the last line, in rounds of a loop; about a fifth of a second.
const MOST_ROUNDS: u32 = 4_000_000;

const RUN: [&str; 4] = ["run", "kill.toml", "--workspace", "w"];
const RESUME: [&str; 3] = ["resume", "--workspace", "w"];

/// Two experiments with a choice between them; trials longer than the ten steps between two checkpoints.
fn program() -> Program {
    let task = TINY
        .replace("max_steps = 6", "max_steps = 12")
        .replace("batch_size = 6", "batch_size = 3")
        .replace("trials = 6", "trials = 9")
        .replace("= 40", "= 30");
    let program = Program::new();
    program.write("kill.toml", task);
    program
}

fn has_proc() -> bool {
    let found = Path::new("/proc/self/stat").exists();
    if !found {
        println!("skipped: this system has no /proc");
    }
    found
}

/// What a kill hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Program,
    Worker,
    Both,
}

/// Draws moments and victims from a fixed seed and counts.
struct Killer {
    rng: Box<dyn Rng>,
    hits: [usize; 3],
}

impl Killer {
    fn new() -> Self {
        Self { rng: Box::new(seeded_rng(1, "e2e/kills")), hits: [0; 3] }
    }

    fn done(&self) -> usize {
        self.hits.iter().sum()
    }

    /// Lines to read, then rounds of a busy loop: kills must also fall between two lines.
    fn wait(&mut self, life: &mut Life) -> bool {
        for _ in 0..self.rng.random_range(1..=MOST_LINES) {
            if life.next_line().is_none() {
                return false;
            }
        }
        for round in 0..self.rng.random_range(0..MOST_ROUNDS) {
            std::hint::black_box(round);
            std::hint::spin_loop();
        }
        true
    }

    /// Kills until the process is gone; `None` where it ended by itself before.
    ///
    /// Of one process at most one worker is killed, and none of a trial that has lost two already: the third time a
    /// trial is given up, which is another test.
    fn disturb(&mut self, mut life: Life, deaths_of_trial: usize) -> Option<Victim> {
        let mut may_kill_worker = deaths_of_trial < 2;
        loop {
            if !self.wait(&mut life) {
                return None;
            }
            let victim = match self.rng.random_range(0..3) {
                0 if may_kill_worker => Victim::Worker,
                1 => Victim::Both,
                _ => Victim::Program,
            };
            let is_over = match victim {
                Victim::Worker => {
                    may_kill_worker = false;
                    self.hits[1] += usize::from(life.kill_worker());
                    continue;
                }
                Victim::Program => life.kill().success(),
                Victim::Both => life.kill_both().success(),
            };
            if is_over {
                return None;
            }
            self.hits[if victim == Victim::Program { 0 } else { 2 }] += 1;
            return Some(victim);
        }
    }
}

/// How often the workers of a trial that is under way have died, at most: several may be under way.
fn deaths_of_open_trials(events: &[Value]) -> usize {
    let name = |event: &Value| ["variant", "rung", "seed"].map(|key| event[key].to_string());
    let mut deaths = BTreeMap::new();
    for event in events {
        match event["type"].as_str() {
            Some("trial_interrupted") => *deaths.entry(name(event)).or_insert(0) += 1,
            Some("trial_trained" | "trial_failed") => _ = deaths.remove(&name(event)),
            _ => {}
        }
    }
    deaths.into_values().max().unwrap_or(0)
}

/// Kills a run over and over, resumes it each time, and lets it end.
fn run_with_kills(program: &Program, killer: &mut Killer, [run, resume]: [&[&str]; 2], limit: usize) {
    let mut next = run;
    let mut events: Vec<Value> = Vec::new();
    while killer.done() < limit {
        let life = Life::start(program, next);
        if killer.disturb(life, deaths_of_open_trials(&events)).is_none() {
            break;
        }
        let watched = program.run(&["watch", "--no-follow", "--json", "--workspace", "w"]);
        if watched.code != Some(0) {
            // Killed before the run was recorded: there is nothing to resume.
            let code = watched.lines()[0]["code"].clone();
            assert!(code == "run.none" || code == "store.not_a_workspace", "{watched:?}");
            assert!(events.is_empty(), "recorded events were lost");
            continue;
        }
        let recorded = watched.lines();
        let lost = events.iter().zip(&recorded).any(|(before, now)| before != now) || recorded.len() < events.len();
        assert!(!lost, "recorded events were lost or changed");
        events = recorded;
        next = resume;
    }
    program.succeed(resume);
}

#[test]
fn killed_runs_come_to_the_same_result() {
    if !has_proc() {
        return;
    }
    let undisturbed = program();
    undisturbed.succeed(&RUN);
    let expected = Outcome::of(&undisturbed, "w");
    let mut killer = Killer::new();
    let mut runs = 0;
    while killer.done() < KILLS {
        let program = program();
        let limit = (killer.done() + KILLS_OF_A_RUN).min(KILLS);
        run_with_kills(&program, &mut killer, [&RUN, &RESUME], limit);
        runs += 1;
        println!("run {runs}: {} kills (program, worker, both: {:?})", killer.done(), killer.hits);
        Outcome::of(&program, "w").assert_equals(&expected);
        check_left_overs(&program);
    }
    assert!(killer.hits.iter().all(|count| *count >= 3), "{:?}", killer.hits);
}

/// Nothing of an interrupted trial stays, and what is delivered is whole.
#[track_caller]
fn check_left_overs(program: &Program) {
    let scratch: Vec<_> = std::fs::read_dir(program.path("w/scratch")).unwrap().collect();
    assert!(scratch.is_empty(), "{scratch:?}");
    let report = program.json(&["report", "--workspace", "w"]);
    for path in report["files"].as_object().unwrap().values() {
        assert!(program.path("w").join(path.as_str().unwrap()).exists(), "{path}");
    }
}

/// The first lines of training: the worker is at work, and most steps are still to come.
fn is_training(line: &Value) -> bool {
    line["type"] == "progress" && line["phase"] == "train" && line["total"] == 12 && line["done"].as_u64() < Some(10)
}

#[test]
fn a_trial_outlives_two_dead_workers() {
    if !has_proc() {
        return;
    }
    let program = program();
    let mut life = Life::start(&program, &RUN);
    let mut killed = 0;
    while killed < 2 && life.read_until(is_training) {
        killed += usize::from(life.kill_worker());
    }
    life.read_to_end();
    let lines = std::mem::take(&mut life.read);
    assert!(life.end().success(), "the program goes on when a worker dies");
    assert_eq!(lines.last().unwrap()["type"], "report");
    let interrupted: Vec<_> = lines.iter().filter(|line| line["type"] == "trial_interrupted").collect();
    assert!((1..=2).contains(&interrupted.len()), "{interrupted:?}");
    assert!(interrupted.iter().all(|event| event["class"] == "crashed"), "{interrupted:?}");
    assert!(lines.iter().all(|line| line["type"] != "trial_failed" || line["class"] == "diverged"));

    let undisturbed = self::program();
    undisturbed.succeed(&RUN);
    Outcome::of(&program, "w").assert_equals(&Outcome::of(&undisturbed, "w"));
}

/// Ctrl-C ends a run in order, with an exit code of its own; it is no death of a worker, however often it is pressed.
#[test]
fn a_run_that_is_stopped_on_request_goes_on_later() {
    let program = program();
    let mut args = &RUN[..];
    for _ in 0..4 {
        let mut life = Life::start(&program, args);
        assert!(life.read_until(is_training));
        life.interrupt();
        life.read_to_end();
        let last = life.read.last().unwrap();
        assert_eq!((&last["type"], &last["code"]), (&"error".into(), &"run.stopped".into()), "{last}");
        assert!(last["hint"].as_str().unwrap().contains("trex resume"), "{last}");
        assert_eq!(life.end().code(), Some(6));
        args = &RESUME;
    }
    program.succeed(&RESUME);
    assert!(program.events("w").iter().all(|event| event["type"] != "trial_interrupted"));
    let undisturbed = self::program();
    undisturbed.succeed(&RUN);
    Outcome::of(&program, "w").assert_equals(&Outcome::of(&undisturbed, "w"));
}

#[test]
fn a_trial_whose_workers_always_die_is_given_up_and_the_run_goes_on() {
    if !has_proc() {
        return;
    }
    let task = TINY
        .replace("max_steps = 6", "max_steps = 30")
        .replace("batch_size = 6", "batch_size = 3")
        .replace("rungs = 2", "rungs = 1")
        .replace("finalist_seeds = 1", "finalist_seeds = 0")
        .replace("trials = 6", "trials = 2");
    let program = Program::new();
    program.write("kill.toml", task);
    let mut life = Life::start(&program, &RUN);
    let is_first = |line: &Value| {
        let is_first = line["what"] == "s1.e1.a rung 0 seed 0" && line["phase"] == "train";
        is_first && line["done"].as_u64() < line["total"].as_u64() || line["type"] == "trial_failed"
    };
    let mut killed = 0;
    while life.read_until(is_first) && life.read.last().unwrap()["type"] != "trial_failed" {
        killed += usize::from(life.kill_worker());
    }
    assert!(killed >= 3, "{killed}");
    assert!(life.end().success());
    let events = program.events("w");
    let failed: Vec<_> = events.iter().filter(|event| event["class"] == "crashed").collect();
    let kinds: Vec<_> = failed.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["trial_interrupted", "trial_interrupted", "trial_failed"]);
    assert!(failed.iter().all(|event| event["variant"] == "s1.e1.a"), "{failed:?}");
    let report = program.json(&["report", "--workspace", "w"]);
    assert_eq!(report["status"], "finished");
    assert!(report["trials"].as_u64() > Some(1));
    let refusal = program.refused(&["repro", "s1.e1.a", "--workspace", "w"], 3, "run.nothing_to_reproduce");
    assert!(refusal.hint.contains("trex tree"), "{refusal:?}");
}

/// `trex stop` from another terminal does what Ctrl-C does.
#[test]
fn a_run_is_stopped_from_another_terminal() {
    let program = program();
    let refusal = program.refused(&["stop", "--workspace", "w"], 3, "store.not_a_workspace");
    assert!(!refusal.hint.is_empty());
    let mut life = Life::start(&program, &RUN);
    assert!(life.read_until(is_training));
    let asked = program.json(&["stop", "--workspace", "w"]);
    assert_eq!(asked["type"], "stop_asked");
    life.read_to_end();
    let error = life.read.last().unwrap().clone();
    assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("error"), Some("run.stopped")), "{error}");
    assert_eq!(life.end().code(), Some(6));
    program.refused(&["stop", "--workspace", "w"], 3, "run.nobody_at_work");
    program.succeed(&["resume", "--workspace", "w"]);
}

/// What was running when the program died is nowhere called running any more.
#[track_caller]
fn check_interrupted(program: &Program) {
    let commands: [&[&str]; 5] = [&["status"], &["tree"], &["show", "s1.e1"], &["report"], &["report", "--html"]];
    for command in commands {
        let text = program.succeed(&[command, &["--workspace", "w"]].concat()).stdout;
        assert!(text.contains("interrupted") && !text.contains("running"), "{command:?}: {text}");
    }
    let report = program.json(&["report", "--workspace", "w"]);
    assert_eq!(report["status"], "interrupted");
    check_schema(&report);
}

/// While one program works on a run, others may look and not write; a worker whose program is killed ends by itself.
#[test]
fn one_program_writes_and_others_look() {
    if !has_proc() {
        return;
    }
    let program = program();
    let mut life = Life::start(&program, &RUN);
    assert!(life.read_until(is_training));
    let worker = life.worker();
    life.freeze();
    for command in [&RUN[..], &RESUME] {
        let refusal = program.refused(command, 4, "store.locked");
        assert!(refusal.message.contains("trex run"), "{refusal:?}");
    }
    let status = program.json(&["status", "--workspace", "w"]);
    assert_eq!((&status["status"], &status["phase"]), (&"running".into(), &"search".into()));
    assert!(program.succeed(&["status", "--workspace", "w"]).stdout.contains("running in phase search"));
    assert!(program.succeed(&["tree", "--workspace", "w"]).stdout.contains(" running "));
    assert_eq!(program.json(&["report", "--workspace", "w"])["status"], "running");
    let shown: Vec<_> = life.read.iter().filter(|line| line["seq"].is_u64()).cloned().collect();
    let recorded = program.events("w");
    assert_eq!(shown, recorded[..shown.len()]);
    assert!(!life.kill().success());
    while worker.is_some_and(is_alive) {
        std::thread::yield_now();
    }
    let status = program.json(&["status", "--workspace", "w"]);
    assert_eq!((&status["events"], &status["status"]), (&recorded.len().into(), &"interrupted".into()));
    check_interrupted(&program);
    let refusal = program.refused(&RUN, 3, "run.unfinished");
    assert!(refusal.hint.contains("trex resume"), "{refusal:?}");
}

/// Kills of a run with two workers.
const KILLS_OF_TWO: usize = 15;

/// With several workers the events of a trial that lost its worker come later than those of the others, so the reports are what
/// must be equal.
#[test]
fn two_workers_at_once_are_killed_and_come_to_the_result_of_one() {
    if !has_proc() {
        return;
    }
    let undisturbed = program();
    undisturbed.succeed(&RUN);
    let expected = Outcome::of(&undisturbed, "w");
    let with_two = |args: &[&'static str]| [args, &["--workers", "2", "--device", "cpu"]].concat();
    let (run, resume) = (with_two(&RUN), with_two(&RESUME));
    let mut killer = Killer::new();
    while killer.done() < KILLS_OF_TWO {
        let program = program();
        run_with_kills(&program, &mut killer, [&run, &resume], KILLS_OF_TWO);
        assert_eq!(Outcome::of(&program, "w").report, expected.report);
        check_left_overs(&program);
    }
}
