//! What has the digits of a network address and numbers something else: versions, sections, enzymes, ring systems. Decides
//! by what stands around the number; finds no number itself.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// The label of an enzyme number: `EC`, `E.C.`, `EC number:`, `(ec:`.
static EC_LABEL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?:^|[^a-z0-9])(?:ec|e\.c\.)[ \t_-]*(?:(?:numbers?|nos?|codes?)\b\.?)?[ \t]*[:=#-]?[ \t]*[(\[]?$")
});

/// What stands between the numbers of a list.
static LIST: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\s*(?:[,;/&]|and|or|,\s*(?:and|or))\s*$"));

/// Words that name an enzyme. Other words on -ase are common: database, release, lease, phase.
static ENZYME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:kinase|oxidase|reductase|oxygenase|genase|transferase|synthase|synthetase|hydrolase|hydratase|lyase|merase|ligase|esterase|lipase|phosphatase|protease|peptidase|proteinase|nuclease|cyclase|mutase|aldolase|catalase|amylase|carboxylase|deaminase|atpase)s?\b",
    )
});

/// A name that ends right before its number: `aldehyde reductase (1.1.1.21)`.
static ENZYME_BEFORE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[a-z]ases?[ \t]*[,:]?[ \t]*[(\[]?$"));

/// The ring sizes of a von Baeyer name: `tricyclo[3.3.1.0(2,4)]nonane`.
static RINGS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:cyclo|spiro)\[$"));

/// Main classes of enzymes, with which every number begins.
const CLASSES: std::ops::RangeInclusive<u8> = 1..=7;

/// Bytes before and after a number that are looked at.
const WINDOW: usize = 48;

/// Whether the number at a place is no address. `last_enzyme` is where the last enzyme number ended, for lists.
pub(super) fn is_other_number(text: &str, found: &Range<usize>, last_enzyme: &mut Option<usize>) -> bool {
    let before = tail(&text[..found.start]);
    if is_version(before) || RINGS.is_match(before) {
        return true;
    }
    let is_enzyme = is_enzyme_number(text, found, before, *last_enzyme);
    if is_enzyme {
        *last_enzyme = Some(found.end);
    }
    is_enzyme
}

fn is_version(before: &str) -> bool {
    let before = before.trim_end().to_ascii_lowercase();
    before.ends_with('v') || before.ends_with("version") || before.ends_with("section")
}

fn is_enzyme_number(text: &str, found: &Range<usize>, before: &str, last_enzyme: Option<usize>) -> bool {
    let class = text[found.clone()].split('.').next().and_then(|class| class.parse().ok());
    if !class.is_some_and(|class| CLASSES.contains(&class)) {
        return false;
    }
    let goes_on_list = last_enzyme.is_some_and(|end| LIST.is_match(&text[end..found.start]));
    goes_on_list || EC_LABEL.is_match(before) || is_named_before(before) || is_named_after(&text[found.end..])
}

fn is_named_before(before: &str) -> bool {
    let Some(name) = ENZYME_BEFORE.find(before) else { return false };
    // The word as a whole, of which the pattern has the end only.
    let start = before[..name.start()].rfind(|c: char| !c.is_alphanumeric()).map_or(0, |at| at + 1);
    ENZYME.is_match(before.get(start..).unwrap_or_default())
}

/// `1.1.1.21 (aldehyde reductase)`.
fn is_named_after(after: &str) -> bool {
    let Some(rest) = after.trim_start_matches([' ', '\t']).strip_prefix(['(', '[']) else { return false };
    ENZYME.is_match(rest.split([')', ']', '.']).next().unwrap_or_default())
}

/// The last bytes of a text, cut between characters.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(WINDOW);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
