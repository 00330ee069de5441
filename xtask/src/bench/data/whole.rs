//! The large file through a task and through a recipe: how long, and in how much memory. Trains nothing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Ran, peak_of, run, status_file, write};

/// A task that holds its evaluation splits out of the file.
const TASK: &str = "name = \"import\"\ngoal = \"Go on.\"\nkind = \"generate\"\nmetric = \"exact_match\"\nmodel = \"bundled\"\n\
                    [data]\ntrain = \"rows.jsonl\"\n[train]\nmax_steps = 6\n[budget]\ntrials = 6\n[search]\nrungs = 2\n\
                    batch = 2\nfinalist_seeds = 1\n";

/// The steps that must know all rows, and splits.
const RECIPE: &str = "name = \"whole\"\n[[sources]]\npath = \"rows.jsonl\"\n[split]\ndev = 0.01\ntest = 0.01\n\
                      [[operators]]\nop = \"exact_dedup\"\n[[operators]]\nop = \"near_dedup\"\n\
                      [[operators]]\nop = \"decontaminate\"\n[[operators]]\nop = \"shuffle\"\n";

/// The event after which a task is imported.
const IMPORTED: &str = "\"data_imported\"";

/// Imports the file as a task: read, profiled, split, and stored by content. What comes after it is not waited for.
pub(super) fn import(trex: &Path, folder: &Path) -> Result<Ran> {
    let task = folder.join("import.toml");
    write(&task, TASK)?;
    let workspace = folder.join("import");
    std::fs::remove_dir_all(&workspace).ok();
    let mut command = Command::new(trex);
    command.args(["run", "--json", "--no-warm-start"]).arg(&task).arg("--workspace").arg(&workspace);
    let ran = run_until(command.env("TREX_KNOWLEDGE", "off"), IMPORTED)?;
    std::fs::remove_dir_all(&workspace).ok();
    Ok(ran)
}

/// Runs the recipe; beside it rows in and rows that were left for training.
pub(super) fn recipe(trex: &Path, folder: &Path) -> Result<(Ran, [u64; 2])> {
    let recipe = folder.join("whole.toml");
    write(&recipe, RECIPE)?;
    let workspace = folder.join("whole");
    std::fs::remove_dir_all(&workspace).ok();
    let ran =
        run(Command::new(trex).args(["recipe", "run", "--json"]).arg(&recipe).arg("--workspace").arg(&workspace))?;
    std::fs::remove_dir_all(&workspace).ok();
    let last = ran.output.lines().last().context("the run printed nothing")?;
    let outcome: Value = serde_json::from_str(last).context("the last line is not JSON")?;
    let count = |pointer: &str| outcome.pointer(pointer).and_then(Value::as_u64).context("a run tells its rows");
    let rows = [count("/outcome/sources/0/rows/in")?, count("/outcome/rows/0")?];
    Ok((ran, rows))
}

/// Runs a program until a line of its output holds `mark`, and ends it there.
fn run_until(command: &mut Command, mark: &'static str) -> Result<Ran> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|err| anyhow::anyhow!("cannot start {command:?}: {err}"))?;
    let found = Arc::new(AtomicBool::new(false));
    let stdout = child.stdout.take().context("the output is piped")?;
    let reader = std::thread::spawn({
        let found = Arc::clone(&found);
        move || {
            let has_mark = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains(mark));
            found.store(BufReader::new(stdout).lines().any(has_mark), Ordering::Relaxed);
        }
    });
    let status_file = status_file(child.id());
    let mut peak_bytes = 0;
    while !reader.is_finished() {
        peak_bytes = peak_bytes.max(peak_of(&status_file));
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = start.elapsed().as_secs_f64();
    end(child)?;
    if !found.load(Ordering::Relaxed) {
        bail!("{command:?} ended before {mark}");
    }
    Ok(Ran { seconds, peak_bytes, output: String::new() })
}

/// The workers of the program end with it: they watch its end of their input.
fn end(child: &mut Child) -> Result<()> {
    child.kill().context("cannot end the program")?;
    child.wait().context("cannot wait for the program")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_watched_until_the_line_that_is_looked_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo \"two\"; exec sleep 600"]);
        let ran = run_until(&mut command, "two").unwrap();
        assert!(ran.seconds < 60.0);
        assert!(run_until(Command::new("true").arg("x"), "two").is_err());
    }
}
