//! The Researcher: the built-in Playbook, which proposes what to try, and the gate to the network.
//!
//! The Playbook is a pure function of its request and needs no language model. The gate is the only place of the project
//! from which the network is reached; downloads run on the caller's thread and may take minutes. Neither decides what is
//! run: proposals go through the verifier and the budget.

mod diff;
mod distil;
mod error;
mod facts;
mod hub;
mod hub_cache;
mod moves;
mod net;
mod playbook;
mod recipes;
mod strategies;
mod surrogate;

pub use diff::variant_diff;
pub use distil::distil;
pub use error::ResearchError;
pub use hub::{download_gguf, download_model};
pub use net::{NetAttempt, NetGate, NetSettings, Secret};
pub use playbook::Playbook;
