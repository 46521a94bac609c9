//! What a chain is doing, and what its failures lead to.
//!
//! ```text
//!            start                  a task fails
//! stopped ─────────▶ opening ─▶ running ─────────▶ restarting ─▶ opening …
//!    ▲   a module is  │  ▲        │  ▲                  │ too many failures
//!    │      not here  ▼  │ it is  │  │ resume           ▼
//!    │            fetching        │  │              quarantined ─ start ─▶ opening
//!    └──────────── stop ──────────┤  │
//!                           pause ▼  │
//!                               paused
//! ```

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A module that a chain waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Its name.
    pub module: String,
    /// Bytes of it that are here.
    pub bytes: u64,
    /// Of how many; none until a node has said it.
    pub of: Option<u64>,
    /// All of this as a text, and what is waited for.
    pub reason: String,
}

/// What a chain is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Being opened.
    Opening,
    /// Waiting for a module, which other nodes are asked for.
    Fetching(Fetching),
    /// Making blocks.
    Running,
    /// Answering, and making none.
    Paused,
    /// Nothing: nobody wants it to run.
    Stopped,
    /// It failed, and is opened anew after a while.
    Restarting {
        /// Why it failed.
        reason: String,
    },
    /// It failed too often, and waits for an operator.
    Quarantined {
        /// Why it failed last.
        reason: String,
    },
}

impl State {
    /// One word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Fetching(_) => "fetching",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Restarting { .. } => "restarting",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// Why it failed, if it did, or what it waits for.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Restarting { reason } | Self::Quarantined { reason } => Some(reason),
            Self::Fetching(fetching) => Some(&fetching.reason),
            Self::Opening | Self::Running | Self::Paused | Self::Stopped => None,
        }
    }
}

/// Failures within [`WINDOW`] after which a chain is not opened again by itself.
const FAILURES_MAX: usize = 5;
/// Failures longer ago do not count.
const WINDOW: Duration = Duration::from_secs(600);
/// How long a chain waits after its first failure; twice as long after each further one.
const BACKOFF: Duration = Duration::from_millis(500);

/// Failures of a chain.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Bound: [`FAILURES_MAX`] times of 16 bytes: a chain that failed so often is not opened again until an operator forgives it.
    recent: VecDeque<Instant>,
    total: u64,
}

impl Failures {
    /// Counts one. How long to wait before the chain is opened again, or none where it is not.
    pub(crate) fn add(&mut self, now: Instant) -> Option<Duration> {
        self.total += 1;
        self.recent.retain(|failure| now.duration_since(*failure) < WINDOW);
        self.recent.push_back(now);
        let earlier = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX);
        (self.recent.len() < FAILURES_MAX).then(|| BACKOFF * 2_u32.saturating_pow(earlier))
    }

    /// An operator has looked: it may fail anew.
    pub(crate) fn forgive(&mut self) {
        self.recent.clear();
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_ends_in_quarantine_unless_failures_are_rare() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let waits: Vec<_> = (0..5).map(|_| failures.add(start)).collect();
        assert_eq!(waits, [Some(BACKOFF), Some(BACKOFF * 2), Some(BACKOFF * 4), Some(BACKOFF * 8), None]);
        failures.forgive();
        for failure in 0..20 {
            assert!(failures.add(start + WINDOW * failure / 3).is_some(), "failure {failure}");
        }
        assert_eq!(failures.total(), 25);
    }
}
