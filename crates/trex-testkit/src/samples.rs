//! Small, valid sample values of domain types. The numbers mean nothing; they only differ where they should.

use trex_domain::{
    ContentHash, Cost, DataSource, Metric, MetricPoint, Millis, ModelRef, NodeId, Operator, OperatorCount, PromptSpec,
    Recipe, RowLedger, RunId, Score, SearchSettings, SplitSizes, Strategy, StrategyKind, TaskKind, TaskSpec,
    TrainConfig, TrainDone, Variant, VariantDiff, VariantId,
};

use crate::START;

/// The name of some content.
pub fn hash(content: &str) -> ContentHash {
    ContentHash::of_bytes(content.as_bytes())
}

/// A run id; a larger number is a later run.
pub fn run_id(number: u8) -> RunId {
    RunId::from_parts(Millis(START.0 + i64::from(number) * 60_000), [number; 10])
}

/// A node id from its name, such as `s1.e2`. Panics where it is not one.
pub fn node_id(name: &str) -> NodeId {
    name.parse().expect("tests name nodes correctly")
}

/// A variant id from its name, such as `s1.e2.a`. Panics where it is not one.
pub fn variant_id(name: &str) -> VariantId {
    name.parse().expect("tests name variants correctly")
}

/// A valid task of sentiment classification with two rungs.
pub fn task() -> TaskSpec {
    TaskSpec {
        device: trex_domain::DeviceChoice::Auto,
        name: "sentiment".to_owned(),
        goal: "tell positive from negative reviews".to_owned(),
        kind: TaskKind::Choice,
        metric: Metric::Accuracy,
        model: ModelRef("bundled".to_owned()),
        data: DataSource::Builtin { name: "ftbench/mini-1".to_owned() },
        splits: SplitSizes { search: 60, select: 80, final_: 100 },
        prompt: PromptSpec {
            system: None,
            template: "Review: {input}\nSentiment:".to_owned(),
            options: vec!["positive".to_owned(), "negative".to_owned()],
            max_new_tokens: 4,
        },
        generation: trex_domain::GenerationConfig::default(),
        train: TrainConfig { max_steps: 12, ..TrainConfig::default() },
        budget: trex_domain::Budget { trials: 40, ..trex_domain::Budget::default() },
        search: SearchSettings { rungs: 2, base_seeds: 2, ..SearchSettings::default() },
    }
}

/// A strategy.
pub fn strategy(kind: StrategyKind, title: &str) -> Strategy {
    Strategy {
        kind,
        title: title.to_owned(),
        hypothesis: format!("{title} helps"),
        rationale: "the profile shows it".to_owned(),
        evidence: vec!["rows: 200".to_owned()],
        expected_effect: 0.03,
        expected_cost: 1.0,
        prior: 0.4,
    }
}

/// A variant that differs from the task's starting point in its learning rate.
pub fn variant(name: &str, learning_rate: f64) -> Variant {
    let change = ("0.0002".to_owned(), learning_rate.to_string());
    Variant {
        id: variant_id(name),
        parent: None,
        diff: VariantDiff::from([("learning_rate".to_owned(), change)]),
        why: "the loss fell slowly".to_owned(),
        recipe: Recipe { operators: vec![Operator::Normalise, Operator::ExactDedup] },
        config: TrainConfig { learning_rate, ..task().train },
    }
}

/// An accuracy on a split, with an interval of ±0.05 (cut to [0, 1]) over 60 items.
pub fn score(split: &str, value: f64) -> Score {
    Score {
        metric: Metric::Accuracy,
        value,
        ci95: [(value - 0.05).max(0.0), (value + 0.05).min(1.0)],
        n: 60,
        split: split.to_owned(),
        items: hash(&format!("{split} {value}")),
        gold_prob: None,
    }
}

/// A cost of so many wall and processor seconds.
pub fn cost(secs: f64) -> Cost {
    Cost { wall_s: secs, cpu_s: secs, ..Cost::default() }
}

/// A balanced ledger of one operator that drops `rows_in - rows_out` rows.
pub fn ledger(rows_in: usize, rows_out: usize) -> RowLedger {
    let dropped = [("duplicate".to_owned(), rows_in - rows_out)].into();
    let step =
        OperatorCount { operator: "exact_dedup".to_owned(), rows_in, rows_out, dropped, ..OperatorCount::default() };
    RowLedger { rows_in, rows_out, steps: vec![step] }
}

/// What a training of so many steps leaves; `name` keeps blobs of different trials apart.
pub fn train_done(name: &str, steps: usize) -> TrainDone {
    let point = |step: usize| MetricPoint {
        step,
        loss: 2.0 / step as f64,
        learning_rate: 2e-4,
        grad_norm: 1.0 / (1.0 + step as f64),
        ..MetricPoint::default()
    };
    TrainDone {
        adapter: hash(&format!("adapter {name}")),
        checkpoint: hash(&format!("checkpoint {name}")),
        steps,
        curve: (1..=steps).map(point).collect(),
        tokens: 4_096,
        supervised_tokens: 512,
        truncated: 0,
        peak_rss_bytes: 200 << 20,
        cost: cost(1.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_valid() {
        task().validate().unwrap();
        variant("s1.e1.a", 3e-4).config.validate().unwrap();
        assert!(ledger(9, 7).balances());
        assert!(run_id(1) < run_id(2));
        assert_eq!(train_done("x", 3).curve.len(), 3);
    }
}
