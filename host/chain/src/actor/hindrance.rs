//! What this host cannot do for now: a full disk or slice, a call that took too long on a busy machine. The chain goes on once it can.

use std::time::Duration;

use tokio::time::Instant;

/// How long a hindered chain stands still, at first and at most: it waits twice as long each time. Trying takes an instance and a read of its log.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Whether the consensus module can be told what happens.
#[derive(Default)]
pub(crate) struct Hindrance {
    /// Nothing before this, where there is one.
    pub(crate) until: Option<Instant>,
    /// It has missed something: it is started anew before it is told anything.
    pub(crate) missed: bool,
    /// In a row.
    times: u32,
}

impl Hindrance {
    /// Has the chain stand still for a while, which is the answer: twice as long as the last time.
    pub(super) fn begin(&mut self) -> Duration {
        let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(self.times)).min(WAIT_MAX);
        self.times = self.times.saturating_add(1);
        self.until = Some(Instant::now() + wait);
        wait
    }

    /// A block was committed: whatever was is over.
    pub(crate) fn passed(&mut self) {
        self.times = 0;
    }
}
