//! Reads GGUF files, versions 2 and 3: metadata, and where each tensor lies. Nothing is believed before it is checked.
//!
//! The file is mapped, so opening costs what the header costs. Every count and offset comes from outside: what a header
//! claims is held against the bytes that are there before anything is allocated. Format: ggml's `docs/gguf.md`.

mod cursor;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file};
use candle_core::{Device, Tensor};
use trex_chat::MetaValue;

use crate::TrainError;
use crate::mapped::map_file;
use cursor::Cursor;

/// What is wrong with a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufFault {
    /// Another format.
    #[error("it does not begin with GGUF")]
    Magic,
    /// A version that is not read.
    #[error("its version is {0}, read are 2 and 3")]
    Version(u32),
    /// The file ends within its header.
    #[error("it ends at byte {at}, where {needed} more are announced")]
    Ends {
        /// Byte from the start.
        at: usize,
        /// How many bytes should follow.
        needed: u64,
    },
    /// A text that is no UTF-8.
    #[error("the text at byte {at} is no UTF-8")]
    Text {
        /// Byte from the start.
        at: usize,
    },
    /// A metadata value of a type that is not known, or a list of lists.
    #[error("the value of {key} has type {kind}, which is not read")]
    ValueType {
        /// Metadata key.
        key: String,
        /// Its number.
        kind: u32,
    },
    /// More list items than any model has.
    #[error("its lists hold more than {limit} values")]
    TooManyValues {
        /// The most that is read.
        limit: usize,
    },
    /// A name that stands twice.
    #[error("{name} is there twice")]
    Twice {
        /// Key or tensor.
        name: String,
    },
    /// Tensors must begin at multiples of this.
    #[error("its alignment is {0}, which is no power of two from 8")]
    Alignment(u64),
    /// A tensor with impossible sizes.
    #[error("tensor {name} has sizes {shape:?}, which no file can hold")]
    Sizes {
        /// Tensor name.
        name: String,
        /// Outermost first.
        shape: Vec<u64>,
    },
    /// A tensor of a type that is not read.
    #[error("tensor {name} has type {kind}, which is not read")]
    TensorType {
        /// Tensor name.
        name: String,
        /// `ggml_type` of ggml.h.
        kind: u32,
    },
    /// A tensor that lies outside the file or between two multiples of the alignment.
    #[error("tensor {name} lies at bytes {start} to {end} of {size}")]
    Place {
        /// Tensor name.
        name: String,
        /// First byte.
        start: u64,
        /// Byte behind the last.
        end: u64,
        /// Bytes of the file.
        size: usize,
    },
}

/// A GGUF file.
#[derive(Debug)]
pub(crate) struct GgufFile {
    path: PathBuf,
    map: memmap2::Mmap,
    header: Header,
}

/// What stands before the tensor data.
#[derive(Debug)]
struct Header {
    metadata: BTreeMap<String, MetaValue>,
    tensors: BTreeMap<String, GgufTensor>,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GgufTensor {
    /// Outermost first, as Hugging Face writes shapes.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: GgmlDType,
    /// Where its bytes lie in the file.
    pub(crate) range: Range<usize>,
}

/// Names of the tensor types that are read, with their numbers in ggml.h.
const KINDS: [(u32, GgmlDType); 13] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (30, GgmlDType::BF16),
];

/// Dimensions that ggml allows.
const MOST_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

impl GgufFile {
    /// Maps a file and checks its header.
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        let map = map_file(path)?;
        let header = read_header(&map);
        let header = header.map_err(|source| TrainError::DamagedGguf { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), map, header })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata by key.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, MetaValue> {
        &self.header.metadata
    }

    /// Tensors by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, GgufTensor> {
        &self.header.tensors
    }

    /// The tensor as `f32` on the CPU.
    pub(crate) fn dequantized(&self, name: &str) -> Result<Tensor, TrainError> {
        let missing = || TrainError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let tensor = self.header.tensors.get(name).ok_or_else(missing)?;
        let bytes = &self.map[tensor.range.clone()];
        let blocks = ggml_file::qtensor_from_ggml(tensor.kind, bytes, tensor.shape.clone(), &Device::Cpu);
        let values = blocks.and_then(|blocks| blocks.dequantize(&Device::Cpu));
        values.map_err(|source| TrainError::DamagedWeights { path: self.path.clone(), source })
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, GgufFault> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(4).ok() != Some(b"GGUF") {
        return Err(GgufFault::Magic);
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(GgufFault::Version(version));
    }
    let num_tensors = cursor.u64()?;
    let num_values = cursor.u64()?;
    let mut metadata = BTreeMap::new();
    for _ in 0..num_values {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(&key, kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufFault::Twice { name: key });
        }
    }
    let mut infos = Vec::new();
    for _ in 0..num_tensors {
        infos.push(read_info(&mut cursor)?);
    }
    let alignment = alignment(&metadata)?;
    let start = (cursor.position() as u64).next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for info in infos {
        let tensor = placed(&info, start, alignment, bytes.len())?;
        if tensors.insert(info.name.clone(), tensor).is_some() {
            return Err(GgufFault::Twice { name: info.name });
        }
    }
    Ok(Header { metadata, tensors })
}

/// What the header says of a tensor.
struct Info {
    name: String,
    /// Outermost first.
    shape: Vec<u64>,
    kind: u32,
    /// From the start of the tensor data.
    offset: u64,
}

fn read_info(cursor: &mut Cursor<'_>) -> Result<Info, GgufFault> {
    let name = cursor.text()?;
    let num_dimensions = cursor.u32()?;
    if num_dimensions > MOST_DIMENSIONS {
        return Err(GgufFault::Sizes { name, shape: vec![u64::from(num_dimensions)] });
    }
    let mut shape = Vec::new();
    for _ in 0..num_dimensions {
        shape.push(cursor.u64()?);
    }
    // GGUF writes the innermost dimension first.
    shape.reverse();
    Ok(Info { name, shape, kind: cursor.u32()?, offset: cursor.u64()? })
}

fn alignment(metadata: &BTreeMap<String, MetaValue>) -> Result<u64, GgufFault> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(MetaValue::U64(value)) if value.is_power_of_two() && (8..=1 << 20).contains(value) => Ok(*value),
        Some(MetaValue::U64(value)) => Err(GgufFault::Alignment(*value)),
        Some(_) => Err(GgufFault::Alignment(0)),
    }
}

/// Checks type, sizes and place of a tensor.
fn placed(info: &Info, data_start: u64, alignment: u64, file_size: usize) -> Result<GgufTensor, GgufFault> {
    let kind = KINDS.iter().find(|(number, _)| *number == info.kind).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| GgufFault::TensorType { name: info.name.clone(), kind: info.kind })?;
    let impossible = || GgufFault::Sizes { name: info.name.clone(), shape: info.shape.clone() };
    let (block, block_bytes) = (kind.block_size() as u64, kind.type_size() as u64);
    let elements = info.shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let elements = elements.filter(|elements| *elements > 0).ok_or_else(impossible)?;
    if !info.shape.last().is_some_and(|inner| inner.is_multiple_of(block)) {
        return Err(impossible());
    }
    let num_bytes = (elements / block).checked_mul(block_bytes).ok_or_else(impossible)?;
    let start = data_start.saturating_add(info.offset);
    let end = start.saturating_add(num_bytes);
    if !start.is_multiple_of(alignment) || end > file_size as u64 {
        return Err(GgufFault::Place { name: info.name.clone(), start, end, size: file_size });
    }
    // All below the size of the file, which is a usize.
    let narrow = |value: u64| usize::try_from(value).ok().ok_or_else(impossible);
    let shape = info.shape.iter().map(|size| narrow(*size)).collect::<Result<_, _>>()?;
    Ok(GgufTensor { shape, kind, range: narrow(start)?..narrow(end)? })
}

#[cfg(test)]
mod tests;
