//! Writes solved examples before a prompt. Takes them from the pool only, so no evaluation item can get in here.

use std::collections::BTreeSet;

use rand::Rng;
use trex_domain::{Example, Message, Role};

use super::compare::{original_id, question_key};
use super::{Context, Outcome, draw_below};
use crate::DataError;
use crate::pool::Pool;
use crate::text::hash_of;

/// Draws in a row that may fail before all rows are looked through in order.
const MAX_MISSES: usize = 64;

/// Puts `shots` drawn examples as turns of person and model before the first question of every row.
///
/// Shots are never the row itself, a copy of it, a row of its group, one with the same question, or one without answer.
/// Where fewer rows qualify, fewer are shown. Options in a drawn order are written out, since they are the shot's own.
///
/// In memory are 40 bytes a row (hashes of question, id and group), and the shots of one portion of rows.
pub(super) fn pack(rows: Pool, shots: usize, context: &Context<'_>) -> Result<Outcome, DataError> {
    let marks = rows.facts(Marks::of)?;
    let sources = rows.clone();
    let edit = |index: usize, row: &mut Example| -> Result<bool, DataError> {
        let chosen = sources.get(&choose(&row.id, &marks, index, shots, context))?;
        let turns: Vec<Message> = chosen.iter().flat_map(|shot| turns_of(shot, context)).collect();
        let has_shots = !turns.is_empty();
        let start = row.prompt.iter().position(|turn| turn.role != Role::System).unwrap_or(row.prompt.len());
        row.prompt.splice(start..start, turns);
        Ok(has_shots)
    };
    let failed = std::sync::Mutex::new(None);
    let outcome = Outcome::edited_by_number(rows, context, |index, row| match edit(index, row) {
        Ok(is_changed) => is_changed,
        Err(err) => {
            *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(err);
            false
        }
    })?;
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(err) => Err(err),
        None => Ok(outcome),
    }
}

/// What decides whether a row may be shown before another, as hashes.
struct Marks {
    question: u64,
    original: u64,
    group: Option<u64>,
    has_answer: bool,
}

impl Marks {
    fn of(row: &Example) -> Self {
        Self {
            question: hash_of(&question_key(row)),
            original: hash_of(original_id(&row.id)),
            group: row.group.as_deref().map(hash_of),
            has_answer: !row.answer.trim().is_empty(),
        }
    }

    /// Whether two rows are the same row, copies of one row or of one group.
    fn is_family(&self, other: &Self) -> bool {
        self.original == other.original || (self.group.is_some() && self.group == other.group)
    }
}

fn choose(id: &str, marks: &[Marks], row: usize, shots: usize, context: &Context<'_>) -> Vec<usize> {
    let Some(own) = marks.get(row) else { return Vec::new() };
    let mut rng = context.rng(id);
    let mut shown = BTreeSet::from([own.question]);
    let mut chosen = Vec::with_capacity(shots.min(marks.len()));
    let mut candidates = Candidates { bound: marks.len(), misses: 0, next: 0 };
    while chosen.len() < shots {
        let Some(at) = candidates.draw(&mut rng) else { break };
        let Some(source) = marks.get(at) else { continue };
        let qualifies = !own.is_family(source) && source.has_answer;
        if qualifies && shown.insert(source.question) {
            chosen.push(at);
            candidates.misses = 0;
        } else {
            candidates.misses += 1;
        }
    }
    chosen
}

/// Draws indices below `bound`, and goes through all of them when draws keep missing.
struct Candidates {
    bound: usize,
    misses: usize,
    next: usize,
}

impl Candidates {
    fn draw(&mut self, rng: &mut impl Rng) -> Option<usize> {
        if self.next == 0 && self.misses < MAX_MISSES {
            return (self.bound > 0).then(|| draw_below(self.bound, rng));
        }
        self.next += 1;
        (self.next <= self.bound).then(|| self.next - 1)
    }
}

fn turns_of(shot: &Example, context: &Context<'_>) -> Vec<Message> {
    let mut turns = shot.rendered_prompt(context.seed);
    turns.retain(|turn| turn.role != Role::System);
    turns.push(Message::assistant(shot.answer.clone()));
    turns
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, context, made, open_row};
    use super::*;

    #[test]
    fn shots_come_after_the_system_turn_and_before_the_question() {
        let mut rows: Vec<_> =
            (0..10).map(|row| open_row(row, &format!("question {row}"), &format!("answer {row}"))).collect();
        rows[0].prompt.insert(0, Message::system("be brief"));
        let outcome = made(pack(rows.into(), 2, &context("few_shot_pack")));
        let prompt = &outcome.rows[0].prompt;
        let roles: Vec<_> = prompt.iter().map(|turn| turn.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user"]);
        assert_eq!(prompt[5].content, "question 0");
        assert_eq!(prompt[1].content.replace("question", "answer"), prompt[2].content);
        assert!(!prompt[1..5].iter().any(|turn| turn.content.ends_with(" 0")));
        assert_eq!(outcome.changed, 10);
    }

    #[test]
    fn own_group_copies_and_equal_questions_are_never_shown() {
        let mut rows: Vec<_> =
            (0..5).map(|row| open_row(row, &format!("question {row}"), &format!("answer {row}"))).collect();
        rows[0].group = Some("g".into());
        rows[1].group = Some("g".into());
        rows[2].id = "t/0+1".into();
        rows[3].prompt[0].content = "Question 0!".into();
        let outcome = made(pack(rows.into(), 3, &context("few_shot_pack")));
        let shown: Vec<_> = outcome.rows[0].prompt.iter().map(|turn| turn.content.as_str()).collect();
        assert_eq!(shown, ["question 4", "answer 4", "question 0"]);
    }

    #[test]
    fn options_of_a_shot_are_written_out() {
        let rows = (0..4).map(|row| choice_row(row, &format!("pick {row}: {{options}}"), "yes")).collect::<Vec<_>>();
        let outcome = made(pack(rows.into(), 1, &context("few_shot_pack")));
        assert!(
            outcome.rows.iter().all(|row| !row.prompt[0].content.contains('{') && row.question().contains("{options}"))
        );
    }

    #[test]
    fn a_lonely_row_stays_as_it_is() {
        let outcome = made(pack(vec![open_row(0, "q", "a")].into(), 3, &context("few_shot_pack")));
        assert_eq!((outcome.changed, outcome.rows[0].prompt.len()), (0, 1));
    }
}
