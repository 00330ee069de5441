//! Rules that no compiler checks: who may import whom, what a file must look like, which licences and links hold.
//!
//! Reads and reports only; it never changes a file. Each rule is a pure function over what was read, so that each has a
//! test with an example that breaks it.

mod files;
mod imports;
mod licenses;
mod links;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::app;
use crate::command::{answer, command};
use crate::project::Project;

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// A path, with its line where there is one, or a chain of crates.
    pub(crate) place: String,
    /// The rule, as a sentence.
    pub(crate) rule: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { place: place.into(), rule: rule.into() }
    }
}

/// Checks all rules and prints every violation before it fails.
pub(crate) fn tidy(project: &Project) -> Result<()> {
    let metadata = resolved_metadata(project)?;
    let files = source_files(project)?;
    let graph = imports::Graph::from_metadata(&metadata);
    let mut violations = imports::check(&graph);
    violations.extend(licenses::check(&project.root, &metadata)?);
    violations.extend(licenses::check_npm(&project.root)?);
    // Elsewhere the packages of the window are not even fetched.
    if app::missing(project).is_none() {
        for manifest in [app::SHELL, app::EXPLORER] {
            violations.extend(licenses::check(&project.root, &metadata_of(project, manifest)?)?);
        }
    }
    for file in &files {
        violations.extend(files::check_size(file, size_bytes(project, file)?));
    }
    let (broken, num_links) = check_sources(project, &read_sources(project, &files)?);
    violations.extend(broken);
    violations.sort();
    for violation in &violations {
        println!("{}: {}", violation.place, violation.rule);
    }
    if !violations.is_empty() {
        bail!("{} violations", violations.len());
    }
    let (num_crates, num_packages) = (graph.members.len(), metadata.packages.len());
    println!(
        "tidy: {num_crates} crates, {num_packages} packages, {} files and {num_links} links are in order",
        files.len()
    );
    Ok(())
}

/// The violations in Rust files and pages, and the number of links that were followed.
fn check_sources(project: &Project, sources: &BTreeMap<String, String>) -> (Vec<Violation>, usize) {
    let mut violations = Vec::new();
    let mut num_links = 0;
    let declared = sources.iter().filter(|(file, _)| is_rust(file));
    let test_modules: BTreeSet<String> =
        declared.flat_map(|(file, text)| files::declared_test_modules(file, text)).collect();
    for (file, text) in sources {
        if is_rust(file) {
            violations.extend(files::check_rust(file, text, &test_modules));
        } else {
            let links = links::relative_links(text);
            num_links += links.len();
            violations.extend(links::check(&project.root, file, &links));
        }
    }
    (violations, num_links)
}

/// The text of every Rust file and of every page whose links are checked.
fn read_sources(project: &Project, files: &[String]) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for file in files {
        let is_markdown = Path::new(file).extension().is_some_and(|extension| extension == "md");
        let is_page = is_markdown && (!file.contains('/') || file.starts_with("docs/"));
        if is_page || is_rust(file) {
            let text = std::fs::read_to_string(project.root.join(file));
            sources.insert(file.clone(), text.with_context(|| format!("cannot read {file}"))?);
        }
    }
    Ok(sources)
}

fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs")
}

fn size_bytes(project: &Project, file: &str) -> Result<u64> {
    let metadata = project.root.join(file).metadata();
    Ok(metadata.with_context(|| format!("cannot read {file}"))?.len())
}

/// Limited to this machine's platform, so that nothing has to be fetched for others.
fn resolved_metadata(project: &Project) -> Result<Metadata> {
    metadata_of(project, "Cargo.toml")
}

/// The dependencies of one of our workspaces, as cargo resolves them for this machine.
pub(crate) fn metadata_of(project: &Project, manifest: &str) -> Result<Metadata> {
    let version = answer(command("rustc", &project.root).arg("-vV")).context("cannot run `rustc -vV`")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut command = MetadataCommand::new();
    command.manifest_path(project.root.join(manifest));
    command.current_dir(&project.root).other_options(["--filter-platform".to_owned(), host.to_owned()]);
    command.exec().with_context(|| format!("cannot resolve the dependencies of {manifest}"))
}

/// Every file that git tracks or would track, or all there are where this is no git checkout.
fn source_files(project: &Project) -> Result<Vec<String>> {
    let listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let mut files = if let Some(names) = answer(command("git", &project.root).args(listing)) {
        names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    } else {
        println!("no git checkout: every file outside the target folder is checked");
        let mut found = Vec::new();
        walk(project, &project.root, &mut found)?;
        found
    };
    files.retain(|file: &String| project.root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(project: &Project, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    let listing = || format!("cannot list {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let path: PathBuf = entry.path();
        if entry.file_type().with_context(listing)?.is_dir() {
            if path != project.target && path != project.root.join("target") && entry.file_name() != ".git" {
                walk(project, &path, found)?;
            }
        } else {
            found.push(project.shown(&path).to_string().replace('\\', "/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_without_git() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        for file in ["target/out.rs", ".git/config", "src/lib.rs", "README.md"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let project = Project { target: root.join("target"), root };
        let mut found = Vec::new();
        walk(&project, &project.root, &mut found).unwrap();
        found.sort();
        assert_eq!(found, ["README.md", "src/lib.rs"]);
    }

    #[test]
    fn a_file_of_each_kind_is_checked_by_its_rules() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project { root: dir.path().to_owned(), target: dir.path().join("target") };
        let files = [
            ("src/lib.rs", "fn f() {}\n#[cfg(test)]\nmod sample;\n"),
            ("src/sample.rs", "fn f() { x.unwrap() }\n"),
            ("README.md", "[a](gone.md)\n"),
            ("assets/notes.md", "[a](gone.md)\n"),
        ];
        for (file, text) in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let sources = read_sources(&project, &files.map(|(file, _)| file.to_owned())).unwrap();
        let (violations, num_links) = check_sources(&project, &sources);
        let places: Vec<&str> = violations.iter().map(|violation| violation.place.as_str()).collect();
        assert_eq!((places.as_slice(), num_links), (["README.md:1", "src/lib.rs"].as_slice(), 1));
    }
}
