//! Markdown by its headings. The text below them is kept as it was written; code keeps its marks.

use crate::chunk::Section;
use crate::document::Parsed;

/// Headings from the outermost to the innermost, as they stand above some text.
#[derive(Debug, Default)]
pub(crate) struct Headings(Vec<(usize, String)>);

impl Headings {
    /// A heading of a level (1 is the outermost) ends those of its level and below.
    pub(crate) fn enter(&mut self, level: usize, title: &str) {
        self.0.retain(|(outer, _)| *outer < level);
        self.0.push((level, title.trim().to_owned()));
    }

    pub(crate) fn path(&self) -> Option<String> {
        let titles: Vec<&str> =
            self.0.iter().map(|(_, title)| title.as_str()).filter(|title| !title.is_empty()).collect();
        (!titles.is_empty()).then(|| titles.join(" > "))
    }
}

pub(crate) fn parse(text: &str) -> Parsed {
    let mut headings = Headings::default();
    let mut title = None;
    let mut sections = Vec::new();
    let mut current = Section::whole(String::new());
    let mut offset = 0;
    let mut fence: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        fence = match (fence, mark) {
            (None, mark) => mark,
            (Some(open), Some(mark)) if open == mark => None,
            (open, _) => open,
        };
        let heading = if fence.is_none() { heading(line) } else { None };
        if let Some((level, words)) = heading {
            sections.push(current);
            headings.enter(level, words);
            if title.is_none() && level == 1 {
                title = Some(words.to_owned());
            }
            let after = offset + line.chars().count();
            current = Section { page: None, heading: headings.path(), offset: after, text: String::new() };
        } else {
            current.text.push_str(line);
        }
        offset += line.chars().count();
    }
    sections.push(current);
    Parsed { title, sections }
}

/// `## Title` with one to six marks; closing marks are no part of the title.
fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let rest = line.get(level..)?;
    let is_heading = (1..=6).contains(&level) && rest.starts_with([' ', '\t']);
    is_heading.then(|| (level, rest.trim().trim_end_matches('#').trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_below_its_headings() {
        let parsed =
            parse("intro\n# Paper #\nabstract\n## Method\nwe did\n```\n# no heading\n```\n## Results\nit works\n");
        assert_eq!(parsed.title.as_deref(), Some("Paper"));
        let places: Vec<_> = parsed.sections.iter().map(|one| (one.heading.as_deref(), one.text.trim())).collect();
        let expected = [
            (None, "intro"),
            (Some("Paper"), "abstract"),
            (Some("Paper > Method"), "we did\n```\n# no heading\n```"),
            (Some("Paper > Results"), "it works"),
        ];
        assert_eq!(places, expected);
        assert_eq!(parsed.sections[1].offset, "intro\n# Paper #\n".len());
    }
}
