//! The grid that is recorded: learning rate × recipe × rank × length of the training × schedule, 160 points.
//!
//! The dimensions are those that the strategies work on, with values as a person would try them, some of them bad ones.

use serde::{Deserialize, Serialize};
use trex_domain::{LoraConfig, Operator, Recipe, SchedulerType, TaskKind, TaskSpec, TrainConfig};

use super::Configuration;

/// What varies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// Setting.
    pub name: String,
    /// Its values as text.
    pub values: Vec<String>,
}

/// Factors on the learning rate of the task.
const RATES: [f64; 5] = [0.3, 1.0, 3.0, 10.0, 30.0];

/// Rank and alpha.
const RANKS: [(usize, usize); 2] = [(8, 16), (32, 64)];

/// Factors on steps and on examples per step; the examples of a training are the same, so every point costs the same.
const SHAPES: [(usize, usize); 2] = [(1, 1), (2, 2)];

/// How the learning rate goes on after the warm-up: as the task has it, or flat.
const SCHEDULES: [Option<SchedulerType>; 2] = [None, Some(SchedulerType::ConstantWithWarmup)];

/// All points of a task's grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What it spans.
    pub dimensions: Vec<Dimension>,
    /// Its points, the last dimension running fastest.
    pub configurations: Vec<Configuration>,
}

/// The place of the task's own settings in each dimension: the second learning rate, the first value of all others.
pub(crate) const START: [usize; 5] = [1, 0, 0, 0, 0];

/// The place of what the built-in Researcher advises for short trainings on rows with defects, all of it at once: rows that are
/// trusted, twice the steps, a rate that does not fall.
pub(crate) const ADVICE: [usize; 5] = [1, 2, 0, 1, 1];

/// The grid of a task.
pub fn grid(task: &TaskSpec) -> Grid {
    let recipes = recipes(task);
    let lengths = [RATES.len(), recipes.len(), RANKS.len(), SHAPES.len(), SCHEDULES.len()];
    let scheduler = |one: Option<SchedulerType>| one.unwrap_or(task.train.lr_scheduler_type);
    let dimension = |name: &str, values: Vec<String>| Dimension { name: name.to_owned(), values };
    let dimensions = vec![
        dimension("learning_rate", RATES.map(|factor| (task.train.learning_rate * factor).to_string()).to_vec()),
        dimension("recipe", recipes.iter().map(|(name, _)| (*name).to_owned()).collect()),
        dimension("rank", RANKS.map(|(rank, _)| rank.to_string()).to_vec()),
        dimension("max_steps", SHAPES.map(|(factor, _)| (task.train.max_steps * factor).to_string()).to_vec()),
        dimension("lr_scheduler_type", SCHEDULES.map(|one| name_of(scheduler(one))).to_vec()),
    ];
    let points: usize = lengths.iter().product();
    let configurations = (0..points).map(|number| {
        let place = place_of(number, &lengths);
        let (rank, alpha) = RANKS[place[2]];
        let (longer, smaller) = SHAPES[place[3]];
        let config = TrainConfig {
            learning_rate: task.train.learning_rate * RATES[place[0]],
            max_steps: task.train.max_steps * longer,
            per_device_train_batch_size: (task.train.per_device_train_batch_size / smaller).max(1),
            lr_scheduler_type: scheduler(SCHEDULES[place[4]]),
            lora: LoraConfig { r: rank, lora_alpha: alpha, ..task.train.lora.clone() },
            ..task.train.clone()
        };
        let recipe = Recipe { operators: recipes[place[1]].1.clone() };
        Configuration { place, recipe, config }
    });
    Grid { dimensions, configurations: configurations.collect() }
}

/// The name that a task file has for it.
fn name_of(scheduler: SchedulerType) -> String {
    serde_json::to_value(scheduler).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

pub(super) fn place_of(number: usize, lengths: &[usize]) -> Vec<usize> {
    let mut rest = number;
    let mut place: Vec<usize> = lengths
        .iter()
        .rev()
        .map(|length| {
            let value = rest % length;
            rest /= length;
            value
        })
        .collect();
    place.reverse();
    place
}

/// From light to heavy: what every recipe has, no repeats, no doubtful rows either, and half of the rows.
fn recipes(task: &TaskSpec) -> Vec<(&'static str, Vec<Operator>)> {
    let mut light = vec![Operator::ValidAnswer, Operator::Decontaminate { ngram_words: 8, max_overlap: 0.7 }];
    if task.kind == TaskKind::Choice {
        light.insert(0, Operator::CanonicalAnswer);
    }
    let mut unrepeated = light.clone();
    unrepeated.extend([
        Operator::ResolveConflicts { min_share: 0.6 },
        Operator::ExactDedup,
        Operator::NearDedup { threshold: 0.8, shingle_words: 3 },
    ]);
    let mut trusted = unrepeated.clone();
    trusted.push(Operator::TopicFilter { min_known_share: 0.5, min_rows: 15 });
    if task.kind == TaskKind::Choice {
        trusted.push(Operator::NeighbourAgreement { neighbours: 7, min_agreement: 0.3 });
    }
    let mut half = light.clone();
    half.push(Operator::StratifiedSample { rows: 700 });
    vec![("light", light), ("unrepeated", unrepeated), ("trusted", trusted), ("half", half)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn places_count_through_the_grid() {
        assert_eq!(place_of(0, &[2, 3]), [0, 0]);
        assert_eq!(place_of(4, &[2, 3]), [1, 1]);
        let all: BTreeSet<_> = (0..24).map(|number| place_of(number, &[2, 3, 4])).collect();
        assert_eq!(all.len(), 24);
    }
}
