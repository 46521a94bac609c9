//! Committees whose members attest blocks to outsiders: the contract that genesis puts in the place of [`crate::committee`]'s where it names
//! `config.subnode.committee.members[].attester`, and the verifier of attestations, at [`VERIFIER`].
//!
//! | slot | value |
//! |---|---|
//! | 0 | the owner |
//! | a member's key | its attest address times 2^32, and its power, less than 2^32; 0 is no member |
//! | Keccak-256 of an attest address | all ones while a member has the address |
//!
//! `setMember(bytes32 key, uint64 power, address attester)` and `transferOwnership(address)` are the owner's, `power(bytes32)`,
//! `attester(bytes32)` and `owner()` anyone's. Power and address are both 0 where a member leaves. An address that another member has reverts.

use alloy_primitives::{Address, Bytes, U256, address, hex, keccak256};

use crate::assembly::{FIRST, Piece, RETURN_WORD, REVERT, SECOND, SELECTOR, SLOT_0, STRANGER, assemble};

/// Where the verifier is: host/attestation/contracts/Attestations.sol. It needs no storage to begin with.
pub const VERIFIER: Address = address!("00000000000000000000000000000000005b0de3");
/// Of a power.
pub const POWER_BITS: u8 = 32;
/// Of a power and an address.
const ROW_BITS: u8 = POWER_BITS + 160;
/// What solc makes of the verifier, as in host/attestation/contracts/Attestations.json.
const VERIFIER_CODE: &str = include_str!("attesters/verifier.hex");

/// The verifier's code.
pub fn verifier() -> Result<Bytes, String> {
    hex::decode(VERIFIER_CODE.trim_end()).map(Bytes::from).map_err(|error| format!("the verifier of attestations: {error}"))
}

/// The slot that says whether a member has an address.
pub fn taken(attester: Address) -> U256 {
    keccak256(attester.into_word()).into()
}

/// The power and the attest address of a member's row, which is 0 where members do not attest; none where the row is no member's.
pub fn of_row(row: U256) -> Option<(u64, Address)> {
    if row >> ROW_BITS != U256::ZERO {
        return None;
    }
    let power: U256 = row & ((U256::ONE << POWER_BITS) - U256::ONE);
    Some((power.try_into().ok()?, Address::from_word((row >> POWER_BITS).into())))
}

/// Where a jump goes to.
#[derive(Clone, Copy, PartialEq)]
enum Label {
    Set,
    Power,
    Attester,
    Owner,
    Transfer,
    Fail,
}

/// The contract of the committee.
pub fn code() -> Bytes {
    use Piece::{At, Code, If, Jump, Word};
    const THIRD: &[u8] = &[0x60, 0x44, 0x35];
    /// The slot of the address that is the word on the stack.
    const TAKEN: &[u8] = &[0x5f, 0x52, 0x60, 0x20, 0x5f, 0x20];
    /// Whether the word on the stack, which stays, is no row of a member.
    const NO_ROW: &[u8] = &[0x80, 0x60, ROW_BITS, 0x1c];
    assemble(&[
        Code(SELECTOR),
        If("setMember(bytes32,uint64,address)", Label::Set),
        If("power(bytes32)", Label::Power),
        If("attester(bytes32)", Label::Attester),
        If("owner()", Label::Owner),
        If("transferOwnership(address)", Label::Transfer),
        At(Label::Fail),
        Code(REVERT),
        At(Label::Power),
        Code(FIRST),
        Code(&[0x80, 0x15]),
        Jump(Label::Fail),
        Code(&[0x54]),
        Code(NO_ROW),
        Jump(Label::Fail),
        Code(&[0x63, 0xff, 0xff, 0xff, 0xff, 0x16]),
        Code(RETURN_WORD),
        At(Label::Attester),
        Code(FIRST),
        Code(&[0x80, 0x15]),
        Jump(Label::Fail),
        Code(&[0x54]),
        Code(NO_ROW),
        Jump(Label::Fail),
        Code(&[0x60, POWER_BITS, 0x1c]),
        Code(RETURN_WORD),
        At(Label::Owner),
        Code(SLOT_0),
        Code(RETURN_WORD),
        At(Label::Transfer),
        Code(STRANGER),
        Jump(Label::Fail),
        Code(FIRST),
        Code(&[0x5f, 0x55, 0x00]),
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
        Code(THIRD),
        Code(&[0x60, 160, 0x1c]),
        Jump(Label::Fail),
        // A member has both, and who is none has neither.
        Code(SECOND),
        Code(&[0x15]),
        Code(THIRD),
        Code(&[0x15, 0x18]),
        Jump(Label::Fail),
        // What the member has. A slot that says that an address is taken is not a member's.
        Code(FIRST),
        Code(&[0x54]),
        Code(NO_ROW),
        Jump(Label::Fail),
        // The address that it had is free.
        Code(&[0x60, POWER_BITS, 0x1c, 0x5f, 0x90]),
        Code(TAKEN),
        Code(&[0x55]),
        // The new one has to be, and is taken from now on. Address 0 always is free.
        Code(THIRD),
        Code(TAKEN),
        Code(&[0x80, 0x54]),
        Jump(Label::Fail),
        Code(&[0x60, 0x01]),
        Code(THIRD),
        Code(&[0x15, 0x03, 0x90, 0x55]),
        // The row.
        Code(THIRD),
        Code(&[0x60, POWER_BITS, 0x1b]),
        Code(SECOND),
        Code(&[0x17]),
        Code(FIRST),
        Code(&[0x55]),
        // The event: its topic, the key; the power and the address as data.
        Code(SECOND),
        Code(&[0x5f, 0x52]),
        Code(THIRD),
        Code(&[0x60, 0x20, 0x52]),
        Code(FIRST),
        Word(keccak256("MemberSet(bytes32,uint64,address)")),
        Code(&[0x60, 0x40, 0x5f, 0xa2, 0x00]),
    ])
}

#[cfg(test)]
mod tests;
