//! What a call is lent: the state to read, the pool, accounts, what the host knows.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use subnode_types::{NodeId, Position};

use crate::{ChainStatus, Entry, HostFault, Occupancy, Pooled, Signature, Statement, Table};

/// A transaction of the pool that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready<'a> {
    /// Its identity.
    pub id: &'a [u8],
    /// Whose it is.
    pub sender: &'a [u8],
    /// Its place among the sender's.
    pub sequence: u64,
    /// The transaction itself.
    pub data: &'a [u8],
}

/// Reads of the chain's committed tables at one version.
pub trait StateReader: Send {
    /// Calls `found` with the value under a key, if there is one.
    ///
    /// # Errors
    /// Where this host cannot read.
    fn read(&self, table: Table, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), HostFault>;

    /// Rows with `start <= key < end`, in key order: at most `limit`, and fewer where finding more takes long.
    ///
    /// # Errors
    /// Where this host cannot read.
    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Scanned, HostFault>;

    /// Moves the reads of the state table to the end of a height; the inner error says which heights there are.
    ///
    /// # Errors
    /// Where this host cannot read.
    fn seek(&mut self, height: u64) -> Result<Result<(), Unavailable>, HostFault>;
}

/// What a scan found so far.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Rows, in key order.
    pub rows: Vec<Entry>,
    /// Where to go on; none at the end of the range.
    pub next: Option<Vec<u8>>,
    /// Rows that were read besides those: old values.
    pub passed: usize,
}

/// A height that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Oldest that is.
    pub oldest: u64,
    /// Newest that is.
    pub newest: u64,
}

/// Bounds of a list of transactions. The last one may pass the bytes.
#[derive(Clone, Copy, Debug)]
pub struct ListLimit {
    /// Transactions.
    pub count: usize,
    /// Bytes of them. A list ends with the transaction that reaches this.
    pub bytes: usize,
}

/// The pool as a call sees it. Limits are the host's; implementations may answer less.
pub trait PoolReader: Send {
    /// Calls `found` with each of the next transactions to try, in a build or a query.
    fn next(&mut self, limit: ListLimit, found: &mut dyn FnMut(Ready<'_>));
    /// Orders what is offered by what it pays above `floor`, once a call; how many senders were looked at for it.
    fn rank(&mut self, floor: u64) -> usize;
    /// This one can be in no later block either.
    fn discard(&mut self, id: &[u8]);
    /// Notes what a transaction that is being admitted may cost; what its sender's others may cost, where all together is more than `funds`.
    fn reserve(&mut self, sender: &[u8], sequence: u64, cost: [u8; 32], funds: [u8; 32]) -> Option<[u8; 32]>;
    /// No more of this sender in this build.
    fn skip_sender(&mut self, sender: &[u8]);
    /// By id.
    fn get(&self, id: &[u8]) -> Option<Pooled>;
    /// One sender's.
    fn by_sender(&self, sender: &[u8], limit: ListLimit) -> Vec<Pooled>;
    /// All, by sender and sequence.
    fn all(&self, limit: ListLimit) -> Vec<Pooled>;
    /// After the last ready one.
    fn next_sequence(&self, sender: &[u8]) -> Option<u64>;
    /// How many there are.
    fn counts(&self) -> Occupancy;
    /// Ids admitted since a mark, and the next mark.
    fn since(&self, mark: u64, limit: usize) -> (Vec<Vec<u8>>, u64);
}

/// Accounts whose keys the host holds.
pub trait Accounts: Send + Sync {
    /// Their names.
    fn names(&self) -> Vec<Vec<u8>>;
    /// A signature by the account of this name.
    fn sign(&self, name: &[u8], digest: &[u8; 32]) -> Option<Signature>;
}

/// The votes of a node on one chain. What is signed is bound to that chain.
pub trait Signer: Send + Sync {
    /// Whose votes these are; none on a node without a vote.
    fn key(&self) -> Option<NodeId>;
    /// Signs a text at a position, unless another was signed there or later.
    fn sign(&self, at: Position, text: &[u8]) -> Option<[u8; 64]>;
    /// Whether a signature is that of `key`.
    fn verify(&self, key: NodeId, at: Position, text: &[u8], signature: &[u8; 64]) -> bool;
}

/// Who made the blocks that could be next.
pub trait Authors: Send + Sync {
    /// The author of a block; none where it is not here, or has none.
    fn author(&self, id: &[u8]) -> Option<NodeId>;
}

/// What an instance of a consensus is lent for as long as it lives.
#[derive(Clone)]
pub struct Membership {
    /// The votes of its node.
    pub signer: Arc<dyn Signer>,
    /// Who made the blocks that it decides on; none where that has no meaning, as for one that only checks certificates.
    pub authors: Option<Arc<dyn Authors>>,
}

/// What a step of a [`GenesisStream`] resolves to.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostFault>> + Send + 'a>>;

/// A genesis in parts: where the spec comes from, and where rows go.
pub trait GenesisStream: Send {
    /// Bytes of the spec.
    fn spec_size(&self) -> u64;

    /// The next bytes of the spec, at most `len`; none at its end.
    ///
    /// # Errors
    /// Where this host cannot read.
    fn read_spec(&mut self, len: usize) -> Result<Vec<u8>, HostFault>;

    /// Keeps rows of the state. An error says that this host cannot, or has no room.
    fn put_rows(&mut self, rows: Vec<Entry>) -> Step<'_, ()>;

    /// Keeps entries to be sorted; the same errors.
    fn sort(&mut self, entries: Vec<Entry>) -> Step<'_, ()>;

    /// Whether sorted entries were asked for: no more may be added then.
    fn is_sorted(&self) -> bool;

    /// The next entries in key order: one, and further ones as far as they fit into `bytes`. None at the end.
    fn next_sorted(&mut self, bytes: usize) -> Step<'_, Vec<Entry>>;
}

/// What members of the committee stated, for the block that a call builds or executes.
pub trait Notes: Send {
    /// The notes that the block could hold; none where it is not being built.
    fn waiting(&mut self) -> Vec<Vec<u8>>;
    /// What has to be checked of a note; none where it does not hold in this block whatever is signed.
    fn open(&self, note: &[u8]) -> Option<Opening>;
    /// The block holds a note of this kind, subject and position. How many it holds by now.
    fn noted(&mut self, kind: u16, subject: [u8; 32], position: u64) -> usize;
}

/// A note that holds if its signatures do.
pub struct Opening {
    /// What it says.
    pub statement: Statement,
    /// What each signature must be over.
    pub text: Vec<u8>,
    /// Signers and their signatures (ed25519).
    pub signatures: Vec<(NodeId, [u8; 64])>,
}

/// What a block says beside its outcome (wit/declare.wit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The attest addresses of its committee, as the guest gave them.
    /// Bound: 128 of 20 bytes.
    pub attesters: Option<Vec<Vec<u8>>>,
    /// The seed that it used.
    pub seed: Option<[u8; 32]>,
    /// The modules that the chain goes over to, the runtime and the consensus.
    pub upgrades: [Option<DeclaredUpgrade>; 2],
}

/// A module that a chain goes over to, as the guest named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredUpgrade {
    /// The first block that it decides.
    pub height: u64,
    /// The hash of its component: 32 bytes, or what the guest took for it.
    pub sha256: Vec<u8>,
    /// Its size in bytes.
    pub size: u64,
}

/// Where a guest declares.
#[derive(Clone, Default)]
pub struct Declaring(Arc<Mutex<Declared>>);

impl Declaring {
    pub(crate) fn set(&self, set: impl FnOnce(&mut Declared)) {
        set(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was declared.
    #[must_use]
    pub fn take(&self) -> Declared {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Everything one call is lent.
pub struct Lent {
    /// The committed tables.
    pub state: Box<dyn StateReader>,
    /// The pool; none answers as an empty one.
    pub pool: Option<Box<dyn PoolReader>>,
    /// What the host knows of the chain. Set for queries, notifications and admissions only: no block may depend on it.
    pub status: Option<ChainStatus>,
    /// Set for queries and notifications only, which alone may seek.
    pub query: Option<QueryLent>,
    /// Set for a genesis of a runtime that takes parts ([`crate::Module::streams_genesis`]).
    pub genesis: Option<Box<dyn GenesisStream>>,
    /// Set for building and executing a block.
    pub notes: Option<Box<dyn Notes>>,
    /// Set for a genesis, and for building and executing a block: what it declares.
    pub declared: Option<Declaring>,
}

impl Lent {
    /// The state, and nothing else.
    #[must_use]
    pub fn of(state: impl StateReader + 'static) -> Self {
        Self { state: Box::new(state), pool: None, status: None, query: None, genesis: None, notes: None, declared: None }
    }
}

/// What only queries and notifications are lent.
pub struct QueryLent {
    /// Accounts of the host's user; none in a notification, which nobody asked for.
    pub accounts: Option<Arc<dyn Accounts>>,
    /// Looks up what is kept under a cursor.
    pub cursor: Box<dyn Fn(u64) -> Option<Vec<u8>> + Send>,
}
