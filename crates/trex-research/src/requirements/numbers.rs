//! Numbers in plain words: a score to reach, time, trials, money, and the size that a model's name tells. English and Chinese.

use std::sync::LazyLock;

use regex::Regex;

use super::Field;

/// A number in digits, or a small one in words.
const NUMBER: &str =
    r"(\d+(?:\.\d+)?|half an|half a|an|one|two|three|four|five|six|ten|twelve|半|一|两|二|三|四|五|六|七|八|九|十)";

fn pattern(text: &str) -> Regex {
    Regex::new(&text.replace("NUMBER", NUMBER)).expect("a constant pattern")
}

static PERCENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d+(?:\.\d+)?)\s*(?:%|％|percent\b)"));
static SHARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:target|reach|reaches|at least|above|over|达到|至少|超过|目标)(?:\s+(?:of|is|score))?\s*[:：]?\s*(0?\.\d+|1\.0+)",
    )
});
static HOURS: LazyLock<Regex> = LazyLock::new(|| pattern(r"NUMBER\s*个?\s*(?:hours?\b|小时|钟头)"));
static MINUTES: LazyLock<Regex> = LazyLock::new(|| pattern(r"NUMBER\s*(?:minutes?\b|mins?\b|分钟)"));
static TRIALS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"NUMBER\s*(?:trials?\b|experiments?\b|次试验|次实验|个试验|轮试验)"));
static DOLLARS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\$\s*(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*(?:usd\b|dollars?\b|美元|美金)"));
static MODEL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b((?:[a-z0-9_.-]+/)?(?:smollm|qwen|llama|gemma|phi-?\d|mistral|tinyllama|deepseek)[a-z0-9]*(?:[.-][a-z0-9]+)*)",
    )
});
static SIZE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:^|[-_.])(\d+(?:\.\d+)?)([bm])(?:$|[-_.])"));

fn number(text: &str) -> Option<f64> {
    Some(match text {
        "half an" | "half a" | "半" => 0.5,
        "an" | "one" | "一" => 1.0,
        "two" | "两" | "二" => 2.0,
        "three" | "三" => 3.0,
        "four" | "四" => 4.0,
        "five" | "五" => 5.0,
        "six" | "六" => 6.0,
        "七" => 7.0,
        "八" => 8.0,
        "九" => 9.0,
        "ten" | "十" => 10.0,
        "twelve" => 12.0,
        digits => digits.parse().ok()?,
    })
}

fn none<T>(what: &str) -> Field<Option<T>> {
    Field::default(None, what)
}

/// A score to reach, as a share of 1. Takes the words as they are.
pub(super) fn target(words: &str) -> Field<Option<f64>> {
    const PERCENT_MARK: f64 = 100.0;
    if words.contains("百分之百") {
        return Field::said(Some(1.0), "百分之百");
    }
    let percent =
        PERCENT.captures(words).and_then(|found| Some((number(&found[1])? / PERCENT_MARK, found[0].to_owned())));
    let share = || SHARE.captures(words).and_then(|found| Some((found[1].parse().ok()?, found[0].to_owned())));
    match percent.or_else(share) {
        Some((value, word)) => Field::said(Some(value), word),
        None => none("no score is named"),
    }
}

/// Seconds of wall time. Takes the normalised text, as the others below.
pub(super) fn wall_s(text: &str) -> Field<Option<f64>> {
    for (regex, unit_s) in [(&HOURS, 3600.0), (&MINUTES, 60.0)] {
        if let Some((value, word)) =
            regex.captures(text).and_then(|found| Some((number(&found[1])?, found[0].to_owned())))
        {
            return Field::said(Some(value * unit_s), word);
        }
    }
    none("no time is named")
}

/// Training trials.
pub(super) fn trials(text: &str) -> Field<Option<usize>> {
    let found = TRIALS.captures(text).and_then(|found| Some((number(&found[1])?, found[0].to_owned())));
    match found.filter(|(value, _)| *value >= 1.0) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of some digits, from 1 on"
        )]
        Some((value, word)) => Field::said(Some(value as usize), word),
        None => none("no number of trials is named"),
    }
}

/// US dollars.
pub(super) fn money(text: &str) -> Field<Option<f64>> {
    let found = DOLLARS.captures(text).and_then(|found| {
        let digits = found.get(1).or(found.get(2))?;
        Some((number(digits.as_str())?, found[0].to_owned()))
    });
    match found {
        Some((value, word)) => Field::said(Some(value), word),
        None => none("no money is named"),
    }
}

/// The base model, by a name of a known family. Takes the words as they are.
pub(super) fn model(words: &str) -> Field<String> {
    match MODEL.captures(words) {
        Some(found) => Field::said(found[1].trim_end_matches(['.', '-']).to_lowercase(), &found[1]),
        None => Field::default("bundled".to_owned(), "no model is named; the bundled one needs no download"),
    }
}

/// Bytes of the weights in 16 bits, where the name tells the size.
pub(super) fn bytes_of_model(name: &str) -> Option<(u64, &str)> {
    const BYTES_PER_WEIGHT: f64 = 2.0;
    let found = SIZE.captures(name)?;
    let unit = if found[2].eq_ignore_ascii_case("b") { 1e9 } else { 1e6 };
    let bytes = number(&found[1])? * unit * BYTES_PER_WEIGHT;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below 2^64")]
    Some((bytes as u64, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_two_languages() {
        assert_eq!(target("at least 85.5 %").value, Some(0.855));
        assert_eq!(target("target 0.75, budget 4").value, Some(0.75));
        assert_eq!(target("准确率达到90%以上").value, Some(0.9));
        assert_eq!(target("four pages").value, None);
        assert_eq!(wall_s("half an hour").value, Some(1800.0));
        assert_eq!(wall_s("最多两小时").value, Some(7200.0));
        assert_eq!(wall_s("within 90 minutes").value, Some(5400.0));
        assert_eq!(trials("at most 12 trials").value, Some(12));
        assert_eq!(money("$10 at most").value, Some(10.0));
        assert_eq!(model("Base model SmolLM2-135M-Instruct.").value, "smollm2-135m-instruct");
        assert_eq!(bytes_of_model("llama-3-70b").map(|(bytes, _)| bytes), Some(140_000_000_000));
        assert_eq!(bytes_of_model("bundled"), None);
    }
}
