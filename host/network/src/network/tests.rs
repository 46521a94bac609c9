//! Peers that break the protocol: what this crate itself would never send.

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};

use subnode_types::Purpose;

use super::*;
use crate::{
    chain::Incoming,
    frame::{write_frame, write_header},
    handshake::{HandshakeError, Hello},
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
        let (_, tell, hear) = hello.exchange(&attacker.0, true).await?;
        Ok(Self { network: attacker.1, connection: attacker.0, control: (tell, hear) })
    }

    /// Connects, and says nothing.
    async fn silent(victim: &Network, seed: u8) -> (Connection, Network) {
        let network = Network::open(key(seed), options()).expect("an endpoint");
        let connection = network.dialer.call(victim.id(), victim.address().expect("an address")).await.expect("a connection");
        (connection, network)
    }

    async fn stream(&self, purpose: Purpose) -> SendStream {
        let mut stream = self.connection.open_uni().await.expect("a stream");
        write_header(&mut stream, CHAIN, purpose).await.expect("a header");
        stream
    }
}

fn victim(members: &[u8]) -> (Network, Membership, Inbox) {
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
    // A length beyond the bound, of which nothing follows: nothing may be allocated for it.
    let mut too_long = attacker.stream(Purpose::Blocks).await;
    too_long.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
    // A purpose that there is not.
    let mut strange = attacker.connection.open_uni().await.expect("a stream");
    strange.write_all(&[&CHAIN.0[..], &[9]].concat()).await.expect("written");
    // A frame that ends early.
    let mut truncated = attacker.stream(Purpose::Consensus).await;
    truncated.write_all(&[0, 0, 0, 9, 1, 2]).await.expect("written");
    truncated.finish().expect("finished");
    // A stream that ends before it began.
    let mut short = attacker.connection.open_uni().await.expect("a stream");
    short.write_all(&[7; 10]).await.expect("written");
    short.finish().expect("finished");
    // Of a chain that is not here, which is no fault.
    let mut elsewhere = attacker.connection.open_uni().await.expect("a stream");
    write_header(&mut elsewhere, ChainKey([9; 32]), Purpose::Blocks).await.expect("written");
    while network.peers().iter().find(|peer| peer.id == attacker.network.id()).expect("connected").faults < 4 {
        tokio::task::yield_now().await;
    }
    for _ in 0..4 {
        let mut again = attacker.stream(Purpose::Blocks).await;
        again.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
        // After the last the connection may be closed already.
        drop(again.finish());
    }
    assert_eq!(closed_with(&attacker.connection).await, Reason::Misbehaved as u64);
    // It is not let in again for a while.
    let again = Attacker::silent(&network, 2).await;
    assert_eq!(closed_with(&again.0).await, Reason::Misbehaved as u64);

    let mut stream = honest.stream(Purpose::Consensus).await;
    write_frame(&mut stream, Bytes::from_static(b"vote")).await.expect("written");
    let Some(Incoming::Frame(received)) = inbox.next().await else { panic!("a frame") };
    assert_eq!((received.from, &*received.frame), (honest.network.id(), &b"vote"[..]));
    assert_eq!(membership.connected(), [honest.network.id()]);
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
    drop(hello.exchange(&one_more, true).await);
    assert_eq!(closed_with(&one_more).await, Reason::Full as u64);
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
        drop(hello.exchange(&connection, true).await);
        assert_eq!(closed_with(&connection).await, reason as u64, "{network_name}");
    }
    let (connection, _network) = Attacker::silent(&network, 4).await;
    let (mut control, _answer) = connection.open_bi().await.expect("a stream");
    control.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
    assert_eq!(closed_with(&connection).await, Reason::Misbehaved as u64);
}
