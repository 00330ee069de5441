//! Forecasts follow what the run's own trials cost.

use trex_domain::{Cost, SearchSettings, StrategyKind, TrainConfig, VariantId};
use trex_search::{forecast_full_cost, forecast_trial_cost};

use crate::fake::{Ran, Verified, World, propose_batch, propose_strategy, run_batch, started};

struct Plain;

impl World for Plain {
    fn verify(&mut self, _: &VariantId) -> Verified {
        Verified::Passed
    }

    fn run(&mut self, _: &VariantId, _: usize) -> Ran {
        Ran::Scored(0.5)
    }

    fn select(&mut self, _: &VariantId) -> f64 {
        0.5
    }
}

#[test]
fn forecasts_are_linear_in_examples_and_zero_before_the_first_trial() {
    let mut state = started(SearchSettings { rungs: 3, ..SearchSettings::default() });
    let config = state.task.as_ref().unwrap().train.clone();
    assert_eq!(forecast_trial_cost(&state, &config, 0), Cost::default());
    let strategy = propose_strategy(&mut state, 1, StrategyKind::Baseline, 0.5);
    let node = propose_batch(&mut state, &strategy, 1);
    run_batch(&mut state, &node, &mut Plain);
    // The fake charges 10, 30 and 90 wall seconds at the three rungs for 10, 20 and 60 new steps: 130/90 per step.
    let per_step = 130.0 / 90.0;
    let close = |cost: Cost, steps: f64| {
        assert!((cost.wall_s - steps * per_step).abs() < 1e-9, "{cost:?}");
        assert!((cost.cpu_s - 2.0 * cost.wall_s).abs() < 1e-9, "{cost:?}");
    };
    close(forecast_trial_cost(&state, &config, 0), 10.0);
    close(forecast_trial_cost(&state, &config, 1), 20.0);
    close(forecast_trial_cost(&state, &config, 2), 60.0);
    close(forecast_full_cost(&state, &config), 90.0);
    let halved = TrainConfig { per_device_train_batch_size: config.per_device_train_batch_size / 2, ..config };
    close(forecast_trial_cost(&state, &halved, 2), 30.0);
}

/// A dry run that stands for every variant of the sample.
fn dry_run(state: &mut trex_domain::RunState, config: &TrainConfig) {
    let seconds = |wall_s: f64| Cost { wall_s, cpu_s: 2.0 * wall_s, ..Cost::default() };
    let model = state.model.unwrap();
    let data = trex_domain::ContentHash::of_bytes(b"data of a dry run");
    let done = trex_domain::DryRunDone {
        rows: 10,
        row_tokens: 100,
        row_supervised: 10,
        truncated: 0,
        micro_batch_rows: 4,
        loss: 1.0,
        peak_rss_bytes: 1,
        load: seconds(1.0),
        encoding: seconds(0.5),
        micro_batch: seconds(8.0),
        cost: Cost::default(),
    };
    let shape = trex_domain::dry_run_shape(&model, &data, config).unwrap();
    let variant = VariantId::new(&trex_domain::NodeId::strategy(1).experiment(1), 0);
    state.apply(&trex_domain::Event::DryRun { variant, shape, done }).unwrap();
}

#[test]
fn a_dry_run_is_gone_by_until_a_trial_was_measured() {
    let mut state = started(SearchSettings { rungs: 3, ..SearchSettings::default() });
    let config = state.task.as_ref().unwrap().train.clone();
    dry_run(&mut state, &config);
    // Loading twice, making tokens once, two seconds a row; nothing of the data is known, so nothing is scored.
    let examples = (10 * config.effective_batch_size()) as f64;
    let cost = forecast_trial_cost(&state, &config, 0);
    assert!((cost.wall_s - (2.5 + 2.0 * examples)).abs() < 1e-9, "{cost:?}");
    assert!((cost.cpu_s - 2.0 * cost.wall_s).abs() < 1e-9, "{cost:?}");
    let strategy = propose_strategy(&mut state, 1, StrategyKind::Baseline, 0.5);
    let node = propose_batch(&mut state, &strategy, 1);
    run_batch(&mut state, &node, &mut Plain);
    // Three trials took 130 seconds for 90 steps, of which opening takes 1.5 each.
    let cost = forecast_trial_cost(&state, &config, 1);
    assert!((cost.wall_s - (2.5 + 20.0 * (130.0 - 3.0 * 1.5) / 90.0)).abs() < 1e-9, "{cost:?}");
}
