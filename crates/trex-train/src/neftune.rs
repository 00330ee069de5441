//! NEFTune (Jain et al., 2023): uniform noise on the embeddings of a training batch.
//!
//! As in transformers, the noise of a sequence of L tokens and width d is within ± alpha / √(L · d). It is drawn per
//! sequence, by its place in the step, so neither resuming nor another micro-batch changes it.

use rand::Rng as _;
use trex_domain::seeded_rng;

use crate::batch::LaidOut;
use crate::ops::single;

/// Where noise is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neftune {
    pub(crate) alpha: f64,
    pub(crate) seed: u64,
    pub(crate) step: usize,
    /// Place in the step of the micro-batch's first row.
    pub(crate) first_place: usize,
    /// Width of embeddings.
    pub(crate) hidden_size: usize,
}

impl Neftune {
    /// Noise for all tokens of a micro-batch whose sequences share nothing, (tokens, hidden) in one row.
    pub(crate) fn noise(&self, laid: &LaidOut) -> Vec<f32> {
        let tokens = laid.batch.tree.tokens().len();
        let mut noise = Vec::with_capacity(tokens * self.hidden_size);
        let mut number = 0;
        for (index, place) in laid.places.iter().enumerate() {
            let next = laid.places.get(index + 1);
            let read = next.map_or(tokens, |next| next.start) - place.start;
            let purpose = format!("neftune/{}/{}/{number}", self.step, self.first_place + place.row);
            noise.extend(self.sequence(&purpose, read));
            number = if next.is_some_and(|next| next.row == place.row) { number + 1 } else { 0 };
        }
        noise
    }

    fn sequence(&self, purpose: &str, read: usize) -> impl Iterator<Item = f32> {
        // The last token of a sequence is predicted and not read, but it counts for the length.
        let bound = single(self.alpha / (((read + 1) * self.hidden_size) as f64).sqrt());
        let mut rng = seeded_rng(self.seed, purpose);
        (0..read * self.hidden_size).map(move |_| bound * ((rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Sharing, train_batch};
    use crate::rows::{Row, Sequence};

    fn rows() -> Vec<Row> {
        let row = |len: u32| Row {
            sequences: vec![Sequence::answer(&(1..len).collect::<Vec<_>>(), &[9, 9])],
            truncated: false,
        };
        vec![row(8), row(8), row(30)]
    }

    fn noise(rows: &[Row], first_place: usize, step: usize) -> Vec<f32> {
        let laid = train_batch(&rows.iter().collect::<Vec<_>>(), Sharing::Nothing);
        Neftune { alpha: 5.0, seed: 1, step, first_place, hidden_size: 16 }.noise(&laid)
    }

    #[test]
    fn noise_has_the_bound_and_the_spread_of_the_definition() {
        let found = noise(&rows()[..1], 0, 0);
        assert_eq!(found.len(), 8 * 16);
        let bound = 5.0 / (9.0f32 * 16.0).sqrt();
        assert!(found.iter().all(|x| x.abs() <= bound));
        let mean_square = found.iter().map(|x| x * x).sum::<f32>() / found.len() as f32;
        // Of a uniform distribution: bound² / 3.
        assert!((mean_square - bound * bound / 3.0).abs() < 0.2 * bound * bound / 3.0, "{mean_square}");
    }

    #[test]
    fn noise_depends_on_place_and_step_and_not_on_the_cut() {
        let rows = rows();
        let whole = noise(&rows, 0, 3);
        let parts = [noise(&rows[..1], 0, 3), noise(&rows[1..], 1, 3)].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole, noise(&rows, 0, 4));
        assert_ne!(whole[..128], whole[128..256], "equal rows get noise of their own");
    }
}
