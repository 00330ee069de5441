//! Has texts written for rows and keeps those that pass. Knows no step: who asks says what is asked and judges.
//!
//! Texts are written in rounds, one for each row that still wants some, so that a row that is served at once costs one
//! text. What is drawn depends on the seed, the step and the id of the row alone.

use std::collections::BTreeMap;

use rayon::prelude::*;
use trex_domain::{Example, Message, TextWriter, WritingRequest, WritingSettings, WrittenText};

use super::touched::{SHOWN_PER_REASON, TouchedRow};
use super::{Context, gold};
use crate::DataError;

/// What is asked of a row; none where the row is left alone.
pub(super) type Ask<'a> = dyn Fn(&Example) -> Option<Vec<Message>> + Sync + 'a;

/// The text to take of a row, given those that were taken before, or why it is not taken.
pub(super) type Judge<'a> = dyn Fn(&Example, &[String], &str) -> Result<String, &'static str> + Sync + 'a;

/// What is to be written.
pub(super) struct Commission<'a> {
    /// Texts for a row at most.
    pub(super) samples: usize,
    /// Texts that are taken of a row at most.
    pub(super) wanted: usize,
    pub(super) settings: WritingSettings,
    pub(super) ask: &'a Ask<'a>,
    pub(super) judge: &'a Judge<'a>,
    /// How far the model's answer to the text, as the last turn of the row, must agree with the gold answer; none where
    /// it is not asked.
    pub(super) check: Option<f64>,
}

/// What became of the texts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) written: usize,
    pub(super) rejected: BTreeMap<String, usize>,
    /// The first texts of each reason.
    pub(super) shown: Vec<TouchedRow>,
}

impl Tally {
    fn reject(&mut self, row: &Example, text: &str, reason: &'static str) {
        let count = self.rejected.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count <= SHOWN_PER_REASON {
            self.shown.push(TouchedRow::not_taken(row, text, reason));
        }
    }
}

/// The texts that were taken of each row, in the order in which they were written; none where nothing was asked.
pub(super) fn written(
    rows: &[Example],
    commission: &Commission<'_>,
    context: &Context<'_>,
    tally: &mut Tally,
) -> Result<Vec<Option<Vec<String>>>, DataError> {
    let writer = context.aids.writer.ok_or(DataError::NoWriter { operator: context.operator })?;
    let questions: Vec<Option<Vec<Message>>> = rows.par_iter().map(commission.ask).collect();
    let mut taken: Vec<Option<Vec<String>>> =
        questions.iter().map(|question| question.as_ref().map(|_| Vec::new())).collect();
    for round in 0..commission.samples {
        let wants_more =
            |texts: &Option<Vec<String>>| texts.as_ref().is_some_and(|texts| texts.len() < commission.wanted);
        let asked = rows.iter().zip(&questions).enumerate().filter(|(at, _)| taken.get(*at).is_some_and(wants_more));
        let asked: Vec<(usize, WritingRequest)> = asked
            .filter_map(|(at, (row, question))| {
                Some((at, request(row, question.clone()?, &format!("{round}"), context)))
            })
            .collect();
        if asked.is_empty() {
            break;
        }
        let (numbers, requests): (Vec<usize>, Vec<WritingRequest>) = asked.into_iter().unzip();
        let texts = asked_of(writer, &requests, &commission.settings)?;
        tally.written += texts.len();
        let mut passed = Vec::new();
        for (at, text) in numbers.into_iter().zip(texts) {
            let (Some(row), Some(Some(before))) = (rows.get(at), taken.get(at)) else { continue };
            match judged(row, before, &text, commission) {
                Ok(text) => passed.push((at, row, text)),
                Err(reason) => tally.reject(row, &text.text, reason),
            }
        }
        if let Some(min_agreement) = commission.check {
            passed = still_answered(passed, round, min_agreement, commission, context, tally)?;
        }
        for (at, _, text) in passed {
            taken.get_mut(at).into_iter().flatten().for_each(|texts| texts.push(text.clone()));
        }
    }
    Ok(taken)
}

fn judged(
    row: &Example,
    before: &[String],
    written: &WrittenText,
    commission: &Commission<'_>,
) -> Result<String, &'static str> {
    if !written.is_whole {
        return Err("was cut off");
    }
    if written.text.trim().is_empty() {
        return Err("is empty");
    }
    (commission.judge)(row, before, written.text.trim())
}

/// A row with its number and a text.
type Passed<'a> = (usize, &'a Example, String);

/// The texts from which the model, asked without drawing, comes to the gold answer.
fn still_answered<'a>(
    passed: Vec<Passed<'a>>,
    round: usize,
    min_agreement: f64,
    commission: &Commission<'_>,
    context: &Context<'_>,
    tally: &mut Tally,
) -> Result<Vec<Passed<'a>>, DataError> {
    let Some(writer) = context.aids.writer.filter(|_| !passed.is_empty()) else { return Ok(passed) };
    let question = |(_, row, text): &Passed<'_>| {
        let row = with_question(row, text);
        request(&row, row.rendered_prompt(context.seed), &format!("{round}/check"), context)
    };
    let requests: Vec<WritingRequest> = passed.iter().map(question).collect();
    let answers = asked_of(writer, &requests, &WritingSettings { temperature: 0.0, ..commission.settings })?;
    let mut kept = Vec::with_capacity(passed.len());
    for ((at, row, text), answer) in passed.into_iter().zip(answers) {
        if gold::answers(&answer.text, row, min_agreement) {
            kept.push((at, row, text));
        } else {
            tally.reject(row, &text, "the model answers the new question otherwise");
        }
    }
    Ok(kept)
}

/// The row with another last turn.
pub(super) fn with_question(row: &Example, text: &str) -> Example {
    let mut row = row.clone();
    if let Some(question) = row.prompt.last_mut() {
        text.clone_into(&mut question.content);
    }
    row
}

fn request(row: &Example, messages: Vec<Message>, what: &str, context: &Context<'_>) -> WritingRequest {
    WritingRequest { id: format!("{}/{}/{}/{what}", row.id, context.operator, context.occurrence), messages }
}

fn asked_of(
    writer: &dyn TextWriter,
    requests: &[WritingRequest],
    settings: &WritingSettings,
) -> Result<Vec<WrittenText>, DataError> {
    let texts = writer.write(requests, settings).map_err(DataError::measuring)?;
    if texts.len() == requests.len() {
        return Ok(texts);
    }
    Err(DataError::WrongTexts { expected: requests.len(), found: texts.len() })
}
