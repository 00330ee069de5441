//! Losses over rows of a batch, and their derivatives by the cross-entropy of every token.
//!
//! A loss on preference pairs is a function of the log-probabilities of whole answers, that is of sums of token
//! cross-entropies, so one vector of derivatives is all that a backward pass needs to know of it.
//!
//! Formulas as in TRL 1.16 (`DPOTrainer` with `loss_type = "sigmoid"`, `ORPOTrainer`), checked against it by golden values.

use trex_domain::{TrainConfig, TrainObjective};

use crate::batch::SequencePlace;
use crate::rows::Row;
use crate::step::Weighed;

/// Log-probabilities of the answers of a pair under the frozen base.
pub(crate) type Reference = [f64; 2];

/// What the sums of a loss are divided by: numbers of the whole effective batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Tokens with loss; for pairs those of the chosen sequences.
    pub(crate) tokens: f64,
    /// Rows.
    pub(crate) rows: f64,
}

impl Totals {
    /// Counts rows.
    pub(crate) fn of<'a>(rows: impl Iterator<Item = &'a Row>, objective: TrainObjective) -> Self {
        let mut totals = Self::default();
        for row in rows {
            let counted = if objective.is_preference() { &row.sequences[..1] } else { &row.sequences };
            totals.tokens += counted.iter().map(|sequence| sequence.num_losses() as f64).sum::<f64>();
            totals.rows += 1.0;
        }
        totals
    }
}

/// A loss of some rows of an effective batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLoss<'a> {
    pub(crate) config: &'a TrainConfig,
    pub(crate) totals: Totals,
    /// Of every sequence of the micro-batch.
    pub(crate) places: &'a [SequencePlace],
    /// Of every row of the micro-batch, for DPO.
    pub(crate) references: &'a [Reference],
}

impl BatchLoss<'_> {
    /// The share of these rows in the loss of the effective batch.
    pub(crate) fn weigh(&self, losses: &[f64]) -> Weighed {
        match self.config.objective {
            TrainObjective::Sft | TrainObjective::Pretrain => {
                let loss = losses.iter().sum::<f64>() / self.totals.tokens;
                Weighed { loss, weights: vec![crate::ops::single(1.0 / self.totals.tokens); losses.len()] }
            }
            TrainObjective::Dpo => self.pairs(losses, |[chosen, rejected], row, weighed| {
                let reference = self.references[row];
                let policy = [-answer_sum(losses, chosen), -answer_sum(losses, rejected)];
                let (loss, slopes) = dpo(policy, reference, self.config.beta, self.config.label_smoothing_factor);
                weighed.loss += loss / self.totals.rows;
                // The derivative by a log-probability, with its sign turned, is that by the cross-entropies in it.
                weighed.add_to_answer(chosen, -slopes[0] / self.totals.rows);
                weighed.add_to_answer(rejected, -slopes[1] / self.totals.rows);
            }),
            TrainObjective::Orpo => self.pairs(losses, |[chosen, rejected], _, weighed| {
                let count = |place: &SequencePlace| (place.losses.end - place.answer) as f64;
                let mean = |place: &SequencePlace| -answer_sum(losses, place) / count(place);
                let (loss, slopes) = odds_ratio([mean(chosen), mean(rejected)], self.config.beta);
                let likelihood = losses[chosen.losses.clone()].iter().sum::<f64>() / self.totals.tokens;
                weighed.loss += likelihood + loss / self.totals.rows;
                let each = crate::ops::single(1.0 / self.totals.tokens);
                weighed.weights[chosen.losses.clone()].iter_mut().for_each(|weight| *weight += each);
                weighed.add_to_answer(chosen, -slopes[0] / (count(chosen) * self.totals.rows));
                weighed.add_to_answer(rejected, -slopes[1] / (count(rejected) * self.totals.rows));
            }),
        }
    }

    fn pairs(&self, losses: &[f64], add: impl Fn([&SequencePlace; 2], usize, &mut Weighed)) -> Weighed {
        let mut weighed = Weighed { loss: 0.0, weights: vec![0.0; losses.len()] };
        for (row, pair) in self.places.chunks_exact(2).enumerate() {
            add([&pair[0], &pair[1]], row, &mut weighed);
        }
        weighed
    }
}

impl Weighed {
    fn add_to_answer(&mut self, place: &SequencePlace, slope: f64) {
        let slope = crate::ops::single(slope);
        self.weights[place.answer..place.losses.end].iter_mut().for_each(|weight| *weight += slope);
    }
}

/// Cross-entropy of an answer: minus its log-probability.
pub(crate) fn answer_sum(losses: &[f64], place: &SequencePlace) -> f64 {
    losses[place.answer..place.losses.end].iter().sum()
}

/// Loss of a pair and its derivatives by the log-probabilities of chosen and rejected answer under the policy.
///
/// With x = β((πc − ρc) − (πr − ρr)) it is `−(1 − s) log σ(x) − s log σ(−x)`.
fn dpo(policy: [f64; 2], reference: Reference, beta: f64, smoothing: f64) -> (f64, [f64; 2]) {
    let x = beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]));
    let loss = -(1.0 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x);
    let slope = beta * (smoothing * sigmoid(x) - (1.0 - smoothing) * sigmoid(-x));
    (loss, [slope, -slope])
}

/// Loss of a pair and its derivatives by the mean log-probabilities of chosen and rejected answer.
///
/// With the log odds `o(p) = p − log(1 − eᵖ)` it is `−β log σ(o(c) − o(r))`.
fn odds_ratio(mean: [f64; 2], beta: f64) -> (f64, [f64; 2]) {
    let odds = |p: f64| p - log_one_minus_exp(p);
    let x = odds(mean[0]) - odds(mean[1]);
    let slope = -beta * sigmoid(-x);
    // o'(p) = 1 / (1 − eᵖ)
    let by = |p: f64| 1.0 / -p.exp_m1();
    (-beta * log_sigmoid(x), [slope * by(mean[0]), -slope * by(mean[1])])
}

/// log(1 − eˣ) for x below 0, accurate at both ends (Mächler, 2012).
fn log_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(losses: std::ops::Range<usize>, answer: usize) -> SequencePlace {
        SequencePlace { row: 0, losses, answer, start: 0 }
    }

    #[track_caller]
    fn check_slopes(config: &TrainConfig, places: &[SequencePlace]) {
        let losses = [0.7, 1.3, 0.2, 2.0, 0.9, 1.1, 0.4];
        let batch = BatchLoss {
            config,
            totals: Totals { tokens: 11.0, rows: 3.0 },
            places,
            references: &[[-2.0, -3.5], [-1.0, -0.5]],
        };
        let found = batch.weigh(&losses);
        for index in 0..losses.len() {
            let moved = |by: f64| {
                let mut losses = losses;
                losses[index] += by;
                batch.weigh(&losses).loss
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let weight = f64::from(found.weights[index]);
            assert!((slope - weight).abs() < 1e-6, "row {index}: {weight} against {slope}");
        }
    }

    #[test]
    fn weights_are_the_derivatives_of_the_loss() {
        let pairs = [place(0..2, 0), place(2..4, 2), place(4..6, 4), place(6..7, 6)];
        let with_prompt = [place(0..3, 2), place(3..4, 3), place(4..6, 5), place(6..7, 6)];
        let config = |objective, smoothing| TrainConfig {
            objective,
            label_smoothing_factor: smoothing,
            beta: 0.3,
            ..TrainConfig::default()
        };
        check_slopes(&config(TrainObjective::Sft, 0.0), &[place(0..7, 0)]);
        check_slopes(&config(TrainObjective::Dpo, 0.0), &pairs);
        check_slopes(&config(TrainObjective::Dpo, 0.2), &pairs);
        check_slopes(&config(TrainObjective::Orpo, 0.0), &with_prompt);
    }

    #[test]
    fn extreme_pairs_stay_finite() {
        for x in [-800.0, -1e-12, 0.0, 1e-12, 800.0] {
            assert!(log_sigmoid(x).is_finite() && sigmoid(x).is_finite());
        }
        let (loss, slopes) = odds_ratio([-1e-9, -500.0], 0.1);
        assert!(loss.is_finite() && slopes.iter().all(|slope| slope.is_finite()), "{loss} {slopes:?}");
    }
}
