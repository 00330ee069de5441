//! A Gaussian process with a squared-exponential kernel (Rasmussen & Williams, 2006, algorithm 2.1): the surrogate over
//! variants. Small and exact, because a run has tens of trials. What a point's features mean is the caller's business; a
//! distance of 1 should be a moderate change.
//!
//! Scores are known unequally well: one of the lowest rung rests on a tenth of the items and is carried to the top by the
//! gains of others. [`observations`] gives each the noise that it has.

use crate::numbers::mean;

/// Noise variance relative to the variance of the scores where nothing better is known: small evaluation splits and one seed.
pub const NOISE: f64 = 0.3;

/// Least and most relative noise variance: another seed would have given another score, however many items there are; and a
/// score that is all noise still says where something was tried.
const NOISE_RANGE: [f64; 2] = [0.1, 4.0];

/// A score of a variant, carried to the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Where.
    pub features: Vec<f64>,
    /// What is expected at the top.
    pub score: f64,
    /// Its standard error, that of carrying it up included.
    pub se: f64,
}

/// Weighs scores against each other: each has the noise variance `se²`, relative to the variance of all scores.
pub fn observations(measured: Vec<Measured>) -> Vec<Observation> {
    let scores: Vec<f64> = measured.iter().map(|one| one.score).collect();
    let spread = spread(&scores);
    let observe = |one: Measured| {
        let [least, most] = NOISE_RANGE;
        let noise = (one.se.powi(2) / spread.max(f64::MIN_POSITIVE)).clamp(least, most);
        Observation { features: one.features, score: one.score, noise }
    };
    measured.into_iter().map(observe).collect()
}

/// Variance of scores as the process standardises them.
fn spread(scores: &[f64]) -> f64 {
    let centre = mean(scores).unwrap_or(0.0);
    scores.iter().map(|score| (score - centre).powi(2)).sum::<f64>() / scores.len().max(1) as f64
}

/// A point with what was measured there.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Where.
    pub features: Vec<f64>,
    /// What.
    pub score: f64,
    /// Variance of its noise relative to that of the scores; [`NOISE`] for a trial of the same task.
    pub noise: f64,
}

/// A process that was fitted to observations.
#[derive(Debug)]
pub struct Process<'a> {
    seen: &'a [Observation],
    mean: f64,
    sd: f64,
    /// Lower triangle of the Cholesky factor of kernel plus noise.
    factor: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

impl<'a> Process<'a> {
    /// Fits; `None` where there is nothing to fit or the kernel matrix is singular.
    pub fn fit(seen: &'a [Observation]) -> Option<Self> {
        let scores: Vec<f64> = seen.iter().map(|one| one.score).collect();
        let mean = mean(&scores)?;
        let sd = spread(&scores).sqrt().max(1e-6);
        let factor = cholesky(seen)?;
        let standardised: Vec<f64> = scores.iter().map(|score| (score - mean) / sd).collect();
        let weights = solve_upper(&factor, &solve_lower(&factor, &standardised));
        Some(Self { seen, mean, sd, factor, weights })
    }

    /// Mean and standard deviation of the score at a point.
    pub fn predict(&self, at: &[f64]) -> (f64, f64) {
        let near: Vec<f64> = self.seen.iter().map(|one| kernel(&one.features, at)).collect();
        let mean: f64 = near.iter().zip(&self.weights).map(|(k, w)| k * w).sum();
        let explained: f64 = solve_lower(&self.factor, &near).iter().map(|v| v * v).sum();
        (self.mean + self.sd * mean, self.sd * (1.0 - explained).max(0.0).sqrt())
    }
}

fn kernel(a: &[f64], b: &[f64]) -> f64 {
    let distance: f64 = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum();
    (-0.5 * distance).exp()
}

fn cholesky(seen: &[Observation]) -> Option<Vec<Vec<f64>>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(seen.len());
    for (i, one) in seen.iter().enumerate() {
        let mut row: Vec<f64> = Vec::with_capacity(i + 1);
        for (other, above) in seen.iter().zip(&rows) {
            let dot: f64 = row.iter().zip(above).map(|(x, y)| x * y).sum();
            row.push((kernel(&one.features, &other.features) - dot) / above.last()?);
        }
        let rest = 1.0 + one.noise - row.iter().map(|x| x * x).sum::<f64>();
        if rest <= 0.0 {
            return None;
        }
        row.push(rest.sqrt());
        rows.push(row);
    }
    Some(rows)
}

fn solve_lower(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut out: Vec<f64> = Vec::with_capacity(right.len());
    for (row, value) in factor.iter().zip(right) {
        let dot: f64 = row.iter().zip(&out).map(|(x, y)| x * y).sum();
        out.push((value - dot) / row.last().copied().unwrap_or(1.0));
    }
    out
}

fn solve_upper(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut out = right.to_vec();
    for i in (0..right.len()).rev() {
        let below: f64 = (i + 1..right.len()).map(|j| factor[j][i] * out[j]).sum();
        out[i] = (out[i] - below) / factor[i][i];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(x: f64, score: f64) -> Observation {
        Observation { features: vec![x], score, noise: NOISE }
    }

    #[test]
    fn the_process_follows_its_observations_and_is_unsure_elsewhere() {
        let seen = [observation(-1.0, 0.5), observation(0.0, 0.8), observation(1.0, 0.6), observation(0.1, 0.8)];
        let process = Process::fit(&seen).unwrap();
        let (at_best, near_sd) = process.predict(&[0.0]);
        let (at_low, _) = process.predict(&[-1.0]);
        let (far, far_sd) = process.predict(&[9.0]);
        assert!(at_best > at_low, "{at_best} {at_low}");
        assert!((far - 0.675).abs() < 1e-6 && far_sd > 2.0 * near_sd, "{far} {far_sd} {near_sd}");
    }

    #[test]
    fn scores_that_are_known_better_weigh_more() {
        let measured = |score, se| Measured { features: vec![0.0], score, se };
        let seen = observations(vec![measured(0.5, 0.1), measured(0.7, 0.01), measured(0.6, 9.0)]);
        // The variance of the three scores is 0.02 / 3.
        assert!((seen[0].noise - 1.5).abs() < 1e-9, "{seen:?}");
        assert!((seen[1].noise - NOISE_RANGE[0]).abs() < 1e-12 && (seen[2].noise - NOISE_RANGE[1]).abs() < 1e-12);
        let (at, _) = Process::fit(&seen).unwrap().predict(&[0.0]);
        assert!(at > 0.65, "{at}");
        assert!(observations(Vec::new()).is_empty());
    }

    #[test]
    fn the_cholesky_factor_solves_its_system() {
        let seen: Vec<_> = (0..5).map(|i| observation(f64::from(i) * 0.7, f64::from(i % 3))).collect();
        let factor = cholesky(&seen).unwrap();
        let right = [1.0, -2.0, 0.5, 3.0, 0.0];
        let solution = solve_upper(&factor, &solve_lower(&factor, &right));
        for (i, one) in seen.iter().enumerate() {
            let product: f64 = seen
                .iter()
                .zip(&solution)
                .enumerate()
                .map(|(j, (other, x))| {
                    (kernel(&one.features, &other.features) + f64::from(u8::from(i == j)) * NOISE) * x
                })
                .sum();
            assert!((product - right[i]).abs() < 1e-9, "{product} {}", right[i]);
        }
    }
}
