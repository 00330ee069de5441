//! One optimiser step beside PyTorch + PEFT: the same model, batch and adapters, in turns on the same machine.
//!
//! Each round runs every contender once, so that whatever else the machine does falls on all of them. Medians over the
//! rounds are compared. The peer's script and interpreter lie outside of this repository; without them our own times
//! are written alone, and that is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Measurement;
use crate::command::{answer, command, run};
use crate::project::Project;
use crate::setup;

/// The script of the peer.
const PEER_SCRIPT: &str = "torch_lora_step.py";

/// What is measured.
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) steps: usize,
    /// Python interpreter with torch, transformers, peft and gguf.
    pub(super) python: Option<PathBuf>,
    /// Folder of the peer's script.
    pub(super) peers: PathBuf,
}

/// One contender.
struct Contender {
    name: String,
    shape: &'static str,
    command: Vec<String>,
    is_ours: bool,
}

/// What one contender came to.
#[derive(Default)]
struct Outcome {
    rates: Vec<f64>,
    peak_mib: f64,
    /// Frozen weights, where that is known.
    base_mib: Option<f64>,
    first_loss: Option<f64>,
}

const SHAPES: [(&str, &str, &str); 2] = [("4 × 256", "4", "256"), ("1 × 512", "1", "512")];

/// Measures all contenders in turns.
pub(super) fn measure(project: &Project, folder: &Path, plan: &Plan) -> Result<Measurement> {
    let gguf = setup::small_model_file().context("no cache folder: set TREX_CACHE")?;
    let model = add_model(project, folder, &gguf)?;
    let script = plan.peers.join(PEER_SCRIPT);
    let python = plan.python.as_ref().filter(|_| script.is_file());
    if python.is_none() {
        println!("skipped: 1 peer (give --python with torch, transformers and peft, and --peers with {PEER_SCRIPT})");
    }
    let contenders =
        contenders(project, plan, &model, &gguf, python.map(|python| (python.as_path(), script.as_path())));
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for (index, contender) in contenders.iter().enumerate() {
            let outcome = outcomes.entry(index).or_default();
            measure_once(project, contender, outcome)?;
            let rate = outcome.rates.last().copied().unwrap_or_default();
            println!("round {round}: {} {}: {rate:.1} tokens/s", contender.shape, contender.name);
        }
    }
    let peak = product_peaks(project)?;
    Ok(measurement(plan, &contenders, &outcomes, &peak))
}

/// Has `trex` take in the model file, in a cache of its own.
pub(super) fn add_model(project: &Project, folder: &Path, gguf: &Path) -> Result<PathBuf> {
    let cache = folder.join("cache");
    let mut add = command(project.trex(), &project.root);
    run(add.args(["model", "add"]).arg(gguf).args(["--name", "bench"]).env("TREX_CACHE", &cache))?;
    Ok(cache.join("models").join("bench"))
}

fn contenders(
    project: &Project,
    plan: &Plan,
    model: &Path,
    gguf: &Path,
    peer: Option<(&Path, &Path)>,
) -> Vec<Contender> {
    let steps = plan.steps.to_string();
    let text = |path: &Path| path.display().to_string();
    let mut contenders = Vec::new();
    for (shape, batch, seq) in SHAPES {
        for (name, flags) in [
            ("ours f32", &[][..]),
            ("ours bf16", &["--bf16"]),
            ("ours QLoRA, base as stored", &["--quantization", "as_stored"]),
            ("ours QLoRA, base in q8_0", &["--quantization", "q8_0"]),
            ("ours f32, autograd", &["--autograd"]),
        ] {
            let mut command = vec![text(&project.trex()), "--json".to_owned()];
            command.extend(["measure", "steps", "--model"].map(str::to_owned));
            command.push(text(model));
            command.extend(["--batch", batch, "--seq", seq, "--steps", &steps].map(str::to_owned));
            command.extend(flags.iter().map(|flag| (*flag).to_owned()));
            contenders.push(Contender { name: name.to_owned(), shape, command, is_ours: true });
        }
        let Some((python, script)) = peer else { continue };
        for (dtype, logits) in [("f32", "all"), ("f32", "sup"), ("bf16", "all"), ("bf16", "sup")] {
            let mut command = vec![text(python), text(script), "--model".to_owned(), text(gguf)];
            command.extend(["--batch", batch, "--seq", seq, "--steps", &steps].map(str::to_owned));
            command.extend(["--dtype", dtype, "--logits", logits].map(str::to_owned));
            let which = if logits == "all" { "all logits" } else { "supervised logits" };
            contenders.push(Contender {
                name: format!("PyTorch + PEFT {dtype}, {which}"),
                shape,
                command,
                is_ours: false,
            });
        }
    }
    contenders
}

fn measure_once(project: &Project, contender: &Contender, outcome: &mut Outcome) -> Result<()> {
    let mut command = command(&contender.command[0], &project.root);
    // Old settings for other machines slow a present OpenBLAS down.
    command.args(&contender.command[1..]).env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
    let text = answer(command.env("RAYON_NUM_THREADS", "2"));
    let text = text.with_context(|| format!("{} failed", contender.name))?;
    let last = text.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(last).with_context(|| format!("{} printed {last:?}", contender.name))?;
    if contender.is_ours {
        let seconds: Vec<f64> = value["seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let tokens = value["tokens"].as_f64().unwrap_or_default();
        // The first step fills caches and buffers, as the peer's script counts too.
        outcome.rates.push(tokens / median(&seconds[1.min(seconds.len())..]));
        outcome.peak_mib = outcome.peak_mib.max(value["peak_rss_bytes"].as_f64().unwrap_or_default() / 1_048_576.0);
        outcome.first_loss = value["losses"][0].as_f64();
        outcome.base_mib =
            value["weights_bytes"].as_f64().filter(|bytes| *bytes > 0.0).map(|bytes| bytes / 1_048_576.0);
    } else {
        outcome.rates.push(value["tokens_per_s"].as_f64().unwrap_or_default());
        outcome.peak_mib = outcome.peak_mib.max(value["peak_mib"].as_f64().unwrap_or_default());
        let first: Option<Value> = text.lines().next().and_then(|line| serde_json::from_str(line).ok());
        outcome.first_loss = first.and_then(|line| line["loss"].as_f64());
    }
    Ok(())
}

/// What the machine's matrix products reach, by number format, in GFLOP/s on two threads.
fn product_peaks(project: &Project) -> Result<Value> {
    let mut measure = command(project.trex(), &project.root);
    let text = answer(measure.args(["--json", "measure", "product"]).env("RAYON_NUM_THREADS", "2"));
    let text = text.context("`trex measure product` failed")?;
    serde_json::from_str(&text).with_context(|| format!("`trex measure product` printed {text:?}"))
}

fn measurement(
    plan: &Plan,
    contenders: &[Contender],
    outcomes: &BTreeMap<usize, Outcome>,
    peak: &Value,
) -> Measurement {
    let mut rows = Vec::new();
    let mut details = Vec::new();
    for (shape, _, _) in SHAPES {
        let of_shape = || contenders.iter().enumerate().filter(|(_, contender)| contender.shape == shape);
        let rate = |index: usize| outcomes.get(&index).map_or(0.0, |outcome| median(&outcome.rates));
        let stock = of_shape().find(|(_, contender)| !contender.is_ours).map(|(index, _)| rate(index));
        for (index, contender) in of_shape() {
            let Some(outcome) = outcomes.get(&index) else { continue };
            let ratio = stock.filter(|stock| *stock > 0.0).map(|stock| rate(index) / stock);
            let beside = ratio.map_or_else(String::new, |ratio| format!(", {ratio:.2}× the stock f32 step"));
            let loss = outcome.first_loss.map_or_else(String::new, |loss| format!(", first loss {loss:.4}"));
            let base = outcome.base_mib.map_or_else(String::new, |mib| format!(" with {mib:.0} MiB of base"));
            let value = format!("{:.0} tokens/s{beside}, peak {:.0} MiB{base}{loss}", rate(index), outcome.peak_mib);
            rows.push((format!("{shape} {}", contender.name), value));
            details.push(json!({
                "shape": shape,
                "name": contender.name,
                "tokens_per_s": outcome.rates,
                "peak_mib": outcome.peak_mib,
                "base_mib": outcome.base_mib,
                "first_loss": outcome.first_loss,
                "ratio_to_stock_f32": ratio,
            }));
        }
    }
    for (name, value) in peak.as_object().into_iter().flatten() {
        rows.push((format!("matrix product, {name}"), format!("{:.0} GFLOP/s", value.as_f64().unwrap_or_default())));
    }
    let details = json!({ "rounds": plan.rounds, "threads": 2, "contenders": details, "product_gflops": peak });
    Measurement { name: "train", rows, details }
}

/// The middle value; 0 where there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(&[]).abs() < 1e-12);
    }

    #[test]
    fn rows_hold_the_ratio_to_the_stock_step() {
        let contender =
            |name: &str, is_ours| Contender { name: name.to_owned(), shape: SHAPES[0].0, command: Vec::new(), is_ours };
        let contenders = [contender("ours f32", true), contender("peer", false)];
        let outcome =
            |rate: f64| Outcome { rates: vec![rate], peak_mib: 10.0, base_mib: Some(5.0), first_loss: Some(2.0) };
        let outcomes = BTreeMap::from([(0, outcome(300.0)), (1, outcome(100.0))]);
        let plan = Plan { rounds: 1, steps: 2, python: None, peers: PathBuf::new() };
        let measured = measurement(&plan, &contenders, &outcomes, &json!({"f32": 200.0}));
        assert_eq!(
            measured.rows[0].1,
            "300 tokens/s, 3.00× the stock f32 step, peak 10 MiB with 5 MiB of base, first loss 2.0000"
        );
        assert_eq!(measured.rows.last().map(|row| row.1.as_str()), Some("200 GFLOP/s"));
    }
}
