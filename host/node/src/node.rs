use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use subnode_chain::{Chain, ChainOptions, ChainParts, OpenError, Spec};
use subnode_sandbox::{Accounts, Module, Tenant};
use subnode_scheduler::Cores;
use subnode_storage::{Retention, Store, StoreError};
use subnode_types::{Boxed, ChainName, Slice, boxed};
use tokio::task::JoinSet;

use crate::peering::Peering;

/// A chain to run.
pub struct ChainSetup {
    /// Its name.
    pub name: ChainName,
    /// The runtime module, loaded once for all chains that run it.
    pub runtime: Module,
    /// The consensus module.
    pub consensus: Module,
    /// For the runtime, at the chain's birth.
    pub spec: Spec,
    /// For the consensus module, at every start.
    pub consensus_config: Vec<u8>,
    /// How much of the past it keeps.
    pub retention: Retention,
    /// What it may use of the machine.
    pub slice: Slice,
    /// Accounts that sign for clients.
    pub accounts: Arc<dyn Accounts>,
    /// How it is run.
    pub options: ChainOptions,
}

/// Why a chain is not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// There is one of this name.
    #[error("chain {0} is running already; choose another name")]
    Exists(ChainName),
    /// The store failed.
    #[error("{0}")]
    Store(StoreError),
    /// Its modules are not there.
    #[error("{0}")]
    Modules(String),
    /// The chain does not open.
    #[error("{0}")]
    Open(OpenError),
}

/// The chains of this process.
pub struct Node {
    store: Arc<dyn Store>,
    cores: Arc<Cores>,
    peering: Option<Peering>,
    chains: RwLock<Chains>,
}

#[derive(Default)]
struct Chains {
    /// Bound: some 100 bytes for each chain that operators have running, and what its slice grants it.
    by_name: BTreeMap<ChainName, Chain>,
    /// Chains that are being opened: their names are taken.
    /// Bound: some 50 bytes for each chain that operators start.
    opening: BTreeSet<ChainName>,
    /// The chain that answers at `/`.
    first: Option<ChainName>,
    /// Why a chain that is known does not answer.
    /// Bound: some 200 bytes for each chain that operators made and that does not run.
    absent: BTreeMap<ChainName, String>,
}

/// The name of a chain that is being opened, taken until this is dropped.
struct Opening<'a> {
    node: &'a Node,
    name: ChainName,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.node.chains.write().unwrap_or_else(PoisonError::into_inner).opening.remove(&self.name);
    }
}

/// Cores of this machine that the process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

impl Node {
    /// A node without chains, of a program that has more to do.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, cores: Cores::new(cores()), peering: None, chains: RwLock::default() })
    }

    /// The same for a server: busy chains give way to all else, and so to the connections of those that are not.
    /// Without `peering` its chains have no other nodes.
    pub fn yielding(store: Arc<dyn Store>, peering: Option<Peering>) -> Arc<Self> {
        Arc::new(Self { store, cores: Cores::yielding(cores()), peering, chains: RwLock::default() })
    }

    /// Cores that the chains share.
    pub fn cores(&self) -> usize {
        self.cores.count()
    }

    /// Opens a chain and runs it.
    ///
    /// # Errors
    /// [`NodeError`]: what is wrong with it. Other chains do not notice.
    pub fn open(&self, setup: ChainSetup) -> Boxed<'_, Result<Chain, NodeError>> {
        boxed(async move {
            let name = setup.name.clone();
            let opening = self.take_name(&name)?;
            let store = self.store.open(&name, setup.retention).map_err(NodeError::Store)?;
            store.set_limit_bytes(setup.slice.storage_bytes);
            let tenant = Tenant::new(name.clone(), &self.cores, setup.slice.cpu, setup.slice.memory_bytes);
            let parts = ChainParts {
                tenant,
                runtime: setup.runtime,
                consensus: setup.consensus,
                store,
                spec: setup.spec,
                consensus_config: setup.consensus_config,
                accounts: setup.accounts,
                network: self.peering.as_ref().map(|peering| peering.network.clone() as _),
                vote_secret: self.peering.as_ref().map(|peering| peering.secret),
                attest_secret: self.peering.as_ref().and_then(|peering| peering.attest_secret),
            };
            let opened = Chain::open(parts, setup.options).await;
            let chain = opened.map_err(NodeError::Open)?;
            let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
            chains.first.get_or_insert_with(|| name.clone());
            chains.by_name.insert(name, chain.clone());
            drop(chains);
            drop(opening);
            Ok(chain)
        })
    }

    /// Takes the name of a chain that neither runs nor is being opened.
    fn take_name(&self, name: &ChainName) -> Result<Opening<'_>, NodeError> {
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        if chains.by_name.contains_key(name) || !chains.opening.insert(name.clone()) {
            return Err(NodeError::Exists(name.clone()));
        }
        Ok(Opening { node: self, name: name.clone() })
    }

    /// The running chain of this name.
    pub fn chain(&self, name: &ChainName) -> Option<Chain> {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// The chain that was opened first.
    pub fn first(&self) -> Option<Chain> {
        let chains = self.chains.read().unwrap_or_else(PoisonError::into_inner);
        chains.first.as_ref().and_then(|name| chains.by_name.get(name)).cloned()
    }

    /// The running chains by name.
    pub fn names(&self) -> Vec<ChainName> {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).by_name.keys().cloned().collect()
    }

    /// Says why a chain that is known does not answer; none forgets it.
    pub fn set_absent(&self, name: &ChainName, reason: Option<String>) {
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => drop(chains.absent.insert(name.clone(), reason)),
            None => drop(chains.absent.remove(name)),
        }
    }

    /// Why a chain that is known does not answer.
    pub fn absent(&self, name: &ChainName) -> Option<String> {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).absent.get(name).cloned()
    }

    /// Names the chain that answers at `/`, whether it runs already or not.
    pub fn set_first(&self, name: ChainName) {
        self.chains.write().unwrap_or_else(PoisonError::into_inner).first = Some(name);
    }

    /// Stops a chain, once what it is committing is durable; nothing happens where it does not run.
    pub fn close<'a>(&'a self, name: &'a ChainName) -> Boxed<'a, ()> {
        boxed(async move {
            let chain = self.chains.write().unwrap_or_else(PoisonError::into_inner).by_name.remove(name);
            if let Some(chain) = chain {
                chain.stop().await;
            }
        })
    }

    /// Has every chain give up instances that were not used since the last time.
    pub fn sweep(&self) {
        let chains: Vec<Chain> = self.chains.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect();
        for chain in chains {
            chain.sweep();
        }
    }

    /// Stops every chain, once what each is committing is durable.
    pub fn stop(&self) -> Boxed<'_, ()> {
        boxed(async move {
            let chains = std::mem::take(&mut *self.chains.write().unwrap_or_else(PoisonError::into_inner));
            let mut stopping: JoinSet<()> = chains.by_name.into_values().map(|chain| async move { chain.stop().await }).collect();
            while stopping.join_next().await.is_some() {}
        })
    }
}

#[cfg(test)]
mod tests {
    use subnode_storage::MemoryStore;

    use super::*;

    #[test]
    fn a_name_is_taken_while_its_chain_is_opened() {
        let node = Node::new(Arc::new(MemoryStore::default()));
        let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let opening = node.take_name(&a).expect("free");
        assert!(matches!(node.take_name(&a), Err(NodeError::Exists(name)) if name == a));
        assert!(node.take_name(&b).is_ok());
        drop(opening);
        assert!(node.take_name(&a).is_ok(), "one that does not open gives its name back");
    }
}
