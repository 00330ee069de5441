//! The layers of BERT (Devlin and others, 2019): embeddings, attention in both directions, feed-forward part, each behind
//! its normalisation. Computes vectors; knows no text.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::config::EncoderConfig;
use super::kernels::{Norm, add_norm, attention, bias_gelu};
use crate::engine::PackedLinear;
use crate::mapped::map_file;
use crate::ops::with_slices;
use crate::{TrainError, weights};

/// A product with its shift: `x Wᵀ + b`, W of shape (out, in), b of shape (out).
#[derive(Debug)]
struct Linear {
    weight: Weight,
    bias: Tensor,
}

/// Of one linear layer, or of several of one input below each other.
#[derive(Debug)]
enum Weight {
    /// For the kernels of the CPU engine.
    Packed(PackedLinear),
    /// For any other device.
    Plain(Tensor),
}

impl Linear {
    fn new(weight: Tensor, bias: Tensor) -> Result<Self, TrainError> {
        let on_cpu = weight.device().is_cpu();
        let weight = if on_cpu { Weight::Packed(PackedLinear::new(&weight)?) } else { Weight::Plain(weight) };
        Ok(Self { weight, bias })
    }

    /// `x Wᵀ`; the shift is added by what comes next.
    fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.weight {
            Weight::Plain(weight) => x.matmul(&weight.t()?),
            Weight::Packed(weight) => {
                let product = with_slices([x], |[x]| Ok(weight.product(x)))?;
                Tensor::from_vec(product, (x.dim(0)?, self.bias.dim(0)?), x.device())
            }
        }
    }
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values in one product.
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

/// The encoder, in 32-bit floats.
#[derive(Debug)]
pub(super) struct Encoder {
    config: EncoderConfig,
    /// (vocabulary, hidden).
    words: Tensor,
    /// Positions with the type of a first sentence added: (positions, hidden).
    positions: Tensor,
    norm: Norm,
    no_bias: Tensor,
    layers: Vec<Layer>,
}

impl Encoder {
    /// Loads `model.safetensors` of a folder; every tensor is held against the configuration first.
    pub(super) fn load(dir: &Path, config: EncoderConfig, device: &Device) -> Result<Self, TrainError> {
        let mut tensors = read_tensors(dir, &config, device)?;
        let mut take = |name: &str| tensors.remove(name).ok_or_else(|| missing(dir, name));
        let first_type = take("embeddings.token_type_embeddings.weight")?.narrow(0, 0, 1)?;
        let positions = take("embeddings.position_embeddings.weight")?.broadcast_add(&first_type)?;
        let words = take("embeddings.word_embeddings.weight")?;
        let norm = norm_of(&mut take, "embeddings.LayerNorm", config.layer_norm_eps)?;
        let layers = (0..config.num_layers).map(|number| layer_of(&mut take, number, config.layer_norm_eps));
        let layers = layers.collect::<Result<_, _>>()?;
        let no_bias = Tensor::zeros(config.hidden_size, words.dtype(), device)?;
        Ok(Self { config, words, positions, norm, no_bias, layers })
    }

    /// Numbers of a vector.
    pub(super) fn width(&self) -> usize {
        self.config.hidden_size
    }

    /// The mean of each sequence's last states, of length 1, one after the other: (sequences, hidden).
    ///
    /// Sequences are token ids, none of them empty and none longer than the model has positions for.
    pub(super) fn vectors(&self, sequences: &[&[u32]]) -> Result<Vec<f32>, TrainError> {
        let lengths: Vec<usize> = sequences.iter().map(|tokens| tokens.len()).collect();
        let states = self.states(sequences, &lengths)?;
        let width = self.width();
        let pooled = with_slices([&states], |[states]| {
            let mut vectors = vec![0f32; lengths.len() * width];
            let mut rest = states;
            for (vector, length) in vectors.chunks_exact_mut(width).zip(&lengths) {
                let (rows, later) = rest.split_at(length * width);
                rest = later;
                for row in rows.chunks_exact(width) {
                    vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                // The length of the mean is divided out, so the sum does.
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                for x in vector {
                    *x /= norm;
                }
            }
            Ok(vectors)
        })?;
        Ok(pooled)
    }

    /// The last states of all tokens: (tokens, hidden).
    fn states(&self, sequences: &[&[u32]], lengths: &[usize]) -> Result<Tensor, TrainError> {
        let device = self.words.device();
        let ids = Tensor::new(sequences.concat(), device)?;
        let places: Vec<u32> = lengths.iter().flat_map(|length| (0_u32..).take(*length)).collect();
        let places = Tensor::new(places, device)?;
        let (words, positions) = (self.words.index_select(&ids, 0)?, self.positions.index_select(&places, 0)?);
        let mut x = add_norm(&words, &self.no_bias, &positions, &self.norm)?;
        for layer in &self.layers {
            let qkv = layer.qkv.product(&x)?;
            let seen = attention(&qkv, &layer.qkv.bias, lengths, self.config.num_heads)?;
            let seen = layer.attention_out.product(&seen)?;
            x = add_norm(&seen, &layer.attention_out.bias, &x, &layer.attention_norm)?;
            let inner = bias_gelu(&layer.up.product(&x)?, &layer.up.bias)?;
            x = add_norm(&layer.down.product(&inner)?, &layer.down.bias, &x, &layer.out_norm)?;
        }
        Ok(x)
    }
}

fn layer_of(
    take: &mut impl FnMut(&str) -> Result<Tensor, TrainError>,
    number: usize,
    eps: f64,
) -> Result<Layer, TrainError> {
    let name = |part: &str| format!("encoder.layer.{number}.{part}");
    let (mut weights, mut biases) = (Vec::with_capacity(3), Vec::with_capacity(3));
    for part in ["query", "key", "value"] {
        let part = name(&format!("attention.self.{part}"));
        weights.push(take(&format!("{part}.weight"))?);
        biases.push(take(&format!("{part}.bias"))?);
    }
    Ok(Layer {
        qkv: Linear::new(Tensor::cat(&weights, 0)?, Tensor::cat(&biases, 0)?)?,
        attention_out: linear_of(take, &name("attention.output.dense"))?,
        attention_norm: norm_of(take, &name("attention.output.LayerNorm"), eps)?,
        up: linear_of(take, &name("intermediate.dense"))?,
        down: linear_of(take, &name("output.dense"))?,
        out_norm: norm_of(take, &name("output.LayerNorm"), eps)?,
    })
}

fn linear_of(take: &mut impl FnMut(&str) -> Result<Tensor, TrainError>, name: &str) -> Result<Linear, TrainError> {
    Linear::new(take(&format!("{name}.weight"))?, take(&format!("{name}.bias"))?)
}

fn norm_of(
    take: &mut impl FnMut(&str) -> Result<Tensor, TrainError>,
    name: &str,
    eps: f64,
) -> Result<Norm, TrainError> {
    Ok(Norm { weight: take(&format!("{name}.weight"))?, bias: take(&format!("{name}.bias"))?, eps })
}

/// All tensors that the configuration asks for. Models that were saved with a head have `bert.` before each name.
fn read_tensors(dir: &Path, config: &EncoderConfig, device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let path = dir.join("model.safetensors");
    let map = map_file(&path)?;
    let file = weights::parsed(&path, &map)?;
    let mut tensors = BTreeMap::new();
    for (name, expected) in config.tensor_shapes() {
        let view = file.tensor(&name).or_else(|_absent| file.tensor(&format!("bert.{name}")));
        let view = view.map_err(|_absent| missing(dir, &name))?;
        if view.shape() != expected {
            return Err(TrainError::WrongShape { name, found: view.shape().to_vec(), expected });
        }
        let tensor = weights::float_tensor(&name, &view)?;
        weights::check_finite(&name, &tensor)?;
        tensors.insert(name, tensor.to_device(device)?);
    }
    Ok(tensors)
}

fn missing(dir: &Path, name: &str) -> TrainError {
    TrainError::MissingTensor { path: dir.join("model.safetensors"), name: name.to_owned() }
}
