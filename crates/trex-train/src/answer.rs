//! Answers a question as a language model of the Researcher: one conversation in, one text out, of a JSON schema where one is
//! asked for. Knows no stage and judges no answer.

mod grammar;
mod guide;
mod recogniser;

use std::path::PathBuf;
use std::sync::Arc;

use trex_chat::ChatModel;
use trex_domain::{
    AnswerDone, AnswerForm, AnswerJob, Backend, EvalJob, EvalMode, GenerationConfig, Message, Metric, ModelRequest,
    Precision,
};

pub(crate) use grammar::Grammar;
pub use grammar::SchemaFault;
pub(crate) use guide::Guide;

use crate::inference::Inference;
use crate::sampling::Choice;
use crate::trainer::EventSink;
use crate::usage::{Meter, peak_rss_bytes};
use crate::{ModelConfig, TrainError};

/// Answers the question of a job.
pub fn answer(job: &AnswerJob, sink: &mut dyn EventSink) -> Result<AnswerDone, TrainError> {
    let meter = Meter::start();
    let config = ModelConfig::load(&job.model_dir.join("config.json"))?;
    let chat = Arc::new(ChatModel::load(&job.model_dir)?);
    chat.check_fits(config.vocab_size)?;
    let prompt = condensed_prompt(&chat, &job.request, config.max_position)?;
    let choice = choice(&chat, &job.request, &prompt)?;
    let mut model = Inference::open(&as_scoring(job), config, sink)?;
    let meter = meter.on(model.device());
    let loaded_s = meter.wall_s();
    let answers = model.generate(std::slice::from_ref(&prompt), job.request.max_tokens, chat.eos_ids(), choice)?;
    let tokens = answers.into_iter().next().unwrap_or_default();
    let seconds = (meter.wall_s() - loaded_s).max(1e-9);
    Ok(AnswerDone {
        text: chat.decode(&tokens)?,
        prompt_tokens: prompt.len() as u64,
        completion_tokens: tokens.len() as u64,
        cut_at_limit: tokens.len() >= job.request.max_tokens,
        tokens_per_s: tokens.len() as f64 / seconds,
        peak_rss_bytes: peak_rss_bytes(),
        cost: meter.cost(),
    })
}

/// The tokens of a conversation; where it is too long for the model, without the solved examples between the first turn and
/// the question.
fn condensed_prompt(chat: &ChatModel, request: &ModelRequest, limit: usize) -> Result<Vec<u32>, TrainError> {
    let room = limit.saturating_sub(request.max_tokens);
    let whole = chat.encode_prompt(&request.messages)?;
    if whole.len() <= room {
        return Ok(whole);
    }
    let shorter = chat.encode_prompt(&without_examples(&request.messages))?;
    if shorter.len() <= room {
        return Ok(shorter);
    }
    Err(TrainError::TooLong { id: "the question".to_owned(), tokens: shorter.len() + request.max_tokens, limit })
}

fn without_examples(messages: &[Message]) -> Vec<Message> {
    let first = messages.first().into_iter();
    let last = messages.last().filter(|_| messages.len() > 1);
    first.chain(last).cloned().collect()
}

fn choice(chat: &Arc<ChatModel>, request: &ModelRequest, prompt: &[u32]) -> Result<Choice, TrainError> {
    if let AnswerForm::JsonSchema { schema, .. } = &request.form {
        let grammar = Grammar::of_schema(schema).map_err(|fault| TrainError::Schema { fault })?;
        let draw = (request.temperature, request.seed);
        return Ok(Choice::guided(Guide::new(grammar, chat.clone(), request.max_tokens, draw)?));
    }
    let do_sample = request.temperature > 0.0;
    let temperature = if do_sample { request.temperature } else { 1.0 };
    let config = GenerationConfig { do_sample, temperature, ..GenerationConfig::default() };
    Ok(Choice::new(config, request.seed, [("answer", prompt)].into_iter()))
}

/// Loading a model is the same for answers and for scores.
fn as_scoring(job: &AnswerJob) -> EvalJob {
    EvalJob {
        model_dir: job.model_dir.clone(),
        adapter: None,
        items: PathBuf::new(),
        take: 0,
        metric: Metric::ExactMatch,
        mode: EvalMode::Choice,
        seed: job.request.seed,
        blobs_dir: PathBuf::new(),
        threads: job.threads,
        backend: Backend::Auto,
        device: job.device,
        precision: Precision::F32,
        quantization: job.quantization,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::recogniser::Recogniser;
    use super::*;

    /// The answers of all stages of research have a grammar, and the shortest one of each is JSON.
    #[test]
    fn every_published_schema_of_an_answer_has_a_grammar() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/schemas");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("stage-")) {
                continue;
            }
            seen += 1;
            let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let grammar = Grammar::of_schema(&schema).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
            let state = Recogniser::new(&grammar);
            let text = state.shortest_end(&grammar);
            assert!(state.after(&grammar, &text).is_some_and(|after| after.is_complete()), "{text}");
            assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
        }
        assert_eq!(seen, 8, "one for each stage");
    }
}
