//! A decoder that can be trained: frozen with adapters, or with every weight trained.
//!
//! [`ModelConfig`] says what a layer computes; nothing here asks for the family.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::seeded_rng;

use crate::blocks::Matrix;
use crate::layout::TokenTree;
use crate::lora::{Adapter, LoraPair};
use crate::ops::{self, HeadShape, RopeTable, Sight};
use crate::weights::FrozenWeights;
use crate::{ModelConfig, TrainError};

/// Attention of one layer: takes layer number and rotated queries, rotated keys and values of the batch.
pub(crate) type Attend<'a> = &'a mut dyn FnMut(usize, &Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>;

/// A linear layer, maybe with an adapter.
#[derive(Debug)]
struct Linear {
    /// (out, in).
    weight: Matrix,
    /// (out).
    bias: Option<Tensor>,
    /// The pair, and the factor on its output.
    adapter: Option<(LoraPair, f64)>,
}

/// One block. Norms have one value per column.
#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    /// q, k and v, or one that makes all three.
    attention_in: Vec<Linear>,
    /// For each head of q and of k.
    head_norms: Option<[Tensor; 2]>,
    attention_out: Linear,
    /// On what attention adds to the residual stream.
    attention_norm: Option<Tensor>,
    feed_forward_norm: Tensor,
    /// gate and up, or one that makes both.
    feed_forward_in: Vec<Linear>,
    feed_forward_out: Linear,
    /// On what the feed-forward layer adds to the residual stream.
    output_norm: Option<Tensor>,
}

impl Layer {
    /// The projections in the order of [`ModelConfig::projections`].
    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let attention = self.attention_in.iter_mut().chain([&mut self.attention_out]);
        attention.chain(self.feed_forward_in.iter_mut()).chain([&mut self.feed_forward_out])
    }
}

/// Rotations of one batch.
pub(crate) struct Tables {
    global: RopeTable,
    /// Of windowed layers, where they differ.
    local: Option<RopeTable>,
}

/// What disturbs a training pass: random zeroing of adapter inputs, noise on embeddings. A clone draws the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dropout {
    rng: ChaCha8Rng,
    share: f64,
    /// (tokens, hidden), added to the embeddings.
    noise: Option<Arc<Vec<f32>>>,
}

impl Dropout {
    /// The stream for one micro-batch, so that a resumed training draws the same numbers.
    pub(crate) fn new(seed: u64, step: usize, micro: usize, share: f64) -> Option<Self> {
        (share > 0.0).then(|| Self { rng: seeded_rng(seed, &format!("dropout/{step}/{micro}")), share, noise: None })
    }

    /// Noise on embeddings, (tokens, hidden) in one row, beside dropout or without it.
    pub(crate) fn with_noise(dropout: Option<Self>, noise: Vec<f32>) -> Self {
        let dropout = dropout.unwrap_or_else(|| Self { rng: seeded_rng(0, "no dropout"), share: 0.0, noise: None });
        Self { noise: Some(Arc::new(noise)), ..dropout }
    }

    fn apply(&mut self, x: &Tensor) -> candle_core::Result<Tensor> {
        if self.share == 0.0 {
            return Ok(x.clone());
        }
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
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Tensor,
    /// (vocabulary, hidden); the embedding itself where tied.
    head: Matrix,
    frozen: bool,
}

impl Decoder {
    /// The frozen model of a folder.
    #[cfg(test)]
    pub(crate) fn load(dir: &std::path::Path, config: ModelConfig, device: &Device) -> Result<Self, TrainError> {
        let tensors = crate::weights::load(dir, &config, device)?;
        Self::frozen(config, tensors, device)
    }

    /// A frozen model of loaded weights.
    pub(crate) fn frozen(
        config: ModelConfig,
        weights: impl Into<FrozenWeights>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        Self::from_weights(config, weights.into(), device, true)
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
        Ok((Self::from_weights(config, tensors.into(), device, false)?, vars))
    }

    fn from_weights(
        config: ModelConfig,
        mut weights: FrozenWeights,
        device: &Device,
        frozen: bool,
    ) -> Result<Self, TrainError> {
        let embedding = weights.take_matrix("model.embed_tokens.weight")?;
        let mut layers = Vec::with_capacity(config.num_layers);
        for number in 0..config.num_layers {
            layers.push(layer_from(&config, number, &mut weights)?);
        }
        let norm = weights.take("model.norm.weight")?;
        let head =
            if config.tie_word_embeddings { embedding.clone() } else { weights.take_matrix("lm_head.weight")? };
        Ok(Self { config, device: device.clone(), embedding, layers, norm, head, frozen })
    }

    /// Puts adapters in place; they replace those that were there. They must lie on the device of the model.
    pub(crate) fn attach(&mut self, adapter: &Adapter) {
        let paths = self.config.projection_shapes();
        for (number, layer) in self.layers.iter_mut().enumerate() {
            for (linear, (path, _)) in layer.linears_mut().zip(&paths) {
                let module = format!("model.layers.{number}.{path}");
                linear.adapter =
                    adapter.pairs.get(&module).map(|pair| (pair.clone(), adapter.config.scale_of(&module)));
            }
        }
    }

    /// Where it lies.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The shape of the model.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Final hidden states of a batch, shape (tokens, hidden), normalised.
    pub(crate) fn hidden(&self, tree: &TokenTree, dropout: Option<&mut Dropout>) -> Result<Tensor, TrainError> {
        let sight = Sight::of(tree);
        let mut attend =
            |layer: usize, q: &Tensor, k: &Tensor, v: &Tensor| ops::attention(q, k, v, &sight, self.layer_shape(layer));
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
        let tables = self.rotations(positions);
        let mut x = self.embed(tokens, dropout.as_deref())?;
        for number in 0..self.layers.len() {
            x = self.layer(number, &x, &tables, attend, dropout.as_deref_mut())?;
        }
        self.last_norm(&x)
    }

    /// Input of the first layer, (tokens, hidden).
    pub(crate) fn embed(&self, tokens: &[u32], dropout: Option<&Dropout>) -> Result<Tensor, TrainError> {
        let mut x = self.embedding.rows(tokens, &self.device)?;
        if let Some(scale) = self.config.variant.embedding_scale {
            x = (x * f64::from(scale))?;
        }
        let Some(noise) = dropout.and_then(|dropout| dropout.noise.as_ref()) else { return Ok(x) };
        let noise = Tensor::from_slice(noise, x.shape(), &self.device)?;
        Ok((x + noise)?)
    }

    /// Output of one layer for its input x, (tokens, hidden).
    pub(crate) fn layer(
        &self,
        number: usize,
        x: &Tensor,
        tables: &Tables,
        attend: Attend<'_>,
        mut dropout: Option<&mut Dropout>,
    ) -> Result<Tensor, TrainError> {
        let layer = &self.layers[number];
        let [q, k, v] = self.queries_keys_values(number, x, tables, dropout.as_deref_mut())?;
        let mixed = attend(number, &q, &k, &v)?;
        let input = adapter_input(&mixed, dropout.as_deref_mut())?;
        let added = self.linear(&layer.attention_out, &mixed, &input)?;
        let x = (x + self.maybe_norm(added, layer.attention_norm.as_ref())?)?;
        let added = self.feed_forward(layer, &x, dropout)?;
        Ok((&x + self.maybe_norm(added, layer.output_norm.as_ref())?)?)
    }

    /// Final hidden states of the last layer's output.
    pub(crate) fn last_norm(&self, x: &Tensor) -> Result<Tensor, TrainError> {
        Ok(self.norm(x, &self.norm)?)
    }

    /// Rotations of all layers for the given positions.
    pub(crate) fn rotations(&self, positions: &[usize]) -> Tables {
        let table = |frequencies| RopeTable::new(positions, self.config.head_dim, frequencies);
        Tables { global: table(&self.config.frequencies()), local: self.config.local_frequencies().as_ref().map(table) }
    }

    /// Rotated queries, rotated keys and values of one layer for its input x.
    fn queries_keys_values(
        &self,
        number: usize,
        x: &Tensor,
        tables: &Tables,
        dropout: Option<&mut Dropout>,
    ) -> candle_core::Result<[Tensor; 3]> {
        let layer = &self.layers[number];
        let normed = self.norm(x, &layer.input_norm)?;
        let input = adapter_input(&normed, dropout)?;
        let (query, key) = self.config.qkv_sizes();
        let [mut q, mut k, v] = self.columns(&layer.attention_in, &normed, &input, [query, key, key])?;
        if let Some([q_norm, k_norm]) = &layer.head_norms {
            q = self.head_norm(&q, q_norm)?;
            k = self.head_norm(&k, k_norm)?;
        }
        let local = tables.local.as_ref().filter(|_| self.config.layer_window(number).is_some());
        let table = local.unwrap_or(&tables.global);
        Ok([ops::rope(&q, table)?, ops::rope(&k, table)?, v])
    }

    fn feed_forward(
        &self,
        layer: &Layer,
        x: &Tensor,
        mut dropout: Option<&mut Dropout>,
    ) -> candle_core::Result<Tensor> {
        let normed = self.norm(x, &layer.feed_forward_norm)?;
        let input = adapter_input(&normed, dropout.as_deref_mut())?;
        let inner = self.config.intermediate_size;
        let [gate, up] = self.columns(&layer.feed_forward_in, &normed, &input, [inner, inner])?;
        let gated = ops::gated(self.config.variant.activation, &gate, &up)?;
        let input = adapter_input(&gated, dropout)?;
        self.linear(&layer.feed_forward_out, &gated, &input)
    }

    /// Outputs of the given widths, from one layer each or from slices of a single one.
    fn columns<const N: usize>(
        &self,
        linears: &[Linear],
        x: &Tensor,
        adapter_input: &Tensor,
        widths: [usize; N],
    ) -> candle_core::Result<[Tensor; N]> {
        let mut outs = Vec::with_capacity(N);
        if let [fused] = linears {
            let all = self.linear(fused, x, adapter_input)?;
            let mut start = 0;
            for width in widths {
                outs.push(all.narrow(1, start, width)?);
                start += width;
            }
        } else {
            for linear in linears {
                outs.push(self.linear(linear, x, adapter_input)?);
            }
        }
        <[Tensor; N]>::try_from(outs)
            .map_err(|outs| candle_core::Error::Msg(format!("{} projections where {N} belong", outs.len())))
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        ops::rms_norm(x, weight, self.config.rms_norm_eps)
    }

    fn maybe_norm(&self, x: Tensor, weight: Option<&Tensor>) -> candle_core::Result<Tensor> {
        match weight {
            Some(weight) => self.norm(&x, weight),
            None => Ok(x),
        }
    }

    /// Normalises every head on its own.
    fn head_norm(&self, x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        let heads = x.contiguous()?.reshape(((), self.config.head_dim))?;
        self.norm(&heads, weight)?.reshape(x.shape())
    }

    /// Logits of the given rows of hidden states: (rows, vocabulary).
    pub(crate) fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor, TrainError> {
        let picked = hidden.index_select(&Tensor::from_slice(rows, rows.len(), &self.device)?, 0)?;
        self.project(&picked)
    }

    /// Logits of hidden states: (rows, vocabulary).
    pub(crate) fn project(&self, hidden: &Tensor) -> Result<Tensor, TrainError> {
        Ok(self.head.product(hidden, self.frozen)?)
    }

    /// Number and width of heads, the same in all layers. What they see is said by [`Self::layer_shape`].
    pub(crate) fn head_shape(&self) -> HeadShape {
        HeadShape {
            num_heads: self.config.num_heads,
            num_kv_heads: self.config.num_kv_heads,
            head_dim: self.config.head_dim,
            scale: ops::single(self.config.attention_scale()),
            window: None,
        }
    }

    /// The heads of one layer.
    pub(crate) fn layer_shape(&self, layer: usize) -> HeadShape {
        HeadShape { window: self.config.layer_window(layer), ..self.head_shape() }
    }

    fn linear(&self, linear: &Linear, x: &Tensor, adapter_input: &Tensor) -> candle_core::Result<Tensor> {
        let mut out = linear.weight.product(x, self.frozen)?;
        if let Some(bias) = &linear.bias {
            out = out.broadcast_add(bias)?;
        }
        let Some((pair, scale)) = &linear.adapter else { return Ok(out) };
        let thin = (adapter_input.matmul(&pair.a.t()?)? * *scale)?;
        out + thin.matmul(&pair.b.t()?)?
    }
}

/// Takes the tensors of one layer.
fn layer_from(config: &ModelConfig, number: usize, weights: &mut FrozenWeights) -> Result<Layer, TrainError> {
    let variant = &config.variant;
    let mut linears = Vec::new();
    for projection in config.projections() {
        let path = format!("model.layers.{number}.{}", projection.path);
        let weight = weights.take_matrix(&format!("{path}.weight"))?;
        let bias = projection.has_bias.then(|| weights.take(&format!("{path}.bias"))).transpose()?;
        linears.push(Linear { weight, bias, adapter: None });
    }
    let mut linears = linears.into_iter();
    let (num_attention_in, num_feed_forward_in) = if variant.fused_projections { (1, 1) } else { (3, 2) };
    let mut next = |count: usize| -> Vec<Linear> { linears.by_ref().take(count).collect() };
    let missing = || TrainError::MissingTensor { path: "weights".into(), name: format!("of layer {number}") };
    let mut norm = |name: &str| weights.take(&format!("model.layers.{number}.{name}.weight"));
    let mut head_norms = None;
    if variant.qk_norm {
        head_norms = Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]);
    }
    // Hugging Face gives one name to two things: the norm before the feed-forward layer, or that after attention.
    let (mut attention_norm, mut feed_forward_norm, mut output_norm) = (None, norm("post_attention_layernorm")?, None);
    if variant.sandwich_norms {
        attention_norm = Some(std::mem::replace(&mut feed_forward_norm, norm("pre_feedforward_layernorm")?));
        output_norm = Some(norm("post_feedforward_layernorm")?);
    }
    Ok(Layer {
        input_norm: norm("input_layernorm")?,
        attention_in: next(num_attention_in),
        head_norms,
        attention_out: next(1).pop().ok_or_else(missing)?,
        attention_norm,
        feed_forward_norm,
        feed_forward_in: next(num_feed_forward_in),
        feed_forward_out: next(1).pop().ok_or_else(missing)?,
        output_norm,
    })
}

/// What an adapter sees of its layer's input.
fn adapter_input(x: &Tensor, dropout: Option<&mut Dropout>) -> candle_core::Result<Tensor> {
    dropout.map_or_else(|| Ok(x.clone()), |dropout| dropout.apply(x))
}

/// Fresh weights: normal with standard deviation 0.02, residual outputs scaled by 1/√(2 · layers) as in GPT-2; norms one,
/// biases zero.
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
        if name.ends_with("_proj.bias") {
            tensors.insert(name, Tensor::zeros(shape, DType::F32, device)?);
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
    use super::*;
    use crate::Variant;
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
            variant: Variant::default(),
        }
    }

    fn frozen() -> Decoder {
        let weights = initial_weights(&tiny(), 3, &Device::Cpu).unwrap();
        // Larger than a fresh model's, so that attention is far from uniform.
        let weights = weights.into_iter().map(|(name, w)| (name, (w * 8.0).unwrap())).collect::<BTreeMap<_, _>>();
        Decoder::frozen(tiny(), weights, &Device::Cpu).unwrap()
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
