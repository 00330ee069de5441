//! Writes prompts, answers and options anew by fixed rules. Drops nothing.

use std::collections::{BTreeMap, BTreeSet};

use trex_domain::{Message, Role};

use super::{Context, Outcome, draw_below};
use crate::DataError;
use crate::pool::Pool;

/// Puts the last turn into `{input}` of a template, and a system turn before all where one is given.
pub(super) fn template(
    rows: Pool,
    template: &str,
    system: Option<&str>,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    Outcome::edited(rows, context, |row| {
        let before = row.prompt.clone();
        if let Some(question) = row.prompt.last_mut() {
            question.content = template.replace("{input}", &question.content);
        }
        if let Some(system) = system {
            match row.prompt.first_mut() {
                Some(first) if first.role == Role::System => system.clone_into(&mut first.content),
                _ => row.prompt.insert(0, Message::system(system)),
            }
        }
        row.prompt != before
    })
}

/// Rewrites answers and options by a table. Options that would become equal to one another are left, with their answer.
pub(super) fn map_answer(
    rows: Pool,
    labels: &BTreeMap<String, String>,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let mapped = |text: &String| labels.get(text).unwrap_or(text).clone();
    Outcome::edited(rows, context, |row| {
        let options: Vec<String> = row.options.iter().map(mapped).collect();
        let num_distinct = |options: &[String]| options.iter().collect::<BTreeSet<_>>().len();
        if num_distinct(&options) < num_distinct(&row.options) {
            return false;
        }
        let answer = mapped(&row.answer);
        let is_changed = answer != row.answer || options != row.options;
        (row.answer, row.options) = (answer, options);
        is_changed
    })
}

/// Leaves of the options of a closed row the gold answer and one other, drawn.
pub(super) fn preference_pairs(rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    Outcome::edited(rows, context, |row| {
        let others: Vec<&String> = row.options.iter().filter(|option| **option != row.answer).collect();
        if others.len() < 2 && row.options.first() == Some(&row.answer) || others.is_empty() || row.answer.is_empty() {
            return false;
        }
        let drawn = draw_below(others.len(), &mut context.rng(&row.id));
        let Some(rejected) = others.get(drawn).map(|other| (*other).clone()) else { return false };
        let options = vec![row.answer.clone(), rejected];
        let is_changed = options != row.options;
        row.options = options;
        is_changed
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, context, made, open_row};
    use super::*;

    #[test]
    fn templates_take_the_last_turn_and_a_system_turn() {
        let rows = vec![open_row(0, "what?", "a")];
        let outcome = made(template(rows.into(), "Q: {input}\nA:", Some("Be brief."), &context("template_render")));
        assert_eq!(outcome.rows[0].prompt, [Message::system("Be brief."), Message::user("Q: what?\nA:")]);
    }

    #[test]
    fn answers_are_mapped_with_their_options() {
        let labels = [("yes", "ja"), ("no", "nein")].map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let outcome = made(map_answer(
            vec![choice_row(0, "q", "yes"), open_row(1, "q", "other")].into(),
            &labels,
            &context("map_answer"),
        ));
        assert_eq!((outcome.rows[0].answer.as_str(), outcome.changed), ("ja", 1));
        assert_eq!(outcome.rows[0].options, ["ja", "nein", "maybe"]);
        let merged = [("no".to_owned(), "yes".to_owned())].into();
        assert_eq!(made(map_answer(vec![choice_row(0, "q", "no")].into(), &merged, &context("map_answer"))).changed, 0);
    }

    #[test]
    fn pairs_hold_the_answer_first_and_another_option() {
        let rows: Vec<_> = (0..40).map(|row| choice_row(row, "q", "no")).collect();
        let outcome = made(preference_pairs(rows.into(), &context("preference_pairs")));
        let rejected: BTreeSet<&String> = outcome.rows.iter().map(|row| &row.options[1]).collect();
        assert!(outcome.rows.iter().all(|row| row.options.len() == 2 && row.options[0] == "no"));
        assert_eq!(rejected.len(), 2);
        assert_eq!(
            made(preference_pairs(outcome.rows.clone().into(), &context("preference_pairs"))).rows,
            outcome.rows
        );
    }
}
