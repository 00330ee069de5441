//! The desktop window: what it needs, how it is built, tested, shown and packed. Its workspaces (`src-tauri`,
//! `crates/trex-explorer`) are not part of the main one, so that the headless program builds without WebKit.

mod bundle;
mod clean_tree;
mod held;
mod measure;
mod packages;
mod screens;
mod stage;
mod story;
mod webdriver;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

pub(crate) use clean_tree::inside as inside_bundle;
pub(crate) use measure::measure;
pub(crate) use packages::of_npm;

use crate::command::{answer, cargo, command, run};
use crate::project::Project;
use crate::steps::Steps;

/// What Tauri's documentation lists for Debian, and `librsvg2-bin` for drawing icons.
const BUILD_PACKAGES: &str = "libwebkit2gtk-4.1-dev libgtk-3-dev librsvg2-dev libxdo-dev libayatana-appindicator3-dev \
                              libssl-dev build-essential pkg-config file curl wget rpm";
/// A copy of the lock file that the page's packages were installed from.
const NPM_STAMP: &str = "ui/node_modules/.trex-lock";
pub(crate) const SHELL: &str = "src-tauri/Cargo.toml";
pub(crate) const EXPLORER: &str = "crates/trex-explorer/Cargo.toml";
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Why the window is left out, where that is so: a machine without its libraries and without the means to get them can
/// still build and test everything else.
pub(crate) fn missing(project: &Project) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("the window is built on Linux only so far".to_owned());
    }
    let webkit = answer(command("pkg-config", &project.root).args(["--modversion", "webkit2gtk-4.1"]));
    let npm = answer(command("npm", &project.root).arg("--version"));
    match (webkit, npm) {
        (None, _) => Some("the WebKitGTK development files are missing".to_owned()),
        (_, None) => Some("npm is missing".to_owned()),
        _ => None,
    }
}

/// Installs system packages, the page's packages and the standard library for WebAssembly, where they are missing.
pub(crate) fn setup(project: &Project, steps: &mut Steps) -> Result<()> {
    steps.step("setup: libraries of the window", || {
        if missing(project).is_some()
            && let Err(err) = apt_install(project, BUILD_PACKAGES)
        {
            println!("skipped: 1 window; everything without it works: {err:#}");
        }
        Ok(())
    })?;
    if let Some(why) = missing(project) {
        println!("skipped: 1 window; {why}");
        return Ok(());
    }
    // A source that cannot be reached must not keep anyone from the rest.
    let mut or_skip = |name: &str, install: &dyn Fn() -> Result<()>| {
        steps.step(name, || {
            if let Err(err) = install() {
                println!("skipped: 1 window; everything without it works: {err:#}");
            }
            Ok(())
        })
    };
    or_skip("setup: screen and driver for the test of the window", &|| match stage::missing(project) {
        Some(_) => apt_install(project, stage::PACKAGES),
        None => Ok(()),
    })?;
    or_skip("setup: packages of the page", &|| npm_ci(project))?;
    or_skip("setup: WebAssembly", &|| wasm_toolchain(project).map(drop))
}

/// Why the window cannot be built and tested, after the set-up.
pub(crate) fn unready(project: &Project) -> Option<String> {
    if let Some(why) = missing(project) {
        return Some(why);
    }
    if !project.root.join(NPM_STAMP).exists() {
        return Some("the packages of the page are missing".to_owned());
    }
    wasm_toolchain(project).err().map(|err| format!("{err:#}"))
}

pub(crate) fn apt_install(project: &Project, packages: &str) -> Result<()> {
    let is_root = answer(command("id", &project.root).arg("-u")).as_deref() == Some("0");
    if !is_root || answer(command("apt-get", &project.root).arg("--version")).is_none() {
        bail!("as root: apt-get install {packages}");
    }
    run(command("apt-get", &project.root).args(["update", "-qq"]))?;
    let mut install = command("apt-get", &project.root);
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-q", "--no-install-recommends"]);
    run(install.args(packages.split_whitespace()))
}

/// From the lock file; nothing is done while what is there was installed from the same one.
fn npm_ci(project: &Project) -> Result<()> {
    let lock = project.root.join("ui/package-lock.json");
    let stamp = project.root.join(NPM_STAMP);
    let wanted = std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        println!("found: ui/node_modules");
        return Ok(());
    }
    run(command("npm", &project.root.join("ui")).args(["ci", "--no-audit", "--no-fund"]))?;
    std::fs::write(&stamp, wanted).context("cannot write into ui/node_modules")
}

/// The folder of a toolchain of our own; `None` where rustup has the target.
fn wasm_toolchain(project: &Project) -> Result<Option<PathBuf>> {
    let folder = project.target.join("wasm-toolchain");
    let script = project.root.join("scripts/wasm-std.sh");
    let mut command = command("bash", &project.root);
    let said = answer(command.arg(script).env("WASM_TOOLCHAIN_DIR", folder)).context("scripts/wasm-std.sh failed")?;
    let said = said.lines().last().unwrap_or_default().to_owned();
    println!("standard library for {WASM_TARGET}: {said}");
    Ok((said != "rustup").then(|| PathBuf::from(said)))
}

/// The explorer as WebAssembly, the page, and the shell with both in it; returns the program.
pub(crate) fn build(project: &Project, steps: &mut Steps, release: bool) -> Result<PathBuf> {
    build_page(project, steps, release)?;
    steps.step("window: shell", || {
        let profile: &[&str] = if release { &["--release"] } else { &[] };
        run(cargo_of(project, SHELL, &["build", "--features", "custom-protocol"]).args(profile))
    })?;
    let folder = if release { "release" } else { "debug" };
    Ok(project.target.join("app").join(folder).join("trex-app"))
}

/// The page in `ui/dist`; without `release` its picture is neither small nor as fast as it can be, and ready minutes earlier.
pub(crate) fn build_page(project: &Project, steps: &mut Steps, release: bool) -> Result<()> {
    let profile = if release { "release" } else { "wasm-dev" };
    steps.step("window: explorer", || build_explorer(project, profile))?;
    steps.step("window: page", || {
        packages::write(project)?;
        run(&mut npx(project, &["vite", "build"]))
    })
}

fn build_explorer(project: &Project, profile: &str) -> Result<()> {
    let arguments = [
        "build",
        "-p",
        "trex-explorer-web",
        "--profile",
        profile,
        "--target",
        WASM_TARGET,
        "--manifest-path",
        EXPLORER,
    ];
    let target = match wasm_toolchain(project)? {
        None => {
            run(&mut cargo_of(project, EXPLORER, &arguments[..7]))?;
            project.target.join("explorer")
        }
        Some(toolchain) => {
            // cargo does not notice that a standard library was made anew, so what was built with it lies beside it.
            let target = toolchain.join("target");
            let mut command = command(toolchain.join("bin/cargo"), &project.root);
            command.args(arguments).arg("--target-dir").arg(&target);
            run(command.env("RUSTC", toolchain.join("bin/rustc")).env_remove("RUSTUP_TOOLCHAIN"))?;
            target
        }
    };
    let wasm = target.join(WASM_TARGET).join(profile).join("trex_explorer_web.wasm");
    let mut pack = cargo_of(project, EXPLORER, &["run", "--quiet", "-p", "trex-explorer-pack", "--"]);
    run(pack.arg(wasm).arg(project.root.join("ui/src/wasm")))
}

/// Format, lints and tests of both workspaces, and of the page. Needs the page to be built: the shell embeds it.
pub(crate) fn checks(project: &Project, steps: &mut Steps) -> Result<()> {
    if let Some(why) = unready(project) {
        println!("skipped: 1 window; {why}");
        return Ok(());
    }
    build_page(project, steps, false)?;
    steps.step("window: page is checked", || {
        let arguments = ["svelte-check", "--tsconfig", "./tsconfig.json", "--fail-on-warnings"];
        run(&mut npx(project, &arguments))?;
        run(&mut npx(project, &["vitest", "run"]))
    })?;
    for (name, manifest) in [("explorer", EXPLORER), ("shell", SHELL)] {
        steps.step(&format!("window: {name} is checked"), || {
            run(&mut cargo_of(project, manifest, &["fmt", "--check"]))?;
            let lints = ["clippy", "-p", if name == "shell" { "trex-app" } else { "trex-explorer" }, "--all-targets"];
            // The same features as the window that is shown, so that nothing is built twice.
            let features: &[&str] = if name == "shell" { &["--features", "custom-protocol"] } else { &[] };
            run(cargo_of(project, manifest, &lints).args(features).args(["--", "-D", "warnings"]))?;
            let package = if name == "shell" { "trex-app" } else { "trex-explorer" };
            run(cargo_of(project, manifest, &["nextest", "run", "-p", package]).args(features))
        })?;
    }
    Ok(())
}

/// The story of the window, where there can be a screen for it.
pub(crate) fn story(project: &Project, steps: &mut Steps) -> Result<()> {
    if let Some(why) = unready(project).or_else(|| stage::missing(project)) {
        println!("skipped: 1 story of the window; {why}");
        return Ok(());
    }
    steps.step("story: trex", || run(&mut cargo(&project.root, &["build", "--workspace", "--bin", "trex"])))?;
    let app = build(project, steps, false)?;
    story::play(project, steps, &app, &project.debug_trex())
}

/// The same with what was built before, as it is for daily work or as it is packed.
pub(crate) fn story_as_built(project: &Project, steps: &mut Steps, release: bool) -> Result<()> {
    if let Some(why) = stage::missing(project) {
        bail!("the story cannot be played here: {why}");
    }
    let (folder, trex) = if release { ("release", project.trex()) } else { ("debug", project.debug_trex()) };
    story::play(project, steps, &project.target.join("app").join(folder).join("trex-app"), &trex)
}

/// Shows the window on a workspace and returns when it is closed.
pub(crate) fn open(project: &Project, steps: &mut Steps, workspace: Option<&Path>) -> Result<()> {
    let app = build(project, steps, false)?;
    steps.step("window", || run(&mut show(project, &app, workspace)))
}

/// The command that shows the window.
fn show(project: &Project, app: &Path, workspace: Option<&Path>) -> Command {
    let mut window = command(app, &project.root);
    window.args(workspace).env("TREX_PROGRAM", project.trex());
    window
}

/// Begins to show the window beside a run, where there is a display.
pub(crate) fn show_beside(project: &Project, app: &Path, workspace: &Path) {
    if let Err(err) = show(project, app, Some(workspace)).spawn() {
        println!("no window: {err}");
    }
}

/// Whether a window can be shown.
pub(crate) fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The packages for installing, with the `trex` program beside the window.
pub(crate) fn bundle(project: &Project, steps: &mut Steps) -> Result<()> {
    let packages = bundle::make(project, steps)?;
    steps.step("bundle: what is in it", || bundle::look_into(project, &packages))
}

/// The packages as they were made before: what is in them, and whether they work in a clean system without a network.
pub(crate) fn check_bundle(project: &Project, steps: &mut Steps) -> Result<()> {
    let packages = bundle::Packages::find(project)?;
    steps.step("bundle: tools", || clean_tree::tools(project))?;
    steps.step("bundle: what is in it", || bundle::look_into(project, &packages))?;
    clean_tree::check(project, steps, &packages)
}

/// cargo on one of the window's workspaces, with a target folder of its own below ours.
fn cargo_of<S: AsRef<OsStr>>(project: &Project, manifest: &str, arguments: &[S]) -> Command {
    let folder = if manifest == SHELL { "app" } else { "explorer" };
    let mut command = cargo(&project.root, &[]);
    let (first, rest) = arguments.split_at(1);
    // `cargo nextest run` takes the manifest behind its own subcommand.
    let is_nextest = first.iter().any(|word| word.as_ref() == "nextest");
    let (head, rest) = if is_nextest { arguments.split_at(2) } else { (first, rest) };
    command.args(head).args(["--manifest-path", manifest]).args(rest);
    command.env("CARGO_TARGET_DIR", project.target.join(folder));
    command
}

fn npx(project: &Project, arguments: &[&str]) -> Command {
    let mut command = command("npx", &project.root.join("ui"));
    command.arg("--no-install").args(arguments);
    command
}
