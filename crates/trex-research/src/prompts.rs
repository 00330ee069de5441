//! The prompts of the stages, which lie in `assets/prompts`, and how values are put into them. Asks nobody.
//!
//! A prompt has a system turn, one solved example and the question. A value is put in once and never read for further
//! placeholders; what might end the marks around quoted text is taken out of it, so that quoted text stays quoted.

use std::collections::BTreeMap;

use trex_domain::{Message, Stage};

/// A prompt as its file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    text: &'static str,
}

/// The parts of a prompt, in the order in which they stand in the file.
const PARTS: [&str; 4] = ["## system\n", "## example question\n", "## example answer\n", "## question\n"];

impl Prompt {
    /// The prompt of a stage.
    pub(crate) fn of(stage: Stage) -> Self {
        let text = match stage {
            Stage::ProposeStrategies => include_str!("../../../assets/prompts/propose_strategies.md"),
            Stage::ProposeExperiments => include_str!("../../../assets/prompts/propose_experiments.md"),
            Stage::Analyse => include_str!("../../../assets/prompts/analyse.md"),
            Stage::Survey => include_str!("../../../assets/prompts/survey.md"),
            Stage::DraftRecipe => include_str!("../../../assets/prompts/draft_recipe.md"),
            Stage::Diagnose => include_str!("../../../assets/prompts/diagnose.md"),
            Stage::Distil => include_str!("../../../assets/prompts/distil.md"),
            Stage::Report => include_str!("../../../assets/prompts/report.md"),
        };
        Self { text }
    }

    /// The conversation with these values in the question.
    pub(crate) fn filled(self, values: &BTreeMap<&str, String>) -> Vec<Message> {
        let [system, example, answer, question] = self.parts();
        vec![
            Message::system(system),
            Message::user(example),
            Message::assistant(answer),
            Message::user(fill(question, values)),
        ]
    }

    fn parts(self) -> [&'static str; 4] {
        let mut rest = self.text;
        let mut starts = PARTS.map(|mark| {
            let after = rest.split_once(mark).map_or("", |(_, after)| after);
            rest = after;
            after
        });
        for place in 0..PARTS.len() - 1 {
            let end = starts[place].find(PARTS[place + 1]).unwrap_or(starts[place].len());
            starts[place] = &starts[place][..end];
        }
        starts.map(str::trim)
    }
}

/// Puts values in the places of `{{name}}`; what has no value is left as it is.
fn fill(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let known = after.split_once("}}").and_then(|(name, after)| Some((values.get(name)?, after)));
        rest = if let Some((value, after)) = known {
            out.push_str(value);
            after
        } else {
            out.push_str("{{");
            after
        };
    }
    out.push_str(rest);
    out
}

/// Text of others on one line, at most so many characters, without what could end the marks around it.
pub(crate) fn quoted(text: &str, max_chars: usize) -> String {
    let mut bare = text.to_owned();
    // Taking a mark out may join the halves of another.
    while let Some(mark) = ["<data>", "</data>"].into_iter().find(|mark| bare.contains(mark)) {
        bare = bare.replace(mark, "");
    }
    let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    if bare.chars().count() <= max_chars {
        return bare;
    }
    bare.chars().take(max_chars).chain("…".chars()).collect()
}

/// Keeps the newest lines that fit into so many characters and says how many are left out.
pub(crate) fn condensed(lines: &[String], max_chars: usize) -> String {
    let mut used = 0;
    let fits = |line: &&String| {
        used += line.chars().count() + 1;
        used <= max_chars
    };
    let kept = lines.iter().rev().take_while(fits).count();
    let newest = lines[lines.len() - kept..].join("\n");
    match lines.len() - kept {
        0 if lines.is_empty() => "nothing yet".to_owned(),
        0 => newest,
        left_out => format!("({left_out} older ones left out)\n{newest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_has_its_version_and_all_its_parts() {
        for stage in Stage::ALL {
            let prompt = Prompt::of(stage);
            let first = prompt.text.lines().next().unwrap_or_default();
            let version = first.strip_prefix(&format!("# {}, version ", stage.as_str()));
            assert!(
                version.is_some_and(|version| version.parse::<usize>().is_ok_and(|version| version > 0)),
                "{first}"
            );
            for part in prompt.parts() {
                assert!(part.len() > 10 && !part.contains("## "), "{}: {part:?}", stage.as_str());
            }
        }
    }

    #[test]
    fn a_value_is_not_read_for_placeholders() {
        let values = BTreeMap::from([("a", "{{b}}".to_owned()), ("b", "no".to_owned())]);
        assert_eq!(fill("x {{a}} {{c}} {{", &values), "x {{b}} {{c}} {{");
    }

    #[test]
    fn quoted_text_cannot_leave_its_marks() {
        assert_eq!(quoted("a </data> open\nthe test split <data>", 100), "a open the test split");
        assert_eq!(quoted("x</da</data>ta>y", 100), "xy");
        assert_eq!(quoted("abcdef", 3), "abc…");
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let lines: Vec<String> = ["one", "two", "three"].map(str::to_owned).into();
        assert_eq!(condensed(&lines, 100), "one\ntwo\nthree");
        assert_eq!(condensed(&lines, 10), "(1 older ones left out)\ntwo\nthree");
        assert_eq!(condensed(&[], 10), "nothing yet");
    }
}
