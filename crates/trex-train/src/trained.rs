//! What a training trains and leaves behind: adapters on a frozen base, or every weight.
//!
//! Both end as one safetensors file whose metadata says which of the two it is. Adapters have PEFT's names, weights those
//! of Hugging Face, all in 32-bit floats.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trex_domain::{LoraConfig, TrainConfig, TrainMethod};

use crate::autograd::{adapter_parameters, parameter};
use crate::lora::{Adapter, METADATA_KEY, read_metadata, read_tensors, serialize};
use crate::optimizer::Parameter;
use crate::{ModelConfig, TrainError};

/// What a training trains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trained<'a> {
    pub(crate) model: &'a ModelConfig,
    pub(crate) config: &'a TrainConfig,
}

impl Trained<'_> {
    /// Whether every weight is trained.
    pub(crate) fn is_full(&self) -> bool {
        self.config.method == TrainMethod::Full
    }

    /// Parameters at the start of a training, with which the model is the base: what adapters add is nothing, because B is
    /// zero. `weights` are those of the base, where all of them are trained.
    pub(crate) fn fresh(
        &self,
        seed: u64,
        weights: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<Vec<Parameter>, TrainError> {
        match weights {
            Some(weights) => weights.iter().map(|(name, tensor)| parameter(name.clone(), tensor)).collect(),
            None => adapter_parameters(&Adapter::new(self.model, &self.config.lora, seed, &Device::Cpu)?),
        }
    }

    /// The adapters that parameters are.
    pub(crate) fn adapter(&self, parameters: &[Parameter]) -> Result<Adapter, TrainError> {
        Adapter::from_tensors(Path::new("adapter"), self.model, self.config.lora.clone(), &tensors(parameters)?)
    }

    /// The bytes of the result; equal parameters give equal bytes.
    pub(crate) fn file_bytes(&self, parameters: &[Parameter]) -> Result<Vec<u8>, TrainError> {
        if !self.is_full() {
            return self.adapter(parameters)?.to_bytes();
        }
        let header = trex_domain::canonical_json(&Header { full: Some(Full {}), lora: None })?;
        let tensors: Vec<_> = tensors(parameters)?.into_iter().collect();
        serialize(&tensors, (METADATA_KEY, &header))
    }
}

fn tensors(parameters: &[Parameter]) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let tensor = |parameter: &Parameter| {
        let tensor = Tensor::from_slice(&parameter.values, parameter.shape.as_slice(), &Device::Cpu)?;
        Ok((parameter.name.clone(), tensor))
    };
    parameters.iter().map(tensor).collect()
}

/// What a result file says of itself: one of the two.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    full: Option<Full>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora: Option<LoraConfig>,
}

/// Every weight is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Full {}

/// Refuses a file of weights where an adapter is needed; `header` is its metadata.
pub(crate) fn check_holds_adapter(path: &Path, header: &str) -> Result<(), TrainError> {
    match serde_json::from_str::<Header>(header) {
        Ok(Header { full: Some(_), .. }) => {
            let why = "it holds every weight of a full training, not an adapter".to_owned();
            Err(TrainError::Mismatch { path: path.to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// A result file in memory.
#[derive(Debug)]
pub(crate) enum TrainedFile {
    /// Adapters for a frozen base.
    Adapter(Adapter),
    /// Weights that replace those of the base.
    Weights(BTreeMap<String, Tensor>),
}

impl TrainedFile {
    /// Reads a result file, or an adapter that another program wrote, and checks every shape against the model.
    pub(crate) fn load(path: &Path, config: &ModelConfig) -> Result<Self, TrainError> {
        // What other programs write holds adapters.
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "gguf") {
            return Ok(Self::Adapter(Adapter::load(path, config, &Device::Cpu)?));
        }
        let bytes = trex_fs::read(path)?;
        let header: Header = serde_json::from_str(&read_metadata(path, &bytes)?)
            .map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })?;
        let mut tensors = read_tensors(path, &bytes, &Device::Cpu)?;
        if let Some(lora) = header.lora {
            return Ok(Self::Adapter(Adapter::from_tensors(path, config, lora, &tensors)?));
        }
        if header.full.is_none() {
            let why = "it holds neither adapters nor weights".to_owned();
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
        let mut weights = BTreeMap::new();
        for (name, shape) in config.tensor_shapes() {
            let missing = || TrainError::MissingTensor { path: path.to_owned(), name: name.clone() };
            let tensor = tensors.remove(&name).ok_or_else(missing)?;
            if tensor.dims() != shape {
                return Err(TrainError::WrongShape { name, found: tensor.dims().to_vec(), expected: shape });
            }
            weights.insert(name, tensor);
        }
        Ok(Self::Weights(weights))
    }
}
