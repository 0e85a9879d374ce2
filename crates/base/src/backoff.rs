//! Waiting longer after each failure, and never in step with the others who failed.

use std::time::Duration;

use crate::random::Random;

/// Delays that double from `first` up to `limit`, each shortened by up to half at random, so that clients which
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { first, limit, next: first }
    }

    /// How long to wait before the next attempt.
    pub fn delay(&mut self, random: &mut dyn Random) -> Duration {
        let full = self.next.min(self.limit);
        self.next = full.saturating_mul(2);
        let half = u64::try_from((full / 2).as_nanos()).unwrap_or(u64::MAX - 1);
        full - Duration::from_nanos(random.below(half + 1))
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn doubles_within_its_bounds_and_starts_over() {
        let seconds = Duration::from_secs;
        for seed in 0..100 {
            let mut random = SeededRandom::new(seed);
            let mut backoff = Backoff::new(seconds(1), seconds(10));
            for full in [1, 2, 4, 8, 10, 10, 10].map(seconds) {
                let delay = backoff.delay(&mut random);
                assert!(full / 2 <= delay && delay <= full, "{delay:?} out of {full:?}");
            }
            backoff.reset();
            assert!(backoff.delay(&mut random) <= seconds(1));
        }
    }

    #[test]
    fn extreme_durations_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::MAX);
        assert_eq!(backoff.delay(&mut SeededRandom::new(1)), Duration::ZERO);
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            assert!(backoff.delay(&mut SeededRandom::new(1)) > Duration::ZERO);
        }
    }
}
