//! The public API of trex-train on a tiny model that is made here.

mod bad_input;
mod fixture;
mod jobs;
