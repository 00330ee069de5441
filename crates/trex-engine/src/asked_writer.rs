//! Texts by a language model that is asked one question after the other: the adapter between [`LanguageModel`] and
//! [`TextWriter`]. Keeps nothing: the model that is handed in may be one that stores its answers.

use std::fmt;
use std::sync::Arc;

use trex_domain::{
    AnswerForm, ContentHash, LanguageModel, MeasureError, ModelRequest, ReplyControl, TextWriter, WritingRequest,
    WritingSettings, WrittenText,
};

use crate::EngineError;

/// Hears how many texts are written, of how many; `false` stops it.
pub type WritingListener = dyn Fn(usize, usize) -> bool + Send + Sync;

/// A language model that writes.
pub struct AskedWriter {
    model: Arc<dyn LanguageModel>,
    name: ContentHash,
    listener: Box<WritingListener>,
}

impl AskedWriter {
    /// The name is that of the model: what lies behind it cannot be looked at, and may change.
    pub fn new(model: Arc<dyn LanguageModel>, listener: Box<WritingListener>) -> Result<Self, EngineError> {
        let name = ContentHash::of_value("trex.asked_writer.v1", &model.name())?;
        Ok(Self { model, name, listener })
    }

    fn ask(
        &self,
        request: &WritingRequest,
        settings: &WritingSettings,
        control: &mut Control<'_>,
    ) -> Result<WrittenText, MeasureError> {
        let question = ModelRequest {
            messages: request.messages.clone(),
            form: AnswerForm::Text,
            max_tokens: settings.max_new_tokens,
            temperature: settings.temperature,
            seed: seed_of(request, settings),
        };
        let reply = self.model.ask(&question, control)?;
        Ok(WrittenText { text: reply.text.trim().to_owned(), is_whole: !reply.cut_at_limit })
    }
}

impl fmt::Debug for AskedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedWriter").field("model", &self.model.name()).finish_non_exhaustive()
    }
}

/// A seed for each request. Services take signed 32-bit numbers.
fn seed_of(request: &WritingRequest, settings: &WritingSettings) -> u64 {
    let digits = ContentHash::of_bytes(format!("{}/{}", settings.seed, request.id).as_bytes()).to_string();
    digits.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default() >> 1
}

/// How far it is, for a call that may take long.
struct Control<'a> {
    listener: &'a WritingListener,
    done: usize,
    total: usize,
}

impl ReplyControl for Control<'_> {
    fn on_text(&mut self, _: &str) {}

    fn goes_on(&self) -> bool {
        (self.listener)(self.done, self.total)
    }
}

impl TextWriter for AskedWriter {
    fn name(&self) -> ContentHash {
        self.name
    }

    fn write(&self, requests: &[WritingRequest], settings: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError> {
        let mut texts = Vec::with_capacity(requests.len());
        for request in requests {
            let mut control = Control { listener: &*self.listener, done: texts.len(), total: requests.len() };
            if !control.goes_on() {
                return Err(Box::new(EngineError::Stopped));
            }
            texts.push(self.ask(request, settings, &mut control)?);
        }
        (self.listener)(texts.len(), requests.len());
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use trex_domain::{Message, ModelReply, Problem, TokenUsage};

    use super::*;

    /// Says the question again, and is cut off where it has more than one word.
    #[derive(Default)]
    struct Echo {
        asked: Mutex<Vec<ModelRequest>>,
    }

    impl LanguageModel for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }

        fn ask(
            &self,
            request: &ModelRequest,
            _: &mut dyn ReplyControl,
        ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
            self.asked.lock().unwrap().push(request.clone());
            let text = request.messages[0].content.clone();
            let cut_at_limit = text.contains(' ');
            Ok(ModelReply { text: format!(" {text}\n"), usage: TokenUsage::default(), cut_at_limit, replayed: false })
        }
    }

    fn request(id: &str, text: &str) -> WritingRequest {
        WritingRequest { id: id.to_owned(), messages: vec![Message::user(text)] }
    }

    #[test]
    fn each_request_is_a_question_with_a_seed_of_its_own() {
        let model = Arc::new(Echo::default());
        let writer = AskedWriter::new(model.clone(), Box::new(|_, _| true)).unwrap();
        let settings = WritingSettings { max_new_tokens: 9, temperature: 0.5, seed: 2 };
        let texts = writer.write(&[request("a/0", "one"), request("a/1", "two words")], &settings).unwrap();
        assert_eq!(texts[0], WrittenText { text: "one".to_owned(), is_whole: true });
        assert_eq!(texts[1], WrittenText { text: "two words".to_owned(), is_whole: false });
        writer.write(&[request("a/0", "one")], &settings).unwrap();
        let asked = model.asked.lock().unwrap();
        assert_eq!((asked[0].max_tokens, asked[0].form == AnswerForm::Text), (9, true));
        assert_eq!(asked[0], asked[2], "the same request is the same question");
        assert_ne!(asked[0].seed, asked[1].seed);
        assert!(asked.iter().all(|question| i32::try_from(question.seed).is_ok()));
    }

    #[test]
    fn a_person_may_stop_it_between_two_texts() {
        let writer = AskedWriter::new(Arc::new(Echo::default()), Box::new(|done, _| done < 1)).unwrap();
        let settings = WritingSettings { max_new_tokens: 9, temperature: 0.0, seed: 0 };
        let err = writer.write(&[request("a/0", "one"), request("a/1", "two")], &settings).unwrap_err();
        assert_eq!(err.code(), EngineError::Stopped.code());
    }
}
