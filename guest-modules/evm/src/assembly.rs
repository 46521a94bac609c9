//! An assembler for the short contracts that genesis puts there: code whose jumps are filled in.

use alloy_primitives::{B256, Bytes, keccak256};

/// Leaves the selector of a call.
pub const SELECTOR: &[u8] = &[0x5f, 0x35, 0x60, 0xe0, 0x1c];
/// Reverts without a reason.
pub const REVERT: &[u8] = &[0x5f, 0x5f, 0xfd];
/// Leaves the word in slot 0.
pub const SLOT_0: &[u8] = &[0x5f, 0x54];
/// Leaves whether the caller is not the owner, whom slot 0 has.
pub const STRANGER: &[u8] = &[0x33, 0x5f, 0x54, 0x14, 0x15];
/// Leaves the first argument of a call.
pub const FIRST: &[u8] = &[0x60, 0x04, 0x35];
/// Leaves the second one.
pub const SECOND: &[u8] = &[0x60, 0x24, 0x35];
/// Returns the word on the stack.
pub const RETURN_WORD: &[u8] = &[0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];

/// A part of a contract. `L` names the places that are jumped to.
pub enum Piece<L> {
    Code(&'static [u8]),
    Word(B256),
    /// Jumps if this function is called. The selector is on the stack, and stays.
    If(&'static str, L),
    /// Jumps if the word on the stack is not 0.
    Jump(L),
    At(L),
}

impl<L: Copy + PartialEq> Piece<L> {
    fn bytes(&self, place: impl Fn(L) -> u8) -> Vec<u8> {
        match self {
            Self::Code(code) => code.to_vec(),
            Self::Word(word) => [&[0x7f], word.as_slice()].concat(),
            Self::If(signature, label) => [&[0x80, 0x63], &keccak256(signature)[..4], &[0x14, 0x60, place(*label), 0x57]].concat(),
            Self::Jump(label) => vec![0x60, place(*label), 0x57],
            Self::At(_) => vec![0x5b],
        }
    }
}

/// The contract. A place is one byte, so all places are among the first 256.
pub fn assemble<L: Copy + PartialEq>(pieces: &[Piece<L>]) -> Bytes {
    let length = |pieces: &[Piece<L>]| pieces.iter().map(|piece| piece.bytes(|_| 0).len()).sum::<usize>();
    let place = |label| {
        let position = pieces.iter().position(|piece| matches!(piece, Piece::At(at) if *at == label)).unwrap_or_default();
        u8::try_from(length(&pieces[..position])).unwrap_or_else(|_| panic!("a jump to beyond the first 256 bytes of a contract"))
    };
    pieces.iter().flat_map(|piece| piece.bytes(place)).collect()
}
