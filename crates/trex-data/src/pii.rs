//! Finds what may identify a person or open an account: e-mail addresses, phone, card and account numbers, network
//! addresses, national ids, keys and tokens.
//!
//! Numbers count only with a valid check digit or in a shape of their own, since data is full of other numbers. Names and
//! street addresses are not looked for.

mod checks;
mod ids;
mod numbering;
mod secrets;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use checks::{is_card, is_iban_start};
use numbering::is_other_number;

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PiiKind {
    /// An e-mail address.
    Email,
    /// A phone number, international or with separators.
    Phone,
    /// A payment card number with a valid check digit (Luhn, ISO/IEC 7812-1).
    Card,
    /// An account number with valid check digits (ISO 13616).
    Iban,
    /// An address of the internet protocol that could be a machine's, version 4 or 6.
    IpAddress,
    /// A national id with valid check digits or in a shape of its own: Brazil, China, France, Germany, Italy, Spain,
    /// United Kingdom, United States.
    NationalId,
    /// A key, a token or a password in an assignment.
    Secret,
}

impl PiiKind {
    /// All kinds, in the order in which overlapping finds are settled.
    pub const ALL: [Self; 7] =
        [Self::Secret, Self::Email, Self::Iban, Self::NationalId, Self::Card, Self::IpAddress, Self::Phone];

    /// Its name in recipes and counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::IpAddress => "ip_address",
            Self::NationalId => "national_id",
            Self::Secret => "secret",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What stands in the place of a find after redaction.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Phone => "[PHONE]",
            Self::Card => "[CARD]",
            Self::Iban => "[IBAN]",
            Self::IpAddress => "[IP_ADDRESS]",
            Self::NationalId => "[NATIONAL_ID]",
            Self::Secret => "[SECRET]",
        }
    }
}

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b"));
static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9](?:[ -]?[0-9]){12,18}"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b"));
static PHONES: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        pattern(r"\+[1-9][0-9]{0,2}[ .()/-]{0,2}[0-9](?:[ .()/-]{0,2}[0-9]){6,12}"),
        pattern(r"(?:\([0-9]{3}\) ?|[0-9]{3}[-.])[0-9]{3}[-.][0-9]{4}"),
        pattern(r"1[3-9][0-9]{9}"),
    ]
});
static IPV4: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this folder are valid")
}

/// The kinds of personal data in a text.
pub fn pii_kinds(text: &str) -> BTreeSet<PiiKind> {
    pii_spans(text).into_iter().map(|(kind, _)| kind).collect()
}

/// Where personal data stands in a text, in order and without overlaps; ranges are of bytes.
pub fn pii_spans(text: &str) -> Vec<(PiiKind, Range<usize>)> {
    let mut spans: Vec<(PiiKind, Range<usize>)> = Vec::new();
    let add = |kind, found: Vec<Range<usize>>, spans: &mut Vec<(PiiKind, Range<usize>)>| {
        for range in found {
            let is_free = spans.iter().all(|(_, taken)| range.end <= taken.start || taken.end <= range.start);
            if is_free {
                spans.push((kind, range));
            }
        }
    };
    let shape = Shape::of(text);
    add(PiiKind::Secret, secrets::find(text), &mut spans);
    if text.contains('@') {
        add(PiiKind::Email, EMAIL.find_iter(text).map(|found| found.range()).collect(), &mut spans);
    }
    if shape.has_capitals_before_digit {
        add(PiiKind::Iban, ibans(text), &mut spans);
    }
    if shape.has_capitals_before_digit || shape.most_digits >= MIN_DIGITS {
        add(PiiKind::NationalId, ids::find(text), &mut spans);
    }
    if shape.most_digits >= MIN_CARD_DIGITS {
        add(PiiKind::Card, cards(text), &mut spans);
    }
    if shape.most_points >= 3 || shape.num_colons >= 2 {
        add(PiiKind::IpAddress, ip_addresses(text), &mut spans);
    }
    if shape.most_digits >= MIN_DIGITS {
        add(PiiKind::Phone, phones(text), &mut spans);
    }
    spans.sort_by_key(|(_, range)| range.start);
    spans
}

/// Digits of the shortest phone number and national id without capitals.
const MIN_DIGITS: usize = 7;

/// Digits of the shortest card number.
const MIN_CARD_DIGITS: usize = 13;

/// What one pass over the bytes says of a text; most texts can hold nothing of what the patterns look for.
#[derive(Default)]
struct Shape {
    /// Most digits of a run of digits and what separates them.
    most_digits: usize,
    /// Most points of such a run.
    most_points: usize,
    num_colons: usize,
    /// Whether two capitals stand right before a digit, but for what separates digits.
    has_capitals_before_digit: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self::default();
        let (mut digits, mut points, mut capitals) = (0, 0, 0);
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    shape.most_digits = shape.most_digits.max(digits);
                    shape.has_capitals_before_digit |= capitals >= 2;
                    capitals = 0;
                }
                b' ' | b'-' | b'/' | b'(' | b')' | b'+' => {}
                b'.' => {
                    points += 1;
                    shape.most_points = shape.most_points.max(points);
                }
                _ => {
                    shape.num_colons += usize::from(byte == b':');
                    (digits, points) = (0, 0);
                    capitals = if byte.is_ascii_uppercase() { capitals + 1 } else { 0 };
                }
            }
        }
        shape
    }
}

fn ibans(text: &str) -> Vec<Range<usize>> {
    let found = IBAN.find_iter(text);
    found.filter_map(|found| Some(found.start()..found.start() + is_iban_start(found.as_str())?)).collect()
}

fn cards(text: &str) -> Vec<Range<usize>> {
    let is_found = |found: &regex::Match<'_>| stands_alone(text, &found.range()) && is_card(found.as_str());
    DIGITS.find_iter(text).filter(is_found).map(|found| found.range()).collect()
}

fn phones(text: &str) -> Vec<Range<usize>> {
    let all = PHONES.iter().flat_map(|phone| phone.find_iter(text));
    all.map(|found| found.range()).filter(|range| stands_alone(text, range)).collect()
}

/// Addresses but those that name no machine: unspecified, loopback, and what is numbered in the same form.
fn ip_addresses(text: &str) -> Vec<Range<usize>> {
    let mut last_enzyme = None;
    let version_four = IPV4.find_iter(text).filter(|found| {
        let address = found.as_str().parse::<Ipv4Addr>();
        let names_machine = address.is_ok_and(|address| !address.is_unspecified() && !address.is_loopback());
        names_machine && stands_alone(text, &found.range()) && !is_other_number(text, &found.range(), &mut last_enzyme)
    });
    let version_six = IPV6.find_iter(text).filter(|found| {
        let address = found.as_str().parse::<Ipv6Addr>();
        let names_machine = address.is_ok_and(|address| !address.is_unspecified() && !address.is_loopback());
        // `a::b` and `::c` are names in code far more often than addresses.
        let num_groups = found.as_str().split(':').filter(|group| !group.is_empty()).count();
        names_machine && num_groups >= 3 && stands_alone(text, &found.range())
    });
    version_four.map(|found| found.range()).chain(version_six.map(|found| found.range())).collect()
}

/// Whether no letter, digit or decimal sign continues the match on either side.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let continues = |c: char| c.is_ascii_alphanumeric();
    let before = text[..range.start].chars().next_back();
    let mut after = text[range.end..].chars();
    let (next, next_but_one) = (after.next(), after.next());
    let is_decimal = matches!(next, Some('.' | ',')) && next_but_one.is_some_and(|c| c.is_ascii_digit());
    !before.is_some_and(|c| continues(c) || c == '.') && !next.is_some_and(continues) && !is_decimal
}

#[cfg(test)]
mod tests;
