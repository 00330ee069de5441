//! What the window and the program in it are built from, with versions and licences: a list for its page to show. Made anew
//! with every build of the page; what may be linked at all is for tidy to say.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use cargo_metadata::Metadata;
use serde_json::{Value, json};

use super::{EXPLORER, SHELL};
use crate::project::Project;
use crate::tidy::metadata_of;

/// Where the page finds it.
const LIST: &str = "ui/src/made/packages.json";

/// A package: which client serves it, name, version, licence.
type Package = (String, String, String, String);

/// Writes the list.
pub(super) fn write(project: &Project) -> Result<()> {
    let mut packages = BTreeSet::new();
    for manifest in ["Cargo.toml", SHELL, EXPLORER] {
        packages.extend(of_cargo(&metadata_of(project, manifest)?));
    }
    let lock = project.root.join("ui/package-lock.json");
    let lock = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    packages.extend(of_npm(&serde_json::from_str(&lock).context("ui/package-lock.json is not JSON")?));
    let list: Vec<Value> =
        packages.iter().map(|(client, name, version, license)| json!([client, name, version, license])).collect();
    let file = project.root.join(LIST);
    let folder = file.parent().context("the list has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    println!("{} packages with their licences", list.len());
    std::fs::write(&file, format!("{}\n", json!(list))).with_context(|| format!("cannot write {LIST}"))
}

fn of_cargo(metadata: &Metadata) -> impl Iterator<Item = Package> {
    let foreign = metadata.packages.iter().filter(|package| package.source.is_some());
    foreign.map(|package| {
        let license = package.license.clone().unwrap_or_else(|| "none declared".to_owned());
        ("cargo".to_owned(), package.name.to_string(), package.version.to_string(), license)
    })
}

/// Every package of a lock file of npm, by the last part of its folder.
pub(crate) fn of_npm(lock: &Value) -> Vec<Package> {
    let packages = lock["packages"].as_object().into_iter().flatten();
    let named = packages.filter_map(|(folder, package)| {
        let name = folder.rsplit_once("node_modules/")?.1;
        let word = |key: &str, absent: &str| package[key].as_str().unwrap_or(absent).to_owned();
        Some(("npm".to_owned(), name.to_owned(), word("version", "?"), word("license", "none declared")))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_npm_are_read_from_the_lock_file() {
        let lock = json!({ "packages": {
            "": { "name": "trex-ui" },
            "node_modules/a": { "version": "1.0.0", "license": "MIT" },
            "node_modules/a/node_modules/@b/c": { "version": "2.0.0" },
        } });
        let word = |text: &str| text.to_owned();
        let expected = vec![
            (word("npm"), word("a"), word("1.0.0"), word("MIT")),
            (word("npm"), word("@b/c"), word("2.0.0"), word("none declared")),
        ];
        assert_eq!(of_npm(&lock), expected);
    }
}
