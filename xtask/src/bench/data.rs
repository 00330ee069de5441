//! Import, profile and near-duplicate removal of generated data, beside the Python tools that people use for it.
//!
//! Our side is driven through the binary; the peers through one script, with the python of `TREX_BENCH_PYTHON`. A peer
//! that is not installed is skipped by name. Peak memory is read from `/proc` while a program runs, on Linux only.

mod pages;
mod vectors;
mod whole;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Measurement;
use crate::project::Project;

/// The script of the peers.
const PEERS: &str = include_str!("data_peers.py");

/// Near-duplicate removal alone, of the file that is put in.
const DEDUP: &str = "name = \"dedup\"\n[[sources]]\npath = \"FILE\"\n[[operators]]\nop = \"near_dedup\"\n";

/// Words that generated texts are made of.
const NUM_WORDS: u64 = 20_000;

/// What is measured.
pub(super) struct Plan {
    /// Megabytes of the file that is imported and profiled.
    pub(super) megabytes: u64,
    /// Short documents for near-duplicate removal, ours.
    pub(super) documents: u64,
    /// Short documents for the peers, which are slower.
    pub(super) peer_documents: u64,
}

/// Lines for the table, and the same as JSON.
struct Part {
    rows: Vec<(String, String)>,
    details: Value,
}

/// A program that ran to its end.
struct Ran {
    seconds: f64,
    peak_bytes: u64,
    output: String,
}

/// What was measured so far.
#[derive(Default)]
struct Table {
    rows: Vec<(String, String)>,
    details: Vec<Value>,
}

impl Table {
    fn note(&mut self, what: &str, ran: &Ran, amount: f64, unit: &str) {
        let (rate, peak) = (amount / ran.seconds, ran.peak_bytes as f64 / 1e6);
        self.rows.push((what.to_owned(), format!("{:.1} s, {rate:.0} {unit}/s, peak {peak:.0} MB", ran.seconds)));
        self.details.push(
            json!({ "what": what, "seconds": ran.seconds, "rate": rate, "unit": unit, "peak_bytes": ran.peak_bytes }),
        );
    }

    fn fact(&mut self, what: String, value: String) {
        self.details.push(json!({ "what": what, "value": value }));
        self.rows.push((what, value));
    }
}

/// Measures all of it into a folder.
pub(super) fn measure(project: &Project, folder: &Path, plan: &Plan) -> Result<Measurement> {
    let trex = project.target.join("release").join("trex");
    let data = folder.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let mut table = Table::default();
    large_file(&trex, &data, plan, &mut table)?;
    near_duplicates(&trex, &data, plan, &mut table)?;
    let listed = pages::measure(&trex, &data)?;
    for part in [Some(listed), vectors::measure(&trex, &data)?].into_iter().flatten() {
        table.rows.extend(part.rows);
        table.details.push(part.details);
    }
    Ok(Measurement { name: "data", rows: table.rows, details: Value::Array(table.details) })
}

/// The large file: profiled, imported as a task, run through a recipe, and read by the peers.
fn large_file(trex: &Path, data: &Path, plan: &Plan, table: &mut Table) -> Result<()> {
    let large = write_rows(&data.join("rows.jsonl"), plan.megabytes * 1_000_000)?;
    let half = write_rows(&data.join("half.jsonl"), plan.megabytes * 500_000)?;
    let whole = plan.megabytes as f64;
    for (path, megabytes) in [(&half, whole / 2.0), (&large, whole)] {
        let ran = run(Command::new(trex).args(["data", "profile", "--json"]).arg(path))?;
        table.note(&format!("trex: import and profile of {megabytes:.0} MB"), &ran, megabytes, "MB");
    }
    std::fs::remove_file(&half).with_context(|| format!("cannot remove {}", half.display()))?;
    let imported = whole::import(trex, data)?;
    table.note(&format!("trex: import of a task of {whole:.0} MB"), &imported, whole, "MB");
    let (made, [num_in, num_out]) = whole::recipe(trex, data)?;
    let steps = "exact_dedup, near_dedup, decontaminate, shuffle";
    table.note(&format!("trex: recipe of {whole:.0} MB ({steps}), {num_in} rows to {num_out}"), &made, whole, "MB");
    for peer in ["polars-read", "polars-profile", "datasets-load"] {
        if let Some(ran) = run_peer(data, &[peer, path_text(&large)])? {
            table.note(&format!("{peer} of {whole:.0} MB"), &ran, whole, "MB");
        }
    }
    Ok(())
}

/// Near-duplicates among many documents, and among as few as the peer gets.
fn near_duplicates(trex: &Path, data: &Path, plan: &Plan, table: &mut Table) -> Result<()> {
    write_documents(&data.join("documents.jsonl"), plan.documents)?;
    let fewer = write_documents(&data.join("fewer.jsonl"), plan.peer_documents)?;
    let workspace = data.join("workspace");
    std::fs::remove_dir_all(&workspace).ok();
    for (file, count) in [("documents.jsonl", plan.documents), ("fewer.jsonl", plan.peer_documents)] {
        let recipe = data.join("dedup.toml");
        write(&recipe, &DEDUP.replace("FILE", file))?;
        let arguments = ["recipe", "run", "--json"];
        let ran = run(Command::new(trex).args(arguments).arg(&recipe).arg("--workspace").arg(&workspace))?;
        let found = dropped(&ran.output)?;
        table.note(&format!("trex: near duplicates among {count} documents"), &ran, count as f64, "documents");
        table.fact(format!("trex: planted duplicates found among {count}"), format!("{found} of {}", count / 10));
    }
    let count = plan.peer_documents;
    if let Some(ran) = run_peer(data, &["datasketch-dedup", path_text(&fewer)])? {
        let found = ran.output.lines().last().unwrap_or_default();
        table.note(&format!("datasketch: near duplicates among {count} documents"), &ran, count as f64, "documents");
        table.fact(format!("datasketch: planted duplicates found among {count}"), format!("{found} of {}", count / 10));
    }
    Ok(())
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Rows that near_dedup dropped.
fn dropped(output: &str) -> Result<u64> {
    let last = output.lines().last().context("the run printed nothing")?;
    let value: Value = serde_json::from_str(last).context("the last line is not JSON")?;
    let dropped = &value["outcome"]["ledger"]["steps"][0]["dropped"]["prompt nearly equals an earlier one"];
    Ok(dropped.as_u64().unwrap_or(0))
}

/// Runs a program and watches its memory.
fn run(command: &mut Command) -> Result<Ran> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status_file = status_file(child.id());
    let stdout = child.stdout.take().context("the output is piped")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_bytes.max(peak_of(&status_file));
        if let Some(status) = child.try_wait().context("cannot wait")? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = start.elapsed().as_secs_f64();
    let output =
        reader.join().map_err(|_panic| anyhow::anyhow!("the reader of the output failed"))?.context("no text")?;
    if !status.success() {
        bail!("{command:?} failed with {status}: {output}");
    }
    Ok(Ran { seconds, peak_bytes, output })
}

/// What the system says of a process.
fn status_file(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/status"))
}

/// The high-water mark of a process; 0 where it cannot be read.
fn peak_of(status_file: &Path) -> u64 {
    let Ok(text) = std::fs::read_to_string(status_file) else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.map_or(0, |kilobytes| kilobytes * 1024)
}

/// Runs a peer; none where it is not installed.
fn run_peer(folder: &Path, arguments: &[&str]) -> Result<Option<Ran>> {
    let script = folder.join("peers.py");
    write(&script, PEERS)?;
    let python = std::env::var_os("TREX_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let library = arguments.first().and_then(|peer| peer.split('-').next()).unwrap_or_default();
    let has_library = Command::new(&python).args(["-c", &format!("import {library}")]).stderr(Stdio::null()).status();
    if !has_library.is_ok_and(|status| status.success()) {
        println!("skipped: {library} is not installed for {}", python.to_string_lossy());
        return Ok(None);
    }
    run(Command::new(&python).arg(&script).args(arguments)).map(Some)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// SplitMix64 (Steele, Lea and Flood, 2014), so that every machine generates the same bytes.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn words(&mut self, count: u64) -> String {
        let words: Vec<String> = (0..count).map(|_| format!("word{}", self.next() % NUM_WORDS)).collect();
        words.join(" ")
    }
}

/// Rows of instruction data up to so many bytes; every twentieth repeats the one before it.
fn write_rows(path: &Path, num_bytes: u64) -> Result<PathBuf> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?);
    let (mut draw, mut written, mut number, mut before) = (Draw(1), 0, 0_u64, String::new());
    while written < num_bytes {
        let (question, answer) = (30 + draw.next() % 40, 10 + draw.next() % 30);
        let line = format!("{{\"instruction\":\"{}\",\"output\":\"{}\"}}\n", draw.words(question), draw.words(answer));
        let line = if number % 20 == 19 { before.clone() } else { line };
        file.write_all(line.as_bytes()).context("cannot write rows")?;
        written += line.len() as u64;
        number += 1;
        before = line;
    }
    file.flush().context("cannot write rows")?;
    Ok(path.to_owned())
}

/// Documents of 20 to 40 words; every tenth is the one before it with one word changed at the end.
fn write_documents(path: &Path, count: u64) -> Result<PathBuf> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?);
    let (mut draw, mut before) = (Draw(2), String::new());
    for number in 0..count {
        let length = 30 + draw.next() % 20;
        let text = if number % 10 == 9 { format!("{before} changed") } else { draw.words(length) };
        writeln!(file, "{{\"text\":\"{text}\"}}").context("cannot write documents")?;
        before = text;
    }
    file.flush().context("cannot write documents")?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_the_same_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_documents(&dir.path().join("d.jsonl"), 20).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\"text\":\"word"), "{text}");
        assert_eq!(text.lines().filter(|line| line.ends_with(" changed\"}")).count(), 2);
        let rows = std::fs::read_to_string(write_rows(&dir.path().join("r.jsonl"), 30_000).unwrap()).unwrap();
        assert!(rows.len() >= 30_000 && rows.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }

    #[test]
    fn what_near_dedup_dropped_is_read_from_the_last_line() {
        let line = r#"{"outcome":{"ledger":{"steps":[{"dropped":{"prompt nearly equals an earlier one":7}}]}}}"#;
        assert_eq!(dropped(&format!("{{}}\n{line}\n")).unwrap(), 7);
    }
}
