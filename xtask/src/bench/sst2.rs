//! Fine-tuning on real rows beside PyTorch + PEFT and TRL: the time of a batch, and accuracy before and after.
//!
//! Our side is `trex worker` with job files, as a person would give them. The script of the plain loop, the interpreter and
//! the rows lie outside of this repository; what is absent is skipped and said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::Measurement;
use super::train::{add_model, median};
use crate::command::{answer, command};
use crate::project::Project;
use crate::setup;

/// The script of the plain loop.
const LOOP_SCRIPT: &str = "torch_sst2.py";

/// The trainer that people use.
const TRL_SCRIPT: &str = include_str!("sst2_trl.py");

/// The peers' prompt.
const ASK: &str = "Is the sentiment of this movie review sentence negative or positive? Answer with one word.\n";

/// Answers by label, as the peer has them.
const ANSWERS: [&str; 2] = ["negative", "positive"];

/// Examples of a batch.
const BATCH: usize = 16;

/// What is measured.
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) steps: usize,
    /// Items of the dev file that are scored.
    pub(super) items: usize,
    pub(super) python: Option<PathBuf>,
    /// Folder of the script of the plain loop.
    pub(super) peers: PathBuf,
    /// Folder with train.tsv and dev.tsv.
    pub(super) data: PathBuf,
}

#[derive(Default)]
struct Outcome {
    examples_per_s: Vec<f64>,
    before: Vec<f64>,
    after: Vec<f64>,
}

/// Measures all contenders in turns.
pub(super) fn measure(project: &Project, folder: &Path, plan: &Plan) -> Result<Measurement> {
    let gguf = setup::small_model_file().context("no cache folder: set TREX_CACHE")?;
    let work = folder.join("sst2");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let model = add_model(project, folder, &gguf)?;
    write_rows(&plan.data.join("train.tsv"), &work.join("train.jsonl"), usize::MAX)?;
    write_rows(&plan.data.join("dev.tsv"), &work.join("dev.jsonl"), plan.items)?;
    let peers = peers(project, &work, plan)?;
    let mut all: BTreeMap<String, Outcome> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for precision in ["f32", "bf16"] {
            let name = format!("ours {precision}");
            let found = ours(project, &work, &model, precision, plan, round)?;
            note(all.entry(name.clone()).or_default(), found, round, &name);
        }
        for (label, script) in &peers {
            for dtype in ["f32", "bf16"] {
                let Some(python) = &plan.python else { continue };
                let name = format!("{label} {dtype}");
                let found = peer(project, python, script, &gguf, plan, dtype)?;
                note(all.entry(name.clone()).or_default(), found, round, &name);
            }
        }
    }
    Ok(measurement(plan, &all))
}

/// The peers that can be run here, with their scripts; says which cannot.
fn peers(project: &Project, work: &Path, plan: &Plan) -> Result<Vec<(&'static str, PathBuf)>> {
    let trl = work.join("sst2_trl.py");
    std::fs::write(&trl, TRL_SCRIPT).with_context(|| format!("cannot write {}", trl.display()))?;
    let all = [
        ("PyTorch + PEFT", plan.peers.join(LOOP_SCRIPT), "import torch, transformers, peft, gguf"),
        ("TRL SFTTrainer", trl, "import torch, transformers, peft, gguf, trl, datasets"),
    ];
    let mut found = Vec::new();
    for (label, script, imports) in all {
        let has_packages = |python: &PathBuf| answer(command(python, &project.root).args(["-c", imports])).is_some();
        if script.is_file() && plan.python.as_ref().is_some_and(has_packages) {
            found.push((label, script));
        } else {
            println!("skipped: 1 peer ({label}; give --python that can `{imports}`, and --peers with {LOOP_SCRIPT})");
        }
    }
    Ok(found)
}

/// Examples per second, accuracy before, accuracy after.
type Found = [f64; 3];

fn note(outcome: &mut Outcome, [rate, before, after]: Found, round: usize, name: &str) {
    println!("round {round}: {name}: {rate:.1} examples/s, accuracy {before:.3} before, {after:.3} after");
    outcome.examples_per_s.push(rate);
    outcome.before.push(before);
    outcome.after.push(after);
}

/// Makes examples of `sentence TAB label` lines.
fn write_rows(source: &Path, target: &Path, take: usize) -> Result<()> {
    let text = std::fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut file = File::create(target).with_context(|| format!("cannot write {}", target.display()))?;
    for (row, line) in text.lines().take(take).enumerate() {
        let (sentence, label) = line.rsplit_once('\t').with_context(|| format!("no tab in line {row}"))?;
        let answer = ANSWERS.get(label.parse::<usize>()?).with_context(|| format!("label {label} in line {row}"))?;
        let example = json!({
            "id": format!("{row}"),
            "prompt": [{ "role": "user", "content": format!("{ASK}{sentence}") }],
            "answer": answer, "options": ANSWERS, "origin": { "source": "sst2", "row": row },
        });
        writeln!(file, "{example}")?;
    }
    Ok(())
}

fn ours(project: &Project, work: &Path, model: &Path, precision: &str, plan: &Plan, round: usize) -> Result<Found> {
    let (steps, items) = (plan.steps, plan.items);
    let blobs = work.join("blobs");
    let scratch = work.join(format!("scratch-{precision}-{round}"));
    for folder in [&blobs, &scratch] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let eval = |adapter: Option<PathBuf>| {
        let job = json!({
            "job": "eval", "model_dir": model, "adapter": adapter, "items": work.join("dev.jsonl"), "take": items,
            "metric": "accuracy", "mode": "choice", "seed": 0, "blobs_dir": blobs, "threads": 2, "precision": precision,
        });
        let events = worker(project, &job)?;
        let items = events.last().and_then(|done| done["items"].as_str()).context("no item scores")?;
        accuracy(&blob(&blobs, items))
    };
    let before = eval(None)?;
    let job = json!({
        "job": "train", "model_dir": model, "data": work.join("train.jsonl"), "seed": round - 1,
        "total_steps": steps, "stop_step": steps, "resume_from": null, "scratch_dir": scratch, "blobs_dir": blobs,
        "checkpoint_every": steps, "threads": 2,
        "config": {
            "learning_rate": 2e-4, "lr_scheduler_type": "constant", "warmup_ratio": 0.0, "max_grad_norm": 0.0,
            "max_steps": steps, "per_device_train_batch_size": BATCH, "precision": precision,
            "lora": { "r": 8, "lora_alpha": 16, "target_modules": "all-linear" },
        },
    });
    let events = worker(project, &job)?;
    let rate = events.iter().rev().find_map(|event| event["rate"].as_f64()).context("no progress")?;
    let adapter = events.last().and_then(|done| done["adapter"].as_str()).context("no adapter")?;
    let after = eval(Some(blob(&blobs, adapter)))?;
    Ok([rate * BATCH as f64, before, after])
}

/// Runs one job to its end and returns its events.
fn worker(project: &Project, job: &Value) -> Result<Vec<Value>> {
    let mut job = job.clone();
    job["detached"] = json!(true);
    let mut child = command(project.trex(), &project.root)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `trex worker`")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    writeln!(stdin, "{job}")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !output.status.success() {
        bail!("`trex worker` failed: {}", text.lines().last().unwrap_or_default());
    }
    Ok(events)
}

fn blob(blobs: &Path, hash: &str) -> PathBuf {
    blobs.join(&hash[..2.min(hash.len())]).join(hash)
}

fn accuracy(items: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(items).with_context(|| format!("cannot read {}", items.display()))?;
    let scores = text.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["score"].as_f64().unwrap_or(0.0)));
    let scores: Vec<f64> = scores.collect::<Result<_>>()?;
    ensure!(!scores.is_empty(), "{} holds no scores", items.display());
    Ok(scores.iter().sum::<f64>() / scores.len() as f64)
}

fn peer(project: &Project, python: &Path, script: &Path, gguf: &Path, plan: &Plan, dtype: &str) -> Result<Found> {
    let mut run = command(python, &project.root);
    run.arg(script).arg("--model").arg(gguf).arg("--data").arg(&plan.data);
    run.args(["--steps", &plan.steps.to_string(), "--dtype", dtype, "--threads", "2"]);
    run.args(["--eval", &plan.items.to_string()]);
    run.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
    let text = answer(&mut run).with_context(|| format!("{} failed", script.display()))?;
    let value: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let number = |key: &str| value[key].as_f64().unwrap_or_default();
    Ok([number("examples_per_s"), number("accuracy_before"), number("accuracy_after")])
}

fn measurement(plan: &Plan, all: &BTreeMap<String, Outcome>) -> Measurement {
    let stock = all.get("PyTorch + PEFT f32").map(|outcome| median(&outcome.examples_per_s));
    let mut rows = Vec::new();
    let mut details = Vec::new();
    for (name, outcome) in all {
        let rate = median(&outcome.examples_per_s);
        let beside = stock
            .filter(|stock| *stock > 0.0)
            .map_or_else(String::new, |stock| format!(" ({:.2}× the stock f32 loop)", rate / stock));
        let (before, after) = (median(&outcome.before), median(&outcome.after));
        let half = 1.96 * (after * (1.0 - after) / plan.items as f64).sqrt();
        rows.push((
            name.clone(),
            format!("{rate:.1} examples/s{beside}, accuracy {before:.3} → {after:.3} ± {half:.3} (n = {})", plan.items),
        ));
        details.push(json!({
            "name": name, "examples_per_s": outcome.examples_per_s, "before": outcome.before, "after": outcome.after,
        }));
    }
    let details = json!({
        "rounds": plan.rounds, "steps": plan.steps, "batch": BATCH, "items": plan.items, "threads": 2, "contenders": details,
    });
    Measurement { name: "sst2", rows, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_stand_beside_the_stock_loop() {
        let outcome = |rate: f64| Outcome { examples_per_s: vec![rate], before: vec![0.5], after: vec![0.9] };
        let all =
            BTreeMap::from([("PyTorch + PEFT f32".to_owned(), outcome(4.0)), ("ours f32".to_owned(), outcome(20.0))]);
        let plan = Plan { rounds: 1, steps: 1, items: 300, python: None, peers: PathBuf::new(), data: PathBuf::new() };
        let measured = measurement(&plan, &all);
        let expected = "20.0 examples/s (5.00× the stock f32 loop), accuracy 0.500 → 0.900 ± 0.034 (n = 300)";
        assert_eq!(measured.rows[1].1, expected);
    }

    #[test]
    fn a_blob_lies_under_the_first_two_letters() {
        assert_eq!(blob(Path::new("b"), "abcd"), Path::new("b/ab/abcd"));
    }
}
