//! Vectors of short texts by all-MiniLM-L6-v2, beside sentence-transformers. Skips itself where the model is not there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Part, path_text, run, run_peer, write_documents};
use crate::setup;

/// Texts of 30 to 49 made-up words, of which each is three tokens or so.
const NUM_TEXTS: u64 = 1000;

/// Measures a worker's job by its own clock, and the peer by its own.
pub(super) fn measure(trex: &Path, folder: &Path) -> Result<Option<Part>> {
    let Some(model) = setup::embedder_folder() else {
        println!("skipped: 1 model (all-MiniLM-L6-v2); `cargo xtask setup` fetches it");
        return Ok(None);
    };
    let documents = write_documents(&folder.join("texts.jsonl"), NUM_TEXTS)?;
    let lines = std::fs::read_to_string(&documents).context("cannot read the texts")?;
    let texts = lines.lines().map(|line| serde_json::from_str::<Value>(line).map(|row| row["text"].to_string()));
    let texts = texts.collect::<Result<Vec<_>, _>>().context("the texts are JSON")?;
    let plain = folder.join("texts.json");
    super::write(&plain, &(texts.join("\n") + "\n"))?;
    let job = json!({
        "job": "embed", "detached": true, "model_dir": model, "texts": plain, "blobs_dir": folder.join("blobs"), "threads": 0,
    });
    let input = folder.join("embed.json");
    super::write(&input, &job.to_string())?;
    let script = "exec \"$0\" worker < \"$1\"";
    let ran = run(Command::new("sh").args(["-c", script]).arg(trex).arg(&input))?;
    let done: Value = serde_json::from_str(ran.output.lines().last().unwrap_or_default()).context("no answer")?;
    let seconds = done["cost"]["wall_s"].as_f64().context("a job tells its time")?;
    let line = |seconds: f64| format!("{seconds:.1} s, {:.0} texts/s", NUM_TEXTS as f64 / seconds);
    let mut rows = vec![(format!("trex: vectors of {NUM_TEXTS} texts, loading included"), line(seconds))];
    let mut details = vec![json!({ "what": "trex: vectors", "seconds": seconds, "texts": NUM_TEXTS })];
    let peer = run_peer(folder, &["sentence_transformers-embed", path_text(&documents), path_text(&model)])?;
    if let Some(peer) = peer {
        let seconds = peer.output.split_whitespace().last().and_then(|text| text.parse::<f64>().ok());
        let seconds = seconds.context("the peer tells its time")?;
        rows.push((format!("sentence-transformers: vectors of {NUM_TEXTS} texts"), line(seconds)));
        details.push(json!({ "what": "sentence-transformers: vectors", "seconds": seconds, "texts": NUM_TEXTS }));
    }
    Ok(Some(Part { rows, details: Value::Array(details) }))
}
