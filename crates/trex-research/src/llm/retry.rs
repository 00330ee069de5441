//! How long to wait before an attempt is repeated. Decides nothing about which errors are worth it.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use trex_domain::seeded_rng;

/// Waits. Tests put something in its place that does not.
pub trait Pause: Send + Sync {
    /// Waits that long; `false` where `goes_on` became false meanwhile.
    fn wait(&self, time: Duration, goes_on: &dyn Fn() -> bool) -> bool;
}

/// Lets the thread sleep.
#[derive(Clone, Copy, Debug, Default)]
pub struct SleepingPause;

impl Pause for SleepingPause {
    fn wait(&self, time: Duration, goes_on: &dyn Fn() -> bool) -> bool {
        const STEP: Duration = Duration::from_millis(100);
        let until = Instant::now() + time;
        while goes_on() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STEP));
        }
        false
    }
}

/// Pause before the second attempt, without jitter.
const FIRST: Duration = Duration::from_secs(1);

/// Longest pause of our own.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after `attempt` (from 1): doubled each time, at most half a minute, and between half and all of it by chance,
/// so that many programs do not come back at once. What the service asks for is kept to where it is longer.
pub(super) fn pause_after(attempt: usize, asked: Option<Duration>, purpose: &str) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let whole = (FIRST * 2u32.pow(doublings)).min(LONGEST);
    let mut rng = seeded_rng(u64::from(std::process::id()), &format!("retry/{purpose}/{attempt}"));
    let own = whole.mul_f64(rng.random_range(0.5..=1.0));
    asked.map_or(own, |asked| asked.max(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_service_may_ask_for_more() {
        for (attempt, whole) in [(1, 1), (2, 2), (3, 4), (6, 30), (60, 30)] {
            let pause = pause_after(attempt, None, "x");
            let whole = Duration::from_secs(whole);
            assert!(pause >= whole / 2 && pause <= whole, "{attempt}: {pause:?}");
        }
        assert_eq!(pause_after(1, Some(Duration::from_secs(20)), "x"), Duration::from_secs(20));
        assert!(pause_after(6, Some(Duration::ZERO), "x") >= Duration::from_secs(15));
    }
}
