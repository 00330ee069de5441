//! Every package that is linked must be usable under a licence of the list in deny.toml. Reads what packages declare
//! about themselves; it does not look into their files.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::Metadata;

use super::Violation;
use crate::app;

/// Packages whose licence expression cannot be met from the list.
pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Violation>> {
    let allowed = list_of(root)?;
    let foreign = metadata.packages.iter().filter(|package| package.source.is_some());
    let violations = foreign.filter_map(|package| {
        let expression = package.license.as_deref().unwrap_or("none declared");
        violation(&package.name, &package.version.to_string(), expression, &allowed)
    });
    Ok(violations.collect())
}

/// The same for the packages of the page, by their lock file.
pub(super) fn check_npm(root: &Path) -> Result<Vec<Violation>> {
    let allowed = list_of(root)?;
    let lock =
        std::fs::read_to_string(root.join("ui/package-lock.json")).context("cannot read ui/package-lock.json")?;
    let lock = serde_json::from_str(&lock).context("ui/package-lock.json is not JSON")?;
    let packages = app::of_npm(&lock);
    let violations =
        packages.iter().filter_map(|(_, name, version, license)| violation(name, version, license, &allowed));
    Ok(violations.collect())
}

fn list_of(root: &Path) -> Result<BTreeSet<String>> {
    allowed_licenses(&std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?)
}

fn violation(name: &str, version: &str, expression: &str, allowed: &BTreeSet<String>) -> Option<Violation> {
    (!is_met(expression, allowed)).then(|| Violation::new(format!("{name} {version}"), rule(expression)))
}

fn rule(expression: &str) -> String {
    format!("its licence ({expression}) is not in deny.toml")
}

fn allowed_licenses(deny_toml: &str) -> Result<BTreeSet<String>> {
    let table: toml::Table = deny_toml.parse().context("deny.toml is not TOML")?;
    let list = table.get("licenses").and_then(|licenses| licenses.get("allow")).and_then(toml::Value::as_array);
    let names = list.context("deny.toml has no list `licenses.allow`")?.iter();
    Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// Whether an SPDX expression (annex D of the SPDX specification; `/` is cargo's old spelling of OR) can be met.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    met == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed)?;
    }
    Some(met)
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let met = any_of(words, allowed)?;
        return words.next_if_eq(&")").map(|_| met);
    }
    let mut license = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        license = format!("{license} WITH {}", words.next()?);
    }
    Some(allowed.contains(&license))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: bool) {
        let allowed = allowed_licenses("[licenses]\nallow = ['MIT', 'ISC', 'A WITH B']").unwrap();
        assert_eq!(is_met(expression, &allowed), expected, "{expression}");
    }

    #[test]
    fn expressions_are_met_or_not() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0/MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("(GPL-3.0 OR MIT) AND ISC", true);
        check("ISC AND (GPL-3.0 OR LGPL-2.1)", false);
        check("A WITH B", true);
        check("A", false);
        check("MIT WITH B", false);
        check("none declared", false);
        check("(MIT", false);
        check("", false);
    }

    #[test]
    fn the_list_is_required() {
        assert!(allowed_licenses("[bans]").unwrap_err().to_string().contains("licenses.allow"));
    }
}
