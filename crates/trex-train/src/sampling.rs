//! The next token of a sequence from its logits: the most likely one, or one that is drawn.
//!
//! Settings and their order are those of transformers' `generate`. Every sequence has a random stream named by its item, so
//! what is drawn depends neither on the other sequences of a batch nor on the number of threads.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use rayon::prelude::*;
use trex_domain::{GenerationConfig, seeded_rng};

use crate::answer::Guide;

/// How the next tokens of a batch are chosen.
#[derive(Debug)]
pub(crate) enum Choice {
    /// The most likely one as the model has it; of equal ones the lowest id.
    MostLikely,
    /// By a chooser for each sequence.
    Choosers(Vec<Chooser>),
}

impl Choice {
    /// One sequence within a grammar.
    pub(crate) fn guided(guide: Guide) -> Self {
        let chooser = Chooser::new(GenerationConfig::default(), 0, "answer", &[]);
        Self::Choosers(vec![Chooser { guide: Some(guide), ..chooser }])
    }

    /// For prompts with the ids of their items.
    pub(crate) fn new<'a>(
        config: GenerationConfig,
        seed: u64,
        sequences: impl Iterator<Item = (&'a str, &'a [u32])>,
    ) -> Self {
        if config.is_plain_greedy() {
            return Self::MostLikely;
        }
        Self::Choosers(sequences.map(|(id, prompt)| Chooser::new(config, seed, id, prompt)).collect())
    }
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Chooser {
    config: GenerationConfig,
    rng: ChaCha8Rng,
    /// Holds the answer to a form.
    guide: Option<Guide>,
    /// Tokens of the prompt and the answer so far, where repetition is penalised.
    seen: BTreeSet<u32>,
}

impl Chooser {
    fn new(config: GenerationConfig, seed: u64, id: &str, prompt: &[u32]) -> Self {
        let rng = seeded_rng(seed, &format!("generate/{}/{id}", config.seed));
        let read = if config.has_penalty() { prompt } else { &[] };
        Self { config, rng, guide: None, seen: read.iter().copied().collect() }
    }

    /// The token after which the sequence goes on.
    pub(crate) fn pick(&mut self, logits: &[f32]) -> u32 {
        if let Some(guide) = &mut self.guide {
            return guide.pick(logits);
        }
        let mut scores: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        self.penalise(&mut scores);
        let token = if self.config.do_sample { self.draw(&scores) } else { most_likely(&scores) };
        let token = crate::batch::row(token);
        if self.config.has_penalty() {
            self.seen.insert(token);
        }
        token
    }

    fn penalise(&self, scores: &mut [f64]) {
        let penalty = self.config.repetition_penalty;
        for token in &self.seen {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }

    fn draw(&mut self, scores: &[f64]) -> usize {
        let candidates = candidates(scores, &self.config);
        // 53 bits are what an f64 holds exactly.
        let mut rest = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        for (token, probability) in &candidates {
            rest -= probability;
            if rest < 0.0 {
                return *token;
            }
        }
        // Rounding may leave a little after the last one.
        candidates.last().map_or(0, |(token, _)| *token)
    }
}

fn most_likely(scores: &[f64]) -> usize {
    let mut best = 0;
    for (token, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = token;
        }
    }
    best
}

/// Tokens that may be drawn with their probabilities, which sum to 1; the most likely first, of equal ones the lowest id.
fn candidates(scores: &[f64], config: &GenerationConfig) -> Vec<(usize, f64)> {
    let mut left: Vec<(usize, f64)> = scores
        .iter()
        .map(|score| score / config.temperature)
        .enumerate()
        .filter(|(_, score)| !score.is_nan())
        .collect();
    let by_score = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if config.top_k > 0 && config.top_k < left.len() {
        let (_, last, _) = left.select_nth_unstable_by(config.top_k - 1, by_score);
        // As in transformers, tokens that are as likely as the last one of the k stay too.
        let lowest = last.1;
        left.retain(|(_, score)| *score >= lowest);
    }
    left.sort_unstable_by(by_score);
    normalise(&mut left);
    if config.top_p < 1.0 {
        let mut before = 0.0;
        let kept = left.iter().take_while(|(_, probability)| {
            let is_needed = before < config.top_p;
            before += probability;
            is_needed
        });
        left.truncate(kept.count().max(1));
        rescale(&mut left);
    }
    if config.min_p > 0.0 {
        let lowest = config.min_p * left.first().map_or(0.0, |(_, probability)| *probability);
        left.retain(|(_, probability)| *probability >= lowest);
        rescale(&mut left);
    }
    left
}

/// Scores, the highest first, become probabilities.
fn normalise(sorted: &mut [(usize, f64)]) {
    let top = sorted.first().map_or(0.0, |(_, score)| *score);
    for (_, score) in sorted.iter_mut() {
        *score = (*score - top).exp();
    }
    rescale(sorted);
}

fn rescale(weights: &mut [(usize, f64)]) {
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in weights {
        *weight /= sum;
    }
}

/// The next token of each `active` sequence, whose numbers rise, from a row of logits each.
pub(crate) fn pick_all(choosers: &mut [Chooser], active: &[usize], rows: &[Vec<f32>]) -> Vec<u32> {
    let picked = choosers.par_iter_mut().enumerate().filter_map(|(sequence, chooser)| {
        let place = active.binary_search(&sequence).ok()?;
        Some(chooser.pick(&rows[place]))
    });
    picked.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sampling() -> GenerationConfig {
        GenerationConfig { do_sample: true, top_k: 0, ..GenerationConfig::default() }
    }

    fn draws(config: GenerationConfig, logits: &[f32], count: usize) -> Vec<usize> {
        let mut chooser = Chooser::new(config, 7, "item", &[]);
        (0..count).map(|_| chooser.pick(logits) as usize).collect()
    }

    /// Pearson's statistic of so many draws against these probabilities.
    fn chi_square(config: GenerationConfig, logits: &[f32], expected: &[f64], count: usize) -> f64 {
        let mut counts = vec![0.0; expected.len()];
        for token in draws(config, logits, count) {
            counts[token] += 1.0;
        }
        let terms = counts.iter().zip(expected).map(|(found, share)| {
            let wanted = share * count as f64;
            if *share > 0.0 {
                (found - wanted).powi(2) / wanted
            } else {
                assert!(*found < 0.5, "a token that was taken away is drawn");
                0.0
            }
        });
        terms.sum()
    }

    fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
        let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    const LOGITS: [f32; 5] = [1.0, 0.2, -0.7, 2.0, 0.5];

    #[test]
    fn draws_have_the_distribution_of_the_model() {
        // 99.9 % points of the chi-square distribution with 4, 2 and 1 degrees of freedom (R: qchisq(0.999, df)).
        assert!(chi_square(sampling(), &LOGITS, &softmax(&LOGITS, 1.0), 20_000) < 18.47);
        let warm = GenerationConfig { temperature: 1.7, ..sampling() };
        assert!(chi_square(warm, &LOGITS, &softmax(&LOGITS, 1.7), 20_000) < 18.47);
        let kept = |tokens: &[usize]| {
            let all = softmax(&LOGITS, 1.0);
            let sum: f64 = tokens.iter().map(|token| all[*token]).sum();
            (0..5).map(|token| if tokens.contains(&token) { all[token] / sum } else { 0.0 }).collect::<Vec<_>>()
        };
        let top_k = GenerationConfig { top_k: 3, ..sampling() };
        assert!(chi_square(top_k, &LOGITS, &kept(&[3, 0, 4]), 20_000) < 13.82);
        // The two most likely have 0.53 and 0.20.
        let top_p = GenerationConfig { top_p: 0.7, ..sampling() };
        assert!(chi_square(top_p, &LOGITS, &kept(&[3, 0]), 20_000) < 10.83);
        // e^-1 of the highest is 0.37, e^-1.5 is 0.22.
        let min_p = GenerationConfig { min_p: 0.3, ..sampling() };
        assert!(chi_square(min_p, &LOGITS, &kept(&[3, 0]), 20_000) < 10.83);
        // The test itself can fail.
        assert!(chi_square(sampling(), &LOGITS, &softmax(&LOGITS, 1.2), 20_000) > 18.47);
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        prompt: Vec<u32>,
        cases: Vec<GoldenCase>,
    }

    #[derive(serde::Deserialize)]
    struct GoldenCase {
        settings: GenerationConfig,
        logits: Vec<f64>,
        probabilities: Vec<f64>,
    }

    /// Values of tests/golden/sampling.py.
    #[test]
    fn what_is_left_to_be_drawn_is_that_of_transformers() {
        let golden: Golden = serde_json::from_str(include_str!("../tests/golden/sampling.json")).unwrap();
        assert_eq!(golden.cases.len(), 9);
        for case in golden.cases {
            let config = GenerationConfig { do_sample: true, ..case.settings };
            let mut scores = case.logits;
            Chooser::new(config, 0, "item", &golden.prompt).penalise(&mut scores);
            let mut found = vec![0.0; scores.len()];
            for (token, probability) in candidates(&scores, &config) {
                found[token] = probability;
            }
            let worst = found.iter().zip(&case.probabilities).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-9, "{config:?}: off by {worst}");
        }
    }

    #[test]
    fn streams_belong_to_items_and_seeds() {
        let of = |seed, id: &str, config| {
            let mut chooser = Chooser::new(config, seed, id, &[]);
            (0..40).map(|_| chooser.pick(&LOGITS)).collect::<Vec<_>>()
        };
        assert_eq!(of(1, "a", sampling()), of(1, "a", sampling()));
        assert_ne!(of(1, "a", sampling()), of(1, "b", sampling()));
        assert_ne!(of(1, "a", sampling()), of(2, "a", sampling()));
        assert_ne!(of(1, "a", sampling()), of(1, "a", GenerationConfig { seed: 1, ..sampling() }));
    }

    #[test]
    fn a_penalty_divides_what_is_above_zero_and_multiplies_what_is_not() {
        let config = GenerationConfig { repetition_penalty: 2.0, ..GenerationConfig::default() };
        let mut chooser = Chooser::new(config, 0, "item", &[3]);
        // 2.0 / 2 ties with 1.0, and the lowest of equal ones is taken; then 1.0 / 2 = 0.5 leaves 2.0 / 2 on top.
        assert_eq!(chooser.pick(&LOGITS), 0);
        assert_eq!(chooser.pick(&LOGITS), 3);
        let mut scores = vec![-1.0, 4.0];
        let seen = Chooser::new(config, 0, "item", &[0, 1]);
        seen.penalise(&mut scores);
        assert_eq!(scores, [-2.0, 2.0]);
    }

    proptest! {
        #[test]
        fn the_top_one_is_the_most_likely(logits in proptest::collection::vec(-9f32..9.0, 1..40), seed in 0u64..9) {
            let greedy = most_likely(&logits.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
            for config in [
                GenerationConfig { top_k: 1, seed, ..sampling() },
                GenerationConfig { top_p: 1e-9, seed, ..sampling() },
                GenerationConfig { min_p: 1.0, seed, ..sampling() },
            ] {
                let drawn = draws(config, &logits, 3);
                // Equal logits are equally likely.
                prop_assert!(drawn.iter().all(|token| logits[*token].to_bits() == logits[greedy].to_bits()));
            }
        }

        #[test]
        fn what_may_be_drawn_has_probabilities_and_shrinks_with_every_limit(
            logits in proptest::collection::vec(-9f64..9.0, 1..40),
            top_k in 0usize..50,
            top_p in 0.01f64..1.0,
            min_p in 0f64..1.0,
        ) {
            let all = candidates(&logits, &sampling());
            prop_assert_eq!(all.len(), logits.len());
            for config in [
                GenerationConfig { top_k, ..sampling() },
                GenerationConfig { top_p, ..sampling() },
                GenerationConfig { min_p, ..sampling() },
                GenerationConfig { top_k, top_p, min_p, ..sampling() },
            ] {
                let left = candidates(&logits, &config);
                prop_assert!(!left.is_empty() && left.len() <= all.len());
                prop_assert!((left.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-9);
                prop_assert!(left.iter().zip(&all).all(|(a, b)| a.0 == b.0), "the likeliest stay");
            }
        }
    }
}
