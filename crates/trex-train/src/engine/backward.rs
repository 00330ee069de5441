//! Backward pass of the CPU engine: gradients of the adapters, layer by layer from the last to the first.
//!
//! Gradients of adapters are sums over rows. Each block of rows writes its own sums, and those are added in the order of
//! the blocks, so the number of threads changes no bit.

use rayon::prelude::*;

use super::adapters::{GradientRows, StackAdapters};
use super::attention::Kept;
use super::blocks::{block_rows, room};
use super::forward::{Applied, Rooms, Setting, Trace, activate, norm_rows, rotate};
use super::frozen::{Input, Staging};
use super::full::{self, LayerPlaces, Places};
use super::math;
use super::model::{Layer, LayerAdapters, Weights};
use super::product::Out;
use super::simd::Level;
use crate::Activation;
use crate::optimizer::Gradients;

/// Buffers that live as long as the engine.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Gradient of mixed values, of some rows and of all.
    dmixed_rows: Vec<f32>,
    dmixed: Vec<f32>,
    /// Gradient of the embedded tokens after a pass, (tokens, hidden); of use where the embedding is trained.
    pub(super) grad: Vec<f32>,
    /// (heads, tokens, 3 · `head_dim`).
    heads: Vec<f32>,
    /// Gradients of gate and up, (rows, 2 · inner), and of queries, keys and values, (tokens, width).
    dgates: Vec<f32>,
    dqkv: Vec<f32>,
    /// Gradient of a norm's output, (rows, hidden).
    dnormed: Vec<f32>,
    /// For gradients of weights: inputs that are made again, and the gradient of the layer's output.
    inputs: Vec<f32>,
    dout: Vec<f32>,
    /// Sums of the blocks of one part of a layer.
    partial: Vec<f32>,
    sums: Vec<f32>,
}

impl Applied<'_> {
    /// Gradient of the stack's input: `dx = g W + adapters`; `thin` receives `s · g B`.
    fn back(&self, level: Level, g: &[f32], staging: &mut Staging, thin: &mut Vec<f32>, dx: &mut [f32]) {
        let (inner, width) = (self.stack.inner, self.stack.out());
        let rows = g.len() / width;
        let thin = room(thin, rows * self.adapters.width());
        self.adapters.back_down(level, g, width, rows, thin);
        let input = Input::new(level, &self.ready, g, width, staging);
        let mut out = Out { data: dx, offset: 0, row: inner, rows, columns: inner, add: false };
        self.ready.backward(level, self.stack, &input, self.adapters.back_up(thin), &mut out);
    }
}

/// Runs all layers backwards. `grad` is the gradient of the rows `wanted` of the last layer's output.
#[expect(clippy::too_many_arguments, reason = "one call; the parts are borrowed apart from each other")]
pub(super) fn layers(
    setting: &Setting<'_>,
    weights: &Weights,
    adapters: &[LayerAdapters],
    rooms: &mut Rooms,
    traces: &[Trace],
    wanted: &[usize],
    mut grad: Vec<f32>,
    buffers: &mut Buffers,
    trained: Option<&Places>,
    gradients: &mut Gradients,
) {
    let tokens = setting.scene.tokens;
    let all: Vec<usize> = (0..tokens).collect();
    let mut skip = vec![true; tokens];
    for row in wanted {
        skip[*row] = false;
    }
    for number in (0..weights.layers.len()).rev() {
        let is_last = number + 1 == weights.layers.len();
        let rows: &[usize] = if is_last { wanted } else { &all };
        let (layer, own, trace) = (&weights.layers[number], &adapters[number], &traces[number]);
        let setting = &setting.at(number);
        let places = trained.map(|places| &places.layers[number]);
        if places.is_some() {
            buffers.dout.clone_from(&grad);
        }
        feed_forward(setting, layer, own, rooms, trace, rows, &mut grad, buffers, gradients);
        if let Some(places) = places {
            feed_forward_weights(setting, layer, trace, rows, &grad, buffers, places, gradients);
        }
        if is_last {
            grad = spread(setting.hidden, tokens, rows, &grad);
            buffers.dmixed = spread(setting.query_width(), tokens, rows, &buffers.dmixed_rows);
        } else {
            std::mem::swap(&mut buffers.dmixed, &mut buffers.dmixed_rows);
            skip.fill(false);
        }
        let is_lowest = number == 0 && trained.is_none();
        attend(setting, layer, own, rooms, trace, &skip, is_lowest, &mut grad, buffers, gradients);
        if let Some(places) = places {
            attention_weights(setting, layer, trace, buffers, places, gradients);
        }
    }
    buffers.grad = grad;
}

/// Puts rows where they belong among zeros.
fn spread(width: usize, tokens: usize, rows: &[usize], values: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; tokens * width];
    for (row, values) in rows.iter().zip(values.chunks(width)) {
        out[row * width..(row + 1) * width].copy_from_slice(values);
    }
    out
}

/// Feed-forward part and output projection. `grad` becomes the gradient of the stream between the two parts.
#[expect(clippy::too_many_arguments, reason = "as `layers`")]
fn feed_forward(
    setting: &Setting<'_>,
    layer: &Layer,
    adapters: &LayerAdapters,
    rooms: &mut Rooms,
    trace: &Trace,
    rows: &[usize],
    grad: &mut [f32],
    buffers: &mut Buffers,
    gradients: &mut Gradients,
) {
    let (hidden, inner, count) = (setting.hidden, setting.inner, rows.len());
    let [_, o_room, gate_up_room, down_room] = rooms;
    let parts = [&adapters.o, &adapters.gate_up, &adapters.down];
    let lens = parts.map(StackAdapters::gradient_len);
    let len = lens.iter().sum::<usize>().max(1);
    let pass = FeedForward {
        setting,
        layer,
        o: Applied { stack: &layer.o, ready: layer.o.ready(o_room, false), adapters: &adapters.o },
        gate_up: Applied {
            stack: &layer.gate_up,
            ready: layer.gate_up.ready(gate_up_room, false),
            adapters: &adapters.gate_up,
        },
        down: Applied { stack: &layer.down, ready: layer.down.ready(down_room, false), adapters: &adapters.down },
        trace,
        rows,
        lens,
    };
    let block = block_rows(count);
    let query_width = setting.query_width();
    let partial = room(&mut buffers.partial, count.div_ceil(block) * len);
    let blocks: Vec<Block<'_>> = grad[..count * hidden]
        .chunks_mut(block * hidden)
        .zip(room(&mut buffers.dmixed_rows, count * query_width).chunks_mut(block * query_width))
        .zip(room(&mut buffers.dgates, count * 2 * inner).chunks_mut(block * 2 * inner))
        .zip(room(&mut buffers.dnormed, count * hidden).chunks_mut(block * hidden))
        .zip(partial.chunks_mut(len))
        .enumerate()
        .map(|(index, ((((grad, dmixed), dgates), dnormed), sums))| Block {
            first: index * block,
            grad,
            dmixed,
            dgates,
            dnormed,
            sums,
        })
        .collect();
    blocks.into_par_iter().for_each(|block| pass.run(block));
    add_blocks(partial, len, &mut buffers.sums);
    let mut rest = buffers.sums.as_slice();
    for (part, len) in parts.into_iter().zip(lens) {
        part.hand_over(&rest[..len], gradients);
        rest = &rest[len..];
    }
}

/// What all blocks of rows of a layer's feed-forward part share.
struct FeedForward<'a> {
    setting: &'a Setting<'a>,
    layer: &'a Layer,
    o: Applied<'a>,
    gate_up: Applied<'a>,
    down: Applied<'a>,
    trace: &'a Trace,
    /// Tokens of the rows.
    rows: &'a [usize],
    /// Lengths of the gradients of the three stacks' adapters.
    lens: [usize; 3],
}

/// What belongs to one block.
struct Block<'a> {
    /// First of its rows.
    first: usize,
    grad: &'a mut [f32],
    dmixed: &'a mut [f32],
    dgates: &'a mut [f32],
    dnormed: &'a mut [f32],
    sums: &'a mut [f32],
}

impl FeedForward<'_> {
    fn run(&self, block: Block<'_>) {
        let Block { first, grad, dmixed, dgates, dnormed, sums } = block;
        let (setting, layer, trace) = (self.setting, self.layer, self.trace);
        let (hidden, inner, level, query_width) = (setting.hidden, setting.inner, setting.level, setting.query_width());
        let count = grad.len() / hidden;
        let of = |width: usize| first * width..(first + count) * width;
        let (middle, gates) = (&trace.middle[of(hidden)], &trace.gate_up[of(2 * inner)]);
        let thin = |stack: usize, applied: &Applied<'_>| &trace.thin[stack][of(applied.adapters.width())];
        let added = |part: usize| if layer.attention_norm.is_some() { &trace.added[part][of(hidden)] } else { &[] };
        let (sums_o, sums) = sums.split_at_mut(self.lens[0]);
        let (sums_gate_up, sums_down) = sums.split_at_mut(self.lens[1]);
        setting.pool.with(|scratch| {
            let [active, dactive, normed, back, dadded, ..] = &mut scratch.floats;
            let active = room(active, count * inner);
            let dactive = room(dactive, count * inner);
            let dadded = room(dadded, count * hidden);
            through_norm(setting, layer.output_norm.as_deref(), added(1), grad, dadded);
            self.down.back(level, dadded, &mut scratch.staging, back, dactive);
            activate(setting, gates, active);
            let forward = thin(3, &self.down);
            let of_down = GradientRows { x: active, g: dadded, g_width: hidden, forward, backward: back, count };
            self.down.adapters.gradient(level, &of_down, sums_down);
            activation_backward(setting, gates, dactive, dgates);

            let normed = room(normed, count * hidden.max(query_width));
            self.gate_up.back(level, dgates, &mut scratch.staging, back, dnormed);
            norm_rows(setting, &layer.post_norm, middle, &mut normed[..count * hidden]);
            let forward = thin(2, &self.gate_up);
            let of_gates = GradientRows { x: normed, g: dgates, g_width: 2 * inner, forward, backward: back, count };
            self.gate_up.adapters.gradient(level, &of_gates, sums_gate_up);
            norm_backward(setting, &layer.post_norm, middle, dnormed, grad);

            through_norm(setting, layer.attention_norm.as_deref(), added(0), grad, dadded);
            self.o.back(level, dadded, &mut scratch.staging, back, dmixed);
            for (row, values) in self.rows[first..first + count].iter().zip(normed.chunks_mut(query_width)) {
                setting.gather_mixed(&trace.mixed, *row, values);
            }
            let forward = thin(1, &self.o);
            let of_o = GradientRows { x: normed, g: dadded, g_width: hidden, forward, backward: back, count };
            self.o.adapters.gradient(level, &of_o, sums_o);
        });
    }
}

/// Gradients of gates from those of the gated activation.
fn activation_backward(setting: &Setting<'_>, gates: &[f32], dactive: &[f32], dgates: &mut [f32]) {
    let inner = setting.inner;
    let function = match setting.activation {
        Activation::Silu => math::swiglu_backward,
        Activation::GeluTanh => math::geglu_backward,
    };
    let triples = gates.chunks(2 * inner).zip(dactive.chunks(inner)).zip(dgates.chunks_mut(2 * inner));
    for ((gates, dactive), dgates) in triples {
        let ((gate, up), (dgate, dup)) = (gates.split_at(inner), dgates.split_at_mut(inner));
        function(setting.level, gate, up, dactive, dgate, dup);
    }
}

/// The gradient of what was normalised before it was added; without a norm the gradient itself.
fn through_norm(setting: &Setting<'_>, norm: Option<&[f32]>, added: &[f32], grad: &[f32], out: &mut [f32]) {
    let Some(norm) = norm else {
        out.copy_from_slice(grad);
        return;
    };
    out.fill(0.0);
    norm_backward(setting, norm, added, grad, out);
}

/// Adds the gradient through a norm to the gradient of its input.
fn norm_backward(setting: &Setting<'_>, weight: &[f32], x: &[f32], dnormed: &[f32], grad: &mut [f32]) {
    let hidden = setting.hidden;
    for ((x, dnormed), grad) in x.chunks(hidden).zip(dnormed.chunks(hidden)).zip(grad.chunks_mut(hidden)) {
        math::rms_norm_backward(setting.level, x, weight, setting.eps, dnormed, grad);
    }
}

/// Sums the blocks in their order.
fn add_blocks(partial: &[f32], len: usize, sums: &mut Vec<f32>) {
    const CHUNK: usize = 16 * 1024;
    room(sums, len).par_chunks_mut(CHUNK).enumerate().for_each(|(index, sums)| {
        sums.fill(0.0);
        for block in partial.chunks(len) {
            let block = &block[index * CHUNK..index * CHUNK + sums.len()];
            sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// Attention, rotation, projections and the first norm.
#[expect(clippy::too_many_arguments, reason = "as `layers`")]
fn attend(
    setting: &Setting<'_>,
    layer: &Layer,
    adapters: &LayerAdapters,
    rooms: &mut Rooms,
    trace: &Trace,
    skip: &[bool],
    is_first: bool,
    grad: &mut [f32],
    buffers: &mut Buffers,
    gradients: &mut Gradients,
) {
    let (tokens, hidden, level) = (setting.scene.tokens, setting.hidden, setting.level);
    let width = setting.qkv_width();
    let kept = Kept { qkv: &trace.qkv, mixed: &trace.mixed, log_z: &trace.log_z };
    let heads = room(&mut buffers.heads, tokens * 3 * setting.query_width());
    setting.scene.backward(&kept, &buffers.dmixed, skip, heads);
    let heads = &*heads;
    let qkv = Applied { stack: &layer.qkv, ready: layer.qkv.ready(&mut rooms[0], false), adapters: &adapters.qkv };
    let block = block_rows(tokens);
    let len = adapters.qkv.gradient_len().max(1);
    let blocks = tokens.div_ceil(block);
    let thin_width = adapters.qkv.width();
    let chunks = grad[..tokens * hidden]
        .par_chunks_mut(block * hidden)
        .zip(room(&mut buffers.partial, blocks * len).par_chunks_mut(len))
        .zip(room(&mut buffers.dqkv, tokens * width).par_chunks_mut(block * width))
        .zip(room(&mut buffers.dnormed, tokens * hidden).par_chunks_mut(block * hidden))
        .zip(trace.x[..tokens * hidden].par_chunks(block * hidden))
        .zip(trace.thin[0][..tokens * thin_width].par_chunks(block * thin_width));
    chunks.enumerate().for_each(|(index, (((((grad, sums), dqkv), dnormed), x), thin_forward))| {
        setting.pool.with(|scratch| {
            let [normed, thin, ..] = &mut scratch.floats;
            let count = x.len() / hidden;
            for (row, dqkv) in dqkv.chunks_mut(width).enumerate() {
                collect_heads(setting, heads, index * block + row, dqkv);
                rotate(setting, dqkv, index * block + row, -1.0);
                if let Some(norms) = &layer.head_norms {
                    heads_backward(setting, norms, &trace.raw, index * block + row, dqkv);
                }
            }
            let normed = room(normed, count * hidden);
            norm_rows(setting, &layer.input_norm, x, normed);
            if is_first {
                let thin = room(thin, count * thin_width);
                qkv.adapters.back_down(level, dqkv, width, count, thin);
            } else {
                qkv.back(level, dqkv, &mut scratch.staging, thin, dnormed);
                norm_backward(setting, &layer.input_norm, x, dnormed, grad);
            }
            let of = GradientRows { x: normed, g: dqkv, g_width: width, forward: thin_forward, backward: thin, count };
            adapters.qkv.gradient(level, &of, sums);
        });
    });
    add_blocks(&buffers.partial[..blocks * len], len, &mut buffers.sums);
    adapters.qkv.hand_over(&buffers.sums[..adapters.qkv.gradient_len()], gradients);
}

/// The gradients of one row's queries and keys through the norms of their heads.
fn heads_backward(setting: &Setting<'_>, norms: &[Vec<f32>; 2], raw: &[f32], token: usize, dqkv: &mut [f32]) {
    let dim = setting.shape.head_dim;
    let width = setting.query_width() + setting.kv_width();
    let raw = &raw[token * width..(token + 1) * width];
    setting.pool.with(|scratch| {
        let grad = room(&mut scratch.floats[0], dim);
        for (head, (raw, dhead)) in raw.chunks(dim).zip(dqkv.chunks_mut(dim)).enumerate() {
            let norm = &norms[usize::from(head >= setting.shape.num_heads)];
            grad.copy_from_slice(dhead);
            dhead.fill(0.0);
            math::rms_norm_backward(setting.level, raw, norm, setting.eps, grad, dhead);
        }
    });
}

/// Gradients of the weights of the feed-forward part and of the output projection.
#[expect(clippy::too_many_arguments, reason = "as `layers`")]
fn feed_forward_weights(
    setting: &Setting<'_>,
    layer: &Layer,
    trace: &Trace,
    rows: &[usize],
    grad: &[f32],
    buffers: &mut Buffers,
    places: &LayerPlaces,
    gradients: &mut Gradients,
) {
    let (hidden, inner, level, count) = (setting.hidden, setting.inner, setting.level, rows.len());
    let query_width = setting.query_width();
    let middle = &trace.middle[..count * hidden];
    let active = room(&mut buffers.inputs, count * inner);
    let block = block_rows(count);
    active
        .par_chunks_mut(block * inner)
        .zip(trace.gate_up[..count * 2 * inner].par_chunks(block * 2 * inner))
        .for_each(|(active, gates)| activate(setting, gates, active));
    full::add_stack(level, &layer.down, &places.down, active, &buffers.dout[..count * hidden], gradients);
    let normed = room(&mut buffers.inputs, count * hidden);
    norm_rows(setting, &layer.post_norm, middle, normed);
    let dgates = &buffers.dgates[..count * 2 * inner];
    full::add_stack(level, &layer.gate_up, &places.gate_up, normed, dgates, gradients);
    let dnormed = &buffers.dnormed[..count * hidden];
    full::add_norm(setting, middle, dnormed, &mut gradients.values[places.post_norm]);
    let mixed = room(&mut buffers.inputs, count * query_width);
    for (row, values) in rows.iter().zip(mixed.chunks_mut(query_width)) {
        setting.gather_mixed(&trace.mixed, *row, values);
    }
    full::add_stack(level, &layer.o, &places.o, mixed, &grad[..count * hidden], gradients);
}

/// Gradients of the weights of the queries, keys and values, and of the first norm.
fn attention_weights(
    setting: &Setting<'_>,
    layer: &Layer,
    trace: &Trace,
    buffers: &mut Buffers,
    places: &LayerPlaces,
    gradients: &mut Gradients,
) {
    let (tokens, hidden) = (setting.scene.tokens, setting.hidden);
    let x = &trace.x[..tokens * hidden];
    let normed = room(&mut buffers.inputs, tokens * hidden);
    norm_rows(setting, &layer.input_norm, x, normed);
    let dqkv = &buffers.dqkv[..tokens * setting.qkv_width()];
    full::add_stack(setting.level, &layer.qkv, &places.qkv, normed, dqkv, gradients);
    let dnormed = &buffers.dnormed[..tokens * hidden];
    full::add_norm(setting, x, dnormed, &mut gradients.values[places.input_norm]);
}

/// Gradients of the queries, keys and values of one token, summed over the query heads that share a key.
fn collect_heads(setting: &Setting<'_>, heads: &[f32], token: usize, dqkv: &mut [f32]) {
    let (dim, tokens) = (setting.shape.head_dim, setting.scene.tokens);
    let (query_width, kv_width) = (setting.query_width(), setting.kv_width());
    dqkv[query_width..].fill(0.0);
    for head in 0..setting.shape.num_heads {
        let grads = &heads[(head * tokens + token) * 3 * dim..][..3 * dim];
        dqkv[head * dim..(head + 1) * dim].copy_from_slice(&grads[..dim]);
        let key = query_width + setting.shape.kv_head(head) * dim;
        math::add(setting.level, &mut dqkv[key..key + dim], &grads[dim..2 * dim]);
        let value = key + kv_width;
        math::add(setting.level, &mut dqkv[value..value + dim], &grads[2 * dim..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_added_in_order() {
        let partial = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0];
        let mut sums = vec![7.0; 2];
        add_blocks(&partial, 2, &mut sums);
        assert_eq!(sums, [111.0, 222.0]);
        assert_eq!(spread(1, 3, &[2, 0], &[5.0, 6.0]), [6.0, 0.0, 5.0]);
    }
}
