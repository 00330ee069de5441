//! What work costs, and the limits on it. Enforced by the engine, outside whatever proposes.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// Spent resources; all fields add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cost {
    /// Wall time in seconds.
    pub wall_s: f64,
    /// Processor time in seconds, all threads.
    pub cpu_s: f64,
    /// GPU time in seconds.
    pub gpu_s: f64,
    /// Energy of the processor in joules, of all programs of the machine together; 0 where it cannot be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub energy_j: f64,
    /// Tokens that a language model of the Researcher read and wrote.
    pub tokens: u64,
    /// Money for remote services, in US dollars.
    pub money: f64,
    /// Bytes that were written to the disk of the workspace and stay there.
    pub disk_bytes: u64,
    /// Minutes of a person's attention.
    pub person_min: f64,
}

impl Cost {
    /// So many times the time of it. What is counted in whole tokens, in money or by people is not scaled.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            wall_s: self.wall_s * factor,
            cpu_s: self.cpu_s * factor,
            gpu_s: self.gpu_s * factor,
            energy_j: self.energy_j * factor,
            ..Self::default()
        }
    }

    /// Its time without that of a part of it, at least 0.
    #[must_use]
    pub fn without(&self, part: &Self) -> Self {
        Self {
            wall_s: (self.wall_s - part.wall_s).max(0.0),
            cpu_s: (self.cpu_s - part.cpu_s).max(0.0),
            gpu_s: (self.gpu_s - part.gpu_s).max(0.0),
            energy_j: (self.energy_j - part.energy_j).max(0.0),
            ..Self::default()
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wall_s += other.wall_s;
        self.cpu_s += other.cpu_s;
        self.gpu_s += other.gpu_s;
        self.energy_j += other.energy_j;
        self.tokens += other.tokens;
        self.money += other.money;
        self.disk_bytes += other.disk_bytes;
        self.person_min += other.person_min;
    }
}

/// Left out of what is written, as most machines do not tell it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Limits of a run; a limit that is absent does not bind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Training trials (one variant at one rung with one seed), repeats for the noise floor included.
    pub trials: usize,
    /// Wall time in seconds.
    pub wall_s: Option<f64>,
    /// Processor seconds.
    pub cpu_s: Option<f64>,
    /// GPU seconds.
    pub gpu_s: Option<f64>,
    /// Tokens of the Researcher.
    pub tokens: Option<u64>,
    /// Money in US dollars.
    pub money: Option<f64>,
    /// Bytes on the disk of the workspace: adapters and checkpoints.
    pub disk_bytes: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { trials: 18, wall_s: None, cpu_s: None, gpu_s: None, tokens: None, money: None, disk_bytes: None }
    }
}

/// The limit that ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLimit {
    /// Number of trials.
    Trials,
    /// Wall time.
    Wall,
    /// Processor time.
    Cpu,
    /// GPU time.
    Gpu,
    /// Tokens.
    Tokens,
    /// Money.
    Money,
    /// Disk.
    Disk,
}

impl BudgetLimit {
    /// The stable name, as in the budget of a task file where it has the same.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trials => "trials",
            Self::Wall => "wall_s",
            Self::Cpu => "cpu_s",
            Self::Gpu => "gpu_s",
            Self::Tokens => "tokens",
            Self::Money => "money",
            Self::Disk => "disk_bytes",
        }
    }
}

impl Budget {
    /// Checks that every limit is positive.
    pub fn validate(&self) -> Result<(), DomainError> {
        if self.trials == 0 {
            return Err(DomainError::OutOfRange {
                field: "budget.trials",
                value: "0".to_owned(),
                allowed: "at least 1",
            });
        }
        let limits = [
            ("budget.wall_s", self.wall_s),
            ("budget.cpu_s", self.cpu_s),
            ("budget.gpu_s", self.gpu_s),
            ("budget.money", self.money),
        ];
        if self.disk_bytes == Some(0) {
            let (field, value) = ("budget.disk_bytes", "0".to_owned());
            return Err(DomainError::OutOfRange { field, value, allowed: "above 0" });
        }
        for (field, limit) in limits {
            if let Some(value) = limit.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(DomainError::OutOfRange { field, value: value.to_string(), allowed: "above 0" });
            }
        }
        Ok(())
    }

    /// The first limit that `spent` plus `next` would break, where `trials` have been started.
    pub fn broken_by(&self, spent: &Cost, next: &Cost, trials: usize) -> Option<BudgetLimit> {
        let over = |limit: Option<f64>, value: f64| limit.is_some_and(|limit| value > limit);
        if trials >= self.trials {
            return Some(BudgetLimit::Trials);
        }
        if over(self.wall_s, spent.wall_s + next.wall_s) {
            return Some(BudgetLimit::Wall);
        }
        if over(self.cpu_s, spent.cpu_s + next.cpu_s) {
            return Some(BudgetLimit::Cpu);
        }
        if over(self.gpu_s, spent.gpu_s + next.gpu_s) {
            return Some(BudgetLimit::Gpu);
        }
        if self.tokens.is_some_and(|limit| spent.tokens + next.tokens > limit) {
            return Some(BudgetLimit::Tokens);
        }
        if over(self.money, spent.money + next.money) {
            return Some(BudgetLimit::Money);
        }
        self.disk_bytes.is_some_and(|limit| spent.disk_bytes + next.disk_bytes > limit).then_some(BudgetLimit::Disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_broken_limit_is_named() {
        let budget = Budget { trials: 3, wall_s: Some(10.0), ..Budget::default() };
        let spent = Cost { wall_s: 8.0, ..Cost::default() };
        let next = |wall_s| Cost { wall_s, ..Cost::default() };
        assert_eq!(budget.broken_by(&spent, &next(1.0), 2), None);
        assert_eq!(budget.broken_by(&spent, &next(3.0), 2), Some(BudgetLimit::Wall));
        assert_eq!(budget.broken_by(&spent, &next(1.0), 3), Some(BudgetLimit::Trials));
        let disk = Budget { disk_bytes: Some(10), ..Budget::default() };
        let bytes = |disk_bytes| Cost { disk_bytes, ..Cost::default() };
        assert_eq!(disk.broken_by(&bytes(4), &bytes(6), 0), None);
        assert_eq!(disk.broken_by(&bytes(4), &bytes(7), 0), Some(BudgetLimit::Disk));
        assert!(Budget { wall_s: Some(0.0), ..Budget::default() }.validate().is_err());
    }
}
