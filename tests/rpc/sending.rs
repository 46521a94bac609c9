//! Transactions that clients have sent: their nonces, what they may cost, their order, and how a client hears that one failed.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope, transaction::SignerRecoverable},
    eips::{Decodable2718, Encodable2718},
    primitives::{U256, hex, uint},
    signers::SignerSync,
};
use serde_json::{Value, json};
use subnode_tests::{operator::Home, transfer::Sender};

use crate::chain::{Chain, quantity};

const ETHER: u128 = 1_000_000_000_000_000_000;
/// Reverts with what it is called with.
const REVERTS: &str = "366000600037366000fd";
/// The order of secp256k1.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

fn ether(amount: u128) -> String {
    format!("{:#x}", amount * ETHER)
}

/// Has clients send from one account at once, `rounds` times each; the hashes.
fn send_at_once(chain: &Chain, clients: usize, rounds: usize) -> BTreeSet<String> {
    let send = || {
        let mut client = chain.node.client().unwrap();
        let transfer = json!([{ "from": chain.accounts[0], "to": chain.accounts[1], "value": "0x1" }]);
        let mut hashes = Vec::new();
        for _ in 0..rounds {
            let hash = client.ask("eth_sendTransaction", &transfer).unwrap().unwrap_or_else(|error| panic!("refused: {error}"));
            hashes.push(hash.as_str().unwrap().to_owned());
        }
        hashes
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(send)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn nonces_of_one_account_are_given_out_in_order() {
    for arguments in [&[][..], &["--wait-mined"], &["--no-mining"]] {
        let mut chain = Chain::start(arguments);
        assert_eq!(send_at_once(&chain, 4, 50).len(), 200, "{arguments:?}: each is another transaction");
        let account = chain.accounts[0].clone();
        assert_eq!(chain.quantity("eth_getTransactionCount", json!([account, "pending"])), 200);
        chain.call("evm_mine", json!([]));
        assert_eq!(chain.quantity("eth_getTransactionCount", json!([account, "latest"])), 200);
    }
}

#[test]
fn what_the_node_gives_a_nonce_replaces_nothing_that_was_sent_with_one() {
    let mut chain = Chain::start(&["--no-mining"]);
    let from = chain.accounts[0].clone();
    let stop = AtomicBool::new(false);
    let (mut raw, mut sent) = (chain.node.client().unwrap(), chain.node.client().unwrap());
    let hashes = thread::scope(|scope| {
        let signing = scope.spawn(|| {
            let mut sender = Sender::on(31_337, 0);
            let mut hashes = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                sender.nonce = raw.quantity("eth_getTransactionCount", &json!([from, "pending"])).unwrap();
                // It may come too late for its nonce.
                hashes.extend(sender.send(&mut raw, Vec::new()).ok().map(|hash| hash.as_str().unwrap().to_owned()));
            }
            hashes
        });
        // It pays more, so that it could replace.
        let transfer = json!([{ "from": from, "to": from, "gas": "0x5208", "gasPrice": "0x2540be4000" }]);
        let mut hashes = BTreeSet::new();
        for _ in 0..200 {
            hashes.insert(sent.call("eth_sendTransaction", &transfer).unwrap().as_str().unwrap().to_owned());
        }
        stop.store(true, Ordering::Relaxed);
        hashes.extend(signing.join().unwrap());
        hashes
    });
    chain.call("evm_mine", json!([]));
    for hash in hashes {
        assert_eq!(chain.receipt(&json!(hash))["status"], "0x1", "{hash}");
    }
}

#[test]
fn an_account_promises_no_more_than_it_has() {
    let mut chain = Chain::start(&["--no-mining"]);
    let (from, to) = (chain.accounts[1].clone(), chain.accounts[2].clone());
    let send = |nonce: &str, value: u128| json!([{ "from": from, "to": to, "gas": "0x5208", "nonce": nonce, "value": ether(value) }]);
    chain.call("eth_sendTransaction", send("0x1", 6_000));
    let refused = chain.error("eth_sendTransaction", send("0x0", 6_000));
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("insufficient funds for gas * price + value") && message.contains("queued cost"), "{message}");
    // What it has left it may promise, and what takes another's place counts in its place.
    chain.call("eth_sendTransaction", send("0x0", 3_000));
    let dearer = json!([{ "from": from, "to": to, "gas": "0x5208", "nonce": "0x1", "value": ether(6_500),
        "maxFeePerGas": "0x2540be400", "maxPriorityFeePerGas": "0x2540be400" }]);
    chain.call("eth_sendTransaction", dearer);
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.quantity("eth_getTransactionCount", json!([from, "latest"])), 2);
}

#[test]
fn an_account_promises_no_more_than_it_has_on_a_durable_chain() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({})).unwrap();
    let mut client = node.chain("a").unwrap();
    let signer = crate::signer();
    let balance: U256 = serde_json::from_value(client.call("eth_getBalance", &json!([signer.address(), "latest"])).unwrap()).unwrap();
    let mut send = |nonce: u64, value: U256| {
        let transaction = TxEip1559 { chain_id: 7, value, ..crate::transfer(nonce) };
        let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
        let raw = hex::encode_prefixed(transaction.into_signed(signature).encoded_2718());
        client.ask("eth_sendRawTransaction", &json!([raw])).unwrap()
    };
    let most = balance / U256::from(10) * U256::from(6);
    send(1, most).unwrap();
    let refused = send(0, most).unwrap_err();
    assert!(refused["message"].as_str().unwrap().contains("queued cost"), "{refused}");
    send(0, most / U256::from(2)).unwrap();
    node.operator.wait("a", |chain| chain["height"].as_u64() >= Some(1)).unwrap();
    assert_eq!(client.quantity("eth_getTransactionCount", &json!([signer.address(), "latest"])).unwrap(), 2);
}

#[test]
fn what_its_sender_cannot_pay_any_more_is_dropped() {
    let mut chain = Chain::start(&[]);
    let (from, to) = (chain.accounts[1].clone(), chain.accounts[2].clone());
    let send = |nonce: &str, value: u128| json!([{ "from": from, "to": to, "gas": "0x5208", "nonce": nonce, "value": ether(value) }]);
    // Beside another in its block, and alone.
    chain.call("eth_sendTransaction", send("0x1", 6_000));
    chain.call("hardhat_setBalance", json!([from, ether(100)]));
    let first = chain.call("eth_sendTransaction", send("0x0", 1));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&first)["status"], "0x1");
    assert_eq!(chain.call("txpool_status", json!([])), json!({ "pending": "0x0", "queued": "0x0" }));
    chain.call("evm_setAutomine", json!([false]));
    chain.call("eth_sendTransaction", send("0x1", 60));
    chain.call("hardhat_setBalance", json!([from, ether(10)]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.call("txpool_status", json!([])), json!({ "pending": "0x0", "queued": "0x0" }));
    // The account goes on.
    chain.call("evm_setAutomine", json!([true]));
    let last = chain.call("eth_sendTransaction", json!([{ "from": from, "to": to, "value": "0x1" }]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&last)["status"], "0x1");
}

#[test]
fn what_a_block_has_no_room_or_too_high_a_price_for_stays() {
    let mut chain = Chain::start(&["--no-mining"]);
    let (from, to) = (chain.accounts[0].clone(), chain.accounts[2].clone());
    chain.call("eth_sendTransaction", json!([{ "from": from, "to": to, "gas": "0x5208", "gasPrice": "0x77359400" }]));
    let large = json!([{ "from": chain.accounts[1], "to": to, "gas": "0x200000" }]);
    chain.call("eth_sendTransaction", large);
    chain.call("hardhat_setNextBlockBaseFeePerGas", json!(["0x174876e800"]));
    chain.call("evm_setBlockGasLimit", json!(["0x100000"]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.call("txpool_status", json!([]))["pending"], "0x2");
    chain.call("hardhat_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"]));
    chain.call("evm_setBlockGasLimit", json!(["0x1c9c380"]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.quantity("eth_getBlockTransactionCountByNumber", json!(["latest"])), 2);
}

#[test]
fn those_that_pay_the_higher_tip_are_first() {
    let mut chain = Chain::start(&["--no-mining"]);
    let to = chain.accounts[5].clone();
    // The base fee is 0.875 gwei: the first pays 2.125 above it, the second 2.5, the third, whose cap is 3, no more than the first.
    let legacy = json!([{ "from": chain.accounts[0], "to": to, "gas": "0x5208", "gasPrice": "0xb2d05e00" }]);
    let dynamic = json!([{ "from": chain.accounts[1], "to": to, "gas": "0x5208",
        "maxFeePerGas": "0x2540be400", "maxPriorityFeePerGas": "0x9502f900" }]);
    let capped = json!([{ "from": chain.accounts[2], "to": to, "gas": "0x5208",
        "maxFeePerGas": "0xb2d05e01", "maxPriorityFeePerGas": "0xb2d05e00" }]);
    let hashes = [legacy, dynamic, capped].map(|transaction| chain.call("eth_sendTransaction", transaction));
    chain.call("evm_mine", json!([]));
    let block = chain.call("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(quantity(&block["baseFeePerGas"]), 875_000_000);
    assert_eq!(block["transactions"], json!([hashes[1], hashes[2], hashes[0]]));
}

/// Call data, and what the error says of the revert with it.
fn reverts() -> [(String, &'static str); 5] {
    let word = |number: u64| format!("{number:064x}");
    let text = hex::encode("no way");
    [
        ("0x".into(), "Error: Transaction reverted without a reason string"),
        (
            format!("0x08c379a0{}{}{text:0<64}", word(32), word(6)),
            "Error: VM Exception while processing transaction: reverted with reason string 'no way'",
        ),
        (
            format!("0x4e487b71{}", word(0x11)),
            "Error: VM Exception while processing transaction: reverted with panic code 0x11 \
             (Arithmetic operation overflowed outside of an unchecked block)",
        ),
        (
            format!("0x4e487b71{}", word(0x1234)),
            "Error: VM Exception while processing transaction: reverted with unknown panic code 0x1234",
        ),
        (
            "0xdeadbeef".into(),
            "Error: VM Exception while processing transaction: reverted with an unrecognized custom error (return data: 0xdeadbeef)",
        ),
    ]
}

/// Checks an error of a transaction that was mined and failed: as Hardhat's node answers.
fn check_failure(chain: &mut Chain, error: &Value, message: &str, data: &str) {
    let hash = &error["data"]["txHash"];
    assert_eq!(*error, json!({ "code": -32603, "message": message, "data": { "message": message, "txHash": hash, "data": data } }));
    let receipt = chain.receipt(hash);
    assert_eq!(receipt["status"], "0x0", "it is in a block: {receipt}");
}

#[test]
fn a_client_that_waits_hears_why_its_transaction_failed() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let from = chain.accounts[0].clone();
    let contract = chain.deploy(REVERTS);
    for (data, message) in reverts() {
        // With gas, as hardhat-ethers sends, and without.
        for gas in [json!("0x30000"), Value::Null] {
            let sent = json!([{ "from": from, "to": contract, "data": data, "gas": gas }]);
            let error = chain.error("eth_sendTransaction", sent);
            check_failure(&mut chain, &error, message, &data);
        }
    }
    let signed = chain.call("eth_signTransaction", json!([{ "from": from, "to": contract, "data": "0xdeadbeef", "gas": "0x30000" }]));
    let error = chain.error("eth_sendRawTransaction", json!([signed]));
    check_failure(&mut chain, &error, reverts()[4].1, "0xdeadbeef");
    let halts = chain.deploy("fe");
    let error = chain.error("eth_sendTransaction", json!([{ "from": from, "to": halts, "gas": "0x30000" }]));
    check_failure(&mut chain, &error, "Error: VM Exception while processing transaction: invalid opcode", "0x");
    // What does not fail is answered with its hash.
    let hash = chain.call("eth_sendTransaction", json!([{ "from": from, "to": chain.accounts[1], "value": "0x1" }]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
}

#[test]
fn the_reason_is_that_of_its_place_in_the_block() {
    // Counts the calls that carry value, and reverts any other with the count.
    let mut chain = Chain::start(&["--wait-mined"]);
    let contract = chain.deploy("34600f5760005460005260206000fd5b60016000540160005500");
    let from = chain.accounts[0].clone();
    chain.call("evm_setAutomine", json!([false]));
    chain.call("eth_sendTransaction", json!([{ "from": from, "to": contract, "value": "0x1", "gas": "0x30000" }]));
    let failed = chain.call("eth_sendTransaction", json!([{ "from": from, "to": contract, "gas": "0x30000" }]));
    chain.call("eth_sendTransaction", json!([{ "from": from, "to": contract, "value": "0x1", "gas": "0x30000" }]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&failed)["status"], "0x0");
    let error = chain.error("subnode_outcome", json!([failed]));
    assert_eq!(error["data"]["data"], format!("{:#066x}", 1));
}

#[test]
fn a_transaction_that_will_fail_is_mined_for_a_client_that_does_not_wait() {
    let mut chain = Chain::start(&[]);
    let from = chain.accounts[0].clone();
    let contract = chain.deploy(REVERTS);
    for gas in [json!("0x30000"), Value::Null] {
        let hash = chain.call("eth_sendTransaction", json!([{ "from": from, "to": contract, "data": "0xdeadbeef", "gas": gas }]));
        chain.call("evm_mine", json!([]));
        assert_eq!(chain.receipt(&hash)["status"], "0x0");
    }
    // One whose sender could not pay a block's gas fails with what it can pay.
    let poor = chain.accounts[3].clone();
    chain.call("hardhat_setBalance", json!([poor, format!("{:#x}", ETHER / 1_000)]));
    let hash = chain.call("eth_sendTransaction", json!([{ "from": poor, "to": contract }]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&hash)["status"], "0x0");
    // A request that makes no sense is still refused.
    let error = chain.error("eth_sendTransaction", json!([{ "from": from, "to": contract, "data": "0x01", "input": "0x02" }]));
    assert_eq!(error["code"], -32602);
}

#[test]
fn nobody_waits_for_a_block_that_is_sealed_only_when_asked() {
    let mut chain = Chain::start(&["--wait-mined"]);
    chain.call("evm_setAutomine", json!([false]));
    let started = Instant::now();
    let hash = chain.call("eth_sendTransaction", json!([{ "from": chain.accounts[0], "to": chain.accounts[1] }]));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(chain.receipt(&hash).is_null());
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
}

#[test]
fn an_impersonated_transaction_has_a_signature_that_others_can_read() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let to = chain.accounts[1].clone();
    for sender in [
        "0x0000000000000000000000000000000000000000",
        "0x00000000000000000000000000000000000000ff",
        "0xfffffffffffffffffffffffffffffffffffffffe",
    ] {
        chain.call("hardhat_setBalance", json!([sender, ether(1)]));
        chain.call("hardhat_impersonateAccount", json!([sender]));
        let hash = chain.call("eth_sendTransaction", json!([{ "from": sender, "to": to, "value": "0x1" }]));
        let transaction = chain.call("eth_getTransactionByHash", json!([hash]));
        assert_eq!(transaction["from"], sender);
        for part in ["r", "s"] {
            let number: U256 = serde_json::from_value(transaction[part].clone()).unwrap();
            assert!(number > U256::ZERO && number < ORDER, "{part} is {number:#x}");
        }
        let raw = chain.call("eth_getRawTransactionByHash", json!([hash]));
        let envelope = TxEnvelope::decode_2718(&mut hex::decode(raw.as_str().unwrap()).unwrap().as_slice()).unwrap();
        assert!(envelope.recover_signer().is_ok(), "a public key can be recovered");
    }
    // Nobody else can use such a signature.
    let raw = {
        chain.call("evm_setAutomine", json!([false]));
        let sender = "0x00000000000000000000000000000000000000ff";
        let hash = chain.call("eth_sendTransaction", json!([{ "from": sender, "to": to, "value": "0x1" }]));
        let raw = chain.call("eth_getRawTransactionByHash", json!([hash]));
        chain.call("anvil_dropAllTransactions", json!([]));
        chain.call("hardhat_stopImpersonatingAccount", json!([sender]));
        raw
    };
    assert_eq!(chain.error("eth_sendRawTransaction", json!([raw]))["message"], "invalid sender");
}

#[test]
fn an_unsigned_transaction_needs_no_impersonated_sender() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let to = chain.accounts[1].clone();
    let (someone, contract) = ("0x00000000000000000000000000000000000000aa", "0x00000000000000000000000000000000000000bb");
    chain.call("anvil_setCode", json!([contract, "0x00"]));
    for sender in [someone, contract, &chain.accounts[0].clone()] {
        chain.call("anvil_setBalance", json!([sender, ether(1)]));
        let request = json!([{ "from": sender, "to": to, "value": "0x1" }]);
        if sender != chain.accounts[0] {
            assert_eq!(chain.error("eth_sendTransaction", request.clone())["message"], "unknown account");
        }
        let hash = chain.call("eth_sendUnsignedTransaction", request.clone());
        let receipt = chain.receipt(&hash);
        assert_eq!((&receipt["status"], receipt["from"].as_str().map(str::to_lowercase)), (&json!("0x1"), Some(sender.to_lowercase())));
    }
    assert!(!chain.call("eth_accounts", json!([])).as_array().unwrap().contains(&json!(someone)), "nobody is impersonated");
}

#[test]
fn the_first_account_sends_where_no_other_is_named() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let hash = chain.call("eth_sendTransaction", json!([{ "to": chain.accounts[1], "value": "0x1" }]));
    assert_eq!(chain.receipt(&hash)["from"].as_str().unwrap().to_lowercase(), chain.accounts[0].to_lowercase());
    let signed = chain.call("eth_signTransaction", json!([{ "to": chain.accounts[1], "value": "0x2" }]));
    let hash = chain.call("eth_sendRawTransaction", json!([signed]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
}
