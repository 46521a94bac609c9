//! What this host cannot do for now: a full disk or slice, a call that took too long on a busy machine. The chain goes on once it can.

use std::time::Duration;

use subnode_sandbox::{CallError, HostFault};
use subnode_storage::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{OpenError, actor::Actor};

/// How long a hindered chain stands still, at first and at most: it waits twice as long each time. Trying takes an instance and a read of its log.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a chain cannot go on with what it was doing.
pub(crate) enum Trouble {
    /// This host's: it may pass.
    Host(String),
    /// The chain's or its modules'.
    Chain(String),
}

impl Trouble {
    /// The same with what failed before it.
    pub(crate) fn of(self, what: &str) -> Self {
        match self {
            Self::Host(reason) => Self::Host(format!("{what}: {reason}")),
            Self::Chain(reason) => Self::Chain(format!("{what}: {reason}")),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) | StoreError::SliceFull { .. } => Self::Host(error.to_string()),
            other => Self::Chain(other.to_string()),
        }
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Host(fault) => Self::Host(fault.to_string()),
            CallError::Guest(fault) => Self::Chain(fault.to_string()),
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Call(error) => error.into(),
            OpenError::Store(error) => error.into(),
            other => Self::Chain(other.to_string()),
        }
    }
}

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
    /// A block was committed: whatever was is over.
    pub(crate) fn passed(&mut self) {
        self.times = 0;
    }
}

/// A call of a module, which the end of the chain ends.
pub(crate) async fn unless_stopped<T>(
    shutdown: &CancellationToken,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    shutdown.run_until_cancelled(call).await.unwrap_or_else(|| Err(HostFault::Stopping.into()))
}

impl Actor {
    /// Stands still for a while, or ends the chain.
    pub(crate) fn stop_for(&mut self, trouble: Trouble) {
        let reason = match trouble {
            Trouble::Host(reason) => reason,
            Trouble::Chain(reason) => return self.fail(reason),
        };
        let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(self.hindrance.times)).min(WAIT_MAX);
        tracing::warn!(chain = %self.shared.name, reason, again_in = ?wait, "this host hinders the chain, which stands still");
        self.shared.set_stuck(Some(reason));
        self.hindrance.times = self.hindrance.times.saturating_add(1);
        self.hindrance.until = Some(Instant::now() + wait);
        self.miss();
    }

    /// The consensus module is not told of something: what it asked for is void, and what it signed may not be durable.
    pub(crate) fn miss(&mut self) {
        self.hindrance.missed = true;
        self.shared.voter.not_saved();
        self.forget_proposals();
    }

    /// Starts the consensus module anew, from the head and its log.
    pub(crate) async fn start_again(&mut self) {
        self.hindrance.missed = false;
        let begun = async {
            self.consensus.renew(&self.shared).await?;
            self.start().await
        };
        match begun.await {
            Ok(()) => drop(self.shared.set_stuck(None)),
            Err(error) => self.stop_for(Trouble::from(error).of("the consensus module did not start")),
        }
    }
}
