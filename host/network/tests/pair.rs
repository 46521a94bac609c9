//! Real endpoints on loopback.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use subnode_network::{
    ChainKey, Inboxes, Incoming, Membership, Network, NetworkOptions, NodeId, NodeKey, Purpose, RequestError, SendError, frame_bytes_max,
};
use subnode_scheduler::Bandwidth;

/// What takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Within this time a node looks again whether one that it calls is connected.
const BACKOFF: Duration = Duration::from_millis(400);

fn unlimited() -> Arc<Bandwidth> {
    Arc::new(Bandwidth::new(1 << 40))
}

fn key(seed: u8) -> NodeKey {
    NodeKey::from_secret([seed; 32]).unwrap()
}

fn chain(index: u8) -> ChainKey {
    ChainKey([index; 32])
}

fn open_at(seed: u8, listen: SocketAddr, name: &str) -> Network {
    Network::open(key(seed), NetworkOptions { listen, network: name.into(), strangers_max: 4 }).unwrap()
}

fn open(seed: u8) -> Network {
    open_at(seed, ([127, 0, 0, 1], 0).into(), "test")
}

fn members(nodes: &[&Network]) -> BTreeMap<NodeId, Option<SocketAddr>> {
    nodes.iter().map(|node| (node.id(), Some(node.address().unwrap()))).collect()
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

async fn frame(inbox: &mut Inboxes) -> (NodeId, Purpose, Bytes) {
    match tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().unwrap() {
        Incoming::Frame(received) => (received.from, received.purpose, received.frame),
        Incoming::Request(request) => panic!("{request:?}"),
    }
}

/// Two nodes that share a chain and are connected.
async fn pair(first: &Network, second: &Network, index: u8) -> [(Membership, Inboxes); 2] {
    pair_at(first, second, index, unlimited()).await
}

/// The same where the first has so much bandwidth.
async fn pair_at(first: &Network, second: &Network, index: u8, bandwidth: Arc<Bandwidth>) -> [(Membership, Inboxes); 2] {
    let members = members(&[first, second]);
    let both = [(first, bandwidth), (second, unlimited())].map(|(node, its)| node.join(chain(index), members.clone(), its).unwrap());
    eventually("connected", || both.iter().all(|(membership, _)| membership.connected().len() == 1)).await;
    both
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_questions_reach_the_other_side() {
    let (first, second) = (open(1), open(2));
    let [(here, _inbox), (there, mut inbox)] = pair(&first, &second, 1).await;
    for purpose in Purpose::OF_CHAIN {
        let sent = Bytes::from(vec![7; frame_bytes_max(purpose)]);
        here.send(second.id(), purpose, sent.clone()).unwrap();
        assert_eq!(frame(&mut inbox).await, (first.id(), purpose, sent));
        let long = frame_bytes_max(purpose) + 1;
        let refused = here.send(second.id(), purpose, vec![0; long].into());
        assert_eq!(refused, Err(SendError::TooLong(long, long - 1)));
    }
    let answering = tokio::spawn(async move {
        for _ in 0..2 {
            if let Some(Incoming::Request(request)) = inbox.next().await
                && &*request.frame == b"block 7"
            {
                request.answer(Bytes::from_static(b"here it is"));
            }
        }
        inbox
    });
    assert_eq!(here.request(second.id(), Purpose::Blocks, Bytes::from_static(b"block 7")).await.unwrap(), "here it is");
    let refused = here.request(second.id(), Purpose::Blocks, Bytes::from_static(b"block 8")).await;
    assert!(matches!(refused, Err(RequestError::Refused(_))), "{refused:?}");
    drop(answering.await.unwrap());
    assert_eq!(here.send(NodeId([0; 32]), Purpose::Blocks, Bytes::new()), Err(SendError::NotConnected));
    assert!(here.traffic().sent_bytes > 3 << 20 && there.traffic().received_bytes > 3 << 20);
    let peer = &first.peers()[0];
    assert_eq!((peer.id, peer.shared_chains, peer.faults), (second.id(), 1, 0));
    first.close().await;
    eventually("gone", || second.peers().is_empty()).await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_does_not_read_stops_no_other() {
    let (first, second) = (open(1), open(2));
    let [(stuck, _stuck), _unread] = pair(&first, &second, 1).await;
    let [(lively, _lively), (_there, mut inbox)] = pair(&first, &second, 2).await;
    let piece = Bytes::from(vec![1; 1 << 20]);
    let mut busy = 0;
    while busy < 100 {
        match stuck.send(second.id(), Purpose::Blocks, piece.clone()) {
            Ok(()) => {}
            Err(SendError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(stuck.traffic().dropped_frames >= 100);
    for index in 0..50_u8 {
        lively.send(second.id(), Purpose::Consensus, Bytes::from(vec![index])).unwrap();
        assert_eq!(frame(&mut inbox).await.2, [index][..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_keeps_to_its_slice_and_its_consensus_does_not_wait() {
    let (first, second) = (open(1), open(2));
    let [(here, _inbox), (_there, mut inbox)] = pair_at(&first, &second, 1, Arc::new(Bandwidth::new(1 << 20))).await;
    let piece = Bytes::from(vec![1; 1 << 20]);
    for _ in 0..3 {
        here.send(second.id(), Purpose::Snapshot, piece.clone()).unwrap();
    }
    // What was saved up goes at once; then a piece takes a second.
    assert_eq!(frame(&mut inbox).await.1, Purpose::Snapshot);
    here.send(second.id(), Purpose::Consensus, Bytes::from_static(b"vote")).unwrap();
    let mut order = Vec::new();
    while order.len() < 3 {
        order.push(frame(&mut inbox).await.1);
    }
    assert_ne!(order.last(), Some(&Purpose::Consensus), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_again_and_hear_of_chains_that_come_and_go() {
    let first = open(1);
    let second = open(2);
    let address = second.address().unwrap();
    let [(here, _inbox), there] = pair(&first, &second, 1).await;
    drop(there);
    eventually("the chain has left", || here.connected().is_empty()).await;
    assert_eq!(here.send(second.id(), Purpose::Blocks, Bytes::new()), Err(SendError::NotConnected));
    let (again, mut inbox) = second.join(chain(1), members(&[&first, &second]), unlimited()).unwrap();
    assert!(second.join(chain(1), BTreeMap::new(), unlimited()).is_err());
    eventually("the chain is back", || here.connected().len() == 1).await;
    here.send(second.id(), Purpose::Blocks, Bytes::from_static(b"1")).unwrap();
    assert_eq!(frame(&mut inbox).await.2, "1");
    second.close().await;
    drop((second, again, inbox));
    eventually("gone", || first.peers().is_empty()).await;
    // The port is free once the endpoint's own task has ended.
    let mut opened = None;
    eventually("opened again", || {
        let options = NetworkOptions { listen: address, network: "test".into(), strangers_max: 4 };
        opened = Network::open(key(2), options).ok();
        opened.is_some()
    })
    .await;
    let second = opened.unwrap();
    // It does not know where the first is, and is called.
    let (_again, mut inbox) = second.join(chain(1), [(first.id(), None)].into(), unlimited()).unwrap();
    eventually("called again", || here.connected().len() == 1).await;
    here.send(second.id(), Purpose::Blocks, Bytes::from_static(b"2")).unwrap();
    assert_eq!(frame(&mut inbox).await.2, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_the_address_of_another_is_not_taken_for_it() {
    let (first, impostor) = (open(1), open(3));
    let (membership, _inbox) = first.join(chain(1), [(key(2).id(), Some(impostor.address().unwrap()))].into(), unlimited()).unwrap();
    let (_theirs, _their_inbox) = impostor.join(chain(1), BTreeMap::new(), unlimited()).unwrap();
    // One that is who it should be is connected meanwhile; the impostor was called before.
    let second = open(4);
    let (_other, _other_inbox) = second.join(chain(1), members(&[&first]), unlimited()).unwrap();
    eventually("the honest one", || membership.connected() == [second.id()]).await;
    assert!(impostor.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_other_networks_do_not_talk() {
    let (first, other) = (open(1), open_at(2, ([127, 0, 0, 1], 0).into(), "other"));
    let all = members(&[&first, &other]);
    let _first = first.join(chain(1), all.clone(), unlimited()).unwrap();
    let _other = other.join(chain(1), all, unlimited()).unwrap();
    let third = open(3);
    let (membership, _inbox) = third.join(chain(1), members(&[&first, &other]), unlimited()).unwrap();
    eventually("those of one network", || membership.connected() == [first.id()]).await;
    assert!(other.peers().is_empty());
}

/// Peers come and go on one thread, with the timer it all waits for on the same: a loop that does not yield would end it all.
#[test]
fn peers_that_come_and_go_keep_a_node_with_one_thread_going() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // The one that is called by the other has its callers wait for the connection's end.
            let mut seeds: Vec<u8> = (1..=4).collect();
            seeds.sort_by_key(|seed| key(*seed).id());
            let node = open(seeds[3]);
            for round in 0..5 {
                let others: Vec<_> = seeds[..3].iter().map(|seed| open(*seed)).collect();
                let all: Vec<_> = others.iter().chain([&node]).collect();
                let everybody = members(&all);
                let _joined: Vec<_> = others.iter().map(|one| one.join(chain(round), everybody.clone(), unlimited()).unwrap()).collect();
                let (membership, _inbox) = node.join(chain(round), everybody, unlimited()).unwrap();
                eventually("all are connected", || membership.connected().len() == 3).await;
                // Whoever calls the others waits for the connection's end, as it looked while this was connected.
                let looked = tokio::time::Instant::now() + BACKOFF;
                eventually("its callers have looked", || tokio::time::Instant::now() > looked).await;
                for other in &others {
                    other.close().await;
                }
                eventually("all are gone", || node.peers().is_empty()).await;
            }
            node.close().await;
        });
        done.send(()).unwrap();
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(100)), Ok(()), "a node with one thread came to a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_sent_goes_with_it() {
    let (here, member) = (open(1), open(2));
    let members = members(&[&here, &member]);
    // Nobody takes anything before the end.
    let (membership, mut inbox) = here.join(chain(1), members.clone(), unlimited()).unwrap();
    let heard = |bytes: u64| membership.traffic().received_bytes >= bytes;
    let sent = Bytes::from(vec![7; 1 << 20]);
    let mut bytes = 0;
    for seed in 3..6 {
        let stranger = open(seed);
        let (theirs, _inbox) = stranger.join(chain(1), members.clone(), unlimited()).unwrap();
        eventually("connected", || !theirs.connected().is_empty() && membership.connected().contains(&stranger.id())).await;
        theirs.send(here.id(), Purpose::Blocks, sent.clone()).unwrap();
        bytes += sent.len() as u64;
        eventually("sent", || heard(bytes)).await;
        stranger.close().await;
        eventually("gone", || here.peers().iter().all(|peer| peer.id != stranger.id())).await;
    }
    let (theirs, _inbox) = member.join(chain(1), members, unlimited()).unwrap();
    eventually("connected", || !theirs.connected().is_empty() && membership.connected().contains(&member.id())).await;
    theirs.send(here.id(), Purpose::Blocks, sent.clone()).unwrap();
    assert_eq!(frame(&mut inbox).await, (member.id(), Purpose::Blocks, sent));
}
