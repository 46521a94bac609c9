use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Author;

/// Bytes of a part of a block.
pub const PART_BYTES: usize = 256 << 10;
/// Longest block: 256 parts, whose hashes fit a frame.
pub const BLOCK_BYTES_MAX: usize = 256 * PART_BYTES;
/// Before what an id is the hash of: that of a block without an author, and of one that has one.
const DOMAIN: &[u8] = b"subnode block 1\0";
const AUTHORED_DOMAIN: &[u8] = b"subnode block 2\0";

/// What a block's id stands for: all its bytes, in parts that can be checked one by one, all that it does, and its author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    bytes: u32,
    outcome: [u8; 32],
    parts: Vec<[u8; 32]>,
    author: Option<Author>,
}

/// A block is too long to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of {0} bytes, at most {BLOCK_BYTES_MAX}")]
pub struct BlockTooLong(pub usize);

impl Manifest {
    /// Of a block, and the digest of what it does.
    ///
    /// # Errors
    /// Where it is too long.
    pub fn of(block: &[u8], outcome: [u8; 32]) -> Result<Self, BlockTooLong> {
        let bytes = u32::try_from(block.len()).ok().filter(|_| block.len() <= BLOCK_BYTES_MAX).ok_or(BlockTooLong(block.len()))?;
        let parts = block.chunks(PART_BYTES).map(|part| Sha256::digest(part).into()).collect();
        Ok(Self { bytes, outcome, parts, author: None })
    }

    /// The same of a block by this author.
    #[must_use]
    pub fn by(self, author: Option<Author>) -> Self {
        Self { author, ..self }
    }

    /// Its author, where the chain's blocks have one.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        self.author.as_ref()
    }

    /// Whether it is that of some block: one that came from elsewhere may be of none.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.block_bytes() <= BLOCK_BYTES_MAX && self.parts.len() == self.block_bytes().div_ceil(PART_BYTES)
    }

    /// The block's id.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(if self.author.is_some() { AUTHORED_DOMAIN } else { DOMAIN });
        if let Some(author) = &self.author {
            hash.update(author.to_bytes());
        }
        hash.update(self.bytes.to_be_bytes());
        hash.update(self.outcome);
        self.parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    }

    /// Digest of what the block does.
    #[must_use]
    pub fn outcome(&self) -> [u8; 32] {
        self.outcome
    }

    /// Length of the block.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.bytes as usize
    }

    /// How many parts it has.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether these bytes are a part of the block.
    #[must_use]
    pub fn has_part(&self, index: usize, part: &[u8]) -> bool {
        self.parts.get(index).is_some_and(|hash| Sha256::digest(part)[..] == hash[..])
    }
}

#[cfg(test)]
mod tests {
    use subnode_types::NodeId;

    use super::*;

    #[test]
    fn an_id_stands_for_bytes_and_outcome_and_author() {
        let block = vec![7; PART_BYTES + 5];
        let manifest = Manifest::of(&block, [1; 32]).expect("short enough");
        assert!(manifest.is_sound());
        assert_eq!((manifest.parts(), manifest.block_bytes()), (2, block.len()));
        assert!(manifest.has_part(0, &block[..PART_BYTES]) && manifest.has_part(1, &block[PART_BYTES..]));
        assert!(!manifest.has_part(1, &block[..PART_BYTES]) && !manifest.has_part(2, &[]));
        let other = Manifest::of(&block, [2; 32]).expect("short enough");
        assert_ne!(manifest.id(), other.id());
        let [one, another, proven] = [([3; 32], [4; 80]), ([4; 32], [4; 80]), ([3; 32], [3; 80])]
            .map(|(key, proof)| manifest.clone().by(Some(Author::new(NodeId(key), proof))).id());
        assert!(one != another && one != proven && one != manifest.id());
        let mut cut = manifest.clone();
        cut.parts.pop();
        assert!(!cut.is_sound() && cut.id() != manifest.id());
        assert_eq!(Manifest::of(&vec![0; BLOCK_BYTES_MAX + 1], [0; 32]), Err(BlockTooLong(BLOCK_BYTES_MAX + 1)));
        assert_eq!(Manifest::of(&[], [0; 32]).map(|empty| (empty.parts(), empty.is_sound())), Ok((0, true)));
    }
}
