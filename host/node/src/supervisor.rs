//! Makes what runs what should run.
//!
//! What should run is written first, what runs follows: after a kill between the two, the next start finds the difference and
//! removes it. Requests for one chain wait for each other; those for different chains do not.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use subnode_chain::{Chain, ChainOptions};
use subnode_sandbox::Accounts;
use subnode_scheduler::{Capacity, Grant, Ledger};
use subnode_storage::Store;
use subnode_types::{ChainName, Slice};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ControlError, Desired, Node, Origin, Overlay, Peering, State, Wanted, control::apply, lifecycle::Failures, modules::Modules,
    transfer::Transfers,
};

/// How often instances that nobody uses are given up.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What a supervisor works with.
pub struct SupervisorParts {
    /// Where chains live.
    pub store: Arc<dyn Store>,
    /// The modules they run.
    pub modules: Modules,
    /// What the node has to give.
    pub capacity: Capacity,
    /// How chains are run, but for what [`Desired`] says.
    pub options: ChainOptions,
    /// Accounts that sign for clients.
    pub accounts: Arc<dyn Accounts>,
    /// Bytes of the disk that are kept free.
    pub disk_free_bytes_min: u64,
    /// How the node takes part in a network; none for a node on its own.
    pub peering: Option<Peering>,
}

/// Makes what runs what should run.
pub struct Supervisor {
    pub(crate) parts: SupervisorParts,
    pub(crate) node: Arc<Node>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) slots: RwLock<BTreeMap<ChainName, Arc<Slot>>>,
    pub(crate) transfers: Transfers,
    pub(crate) started: Instant,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// A chain's place.
pub(crate) struct Slot {
    pub(crate) name: ChainName,
    /// Held while the chain is changed.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) desired: Mutex<Desired>,
    pub(crate) state: Mutex<State>,
    pub(crate) failures: Mutex<Failures>,
    /// Ends the task that waits for the running chain to fail.
    pub(crate) watch: Mutex<CancellationToken>,
}

/// A chain as an operator sees it.
#[derive(Clone)]
pub struct ChainInfo {
    /// Its name.
    pub name: ChainName,
    /// What it should be.
    pub desired: Desired,
    /// What it is doing.
    pub state: State,
    /// How often it failed since the node was started.
    pub failures: u64,
    /// The chain itself, where it answers.
    pub chain: Option<Chain>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    pub(crate) fn new(name: ChainName, desired: Desired) -> Arc<Self> {
        Arc::new(Self {
            name,
            changing: tokio::sync::Mutex::default(),
            desired: Mutex::new(desired),
            state: Mutex::new(State::Stopped),
            failures: Mutex::default(),
            watch: Mutex::default(),
        })
    }

    pub(crate) fn desired(&self) -> Desired {
        lock(&self.desired).clone()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.state).clone()
    }
}

impl Supervisor {
    /// Opens what the store says should run, and what `configured` says, which decides of its own chains. Chains that do not
    /// open are tried again, and in the end left alone, as [`State`] shows; the others run meanwhile.
    ///
    /// # Errors
    /// Where the store cannot be read, or what is configured does not fit: nothing runs then.
    pub async fn start(parts: SupervisorParts, configured: Vec<(ChainName, Desired)>) -> Result<Arc<Self>, ControlError> {
        let node = Node::yielding(parts.store.clone(), parts.peering.clone());
        let supervisor = Arc::new(Self {
            node,
            ledger: Mutex::new(Ledger::new(parts.capacity)),
            slots: RwLock::default(),
            transfers: Transfers::default(),
            started: Instant::now(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            parts,
        });
        supervisor.load()?;
        supervisor.configure(configured).await?;
        let sweeper = supervisor.clone();
        supervisor.tasks.spawn(async move {
            while sweeper.shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
                sweeper.node.sweep();
                sweeper.transfers.sweep();
                sweeper.keep_voting().await;
            }
        });
        Ok(supervisor)
    }

    /// Reads what should run from the store.
    pub(crate) fn load(&self) -> Result<(), ControlError> {
        for name in self.parts.store.names() {
            let record = self.parts.store.record(&name)?.unwrap_or_default();
            let Some(desired) = Desired::decode(&record) else {
                // Made by `subnode dev`, or by a later release: not ours to run or to delete.
                tracing::warn!(chain = %name, "the store has a chain without a record this release can read; it is left alone");
                continue;
            };
            if let Err(refused) = self.ledger().grant(&name, desired.slice) {
                tracing::error!(chain = %name, %refused, "the node has become too small for this chain; it stays stopped");
                let slot = Slot::new(name.clone(), desired);
                self.set_state(&slot, State::Quarantined { reason: format!("its slice does not fit: {refused}") });
                self.insert(slot);
                continue;
            }
            self.insert(Slot::new(name, desired));
        }
        Ok(())
    }

    /// Makes the configured chains what the configuration says, stops those that it no longer has, and starts what should run.
    ///
    /// # Errors
    /// Where one of them does not fit: the ones before it are as configured then.
    pub async fn configure(self: &Arc<Self>, configured: Vec<(ChainName, Desired)>) -> Result<(), ControlError> {
        if let Some((first, _)) = configured.first() {
            self.node.set_first(first.clone());
        }
        let gone: Vec<_> = self.slots().into_iter().filter(|slot| slot.desired().origin == Origin::Config).collect();
        for slot in gone.iter().filter(|slot| !configured.iter().any(|(name, _)| *name == slot.name)) {
            tracing::warn!(chain = %slot.name, "no longer in the configuration: it is stopped, and its data kept");
            if slot.desired().wanted != Wanted::Stopped {
                self.change(slot, |desired| desired.wanted = Wanted::Stopped).await?;
            }
        }
        for (name, desired) in configured {
            self.configure_one(name, desired).await?;
        }
        for slot in self.slots() {
            let _changing = slot.changing.lock().await;
            self.follow(&slot).await;
        }
        Ok(())
    }

    pub(crate) async fn configure_one(self: &Arc<Self>, name: ChainName, desired: Desired) -> Result<(), ControlError> {
        let Some(slot) = self.slot(&name) else {
            self.check_id(&name, desired.id)?;
            self.grant(&name, desired.slice)?;
            let desired = Desired { id: desired.id.or_else(|| Some(self.next_id())), ..desired };
            self.register(&name, &desired).await?;
            self.insert(Slot::new(name, desired));
            return Ok(());
        };
        let _changing = slot.changing.lock().await;
        let before = slot.desired();
        let desired = Desired { id: desired.id.or(before.id), silent: before.silent, ..desired };
        if before.same_chain(&desired) && before.wanted == desired.wanted {
            return Ok(());
        }
        self.check_id(&name, desired.id)?;
        self.grant(&name, desired.slice)?;
        let restarts = Desired { slice: before.slice, wanted: desired.wanted, retention: before.retention, ..desired.clone() };
        let restarts = !before.same_chain(&restarts);
        self.register(&name, &desired).await?;
        *lock(&slot.desired) = desired.clone();
        match self.node.chain(&name) {
            Some(chain) if !restarts => apply(&chain, &desired).await?,
            Some(_) => self.close(&slot).await,
            None => {}
        }
        Ok(())
    }

    /// The chains that run.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// What the node has to give, and what is granted of it.
    pub fn granted(&self) -> (Capacity, Grant) {
        let ledger = self.ledger();
        (ledger.capacity(), ledger.granted())
    }

    /// Where the chains live.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// Its place among other nodes, if it has one.
    pub fn network(&self) -> Option<&Overlay> {
        self.parts.peering.as_ref().map(|peering| &*peering.network)
    }

    /// How long it has been at work.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Cores that the chains share.
    pub fn cores(&self) -> usize {
        self.node.cores()
    }

    /// Bytes of the disk that are kept free.
    pub fn disk_free_bytes_min(&self) -> u64 {
        self.parts.disk_free_bytes_min
    }

    /// Checks a module and keeps it; its name from now on.
    ///
    /// # Errors
    /// Where it is none, or cannot be kept.
    pub async fn add_module(&self, component: Vec<u8>) -> Result<String, ControlError> {
        let modules = self.parts.modules.clone();
        blocking(move || modules.add(&component)).await
    }

    /// All chains, by name.
    pub fn list(&self) -> Vec<ChainInfo> {
        self.slots().iter().map(|slot| self.info(slot)).collect()
    }

    /// One chain.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn show(&self, name: &ChainName) -> Result<ChainInfo, ControlError> {
        let slot = self.known(name)?;
        Ok(self.info(&slot))
    }

    pub(crate) fn info(&self, slot: &Slot) -> ChainInfo {
        ChainInfo {
            name: slot.name.clone(),
            desired: slot.desired(),
            state: slot.state(),
            failures: lock(&slot.failures).total(),
            chain: self.node.chain(&slot.name),
        }
    }

    /// Stops all chains, once what each is committing is durable.
    pub async fn shut_down(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        for slot in self.slots() {
            lock(&slot.watch).cancel();
        }
        self.tasks.wait().await;
        self.node.stop().await;
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn slot(&self, name: &ChainName) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn known(&self, name: &ChainName) -> Result<Arc<Slot>, ControlError> {
        self.slot(name).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    pub(crate) fn insert(&self, slot: Arc<Slot>) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.name.clone(), slot);
    }

    pub(crate) fn not_stopping(&self) -> Result<(), ControlError> {
        if self.shutdown.is_cancelled() { Err(ControlError::Stopping) } else { Ok(()) }
    }

    pub(crate) fn not_configured(&self, slot: &Slot) -> Result<(), ControlError> {
        match slot.desired().origin {
            Origin::Config => Err(ControlError::Configured(slot.name.clone())),
            Origin::Operator => Ok(()),
        }
    }

    pub(crate) fn next_id(&self) -> NonZeroU64 {
        let last = self.slots().iter().filter_map(|slot| slot.desired().id).max();
        last.map_or(NonZeroU64::MIN, |last| last.saturating_add(1))
    }

    pub(crate) fn check_id(&self, name: &ChainName, id: Option<NonZeroU64>) -> Result<(), ControlError> {
        let Some(id) = id else { return Ok(()) };
        match self.slots().iter().find(|slot| slot.name != *name && slot.desired().id == Some(id)) {
            Some(slot) => Err(ControlError::IdTaken { id: id.get(), name: slot.name.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn grant(&self, name: &ChainName, slice: Slice) -> Result<(), ControlError> {
        self.ledger().grant(name, slice).map_err(|refused| ControlError::Refused { name: name.clone(), refused })
    }

    /// Takes a name, a number and a slice for a chain, all or none.
    /// `imported` says that the store has the chain's tables already.
    pub(crate) fn reserve(&self, name: &ChainName, desired: Desired, imported: bool) -> Result<Reserved, ControlError> {
        self.check_id(name, desired.id)?;
        let id = desired.id.unwrap_or_else(|| self.next_id());
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(name) {
            return Ok(Reserved::Existing(slot.clone()));
        }
        if !imported && (self.parts.store.names().contains(name) || self.parts.store.unfinished().contains(name)) {
            return Err(ControlError::Exists(name.clone()));
        }
        self.grant(name, desired.slice)?;
        // Two that were made at once may have looked at the same numbers.
        let taken = slots.values().any(|slot| slot.desired().id == Some(id));
        let id = if taken { slots.values().filter_map(|slot| slot.desired().id).max().unwrap_or(id).saturating_add(1) } else { id };
        let slot = Slot::new(name.clone(), Desired { id: Some(id), ..desired });
        slots.insert(name.clone(), slot.clone());
        Ok(Reserved::New(slot))
    }

    /// Writes what a chain should be.
    pub(crate) async fn register(&self, name: &ChainName, desired: &Desired) -> Result<(), ControlError> {
        let (store, name, record) = (self.parts.store.clone(), name.clone(), desired.encode());
        blocking(move || store.register(&name, &record)).await
    }

    /// Changes what a chain should be, on disk first. A chain that was born needs its spec no more.
    pub(crate) async fn change(&self, slot: &Slot, change: impl FnOnce(&mut Desired)) -> Result<(), ControlError> {
        let mut desired = slot.desired();
        if self.node.chain(&slot.name).is_some() {
            desired.spec = Vec::new();
        }
        change(&mut desired);
        self.register(&slot.name, &desired).await?;
        *lock(&slot.desired) = desired;
        Ok(())
    }

    /// Notes what a chain is doing, for operators and for clients.
    pub(crate) fn set_state(&self, slot: &Slot, state: State) {
        let absent = match &state {
            State::Running | State::Paused => None,
            State::Opening | State::Stopped | State::Restarting { .. } | State::Quarantined { .. } => {
                Some(format!("chain {} is {}", slot.name, state.name()))
            }
        };
        self.node.set_absent(&slot.name, absent);
        *lock(&slot.state) = state;
    }

    /// Deletes a chain that nobody else changes meanwhile.
    pub(crate) async fn forget(&self, slot: &Slot) -> Result<(), ControlError> {
        self.close(slot).await;
        let (store, name) = (self.parts.store.clone(), slot.name.clone());
        blocking(move || store.delete(&name)).await?;
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.name);
        self.node.set_absent(&slot.name, None);
        self.ledger().release(&slot.name);
        Ok(())
    }

    pub(crate) async fn load_modules(&self, desired: &Desired) -> Result<(subnode_sandbox::Module, subnode_sandbox::Module), ControlError> {
        let (modules, names) = (self.parts.modules.clone(), [desired.runtime.clone(), desired.consensus.clone()]);
        blocking(move || {
            let [runtime, consensus] = names.map(|name| modules.load(&name));
            Ok::<_, ControlError>((runtime?, consensus?))
        })
        .await
    }
}

/// What came of taking a name.
pub(crate) enum Reserved {
    /// It is taken now.
    New(Arc<Slot>),
    /// It was.
    Existing(Arc<Slot>),
}

/// Runs what waits for the disk off the reactor.
pub(crate) async fn blocking<T: Send + 'static, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ControlError>
where
    E: Into<ControlError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(ControlError::Stopping),
    }
}
