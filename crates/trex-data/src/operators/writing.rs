//! Steps whose texts a language model writes: answers with their steps, questions in other words, worse answers. Of what
//! is written only that is taken which keeps to the gold answer. Runs no model: who has one hands it in.
//!
//! In memory are the rows of one portion with their texts, and a hash of every id where rows are added.

use trex_domain::{AnswerStyle, Example, Message, Operator, Role, WritingSettings};

use super::canonical::without_quotes;
use super::gold::{self, Conclusion};
use super::rounds::{Commission, Tally, with_question, written};
use super::touched::{SHOWN_PER_REASON, TouchedRow};
use super::{Context, FreshIds, Outcome};
use crate::DataError;
use crate::pool::Pool;
use crate::text::{normalise_key, words};

/// What is asked behind the question, for an answer with its steps.
const WITH_STEPS: &str = "\n\nThink step by step, in a few short sentences. Then write the final answer alone on the last \
                          line, after \"Answer:\".";

/// What is asked for a question in other words; the question stands behind it.
const IN_OTHER_WORDS: &str = "Say the text below in other words. Keep its meaning, its language, and every name and \
                              number. Write the new text and nothing else.\n\nText: ";

/// What models like to write before a new text.
const LABELS: [&str; 6] = ["text:", "new text:", "rewritten text:", "paraphrase:", "in other words:", "question:"];

/// The place in a prompt where options are put in.
const OPTIONS_PLACE: &str = "{options}";

/// Fewest words of steps.
const MIN_STEP_WORDS: usize = 3;

/// Words that a short question may grow by, whatever its length.
const FREE_WORDS: usize = 4;

/// Carries out one of the three steps.
pub(super) fn apply(operator: &Operator, rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    let settings = |max_new_tokens, temperature| WritingSettings { max_new_tokens, temperature, seed: context.seed };
    match *operator {
        Operator::AnswerSynthesis {
            style,
            samples,
            keep,
            min_agreement,
            drop_unsolved,
            temperature,
            max_new_tokens,
        } => {
            let plan = AnswerPlan { style, samples, keep, min_agreement, drop_unsolved };
            answers(&rows, &plan, settings(max_new_tokens, temperature), context)
        }
        Operator::Paraphrase { copies, samples, min_agreement, temperature, max_new_tokens } => {
            let plan = ParaphrasePlan { copies, samples, min_agreement };
            paraphrases(rows, &plan, settings(max_new_tokens, temperature), context)
        }
        Operator::RejectedSynthesis { samples, temperature, max_new_tokens } => {
            worse_answers(&rows, samples, settings(max_new_tokens, temperature), context)
        }
        // The registry hands on no other step.
        _ => Ok(Outcome::untouched(rows)),
    }
}

/// The parameters of `answer_synthesis`.
struct AnswerPlan {
    style: AnswerStyle,
    samples: usize,
    keep: usize,
    min_agreement: f64,
    drop_unsolved: bool,
}

/// Why a row of an unsolved question goes.
const UNSOLVED: &str = "no written answer comes to the gold answer";

/// Puts the first text that comes to the gold answer in its place, and adds a row for each further one.
fn answers(
    rows: &Pool,
    plan: &AnswerPlan,
    settings: WritingSettings,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let judge = |row: &Example, before: &[String], text: &str| {
        let answer = match plan.style {
            AnswerStyle::Rationale => with_steps(row, text, plan.min_agreement)?,
            AnswerStyle::Direct => direct(row, text, plan.min_agreement)?,
        };
        if is_known(&answer, &row.answer, before) { Err("says nothing new") } else { Ok(answer) }
    };
    let commission = Commission {
        samples: plan.samples,
        wanted: plan.keep,
        settings,
        ask: &|row| answer_request(row, plan.style, context.seed),
        judge: &judge,
        check: None,
    };
    let (mut kept, mut ids) = (Kept::new(rows), FreshIds::new(rows)?);
    rows.for_each_portion(|first, portion| {
        let texts = written(portion, &commission, context, &mut kept.tally)?;
        for (number, (row, texts)) in (first..).zip(portion.iter().zip(texts)) {
            let is_unsolved = texts.as_ref().is_some_and(Vec::is_empty);
            let mut texts = texts.unwrap_or_default().into_iter();
            match texts.next() {
                Some(answer) => kept.change(row, Example { answer, ..row.clone() }, context)?,
                None if is_unsolved && plan.drop_unsolved => kept.drop(row, UNSOLVED),
                None => kept.outcome.rows.push_from(rows, number)?,
            }
            for answer in texts {
                kept.add(Example { answer, id: ids.next(row), ..row.clone() }, context)?;
            }
        }
        Ok(())
    })?;
    kept.finish()
}

/// What is asked of a row with an open answer.
fn answer_request(row: &Example, style: AnswerStyle, seed: u64) -> Option<Vec<Message>> {
    if !row.options.is_empty() || row.answer.trim().is_empty() {
        return None;
    }
    let mut messages = row.rendered_prompt(seed);
    let question = messages.last_mut().filter(|turn| turn.role == Role::User)?;
    if style == AnswerStyle::Rationale {
        question.content.push_str(WITH_STEPS);
    }
    Some(messages)
}

/// The steps of a text, with the gold answer behind them.
fn with_steps(row: &Example, text: &str, min_agreement: f64) -> Result<String, &'static str> {
    let (conclusion, gold) = (Conclusion::of(text), gold::gold_of(row));
    if !gold::agrees(conclusion.answer, gold, min_agreement) {
        return Err("comes to another answer");
    }
    if conclusion.steps.split_whitespace().count() < MIN_STEP_WORDS {
        return Err("has no steps");
    }
    Ok(format!("{}\nAnswer: {gold}", conclusion.steps))
}

fn direct(row: &Example, text: &str, min_agreement: f64) -> Result<String, &'static str> {
    if gold::agrees(text, gold::gold_of(row), min_agreement) {
        Ok(text.to_owned())
    } else {
        Err("comes to another answer")
    }
}

/// Whether a text was there before, in the same words.
fn is_known(text: &str, original: &str, before: &[String]) -> bool {
    let key = normalise_key(text);
    key == normalise_key(original) || before.iter().any(|other| normalise_key(other) == key)
}

/// The parameters of `paraphrase`.
struct ParaphrasePlan {
    copies: usize,
    samples: usize,
    min_agreement: f64,
}

/// Adds rows whose last turn says the same in other words.
fn paraphrases(
    mut rows: Pool,
    plan: &ParaphrasePlan,
    settings: WritingSettings,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let commission = Commission {
        samples: plan.samples,
        wanted: plan.copies,
        settings,
        ask: &paraphrase_request,
        judge: &judged_paraphrase,
        check: (plan.min_agreement > 0.0).then_some(plan.min_agreement),
    };
    let (mut kept, mut ids) = (Kept::new(&rows), FreshIds::new(&rows)?);
    rows.for_each_portion(|_, portion| {
        let texts = written(portion, &commission, context, &mut kept.tally)?;
        for (row, texts) in portion.iter().zip(texts) {
            for text in texts.unwrap_or_default() {
                kept.add(Example { id: ids.next(row), ..with_question(row, &text) }, context)?;
            }
        }
        Ok(())
    })?;
    std::mem::swap(&mut kept.outcome.rows, &mut rows);
    kept.finish()
}

/// What is asked of a row with a question and an answer.
fn paraphrase_request(row: &Example) -> Option<Vec<Message>> {
    let is_question = row.prompt.last().is_some_and(|turn| turn.role == Role::User);
    let has_both = is_question && !row.question().trim().is_empty() && !row.answer.trim().is_empty();
    has_both.then(|| vec![Message::user(format!("{IN_OTHER_WORDS}{}", row.question()))])
}

fn judged_paraphrase(row: &Example, before: &[String], text: &str) -> Result<String, &'static str> {
    let (old, new) = (row.question(), bare(text, row.question()));
    if is_known(new, old, before) {
        return Err("says nothing new");
    }
    if new.contains(OPTIONS_PLACE) != old.contains(OPTIONS_PLACE) {
        return Err("has lost the place of the options");
    }
    if numbers(new) != numbers(old) {
        return Err("has other numbers");
    }
    if !is_alike_long(new, old) {
        return Err("is much longer or shorter");
    }
    let gold = gold::gold_of(row);
    if gold::holds(new, gold) && !gold::holds(old, gold) {
        return Err("names the answer");
    }
    Ok(new.to_owned())
}

/// A new text without what models write around it.
fn bare<'t>(text: &'t str, question: &str) -> &'t str {
    let without_first_line = text.split_once('\n').filter(|(first, _)| first.trim_end().ends_with(':'));
    let text = without_first_line.map_or(text, |(_, rest)| rest).trim();
    let after_label = |label: &&str| {
        let (head, rest) = text.split_at_checked(label.len())?;
        let is_own = question.get(..label.len()).is_some_and(|start| start.eq_ignore_ascii_case(label));
        (head.eq_ignore_ascii_case(label) && !is_own).then_some(rest.trim())
    };
    let text = LABELS.iter().find_map(after_label).unwrap_or(text);
    if without_quotes(question) == question { without_quotes(text).trim() } else { text }
}

/// The runs of digits of a text, in order of size.
fn numbers(text: &str) -> Vec<&str> {
    let mut numbers: Vec<&str> = text.split(|c: char| !c.is_numeric()).filter(|run| !run.is_empty()).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether a text has between half and twice the words of another one.
fn is_alike_long(new: &str, old: &str) -> bool {
    let count = |text: &str| words(&normalise_key(text)).count();
    let (new, old) = (count(new), count(old));
    new <= 2 * old + FREE_WORDS && old <= 2 * new + FREE_WORDS
}

/// Gives open rows the first text that does not come to the gold answer as their worse answer.
fn worse_answers(
    rows: &Pool,
    samples: usize,
    settings: WritingSettings,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let ask = |row: &Example| {
        let request = answer_request(row, AnswerStyle::Direct, context.seed);
        request.filter(|_| row.rejected.is_none())
    };
    let judge = |row: &Example, _: &[String], text: &str| {
        if gold::answers(text, row, 1.0) { Err("comes to the gold answer") } else { Ok(text.to_owned()) }
    };
    let commission = Commission { samples, wanted: 1, settings, ask: &ask, judge: &judge, check: None };
    let mut kept = Kept::new(rows);
    rows.for_each_portion(|first, portion| {
        let texts = written(portion, &commission, context, &mut kept.tally)?;
        for (number, (row, texts)) in (first..).zip(portion.iter().zip(texts)) {
            match texts.into_iter().flatten().next() {
                Some(worse) => kept.change(row, Example { rejected: Some(worse), ..row.clone() }, context)?,
                None => kept.outcome.rows.push_from(rows, number)?,
            }
        }
        Ok(())
    })?;
    kept.finish()
}

/// What is left of the rows, and what was added.
struct Kept {
    outcome: Outcome,
    made: Pool,
    tally: Tally,
}

impl Kept {
    fn new(rows: &Pool) -> Self {
        let outcome = Outcome { rows: rows.sibling(), ..Outcome::default() };
        Self { outcome, made: rows.sibling(), tally: Tally::default() }
    }

    fn change(&mut self, before: &Example, mut after: Example, context: &Context<'_>) -> Result<(), DataError> {
        context.mark(&mut after);
        self.outcome.changed += 1;
        if self.outcome.changed <= SHOWN_PER_REASON {
            self.outcome.touched.push(TouchedRow::changed(before, &after));
        }
        self.outcome.rows.push(after)
    }

    fn drop(&mut self, row: &Example, reason: &'static str) {
        let count = self.outcome.dropped.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count <= SHOWN_PER_REASON {
            self.outcome.touched.push(TouchedRow::dropped(row, reason));
        }
    }

    fn add(&mut self, mut row: Example, context: &Context<'_>) -> Result<(), DataError> {
        context.mark(&mut row);
        self.made.push(row)
    }

    fn finish(self) -> Result<Outcome, DataError> {
        let Self { mut outcome, made, tally } = self;
        outcome.added = made.len();
        outcome.rows.append(made)?;
        outcome.touched.extend(tally.shown);
        (outcome.written, outcome.rejected) = (tally.written, tally.rejected);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
