//! Rotary frequencies and the ways of stretching them, as in transformers' `modeling_rope_utils.py`. Rotates nothing.

use serde::{Deserialize, Serialize};

/// How heads are rotated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rope {
    /// Rotated columns at the beginning of a head where it is not all of them; even.
    pub rotary_dim: Option<usize>,
    /// How the frequencies are stretched.
    pub scaling: RopeScaling,
}

/// A way of stretching the frequencies for longer sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// As they are.
    #[default]
    None,
    /// All divided by a factor.
    Linear {
        /// The factor, above 0.
        factor: f64,
    },
    /// Low frequencies divided by a factor, high ones kept, those between in between (Llama 3.1).
    Llama3 {
        /// The factor, above 0.
        factor: f64,
        /// Wavelengths above `original_max_position` divided by this are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position` divided by this are kept.
        high_freq_factor: f64,
        /// Length of sequences before stretching.
        original_max_position: usize,
    },
    /// High frequencies kept, low ones divided by a factor, told apart by the turns they make (YaRN, arXiv 2309.00071).
    Yarn(Yarn),
    /// Each frequency divided by its own factor (LongRoPE, in the form for short sequences).
    LongRope {
        /// One per frequency, each above 0.
        short_factors: Vec<f64>,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
}

/// Settings of YaRN, under the names of transformers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Yarn {
    /// The factor, above 0.
    pub factor: f64,
    /// Frequencies that make more turns than this within `original_max_position` are kept.
    pub beta_fast: f64,
    /// Frequencies that make fewer turns than this are divided in full.
    pub beta_slow: f64,
    /// Length of sequences before stretching.
    pub original_max_position: usize,
    /// Factor on cosines and sines.
    pub attention_factor: f64,
    /// Whether the two borders are rounded outwards to whole pairs.
    pub truncate: bool,
}

impl Yarn {
    /// The factor on cosines and sines that the paper recommends for a stretch, times `mscale`.
    pub(super) fn magnitude(factor: f64, mscale: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
    }

    /// Whether everything that llama.cpp derives from the factor is as it would derive it.
    pub(crate) fn is_usual(&self) -> bool {
        self.truncate && (self.attention_factor - Self::magnitude(self.factor, 1.0)).abs() < 1e-6
    }

    fn stretched(&self, pair: usize, frequency: f64, (columns, theta): (usize, f64)) -> f64 {
        let columns = columns as f64;
        let border = |turns: f64| {
            columns * (self.original_max_position as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (border(self.beta_fast), border(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(columns - 1.0));
        // As in transformers, so that equal borders do not divide by zero.
        let width = if (high - low).abs() > 0.0 { high - low } else { 0.001 };
        let divided = ((pair as f64 - low) / width).clamp(0.0, 1.0);
        (1.0 - divided) * frequency + divided * frequency / self.factor
    }
}

/// What positions are multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeFrequencies {
    /// Radians per position, one per rotated pair. Pair i is columns i and i + len of a head; later columns stay.
    pub inverse: Vec<f64>,
    /// Factor on cosines and sines.
    pub attention_factor: f64,
}

impl Rope {
    /// The frequencies `theta^(-2i/d)` of d rotated columns, stretched.
    pub(super) fn frequencies(&self, head_dim: usize, theta: f64) -> RopeFrequencies {
        let columns = self.rotary_dim.unwrap_or(head_dim);
        let plain = (0..columns / 2).map(|pair| theta.powf(-2.0 * pair as f64 / columns as f64));
        let space = (columns, theta);
        let inverse = plain.enumerate().map(|(pair, plain)| self.scaling.stretched(pair, plain, space)).collect();
        let attention_factor = match &self.scaling {
            RopeScaling::LongRope { attention_factor, .. } => *attention_factor,
            RopeScaling::Yarn(yarn) => yarn.attention_factor,
            _ => 1.0,
        };
        RopeFrequencies { inverse, attention_factor }
    }
}

impl RopeScaling {
    fn stretched(&self, pair: usize, frequency: f64, space: (usize, f64)) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                let turns = *original_max_position as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            }
            Self::Yarn(yarn) => yarn.stretched(pair, frequency, space),
            Self::LongRope { short_factors, .. } => frequency / short_factors.get(pair).copied().unwrap_or(1.0),
        }
    }
}
