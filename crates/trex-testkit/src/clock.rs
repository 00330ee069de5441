//! Clocks for tests: one that stands and one that steps. Neither looks at the time of the machine.

use std::sync::atomic::{AtomicI64, Ordering};

use trex_domain::{Clock, Millis};

/// The moment at which time begins in tests: 2026-01-01 00:00:00 UTC.
pub const START: Millis = Millis(1_767_225_600_000);

/// A clock that always tells the same time.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Millis);

impl Default for FixedClock {
    fn default() -> Self {
        Self(START)
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Millis {
        self.0
    }
}

/// A clock that goes on by the same step each time it is read.
#[derive(Debug)]
pub struct SteppingClock {
    next_millis: AtomicI64,
    step_millis: i64,
}

impl SteppingClock {
    /// Tells `start` first and `step_millis` more at every further look.
    pub fn new(start: Millis, step_millis: i64) -> Self {
        Self { next_millis: AtomicI64::new(start.0), step_millis }
    }
}

impl Default for SteppingClock {
    fn default() -> Self {
        Self::new(START, 1_000)
    }
}

impl Clock for SteppingClock {
    fn now(&self) -> Millis {
        Millis(self.next_millis.fetch_add(self.step_millis, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clock_stands_and_the_other_steps() {
        let fixed = FixedClock::default();
        assert_eq!((fixed.now(), fixed.now()), (START, START));
        let stepping = SteppingClock::new(Millis(5), 2);
        assert_eq!((stepping.now(), stepping.now()), (Millis(5), Millis(7)));
    }
}
