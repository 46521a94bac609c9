//! Notes in blocks, on a chain with a committee.

use alloy_consensus::{Block, Header, SignableTransaction as _, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

use super::{
    chain::{begin, commit},
    imports,
};
use crate::{
    bindings::{exports::Attributes, subnode::chain::types::BlockRef},
    block, genesis,
    notes::Standing,
    state::State,
    transaction::{self, Transaction},
};

/// A chain with a committee from its genesis on.
fn spec() -> Value {
    let key = B256::repeat_byte(7);
    json!({
        "config": {
            "chainId": 7, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0,
            "blobSchedule": { "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 } },
            "subnode": { "committee": { "owner": "0x00000000000000000000000000000000000000aa", "members": [{ "key": key, "power": 1 }] } },
        },
        "difficulty": "0x0", "gasLimit": "0x1c9c380", "alloc": {},
    })
}

fn note(kind: u16, subject: B256, position: u64, value: &[u8]) -> Vec<u8> {
    let length = value.len() as u16;
    [&kind.to_be_bytes(), subject.as_slice(), &position.to_be_bytes(), &length.to_be_bytes(), value, &[0; 65]].concat()
}

/// The next block, of these notes.
fn build(head: &BlockRef, notes: Vec<Vec<u8>>) -> Vec<u8> {
    imports::with(|tables| tables.notes = notes);
    let attributes = Attributes { timestamp_ms: head.timestamp_ms + 1_000, seed: vec![0; 32] };
    block::build(head, &attributes).unwrap_or_else(|invalid| panic!("{}", invalid.reason)).block
}

fn execute(head: &BlockRef, bytes: &[u8]) -> Result<BlockRef, String> {
    Ok(commit(bytes, block::execute(head, bytes).map_err(|invalid| invalid.reason)?))
}

/// A block, and what follows it.
fn split(bytes: &[u8]) -> (Block<Transaction>, Vec<u8>) {
    let mut rest = bytes;
    let block = Block::decode(&mut rest).expect("a block");
    (block, rest.to_vec())
}

fn joined(block: &Block<Transaction>, behind: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    bytes.extend_from_slice(behind);
    bytes
}

fn word(slot: U256) -> U256 {
    let Ok(word) = revm::database_interface::Database::storage(
        &mut State::default(),
        "0x00000000000000000000000000000000005b0de2".parse().expect("an address"),
        slot,
    );
    word
}

#[test]
fn a_block_remembers_its_notes_and_stands_for_them() {
    let head = begin(&spec());
    let subject = B256::repeat_byte(3);
    let bytes = build(&head, vec![note(1, subject, 4, b"seen"), note(1, subject, 5, b"twice")]);
    let (whole, behind) = split(&bytes);
    assert_eq!(whole.header.parent_beacon_block_root, Some(keccak256([b"subnode notes 1", behind.as_slice()].concat())));
    // Whoever takes them out, or says another root, makes another block that does not hold.
    assert!(block::execute(&head, &joined(&whole, &[])).is_err_and(|invalid| invalid.reason.contains("parent beacon block root")));
    let mut named = whole.clone();
    named.header = Header { parent_beacon_block_root: Some(B256::ZERO), ..whole.header.clone() };
    assert!(block::execute(&head, &joined(&named, &behind)).is_err());
    assert!(block::execute(&head, &[bytes.as_slice(), &[0xc0]].concat()).is_err_and(|invalid| invalid.reason.contains("after the notes")));
    assert!(block::execute(&head, &joined(&whole, &[0xc0])).is_err_and(|invalid| invalid.reason.contains("empty list")));

    let head = execute(&head, &bytes).expect("it holds");
    let slot: U256 = keccak256([B256::from(U256::from(1)), subject].concat()).into();
    let words = [0, 1, 2].map(|place| word(slot + U256::from(place)));
    assert_eq!(words, [U256::from(4), keccak256(b"seen").into(), U256::from(head.height)], "one of each matter");

    // The same again, or an older one, is left out by who builds, and refused of others.
    let without = build(&head, vec![note(1, subject, 4, b"seen")]);
    let (whole, behind) = split(&without);
    assert_eq!((whole.header.parent_beacon_block_root, behind.len()), (Some(B256::ZERO), 0));
    let mut again = whole.clone();
    let mut list = Vec::new();
    vec![alloy_primitives::Bytes::from(note(1, subject, 4, b"seen"))].encode(&mut list);
    again.header.parent_beacon_block_root = Some(keccak256([b"subnode notes 1", list.as_slice()].concat()));
    assert!(block::execute(&head, &joined(&again, &list)).is_err_and(|invalid| invalid.reason.contains("not newer")));
}

#[test]
fn a_frozen_chain_takes_notes_and_no_transactions_and_a_closed_one_stays_closed() {
    let head = begin(&spec());
    let stand = |head: &BlockRef, position: u64, standing: u8| {
        let bytes = build(head, vec![note(5, B256::ZERO, position, &[standing])]);
        execute(head, &bytes).expect("it holds")
    };
    let head = stand(&head, 1, 1);
    assert!(Standing::load(&mut State::default()).refusal().is_some_and(|reason| reason.contains("frozen")));
    let transfer = TxLegacy { chain_id: Some(7), gas_limit: 60_000, gas_price: 10_000_000_000, ..TxLegacy::default() };
    let key = SigningKey::from_slice(&[1; 32]).expect("a key");
    let signature = key.sign_prehash_recoverable(transfer.signature_hash().as_slice()).expect("a signature");
    let raw = TxEnvelope::from(transfer.into_signed(signature.into())).encoded_2718();
    let [refused] = <[_; 1]>::try_from(transaction::admit(&head, &[raw])).ok().expect("one");
    let reason = refused.err().map(|error| error.message);
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("frozen")), "{reason:?}");
    let head = stand(&head, 2, 0);
    assert!(Standing::load(&mut State::default()) == Standing::Open);
    let head = stand(&head, 3, 2);
    stand(&head, 4, 0);
    assert!(Standing::load(&mut State::default()) == Standing::Closed);
}

#[test]
fn an_upgrade_is_declared_in_time_or_not_at_all() {
    let head = begin(&spec());
    let upgrade = |role: u8, height: u64| [&[role], height.to_be_bytes().as_slice(), &[7; 32], &1_000_u64.to_be_bytes()].concat();
    let subject = |role: u8| B256::from(U256::from(role));
    let soon = head.height + 2;
    let notes = vec![note(4, subject(0), 1, &upgrade(0, soon + 40)), note(4, subject(1), 1, &upgrade(1, soon))];
    let bytes = build(&head, notes);
    imports::with(|tables| tables.upgrades.clear());
    execute(&head, &bytes).expect("it holds");
    let declared = imports::with(|tables| tables.upgrades.clone());
    assert_eq!(declared.iter().map(|module| (module.height, module.size)).collect::<Vec<_>>(), [(soon + 40, 1_000)], "the other is late");
}

#[test]
fn a_foreign_chain_has_no_committee() {
    let mut foreign = spec();
    foreign["config"]["subnode"]["foreign"] = json!(true);
    assert!(genesis::genesis(foreign.to_string().as_bytes()).is_err_and(|reason| reason.contains("foreign")));
}
