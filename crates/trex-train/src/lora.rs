//! Low-rank adapters: initialisation, and the file they live in (tensor names of PEFT).

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rand::Rng as _;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use trex_domain::{LoraConfig, seeded_rng};

use crate::{ModelConfig, TrainError, import};

/// Key of the JSON that our files carry. One key only: more would be written in random order.
pub(crate) const METADATA_KEY: &str = "trex";

/// A pair of adapter matrices: A of shape (r, in), B of shape (out, r), `f32`.
#[derive(Clone, Debug)]
pub(crate) struct LoraPair {
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
}

/// The adapters of a model by module path, such as `model.layers.0.self_attn.q_proj`.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) config: LoraConfig,
    pub(crate) pairs: BTreeMap<String, LoraPair>,
}

/// What an adapter file says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct AdapterHeader {
    lora: LoraConfig,
}

/// A module path with its (out, in) shape.
type TargetModule = (String, (usize, usize));

/// Module paths and (out, in) shapes of the layers that get an adapter.
pub(crate) fn target_modules(config: &ModelConfig, lora: &LoraConfig) -> Result<Vec<TargetModule>, TrainError> {
    let names = config.target_names(&lora.target_modules)?;
    let mut modules = Vec::new();
    for layer in 0..config.num_layers {
        for (path, shape) in config.projection_shapes() {
            if path.rsplit('.').next().is_some_and(|name| names.contains(&name)) {
                modules.push((format!("model.layers.{layer}.{path}"), shape));
            }
        }
    }
    lora.check_patterns_fit(&modules.iter().map(|(module, _)| module.as_str()).collect::<Vec<_>>())?;
    Ok(modules)
}

impl Adapter {
    /// Fresh adapters: A uniform in ±1/√in (PEFT's Kaiming initialisation with a = √5), B zero, so the model is unchanged.
    pub(crate) fn new(config: &ModelConfig, lora: &LoraConfig, seed: u64, device: &Device) -> Result<Self, TrainError> {
        let mut pairs = BTreeMap::new();
        for (module, (out, inner)) in target_modules(config, lora)? {
            let mut rng = seeded_rng(seed, &format!("lora_a/{module}"));
            let bound = 1.0 / (inner as f32).sqrt();
            let rank = lora.rank_of(&module);
            let values: Vec<f32> = (0..rank * inner).map(|_| bound * uniform(rng.next_u32())).collect();
            let a = Tensor::from_vec(values, (rank, inner), device)?;
            let b = Tensor::zeros((out, rank), candle_core::DType::F32, device)?;
            pairs.insert(module, LoraPair { a, b });
        }
        Ok(Self { config: lora.clone(), pairs })
    }

    /// The same adapters on a device.
    pub(crate) fn on(&self, device: &Device) -> Result<Self, TrainError> {
        let mut moved = self.clone();
        for pair in moved.pairs.values_mut() {
            *pair = LoraPair { a: pair.a.to_device(device)?, b: pair.b.to_device(device)? };
        }
        Ok(moved)
    }

    /// The tensors under PEFT's names.
    pub(crate) fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let named = |(module, pair): (&String, &LoraPair)| {
            [(peft_name(module, 'A'), pair.a.clone()), (peft_name(module, 'B'), pair.b.clone())]
        };
        self.pairs.iter().flat_map(named).collect()
    }

    /// The bytes of an adapter file; equal adapters give equal bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let header = trex_domain::canonical_json(&AdapterHeader { lora: self.config.clone() })?;
        serialize(&self.named_tensors(), (METADATA_KEY, &header))
    }

    /// Reads an adapter and checks every shape against the model: one of our files, a PEFT folder, or a GGUF adapter.
    pub(crate) fn load(path: &Path, config: &ModelConfig, device: &Device) -> Result<Self, TrainError> {
        if path.is_dir() {
            return import::peft::load(path, config, device);
        }
        if path.extension().is_some_and(|ext| ext == "gguf") {
            return import::gguf_lora::load(path, config, device);
        }
        let bytes = trex_fs::read(path)?;
        let header = read_metadata(path, &bytes)?;
        crate::trained::check_holds_adapter(path, &header)?;
        let header: AdapterHeader =
            serde_json::from_str(&header).map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })?;
        let tensors = read_tensors(path, &bytes, device)?;
        Self::from_tensors(path, config, header.lora, &tensors)
    }

    /// Picks the adapters out of named tensors.
    pub(crate) fn from_tensors(
        path: &Path,
        config: &ModelConfig,
        lora: LoraConfig,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Self, TrainError> {
        let mut pairs = BTreeMap::new();
        for (module, (out, inner)) in target_modules(config, &lora)? {
            let pick = |letter, shape: (usize, usize)| {
                let name = peft_name(&module, letter);
                let tensor = tensors.get(&name);
                let tensor =
                    tensor.ok_or_else(|| TrainError::MissingTensor { path: path.to_owned(), name: name.clone() })?;
                if tensor.dims() != [shape.0, shape.1] {
                    let why = format!("{name} has shape {:?}, the model needs {shape:?}", tensor.dims());
                    return Err(TrainError::Mismatch { path: path.to_owned(), why });
                }
                Ok(tensor.clone())
            };
            let rank = lora.rank_of(&module);
            pairs.insert(module.clone(), LoraPair { a: pick('A', (rank, inner))?, b: pick('B', (out, rank))? });
        }
        Ok(Self { config: lora, pairs })
    }
}

/// B with a factor, untouched where that is 1 but for rounding.
pub(crate) fn rescaled(b: &Tensor, factor: f64) -> Result<Tensor, TrainError> {
    let is_one = (factor - 1.0).abs() <= 4.0 * f64::EPSILON;
    Ok(if is_one { b.clone() } else { (b * factor)? })
}

pub(crate) fn peft_name(module: &str, letter: char) -> String {
    format!("base_model.model.{module}.lora_{letter}.weight")
}

/// Maps 32 random bits to [-1, 1).
fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

/// Serialises `f32` tensors with one metadata entry.
pub(crate) fn serialize(tensors: &[(String, Tensor)], metadata: (&str, &str)) -> Result<Vec<u8>, TrainError> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        buffers.push((name.clone(), tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(buffers.len());
    for (name, shape, bytes) in &buffers {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        views.push((name, view.map_err(damaged(Path::new(name)))?));
    }
    let metadata = std::iter::once((metadata.0.to_owned(), metadata.1.to_owned())).collect();
    safetensors::serialize(views, Some(metadata)).map_err(damaged(Path::new("tensors")))
}

/// Reads the JSON that one of our files carries.
pub(crate) fn read_metadata(path: &Path, bytes: &[u8]) -> Result<String, TrainError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged(path))?;
    let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY).cloned());
    entry.ok_or_else(|| TrainError::Mismatch {
        path: path.to_owned(),
        why: "it was not written by this program".to_owned(),
    })
}

/// Reads all `f32` tensors of a file, sorted by name.
pub(crate) fn read_tensors(path: &Path, bytes: &[u8], device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let file = SafeTensors::deserialize(bytes).map_err(damaged(path))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(TrainError::UnsupportedDtype { name, dtype: format!("{:?}", view.dtype()) });
        }
        let words = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        tensors.insert(name, Tensor::from_vec(words.collect::<Vec<f32>>(), view.shape(), device)?);
    }
    Ok(tensors)
}

pub(crate) fn damaged(path: &Path) -> impl Fn(safetensors::SafeTensorError) -> TrainError + '_ {
    move |source| TrainError::DamagedSafetensors { path: path.to_owned(), source }
}
