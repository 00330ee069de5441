//! A model of the registry as a language model of the Researcher: each question is a job of a worker process, so a crash or a
//! lack of memory takes down one answer and not the run.

use trex_domain::{
    AnswerJob, DeviceChoice, ErrorClass, Executor, FailureClass, Job, JobControl, JobOutcome, LanguageModel,
    ModelFacts, ModelReply, ModelRequest, Problem, Quantization, ReplyControl, TokenUsage, WorkerEvent,
};

/// Share of the machine's memory that an answerer may take; training needs the rest.
const SHARE: f64 = 0.9;

/// Tokens of a question with its answer that memory is counted for.
const CONTEXT: u64 = 4096;

/// What the program itself takes.
const PROGRAM_BYTES: u64 = 64 << 20;

/// A model on this machine.
#[derive(Debug)]
pub struct LocalModel<E> {
    name: String,
    executor: E,
    model: ModelFacts,
    threads: usize,
    quantization: Quantization,
}

/// Why a model on this machine gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalModelError {
    /// It does not fit; found out before anything is loaded.
    #[error(
        "{name} needs about {} MiB to answer ({} MiB with its weights as stored), the machine has {} MiB",
        needed >> 20, stored >> 20, machine >> 20
    )]
    NoMemory {
        /// The model.
        name: String,
        /// Bytes with weights in single precision.
        needed: u64,
        /// Bytes with weights as the files hold them.
        stored: u64,
        /// Bytes of the machine.
        machine: u64,
    },
    /// The worker failed.
    #[error("{name} gave no answer: {message}")]
    Worker {
        /// The model.
        name: String,
        /// How.
        class: FailureClass,
        /// What happened.
        message: String,
    },
}

impl Problem for LocalModelError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoMemory { .. } => "llm.no_memory",
            Self::Worker { class: FailureClass::Cancelled, .. } => "llm.cancelled",
            Self::Worker { .. } => "llm.worker_failed",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoMemory { .. } => Some("take a smaller model, or one that another program serves".to_owned()),
            Self::Worker { .. } => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::NoMemory { .. } => ErrorClass::Resource,
            Self::Worker { class, .. } if class.may_retry() => ErrorClass::Transient,
            Self::Worker { .. } => ErrorClass::Permanent,
        }
    }
}

/// Bytes that an answer takes at its peak: weights in single precision, or as the files hold them with a layer of floats
/// beside, and keys and values of the context.
pub fn estimate_answer_bytes(model: &ModelFacts, quantization: Quantization) -> u64 {
    const FLOAT: u64 = 4;
    let cache = 2 * FLOAT * CONTEXT * (model.num_layers * model.num_kv_heads * model.head_dim) as u64;
    let weights = match quantization {
        Quantization::None => FLOAT * model.num_parameters,
        _ => model.weights_bytes + FLOAT * model.num_parameters / model.num_layers.max(1) as u64,
    };
    PROGRAM_BYTES + weights + cache
}

impl<E: Executor> LocalModel<E> {
    /// A model that fits into the memory of the machine, of 0 bytes where that is unknown. Weights are kept in single
    /// precision where there is room, which is faster, and as the files hold them otherwise.
    pub fn new(
        name: String,
        executor: E,
        model: ModelFacts,
        (threads, machine_bytes): (usize, u64),
    ) -> Result<Self, LocalModelError> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count of bytes")]
        let room = (machine_bytes as f64 * SHARE) as u64;
        let needed = estimate_answer_bytes(&model, Quantization::None);
        let stored = estimate_answer_bytes(&model, Quantization::AsStored);
        let fits = |bytes: u64| machine_bytes == 0 || bytes <= room;
        let quantization = if fits(2 * needed) || (fits(needed) && !fits(stored)) {
            Quantization::None
        } else if fits(stored) {
            Quantization::AsStored
        } else {
            return Err(LocalModelError::NoMemory { name, needed, stored, machine: machine_bytes });
        };
        Ok(Self { name, executor, model, threads, quantization })
    }
}

/// Passes the wish to stop on.
struct WhileWanted<'a>(&'a mut dyn ReplyControl);

impl JobControl for WhileWanted<'_> {
    fn on_event(&mut self, _: &WorkerEvent) -> bool {
        self.0.goes_on()
    }
}

impl<E: Executor + Send + Sync> LanguageModel for LocalModel<E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(
        &self,
        request: &ModelRequest,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        let job = Job::Answer(AnswerJob {
            model_dir: self.model.dir.clone(),
            request: request.clone(),
            threads: self.threads,
            device: DeviceChoice::Cpu,
            quantization: self.quantization,
        });
        let failed = |class, message| LocalModelError::Worker { name: self.name.clone(), class, message };
        match self.executor.run(&job, &mut WhileWanted(control)) {
            JobOutcome::Answered(done) => {
                control.on_text(&done.text);
                let usage = TokenUsage { prompt_tokens: done.prompt_tokens, completion_tokens: done.completion_tokens };
                Ok(ModelReply { text: done.text, usage, cut_at_limit: done.cut_at_limit, replayed: false })
            }
            JobOutcome::Failed { class, message, .. } => Err(Box::new(failed(class, message))),
            _ => Err(Box::new(failed(FailureClass::Config, "the worker did something else".to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::{ContentHash, Message, ToTheEnd};

    use super::*;

    fn facts(parameters: u64, stored: u64) -> ModelFacts {
        ModelFacts {
            name: "m".into(),
            dir: "m".into(),
            hash: ContentHash::of_bytes(b"m"),
            num_parameters: parameters,
            weights_bytes: stored,
            hidden_size: 64,
            intermediate_size: 128,
            num_layers: 4,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 16,
            vocab_size: 100,
            max_position: 4096,
            license: None,
            projections: Vec::new(),
        }
    }

    /// Answers with the number format that it was asked to load.
    struct Echo;

    impl Executor for Echo {
        fn run(&self, job: &Job, _: &mut dyn JobControl) -> JobOutcome {
            let Job::Answer(job) = job else { unreachable!("only answers are asked for") };
            JobOutcome::Answered(trex_domain::AnswerDone {
                text: job.quantization.to_string(),
                prompt_tokens: 1,
                completion_tokens: 2,
                cut_at_limit: false,
                tokens_per_s: 1.0,
                peak_rss_bytes: 0,
                cost: trex_domain::Cost::default(),
            })
        }
    }

    #[test]
    fn a_model_is_loaded_as_memory_allows_and_refused_with_numbers() {
        let check = |machine: u64, expected: Result<&str, &str>| {
            let model = LocalModel::new("local:m".into(), Echo, facts(1_000_000_000, 500_000_000), (1, machine));
            let request = ModelRequest {
                messages: vec![Message::user("?")],
                form: trex_domain::AnswerForm::Text,
                max_tokens: 4,
                temperature: 0.0,
                seed: 1,
            };
            let said = model.map(|model| model.ask(&request, &mut ToTheEnd).unwrap().text).map_err(|err| {
                assert!(err.to_string().contains("MiB"), "{err}");
                err.code()
            });
            assert_eq!(said.as_deref().map_err(|code| *code), expected, "{machine}");
        };
        check(0, Ok("none"));
        check(16 << 30, Ok("none"));
        check(4 << 30, Ok("as_stored"));
        check(1 << 30, Err("llm.no_memory"));
    }
}
