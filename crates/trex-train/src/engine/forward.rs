//! Forward pass of the CPU engine, layer by layer, rows shared out in blocks.
//!
//! What the backward pass needs and cannot cheaply compute again is kept in [`Trace`]. Of the last layer only the rows
//! whose logits are wanted go through the feed-forward part: nothing else of it reaches the loss.

use rayon::prelude::*;

use super::adapters::StackAdapters;
use super::attention::Scene;
use super::blocks::{Pool, room};
use super::few::FewRoom;
use super::frozen::{Input, Ready, Room, STACKS, Stack, Staging};
use super::math;
use super::model::{Layer, LayerAdapters, Weights};
use super::product::Out;
use super::simd::Level;
use crate::ops::{HeadShape, RopeTable, single};
use crate::{Activation, ModelConfig, RopeFrequencies};

/// What all passes share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) level: Level,
    pub(super) eps: f32,
    pub(super) shape: HeadShape,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    /// Rotations of the batch in this layer.
    pub(super) rope: &'a RopeTable,
    /// Those of all layers, and of windowed ones where these differ.
    ropes: &'a Ropes,
    config: &'a ModelConfig,
    pub(super) scene: Scene<'a>,
    pub(super) pool: &'a Pool,
}

impl<'a> Setting<'a> {
    /// The setting of a batch.
    pub(super) fn new(config: &'a ModelConfig, ropes: &'a Ropes, scene: Scene<'a>, pool: &'a Pool) -> Self {
        Self {
            level: scene.level,
            eps: single(config.rms_norm_eps),
            shape: scene.shape,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            activation: config.variant.activation,
            rope: &ropes.global,
            ropes,
            config,
            scene,
            pool,
        }
    }

    /// The same as one layer sees it.
    pub(super) fn at(&self, layer: usize) -> Self {
        let mut setting = *self;
        setting.scene.shape.window = self.config.layer_window(layer);
        setting.shape = setting.scene.shape;
        if let Some(local) = self.ropes.local.as_ref().filter(|_| setting.shape.window.is_some()) {
            setting.rope = local;
        }
        setting
    }

    pub(super) fn query_width(&self) -> usize {
        self.shape.num_heads * self.shape.head_dim
    }

    pub(super) fn kv_width(&self) -> usize {
        self.shape.num_kv_heads * self.shape.head_dim
    }

    /// Width of a row of queries, keys and values.
    pub(super) fn qkv_width(&self) -> usize {
        self.query_width() + 2 * self.kv_width()
    }

    /// Gathers the mixed values of one token from (heads, tokens, `head_dim`).
    pub(super) fn gather_mixed(&self, mixed: &[f32], token: usize, row: &mut [f32]) {
        let dim = self.shape.head_dim;
        for (head, out) in row.chunks_mut(dim).enumerate() {
            out.copy_from_slice(&mixed[(head * self.scene.tokens + token) * dim..][..dim]);
        }
    }
}

/// Rotations of a batch.
#[derive(Debug)]
pub(super) struct Ropes {
    pub(super) global: RopeTable,
    /// Of windowed layers, where they differ.
    pub(super) local: Option<RopeTable>,
}

impl Ropes {
    /// The rotations of some positions.
    pub(super) fn new(config: &ModelConfig, positions: &[usize]) -> Self {
        let table = |frequencies: &RopeFrequencies| RopeTable::new(positions, config.head_dim, frequencies);
        Self { global: table(&config.frequencies()), local: config.local_frequencies().as_ref().map(table) }
    }
}

/// What the forward pass keeps of one layer.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Input of the layer, (tokens, hidden).
    pub(super) x: Vec<f32>,
    /// Rotated queries and keys, values: (tokens, width).
    pub(super) qkv: Vec<f32>,
    /// Mixed values, (heads, tokens, `head_dim`).
    pub(super) mixed: Vec<f32>,
    /// Logarithms of the sums of exponentials, (heads, tokens).
    pub(super) log_z: Vec<f32>,
    /// Queries and keys before their norms, (tokens, query width + key width), where heads are normalised.
    pub(super) raw: Vec<f32>,
    /// What attention and feed-forward part add, before their norms, (rows, hidden), where there are such norms.
    pub(super) added: [Vec<f32>; 2],
    /// Residual stream after attention, (rows, hidden).
    pub(super) middle: Vec<f32>,
    /// (rows, 2 · inner).
    pub(super) gate_up: Vec<f32>,
    /// Thin activations of the four stacks' adapters.
    pub(super) thin: [Vec<f32>; STACKS],
}

/// Room for the weights of the current layer.
pub(super) type Rooms = [Room; STACKS];

/// One linear stack with its adapters, ready for the forward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied<'a> {
    pub(super) stack: &'a Stack,
    pub(super) ready: Ready<'a>,
    pub(super) adapters: &'a StackAdapters,
}

impl Applied<'_> {
    /// `out = x Wᵀ + adapters` (or added to `out`), `thin` receives the adapters' thin activations.
    fn run(
        &self,
        level: Level,
        x: &[f32],
        (staging, few): (&mut Staging, &mut FewRoom),
        thin: &mut [f32],
        (out, mut add): (&mut [f32], bool),
    ) {
        let rows = x.len() / self.stack.inner;
        if let Some(bias) = &self.stack.bias {
            for out in out.chunks_mut(bias.len()) {
                if add {
                    math::add(level, out, bias);
                } else {
                    out.copy_from_slice(bias);
                }
            }
            add = true;
        }
        self.adapters.down(level, x, rows, thin);
        let input = Input::new(level, &self.ready, x, self.stack.inner, staging);
        let width = self.stack.out();
        let mut offset = 0;
        for (part, columns) in self.stack.outs.iter().enumerate() {
            let mut out = Out { data: out, offset, row: width, rows, columns: *columns, add };
            self.ready.forward(level, self.stack, part, (&input, few), self.adapters.up(part, thin), &mut out);
            offset += columns;
        }
    }
}

/// Stands for attention: takes the setting of a layer, its number and its trace.
pub(super) type Mix<'a> = &'a mut dyn FnMut(&Setting<'_>, usize, &mut Trace);

/// Runs all layers over the first trace's `x`, (tokens, hidden), and returns the rows `wanted` of the last one's output.
///
/// With one trace per layer everything is kept for a backward pass; with a single one nothing is.
pub(super) fn layers(
    setting: &Setting<'_>,
    weights: &Weights,
    adapters: &[LayerAdapters],
    rooms: &mut Rooms,
    traces: &mut [Trace],
    wanted: &[usize],
    mix: Mix<'_>,
) -> Vec<f32> {
    let count = weights.layers.len();
    let all: Vec<usize> = (0..setting.scene.tokens).collect();
    let keeps = traces.len() == count && count > 1;
    let mut next = Vec::new();
    for number in 0..count {
        let rows: &[usize] = if number + 1 == count { wanted } else { &all };
        let at = if keeps { number } else { 0 };
        let layer = &weights.layers[number];
        let setting = &setting.at(number);
        project(setting, layer, &adapters[number], rooms, &mut traces[at]);
        mix(setting, number, &mut traces[at]);
        feed_forward(setting, layer, &adapters[number], rooms, &mut traces[at], rows, &mut next);
        if number + 1 < count {
            std::mem::swap(&mut next, &mut traces[if keeps { number + 1 } else { 0 }].x);
        }
    }
    next.truncate(wanted.len() * setting.hidden);
    next
}

/// Attention over the trees of the batch.
pub(super) fn mix_trees(setting: &Setting<'_>, trace: &mut Trace) {
    let tokens = setting.scene.tokens;
    let mixed = room(&mut trace.mixed, tokens * setting.query_width());
    let log_z = room(&mut trace.log_z, tokens * setting.shape.num_heads);
    setting.scene.forward(&trace.qkv[..tokens * setting.qkv_width()], mixed, log_z);
}

/// Norm, queries, keys, values, rotation.
fn project(setting: &Setting<'_>, layer: &Layer, adapters: &LayerAdapters, rooms: &mut Rooms, trace: &mut Trace) {
    let tokens = setting.scene.tokens;
    let (hidden, width, level) = (setting.hidden, setting.qkv_width(), setting.level);
    let applied =
        Applied { stack: &layer.qkv, ready: layer.qkv.ready_for(&mut rooms[0], tokens), adapters: &adapters.qkv };
    let block = applied.ready.block_rows(tokens);
    let thin_width = adapters.qkv.width();
    let qkv = room(&mut trace.qkv, tokens * width);
    let thin = room(&mut trace.thin[0], tokens * thin_width);
    let x = &trace.x[..tokens * hidden];
    // One column is kept of nothing, so that rows can be cut.
    let raw_width = if layer.head_norms.is_some() { setting.query_width() + setting.kv_width() } else { 1 };
    let raw = room(&mut trace.raw, tokens * raw_width);
    qkv.par_chunks_mut(block * width)
        .zip(raw.par_chunks_mut(block * raw_width))
        .zip(thin.par_chunks_mut(block * thin_width))
        .zip(x.par_chunks(block * hidden))
        .enumerate()
        .for_each(|(index, (((qkv, raw), thin), x))| {
            setting.pool.with(|scratch| {
                let normed = room(&mut scratch.floats[0], x.len());
                norm_rows(setting, &layer.input_norm, x, normed);
                applied.run(level, normed, (&mut scratch.staging, &mut scratch.few), thin, (qkv, false));
                if let Some(norms) = &layer.head_norms {
                    for (qkv, raw) in qkv.chunks_mut(width).zip(raw.chunks_mut(raw_width)) {
                        raw.copy_from_slice(&qkv[..raw_width]);
                        norm_heads(setting, norms, raw, qkv);
                    }
                }
                for (row, qkv) in qkv.chunks_mut(width).enumerate() {
                    rotate(setting, qkv, index * block + row, 1.0);
                }
            });
        });
}

/// Normalises the queries and keys of one row.
fn norm_heads(setting: &Setting<'_>, norms: &[Vec<f32>; 2], raw: &[f32], qkv: &mut [f32]) {
    let dim = setting.shape.head_dim;
    for (head, (raw, out)) in raw.chunks(dim).zip(qkv.chunks_mut(dim)).enumerate() {
        let norm = &norms[usize::from(head >= setting.shape.num_heads)];
        math::rms_norm(setting.level, raw, norm, setting.eps, out);
    }
}

/// Rotates the queries and keys of one row.
pub(super) fn rotate(setting: &Setting<'_>, qkv: &mut [f32], token: usize, direction: f32) {
    let (dim, pairs) = (setting.shape.head_dim, setting.rope.pairs());
    let (cos, sin) = setting.rope.values();
    let (cos, sin) = (&cos[token * pairs..(token + 1) * pairs], &sin[token * pairs..(token + 1) * pairs]);
    for head in qkv[..setting.query_width() + setting.kv_width()].chunks_mut(dim) {
        math::rotate(setting.level, head, cos, sin, direction);
    }
}

/// Normalises rows.
pub(super) fn norm_rows(setting: &Setting<'_>, weight: &[f32], x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks(setting.hidden).zip(out.chunks_mut(setting.hidden)) {
        math::rms_norm(setting.level, x, weight, setting.eps, out);
    }
}

/// Output projection, second norm, gated feed-forward, for some rows.
fn feed_forward(
    setting: &Setting<'_>,
    layer: &Layer,
    adapters: &LayerAdapters,
    rooms: &mut Rooms,
    trace: &mut Trace,
    rows: &[usize],
    next: &mut Vec<f32>,
) {
    let (hidden, inner, level) = (setting.hidden, setting.inner, setting.level);
    let [_, o_room, gate_up_room, down_room] = rooms;
    let o = Applied { stack: &layer.o, ready: layer.o.ready_for(o_room, rows.len()), adapters: &adapters.o };
    let gate_up = Applied {
        stack: &layer.gate_up,
        ready: layer.gate_up.ready_for(gate_up_room, rows.len()),
        adapters: &adapters.gate_up,
    };
    let down =
        Applied { stack: &layer.down, ready: layer.down.ready_for(down_room, rows.len()), adapters: &adapters.down };
    let block = o.ready.block_rows(rows.len());
    let widths = [adapters.o.width(), adapters.gate_up.width(), adapters.down.width()];
    let [_, thin_o, thin_gate_up, thin_down] = &mut trace.thin;
    let is_sandwich = layer.attention_norm.is_some();
    let added_width = if is_sandwich { hidden } else { 1 };
    let [added_o, added_down] = &mut trace.added;
    let chunks = room(&mut trace.middle, rows.len() * hidden)
        .par_chunks_mut(block * hidden)
        .zip(room(added_o, rows.len() * added_width).par_chunks_mut(block * added_width))
        .zip(room(added_down, rows.len() * added_width).par_chunks_mut(block * added_width))
        .zip(room(&mut trace.gate_up, rows.len() * 2 * inner).par_chunks_mut(block * 2 * inner))
        .zip(room(next, rows.len() * hidden).par_chunks_mut(block * hidden))
        .zip(room(thin_o, rows.len() * widths[0]).par_chunks_mut(block * widths[0]))
        .zip(room(thin_gate_up, rows.len() * widths[1]).par_chunks_mut(block * widths[1]))
        .zip(room(thin_down, rows.len() * widths[2]).par_chunks_mut(block * widths[2]));
    let (x, mixed) = (&trace.x, &trace.mixed);
    chunks.zip(rows.par_chunks(block)).for_each(
        |((((((((middle, added_o), added_down), gates), next), thin_o), thin_gate_up), thin_down), rows)| {
            setting.pool.with(|scratch| {
                let [values, normed, active, ..] = &mut scratch.floats;
                let values = room(values, rows.len() * setting.query_width());
                for ((row, values), middle) in
                    rows.iter().zip(values.chunks_mut(setting.query_width())).zip(middle.chunks_mut(hidden))
                {
                    setting.gather_mixed(mixed, *row, values);
                    middle.copy_from_slice(&x[row * hidden..(row + 1) * hidden]);
                }
                if let Some(norm) = &layer.attention_norm {
                    o.run(level, values, (&mut scratch.staging, &mut scratch.few), thin_o, (&mut *added_o, false));
                    add_normed(setting, norm, added_o, middle);
                } else {
                    o.run(level, values, (&mut scratch.staging, &mut scratch.few), thin_o, (&mut *middle, true));
                }
                let normed = room(normed, middle.len());
                norm_rows(setting, &layer.post_norm, middle, normed);
                gate_up.run(
                    level,
                    normed,
                    (&mut scratch.staging, &mut scratch.few),
                    thin_gate_up,
                    (&mut *gates, false),
                );
                let active = room(active, rows.len() * inner);
                activate(setting, gates, active);
                next.copy_from_slice(middle);
                if let Some(norm) = &layer.output_norm {
                    down.run(
                        level,
                        active,
                        (&mut scratch.staging, &mut scratch.few),
                        thin_down,
                        (&mut *added_down, false),
                    );
                    add_normed(setting, norm, added_down, next);
                } else {
                    down.run(level, active, (&mut scratch.staging, &mut scratch.few), thin_down, (next, true));
                }
            });
        },
    );
}

/// The gated activation of rows of (gate, up).
pub(super) fn activate(setting: &Setting<'_>, gates: &[f32], active: &mut [f32]) {
    let inner = setting.inner;
    let function = match setting.activation {
        Activation::Silu => math::swiglu,
        Activation::GeluTanh => math::geglu,
    };
    for (gates, active) in gates.chunks(2 * inner).zip(active.chunks_mut(inner)) {
        let (gate, up) = gates.split_at(inner);
        function(setting.level, gate, up, active);
    }
}

/// Adds normalised rows to the residual stream.
fn add_normed(setting: &Setting<'_>, norm: &[f32], added: &[f32], stream: &mut [f32]) {
    setting.pool.with(|scratch| {
        let normed = room(&mut scratch.floats[0], added.len());
        norm_rows(setting, norm, added, normed);
        math::add(setting.level, stream, normed);
    });
}
