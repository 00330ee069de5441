//! Random streams that are named by purpose, so that adding one never shifts another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// Returns the ChaCha stream of `seed` for `purpose`; equal arguments give equal streams on every platform.
pub fn seeded_rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    #[test]
    fn streams_depend_on_seed_and_purpose_only() {
        let draw = |seed, purpose: &str| seeded_rng(seed, purpose).next_u64();
        assert_eq!(draw(1, "shuffle"), draw(1, "shuffle"));
        assert_ne!(draw(1, "shuffle"), draw(2, "shuffle"));
        assert_ne!(draw(1, "shuffle"), draw(1, "init"));
    }
}
