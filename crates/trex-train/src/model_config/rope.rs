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
    /// Each frequency divided by its own factor (LongRoPE, in the form for short sequences).
    LongRope {
        /// One per frequency, each above 0.
        short_factors: Vec<f64>,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
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
        let inverse = plain.enumerate().map(|(pair, frequency)| self.scaling.stretched(pair, frequency)).collect();
        let attention_factor = match &self.scaling {
            RopeScaling::LongRope { attention_factor, .. } => *attention_factor,
            _ => 1.0,
        };
        RopeFrequencies { inverse, attention_factor }
    }
}

impl RopeScaling {
    fn stretched(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                let turns = *original_max_position as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            }
            Self::LongRope { short_factors, .. } => frequency / short_factors.get(pair).copied().unwrap_or(1.0),
        }
    }
}
