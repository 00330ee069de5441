//! Writing steps over a writer whose texts the tests lay down.

use std::collections::BTreeMap;
use std::sync::Mutex;

use trex_domain::{ContentHash, MeasureError, Problem as _, TextWriter, WritingRequest, WrittenText};

use super::super::Aids;
use super::super::tests::{choice_row, context, ids, made, open_row};
use super::*;

/// Answers a request by the end of its id, such as `t/0/paraphrase/0/2`, and keeps what it was asked.
#[derive(Debug, Default)]
struct Script {
    texts: BTreeMap<&'static str, &'static str>,
    asked: Mutex<Vec<(WritingRequest, f64)>>,
}

impl Script {
    fn of(texts: &[(&'static str, &'static str)]) -> Self {
        Self { texts: texts.iter().copied().collect(), asked: Mutex::default() }
    }

    fn ids(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(request, _)| request.id.clone()).collect()
    }
}

impl TextWriter for Script {
    fn name(&self) -> ContentHash {
        ContentHash::of_bytes(b"script")
    }

    fn write(&self, requests: &[WritingRequest], settings: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError> {
        let written = |request: &WritingRequest| {
            self.asked.lock().unwrap().push((request.clone(), settings.temperature));
            let text = self.texts.iter().find(|(end, _)| request.id.ends_with(*end)).map_or("", |(_, text)| *text);
            WrittenText { text: text.trim_end_matches('…').to_owned(), is_whole: !text.ends_with('…') }
        };
        Ok(requests.iter().map(written).collect())
    }
}

fn with<'a>(operator: &'static str, script: &'a Script) -> Context<'a> {
    Context { aids: Aids { writer: Some(script), ..Aids::default() }, ..context(operator) }
}

fn rationale(samples: usize, keep: usize, drop_unsolved: bool) -> Operator {
    let style = AnswerStyle::Rationale;
    Operator::AnswerSynthesis {
        style,
        samples,
        keep,
        min_agreement: 1.0,
        drop_unsolved,
        temperature: 0.7,
        max_new_tokens: 64,
    }
}

fn paraphrase(min_agreement: f64) -> Operator {
    Operator::Paraphrase { copies: 1, samples: 3, min_agreement, temperature: 0.7, max_new_tokens: 64 }
}

#[test]
fn an_answer_with_steps_is_taken_where_it_comes_to_the_gold_answer() {
    let script = Script::of(&[
        ("t/0/answer_synthesis/0/0", "Two and two are four.\nAnswer: 4"),
        ("t/0/answer_synthesis/0/1", "First two, then three, so five.\nAnswer: 5"),
        ("t/0/answer_synthesis/0/2", "Count from two to five.\nAnswer: $5.00"),
        ("t/1/answer_synthesis/0/0", "Answer: 7"),
        ("t/1/answer_synthesis/0/1", "Long and…"),
    ]);
    let rows =
        vec![open_row(0, "2 + 3?", "5"), open_row(1, "3 + 4?", "7"), choice_row(2, "q", "yes"), open_row(3, "q", "")];
    let known = with("answer_synthesis", &script);
    let outcome = apply(&rationale(3, 2, false), rows.clone().into(), &known).unwrap();
    assert_eq!((outcome.written, outcome.changed, outcome.added), (6, 1, 1));
    let rejected = [("comes to another answer", 1), ("has no steps", 1), ("is empty", 1), ("was cut off", 1)];
    assert_eq!(outcome.rejected, rejected.map(|(reason, count)| (reason.to_owned(), count)).into());
    let shown: Vec<&str> = outcome.touched.iter().map(|row| row.what.as_str()).collect();
    assert!(shown.contains(&"changed") && shown.contains(&"not taken: has no steps"), "{shown:?}");
    let after = outcome.rows.into_rows().unwrap();
    assert_eq!(ids(&after), ["t/0", "t/1", "t/2", "t/3", "t/0+1"]);
    assert_eq!(after[0].answer, "First two, then three, so five.\nAnswer: 5");
    assert_eq!(after[4].answer, "Count from two to five.\nAnswer: 5");
    assert_eq!(after[0].prompt, rows[0].prompt, "what the model was asked beside the question is not trained on");
    assert!([0, 4].iter().all(|at: &usize| after[*at].origin.changed_by == ["answer_synthesis"]));
    assert_eq!(after[1..4], rows[1..4], "rows that are not served, closed ones and such without answer");
    let asked = script.asked.lock().unwrap();
    assert!(asked[0].0.messages[0].content.starts_with("2 + 3?\n\nThink step by step"), "{:?}", asked[0]);
}

#[test]
fn rows_that_stay_unsolved_may_go_and_those_that_were_not_asked_stay() {
    let script = Script::of(&[("t/0/answer_synthesis/0/0", "It must be three.\nAnswer: 3")]);
    let rows = vec![open_row(0, "1 + 2?", "3"), open_row(1, "3 + 4?", "7"), choice_row(2, "q", "yes")];
    let outcome = made(apply(&rationale(2, 1, true), rows.into(), &with("answer_synthesis", &script)));
    assert_eq!(ids(&outcome.rows), ["t/0", "t/2"]);
    assert_eq!(outcome.dropped[UNSOLVED], 1);
    assert_eq!(script.ids().len(), 3, "a row that is solved at once costs one text");
}

#[test]
fn an_answer_in_own_words_holds_the_gold_answer() {
    let script = Script::of(&[
        ("t/0/answer_synthesis/0/0", "paris"),
        ("t/0/answer_synthesis/0/1", "The capital of France is Paris."),
    ]);
    let Operator::AnswerSynthesis { samples, keep, min_agreement, drop_unsolved, temperature, max_new_tokens, .. } =
        rationale(2, 1, false)
    else {
        panic!("it is an answer synthesis")
    };
    let style = AnswerStyle::Direct;
    let direct =
        Operator::AnswerSynthesis { style, samples, keep, min_agreement, drop_unsolved, temperature, max_new_tokens };
    let rows = vec![open_row(0, "What is the capital of France?", "Paris")];
    let outcome = made(apply(&direct, rows.into(), &with("answer_synthesis", &script)));
    assert_eq!(outcome.rows[0].answer, "The capital of France is Paris.");
}

#[test]
fn a_question_in_other_words_is_taken_where_the_model_still_comes_to_the_gold_answer() {
    let script = Script::of(&[
        ("t/0/paraphrase/0/0", "How old was Ada at her death?"),
        ("t/0/paraphrase/0/0/check", "She was 40."),
        ("t/0/paraphrase/0/1", "\"At what age did Ada die?\""),
        ("t/0/paraphrase/0/1/check", "At 36."),
        ("t/1/paraphrase/0/0", "Is this film fine, tell me?"),
        ("t/1/paraphrase/0/0/check", "yes, it is"),
    ]);
    let rows = vec![open_row(0, "How old was Ada when she died?", "36"), choice_row(1, "Is this a fine film?", "yes")];
    let outcome = apply(&paraphrase(1.0), rows.clone().into(), &with("paraphrase", &script)).unwrap();
    assert_eq!((outcome.written, outcome.changed, outcome.added), (3, 0, 2));
    assert_eq!(outcome.rejected, [("the model answers the new question otherwise".to_owned(), 1)].into());
    let after = outcome.rows.into_rows().unwrap();
    assert_eq!((ids(&after), &after[..2]), (vec!["t/0", "t/1", "t/0+1", "t/1+1"], &rows[..]));
    assert_eq!((after[2].question(), after[2].answer.as_str()), ("At what age did Ada die?", "36"));
    assert_eq!((after[3].options.len(), after[3].origin.changed_by[0].as_str()), (3, "paraphrase"));
    let asked = script.asked.lock().unwrap();
    let check = asked.iter().find(|(request, _)| request.id.ends_with("0/1/check")).unwrap();
    assert_eq!(check.0.messages, [Message::user("At what age did Ada die?")]);
    assert!(check.1.abs() < f64::EPSILON, "what is checked is not drawn");
}

/// What becomes of a text as another wording of a question with the answer "Rome".
#[track_caller]
fn check_paraphrase(question: &str, text: &str, expected: Result<&str, &'static str>) {
    let row = open_row(0, question, "Rome");
    assert_eq!(judged_paraphrase(&row, &["known one here".to_owned()], text), expected.map(str::to_owned));
}

#[test]
fn what_changes_more_than_words_is_not_taken() {
    let question = "Which city has 2 rivers and 7 hills?";
    check_paraphrase(question, "7 hills and 2 rivers: name the city.", Ok("7 hills and 2 rivers: name the city."));
    check_paraphrase(
        question,
        "Here is a new text:\n\"A city on 7 hills with 2 rivers?\"",
        Ok("A city on 7 hills with 2 rivers?"),
    );
    check_paraphrase(question, "Rewritten text: A city, 7 hills, 2 rivers?", Ok("A city, 7 hills, 2 rivers?"));
    check_paraphrase(question, "which city has 2 rivers and 7 hills", Err("says nothing new"));
    check_paraphrase("a b c d", "Known one here", Err("says nothing new"));
    check_paraphrase(question, "Which city has 2 rivers and 8 hills?", Err("has other numbers"));
    check_paraphrase(question, "Which city has two rivers and 7 hills?", Err("has other numbers"));
    check_paraphrase(
        question,
        &format!("2 rivers, 7 hills{}", " and more".repeat(20)),
        Err("is much longer or shorter"),
    );
    check_paraphrase(&"many words ".repeat(20), "few words", Err("is much longer or shorter"));
    check_paraphrase(question, "Has Rome 2 rivers and 7 hills?", Err("names the answer"));
    check_paraphrase("Rome or Oslo?", "Oslo or Rome, which?", Ok("Oslo or Rome, which?"));
    check_paraphrase("Which? {options}", "Which one is it?", Err("has lost the place of the options"));
}

#[test]
fn the_first_answer_that_is_wrong_becomes_the_worse_one() {
    let script = Script::of(&[
        ("t/0/rejected_synthesis/0/0", "It is Paris."),
        ("t/0/rejected_synthesis/0/1", "It is Lyon."),
        ("t/1/rejected_synthesis/0/0", "Rome"),
        ("t/1/rejected_synthesis/0/1", "Rome!"),
    ]);
    let mut paired = open_row(2, "q", "a");
    paired.rejected = Some("b".to_owned());
    let rows = vec![
        open_row(0, "Capital of France?", "Paris"),
        open_row(1, "Of Italy?", "Rome"),
        paired,
        choice_row(3, "q", "yes"),
    ];
    let operator = Operator::RejectedSynthesis { samples: 2, temperature: 1.0, max_new_tokens: 8 };
    let outcome = made(apply(&operator, rows.clone().into(), &with("rejected_synthesis", &script)));
    assert_eq!((outcome.changed, outcome.rows[0].rejected_answer()), (1, Some("It is Lyon.")));
    assert_eq!(outcome.rows[1..], rows[1..]);
    assert_eq!(script.ids().len(), 4);
}

#[test]
fn a_writer_that_gives_too_few_texts_is_an_error() {
    /// Gives none.
    #[derive(Debug)]
    struct Silent;
    impl TextWriter for Silent {
        fn name(&self) -> ContentHash {
            ContentHash::of_bytes(b"silent")
        }

        fn write(&self, _: &[WritingRequest], _: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError> {
            Ok(Vec::new())
        }
    }
    let known = Context { aids: Aids { writer: Some(&Silent), ..Aids::default() }, ..context("paraphrase") };
    let err = apply(&paraphrase(1.0), vec![open_row(0, "q", "a")].into(), &known).err().unwrap();
    assert_eq!(err.code(), "data.wrong_texts");
}
