//! Gradients of the weights themselves, for training all of them on the CPU engine.
//!
//! They come after the backward pass of a part of a layer, from inputs that are cheap to make again and from the gradients
//! of outputs that the pass has left in its buffers. Each task owns rows of one weight and sums over all tokens in their
//! order.

use rayon::prelude::*;

use super::forward::Setting;
use super::frozen::Stack;
use super::math;
use super::product::{Factors, Left, Out, Right, multiply};
use super::simd::Level;
use crate::ModelConfig;
use crate::optimizer::{Gradients, Parameter};

/// Rows of a weight that one task computes.
const ROWS: usize = 48;

/// Places of the weights of one layer among the parameters.
#[derive(Clone, Debug)]
pub(super) struct LayerPlaces {
    pub(super) input_norm: usize,
    pub(super) post_norm: usize,
    pub(super) qkv: Vec<usize>,
    pub(super) o: Vec<usize>,
    pub(super) gate_up: Vec<usize>,
    pub(super) down: Vec<usize>,
}

/// Places of all weights among the parameters.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) embedding: usize,
    pub(super) norm: usize,
    /// Where it is not the embedding.
    pub(super) head: Option<usize>,
    pub(super) layers: Vec<LayerPlaces>,
}

impl Places {
    /// Finds the weights by their Hugging Face names; `None` when one is missing.
    pub(super) fn find(config: &ModelConfig, parameters: &[Parameter]) -> Option<Self> {
        let find = |name: &str| parameters.iter().position(|parameter| parameter.name == name);
        let stacks = super::model::stacks(config);
        let layer = |number: usize| {
            let of = |name: &str| find(&format!("model.layers.{number}.{name}.weight"));
            let [qkv, o, gate_up, down] =
                [0, 1, 2, 3].map(|at| stacks[at].iter().map(|(path, _)| of(path)).collect::<Option<Vec<_>>>());
            Some(LayerPlaces {
                input_norm: of("input_layernorm")?,
                post_norm: of("post_attention_layernorm")?,
                qkv: qkv?,
                o: o?,
                gate_up: gate_up?,
                down: down?,
            })
        };
        Some(Self {
            embedding: find("model.embed_tokens.weight")?,
            norm: find("model.norm.weight")?,
            head: if config.tie_word_embeddings { None } else { Some(find("lm_head.weight")?) },
            layers: (0..config.num_layers).map(layer).collect::<Option<_>>()?,
        })
    }

    /// Place of the output projection.
    pub(super) fn head(&self) -> usize {
        self.head.unwrap_or(self.embedding)
    }
}

/// Adds `gᵀ x` to the gradients of the linear layers of a stack: x is (rows, inner), g (rows, out of the stack).
pub(super) fn add_stack(
    level: Level,
    stack: &Stack,
    places: &[usize],
    x: &[f32],
    g: &[f32],
    gradients: &mut Gradients,
) {
    let (inner, width) = (stack.inner, stack.out());
    let mut offset = 0;
    for (place, out) in places.iter().zip(&stack.outs) {
        add_product(level, (g, offset, width), (x, inner), &mut gradients.values[*place]);
        offset += out;
    }
}

/// Adds `gᵀ x` to a row-major matrix of the width of x; g starts at a column of rows of some width.
pub(super) fn add_product(
    level: Level,
    (g, offset, width): (&[f32], usize, usize),
    (x, inner): (&[f32], usize),
    sums: &mut [f32],
) {
    let len = x.len() / inner;
    sums.par_chunks_mut(ROWS * inner).enumerate().for_each(|(task, sums)| {
        let rows = sums.len() / inner;
        let left = Left::transposed(g, offset + task * ROWS, width);
        let right = Right::Natural { data: x, offset: 0, row: inner };
        let mut out = Out { data: sums, offset: 0, row: inner, rows, columns: inner, add: true };
        multiply(level, &mut out, &[Factors { left, right, len }]);
    });
}

/// Adds the gradient of a norm's weight: `Σ x / rms(x) · dnormed` over rows.
pub(super) fn add_norm(setting: &Setting<'_>, x: &[f32], dnormed: &[f32], sums: &mut [f32]) {
    for (x, dnormed) in x.chunks(setting.hidden).zip(dnormed.chunks(setting.hidden)) {
        math::norm_weight_gradient(setting.level, x, setting.eps, dnormed, sums);
    }
}

/// Adds the gradients of rows of the embedding.
pub(super) fn add_embedding(setting: &Setting<'_>, tokens: &[u32], grad: &[f32], sums: &mut [f32]) {
    let hidden = setting.hidden;
    for (token, grad) in tokens.iter().zip(grad.chunks(hidden)) {
        math::add(setting.level, &mut sums[*token as usize * hidden..][..hidden], grad);
    }
}
