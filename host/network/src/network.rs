//! A node's place in its network: opens the endpoint, takes connections in, joins chains.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, VarInt};
use rand::{SeedableRng, rngs::StdRng};
use subnode_scheduler::Bandwidth;
use subnode_types::{Boxed, NodeId, boxed};

use crate::{
    chain::{Chain, Kind},
    dial::Dialer,
    environment::Environment,
    frame::ChainKey,
    greet,
    handshake::{NETWORK_BYTES_MAX, Reason},
    identity::{KeyError, NodeKey},
    limits::{Gate, HANDSHAKE_WITHIN, Place, transport},
    mailbox::Inboxes,
    membership::Membership,
    peer::Peer,
    registry::Registry,
    tasks::Tasks,
};

/// How long a node that leaves answers what still comes by saying so again. QUIC wants three times what a lost packet takes to be noticed (RFC 9000,
/// section 10.2): a second on most links, and any time on a bad one. Peers that heard nothing notice by the silence.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Connections that nobody has looked at yet, and what each may have sent: they are refused or asked to show their address at once.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 16 << 10;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where it listens, on UDP.
    pub listen: SocketAddr,
    /// Nodes of other networks are refused.
    pub network: String,
    /// Connections of nodes that belong to none of its chains: followers, which read.
    pub strangers_max: usize,
}

/// A node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Its key is no good.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot listen.
    #[error("cannot listen on {0} (UDP): {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The network's name does not fit.
    #[error("the network's name {0:?} is longer than {NETWORK_BYTES_MAX} bytes")]
    Name(String),
    /// It has too many chains, or this one already.
    #[error("{0}")]
    Join(&'static str),
}

fn enter(registry: &Registry, gate: &Arc<Gate>, incoming: &Incoming) -> Option<Place> {
    let address = incoming.remote_address().ip();
    gate.enter(address, registry.is_members_host(address))
}

async fn let_in(registry: Arc<Registry>, incoming: Incoming, place: Place) {
    match tokio::time::timeout(HANDSHAKE_WITHIN, incoming).await {
        Ok(Ok(connection)) => greet::answer(&registry, connection, place).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not secured"),
        Err(_) => tracing::debug!("a connection was not secured in time"),
    }
}

/// A node's place in its network. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    dialer: Arc<Dialer>,
}

/// What is known of a peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who.
    pub id: NodeId,
    /// Where.
    pub address: SocketAddr,
    /// For how long it is connected.
    pub connected: Duration,
    /// To it and back.
    pub round_trip: Duration,
    /// Sent to it, as packets.
    pub sent_bytes: u64,
    /// Received from it, as packets.
    pub received_bytes: u64,
    /// Rules it broke.
    pub faults: u64,
    /// Chains that both have.
    pub shared_chains: usize,
}

impl Network {
    /// Opens the endpoint on a UDP socket.
    ///
    /// # Errors
    /// [`NetworkError`] says what is wrong.
    pub fn open(key: NodeKey, options: NetworkOptions) -> Result<Self, NetworkError> {
        let environment = Environment::system(options.listen).map_err(|error| NetworkError::Listen(options.listen, error))?;
        Self::open_in(environment, key, options)
    }

    /// Opens the endpoint on whatever socket, clock and randomness there are. The socket is bound already, to the address of the options.
    ///
    /// # Errors
    /// [`NetworkError`] says what is wrong.
    pub fn open_in(environment: Environment, key: NodeKey, options: NetworkOptions) -> Result<Self, NetworkError> {
        let Environment { socket, runtime, seed } = environment;
        if options.network.len() > NETWORK_BYTES_MAX {
            return Err(NetworkError::Name(options.network));
        }
        let mut server = ServerConfig::with_crypto(Arc::new(key.server()?));
        server.transport_config(Arc::new(transport(1)));
        // They are taken at once: what is buffered before that is 4 MiB at most.
        server
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_MAX as u64 * INCOMING_BYTES);
        // A peer may change its address, as laptops and phones do, and hosts whose lease ends.
        server.migration(true);
        // A simulation runs them all: in which order tasks come that could go on at once is a part of the seed.
        let tasks = Tasks::new(seed.is_some().then(|| runtime.clone()));
        let mut config = EndpointConfig::default();
        config.rng_seed(seed);
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
            .map_err(|error| NetworkError::Listen(options.listen, error))?;
        let registry = Arc::new(Registry::new(key.id(), options.network, options.strangers_max, tasks));
        let random = Mutex::new(seed.map_or_else(StdRng::from_os_rng, StdRng::from_seed));
        let dialer = Arc::new(Dialer { key, endpoint, registry: registry.clone(), random });
        let accepting = dialer.clone();
        registry.tasks.spawn(async move {
            let (registry, gate) = (&accepting.registry, Gate::new());
            while let Some(Some(incoming)) = registry.shutdown.run_until_cancelled(accepting.endpoint.accept()).await {
                if !incoming.remote_address_validated() {
                    // A client that has not shown that it is where it says it is costs nothing but a reply.
                    drop(incoming.retry());
                } else if let Some(place) = enter(registry, &gate, &incoming) {
                    registry.tasks.spawn(let_in(registry.clone(), incoming, place));
                } else {
                    incoming.refuse();
                }
            }
        });
        let sweeping = registry.clone();
        registry.tasks.spawn(async move { sweeping.shutdown.run_until_cancelled(sweeping.sweep()).await });
        Ok(Self { dialer })
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.dialer.key.id()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.dialer.endpoint.local_addr()
    }

    /// Takes part in a chain, with these members (and where they are, if that is known) and this bandwidth.
    ///
    /// # Errors
    /// Where it takes part in it already.
    pub fn join(
        &self,
        key: ChainKey,
        members: BTreeMap<NodeId, Option<SocketAddr>>,
        bandwidth: Arc<Bandwidth>,
    ) -> Result<(Membership, Inboxes), NetworkError> {
        self.enter(key, Kind::Chain, members, bandwidth)
    }

    /// Takes part in giving a content, or in getting it from these nodes, which are called where it is said where they are. It has a key as a chain
    /// has, of the same 32 bytes, and is one of the node's chains as far as connections go; nothing but [`Purpose::Content`] is heard for it.
    ///
    /// # Errors
    /// Where it takes part in it already.
    ///
    /// [`Purpose::Content`]: subnode_types::Purpose::Content
    pub fn share(
        &self,
        key: ChainKey,
        from: BTreeMap<NodeId, Option<SocketAddr>>,
        bandwidth: Arc<Bandwidth>,
    ) -> Result<(Membership, Inboxes), NetworkError> {
        self.enter(key, Kind::Content, from, bandwidth)
    }

    fn enter(
        &self,
        key: ChainKey,
        kind: Kind,
        members: BTreeMap<NodeId, Option<SocketAddr>>,
        bandwidth: Arc<Bandwidth>,
    ) -> Result<(Membership, Inboxes), NetworkError> {
        let (chain, inbox) = Chain::new(key, kind, members, bandwidth);
        let chain = Arc::new(chain);
        self.dialer.registry.join(chain.clone()).map_err(NetworkError::Join)?;
        self.dialer.reconcile();
        Ok((Membership::new(self.dialer.clone(), chain), inbox))
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        let registry = &self.dialer.registry;
        let describe = |peer: &Arc<Peer>| {
            let stats = peer.connection.stats();
            PeerInfo {
                id: peer.id,
                address: peer.connection.remote_address(),
                connected: peer.since.elapsed(),
                round_trip: peer.connection.rtt(),
                sent_bytes: stats.udp_tx.bytes,
                received_bytes: stats.udp_rx.bytes,
                faults: peer.faults(),
                shared_chains: registry.shared_chains(peer),
            }
        };
        registry.peers().iter().map(describe).collect()
    }

    /// Leaves the network: all peers are told.
    ///
    /// # Cancel safety
    /// Dropping it leaves without waiting for the goodbyes.
    pub fn close(&self) -> Boxed<'_, ()> {
        boxed(async move {
            let registry = &self.dialer.registry;
            registry.shutdown.cancel();
            self.dialer.endpoint.close(VarInt::from_u32(Reason::Shutdown as u32), b"shutting down");
            registry.leave_all();
            registry.tasks.end().await;
            drop(tokio::time::timeout(CLOSED_WITHIN, self.dialer.endpoint.wait_idle()).await);
        })
    }
}

#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod tests;
