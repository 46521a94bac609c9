//! The handle to a chain, and what its tasks share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use subnode_chain_core::{ChainClock, Pool, PoolLimits};
use subnode_sandbox::{
    Accounts, CallError, ChainStatus, ConsensusGuest, HostFault, Limits, Module, QueryLent, RuntimeGuest, Shed, Tenant, World, border,
};
use subnode_storage::{ChainStore, Retention, View};
use subnode_types::{BlockRef, ChainName, Sealing};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    OpenError, RpcError, TimeSource,
    actor::{self, Actor},
    admission::{self, Submission},
    bandwidth::Bandwidth,
    cursor::Cursors,
    lend::SharedPool,
    message::{MAILBOX, Message},
    notifier::{self, Event},
    query,
    stats::{ChainStats, Counters},
    subscription::Subscriptions,
};

/// What a chain is made of.
pub struct ChainParts {
    /// Its name on this node, its share of the cores, its memory.
    pub tenant: Tenant,
    /// What a block means.
    pub runtime: Module,
    /// Which block is next.
    pub consensus: Module,
    /// Its tables.
    pub store: Arc<ChainStore>,
    /// For the runtime, at the chain's birth. Later it must be the same, or empty.
    pub spec: Vec<u8>,
    /// For the consensus module, at every start.
    pub consensus_config: Vec<u8>,
    /// Accounts that sign for clients.
    pub accounts: Arc<dyn Accounts>,
}

/// How a chain is run.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Where it takes the time from.
    pub time: TimeSource,
    /// How it seals at first; the consensus module's configuration must say the same.
    pub sealing: Sealing,
    /// Whether clients may use the developer's controls.
    pub controls: bool,
    /// Whether a submitted transaction is answered once a block has it, instead of once it is in the pool.
    pub answer_after_mining: bool,
    /// Bounds of the pool.
    pub pool: PoolLimits,
    /// Bounds of building, executing, genesis.
    pub block: Limits,
    /// Bounds of a query, a notification, an admission.
    pub query: Limits,
    /// Queries at once; further ones wait.
    pub queries_max: usize,
    /// Queries that wait; further ones are refused.
    pub queries_waiting_max: usize,
    /// Bytes per second that its clients may send and receive.
    pub bandwidth_bytes: u64,
    /// An instance with more memory than this is dropped after its call instead of kept for the next.
    pub idle_memory_bytes: usize,
    /// Seeds the randomness of the blocks built here; none takes it from the machine.
    pub seed: Option<[u8; 32]>,
    /// What clients are told this program is.
    pub version: String,
}

/// Instances kept for the next query.
const IDLE_MAX: usize = 4;

pub(crate) struct Shared {
    pub(crate) name: ChainName,
    pub(crate) tenant: Tenant,
    pub(crate) runtime: Module,
    pub(crate) store: Arc<ChainStore>,
    pub(crate) pool: SharedPool,
    pub(crate) options: ChainOptions,
    pub(crate) mailbox: mpsc::Sender<Message>,
    pub(crate) submissions: mpsc::Sender<Submission>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) query_permits: Semaphore,
    pub(crate) queries_begun: AtomicU64,
    pub(crate) bandwidth: Bandwidth,
    pub(crate) counters: Counters,
    pub(crate) paused: AtomicBool,
    /// Told from time to time: whoever has not worked since the last time gives its instance up.
    pub(crate) sweep: Notify,
    /// Set when the pool may hold ready transactions that the consensus module has not been told of.
    pub(crate) ready: Notify,
    /// Counts commits.
    pub(crate) commits: watch::Sender<u64>,
    events: mpsc::Sender<Event>,
    accounts: Arc<dyn Accounts>,
    head: RwLock<BlockRef>,
    clock: Mutex<ChainClock>,
    sealing: Mutex<Sealing>,
    idle: Mutex<Vec<RuntimeGuest>>,
    idle_used: AtomicBool,
    next_subscription: AtomicU64,
}

impl Shared {
    pub(crate) fn head(&self) -> BlockRef {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_head(&self, head: BlockRef) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// A view of the store, and the head it is of. Taken under the head's lock, which commits hold while both move on.
    pub(crate) fn view(&self) -> (View, BlockRef) {
        let head = self.head.read().unwrap_or_else(PoisonError::into_inner);
        (self.store.view(), head.clone())
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ChainClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_sealing(&self, sealing: Sealing) {
        *self.sealing.lock().unwrap_or_else(PoisonError::into_inner) = sealing;
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

    pub(crate) async fn fresh_guest(&self, limits: Limits, seed: &[u8]) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::new(&self.runtime, &self.tenant, limits, seed).await;
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

/// A running chain. Cheap to clone; it runs until [`Chain::stop`], or until the last handle is dropped.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    ended: watch::Receiver<Option<String>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Chain {
    /// Opens a chain: creates it from its spec if its store is empty, and starts it at its head. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with its modules, spec or store.
    pub async fn open(parts: ChainParts, options: ChainOptions) -> Result<Self, OpenError> {
        let runtime_error = |error| OpenError::Module { which: "runtime", error };
        let consensus_error = |error| OpenError::Module { which: "consensus", error };
        parts.runtime.expect(World::Runtime).map_err(runtime_error)?;
        parts.consensus.expect(World::Consensus).map_err(consensus_error)?;
        let head = actor::load_or_create(&parts, &options).await?;

        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (submissions, submitted) = mpsc::channel(admission::WAITING);
        let (events, told) = mpsc::channel(notifier::EVENTS);
        let shared = Arc::new(Shared {
            pool: SharedPool::new(Pool::new(options.pool), parts.tenant.clone()),
            query_permits: Semaphore::new(options.queries_max),
            sealing: Mutex::new(options.sealing),
            queries_begun: AtomicU64::new(0),
            bandwidth: Bandwidth::new(options.bandwidth_bytes),
            counters: Counters::default(),
            paused: AtomicBool::new(false),
            sweep: Notify::new(),
            idle_used: AtomicBool::new(false),
            name: parts.tenant.chain().clone(),
            tenant: parts.tenant.clone(),
            runtime: parts.runtime,
            store: parts.store,
            accounts: parts.accounts,
            options,
            mailbox,
            submissions,
            events,
            subscriptions: Subscriptions::default(),
            cursors: Arc::new(Cursors::new(parts.tenant.clone())),
            ready: Notify::new(),
            commits: watch::Sender::new(0),
            head: RwLock::new(head),
            clock: Mutex::default(),
            idle: Mutex::default(),
            next_subscription: AtomicU64::new(1),
        });
        let consensus =
            ConsensusGuest::new(&parts.consensus, &parts.tenant, shared.options.query, &[]).await.map_err(consensus_error)??;
        let mut actor = Actor::new(shared.clone(), consensus, parts.consensus_config, messages);
        actor.start().await?;

        let weak = Arc::downgrade(&shared);
        parts.tenant.on_shortage(weak);
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut parts_of_it = JoinSet::new();
        parts_of_it.spawn(actor.run(shutdown.clone()));
        let stop = shutdown.clone();
        let admission = admission::run(shared.clone(), submitted);
        parts_of_it.spawn(async move { stop.run_until_cancelled(admission).await.map_or(Ok(()), |()| Err("admission ended".into())) });
        let stop = shutdown.clone();
        let notifier = notifier::run(shared.clone(), told);
        parts_of_it.spawn(async move { stop.run_until_cancelled(notifier).await.map_or(Ok(()), |()| Err("the notifier ended".into())) });
        let (end, ended) = watch::channel(None);
        tasks.spawn(watch_over(shared.clone(), parts_of_it, shutdown.clone(), end));
        tasks.close();
        Ok(Self { inner: Arc::new(Inner { shared, shutdown, tasks, ended }) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Its name.
    pub fn name(&self) -> &ChainName {
        &self.shared().name
    }

    /// Its last committed block.
    pub fn head(&self) -> BlockRef {
        self.shared().head()
    }

    /// Resolves once the chain has ended by itself, with the reason: one of its tasks failed. A chain that is stopped does not.
    pub async fn failed(&self) -> String {
        let mut ended = self.inner.ended.clone();
        loop {
            if let Some(reason) = ended.borrow_and_update().clone() {
                return reason;
            }
            if ended.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops making blocks and taking transactions, or goes on. Reads are answered all the same.
    ///
    /// # Errors
    /// Where the chain has stopped.
    pub async fn set_paused(&self, paused: bool) -> Result<(), RpcError> {
        self.shared().paused.store(paused, Ordering::Relaxed);
        query::call(self.shared(), |done| Message::SetPaused { done }).await
    }

    /// Changes how much of the past is kept, and drops what is not kept any more.
    ///
    /// # Errors
    /// Where disk or database fail.
    pub async fn set_retention(&self, retention: Retention) -> Result<(), RpcError> {
        self.shared().store.set_retention(retention);
        query::call(self.shared(), |done| Message::Prune { done }).await
    }

    /// Tries other modules on the head: whether they are of the right worlds, and come up with a block and a start there. Nothing of
    /// the chain changes.
    ///
    /// # Errors
    /// What they said.
    pub async fn try_modules(&self, runtime: &Module, consensus: &Module, consensus_config: &[u8]) -> Result<(), OpenError> {
        actor::try_modules(self.shared(), runtime, consensus, consensus_config).await
    }

    /// Gives up instances that were not used since this was last called.
    pub fn sweep(&self) {
        let shared = self.shared();
        if !shared.idle_used.swap(false, Ordering::Relaxed) {
            shared.drop_idle_guests();
        }
        shared.sweep.notify_waiters();
    }

    /// Its tables.
    pub fn store(&self) -> &Arc<ChainStore> {
        &self.shared().store
    }

    /// On whose account it runs.
    pub fn tenant(&self) -> &Tenant {
        &self.shared().tenant
    }

    /// What its clients send and receive.
    pub fn bandwidth(&self) -> &Bandwidth {
        &self.shared().bandwidth
    }

    /// What it did and has.
    pub fn stats(&self) -> ChainStats {
        ChainStats::of(self.shared())
    }

    /// Stops it, once a block being committed is durable.
    pub async fn stop(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.wait().await;
    }
}

/// Waits for the tasks of a chain. When one ends before the chain is stopped, the others are stopped too.
async fn watch_over(
    shared: Arc<Shared>,
    mut tasks: JoinSet<Result<(), String>>,
    shutdown: CancellationToken,
    end: watch::Sender<Option<String>>,
) {
    let mut reason = None;
    while let Some(ended) = tasks.join_next().await {
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            // A bug of ours, kept to this chain.
            Err(panic) => Some(format!("a task of the chain failed: {panic}")),
        };
        if !shutdown.is_cancelled() {
            reason = failure.or(Some("a task of the chain ended".into()));
            shutdown.cancel();
        }
    }
    shared.subscriptions.clear();
    if let Some(reason) = reason {
        end.send_replace(Some(reason));
    }
}
