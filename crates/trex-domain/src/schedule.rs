//! How the learning rate moves: the schedules of transformers, to the last digit.
//!
//! Pure functions of step and settings, so a resumed training needs no state of a scheduler. Formulas are those of
//! `transformers/optimization.py` (5.x); the golden values of the test come from its `get_scheduler`.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DomainError, TrainConfig};

/// How the learning rate moves after the warm-up (names of transformers' `lr_scheduler_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    /// Falls linearly to zero.
    Linear,
    /// Falls along half a cosine to zero; `num_cycles` other than 0.5 makes more or less of the wave.
    #[default]
    Cosine,
    /// Falls along half a cosine to zero, `num_cycles` times over (default 1).
    CosineWithRestarts,
    /// Falls along half a cosine to `min_lr`, or to the share `min_lr_rate` of the peak.
    CosineWithMinLr,
    /// Falls to `lr_end` (default 1e-7) by the power `power` (default 1) of what is left.
    Polynomial,
    /// Stays, without any warm-up.
    Constant,
    /// Stays after the warm-up.
    ConstantWithWarmup,
    /// Falls with the square root of the step over `timescale` (default the warm-up, or 10 000 without one).
    InverseSqrt,
    /// Stays, then falls over the last `num_decay_steps` (default a fifth of the steps after the warm-up) to
    /// `min_lr_ratio` of the peak.
    WarmupStableDecay,
}

/// How a warm-up–stable–decay schedule falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecayType {
    /// In a straight line.
    #[serde(rename = "linear")]
    Linear,
    /// Along half a cosine; transformers' default.
    #[serde(rename = "cosine")]
    Cosine,
    /// As one minus the square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// What only some schedules read (transformers' `lr_scheduler_kwargs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerKwargs {
    /// Waves of a cosine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_cycles: Option<f64>,
    /// Lowest learning rate of `cosine_with_min_lr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// The same as a share of the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_rate: Option<f64>,
    /// Last learning rate of `polynomial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_end: Option<f64>,
    /// Exponent of `polynomial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// Steps after which `inverse_sqrt` begins to fall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<usize>,
    /// Steps of the decay of `warmup_stable_decay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decay_steps: Option<usize>,
    /// Steps at the peak of `warmup_stable_decay`; what the others leave where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_stable_steps: Option<usize>,
    /// How `warmup_stable_decay` falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<DecayType>,
    /// Share of the peak at which `warmup_stable_decay` begins and ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_ratio: Option<f64>,
}

impl SchedulerKwargs {
    /// Checks what the schedule needs against what is there.
    pub(crate) fn validate(&self, kind: SchedulerType, learning_rate: f64) -> Result<(), DomainError> {
        let shares = [
            ("lr_scheduler_kwargs.min_lr_rate", self.min_lr_rate),
            ("lr_scheduler_kwargs.min_lr_ratio", self.min_lr_ratio),
        ];
        for (field, share) in shares {
            check(field, share, share.is_none_or(|share| (0.0..=1.0).contains(&share)), "in [0, 1]")?;
        }
        let below_peak = |rate: Option<f64>| rate.is_none_or(|rate| (0.0..learning_rate).contains(&rate));
        check("lr_scheduler_kwargs.lr_end", self.lr_end, below_peak(self.lr_end), "at least 0, below learning_rate")?;
        check("lr_scheduler_kwargs.min_lr", self.min_lr, below_peak(self.min_lr), "at least 0, below learning_rate")?;
        let positive = |value: Option<f64>| value.is_none_or(|value| value > 0.0 && value.is_finite());
        check("lr_scheduler_kwargs.num_cycles", self.num_cycles, positive(self.num_cycles), "above 0")?;
        check("lr_scheduler_kwargs.power", self.power, positive(self.power), "above 0")?;
        let one_of_two = self.min_lr.is_some() != self.min_lr_rate.is_some();
        let fits = kind != SchedulerType::CosineWithMinLr || one_of_two;
        check("lr_scheduler_kwargs.min_lr", self.min_lr, fits, "either min_lr or min_lr_rate for cosine_with_min_lr")
    }
}

fn check(field: &'static str, value: Option<f64>, valid: bool, allowed: &'static str) -> Result<(), DomainError> {
    if valid {
        return Ok(());
    }
    let value = value.map_or("absent".to_owned(), |value| value.to_string());
    Err(DomainError::OutOfRange { field, value, allowed })
}

impl TrainConfig {
    /// Optimiser steps that warm up, of `total`: a share of them rounded up, or their number.
    pub fn warmup_steps(&self, total: usize) -> usize {
        let steps = if self.warmup_ratio < 1.0 { (total as f64 * self.warmup_ratio).ceil() } else { self.warmup_ratio };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a validated, positive count")]
        let steps = steps as usize;
        steps
    }

    /// Learning rate for optimiser step `step` (from 0) of `total` steps, as transformers' `get_scheduler` gives it: the
    /// warm-up begins at 0, so that with a warm-up the first step leaves the weights where they are.
    pub fn learning_rate_at(&self, step: usize, total: usize) -> f64 {
        let warmup = self.warmup_steps(total);
        self.learning_rate * self.factor(step, warmup, total)
    }

    /// Whether a training with these settings and one with the other's are the same for their first `steps` steps: all settings
    /// but the length are equal, and so is every learning rate. Not where dev rows are scored on the way, whose best weights
    /// are kept.
    pub fn is_equal_until(&self, other: &Self, steps: usize) -> bool {
        let of_that_length = Self { max_steps: other.max_steps, ..self.clone() };
        let rate = |config: &Self, step| config.learning_rate_at(step, config.max_steps).to_bits();
        of_that_length == *other
            && self.eval_steps == 0
            && steps <= self.max_steps.min(other.max_steps)
            && (0..steps).all(|step| rate(self, step) == rate(other, step))
    }

    fn factor(&self, step: usize, warmup: usize, total: usize) -> f64 {
        use SchedulerType as Kind;
        if self.lr_scheduler_type == Kind::Constant {
            return 1.0;
        }
        if self.lr_scheduler_type == Kind::WarmupStableDecay {
            return self.stable_decay(step, warmup, total);
        }
        let (now, rest) = (step as f64 - warmup as f64, (total as f64 - warmup as f64).max(1.0));
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let kwargs = &self.lr_scheduler_kwargs;
        let progress = now / rest;
        match self.lr_scheduler_type {
            Kind::Linear => (1.0 - progress).max(0.0),
            Kind::Cosine => wave(progress, kwargs.num_cycles.unwrap_or(0.5)).max(0.0),
            Kind::CosineWithRestarts if progress >= 1.0 => 0.0,
            Kind::CosineWithRestarts => wave((kwargs.num_cycles.unwrap_or(1.0) * progress).fract(), 0.5),
            Kind::CosineWithMinLr => {
                let floor = kwargs.min_lr.map_or(kwargs.min_lr_rate.unwrap_or(0.0), |rate| rate / self.learning_rate);
                lift(wave(progress, kwargs.num_cycles.unwrap_or(0.5)), floor).max(0.0)
            }
            Kind::Polynomial => {
                let end = kwargs.lr_end.unwrap_or(1e-7) / self.learning_rate;
                let left = (1.0 - progress).max(0.0);
                lift(left.powf(kwargs.power.unwrap_or(1.0)), end)
            }
            Kind::InverseSqrt => {
                let scale = kwargs.timescale.unwrap_or(if warmup == 0 { 10_000 } else { warmup }) as f64;
                1.0 / ((now + scale) / scale).sqrt()
            }
            Kind::Constant | Kind::ConstantWithWarmup | Kind::WarmupStableDecay => 1.0,
        }
    }

    fn stable_decay(&self, step: usize, warmup: usize, total: usize) -> f64 {
        let kwargs = &self.lr_scheduler_kwargs;
        let floor = kwargs.min_lr_ratio.unwrap_or(0.0);
        let rest = total.saturating_sub(warmup);
        let decay = kwargs.num_decay_steps.unwrap_or(rest.div_ceil(5)).min(rest);
        let stable = kwargs.num_stable_steps.unwrap_or(rest - decay);
        if step < warmup {
            return lift(step as f64 / warmup as f64, floor);
        }
        if step < warmup + stable {
            return 1.0;
        }
        if step >= warmup + stable + decay {
            return floor;
        }
        let progress = (step - warmup - stable) as f64 / decay.max(1) as f64;
        let factor = match kwargs.decay_type.unwrap_or(DecayType::Cosine) {
            DecayType::Linear => 1.0 - progress,
            DecayType::Cosine => wave(progress, kwargs.num_cycles.unwrap_or(0.5)),
            DecayType::OneMinusSqrt => 1.0 - progress.sqrt(),
        };
        lift(factor, floor).max(0.0)
    }
}

/// A cosine from 1 to 0 and on, with `cycles` waves over a progress of 1.
fn wave(progress: f64, cycles: f64) -> f64 {
    0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos())
}

/// Maps [0, 1] to [floor, 1].
fn lift(factor: f64, floor: f64) -> f64 {
    factor * (1.0 - floor) + floor
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// One schedule of `schedules.json`.
    #[derive(Deserialize)]
    struct Golden {
        config: serde_json::Value,
        total: usize,
        rates: Vec<f64>,
    }

    /// `tests/golden/schedules.py` wrote the values with transformers' `get_scheduler`.
    #[test]
    fn every_schedule_has_the_values_of_transformers() {
        let cases: Vec<Golden> = serde_json::from_str(include_str!("../tests/golden/schedules.json")).unwrap();
        assert!(cases.len() > 15);
        for case in cases {
            let config: TrainConfig = serde_json::from_value(case.config.clone()).unwrap();
            config.validate().unwrap();
            for (step, expected) in case.rates.iter().enumerate() {
                let found = config.learning_rate_at(step, case.total);
                let near = (found - expected).abs() <= 1e-12 * config.learning_rate;
                assert!(near, "{} step {step}: {found} against {expected}", case.config);
            }
        }
    }

    #[test]
    fn warm_up_is_a_share_or_a_number() {
        let steps = |warmup_ratio| TrainConfig { warmup_ratio, ..TrainConfig::default() }.warmup_steps(60);
        assert_eq!((steps(0.0), steps(0.05), steps(0.99), steps(1.0), steps(12.0)), (0, 3, 60, 1, 12));
    }

    #[test]
    fn a_schedule_that_lacks_its_setting_is_refused() {
        let config = |kwargs| TrainConfig {
            lr_scheduler_type: SchedulerType::CosineWithMinLr,
            lr_scheduler_kwargs: kwargs,
            ..TrainConfig::default()
        };
        let rate = |min_lr| SchedulerKwargs { min_lr, ..SchedulerKwargs::default() };
        assert!(config(rate(None)).validate().unwrap_err().to_string().contains("min_lr"));
        config(rate(Some(1e-5))).validate().unwrap();
        assert!(config(rate(Some(1.0))).validate().is_err());
    }
}
