//! Why a call or a write came to nothing, and whose doing it is.

use subnode_sandbox::{CallError, HostFault};
use subnode_storage::StoreError;
use tokio_util::sync::CancellationToken;

use crate::error::OpenError;

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

/// A call of a module, which the end of the chain ends.
pub(crate) async fn unless_stopped<T>(
    shutdown: &CancellationToken,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    shutdown.run_until_cancelled(call).await.unwrap_or_else(|| Err(HostFault::Stopping.into()))
}
