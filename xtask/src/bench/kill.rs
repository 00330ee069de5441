//! Kills a run at random moments and resumes it until it ends, over and over; the result must not depend on it.
//!
//! A kill is SIGKILL to the `trex` process (its workers must end by themselves when their stdin closes). One *round* is
//! one workspace: up to [`KILLS_PER_ROUND`] kills, then the run is left to finish and its outcome is compared.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::{Measurement, outcome_rows, seconds};
use crate::command::command;
use crate::demo::{fresh_folder, run_command};
use crate::outcome::{Outcome, read_report};
use crate::project::Project;

const KILLS_PER_ROUND: u32 = 5;
/// Moments of a kill after a start, as shares of the undisturbed wall time.
const MOMENTS: Range<f64> = 0.02..0.6;
/// How often a running process is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How much is killed, and by which seed.
pub(super) struct Plan {
    pub(super) kills: u32,
    pub(super) seed: u64,
}

/// What came of it.
pub(super) struct KillResult {
    kills: u32,
    rounds: u32,
    undisturbed: Outcome,
    undisturbed_s: f64,
    differences: Vec<String>,
}

impl KillResult {
    pub(super) fn measurement(&self) -> Measurement {
        let mut rows = vec![
            ("kills".to_owned(), self.kills.to_string()),
            ("rounds".to_owned(), self.rounds.to_string()),
            ("wall time undisturbed".to_owned(), seconds(self.undisturbed_s)),
            ("rounds that ended differently".to_owned(), self.differences.len().to_string()),
        ];
        rows.extend(outcome_rows(&self.undisturbed));
        let details = json!({ "kills": self.kills, "rounds": self.rounds, "differences": self.differences });
        Measurement { name: "kill", rows, details }
    }

    /// Fails where a round ended differently.
    pub(super) fn require_equal(&self) -> Result<()> {
        if self.differences.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} rounds ended differently:\n{}",
            self.differences.len(),
            self.rounds,
            self.differences.join("\n")
        )
    }
}

/// One workspace of a round with its log.
struct Round<'a> {
    project: &'a Project,
    workspace: PathBuf,
    log: File,
    seed: u64,
}

/// Runs undisturbed once, then in rounds until all kills are done.
pub(super) fn measure(project: &Project, folder: &Path, plan: &Plan) -> Result<KillResult> {
    let folder = folder.join("kill-workspaces");
    fresh_folder(&folder)?;
    let start = Instant::now();
    let undisturbed_round = Round::new(project, &folder, 0, plan.seed)?;
    let undisturbed = undisturbed_round.finish(undisturbed_round.start_command())?;
    let undisturbed_s = start.elapsed().as_secs_f64();
    println!("undisturbed: {}", seconds(undisturbed_s));
    let mut result = KillResult { kills: 0, rounds: 0, undisturbed, undisturbed_s, differences: Vec::new() };
    let mut moments = Moments { state: plan.seed, wall_s: undisturbed_s };
    while result.kills < plan.kills {
        result.rounds += 1;
        let number = result.rounds;
        let wanted = KILLS_PER_ROUND.min(plan.kills - result.kills);
        let (done, outcome) = Round::new(project, &folder, number, plan.seed)?.disturb(wanted, &mut moments)?;
        if done == 0 {
            bail!("round {number} ended before it could be killed");
        }
        result.kills += done;
        let differences = result.undisturbed.differences(&outcome);
        println!(
            "round {number}: {done} kills, {} of {} in all, {} differences",
            result.kills,
            plan.kills,
            differences.len()
        );
        if !differences.is_empty() {
            result.differences.push(format!("round {number}: {}", differences.join(", ")));
        }
    }
    Ok(result)
}

impl<'a> Round<'a> {
    fn new(project: &'a Project, folder: &Path, number: u32, seed: u64) -> Result<Self> {
        let workspace = folder.join(format!("round-{number}"));
        let path = folder.join(format!("round-{number}.log"));
        let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { project, workspace, log, seed })
    }

    /// Kills so many times, fewer where the run ends first, and returns how many times and what came out.
    fn disturb(&self, kills: u32, moments: &mut Moments) -> Result<(u32, Outcome)> {
        let mut next = self.start_command();
        for done in 0..kills {
            if let Some(status) = self.run_until(next, moments.next())? {
                return Ok((done, self.outcome(status)?));
            }
            next = self.resume_command();
        }
        Ok((kills, self.finish(next)?))
    }

    fn start_command(&self) -> Command {
        run_command(self.project, &self.workspace, self.seed)
    }

    /// A kill before the first event was stored leaves nothing to resume; then the run starts anew.
    fn resume_command(&self) -> Command {
        if !self.workspace.join("workspace.db").exists() {
            return self.start_command();
        }
        let mut resume = command(self.project.trex(), &self.project.root);
        resume.args(["resume", "--workspace"]).arg(&self.workspace);
        resume
    }

    fn finish(&self, mut command: Command) -> Result<Outcome> {
        let status = self.logged(&mut command)?.status().context("cannot start trex")?;
        self.outcome(status)
    }

    fn outcome(&self, status: ExitStatus) -> Result<Outcome> {
        if !status.success() {
            bail!("trex ended with {status}; see {}.log", self.workspace.display());
        }
        Outcome::from_report(&read_report(&self.workspace)?)
    }

    /// The status of a run that ended by itself before the moment; otherwise it is killed and reaped.
    fn run_until(&self, mut command: Command, moment: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + moment;
        let mut child = self.logged(&mut command)?.spawn().context("cannot start trex")?;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().context("cannot wait for trex")? {
                return Ok(Some(status));
            }
            sleep(POLL);
        }
        child.kill().context("cannot kill trex")?;
        let status = child.wait().context("cannot wait for trex")?;
        // It may have ended between the last look and the kill.
        Ok(status.success().then_some(status))
    }

    fn logged<'c>(&self, command: &'c mut Command) -> Result<&'c mut Command> {
        let log = || self.log.try_clone().context("cannot share the log");
        Ok(command.stdout(log()?).stderr(log()?))
    }
}

/// Random moments by SplitMix64 (Steele, Lea and Flood, 2014), so that a run of this benchmark can be repeated.
struct Moments {
    state: u64,
    wall_s: f64,
}

impl Moments {
    fn next(&mut self) -> Duration {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let uniform = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(self.wall_s * (MOMENTS.start + uniform * (MOMENTS.end - MOMENTS.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_repeat_and_stay_in_range() {
        let draw = || {
            let mut moments = Moments { state: 7, wall_s: 10.0 };
            std::array::from_fn::<f64, 100, _>(|_| moments.next().as_secs_f64())
        };
        let drawn = draw();
        assert_eq!(drawn.map(f64::to_bits), draw().map(f64::to_bits));
        assert!(drawn.iter().all(|moment| (0.2..6.0).contains(moment)), "{drawn:?}");
        assert!(drawn.iter().any(|moment| *moment < 1.5) && drawn.iter().any(|moment| *moment > 5.0), "{drawn:?}");
    }

    #[test]
    fn a_round_that_differs_fails_the_benchmark() {
        let undisturbed = Outcome {
            final_score: json!({"score": 0.5}),
            verdict: json!("improved"),
            trials: json!(3),
            adapter: json!("abc"),
        };
        let mut result = KillResult { kills: 5, rounds: 1, undisturbed, undisturbed_s: 1.0, differences: Vec::new() };
        assert!(result.require_equal().is_ok());
        result.differences.push("round 1: trials: 3 became 4".to_owned());
        assert!(result.require_equal().unwrap_err().to_string().contains("3 became 4"));
        assert!(result.measurement().rows.contains(&("kills".to_owned(), "5".to_owned())));
    }
}
