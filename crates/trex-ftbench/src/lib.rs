//! The ten FT-Bench tasks: generators and manifests.

mod generator;
mod words;
