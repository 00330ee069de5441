//! A Llama-family decoder that can be trained: frozen with adapters, or with every weight trained.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::seeded_rng;

use crate::layout::TokenTree;
use crate::lora::{Adapter, LoraPair};
use crate::ops::{self, HeadShape, RopeTable};
use crate::{ModelConfig, TrainError, weights};

/// Attention of one layer: takes layer number and rotated queries, rotated keys and values of the batch.
pub(crate) type Attend<'a> = &'a mut dyn FnMut(usize, &Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>;

/// A linear layer without bias, maybe with an adapter.
#[derive(Debug)]
struct Linear {
    /// (out, in).
    weight: Tensor,
    adapter: Option<LoraPair>,
}

/// One block.
#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    /// q, k, v, o, gate, up, down.
    projections: [Linear; 7],
    post_norm: Tensor,
}

/// Random zeroing of adapter inputs in training.
#[derive(Debug)]
pub(crate) struct Dropout {
    rng: ChaCha8Rng,
    share: f64,
}

impl Dropout {
    /// The stream for one micro-batch, so that a resumed training draws the same numbers.
    pub(crate) fn new(seed: u64, step: usize, micro: usize, share: f64) -> Option<Self> {
        (share > 0.0).then(|| Self { rng: seeded_rng(seed, &format!("dropout/{step}/{micro}")), share })
    }

    fn apply(&mut self, x: &Tensor) -> candle_core::Result<Tensor> {
        let keep = ops::single(1.0 / (1.0 - self.share));
        // A 32-bit draw is below share · 2³² with probability `share`.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "share is in [0, 1)")]
        let threshold = (self.share * f64::from(u32::MAX)) as u32;
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if self.rng.next_u32() < threshold { 0.0 } else { keep }).collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?
    }
}

/// The model.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: ModelConfig,
    device: Device,
    /// (vocabulary, hidden).
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// (vocabulary, hidden); the embedding itself where tied.
    head: Tensor,
    adapter_scale: f64,
    frozen: bool,
}

impl Decoder {
    /// Loads the frozen model of a folder.
    pub(crate) fn load(dir: &Path, config: ModelConfig, device: &Device) -> Result<Self, TrainError> {
        let tensors = weights::load(dir, &config, device)?;
        Self::from_tensors(config, tensors, device, true)
    }

    /// A model whose weights are all trained; returns them sorted by name.
    pub(crate) fn trainable(
        config: ModelConfig,
        initial: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<(Self, Vec<(String, Var)>), TrainError> {
        let mut vars = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, tensor) in initial {
            let var = Var::from_tensor(&tensor)?;
            tensors.insert(name.clone(), var.as_tensor().clone());
            vars.push((name, var));
        }
        Ok((Self::from_tensors(config, tensors, device, false)?, vars))
    }

    fn from_tensors(
        config: ModelConfig,
        mut tensors: BTreeMap<String, Tensor>,
        device: &Device,
        frozen: bool,
    ) -> Result<Self, TrainError> {
        let mut take = |name: String| {
            let missing = || TrainError::MissingTensor { path: "weights".into(), name: name.clone() };
            tensors.remove(&name).ok_or_else(missing)
        };
        let embedding = take("model.embed_tokens.weight".to_owned())?;
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let mut projections = Vec::with_capacity(7);
            for (path, _) in config.projection_shapes() {
                let weight = take(format!("model.layers.{layer}.{path}.weight"))?;
                projections.push(Linear { weight, adapter: None });
            }
            let projections =
                <[Linear; 7]>::try_from(projections).unwrap_or_else(|_| unreachable!("seven were pushed"));
            layers.push(Layer {
                input_norm: take(format!("model.layers.{layer}.input_layernorm.weight"))?,
                projections,
                post_norm: take(format!("model.layers.{layer}.post_attention_layernorm.weight"))?,
            });
        }
        let norm = take("model.norm.weight".to_owned())?;
        let head = if config.tie_word_embeddings { embedding.clone() } else { take("lm_head.weight".to_owned())? };
        Ok(Self { config, device: device.clone(), embedding, layers, norm, head, adapter_scale: 1.0, frozen })
    }

    /// Puts adapters in place; they replace those that were there.
    pub(crate) fn attach(&mut self, adapter: &Adapter) {
        self.adapter_scale = adapter.config.scale();
        let paths = self.config.projection_shapes().map(|(path, _)| path);
        for (number, layer) in self.layers.iter_mut().enumerate() {
            for (linear, path) in layer.projections.iter_mut().zip(paths) {
                linear.adapter = adapter.pairs.get(&format!("model.layers.{number}.{path}")).cloned();
            }
        }
    }

    /// The shape of the model.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Final hidden states of a batch, shape (tokens, hidden), normalised.
    pub(crate) fn hidden(&self, tree: &TokenTree, dropout: Option<&mut Dropout>) -> Result<Tensor, TrainError> {
        let segments = tree.segments();
        let shape = self.head_shape();
        let mut attend = |_: usize, q: &Tensor, k: &Tensor, v: &Tensor| ops::attention(q, k, v, &segments, shape);
        self.run(tree.tokens(), tree.positions(), &mut attend, dropout)
    }

    /// Like [`Self::hidden`], with attention by the caller.
    pub(crate) fn run(
        &self,
        tokens: &[u32],
        positions: &[usize],
        attend: Attend<'_>,
        mut dropout: Option<&mut Dropout>,
    ) -> Result<Tensor, TrainError> {
        let ids = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        let table = RopeTable::new(positions, self.config.head_dim, self.config.rope_theta);
        let mut x = self.embedding.index_select(&ids, 0)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] = &layer.projections;
            let normed = ops::rms_norm(&x, &layer.input_norm, self.config.rms_norm_eps)?;
            let input = adapter_input(&normed, dropout.as_deref_mut())?;
            let query = ops::rope(&self.linear(q_proj, &normed, &input)?, &table)?;
            let key = ops::rope(&self.linear(k_proj, &normed, &input)?, &table)?;
            let value = self.linear(v_proj, &normed, &input)?;
            let mixed = attend(number, &query, &key, &value)?;
            let input = adapter_input(&mixed, dropout.as_deref_mut())?;
            x = (x + self.linear(o_proj, &mixed, &input)?)?;
            let normed = ops::rms_norm(&x, &layer.post_norm, self.config.rms_norm_eps)?;
            let input = adapter_input(&normed, dropout.as_deref_mut())?;
            let gated =
                ops::swiglu(&self.linear(gate_proj, &normed, &input)?, &self.linear(up_proj, &normed, &input)?)?;
            let input = adapter_input(&gated, dropout.as_deref_mut())?;
            x = (x + self.linear(down_proj, &gated, &input)?)?;
        }
        Ok(ops::rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
    }

    /// Logits of the given rows of hidden states: (rows, vocabulary).
    pub(crate) fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor, TrainError> {
        let picked = hidden.index_select(&Tensor::from_slice(rows, rows.len(), &self.device)?, 0)?;
        self.project(&picked)
    }

    /// Logits of hidden states: (rows, vocabulary).
    pub(crate) fn project(&self, hidden: &Tensor) -> Result<Tensor, TrainError> {
        if self.frozen {
            return Ok(ops::frozen_linear(hidden, &self.head)?);
        }
        Ok(hidden.matmul(&self.head.t()?)?)
    }

    /// Number and width of heads.
    pub(crate) fn head_shape(&self) -> HeadShape {
        HeadShape {
            num_heads: self.config.num_heads,
            num_kv_heads: self.config.num_kv_heads,
            head_dim: self.config.head_dim,
        }
    }

    fn linear(&self, linear: &Linear, x: &Tensor, adapter_input: &Tensor) -> candle_core::Result<Tensor> {
        let out = if self.frozen { ops::frozen_linear(x, &linear.weight)? } else { x.matmul(&linear.weight.t()?)? };
        let Some(pair) = &linear.adapter else { return Ok(out) };
        let thin = (adapter_input.matmul(&pair.a.t()?)? * self.adapter_scale)?;
        out + thin.matmul(&pair.b.t()?)?
    }
}

/// What an adapter sees of its layer's input.
fn adapter_input(x: &Tensor, dropout: Option<&mut Dropout>) -> candle_core::Result<Tensor> {
    dropout.map_or_else(|| Ok(x.clone()), |dropout| dropout.apply(x))
}

/// Fresh weights: normal with standard deviation 0.02, residual outputs scaled by 1/√(2 · layers) as in GPT-2; norms one.
pub(crate) fn initial_weights(
    config: &ModelConfig,
    seed: u64,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let residual = 0.02 / (2.0 * config.num_layers as f32).sqrt();
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.tensor_shapes() {
        if name.contains("norm") {
            tensors.insert(name, Tensor::ones(shape, DType::F32, device)?);
            continue;
        }
        let deviation = if name.contains("o_proj") || name.contains("down_proj") { residual } else { 0.02 };
        let mut rng = seeded_rng(seed, &format!("init/{name}"));
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| deviation * standard_normal(&mut rng)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, device)?);
    }
    Ok(tensors)
}

/// Box and Muller's transform.
fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    let unit = |bits: u32| (f64::from(bits) + 1.0) / (f64::from(u32::MAX) + 2.0);
    let radius = (-2.0 * unit(rng.next_u32()).ln()).sqrt();
    let angle = std::f64::consts::TAU * unit(rng.next_u32());
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    let value = (radius * angle.cos()) as f32;
    value
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ops::testing::assert_close;

    fn tiny() -> ModelConfig {
        ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 4,
            vocab_size: 20,
            max_position: 64,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
        }
    }

    fn frozen() -> Decoder {
        let weights = initial_weights(&tiny(), 3, &Device::Cpu).unwrap();
        // Larger than a fresh model's, so that attention is far from uniform.
        let weights = weights.into_iter().map(|(name, w)| (name, (w * 8.0).unwrap())).collect();
        Decoder::from_tensors(tiny(), weights, &Device::Cpu, true).unwrap()
    }

    fn adapter_with_values() -> Adapter {
        let lora = trex_domain::LoraConfig { r: 2, lora_alpha: 4, ..Default::default() };
        let mut adapter = Adapter::new(&tiny(), &lora, 5, &Device::Cpu).unwrap();
        for (module, pair) in &mut adapter.pairs {
            pair.b = (crate::ops::testing::random(pair.b.dims(), module) * 0.3).unwrap();
        }
        adapter
    }

    #[test]
    fn a_shared_beginning_changes_no_number() {
        let model = frozen();
        let (prefix, a, b) = ([1, 2, 3, 4], [5, 6, 7], [8, 9]);
        let mut shared = TokenTree::default();
        let root = shared.push(None, &prefix);
        shared.push(Some(root), &a);
        shared.push(Some(root), &b);
        let mut apart = TokenTree::default();
        apart.push(None, &[&prefix[..], &a].concat());
        apart.push(None, &[&prefix[..], &b].concat());
        let shared = model.hidden(&shared, None).unwrap();
        let apart = model.hidden(&apart, None).unwrap();
        assert_close(&shared.narrow(0, 4, 3).unwrap(), &apart.narrow(0, 4, 3).unwrap(), "first");
        assert_close(&shared.narrow(0, 7, 2).unwrap(), &apart.narrow(0, 11, 2).unwrap(), "second");
    }

    #[test]
    fn every_adapter_matrix_gets_the_gradient_of_finite_differences() {
        let adapter = adapter_with_values();
        let loss = |adapter: &Adapter| {
            let mut model = frozen();
            model.attach(adapter);
            let mut tree = TokenTree::default();
            tree.push(None, &[1, 2, 3, 4, 5]);
            let hidden = model.hidden(&tree, None).unwrap();
            let logits = model.logits(&hidden, &[2, 3, 4]).unwrap();
            ops::cross_entropy(&logits, &Arc::new(vec![4, 5, 6]), 0.0).unwrap().sum_all().unwrap()
        };
        let mut tracked = adapter.clone();
        let mut vars = Vec::new();
        for (module, pair) in &mut tracked.pairs {
            let (a, b) = (Var::from_tensor(&pair.a).unwrap(), Var::from_tensor(&pair.b).unwrap());
            *pair = LoraPair { a: a.as_tensor().clone(), b: b.as_tensor().clone() };
            vars.extend([(module.clone(), 'A', a), (module.clone(), 'B', b)]);
        }
        let grads = loss(&tracked).backward().unwrap();
        assert_eq!(vars.len(), 2 * 7 * 2);
        for (module, letter, var) in vars {
            let grad = grads.get(&var).unwrap_or_else(|| panic!("{module} {letter} got no gradient"));
            let values: Vec<f32> = grad.flatten_all().unwrap().to_vec1().unwrap();
            let (index, largest) = values.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
            assert!(largest.abs() > 1e-4, "{module} {letter}: {largest}");
            let shifted = |step: f32| {
                let mut moved = adapter.clone();
                let pair = moved.pairs.get_mut(&module).unwrap();
                let target = if letter == 'A' { &mut pair.a } else { &mut pair.b };
                let mut entries: Vec<f32> = target.flatten_all().unwrap().to_vec1().unwrap();
                entries[index] += step;
                *target = Tensor::from_vec(entries, target.shape(), &Device::Cpu).unwrap();
                loss(&moved).to_scalar::<f32>().unwrap()
            };
            let step = 5e-3;
            let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
            assert!(
                (slope - largest).abs() <= 0.02 * largest.abs().max(0.05),
                "{module} {letter}: {largest} against {slope}"
            );
        }
    }

    #[test]
    fn greedy_generation_equals_running_the_whole_sequence_again() {
        let model = frozen();
        let prompts = vec![vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 9, 10], vec![1, 2, 3, 4, 7]];
        let fast = crate::generate::greedy(&model, &prompts, 6, &[0]).unwrap();
        for (prompt, fast) in prompts.iter().zip(fast) {
            let mut slow = Vec::new();
            while slow.len() < 6 {
                let mut tree = TokenTree::default();
                tree.push(None, &[prompt.as_slice(), &slow].concat());
                let hidden = model.hidden(&tree, None).unwrap();
                let last = crate::batch::row(prompt.len() + slow.len() - 1);
                let logits: Vec<f32> =
                    model.logits(&hidden, &[last]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap();
                if best == 0 {
                    break;
                }
                slow.push(crate::batch::row(best));
            }
            assert_eq!(fast, slow);
        }
    }

    #[test]
    fn fully_trained_weights_all_get_a_gradient() {
        let initial = initial_weights(&tiny(), 1, &Device::Cpu).unwrap();
        let (model, vars) = Decoder::trainable(tiny(), initial, &Device::Cpu).unwrap();
        let mut tree = TokenTree::default();
        tree.push(None, &[1, 2, 3]);
        let logits = model.logits(&model.hidden(&tree, None).unwrap(), &[0, 1, 2]).unwrap();
        let grads =
            ops::cross_entropy(&logits, &Arc::new(vec![2, 3, 4]), 0.0).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in vars {
            let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} got no gradient"));
            assert!(grad.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0, "{name}");
        }
    }
}
