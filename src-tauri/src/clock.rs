//! The time of the machine, in the one form that the rest uses.

use std::time::{SystemTime, UNIX_EPOCH};

use trex_domain::Millis;

/// Now; zero where the clock stands before 1970.
pub(crate) fn now() -> Millis {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}
