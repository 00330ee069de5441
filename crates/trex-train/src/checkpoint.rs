//! Checkpoints: adapters, Adam's moments, the curve and the place in the data, in one safetensors file.
//!
//! Random streams are named by seed and step, so seed and step are the whole state of the generators.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, LoraConfig, MetricPoint};

use crate::lora::{METADATA_KEY, read_metadata, read_tensors, serialize};
use crate::optimizer::AdamW;
use crate::{ModelConfig, TrainError};

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointHeader {
    /// Names the job: configuration, seed, schedule, data and model shape.
    pub(crate) job: ContentHash,
    /// Optimiser steps done.
    pub(crate) step: usize,
    /// Loss curve so far.
    pub(crate) curve: Vec<MetricPoint>,
    /// Loss of the first step, against which divergence is judged.
    pub(crate) first_loss: Option<f64>,
    /// Adapter settings.
    pub(crate) lora: LoraConfig,
}

/// A checkpoint in memory.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) header: CheckpointHeader,
    tensors: BTreeMap<String, Tensor>,
}

/// The bytes of a checkpoint; equal states give equal bytes.
pub(crate) fn to_bytes(header: &CheckpointHeader, optimizer: &AdamW) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::with_capacity(3 * optimizer.parameters.len());
    for parameter in &optimizer.parameters {
        let tensor = |values: &[f32]| Tensor::from_slice(values, parameter.shape.as_slice(), &Device::Cpu);
        tensors.push((parameter.name.clone(), tensor(&parameter.values)?));
        tensors.push((format!("adam_m.{}", parameter.name), tensor(&parameter.m)?));
        tensors.push((format!("adam_v.{}", parameter.name), tensor(&parameter.v)?));
    }
    serialize(&tensors, (METADATA_KEY, &trex_domain::canonical_json(header)?))
}

impl Checkpoint {
    /// Reads a checkpoint and checks that it belongs to this job.
    pub(crate) fn load(path: &Path, job: &ContentHash, device: &candle_core::Device) -> Result<Self, TrainError> {
        let bytes = trex_fs::read(path)?;
        let header: CheckpointHeader = serde_json::from_str(&read_metadata(path, &bytes)?)
            .map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })?;
        if header.job != *job {
            let why = format!("it belongs to job {}, this is job {}", header.job.short(), job.short());
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
        Ok(Self { header, tensors: read_tensors(path, &bytes, device)? })
    }

    /// The adapters as they were.
    pub(crate) fn adapter(&self, path: &Path, config: &ModelConfig) -> Result<crate::lora::Adapter, TrainError> {
        crate::lora::Adapter::from_tensors(path, config, self.header.lora.clone(), &self.tensors)
    }

    /// Puts Adam's moments back.
    pub(crate) fn restore(&self, path: &Path, optimizer: &mut AdamW) -> Result<(), TrainError> {
        for parameter in &mut optimizer.parameters {
            for (prefix, moments) in [("adam_m", &mut parameter.m), ("adam_v", &mut parameter.v)] {
                let name = format!("{prefix}.{}", parameter.name);
                let tensor = self.tensors.get(&name);
                let tensor =
                    tensor.ok_or_else(|| TrainError::MissingTensor { path: path.to_owned(), name: name.clone() })?;
                let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
                if values.len() != moments.len() {
                    let why = format!("{name} has {} values, {} are needed", values.len(), moments.len());
                    return Err(TrainError::Mismatch { path: path.to_owned(), why });
                }
                *moments = values;
            }
        }
        Ok(())
    }
}
