//! Benchmarks that drive the optimised `trex` from outside and write target/bench: one JSON file each, one page of all.
//!
//! They are no tests: they take minutes, and their times belong to the machine that is named beside them.

mod data;
mod eval;
mod kb;
mod kill;
mod machine;
mod page;
mod sst2;
mod train;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::app;
use crate::command::run;
use crate::demo;
use crate::outcome::{Outcome, read_report};
use crate::project::Project;
use crate::steps::Steps;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Benchmark {
    /// The demo: wall time and where it went
    Demo {
        /// Seed of the run
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Optimiser steps of the small real model beside PyTorch and PEFT
    Train {
        /// Rounds; every contender runs once in each
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Optimiser steps of a run
        #[arg(long, default_value_t = 5)]
        steps: usize,
        /// Python interpreter that has torch, transformers, peft and gguf
        #[arg(long)]
        python: Option<PathBuf>,
        /// Folder with the peer's script
        #[arg(long, default_value = "../shared/bench")]
        peers: PathBuf,
    },
    /// Scoring and generation of the small real model beside llama.cpp
    Eval {
        /// Rounds; every contender runs once in each
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Python interpreter that has xllamacpp and gguf
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Fine-tuning on real SST-2 rows beside PyTorch and PEFT
    Sst2 {
        /// Rounds; every contender runs once in each, with a seed of its own
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Optimiser steps of a run
        #[arg(long, default_value_t = 60)]
        steps: usize,
        /// Items of the dev file that are scored before and after
        #[arg(long, default_value_t = 300)]
        items: usize,
        /// Python interpreter that has torch, transformers, peft, trl, datasets and gguf
        #[arg(long)]
        python: Option<PathBuf>,
        /// Folder with the script of the plain loop
        #[arg(long, default_value = "../shared/bench")]
        peers: PathBuf,
        /// Folder with train.tsv and dev.tsv
        #[arg(long, default_value = "../shared/ftbench/sst2")]
        data: PathBuf,
    },
    /// Import, profile and near-duplicate removal beside polars, datasets and datasketch where these are installed
    Data {
        /// Megabytes of the generated file
        #[arg(long, default_value_t = 2000)]
        megabytes: u64,
        /// Short documents for near-duplicate removal
        #[arg(long, default_value_t = 1_000_000)]
        documents: u64,
        /// Short documents for the slower peers
        #[arg(long, default_value_t = 100_000)]
        peer_documents: u64,
    },
    /// The window: start, memory, frames, rest, the way of an event to the screen, size
    App,
    /// Hybrid search of the knowledge base over made-up passages
    Kb {
        /// Passages
        #[arg(long, default_value_t = 100_000)]
        passages: usize,
        /// Questions
        #[arg(long, default_value_t = 500)]
        questions: usize,
    },
    /// Kills the demo at random moments, resumes it, and compares the result with an undisturbed run
    Kill {
        /// How often a process is killed in all
        #[arg(long, default_value_t = 20)]
        kills: u32,
        /// Seed of the run and of the moments
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// One measurement as it is written: a name, the machine and rows of facts.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<(String, String)>,
    pub(crate) details: Value,
}

/// Builds, measures and writes.
pub(crate) fn bench(project: &Project, steps: &mut Steps, benchmark: &Benchmark) -> Result<()> {
    demo::build(project, steps)?;
    let folder = project.target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    match benchmark {
        Benchmark::Demo { seed } => {
            let measurement = steps.step("bench demo", || measure_demo(project, &folder, *seed))?;
            write(project, &folder, &measurement)
        }
        Benchmark::Train { rounds, steps: num_steps, python, peers } => {
            let plan = train::Plan { rounds: *rounds, steps: *num_steps, python: python.clone(), peers: peers.clone() };
            let measurement = steps.step("bench train", || train::measure(project, &folder, &plan))?;
            write(project, &folder, &measurement)
        }
        Benchmark::Eval { rounds, python } => {
            let plan = eval::Plan { rounds: *rounds, python: python.clone() };
            let measurement = steps.step("bench eval", || eval::measure(project, &folder, &plan))?;
            write(project, &folder, &measurement)
        }
        Benchmark::Sst2 { rounds, steps: num_steps, items, python, peers, data } => {
            let plan = sst2::Plan {
                rounds: *rounds,
                steps: *num_steps,
                items: *items,
                python: python.clone(),
                peers: peers.clone(),
                data: data.clone(),
            };
            let measurement = steps.step("bench sst2", || sst2::measure(project, &folder, &plan))?;
            write(project, &folder, &measurement)
        }
        Benchmark::Data { megabytes, documents, peer_documents } => {
            let plan = data::Plan { megabytes: *megabytes, documents: *documents, peer_documents: *peer_documents };
            let measurement = steps.step("bench data", || data::measure(project, &folder, &plan))?;
            write(project, &folder, &measurement)
        }
        Benchmark::App => {
            let measurement = app::measure(project, steps, &folder)?;
            write(project, &folder, &measurement)
        }
        Benchmark::Kb { passages, questions } => {
            let measurement = steps.step("bench kb", || kb::measure(project, &folder, *passages, *questions))?;
            write(project, &folder, &measurement)
        }
        Benchmark::Kill { kills, seed } => {
            let plan = kill::Plan { kills: *kills, seed: *seed };
            let result = steps.step("bench kill", || kill::measure(project, &folder, &plan))?;
            write(project, &folder, &result.measurement())?;
            result.require_equal()
        }
    }
}

fn measure_demo(project: &Project, folder: &Path, seed: u64) -> Result<Measurement> {
    let workspace = folder.join("demo-workspace");
    demo::fresh_folder(&workspace)?;
    let start = Instant::now();
    run(&mut demo::run_command(project, &workspace, seed))?;
    let wall_s = start.elapsed().as_secs_f64();
    let report = read_report(&workspace)?;
    let outcome = Outcome::from_report(&report)?;
    let mut rows = vec![("wall time".to_owned(), seconds(wall_s))];
    rows.extend(cost_rows(&report, wall_s));
    rows.extend(outcome_rows(&outcome));
    let details = json!({ "seed": seed, "wall_s": wall_s, "cost": report["cost"], "trials": outcome.trials });
    Ok(Measurement { name: "demo", rows, details })
}

/// Processor time, the time below each strategy, and what is left for import, base, finalists, sealed split and report.
fn cost_rows(report: &Value, wall_s: f64) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Some(cpu_s) = report["cost"]["cpu_s"].as_f64() {
        rows.push(("processor time".to_owned(), seconds(cpu_s)));
    }
    let mut searched_s = 0.0;
    let nodes = report["nodes"].as_array().into_iter().flatten();
    for node in nodes.filter(|node| !node["strategy"].is_null()) {
        let below_s = node["cost"]["wall_s"].as_f64().unwrap_or_default();
        searched_s += below_s;
        rows.push((format!("strategy: {}", node["title"].as_str().unwrap_or_default()), seconds(below_s)));
    }
    rows.push(("everything but the strategies".to_owned(), seconds(wall_s - searched_s)));
    rows
}

fn outcome_rows(outcome: &Outcome) -> Vec<(String, String)> {
    vec![
        ("trials".to_owned(), outcome.trials.to_string()),
        ("final score".to_owned(), outcome.final_score["score"].to_string()),
        ("verdict".to_owned(), outcome.verdict.to_string()),
    ]
}

fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}

fn write(project: &Project, folder: &Path, measurement: &Measurement) -> Result<()> {
    let value = json!({
        "name": measurement.name,
        "machine": machine::describe(&project.root),
        "rows": measurement.rows,
        "details": measurement.details,
    });
    write_file(&folder.join(format!("{}.json", measurement.name)), &format!("{value:#}\n"))?;
    let table = page::page(&measurements(folder)?);
    print!("\n{table}");
    write_file(&folder.join("README.md"), &table)
}

/// Everything that was measured into this folder, in the order of the names.
fn measurements(folder: &Path) -> Result<Vec<Value>> {
    let listing = || format!("cannot list {}", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        paths.push(entry.with_context(listing)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
    };
    paths.iter().map(read).collect()
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    println!("writing {}", path.display());
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_split_between_strategies_and_the_rest() {
        let report = json!({
            "cost": {"wall_s": 9.0, "cpu_s": 15.0},
            "nodes": [
                {"strategy": null, "title": "root", "cost": {"wall_s": 7.0}},
                {"strategy": {"kind": "baseline"}, "title": "Base", "cost": {"wall_s": 4.0}},
                {"strategy": {"kind": "data"}, "title": "Clean", "cost": {"wall_s": 3.0}},
            ],
        });
        let rows: Vec<String> =
            cost_rows(&report, 10.0).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(
            rows,
            [
                "processor time 15.0 s",
                "strategy: Base 4.0 s",
                "strategy: Clean 3.0 s",
                "everything but the strategies 3.0 s",
            ]
        );
    }

    #[test]
    fn measurements_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        write_file(&dir.path().join("b.json"), "2").unwrap();
        write_file(&dir.path().join("a.json"), "1").unwrap();
        write_file(&dir.path().join("README.md"), "text").unwrap();
        assert_eq!(measurements(dir.path()).unwrap(), [json!(1), json!(2)]);
    }
}
