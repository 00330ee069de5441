//! Who may depend on whom, as tables. The reasons are the layers: shells → engine → adapters → domain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata};

use super::Violation;

/// What each crate of ours may import of ours. A crate that is absent here is a violation itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("trex-domain", &[]),
    ("trex-fs", &["trex-domain"]),
    ("trex-search", &["trex-domain"]),
    ("trex-eval", &["trex-domain"]),
    ("trex-chat", &["trex-domain", "trex-fs"]),
    ("trex-data", &["trex-domain", "trex-fs", "trex-chat"]),
    ("trex-train", &["trex-domain", "trex-fs", "trex-chat", "trex-eval"]),
    ("trex-store", &["trex-domain", "trex-fs"]),
    ("trex-library", &["trex-domain", "trex-fs"]),
    ("trex-research", &["trex-domain", "trex-fs", "trex-search"]),
    ("trex-ftbench", &["trex-domain"]),
    ("trex-engine", &["trex-domain", "trex-fs", "trex-search", "trex-eval"]),
    ("trex-testkit", &["trex-domain"]),
    ("trex-cli", ANY),
    ("xtask", &[]),
];

/// A shell wires everything together.
const ANY: &[&str] = &["*"];

/// Fakes and fixtures: imported by tests only.
const TESTKIT: &str = "trex-testkit";

/// Crates of others that only the named crates of ours may import, in tests too.
const RESERVED: &[(&str, &[&str])] = &[
    ("candle-core", &["trex-train"]),
    // Several of its operations silently have no backward pass.
    ("candle-nn", &[]),
    ("arrow-array", &["trex-data"]),
    ("arrow-ipc", &["trex-data"]),
    ("arrow-schema", &["trex-data"]),
    ("parquet", &["trex-data"]),
    ("rusqlite", &["trex-store"]),
    ("rusqlite_migration", &["trex-store"]),
    ("hf-hub", &["trex-research"]),
    ("ureq", &["trex-research"]),
    ("reqwest", &["trex-research"]),
    ("keyring", &["trex-research"]),
    ("axum", &["trex-cli"]),
    ("tokio", &["trex-cli"]),
];

/// What must not be reachable from the domain, which stays pure.
const NOT_BELOW_DOMAIN: &[&str] =
    &["tokio", "candle-core", "rusqlite", "hf-hub", "ureq", "reqwest", "arrow", "arrow-array", "egui", "tauri"];

/// The dependencies as cargo resolves them for this machine.
#[derive(Default)]
pub(super) struct Graph {
    /// Our crates and their declared dependencies.
    pub(super) members: BTreeMap<String, Vec<Declared>>,
    /// Every package and what it is built from; dependencies of tests are left out.
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// A line below `[dependencies]` and its like.
pub(super) struct Declared {
    name: String,
    only_tests: bool,
}

impl Graph {
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let mut graph = Self::default();
        for package in metadata.workspace_packages() {
            let declared = package.dependencies.iter().map(|dependency| Declared {
                name: dependency.name.clone(),
                only_tests: dependency.kind == DependencyKind::Development,
            });
            graph.members.insert(package.name.to_string(), declared.collect());
        }
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        for node in nodes {
            let built_from = node
                .deps
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|info| info.kind != DependencyKind::Development));
            let names = built_from.map(|dependency| metadata[&dependency.pkg].name.to_string());
            graph.edges.entry(metadata[&node.id].name.to_string()).or_default().extend(names);
        }
        graph
    }

    /// The shortest chain of packages from one to another.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut reached_from = BTreeMap::from([(from, None)]);
        let mut queue = VecDeque::from([from]);
        while let Some(package) = queue.pop_front() {
            if package == to {
                let chain =
                    std::iter::successors(Some(package), |package| reached_from.get(package).copied().flatten());
                let mut path: Vec<String> = chain.map(str::to_owned).collect();
                path.reverse();
                return Some(path);
            }
            for next in self.edges.get(package).into_iter().flatten() {
                if !reached_from.contains_key(next.as_str()) {
                    reached_from.insert(next, Some(package));
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// All import rules.
pub(super) fn check(graph: &Graph) -> Vec<Violation> {
    let mut violations = check_domain(graph);
    for (member, dependencies) in &graph.members {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == member) else {
            violations
                .push(Violation::new(member, "a new crate needs its line in `LAYERS` of xtask/src/tidy/imports.rs"));
            continue;
        };
        for dependency in dependencies {
            let place = format!("{member} → {}", dependency.name);
            violations.extend(check_ours(graph, allowed, dependency).map(|rule| Violation::new(&place, rule)));
            violations.extend(check_reserved(member, dependency).map(|rule| Violation::new(&place, rule)));
        }
    }
    violations
}

fn check_ours(graph: &Graph, allowed: &[&str], dependency: &Declared) -> Option<String> {
    let name = dependency.name.as_str();
    if !graph.members.contains_key(name) {
        return None;
    }
    if name == TESTKIT {
        let may_test = allowed.contains(&"trex-domain") || allowed == ANY;
        let fine = dependency.only_tests && may_test;
        return (!fine).then(|| format!("{TESTKIT} is a dev-dependency of crates above the domain only"));
    }
    let fine = allowed == ANY || allowed.contains(&name);
    (!fine).then(|| format!("of ours this crate may import only {}", list(allowed)))
}

fn check_reserved(member: &str, dependency: &Declared) -> Option<String> {
    // A test may ask a service of ours as other programs do.
    if dependency.only_tests && dependency.name == "ureq" {
        return None;
    }
    let (name, users) = RESERVED.iter().find(|(name, _)| *name == dependency.name)?;
    (!users.contains(&member)).then(|| format!("{name} is imported by {} only", list(users)))
}

fn check_domain(graph: &Graph) -> Vec<Violation> {
    let paths = NOT_BELOW_DOMAIN.iter().filter_map(|name| Some((name, graph.path("trex-domain", name)?)));
    paths.map(|(name, path)| Violation::new(path.join(" → "), format!("the domain is free of {name}"))).collect()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dependencies that begin with `dev:` are those of tests; every member of the table exists.
    fn graph(dependencies: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (member, _) in LAYERS {
            graph.members.insert((*member).to_owned(), Vec::new());
        }
        for (member, dependency) in dependencies {
            let name = dependency.trim_start_matches("dev:").to_owned();
            let only_tests = dependency.starts_with("dev:");
            if !only_tests {
                graph.edges.entry((*member).to_owned()).or_default().insert(name.clone());
            }
            if LAYERS.iter().any(|(ours, _)| ours == member) || member.starts_with("trex-") {
                graph.members.entry((*member).to_owned()).or_default().push(Declared { name, only_tests });
            }
        }
        graph
    }

    #[track_caller]
    fn check_places(dependencies: &[(&str, &str)], expected: &[&str]) {
        let violations = check(&graph(dependencies));
        let places: Vec<&str> = violations.iter().map(|violation| violation.place.as_str()).collect();
        assert_eq!(places, expected, "{violations:?}");
    }

    #[test]
    fn layers_point_one_way() {
        check_places(&[("trex-data", "trex-chat"), ("trex-engine", "trex-search"), ("trex-cli", "trex-train")], &[]);
        check_places(&[("trex-domain", "trex-fs")], &["trex-domain → trex-fs"]);
        check_places(&[("trex-search", "trex-fs")], &["trex-search → trex-fs"]);
        check_places(&[("trex-train", "trex-data")], &["trex-train → trex-data"]);
        check_places(&[("trex-engine", "trex-store")], &["trex-engine → trex-store"]);
        check_places(&[("trex-store", "dev:trex-train")], &["trex-store → trex-train"]);
        check_places(&[("xtask", "trex-domain")], &["xtask → trex-domain"]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        check_places(&[("trex-engine", "dev:trex-testkit"), ("trex-cli", "dev:trex-testkit")], &[]);
        check_places(&[("trex-engine", "trex-testkit")], &["trex-engine → trex-testkit"]);
        check_places(&[("trex-cli", "trex-testkit")], &["trex-cli → trex-testkit"]);
        check_places(&[("trex-domain", "dev:trex-testkit")], &["trex-domain → trex-testkit"]);
    }

    #[test]
    fn heavy_crates_have_one_user() {
        check_places(&[("trex-train", "candle-core"), ("trex-store", "rusqlite"), ("trex-research", "hf-hub")], &[]);
        check_places(&[("trex-cli", "candle-core")], &["trex-cli → candle-core"]);
        check_places(&[("trex-train", "dev:candle-nn")], &["trex-train → candle-nn"]);
        check_places(&[("trex-engine", "dev:rusqlite")], &["trex-engine → rusqlite"]);
        check_places(&[("trex-data", "ureq"), ("trex-cli", "dev:ureq")], &["trex-data → ureq"]);
    }

    #[test]
    fn the_domain_is_pure_below_the_surface_too() {
        check_places(
            &[("trex-domain", "helper"), ("helper", "deeper"), ("deeper", "tokio"), ("tokio", "helper")],
            &["trex-domain → helper → deeper → tokio"],
        );
    }

    #[test]
    fn a_new_crate_needs_a_rule() {
        check_places(&[("trex-new", "serde")], &["trex-new"]);
    }
}
