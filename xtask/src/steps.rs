//! Named, timed steps that end at the first failure, with a table of seconds at the end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The steps done so far, in order.
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Announces and times one step; its error gains the name of the step.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work().with_context(|| format!("step `{name}` failed"));
        let took = start.elapsed();
        let ending = if result.is_ok() { "ok" } else { "FAILED" };
        println!("== {name}: {ending} in {:.1} s", took.as_secs_f64());
        self.done.push((format!("{name} {ending}"), took));
        result
    }

    fn table(&self) -> String {
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        let rows = self.done.iter().map(|(name, took)| (name.as_str(), *took));
        let width = self.done.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("total".len());
        let mut table = String::new();
        for (name, took) in rows.chain([("total", total)]) {
            writeln!(table, "{name:<width$} {:>8.1} s", took.as_secs_f64()).ok();
        }
        table
    }
}

/// Runs the steps of one task and prints their table, whether they succeed or not.
pub(crate) fn run(task: &str, work: impl FnOnce(&mut Steps) -> Result<()>) -> Result<()> {
    let mut steps = Steps { done: Vec::new() };
    let result = work(&mut steps);
    println!("\n{task}: {}\n{}", if result.is_ok() { "ok" } else { "FAILED" }, steps.table());
    result
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_failing_step_is_named_and_the_rest_is_not_run() {
        let mut ran = Vec::new();
        let result = run("all", |steps| {
            steps.step("first", || {
                ran.push("first");
                Ok(())
            })?;
            steps.step("second", || bail!("broken"))?;
            steps.step("third", || {
                ran.push("third");
                Ok(())
            })
        });
        assert_eq!(format!("{:#}", result.unwrap_err()), "step `second` failed: broken");
        assert_eq!(ran, ["first"]);
    }

    #[test]
    fn the_table_has_a_total() {
        let seconds = Duration::from_secs;
        let steps = Steps { done: vec![("a ok".to_owned(), seconds(2)), ("bbbb FAILED".to_owned(), seconds(3))] };
        assert_eq!(steps.table(), "a ok             2.0 s\nbbbb FAILED      3.0 s\ntotal            5.0 s\n");
    }
}
