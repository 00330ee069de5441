//! Answers of a type: the ladder of answer forms, the parser that forgives wrapping, and at most two repairs.
//!
//! A JSON schema is asked for first, then any JSON object, then plain text, as far down as the service makes necessary. In
//! each case the answer is parsed into its type and checked, and what is wrong is sent back. Text that surrounds the JSON is
//! ignored; nothing in it is acted on.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use trex_domain::{AnswerForm, LanguageModel, Message, ModelReply, ModelRequest, Problem, ReplyControl, TokenUsage};

use crate::llm::ModelError;

/// Times that an answer is sent back.
const REPAIRS: usize = 2;

/// What is asked, without its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Name of the schema: letters, digits and underscores.
    pub name: &'static str,
    /// The conversation; the last turn is the question.
    pub messages: Vec<Message>,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Seed of the draw.
    pub seed: u64,
}

/// What came of a question, repairs included.
#[derive(Debug)]
pub struct Asked<T> {
    /// The answer, or why there is none.
    pub answer: Result<T, Box<dyn Problem + Send + Sync>>,
    /// Tokens of all attempts that were not replayed.
    pub usage: TokenUsage,
    /// Times that an answer was sent back.
    pub repairs: usize,
    /// Whether every answer had been stored.
    pub replayed: bool,
}

/// What is wrong with an answer, in words that the model gets to read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// Nothing that looks like JSON.
    #[error("there is no JSON object in the answer")]
    NoJson,
    /// The answer was longer than allowed.
    #[error("the answer is too long; be brief")]
    TooLong,
    /// JSON of another shape.
    #[error("{0}")]
    Shape(#[from] serde_json::Error),
    /// The right shape with a value that is not possible.
    #[error("{field} {complaint}")]
    Value {
        /// Field.
        field: &'static str,
        /// What is wrong with it.
        complaint: String,
    },
}

/// Asks for an answer of a type; `check` looks at what the schema cannot say.
pub fn ask_structured<T: DeserializeOwned + JsonSchema>(
    model: &dyn LanguageModel,
    question: &Question,
    check: &dyn Fn(&T) -> Result<(), AnswerFault>,
    control: &mut dyn ReplyControl,
) -> Asked<T> {
    let schema = schemars::schema_for!(T).to_value();
    let mut ladder = Ladder { model, question, schema, step: 0, usage: TokenUsage::default(), replayed: true };
    let mut messages = question.messages.clone();
    let mut last = String::new();
    for repairs in 0..=REPAIRS {
        // A model that went astray takes the same way again unless it is nudged.
        let temperature = if repairs == 0 { 0.0 } else { 0.6 };
        let reply = match ladder.ask(&messages, temperature, control) {
            Ok(reply) => reply,
            Err(err) => return ladder.ended(Err(err), repairs),
        };
        match parsed(&reply).and_then(|answer: T| check(&answer).map(|()| answer)) {
            Ok(answer) => return ladder.ended(Ok(answer), repairs),
            Err(fault) => last = fault.to_string(),
        }
        messages.push(Message::assistant(shortened(&reply.text)));
        messages.push(Message::user(format!(
            "That answer cannot be used: {last}. Answer again with one JSON object of the schema and nothing else."
        )));
    }
    let err = ModelError::OffSchema { model: model.name().to_owned(), attempts: REPAIRS + 1, last };
    ladder.ended(Err(Box::new(err)), REPAIRS)
}

struct Ladder<'a> {
    model: &'a dyn LanguageModel,
    question: &'a Question,
    schema: serde_json::Value,
    step: usize,
    usage: TokenUsage,
    replayed: bool,
}

impl Ladder<'_> {
    /// Asks in the highest form that the service takes.
    fn ask(
        &mut self,
        messages: &[Message],
        temperature: f64,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        loop {
            let request = ModelRequest {
                messages: messages.to_vec(),
                form: self.form(),
                max_tokens: self.question.max_tokens,
                temperature,
                seed: self.question.seed,
            };
            match self.model.ask(&request, control) {
                Ok(reply) => {
                    if !reply.replayed {
                        self.usage += reply.usage;
                        self.replayed = false;
                    }
                    return Ok(reply);
                }
                // Services refuse a form that they do not know as a bad request.
                Err(err) if err.code() == "llm.bad_request" && request.form != AnswerForm::Text => self.step += 1,
                Err(err) => return Err(err),
            }
        }
    }

    fn form(&self) -> AnswerForm {
        match self.step {
            0 => AnswerForm::JsonSchema { name: self.question.name.to_owned(), schema: self.schema.clone() },
            1 => AnswerForm::JsonObject,
            _ => AnswerForm::Text,
        }
    }

    fn ended<T>(self, answer: Result<T, Box<dyn Problem + Send + Sync>>, repairs: usize) -> Asked<T> {
        let replayed = self.replayed && answer.is_ok();
        Asked { answer, usage: self.usage, repairs, replayed }
    }
}

fn parsed<T: DeserializeOwned>(reply: &ModelReply) -> Result<T, AnswerFault> {
    let Some(json) = json_in(&reply.text) else {
        return Err(if reply.cut_at_limit { AnswerFault::TooLong } else { AnswerFault::NoJson });
    };
    Ok(serde_json::from_str(json)?)
}

/// The first whole JSON object in a text; what a model thought aloud before does not count.
fn json_in(text: &str) -> Option<&str> {
    let text = text.rsplit_once("</think>").map_or(text, |(_, answer)| answer);
    let start = text.find('{')?;
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.as_bytes().iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[start..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// An answer as it is shown back to the model: a long one would only fill its context.
fn shortened(text: &str) -> String {
    const CHARS: usize = 400;
    text.chars().take(CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_found_in_what_models_wrap_around_it() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(json_in(text), expected, "{text:?}");
        check(r#"{"a": 1}"#, Some(r#"{"a": 1}"#));
        check("Sure!\n```json\n{\"a\": {\"b\": 2}}\n```\nAnything else?", Some(r#"{"a": {"b": 2}}"#));
        check(r#"<think>maybe {"a": 0}</think>{"a": 1}"#, Some(r#"{"a": 1}"#));
        check(r#"{"a": "}\"{"} tail"#, Some(r#"{"a": "}\"{"}"#));
        check(r#"{"a": 1"#, None);
        check("no", None);
    }

    proptest! {
        #[test]
        fn any_text_is_searched_without_a_panic(text in "[{}\"\\\\aé<>/think ]{0,60}") {
            if let Some(found) = json_in(&text) {
                let is_object = found.starts_with('{') && found.ends_with('}');
                prop_assert!(is_object, "{}", found);
            }
        }
    }
}
