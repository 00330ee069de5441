//! Whether verdicts are right: searches are simulated whose candidates are all equal to the base, or better by a known gain,
//! and the rules of a run (`trex_eval::compare`, `trex_eval::judge`) say what they make of it. Trains nothing.
//!
//! Right and wrong are drawn item by item from how recorded trainings did on the items of a [`Surface`]: an item that three
//! of four trainings answered rightly is right with probability 3/4. So difficulty, and with it how often two models differ,
//! is as recorded. A training is better or worse by luck, with the spread that the recorded seeds of a point have. A gain
//! moves all items of a candidate by the same amount on the logit scale.
//!
//! A simulated search has experiments with a batch each. The best of a batch on search is scored on select; the first of
//! them, and the best variant at the end, are trained on one more seed for the noise floor; a winner replaces the incumbent
//! where `compare` calls it significant; the sealed split is opened for base and incumbent, and `judge` gives the verdict.

use std::f64::consts::SQRT_2;

use rand::{Rng, RngExt as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use trex_domain::{Comparison, ItemScore, Metric, seeded_rng};
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
    /// Share in which the sealed split alone shows a significant gain (two-sided 95 %), as earlier versions judged.
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
        let mut incumbent: Option<Trained> = None;
        let mut seed_sd: f64 = 0.0;
        for experiment in 0..self.settings.experiments {
            let is_better = match self.truth {
                Truth::Null => false,
                Truth::AllBetter => true,
                Truth::OneBetter => experiment == 0,
            };
            let variant_shift = if is_better { self.shift } else { 0.0 };
            let batch = (0..self.settings.batch).map(|_| self.train(variant_shift, &mut rng));
            let Some(winner) = batch.max_by(|a, b| a.search.total_cmp(&b.search)) else { continue };
            if experiment == 0 {
                seed_sd = seed_sd.max(self.noise(&winner, &mut rng));
            }
            let comparison = match &incumbent {
                None => self.compare(&winner.select, &base_select, seed_sd)?,
                Some(incumbent) => self.compare(&winner.select, &incumbent.select, seed_sd * SQRT_2)?,
            };
            if comparison.significant {
                incumbent = Some(winner);
            }
        }
        let Some(incumbent) = incumbent else {
            return Ok(Outcome { gain: false, has_incumbent: false, sealed_alone: false });
        };
        seed_sd = seed_sd.max(self.noise(&incumbent, &mut rng));
        let base_final = self.answers(2, 0.0, &mut rng);
        let final_ = self.compare(&self.answers(2, incumbent.shift, &mut rng), &base_final, seed_sd)?;
        let select = self.compare(&incumbent.select, &base_select, seed_sd)?;
        let judgement = trex_eval::judge(&final_, Some(&select), self.settings.experiments);
        Ok(Outcome { gain: judgement.gain, has_incumbent: true, sealed_alone: final_.significant })
    }

    fn compare(&self, ours: &[ItemScore], theirs: &[ItemScore], seed_sd: f64) -> Result<Comparison, EngineError> {
        Ok(trex_eval::compare(Metric::Accuracy, ours, theirs, seed_sd, self.number)?)
    }

    fn train(&self, variant_shift: f64, rng: &mut ChaCha8Rng) -> Trained {
        let luck = self.items.shift_for(self.items.seed_sd * standard_normal(rng));
        let shift = variant_shift + luck;
        let search = mean(&self.answers(0, shift, rng));
        Trained { variant_shift, shift, search, select: self.answers(1, shift, rng) }
    }

    /// Spread of the select score over two seeds, as a run measures it.
    fn noise(&self, model: &Trained, rng: &mut ChaCha8Rng) -> f64 {
        let again = self.train(model.variant_shift, rng);
        trex_eval::std_dev(&[mean(&model.select), mean(&again.select)])
    }

    fn answers(&self, split: usize, shift: f64, rng: &mut impl Rng) -> Vec<ItemScore> {
        let answer = |(number, p): (usize, &f64)| ItemScore {
            id: number.to_string(),
            predicted: String::new(),
            gold: String::new(),
            score: f64::from(u8::from(rng.random::<f64>() < shifted(*p, shift))),
            gold_logprob: None,
        };
        self.items.right[split].iter().enumerate().map(answer).collect()
    }
}

fn mean(items: &[ItemScore]) -> f64 {
    items.iter().map(|item| item.score).sum::<f64>() / items.len().max(1) as f64
}

/// By Box and Muller (1958).
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
