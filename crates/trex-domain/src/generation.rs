//! How answers are written token by token, under the names and defaults of transformers' `GenerationConfig`.
//!
//! Draws nothing: that is the business of whoever has the logits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// How the next token is chosen.
///
/// In the order in which transformers does it: logits of tokens that occurred are changed by the penalty, then divided by
/// the temperature; then `top_k`, `top_p` and `min_p` take tokens away; what is left is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// Whether tokens are drawn; else the most likely one is taken.
    pub do_sample: bool,
    /// What logits are divided by, above 0.
    pub temperature: f64,
    /// So many of the most likely tokens may be drawn; 0 sets no limit.
    pub top_k: usize,
    /// The fewest most likely tokens that together have this probability may be drawn, in (0, 1].
    pub top_p: f64,
    /// Tokens with less than this share of the highest probability are not drawn, in [0, 1]; 0 sets no limit.
    pub min_p: f64,
    /// Logits of tokens in the prompt or the answer so far are divided by this where they are positive, and multiplied
    /// where they are not (Keskar and others, 2019); above 0, and 1 changes nothing. Also without drawing.
    pub repetition_penalty: f64,
    /// Names the random streams; every item has one of its own.
    pub seed: u64,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self { do_sample: false, temperature: 1.0, top_k: 50, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl GenerationConfig {
    /// Whether nothing was set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the most likely token is taken as the model has it.
    pub fn is_plain_greedy(&self) -> bool {
        !self.do_sample && !self.has_penalty()
    }

    /// Whether repetition is penalised.
    pub fn has_penalty(&self) -> bool {
        (self.repetition_penalty - 1.0).abs() > f64::EPSILON
    }

    /// Checks every range; a setting that only drawing reads is refused where nothing is drawn.
    pub fn validate(&self) -> Result<(), DomainError> {
        let is_unread =
            !self.do_sample && Self { repetition_penalty: self.repetition_penalty, ..Self::default() } != *self;
        let checks = [
            (
                "generation.temperature",
                self.temperature,
                self.temperature > 0.0 && self.temperature.is_finite(),
                "above 0; without do_sample the most likely token is taken",
            ),
            ("generation.top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("generation.min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
            (
                "generation.repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
                "above 0",
            ),
        ];
        for (field, value, valid, allowed) in checks {
            if !valid {
                return Err(DomainError::OutOfRange { field, value: value.to_string(), allowed });
            }
        }
        if is_unread {
            let allowed = "true where temperature, top_k, top_p, min_p or seed is set";
            let field = "generation.do_sample";
            return Err(DomainError::OutOfRange { field, value: self.do_sample.to_string(), allowed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut GenerationConfig), refused: Option<&str>) {
        let mut config = GenerationConfig { do_sample: true, ..GenerationConfig::default() };
        change(&mut config);
        let found = config.validate().err().map(|err| err.to_string());
        assert_eq!(found.as_deref().and_then(|text| text.split(' ').next()), refused);
    }

    #[test]
    fn values_out_of_range_are_named() {
        check(|_| (), None);
        check(|c| c.temperature = 0.0, Some("generation.temperature"));
        check(|c| c.temperature = f64::NAN, Some("generation.temperature"));
        check(|c| c.top_p = 0.0, Some("generation.top_p"));
        check(|c| c.min_p = 1.1, Some("generation.min_p"));
        check(|c| c.repetition_penalty = -1.0, Some("generation.repetition_penalty"));
        check(|c| (c.do_sample, c.top_k) = (false, 3), Some("generation.do_sample"));
        check(|c| (c.do_sample, c.repetition_penalty) = (false, 1.2), None);
    }
}
