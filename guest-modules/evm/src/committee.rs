//! Who decides this chain's blocks: the storage of a contract that genesis puts at [`ADDRESS`], so that a transaction of its owner changes it.
//!
//! | slot | value |
//! |---|---|
//! | 0 | the owner |
//! | a member's key | its power, less than 2^32; 0 is no member |
//!
//! `setMember(bytes32 key, uint64 power)` and `transferOwnership(address)` are the owner's, `power(bytes32)` and `owner()` anyone's. A change
//! holds from the second block after it on: the next one is on its way already.
//!
//! Where genesis names the members' attest addresses, another contract is there, of [`attesters`].

use std::{cmp::Reverse, collections::BTreeMap};

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use serde::Deserialize;

use crate::{
    assembly::{FIRST, Piece, RETURN_WORD, REVERT, SECOND, SELECTOR, SLOT_0, STRANGER, assemble},
    attesters,
    bindings::subnode::chain::{
        declare,
        execution::CommitteeChange,
        types::{Change, Validator},
    },
    host::{self, Table},
    state::{Account, State, storage_prefix},
};

/// Where the contract is.
const ADDRESS: Address = address!("00000000000000000000000000000000005b0de0");
/// The contract's bound of a committee. Of more, those with the greatest power are members.
const MEMBERS_MAX: usize = 128;
/// Of a power.
const POWER_BITS: u8 = attesters::POWER_BITS;
const DELAY: u64 = 2;

/// `config.subnode.committee` of a genesis file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founders {
    owner: Address,
    members: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    key: B256,
    power: u64,
    attester: Option<Address>,
}

impl Founders {
    /// Puts the contract there, in place of whatever the file has at its address; who decides the first block.
    pub fn found(&self, state: &mut State, genesis: u64) -> Result<CommitteeChange, String> {
        state.wipe_storage(ADDRESS);
        state.set_account(ADDRESS, Account { nonce: 1, ..Account::default() });
        let attests = self.members.iter().any(|member| member.attester.is_some());
        state.set_code(ADDRESS, if attests { attesters::code() } else { code() });
        state.set_storage(ADDRESS, U256::ZERO, self.owner.into_word().into());
        for (position, member) in self.members.iter().enumerate() {
            if member.key.is_zero() || member.power == 0 || member.power >> POWER_BITS != 0 {
                return Err(format!("config.subnode.committee.members[{position}]: a key that is not 0, and a power from 1 to 2^32 - 1"));
            }
            if self.members[..position].iter().any(|earlier| earlier.key == member.key) {
                return Err(format!("config.subnode.committee.members[{position}]: this key is there twice"));
            }
            let mut row = U256::from(member.power);
            if attests {
                let attester = member.attester.filter(|attester| !attester.is_zero()).ok_or_else(|| {
                    format!("config.subnode.committee.members[{position}].attester: an address that is not 0 of each member, or of none")
                })?;
                if self.members[..position].iter().any(|earlier| earlier.attester == member.attester) {
                    return Err(format!("config.subnode.committee.members[{position}].attester: this address is there twice"));
                }
                row |= U256::from_be_slice(attester.as_slice()) << POWER_BITS;
                state.set_storage(ADDRESS, attesters::taken(attester), U256::MAX);
            }
            state.set_storage(ADDRESS, member.key.into(), row);
        }
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return Err(format!("config.subnode.committee.members: {} of them; name 1 to {MEMBERS_MAX}", self.members.len()));
        }
        if attests {
            state.wipe_storage(attesters::VERIFIER);
            state.set_account(attesters::VERIFIER, Account { nonce: 1, ..Account::default() });
            state.set_code(attesters::VERIFIER, attesters::verifier()?);
        }
        let members = self.members.iter().map(|member| Validator { key: member.key.to_vec(), power: member.power }).collect();
        Ok(CommitteeChange { from_height: genesis + 1, members })
    }

    /// Says with which addresses they attest, where they do: last of all, as [`change`] looks at the rows of genesis too, and has another order.
    pub fn declare(&self) {
        let attesters = self.members.iter().filter_map(|member| member.attester);
        let addresses: Vec<_> = attesters.map(|attester| attester.to_vec()).collect();
        if !addresses.is_empty() {
            declare::attesters(&addresses);
        }
    }
}

/// What the changes of a block mean for who decides later ones. The host hears with which addresses they attest, where they do.
pub fn change(height: u64, changes: &[Change]) -> Option<CommitteeChange> {
    let prefix = storage_prefix(ADDRESS);
    let changed: Vec<_> = changes.iter().filter(|change| change.key.starts_with(&prefix)).collect();
    if changed.is_empty() {
        return None;
    }
    let mut rows = BTreeMap::new();
    host::scan_prefix(Table::State, &prefix, |key, value| drop(rows.insert(key.to_vec(), value)));
    for change in changed {
        match &change.value {
            Some(value) => drop(rows.insert(change.key.clone(), value.clone())),
            None => drop(rows.remove(&change.key)),
        }
    }
    let member = |(key, value): (Vec<u8>, Vec<u8>)| {
        let key = key.strip_prefix(prefix.as_slice())?.to_vec();
        let (power, attester) = attesters::of_row(U256::try_from_be_slice(&value)?)?;
        (power > 0 && key.iter().any(|byte| *byte != 0)).then_some((Validator { key, power }, attester))
    };
    let mut members: Vec<(Validator, Address)> = rows.into_iter().filter_map(member).collect();
    members.sort_by_key(|(member, _)| Reverse(member.power));
    members.truncate(MEMBERS_MAX);
    // A chain that nobody decides would end: the last committee stays.
    if members.is_empty() {
        return None;
    }
    let attesters = members.iter().map(|(_, attester)| attester).filter(|attester| !attester.is_zero());
    let addresses: Vec<_> = attesters.map(|attester| attester.to_vec()).collect();
    if addresses.len() == members.len() {
        declare::attesters(&addresses);
    }
    Some(CommitteeChange { from_height: height + DELAY, members: members.into_iter().map(|(member, _)| member).collect() })
}

/// Where a jump goes to.
#[derive(Clone, Copy, PartialEq)]
enum Label {
    Set,
    Power,
    Owner,
    Transfer,
    Fail,
}

/// The contract.
fn code() -> Bytes {
    use Piece::{At, Code, If, Jump, Word};
    assemble(&[
        Code(SELECTOR),
        If("setMember(bytes32,uint64)", Label::Set),
        If("power(bytes32)", Label::Power),
        If("owner()", Label::Owner),
        If("transferOwnership(address)", Label::Transfer),
        At(Label::Fail),
        Code(REVERT),
        At(Label::Set),
        Code(STRANGER),
        Jump(Label::Fail),
        // Slot 0 is not a member's.
        Code(FIRST),
        Code(&[0x15]),
        Jump(Label::Fail),
        Code(SECOND),
        Code(&[0x60, POWER_BITS, 0x1c]),
        Jump(Label::Fail),
        Code(SECOND),
        Code(FIRST),
        Code(&[0x55]),
        // The event: its topic, the key; the power as data.
        Code(FIRST),
        Word(keccak256("MemberSet(bytes32,uint64)")),
        Code(SECOND),
        Code(&[0x5f, 0x52, 0x60, 0x20, 0x5f, 0xa2, 0x00]),
        At(Label::Power),
        Code(FIRST),
        Code(&[0x80, 0x15]),
        Jump(Label::Fail),
        Code(&[0x54]),
        Code(RETURN_WORD),
        At(Label::Owner),
        Code(SLOT_0),
        Code(RETURN_WORD),
        At(Label::Transfer),
        Code(STRANGER),
        Jump(Label::Fail),
        Code(FIRST),
        Code(&[0x5f, 0x55, 0x00]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_the_one_that_chains_have() {
        // Another code is another genesis: chains that were born with this one would not open.
        assert_eq!(keccak256(code()).to_string(), "0x0032368a4c709903409025d8c80f001b2094971436f7d32d888ea5431c0eacf6");
    }
}
