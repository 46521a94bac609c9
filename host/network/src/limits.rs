//! What a connection may cost: times, windows, numbers of streams, bytes in memory; and how many connections are greeted at once.
//!
//! What outsiders can make this node hold at worst, where quinn's part is its windows (it holds what is received and not read up to the receive
//! window of a connection, and what is written and not acknowledged up to the send window):
//!
//! | who | each | all |
//! |---|---|---|
//! | being greeted | 192 KiB + 256 KiB of windows | x (128 + 64 of members' hosts) = 84 MiB |
//! | a stranger | 4 MiB received, 8 MiB sent, 4 MiB of frames, 8 answers of 1 MiB | x 64 (as configured) = 1.5 GiB |
//! | a peer that is in a committee here | 32 MiB received, 32 MiB sent, 4 MiB of frames, 32 answers of 1 MiB | x members |
//! | such a peer and a chain | 512 KiB of consensus; 2 MiB sent of consensus, 4 MiB of each other purpose | x chains of the committee |
//!
//! Frames that are sent to many peers are in memory once. A stranger is sent at most what is in the last line for each chain that it has, too.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quinn::{Connection, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use subnode_scheduler::TokenBucket;
use subnode_types::Purpose;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How long a silent connection is believed alive, and how often one that has nothing to say says so.
const IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// From the first packet to the end of the greetings.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// From a frame's length to its end, and from a stream's begin to the end of its header: 100 KB/s for the longest frame.
pub(crate) const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// The same of a frame of a member's, which takes nobody's room but the member's own. A link that is flooded carries nothing for seconds, and then
/// what is more urgent: a frame of a checkpoint has waited for ten.
pub(crate) const MEMBER_FRAME_WITHIN: Duration = Duration::from_secs(60);
/// What a peer may send on a stream before it is read: a whole frame, so that an answer comes at once. A stream of frames has 20 MB/s at 50 ms there
/// and back; states come on many streams.
const STREAM_WINDOW: u32 = (1 << 20) + (64 << 10);
/// Before a peer is admitted: the longest greeting, 131,139 bytes, and what is sent after it.
const GREETING_WINDOW: u32 = 192 << 10;
const GREETING_SEND_WINDOW: u64 = 256 << 10;
/// On all streams of a stranger: at 50 ms there and back this is 80 MB/s.
const STRANGER_WINDOW: u32 = 4 << 20;
const STRANGER_SEND_WINDOW: u64 = 8 << 20;
/// On all streams of a peer that is in a committee: thirty chains that do not read their streams leave the others room.
const MEMBER_WINDOW: u32 = 32 << 20;
/// Longest packet that is tried: what Ethernet's jumbo frames carry. Where the way between two nodes takes no such packets, a few probes are lost.
const DATAGRAM_BYTES_MAX: u16 = 8_952;
/// Questions of a peer at once: each has a stream, and 4 KiB at most before it is answered.
const REQUESTS_MAX: u32 = 64;

/// What a frame costs beside its bytes, wherever bytes are counted: its place in a queue, and the work of taking it.
const FRAME_PRICE: usize = 256;
/// What a frame costs.
pub(crate) const fn price(bytes: usize) -> usize {
    bytes.saturating_add(FRAME_PRICE)
}

/// Bytes of frames of one peer, for all chains, from their first byte until their chain has taken them. Consensus has room of its own.
pub(crate) const PEER_ROOM: usize = 4 << 20;
/// Answers to a peer that are looked for or being sent, each of 1 MiB at most.
pub(crate) const MEMBER_ANSWERS: usize = 32;
pub(crate) const STRANGER_ANSWERS: usize = 8;
/// The same for one chain and purpose, as many pieces of a state as a node asks for at once: a chain that is slow to answer leaves the others room.
pub(crate) const LANE_ANSWERS: usize = 16;
/// Consensus of one member and chain: a committee of a hundred that changes its view ten times a second needs a half of it.
pub(crate) const CONSENSUS_BYTES_PER_SECOND: u64 = 1 << 20;
/// A peer's lists of chains on the greeting's stream: the longest each second.
pub(crate) const LISTS_BYTES_PER_SECOND: u64 = 128 << 10;

/// Bytes of frames of one peer, chain and purpose, from their first byte until their chain has dealt with them: the two longest.
pub(crate) const fn lane_room(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Consensus => 512 << 10,
        Purpose::Statements => 32 << 10,
        Purpose::Transactions | Purpose::Blocks | Purpose::Snapshot => 2 << 20,
        // Contents come as answers alone.
        Purpose::Content => 0,
    }
}

/// Frames and bytes that wait to be sent to a peer for one chain and purpose. What does not fit is dropped and counted: a peer that is slow
/// catches up later.
pub(crate) const fn queue_max(purpose: Purpose) -> (usize, u64) {
    match purpose {
        Purpose::Consensus => (256, 2 << 20),
        Purpose::Transactions => (256, 4 << 20),
        Purpose::Blocks => (64, 4 << 20),
        Purpose::Snapshot => (16, 4 << 20),
        Purpose::Statements => (64, 128 << 10),
        Purpose::Content => (0, 0),
    }
}

/// What a connection may do before its peer is admitted: the greeting, on a stream that whoever called opens.
pub(crate) fn transport(greetings: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    transport
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(greetings))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(GREETING_WINDOW))
        .send_window(GREETING_SEND_WINDOW)
        // Streams of one purpose in the order they were written to: an answer that is whole is worth more than parts of many, and whoever reads it
        // wakes less often. Slices are kept before anything is written.
        .send_fairness(false)
        // Nothing here fits a datagram or may be lost.
        .datagram_receive_buffer_size(None);
    transport
}

/// Lets a peer that is admitted do what the chains in common need.
pub(crate) fn widen(connection: &Connection, shared_chains: usize, member: bool) {
    let streams = Purpose::OF_CHAIN.len().saturating_mul(shared_chains);
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(u32::try_from(streams).unwrap_or(u32::MAX)));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(1 + REQUESTS_MAX));
    let (receive, send) = if member { (MEMBER_WINDOW, u64::from(MEMBER_WINDOW)) } else { (STRANGER_WINDOW, STRANGER_SEND_WINDOW) };
    connection.set_receive_window(VarInt::from_u32(receive));
    connection.set_send_window(send);
}

/// Connections that are secured and greeted at once, of all callers: 5 s each at most.
const GREETED_MAX: usize = 128;
/// Beside them, those from where members are: a few hosts that keep all other places taken keep no member out. Twice what one address may have: a
/// member's host that breaks the rules leaves the other members the half.
const MEMBERS_GREETED_MAX: usize = 64;
/// The same of one address: a whole committee on one host, or behind one router.
const GREETED_OF_SOURCE: u32 = 32;
/// And how many of one address begin each second. A handshake costs about a millisecond.
const GREETED_PER_SECOND: u64 = 32;
/// Addresses that are remembered, each for a second after its last connection.
const SOURCES_MAX: usize = 4_096;

/// Holds callers to their number.
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    members_places: Arc<Semaphore>,
    /// Bound: [`SOURCES_MAX`] addresses of some 100 bytes, 400 KiB.
    sources: Mutex<BTreeMap<IpAddr, Source>>,
    opened: Instant,
}

struct Source {
    greeted: u32,
    pace: TokenBucket,
}

/// A place among those that are greeted.
pub(crate) struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        let [places, members_places] = [GREETED_MAX, MEMBERS_GREETED_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Arc::new(Self { places, members_places, sources: Mutex::default(), opened: Instant::now() })
    }

    /// A place for a caller whose address is known to be its own, and perhaps a member's; none where there are too many.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, member: bool) -> Option<Place> {
        let source = source(address);
        let now = self.opened.elapsed();
        let mut sources = lock(&self.sources);
        if !member && sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            // A second after its last connection an address has all of its pace again.
            sources.retain(|_, known| known.greeted > 0 || !known.pace.is_full(now));
            if sources.len() >= SOURCES_MAX {
                return None;
            }
        }
        let known = sources.entry(source).or_insert_with(|| Source { greeted: 0, pace: TokenBucket::new(GREETED_PER_SECOND, now) });
        if known.greeted >= GREETED_OF_SOURCE || !known.pace.debt(now).is_zero() {
            return None;
        }
        let of_member = member.then(|| self.members_places.clone().try_acquire_owned().ok()).flatten();
        let place = of_member.or_else(|| self.places.clone().try_acquire_owned().ok())?;
        known.greeted += 1;
        known.pace.spend(1, now);
        Some(Place { gate: self.clone(), source, _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(known) = lock(&self.gate.sources).get_mut(&self.source) {
            known.greeted = known.greeted.saturating_sub(1);
        }
    }
}

/// A panic while one of these is held leaves a map as it was or with an entry more.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one address: hosts are given 64 bits of IPv6.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_its_places_and_leaves_the_others_theirs() {
        let gate = Gate::new();
        let host = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, low]);
        let places: Vec<_> = (0..1_000).map_while(|low| gate.enter(host(low), false)).collect();
        assert_eq!(places.len(), GREETED_OF_SOURCE as usize);
        let elsewhere = gate.enter(IpAddr::from([127, 0, 0, 1]), false);
        assert!(elsewhere.is_some());
        assert!(gate.enter(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]), false).is_some(), "the same as IPv4");
        drop(places);
        assert!(gate.enter(host(0), false).is_some(), "places are given back");
        let held: Vec<_> =
            (1..=255).flat_map(|net| (0..20).map(move |_| IpAddr::from([10, 0, 0, net]))).map_while(|one| gate.enter(one, false)).collect();
        assert!(held.len() < GREETED_MAX, "all places are taken");
        assert!(gate.enter(IpAddr::from([10, 0, 1, 1]), false).is_none());
        let member = IpAddr::from([10, 0, 1, 2]);
        let members: Vec<_> = (0..1_000).map_while(|_| gate.enter(member, true)).collect();
        assert_eq!(members.len(), GREETED_OF_SOURCE as usize, "a member's host has places of its own, as many as any");
    }
}
