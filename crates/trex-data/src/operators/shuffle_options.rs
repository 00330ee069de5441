//! Adds copies of rows whose prompt lists its options in a fixed order, with that order changed.
//!
//! A prompt with `{options}` is left alone: its order is drawn anew for each seed as it is.

use std::ops::Range;

use trex_domain::{Example, Message};

use super::{Context, FreshIds, Outcome, shuffle};
use crate::DataError;
use crate::pool::Pool;

/// Appends, for every row with all options as a comma-separated run in its prompt, a copy with the run permuted.
pub(super) fn shuffle_options(mut rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    let mut ids = FreshIds::new(&rows)?;
    let mut copies = rows.sibling();
    rows.for_each_portion(|_, rows| {
        for row in rows {
            let Some(prompt) = permuted_prompt(row, context) else { continue };
            let mut copy = Example { prompt, ..row.clone() };
            copy.id = ids.next(row);
            context.mark(&mut copy);
            copies.push(copy)?;
        }
        Ok(())
    })?;
    let added = copies.len();
    rows.append(copies)?;
    Ok(Outcome { rows, added, ..Outcome::default() })
}

fn permuted_prompt(row: &Example, context: &Context<'_>) -> Option<Vec<Message>> {
    if row.options.len() < 2 || row.has_seeded_prompt() {
        return None;
    }
    let found = |(at, turn): (usize, &Message)| find_run(&turn.content, &row.options).map(|run| (at, run));
    let (at, places) = row.prompt.iter().enumerate().rev().find_map(found)?;
    let mut prompt = row.prompt.clone();
    let turn = prompt.get_mut(at)?;
    turn.content = permuted(&turn.content, &places, &row.id, context);
    Some(prompt)
}

/// The text with what stands at `places` in another order than before.
fn permuted(text: &str, places: &[Range<usize>], id: &str, context: &Context<'_>) -> String {
    let mut order: Vec<usize> = (0..places.len()).collect();
    shuffle(&mut order, &mut context.rng(id));
    if order.is_sorted() {
        order.rotate_left(1);
    }
    let mut result = String::with_capacity(text.len());
    let mut written = 0;
    for (place, source) in places.iter().zip(order) {
        result.push_str(text.get(written..place.start).unwrap_or_default());
        result.push_str(places.get(source).and_then(|source| text.get(source.clone())).unwrap_or_default());
        written = place.end;
    }
    result.push_str(text.get(written..).unwrap_or_default());
    result
}

/// The places of all options in the first run that lists each once, separated by commas and white space.
fn find_run(text: &str, options: &[String]) -> Option<Vec<Range<usize>>> {
    let starts = text.char_indices().map(|(at, _)| at);
    starts.filter(|at| is_boundary(text, *at)).find_map(|at| run_at(text, at, options))
}

fn run_at(text: &str, start: usize, options: &[String]) -> Option<Vec<Range<usize>>> {
    let mut unused: Vec<&String> = options.iter().filter(|option| !option.is_empty()).collect();
    if unused.len() < options.len() {
        return None;
    }
    // The longest one first, so that "not sure" is not taken for "not".
    unused.sort_by_key(|option| std::cmp::Reverse(option.len()));
    let mut places = Vec::with_capacity(unused.len());
    let mut at = start;
    loop {
        let rest = text.get(at..)?;
        let fits = |option: &&String| rest.starts_with(option.as_str()) && is_boundary(text, at + option.len());
        let found = unused.iter().position(fits)?;
        let end = at + unused.remove(found).len();
        places.push(at..end);
        if unused.is_empty() {
            return Some(places);
        }
        let after_comma = text.get(end..)?.trim_start().strip_prefix(',')?.trim_start();
        at = text.len() - after_comma.len();
    }
}

/// Whether no word goes on across this place.
fn is_boundary(text: &str, at: usize) -> bool {
    let before = text.get(..at).and_then(|head| head.chars().next_back());
    let after = text.get(at..).and_then(|tail| tail.chars().next());
    !(before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, made, open_row};
    use super::*;

    fn row(prompt: &str) -> Example {
        Example { options: ["not", "not sure", "yes"].map(String::from).to_vec(), ..open_row(0, prompt, "yes") }
    }

    #[track_caller]
    fn check(prompt: &str, is_copied: bool) {
        let outcome = made(shuffle_options(vec![row(prompt)].into(), &context("shuffle_options")));
        assert_eq!(outcome.added, usize::from(is_copied), "{prompt}");
        assert_eq!(outcome.rows[0], row(prompt));
        let Some(copy) = outcome.rows.get(1) else { return };
        assert_eq!((copy.id.as_str(), copy.answer.as_str()), ("t/0+1", "yes"));
        assert_eq!(copy.origin.changed_by, ["shuffle_options"]);
        assert_ne!(copy.question(), prompt);
        let letters = |text: &str| {
            let mut letters: Vec<char> = text.chars().collect();
            letters.sort_unstable();
            letters
        };
        assert_eq!(letters(copy.question()), letters(prompt));
        assert!(find_run(copy.question(), &copy.options).is_some(), "{}", copy.question());
    }

    #[test]
    fn only_a_full_run_of_options_is_permuted() {
        check("Is it so? Answer yes, not sure, not.", true);
        check("not sure,not ,  yes", true);
        check("yes: choose from not, yes, not sure", true);
        check("yes, not sure", false);
        check("yes or not or not sure", false);
        check("eyes, not sure, not", false);
        check("yes, not, not sure {options}", false);
        check("", false);
    }
}
