//! Whether verdicts are right: searches are simulated whose candidates are all equal to the base, or better by a known gain,
//! and the rules of a run (`trex_eval::compare`, `pooled_merit`, `seed_spread` and `judge`) say what they make of it. Trains
//! nothing.
//!
//! Right and wrong are drawn item by item from how recorded trainings did on the items of a [`Surface`]: an item that three
//! of four trainings answered rightly is right with probability 3/4. So difficulty, and with it how often two models differ,
//! is as recorded. A training is better or worse by luck, with the spread that the recorded seeds of a point have. A gain
//! moves all items of a candidate by the same amount on the logit scale.
//!
//! A simulated search has experiments with a batch each. The best of a batch on search is scored on select; a winner replaces
//! the incumbent where `compare` calls it significant. The winner with the best score on search and select together is taken
//! to the sealed split, whether it is the incumbent or not; it is trained on further seeds, and the first winner on one, for the
//! spread; the sealed split is opened for the base and all trainings, and `judge` gives the verdict.

use std::iter;

use rand::{Rng, RngExt as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use trex_domain::{Comparison, ItemScore, Metric, seeded_rng};
use trex_eval::{Evidence, SeedSpread};
use trex_search::Surface;

use crate::EngineError;

/// Steps of a bisection; more than doubles can tell apart.
const BISECTIONS: usize = 60;

/// Which candidates are better than the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// None: all are equal to the base.
    Null,
    /// All of them.
    AllBetter,
    /// Those of one experiment.
    OneBetter,
}

/// How searches are simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HonestySettings {
    /// Simulated searches.
    pub searches: u64,
    /// Experiments of a search.
    pub experiments: usize,
    /// Variants of an experiment.
    pub batch: usize,
    /// The true gain in standard errors of the paired difference on the select split.
    pub gain_se: f64,
    /// Trainings of the finalist on further seeds.
    pub finalist_seeds: usize,
}

/// What the rules made of simulated searches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HonestySummary {
    /// What was true.
    pub truth: Truth,
    /// The true gain in the metric.
    pub gain: f64,
    /// Simulated searches.
    pub searches: u64,
    /// Share that ended with the verdict "gain".
    pub gains: f64,
    /// 95 % Wilson interval of that share.
    pub gains_ci95: [f64; 2],
    /// Share in which any variant became the incumbent.
    pub incumbents: f64,
    /// Share in which the sealed split alone shows a significant gain of the delivered training (two-sided 95 %).
    pub sealed_alone: f64,
}

/// How recorded trainings did on the items of the three splits.
struct Items {
    /// Probability of a right answer by split (search, select, final) and item.
    right: [Vec<f64>; 3],
    /// Spread of a training's share of right answers over seeds.
    seed_sd: f64,
}

/// Simulates searches under one truth.
pub fn simulate_honesty(
    surface: &Surface,
    truth: Truth,
    settings: HonestySettings,
) -> Result<HonestySummary, EngineError> {
    let items = Items::of(surface);
    let gain = match truth {
        Truth::Null => 0.0,
        Truth::AllBetter | Truth::OneBetter => settings.gain_se * items.select_se(),
    };
    let shift = items.shift_for(gain);
    let (mut gains, mut incumbents, mut sealed_alone) = (0, 0, 0);
    for number in 0..settings.searches {
        let outcome = Search { items: &items, truth, shift, settings, number }.run()?;
        gains += u64::from(outcome.gain);
        incumbents += u64::from(outcome.has_incumbent);
        sealed_alone += u64::from(outcome.sealed_alone);
    }
    let share = |count: u64| count as f64 / settings.searches.max(1) as f64;
    let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(HonestySummary {
        truth,
        gain,
        searches: settings.searches,
        gains: share(gains),
        gains_ci95: trex_eval::wilson95(whole(gains), whole(settings.searches)),
        incumbents: share(incumbents),
        sealed_alone: share(sealed_alone),
    })
}

impl Items {
    fn of(surface: &Surface) -> Self {
        let sound: Vec<_> = surface.trials.values().filter(|trial| trial.failed.is_none()).collect();
        let shares = |of: &dyn Fn(usize) -> Vec<bool>, len: usize| -> Vec<f64> {
            let mut counts = vec![0.0; len];
            for number in 0..sound.len() {
                for (count, right) in counts.iter_mut().zip(of(number)) {
                    *count += f64::from(u8::from(right));
                }
            }
            // Half a training on either side: no item is certain because few trainings were recorded.
            counts.into_iter().map(|count| (count + 0.5) / (sound.len() as f64 + 1.0)).collect()
        };
        let base = &surface.header.base;
        let search = |number: usize| {
            let last = sound[number].rungs.last();
            last.map(|rung| rung.search.as_slice().to_vec()).unwrap_or_default()
        };
        let right = [
            shares(&search, base[0].len()),
            shares(&|number| sound[number].select.as_slice().to_vec(), base[1].len()),
            shares(&|number| sound[number].final_.as_slice().to_vec(), base[2].len()),
        ];
        Self { right, seed_sd: recorded_seed_sd(surface) }
    }

    /// Standard error of the difference of two equal models on the select split.
    fn select_se(&self) -> f64 {
        let select = &self.right[1];
        let variance: f64 = select.iter().map(|p| 2.0 * p * (1.0 - p)).sum();
        variance.sqrt() / select.len().max(1) as f64
    }

    fn mean_shifted(&self, shift: f64) -> f64 {
        let all = self.right.iter().flatten();
        let count = self.right.iter().map(Vec::len).sum::<usize>().max(1) as f64;
        all.map(|p| shifted(*p, shift)).sum::<f64>() / count
    }

    /// The shift on the logit scale that raises the share of right answers by `gain`.
    fn shift_for(&self, gain: f64) -> f64 {
        let wanted = self.mean_shifted(0.0) + gain;
        let (mut low, mut high) = (-10.0, 10.0);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if self.mean_shifted(middle) < wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Spread of the share of right answers over the recorded seeds of a point, without what the choice of items adds.
fn recorded_seed_sd(surface: &Surface) -> f64 {
    let (mut between, mut freedom, mut items_part, mut count) = (0.0, 0, 0.0, 0);
    for point in 0..surface.header.num_points() {
        let trials = (0..surface.header.seeds).filter_map(|seed| surface.trials.get(&(point, seed)));
        let sound: Vec<_> = trials.filter(|trial| trial.failed.is_none()).collect();
        let shares: Vec<f64> = sound.iter().map(|trial| trial.final_.mean()).collect();
        if shares.len() < 2 {
            continue;
        }
        between += trex_eval::std_dev(&shares).powi(2) * (shares.len() - 1) as f64;
        freedom += shares.len() - 1;
        for pair in sound.windows(2) {
            let pairs = pair[0].final_.as_slice().iter().zip(pair[1].final_.as_slice());
            let differing = pairs.clone().filter(|(a, b)| a != b).count() as f64;
            let len = pairs.len().max(1) as f64;
            // Two equal models that differ in a share d of the items have a difference with variance d / n.
            items_part += differing / len / len / 2.0;
            count += 1;
        }
    }
    if freedom == 0 || count == 0 {
        return 0.0;
    }
    (between / freedom as f64 - items_part / f64::from(count)).max(0.0).sqrt()
}

fn shifted(p: f64, shift: f64) -> f64 {
    let odds = (p / (1.0 - p)).ln() + shift;
    1.0 / (1.0 + (-odds).exp())
}

/// What came of one simulated search.
struct Outcome {
    gain: bool,
    has_incumbent: bool,
    sealed_alone: bool,
}

struct Search<'a> {
    items: &'a Items,
    truth: Truth,
    shift: f64,
    settings: HonestySettings,
    number: u64,
}

/// A trained model: its shift, luck of the seed included, and its answers on search and select.
#[derive(Clone)]
struct Trained {
    variant_shift: f64,
    shift: f64,
    search: f64,
    select: Vec<ItemScore>,
}

impl Search<'_> {
    fn run(&self) -> Result<Outcome, EngineError> {
        let mut rng = seeded_rng(self.number, "honesty");
        let base_select = self.answers(1, 0.0, &mut rng);
        let winners: Vec<Trained> = (0..self.settings.experiments)
            .filter_map(|experiment| {
                let batch = (0..self.settings.batch).map(|_| self.train(self.shift_of(experiment), &mut rng));
                batch.max_by(|a, b| a.search.total_cmp(&b.search))
            })
            .collect();
        let Some(first) = winners.first() else {
            return Ok(Outcome { gain: false, has_incumbent: false, sealed_alone: false });
        };
        // `min_by` keeps the first of equal ones.
        let best = winners.iter().enumerate().min_by(|(_, a), (_, b)| self.pooled(b).total_cmp(&self.pooled(a)));
        let (place, finalist) = best.unwrap_or((0, first));
        let again = |of: &Trained, count: usize, rng: &mut ChaCha8Rng| -> Vec<Trained> {
            (0..count).map(|_| self.train(of.variant_shift, rng)).collect()
        };
        let seeds = self.settings.finalist_seeds;
        let first_again = again(first, seeds.min(1), &mut rng);
        let has_incumbent = self.finds_incumbent(&winners, &first_again, &base_select)?;
        let mut repeats = if place == 0 { first_again.clone() } else { Vec::new() };
        repeats.extend(again(finalist, seeds - repeats.len(), &mut rng));
        let trainings: Vec<&Trained> = iter::once(finalist).chain(&repeats).collect();

        let base_final = self.answers(2, 0.0, &mut rng);
        let sealed: Vec<_> = trainings.iter().map(|model| self.answers(2, model.shift, &mut rng)).collect();
        let selected: Vec<_> = trainings.iter().map(|model| model.select.clone()).collect();
        let final_ = trex_eval::compare_mean(Metric::Accuracy, &sealed, &base_final, self.number)?;
        let select = trex_eval::compare_mean(Metric::Accuracy, &selected, &base_select, self.number)?;
        let of_finalist = [&selected, &sealed].map(|items| self.seed_spread(items));
        let of_finalist: Vec<_> = of_finalist.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let mut spreads: Vec<_> = SeedSpread::of_same_trainings(&of_finalist).into_iter().collect();
        if place > 0 {
            let of_first: Vec<_> = iter::once(first).chain(&first_again).map(|model| model.select.clone()).collect();
            spreads.extend(self.seed_spread(&of_first)?);
        }
        let judgement = trex_eval::judge(&Evidence {
            final_: &final_,
            select: Some(&select),
            compared: winners.len(),
            trainings: sealed.len(),
            tried: self.settings.experiments * self.settings.batch,
            chosen_on: self.items.right[0].len() + self.items.right[1].len(),
            seed_variance: trex_eval::seed_variance(&spreads, &select),
        });
        let delivered = self.compare(&sealed[0], &base_final, spread_of(&trainings))?;
        Ok(Outcome { gain: judgement.gain, has_incumbent, sealed_alone: delivered.significant })
    }

    fn shift_of(&self, experiment: usize) -> f64 {
        let is_better = match self.truth {
            Truth::Null => false,
            Truth::AllBetter => true,
            Truth::OneBetter => experiment == 0,
        };
        if is_better { self.shift } else { 0.0 }
    }

    fn pooled(&self, model: &Trained) -> f64 {
        trex_eval::pooled_merit(&[
            (model.search, self.items.right[0].len()),
            (mean(&model.select), self.items.right[1].len()),
        ])
    }

    /// Whether any winner replaces the base in the tree.
    fn finds_incumbent(
        &self,
        winners: &[Trained],
        first_again: &[Trained],
        base: &[ItemScore],
    ) -> Result<bool, EngineError> {
        let seed_sd = spread_of(&winners.iter().take(1).chain(first_again).collect::<Vec<_>>());
        for winner in winners {
            if self.compare(&winner.select, base, seed_sd)?.significant {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn compare(&self, ours: &[ItemScore], theirs: &[ItemScore], seed_sd: f64) -> Result<Comparison, EngineError> {
        Ok(trex_eval::compare(Metric::Accuracy, ours, theirs, seed_sd, self.number)?)
    }

    fn seed_spread(&self, trainings: &[Vec<ItemScore>]) -> Result<Option<SeedSpread>, EngineError> {
        Ok(trex_eval::seed_spread(Metric::Accuracy, trainings, self.number)?)
    }

    fn train(&self, variant_shift: f64, rng: &mut ChaCha8Rng) -> Trained {
        let luck = self.items.shift_for(self.items.seed_sd * standard_normal(rng));
        let shift = variant_shift + luck;
        let search = mean(&self.answers(0, shift, rng));
        Trained { variant_shift, shift, search, select: self.answers(1, shift, rng) }
    }

    fn answers(&self, split: usize, shift: f64, rng: &mut impl Rng) -> Vec<ItemScore> {
        let answer = |(number, p): (usize, &f64)| ItemScore {
            id: number.to_string(),
            predicted: String::new(),
            gold: String::new(),
            score: f64::from(u8::from(rng.random::<f64>() < shifted(*p, shift))),
            gold_logprob: None,
            gold_prob: None,
        };
        self.items.right[split].iter().enumerate().map(answer).collect()
    }
}

/// Spread of the select score over seeds, as a run measures it.
fn spread_of(trainings: &[&Trained]) -> f64 {
    trex_eval::std_dev(&trainings.iter().map(|model| mean(&model.select)).collect::<Vec<_>>())
}

fn mean(items: &[ItemScore]) -> f64 {
    items.iter().map(|item| item.score).sum::<f64>() / items.len().max(1) as f64
}

/// By Box and Muller (1958).
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trex_domain::ContentHash;
    use trex_search::{Dimension, Outcomes, RecordedRung, RecordedTrial, SURFACE_FORMAT, SurfaceHeader};

    use super::*;

    /// Trainings of some points with items of mixed difficulty, whose share of right answers differs by seed.
    fn surface(seed_sd: f64) -> Surface {
        let mut rng = seeded_rng(3, "surface");
        let difficulties: Vec<f64> = (0..200).map(|_| rng.random::<f64>() * 2.0 - 1.0).collect();
        let answers = |items: usize, shift: f64, rng: &mut ChaCha8Rng| {
            let right = |difficulty: &f64| rng.random::<f64>() < shifted(0.55, shift + 1.5 * difficulty);
            Outcomes::new(difficulties[..items].iter().map(right).collect())
        };
        let base = [100, 150, 200].map(|items| answers(items, 0.0, &mut rng));
        let keys = (0..8).flat_map(|point| (0..3_u64).map(move |seed| (point, seed)));
        let trials = keys.map(|(point, seed)| {
            let luck = 4.0 * seed_sd * standard_normal(&mut rng);
            let search = answers(100, luck, &mut rng);
            let recorded = RecordedRung { steps: 1, loss: None, search, gold: None };
            let (select, final_) = (answers(150, luck, &mut rng), answers(200, luck, &mut rng));
            let trial = RecordedTrial {
                point,
                seed,
                rungs: vec![recorded],
                curve: Vec::new(),
                select,
                final_,
                cpu_s: 1.0,
                failed: None,
            };
            ((point, seed), trial)
        });
        let trials: BTreeMap<_, _> = trials.collect();
        let header = SurfaceHeader {
            format: SURFACE_FORMAT.to_owned(),
            task: Box::new(trex_testkit::task()),
            model: ContentHash::of_bytes(b"model"),
            seed: 1,
            rungs: 1,
            eta: 3,
            base,
            dimensions: vec![Dimension { name: "x".to_owned(), values: vec![String::new(); 8] }],
            grid: ContentHash::of_bytes(b"grid"),
            seeds: 3,
        };
        Surface { header, trials }
    }

    #[track_caller]
    fn check(surface: &Surface, truth: Truth, fits: impl Fn(f64) -> bool) {
        // `trex bench honesty` has a thousand on recorded surfaces; the borders leave room for the luck of a hundred.
        let settings = HonestySettings { searches: 100, experiments: 4, batch: 3, gain_se: 2.0, finalist_seeds: 2 };
        let found = simulate_honesty(surface, truth, settings).unwrap();
        assert!(fits(found.gains), "{found:?}");
    }

    #[test]
    fn verdicts_are_right_as_often_as_they_promise() {
        let surface = surface(0.01);
        check(&surface, Truth::Null, |gains| gains <= 0.10);
        check(&surface, Truth::AllBetter, |gains| gains >= 0.72);
    }
}
