//! Finds the last number in a text. Understands digits, not words such as "seven", fractions or arithmetic.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::joins;

static DIGITS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?").expect("a constant pattern")
});

/// Returns the last number in the text, or `None` where there is no finite one.
///
/// A sign counts when it touches the number (or its currency sign) and does not follow a word, a digit or a closing
/// bracket. Commas that group thousands are dropped, other commas separate numbers. Percent signs and units are
/// ignored: `50%` is 50. A digit that belongs to a word, as in `CO2` or `km2`, counts only when there is no other
/// number. Full-width digits count as digits. Of `3/4` the last number is 4.
pub fn last_number(text: &str) -> Option<f64> {
    let ascii: String = text.chars().map(half_width).collect();
    let numbers = || DIGITS.find_iter(&ascii).map(|found| read(&ascii, found.start(), found.as_str()));
    let last_of = |in_word: bool| numbers().filter(|n| n.in_word == in_word).filter_map(|n| n.value).last();
    last_of(false).or_else(|| last_of(true))
}

struct Number {
    value: Option<f64>,
    in_word: bool,
}

fn read(text: &str, start: usize, digits: &str) -> Number {
    let before = text.get(..start).unwrap_or_default();
    let first = digits.chars().next().unwrap_or(' ');
    let touching = before.chars().next_back();
    let in_word = touching.is_some_and(|c| joins(c, first) || (first == '.' && c.is_alphanumeric()));
    let piece = last_piece(digits);
    let is_whole = piece.len() == digits.trim_end_matches(',').len();
    let sign = if is_whole && has_minus(before) { -1.0 } else { 1.0 };
    let value = piece.replace(',', "").parse().ok().filter(|value: &f64| value.is_finite());
    Number { value: value.map(|value| sign * value), in_word }
}

/// The whole run where its commas group thousands, else what follows the last comma.
fn last_piece(digits: &str) -> &str {
    let run = digits.trim_end_matches(',');
    let whole = run.split(['.', 'e', 'E']).next().unwrap_or(run);
    let mut groups = whole.split(',');
    let starts_well = groups.next().is_some_and(|group| (1..=3).contains(&group.len()));
    if starts_well && groups.all(|group| group.len() == 3) {
        return run;
    }
    run.rsplit(',').next().unwrap_or(run)
}

fn has_minus(before: &str) -> bool {
    let before_currency = before.trim_end_matches(['$', '€', '£', '¥']);
    let Some(before_sign) = before_currency.strip_suffix('-') else {
        return false;
    };
    !before_sign.chars().next_back().is_some_and(|c| c.is_alphanumeric() || ")]%".contains(c))
}

/// Full-width forms and the dashes that serve as minus, as ASCII.
fn half_width(c: char) -> char {
    match c {
        '\u{2212}' | '\u{2013}' => '-',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        assert_eq!(last_number(text), expected, "{text:?}");
    }

    #[test]
    fn the_last_number_wins() {
        check("first 3, then 4", Some(4.0));
        check("2 + 2 = 4.", Some(4.0));
        check("#### 72", Some(72.0));
        check("nothing", None);
        check("", None);
        check("1,2,3", Some(3.0));
        check("12 34", Some(34.0));
    }

    #[test]
    fn separators_signs_and_units() {
        check("1,234,567.89 dollars", Some(1_234_567.89));
        check("1,2345", Some(2345.0));
        check("0012,345", Some(345.0));
        check("5, and", Some(5.0));
        check("-$1,200", Some(-1200.0));
        check("$-12", Some(-12.0));
        check("−7 °C", Some(-7.0));
        check("3-4", Some(4.0));
        check("(2)-4", Some(4.0));
        check("- 5", Some(5.0));
        check("50%", Some(50.0));
        check("12kg", Some(12.0));
        check("9.81 m/s²", Some(9.81));
        check("12 tons of CO2", Some(12.0));
        check("20 km2", Some(20.0));
        check("RMB500", Some(500.0));
        check(".5", Some(0.5));
        check("1e3", Some(1000.0));
        check("2.5E-3 mol", Some(0.0025));
        check("1e999", None);
        check("答案是４２。", Some(42.0));
        check("−1,2", Some(2.0));
    }

    proptest! {
        #[test]
        fn a_written_number_is_read_back(value in -1e9_f64..1e9, before in "[a-z ]{0,8} ", after in "( [a-z%]{0,5})?") {
            prop_assert_eq!(last_number(&format!("{before}{value}{after}")), Some(value));
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            prop_assert!(last_number(&text).is_none_or(f64::is_finite));
        }
    }
}
