//! The public API: the Playbook over whole trees, and the network gate against a loopback hub.
#![expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]

mod hub;
mod llm;
mod llm_real;
mod playbook;
mod stages;
mod surface;
mod tree;
