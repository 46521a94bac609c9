/// How a chain's time differs from the machine's. A developer moves it; elsewhere it stays at nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainClock {
    offset_ms: i64,
    next_ms: Option<u64>,
}

impl ChainClock {
    /// The time of the next block, Unix milliseconds.
    pub fn next_timestamp(&self, now_ms: u64) -> u64 {
        self.next_ms.unwrap_or_else(|| now_ms.saturating_add_signed(self.offset_ms))
    }

    /// How far the chain's time is ahead.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// Moves time on, or back.
    pub fn shift(&mut self, by_ms: i64) {
        self.offset_ms = self.offset_ms.saturating_add(by_ms);
        self.next_ms = self.next_ms.map(|next| next.saturating_add_signed(by_ms));
    }

    /// The next block gets this time, and the clock goes on from there.
    pub fn set_next(&mut self, timestamp_ms: u64) {
        self.next_ms = Some(timestamp_ms);
    }

    /// A block was stamped: a time that was set is used up.
    pub fn stamped(&mut self, timestamp_ms: u64, now_ms: u64) {
        if self.next_ms.take().is_some() {
            let ahead = i128::from(timestamp_ms) - i128::from(now_ms);
            self.offset_ms = i64::try_from(ahead).unwrap_or(self.offset_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_time_is_used_once_and_the_clock_goes_on_from_it() {
        let mut clock = ChainClock::default();
        clock.set_next(5_000);
        assert_eq!(clock.next_timestamp(1_000), 5_000);
        clock.stamped(5_000, 1_000);
        assert_eq!(clock.next_timestamp(1_250), 5_250);
        clock.shift(-250);
        assert_eq!(clock.next_timestamp(1_250), 5_000);
    }
}
