//! The packages that a person installs: made without a download, looked into, and installed into a clean system.
//!
//! Here only .deb and .rpm are made, whose bundler needs no tool from elsewhere. The configuration for other systems lies
//! beside that of this one (`src-tauri/tauri.*.conf.json`) and was never built.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::{answer, command, run};
use crate::project::Project;
use crate::steps::Steps;

/// Size that no package may exceed.
const MOST_MB: f64 = 60.0;

/// What each package must bring, beside its desktop entry and its licences.
const CONTENT: &[&str] = &[
    "/usr/bin/trex",
    "/usr/bin/trex-app",
    "/usr/share/applications/TREX.desktop",
    "/usr/share/icons/hicolor/32x32/apps/trex-app.png",
    "/usr/share/icons/hicolor/128x128/apps/trex-app.png",
    "/usr/share/icons/hicolor/256x256@2/apps/trex-app.png",
    "/usr/share/mime/packages/trex.xml",
    "/usr/share/doc/trex/LICENSE-MIT",
    "/usr/share/doc/trex/LICENSE-APACHE",
];

/// Packages that were made.
pub(super) struct Packages {
    pub(super) deb: PathBuf,
    pub(super) rpm: PathBuf,
}

impl Packages {
    /// What lies where the bundler leaves it.
    pub(super) fn find(project: &Project) -> Result<Self> {
        let one = |kind: &str| {
            let folder = project.target.join("app/release/bundle").join(kind);
            let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
            let paths = entries.flatten().map(|entry| entry.path());
            let found = paths.filter(|path| path.extension().is_some_and(|ending| ending == kind)).max();
            found.with_context(|| format!("no package in {}", folder.display()))
        };
        Ok(Self { deb: one("deb")?, rpm: one("rpm")? })
    }

    pub(super) fn all(&self) -> [&Path; 2] {
        [&self.deb, &self.rpm]
    }
}

/// Builds window and `trex` with optimisation and packs both.
pub(super) fn make(project: &Project, steps: &mut Steps) -> Result<Packages> {
    crate::demo::build(project, steps)?;
    super::build(project, steps, true)?;
    steps.step("bundle: packages", || {
        let binaries = project.root.join("src-tauri/binaries");
        std::fs::create_dir_all(&binaries).context("cannot create src-tauri/binaries")?;
        let host = answer(command("rustc", &project.root).arg("-vV")).context("rustc -vV says nothing")?;
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        std::fs::copy(project.trex(), binaries.join(format!("trex-{host}"))).context("cannot copy trex")?;
        // From the root, because that is where the bundler looks for `src-tauri`.
        let mut tauri = command(project.root.join("ui/node_modules/.bin/tauri"), &project.root);
        tauri.args(["bundle", "--bundles", "deb,rpm", "--config"]);
        tauri.arg(r#"{"bundle":{"externalBin":["binaries/trex"]}}"#);
        run(tauri.env("CARGO_TARGET_DIR", project.target.join("app")))
    })?;
    Packages::find(project)
}

/// Fails where a package is too large or lacks something.
pub(super) fn look_into(project: &Project, packages: &Packages) -> Result<()> {
    for path in packages.all() {
        let mb = megabytes(path)?;
        println!("{}: {mb:.1} MB", project.shown(path));
        if mb > MOST_MB {
            bail!("{} has {mb:.1} MB, more than {MOST_MB}", path.display());
        }
    }
    require("the .deb", &content_of_deb(project, &packages.deb)?)?;
    let Some(listing) = answer(command("rpm", &project.root).arg("-qlp").arg(&packages.rpm)) else {
        println!("skipped: 1 listing of the .rpm; rpm is missing (on Debian: apt-get install rpm)");
        return Ok(());
    };
    require("the .rpm", &listing.lines().map(str::to_owned).collect::<Vec<_>>())
}

pub(super) fn megabytes(path: &Path) -> Result<f64> {
    let meta = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(meta.len() as f64 / 1e6)
}

fn content_of_deb(project: &Project, deb: &Path) -> Result<Vec<String>> {
    let listing = answer(command("dpkg-deb", &project.root).arg("--contents").arg(deb));
    let listing = listing.context("dpkg-deb cannot read the package")?;
    Ok(listing.lines().filter_map(path_of_listing).collect())
}

/// The last column, which begins with `./` or, where the bundler leaves that out, with the path itself.
fn path_of_listing(line: &str) -> Option<String> {
    let path = line.rsplit(' ').next()?.trim_start_matches('.').trim_start_matches('/');
    (!path.is_empty()).then(|| format!("/{path}"))
}

fn require(what: &str, content: &[String]) -> Result<()> {
    let missing: Vec<&str> = CONTENT.iter().filter(|path| !content.iter().any(|one| one == *path)).copied().collect();
    if !missing.is_empty() {
        bail!("{what} has no {}; it has\n{}", missing.join(", "), content.join("\n"));
    }
    println!("{what} has all {} files that it must bring", CONTENT.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_names_paths_whole() {
        let line = "-rwxr-xr-x 0/0        63500496 2026-11-26 20:10 usr/bin/trex";
        assert_eq!(path_of_listing(line).as_deref(), Some("/usr/bin/trex"));
        assert_eq!(path_of_listing("drwxr-xr-x 0/0 0 2026-11-26 20:10 ./usr/").as_deref(), Some("/usr/"));
        assert_eq!(path_of_listing("drwxr-xr-x 0/0 0 2026-11-26 20:10 ./"), None);
    }

    #[test]
    fn a_package_without_the_program_is_refused() {
        let content: Vec<String> = CONTENT.iter().map(|path| (*path).to_owned()).collect();
        require("a package", &content).unwrap();
        let err = require("a package", &content[1..]).unwrap_err().to_string();
        assert!(err.starts_with("a package has no /usr/bin/trex;"), "{err}");
    }
}
