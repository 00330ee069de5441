//! The weights of a frozen base as they are kept in memory: matrices in blocks where that is asked for, floats otherwise.
//!
//! Which format a weight gets is decided in [`trex_domain::Quantization`]. One tensor at a time is read from the disk, and
//! none is mapped, so loading takes little more than what is kept. What is said to a person is collected, not printed.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use trex_domain::{BlockFormat, Quantization};

use super::Source;
use crate::blocks::{BlockMatrix, Matrix};
use crate::{ModelConfig, TrainError};

/// Weights by their Hugging Face names; each is in one of the two.
#[derive(Debug, Default)]
pub(crate) struct FrozenWeights {
    /// Norms, biases, and matrices that are not quantised.
    pub(crate) floats: BTreeMap<String, Tensor>,
    /// Matrices in blocks.
    pub(crate) blocks: BTreeMap<String, BlockMatrix>,
    /// What a person should know of how they are kept; one sentence each.
    pub(crate) warnings: Vec<String>,
}

impl From<BTreeMap<String, Tensor>> for FrozenWeights {
    fn from(floats: BTreeMap<String, Tensor>) -> Self {
        Self { floats, ..Self::default() }
    }
}

impl FrozenWeights {
    /// Takes a tensor that is not quantised.
    pub(crate) fn take(&mut self, name: &str) -> Result<Tensor, TrainError> {
        let missing = || TrainError::MissingTensor { path: "weights".into(), name: name.to_owned() };
        self.floats.remove(name).ok_or_else(missing)
    }

    /// Takes a matrix in whatever form it is.
    pub(crate) fn take_matrix(&mut self, name: &str) -> Result<Matrix, TrainError> {
        match self.blocks.remove(name) {
            Some(blocks) => Ok(Matrix::Blocks(blocks)),
            None => Ok(Matrix::Floats(self.take(name)?)),
        }
    }

    /// What [`load_frozen`] makes of weights that a file holds as floats.
    #[cfg(test)]
    pub(crate) fn quantized(floats: BTreeMap<String, Tensor>, quantization: Quantization) -> Self {
        let mut weights = Self::default();
        for (name, tensor) in floats {
            let row_len = if tensor.rank() == 2 { tensor.dims()[1] } else { 0 };
            match kept(quantization, &name, row_len, GgmlDType::F32) {
                Kept::Packed(format) => {
                    let blocks = BlockMatrix::from_floats(&tensor).unwrap().requantized(format).unwrap();
                    weights.blocks.insert(name, blocks);
                }
                Kept::Floats | Kept::Stored => drop(weights.floats.insert(name, tensor)),
            }
        }
        weights
    }

    /// All weights as floats: the checkpoint that a quantised base stands for.
    pub(crate) fn dequantized(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut floats = self.floats.clone();
        for (name, blocks) in &self.blocks {
            floats.insert(name.clone(), blocks.dequantized(&Device::Cpu)?);
        }
        Ok(floats)
    }
}

/// What becomes of one stored matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// 32-bit floats.
    Floats,
    /// The blocks of the file.
    Stored,
    /// Blocks that are made at loading.
    Packed(BlockFormat),
}

/// How a matrix is kept whose rows have `row_len` values and which the file holds as `stored`.
fn kept(quantization: Quantization, name: &str, row_len: usize, stored: GgmlDType) -> Kept {
    let is_vocabulary = is_vocabulary(name);
    let is_in_blocks = stored.block_size() > 1;
    let wanted = if is_vocabulary { quantization.of_vocabulary() } else { quantization.of_projections() };
    let Some(wanted) = wanted else {
        let stays = quantization == Quantization::AsStored && stored != GgmlDType::F32;
        return if stays { Kept::Stored } else { Kept::Floats };
    };
    match wanted.fitting(row_len) {
        Some(format) if kind_of(format) == stored => Kept::Stored,
        // What the file has rounded already gains nothing from more bits.
        _ if is_vocabulary && is_in_blocks => Kept::Stored,
        Some(format) => Kept::Packed(format),
        None => Kept::Floats,
    }
}

fn is_vocabulary(name: &str) -> bool {
    matches!(name, "model.embed_tokens.weight" | "lm_head.weight")
}

fn kind_of(format: BlockFormat) -> GgmlDType {
    match format {
        BlockFormat::Q8_0 => GgmlDType::Q8_0,
        BlockFormat::Q6K => GgmlDType::Q6K,
        BlockFormat::Q5K => GgmlDType::Q5K,
        BlockFormat::Q5_1 => GgmlDType::Q5_1,
        BlockFormat::Q5_0 => GgmlDType::Q5_0,
        BlockFormat::Q4K => GgmlDType::Q4K,
        BlockFormat::Q4_0 => GgmlDType::Q4_0,
    }
}

/// Loads every tensor that the configuration asks for, with the same checks as [`super::load`].
pub(crate) fn load_frozen(
    dir: &Path,
    config: &ModelConfig,
    quantization: Quantization,
) -> Result<FrozenWeights, TrainError> {
    if quantization.is_none() {
        return Ok(super::load(dir, config, &Device::Cpu)?.into());
    }
    let source = Source::open(dir)?;
    let mut weights = FrozenWeights::default();
    let mut notes = Notes::default();
    for (name, shape) in config.tensor_shapes() {
        let found = source.shape(config, &name)?;
        if found != shape {
            return Err(TrainError::WrongShape { name, found, expected: shape });
        }
        let [_, row_len] = *shape.as_slice() else {
            let vector = source.read(config, &name)?;
            super::check_finite(&name, &vector)?;
            weights.floats.insert(name, vector);
            continue;
        };
        let stored = source.blocks(config, &name)?;
        if !stored.is_finite() {
            return Err(TrainError::NotFinite { name });
        }
        let kept = kept(quantization, &name, row_len, stored.kind());
        notes.add(quantization, &name, row_len, stored.kind(), kept);
        match kept {
            Kept::Floats => drop(weights.floats.insert(name, stored.dequantized(&Device::Cpu)?)),
            Kept::Stored => drop(weights.blocks.insert(name, stored)),
            Kept::Packed(format) => drop(weights.blocks.insert(name, stored.requantized(format)?)),
        }
    }
    weights.warnings = notes.sentences(quantization, weights.blocks.is_empty());
    Ok(weights)
}

/// The values that a weight of a file has when the base is kept in this way: those that adapters are trained against.
pub(crate) fn as_kept(
    quantization: Quantization,
    name: &str,
    values: Tensor,
    stored: GgmlDType,
) -> Result<Tensor, TrainError> {
    let Ok((_, row_len)) = values.dims2() else { return Ok(values) };
    match kept(quantization, name, row_len, stored) {
        Kept::Floats | Kept::Stored => Ok(values),
        Kept::Packed(format) => {
            Ok(BlockMatrix::from_floats(&values)?.requantized(format)?.dequantized(&Device::Cpu)?)
        }
    }
}

/// Counts of what was not kept as it was asked for.
#[derive(Debug, Default)]
struct Notes {
    /// By length of rows and format that stands in.
    narrower: BTreeMap<(usize, BlockFormat), usize>,
    /// By length of rows.
    floats: BTreeMap<usize, usize>,
    rounded_twice: BTreeMap<String, usize>,
}

impl Notes {
    fn add(&mut self, quantization: Quantization, name: &str, row_len: usize, stored: GgmlDType, kept: Kept) {
        let wanted = if is_vocabulary(name) { quantization.of_vocabulary() } else { quantization.of_projections() };
        let Some(wanted) = wanted else { return };
        match kept {
            Kept::Packed(format) => {
                if format != wanted {
                    *self.narrower.entry((row_len, format)).or_default() += 1;
                }
                if stored.block_size() > 1 {
                    *self.rounded_twice.entry(format!("{stored:?}").to_lowercase()).or_default() += 1;
                }
            }
            Kept::Floats => *self.floats.entry(row_len).or_default() += 1,
            Kept::Stored => {}
        }
    }

    fn sentences(self, quantization: Quantization, all_floats: bool) -> Vec<String> {
        let mut sentences = Vec::new();
        for ((row_len, format), count) in self.narrower {
            sentences.push(format!(
                "blocks of {quantization} do not divide rows of {row_len} values: {count} weights are kept as {format}"
            ));
        }
        for (row_len, count) in self.floats {
            sentences
                .push(format!("no blocks divide rows of {row_len} values: {count} weights are kept as 32-bit floats"));
        }
        for (stored, count) in self.rounded_twice {
            sentences.push(format!(
                "{count} weights are stored as {stored} and rounded a second time; quantization = \"as_stored\" keeps \
                 them as they are"
            ));
        }
        if all_floats {
            let why =
                format!("no weight could be kept quantised, so quantization = \"{quantization}\" saves no memory");
            sentences.push(why);
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Case;
    use crate::weights::load;

    const FORMATS: [Quantization; 5] =
        [Quantization::Q8_0, Quantization::Q6K, Quantization::Q5K, Quantization::Q4K, Quantization::Q4_0];

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[track_caller]
    fn check(quantization: Quantization, name: &str, row_len: usize, stored: GgmlDType, expected: Kept) {
        assert_eq!(kept(quantization, name, row_len, stored), expected, "{quantization} {name} {row_len} {stored:?}");
    }

    #[test]
    fn each_matrix_is_kept_as_the_setting_says() {
        let (projection, embedding) = ("model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight");
        check(Quantization::AsStored, projection, 576, GgmlDType::Q4_1, Kept::Stored);
        check(Quantization::AsStored, embedding, 576, GgmlDType::Q8_0, Kept::Stored);
        check(Quantization::AsStored, projection, 24, GgmlDType::BF16, Kept::Stored);
        check(Quantization::AsStored, projection, 576, GgmlDType::F32, Kept::Floats);
        check(Quantization::Q4K, projection, 512, GgmlDType::F32, Kept::Packed(BlockFormat::Q4K));
        check(Quantization::Q4K, projection, 576, GgmlDType::BF16, Kept::Packed(BlockFormat::Q5_0));
        check(Quantization::Q4K, projection, 512, GgmlDType::Q4K, Kept::Stored);
        check(Quantization::Q4K, embedding, 512, GgmlDType::F32, Kept::Packed(BlockFormat::Q8_0));
        check(Quantization::Q4K, embedding, 512, GgmlDType::Q6K, Kept::Stored);
        check(Quantization::Q8_0, projection, 24, GgmlDType::F32, Kept::Floats);
    }

    #[test]
    fn the_base_of_every_family_is_its_weights_rounded_row_by_row() {
        for case in Case::all() {
            let config = case.config();
            let plain = load(&case.dir, &config, &Device::Cpu).unwrap();
            for quantization in FORMATS {
                let frozen = load_frozen(&case.dir, &config, quantization).unwrap();
                let expected = FrozenWeights::quantized(plain.clone(), quantization).dequantized().unwrap();
                let found = frozen.dequantized().unwrap();
                assert_eq!(found.len(), plain.len());
                let matrices = plain.values().filter(|tensor| tensor.rank() == 2).count();
                assert_eq!(frozen.blocks.len(), matrices, "{}: all rows are whole blocks of 32", case.name);
                for (name, found) in &found {
                    assert_eq!(values(found), values(&expected[name]), "{}: {name} as {quantization}", case.name);
                }
                let narrower = matches!(quantization, Quantization::Q6K | Quantization::Q5K | Quantization::Q4K);
                assert_eq!(!frozen.warnings.is_empty(), narrower, "{:?}", frozen.warnings);
            }
        }
    }

    #[test]
    fn blocks_of_a_file_are_kept_to_the_bit_and_in_the_order_of_rows() {
        let mut in_blocks = 0;
        for case in Case::all() {
            let (dir, config) = (case.dir.join("gguf"), case.config());
            if !dir.is_dir() {
                continue;
            }
            let frozen = load_frozen(&dir, &config, Quantization::AsStored).unwrap();
            in_blocks += frozen.blocks.values().filter(|blocks| blocks.kind().block_size() > 1).count();
            let expected = load(&dir, &config, &Device::Cpu).unwrap();
            for (name, found) in frozen.dequantized().unwrap() {
                assert_eq!(values(&found), values(&expected[&name]), "{}: {name}", case.name);
            }
        }
        assert!(in_blocks > 0, "no file holds blocks");
    }

    #[test]
    fn what_is_not_kept_as_asked_is_said_once_for_all() {
        let case = Case::named("llama");
        let said = |quantization| load_frozen(&case.dir, &case.config(), quantization).unwrap().warnings.join("\n");
        let four = said(Quantization::Q4K);
        assert!(four.contains("q4_k do not divide rows of 32 values") && four.contains("kept as q5_0"), "{four}");
        let half = load_frozen(&case.dir, &case.config(), Quantization::AsStored).unwrap();
        assert!(half.blocks.values().all(|blocks| blocks.kind() == GgmlDType::BF16) && half.warnings.is_empty());
        let floats = load(&case.dir, &case.config(), &Device::Cpu).unwrap();
        assert!(FrozenWeights::quantized(floats, Quantization::AsStored).blocks.is_empty());
        let said = Notes::default().sentences(Quantization::AsStored, true);
        assert!(said[0].contains("saves no memory"), "{said:?}");
    }

    #[test]
    fn merged_weights_are_rounded_as_trained_ones_were() {
        let case = Case::named("llama");
        let plain = load(&case.dir, &case.config(), &Device::Cpu).unwrap();
        let frozen = load_frozen(&case.dir, &case.config(), Quantization::Q4_0).unwrap().dequantized().unwrap();
        for (name, tensor) in plain {
            let merged = as_kept(Quantization::Q4_0, &name, tensor, GgmlDType::F32).unwrap();
            assert_eq!(values(&merged), values(&frozen[&name]), "{name}");
        }
    }
}
