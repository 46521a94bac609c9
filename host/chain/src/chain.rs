//! The handle to a chain.

use std::sync::Arc;

use subnode_attestation::{B256, DoubleAttestation, Signed, Subject};
use subnode_chain_core::{Author, statement::Kind};
use subnode_sandbox::{Module, Tenant};
use subnode_scheduler::Bandwidth;
use subnode_storage::{ChainStore, Retention, StoreError};
use subnode_types::{BlockRef, Boxed, ChainName, NodeId, boxed};
use tokio::sync::watch;

use crate::{
    actor,
    error::{OpenError, RpcError},
    ledger::{self, attested_at, last_attested, proofs},
    open::{Running, open},
    options::{ChainOptions, ChainParts, Ended},
    parts::Parts,
    query::{self, Begun, Reply, Session},
    stats::ChainStats,
    traffic::ClientTraffic,
};

/// Attestations that are shown at once.
pub const LAST_MAX: usize = 256;

/// A running chain. Cheap to clone; it runs until [`Chain::stop`], or until the last handle is dropped.
#[derive(Clone)]
pub struct Chain {
    running: Arc<Running>,
}

impl Chain {
    /// Opens a chain: creates it from its spec if its store is empty, and starts it at its head. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with its modules, spec or store.
    pub fn open(parts: ChainParts, options: ChainOptions) -> Boxed<'static, Result<Self, OpenError>> {
        boxed(async move { Ok(Self { running: Arc::new(open(parts, options).await?) }) })
    }

    fn parts(&self) -> &Arc<Parts> {
        &self.running.parts
    }

    /// Its name.
    pub fn name(&self) -> &ChainName {
        &self.parts().name
    }

    /// Its last committed block.
    pub fn head(&self) -> BlockRef {
        self.parts().ledger.head()
    }

    /// Changes with each commit and each revert.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.parts().ledger.commits()
    }

    /// The author of the block at a height, if it is kept and has one.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn author(&self, height: u64) -> Result<Option<Author>, StoreError> {
        ledger::author(&self.parts().ledger.store().view(), height)
    }

    /// Resolves once the chain has ended by itself. A chain that is stopped does not.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.running.ended.clone();
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
        self.running.shutdown.cancelled().await;
    }

    /// Answers a client's call. `params` is JSON or empty; without a session a client cannot subscribe.
    ///
    /// # Errors
    /// The runtime's, or this host's, for the client.
    pub async fn query(&self, method: &str, params: &[u8], session: Option<&Session>) -> Result<Reply, RpcError> {
        self.begin_query(method, params, session).await?.wait().await
    }

    /// The same, up to the point from where on the client's next call can begin: a submitted transaction is admitted meanwhile,
    /// together with those that follow it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn begin_query<'a>(
        &'a self,
        method: &'a str,
        params: &'a [u8],
        session: Option<&'a Session>,
    ) -> Boxed<'a, Result<Begun, RpcError>> {
        boxed(async move { query::begin(self.parts(), method, params, session).await })
    }

    /// Stops making blocks and taking transactions, or goes on. Reads are answered all the same.
    ///
    /// # Errors
    /// Where the chain has stopped.
    pub fn set_paused(&self, paused: bool) -> Boxed<'_, Result<(), RpcError>> {
        boxed(async move {
            self.parts().standing.set_paused(paused);
            self.parts().actor.paused().await
        })
    }

    /// Changes how much of the past is kept, and drops what is not kept any more.
    ///
    /// # Errors
    /// Where disk or database fail.
    pub fn set_retention(&self, retention: Retention) -> Boxed<'_, Result<(), RpcError>> {
        boxed(async move {
            self.parts().ledger.retain(retention);
            self.parts().actor.prune().await
        })
    }

    /// Tries other modules on the head: whether they are of the right worlds, and come up with a block and a start there. Nothing of
    /// the chain changes.
    ///
    /// # Errors
    /// What they said.
    pub fn try_modules<'a>(
        &'a self,
        runtime: &'a Module,
        consensus: &'a Module,
        consensus_config: &'a [u8],
    ) -> Boxed<'a, Result<(), OpenError>> {
        boxed(async move { actor::try_modules(self.parts(), runtime, consensus, consensus_config).await })
    }

    /// Has the runtime build a block on the head, and drops it.
    ///
    /// # Errors
    /// Why it can build none.
    pub fn try_block(&self) -> Boxed<'_, Result<(), OpenError>> {
        boxed(async move { actor::try_block(self.parts(), self.parts().guests.runtime()).await })
    }

    /// What its committee attests of the block at a height, with the signatures that this host has; without a height, of the last block that members with
    /// more than two thirds of the power attested, among the last [`LAST_MAX`] that are attested.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub fn attestation(&self, height: Option<u64>) -> Result<Option<Signed>, RpcError> {
        match height {
            Some(height) => Ok(attested_at(self.store(), height)?),
            None => Ok(self.last_attestations()?.into_iter().find(Signed::is_complete)),
        }
    }

    /// The last [`LAST_MAX`] blocks that are attested, the newest first.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn last_attestations(&self) -> Result<Vec<Signed>, RpcError> {
        Ok(last_attested(self.store(), LAST_MAX)?)
    }

    /// Proofs that members attested a height twice, with the members.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn double_attestations(&self) -> Result<Vec<(NodeId, DoubleAttestation)>, RpcError> {
        Ok(proofs(self.store())?)
    }

    /// The anchor of epoch 0, by which outsiders verify what the committee of genesis attests; none where that attests nothing.
    pub fn anchor(&self) -> Option<[u8; 32]> {
        let ledger = &self.parts().ledger;
        let subject = Subject { network: B256::ZERO, chain: 0, genesis: ledger.key()?.into() };
        Some(subject.anchor(0, ledger.attesting().first?.into()).0)
    }

    /// Gives up instances that were not used since this was last called.
    pub fn sweep(&self) {
        self.parts().guests.sweep();
        self.parts().standing.sweep();
    }

    /// Its tables.
    pub fn store(&self) -> &Arc<ChainStore> {
        self.parts().ledger.store()
    }

    /// On whose account it runs.
    pub fn tenant(&self) -> &Tenant {
        &self.parts().tenant
    }

    /// What all that it sends and receives is held to.
    pub fn bandwidth(&self) -> &Arc<Bandwidth> {
        &self.parts().bandwidth
    }

    /// What its clients send and receive.
    pub fn traffic(&self) -> &ClientTraffic {
        &self.parts().traffic
    }

    /// What it did and has.
    pub fn stats(&self) -> ChainStats {
        ChainStats::of(self.parts())
    }

    /// Whether it does not vote yet, as another host may vote with its key.
    pub fn is_silent(&self) -> bool {
        self.parts().voter.is_silent()
    }

    /// Has it vote: no other host does with its key.
    pub fn speak(&self) {
        self.parts().voter.speak();
    }

    /// Whether a committee decides its blocks.
    pub fn has_committee(&self) -> bool {
        !self.parts().ledger.committee().is_empty()
    }

    /// Whether other nodes can give it a state that its committee vouches for.
    pub fn is_repairable(&self) -> bool {
        self.parts().ledger.rule().is_some() && self.parts().exchange.peers().is_some()
    }

    /// Stands still, and gets the next state that its committee vouches for from other nodes, in place of what it has: for tables that are
    /// damaged. Until it is there they stay, and this is remembered.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn repair(&self) -> Boxed<'_, Result<(), RpcError>> {
        boxed(async move { self.parts().actor.repair().await })
    }

    /// Has this host state a value about the world outside of the chain, until a block notes what the committee says of it; none withdraws that.
    ///
    /// # Errors
    /// Where blocks hold no notes, or that cannot be written.
    pub fn state(&self, kind: Kind, subject: [u8; 32], value: Option<Vec<u8>>) -> Boxed<'_, Result<(), RpcError>> {
        boxed(async move { self.parts().actor.state((kind as u16, subject), value).await })
    }

    /// What this host states and no block has noted: kinds, subjects, values.
    pub fn stated(&self) -> Vec<(u16, [u8; 32], Vec<u8>)> {
        self.parts().statements.wanted().into_iter().map(|((kind, subject), value)| (kind, subject, value)).collect()
    }

    /// Ends it as a crash would, in the midst of whatever it does: for simulations.
    pub fn crash(&self) -> Boxed<'_, ()> {
        boxed(async move {
            self.running.crash.cancel();
            self.running.tasks.wait().await;
        })
    }

    /// Stops it, once a block being committed is durable. Calls of its modules end at once.
    pub fn stop(&self) -> Boxed<'_, ()> {
        boxed(async move {
            self.running.shutdown.cancel();
            self.running.tasks.wait().await;
        })
    }
}
