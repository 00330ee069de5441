//! The Researcher: the built-in Playbook, which proposes what to try, and the gate to the network.
//!
//! The Playbook is a pure function of its request and needs no language model. Language models may add hypotheses and
//! settings to it, in typed answers ([`AssistedResearcher`]). The gate is the only place of the project from which the network is
//! reached; downloads and questions run on the caller's thread and may take minutes. None of them decides what is run:
//! proposals go through the verifier and the budget.

mod asking;
mod assisted;
mod diagnosis;
mod digest;
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
mod proposals;
mod recipes;
pub mod requirements;
mod secret_store;
mod settings;
mod sources;
mod stages;
mod strategies;
mod surrogate;

pub use asking::{Answered, Asker, Assistant, Limits};
pub use assisted::AssistedResearcher;
pub use diagnosis::{BadCase, Diagnosis, DiagnosisRules, Features, Finding, diagnose};
pub use distil::distil;
pub use error::ResearchError;
pub use hub::{DatasetRequest, FetchedDataset, download_dataset, download_gguf, download_model};
pub use keys::{KeyPlace, Keys, Stored};
pub use net::{NetAttempt, NetGate, NetLog, NetSettings, Secret};
pub use playbook::Playbook;
pub use secret_store::{NoStore, SecretStore, StoreFault, SystemStore};
pub use settings::{LOCAL, PLAYBOOK, ResearcherSettings};
pub use sources::{FoundPaper, FoundRepo, HubKind, find_papers, find_repos};
pub use stages::{
    AnalyseAnswer, Cause, ClaimIdea, ConfigChange, DiagnoseAnswer, DistilAnswer, ExperimentIdea, ExperimentsAnswer,
    RecipeIdea, RecipeStep, RecipesAnswer, ReportAnswer, StrategiesAnswer, StrategyIdea, StrategyIdeaKind, Suggested,
    Survey, SurveyAnswer, Unsupported, analyse_requirement, diagnose_with, report_words, stage_schema, support, survey,
};
