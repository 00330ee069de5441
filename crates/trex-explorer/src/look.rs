//! Colours and sizes of the canvas, for a light and a dark page. The page has the same tokens in `ui/src/tokens.css`;
//! nothing here decides what is drawn.
//!
//! Score colours run from orange over grey to blue, which the common kinds of colour blindness tell apart; the shape of a
//! node says the same without any colour.

use egui::Color32;

use crate::{NetKind, NodeState};

/// Colours of one appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Behind everything.
    pub background: Color32,
    /// Behind labels.
    pub panel: Color32,
    /// Text.
    pub text: Color32,
    /// Text that matters less.
    pub dim: Color32,
    /// Lines between nodes.
    pub line: Color32,
    /// Selection, and the way to the best.
    pub accent: Color32,
    /// Nodes without a score.
    pub unscored: Color32,
    worse: Color32,
    equal: Color32,
    better: Color32,
    running: Color32,
    failed: Color32,
}

impl Theme {
    /// For a light page.
    pub fn light() -> Self {
        Self {
            background: Color32::from_rgb(0xf7, 0xf8, 0xfa),
            panel: Color32::from_rgb(0xf7, 0xf8, 0xfa),
            text: Color32::from_rgb(0x1b, 0x1f, 0x27),
            dim: Color32::from_rgb(0x5a, 0x63, 0x70),
            line: Color32::from_rgb(0xb3, 0xba, 0xc5),
            accent: Color32::from_rgb(0x0b, 0x5c, 0xad),
            unscored: Color32::from_rgb(0xd9, 0xdd, 0xe3),
            worse: Color32::from_rgb(0xc8, 0x5a, 0x0a),
            equal: Color32::from_rgb(0x8d, 0x96, 0xa3),
            better: Color32::from_rgb(0x14, 0x6c, 0xc4),
            running: Color32::from_rgb(0x8a, 0x5a, 0x00),
            failed: Color32::from_rgb(0xb4, 0x23, 0x18),
        }
    }

    /// For a dark page.
    pub fn dark() -> Self {
        Self {
            background: Color32::from_rgb(0x15, 0x18, 0x1e),
            panel: Color32::from_rgb(0x15, 0x18, 0x1e),
            text: Color32::from_rgb(0xe8, 0xeb, 0xf0),
            dim: Color32::from_rgb(0xa3, 0xad, 0xbb),
            line: Color32::from_rgb(0x4a, 0x53, 0x61),
            accent: Color32::from_rgb(0x6c, 0xb6, 0xff),
            unscored: Color32::from_rgb(0x39, 0x40, 0x4b),
            worse: Color32::from_rgb(0xf2, 0x8c, 0x3a),
            equal: Color32::from_rgb(0x7b, 0x85, 0x93),
            better: Color32::from_rgb(0x4f, 0xa3, 0xf7),
            running: Color32::from_rgb(0xf0, 0xc0, 0x4a),
            failed: Color32::from_rgb(0xff, 0x7b, 0x72),
        }
    }

    /// The colour of a gain, on a scale that ends at `±limit`.
    pub(crate) fn of_gain(&self, gain: Option<f64>, limit: f64) -> Color32 {
        let Some(gain) = gain else { return self.unscored };
        let share = (gain / limit.max(f64::EPSILON)).clamp(-1.0, 1.0);
        let end = if share < 0.0 { self.worse } else { self.better };
        mixed(self.equal, end, share.abs())
    }

    /// The colour of a thing of a net; its shape and its words say the same.
    pub(crate) fn of_thing(&self, kind: NetKind) -> Color32 {
        match kind {
            NetKind::Task => self.accent,
            NetKind::Insight => self.running,
            NetKind::Parameter | NetKind::Operator => self.equal,
            NetKind::Paper | NetKind::Dataset | NetKind::Model => self.unscored,
        }
    }

    /// The colour of the ring of a state.
    pub(crate) fn of_state(&self, state: NodeState) -> Color32 {
        match state {
            NodeState::Running | NodeState::Interrupted => self.running,
            NodeState::Failed | NodeState::Rejected => self.failed,
            NodeState::Evaluated | NodeState::Promoted => self.text,
            NodeState::Proposed | NodeState::Verified | NodeState::Cached | NodeState::Pruned => self.line,
        }
    }
}

/// Radius of a node by its share of the largest cost; the area grows with the cost.
pub(crate) fn radius(cost: f64, largest: f64) -> f32 {
    const SMALLEST: f32 = 5.0;
    const GROWTH: f32 = 5.0;
    let share = if largest > 0.0 { (cost / largest).clamp(0.0, 1.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "a share for drawing")]
    let share = share.sqrt() as f32;
    SMALLEST + GROWTH * share
}

fn mixed(from: Color32, to: Color32, share: f64) -> Color32 {
    #[expect(clippy::cast_possible_truncation, reason = "a share for drawing")]
    let share = share as f32;
    from.lerp_to_gamma(to, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2.2, "relative luminance" and "contrast ratio".
    fn contrast(a: Color32, b: Color32) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |c: Color32| 0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b());
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_marks_stand_out_in_both_themes() {
        for theme in [Theme::light(), Theme::dark()] {
            for text in [theme.text, theme.dim] {
                assert!(contrast(text, theme.background) >= 4.5, "{text:?}");
            }
            for mark in [theme.worse, theme.better, theme.accent, theme.running, theme.failed] {
                assert!(contrast(mark, theme.background) >= 3.0, "{mark:?}");
            }
        }
    }

    #[test]
    fn a_gain_is_bluer_and_a_loss_more_orange() {
        let theme = Theme::light();
        assert_eq!(theme.of_gain(Some(0.3), 0.1), theme.better);
        assert_eq!(theme.of_gain(Some(-0.3), 0.1), theme.worse);
        assert_eq!(theme.of_gain(Some(0.0), 0.1), theme.equal);
        assert_eq!(theme.of_gain(None, 0.1), theme.unscored);
    }

    #[test]
    fn dearer_nodes_are_larger() {
        assert!(radius(4.0, 4.0) > radius(1.0, 4.0));
        assert!(radius(0.0, 0.0) > 0.0);
    }
}
