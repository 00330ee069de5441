//! Reads the weights of a model folder into `f32` tensors under Hugging Face names, and checks every one of them.
//!
//! Shapes are held against the configuration before anything is converted, so what is allocated is what the model needs.

mod frozen;
mod gguf_names;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

use crate::blocks::BlockMatrix;
use crate::gguf::GgufFile;
use crate::mapped::map_file;
use crate::{ModelConfig, TrainError};
pub(crate) use frozen::{FrozenWeights, as_kept, load_frozen};
use gguf_names::{gguf_name, rows_are_permuted, unpermuted};

/// The files that hold the weights of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WeightFiles {
    /// One or more safetensors files, sorted.
    Safetensors(Vec<PathBuf>),
    /// One GGUF file.
    Gguf(PathBuf),
}

impl WeightFiles {
    /// Finds the weights of a folder: `model.safetensors`, its sharded form, or a single `*.gguf`.
    pub(crate) fn find(dir: &Path) -> Result<Self, TrainError> {
        let single = dir.join("model.safetensors");
        if single.is_file() {
            return Ok(Self::Safetensors(vec![single]));
        }
        let index = dir.join("model.safetensors.index.json");
        if index.is_file() {
            return Ok(Self::Safetensors(shards(dir, &index)?));
        }
        let mut ggufs: Vec<_> = std::fs::read_dir(dir)
            .map_err(|err| trex_fs::FsError::io("list", dir, err))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "gguf"))
            .collect();
        ggufs.sort();
        match ggufs.into_iter().next() {
            Some(path) => Ok(Self::Gguf(path)),
            None => Err(TrainError::NotAModel { path: dir.to_owned(), missing: "model.safetensors or a GGUF file" }),
        }
    }

    /// All files.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Safetensors(paths) => paths.iter().map(PathBuf::as_path).collect(),
            Self::Gguf(path) => vec![path],
        }
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let bytes = trex_fs::read(index)?;
    let index: ShardIndex =
        serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: index.to_owned(), source })?;
    let names: BTreeSet<_> = index.weight_map.into_values().collect();
    for name in &names {
        // A shard name is a plain file name: anything else could leave the folder.
        let is_plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !is_plain || !dir.join(name).is_file() {
            return Err(TrainError::NotAModel { path: dir.join(name), missing: "a shard of the index" });
        }
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Loads every tensor that the configuration asks for, as `f32` on `device`.
pub(crate) fn load(dir: &Path, config: &ModelConfig, device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
    load_with(dir, config, &|_, tensor| Ok(tensor.to_device(device)?))
}

/// Loads every tensor that the configuration asks for and hands each, as `f32` in main memory, to `place`; so that a
/// model that is placed in half precision never lies there in whole.
///
/// Tensors that the configuration does not name are passed over. Norm weights are what a normalised row is multiplied
/// with, also where the file holds them less one.
pub(crate) fn load_with(
    dir: &Path,
    config: &ModelConfig,
    place: &dyn Fn(&str, &Tensor) -> Result<Tensor, TrainError>,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let source = Source::open(dir)?;
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.tensor_shapes() {
        let found = source.shape(config, &name)?;
        if found != shape {
            return Err(TrainError::WrongShape { name, found, expected: shape });
        }
        let tensor = source.read(config, &name)?;
        check_finite(&name, &tensor)?;
        let placed = place(&name, &tensor)?;
        tensors.insert(name, placed);
    }
    Ok(tensors)
}

/// A tensor as safetensors files of this family hold it: the opposite of what [`load`] does to norms.
#[cfg_attr(not(test), expect(dead_code, reason = "for the export of merged weights"))]
pub(crate) fn stored_form(config: &ModelConfig, name: &str, tensor: &Tensor) -> Result<Tensor, TrainError> {
    if config.variant.norm_offset && is_norm(name) {
        return Ok((tensor - 1.0)?);
    }
    Ok(tensor.clone())
}

fn is_norm(name: &str) -> bool {
    name.ends_with("norm.weight")
}

/// Opened weight files.
enum Source {
    Safetensors {
        maps: Vec<(PathBuf, memmap2::Mmap)>,
        /// Which file holds a tensor.
        places: BTreeMap<String, usize>,
    },
    Gguf(GgufFile),
}

impl Source {
    fn open(dir: &Path) -> Result<Self, TrainError> {
        match WeightFiles::find(dir)? {
            WeightFiles::Gguf(path) => Ok(Self::Gguf(GgufFile::open(&path)?)),
            WeightFiles::Safetensors(paths) => {
                let mut maps = Vec::new();
                let mut places = BTreeMap::new();
                for (number, path) in paths.into_iter().enumerate() {
                    let map = map_file(&path)?;
                    let names = parsed(&path, &map)?.names().into_iter().map(str::to_owned).collect::<Vec<_>>();
                    places.extend(names.into_iter().map(|name| (name, number)));
                    maps.push((path, map));
                }
                Ok(Self::Safetensors { maps, places })
            }
        }
    }

    fn shape(&self, config: &ModelConfig, name: &str) -> Result<Vec<usize>, TrainError> {
        match self {
            Self::Safetensors { .. } => self.with_view(name, |_, view| Ok(view.shape().to_vec())),
            Self::Gguf(file) => {
                let tensor = file.tensors().get(&gguf_name(config, name));
                let tensor = tensor.ok_or_else(|| self.missing(name))?;
                Ok(tensor.shape.clone())
            }
        }
    }

    fn read(&self, config: &ModelConfig, name: &str) -> Result<Tensor, TrainError> {
        match self {
            Self::Safetensors { .. } => {
                let tensor = self.with_view(name, |_, view| float_tensor(name, view))?;
                let is_less_one = config.variant.norm_offset && is_norm(name);
                if is_less_one { Ok((tensor + 1.0)?) } else { Ok(tensor) }
            }
            Self::Gguf(file) => {
                let tensor = file.dequantized(&gguf_name(config, name))?;
                match rows_are_permuted(config, name) {
                    Some(heads) => unpermuted(&tensor, heads),
                    None => Ok(tensor),
                }
            }
        }
    }

    /// A matrix in the number format in which the file holds it, its rows in the order of Hugging Face.
    fn blocks(&self, config: &ModelConfig, name: &str) -> Result<BlockMatrix, TrainError> {
        let place = self.place(config, name)?;
        let [rows, width] = *place.shape.as_slice() else { return Err(self.missing(name)) };
        let mut bytes = AlignedBytes::zeroed(place.range.len());
        read_range(&place.path, place.range.start, bytes.as_mut_slice())?;
        if let (Self::Gguf(_), Some(heads)) = (self, rows_are_permuted(config, name)) {
            bytes = unpermuted_rows(bytes.as_slice(), rows, heads);
        }
        let blocks = BlockMatrix::from_bytes(place.kind, bytes.as_slice(), (rows, width));
        blocks.map_err(|source| TrainError::DamagedWeights { path: place.path, source })
    }

    fn place(&self, config: &ModelConfig, name: &str) -> Result<Place, TrainError> {
        match self {
            Self::Gguf(file) => {
                let tensor = file.tensors().get(&gguf_name(config, name)).ok_or_else(|| self.missing(name))?;
                let (shape, range) = (tensor.shape.clone(), tensor.range.clone());
                Ok(Place { path: file.path().to_owned(), kind: tensor.kind, shape, range })
            }
            Self::Safetensors { maps, places } => {
                let (path, map) =
                    places.get(name).and_then(|number| maps.get(*number)).ok_or_else(|| self.missing(name))?;
                let damaged = |source| TrainError::DamagedSafetensors { path: path.clone(), source };
                let (header_len, header) = SafeTensors::read_metadata(map).map_err(damaged)?;
                let info = header.info(name).ok_or_else(|| self.missing(name))?;
                let kind = match info.dtype {
                    Dtype::F32 => GgmlDType::F32,
                    Dtype::F16 => GgmlDType::F16,
                    Dtype::BF16 => GgmlDType::BF16,
                    other => {
                        let dtype = format!("{other:?}");
                        return Err(TrainError::UnsupportedDtype { name: name.to_owned(), dtype });
                    }
                };
                // The header follows its own length in eight bytes, the data follow the header.
                let data = 8 + header_len;
                let range = data + info.data_offsets.0..data + info.data_offsets.1;
                Ok(Place { path: path.clone(), kind, shape: info.shape.clone(), range })
            }
        }
    }

    fn with_view<R>(
        &self,
        name: &str,
        f: impl FnOnce(&Path, &TensorView<'_>) -> Result<R, TrainError>,
    ) -> Result<R, TrainError> {
        let Self::Safetensors { maps, places } = self else { return Err(self.missing(name)) };
        let (path, map) = places.get(name).and_then(|number| maps.get(*number)).ok_or_else(|| self.missing(name))?;
        let file = parsed(path, map)?;
        let damaged = |source| TrainError::DamagedSafetensors { path: path.clone(), source };
        f(path, &file.tensor(name).map_err(damaged)?)
    }

    fn missing(&self, name: &str) -> TrainError {
        let path = match self {
            Self::Safetensors { maps, .. } => maps.first().map(|(path, _)| path.clone()).unwrap_or_default(),
            Self::Gguf(file) => file.path().to_owned(),
        };
        TrainError::MissingTensor { path, name: name.to_owned() }
    }
}

/// Where a tensor lies.
struct Place {
    path: PathBuf,
    kind: GgmlDType,
    /// Outermost first.
    shape: Vec<usize>,
    /// Bytes of the file.
    range: Range<usize>,
}

/// Bytes that begin at a multiple of eight.
struct AlignedBytes {
    buffer: Vec<u8>,
    range: Range<usize>,
}

impl AlignedBytes {
    const ALIGNMENT: usize = 8;

    fn zeroed(len: usize) -> Self {
        let buffer = vec![0; len + Self::ALIGNMENT];
        let start = buffer.as_ptr().align_offset(Self::ALIGNMENT).min(Self::ALIGNMENT);
        Self { buffer, range: start..start + len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}

/// Reads bytes of a file without mapping it, so that they count once.
fn read_range(path: &Path, start: usize, out: &mut [u8]) -> Result<(), TrainError> {
    let mut file = trex_fs::open(path)?;
    let read = file.seek(SeekFrom::Start(start as u64)).and_then(|_| file.read_exact(out));
    Ok(read.map_err(|err| trex_fs::FsError::io("read", path, err))?)
}

/// Puts rows of bytes into the order of Hugging Face, as [`unpermuted`] does with values.
fn unpermuted_rows(bytes: &[u8], rows: usize, heads: usize) -> AlignedBytes {
    let mut out = AlignedBytes::zeroed(bytes.len());
    let row_bytes = bytes.len() / rows.max(1);
    let (per_head, pairs) = (rows / heads, rows / heads / 2);
    for (row, out) in out.as_mut_slice().chunks_exact_mut(row_bytes.max(1)).enumerate() {
        let (head, within) = (row / per_head, row % per_head);
        let from = head * per_head + 2 * (within % pairs) + within / pairs;
        out.copy_from_slice(&bytes[from * row_bytes..(from + 1) * row_bytes]);
    }
    out
}

/// The header of a safetensors file; it says of every tensor where it lies, and the file is as long as that.
pub(crate) fn parsed<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, TrainError> {
    SafeTensors::deserialize(bytes).map_err(|source| TrainError::DamagedSafetensors { path: path.to_owned(), source })
}

/// The values of a stored tensor as `f32`.
pub(crate) fn float_tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor, TrainError> {
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => words(view.data(), f32::from_le_bytes),
        Dtype::F16 => words(view.data(), |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => words(view.data(), |bytes| bf16::from_le_bytes(bytes).to_f32()),
        other => {
            return Err(TrainError::UnsupportedDtype { name: name.to_owned(), dtype: format!("{other:?}") });
        }
    };
    Ok(Tensor::from_vec(values, view.shape(), &Device::Cpu)?)
}

fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    bytes
        .par_chunks_exact(N)
        .map(|bytes| {
            let mut word = [0; N];
            word.copy_from_slice(bytes);
            value(word)
        })
        .collect()
}

/// Refuses a tensor with a value that is no number.
pub(crate) fn check_finite(name: &str, tensor: &Tensor) -> Result<(), TrainError> {
    debug_assert_eq!(tensor.dtype(), DType::F32);
    let finite = crate::ops::with_slices([tensor], |[values]| Ok(values.par_iter().all(|x| x.is_finite())))?;
    if finite { Ok(()) } else { Err(TrainError::NotFinite { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests;
