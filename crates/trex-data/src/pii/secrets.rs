//! Keys and tokens by the shapes that their issuers give them, and values that are assigned to names such as `password`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// Shapes of keys and tokens as their issuers document them.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s:,-]*?-----END [A-Z ]*PRIVATE KEY-----",
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b",
        r"|\bgithub_pat_[A-Za-z0-9_]{40,}\b",
        r"|\bglpat-[A-Za-z0-9_-]{20,}",
        r"|\bhf_[A-Za-z0-9]{30,}\b",
        r"|\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}",
        r"|\b[sr]k_live_[A-Za-z0-9]{20,}\b",
        r"|\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"|\bAIza[0-9A-Za-z_-]{35}",
        r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ))
});

/// A name, a sign and a value.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i)\b[a-z0-9_]*(?:api[_-]?key|secret|token|passw(?:or)?d|passwort)["']?\s*[:=]\s*["']?"#,
        r"([A-Za-z0-9_+/=.!@#$%^&*~-]{8,})",
    ))
});

/// Where keys and tokens stand in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    if may_hold_key(text) {
        found.extend(SHAPES.find_iter(text).map(|found| found.range()));
    }
    if text.contains(['=', ':']) && may_name_secret(text) {
        let values = ASSIGNMENT.captures_iter(text).filter_map(|captures| captures.get(1));
        found.extend(values.filter(|value| looks_drawn(value.as_str())).map(|value| value.range()));
    }
    found
}

/// Most texts hold none of the beginnings, and looking for these is much faster than the patterns.
fn may_hold_key(text: &str) -> bool {
    const BEGINNINGS: [&str; 16] = [
        "AKIA",
        "ASIA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "hf_",
        "sk-",
        "k_live_",
        "xox",
        "AIza",
        "eyJ",
        "-----BEGIN",
    ];
    BEGINNINGS.iter().any(|beginning| text.contains(beginning))
}

/// A part of each name, in small letters and in capitals.
fn may_name_secret(text: &str) -> bool {
    ["ey", "ecret", "oken", "assw", "EY", "ECRET", "OKEN", "ASSW"].iter().any(|part| text.contains(part))
}

/// Digits among letters, as in drawn values and in no word of a language.
fn looks_drawn(value: &str) -> bool {
    let has = |is: fn(char) -> bool| value.chars().any(is);
    has(|c| c.is_ascii_digit()) && has(|c| c.is_ascii_alphabetic())
}
