use std::{fmt, str::FromStr};

use crate::Hex;

/// Which node: its public key (ed25519), which its connections and its votes are checked with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not a node's id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no node id: 64 hexadecimal digits")]
pub struct NotANodeId(String);

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<Self, NotANodeId> {
        let refused = || NotANodeId(text.to_owned());
        let mut id = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(refused());
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| refused())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
        }
        Ok(Self(id))
    }
}

/// A member of a chain's committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Who.
    pub node: NodeId,
    /// Its weight among the members.
    pub power: u64,
}

/// What a signature is for. A node signs one text at each, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The block that is agreed on.
    pub height: u64,
    /// The attempt at it.
    pub round: u32,
    /// The step of the attempt.
    pub step: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_round_trip() {
        let id = NodeId(*b"\0\x01\xff a node's id has 32 bytes....");
        assert_eq!(id.to_string().parse::<NodeId>().expect("printed"), id);
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }
}
