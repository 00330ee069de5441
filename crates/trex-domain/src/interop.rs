//! What other tools read and write beside models: model cards, and the configuration files of other trainers.
//!
//! Text and values only; files are opened elsewhere.

mod model_card;
mod trainer_config;
mod trainer_export;

pub use model_card::ModelCard;
pub use trainer_config::{ImportedConfig, TrainerFormat, import_trainer_config};
pub use trainer_export::export_trainer_config;
