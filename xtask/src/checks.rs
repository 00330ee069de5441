//! Everything that must hold before a commit, in the order in which it is cheapest to fail.

use anyhow::Result;

use crate::app;
use crate::command::{cargo, run};
use crate::project::Project;
use crate::steps::Steps;
use crate::tidy;

/// Format, lints, tidy, tests, documentation tests and documentation; ends at the first failure.
pub(crate) fn checks(project: &Project, steps: &mut Steps) -> Result<()> {
    let root = &project.root;
    let mut cargo_step = |name: &str, arguments: &[&str]| steps.step(name, || run(&mut cargo(root, arguments)));
    cargo_step("format", &["fmt", "--all", "--check"])?;
    cargo_step("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    steps.step("tidy", || tidy::tidy(project))?;
    app::checks(project, steps)?;
    let mut cargo_step = |name: &str, arguments: &[&str]| steps.step(name, || run(&mut cargo(root, arguments)));
    cargo_step("documentation tests", &["test", "--doc", "--workspace"])?;
    app::story(project, steps)?;
    let mut cargo_step = |name: &str, arguments: &[&str]| steps.step(name, || run(&mut cargo(root, arguments)));
    // Last of the runners, so that its summary closes the output.
    cargo_step("tests", &["nextest", "run", "--workspace"])?;
    steps.step("documentation", || {
        let mut command = cargo(root, &["doc", "--no-deps", "--workspace"]);
        run(command.env("RUSTDOCFLAGS", "-D warnings"))
    })
}
