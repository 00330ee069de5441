//! `trex bench forecast`: how near the forecasts of finished runs came to what their trials took.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use trex_search::{ForecastBasis, checked_forecasts};

use crate::error::CliError;
use crate::output::Output;

/// An error that counts as near.
const NEAR: f64 = 0.25;

/// Errors of one kind of forecast.
#[derive(Debug, Serialize)]
struct Errors {
    basis: ForecastBasis,
    n: usize,
    /// Forecasts within a quarter of what was measured.
    near: usize,
    /// 95 % interval of the share of those (Wilson).
    near_ci95: [f64; 2],
    /// Quantiles of the absolute relative error: 50 %, 90 %, all.
    quantiles: [f64; 3],
    /// Median of the relative error: above 0 forecasts are too high.
    bias: f64,
}

pub(super) fn run(workspaces: &[PathBuf], output: &mut Output) -> Result<(), CliError> {
    let mut by_basis: BTreeMap<ForecastBasis, Vec<f64>> = BTreeMap::new();
    for workspace in workspaces {
        let reader = trex_store::Workspace::open_reader(workspace)?;
        for run in reader.runs()? {
            for one in checked_forecasts(&reader.events(run.id, 0)?)? {
                by_basis.entry(one.basis).or_default().push(one.wall_error());
            }
        }
    }
    let found: Vec<Errors> = by_basis.into_iter().map(|(basis, errors)| errors_of(basis, errors)).collect();
    output.result(&found, || {
        let mut lines = vec!["forecasts of wall seconds of trials, against what was measured".to_owned()];
        lines.extend(found.iter().map(line));
        lines.join("\n")
    })
}

fn errors_of(basis: ForecastBasis, mut errors: Vec<f64>) -> Errors {
    let near = errors.iter().filter(|error| error.abs() <= NEAR).count();
    let n = errors.len();
    errors.sort_by(f64::total_cmp);
    let bias = quantile(&errors, 0.5);
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let quantiles = [0.5, 0.9, 1.0].map(|share| quantile(&sizes, share));
    Errors { basis, n, near, near_ci95: trex_eval::wilson95(near, n), quantiles, bias }
}

/// The smallest value that so large a share of all does not exceed.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short list")]
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied().unwrap_or_default()
}

fn line(errors: &Errors) -> String {
    let what = match errors.basis {
        ForecastBasis::DryRun => "first trial, from a dry run",
        ForecastBasis::OtherTrials => "lowest rung, from other trials",
        ForecastBasis::OneRung => "rest of a variant, from its lowest rung",
        ForecastBasis::AllTrials => "a further seed, from all trials",
    };
    let [low, high] = errors.near_ci95;
    let [half, most, all] = errors.quantiles.map(|error| format!("{:.0} %", 100.0 * error));
    format!(
        "{what:<42}within 25 %: {:.3} [{low:.3}, {high:.3}] n={}; error {half} in half, {most} in nine of ten, {all} at most; \
         middle {:+.0} %",
        errors.near as f64 / errors.n.max(1) as f64,
        errors.n,
        100.0 * errors.bias
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_and_ordered() {
        let errors = errors_of(ForecastBasis::OneRung, vec![0.3, -0.1, 0.2, -0.25, 0.0]);
        assert_eq!((errors.n, errors.near), (5, 4));
        assert!((errors.quantiles[0] - 0.2).abs() < 1e-12 && (errors.quantiles[2] - 0.3).abs() < 1e-12);
        assert!(errors.bias.abs() < 1e-12 && line(&errors).contains("0.800 ["), "{errors:?}");
    }
}
