//! The ten FT-Bench tasks: generators and manifests.
