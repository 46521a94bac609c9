use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use subnode_types::Position;

use crate::statement_guard::StatementGuard;

/// Positions remembered: votes of a thousand rounds of one height. Older ones are refused, whatever is to be signed.
const REMEMBERED: usize = 4096;
/// Of a record: height, round, step, digest.
const RECORD_BYTES: usize = 8 + 4 + 1 + 32;
/// In place of a record: what follows is of statements. No block has this height.
const STATEMENTS: [u8; RECORD_BYTES] = [0xff; RECORD_BYTES];

/// What was signed, so that nothing else is signed in its place. As EIP-3076 does for validators of Ethereum: at each position one text, and
/// no position before one that was signed at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    signed: BTreeMap<Position, [u8; 32]>,
    /// The same for statements, which have positions of their own.
    pub(crate) statements: StatementGuard,
}

/// Bytes that are no guard: whether to sign at all is then for the operator to say.
#[derive(Debug, thiserror::Error)]
#[error("the record of what was signed does not decode: restore it, or make sure that nothing else signs with this key before removing it")]
pub struct GuardCorrupt;

impl Guard {
    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, GuardCorrupt> {
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let (votes, statements) = match records.iter().position(|record| *record == STATEMENTS) {
            None => (bytes, None),
            Some(votes) => {
                let (votes, rest) = bytes.split_at(votes * RECORD_BYTES);
                (votes, Some(&rest[RECORD_BYTES..]))
            }
        };
        let (records, []) = votes.as_chunks::<RECORD_BYTES>() else { return Err(GuardCorrupt) };
        let statements = statements.map_or(Some(StatementGuard::default()), StatementGuard::decode).ok_or(GuardCorrupt)?;
        let record = |record: &[u8; RECORD_BYTES]| {
            let (height, rest) = record.split_first_chunk()?;
            let (round, rest) = rest.split_first_chunk()?;
            let (step, digest) = rest.split_first()?;
            let at = Position { height: u64::from_be_bytes(*height), round: u32::from_be_bytes(*round), step: *step };
            Some((at, digest.try_into().ok()?))
        };
        let signed: Option<_> = records.iter().map(record).collect();
        signed.map(|signed| Self { signed, statements }).ok_or(GuardCorrupt)
    }

    /// Its bytes, some 45 for each position, and as many as [`StatementGuard`] takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let record = |(at, digest): (&Position, &[u8; 32])| {
            [at.height.to_be_bytes().as_slice(), &at.round.to_be_bytes(), &[at.step], digest].concat()
        };
        let mut bytes: Vec<u8> = self.signed.iter().flat_map(record).collect();
        if !self.statements.is_empty() {
            bytes.extend_from_slice(&STATEMENTS);
            bytes.extend_from_slice(&self.statements.encode());
        }
        bytes
    }

    /// Whether nothing was signed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.statements.is_empty()
    }

    /// Of two records of one key, what neither lets be signed twice: the votes of whichever got further, and the statements of both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let statements = self.statements.merge(other.statements);
        let signed = if other.signed.last_key_value() > self.signed.last_key_value() { other.signed } else { self.signed };
        Self { signed, statements }
    }

    /// The last position that was signed at.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        self.signed.last_key_value().map(|(at, _)| *at)
    }

    /// Whether this was signed here, or so long ago that it is not remembered.
    #[must_use]
    pub fn has_signed(&self, at: Position, text: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(text).into();
        self.signed.get(&at) == Some(&digest)
    }

    /// Whether a text may be signed at a position, which it then is. None is the answer to another text, or before the last position.
    /// Else it says whether that is new.
    pub fn sign(&mut self, at: Position, text: &[u8]) -> Option<bool> {
        let digest = Sha256::digest(text).into();
        if let Some(known) = self.signed.get(&at) {
            return (*known == digest).then_some(false);
        }
        if self.last().is_some_and(|last| at < last) {
            return None;
        }
        self.signed.insert(at, digest);
        if self.signed.len() > REMEMBERED {
            self.signed.pop_first();
        }
        Some(true)
    }

    /// Forgets heights before this one, but for the last position.
    pub fn forget_before(&mut self, height: u64) {
        while self.signed.len() > 1 && self.signed.first_key_value().is_some_and(|(at, _)| at.height < height) {
            self.signed.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(height: u64, round: u32, step: u8) -> Position {
        Position { height, round, step }
    }

    #[test]
    fn one_text_at_each_position_and_none_before_the_last() {
        let mut guard = Guard::default();
        assert_eq!(guard.sign(at(5, 0, 1), b"a"), Some(true));
        assert_eq!(guard.sign(at(5, 0, 1), b"a"), Some(false), "the same again");
        assert_eq!(guard.sign(at(5, 0, 1), b"b"), None, "another");
        assert_eq!(guard.sign(at(5, 2, 0), b"c"), Some(true));
        assert_eq!(guard.sign(at(5, 1, 9), b"d"), None, "before the last");
        assert_eq!(guard.sign(at(5, 0, 1), b"a"), Some(false), "an older one again, after a restart");
        guard.forget_before(6);
        assert_eq!(guard.sign(at(5, 0, 1), b"a"), None, "forgotten");
        assert_eq!(guard.sign(at(5, 2, 0), b"x"), None, "the last one is not forgotten");
    }

    #[test]
    fn a_guard_does_not_grow_for_ever() {
        let mut guard = Guard::default();
        for round in 0..10_000 {
            assert_eq!(guard.sign(at(1, round, 0), b"x"), Some(true));
        }
        assert_eq!(guard.encode().len(), REMEMBERED * RECORD_BYTES);
    }

    proptest! {
        #[test]
        fn guards_round_trip_and_never_sign_two_texts(
            asked in prop::collection::vec((0_u64..3, 0_u32..3, 0_u8..3, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let mut guard = Guard::default();
            let mut signed = BTreeMap::new();
            for (height, round, step, text, restarted) in asked {
                if restarted {
                    guard = Guard::decode(&guard.encode()).expect("encoded");
                    guard.forget_before(height);
                }
                if guard.sign(at(height, round, step), &[u8::from(text)]).is_some() {
                    prop_assert_eq!(*signed.entry((height, round, step)).or_insert(text), text);
                }
            }
        }
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            if let Ok(guard) = Guard::decode(&bytes) {
                prop_assert!(guard.encode().len() <= bytes.len());
            }
        }
        #[test]
        fn votes_and_statements_round_trip_together(votes in prop::collection::vec(0_u64..9, 0..5), statements in prop::collection::vec(0_u64..9, 0..5)) {
            let mut guard = Guard::default();
            for height in votes {
                let _ = guard.sign(at(height, 0, 0), b"x");
            }
            for position in statements {
                let _ = guard.statements.sign((1, [2; 32]), position, [3; 32]);
            }
            prop_assert_eq!(Guard::decode(&guard.encode()).expect("encoded"), guard);
        }
    }
}
