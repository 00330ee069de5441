//! Models, LoRA, trainer, evaluation, checkpoints and export on candle.
//!
//! The only crate that names candle. Synchronous: every function blocks until its work is done and uses the process-wide
//! rayon pool; a worker process ([`run_worker`]) makes one of the size that the job says; [`model_facts`] and the
//! [`ModelRegistry`] are cheap enough for the app itself. Knows no tree, no budget and no database.

mod answer;
mod autograd;
mod backend;
mod batch;
mod blocks;
mod checkpoint;
mod decoder;
mod device;
#[cfg(test)]
mod device_suite;
mod dry_run;
mod early_stop;
mod embedder;
mod engine;
mod error;
mod evaluate;
mod export;
mod generate;
mod gguf;
mod glance;
#[cfg(test)]
mod golden;
mod hardware;
mod import;
mod inference;
mod layout;
mod lora;
mod mapped;
mod measure;
mod model_config;
mod models;
mod neftune;
mod objective;
mod ops;
mod optimizer;
mod order;
mod pretrain;
mod preview;
mod probe;
mod rows;
mod sampling;
mod scratch;
mod speaker;
mod step;
mod stepper;
mod trained;
mod trainer;
mod usage;
mod weights;
mod worker;

pub use answer::{SchemaFault, answer};
pub use device::{DeviceBuild, DeviceFault, DevicePlan, PlannedDevice, plan_device};
pub use dry_run::dry_run;
pub use embedder::{EmbedderFacts, embed, embedder_facts};
pub use error::TrainError;
pub use evaluate::evaluate;
pub use export::{
    ExportForm, ExportSource, Exported, FloatType, GgufEncoding, MAX_SHARD_BYTES, export_model, write_base_gguf,
    write_peft_folder,
};
pub use gguf::GgufFault;
pub use glance::{ModelGlance, glance_at_model};
pub use hardware::{Answer, HardwareSource, ThisMachine, inspect_hardware};
pub use import::peft_lora_config;
pub use measure::{EvalPlan, EvalTimes, StepPlan, StepTimes, measure_eval, measure_products, measure_steps};
pub use model_config::{
    Activation, Architecture, LocalLayers, ModelConfig, Rope, RopeFrequencies, RopeScaling, Variant, Yarn,
};
pub use models::{ModelEntry, ModelRegistry, check_model_files, model_facts};
pub use pretrain::{PretrainProgress, PretrainSettings, pretrain, write_hf_model};
pub use preview::{TrainedRow, TrainedSequence, rows_as_trained};
pub use probe::{Probe, ProbeAnswer, probe};
pub use speaker::{Asked, Ended, Said, Speaker};
pub use trainer::{EventSink, train};
pub use worker::{run_job, run_worker};
