//! A list of answers in plain words, English or Chinese. Knows nothing of data.

use std::sync::LazyLock;

use regex::Regex;

/// One word, bare or in quotes.
const WORD: &str = r#"["'“”]?[\p{L}\p{N}][\p{L}\p{N}_-]*["'“”]?"#;

fn pattern(text: &str) -> Regex {
    Regex::new(&text.replace("WORD", WORD)).expect("a constant pattern")
}

static ENGLISH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:as|into|is|are|be|either|between|labels?)\s+((?:WORD,\s*)*WORD,?\s+or\s+WORD)")
});

static ENGLISH_AND: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:into|between|labels)\s+((?:WORD,\s*)*WORD,?\s+and\s+WORD)"));

static ENGLISH_FROM: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:tell|distinguish|separate)\s+(WORD)\s+from\s+(WORD)"));

static CHINESE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:分为|分成|归为|标为|标成)([^，。；,;]+?)(?:[一二两三四五六七八九十\d]+类|[，。；,;]|$)")
});

static CHINESE_OR: LazyLock<Regex> = LazyLock::new(|| pattern(r"是([^，。；,;是]{1,8})还是([^，。；,;]{1,8})"));

/// The answers that a text names, at least two.
pub(super) fn named(text: &str) -> Option<Vec<String>> {
    let found = list(&ENGLISH, text, &[",", " or "])
        .or_else(|| list(&ENGLISH_AND, text, &[",", " and "]))
        .or_else(|| pair(&ENGLISH_FROM, text))
        .or_else(|| pair(&CHINESE_OR, text))
        .or_else(|| list(&CHINESE, text, &["、", "和", "或", "与"]))?;
    (found.len() >= 2 && found.iter().all(|option| !option.is_empty())).then_some(found)
}

fn list(regex: &Regex, text: &str, separators: &[&str]) -> Option<Vec<String>> {
    let mut found = regex.captures(text)?.get(1)?.as_str().to_owned();
    for separator in separators {
        found = found.replace(separator, "\n");
    }
    Some(found.lines().map(bare).filter(|option| !option.is_empty()).collect())
}

fn pair(regex: &Regex, text: &str) -> Option<Vec<String>> {
    let captures = regex.captures(text)?;
    Some(vec![bare(captures.get(1)?.as_str()), bare(captures.get(2)?.as_str())])
}

fn bare(option: &str) -> String {
    option.trim_matches(|character: char| character.is_whitespace() || "\"'“”.".contains(character)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_answers_are_found() {
        let check = |text: &str, expected: &[&str]| assert_eq!(named(text).unwrap_or_default(), expected, "{text}");
        check("Sort mails as urgent, normal or junk.", &["urgent", "normal", "junk"]);
        check("Decide between \"a\" and \"b\" quickly.", &["a", "b"]);
        check("Tell cats from dogs.", &["cats", "dogs"]);
        check("把评论标为好、坏、一般三类。", &["好", "坏", "一般"]);
        check("看它是真还是假，要快。", &["真", "假"]);
        check("The score is as high as possible.", &[]);
        check("Make it better.", &[]);
    }
}
