use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Bytes per second, with one second's worth at once.
///
/// Spending goes into debt rather than being refused: the size of an answer is known once it is made. Whoever wants to spend
/// next waits until the debt is paid.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: u64,
    /// In byte-nanoseconds, so that slow rates lose nothing to rounding.
    level: i128,
    filled_at: Duration,
}

const NANOS: i128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket at `now`, a time since any fixed moment.
    #[must_use]
    pub fn new(per_second: u64, now: Duration) -> Self {
        Self { per_second, level: i128::from(per_second) * NANOS, filled_at: now }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        let rate = i128::from(self.per_second);
        let earned = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX).saturating_mul(rate);
        self.level = self.level.saturating_add(earned).min(rate * NANOS);
    }

    /// Spends bytes.
    pub fn spend(&mut self, bytes: u64, now: Duration) {
        self.fill(now);
        self.level = self.level.saturating_sub(i128::from(bytes) * NANOS);
    }

    /// How long until there is no debt.
    pub fn debt(&mut self, now: Duration) -> Duration {
        self.fill(now);
        if self.level >= 0 {
            return Duration::ZERO;
        }
        let rate = i128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(-self.level / rate).unwrap_or(u64::MAX))
    }

    /// Changes the rate. What is owed stays owed.
    pub fn set_rate(&mut self, per_second: u64, now: Duration) {
        self.fill(now);
        self.per_second = per_second;
    }
}

/// A chain's bytes per second, spent by all that sends and receives for it: clients' requests and answers, and what goes between nodes.
#[derive(Debug)]
pub struct Bandwidth {
    bucket: Mutex<TokenBucket>,
    since: Instant,
}

impl Bandwidth {
    /// At this rate from now on.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self { bucket: Mutex::new(TokenBucket::new(per_second, Duration::ZERO)), since: Instant::now() }
    }

    fn bucket(&self) -> (MutexGuard<'_, TokenBucket>, Duration) {
        (self.bucket.lock().unwrap_or_else(PoisonError::into_inner), self.since.elapsed())
    }

    /// Spends bytes.
    pub fn spend(&self, bytes: usize) {
        let (mut bucket, now) = self.bucket();
        bucket.spend(bytes as u64, now);
    }

    /// How long until there is no debt. Others may spend meanwhile: ask again then.
    pub fn debt(&self) -> Duration {
        let (mut bucket, now) = self.bucket();
        bucket.debt(now)
    }

    /// Changes the rate. What is owed stays owed.
    pub fn set_rate(&self, per_second: u64) {
        let (mut bucket, now) = self.bucket();
        bucket.set_rate(per_second, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn debt_is_paid_at_the_rate() {
        let mut bucket = TokenBucket::new(100, Duration::ZERO);
        bucket.spend(100, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), Duration::ZERO);
        bucket.spend(250, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 5 / 2);
        assert_eq!(bucket.debt(SECOND), SECOND * 3 / 2);
        bucket.set_rate(50, SECOND);
        assert_eq!(bucket.debt(SECOND), SECOND * 3);
        assert_eq!(bucket.debt(SECOND / 2), SECOND * 3, "a clock that went back earns nothing");
    }

    #[test]
    fn idling_saves_one_second_at_most_and_nothing_overflows() {
        let mut bucket = TokenBucket::new(u64::MAX, Duration::ZERO);
        bucket.spend(u64::MAX, Duration::from_secs(u64::MAX));
        bucket.spend(u64::MAX, Duration::from_secs(u64::MAX));
        assert_eq!(bucket.debt(Duration::from_secs(u64::MAX)), SECOND);
    }
}
