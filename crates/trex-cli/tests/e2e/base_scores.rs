//! The bundled model against chance: on most mini tasks it knows something, on none of them everything.
//!
//! `TREX_BASE_SPLIT=final cargo nextest run -p trex-cli --no-capture base_scores` prints the table of ARCHITECTURE.md.

use std::io::Write as _;
use std::process::Stdio;

use trex_domain::{ContentHash, EvalJob, Example, ItemScore, Job, Score, WorkerEvent};
use trex_eval::{aggregate, score_item, score_of};
use trex_ftbench::{MiniTask, Scoring, mini_tasks};

use crate::program::Program;

/// The seed of the data, of the order of options and of the intervals.
const SEED: u64 = 1;
/// On so many of the ten tasks at least the lower end of the base's interval lies above chance.
const MOST: usize = 6;
/// A base above it would leave too little to gain.
const HEAD_ROOM_BELOW: f64 = 0.95;

const SCORING: Scoring = Scoring { item: score_item, all: aggregate };

#[test]
fn the_bundled_model_is_above_chance_on_most_tasks_and_perfect_on_none() {
    let program = Program::new();
    let split = std::env::var("TREX_BASE_SPLIT").unwrap_or_else(|_| "search".to_owned());
    let mut num_above = 0;
    println!("| task | metric | base | 95 % interval | chance | above |\n|---|---|---:|---|---:|---|");
    for task in mini_tasks() {
        let data = task.generate(SEED);
        let items = match split.as_str() {
            "search" => data.search,
            "select" => data.select,
            "final" => data.final_,
            other => panic!("no split is named {other}"),
        };
        let chance = task.chance(&items, SCORING).score();
        let base = base_score(&program, task, &split, &items);
        let is_above = base.ci95[0] > chance;
        num_above += usize::from(is_above);
        let ([low, high], word) = (base.ci95, if is_above { "yes" } else { "no" });
        println!(
            "| {} {} | {} | {:.3} | [{low:.3}, {high:.3}] | {chance:.3} | {word} |",
            task.number(),
            task.title(),
            base.metric,
            base.value
        );
        assert!(base.value < HEAD_ROOM_BELOW, "{}: {}", task.name(), base.display());
    }
    assert!(num_above >= MOST, "above chance on {num_above} of ten");
}

/// Has a worker score the untouched model.
fn base_score(program: &Program, task: MiniTask, split: &str, items: &[Example]) -> Score {
    let spec = task.spec();
    let lines: Vec<String> = items.iter().map(|item| serde_json::to_string(item).unwrap()).collect();
    let models = program.json(&["model", "list"]);
    let job = Job::Eval(EvalJob {
        model_dir: models[0]["dir"].as_str().unwrap().into(),
        adapter: None,
        items: program.write("items.jsonl", lines.join("\n") + "\n"),
        take: usize::MAX,
        metric: spec.metric,
        mode: spec.eval_mode(),
        seed: SEED,
        blobs_dir: program.path("blobs"),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        backend: trex_domain::Backend::Auto,
        device: trex_domain::DeviceChoice::Auto,
        precision: trex_domain::Precision::F32,
        quantization: trex_domain::Quantization::None,
    });
    let scores = work(program, &job);
    assert_eq!(scores.len(), items.len());
    score_of(spec.metric, split, &scores, ContentHash::of_bytes(b""), SEED).unwrap()
}

fn work(program: &Program, job: &Job) -> Vec<ItemScore> {
    let mut command = program.command(&["worker"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", serde_json::to_string(job).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    // Its end would have told the worker to stop.
    drop(stdin);
    let text = String::from_utf8(output.stdout).unwrap();
    let last = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let WorkerEvent::Evaluated(done) = last else { panic!("{text}") };
    trex_fs::BlobStore::new(program.path("blobs")).get_lines(&done.items).unwrap()
}
