//! Hybrid search of the knowledge base over made-up passages, through the binary.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Measurement;
use crate::command::{answer, command};
use crate::project::Project;

/// Fills a knowledge base below `folder` and asks it.
pub(super) fn measure(project: &Project, folder: &Path, passages: usize, questions: usize) -> Result<Measurement> {
    let trex = project.target.join("release").join("trex");
    let place = folder.join("kb");
    let (passages, questions) = (passages.to_string(), questions.to_string());
    let mut measure = command(&trex, folder);
    measure
        .args(["measure", "kb", "--json", "--passages", &passages, "--questions", &questions, "--folder"])
        .arg(&place);
    let Some(printed) = answer(&mut measure) else { bail!("trex measure kb failed") };
    let details: Value = serde_json::from_str(&printed).context("the output is not JSON")?;
    let times = |which: &str| {
        let time = |name: &str| details[which][name].as_f64().unwrap_or(f64::NAN);
        format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", time("p50_ms"), time("p95_ms"), time("p99_ms"))
    };
    let number = |name: &str| details[name].as_f64().unwrap_or(f64::NAN);
    let rows = vec![
        (format!("words and meaning, {passages} passages, {questions} questions"), times("hybrid")),
        ("words only".to_owned(), times("words_only")),
        ("first question, which reads all vectors".to_owned(), format!("{:.0} ms", number("first_ms"))),
        ("filling, with vectors drawn instead of computed".to_owned(), format!("{:.1} s", number("fill_s"))),
        ("file".to_owned(), format!("{:.0} MB", number("bytes") / 1e6)),
    ];
    Ok(Measurement { name: "kb", rows, details })
}
