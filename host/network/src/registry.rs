//! Which chains are here, who is connected, who is called, and who is left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use subnode_types::NodeId;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{Chain, Kind},
    frame::ChainKey,
    handshake::{CHAINS_MAX, Hello, Reason},
    limits::{lock, widen},
    peer::Peer,
    tasks::Tasks,
};

/// How long a peer that broke the protocol too often is left alone.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
const SHUNNED_MAX: usize = 1024;
/// A connection that shares no chain with this node is closed after this time, twice it at most. Reopening a chain (leave, then join) takes less.
const USELESS_FOR: Duration = Duration::from_secs(15);

/// What all tasks of a node's network share.
pub(crate) struct Registry {
    id: NodeId,
    network: String,
    strangers_max: usize,
    state: Mutex<State>,
    /// Counts changes of chains and their members.
    changes: watch::Sender<u64>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Bound: [`CHAINS_MAX`] chains, which operators make, of some KiB each and their mailboxes' bytes.
    chains: BTreeMap<ChainKey, Arc<Chain>>,
    /// Bound: the members of the chains that are here, and as many strangers as are configured; `limits` has the bytes of each.
    peers: BTreeMap<NodeId, Arc<Peer>>,
    /// Nodes that are called while they are not connected.
    /// Bound: 32 bytes for each member of the chains that are here.
    called: BTreeSet<NodeId>,
    /// Bound: [`SHUNNED_MAX`] nodes of 48 bytes, 48 KiB.
    shunned: BTreeMap<NodeId, Instant>,
    /// Where members are.
    /// Bound: 32 bytes for each member of the chains that are here.
    members_hosts: BTreeSet<IpAddr>,
}

impl State {
    fn is_member(&self, id: NodeId) -> bool {
        self.chains.values().any(|chain| chain.is_member(id))
    }

    /// The stranger whose place a newcomer of this address gets once all are taken: the latest of the address that has most of them, if it has
    /// more than the newcomer's would have.
    fn crowded(&self, source: IpAddr) -> Option<Arc<Peer>> {
        let mut by_address: BTreeMap<IpAddr, Vec<&Arc<Peer>>> = BTreeMap::new();
        for stranger in self.strangers() {
            by_address.entry(stranger.source()).or_default().push(stranger);
        }
        let would_have = by_address.get(&source).map_or(0, Vec::len) + 1;
        let most = by_address.into_values().max_by_key(Vec::len).filter(|most| most.len() > would_have)?;
        most.into_iter().max_by_key(|stranger| stranger.since).cloned()
    }

    fn strangers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.values().filter(|peer| !self.is_member(peer.id))
    }

    /// Where a node is called that belongs to a chain of this one.
    fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        self.chains.values().find_map(|chain| chain.address_of(id))
    }
}

impl Registry {
    pub(crate) fn new(id: NodeId, network: String, strangers_max: usize, tasks: Tasks) -> Self {
        Self {
            id,
            network,
            strangers_max,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            tasks,
            shutdown: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// This node.
    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) fn chain(&self, key: ChainKey) -> Option<Arc<Chain>> {
        self.state().chains.get(&key).cloned()
    }

    /// Takes a chain in, or says why not.
    pub(crate) fn join(&self, chain: Arc<Chain>) -> Result<(), &'static str> {
        let mut state = self.state();
        if state.chains.contains_key(&chain.key) {
            return Err("the node has joined this chain already");
        }
        if state.chains.len() >= CHAINS_MAX {
            return Err("the node has joined as many chains as one can");
        }
        state.chains.insert(chain.key, chain);
        Ok(())
    }

    /// Forgets a chain.
    pub(crate) fn leave(&self, chain: &Chain) {
        self.state().chains.remove(&chain.key);
        chain.leave();
        self.peers().iter().for_each(|peer| peer.forget(chain.key));
    }

    /// Forgets all chains.
    pub(crate) fn leave_all(&self) {
        self.state().chains.clear();
    }

    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.state().peers.get(&id).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        self.state().peers.values().cloned().collect()
    }

    /// Connected nodes that have a chain.
    pub(crate) fn having(&self, chain: ChainKey) -> Vec<NodeId> {
        self.state().peers.values().filter(|peer| peer.has(chain)).map(|peer| peer.id).collect()
    }

    /// How many chains a peer has that are here.
    pub(crate) fn shared_chains(&self, peer: &Peer) -> usize {
        let state = self.state();
        let is_chain = |key| state.chains.get(key).is_some_and(|chain| chain.kind == Kind::Chain);
        peer.chains().iter().filter(|key| is_chain(key)).count()
    }

    /// Whether a peer has a chain or a content that is here.
    fn shares_any(&self, peer: &Peer) -> bool {
        let state = self.state();
        peer.chains().iter().any(|key| state.chains.contains_key(key))
    }

    pub(crate) fn is_member(&self, id: NodeId) -> bool {
        self.state().is_member(id)
    }

    /// Whether a member of a chain here has this address.
    pub(crate) fn is_members_host(&self, address: IpAddr) -> bool {
        self.state().members_hosts.contains(&address.to_canonical())
    }

    /// Lets a peer do what the chains need that are here and there.
    fn widen(&self, peer: &Peer) {
        widen(&peer.connection, self.shared_chains(peer), self.is_member(peer.id));
    }

    /// A peer says which chains it has.
    pub(crate) fn heard(&self, peer: &Peer, chains: BTreeSet<ChainKey>) {
        peer.set_chains(chains);
        self.widen(peer);
    }

    /// Leaves a peer alone for a while.
    pub(crate) fn shun(&self, id: NodeId) {
        let mut state = self.state();
        state.shunned.retain(|_, until| *until > Instant::now());
        if state.shunned.len() < SHUNNED_MAX {
            state.shunned.insert(id, Instant::now() + SHUNNED_FOR);
        }
    }

    pub(crate) fn is_shunned(&self, id: NodeId) -> bool {
        self.state().shunned.get(&id).is_some_and(|until| *until > Instant::now())
    }

    /// What this node says of itself: to whom it called all, to a caller what the caller has as well. The caller's is left out while it is not known.
    pub(crate) fn hello(&self, caller: Option<&Peer>) -> Hello {
        let chains: BTreeSet<_> = self.state().chains.keys().copied().collect();
        let chains = match caller {
            Some(peer) => chains.intersection(&peer.chains()).copied().collect(),
            None => chains,
        };
        Hello { network: self.network.clone(), chains }
    }

    /// Chains or their members are others.
    pub(crate) fn changed(&self) {
        {
            let mut state = self.state();
            let members = state.chains.values().flat_map(|chain| chain.members().into_values().flatten());
            let hosts = members.map(|address| address.ip().to_canonical()).collect();
            state.members_hosts = hosts;
        }
        // Before they hear of it, and use it.
        self.peers().iter().for_each(|peer| self.widen(peer));
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The members with an address that nobody calls yet. Whoever asks has to call them, and to ask [`Self::calls`] whether to go on.
    pub(crate) fn uncalled(&self) -> Vec<NodeId> {
        let mut state = self.state();
        let members = state.chains.values().flat_map(|chain| chain.members());
        let wanted: BTreeSet<NodeId> = members.filter(|(_, address)| address.is_some()).map(|(id, _)| id).collect();
        wanted.into_iter().filter(|id| *id != self.id && state.called.insert(*id)).collect()
    }

    /// Where a node is called. None ends the calls: a node that is wanted again later is [uncalled](Self::uncalled).
    pub(crate) fn calls(&self, id: NodeId) -> Option<SocketAddr> {
        let mut state = self.state();
        // In one step: a member that is added between two would be called by nobody.
        let address = state.address_of(id);
        if address.is_none() {
            state.called.remove(&id);
        }
        address
    }

    /// Takes a peer in, in place of an older connection to the same node, or says why not.
    pub(crate) fn admit(&self, peer: &Arc<Peer>) -> Result<(), (Reason, &'static str)> {
        self.insert(peer)?;
        self.widen(peer);
        Ok(())
    }

    fn insert(&self, peer: &Arc<Peer>) -> Result<(), (Reason, &'static str)> {
        let mut state = self.state();
        let member = state.is_member(peer.id);
        if !member && !peer.chains().iter().any(|chain| state.chains.contains_key(chain)) {
            return Err((Reason::NoSharedChain, "no chain of yours is here"));
        }
        if let Some(known) = state.peers.get(&peer.id) {
            let alive = known.connection.close_reason().is_none();
            if alive && known.preferred && !peer.preferred {
                return Err((Reason::Duplicate, "connected already"));
            }
            Reason::Duplicate.close(&known.connection, "connected anew");
        } else if !member && state.strangers().count() >= self.strangers_max {
            let full = (Reason::Full, "too many nodes that belong to no chain here");
            let crowded = state.crowded(peer.source()).ok_or(full)?;
            Reason::Full.close(&crowded.connection, "too many nodes of one address");
            state.peers.remove(&crowded.id);
        }
        state.peers.insert(peer.id, peer.clone());
        Ok(())
    }

    /// Forgets a peer whose connection has ended, unless another connection took its place.
    pub(crate) fn remove(&self, peer: &Arc<Peer>) {
        let chains: Vec<_> = {
            let mut state = self.state();
            if state.peers.get(&peer.id).is_some_and(|known| Arc::ptr_eq(known, peer)) {
                state.peers.remove(&peer.id);
            }
            if state.peers.contains_key(&peer.id) {
                return;
            }
            state.chains.values().cloned().collect()
        };
        chains.iter().for_each(|chain| chain.gone(&peer.id));
    }

    /// Closes connections to nodes that have had no chain in common for a while, and belong to none.
    pub(crate) async fn sweep(&self) {
        let mut useless: BTreeSet<NodeId> = BTreeSet::new();
        loop {
            tokio::time::sleep(USELESS_FOR).await;
            let before = std::mem::take(&mut useless);
            for peer in self.peers() {
                if self.shares_any(&peer) || self.is_member(peer.id) {
                    continue;
                }
                useless.insert(peer.id);
                if before.contains(&peer.id) {
                    Reason::NoSharedChain.close(&peer.connection, "no chain of yours is here any more");
                }
            }
        }
    }
}
