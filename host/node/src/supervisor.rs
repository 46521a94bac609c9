//! Makes what runs what should run.
//!
//! What should run is written first, what runs follows: after a kill between the two, the next start finds the difference and
//! removes it. Requests for one chain wait for each other; those for different chains do not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use subnode_chain::ChainOptions;
use subnode_sandbox::Accounts;
use subnode_scheduler::{Capacity, Grant};
use subnode_storage::Store;
use subnode_types::{Boxed, ChainName, boxed};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ChainInfo, ControlError, Desired, Node, Origin, Overlay, Peering, State,
    blocking::blocking,
    contents::{Claims, Given},
    modules::Modules,
    registry::Registry,
    slot::{Slot, lock},
    transfers::Transfers,
};

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
    pub(crate) registry: Registry,
    pub(crate) transfers: Transfers,
    /// Modules of running chains, which other nodes get here.
    pub(crate) given: Given,
    /// Modules that chains wait for, and that are got at this moment.
    pub(crate) claims: Claims,
    pub(crate) started: Instant,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Supervisor {
    /// The chains that run.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// What the node has to give, and what is granted of it.
    pub fn granted(&self) -> (Capacity, Grant) {
        self.registry.grants().granted()
    }

    /// Where the chains live.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.registry.store()
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
    pub fn add_module(&self, component: Vec<u8>) -> Boxed<'_, Result<String, ControlError>> {
        boxed(async move {
            let modules = self.parts.modules.clone();
            blocking(move || modules.add(&component)).await
        })
    }

    /// All chains, by name.
    pub fn list(&self) -> Vec<ChainInfo> {
        self.registry.slots().iter().map(|slot| self.info(slot)).collect()
    }

    /// One chain.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn show(&self, name: &ChainName) -> Result<ChainInfo, ControlError> {
        let slot = self.registry.known(name)?;
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
    pub fn shut_down(&self) -> Boxed<'_, ()> {
        boxed(async move {
            self.shutdown.cancel();
            self.given.clear();
            self.tasks.close();
            for slot in self.registry.slots() {
                lock(&slot.watch).cancel();
            }
            self.tasks.wait().await;
            self.node.stop().await;
        })
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

    /// Changes what a chain should be, on disk first. Only whoever holds the slot's `changing` may. A chain that was born does not need its
    /// spec.
    pub(crate) async fn change(&self, slot: &Slot, change: impl FnOnce(&mut Desired)) -> Result<(), ControlError> {
        let mut desired = slot.desired();
        if self.node.chain(&slot.name).is_some() {
            desired.spec = Vec::new();
        }
        change(&mut desired);
        self.registry.change(slot, desired).await
    }

    /// Notes what a chain is doing, for operators and for clients.
    pub(crate) fn set_state(&self, slot: &Slot, state: State) {
        let absent = match &state {
            State::Running | State::Paused => None,
            State::Opening | State::Fetching(_) | State::Stopped | State::Restarting { .. } | State::Quarantined { .. } => {
                Some(format!("chain {} is {}", slot.name, state.name()))
            }
        };
        self.node.set_absent(&slot.name, absent);
        *lock(&slot.state) = state;
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
