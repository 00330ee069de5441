//! The protocol between the engine and its worker processes: one JSON document in, JSON lines out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ContentHash, Cost, DeviceChoice, DryRunDone, EmbedDone, EmbedJob, GenerationConfig, Metric, ModelRequest,
    Precision, Quantization, TrainConfig,
};

/// What a worker process is asked to do; written to its standard input as one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Train one configuration for some steps.
    Train(TrainJob),
    /// Try what a training would do: rows through the template, then micro-batches. Nothing is left behind.
    DryRun(TrainJob),
    /// Score a model on some items.
    Eval(EvalJob),
    /// Make vectors of texts.
    Embed(EmbedJob),
    /// Answer a question.
    Answer(AnswerJob),
}

/// Answers a question of the Researcher with a model of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerJob {
    /// Model folder.
    pub model_dir: PathBuf,
    /// The question.
    pub request: ModelRequest,
    /// Threads.
    pub threads: usize,
    /// What it is computed on.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_auto")]
    pub device: DeviceChoice,
    /// Number format in which the weights are kept.
    #[serde(default, skip_serializing_if = "Quantization::is_none")]
    pub quantization: Quantization,
}

/// An answer of a model of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerDone {
    /// The text.
    pub text: String,
    /// Tokens of the question.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Whether it ended because it was as long as allowed.
    pub cut_at_limit: bool,
    /// Tokens of the answer per second, loading left out.
    pub tokens_per_s: f64,
    /// Largest resident memory in bytes.
    pub peak_rss_bytes: u64,
    /// What it cost.
    pub cost: Cost,
}

/// Trains from the base (or from a checkpoint) up to `stop_step`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainJob {
    /// Model folder: `config.json`, `tokenizer.json`, weights.
    pub model_dir: PathBuf,
    /// Prepared examples: one [`crate::Example`] per line.
    pub data: PathBuf,
    /// Training configuration.
    pub config: TrainConfig,
    /// Seed of initialisation, order and dropout.
    pub seed: u64,
    /// Steps of the whole schedule (full fidelity).
    pub total_steps: usize,
    /// First step that is not run here; at most `total_steps`.
    pub stop_step: usize,
    /// Finished checkpoint of a lower rung to go on from.
    pub resume_from: Option<PathBuf>,
    /// Settings of the training that this checkpoint is of, where that is another one, equal to this in every step so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_config: Option<Box<TrainConfig>>,
    /// Adapter to begin with: a PEFT folder, a GGUF adapter or an adapter blob; fresh adapters where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<PathBuf>,
    /// Folder for checkpoints on the way; one that is found there is resumed first.
    pub scratch_dir: PathBuf,
    /// Content-addressed folder for results.
    pub blobs_dir: PathBuf,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Threads.
    pub threads: usize,
    /// Which implementation computes the steps.
    #[serde(default)]
    pub backend: Backend,
    /// What they are computed on.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_auto")]
    pub device: DeviceChoice,
    /// Rows whose loss is computed every `eval_steps` steps, for early stopping: one [`crate::Example`] per line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<PathBuf>,
    /// Examples of a micro-batch where memory does not suffice for those of the configuration. Examples per optimiser
    /// step and result stay the same but for rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
}

/// Which implementation of forward and backward pass computes the steps of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The hand-written engine of the device where it takes the model and the method, autograd otherwise.
    #[default]
    Auto,
    /// Automatic differentiation, on any device.
    Autograd,
}

/// How answers are obtained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalMode {
    /// The option with the highest summed log-likelihood.
    Choice,
    /// Generation, greedy unless the settings say otherwise.
    Generate {
        /// Longest answer in tokens.
        max_new_tokens: usize,
        /// How tokens are chosen.
        #[serde(default, skip_serializing_if = "GenerationConfig::is_default")]
        generation: GenerationConfig,
    },
    /// Texts that nobody scores, after the prompts as they are: the score is 1 where the model ended its text, and 0 where
    /// the text became too long or its prompt left no room for one. The metric is not asked.
    Write {
        /// Longest text in tokens.
        max_new_tokens: usize,
        /// Most tokens of prompt and text; a prompt that leaves no room is passed over.
        max_length: usize,
        /// How tokens are chosen.
        #[serde(default, skip_serializing_if = "GenerationConfig::is_default")]
        generation: GenerationConfig,
    },
    /// Whether the gold answer has a higher mean log-likelihood per token than the worse one.
    Preference,
    /// Bits per byte of raw text.
    Text,
    /// No answer at all: the score is e^-loss, with the mean loss per token of the gold answer in nats. Every row must
    /// have an answer; the metric is not asked.
    Loss {
        /// Most tokens of prompt and answer; a longer prompt loses its beginning, as in training.
        max_length: usize,
    },
}

/// Scores a model, with or without an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalJob {
    /// Model folder.
    pub model_dir: PathBuf,
    /// Adapter blob; the untouched base where absent.
    pub adapter: Option<PathBuf>,
    /// Items: one [`crate::Example`] per line.
    pub items: PathBuf,
    /// Items to take from the start of the file.
    pub take: usize,
    /// What to compute per item.
    pub metric: Metric,
    /// How answers are obtained.
    pub mode: EvalMode,
    /// Seed of the option order.
    pub seed: u64,
    /// Content-addressed folder for the item scores.
    pub blobs_dir: PathBuf,
    /// Threads.
    pub threads: usize,
    /// Which implementation computes the scores.
    #[serde(default)]
    pub backend: Backend,
    /// What they are computed on.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_auto")]
    pub device: DeviceChoice,
    /// Number format of the frozen weights.
    #[serde(default)]
    pub precision: Precision,
    /// Number format in which the base is kept: adapters are scored on the base that they were trained on.
    #[serde(default, skip_serializing_if = "Quantization::is_none")]
    pub quantization: Quantization,
}

/// One prediction with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemScore {
    /// Id of the example.
    pub id: String,
    /// The model's answer.
    pub predicted: String,
    /// The gold answer.
    pub gold: String,
    /// Item score in [0, 1], for macro-F1 whether the item is right; bits per byte of raw text.
    pub score: f64,
    /// Summed log-likelihood of the gold answer, or of the raw text, in nats, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_logprob: Option<f64>,
    /// Probability of the gold answer among the options, where there are options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_prob: Option<f64>,
}

/// One point of a training curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricPoint {
    /// Optimiser step, from 1.
    pub step: usize,
    /// Mean loss per supervised token since the last point.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Exponential mean of the loss: nine tenths of the mean before, one tenth of this loss. 0 in old records.
    #[serde(default)]
    pub loss_ema: f64,
    /// Loss on the dev rows after this step, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
}

/// What a finished training left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainDone {
    /// Adapter blob.
    pub adapter: ContentHash,
    /// Checkpoint blob, from which a higher rung goes on.
    pub checkpoint: ContentHash,
    /// Steps done since the start of the schedule.
    pub steps: usize,
    /// Loss curve of this and all earlier rungs.
    pub curve: Vec<MetricPoint>,
    /// Tokens that went through the model in this job.
    pub tokens: u64,
    /// Tokens that carried loss in this job.
    pub supervised_tokens: u64,
    /// Examples that were cut to the maximal length.
    pub truncated: usize,
    /// Largest resident memory in bytes.
    pub peak_rss_bytes: u64,
    /// What it cost.
    pub cost: Cost,
}

/// What a finished evaluation left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalDone {
    /// Blob with one [`ItemScore`] per line.
    pub items: ContentHash,
    /// Number of items.
    pub n: usize,
    /// What it cost.
    pub cost: Cost,
}

/// Why a job failed; decides what the engine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Bad model, data or configuration.
    Config,
    /// Loss became NaN, infinite or far larger than at the start.
    Diverged,
    /// Out of memory, or killed by the system for it.
    OutOfMemory,
    /// No room on the disk.
    DiskFull,
    /// The process died or was killed.
    Crashed,
    /// No sign of life for too long.
    Hung,
    /// Asked to stop.
    Cancelled,
}

impl FailureClass {
    /// Whether the same job may succeed when it is run again from its last checkpoint.
    pub fn may_retry(self) -> bool {
        matches!(self, Self::OutOfMemory | Self::Crashed | Self::Hung)
    }
}

impl Job {
    /// Threads that it shall use; 0 leaves it to the machine.
    pub fn threads(&self) -> usize {
        match self {
            Self::Train(job) | Self::DryRun(job) => job.threads,
            Self::Eval(job) => job.threads,
            Self::Embed(job) => job.threads,
            Self::Answer(job) => job.threads,
        }
    }
}

/// A line on a worker's standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WorkerEvent {
    /// The process is alive. Sent every two seconds by a thread of its own.
    Heartbeat,
    /// What the job is computed on; said once, before anything is computed.
    Device {
        /// The device, such as `cpu` or `cuda:0 NVIDIA L4`.
        device: String,
        /// Why this one.
        why: String,
        /// Whether the machine has a graphics card that is left unused.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        card_unused: bool,
    },
    /// How far the job is.
    Progress {
        /// What it is doing, such as `train`.
        phase: String,
        /// Units done.
        done: usize,
        /// Units in all.
        total: usize,
        /// Units per second.
        rate: f64,
        /// Tokens per second that go through the model; 0 where it is not known.
        #[serde(default)]
        tokens_per_s: f64,
        /// Largest resident memory so far in bytes; 0 where it is not known.
        #[serde(default)]
        peak_rss_bytes: u64,
        /// Exponential mean of the loss, while training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loss_ema: Option<f64>,
    },
    /// A point of the curve.
    Metric(MetricPoint),
    /// A checkpoint is on the disk.
    Checkpoint {
        /// Steps that it covers.
        step: usize,
    },
    /// What the machine's sensors say, where any can be read; every few seconds.
    Sensors {
        /// The hottest place of the processor, or of a card that the job holds, in degrees Celsius.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature_c: Option<f64>,
        /// Power of the processor in watts, of all programs of the machine together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        power_w: Option<f64>,
    },
    /// Something a person should know.
    Warning {
        /// One sentence.
        message: String,
    },
    /// Training finished; the last line.
    Trained(TrainDone),
    /// A dry run finished; the last line.
    Tried(DryRunDone),
    /// Evaluation finished; the last line.
    Evaluated(EvalDone),
    /// Vectors are made; the last line.
    Embedded(EmbedDone),
    /// A question is answered; the last line.
    Answered(AnswerDone),
    /// The job failed; the last line.
    Failed {
        /// What to do about it.
        class: FailureClass,
        /// Stable code.
        code: String,
        /// The error with its causes.
        message: String,
        /// What the person can do.
        hint: Option<String>,
    },
}

/// How a job ended, as the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// Training finished.
    Trained(TrainDone),
    /// A dry run finished.
    Tried(DryRunDone),
    /// Evaluation finished.
    Evaluated(EvalDone),
    /// Vectors are made.
    Embedded(EmbedDone),
    /// A question is answered.
    Answered(AnswerDone),
    /// It failed, by its own word or by its death.
    Failed {
        /// What to do about it.
        class: FailureClass,
        /// Stable code.
        code: String,
        /// What happened.
        message: String,
        /// What the person can do.
        hint: Option<String>,
    },
}
