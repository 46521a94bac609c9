//! Four nodes in processes of their own run three chains together, over QUIC on loopback, while clients write to them: one is killed, one is
//! cut off, and the committee changes by a transaction.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod attested;
mod net;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::{Address, address, hex, keccak256};
use serde_json::{Value, json};
use subnode_tests::transfer::Sender;

use crate::net::{CHECKPOINT_EVERY, Net};

const NODES: usize = 4;
/// Of them, so many are never away.
const ALWAYS_THERE: usize = 2;
const CHAINS: usize = 3;
/// `subnode testnet` numbers its chains from here.
const FIRST_CHAIN_ID: u64 = 31_337;
/// Where a chain's committee is.
const COMMITTEE: Address = address!("00000000000000000000000000000000005b0de0");
/// A node waits a second for a proposal, then a third of one each for votes, longer in each round; two turns in a row may be missed, and a machine
/// that runs four nodes and their clients is not the quickest.
const VIEW_CHANGE: Duration = Duration::from_secs(6);
/// Anything that does not happen within this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Transactions that a node has answered with a receipt: the block each is in.
type Acknowledged = Mutex<BTreeMap<String, Value>>;

fn height(net: &Net, node: usize, chain: usize) -> Option<u64> {
    net.client(node, chain)?.quantity("eth_blockNumber", &json!([])).ok()
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        // Polling is a client's only way; the condition, not the time, decides.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// These chains have so many more blocks on a node than now.
fn go_on(net: &Net, node: usize, chains: Range<usize>, blocks: u64) {
    // A chain that has just been opened anew does not answer at once.
    let answered = |chain| {
        let mut known = None;
        until("the chain answers", || {
            known = height(net, node, chain);
            known.is_some()
        });
        (chain, known.unwrap())
    };
    let from: Vec<_> = chains.map(answered).collect();
    until(&format!("{blocks} blocks on node {node} after {from:?} of each chain"), || {
        from.iter().all(|(chain, from)| height(net, node, *chain).is_some_and(|height| height >= from + blocks))
    });
}

/// Waits until a node has these chains' highest blocks of now, whichever node has them: a receipt may be of the one that was first.
fn catch_up(net: &Net, node: usize, chains: Range<usize>) {
    for chain in chains {
        let reached = (0..NODES).filter_map(|node| height(net, node, chain)).max().unwrap();
        until(&format!("node {node} has block {reached} of chain {chain}"), || height(net, node, chain) >= Some(reached));
    }
}

/// One account's transfers on one chain, through whichever node answers, until told to stop.
fn load(net: &Net, chain: usize, account: usize, acknowledged: &Acknowledged, stop: &AtomicBool) {
    let mut sender = Sender::on(FIRST_CHAIN_ID + chain as u64, account);
    let mut turn = account;
    while !stop.load(Ordering::Relaxed) {
        let signed = sender.sign(Address::repeat_byte(7), 21_000, Vec::new()).unwrap();
        let hash = json!(hex::encode_prefixed(keccak256(hex::decode(&signed).unwrap())));
        // Until a receipt is there: a node that is killed takes what waited in its pool along.
        'sent: while !stop.load(Ordering::Relaxed) {
            turn = (turn + 1) % NODES;
            let Some(mut client) = net.client(turn, chain) else { continue };
            drop(client.call("eth_sendRawTransaction", &json!([signed])));
            for _ in 0..60 {
                match client.call("eth_getTransactionReceipt", &json!([hash])) {
                    Ok(Value::Null) => std::thread::sleep(Duration::from_millis(50)),
                    Ok(receipt) => {
                        acknowledged.lock().unwrap().insert(hash.as_str().unwrap().to_owned(), receipt["blockHash"].clone());
                        break 'sent;
                    }
                    Err(_) => continue 'sent,
                }
            }
        }
    }
}

/// The longest that a chain stood still on a node that was there all the while, and the block after which it did.
fn longest_pause(net: &Net, chain: usize, stop: &AtomicBool) -> (Duration, u64) {
    let (mut last, mut since, mut longest) = (0, Instant::now(), (Duration::ZERO, 0));
    while !stop.load(Ordering::Relaxed) {
        if let Some(now) = height(net, 0, chain)
            && now > last
        {
            if last > 0 {
                longest = longest.max((since.elapsed(), last));
            }
            (last, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    longest
}

/// All nodes have the same blocks, and every transaction that any of them has acknowledged; but for those that were away, which may have got states instead of
/// some blocks.
fn agree(net: &Net, acknowledged: &[Acknowledged]) {
    for (chain, acknowledged) in acknowledged.iter().enumerate() {
        let least = (0..NODES).map(|node| height(net, node, chain).unwrap()).min().unwrap();
        let mut clients: Vec<_> = (0..NODES).map(|node| net.client(node, chain).unwrap()).collect();
        for number in 1..=least {
            let hashes: Vec<_> = clients
                .iter_mut()
                .map(|client| match client.call("eth_getBlockByNumber", &json!([format!("{number:#x}"), false])) {
                    Ok(block) => block["hash"].clone(),
                    Err(error) => {
                        assert!(error.to_string().contains("pruned history unavailable"), "{error}");
                        Value::Null
                    }
                })
                .collect();
            let same = |(node, hash): (usize, &Value)| *hash == hashes[0] && hash.is_string() || hash.is_null() && node >= ALWAYS_THERE;
            assert!(hashes.iter().enumerate().all(same), "chain {chain}, block {number}: {hashes:?}");
        }
        let acknowledged = acknowledged.lock().unwrap();
        assert!(acknowledged.len() > 10, "chain {chain} had {} transactions", acknowledged.len());
        for (hash, block) in acknowledged.iter() {
            for (node, client) in clients.iter_mut().enumerate() {
                let receipt = client.call("eth_getTransactionReceipt", &json!([hash])).unwrap();
                let skipped = node >= ALWAYS_THERE && receipt.is_null();
                let right = skipped || receipt["blockHash"] == *block;
                assert!(right, "chain {chain}: {hash} of block {block} is lost or elsewhere on node {node}: {receipt}");
            }
        }
    }
}

/// Sets a member's power by the contract's owner, on one chain.
fn set_power(net: &Net, chain: usize, member: usize, power: u64) {
    let mut owner = Sender::on(FIRST_CHAIN_ID + chain as u64, 0);
    let mut client = net.client(0, chain).unwrap();
    let account = json!([alloy::hex::encode_prefixed(owner.address()), "latest"]);
    owner.nonce = client.quantity("eth_getTransactionCount", &account).unwrap();
    let mut call = keccak256("setMember(bytes32,uint64,address)")[..4].to_vec();
    call.extend(hex::decode(net.key(member)).unwrap());
    call.extend([0; 24]);
    call.extend(power.to_be_bytes());
    call.extend([0; 12]);
    let attester: Address = net.attester(member).parse().unwrap();
    call.extend(if power == 0 { Address::ZERO } else { attester });
    let hash = owner.call(&mut client, COMMITTEE, 150_000, call).unwrap();
    until("the committee's transaction is in a block", || {
        let receipt = client.call("eth_getTransactionReceipt", &json!([hash])).unwrap();
        assert!(receipt.is_null() || receipt["status"] == "0x1", "{receipt}");
        !receipt.is_null()
    });
}

#[test]
fn four_nodes_run_three_chains_through_a_kill_a_cut_and_a_change_of_committee() {
    let net = Net::new(NODES, CHAINS);
    for node in 0..NODES {
        net.start(node);
    }
    let net = &net;
    let acknowledged: Vec<Acknowledged> = (0..CHAINS).map(|_| Mutex::default()).collect();
    let stop = AtomicBool::new(false);
    let pauses = std::thread::scope(|scope| {
        for (chain, acknowledged) in acknowledged.iter().enumerate() {
            for account in 1..3 {
                let stop = &stop;
                scope.spawn(move || load(net, chain, account, acknowledged, stop));
            }
        }
        let watches: Vec<_> = (0..CHAINS)
            .map(|chain| {
                scope.spawn({
                    let stop = &stop;
                    move || longest_pause(net, chain, stop)
                })
            })
            .collect();
        let faults = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            go_on(net, 0, 0..CHAINS, 4);

            // One is killed. The others go on, and it catches up when it is back.
            net.kill(3);
            go_on(net, 0, 0..CHAINS, 5);
            net.start(3);
            catch_up(net, 3, 0..CHAINS);

            // It is killed again, for so long that getting all blocks it lacks would take longer than getting the state.
            net.kill(3);
            go_on(net, 0, 0..CHAINS, 5 * CHECKPOINT_EVERY);
            net.start(3);
            catch_up(net, 3, 0..CHAINS);
            let adopted = net.logs().matches("opened anew on the state of a later block").count();
            assert_eq!(adopted, CHAINS, "chains whose state was got from others");

            // Its disk is said to be damaged: it gets the next state of one chain.
            net.operate(3, &["chain", "repair", "chain1"]);
            until("the state is got anew", || net.logs().matches("opened anew on the state of a later block").count() == CHAINS + 1);
            go_on(net, 3, 0..1, 2);

            // One is cut off: the others do not hear it, nor it them.
            net.cut(2, true);
            go_on(net, 0, 0..CHAINS, 5);
            net.cut(2, false);
            catch_up(net, 2, 0..CHAINS);

            // The committee of one chain changes: the one that leaves is not missed, and follows.
            set_power(net, 1, 3, 0);
            go_on(net, 0, 1..2, 3);
            net.kill(3);
            go_on(net, 0, 1..2, 8);
            net.start(3);
            // With power 2 of 5 nothing is decided without it: it has to be back before it has that.
            catch_up(net, 3, 1..2);
            set_power(net, 1, 3, 2);
            go_on(net, 3, 1..2, 4);
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = faults {
            eprintln!("{}", net.logs());
            std::panic::resume_unwind(panic);
        }
        watches.into_iter().map(|watch| watch.join().unwrap()).collect::<Vec<_>>()
    });
    (0..NODES).for_each(|node| catch_up(net, node, 0..CHAINS));
    agree(net, &acknowledged);
    attested::changes_are_attested(net, 0, "chain2", 2);
    (0..NODES).for_each(|node| attested::nobody_attests_twice(net, node, CHAINS));
    // Two blocks a second, of a chain that counts in seconds, are ahead of the clock by now.
    assert!(!net.logs().contains("of a later time"), "{}", net.logs());
    assert!(pauses.iter().all(|(pause, _)| *pause < VIEW_CHANGE), "chains stood still, each after its block: {pauses:?}");
}
