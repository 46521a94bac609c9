//! What the tasks of a chain share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use subnode_chain_core::{
    ChainClock, Checkpoints, Committees,
    wire::{self, Notice},
};
use subnode_sandbox::{Accounts, CallError, ChainStatus, HostFault, Limits, Module, QueryLent, RuntimeGuest, Shed, Tenant, border};
use subnode_scheduler::Bandwidth;
use subnode_signer::Voter;
use subnode_storage::{ChainStore, Retention, View};
use subnode_types::{BlockRef, ChainName, NodeId, Purpose, Sealing, Validator};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::{
    ChainOptions, RpcError,
    blocks::{BlockId, Offered, decode_head},
    cursor::Cursors,
    lend::SharedPool,
    message::Message,
    notifier::Event,
    peers::Peers,
    stats::Counters,
    submissions::Submissions,
    subscription::Subscriptions,
    traffic::ClientTraffic,
};

/// Instances kept for the next query.
const IDLE_MAX: usize = 4;
pub(crate) struct Shared {
    pub(crate) name: ChainName,
    pub(crate) tenant: Tenant,
    pub(crate) runtime: Module,
    /// What the chain began from, where its user may have it begin again; else empty.
    pub(crate) spec: Vec<u8>,
    pub(crate) store: Arc<ChainStore>,
    pub(crate) pool: SharedPool,
    /// The pool's mark, for those who compare it later: never ahead of it.
    pub(crate) pool_mark: AtomicU64,
    pub(crate) options: ChainOptions,
    pub(crate) mailbox: mpsc::Sender<Message>,
    pub(crate) submissions: Submissions,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) query_permits: Semaphore,
    pub(crate) queries_begun: AtomicU64,
    pub(crate) bandwidth: Arc<Bandwidth>,
    pub(crate) traffic: ClientTraffic,
    pub(crate) counters: Counters,
    pub(crate) paused: AtomicBool,
    /// Told from time to time: whoever has not worked since the last time gives its instance up.
    pub(crate) sweep: Notify,
    /// Set when the pool may hold ready transactions that the consensus module has not been told of.
    pub(crate) ready: Notify,
    /// Held while a transaction that the runtime completed from the pool is admitted: they are completed one after the other.
    pub(crate) completing: tokio::sync::Mutex<()>,
    /// Counts commits.
    pub(crate) commits: watch::Sender<u64>,
    pub(crate) peers: Option<Arc<dyn Peers>>,
    pub(crate) voter: Arc<Voter>,
    pub(crate) committees: RwLock<Committees>,
    /// Which states get roots; none of a chain without a committee.
    pub(crate) rule: Option<Checkpoints>,
    pub(crate) state_sync: StateSync,
    /// Candidates that others can get.
    pub(crate) offered: Mutex<BTreeMap<BlockId, Arc<Offered>>>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) head: RwLock<BlockRef>,
    pub(crate) clock: Mutex<ChainClock>,
    pub(crate) sealing: Mutex<Sealing>,
    /// Why no block could be made when one was last wanted; none once one is.
    pub(crate) stuck: Mutex<Option<String>>,
    pub(crate) idle: Mutex<Vec<RuntimeGuest>>,
    pub(crate) idle_used: AtomicBool,
    pub(crate) next_subscription: AtomicU64,
}

/// How far a state is that is being gathered, in pieces.
#[derive(Default)]
pub(crate) struct StateSync {
    pub(crate) here: AtomicU64,
    /// 0 while there is none.
    pub(crate) total: AtomicU64,
    /// Set where the next state is wanted, however far it is: what this node has is damaged.
    pub(crate) wanted: AtomicBool,
}

impl StateSync {
    pub(crate) fn pieces(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.here.load(Ordering::Relaxed), total))
    }
}

impl Shared {
    pub(crate) fn head(&self) -> BlockRef {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the head, and the committees where it changes them. Candidates for its height are gone.
    pub(crate) fn set_head(&self, head: BlockRef, committees: Option<Committees>) {
        let mut known = self.committees.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.members();
        if let Some(changed) = committees {
            *known = changed;
        }
        known.forget_before(head.height + 1);
        let members = known.members();
        drop(known);
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
        self.offers().clear();
        if members != before
            && let Some(peers) = &self.peers
        {
            peers.set_members(&Vec::from_iter(members));
        }
    }

    pub(crate) fn committees(&self) -> Committees {
        self.committees.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who decides the next block.
    pub(crate) fn committee(&self) -> Vec<Validator> {
        let next = self.head().height + 1;
        self.committees.read().unwrap_or_else(PoisonError::into_inner).at(next).to_vec()
    }

    /// Whether a node is in one of the committees that decide the next blocks.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.committees.read().unwrap_or_else(PoisonError::into_inner).has_member(node)
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<BlockId, Arc<Offered>>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other nodes have a candidate, until the next block.
    pub(crate) fn offer(&self, id: BlockId, offered: Arc<Offered>) {
        self.offers().insert(id, offered);
    }

    pub(crate) fn offered(&self, id: &BlockId) -> Option<Arc<Offered>> {
        self.offers().get(id).cloned()
    }

    /// Keeps so much of the past, and as much as other nodes need to catch up.
    pub(crate) fn retain(&self, retention: Retention) {
        let retention = match (retention, self.rule) {
            (Retention::Last(heights), Some(rule)) => Retention::Last(heights.max(rule.history())),
            (other, _) => other,
        };
        self.store.set_retention(retention);
    }

    /// Tells other nodes how far this one is.
    pub(crate) fn announce(&self) {
        if let Some(peers) = &self.peers {
            peers.broadcast(Purpose::Blocks, wire::encode(&Notice::Head(self.head().height)).into());
        }
    }

    /// A view of the store, and the head it is of: while a block is committed or undone, the store's head is another than [`Self::head`].
    pub(crate) fn view(&self) -> (View, BlockRef) {
        let (view, head) = self.store.view_of_head();
        let head = head.and_then(|head| decode_head(&head).ok());
        // Opening a chain has decoded its head, and what is written since is encoded from one.
        (view, head.unwrap_or_else(|| panic!("the head of chain {} does not decode", self.name)))
    }

    /// Waits until no revert is under way.
    pub(crate) async fn settled(&self) {
        // Whoever ends a revert sends here, and this listens before it looks.
        let mut commits = self.commits.subscribe();
        while !self.store.is_settled() && commits.changed().await.is_ok() {}
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ChainClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_sealing(&self, sealing: Sealing) {
        *self.sealing.lock().unwrap_or_else(PoisonError::into_inner) = sealing;
    }

    /// The error that clients hear while the chain's slice of storage is full.
    pub(crate) fn full(&self) -> Option<RpcError> {
        let (wanted, limit) = self.store.full()?;
        Some(RpcError::full(self.store.live_bytes(), wanted, limit))
    }

    /// Why no block could be made when one was last wanted.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the reason; whether it is another one than before.
    pub(crate) fn set_stuck(&self, reason: Option<String>) -> bool {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *stuck != reason;
        *stuck = reason;
        changed
    }

    /// Has clients that wait for their transactions look again.
    pub(crate) fn wake_clients(&self) {
        self.commits.send_modify(|_| {});
    }

    pub(crate) fn sealing(&self) -> Sealing {
        *self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_subscription(&self) -> u64 {
        self.next_subscription.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues an event for subscribers.
    pub(crate) fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            tracing::warn!(chain = %self.name, "subscribers are told too slowly; an event was dropped");
        }
    }

    /// Queues an event and waits for room.
    pub(crate) async fn tell_surely(&self, event: Event) {
        // An error means the notifier is gone, and with it every subscriber.
        drop(self.events.send(event).await);
    }

    pub(crate) fn query_lent(&self) -> QueryLent {
        let cursors = self.cursors.clone();
        let clock = self.clock();
        let status = ChainStatus {
            now_ms: clock.next_timestamp(self.options.time.now_ms()),
            clock_offset_ms: clock.offset_ms(),
            sealing: border::runtime_sealing(self.sealing()),
            controls: self.options.controls,
            version: self.options.version.clone(),
        };
        QueryLent { accounts: self.accounts.clone(), status, cursor: Box::new(move |id| cursors.get(id)) }
    }

    /// An instance for a query: one that is idle, or a fresh one.
    pub(crate) async fn query_guest(&self) -> Result<RuntimeGuest, CallError> {
        self.idle_used.store(true, Ordering::Relaxed);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(guest) => Ok(guest),
            None => self.fresh_guest(self.options.query, &[]).await,
        }
    }

    pub(crate) async fn admission_guest(&self) -> Result<RuntimeGuest, CallError> {
        self.fresh_guest(self.options.query, &[]).await
    }

    async fn fresh_guest(&self, limits: Limits, seed: &[u8]) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::new(&self.runtime, &self.tenant, limits, seed).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// A fresh instance that works on a block.
    pub(crate) async fn block_guest(&self, seed: &[u8]) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::for_block(&self.runtime, &self.tenant, self.options.block, seed).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// Keeps an instance for the next query, unless it faulted or grew.
    pub(crate) fn return_query_guest(&self, guest: RuntimeGuest) {
        if guest.faulted() || guest.memory_bytes() > self.options.idle_memory_bytes {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(guest);
        }
    }

    pub(crate) fn drop_idle_guests(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}

impl Shed for Shared {
    /// Idle instances first, which only save time, then the transactions that are least likely to be mined.
    fn shed(&self, bytes: u64) {
        let before = self.tenant.memory().used();
        self.drop_idle_guests();
        let freed = before.saturating_sub(self.tenant.memory().used());
        if freed < bytes {
            let shed = self.pool.lock().shed(usize::try_from(bytes - freed).unwrap_or(usize::MAX));
            self.counters.transactions_shed.fetch_add(shed as u64, Ordering::Relaxed);
            if shed > 0 {
                tracing::warn!(chain = %self.name, transactions = shed, "memory slice full: transactions were dropped from the pool");
            }
        }
    }
}
