//! Scoring and greedy generation of the small real model beside llama.cpp, on the same prompts, in turns.
//!
//! The peer runs in a script of ours with the xllamacpp package; without it our own times are written alone, and that is
//! said. It is given the file as it comes and rewritten to other number formats, because its speed depends on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Measurement;
use super::train::{add_model, median};
use crate::command::{answer, command};
use crate::project::Project;
use crate::setup;

/// The script of the peer.
const PEER: &str = include_str!("eval_peers.py");

/// Number formats that the peer is measured with.
const PEER_KINDS: [&str; 4] = ["as-is", "q8_0", "bf16", "f32"];

/// The work: a set of short prompts with a common instruction, as evaluation sets have.
const PROMPTS: usize = 16;
const PROMPT_TOKENS: usize = 96;
const SHARED_TOKENS: usize = 40;
const NEW_TOKENS: usize = 64;
const THREADS: usize = 2;

/// What is measured.
pub(super) struct Plan {
    pub(super) rounds: usize,
    /// Python interpreter with xllamacpp and gguf.
    pub(super) python: Option<PathBuf>,
}

/// Tokens per second of one contender, one number per round.
#[derive(Default)]
struct Rates {
    prefill: Vec<f64>,
    shared_prefill: Vec<f64>,
    generate: Vec<f64>,
    peak_mib: f64,
}

/// Measures all contenders in turns.
pub(super) fn measure(project: &Project, folder: &Path, plan: &Plan) -> Result<Measurement> {
    let gguf = setup::small_model_file().context("no cache folder: set TREX_CACHE")?;
    let model = add_model(project, folder, &gguf)?;
    let script = folder.join("eval_peers.py");
    std::fs::write(&script, PEER).with_context(|| format!("cannot write {}", script.display()))?;
    let python = plan.python.as_deref().filter(|python| has_peer(project, python));
    if python.is_none() {
        println!("skipped: 1 peer (give --python with xllamacpp and gguf)");
    }
    let mut all: BTreeMap<String, Rates> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for (name, flags) in [("ours f32", &[][..]), ("ours bf16", &["--bf16"])] {
            let value = ours(project, &model, flags)?;
            note(all.entry(name.to_owned()).or_default(), &value, round, name);
        }
        for kind in PEER_KINDS.into_iter().filter(|_| python.is_some()) {
            let Some(python) = python else { continue };
            let name = format!("llama.cpp {kind}");
            match peer(project, python, &script, &gguf, kind) {
                Some(value) => note(all.entry(name.clone()).or_default(), &value, round, &name),
                None => println!("skipped: 1 peer run ({name} gave no answer)"),
            }
        }
    }
    Ok(measurement(plan, &all))
}

fn has_peer(project: &Project, python: &Path) -> bool {
    answer(command(python, &project.root).args(["-c", "import gguf, xllamacpp"])).is_some()
}

fn ours(project: &Project, model: &Path, flags: &[&str]) -> Result<Value> {
    let mut measure = command(project.trex(), &project.root);
    measure.args(["--json", "measure", "eval", "--repeats", "3", "--model"]).arg(model).args(flags);
    for (name, value) in [
        ("--prompts", PROMPTS),
        ("--prompt-tokens", PROMPT_TOKENS),
        ("--shared-tokens", SHARED_TOKENS),
        ("--new-tokens", NEW_TOKENS),
    ] {
        measure.args([name, &value.to_string()]);
    }
    let text = answer(measure.env("RAYON_NUM_THREADS", THREADS.to_string())).context("`trex measure eval` failed")?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("`trex measure eval` printed {text:?}"))?;
    let shared = rate(value["prompt_tokens"].as_f64(), &value["shared_score_seconds"]);
    Ok(json!({
        "prefill": rate(value["prompt_tokens"].as_f64(), &value["score_seconds"]),
        "shared_prefill": shared,
        "generate": decode_rate(&value),
        "peak_mib": value["peak_rss_bytes"].as_f64().unwrap_or_default() / 1_048_576.0,
    }))
}

fn peer(project: &Project, python: &Path, script: &Path, gguf: &Path, kind: &str) -> Option<Value> {
    let mut run = command(python, &project.root);
    run.arg(script).arg(gguf).arg(kind);
    run.args([PROMPTS, PROMPT_TOKENS, SHARED_TOKENS, NEW_TOKENS, 3, THREADS].map(|number| number.to_string()));
    let text = answer(&mut run)?;
    let value: Value = serde_json::from_str(text.lines().last()?).ok()?;
    Some(json!({
        "prefill": rate(Some((PROMPTS * PROMPT_TOKENS) as f64), &value["prefill_seconds"]),
        "generate": decode_rate(&value),
        "peak_mib": value["peak_rss_bytes"].as_f64().unwrap_or_default() / 1_048_576.0,
    }))
}

fn seconds(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Tokens per second of the median repeat.
fn rate(tokens: Option<f64>, times: &Value) -> f64 {
    let middle = median(&seconds(times));
    if middle > 0.0 { tokens.unwrap_or_default() / middle } else { 0.0 }
}

/// Tokens that follow the first one of each answer, by the time that they add to reading the prompts.
fn decode_rate(value: &Value) -> f64 {
    let more = median(&seconds(&value["generate_seconds"])) - median(&seconds(&value["prefill_seconds"]));
    if more > 0.0 { (PROMPTS * (NEW_TOKENS - 1)) as f64 / more } else { 0.0 }
}

fn note(rates: &mut Rates, value: &Value, round: usize, name: &str) {
    let number = |key: &str| value[key].as_f64().unwrap_or_default();
    rates.prefill.push(number("prefill"));
    if value["shared_prefill"].is_number() {
        rates.shared_prefill.push(number("shared_prefill"));
    }
    rates.generate.push(number("generate"));
    rates.peak_mib = rates.peak_mib.max(number("peak_mib"));
    println!(
        "round {round}: {name}: prompts {:.0} tokens/s, answers {:.0} tokens/s",
        number("prefill"),
        number("generate")
    );
}

fn measurement(plan: &Plan, all: &BTreeMap<String, Rates>) -> Measurement {
    let peers = || all.iter().filter(|(name, _)| name.starts_with("llama.cpp")).map(|(_, rates)| rates);
    let best = |pick: fn(&Rates) -> &Vec<f64>| peers().map(|rates| median(pick(rates))).fold(0.0, f64::max);
    let (best_prefill, best_generate) = (best(|rates| &rates.prefill), best(|rates| &rates.generate));
    let beside = |rate: f64, best: f64| {
        if best > 0.0 { format!(" ({:.2}× llama.cpp's best)", rate / best) } else { String::new() }
    };
    let mut rows = Vec::new();
    let mut details = Vec::new();
    for (name, rates) in all {
        let (prefill, generate) = (median(&rates.prefill), median(&rates.generate));
        let mut parts = vec![format!("prompts {prefill:.0} tokens/s{}", beside(prefill, best_prefill))];
        if !rates.shared_prefill.is_empty() {
            let shared = median(&rates.shared_prefill);
            let ratio = beside(shared, best_prefill);
            parts.push(format!("with the shared beginning computed once {shared:.0}{ratio}"));
        }
        parts.push(format!("answers {generate:.0} tokens/s{}", beside(generate, best_generate)));
        parts.push(format!("peak {:.0} MiB", rates.peak_mib));
        rows.push((name.clone(), parts.join(", ")));
        details.push(json!({
            "name": name, "prefill": rates.prefill, "shared_prefill": rates.shared_prefill,
            "generate": rates.generate, "peak_mib": rates.peak_mib,
        }));
    }
    let details = json!({
        "rounds": plan.rounds, "threads": THREADS, "prompts": PROMPTS, "prompt_tokens": PROMPT_TOKENS,
        "shared_tokens": SHARED_TOKENS, "new_tokens": NEW_TOKENS, "contenders": details,
    });
    Measurement { name: "eval", rows, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_what_comes_after_the_prompts() {
        let value = json!({ "prefill_seconds": [1.0, 1.0, 9.0], "generate_seconds": [2.0, 3.0, 2.0] });
        assert!((decode_rate(&value) - (PROMPTS * (NEW_TOKENS - 1)) as f64).abs() < 1e-9);
        assert!(decode_rate(&json!({})).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_to_the_best_peer() {
        let rates = |prefill: f64| Rates { prefill: vec![prefill], generate: vec![prefill], ..Rates::default() };
        let all = BTreeMap::from([
            ("llama.cpp a".to_owned(), rates(100.0)),
            ("llama.cpp b".to_owned(), rates(200.0)),
            ("ours f32".to_owned(), rates(500.0)),
        ]);
        let measured = measurement(&Plan { rounds: 1, python: None }, &all);
        assert!(measured.rows[2].1.contains("prompts 500 tokens/s (2.50× llama.cpp's best)"), "{}", measured.rows[2].1);
    }
}
