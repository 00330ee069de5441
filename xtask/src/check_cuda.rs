//! Type-checks the build for NVIDIA cards where there is no card: a CUDA compiler out of Python wheels, then `cargo check`.
//!
//! It compiles candle's kernels and checks all of our code with the `cuda` feature. It links nothing and runs nothing: the
//! wheels hold no driver library. Where the wheels cannot be had, that is said and counted, not an error.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::{answer, cargo, command, run};
use crate::project::Project;
use crate::steps::Steps;

/// Compiler, front end, optimiser and headers. 13.2 because the driver bindings that candle takes refuse newer compilers.
const COMPILER: [&str; 4] = ["nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-runtime"];
const COMPILER_VERSION: &str = ">=13.2,<13.3";

/// Headers of any version.
const HEADERS: [&str; 2] = ["nvidia-cuda-cccl", "nvidia-curand"];

/// Where the wheels put their files.
const TOOLKIT: &str = "nvidia/cu13";

/// The compute capability that is compiled for: the first with products of bfloat16.
const COMPUTE_CAPABILITY: &str = "80";

/// Brings a compiler and checks `trex` with it.
pub(crate) fn check_cuda(project: &Project, steps: &mut Steps) -> Result<()> {
    let folder = project.target.join("cuda");
    let home = steps.step("CUDA compiler", || match compiler(project, &folder) {
        Ok(home) => Ok(Some(home)),
        Err(err) => {
            println!("skipped: 1 compiler (CUDA 13.2 out of Python wheels): {err:#}");
            Ok(None)
        }
    })?;
    let Some(home) = home else {
        println!("check-cuda: 0 builds checked, 1 skipped");
        return Ok(());
    };
    steps.step("check with cuda", || {
        let mut check = cargo(&project.root, &["check", "--package", "trex-cli", "--features", "cuda"]);
        check.env("CUDA_HOME", &home).env("CUDA_PATH", &home).env("PATH", path_with(&home.join("bin"))?);
        check.env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY).env("CARGO_TARGET_DIR", folder.join("build"));
        run(&mut check)
    })?;
    println!("check-cuda: 1 build checked, 0 skipped; nothing was linked or run");
    Ok(())
}

/// The folder of a toolkit: one that was unpacked before, else out of fresh wheels.
fn compiler(project: &Project, folder: &Path) -> Result<PathBuf> {
    let (toolkit, wheels) = (folder.join("toolkit"), folder.join("wheels"));
    let home = toolkit.join(TOOLKIT);
    if let Some(version) = answer(command(home.join("bin/nvcc"), &project.root).arg("--version")) {
        println!("found: {}", version.lines().last().unwrap_or_default());
        return Ok(home);
    }
    std::fs::create_dir_all(&wheels).with_context(|| format!("cannot create {}", wheels.display()))?;
    let pip = ["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input", "--retries", "1"];
    for wanted in wanted() {
        let mut download = command("python3", &project.root);
        run(download.args(pip).args(["--progress-bar", "off", &wanted, "-d"]).arg(&wheels))?;
    }
    for wheel in files_of(&wheels)? {
        run(command("python3", &project.root).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&toolkit))?;
    }
    // Python's zipfile drops the permission to execute.
    for programs in ["bin", "nvvm/bin"] {
        files_of(&home.join(programs))?.iter().try_for_each(|file| make_executable(file))?;
    }
    answer(command(home.join("bin/nvcc"), &project.root).arg("--version"))
        .context("the unpacked nvcc does not start")?;
    Ok(home)
}

/// What is asked of pip.
fn wanted() -> Vec<String> {
    let compiler = COMPILER.iter().map(|name| format!("{name}{COMPILER_VERSION}"));
    compiler.chain(HEADERS.iter().map(|name| (*name).to_owned())).collect()
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("cannot list {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        files.extend(path.is_file().then_some(path));
    }
    files.sort();
    Ok(files)
}

fn make_executable(file: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file, mode).with_context(|| format!("cannot change {}", file.display()))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// The search path with a folder in front.
fn path_with(first: &Path) -> Result<OsString> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).context("a folder of the search path cannot be written down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_pinned_and_headers_are_not() {
        let wanted = wanted();
        assert_eq!(wanted.len(), COMPILER.len() + HEADERS.len());
        assert!(wanted.contains(&"nvidia-cuda-nvcc>=13.2,<13.3".to_owned()), "{wanted:?}");
        assert!(wanted.contains(&"nvidia-curand".to_owned()), "{wanted:?}");
    }

    #[test]
    fn the_compiler_comes_first_on_the_search_path() {
        let path = path_with(Path::new("/cuda/bin")).unwrap();
        assert_eq!(std::env::split_paths(&path).next().unwrap(), Path::new("/cuda/bin"));
    }

    #[test]
    fn only_files_are_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["c", "b"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(files_of(dir.path()).unwrap(), [dir.path().join("b"), dir.path().join("c")]);
        assert!(files_of(&dir.path().join("absent")).is_err());
    }
}
