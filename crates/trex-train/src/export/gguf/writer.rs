//! Writes GGUF files, version 3, tensor by tensor (format: ggml, `docs/gguf.md`).
//!
//! candle's own writer wants every tensor in memory at once and knows fewer types of metadata.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use trex_chat::MetaValue;
use trex_fs::FsError;

use crate::TrainError;
use crate::export::safetensors_file::FloatType;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
const ALIGNMENT: u64 = 32;

/// Types of metadata values (`gguf_metadata_value_type`).
mod value_type {
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
}

/// Rows that are quantised by one task.
const ROWS_AT_ONCE: usize = 64;

/// A tensor to be written. The shape is that of Hugging Face, rows first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GgufTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: GgmlDType,
}

impl GgufTensor {
    fn size_bytes(&self) -> u64 {
        let count: usize = self.shape.iter().product();
        (count / self.dtype.block_size() * self.dtype.type_size()) as u64
    }
}

/// Number of a tensor type (`ggml_type`).
fn type_number(dtype: GgmlDType) -> Result<u32, TrainError> {
    Ok(match dtype {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::BF16 => 30,
        other => {
            let why = "the type is read, but not written".to_owned();
            return Err(TrainError::NotExportable { what: format!("GGUF with {other:?}"), why });
        }
    })
}

/// Gives the bytes of a tensor by its number.
type Encoded<'a> = &'a mut dyn FnMut(usize, &GgufTensor) -> Result<Vec<u8>, TrainError>;

/// Writes a file; `encoded` gives the bytes of each tensor when its turn comes.
///
/// Integers are written with 32 bits, as llama.cpp reads them.
pub(crate) fn write_file(
    path: &Path,
    metadata: &[(String, MetaValue)],
    tensors: &[GgufTensor],
    encoded: Encoded<'_>,
) -> Result<(), TrainError> {
    let write = |err| FsError::io("write", path, err);
    let mut out = BufWriter::new(File::create(path).map_err(|err| FsError::io("create", path, err))?);
    let mut header = header(metadata, tensors)?;
    pad(&mut header);
    out.write_all(&header).map_err(write)?;
    for (index, tensor) in tensors.iter().enumerate() {
        let mut bytes = encoded(index, tensor)?;
        debug_assert_eq!(bytes.len() as u64, tensor.size_bytes(), "{}", tensor.name);
        pad(&mut bytes);
        out.write_all(&bytes).map_err(write)?;
    }
    let file = out.into_inner().map_err(|err| write(err.into_error()))?;
    Ok(file.sync_all().map_err(|err| FsError::io("sync", path, err))?)
}

fn header(metadata: &[(String, MetaValue)], tensors: &[GgufTensor]) -> Result<Vec<u8>, TrainError> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut out, key);
        out.extend(value_type(value).to_le_bytes());
        put_value(&mut out, key, value)?;
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut out, &tensor.name);
        out.extend(u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX).to_le_bytes());
        // GGUF counts dimensions from the fastest.
        tensor.shape.iter().rev().for_each(|n| out.extend((*n as u64).to_le_bytes()));
        out.extend(type_number(tensor.dtype)?.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.size_bytes().next_multiple_of(ALIGNMENT);
    }
    Ok(out)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize((bytes.len() as u64).next_multiple_of(ALIGNMENT).try_into().unwrap_or(bytes.len()), 0);
}

fn value_type(value: &MetaValue) -> u32 {
    match value {
        MetaValue::U64(_) => value_type::U32,
        MetaValue::I64(_) => value_type::I32,
        MetaValue::F64(_) => value_type::F32,
        MetaValue::Bool(_) => value_type::BOOL,
        MetaValue::Str(_) => value_type::STRING,
        MetaValue::Array(_) => value_type::ARRAY,
    }
}

fn put_value(out: &mut Vec<u8>, key: &str, value: &MetaValue) -> Result<(), TrainError> {
    let too_large = || TrainError::NotExportable {
        what: "GGUF".to_owned(),
        why: format!("the value of {key} does not fit into 32 bits"),
    };
    match value {
        MetaValue::U64(x) => out.extend(u32::try_from(*x).map_err(|_too_large| too_large())?.to_le_bytes()),
        MetaValue::I64(x) => out.extend(i32::try_from(*x).map_err(|_too_large| too_large())?.to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "GGUF stores these numbers as f32")]
        MetaValue::F64(x) => out.extend((*x as f32).to_le_bytes()),
        MetaValue::Bool(x) => out.push(u8::from(*x)),
        MetaValue::Str(text) => put_string(out, text),
        MetaValue::Array(values) => {
            // An empty list has no type of its own; texts are what lists mostly hold.
            out.extend(values.first().map_or(value_type::STRING, value_type).to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            for value in values {
                put_value(out, key, value)?;
            }
        }
    }
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The bytes of a tensor in one of the types, rounded or quantised from `f32`.
pub(crate) fn encode(tensor: &Tensor, dtype: GgmlDType) -> Result<Vec<u8>, TrainError> {
    let tensor = tensor.to_dtype(DType::F32)?;
    let float = match dtype {
        GgmlDType::F32 => Some(FloatType::F32),
        GgmlDType::F16 => Some(FloatType::F16),
        GgmlDType::BF16 => Some(FloatType::Bf16),
        _ => None,
    };
    if let Some(float) = float {
        return Ok(float.encode(&tensor.flatten_all()?.to_vec1::<f32>()?));
    }
    // Blocks never cross a row, so that pieces of rows give the bytes of the whole. Each piece is a tensor of its own:
    // candle quantises the whole storage behind a view.
    let (_, columns) = tensor.dims2()?;
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let pieces: Result<Vec<Vec<u8>>, TrainError> = values
        .par_chunks(ROWS_AT_ONCE * columns.max(1))
        .map(|piece| {
            let rows = Tensor::from_slice(piece, (piece.len() / columns.max(1), columns), &Device::Cpu)?;
            Ok(QTensor::quantize(&rows, dtype)?.data()?.into_owned())
        })
        .collect();
    Ok(pieces?.concat())
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::gguf_file::{Content, Value};

    use super::*;

    #[test]
    fn files_are_read_back_by_the_reference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        let text = |text: &str| MetaValue::Str(text.to_owned());
        let metadata = [
            ("a".to_owned(), text("ä")),
            ("b".to_owned(), MetaValue::U64(7)),
            ("c".to_owned(), MetaValue::F64(0.5)),
            ("d".to_owned(), MetaValue::Bool(true)),
            ("e".to_owned(), MetaValue::Array(vec![text("x"), text("")])),
            ("f".to_owned(), MetaValue::Array(vec![MetaValue::I64(-3), MetaValue::I64(4)])),
        ];
        let types = [
            (GgmlDType::F32, 0.0),
            (GgmlDType::F16, 1e-3),
            (GgmlDType::BF16, 1e-2),
            (GgmlDType::Q8_0, 1e-2),
            (GgmlDType::Q5_0, 0.07),
            (GgmlDType::Q6K, 0.05),
            (GgmlDType::Q4K, 0.12),
        ];
        let tensors: Vec<GgufTensor> = types
            .iter()
            .map(|(dtype, _)| GgufTensor { name: format!("{dtype:?}"), shape: vec![70, 256], dtype: *dtype })
            .collect();
        let values = Tensor::rand(-1f32, 1.0, (70, 256), &Device::Cpu).unwrap();
        write_file(&path, &metadata, &tensors, &mut |_, tensor| encode(&values, tensor.dtype)).unwrap();
        let mut reader = std::io::BufReader::new(trex_fs::open(&path).unwrap());
        let content = Content::read(&mut reader).unwrap();
        assert!(matches!(&content.metadata["b"], Value::U32(7)));
        assert!(matches!(&content.metadata["f"], Value::Array(list) if matches!(list[0], Value::I32(-3))));
        assert!(matches!(&content.metadata["a"], Value::String(text) if text == "ä"));
        for (dtype, tolerance) in types {
            let read = content.tensor(&mut reader, &format!("{dtype:?}"), &Device::Cpu).unwrap();
            let read = read.dequantize(&Device::Cpu).unwrap();
            let worst = (read - &values).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(worst <= tolerance, "{dtype:?}: {worst}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let metadata = [("n".to_owned(), MetaValue::U64(1 << 40))];
        let err = write_file(&dir.path().join("x.gguf"), &metadata, &[], &mut |_, _| Ok(Vec::new())).unwrap_err();
        assert!(err.to_string().contains("32 bits"), "{err}");
    }
}
