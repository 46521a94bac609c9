use std::collections::BTreeMap;

use alloy_primitives::{B256, TxKind};
use serde_json::{Value, json};

use super::*;
use crate::{
    genesis,
    tests::{
        chain,
        contract::{Owned, calldata},
        developer, imports,
    },
};

/// Where the contract is.
const COMMITTEE: Address = address!("00000000000000000000000000000000005b0de0");
const OWNER: Address = Address::repeat_byte(0xaa);
const OTHER: Address = Address::repeat_byte(0xbb);

struct Contract(Owned);

impl Contract {
    fn new() -> Self {
        Self(Owned::new(COMMITTEE, code(), OWNER))
    }

    /// What a call by this account comes to: none where it reverts.
    fn call(&mut self, caller: Address, signature: &str, arguments: &[U256]) -> Option<(Bytes, Vec<(Vec<B256>, Bytes)>)> {
        let (output, logs) = self.0.call(caller, calldata(signature, arguments), 0)?;
        Some((output, logs.into_iter().map(|log| (log.topics().to_vec(), log.data.data)).collect()))
    }

    fn set(&mut self, key: U256, power: u64, attester: U256) -> bool {
        self.call(OWNER, "setMember(bytes32,uint64,address)", &[key, U256::from(power), attester]).is_some()
    }

    /// The power and the address of a key, where it can be a member's.
    fn member(&mut self, key: U256) -> Option<(u64, U256)> {
        let mut word = |function| Some(U256::from_be_slice(&self.call(OTHER, function, &[key])?.0));
        Some((word("power(bytes32)")?.to::<u64>(), word("attester(bytes32)")?))
    }
}

fn word(number: u64) -> U256 {
    U256::from(number)
}

#[test]
fn the_contracts_are_the_ones_that_chains_have() {
    // Another code is another genesis: chains that were born with this one would not open.
    assert_eq!(keccak256(code()).to_string(), "0xca0bb5dbb4836354d538753d92326e4170dd9aa7975209a69cdc543db3123c3c");
    assert_eq!(
        keccak256(verifier().expect("hexadecimal")).to_string(),
        "0x93ed77218f888e848ec69ac53fbdb545d8db22d3fa5364aac1009c0c0d51867f"
    );
}

#[test]
fn the_owner_alone_seats_members_and_the_event_says_who() {
    let mut contract = Contract::new();
    let arguments = [word(5), word(3), word(9)];
    assert_eq!(contract.call(OTHER, "setMember(bytes32,uint64,address)", &arguments), None);
    let (output, logs) = contract.call(OWNER, "setMember(bytes32,uint64,address)", &arguments).expect("the owner's");
    let topics = vec![keccak256("MemberSet(bytes32,uint64,address)"), word(5).into()];
    assert_eq!((output.len(), logs), (0, vec![(topics, [word(3), word(9)].map(|word| word.to_be_bytes::<32>()).concat().into())]));
    assert_eq!(contract.member(word(5)), Some((3, word(9))));
    assert_eq!(contract.call(OTHER, "owner()", &[]).map(|(output, _)| output), Some(OWNER.into_word().into()));
    assert_eq!(contract.call(OTHER, "transferOwnership(address)", &[word(1)]), None);
    assert!(contract.call(OWNER, "transferOwnership(address)", &[OTHER.into_word().into()]).is_some());
    assert!(!contract.set(word(6), 1, word(10)), "not the owner any more");
}

#[test]
fn an_address_is_one_member_s_and_free_once_that_has_another_or_is_gone() {
    let mut contract = Contract::new();
    assert!(contract.set(word(5), 3, word(9)) && contract.set(word(6), 3, word(10)));
    assert!(!contract.set(word(7), 1, word(9)) && !contract.set(word(6), 1, word(9)), "another has it");
    assert_eq!((contract.member(word(6)), contract.member(word(7))), (Some((3, word(10))), Some((0, U256::ZERO))));
    assert!(contract.set(word(5), 4, word(9)), "its own again");
    assert!(contract.set(word(5), 4, word(11)) && contract.set(word(7), 1, word(9)), "it has another");
    assert!(contract.set(word(6), 0, U256::ZERO) && contract.set(word(8), 1, word(10)), "it is gone");
    assert_eq!([5, 6, 7, 8].map(|key| contract.member(word(key)).expect("a key").0), [4, 0, 1, 1]);
}

#[test]
fn what_is_no_member_reverts() {
    let mut contract = Contract::new();
    let address = (U256::ONE << 160) - U256::ONE;
    assert!(contract.set(word(5), u64::from(u32::MAX), address));
    assert_eq!(contract.member(word(5)), Some((u64::from(u32::MAX), address)));
    for (key, power, attester) in [
        (U256::ZERO, 1, word(1)),
        (word(6), 0, word(1)),
        (word(6), 1, U256::ZERO),
        (word(6), 1 << 32, word(1)),
        (word(6), u64::MAX, word(1)),
        (word(6), 1, U256::ONE << 160),
        (word(6), 1, U256::MAX),
        // The slot that says that the address is taken.
        (taken(Address::from_word(address.into())), 1, word(1)),
    ] {
        assert!(!contract.set(key, power, attester), "{key} {power} {attester}");
    }
    assert_eq!(contract.member(taken(Address::from_word(address.into()))), None);
    assert_eq!(contract.call(OWNER, "setMember(bytes32,uint64)", &[word(6), word(1)]), None, "without an address");
    assert_eq!(contract.call(OWNER, "setMember(bytes32,uint64,address)", &[word(6), word(1)]), None, "it is 0 then");
}

/// Keys are also slots of addresses, which the owner may mean or not: no address is two members' whatever it sets.
#[test]
fn no_two_members_have_one_address() {
    let key = |key: u64| if key < 4 { word(key + 1) } else { taken(Address::from_word(word(key - 3).into())) };
    let mut random = 1_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for _ in 0..50 {
        let mut contract = Contract::new();
        let mut members = BTreeMap::new();
        for _ in 0..40 {
            let (number, power, attester) = (below(6), below(3), below(5));
            if contract.set(key(number), power, word(attester)) {
                members.insert(number, (power, word(attester)));
            }
            let mut addresses: Vec<_> = members.values().filter(|(power, _)| *power > 0).map(|(_, attester)| *attester).collect();
            let count = addresses.len();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), count);
            assert!(addresses.first().is_none_or(|first| !first.is_zero()));
        }
        for (number, member) in members {
            // Of a member that left, the slot may say now that an address is taken.
            assert!(
                contract.member(key(number)).is_none_or(|known| known == member)
                    && (member.0 == 0 || contract.member(key(number)).is_some())
            );
        }
    }
}

fn spec(members: Value) -> Value {
    json!({
        "config": {
            "chainId": 1337, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0,
            "subnode": { "dev": true, "committee": { "owner": developer::SENDER, "members": members } },
        },
        "difficulty": "0x0", "gasLimit": "0x1c9c380", "baseFeePerGas": "0x7",
        "alloc": { developer::SENDER.to_string(): { "balance": "0xde0b6b3a7640000" } },
    })
}

fn member(key: u8, power: u64, attester: u8) -> Value {
    json!({ "key": B256::repeat_byte(key), "power": power, "attester": Address::repeat_byte(attester) })
}

/// What was declared since this was last asked.
fn declared() -> Option<Vec<Vec<u8>>> {
    imports::with(|tables| tables.attesters.take())
}

#[test]
fn genesis_and_each_change_declare_the_addresses_in_the_order_of_the_members() {
    imports::with(|tables| *tables = imports::Tables::default());
    let built = genesis::genesis(spec(json!([member(1, 1, 0x11), member(2, 5, 0x22)])).to_string().as_bytes()).expect("a genesis");
    assert_eq!(declared(), Some(vec![vec![0x11; 20], vec![0x22; 20]]));
    let mut head = chain::commit(&built.block, built.outcome);
    let mut mine = |nonce, arguments: [U256; 3]| {
        let data = calldata("setMember(bytes32,uint64,address)", &arguments);
        let call = developer::transaction(nonce, TxKind::Call(COMMITTEE), 0, data);
        head = developer::mine(&head, &[call]);
        declared()
    };
    let (key, address) = (|byte| B256::repeat_byte(byte).into(), |byte| Address::repeat_byte(byte).into_word().into());
    let seated = mine(0, [key(3), word(2), address(0x33)]);
    assert_eq!(seated, Some(vec![vec![0x22; 20], vec![0x33; 20], vec![0x11; 20]]), "by power");
    assert_eq!(mine(1, [key(4), word(2), address(0x33)]), None, "it reverts and changes nothing");
    assert_eq!(mine(2, [key(2), word(0), U256::ZERO]), Some(vec![vec![0x33; 20], vec![0x11; 20]]));
}

#[test]
fn a_genesis_whose_addresses_are_wrong_is_refused_by_name() {
    let plain = json!({ "key": B256::repeat_byte(1), "power": 1 });
    for (members, error) in [
        (json!([member(2, 1, 1), plain]), "members[1].attester: an address that is not 0 of each member, or of none"),
        (json!([plain, member(2, 1, 1)]), "members[0].attester: an address that is not 0"),
        (json!([member(1, 1, 0)]), "members[0].attester: an address that is not 0"),
        (json!([member(1, 1, 7), member(2, 1, 7)]), "members[1].attester: this address is there twice"),
    ] {
        let refused = genesis::genesis(spec(members).to_string().as_bytes()).expect_err("refused");
        assert!(refused.contains(error), "{refused}");
    }
    declared();
    genesis::genesis(spec(json!([plain])).to_string().as_bytes()).expect("without attest addresses");
    assert_eq!(declared(), None);
}
