//! Relative links of Markdown files must lead somewhere. Addresses with a scheme are never visited.

use std::path::Path;

use super::Violation;

/// A link target and its line, counted from 1.
pub(super) type Link = (String, usize);

/// The targets of inline links and pictures, without anchors; code and addresses with a scheme are passed over.
pub(super) fn relative_links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if !in_fence {
            // Every second piece between backticks is code.
            let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            links.extend(targets(&prose).into_iter().map(|target| (target, index + 1)));
        }
    }
    links
}

/// Links of `file` whose target is absent.
pub(super) fn check(root: &Path, file: &str, links: &[Link]) -> Vec<Violation> {
    let folder = root.join(file).parent().map_or_else(|| root.to_owned(), Path::to_owned);
    let dead = links.iter().filter(|(target, _)| !folder.join(target).exists());
    dead.map(|(target, line)| Violation::new(format!("{file}:{line}"), format!("the link to {target} leads nowhere")))
        .collect()
}

fn targets(prose: &str) -> Vec<String> {
    let after_openings = prose.split("](").skip(1);
    let inside = after_openings.filter_map(|rest| rest.split([')', ' ']).next());
    let without_anchor = inside.filter_map(|target| target.split('#').next());
    without_anchor.filter(|target| !target.is_empty() && !target.contains(':')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_targets(text: &str, expected: &[(&str, usize)]) {
        let links = relative_links(text);
        let found: Vec<(&str, usize)> = links.iter().map(|(target, line)| (target.as_str(), *line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn relative_links_are_found() {
        check_targets(
            "a [b](c.md) ![d](e/f.png \"title\")\n[g](h.md#part)",
            &[("c.md", 1), ("e/f.png", 1), ("h.md", 2)],
        );
        check_targets("[a](https://example.org) [b](#part) [c](mailto:a@example.org)", &[]);
        check_targets("`[a](b.md)` and `c` [d](e.md)", &[("e.md", 1)]);
        check_targets("```\n[a](b.md)\n```\n[c](d.md)", &[("d.md", 4)]);
    }

    #[test]
    fn a_dead_link_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("docs")).unwrap();
        std::fs::write(dir.path().join("README.md"), "").unwrap();
        let links = [("../README.md".to_owned(), 1), ("gone.md".to_owned(), 7)];
        let violations = check(dir.path(), "docs/page.md", &links);
        assert_eq!(violations, [Violation::new("docs/page.md:7", "the link to gone.md leads nowhere")]);
    }
}
