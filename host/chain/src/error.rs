use subnode_chain_core::Upgrade;
use subnode_sandbox::{CallError, HostFault, ModuleError};
use subnode_storage::StoreError;
use subnode_types::Hex;

/// Why a chain does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A module is not what it must be.
    #[error("{which} module: {error}")]
    Module {
        /// `runtime` or `consensus`.
        which: &'static str,
        /// What is wrong.
        error: ModuleError,
    },
    /// The runtime refuses the chain's spec.
    #[error("genesis: {0}")]
    Spec(String),
    /// The runtime can build no block on the head.
    #[error("no block can be built on the head: {0}")]
    NoBlock(String),
    /// The consensus module refuses its configuration.
    #[error("consensus: {0}")]
    Consensus(String),
    /// A module failed, or this host did.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The chain cannot take part in the network.
    #[error("network: {0}")]
    Network(String),
    /// The chain went over to another module, which decides the next block.
    #[error("from block {} on, the {} is the module sha256:{} of {} bytes", .0.height, .0.role.name(), Hex(&.0.sha256), .0.size)]
    Upgrade(Upgrade),
    /// The key that attests is none.
    #[error("the key that attests: {0}")]
    AttestKey(String),
    /// The store has this chain with another spec.
    #[error("this chain was created from another spec; use its old one, another name, or another data directory")]
    OtherSpec,
}

/// An error for a client, in JSON-RPC's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// JSON-RPC's code.
    pub code: i32,
    /// For the client.
    pub message: String,
    /// JSON text.
    pub data: Option<Vec<u8>>,
}

/// Bytes of an error's text. A module's may repeat what it was asked, which can be as long as a request; `data` has what is not for people.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// What is shown of a text of a module's.
fn shown(mut message: String) -> String {
    let bytes = message.len();
    if bytes > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push_str(&format!("... ({bytes} bytes)"));
    }
    message
}

/// JSON-RPC: internal error.
const INTERNAL: i32 = -32603;
/// EIP-1474: resource unavailable, method not supported, limit exceeded.
const UNAVAILABLE: i32 = -32002;
const NOT_SUPPORTED: i32 = -32004;
const LIMIT_EXCEEDED: i32 = -32005;

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn rejected(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    pub(crate) fn closing() -> Self {
        Self::new(UNAVAILABLE, "the chain is stopping; retry when it runs again")
    }

    pub(crate) fn paused() -> Self {
        Self::new(UNAVAILABLE, "the chain is paused; retry when it is resumed")
    }

    pub(crate) fn full(live: u64, wanted: u64, limit: u64) -> Self {
        Self::new(
            UNAVAILABLE,
            format!("the chain's slice of storage is full: {live} of {limit} bytes in use, {wanted} needed; its operator must resize it"),
        )
    }

    pub(crate) fn not_allowed() -> Self {
        Self::new(NOT_SUPPORTED, "this method changes the chain at will and is for developers' chains; it is not supported here")
    }

    pub(crate) fn no_session() -> Self {
        Self::new(NOT_SUPPORTED, "notifications not supported")
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(LIMIT_EXCEEDED, message)
    }

    /// The chain was reverted or moved on under a call each time it was made again.
    pub(crate) fn outrun() -> Self {
        Self::limit("the chain changes too fast for this call; retry")
    }

    /// What a client hears of a call that did not return. The log has the rest.
    pub(crate) fn from_call(error: &CallError) -> Self {
        match error {
            CallError::Guest(fault) => Self::new(INTERNAL, shown(format!("the chain's runtime failed on this call: {fault}"))),
            CallError::Host(HostFault::Instance(_)) => Self::limit("too many calls at once; retry"),
            CallError::Host(HostFault::Memory { .. }) => {
                Self::limit("the chain's slice of memory is full; retry, or have its operator resize it")
            }
            CallError::Host(HostFault::Timeout(after)) => Self::limit(format!("the call took longer than {after:?}")),
            CallError::Host(HostFault::Storage(_)) => Self::new(INTERNAL, "this node could not read its storage; retry"),
            CallError::Host(HostFault::Reverted) => Self::outrun(),
            CallError::Host(HostFault::Stopping) => Self::closing(),
        }
    }
}

impl From<subnode_sandbox::RpcError> for RpcError {
    fn from(error: subnode_sandbox::RpcError) -> Self {
        Self { code: error.code, message: shown(error.message), data: error.data }
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "storage failed");
        Self::new(INTERNAL, error.to_string())
    }
}
