//! How much a chain may write to the log. Disks are shared by all chains, and what makes a message is often a client or a module.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Messages of one kind are counted for so long before they are let through again.
const PERIOD: Duration = Duration::from_secs(10);
/// Messages of one kind in a period. At 300 bytes each that is 50 MB a day.
const MESSAGES_MAX: u64 = 20;
/// Bytes of what guests print in a period: eight calls' worth, 1.1 GB a day.
const OUTPUT_BYTES_MAX: u64 = 128 << 10;

/// A kind of message that others than the operator cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// A guest printed too much.
    Output,
    /// A client's call failed.
    Query,
    /// A subscriber could not be told something.
    Notification,
    /// Subscribers are told too slowly.
    Events,
    /// Transactions left the pool for want of memory.
    Shed,
}

const KINDS: usize = 5;

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    used: u64,
    /// Messages that were not let through since the last one that was.
    untold: u64,
}

impl Window {
    fn take(&mut self, cost: u64, max: u64, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= PERIOD) {
            (self.began, self.used) = (Some(now), 0);
        }
        if self.used + cost > max {
            self.untold += 1;
            return None;
        }
        self.used += cost;
        Some(std::mem::take(&mut self.untold))
    }
}

/// What a chain has written to the log of late.
#[derive(Default)]
pub(crate) struct LogLimit(Mutex<(Window, [Window; KINDS])>);

impl LogLimit {
    /// Whether a message may be logged: how many of its kind were not since the last one that was.
    pub(crate) fn message(&self, kind: LogKind, now: Instant) -> Option<u64> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.1.get_mut(kind as usize)?.take(1, MESSAGES_MAX, now)
    }

    /// Whether so many bytes that a guest printed may be logged: how many lines were not since the last one that was.
    pub(crate) fn output(&self, bytes: usize, now: Instant) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.take(bytes as u64, OUTPUT_BYTES_MAX, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_cut_and_counted_and_hides_no_other() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        let told = (0..1_000).filter(|_| limit.message(LogKind::Query, now).is_some()).count();
        assert_eq!(told as u64, MESSAGES_MAX);
        assert_eq!(limit.message(LogKind::Shed, now), Some(0));
        assert_eq!(limit.message(LogKind::Query, now + PERIOD), Some(1_000 - MESSAGES_MAX));
        assert_eq!(limit.message(LogKind::Query, now + PERIOD), Some(0));
    }

    #[test]
    fn output_is_bounded_over_calls() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        let told = (0..1_000_u64).filter(|_| limit.output(1_024, now).is_some()).count();
        assert_eq!(told as u64 * 1_024, OUTPUT_BYTES_MAX);
        assert!(limit.output(1, now + PERIOD).is_some());
    }
}
