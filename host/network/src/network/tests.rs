//! Peers that break the protocol: what this crate itself would never send.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use subnode_peers::Incoming;
use subnode_types::Purpose;

use super::*;
use crate::{
    frame::{read_frame, read_header, write_frame, write_header},
    handshake::{HandshakeError, Hello, hear_chains, tell_chains},
    limits::{PEER_ROOM, STRANGER_ANSWERS, lane_room, price, queue_max},
};

const CHAIN: ChainKey = ChainKey([1; 32]);

fn options() -> NetworkOptions {
    NetworkOptions { listen: ([127, 0, 0, 1], 0).into(), network: "test".into(), strangers_max: 4 }
}

fn key(seed: u8) -> NodeKey {
    NodeKey::from_secret([seed; 32]).expect("a key")
}

struct Attacker {
    network: Network,
    connection: Connection,
    /// The greeting's stream, both ways: it stays open.
    control: (SendStream, RecvStream),
}

impl Attacker {
    /// Connects, and greets as one should.
    async fn greeted(victim: &Network, seed: u8) -> Result<Self, HandshakeError> {
        let attacker = Self::silent(victim, seed).await;
        let hello = Hello { network: "test".into(), chains: [CHAIN].into() };
        let (_, tell, hear) = hello.call(&attacker.0).await?;
        Ok(Self { network: attacker.1, connection: attacker.0, control: (tell, hear) })
    }

    /// Connects, and says nothing.
    async fn silent(victim: &Network, seed: u8) -> (Connection, Network) {
        let network = Network::open(key(seed), options()).expect("an endpoint");
        let connection = network.dialer.call(victim.id(), victim.address().expect("an address")).await.expect("a connection");
        (connection, network)
    }

    /// Sends bytes on a stream of its own, which ends with them.
    async fn send(&self, purpose: Purpose, bytes: &[u8]) {
        let mut stream = self.stream(purpose).await;
        stream.write_all(bytes).await.expect("written");
        drop(stream.finish());
    }

    async fn stream(&self, purpose: Purpose) -> SendStream {
        let mut stream = self.connection.open_uni().await.expect("a stream");
        write_header(&mut stream, CHAIN, purpose).await.expect("a header");
        stream
    }
}

fn victim(members: &[u8]) -> (Network, Membership, Inboxes) {
    let network = Network::open(key(1), options()).expect("an endpoint");
    let members = members.iter().map(|seed| (key(*seed).id(), None)).collect();
    let (membership, inbox) = network.join(CHAIN, members, Arc::new(Bandwidth::new(1 << 30))).expect("a chain");
    (network, membership, inbox)
}

async fn closed_with(connection: &Connection) -> u64 {
    match connection.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_cost_the_peer_its_connection_and_nobody_else_theirs() {
    let (network, membership, mut inbox) = victim(&[2, 3]);
    let honest = Attacker::greeted(&network, 3).await.expect("a greeting");
    let attacker = Attacker::greeted(&network, 2).await.expect("a greeting");
    // A length beyond the bound, of which nothing follows: nothing may be allocated for it. The stream is dropped, which makes room for another.
    attacker.send(Purpose::Blocks, &u32::MAX.to_be_bytes()).await;
    // A purpose that there is not.
    let mut strange = attacker.connection.open_uni().await.expect("a stream");
    strange.write_all(&[&CHAIN.0[..], &[9]].concat()).await.expect("written");
    strange.finish().expect("finished");
    // A frame that ends early.
    attacker.send(Purpose::Consensus, &[0, 0, 0, 9, 1, 2]).await;
    // A stream that ends before it began.
    let mut short = attacker.connection.open_uni().await.expect("a stream");
    short.write_all(&[7; 10]).await.expect("written");
    short.finish().expect("finished");
    // Of a chain that is not here, which is no fault.
    let mut elsewhere = attacker.connection.open_uni().await.expect("a stream");
    write_header(&mut elsewhere, ChainKey([9; 32]), Purpose::Blocks).await.expect("written");
    drop(elsewhere);
    while network.peers().iter().find(|peer| peer.id == attacker.network.id()).expect("connected").faults < 4 {
        tokio::task::yield_now().await;
    }
    for faults in 5..=8 {
        attacker.send(Purpose::Blocks, &u32::MAX.to_be_bytes()).await;
        // One after the other: of two streams of a purpose, the first is not listened to any more.
        while network.peers().iter().find(|peer| peer.id == attacker.network.id()).is_some_and(|peer| peer.faults < faults) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(closed_with(&attacker.connection).await, Reason::Misbehaved as u64);
    // It is not let in again for a while.
    let again = Attacker::silent(&network, 2).await;
    assert_eq!(closed_with(&again.0).await, Reason::Misbehaved as u64);

    let mut stream = honest.stream(Purpose::Consensus).await;
    write_frame(&mut stream, Bytes::from_static(b"vote")).await.expect("written");
    let Some(Incoming::Frame(received)) = inbox.next().await else { panic!("a frame") };
    assert_eq!((received.from, &*received.frame), (honest.network.id(), &b"vote"[..]));
    while membership.connected() != [honest.network.id()] {
        tokio::task::yield_now().await;
    }
    drop(honest.control);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_read_and_do_not_vote_and_there_are_not_too_many() {
    let (network, _membership, mut inbox) = victim(&[]);
    let stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let mut votes = stranger.stream(Purpose::Consensus).await;
    // The stream is stopped, not listened to; perhaps before all of it is written.
    drop(write_frame(&mut votes, Bytes::from_static(b"vote")).await);
    assert!(votes.stopped().await.is_ok());
    let mut transactions = stranger.stream(Purpose::Transactions).await;
    write_frame(&mut transactions, Bytes::from_static(b"transaction")).await.expect("written");
    let Some(Incoming::Frame(received)) = inbox.next().await else { panic!("a frame") };
    assert_eq!(&*received.frame, b"transaction");
    let mut others = Vec::new();
    for seed in 3..6 {
        others.push(Attacker::greeted(&network, seed).await.expect("a greeting"));
    }
    let (one_more, _network) = Attacker::silent(&network, 6).await;
    let hello = Hello { network: "test".into(), chains: [CHAIN].into() };
    // The connection may be closed before the greeting's answer is read.
    drop(hello.call(&one_more).await);
    assert_eq!(closed_with(&one_more).await, Reason::Full as u64);
    // From another address one gets in: the last of the first address makes room, and a second one does not.
    let elsewhere = NetworkOptions { listen: ([127, 0, 0, 2], 0).into(), ..options() };
    let elsewhere = Network::open(key(7), elsewhere).expect("an endpoint");
    let victim = network.address().expect("an address");
    let newcomer = elsewhere.dialer.call(network.id(), victim).await.expect("a connection");
    let greeting = hello.call(&newcomer).await.expect("a greeting");
    let last = others.pop().expect("three");
    assert_eq!(closed_with(&last.connection).await, Reason::Full as u64);
    assert!(newcomer.close_reason().is_none() && others.iter().all(|other| other.connection.close_reason().is_none()));
    let (again, _network) = Attacker::silent(&network, 8).await;
    drop(hello.call(&again).await);
    assert_eq!(closed_with(&again).await, Reason::Full as u64);
    drop(greeting);
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_of_other_versions_networks_and_chains_are_refused_by_name() {
    let (network, _membership, _inbox) = victim(&[2]);
    let (connection, _network) = Attacker::silent(&network, 2).await;
    let (mut control, _answer) = connection.open_bi().await.expect("a stream");
    write_frame(&mut control, Bytes::from_static(&[0, 9, 4, b't', b'e', b's', b't'])).await.expect("written");
    assert_eq!(closed_with(&connection).await, Reason::Version as u64);

    for (network_name, chains, reason) in
        [("other", vec![CHAIN], Reason::Network), ("test", vec![ChainKey([9; 32])], Reason::NoSharedChain)]
    {
        let (connection, _network) = Attacker::silent(&network, 3).await;
        let hello = Hello { network: network_name.into(), chains: chains.into_iter().collect() };
        drop(hello.call(&connection).await);
        assert_eq!(closed_with(&connection).await, reason as u64, "{network_name}");
    }
    let (connection, _network) = Attacker::silent(&network, 4).await;
    let (mut control, _answer) = connection.open_bi().await.expect("a stream");
    control.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
    assert_eq!(closed_with(&connection).await, Reason::Misbehaved as u64);
}

/// Begins a frame of so many bytes on a stream of its own, and sends all but the last of them, as far as they are taken.
async fn begin(connection: &Connection, purpose: Purpose, bytes: u32) -> SendStream {
    let mut stream = connection.open_uni().await.expect("a stream");
    write_header(&mut stream, CHAIN, purpose).await.expect("a header");
    stream.write_all(&bytes.to_be_bytes()).await.expect("a length");
    drop(tokio::time::timeout(MOMENT, stream.write_all(&vec![1; bytes as usize - 1])).await);
    stream
}

/// What has not happened by then, on loopback, does not.
const MOMENT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_one_stream_for_each_chain_in_common_and_purpose() {
    let (network, _membership, _inbox) = victim(&[]);
    let stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let mut streams = Vec::new();
    for _ in Purpose::OF_CHAIN {
        streams.push(begin(&stranger.connection, Purpose::Blocks, 1 << 20).await);
    }
    // The others of this purpose were stopped, and count until they are given up.
    assert!(tokio::time::timeout(MOMENT, stranger.connection.open_uni()).await.is_err());
    for stream in &mut streams[..Purpose::OF_CHAIN.len() - 1] {
        assert!(stream.stopped().await.is_ok());
    }
    streams.truncate(3);
    streams.clear();
    assert!(stranger.connection.open_uni().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_greeted_has_one_stream_and_learns_of_no_chain() {
    let (network, _membership, _inbox) = victim(&[]);
    let (connection, _network) = Attacker::silent(&network, 2).await;
    assert!(tokio::time::timeout(MOMENT, connection.open_uni()).await.is_err(), "no frames before the greeting");
    let (mut control, mut answer) = connection.open_bi().await.expect("a stream");
    assert!(tokio::time::timeout(MOMENT, connection.open_bi()).await.is_err(), "nor questions");
    // What is never read does not fill more than the window.
    let taken = tokio::time::timeout(MOMENT, control.write_all(&vec![0xff; 1 << 20])).await;
    assert!(!matches!(taken, Ok(Ok(()))), "a megabyte was taken of a node that was not greeted");
    let mut heard = [0; 1];
    assert!(answer.read_exact(&mut heard).await.is_err(), "it was told something");

    // One that knows of another chain alone learns of none.
    let (connection, _network) = Attacker::silent(&network, 3).await;
    let hello = Hello { network: "test".into(), chains: [ChainKey([9; 32])].into() };
    assert!(hello.call(&connection).await.is_err());
    // One that knows this chain and another learns of this one alone.
    let other = ChainKey([7; 32]);
    let (_also, _other_inbox) = network.join(other, BTreeMap::new(), Arc::new(Bandwidth::new(1 << 30))).expect("a chain");
    let (connection, _network) = Attacker::silent(&network, 4).await;
    let hello = Hello { network: "test".into(), chains: [CHAIN].into() };
    let (theirs, mut tell, mut hear) = hello.call(&connection).await.expect("a greeting");
    assert_eq!(theirs.chains, [CHAIN].into());
    tell_chains(&mut tell, &[CHAIN, other].into()).await.expect("told");
    assert_eq!(hear_chains(&mut hear).await.expect("heard"), Some([CHAIN, other].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_begun_and_not_ended_take_no_more_than_their_senders_room() {
    let (network, _membership, _inbox) = victim(&[]);
    let stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let before = network.dialer.registry.peer(stranger.network.id()).expect("connected");
    let mut streams = Vec::new();
    for purpose in [Purpose::Transactions, Purpose::Blocks, Purpose::Snapshot] {
        streams.push(begin(&stranger.connection, purpose, 1 << 20).await);
    }
    // Three frames are begun. Their bytes are taken out of the peer's room, and nothing else is.
    assert_eq!(before.room_left(), PEER_ROOM - 3 * price(1 << 20));
    streams.clear();
    let all = async {
        while before.room_left() < PEER_ROOM {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), all).await.is_ok(), "the room is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_floods_delays_anothers_frame_by_one_of_its_own() {
    let (network, _membership, mut inbox) = victim(&[2, 3]);
    let flood = Attacker::greeted(&network, 2).await.expect("a greeting");
    let honest = Attacker::greeted(&network, 3).await.expect("a greeting");
    let peer = network.dialer.registry.peer(flood.network.id()).expect("connected");
    let mut stream = flood.stream(Purpose::Consensus).await;
    // Empty frames: each has its price, and what is not read waits with its sender.
    let frames = vec![0; 4 * 100_000];
    assert!(
        tokio::time::timeout(MOMENT, async {
            stream.write_all(&frames).await.expect("written");
            while peer.lane(CHAIN, Purpose::Consensus).room_left() >= price(0) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .is_ok()
    );
    let mut vote = honest.stream(Purpose::Consensus).await;
    write_frame(&mut vote, Bytes::from_static(b"vote")).await.expect("written");
    let honest_peer = network.dialer.registry.peer(honest.network.id()).expect("connected");
    while honest_peer.lane(CHAIN, Purpose::Consensus).room_left() == lane_room(Purpose::Consensus) {
        tokio::task::yield_now().await;
    }
    // Transactions pass both by.
    honest.send(Purpose::Transactions, &[0, 0, 0, 2, 1, 2]).await;
    let Some(Incoming::Frame(transactions)) = inbox.others.next().await else { panic!("a frame") };
    assert_eq!(transactions.purpose, Purpose::Transactions);
    let mut senders = Vec::new();
    for _ in 0..3 {
        let Some(Incoming::Frame(received)) = inbox.consensus.next().await else { panic!("a frame") };
        senders.push(received.from);
    }
    assert!(senders[..2].contains(&honest.network.id()), "{senders:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consensus_of_a_peer_has_one_pace_on_however_many_streams_and_connections() {
    let (network, _membership, mut inbox) = victim(&[2]);
    let mut member = Attacker::greeted(&network, 2).await.expect("a greeting");
    let began = Instant::now();
    let frame = Bytes::from(vec![7; 256 << 10]);
    // A second's worth is there at once; five more frames are a second and a quarter.
    for index in 0..10 {
        if index == 5 {
            member = Attacker::greeted(&network, 2).await.expect("a greeting");
        }
        let mut stream = member.stream(Purpose::Consensus).await;
        write_frame(&mut stream, frame.clone()).await.expect("written");
        drop(stream.finish());
        assert!(matches!(inbox.consensus.next().await, Some(Incoming::Frame(_))));
    }
    assert!(began.elapsed() > Duration::from_millis(1_200), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_leaves_a_chain_and_comes_back_finds_its_room_as_it_left_it() {
    let (network, membership, _inbox) = victim(&[]);
    let mut stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let peer = network.dialer.registry.peer(stranger.network.id()).expect("connected");
    let left = || peer.lane(CHAIN, Purpose::Blocks).room_left();
    let _stream = begin(&stranger.connection, Purpose::Blocks, 1 << 20).await;
    let begun = lane_room(Purpose::Blocks) - price(1 << 20);
    assert_eq!(left(), begun);
    for chains in [BTreeSet::new(), [CHAIN].into()] {
        tell_chains(&mut stranger.control.0, &chains).await.expect("told");
        while membership.connected().len() != chains.len() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(left(), begun, "another megabyte may be begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_has_one_queue_however_often_it_leaves_a_chain_and_comes_back() {
    let (network, membership, _inbox) = victim(&[]);
    // It lets no stream be opened towards it.
    let mut stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let to = stranger.network.id();
    while membership.connected() != [to] {
        tokio::task::yield_now().await;
    }
    let frames = Arc::new([7; 256 << 10]);
    let (_, bytes_max) = queue_max(Purpose::Blocks);
    let fit = usize::try_from(bytes_max).expect("few") / price(frames.len());
    for round in 0..4 {
        let sent = (0..2 * fit).filter(|_| membership.send(to, Purpose::Blocks, Bytes::from_owner(Shared(frames.clone()))).is_ok()).count();
        assert_eq!(sent, fit, "round {round}: a queue takes what it has room for");
        let kept = Arc::strong_count(&frames) - 1;
        assert!(kept <= fit, "round {round}: {kept} frames are kept, {fit} fit a queue");
        for chains in [BTreeSet::new(), [CHAIN].into()] {
            tell_chains(&mut stranger.control.0, &chains).await.expect("told");
            while membership.connected().len() != chains.len() {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_a_stream_or_leaves_and_comes_back_is_sent_what_follows_on_another() {
    let (network, membership, _inbox) = victim(&[]);
    let mut stranger = Attacker::greeted(&network, 2).await.expect("a greeting");
    let to = stranger.network.id();
    // One at a time: the next is opened once the one before has ended on both sides.
    stranger.connection.set_max_concurrent_uni_streams(1_u32.into());
    for chains in [[CHAIN].into(), BTreeSet::new(), [CHAIN].into()] {
        tell_chains(&mut stranger.control.0, &chains).await.expect("told");
        while membership.connected().len() != chains.len() {
            tokio::task::yield_now().await;
        }
        if chains.is_empty() {
            continue;
        }
        for _ in 0..2 {
            let taken = async {
                loop {
                    // What is sent before it is known that the stream is stopped is lost.
                    membership.send(to, Purpose::Blocks, Bytes::from_static(b"block")).expect("room");
                    if let Ok(stream) = tokio::time::timeout(MOMENT / 20, stranger.connection.accept_uni()).await {
                        break stream.expect("a stream");
                    }
                }
            };
            let mut stream = tokio::time::timeout(Duration::from_secs(20), taken).await.expect("another stream");
            assert_eq!(read_header(&mut stream).await.expect("a header"), (CHAIN, Purpose::Blocks));
            assert_eq!(read_frame(&mut stream, 100).await.expect("a frame").as_deref(), Some(&b"block"[..]));
        }
    }
}

/// Frames whose number is counted.
struct Shared(Arc<[u8; 256 << 10]>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_one_peer_leave_others_theirs_and_wait_for_its_places() {
    let (network, _membership, mut inbox) = victim(&[3]);
    let much = Attacker::greeted(&network, 2).await.expect("a greeting");
    let member = Attacker::greeted(&network, 3).await.expect("a greeting");
    let ask = async |attacker: &Attacker, question: &'static [u8]| {
        let (mut send, receive) = attacker.connection.open_bi().await.expect("a stream");
        write_header(&mut send, CHAIN, Purpose::Blocks).await.expect("a header");
        write_frame(&mut send, Bytes::from_static(question)).await.expect("a question");
        (send, receive)
    };
    let mut asked = Vec::new();
    for _ in 0..60 {
        asked.push(ask(&much, b"much").await);
    }
    let peer = network.dialer.registry.peer(much.network.id()).expect("connected");
    while peer.lane(CHAIN, Purpose::Blocks).answers_left() > 0 {
        tokio::task::yield_now().await;
    }
    let (_send, mut answer) = ask(&member, b"little").await;
    // It is among the first two once it is here; until then those of the other are held, not answered.
    let mut held = Vec::new();
    let found = async {
        loop {
            match inbox.others.next().await {
                Some(Incoming::Request(request)) if &*request.frame == b"little" => break request,
                Some(Incoming::Request(request)) => held.push(request),
                other => panic!("{other:?}"),
            }
        }
    };
    let request = tokio::time::timeout(Duration::from_secs(20), found).await.expect("asked");
    request.answer(Bytes::from_static(b"here"));
    assert_eq!(read_frame(&mut answer, 100).await.expect("an answer").as_deref(), Some(&b"here"[..]));
    assert!(held.len() <= STRANGER_ANSWERS, "{} questions of one peer are answered at once", held.len());
}
