use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Where a chain takes the time from.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The machine's clock.
    Wall,
    /// A clock that stands still until it is set, in Unix milliseconds: for tests that must not depend on when they run.
    Virtual(Arc<AtomicU64>),
    /// Unix time in milliseconds at a moment, and what has passed since by the timers' clock: for simulations, which have their own.
    Since(u64, tokio::time::Instant),
}

impl TimeSource {
    /// Whether it moves only when it is set: nothing can be waited for then.
    pub(crate) fn stands_still(&self) -> bool {
        matches!(self, Self::Virtual(_))
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::Wall => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Self::Virtual(ms) => ms.load(Ordering::Relaxed),
            Self::Since(ms, moment) => ms.saturating_add(u64::try_from(moment.elapsed().as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
