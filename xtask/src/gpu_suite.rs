//! Runs the tests of `trex-train` that take their device from `TREX_TEST_DEVICE`, and makes a table of what they measure.
//!
//! The tests hold the code for cards against transformers, PEFT, TRL and the code for the processor. With `--device cpu`
//! the same code runs on the processor. Where the device is missing, the suite is counted as skipped and the command
//! fails: a suite that was not run must not look like one that passed.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::command::{answer, cargo, command};
use crate::project::Project;
use crate::steps::Steps;

/// Selects the tests.
const FILTER: &str = "package(trex-train) & test(/device_suite::|_on_the_device_/)";

/// What the lines of a measure begin with.
const MARK: &str = "suite|";

/// One measure of a test.
#[derive(Debug, PartialEq)]
struct Row {
    cells: Vec<String>,
}

const HEADER: [&str; 5] = ["what", "of", "format", "off by", "limit"];

/// Builds for the device, runs the tests, prints the table.
pub(crate) fn gpu_suite(project: &Project, steps: &mut Steps, device: &str) -> Result<()> {
    let feature = feature_of(device)?;
    if let Some(reason) = missing(project, feature) {
        println!("skipped: 1 suite ({device}): {reason}");
        bail!("the suite was not run: {reason}");
    }
    let mut rows = Vec::new();
    let result = steps.step("gpu suite", || run_tests(project, device, feature, &mut rows));
    println!("\n{}", table(&rows));
    result?;
    println!("gpu-suite: {} measures on {device}, all within their limits", rows.len());
    if rows.is_empty() {
        bail!("the tests measured nothing");
    }
    Ok(())
}

/// The Cargo feature that a device needs.
fn feature_of(device: &str) -> Result<Option<&'static str>> {
    match device.split(':').next() {
        Some("cpu") => Ok(None),
        Some("cuda") => Ok(Some("cuda")),
        Some("metal") => Ok(Some("metal")),
        _ => bail!("the device is {device}; known are cpu, cuda, cuda:N and metal"),
    }
}

/// Why the device cannot be there.
fn missing(project: &Project, feature: Option<&str>) -> Option<String> {
    let answers = |program: &str, argument: &str| answer(command(program, &project.root).arg(argument)).is_some();
    match feature {
        Some("cuda") if !answers("nvidia-smi", "-L") => Some("nvidia-smi lists no card".to_owned()),
        Some("cuda") if !answers("nvcc", "--version") => Some("there is no nvcc to build candle's kernels".to_owned()),
        Some("metal") if !cfg!(target_os = "macos") => Some("Metal is there on macOS only".to_owned()),
        _ => None,
    }
}

fn run_tests(project: &Project, device: &str, feature: Option<&str>, rows: &mut Vec<Row>) -> Result<()> {
    let mut tests = cargo(&project.root, &["nextest", "run", "--workspace", "--no-capture", "-E", FILTER]);
    if let Some(feature) = feature {
        tests.args(["--features", &format!("trex-train/{feature}")]);
    }
    let mut child =
        tests.env("TREX_TEST_DEVICE", device).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what the tests say")?;
        match row_of(&line) {
            Some(row) => rows.push(row),
            None => println!("{line}"),
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("a test failed ({status})");
    }
    Ok(())
}

/// A measure, where the line is one.
fn row_of(line: &str) -> Option<Row> {
    let cells: Vec<_> = line.trim().strip_prefix(MARK)?.split('|').map(str::to_owned).collect();
    (cells.len() == HEADER.len()).then_some(Row { cells })
}

/// The measures as a Markdown table.
fn table(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|{}|\n", HEADER.join(" | "), HEADER.map(|_| "---").join("|"));
    for row in rows {
        writeln!(text, "| {} |", row.cells.join(" | ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_told_from_other_lines() {
        let row = row_of("suite|loss|llama|Bf16|1.2e-3|1.0e-2").unwrap();
        assert_eq!(row.cells, ["loss", "llama", "Bf16", "1.2e-3", "1.0e-2"]);
        for line in ["", "running 3 tests", "suite|loss", "suite|a|b|c|d|e|f", "test suite|a|b|c|d|e"] {
            assert_eq!(row_of(line), None, "{line}");
        }
    }

    #[test]
    fn the_table_has_a_line_per_measure() {
        let rows = [row_of("suite|loss|llama|F32|1e-7|1e-5").unwrap()];
        let expected =
            "| what | of | format | off by | limit |\n|---|---|---|---|---|\n| loss | llama | F32 | 1e-7 | 1e-5 |\n";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn a_device_needs_its_feature_and_other_words_are_refused() {
        assert_eq!(feature_of("cpu").unwrap(), None);
        assert_eq!(feature_of("cuda:1").unwrap(), Some("cuda"));
        assert_eq!(feature_of("metal").unwrap(), Some("metal"));
        assert!(feature_of("gpu").unwrap_err().to_string().contains("cuda:N"));
    }
}
