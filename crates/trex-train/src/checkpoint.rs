//! Checkpoints: trained values, Adam's moments, the curve and the place in the data, in one safetensors file.
//!
//! Random streams are named by seed and step and the schedule is a function of the step, so seed and step are the whole
//! state of generators and scheduler. Where the best weights on the dev rows are wanted, they are in the file too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, MetricPoint};

use crate::TrainError;
use crate::lora::{METADATA_KEY, read_metadata, read_tensors, serialize};
use crate::optimizer::{AdamW, Parameter};

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointHeader {
    /// Names the job: configuration, seed, schedule, data and model shape.
    pub(crate) job: ContentHash,
    /// Optimiser steps done.
    pub(crate) step: usize,
    /// Loss curve so far, with the losses on the dev rows.
    pub(crate) curve: Vec<MetricPoint>,
    /// Loss of the first step, against which divergence is judged.
    pub(crate) first_loss: Option<f64>,
}

/// A checkpoint in memory.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) header: CheckpointHeader,
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

/// Values of all parameters, in their order.
pub(crate) type Values = Vec<Vec<f32>>;

/// The bytes of a checkpoint; equal states give equal bytes.
pub(crate) fn to_bytes(
    header: &CheckpointHeader,
    optimizer: &AdamW,
    best: Option<&Values>,
) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::with_capacity(4 * optimizer.parameters.len());
    for (index, parameter) in optimizer.parameters.iter().enumerate() {
        let mut push = |prefix: &str, values: &[f32]| -> Result<(), TrainError> {
            let tensor = Tensor::from_slice(values, parameter.shape.as_slice(), &Device::Cpu)?;
            tensors.push((format!("{prefix}{}", parameter.name), tensor));
            Ok(())
        };
        push("", &parameter.values)?;
        push("adam_m.", &parameter.m)?;
        push("adam_v.", &parameter.v)?;
        if let Some(best) = best {
            push("best.", &best[index])?;
        }
    }
    serialize(&tensors, (METADATA_KEY, &trex_domain::canonical_json(header)?))
}

impl Checkpoint {
    /// Reads a checkpoint and checks that it belongs to this job.
    pub(crate) fn load(path: &Path, job: &ContentHash) -> Result<Self, TrainError> {
        let bytes = trex_fs::read(path)?;
        let header: CheckpointHeader = serde_json::from_str(&read_metadata(path, &bytes)?)
            .map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })?;
        if header.job != *job {
            let why = format!("it belongs to job {}, this is job {}", header.job.short(), job.short());
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
        Ok(Self { header, path: path.to_owned(), tensors: read_tensors(path, &bytes, &Device::Cpu)? })
    }

    /// Puts trained values and Adam's moments back, and returns the best weights where they are wanted.
    pub(crate) fn restore(&self, optimizer: &mut AdamW, wants_best: bool) -> Result<Option<Values>, TrainError> {
        for parameter in &mut optimizer.parameters {
            let [values, m, v] = ["", "adam_m.", "adam_v."].map(|prefix| self.values(prefix, parameter));
            (parameter.values, parameter.m, parameter.v) = (values?, m?, v?);
        }
        let has_best = self.tensors.keys().any(|name| name.starts_with("best."));
        if !wants_best || !has_best {
            return Ok(None);
        }
        optimizer.parameters.iter().map(|parameter| self.values("best.", parameter)).collect::<Result<_, _>>().map(Some)
    }

    fn values(&self, prefix: &str, parameter: &Parameter) -> Result<Vec<f32>, TrainError> {
        let name = format!("{prefix}{}", parameter.name);
        let Some(tensor) = self.tensors.get(&name) else {
            return Err(TrainError::MissingTensor { path: self.path.clone(), name });
        };
        if tensor.dims() != parameter.shape {
            let (found, expected) = (tensor.dims().to_vec(), parameter.shape.clone());
            return Err(TrainError::WrongShape { name, found, expected });
        }
        Ok(tensor.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;

    use super::*;

    fn optimizer(shape: &[usize]) -> AdamW {
        let count = shape.iter().product();
        let mut parameter = Parameter::new("w".into(), shape.to_vec(), vec![0.5; count]);
        parameter.m = vec![0.25; count];
        AdamW::new(vec![parameter])
    }

    fn written(dir: &Path, best: Option<&Values>) -> (PathBuf, CheckpointHeader) {
        let job = ContentHash::of_bytes(b"job");
        let header = CheckpointHeader { job, step: 3, curve: Vec::new(), first_loss: Some(2.0) };
        let path = dir.join("checkpoint.safetensors");
        trex_fs::write_atomic(&path, &to_bytes(&header, &optimizer(&[2, 3]), best).unwrap()).unwrap();
        (path, header)
    }

    #[test]
    fn everything_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let best = vec![vec![7.0; 6]];
        let (path, header) = written(dir.path(), Some(&best));
        let checkpoint = Checkpoint::load(&path, &header.job).unwrap();
        assert_eq!(checkpoint.header, header);
        let mut fresh = AdamW::new(vec![Parameter::new("w".into(), vec![2, 3], vec![0.0; 6])]);
        assert_eq!(checkpoint.restore(&mut fresh, true).unwrap(), Some(best));
        assert_eq!((fresh.parameters[0].values[0], fresh.parameters[0].m[0]), (0.5, 0.25));
        assert_eq!(checkpoint.restore(&mut fresh, false).unwrap(), None);
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, header) = written(dir.path(), None);
        let other = ContentHash::of_bytes(b"another job");
        assert_eq!(Checkpoint::load(&path, &other).unwrap_err().code(), "train.mismatch");
        let checkpoint = Checkpoint::load(&path, &header.job).unwrap();
        let err = checkpoint.restore(&mut optimizer(&[3, 2]), false).unwrap_err();
        assert_eq!(err.to_string(), "tensor w has shape [2, 3], expected [3, 2]");
        let mut other = AdamW::new(vec![Parameter::new("u".into(), vec![1], vec![0.0])]);
        assert_eq!(checkpoint.restore(&mut other, false).unwrap_err().code(), "model.missing_tensor");
        let bytes = trex_fs::read(&path).unwrap();
        for len in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            trex_fs::write_atomic(&path, &bytes[..len]).unwrap();
            assert_eq!(Checkpoint::load(&path, &header.job).unwrap_err().code(), "model.damaged", "{len} bytes");
        }
    }
}
