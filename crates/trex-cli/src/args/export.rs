//! Arguments of `trex export`, `trex config` and `trex probe`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use trex_domain::{DeviceChoice, Quantization, TrainerFormat};

use crate::args::WorkspaceArgs;

pub(crate) const EXPORT_HELP: &str = "\
NODE is a variant (s2.e1.a), an experiment (s2.e1, its winner) or `best`; `trex tree` lists them.

Forms:
  peft       adapter folder; for PEFT, TRL, vLLM
  merged     whole model as Hugging Face folder; for transformers, vLLM, MLX and further training
  gguf       whole model as one GGUF file with a Modelfile; for llama.cpp, Ollama, LM Studio, Jan
  gguf-lora  adapter as GGUF file with a Modelfile, beside the unchanged base
  all        each of them in a folder of its own
Where all weights were trained (`method` is full) there is no adapter: peft and gguf-lora are refused, and left out of all.

Every form is loaded anew and scored on the select split. It appears only where it agrees with the trained model: score
within 0 (peft, gguf-lora), 0.005 (f32), 0.01 (f16), 0.02 (bf16, q8_0), 0.03 (q6_k), 0.05 (q5_k_m) or 0.1 (q4_k_m), one
item always allowed but for adapters; the gold answers' log-likelihoods within 0.0001, 0.001, 0.01, 0.1, 0.2, 0.3 or 0.5
nats on average where they take up to 5 nats, in proportion above.
Otherwise the command fails with both scores, and nothing is kept.

Examples:
  trex export best --workspace demo --format gguf --quant q4_k_m --out tuned
  trex export s1.e1.a --workspace demo --format all";

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Variant, experiment, or `best`.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// What to write.
    #[arg(long, value_enum, default_value_t = FormName::Peft)]
    pub(crate) format: FormName,
    /// Number format of a GGUF file.
    #[arg(long, value_enum, default_value_t = QuantName::Q8_0)]
    pub(crate) quant: QuantName,
    /// Number format of a merged folder; that of the base where absent.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<FloatName>,
    /// Largest safetensors file of a merged folder, in bytes; 5 GB where absent.
    #[arg(long)]
    pub(crate) max_shard_bytes: Option<u64>,
    /// Folder to write, which must be absent or empty; one below the workspace's `exports` where absent.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Threads of the worker that checks; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Device of the worker that checks: auto, cpu, cuda, cuda:N or metal, instead of the task's.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormName {
    Peft,
    Merged,
    Gguf,
    GgufLora,
    All,
}

impl FormName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peft => "peft",
            Self::Merged => "merged",
            Self::Gguf => "gguf",
            Self::GgufLora => "gguf-lora",
            Self::All => "all",
        }
    }

    pub(crate) fn forms(self) -> Vec<Self> {
        match self {
            Self::All => vec![Self::Peft, Self::Merged, Self::Gguf, Self::GgufLora],
            one => vec![one],
        }
    }

    /// Whether it holds an adapter and nothing else.
    pub(crate) fn needs_adapter(self) -> bool {
        matches!(self, Self::Peft | Self::GgufLora)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantName {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q5_k_m")]
    Q5KM,
    #[value(name = "q6_k")]
    Q6K,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloatName {
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read a configuration file of TRL, Axolotl, LLaMA-Factory, Unsloth or PEFT and print it as `[train]` of a task file.
    #[command(after_long_help = "\
YAML or JSON. Old and new names of renamed arguments are both read. Every key is either taken over or listed with the
reason; what the file leaves out has the default of its tool, which is listed too.")]
    Import {
        /// The file.
        file: PathBuf,
        /// Whose file it is; told from its keys where absent.
        #[arg(long, value_enum)]
        from: Option<TrainerName>,
        /// Rows of the training data: turns epochs into steps.
        #[arg(long)]
        rows: Option<usize>,
    },
    /// Write the training settings of a task file or of a variant for another trainer.
    Export {
        /// A TOML task file, or a variant of the workspace's run (s1.e1.a, `best`).
        source: String,
        /// For which trainer.
        #[arg(long, value_enum)]
        to: TrainerName,
        #[command(flatten)]
        workspace: WorkspaceArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainerName {
    Trl,
    Axolotl,
    LlamaFactory,
    Unsloth,
    Peft,
}

impl From<TrainerName> for TrainerFormat {
    fn from(name: TrainerName) -> Self {
        match name {
            TrainerName::Trl => Self::Trl,
            TrainerName::Axolotl => Self::Axolotl,
            TrainerName::LlamaFactory => Self::LlamaFactory,
            TrainerName::Unsloth => Self::Unsloth,
            TrainerName::Peft => Self::Peft,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A model name, a model folder or a GGUF file.
    #[arg(long)]
    pub(crate) model: String,
    /// Adapter blob, PEFT folder or GGUF adapter.
    #[arg(long)]
    pub(crate) adapter: Option<PathBuf>,
    /// Number format of the base below the adapter: none, as_stored, q8_0, q6_k, q5_k, q4_k or q4_0.
    #[arg(long, default_value = "none")]
    pub(crate) quantization: Quantization,
    /// A JSON list of questions.
    #[arg(long)]
    pub(crate) questions: PathBuf,
    /// Longest continuation in tokens.
    #[arg(long, default_value_t = 16)]
    pub(crate) max_new_tokens: usize,
    /// Folder for files that a GGUF file is unpacked to.
    #[arg(long)]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BaseGgufArgs {
    /// A model name or a model folder.
    #[arg(long)]
    pub(crate) model: String,
    /// Folder to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
}
