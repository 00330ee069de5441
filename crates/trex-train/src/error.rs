//! The errors of training, evaluation and model files.

use std::path::PathBuf;

use trex_chat::ChatError;
use trex_domain::{DeviceChoice, DomainError, ErrorClass, FailureClass, Problem};
use trex_fs::FsError;

use crate::Architecture;
use crate::device::DeviceFault;
use crate::gguf::GgufFault;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file could not be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Tokenizer or chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A value out of range.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// A model folder without the files of a model.
    #[error("{} is not a model: {missing} is missing", path.display())]
    NotAModel {
        /// What was looked at.
        path: PathBuf,
        /// Which file.
        missing: &'static str,
    },
    /// `config.json` is not what it should be.
    #[error("{}: not a model configuration", path.display())]
    BadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A field of `config.json` contradicts another.
    #[error("{}: {field} is {value}, which {why}", path.display())]
    InconsistentConfig {
        /// The file.
        path: PathBuf,
        /// Field name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A setting of `config.json` that is not computed here.
    #[error("{}: {field} {value:?} is not implemented", path.display())]
    NotImplemented {
        /// The file.
        path: PathBuf,
        /// Field name.
        field: &'static str,
        /// Its value.
        value: String,
        /// Values that are.
        known: &'static str,
    },
    /// An architecture that has no implementation here.
    #[error("architecture {architecture:?} is not supported")]
    UnknownArchitecture {
        /// As the model names it.
        architecture: String,
    },
    /// A weight file that cannot be read to its end.
    #[error("{} is damaged or truncated", path.display())]
    DamagedWeights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: candle_core::Error,
    },
    /// A weight file that cannot be parsed.
    #[error("{} is damaged or truncated", path.display())]
    DamagedSafetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A GGUF file that cannot be believed.
    #[error("{} is damaged, truncated or no GGUF file", path.display())]
    DamagedGguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufFault,
    },
    /// A tensor that the configuration asks for is not in the weights.
    #[error("tensor {name} is missing in {}", path.display())]
    MissingTensor {
        /// The weight file or folder.
        path: PathBuf,
        /// Tensor name in Hugging Face form.
        name: String,
    },
    /// A tensor of another shape than the configuration asks for.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// Tensor name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor with NaN or infinite values.
    #[error("tensor {name} holds a value that is not finite")]
    NotFinite {
        /// Tensor name.
        name: String,
    },
    /// A weight that half precision cannot express.
    #[error("tensor {name} holds a value beyond the range of {dtype}")]
    BeyondFormat {
        /// Tensor name.
        name: String,
        /// The format.
        dtype: &'static str,
    },
    /// A device that was asked for and cannot be had.
    #[error("device {choice} cannot be had")]
    Device {
        /// As asked for.
        choice: DeviceChoice,
        /// Why.
        #[source]
        fault: DeviceFault,
    },
    /// A tensor type that is not read.
    #[error("tensor {name} has type {dtype}, which is not read")]
    UnsupportedDtype {
        /// Tensor name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// An adapter or checkpoint that does not belong to this model or job.
    #[error("{} does not fit: {why}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// An adapter made elsewhere that uses what has no implementation here.
    #[error("{}: {why}", path.display())]
    UnsupportedAdapter {
        /// The file that says so.
        path: PathBuf,
        /// What is not supported.
        why: String,
    },
    /// An adapter that leaves every exported weight as it was.
    #[error("merging {} changes no weight of the export", adapter.display())]
    MergeWithoutEffect {
        /// The adapter.
        adapter: PathBuf,
    },
    /// A model that cannot be written in the wanted form.
    #[error("no export of {what}: {why}")]
    NotExportable {
        /// Form or architecture.
        what: String,
        /// What is in the way.
        why: String,
    },
    /// Nothing to train on, or nothing to score.
    #[error("{} holds no rows", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// An item of a choice task without options.
    #[error("item {id} has no options to choose from")]
    NoOptions {
        /// Example id.
        id: String,
    },
    /// A sequence that the model cannot take.
    #[error("example {id} has {tokens} tokens, the model takes {limit}")]
    TooLong {
        /// Example id.
        id: String,
        /// Its length.
        tokens: usize,
        /// The model's limit.
        limit: usize,
    },
    /// Loss became NaN, infinite or far larger than at the start.
    #[error("training diverged at step {step}: loss {loss}")]
    Diverged {
        /// Optimiser step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// Loss or gradient became NaN or infinite.
    #[error("at step {step}, {place} is not finite")]
    StepNotFinite {
        /// Optimiser step, from 1.
        step: usize,
        /// The first thing that is not a number: the loss, or the gradient of a parameter by name and shape.
        place: String,
    },
    /// An allocation failed.
    #[error("out of memory: {what}")]
    OutOfMemory {
        /// What was being done.
        what: String,
    },
    /// Rows, but nothing in them to predict.
    #[error("{}: none of {rows} rows holds a token to train on", path.display())]
    NothingSupervised {
        /// The file.
        path: PathBuf,
        /// Rows in it.
        rows: usize,
    },
    /// A row without what the objective compares its answer with.
    #[error("example {id} has no rejected answer, or one that equals its answer")]
    NoRejected {
        /// Example id.
        id: String,
    },
    /// Evaluations are asked for, but there is nothing to evaluate on.
    #[error("eval_steps is set, and the job names no dev rows")]
    NoDevRows,
    /// The threads that a job asks for could not be started.
    #[error("{threads} threads could not be started")]
    Threads {
        /// How many.
        threads: usize,
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
    /// A schema that an answer cannot be held to.
    #[error("no answer can be held to the schema")]
    Schema {
        /// Why.
        #[source]
        fault: crate::SchemaFault,
    },
    /// The parent asked to stop or went away.
    #[error("cancelled at step {step}")]
    Cancelled {
        /// Steps done.
        step: usize,
    },
}

impl TrainError {
    /// Whether less memory in use would help. Devices report it in words only.
    pub fn is_out_of_memory(&self) -> bool {
        let says_so = |err: &candle_core::Error| {
            let text = err.to_string().to_lowercase();
            text.contains("out of memory") || text.contains("out_of_memory")
        };
        matches!(self, Self::OutOfMemory { .. }) || matches!(self, Self::Tensor(err) if says_so(err))
    }

    /// How the engine should treat the failure.
    pub fn failure_class(&self) -> FailureClass {
        match self {
            Self::Diverged { .. } | Self::StepNotFinite { .. } => FailureClass::Diverged,
            err if err.is_out_of_memory() => FailureClass::OutOfMemory,
            Self::Cancelled { .. } => FailureClass::Cancelled,
            Self::Fs(err) if err.is_disk_full() => FailureClass::DiskFull,
            _ => FailureClass::Config,
        }
    }
}

impl Problem for TrainError {
    fn code(&self) -> &'static str {
        match self {
            Self::Fs(err) => err.code(),
            Self::Chat(err) => err.code(),
            Self::Domain(err) => err.code(),
            Self::Tensor(_) => "train.tensor",
            Self::NotAModel { .. } => "model.not_a_model",
            Self::BadConfig { .. } => "model.bad_config",
            Self::InconsistentConfig { .. } => "model.inconsistent_config",
            Self::NotImplemented { .. } => "model.not_implemented",
            Self::UnknownArchitecture { .. } => "model.unknown_architecture",
            Self::DamagedWeights { .. } | Self::DamagedSafetensors { .. } | Self::DamagedGguf { .. } => "model.damaged",
            Self::MissingTensor { .. } => "model.missing_tensor",
            Self::WrongShape { .. } => "model.wrong_shape",
            Self::NotFinite { .. } => "model.not_finite",
            Self::BeyondFormat { .. } => "model.beyond_format",
            Self::Device { fault, .. } => fault.code(),
            Self::UnsupportedDtype { .. } => "model.unsupported_dtype",
            Self::Mismatch { .. } => "train.mismatch",
            Self::UnsupportedAdapter { .. } => "adapter.unsupported",
            Self::MergeWithoutEffect { .. } => "export.no_effect",
            Self::NotExportable { .. } => "export.unsupported",
            Self::NoRows { .. } => "train.no_rows",
            Self::NoOptions { .. } => "eval.no_options",
            Self::TooLong { .. } => "train.too_long",
            Self::Diverged { .. } => "train.diverged",
            Self::StepNotFinite { .. } => "train.not_finite",
            Self::OutOfMemory { .. } => "train.out_of_memory",
            Self::NothingSupervised { .. } => "train.nothing_supervised",
            Self::NoRejected { .. } => "train.no_rejected",
            Self::NoDevRows => "train.no_dev_rows",
            Self::Threads { .. } => "train.threads",
            Self::Schema { .. } => "answer.schema",
            Self::Cancelled { .. } => "train.cancelled",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Fs(err) => return err.hint(),
            Self::Chat(err) => return err.hint(),
            Self::Domain(err) => return err.hint(),
            Self::NotAModel { .. } => {
                "give a GGUF file, or a folder with config.json, tokenizer.json and *.safetensors".to_owned()
            }
            Self::NotImplemented { known, .. } => format!("implemented are: {known}"),
            Self::UnknownArchitecture { .. } => {
                format!("supported are {}", Architecture::ALL.map(Architecture::class_name).join(", "))
            }
            Self::DamagedWeights { .. } | Self::DamagedSafetensors { .. } | Self::DamagedGguf { .. } => {
                "fetch the file again and compare its size with the source".to_owned()
            }
            Self::BadConfig { .. }
            | Self::InconsistentConfig { .. }
            | Self::MissingTensor { .. }
            | Self::WrongShape { .. }
            | Self::NotFinite { .. } => {
                "fetch the model again; all of its files must come from the same place".to_owned()
            }
            Self::BeyondFormat { .. } => "set precision = \"bf16\" or \"f32\"".to_owned(),
            Self::Device { fault, .. } => fault.remedy(),
            Self::UnsupportedAdapter { .. } => {
                "give a plain LoRA adapter: A and B matrices on linear layers, target modules as a list of names or \
                 \"all-linear\""
                    .to_owned()
            }
            Self::MergeWithoutEffect { .. } => {
                "train longer or with a higher learning rate, or export in a wider number format".to_owned()
            }
            Self::NotExportable { .. } => {
                "the merged folder works for every model, the PEFT folder for every adapter".to_owned()
            }
            Self::Diverged { .. } | Self::StepNotFinite { .. } => {
                "lower learning_rate, or set max_grad_norm".to_owned()
            }
            Self::OutOfMemory { .. } => {
                "lower per_device_train_batch_size and raise gradient_accumulation_steps, or set gradient_checkpointing"
                    .to_owned()
            }
            Self::NoRejected { .. } => "give every row a rejected answer, or set objective = \"sft\"".to_owned(),
            Self::NothingSupervised { .. } => "give texts of at least two tokens".to_owned(),
            Self::NoDevRows => "set eval_steps = 0, or name dev rows in the job".to_owned(),
            Self::TooLong { .. } => "shorten the prompt, or set train.max_length below the model's limit".to_owned(),
            Self::NoOptions { .. } => "set prompt.options, or kind = \"generate\"".to_owned(),
            _ => return None,
        };
        Some(text)
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Fs(err) => err.class(),
            Self::Chat(err) => err.class(),
            Self::Tensor(_) => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}
