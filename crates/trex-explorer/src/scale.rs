//! What all nodes of a tree are measured against: the largest gain, the largest cost, the range of all scores. Knows no
//! colour and no size on the screen.

use std::collections::BTreeMap;

use crate::{NodeKind, ShownScore, TreeNode};

/// What all nodes are measured against.
pub(crate) struct Scale {
    /// Largest gain or loss.
    pub(crate) gain: f64,
    /// Largest cost of a variant.
    pub(crate) cost: f64,
    low: f64,
    high: f64,
    bases: BTreeMap<String, f64>,
}

impl Scale {
    pub(crate) fn of(nodes: &[TreeNode]) -> Self {
        // Small differences should not glow: the scale never ends below two points.
        const LEAST_GAIN: f64 = 0.02;
        let gain = nodes.iter().filter_map(|node| node.gain).fold(LEAST_GAIN, |most, gain| most.max(gain.abs()));
        let cost = nodes.iter().filter(|node| node.kind == NodeKind::Variant).map(|node| node.cost_s);
        let scores = || nodes.iter().filter_map(|node| node.score.as_ref());
        // A gain is a difference to the base, so each scored node tells the base of its split. Where less is better the
        // sign was turned; the base itself then stands on the other side.
        let mut bases = BTreeMap::new();
        for node in nodes {
            if let (Some(score), Some(gain)) = (&node.score, node.gain) {
                let base = nodes.first().and_then(|base| base.score.as_ref()).filter(|base| base.split == score.split);
                bases.entry(score.split.clone()).or_insert_with(|| base.map_or(score.value - gain, |base| base.value));
            }
        }
        Self {
            gain,
            cost: cost.fold(0.0, f64::max),
            low: scores().map(|score| score.low).fold(f64::MAX, f64::min),
            high: scores().map(|score| score.high).fold(f64::MIN, f64::max),
            bases,
        }
    }

    /// The score of the base on a split.
    pub(crate) fn base_on(&self, split: &str) -> Option<f64> {
        self.bases.get(split).copied()
    }

    /// Low, value, high and base as shares of the width of all bands.
    #[expect(clippy::cast_possible_truncation, reason = "shares for drawing")]
    pub(crate) fn band(&self, score: &ShownScore, base: f64) -> [f32; 4] {
        let width = (self.high - self.low).max(f64::EPSILON);
        [score.low, score.value, score.high, base].map(|at| ((at - self.low) / width).clamp(0.0, 1.0) as f32)
    }
}
