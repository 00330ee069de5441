//! The Researcher: the built-in Playbook, which proposes what to try, and the gate to the network.
//!
//! The Playbook is a pure function of its request and needs no language model. Language models may add hypotheses and
//! settings to it, in typed answers ([`AssistedResearcher`]). The gate is the only place of the project from which the network is
//! reached; downloads and questions run on the caller's thread and may take minutes. None of them decides what is run:
//! proposals go through the verifier and the budget.

mod assisted;
mod diagnosis;
mod distil;
mod error;
mod facts;
mod hub;
mod hub_cache;
mod keys;
pub mod llm;
mod moves;
mod net;
mod playbook;
mod prompts;
mod recipes;
pub mod requirements;
mod settings;
mod stages;
mod strategies;
mod surrogate;

pub use assisted::{Assistant, AssistedResearcher};
pub use diagnosis::{BadCase, Diagnosis, DiagnosisRules, Features, Finding, diagnose};
pub use distil::distil;
pub use error::ResearchError;
pub use hub::{download_gguf, download_model};
pub use keys::KeyFile;
pub use net::{NetAttempt, NetGate, NetSettings, Secret};
pub use playbook::Playbook;
pub use settings::{PLAYBOOK, ResearcherSettings};
pub use stages::{
    ConfigChange, ExperimentIdea, ExperimentsAnswer, StrategiesAnswer, StrategyIdea, StrategyIdeaKind, stage_schema,
};
