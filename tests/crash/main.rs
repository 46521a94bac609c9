//! A durable node under load, killed with SIGKILL at random moments: what it acknowledged is there when it comes back.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{collections::HashMap, fs, net::SocketAddr, path::Path, sync::Mutex, thread, time::Duration};

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::Encodable2718,
    primitives::{Address, B256, Bytes, U256, hex, keccak256},
    rlp::Encodable,
    rpc::types::EIP1186AccountProofResponse,
    signers::{SignerSync, local::PrivateKeySigner},
};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_tests::{http::Client, process::Run};

const ROUNDS: u64 = 100;
/// One chain seals for each batch, the other every few milliseconds: both kinds of commit are under way when the end comes.
const CHAINS: [(&str, &str); 2] = [("instant", "instant"), ("ticking", "5ms")];
const CHAIN_ID: u64 = 4242;
const BATCH: u64 = 10;

/// Of each transaction whose receipt a client has seen: the block that has it, and its place there.
type Acknowledged = HashMap<B256, Value>;

fn configure(dir: &Path, accounts: &[Account]) {
    let mut alloc = json!({});
    for account in accounts {
        alloc[account.address.to_string()] = json!({ "balance": "0xffffffffffffffffffffffff" });
    }
    let genesis = json!({
        "config": {
            "chainId": CHAIN_ID, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0, "subnode": { "sharedSeconds": true },
        },
        "gasLimit": "0x1c9c380", "baseFeePerGas": "0x7", "timestamp": "0x65920080", "difficulty": "0x0", "alloc": alloc,
    });
    fs::write(dir.join("genesis.json"), genesis.to_string()).unwrap();
    let mut config = "data-dir = \"data\"\n[rpc]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for (name, sealing) in CHAINS {
        config += &format!("[[chain]]\nname = \"{name}\"\ngenesis = \"genesis.json\"\nsealing = \"{sealing}\"\n");
    }
    fs::write(dir.join("subnode.toml"), config).unwrap();
}

fn transfer(signer: &PrivateKeySigner, nonce: u64) -> (B256, String) {
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1,
        to: Address::with_last_byte(u8::try_from(nonce % 200).unwrap()).into(),
        value: U256::from(1),
        access_list: Default::default(),
        input: Bytes::new(),
    };
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
    let signed = transaction.into_signed(signature);
    (*signed.hash(), hex::encode_prefixed(signed.encoded_2718()))
}

/// Sends batches from one account and notes every receipt it sees, until the node is gone.
fn load(address: SocketAddr, chain: &str, account: &Account, acknowledged: &Mutex<Acknowledged>) -> anyhow::Result<()> {
    let signer = PrivateKeySigner::from_bytes(&account.secret())?;
    let mut client = Client::connect(address)?.at(&format!("/chain/{chain}"));
    let nonce = client.call("eth_getTransactionCount", &json!([account.address, "latest"]))?;
    let mut nonce = serde_json::from_value::<U256>(nonce)?.to::<u64>();
    loop {
        let batch: Vec<_> = (nonce..nonce + BATCH).map(|nonce| transfer(&signer, nonce)).collect();
        nonce += BATCH;
        let calls: Vec<_> = batch
            .iter()
            .map(|(_, raw)| json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw] }))
            .collect();
        client.post(json!(calls).to_string().as_bytes())?;
        for (hash, _) in batch {
            loop {
                let receipt = client.call("eth_getTransactionReceipt", &json!([hash]))?;
                if !receipt.is_null() {
                    acknowledged.lock().unwrap().insert(hash, receipt);
                    break;
                }
            }
        }
    }
}

/// The accounts' state proves against the state root of the head, whose block comes with the transactions its receipts tell of.
fn check_roots(client: &mut Client, accounts: &[Account]) {
    let head = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    let root: B256 = serde_json::from_value(head["stateRoot"].clone()).unwrap();
    for account in accounts {
        let proof: EIP1186AccountProofResponse =
            serde_json::from_value(client.call("eth_getProof", &json!([account.address, [], "latest"])).unwrap()).unwrap();
        let mut leaf = Vec::new();
        TrieAccount { nonce: proof.nonce, balance: proof.balance, storage_root: proof.storage_hash, code_hash: proof.code_hash }
            .encode(&mut leaf);
        verify_proof(root, Nibbles::unpack(keccak256(account.address)), Some(leaf), &proof.account_proof).unwrap();
    }
    let receipts = client.call("eth_getBlockReceipts", &json!(["latest"])).unwrap();
    let hashes: Vec<_> = receipts.as_array().unwrap().iter().map(|receipt| receipt["transactionHash"].clone()).collect();
    assert_eq!(head["transactions"], json!(hashes));
}

fn check_receipts<'a>(client: &mut Client, acknowledged: impl IntoIterator<Item = (&'a B256, &'a Value)>) {
    for (hash, receipt) in acknowledged {
        assert_eq!(
            &client.call("eth_getTransactionReceipt", &json!([hash])).unwrap(),
            receipt,
            "an acknowledged receipt is gone or changed"
        );
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_hundred_kills() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts(DEFAULT_MNEMONIC, 3).unwrap();
    configure(dir.path(), &accounts);
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut all: Vec<Acknowledged> = vec![HashMap::new(); CHAINS.len()];
    for round in 0..=ROUNDS {
        let mut node = Run::start(&dir.path().join("subnode.toml")).unwrap();
        let address = node.address;
        for ((chain, _), acknowledged) in CHAINS.iter().zip(&all) {
            let mut client = Client::connect(address).unwrap().at(&format!("/chain/{chain}"));
            check_roots(&mut client, &accounts);
            // All of them at the end, and what the kill before this start may have cost.
            let recent = if round == ROUNDS { acknowledged.len() } else { 200 };
            let mut newest: Vec<_> = acknowledged.iter().collect();
            newest.sort_by_key(|(_, receipt)| std::cmp::Reverse(serde_json::from_value::<U256>(receipt["blockNumber"].clone()).unwrap()));
            check_receipts(&mut client, newest.into_iter().take(recent));
        }
        if round == ROUNDS {
            break;
        }
        let killed_after = Duration::from_micros(random.random_range(1_000..150_000));
        let acknowledged: Vec<_> = all.iter_mut().map(|all| Mutex::new(std::mem::take(all))).collect();
        thread::scope(|scope| {
            for ((chain, _), acknowledged) in CHAINS.iter().zip(&acknowledged) {
                for account in &accounts {
                    // It ends with the connection.
                    scope.spawn(move || drop(load(address, chain, account, acknowledged)));
                }
            }
            // The random moment, not a wait for something.
            thread::sleep(killed_after);
            node.child().kill().unwrap();
            node.child().wait().unwrap();
        });
        all = acknowledged.into_iter().map(|acknowledged| acknowledged.into_inner().unwrap()).collect();
    }
    for ((chain, _), acknowledged) in CHAINS.iter().zip(&all) {
        println!("chain {chain}: {} acknowledged receipts survived {ROUNDS} kills", acknowledged.len());
        assert!(acknowledged.len() > 1_000, "too little load to mean anything");
    }
}
