//! The handle to a chain.

use std::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use subnode_chain_core::{Pool, PoolLimits};
use subnode_sandbox::{Accounts, Limits, Module, Tenant, World};
use subnode_scheduler::Bandwidth;
use subnode_signer::{Guard, Voter};
use subnode_storage::{ChainStore, Retention, StoreError, Table};
use subnode_types::{BlockRef, ChainName, NodeId, Sealing};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    OpenError, RpcError, TimeSource,
    actor::{self, Actor, Consensus},
    admission,
    agreement::{GUARD_KEY, REPAIR_KEY},
    blocks,
    checker::Checker,
    cursor::Cursors,
    follow,
    lend::SharedPool,
    message::{MAILBOX, Message},
    notices::Notices,
    notifier,
    peers::{Joined, Network},
    post, query,
    serve::{self, Questions},
    shared::{Shared, StateSync},
    stats::{ChainStats, Counters},
    submissions,
    subscription::Subscriptions,
    traffic::ClientTraffic,
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
    /// The other nodes; none for a chain that has but one.
    pub network: Option<Arc<dyn Network>>,
    /// The secret of the key that this node votes with; none on one that only follows.
    pub vote_secret: Option<[u8; 32]>,
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
    /// Whether a submitted transaction is answered once a block has it, with an error where it failed there, instead of once it is in the pool.
    /// Nobody waits on a chain that seals only when asked.
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
    /// Bytes of memory that its past may take: blocks, receipts and old values of the state. The oldest go first. For a chain in memory alone.
    pub past_bytes_max: u64,
    /// Heights between two states that get a root, where a chain with a committee is created: what other nodes catch up by. 0 for none.
    pub checkpoint_every: u64,
    /// How far ahead of this host's clock a block may be that others propose, in milliseconds.
    pub future_ms_max: u64,
    /// Whether it came from another host, which may still vote with its key: it does not vote until it was silent for a while.
    pub silent: bool,
    /// Seeds the randomness of the blocks built here; none takes it from the machine.
    pub seed: Option<[u8; 32]>,
    /// What clients are told this program is.
    pub version: String,
}

/// Why a chain has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One of its tasks failed, for this reason.
    Failed(String),
    /// Its tables were replaced by a state that others vouch for, at this height: open them anew.
    Renewed(u64),
}

/// A running chain. Cheap to clone; it runs until [`Chain::stop`], or until the last handle is dropped.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    crash: CancellationToken,
    tasks: TaskTracker,
    ended: watch::Receiver<Option<Ended>>,
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
        parts.store.set_past_limit(options.past_bytes_max);
        let origin = blocks::load_or_create(&parts, &options).await?;
        let members: Vec<NodeId> = Vec::from_iter(origin.committees.members());
        let bandwidth = Arc::new(Bandwidth::new(options.bandwidth_bytes));
        let (peers, framed, inbox) = join(parts.network.as_deref(), origin.key, &members, &bandwidth)?
            .map_or((None, None, None), |joined| (Some(joined.peers), Some(joined.consensus), Some(joined.inbox)));
        let guard = parts.store.view().get(Table::Log, GUARD_KEY)?.map_or(Ok(Guard::default()), |bytes| Guard::decode(&bytes));
        let guard = guard.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let voter = Arc::new(Voter::new(parts.vote_secret, origin.key.unwrap_or_default(), guard));
        if options.silent {
            voter.be_silent();
        }

        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (submissions, submitted) = submissions::queue(parts.tenant.clone());
        let (events, told) = mpsc::channel(notifier::EVENTS);
        let shared = Arc::new(Shared {
            pool: SharedPool::new(Pool::new(options.pool), parts.tenant.clone()),
            pool_mark: AtomicU64::new(0),
            query_permits: Semaphore::new(options.queries_max),
            sealing: Mutex::new(options.sealing),
            queries_begun: AtomicU64::new(0),
            traffic: ClientTraffic::new(bandwidth.clone()),
            bandwidth,
            counters: Counters::default(),
            paused: AtomicBool::new(false),
            sweep: Notify::new(),
            idle_used: AtomicBool::new(false),
            name: parts.tenant.chain().clone(),
            tenant: parts.tenant.clone(),
            runtime: parts.runtime,
            spec: if options.controls { parts.spec } else { Vec::new() },
            store: parts.store,
            accounts: parts.accounts,
            options,
            mailbox,
            submissions,
            events,
            subscriptions: Subscriptions::default(),
            cursors: Arc::new(Cursors::new(parts.tenant.clone())),
            ready: Notify::new(),
            completing: tokio::sync::Mutex::new(()),
            commits: watch::Sender::new(0),
            peers: peers.clone(),
            voter: voter.clone(),
            committees: RwLock::new(origin.committees),
            rule: origin.rule,
            state_sync: StateSync::default(),
            offered: Mutex::default(),
            head: RwLock::new(origin.head),
            clock: Mutex::default(),
            stuck: Mutex::default(),
            idle: Mutex::default(),
            next_subscription: AtomicU64::new(1),
        });
        shared.retain(shared.store.retention());
        let wanted = shared.store.view().get(Table::Log, REPAIR_KEY)?.is_some();
        shared.state_sync.wanted.store(wanted, Ordering::Relaxed);
        let checker = Checker::new(parts.consensus.clone());
        let consensus = Consensus::new(parts.consensus, parts.consensus_config, &parts.tenant, shared.options.query, voter).await?;
        let mut actor = Actor::new(shared.clone(), consensus, messages, framed);
        actor.start().await?;

        let weak = Arc::downgrade(&shared);
        parts.tenant.on_shortage(weak);
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut parts_of_it = JoinSet::new();
        parts_of_it.spawn(actor.run(shutdown.clone()));
        spawn(&mut parts_of_it, &shutdown, "admission", admission::run(shared.clone(), submitted));
        spawn(&mut parts_of_it, &shutdown, "the notifier", notifier::run(shared.clone(), told));
        if let (Some(peers), Some(inbox)) = (peers, inbox) {
            let notices = Arc::<Notices>::default();
            let questions = Arc::<Questions>::default();
            let post = post::run(shared.clone(), peers.clone(), inbox, notices.clone(), questions.clone());
            spawn(&mut parts_of_it, &shutdown, "the post", post);
            spawn(&mut parts_of_it, &shutdown, "answering others", serve::run(shared.clone(), questions));
            spawn(&mut parts_of_it, &shutdown, "catching up", follow::run(shared.clone(), peers, checker, notices));
        }
        let (end, ended) = watch::channel(None);
        let crash = CancellationToken::new();
        let watched = watch_over(shared.clone(), parts_of_it, shutdown.clone(), end);
        let crashed = crash.clone();
        tasks.spawn(async move { crashed.run_until_cancelled(watched).await.unwrap_or_default() });
        tasks.close();
        Ok(Self { inner: Arc::new(Inner { shared, shutdown, crash, tasks, ended }) })
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

    /// Resolves once the chain has ended by itself. A chain that is stopped does not.
    pub async fn ended(&self) -> Ended {
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

    /// Resolves once the chain ends, by itself or because it is stopped: whoever holds on to it would ask a chain that is no more.
    pub async fn ends(&self) {
        self.inner.shutdown.cancelled().await;
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
        self.shared().retain(retention);
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

    /// Has the runtime build a block on the head, and drops it.
    ///
    /// # Errors
    /// Why it can build none.
    pub async fn try_block(&self) -> Result<(), OpenError> {
        actor::try_block(self.shared(), &self.shared().runtime).await
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

    /// What all that it sends and receives is held to.
    pub fn bandwidth(&self) -> &Bandwidth {
        &self.shared().bandwidth
    }

    /// What its clients send and receive.
    pub fn traffic(&self) -> &ClientTraffic {
        &self.shared().traffic
    }

    /// What it did and has.
    pub fn stats(&self) -> ChainStats {
        ChainStats::of(self.shared())
    }

    /// Whether it does not vote yet, as another host may vote with its key.
    pub fn is_silent(&self) -> bool {
        self.shared().voter.is_silent()
    }

    /// Has it vote: no other host does with its key.
    pub fn speak(&self) {
        self.shared().voter.speak();
    }

    /// Whether other nodes can give it a state that its committee vouches for.
    pub fn is_repairable(&self) -> bool {
        self.shared().rule.is_some() && self.shared().peers.is_some()
    }

    /// Stands still, and gets the next state that its committee vouches for from other nodes, in place of what it has: for tables that are
    /// damaged. Until it is there they stay, and this is remembered.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub async fn repair(&self) -> Result<(), RpcError> {
        query::call(self.shared(), |done| Message::Repair { done }).await
    }

    /// Ends it as a crash would, in the midst of whatever it does: for simulations.
    pub async fn crash(&self) {
        self.inner.crash.cancel();
        self.inner.tasks.wait().await;
    }

    /// Stops it, once a block being committed is durable.
    pub async fn stop(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.wait().await;
    }
}

/// Joins the network where there is one.
fn join(
    network: Option<&dyn Network>,
    key: Option<[u8; 32]>,
    members: &[NodeId],
    bandwidth: &Arc<Bandwidth>,
) -> Result<Option<Joined>, OpenError> {
    let Some(network) = network else { return Ok(None) };
    let key = key.ok_or_else(|| OpenError::Network("it was made by a version that had none; export its state to a new chain".into()))?;
    network.join(key, members, bandwidth.clone()).map(Some).map_err(OpenError::Network)
}

/// Starts a part of a chain that ends with it.
fn spawn(
    tasks: &mut JoinSet<Result<(), Ended>>,
    shutdown: &CancellationToken,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = shutdown.clone();
    tasks.spawn(async move { stop.run_until_cancelled(task).await.map_or(Ok(()), |()| Err(Ended::Failed(format!("{what} ended")))) });
}

/// Waits for the tasks of a chain. When one ends before the chain is stopped, the others are stopped too.
async fn watch_over(
    shared: Arc<Shared>,
    mut tasks: JoinSet<Result<(), Ended>>,
    shutdown: CancellationToken,
    end: watch::Sender<Option<Ended>>,
) {
    let mut reason = None;
    while let Some(ended) = tasks.join_next().await {
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            // A bug of ours, kept to this chain.
            Err(panic) => Some(Ended::Failed(format!("a task of the chain failed: {panic}"))),
        };
        if !shutdown.is_cancelled() {
            reason = failure.or_else(|| Some(Ended::Failed("a task of the chain ended".into())));
            shutdown.cancel();
        }
    }
    shared.subscriptions.clear();
    if let Some(reason) = reason {
        end.send_replace(Some(reason));
    }
}
