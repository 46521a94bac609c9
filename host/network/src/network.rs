//! The endpoint: who is called, who is let in, which chains there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, MtuDiscoveryConfig, RecvStream, SendStream, ServerConfig,
    TransportConfig, VarInt,
};
use rand::Rng;
use subnode_scheduler::Bandwidth;
use subnode_types::NodeId;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chain::{Chain, Inbox},
    frame::{ChainKey, FrameError},
    handshake::{CHAINS_MAX, HandshakeError, Hello, NETWORK_BYTES_MAX, Reason, hear_chains, tell_chains},
    identity::{KeyError, NodeKey, peer_of},
    membership::Membership,
    peer::Peer,
};

/// How long a silent connection is believed alive, and how often one that has nothing to say says so.
const IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// From the first packet to the end of the greetings.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Waits between calls of a node that does not answer, doubled each time; half of each is random, that nodes do not call in step.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a peer that broke the protocol too often is left alone.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
const SHUNNED_MAX: usize = 1024;
/// How long a connection may be of no use, at least; a chain that is opened anew leaves and joins within that.
const USELESS_FOR: Duration = Duration::from_secs(15);
/// What a peer may send on a stream before it is read: at 50 ms there and back this is 80 MB/s.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same on all streams of a connection. A chain that does not read its stream leaves the others room.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Longest packet that is tried: what Ethernet's jumbo frames carry. Where the way between two nodes takes no such packets, a few probes are lost.
const DATAGRAM_BYTES_MAX: u16 = 8_952;
/// Questions of a peer at once.
const REQUESTS_MAX: u32 = 64;

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

/// All that its tasks share.
pub(crate) struct Shared {
    key: NodeKey,
    options: NetworkOptions,
    endpoint: Endpoint,
    state: Mutex<State>,
    /// Counts changes of chains and their members.
    changes: watch::Sender<u64>,
    pub(crate) tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) chains: BTreeMap<ChainKey, Arc<Chain>>,
    pub(crate) peers: BTreeMap<NodeId, Arc<Peer>>,
    /// Nodes that are called while they are not connected.
    called: BTreeSet<NodeId>,
    shunned: BTreeMap<NodeId, Instant>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chain(&self, key: ChainKey) -> Option<Arc<Chain>> {
        self.state().chains.get(&key).cloned()
    }

    fn chains(&self) -> Vec<Arc<Chain>> {
        self.state().chains.values().cloned().collect()
    }

    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.state().peers.get(&id).cloned()
    }

    /// Leaves a peer alone for a while.
    pub(crate) fn shun(&self, id: NodeId) {
        let mut state = self.state();
        state.shunned.retain(|_, until| *until > Instant::now());
        if state.shunned.len() < SHUNNED_MAX {
            state.shunned.insert(id, Instant::now() + SHUNNED_FOR);
        }
    }

    fn is_shunned(&self, id: NodeId) -> bool {
        self.state().shunned.get(&id).is_some_and(|until| *until > Instant::now())
    }

    fn hello(&self) -> Hello {
        Hello { network: self.options.network.clone(), chains: self.state().chains.keys().copied().collect() }
    }

    /// Where a node is called that belongs to a chain of this one.
    fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        self.chains().iter().find_map(|chain| chain.members().get(&id).copied().flatten())
    }

    fn is_member(&self, id: NodeId) -> bool {
        self.chains().iter().any(|chain| chain.is_member(id))
    }

    /// Sees that each member with an address is called.
    pub(crate) fn reconcile(self: &Arc<Self>) {
        let members = self.chains().into_iter().flat_map(|chain| chain.members());
        let wanted: BTreeSet<NodeId> = members.filter(|(_, address)| address.is_some()).map(|(id, _)| id).collect();
        for id in wanted {
            if id != self.key.id() && self.state().called.insert(id) {
                let shared = self.clone();
                self.tasks.spawn(async move { shared.shutdown.run_until_cancelled(shared.keep_calling(id)).await });
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Keeps a node connected as long as it is wanted.
    async fn keep_calling(self: &Arc<Self>, id: NodeId) {
        let mut backoff = BACKOFF_MIN;
        if id < self.key.id() {
            // Of two connections the other's would stay: it has the first try.
            tokio::time::sleep(backoff).await;
        }
        while let Some(address) = self.address_of(id) {
            if let Some(peer) = self.peer(id) {
                // Not until its connection is closed, which it may be while it is still listed: nothing would be waited for here.
                peer.unlisted.cancelled().await;
                backoff = BACKOFF_MIN;
                continue;
            }
            match self.call(id, address).await {
                Ok(connection) => {
                    let began = Instant::now();
                    self.greet(connection, true).await;
                    if began.elapsed() > BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(error) => tracing::debug!(peer = %id, %address, %error, "cannot connect"),
            }
            let half = backoff / 2;
            let wait = half + rand::rng().random_range(Duration::ZERO..=half);
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        self.state().called.remove(&id);
    }

    /// Closes connections to nodes that have had no chain in common for a while, and belong to none.
    async fn sweep(&self) {
        let mut useless: BTreeSet<NodeId> = BTreeSet::new();
        loop {
            tokio::time::sleep(USELESS_FOR).await;
            let before = std::mem::take(&mut useless);
            let peers: Vec<_> = self.state().peers.values().cloned().collect();
            for peer in peers {
                let shares = peer.chains().iter().any(|chain| self.chain(*chain).is_some());
                if shares || self.is_member(peer.id) {
                    continue;
                }
                useless.insert(peer.id);
                if before.contains(&peer.id) {
                    Reason::NoSharedChain.close(&peer.connection, "no chain of yours is here any more");
                }
            }
        }
    }

    async fn call(&self, id: NodeId, address: SocketAddr) -> Result<Connection, String> {
        let mut config = ClientConfig::new(Arc::new(self.key.client(id).map_err(|error| error.to_string())?));
        config.transport_config(Arc::new(transport()));
        let connecting = self.endpoint.connect_with(config, address, "subnode").map_err(|error| error.to_string())?;
        match tokio::time::timeout(HANDSHAKE_WITHIN, connecting).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {HANDSHAKE_WITHIN:?}")),
        }
    }

    async fn let_in(self: Arc<Self>, incoming: Incoming) {
        // A client that has not shown that it is where it says it is costs nothing but a reply.
        if !incoming.remote_address_validated() {
            drop(incoming.retry());
            return;
        }
        match tokio::time::timeout(HANDSHAKE_WITHIN, incoming).await {
            Ok(Ok(connection)) => self.greet(connection, false).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection was not secured"),
            Err(_) => tracing::debug!("a connection was not secured in time"),
        }
    }

    /// Greets whoever is at the other end, and serves it until it leaves.
    async fn greet(self: &Arc<Self>, connection: Connection, called: bool) {
        let Some(id) = peer_of(&connection) else { return Reason::Misbehaved.close(&connection, "no identity") };
        if self.is_shunned(id) {
            return Reason::Misbehaved.close(&connection, "broke the protocol too often; try again later");
        }
        let changes = self.changes.subscribe();
        let hello = self.hello();
        let exchanged = tokio::time::timeout(HANDSHAKE_WITHIN, hello.exchange(&connection, called)).await;
        let (theirs, mut tell, mut hear) = match exchanged {
            Ok(Ok(exchanged)) => exchanged,
            Ok(Err(error)) => {
                let reason = match &error {
                    HandshakeError::Version(_) => Reason::Version,
                    HandshakeError::Network { .. } => Reason::Network,
                    HandshakeError::Gone(_) | HandshakeError::Frame(FrameError::Gone(_)) => {
                        return tracing::debug!(peer = %id, %error, "a node left before it was greeted");
                    }
                    HandshakeError::Malformed | HandshakeError::Frame(_) => Reason::Misbehaved,
                };
                tracing::warn!(peer = %id, %error, "a node is refused");
                return reason.close(&connection, &error.to_string());
            }
            Err(_) => return Reason::Misbehaved.close(&connection, "no greeting"),
        };
        let preferred = called == (self.key.id() < id);
        let peer = Arc::new(Peer::new(id, connection, preferred, theirs.chains));
        if let Err((reason, text)) = self.admit(&peer) {
            return reason.close(&peer.connection, text);
        }
        let _unlisted = peer.unlisted.clone().drop_guard();
        tracing::info!(peer = %id, address = %peer.connection.remote_address(), "connected");
        let ended = tokio::select! {
            ended = peer.serve(self) => ended,
            never = self.tell(&mut tell, changes) => never,
            never = self.hear(&mut hear, &peer) => never,
        };
        tracing::info!(peer = %id, %ended, "disconnected");
        let mut state = self.state();
        if state.peers.get(&id).is_some_and(|known| Arc::ptr_eq(known, &peer)) {
            state.peers.remove(&id);
        }
    }

    /// Tells a peer which chains are here, whenever that changes.
    async fn tell<T>(&self, stream: &mut SendStream, mut changes: watch::Receiver<u64>) -> T {
        while changes.changed().await.is_ok() {
            if tell_chains(stream, &self.hello().chains).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    }

    /// Hears which chains a peer has.
    async fn hear<T>(&self, stream: &mut RecvStream, peer: &Peer) -> T {
        loop {
            match hear_chains(stream).await {
                Ok(Some(chains)) => peer.set_chains(chains),
                Ok(None) => break,
                Err(error) => {
                    peer.fault(self, &error);
                    break;
                }
            }
        }
        std::future::pending().await
    }

    /// Takes a peer in, in place of an older connection to the same node, or says why not.
    fn admit(&self, peer: &Arc<Peer>) -> Result<(), (Reason, &'static str)> {
        let member = self.is_member(peer.id);
        let mut state = self.state();
        if !member && !peer.chains().iter().any(|chain| state.chains.contains_key(chain)) {
            return Err((Reason::NoSharedChain, "no chain of yours is here"));
        }
        if let Some(known) = state.peers.get(&peer.id) {
            let alive = known.connection.close_reason().is_none();
            if alive && known.preferred && !peer.preferred {
                return Err((Reason::Duplicate, "connected already"));
            }
            Reason::Duplicate.close(&known.connection, "connected anew");
        } else if !member {
            let chains: Vec<_> = state.chains.values().cloned().collect();
            let strangers = state.peers.keys().filter(|id| !chains.iter().any(|chain| chain.is_member(**id))).count();
            if strangers >= self.options.strangers_max {
                return Err((Reason::Full, "too many nodes that belong to no chain here"));
            }
        }
        state.peers.insert(peer.id, peer.clone());
        Ok(())
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    transport
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        // One for each chain and purpose.
        .max_concurrent_uni_streams(VarInt::from_u32(u32::try_from(4 * CHAINS_MAX).unwrap_or(u32::MAX)))
        // The greeting's, and those of questions.
        .max_concurrent_bidi_streams(VarInt::from_u32(1 + REQUESTS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        // Streams of one purpose in the order they were written to: an answer that is whole is worth more than parts of many, and whoever reads it
        // wakes less often. Slices are kept before anything is written.
        .send_fairness(false)
        // Nothing here fits a datagram or may be lost.
        .datagram_receive_buffer_size(None);
    transport
}

/// A node's place in its network. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
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
    /// Opens the endpoint.
    ///
    /// # Errors
    /// [`NetworkError`] says what is wrong.
    pub fn open(key: NodeKey, options: NetworkOptions) -> Result<Self, NetworkError> {
        if options.network.len() > NETWORK_BYTES_MAX {
            return Err(NetworkError::Name(options.network));
        }
        let mut server = ServerConfig::with_crypto(Arc::new(key.server()?));
        server.transport_config(Arc::new(transport()));
        // A peer may change its address, as laptops and phones do, and hosts whose lease ends.
        server.migration(true);
        let refused = |error| NetworkError::Listen(options.listen, error);
        let socket = std::net::UdpSocket::bind(options.listen).map_err(refused)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(refused)?;
        let shared = Arc::new(Shared {
            key,
            options,
            endpoint,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        let accepting = shared.clone();
        shared.tasks.spawn(async move {
            while let Some(Some(incoming)) = accepting.shutdown.run_until_cancelled(accepting.endpoint.accept()).await {
                accepting.tasks.spawn(accepting.clone().let_in(incoming));
            }
        });
        let sweeping = shared.clone();
        shared.tasks.spawn(async move { sweeping.shutdown.run_until_cancelled(sweeping.sweep()).await });
        Ok(Self { shared })
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.key.id()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
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
    ) -> Result<(Membership, Inbox), NetworkError> {
        let (chain, inbox) = Chain::new(key, members, bandwidth);
        let chain = Arc::new(chain);
        {
            let mut state = self.shared.state();
            if state.chains.contains_key(&key) {
                return Err(NetworkError::Join("the node has joined this chain already"));
            }
            if state.chains.len() >= CHAINS_MAX {
                return Err(NetworkError::Join("the node has joined as many chains as one can"));
            }
            state.chains.insert(key, chain.clone());
        }
        self.shared.reconcile();
        Ok((Membership::new(self.shared.clone(), chain), inbox))
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        let state = self.shared.state();
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
                shared_chains: peer.chains().iter().filter(|chain| state.chains.contains_key(chain)).count(),
            }
        };
        state.peers.values().map(describe).collect()
    }

    /// Leaves the network: all peers are told.
    ///
    /// # Cancel safety
    /// Dropping it leaves without waiting for the goodbyes.
    pub async fn close(&self) {
        self.shared.shutdown.cancel();
        self.shared.endpoint.close(VarInt::from_u32(Reason::Shutdown as u32), b"shutting down");
        self.shared.state().chains.clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.endpoint.wait_idle().await;
    }
}

#[cfg(test)]
mod tests;
