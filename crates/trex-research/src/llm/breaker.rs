//! A circuit breaker: a service that failed several times in a row is left alone for a while. Keeps no history beyond that.

use trex_domain::Millis;

/// Failed calls in a row after which a service is left alone.
const FAILURES: usize = 3;

/// How long, in milliseconds.
const REST_MS: i64 = 60_000;

/// The state for one service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaker {
    failures: usize,
    open_until: Option<Millis>,
}

impl Breaker {
    /// Milliseconds to wait and failures so far, where the service is not to be asked now. Once the time is over one call
    /// is let through; its outcome decides.
    pub(super) fn closed_at(&self, now: Millis) -> Result<(), (i64, usize)> {
        match self.open_until {
            Some(until) if now < until => Err((until.0 - now.0, self.failures)),
            _ => Ok(()),
        }
    }

    /// A call went well, or failed for a reason that says nothing about the service's health.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call failed for good, after its retries, for a reason that may pass.
    pub(super) fn failed(&mut self, now: Millis) {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.open_until = Some(Millis(now.0 + REST_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_open_it_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            breaker.failed(Millis(0));
            assert_eq!(breaker.closed_at(Millis(0)), Ok(()));
        }
        breaker.failed(Millis(1000));
        assert_eq!(breaker.closed_at(Millis(1000)), Err((60_000, 3)));
        assert_eq!(breaker.closed_at(Millis(61_000)), Ok(()));
        // The one call that was let through failed, too: closed off again at once.
        breaker.failed(Millis(62_000));
        assert_eq!(breaker.closed_at(Millis(63_000)), Err((59_000, 4)));
        breaker.succeeded();
        assert_eq!(breaker.closed_at(Millis(63_000)), Ok(()));
    }
}
