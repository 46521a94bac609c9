use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Bytes per second, with one second's worth at once.
///
/// Spending goes into debt rather than being refused: the size of an answer is known once it is made. Whoever wants to spend
/// next waits until the debt is paid. The debt is bounded by two seconds' worth, or by what was spent last where that alone is more: many who
/// spend at once mute nobody for longer.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: u64,
    /// In byte-nanoseconds, so that slow rates lose nothing to rounding.
    level: i128,
    filled_at: Duration,
}

const NANOS: i128 = 1_000_000_000;
/// Seconds' worth of debt that spending adds up to at most: long enough to pay for what is under way at once, short enough that whoever waits does
/// not give up (answers are waited for 10 s).
const DEBT_SECONDS: i128 = 2;

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
        let spent = i128::from(bytes) * NANOS;
        let deepest = -spent.max(i128::from(self.per_second) * DEBT_SECONDS * NANOS);
        self.level = self.level.saturating_sub(spent).max(deepest.min(self.level));
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

    /// Whether a second's worth may be spent at once.
    pub fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.level >= i128::from(self.per_second) * NANOS
    }

    /// Changes the rate. What is owed stays owed.
    pub fn set_rate(&mut self, per_second: u64, now: Duration) {
        self.fill(now);
        self.per_second = per_second;
    }
}

/// Who bytes are sent to or received from, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// A chain's consensus. It never waits, and pays up to half of the chain's bytes: a member that floods leaves the other half.
    Consensus,
    /// Members of the chain's committee, but for consensus: they get a quarter of the bytes however much others want, so that blocks come through.
    Members,
    /// Clients, and nodes that are no members.
    Others,
}

/// A chain's bytes per second, spent by all that sends and receives for it: clients' requests and answers, and what goes between nodes.
#[derive(Debug)]
pub struct Bandwidth {
    buckets: Mutex<Buckets>,
    since: Instant,
    now: fn() -> Instant,
}

#[derive(Debug)]
struct Buckets {
    all: TokenBucket,
    /// What members may spend while the chain is in debt.
    members: TokenBucket,
    /// What consensus is charged at most.
    consensus: TokenBucket,
}

impl Buckets {
    fn rates(per_second: u64) -> [u64; 3] {
        [per_second, per_second / 4, per_second / 2]
    }
}

impl Bandwidth {
    /// At this rate from now on.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self::timed(per_second, Instant::now)
    }

    /// The same by a clock of the caller's.
    #[must_use]
    pub fn timed(per_second: u64, now: fn() -> Instant) -> Self {
        let [all, members, consensus] = Buckets::rates(per_second).map(|rate| TokenBucket::new(rate, Duration::ZERO));
        Self { buckets: Mutex::new(Buckets { all, members, consensus }), since: now(), now }
    }

    fn buckets(&self) -> (MutexGuard<'_, Buckets>, Duration) {
        (self.buckets.lock().unwrap_or_else(PoisonError::into_inner), (self.now)().saturating_duration_since(self.since))
    }

    /// Spends bytes.
    pub fn spend(&self, payer: Payer, bytes: usize) {
        let (mut buckets, now) = self.buckets();
        let bytes = bytes as u64;
        match payer {
            Payer::Consensus if buckets.consensus.debt(now).is_zero() => buckets.consensus.spend(bytes, now),
            Payer::Consensus => return,
            Payer::Members if !buckets.all.debt(now).is_zero() => buckets.members.spend(bytes, now),
            Payer::Members | Payer::Others => {}
        }
        buckets.all.spend(bytes, now);
    }

    /// How long until these may spend. Others may spend meanwhile: ask again then, and let no two that wait ask at once.
    pub fn debt(&self, payer: Payer) -> Duration {
        let (mut buckets, now) = self.buckets();
        match payer {
            Payer::Consensus => Duration::ZERO,
            Payer::Members => buckets.all.debt(now).min(buckets.members.debt(now)),
            Payer::Others => buckets.all.debt(now),
        }
    }

    /// Changes the rate. What is owed stays owed.
    pub fn set_rate(&self, per_second: u64) {
        let (mut buckets, now) = self.buckets();
        let [all, members, consensus] = Buckets::rates(per_second);
        buckets.all.set_rate(all, now);
        buckets.members.set_rate(members, now);
        buckets.consensus.set_rate(consensus, now);
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

    #[test]
    fn debt_is_bounded_however_many_spend_at_once() {
        let mut bucket = TokenBucket::new(100, Duration::ZERO);
        for _ in 0..1_000 {
            bucket.spend(150, Duration::ZERO);
        }
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 2);
        bucket.spend(1_000, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 10, "what was spent at once is paid");
        bucket.spend(1, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 10, "no debt is forgiven");
    }

    #[test]
    fn members_keep_a_share_whatever_clients_and_consensus_spend() {
        let bandwidth = Bandwidth::new(1_000);
        for _ in 0..1_000 {
            bandwidth.spend(Payer::Others, 1_000);
            bandwidth.spend(Payer::Consensus, 1_000);
        }
        assert!(bandwidth.debt(Payer::Others) > SECOND);
        assert_eq!((bandwidth.debt(Payer::Members), bandwidth.debt(Payer::Consensus)), (Duration::ZERO, Duration::ZERO));
        // A quarter of a second's bytes are theirs at once, then a quarter of each second's.
        bandwidth.spend(Payer::Members, 250);
        assert_eq!(bandwidth.debt(Payer::Members), Duration::ZERO);
        bandwidth.spend(Payer::Members, 250);
        let debt = bandwidth.debt(Payer::Members);
        assert!(debt > SECOND / 2 && debt <= SECOND, "{debt:?}");
    }

    #[test]
    fn consensus_pays_for_half_of_the_bytes_at_most() {
        let bandwidth = Bandwidth::new(1_000);
        for _ in 0..1_000 {
            bandwidth.spend(Payer::Consensus, 500);
        }
        // What was saved up is spent; whoever floods puts nobody else into debt.
        assert_eq!(bandwidth.debt(Payer::Others), Duration::ZERO);
    }
}
