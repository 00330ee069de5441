//! `cargo xtask …`: what people and the CI do with this repository, in one place and without shell scripts.
//!
//! Single-threaded; every command says what it does as it goes and how long it took. It deliberately imports no crate of
//! ours: the application is driven through its binary, as a person would.

mod app;
mod bench;
mod check_cuda;
mod checks;
mod command;
mod demo;
mod gpu_suite;
mod interop;
mod outcome;
mod project;
mod setup;
mod steps;
mod tidy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::project::Project;

/// Project automation for TREX.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what is missing: C compiler, test runner, rustfmt, clippy, a small real model, what the window needs
    Setup,
    /// Sets up, builds and runs the small built-in task from start to report
    Demo {
        /// Seed of the run
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Folder of the workspace; by default target/demo, which is emptied first
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Builds the desktop window and shows it
    App {
        /// Workspace to show; by default the newest that was open
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Plays what a person does with the window, in the real one on a screen that nobody sees
    Story {
        /// Takes window and `trex` as they were built before
        #[arg(long)]
        built: bool,
        /// Takes those that `bundle` built
        #[arg(long, conflicts_with = "built")]
        bundled: bool,
    },
    /// Makes the packages for installing the window, with the `trex` program in it
    Bundle {
        /// Takes the packages as they were made before, installs the .deb into a clean Debian, and uses it without a network
        #[arg(long)]
        check: bool,
    },
    /// What `bundle --check` does where there is no network
    #[command(hide = true)]
    BundleInside {
        /// The clean Debian
        tree: PathBuf,
    },
    /// Sets up and runs every check and test there is
    Test,
    /// The same as `test` without the set-up
    Check,
    /// Checks import rules, file rules, licences and links
    Tidy,
    /// Makes the bundled model anew; further arguments go to `trex make-model`
    MakeModel {
        /// Passed through as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Has PEFT, transformers and llama.cpp load exports of two models, and compares their numbers with ours
    Interop {
        /// An interpreter that has the packages; by default a virtual environment below target/interop
        #[arg(long, value_name = "FILE")]
        python: Option<PathBuf>,
    },
    /// Type-checks the build for NVIDIA cards with a CUDA compiler out of Python wheels; needs no card
    CheckCuda,
    /// Runs the tests of numbers on a device and makes a table of how far they are off
    GpuSuite {
        /// cuda, cuda:N, metal, or cpu for the same code on the processor
        #[arg(long, default_value = "cuda")]
        device: String,
    },
    /// Measures and writes target/bench
    Bench {
        #[command(subcommand)]
        benchmark: bench::Benchmark,
    },
}

fn main() -> ExitCode {
    let Err(err) = dispatch(Arguments::parse().task) else { return ExitCode::SUCCESS };
    eprintln!("error: {err:#}");
    ExitCode::FAILURE
}

fn dispatch(task: Task) -> anyhow::Result<()> {
    let project = Project::find()?;
    match task {
        Task::Setup => steps::run("setup", |steps| setup::setup(&project, steps)),
        Task::Demo { seed, workspace } => {
            steps::run("demo", |steps| demo::demo(&project, steps, seed, workspace.as_deref()))
        }
        Task::App { workspace } => steps::run("app", |steps| {
            setup::setup(&project, steps)?;
            demo::build(&project, steps)?;
            app::open(&project, steps, workspace.as_deref())
        }),
        Task::Story { built: true, .. } => steps::run("story", |steps| app::story_as_built(&project, steps, false)),
        Task::Story { bundled: true, .. } => steps::run("story", |steps| app::story_as_built(&project, steps, true)),
        Task::Story { .. } => steps::run("story", |steps| app::story(&project, steps)),
        Task::Bundle { check: false } => steps::run("bundle", |steps| {
            setup::setup(&project, steps)?;
            app::bundle(&project, steps)
        }),
        Task::Bundle { check: true } => steps::run("bundle", |steps| app::check_bundle(&project, steps)),
        Task::BundleInside { tree } => steps::run("bundle", |steps| app::inside_bundle(&project, steps, &tree)),
        Task::Test => steps::run("test", |steps| {
            setup::setup(&project, steps)?;
            checks::checks(&project, steps)
        }),
        Task::Check => steps::run("check", |steps| checks::checks(&project, steps)),
        Task::Tidy => steps::run("tidy", |steps| steps.step("tidy", || tidy::tidy(&project))),
        Task::MakeModel { arguments } => {
            steps::run("make-model", |steps| demo::make_model(&project, steps, &arguments))
        }
        Task::Interop { python } => steps::run("interop", |steps| interop::interop(&project, steps, python)),
        Task::CheckCuda => steps::run("check-cuda", |steps| check_cuda::check_cuda(&project, steps)),
        Task::GpuSuite { device } => steps::run("gpu-suite", |steps| gpu_suite::gpu_suite(&project, steps, &device)),
        Task::Bench { benchmark } => steps::run("bench", |steps| bench::bench(&project, steps, &benchmark)),
    }
}
