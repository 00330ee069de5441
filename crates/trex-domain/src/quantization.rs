//! Number formats in which a frozen base is kept while adapters are trained on it (QLoRA, Dettmers et al., 2023).
//!
//! The formats are llama.cpp's: a row is cut into blocks of equally many values, each with a scale of its own. Which
//! weight gets which format is decided here and nowhere else; the bits are the trainer's business. NF4 of bitsandbytes is
//! not among them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// How the frozen base lies in memory. Norms and biases are 32-bit floats in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// As 32-bit floats (or as `precision` says).
    #[default]
    None,
    /// Every matrix in the number format in which the model's files hold it, the embedding too.
    AsStored,
    /// Projections in blocks of 32 with 8 bits per value; embedding and head in 8 bits, here and below.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Projections in blocks of 256 with 6 bits per value.
    #[serde(rename = "q6_k")]
    Q6K,
    /// Projections in blocks of 256 with 5 bits per value.
    #[serde(rename = "q5_k")]
    Q5K,
    /// Projections in blocks of 256 with 4 bits per value.
    #[serde(rename = "q4_k")]
    Q4K,
    /// Projections in blocks of 32 with 4 bits per value.
    #[serde(rename = "q4_0")]
    Q4_0,
}

/// A block format that weights are brought into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockFormat {
    /// 8 bits, blocks of 32.
    Q8_0,
    /// 6 bits, blocks of 256.
    Q6K,
    /// 5 bits, blocks of 256.
    Q5K,
    /// 5 bits with an offset, blocks of 32.
    Q5_1,
    /// 5 bits, blocks of 32.
    Q5_0,
    /// 4 bits, blocks of 256.
    Q4K,
    /// 4 bits, blocks of 32.
    Q4_0,
}

impl BlockFormat {
    /// Values of a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q6K | Self::Q5K | Self::Q4K => 256,
            Self::Q8_0 | Self::Q5_1 | Self::Q5_0 | Self::Q4_0 => 32,
        }
    }

    /// Bytes of a block (ggml's `ggml-common.h`).
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q6K => 210,
            Self::Q5K => 176,
            Self::Q5_1 => 24,
            Self::Q5_0 => 22,
            Self::Q4K => 144,
            Self::Q4_0 => 18,
        }
    }

    /// This format, or the nearest one whose blocks divide rows of `row_len` values; `None` where no block does.
    ///
    /// Blocks of 256 give way to the blocks of 32 that llama.cpp's `llama-quant.cpp` puts in their place.
    pub fn fitting(self, row_len: usize) -> Option<Self> {
        let narrower = match self {
            Self::Q6K => Self::Q8_0,
            Self::Q5K => Self::Q5_1,
            Self::Q4K => Self::Q5_0,
            other => other,
        };
        [self, narrower].into_iter().find(|format| row_len > 0 && row_len.is_multiple_of(format.block_len()))
    }

    /// Bytes of so many values in rows of `row_len`, in this format or the one that stands in for it.
    pub fn bytes_of(self, num_values: u64, row_len: usize) -> u64 {
        let Some(format) = self.fitting(row_len) else { return 4 * num_values };
        num_values / format.block_len() as u64 * format.block_bytes() as u64
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q5K => "q5_k",
            Self::Q5_1 => "q5_1",
            Self::Q5_0 => "q5_0",
            Self::Q4K => "q4_k",
            Self::Q4_0 => "q4_0",
        })
    }
}

impl Quantization {
    /// All of them, from the most bits to the fewest.
    pub const ALL: [Self; 7] = [Self::None, Self::AsStored, Self::Q8_0, Self::Q6K, Self::Q5K, Self::Q4K, Self::Q4_0];

    /// Whether the base is not quantised.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The format that projections are brought into; `None` where they stay as they are.
    pub fn of_projections(self) -> Option<BlockFormat> {
        match self {
            Self::None | Self::AsStored => None,
            Self::Q8_0 => Some(BlockFormat::Q8_0),
            Self::Q6K => Some(BlockFormat::Q6K),
            Self::Q5K => Some(BlockFormat::Q5K),
            Self::Q4K => Some(BlockFormat::Q4K),
            Self::Q4_0 => Some(BlockFormat::Q4_0),
        }
    }

    /// The format of embedding and head, whose rounding costs more than it saves below 8 bits; `None` as above.
    pub fn of_vocabulary(self) -> Option<BlockFormat> {
        self.of_projections().map(|_| BlockFormat::Q8_0)
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.of_projections()) {
            (_, Some(format)) => write!(f, "{format}"),
            (Self::AsStored, None) => f.write_str("as_stored"),
            (_, None) => f.write_str("none"),
        }
    }
}

impl FromStr for Quantization {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let known = Self::ALL.into_iter().find(|quantization| quantization.to_string() == text);
        known.ok_or_else(|| DomainError::OutOfRange {
            field: "quantization",
            value: text.to_owned(),
            allowed: "one of none, as_stored, q8_0, q6_k, q5_k, q4_k and q4_0",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        for quantization in Quantization::ALL {
            let written = serde_json::to_string(&quantization).unwrap();
            assert_eq!(written, format!("\"{quantization}\""));
            assert_eq!(quantization.to_string().parse::<Quantization>().unwrap(), quantization);
            assert_eq!(serde_json::from_str::<Quantization>(&written).unwrap(), quantization);
        }
        assert!(serde_json::from_str::<Quantization>("\"nf4\"").is_err());
        assert!("nf4".parse::<Quantization>().unwrap_err().to_string().contains("q4_k"));
    }

    #[track_caller]
    fn check(format: BlockFormat, row_len: usize, expected: Option<BlockFormat>) {
        assert_eq!(format.fitting(row_len), expected, "{format} in rows of {row_len}");
    }

    #[test]
    fn rows_that_blocks_do_not_divide_get_smaller_blocks() {
        check(BlockFormat::Q4K, 1536, Some(BlockFormat::Q4K));
        check(BlockFormat::Q4K, 576, Some(BlockFormat::Q5_0));
        check(BlockFormat::Q5K, 576, Some(BlockFormat::Q5_1));
        check(BlockFormat::Q6K, 576, Some(BlockFormat::Q8_0));
        check(BlockFormat::Q4_0, 576, Some(BlockFormat::Q4_0));
        check(BlockFormat::Q8_0, 24, None);
        check(BlockFormat::Q4K, 40, None);
    }

    #[test]
    fn bytes_are_those_of_the_format_that_fits() {
        assert_eq!(BlockFormat::Q4K.bytes_of(512, 256), 288);
        assert_eq!(BlockFormat::Q4K.bytes_of(64, 32), 44);
        assert_eq!(BlockFormat::Q8_0.bytes_of(24, 24), 96);
    }
}
