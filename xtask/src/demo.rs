//! Building the optimised `trex` and running it as a person would: the demo, and the making of the bundled model.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::app;
use crate::command::{cargo, command, run};
use crate::outcome::find_file;
use crate::project::Project;
use crate::setup;
use crate::steps::Steps;

/// The small built-in task that needs no download.
pub(crate) const DEMO_TASK: &str = "ftbench/mini-1";

const BUNDLED_MODEL: &str = "assets/models/trex-mini";

/// Sets up, builds, runs the demo task and says where its report lies.
pub(crate) fn demo(project: &Project, steps: &mut Steps, seed: u64, workspace: Option<&Path>) -> Result<()> {
    setup::setup(project, steps)?;
    build(project, steps)?;
    let workspace = demo_workspace(project, workspace)?;
    if app::has_display() && app::unready(project).is_none() {
        let window = app::build(project, steps, false)?;
        app::show_beside(project, &window, &workspace);
    }
    steps.step("run", || run(&mut run_command(project, &workspace, seed)))?;
    let report = find_file(&workspace, "report.html")?;
    println!("\nreport: {}", report.display());
    Ok(())
}

/// Builds `trex` with optimisation.
pub(crate) fn build(project: &Project, steps: &mut Steps) -> Result<()> {
    let arguments = ["build", "--release", "--package", "trex-cli"];
    steps.step("build", || run(&mut cargo(&project.root, &arguments)))
}

/// The command that runs the demo task.
pub(crate) fn run_command(project: &Project, workspace: &Path, seed: u64) -> Command {
    let mut command = command(project.trex(), &project.root);
    command.args(["run", DEMO_TASK, "--workspace"]).arg(workspace).args(["--seed", &seed.to_string()]);
    command
}

/// Builds `trex` and has it make the bundled model.
pub(crate) fn make_model(project: &Project, steps: &mut Steps, arguments: &[OsString]) -> Result<()> {
    build(project, steps)?;
    steps.step("make-model", || {
        let mut command = command(project.trex(), &project.root);
        run(command.args(["make-model", "--out", BUNDLED_MODEL]).args(arguments))
    })
}

/// An empty folder that did not exist, or the old content gone.
pub(crate) fn fresh_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        println!("removing the old {}", folder.display());
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Only our own default folder is emptied; a folder that somebody chose may hold other runs.
fn demo_workspace(project: &Project, chosen: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = chosen {
        return std::path::absolute(folder).with_context(|| format!("cannot resolve {}", folder.display()));
    }
    let folder = project.target.join("demo");
    fresh_folder(&folder)?;
    Ok(folder)
}
