//! What the root of a state stands for: the state's bytes, in pieces that can be checked one by one.
//!
//! ```text
//! root ── hashes of groups ── hashes of pieces ── pieces of the stream of state
//!         (the outline)       (8192 to a group)   (512 KiB)
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a piece but the last: what a frame holds twice.
pub const PIECE_BYTES: usize = 512 << 10;
/// Pieces of a group but the last: their hashes are 256 KiB.
pub const GROUP_PIECES: usize = 8192;
/// Groups there can be: their hashes fit a frame, and stand for 64 TiB.
const GROUPS_MAX: usize = 16 << 10;
/// Before what a root is the hash of.
const DOMAIN: &[u8] = b"subnode state 1\0";
const HASH: usize = 32;

/// What a root is the hash of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Of the whole state.
    pub bytes: u64,
    groups: Vec<[u8; 32]>,
}

impl Outline {
    /// Of a state of so many bytes, whose pieces have these hashes.
    #[must_use]
    pub fn of(bytes: u64, pieces: &[[u8; 32]]) -> Self {
        let groups = pieces.chunks(GROUP_PIECES).map(|group| Sha256::digest(group.as_flattened()).into()).collect();
        Self { bytes, groups }
    }

    /// Whether it is that of some state: one that came from elsewhere may be of none.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.groups.len() <= GROUPS_MAX && self.groups.len() as u64 == self.pieces().div_ceil(GROUP_PIECES as u64)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update(self.bytes.to_be_bytes());
        hash.update(self.groups.as_flattened());
        hash.finalize().into()
    }

    /// How many pieces there are.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.bytes.div_ceil(PIECE_BYTES as u64)
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The hashes of a group's pieces, if these bytes are they.
    #[must_use]
    pub fn group(&self, index: usize, hashes: &[u8]) -> Option<Vec<[u8; 32]>> {
        let right = self.groups.get(index).is_some_and(|group| Sha256::digest(hashes)[..] == group[..]);
        let (hashes, rest) = hashes.as_chunks::<HASH>();
        (right && rest.is_empty()).then(|| hashes.to_vec())
    }
}

/// The hash of a piece.
#[must_use]
pub fn piece_hash(piece: &[u8]) -> [u8; 32] {
    Sha256::digest(piece).into()
}

/// At which heights a chain's states get roots, and which blocks vouch for them: the state after each multiple of an interval is vouched
/// for by the block an interval later, so that nobody has to wait for a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    every: std::num::NonZeroU64,
}

/// Heights between two states, unless a chain says otherwise: a quarter of an hour at a block per second, of which reading a state of a gigabyte
/// takes seconds.
pub const CHECKPOINT_EVERY: u64 = 1_000;

impl Checkpoints {
    /// With this interval; none where it is 0.
    #[must_use]
    pub fn new(every: u64) -> Option<Self> {
        Some(Self { every: std::num::NonZeroU64::new(every)? })
    }

    /// Heights from one to the next.
    #[must_use]
    pub fn every(self) -> u64 {
        self.every.get()
    }

    /// Whether the state at a height gets a root. That of genesis gets none: everyone has it.
    #[must_use]
    pub fn is_at(self, height: u64) -> bool {
        height > 0 && height.is_multiple_of(self.every.get())
    }

    /// The height whose state the block at a height vouches for.
    #[must_use]
    pub fn shown_at(self, height: u64) -> Option<u64> {
        let shown = height.checked_sub(self.every.get())?;
        (self.is_at(height) && shown > 0).then_some(shown)
    }

    /// The last height up to this one whose state gets a root.
    #[must_use]
    pub fn last(self, height: u64) -> Option<u64> {
        let last = height - height % self.every;
        (last > 0).then_some(last)
    }

    /// How many heights of history a node keeps at least: those at which a state is vouched for may have to be read until the next one is.
    #[must_use]
    pub fn history(self) -> u64 {
        /// For those that others still get.
        const SLACK: u64 = 16;
        self.every.get().saturating_mul(2).saturating_add(SLACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_stands_for_length_and_every_piece() {
        let hashes: Vec<[u8; 32]> = (0..GROUP_PIECES as u64 + 3).map(|index| piece_hash(&index.to_be_bytes())).collect();
        let bytes = (hashes.len() * PIECE_BYTES) as u64 - 5;
        let outline = Outline::of(bytes, &hashes);
        assert!(outline.is_sound());
        assert_eq!((outline.pieces(), outline.groups()), (hashes.len() as u64, 2));
        assert_eq!(outline.group(1, hashes[GROUP_PIECES..].as_flattened()), Some(hashes[GROUP_PIECES..].to_vec()));
        assert_eq!(outline.group(0, hashes[GROUP_PIECES..].as_flattened()), None);
        assert_eq!(outline.group(2, &[]), None);
        let mut other = hashes.clone();
        other[GROUP_PIECES + 1] = [0; 32];
        assert_ne!(Outline::of(bytes, &other).root(), outline.root());
        assert_ne!(Outline::of(bytes - 1, &hashes).root(), outline.root());
        assert!(!Outline { bytes: bytes * 2, ..outline }.is_sound());
        assert_eq!(Outline::of(0, &[]).pieces(), 0);
        assert!(Outline::of(0, &[]).is_sound());
    }

    #[test]
    fn a_state_is_vouched_for_an_interval_later() {
        let tens = Checkpoints::new(10).expect("not 0");
        assert_eq!(Checkpoints::new(0), None);
        assert_eq!([0, 9, 10, 15, 20].map(|height| tens.is_at(height)), [false, false, true, false, true]);
        assert_eq!([0, 10, 15, 20, 30].map(|height| tens.shown_at(height)), [None, None, None, Some(10), Some(20)]);
        assert_eq!([0, 9, 10, 29].map(|height| tens.last(height)), [None, None, Some(10), Some(20)]);
    }
}
