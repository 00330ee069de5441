//! The `trex` program from outside, as people and scripts use it: whole runs, kills, and every kind of wrong input.
//!
//! Nothing but `base_scores` depends on how good the bundled model is. Every test has a folder and a model cache of its own.

#[cfg(test)]
mod answerers;
#[cfg(test)]
mod bad_data;
#[cfg(test)]
mod bad_models;
#[cfg(test)]
mod bad_workspaces;
#[cfg(test)]
mod base_scores;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod data;
#[cfg(test)]
mod exports;
#[cfg(test)]
mod fetched;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod knowledge;
#[cfg(test)]
mod life;
#[cfg(test)]
mod meaning;
mod objectives;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod outcome;
#[cfg(test)]
mod program;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod repeat;
#[cfg(test)]
mod requirements;
#[cfg(test)]
mod researcher;
#[cfg(test)]
mod review;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod score;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod serve;
