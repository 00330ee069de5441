//! Metrics, answer extraction, bootstrap and paired tests.
//!
//! What a prediction is worth ([`score_item`]), what a set of predictions is worth and how sure that is ([`aggregate`],
//! [`score_of`]), and whether one model beats another on the same items ([`compare`]), and whether a whole run brought a gain ([`judge`]). The crate is pure: no I/O, no
//! clock, no threads; randomness only from the seed the caller hands in, so equal arguments give equal results on every
//! platform, and the order of the items never matters. Any thread may call any function.

mod aggregate;
mod bootstrap;
mod error;
mod exact;
mod extract;
mod metrics;
mod number;
mod paired;
mod spread;
mod text;
mod verdict;

pub use aggregate::{aggregate, std_dev};
pub use bootstrap::{RESAMPLES, score_of, wilson95};
pub use error::EvalError;
pub use exact::{discordant_p, mcnemar_p, sign_flip_p};
pub use extract::{choose_option, first_answer};
pub use metrics::score_item;
pub use number::last_number;
pub use paired::{MIN_DIFFERENT, compare, compare_mean};
pub use spread::{SeedSpread, SeedVariance, seed_spread, seed_variance};
pub use text::normalise;
pub use verdict::{Evidence, judge, pooled_merit};
