//! What every file must look like. Knows text only: nothing is parsed further than comments and strings.

use std::collections::BTreeSet;
use std::path::Path;

use super::Violation;
use super::scan::{blank_comments_and_strings, blank_test_items, test_items};

const MAX_LINES: usize = 600;
const MAX_BYTES: u64 = 1 << 20;

/// Folders that may hold large files, each with its reason.
const LARGE_FILES: &[(&str, &str)] =
    &[("assets/models/", "the weights of the bundled model, so that a first run needs no download")];

/// Code that is nowhere allowed, with what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or is deleted"),
    ("env::temp_dir", "shared temporary names collide; take a folder as an argument"),
];

/// Code that is allowed in tests only, with what to do instead.
const BANNED_OUTSIDE_TESTS: &[(&str, &str)] = &[
    (".unwrap()", "return an error that names the fact"),
    ("#[allow(", "use #[expect(lint, reason = \"…\")]"),
    ("#![allow(", "use #![expect(lint, reason = \"…\")]"),
    ("todo!(", "finish it or leave it out"),
    ("unimplemented!(", "finish it or leave it out"),
];

/// Large files bloat every clone for ever.
pub(super) fn check_size(file: &str, size_bytes: u64) -> Option<Violation> {
    let expected_here = LARGE_FILES.iter().any(|(folder, _)| file.starts_with(folder));
    let too_large = size_bytes > MAX_BYTES && !expected_here;
    too_large
        .then(|| Violation::new(file, format!("{size_bytes} bytes: only the folders of `LARGE_FILES` hold over 1 MiB")))
}

/// All rules for one Rust file. `test_modules` holds the paths, without ending, of modules below `#[cfg(test)]`.
pub(super) fn check_rust(file: &str, text: &str, test_modules: &BTreeSet<String>) -> Vec<Violation> {
    let is_test = is_test_file(file, test_modules);
    let mut violations = Vec::new();
    let mut broken = |rule: &str| violations.push(Violation::new(file, rule));
    if file.rsplit('/').next() == Some("mod.rs") {
        broken("no mod.rs: name it foo.rs beside foo/");
    }
    if !is_test && !text.starts_with("//!") {
        broken("the first line is `//!` and says what the file is for");
    }
    let explained = text.lines().take(3).any(|line| line.starts_with("//! Long because"));
    if text.lines().count() > MAX_LINES && !explained {
        broken("over 600 lines: split it, or say `//! Long because …` in the first three lines");
    }
    let code = blank_comments_and_strings(text);
    violations.extend(banned(file, &code, BANNED));
    if !is_test {
        violations.extend(banned(file, &blank_test_items(&code), BANNED_OUTSIDE_TESTS));
    }
    violations
}

/// Paths, without ending, of the files that this file declares as `mod name;` below `#[cfg(test)]`.
pub(super) fn declared_test_modules(file: &str, text: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let own_folder = if ["lib", "main"].contains(&name) { folder } else { stem };
    let code = blank_comments_and_strings(text);
    let declarations = test_items(&code).into_iter().filter_map(|item| item.strip_suffix(';'));
    let modules = declarations.filter_map(|item| item.rsplit_once("mod ").map(|(_, module)| module));
    modules.map(|module| format!("{own_folder}/{}", module.trim())).collect()
}

fn is_test_file(file: &str, test_modules: &BTreeSet<String>) -> bool {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let (folders, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let in_test_folder = folders.split('/').any(|folder| folder == "tests" || folder == "benches");
    let in_test_module = || {
        let mut ancestors = Path::new(stem).ancestors().filter_map(Path::to_str);
        ancestors.any(|ancestor| test_modules.contains(ancestor))
    };
    name == "tests" || in_test_folder || in_test_module()
}

fn banned(file: &str, code: &str, patterns: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for (pattern, instead) in patterns.iter().filter(|(pattern, _)| line.contains(pattern)) {
            let place = format!("{file}:{}", index + 1);
            violations.push(Violation::new(place, format!("no `{pattern}`: {instead}")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, text: &str, expected: &[(&str, &str)]) {
        let violations = check_rust(file, text, &BTreeSet::new());
        assert_eq!(violations.len(), expected.len(), "{violations:?}");
        for (violation, (place, rule)) in violations.iter().zip(expected) {
            assert_eq!(&violation.place, place);
            assert!(violation.rule.contains(rule), "{violation:?}");
        }
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        check("a/src/x.rs", "//! Adds.\nfn f() {}\n", &[]);
        check("a/src/x.rs", "\n//! Adds.\n", &[("a/src/x.rs", "first line")]);
        check("a/tests/it/x.rs", "fn f() {}\n", &[]);
        check("a/src/x/tests.rs", "fn f() {}\n", &[]);
        check("a/src/contests/x.rs", "fn f() {}\n", &[("a/src/contests/x.rs", "first line")]);
    }

    #[test]
    fn long_files_have_a_reason() {
        let body = "// line\n".repeat(MAX_LINES - 1);
        check("x.rs", &format!("//! Short.\n{body}"), &[]);
        check("x.rs", &format!("//! Long.\n\n{body}"), &[("x.rs", "over 600")]);
        check("tests/x.rs", &"// line\n".repeat(MAX_LINES + 1), &[("tests/x.rs", "over 600")]);
        check("x.rs", &format!("//! A table.\n//! Long because it is one table.\n{body}"), &[]);
    }

    #[test]
    fn modules_lie_beside_their_folder() {
        check("src/foo/mod.rs", "//! Foo.\n", &[("src/foo/mod.rs", "no mod.rs")]);
        check("tests/it/mod.rs", "", &[("tests/it/mod.rs", "no mod.rs")]);
        check("src/not_mod.rs", "//! Foo.\n", &[]);
    }

    #[test]
    fn shortcuts_are_for_tests() {
        for code in ["x.unwrap();", "#[allow(dead_code)]", "#![allow(dead_code)]", "todo!()", "unimplemented!()"] {
            check("x.rs", &format!("//! X.\n{code}\n"), &[("x.rs:2", "no `")]);
            check("x.rs", &format!("//! X.\n#[cfg(test)]\nmod tests {{\n{code}\n}}\n"), &[]);
            check("tests/it/x.rs", &format!("{code}\n"), &[]);
        }
    }

    #[test]
    fn a_module_of_tests_may_be_a_file_of_its_own() {
        let text = "//! R.\nmod real;\n#[cfg(test)]\npub(crate) mod sample;\n#[cfg(test)]\nmod inline { mod x; }\n";
        let expected = |folder: &str| vec![format!("{folder}/sample")];
        assert_eq!(declared_test_modules("a/src/report.rs", text), expected("a/src/report"));
        assert_eq!(declared_test_modules("a/src/lib.rs", text), expected("a/src"));
        let test_modules = BTreeSet::from(["a/src/report/sample".to_owned()]);
        for file in ["a/src/report/sample.rs", "a/src/report/sample/deeper.rs"] {
            assert_eq!(check_rust(file, "fn f() { x.unwrap() }\n", &test_modules), []);
        }
        assert_eq!(check_rust("a/src/report/sampled.rs", "//! S.\nx.unwrap();\n", &test_modules).len(), 1);
    }

    #[test]
    fn code_after_the_tests_is_checked_too() {
        check("x.rs", "//! X.\n#[cfg(test)]\nuse y;\nfn f() { x.unwrap() }\n", &[("x.rs:4", ".unwrap()")]);
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        check("x.rs", "//! X.\n// x.unwrap()\nconst A: &str = \"todo!()\";\nconst B: &str = r#\"#[ignore]\"#;\n", &[]);
    }

    #[test]
    fn some_things_are_banned_in_tests_too() {
        check("tests/it/x.rs", "#[test]\n#[ignore]\nfn f() {}\n", &[("tests/it/x.rs:2", "#[ignore")]);
        check("tests/it/x.rs", "std::env::temp_dir();\n", &[("tests/it/x.rs:1", "env::temp_dir")]);
    }

    #[test]
    fn large_files_lie_where_they_are_expected() {
        assert!(check_size("docs/picture.png", MAX_BYTES + 1).is_some());
        assert_eq!(check_size("docs/picture.png", MAX_BYTES), None);
        assert_eq!(check_size("assets/models/trex-mini/model.safetensors", 9 * MAX_BYTES), None);
    }
}
