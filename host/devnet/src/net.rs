//! Dev chains that run.

use std::{net::SocketAddr, sync::Arc};

use subnode_chain::{Chain, Reply, RpcError};
use subnode_node::Node;
use subnode_rpc::RpcLimits;
use subnode_sandbox::Sandbox;
use subnode_types::{Boxed, boxed};
use tokio_util::sync::CancellationToken;

use crate::{Account, DevProvider, provider};

/// Chains inside this process. Dropping it ends them.
pub struct Devnet {
    node: Arc<Node>,
    chains: Vec<DevChain>,
    shutdown: CancellationToken,
    /// Keeps the engine and its modules for the next devnet while this one lives.
    _sandbox: Arc<Sandbox>,
}

/// One chain of a devnet.
#[derive(Clone)]
pub struct DevChain {
    chain: Chain,
    accounts: Vec<Account>,
    chain_id: u64,
}

impl Devnet {
    pub(crate) fn new(sandbox: Arc<Sandbox>, node: Arc<Node>, chains: Vec<DevChain>) -> Self {
        Self { node, chains, shutdown: CancellationToken::new(), _sandbox: sandbox }
    }

    /// One of its chains, counted from 0.
    ///
    /// # Panics
    /// Where there are fewer.
    #[must_use]
    pub fn chain(&self, index: usize) -> &DevChain {
        &self.chains[index]
    }

    /// All of them.
    #[must_use]
    pub fn chains(&self) -> &[DevChain] {
        &self.chains
    }

    /// The node they run on.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Opens a port for clients in other languages, and answers where it is: `/chain/dev1` is the first chain, as is `/`.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn serve<'a>(&'a self, address: &'a str) -> Boxed<'a, std::io::Result<SocketAddr>> {
        boxed(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            let serving = subnode_rpc::serve(self.node.clone(), listener, RpcLimits::DEFAULT, self.shutdown.clone());
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "a devnet's port closed");
                }
            });
            Ok(local)
        })
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl DevChain {
    pub(crate) fn new(chain: Chain, accounts: Vec<Account>, chain_id: u64) -> Self {
        Self { chain, accounts, chain_id }
    }

    /// An alloy provider that talks to the chain without a socket and signs with its accounts.
    #[must_use]
    pub fn provider(&self) -> DevProvider {
        provider::provider(&self.chain, &self.accounts)
    }

    /// A JSON-RPC call, for what alloy has no word for.
    ///
    /// # Errors
    /// The chain's.
    pub fn call<'a>(&'a self, method: &'a str, params: &'a str) -> Boxed<'a, Result<Reply, RpcError>> {
        boxed(async move { self.chain.query(method, params.as_bytes(), None).await })
    }

    /// The chain itself.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Its accounts, all with the same balance at first.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// EIP-155.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }
}
