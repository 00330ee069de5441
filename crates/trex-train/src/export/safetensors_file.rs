//! Safetensors files, read and written tensor by tensor, so that a model never lies in memory as a whole.
//!
//! The format: eight bytes with the length of the header, the header as JSON padded with spaces to a multiple of eight,
//! the tensors end to end ([specification](https://github.com/huggingface/safetensors#format)).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trex_fs::FsError;

use crate::TrainError;

/// Longest header that is believed; the reference implementation has the same limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A number format of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl FloatType {
    /// As safetensors headers name it.
    fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// As `config.json` names it.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a number.
    pub(crate) fn size_bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Little-endian bytes of numbers, rounded to nearest.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        }
    }
}

/// One tensor of a header.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// A file that is open for reading single tensors.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Entry>,
    data_start: u64,
}

impl SafetensorsFile {
    /// Reads the header and checks that the file holds what it promises.
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        let mut file = trex_fs::open(path)?;
        let read = |err| FsError::io("read", path, err);
        let size = file.metadata().map_err(read)?.len();
        let damaged = |what| TrainError::DamagedSafetensors { path: path.to_owned(), source: what };
        let mut length = [0u8; 8];
        let complete = file.read_exact(&mut length).is_ok();
        let length = u64::from_le_bytes(length);
        if !complete || length > MAX_HEADER_BYTES || 8 + length > size {
            return Err(damaged(safetensors::SafeTensorError::HeaderTooLarge));
        }
        let mut header = vec![0u8; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut header).map_err(read)?;
        let bad_config = |source| TrainError::BadConfig { path: path.to_owned(), source };
        let mut header: BTreeMap<String, Value> = serde_json::from_slice(&header).map_err(bad_config)?;
        header.remove("__metadata__");
        let mut entries = BTreeMap::new();
        for (name, value) in header {
            let entry: Entry = serde_json::from_value(value).map_err(bad_config)?;
            let [start, end] = entry.data_offsets;
            if start > end || end > size - 8 - length {
                return Err(damaged(safetensors::SafeTensorError::InvalidOffset(name)));
            }
            entries.insert(name, entry);
        }
        Ok(Self { path: path.to_owned(), file, entries, data_start: 8 + length })
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is such a tensor.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], TrainError> {
        Ok(&self.entry(name)?.shape)
    }

    /// Number format of a tensor, where it is one that is written here too.
    pub(crate) fn float_type(&self, name: &str) -> Option<FloatType> {
        let dtype = self.entries.get(name)?.dtype.as_str();
        [FloatType::F32, FloatType::F16, FloatType::Bf16].into_iter().find(|kind| kind.safetensors_name() == dtype)
    }

    fn entry(&self, name: &str) -> Result<&Entry, TrainError> {
        let missing = || TrainError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        self.entries.get(name).ok_or_else(missing)
    }

    /// A tensor as `f32` in the memory of the processor.
    pub(crate) fn tensor_f32(&mut self, name: &str) -> Result<Tensor, TrainError> {
        let Entry { dtype, shape, data_offsets: [start, end] } = self.entry(name)?.clone();
        let kind = self.float_type(name).ok_or(TrainError::UnsupportedDtype { name: name.to_owned(), dtype })?;
        let damaged = || TrainError::DamagedSafetensors {
            path: self.path.clone(),
            source: safetensors::SafeTensorError::InvalidOffset(name.to_owned()),
        };
        let count = shape.iter().try_fold(1u64, |count, n| count.checked_mul(u64::try_from(*n).ok()?));
        if count.and_then(|count| count.checked_mul(kind.size_bytes())) != Some(end - start) {
            return Err(damaged());
        }
        let mut bytes = vec![0u8; usize::try_from(end - start).map_err(|_too_large| damaged())?];
        let read = |err| FsError::io("read", &self.path, err);
        self.file.seek(SeekFrom::Start(self.data_start + start)).map_err(read)?;
        self.file.read_exact(&mut bytes).map_err(read)?;
        let values: Vec<f32> = match kind {
            FloatType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            FloatType::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            FloatType::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        };
        if !values.par_iter().all(|x| x.is_finite()) {
            return Err(TrainError::NotFinite { name: name.to_owned() });
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PlannedTensor {
    /// Name.
    pub(crate) name: String,
    /// Shape.
    pub(crate) shape: Vec<usize>,
}

impl PlannedTensor {
    fn size_bytes(&self, kind: FloatType) -> u64 {
        self.shape.iter().map(|n| *n as u64).product::<u64>() * kind.size_bytes()
    }
}

/// Writes one file; `encoded` gives the bytes of each tensor when its turn comes.
pub(crate) fn write_file(
    path: &Path,
    kind: FloatType,
    tensors: &[PlannedTensor],
    encoded: &mut dyn FnMut(&PlannedTensor) -> Result<Vec<u8>, TrainError>,
) -> Result<(), TrainError> {
    let write = |err| FsError::io("write", path, err);
    let file = File::create(path).map_err(|err| FsError::io("create", path, err))?;
    let mut out = BufWriter::new(file);
    let header = header(kind, tensors);
    out.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| out.write_all(header.as_bytes()))
        .map_err(write)?;
    for tensor in tensors {
        let bytes = encoded(tensor)?;
        debug_assert_eq!(bytes.len() as u64, tensor.size_bytes(kind));
        out.write_all(&bytes).map_err(write)?;
    }
    let file = out.into_inner().map_err(|err| write(err.into_error()))?;
    Ok(file.sync_all().map_err(|err| FsError::io("sync", path, err))?)
}

/// The header, with `format: pt`: transformers refuses other values.
fn header(kind: FloatType, tensors: &[PlannedTensor]) -> String {
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.size_bytes(kind);
        let entry = json!({"dtype": kind.safetensors_name(), "shape": tensor.shape, "data_offsets": [offset, end]});
        entries.push(format!("{}:{entry}", json!(tensor.name)));
        offset = end;
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

/// Cuts tensors into shards of at most `max_bytes`; a tensor that is larger gets a shard of its own.
pub(crate) fn shards(kind: FloatType, tensors: Vec<PlannedTensor>, max_bytes: u64) -> Vec<Vec<PlannedTensor>> {
    let mut shards: Vec<Vec<PlannedTensor>> = Vec::new();
    let mut room = 0;
    for tensor in tensors {
        let size = tensor.size_bytes(kind);
        match shards.last_mut() {
            Some(shard) if size <= room => {
                shard.push(tensor);
                room -= size;
            }
            _ => {
                shards.push(vec![tensor]);
                room = max_bytes.saturating_sub(size);
            }
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(name: &str, shape: &[usize]) -> PlannedTensor {
        PlannedTensor { name: name.to_owned(), shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_by_the_reference_and_by_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let tensors = [planned("b", &[2, 3]), planned("a", &[4])];
        for kind in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            let values = |tensor: &PlannedTensor| -> Vec<f32> {
                (0..tensor.shape.iter().product::<usize>()).map(|i| i as f32 * 0.5 - 1.0).collect()
            };
            write_file(&path, kind, &tensors, &mut |tensor| Ok(kind.encode(&values(tensor)))).unwrap();
            let bytes = trex_fs::read(&path).unwrap();
            let (_, meta) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
            assert_eq!(meta.metadata().as_ref().unwrap()["format"], "pt");
            let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut ours = SafetensorsFile::open(&path).unwrap();
            for tensor in &tensors {
                assert_eq!(reference.tensor(&tensor.name).unwrap().shape(), tensor.shape);
                let read: Vec<f32> = ours.tensor_f32(&tensor.name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(read, values(tensor), "{kind:?}");
            }
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_file(&path, FloatType::F32, &[planned("a", &[8])], &mut |_| Ok(vec![0; 32])).unwrap();
        let whole = trex_fs::read(&path).unwrap();
        for keep in [0, 4, 20, whole.len() - 1] {
            trex_fs::write_atomic(&path, &whole[..keep]).unwrap();
            assert!(SafetensorsFile::open(&path).is_err(), "{keep} bytes");
        }
    }

    proptest! {
        #[test]
        fn shards_keep_order_and_size(sizes in proptest::collection::vec(1usize..50, 0..20), max in 1u64..300) {
            let tensors: Vec<_> = sizes.iter().enumerate().map(|(i, n)| planned(&i.to_string(), &[*n])).collect();
            let shards = shards(FloatType::F32, tensors.clone(), max);
            for shard in &shards {
                let total: u64 = shard.iter().map(|tensor| tensor.size_bytes(FloatType::F32)).sum();
                prop_assert!(total <= max || shard.len() == 1);
            }
            prop_assert_eq!(shards.concat(), tensors);
        }
    }
}
