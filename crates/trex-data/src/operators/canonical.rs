//! Brings answers into one form. What differs in more than case, quotes, punctuation or a leading phrase is left alone.

use trex_domain::Example;

use super::{Context, Outcome};
use crate::DataError;
use crate::pool::Pool;

/// Phrases that may stand before an answer.
const LEADING_PHRASES: [&str; 6] =
    ["the correct answer is", "the final answer is", "the answer is", "final answer", "correct answer", "answer"];
/// Pairs of quotes around an answer.
const QUOTES: [(char, char); 8] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»'), ('„', '“'), ('”', '”')];

/// Rewrites closed answers to the option that they mean, and open ones to the habits of most of the pool.
///
/// A closed answer that means no option, or more than one, is left for `valid_answer` to drop.
pub(super) fn canonical_answer(rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    let habits = Habits::of(&rows)?;
    Outcome::edited(rows, context, |row| {
        let canonical = if row.options.is_empty() { Some(habits.apply(&row.answer)) } else { meant_option(row) };
        match canonical {
            Some(answer) if answer != row.answer => {
                row.answer = answer;
                true
            }
            _ => false,
        }
    })
}

fn meant_option(row: &Example) -> Option<String> {
    if row.options.contains(&row.answer) {
        return None;
    }
    let form = folded(&row.answer);
    let mut meant = row.options.iter().filter(|option| folded(option) == form);
    let option = meant.next()?;
    meant.next().is_none().then(|| option.clone())
}

/// The form in which an answer and an option are compared; quotes, brackets, phrases and final punctuation taken off.
fn folded(answer: &str) -> String {
    let mut rest = answer.trim();
    loop {
        let stripped = without_phrase(without_quotes(rest));
        let stripped = stripped.trim_end_matches(['.', ',', ';', ':', '!', '?', '。', '！']).trim();
        let in_brackets = stripped.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        let next = in_brackets.unwrap_or(stripped).trim();
        if next == rest || next.is_empty() {
            break;
        }
        rest = next;
    }
    rest.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Takes one pair of quotes off, where it encloses the whole text.
pub(super) fn without_quotes(text: &str) -> &str {
    let inner_of = |(open, close): &(char, char)| text.strip_prefix(*open).and_then(|rest| rest.strip_suffix(*close));
    let is_one_pair = |inner: &&str, pair: &(char, char)| !inner.contains([pair.0, pair.1]);
    QUOTES.iter().find_map(|pair| inner_of(pair).filter(|inner| is_one_pair(inner, pair))).unwrap_or(text)
}

/// Takes `answer:`, `the answer is` and the like off; a phrase without verb needs its colon.
fn without_phrase(text: &str) -> &str {
    let after_phrase = |phrase: &&str| {
        let start = text.get(..phrase.len())?;
        let rest = text.get(phrase.len()..)?;
        let is_phrase = start.eq_ignore_ascii_case(phrase);
        let trimmed = rest.trim_start();
        let after_colon = trimmed.strip_prefix([':', '=']);
        let after_verb = trimmed.strip_prefix(char::is_whitespace).or(Some(trimmed));
        let has_gap = rest.len() > trimmed.len();
        let ends_with_verb = phrase.ends_with(" is");
        let remainder = after_colon.or(after_verb.filter(|_| ends_with_verb && has_gap))?;
        is_phrase.then_some(remainder.trim_start())
    };
    LEADING_PHRASES.iter().find_map(after_phrase).filter(|rest| !rest.is_empty()).unwrap_or(text)
}

/// How most open answers of a pool are written.
struct Habits {
    /// Most answers end without a full stop.
    no_full_stop: bool,
    /// Most answers that have letters have no capital.
    lower_case: bool,
}

impl Habits {
    fn of(rows: &Pool) -> Result<Self, DataError> {
        let (mut open, mut with_stop, mut lettered, mut with_capital) = (0, 0, 0, 0);
        rows.for_each_portion(|_, rows| {
            for answer in rows.iter().filter(|row| row.options.is_empty()).map(|row| without_wrapping(&row.answer)) {
                open += 1;
                with_stop += usize::from(has_final_stop(answer));
                lettered += usize::from(answer.chars().any(char::is_alphabetic));
                with_capital += usize::from(answer.chars().any(char::is_uppercase));
            }
            Ok(())
        })?;
        Ok(Self { no_full_stop: 2 * with_stop < open, lower_case: 2 * with_capital < lettered })
    }

    fn apply(&self, answer: &str) -> String {
        let mut rest = without_wrapping(answer);
        if self.no_full_stop && has_final_stop(rest) {
            rest = without_wrapping(rest.trim_end_matches('.'));
        }
        let is_shouted = rest.chars().any(char::is_uppercase) && !rest.chars().any(char::is_lowercase);
        if rest.is_empty() {
            answer.to_owned()
        } else if self.lower_case && is_shouted {
            rest.to_lowercase()
        } else {
            rest.to_owned()
        }
    }
}

/// The answer without white space, quotes and leading phrases around it.
fn without_wrapping(answer: &str) -> &str {
    let mut rest = answer.trim();
    loop {
        let next = without_phrase(without_quotes(rest)).trim();
        if next == rest || next.is_empty() {
            return rest;
        }
        rest = next;
    }
}

/// Whether one full stop ends the answer; that of `U.S.` or `...` is part of the word.
fn has_final_stop(answer: &str) -> bool {
    let last_word = answer.split_whitespace().next_back().unwrap_or_default();
    last_word.len() > 1 && last_word.ends_with('.') && last_word.matches('.').count() == 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, made, open_row};
    use super::*;

    #[track_caller]
    fn check_closed(answer: &str, expected: &str) {
        let mut row = open_row(0, "q", answer);
        row.options = ["yes", "no", "not sure", "C++"].map(String::from).to_vec();
        let outcome = made(canonical_answer(vec![row].into(), &context("canonical_answer")));
        assert_eq!(outcome.rows[0].answer, expected, "{answer:?}");
        assert_eq!(outcome.changed, usize::from(answer != expected));
    }

    #[test]
    fn closed_answers_become_the_option_they_mean() {
        check_closed("yes", "yes");
        check_closed(" Yes. ", "yes");
        check_closed("\"NO\"", "no");
        check_closed("The answer is: Not  sure!", "not sure");
        check_closed("answer: (yes)", "yes");
        check_closed("the answer is no.", "no");
        check_closed("c++", "C++");
        check_closed("maybe", "maybe");
        check_closed("answer", "answer");
        check_closed("yesterday", "yesterday");
        check_closed("", "");
    }

    #[test]
    fn an_answer_that_may_mean_two_options_is_left() {
        let mut row = open_row(0, "q", "\"a\"");
        row.options = ["A", "a"].map(String::from).to_vec();
        assert_eq!(made(canonical_answer(vec![row].into(), &context("canonical_answer"))).changed, 0);
    }

    #[track_caller]
    fn check_open(pool: &[&str], expected: &[&str]) {
        let rows = pool.iter().enumerate().map(|(index, answer)| open_row(index, "q", answer)).collect::<Vec<_>>();
        let outcome = made(canonical_answer(rows.into(), &context("canonical_answer")));
        let answers: Vec<_> = outcome.rows.iter().map(|row| row.answer.as_str()).collect();
        assert_eq!(answers, expected);
    }

    #[test]
    fn open_answers_follow_most_of_the_pool() {
        check_open(
            &["paris", "rome", "\"oslo\"", "Answer: bern", "PRAGUE.", "u.s."],
            &["paris", "rome", "oslo", "bern", "prague", "u.s."],
        );
        check_open(&["It is so.", "It was so.", "NASA"], &["It is so.", "It was so.", "NASA"]);
        check_open(&["answering machines", "the answer is blowing"], &["answering machines", "blowing"]);
        check_open(&["\"\"", " x "], &["\"\"", "x"]);
    }
}
