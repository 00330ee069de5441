//! Pages of a large source, listed with a filter, through the binary as a person asks.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Draw, Part, write};

/// Rows that are listed.
const NUM_ROWS: u64 = 260_000;

/// Calls of which the median and the worst are told.
const CALLS: usize = 15;

/// Measures the first page, for which the index is made, and later ones; each is a process of its own.
pub(super) fn measure(trex: &Path, folder: &Path) -> Result<Part> {
    let path = folder.join("listed.jsonl");
    write(&path, &rows(NUM_ROWS))?;
    let cache = folder.join("cache");
    std::fs::remove_dir_all(&cache).ok();
    let mut table = Vec::new();
    let mut details = Vec::new();
    let mut note = |what: String, mut millis: Vec<f64>| {
        millis.sort_by(f64::total_cmp);
        let (median, worst) = (millis[millis.len() / 2], millis[millis.len() - 1]);
        table.push((what.clone(), format!("{median:.0} ms, at worst {worst:.0} ms of {} calls", millis.len())));
        details.push(json!({ "what": what, "median_ms": median, "worst_ms": worst, "calls": millis.len() }));
    };
    // Once before, so that the program itself lies in memory.
    list(trex, &cache, &path, &["--version"])?;
    let first = page(trex, &cache, &path, "rare", 1, NUM_ROWS / 1000)?;
    note(format!("trex: first page of {NUM_ROWS} rows, index included"), vec![first]);
    for (filter, expected) in [("rare", NUM_ROWS / 1000), ("often", NUM_ROWS / 2), ("", NUM_ROWS)] {
        let pages = (1..=CALLS).map(|number| page(trex, &cache, &path, filter, number, expected));
        let millis = pages.collect::<Result<Vec<_>>>()?;
        note(format!("trex: a page of {expected} rows of {NUM_ROWS}"), millis);
    }
    Ok(Part { rows: table, details: Value::Array(details) })
}

/// Milliseconds for one page of twenty rows, after its count was found right.
fn page(trex: &Path, cache: &Path, path: &Path, filter: &str, number: usize, expected: u64) -> Result<f64> {
    let number = number.to_string();
    let file = path.to_str().context("the folder has a plain name")?;
    let arguments = ["data", "show", file, "--json", "--rows", "20", "--page", &number, "--filter", filter];
    let (millis, output) = list(trex, cache, path, &arguments)?;
    let found: Value = serde_json::from_str(&output).context("a page is one JSON document")?;
    if found["total"].as_u64() != Some(expected) {
        bail!("filter {filter:?} found {} rows, expected {expected}", found["total"]);
    }
    Ok(millis)
}

fn list(trex: &Path, cache: &Path, path: &Path, arguments: &[&str]) -> Result<(f64, String)> {
    let start = Instant::now();
    let output = Command::new(trex).args(arguments).env("TREX_CACHE", cache).output().context("cannot start trex")?;
    let millis = start.elapsed().as_secs_f64() * 1000.0;
    if !output.status.success() {
        bail!("trex on {} failed: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok((millis, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Rows of instruction data of about 400 bytes; half hold one word, one in a thousand another.
fn rows(count: u64) -> String {
    let mut draw = Draw(3);
    let mut text = String::new();
    for number in 0..count {
        let (question, answer) = (draw.words(25), draw.words(12));
        let often = if number % 2 == 0 { "often " } else { "" };
        let rare = if number % 1000 == 999 { "rare " } else { "" };
        writeln!(text, "{{\"instruction\":\"{often}{question}\",\"output\":\"{rare}{answer}\"}}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_are_looked_for_are_as_frequent_as_expected() {
        let text = rows(2000);
        assert_eq!(text.lines().count(), 2000);
        let with = |word: &str| text.lines().filter(|line| line.contains(word)).count();
        assert_eq!((with("rare"), with("often")), (2, 1000));
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}
