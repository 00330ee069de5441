//! The end of the model in the CPU engine: last norm, logits of the wanted rows, loss and its gradient.
//!
//! Logits live in groups of classes for a hundred rows or so at a time; each group is made, reduced, turned into its own
//! gradient and read once more. A table of all rows × all classes never exists.

use rayon::prelude::*;

use super::blocks::room;
use super::few::{self, Columns, multiply_columns, store_rows};
use super::forward::{Setting, norm_rows};
use super::frozen::Table;
use super::math;
use super::pack::{fill_transposed_panel, pair_panels, transposed_pair_panels};
use super::product::{Factors, Left, Out, PairRows, Right, multiply, multiply_bf16};
use super::simd::PANEL;
use crate::step::Objective;

/// Rows whose logits exist at the same time.
const ROWS: usize = 128;

/// Classes of a group.
const GROUP: usize = 8 * PANEL;

/// Columns of the hidden gradient that one task computes.
const COLUMNS: usize = 2 * PANEL;

/// Values of a quantised output projection that exist as floats at the same time in the backward pass.
const SPAN_VALUES: usize = 2 << 20;

/// The output projection in bfloat16, packed for both passes.
#[derive(Debug)]
pub(super) struct PackedHead {
    forward: Vec<u32>,
    backward: Vec<u32>,
}

impl PackedHead {
    /// Packs (vocabulary, hidden).
    pub(super) fn new(head: &[f32], vocabulary: usize, hidden: usize) -> Self {
        Self {
            forward: transposed_pair_panels(head, vocabulary, hidden),
            backward: pair_panels(head, vocabulary, hidden),
        }
    }
}

/// The output projection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// Last norm, (hidden).
    pub(super) norm: &'a [f32],
    /// (vocabulary, hidden).
    pub(super) weight: &'a Table,
    pub(super) packed: Option<&'a PackedHead>,
    pub(super) vocabulary: usize,
}

/// Buffers that live as long as the engine.
#[derive(Debug, Default)]
pub(super) struct HeadBuffers {
    normed: Vec<f32>,
    /// The same transposed, where there are few.
    few: Vec<f32>,
    pairs: Vec<u32>,
    logits: Vec<f32>,
    /// Gradients of the logits in bfloat16, (groups, rows, [`GROUP`] / 2), where the projection is.
    gradient_pairs: Vec<u32>,
    stats: Vec<Stats>,
    columns: Vec<f32>,
    dnormed: Vec<f32>,
    /// Rows of a quantised output projection.
    span: Vec<f32>,
}

/// What one group knows of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    log_z: f32,
    sum: f32,
    gold: f32,
}

/// What one row of logits amounts to.
#[derive(Clone, Copy, Debug)]
struct RowLoss {
    log_z: f32,
    loss: f64,
}

#[expect(clippy::too_many_arguments, reason = "one call; the parts are borrowed apart from each other")]
/// Sum of the losses of rows `x`, (rows, hidden), divided as the objective says; `grad` receives the gradient of `x`.
pub(super) fn loss(
    setting: &Setting<'_>,
    head: &Head<'_>,
    x: &[f32],
    targets: &[u32],
    objective: Objective,
    buffers: &mut HeadBuffers,
    grad: &mut [f32],
    mut trained: Option<&mut HeadGradients<'_>>,
) -> f64 {
    let hidden = setting.hidden;
    let mut total = 0.0;
    let chunks = x.chunks(ROWS * hidden).zip(targets.chunks(ROWS)).zip(grad.chunks_mut(ROWS * hidden));
    for ((x, targets), grad) in chunks {
        logits(setting, head, x, targets, buffers);
        let rows = row_losses(head, targets.len(), objective, buffers);
        total += rows.iter().map(|row| row.loss).sum::<f64>();
        gradient_of_logits(setting, head, targets, &rows, objective, buffers);
        gradient_of_hidden(setting, head, targets.len(), buffers);
        if let Some(trained) = trained.as_deref_mut() {
            trained.add(setting, targets.len(), x, buffers);
        }
        grad.fill(0.0);
        let pairs = x.chunks(hidden).zip(buffers.dnormed.chunks(hidden)).zip(grad.chunks_mut(hidden));
        for ((x, dnormed), grad) in pairs {
            math::rms_norm_backward(setting.level, x, head.norm, setting.eps, dnormed, grad);
        }
    }
    total / objective.divisor
}

/// Gradients of the weights at the end of the model.
#[derive(Debug)]
pub(super) struct HeadGradients<'a> {
    /// Of the output projection, (vocabulary, hidden).
    pub(super) weight: &'a mut [f32],
    /// Of the last norm.
    pub(super) norm: &'a mut [f32],
}

impl HeadGradients<'_> {
    /// Adds those of the rows that the buffers hold.
    fn add(&mut self, setting: &Setting<'_>, rows: usize, x: &[f32], buffers: &HeadBuffers) {
        let hidden = setting.hidden;
        let normed = &buffers.normed[..rows * hidden];
        self.weight.par_chunks_mut(GROUP * hidden).enumerate().for_each(|(group, sums)| {
            let left = Left::transposed(&buffers.logits, group * rows * GROUP, GROUP);
            let right = Right::Natural { data: normed, offset: 0, row: hidden };
            let classes = sums.len() / hidden;
            let mut out = Out { data: sums, offset: 0, row: hidden, rows: classes, columns: hidden, add: true };
            multiply(setting.level, &mut out, &[Factors { left, right, len: rows }]);
        });
        super::full::add_norm(setting, x, &buffers.dnormed[..rows * hidden], self.norm);
    }
}

/// Log-probabilities of (row of x, class) pairs in nats.
pub(super) fn log_probs(
    setting: &Setting<'_>,
    head: &Head<'_>,
    x: &[f32],
    wanted: &[(usize, u32)],
    buffers: &mut HeadBuffers,
) -> Vec<f64> {
    let hidden = setting.hidden;
    let mut found = vec![0.0; wanted.len()];
    for (index, x) in x.chunks(ROWS * hidden).enumerate() {
        let rows = x.len() / hidden;
        logits(setting, head, x, &vec![0; rows], buffers);
        // Behind them lie those of a larger chunk before this one.
        let stats = &buffers.stats[..head.vocabulary.div_ceil(GROUP) * rows];
        for (place, (row, class)) in wanted.iter().enumerate() {
            let Some(row) = row.checked_sub(index * ROWS).filter(|row| *row < rows) else { continue };
            let (group, column) = (*class as usize / GROUP, *class as usize % GROUP);
            let logit = buffers.logits[(group * rows + row) * GROUP + column];
            found[place] = f64::from(logit) - log_z(stats, rows, row);
        }
    }
    found
}

/// The most likely class of every row; of equal ones the lowest.
pub(super) fn argmax(setting: &Setting<'_>, head: &Head<'_>, x: &[f32], buffers: &mut HeadBuffers) -> Vec<u32> {
    let hidden = setting.hidden;
    let mut best = Vec::with_capacity(x.len() / hidden);
    for x in x.chunks(ROWS * hidden) {
        let rows = x.len() / hidden;
        logits(setting, head, x, &vec![0; rows], buffers);
        best.par_extend((0..rows).into_par_iter().map(|row| {
            let mut top = (f32::NEG_INFINITY, 0);
            for class in 0..head.vocabulary {
                let logit = buffers.logits[(class / GROUP * rows + row) * GROUP + class % GROUP];
                if logit > top.0 {
                    top = (logit, class);
                }
            }
            crate::batch::row(top.1)
        }));
    }
    best
}

/// The logits of every row, (rows, vocabulary).
pub(super) fn logit_rows(
    setting: &Setting<'_>,
    head: &Head<'_>,
    x: &[f32],
    buffers: &mut HeadBuffers,
) -> Vec<Vec<f32>> {
    let hidden = setting.hidden;
    let mut found = Vec::with_capacity(x.len() / hidden);
    for x in x.chunks(ROWS * hidden) {
        let rows = x.len() / hidden;
        logits(setting, head, x, &vec![0; rows], buffers);
        let groups = &buffers.logits;
        found.par_extend((0..rows).into_par_iter().map(|row| {
            let mut all = Vec::with_capacity(head.vocabulary);
            for first in (0..head.vocabulary).step_by(GROUP) {
                let at = (first / GROUP * rows + row) * GROUP;
                all.extend_from_slice(&groups[at..at + GROUP.min(head.vocabulary - first)]);
            }
            all
        }));
    }
    found
}

/// Fills the groups of logits, (groups, rows, [`GROUP`]), and their statistics.
fn logits(setting: &Setting<'_>, head: &Head<'_>, x: &[f32], targets: &[u32], buffers: &mut HeadBuffers) {
    let (hidden, level, rows) = (setting.hidden, setting.level, targets.len());
    let groups = head.vocabulary.div_ceil(GROUP);
    let normed = room(&mut buffers.normed, x.len());
    norm_rows(setting, head.norm, x, normed);
    let words = hidden.div_ceil(2);
    let pairs = room(&mut buffers.pairs, rows * words);
    if head.packed.is_some() {
        for (out, row) in pairs.chunks_mut(words).zip(normed.chunks(hidden)) {
            math::round_to_pairs(level, row, out);
        }
    }
    let (normed, pairs) = (&*normed, &*pairs);
    let few = (head.packed.is_none() && rows <= few::MOST_ROWS)
        .then(|| Columns::new(level, normed, (rows, hidden, hidden), &mut buffers.few));
    if buffers.stats.len() < groups * rows {
        buffers.stats.resize(groups * rows, Stats::default());
    }
    let logits = room(&mut buffers.logits, groups * rows * GROUP);
    logits.par_chunks_mut(rows * GROUP).zip(buffers.stats.par_chunks_mut(rows)).enumerate().take(groups).for_each(
        |(group, (logits, stats))| {
            let first = group * GROUP;
            let columns = GROUP.min(head.vocabulary - first);
            let mut out = Out { data: logits, offset: 0, row: GROUP, rows, columns, add: false };
            if let Some(packed) = head.packed {
                let panels = &packed.forward[first * words..];
                multiply_bf16(level, &mut out, PairRows { data: pairs, row: words, len: words }, panels, None);
            } else if let Some(few) = few {
                setting.pool.with(|scratch| {
                    let [result, taken_out, ..] = &mut scratch.floats;
                    let result = room(result, columns * few.lanes());
                    let weights = head.weight.rows(first, columns, taken_out);
                    multiply_columns(level, weights, few, None, (&mut *result, false));
                    store_rows(result, few, GROUP, out.data);
                });
            } else {
                setting.pool.with(|scratch| {
                    let [panels, taken_out, ..] = &mut scratch.floats;
                    let panels = room(panels, GROUP * hidden);
                    let weights = head.weight.rows(first, columns, taken_out);
                    for (panel, rows) in panels.chunks_mut(PANEL * hidden).zip(weights.chunks(PANEL * hidden)) {
                        fill_transposed_panel(panel, rows, hidden);
                    }
                    let left = Left::rows(normed, 0, hidden);
                    multiply(level, &mut out, &[Factors { left, right: Right::Panels(panels), len: hidden }]);
                });
            }
            for ((logits, stats), target) in logits.chunks(GROUP).zip(stats).zip(targets) {
                let logits = &logits[..columns];
                stats.log_z = math::log_sum_exp(level, logits);
                stats.sum = logits.iter().sum();
                stats.gold =
                    (*target as usize).checked_sub(first).and_then(|at| logits.get(at)).copied().unwrap_or(0.0);
            }
        },
    );
}

/// Logarithm of the sum over all groups of one row.
fn log_z(stats: &[Stats], rows: usize, row: usize) -> f64 {
    let of_row = || stats.iter().skip(row).step_by(rows).map(|stats| f64::from(stats.log_z));
    let top = of_row().fold(f64::NEG_INFINITY, f64::max);
    top + of_row().map(|z| (z - top).exp()).sum::<f64>().ln()
}

fn row_losses(head: &Head<'_>, rows: usize, objective: Objective, buffers: &HeadBuffers) -> Vec<RowLoss> {
    let stats = &buffers.stats[..head.vocabulary.div_ceil(GROUP) * rows];
    (0..rows)
        .map(|row| {
            let of_row = || stats.iter().skip(row).step_by(rows);
            let log_z = log_z(stats, rows, row);
            let gold: f64 = of_row().map(|stats| f64::from(stats.gold)).sum();
            let mean = of_row().map(|stats| f64::from(stats.sum)).sum::<f64>() / head.vocabulary as f64;
            let smoothing = objective.label_smoothing;
            let loss = (1.0 - smoothing) * (log_z - gold) + smoothing * (log_z - mean);
            RowLoss { log_z: crate::ops::single(log_z), loss }
        })
        .collect()
}

/// Overwrites logits by the gradient of the loss.
fn gradient_of_logits(
    setting: &Setting<'_>,
    head: &Head<'_>,
    targets: &[u32],
    rows: &[RowLoss],
    objective: Objective,
    buffers: &mut HeadBuffers,
) {
    let scale = crate::ops::single(1.0 / objective.divisor);
    let smoothing = crate::ops::single(objective.label_smoothing);
    let groups = head.vocabulary.div_ceil(GROUP);
    let logits = &mut buffers.logits[..groups * rows.len() * GROUP];
    logits.par_chunks_mut(rows.len() * GROUP).enumerate().for_each(|(group, logits)| {
        let first = group * GROUP;
        let columns = GROUP.min(head.vocabulary - first);
        for ((logits, row), target) in logits.chunks_mut(GROUP).zip(rows).zip(targets) {
            let logits = &mut logits[..columns];
            math::gradient_of_cross_entropy(
                setting.level,
                logits,
                row.log_z,
                scale,
                smoothing / head.vocabulary as f32,
            );
            if let Some(gold) = (*target as usize).checked_sub(first).and_then(|at| logits.get_mut(at)) {
                *gold -= scale * (1.0 - smoothing);
            }
        }
    });
}

/// `dnormed = dlogits · W`, columns shared out; some groups of W after the other where it has to be taken out.
fn gradient_of_hidden(setting: &Setting<'_>, head: &Head<'_>, rows: usize, buffers: &mut HeadBuffers) {
    let hidden = setting.hidden;
    let tasks = hidden.div_ceil(COLUMNS);
    let HeadBuffers { logits, gradient_pairs, columns, dnormed, span, .. } = buffers;
    let logits = &*logits;
    if head.packed.is_some() {
        round_gradients(setting, head, rows, logits, gradient_pairs);
    }
    let gradient_pairs = &*gradient_pairs;
    let columns = room(columns, tasks * rows * COLUMNS);
    match head.packed {
        Some(packed) => columns.par_chunks_mut(rows * COLUMNS).enumerate().for_each(|(task, out)| {
            let first = task * COLUMNS;
            let width = COLUMNS.min(hidden - first);
            packed.add_gradient(setting, head.vocabulary, gradient_pairs, (first, width), rows, out);
        }),
        None => multiply_spans(setting, head, rows, logits, span, columns),
    }
    let dnormed = room(dnormed, rows * hidden);
    for (row, out) in dnormed.chunks_mut(hidden).enumerate() {
        for (task, out) in out.chunks_mut(COLUMNS).enumerate() {
            out.copy_from_slice(&columns[(task * rows + row) * COLUMNS..][..out.len()]);
        }
    }
}

/// `dlogits · W` in single precision; of a quantised projection some classes exist as floats at a time.
fn multiply_spans(
    setting: &Setting<'_>,
    head: &Head<'_>,
    rows: usize,
    logits: &[f32],
    span: &mut Vec<f32>,
    columns: &mut [f32],
) {
    let hidden = setting.hidden;
    let groups = head.vocabulary.div_ceil(GROUP);
    let is_whole = head.weight.floats().is_some();
    let span_groups = if is_whole { groups } else { (SPAN_VALUES / (GROUP * hidden)).clamp(1, groups) };
    for begin in (0..groups).step_by(span_groups) {
        let end = (begin + span_groups).min(groups);
        let first_class = begin * GROUP;
        let classes = head.vocabulary.min(end * GROUP) - first_class;
        let weights = head.weight.rows_on_all_threads(first_class, classes, span);
        columns.par_chunks_mut(rows * COLUMNS).enumerate().for_each(|(task, out)| {
            let first = task * COLUMNS;
            let mut out =
                Out { data: out, offset: 0, row: COLUMNS, rows, columns: COLUMNS.min(hidden - first), add: false };
            for group in begin..end {
                let len = GROUP.min(head.vocabulary - group * GROUP);
                let left = Left::rows(logits, group * rows * GROUP, GROUP);
                let offset = (group - begin) * GROUP * hidden + first;
                let right = Right::Natural { data: weights, offset, row: hidden };
                out.add = group > 0;
                multiply(setting.level, &mut out, &[Factors { left, right, len }]);
            }
        });
    }
}

/// Rounds the gradients of all groups of logits to pairs.
fn round_gradients(setting: &Setting<'_>, head: &Head<'_>, rows: usize, logits: &[f32], pairs: &mut Vec<u32>) {
    let groups = head.vocabulary.div_ceil(GROUP);
    let pairs = room(pairs, groups * rows * GROUP / 2);
    pairs.par_chunks_mut(rows * GROUP / 2).zip(logits.par_chunks(rows * GROUP)).enumerate().for_each(
        |(group, (pairs, logits))| {
            let len = GROUP.min(head.vocabulary - group * GROUP);
            for (pairs, logits) in pairs.chunks_mut(GROUP / 2).zip(logits.chunks(GROUP)) {
                math::round_to_pairs(setting.level, &logits[..len], &mut pairs[..len.div_ceil(2)]);
            }
        },
    );
}

impl PackedHead {
    /// Some columns of `dlogits · W`, summed over the groups in order; `out` has rows of [`COLUMNS`].
    fn add_gradient(
        &self,
        setting: &Setting<'_>,
        vocabulary: usize,
        pairs: &[u32],
        (first, width): (usize, usize),
        rows: usize,
        out: &mut [f32],
    ) {
        let words = vocabulary.div_ceil(2);
        for group in 0..vocabulary.div_ceil(GROUP) {
            let len = GROUP.min(vocabulary - group * GROUP).div_ceil(2);
            let pairs = PairRows { data: &pairs[group * rows * GROUP / 2..], row: GROUP / 2, len };
            for panel in 0..width.div_ceil(PANEL) {
                let panels = &self.backward[((first / PANEL + panel) * words + group * GROUP / 2) * PANEL..];
                let columns = PANEL.min(width - panel * PANEL);
                let add = group > 0;
                let mut out = Out { data: &mut *out, offset: panel * PANEL, row: COLUMNS, rows, columns, add };
                multiply_bf16(setting.level, &mut out, pairs, panels, None);
            }
        }
    }
}
