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
use subnode_storage::{Retention, Store};
use subnode_types::{ChainName, Slice};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ChainSetup, ControlError, Desired, Node, NodeError, Origin, State, Wanted, lifecycle::Failures, modules::Modules, transfer::Transfers,
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
}

/// Makes what runs what should run.
pub struct Supervisor {
    pub(crate) parts: SupervisorParts,
    node: Arc<Node>,
    ledger: Mutex<Ledger>,
    slots: RwLock<BTreeMap<ChainName, Arc<Slot>>>,
    pub(crate) transfers: Transfers,
    started: Instant,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// A chain's place.
pub(crate) struct Slot {
    name: ChainName,
    /// Held while the chain is changed.
    changing: tokio::sync::Mutex<()>,
    desired: Mutex<Desired>,
    state: Mutex<State>,
    failures: Mutex<Failures>,
    /// Ends the task that waits for the running chain to fail.
    watch: Mutex<CancellationToken>,
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

/// What to change of a chain; none leaves it as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resize {
    /// A slice of so many parts, with as much of all the rest, before the others below.
    pub parts: Option<subnode_types::Parts>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Storage.
    pub storage_bytes: Option<u64>,
    /// Bandwidth.
    pub bandwidth_bytes: Option<u64>,
    /// How much of the past it keeps.
    pub retention: Option<Retention>,
}

/// Modules to put in place of a chain's.
#[derive(Clone, Debug, Default)]
pub struct Upgrade {
    /// The name of a runtime.
    pub runtime: Option<String>,
    /// The name of a consensus.
    pub consensus: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn new(name: ChainName, desired: Desired) -> Arc<Self> {
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

    fn state(&self) -> State {
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
        let node = Node::new(parts.store.clone());
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
            }
        });
        Ok(supervisor)
    }

    /// Reads what should run from the store.
    fn load(&self) -> Result<(), ControlError> {
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
            self.change(slot, |desired| desired.wanted = Wanted::Stopped).await?;
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

    async fn configure_one(self: &Arc<Self>, name: ChainName, desired: Desired) -> Result<(), ControlError> {
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
        let desired = Desired { id: desired.id.or(before.id), ..desired };
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

    fn info(&self, slot: &Slot) -> ChainInfo {
        ChainInfo {
            name: slot.name.clone(),
            desired: slot.desired(),
            state: slot.state(),
            failures: lock(&slot.failures).total(),
            chain: self.node.chain(&slot.name),
        }
    }

    /// Makes a chain and runs it. Asked again for the same, it does nothing.
    ///
    /// # Errors
    /// Where there is another one of this name or number, the slice does not fit, or the chain does not open: there is none then.
    pub async fn create(self: &Arc<Self>, name: &ChainName, desired: Desired) -> Result<ChainInfo, ControlError> {
        self.not_stopping()?;
        // Slow where they must be compiled, and a reason to refuse: before anything is granted.
        self.load_modules(&desired).await?;
        let desired = Desired { origin: Origin::Operator, ..desired };
        let slot = match self.reserve(name, desired.clone(), false)? {
            Reserved::New(slot) => slot,
            Reserved::Existing(slot) if slot.desired().same_chain(&desired) => return Ok(self.info(&slot)),
            Reserved::Existing(_) => return Err(ControlError::Exists(name.clone())),
        };
        let _changing = slot.changing.lock().await;
        let made = async {
            self.register(name, &slot.desired()).await?;
            if desired.wanted == Wanted::Stopped { Ok(()) } else { self.open(&slot).await.map_err(ControlError::from) }
        };
        match Box::pin(made).await {
            Ok(()) => Ok(self.info(&slot)),
            Err(error) => {
                self.forget(&slot).await?;
                Err(error)
            }
        }
    }

    /// Runs a chain that is stopped, or was left alone after too many failures.
    ///
    /// # Errors
    /// Where it does not open.
    pub async fn run(self: &Arc<Self>, name: &ChainName) -> Result<ChainInfo, ControlError> {
        self.not_stopping()?;
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        if slot.desired().wanted == Wanted::Stopped {
            self.not_configured(&slot)?;
            self.change(&slot, |desired| desired.wanted = Wanted::Running).await?;
        }
        lock(&slot.failures).forgive();
        if self.node.chain(name).is_none() {
            // What did not fit when the node was started may fit now.
            self.grant(name, slot.desired().slice)?;
            self.open(&slot).await?;
        }
        Ok(self.info(&slot))
    }

    /// Stops a chain, once what it is committing is durable.
    ///
    /// # Errors
    /// Where that cannot be kept.
    pub async fn stop(self: &Arc<Self>, name: &ChainName) -> Result<ChainInfo, ControlError> {
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        self.not_configured(&slot)?;
        self.change(&slot, |desired| desired.wanted = Wanted::Stopped).await?;
        self.close(&slot).await;
        self.set_state(&slot, State::Stopped);
        Ok(self.info(&slot))
    }

    /// Keeps a chain from making blocks, or lets it go on.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn pause(self: &Arc<Self>, name: &ChainName, paused: bool) -> Result<ChainInfo, ControlError> {
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        self.not_configured(&slot)?;
        let Some(chain) = self.node.chain(name) else {
            return Err(ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "start it first" });
        };
        let wanted = if paused { Wanted::Paused } else { Wanted::Running };
        self.change(&slot, |desired| desired.wanted = wanted).await?;
        chain.set_paused(paused).await.map_err(ControlError::Chain)?;
        self.set_state(&slot, if paused { State::Paused } else { State::Running });
        Ok(self.info(&slot))
    }

    /// Changes a chain's slice while it runs.
    ///
    /// # Errors
    /// Where the new one does not fit, or is less than what is in use.
    pub async fn resize(self: &Arc<Self>, name: &ChainName, resize: &Resize) -> Result<ChainInfo, ControlError> {
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        self.not_configured(&slot)?;
        let mut desired = slot.desired();
        if let Some(parts) = resize.parts {
            desired.slice = self.parts.capacity.slice(parts);
        }
        let slice = &mut desired.slice;
        for (wanted, part) in [
            (resize.memory_bytes, &mut slice.memory_bytes),
            (resize.storage_bytes, &mut slice.storage_bytes),
            (resize.bandwidth_bytes, &mut slice.bandwidth_bytes),
        ] {
            *part = wanted.unwrap_or(*part);
        }
        desired.retention = resize.retention.unwrap_or(desired.retention);
        let chain = self.node.chain(name);
        if let Some(chain) = &chain {
            let stats = chain.stats();
            for (what, used, wanted) in [
                ("memory", stats.memory_bytes.0, desired.slice.memory_bytes),
                ("storage", stats.storage_bytes.0, desired.slice.storage_bytes),
            ] {
                if wanted < used {
                    return Err(ControlError::LessThanInUse { name: name.clone(), what, used, wanted });
                }
            }
        }
        let before = slot.desired().slice;
        self.grant(name, desired.slice)?;
        if let Err(error) = self.change(&slot, |known| known.clone_from(&desired)).await {
            // What was granted before fits still.
            drop(self.ledger().grant(name, before));
            return Err(error);
        }
        if let Some(chain) = &chain {
            apply(chain, &desired).await?;
        }
        Ok(self.info(&slot))
    }

    /// Puts other modules in a chain's place of its own. They are tried on its head first, and the chain keeps its old ones where that
    /// fails.
    ///
    /// # Errors
    /// What the trial said.
    pub async fn upgrade(self: &Arc<Self>, name: &ChainName, upgrade: &Upgrade) -> Result<ChainInfo, ControlError> {
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        self.not_configured(&slot)?;
        let Some(chain) = self.node.chain(name) else {
            return Err(ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "start it first" });
        };
        let before = slot.desired();
        let mut after = before.clone();
        after.runtime = upgrade.runtime.clone().unwrap_or(after.runtime);
        after.consensus = upgrade.consensus.clone().unwrap_or(after.consensus);
        let (runtime, consensus) = self.load_modules(&after).await?;
        let refused = |reason: String| ControlError::Upgrade { name: name.clone(), reason };
        let tried = Box::pin(chain.try_modules(&runtime, &consensus, &after.consensus_config)).await;
        tried.map_err(|error| refused(error.to_string()))?;
        drop(chain);
        self.change(&slot, |desired| desired.clone_from(&after)).await?;
        self.close(&slot).await;
        if let Err(error) = self.open(&slot).await {
            self.change(&slot, |desired| desired.clone_from(&before)).await?;
            self.open(&slot).await?;
            return Err(refused(error.to_string()));
        }
        Ok(self.info(&slot))
    }

    /// Deletes a chain and all it has.
    ///
    /// # Errors
    /// Where it runs and `force` does not say to delete it all the same.
    pub async fn delete(self: &Arc<Self>, name: &ChainName, force: bool) -> Result<(), ControlError> {
        if self.slot(name).is_none() && self.parts.store.unfinished().contains(name) {
            self.transfers.forget(name);
            let (store, name) = (self.parts.store.clone(), name.clone());
            return blocking(move || store.delete(&name)).await;
        }
        let slot = self.known(name)?;
        let _changing = slot.changing.lock().await;
        self.not_configured(&slot)?;
        if !force && self.node.chain(name).is_some() {
            return Err(ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "stop it first, or use --force" });
        }
        self.forget(&slot).await
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

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn slot(&self, name: &ChainName) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known(&self, name: &ChainName) -> Result<Arc<Slot>, ControlError> {
        self.slot(name).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    fn insert(&self, slot: Arc<Slot>) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.name.clone(), slot);
    }

    pub(crate) fn not_stopping(&self) -> Result<(), ControlError> {
        if self.shutdown.is_cancelled() { Err(ControlError::Stopping) } else { Ok(()) }
    }

    fn not_configured(&self, slot: &Slot) -> Result<(), ControlError> {
        match slot.desired().origin {
            Origin::Config => Err(ControlError::Configured(slot.name.clone())),
            Origin::Operator => Ok(()),
        }
    }

    fn next_id(&self) -> NonZeroU64 {
        let last = self.slots().iter().filter_map(|slot| slot.desired().id).max();
        last.map_or(NonZeroU64::MIN, |last| last.saturating_add(1))
    }

    fn check_id(&self, name: &ChainName, id: Option<NonZeroU64>) -> Result<(), ControlError> {
        let Some(id) = id else { return Ok(()) };
        match self.slots().iter().find(|slot| slot.name != *name && slot.desired().id == Some(id)) {
            Some(slot) => Err(ControlError::IdTaken { id: id.get(), name: slot.name.clone() }),
            None => Ok(()),
        }
    }

    fn grant(&self, name: &ChainName, slice: Slice) -> Result<(), ControlError> {
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
    async fn change(&self, slot: &Slot, change: impl FnOnce(&mut Desired)) -> Result<(), ControlError> {
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
    fn set_state(&self, slot: &Slot, state: State) {
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

    async fn load_modules(&self, desired: &Desired) -> Result<(subnode_sandbox::Module, subnode_sandbox::Module), ControlError> {
        let (modules, names) = (self.parts.modules.clone(), [desired.runtime.clone(), desired.consensus.clone()]);
        blocking(move || {
            let [runtime, consensus] = names.map(|name| modules.load(&name));
            Ok::<_, ControlError>((runtime?, consensus?))
        })
        .await
    }

    /// Opens a chain that should run and does not.
    async fn follow(self: &Arc<Self>, slot: &Arc<Slot>) {
        let wanted = slot.desired().wanted != Wanted::Stopped;
        let running = self.node.chain(&slot.name).is_some();
        if wanted && !running && !matches!(slot.state(), State::Quarantined { .. }) {
            if let Err(error) = self.open(slot).await {
                self.failed(slot, error.to_string());
            }
        } else if !wanted && running {
            self.close(slot).await;
            self.set_state(&slot, State::Stopped);
        }
    }

    /// Opens a chain. It is restarted from then on when it fails.
    pub(crate) async fn open(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), NodeError> {
        self.set_state(&slot, State::Opening);
        let opened = Box::pin(self.try_open(slot)).await;
        match &opened {
            Err(error) => self.set_state(&slot, State::Quarantined { reason: error.to_string() }),
            Ok(chain) => {
                let paused = slot.desired().wanted == Wanted::Paused;
                if paused && let Err(error) = chain.set_paused(true).await {
                    tracing::error!(chain = %slot.name, error = error.message, "it cannot be paused");
                }
                self.set_state(&slot, if paused { State::Paused } else { State::Running });
                self.watch(slot, chain.clone());
            }
        }
        opened.map(drop)
    }

    async fn try_open(&self, slot: &Slot) -> Result<Chain, NodeError> {
        let desired = slot.desired();
        let (runtime, consensus) =
            self.load_modules(&desired).await.map_err(|error| NodeError::Modules { name: slot.name.clone(), reason: error.to_string() })?;
        let setup = ChainSetup {
            name: slot.name.clone(),
            runtime,
            consensus,
            options: ChainOptions {
                sealing: desired.sealing,
                controls: desired.controls,
                bandwidth_bytes: desired.slice.bandwidth_bytes,
                pool: subnode_chain::PoolLimits {
                    bytes: usize::try_from(desired.pool_bytes.min(desired.slice.memory_bytes)).unwrap_or(usize::MAX),
                    ..self.parts.options.pool
                },
                ..self.parts.options.clone()
            },
            spec: desired.spec,
            consensus_config: desired.consensus_config,
            retention: desired.retention,
            slice: desired.slice,
            accounts: self.parts.accounts.clone(),
        };
        Box::pin(self.node.open(setup)).await
    }

    /// Stops a chain that runs, and the task that waits for its failure.
    async fn close(&self, slot: &Slot) {
        lock(&slot.watch).cancel();
        self.node.close(&slot.name).await;
    }

    /// Waits for a running chain to fail.
    fn watch(self: &Arc<Self>, slot: &Arc<Slot>, chain: Chain) {
        let token = self.shutdown.child_token();
        lock(&slot.watch).clone_from(&token);
        let (supervisor, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            let Some(reason) = token.run_until_cancelled(chain.failed()).await else { return };
            drop(chain);
            let _changing = slot.changing.lock().await;
            if !token.is_cancelled() {
                supervisor.node.close(&slot.name).await;
                supervisor.failed(&slot, reason);
            }
        });
    }

    /// A chain failed: it is opened again after a while, unless it fails too often.
    fn failed(self: &Arc<Self>, slot: &Arc<Slot>, reason: String) {
        let after = lock(&slot.failures).add(Instant::now());
        let Some(after) = after else {
            tracing::error!(chain = %slot.name, %reason, "failed too often and is left alone; subnode chain start {} tries again", slot.name);
            self.set_state(&slot, State::Quarantined { reason });
            return;
        };
        tracing::error!(chain = %slot.name, %reason, again_in = ?after, "failed and is started again");
        self.set_state(&slot, State::Restarting { reason });
        let token = self.shutdown.child_token();
        lock(&slot.watch).clone_from(&token);
        let (supervisor, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            if token.run_until_cancelled(tokio::time::sleep(after)).await.is_none() {
                return;
            }
            let _changing = slot.changing.lock().await;
            if token.is_cancelled() || slot.desired().wanted == Wanted::Stopped {
                return;
            }
            if let Err(error) = supervisor.open(&slot).await {
                supervisor.failed(&slot, error.to_string());
            }
        });
    }
}

/// What came of taking a name.
pub(crate) enum Reserved {
    /// It is taken now.
    New(Arc<Slot>),
    /// It was.
    Existing(Arc<Slot>),
}

/// Applies to a running chain what can change while it runs.
async fn apply(chain: &Chain, desired: &Desired) -> Result<(), ControlError> {
    let slice = desired.slice;
    chain.tenant().share().set_parts(slice.cpu);
    chain.tenant().memory().set_limit(slice.memory_bytes);
    chain.store().set_limit_bytes(slice.storage_bytes);
    chain.bandwidth().set_rate(slice.bandwidth_bytes);
    if chain.store().retention() != desired.retention {
        chain.set_retention(desired.retention).await.map_err(ControlError::Chain)?;
    }
    Ok(())
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
