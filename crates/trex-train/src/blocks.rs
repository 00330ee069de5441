//! Matrices that stay in ggml's block formats, and rows of them as `f32`.
//!
//! The bits are candle's: how values are packed into blocks and taken out again stands in `candle_core::quantized`. A row
//! is a whole number of blocks, so rows can be taken out one by one, by any thread, to the same values.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0,
};
use candle_core::quantized::{GgmlDType, GgmlType, QStorage, QTensor, ggml_file};
use candle_core::{Device, Result, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use trex_domain::BlockFormat;

use crate::ops;

/// Rows that one task takes out or packs.
const ROWS_PER_TASK: usize = 32;

/// A matrix of shape (rows, width) in blocks, on the CPU. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BlockMatrix {
    tensor: Arc<QTensor>,
    rows: usize,
    width: usize,
}

impl BlockMatrix {
    /// Takes the bytes of a matrix as a file holds them; they begin at a multiple of four.
    pub(crate) fn from_bytes(kind: GgmlDType, bytes: &[u8], (rows, width): (usize, usize)) -> Result<Self> {
        if bytes.as_ptr().align_offset(4) != 0 || !width.is_multiple_of(kind.block_size()) {
            candle_core::bail!(
                "{kind:?} of shape ({rows}, {width}): rows are not whole blocks at a multiple of 4 bytes"
            );
        }
        Self::new(ggml_file::qtensor_from_ggml(kind, bytes, vec![rows, width], &Device::Cpu)?)
    }

    /// Takes 32-bit floats, which stay as they are.
    pub(crate) fn from_floats(tensor: &Tensor) -> Result<Self> {
        Self::new(QTensor::quantize(tensor, GgmlDType::F32)?)
    }

    fn new(tensor: QTensor) -> Result<Self> {
        let (rows, width) = tensor.shape().dims2()?;
        if !matches!(tensor.data()?, Cow::Borrowed(_)) {
            candle_core::bail!("blocks of shape ({rows}, {width}) are not on the CPU");
        }
        Ok(Self { tensor: Arc::new(tensor), rows, width })
    }

    /// The same matrix in another format.
    pub(crate) fn requantized(&self, format: BlockFormat) -> Result<Self> {
        match format {
            BlockFormat::Q8_0 => self.packed::<BlockQ8_0>(),
            BlockFormat::Q6K => self.packed::<BlockQ6K>(),
            BlockFormat::Q5K => self.packed::<BlockQ5K>(),
            BlockFormat::Q5_1 => self.packed::<BlockQ5_1>(),
            BlockFormat::Q5_0 => self.packed::<BlockQ5_0>(),
            BlockFormat::Q4K => self.packed::<BlockQ4K>(),
            BlockFormat::Q4_0 => self.packed::<BlockQ4_0>(),
        }
    }

    fn packed<T: GgmlType + 'static>(&self) -> Result<Self> {
        if !self.width.is_multiple_of(T::BLCK_SIZE) {
            candle_core::bail!("rows of {} values are not whole blocks of {}", self.width, T::BLCK_SIZE);
        }
        let blocks_per_row = self.width / T::BLCK_SIZE;
        let mut blocks = vec![T::zeros(); self.rows * blocks_per_row];
        let tasks = blocks.par_chunks_mut(ROWS_PER_TASK * blocks_per_row).enumerate();
        tasks.for_each_init(Vec::new, |floats, (task, blocks)| {
            floats.resize(blocks.len() * T::BLCK_SIZE, 0.0);
            self.copy_rows(task * ROWS_PER_TASK, floats);
            T::from_float(floats, blocks);
        });
        Self::new(QTensor::new(QStorage::Cpu(Box::new(blocks)), (self.rows, self.width))?)
    }

    /// (rows, width).
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// Number format.
    pub(crate) fn kind(&self) -> GgmlDType {
        self.tensor.dtype()
    }

    /// Bytes that it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.tensor.storage_size_in_bytes()
    }

    /// Takes out the rows from `first` on that fill `out`, row-major.
    ///
    /// # Panics
    /// When there are fewer rows than that, or `out` is no whole number of rows: a defect of the caller.
    pub(crate) fn copy_rows(&self, first: usize, out: &mut [f32]) {
        assert!(out.len().is_multiple_of(self.width.max(1)), "rows of {} values do not fill the result", self.width);
        let Ok(Cow::Borrowed(bytes)) = self.tensor.data() else {
            unreachable!("blocks lie on the CPU, which was checked when they were made");
        };
        let from = first * self.width;
        match self.kind() {
            GgmlDType::F32 => take_out::<f32>(bytes, from, out),
            GgmlDType::F16 => take_out::<f16>(bytes, from, out),
            GgmlDType::BF16 => take_out::<bf16>(bytes, from, out),
            GgmlDType::Q4_0 => take_out::<BlockQ4_0>(bytes, from, out),
            GgmlDType::Q4_1 => take_out::<BlockQ4_1>(bytes, from, out),
            GgmlDType::Q5_0 => take_out::<BlockQ5_0>(bytes, from, out),
            GgmlDType::Q5_1 => take_out::<BlockQ5_1>(bytes, from, out),
            GgmlDType::Q8_0 => take_out::<BlockQ8_0>(bytes, from, out),
            GgmlDType::Q2K => take_out::<BlockQ2K>(bytes, from, out),
            GgmlDType::Q3K => take_out::<BlockQ3K>(bytes, from, out),
            GgmlDType::Q4K => take_out::<BlockQ4K>(bytes, from, out),
            GgmlDType::Q5K => take_out::<BlockQ5K>(bytes, from, out),
            GgmlDType::Q6K => take_out::<BlockQ6K>(bytes, from, out),
            GgmlDType::Q8_1 | GgmlDType::Q8K => unreachable!("no file holds weights in a format of activations"),
        }
    }

    /// The whole matrix as floats.
    pub(crate) fn dequantized(&self, device: &Device) -> Result<Tensor> {
        let mut floats = vec![0.0; self.rows * self.width];
        let tasks = floats.par_chunks_mut(ROWS_PER_TASK * self.width.max(1)).enumerate();
        tasks.for_each(|(task, floats)| self.copy_rows(task * ROWS_PER_TASK, floats));
        Tensor::from_vec(floats, (self.rows, self.width), device)
    }

    /// Whether every value is a number.
    pub(crate) fn is_finite(&self) -> bool {
        let tasks = (0..self.rows.div_ceil(ROWS_PER_TASK)).into_par_iter();
        let finite = tasks.map_init(Vec::new, |floats: &mut Vec<f32>, task| {
            let first = task * ROWS_PER_TASK;
            floats.resize(ROWS_PER_TASK.min(self.rows - first) * self.width, 0.0);
            self.copy_rows(first, floats);
            floats.iter().all(|value| value.is_finite())
        });
        finite.all(|finite| finite)
    }
}

/// Takes out the values from `from` on that fill `out`; both are whole numbers of blocks.
fn take_out<T: GgmlType>(bytes: &[u8], from: usize, out: &mut [f32]) {
    let first = from / T::BLCK_SIZE;
    T::to_float(&typed::<T>(bytes)[first..first + out.len() / T::BLCK_SIZE], out);
}

/// The bytes as the blocks that they are.
fn typed<T: GgmlType>(bytes: &[u8]) -> &[T] {
    #[expect(unsafe_code, reason = "candle hands out the blocks of a tensor as bytes only")]
    // SAFETY: `T` is one of the block types of `copy_rows`: plain numbers in C's layout, for which any bits are a value.
    let (before, blocks, after) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty() && after.is_empty(), "the bytes of a tensor are not whole blocks");
    blocks
}

/// A matrix (out, in) of a frozen or trained model on candle.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    /// As a tensor.
    Floats(Tensor),
    /// In blocks; never trained.
    Blocks(BlockMatrix),
}

impl Matrix {
    /// (out, in).
    pub(crate) fn shape(&self) -> Result<(usize, usize)> {
        match self {
            Self::Floats(tensor) => tensor.dims2(),
            Self::Blocks(blocks) => Ok(blocks.shape()),
        }
    }

    /// In blocks, be it blocks of one float each.
    pub(crate) fn into_blocks(self) -> Result<BlockMatrix> {
        match self {
            Self::Floats(tensor) => BlockMatrix::from_floats(&tensor),
            Self::Blocks(blocks) => Ok(blocks),
        }
    }

    /// The values, row-major.
    pub(crate) fn into_floats(self) -> Result<Vec<f32>> {
        let tensor = match self {
            Self::Floats(tensor) => tensor,
            Self::Blocks(blocks) => blocks.dequantized(&Device::Cpu)?,
        };
        tensor.flatten_all()?.to_vec1()
    }

    /// `x Wᵀ`, with a gradient of x alone where the weight is frozen.
    pub(crate) fn product(&self, x: &Tensor, frozen: bool) -> Result<Tensor> {
        match self {
            Self::Blocks(blocks) => ops::quantized_linear(x, blocks),
            Self::Floats(weight) if frozen => ops::frozen_linear(x, weight),
            Self::Floats(weight) => x.matmul(&weight.t()?),
        }
    }

    /// Rows by their numbers: (ids, in).
    pub(crate) fn rows(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        match self {
            Self::Floats(tensor) => tensor.index_select(&Tensor::from_slice(ids, ids.len(), device)?, 0),
            Self::Blocks(blocks) => {
                let (rows, width) = blocks.shape();
                let mut values = vec![0.0; ids.len() * width];
                for (id, row) in ids.iter().zip(values.chunks_mut(width)) {
                    if *id as usize >= rows {
                        candle_core::bail!("row {id} of a matrix of {rows} rows");
                    }
                    blocks.copy_rows(*id as usize, row);
                }
                Tensor::from_vec(values, (ids.len(), width), device)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_format_gives_the_rows_that_candle_gives() {
        let floats = random(&[70, 512], "w");
        let kinds = [
            (BlockFormat::Q8_0, GgmlDType::Q8_0, 0.01),
            (BlockFormat::Q6K, GgmlDType::Q6K, 0.05),
            (BlockFormat::Q5K, GgmlDType::Q5K, 0.08),
            (BlockFormat::Q5_1, GgmlDType::Q5_1, 0.05),
            (BlockFormat::Q5_0, GgmlDType::Q5_0, 0.08),
            (BlockFormat::Q4K, GgmlDType::Q4K, 0.15),
            (BlockFormat::Q4_0, GgmlDType::Q4_0, 0.15),
        ];
        for (format, kind, most) in kinds {
            let blocks = BlockMatrix::from_floats(&floats).unwrap().requantized(format).unwrap();
            assert_eq!((blocks.kind(), blocks.shape()), (kind, (70, 512)));
            assert_eq!(kind.block_size(), format.block_len(), "{format}");
            assert_eq!(kind.type_size(), format.block_bytes(), "{format}");
            assert_eq!(blocks.size_bytes() as u64, format.bytes_of(70 * 512, 512));
            let expected = QTensor::quantize(&floats, kind).unwrap().dequantize(&Device::Cpu).unwrap();
            assert_eq!(values(&blocks.dequantized(&Device::Cpu).unwrap()), values(&expected), "{format}");
            let mut some = vec![0.0; 3 * 512];
            blocks.copy_rows(33, &mut some);
            assert_eq!(some, values(&expected)[33 * 512..36 * 512]);
            let off = values(&expected).iter().zip(values(&floats)).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off > 0.0 && off < most, "{format} is off by {off}");
        }
    }

    #[test]
    fn rows_that_are_no_whole_blocks_are_refused() {
        let blocks = BlockMatrix::from_floats(&random(&[3, 40], "w")).unwrap();
        let err = blocks.requantized(BlockFormat::Q8_0).unwrap_err().to_string();
        assert!(err.contains("40") && err.contains("32"), "{err}");
    }

    #[test]
    fn values_that_are_no_numbers_are_found_in_any_row() {
        for row in [0, 40, 69] {
            let mut floats = values(&random(&[70, 32], "w"));
            assert!(
                BlockMatrix::from_floats(&Tensor::from_slice(&floats, (70, 32), &Device::Cpu).unwrap())
                    .unwrap()
                    .is_finite()
            );
            floats[row * 32 + 5] = f32::NAN;
            let spoiled =
                BlockMatrix::from_floats(&Tensor::from_slice(&floats, (70, 32), &Device::Cpu).unwrap()).unwrap();
            assert!(!spoiled.is_finite(), "row {row}");
        }
    }
}
