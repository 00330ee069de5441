//! The weights of a base model, one at a time, with an adapter added, W + scale · B · A, computed in `f32`, or with the
//! weights of a full training in their place.
//!
//! Works from tensor names alone, so it merges whatever the adapter names; a name that the base does not have is an
//! error. A quantised base is dequantised first, and one that was quantised for the training is rounded here as it was
//! there: the sum is that of the weights that were trained against.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, gguf_file};
use candle_core::{Device, Tensor};
use trex_domain::Quantization;

use super::gguf::layout::Layout;
use super::safetensors_file::{FloatType, PlannedTensor, SafetensorsFile};
use crate::trained::TrainedFile;
use crate::weights::{WeightFiles, as_kept};
use crate::{ModelConfig, TrainError};

/// Where base tensors come from.
#[derive(Debug)]
enum Source {
    /// File of each tensor by its number, and the files.
    Safetensors { place: BTreeMap<String, usize>, files: Vec<SafetensorsFile> },
    /// One GGUF file with its header.
    Gguf { reader: BufReader<std::fs::File>, content: Box<gguf_file::Content>, layout: Layout },
}

/// A base model with what was trained.
#[derive(Debug)]
pub(crate) struct MergedModel<'a> {
    dir: PathBuf,
    trained: &'a TrainedFile,
    quantization: Quantization,
    source: Source,
    tensors: Vec<PlannedTensor>,
    float_type: FloatType,
    changed: usize,
}

impl<'a> MergedModel<'a> {
    /// Opens the weights of a folder, kept as they were in the training; everything that was trained must have its weight
    /// there.
    pub(crate) fn open(
        dir: &Path,
        config: &ModelConfig,
        trained: &'a TrainedFile,
        quantization: Quantization,
    ) -> Result<Self, TrainError> {
        let (source, tensors, float_type) = match WeightFiles::find(dir)? {
            WeightFiles::Safetensors(paths) => open_safetensors(&paths, config)?,
            WeightFiles::Gguf(path) => open_gguf(&path, dir, config)?,
        };
        let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let wanted: Vec<String> = match trained {
            TrainedFile::Adapter(adapter) => adapter.pairs.keys().map(|module| format!("{module}.weight")).collect(),
            TrainedFile::Weights(weights) => weights.keys().cloned().collect(),
        };
        if let Some(name) = wanted.into_iter().find(|name| !names.contains(name.as_str())) {
            return Err(TrainError::MissingTensor { path: dir.to_owned(), name });
        }
        Ok(Self { dir: dir.to_owned(), trained, quantization, source, tensors, float_type, changed: 0 })
    }

    /// All tensors under Hugging Face names, sorted.
    pub(crate) fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// The number format of most of the base; `F32` where it is quantised.
    pub(crate) fn float_type(&self) -> FloatType {
        self.float_type
    }

    /// Whether the base is kept quantised.
    pub(crate) fn is_quantised(&self) -> bool {
        if self.quantization.of_projections().is_some() {
            return true;
        }
        match &self.source {
            Source::Safetensors { .. } => false,
            Source::Gguf { content, .. } => content.tensor_infos.values().any(|info| info.ggml_dtype.block_size() > 1),
        }
    }

    /// A tensor as it was trained, as `encode` writes it; notes whether that differs from the base.
    pub(crate) fn encoded<T: PartialEq>(
        &mut self,
        name: &str,
        encode: impl Fn(&Tensor) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let base = self.base(name)?;
        let Some(merged) = self.merged(name, &base)? else { return encode(&base) };
        let merged = encode(&merged)?;
        // One difference is enough: the rest need not be encoded twice.
        if self.changed == 0 && merged != encode(&base)? {
            self.changed += 1;
        }
        Ok(merged)
    }

    /// What became of a weight; nothing where it was not trained.
    fn merged(&self, name: &str, base: &Tensor) -> Result<Option<Tensor>, TrainError> {
        let adapter = match self.trained {
            TrainedFile::Adapter(adapter) => adapter,
            TrainedFile::Weights(weights) => return Ok(weights.get(name).cloned()),
        };
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let Some(pair) = adapter.pairs.get(module) else { return Ok(None) };
        let (a, b) = (pair.a.to_device(&Device::Cpu)?, pair.b.to_device(&Device::Cpu)?);
        let delta = (b.matmul(&a)? * adapter.config.scale_of(module))?;
        Ok(Some((base + delta)?))
    }

    /// Refuses a merge after which every weight is what it was.
    pub(crate) fn check_effect(&self, adapter: &Path) -> Result<(), TrainError> {
        if self.changed == 0 {
            return Err(TrainError::MergeWithoutEffect { adapter: adapter.to_owned() });
        }
        Ok(())
    }

    fn base(&mut self, name: &str) -> Result<Tensor, TrainError> {
        match &mut self.source {
            Source::Safetensors { place, files } => {
                let missing = || TrainError::MissingTensor { path: self.dir.clone(), name: name.to_owned() };
                let file = place.get(name).and_then(|index| files.get_mut(*index)).ok_or_else(missing)?;
                as_kept(self.quantization, name, file.tensor_f32(name)?, GgmlDType::F32)
            }
            Source::Gguf { reader, content, layout } => {
                let damaged = |source| TrainError::DamagedWeights { path: self.dir.clone(), source };
                let stored = layout.gguf_name(name)?;
                let tensor = content.tensor(reader, &stored, &Device::Cpu).and_then(|q| q.dequantize(&Device::Cpu));
                let values = layout.tensor_from_gguf(name, &tensor.map_err(damaged)?)?;
                let kind = content.tensor_infos.get(&stored).map_or(GgmlDType::F32, |info| info.ggml_dtype);
                as_kept(self.quantization, name, values, kind)
            }
        }
    }
}

type Opened = (Source, Vec<PlannedTensor>, FloatType);

fn open_safetensors(paths: &[PathBuf], config: &ModelConfig) -> Result<Opened, TrainError> {
    let files: Vec<SafetensorsFile> = paths.iter().map(|path| SafetensorsFile::open(path)).collect::<Result<_, _>>()?;
    let mut place = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    let mut bytes: BTreeMap<&str, (u64, FloatType)> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        for name in file.names() {
            // Buffers that old checkpoints carry, and a head that is the embedding, are not weights of their own.
            let is_copy = name == "lm_head.weight" && config.tie_word_embeddings;
            if is_copy || name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            let shape = file.shape(name)?.to_vec();
            if let Some(kind) = file.float_type(name) {
                let entry = bytes.entry(kind.torch_name()).or_insert((0, kind));
                entry.0 += shape.iter().map(|n| *n as u64).product::<u64>();
            }
            place.insert(name.to_owned(), index);
            tensors.insert(name.to_owned(), PlannedTensor { name: name.to_owned(), shape });
        }
    }
    let most = bytes.values().max_by_key(|(count, _)| *count).map_or(FloatType::F32, |(_, kind)| *kind);
    Ok((Source::Safetensors { place, files }, tensors.into_values().collect(), most))
}

fn open_gguf(path: &Path, dir: &Path, config: &ModelConfig) -> Result<Opened, TrainError> {
    let damaged = |source| TrainError::DamagedWeights { path: path.to_owned(), source };
    let layout = Layout::of_folder(dir)?;
    let mut reader = BufReader::new(trex_fs::open(path)?);
    let content = Box::new(gguf_file::Content::read(&mut reader).map_err(damaged)?);
    let mut tensors: Vec<PlannedTensor> =
        config.tensor_shapes().into_iter().map(|(name, shape)| PlannedTensor { name, shape }).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((Source::Gguf { reader, content, layout }, tensors, FloatType::F32))
}
