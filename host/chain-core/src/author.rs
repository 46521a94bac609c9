use serde::{Deserialize, Serialize};
use subnode_types::NodeId;

/// Bytes of a proof of a block's seed.
const PROOF_BYTES: usize = 80;

/// The member that made a block, and the proof that it drew the block's seed (RFC 9381) and did not choose it. The proof also tells the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    key: [u8; 32],
    /// In pieces: arrays of more than 32 are not written.
    proof: [[u8; 16]; 5],
}

impl Author {
    /// Bytes of one, as it is kept.
    pub const BYTES: usize = 32 + PROOF_BYTES;

    /// With this proof.
    #[must_use]
    pub fn new(key: NodeId, proof: [u8; PROOF_BYTES]) -> Self {
        Self { key: key.0, proof: std::array::from_fn(|piece| std::array::from_fn(|at| proof[piece * 16 + at])) }
    }

    /// The author's key.
    #[must_use]
    pub fn key(&self) -> NodeId {
        NodeId(self.key)
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> [u8; PROOF_BYTES] {
        std::array::from_fn(|at| self.proof[at / 16][at % 16])
    }

    /// Key and proof.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.key.as_slice(), self.proof.as_flattened()].concat()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (key, proof) = (std::array::from_fn(|at| bytes[at]), std::array::from_fn(|at| bytes[32 + at]));
        Self::new(NodeId(key), proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_kept_as_it_is() {
        let author = Author::new(NodeId([1; 32]), std::array::from_fn(|at| at.to_le_bytes()[0]));
        let bytes = author.to_bytes().try_into().expect("its length");
        assert_eq!(Author::from_bytes(&bytes), author);
        assert_eq!(author.proof()[79], 79);
    }
}
