//! What members of a committee saw outside of the chain, and say with a signature. Enough signatures of one statement are a note, which a block can hold.

use sha2::{Digest, Sha256};
use subnode_types::{NodeId, Validator};

/// Bytes of a statement's value at most.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// Heights of one position. A statement that finds no quorum within these is made again at the next position, where members that said something else
/// may say the same.
pub const POSITION_HEIGHTS: u64 = 16;
/// Positions for which a note can be in a block. A later block does not learn what members saw long ago.
const POSITIONS_VALID: u64 = 8;
/// Before what is signed.
const DOMAIN: &[u8] = b"subnode statement 1\0";
const SIGNATURE_BYTES: usize = 64;

/// The position at which a statement is made on a head: the same for all whose head is about as high, and never lower than before.
#[must_use]
pub fn position_at(height: u64) -> u64 {
    height / POSITION_HEIGHTS + 1
}

/// A fact that a member vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What kind of fact: see [`Kind`]. A runtime ignores kinds that it does not know.
    pub kind: u16,
    /// What the fact is about.
    pub subject: [u8; 32],
    /// Of two statements of one kind and subject the one with the greater position is newer.
    pub position: u64,
    /// What is said: [`VALUE_BYTES_MAX`] bytes at most.
    pub value: Vec<u8>,
}

/// The kinds that hosts make statements of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// For tests: means nothing.
    Test = 1,
    /// The member whose key is the subject was silent.
    Silence = 2,
    /// The chain goes over to another module at a height.
    Upgrade = 4,
    /// Whether the chain takes transactions.
    Standing = 5,
}

impl Statement {
    /// The text that members of an epoch of a chain sign. Its length is fixed, so that no two statements have one text.
    #[must_use]
    pub fn text(&self, chain: &[u8; 32], epoch: u64) -> Vec<u8> {
        let Self { kind, subject, position, value } = self;
        let digest: [u8; 32] = Sha256::digest(value).into();
        [DOMAIN, chain, &epoch.to_be_bytes(), &kind.to_be_bytes(), subject, &position.to_be_bytes(), &digest].concat()
    }
}

/// Why a note is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Its bytes are cut, or too long.
    #[error("the note does not decode")]
    Encoding,
    /// Its signers are not in the order of the committee, or not in it.
    #[error("the note's signers are not members in the order of the committee")]
    Signers,
    /// Too few sign.
    #[error("members with {power} of {total} sign; more than two thirds must")]
    Power {
        /// Of those who sign.
        power: u64,
        /// Of all.
        total: u64,
    },
    /// It is too old, or of the future.
    #[error("the note's position {position} is not one of the last {POSITIONS_VALID} before {last}")]
    Position {
        /// Which it has.
        position: u64,
        /// The last that it could have.
        last: u64,
    },
}

/// Who decides the block that a note is in.
#[derive(Clone, Debug)]
pub struct Deciding {
    /// The chain.
    pub chain: [u8; 32],
    /// The block's height.
    pub height: u64,
    /// The number of the committee.
    pub epoch: u64,
    /// Its members.
    /// Bound: 128 members of 40 bytes.
    pub committee: Vec<Validator>,
}

/// A statement that members signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What they say.
    pub statement: Statement,
    /// Places in the committee, ascending, and signatures.
    pub signatures: Vec<(u8, [u8; SIGNATURE_BYTES])>,
}

impl Note {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Statement { kind, subject, position, value } = &self.statement;
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let mut bytes = [&kind.to_be_bytes(), subject.as_slice(), &position.to_be_bytes(), &length.to_be_bytes(), value].concat();
        for (place, signature) in &self.signatures {
            bytes.push(*place);
            bytes.extend_from_slice(signature);
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote. Nothing is checked but lengths.
    ///
    /// # Errors
    /// Where it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let whole = || {
            let (kind, rest) = bytes.split_first_chunk()?;
            let (subject, rest) = rest.split_first_chunk()?;
            let (position, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (value, signatures) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let statement = Statement {
                kind: u16::from_be_bytes(*kind),
                subject: *subject,
                position: u64::from_be_bytes(*position),
                value: value.to_vec(),
            };
            let (signatures, []) = signatures.as_chunks::<{ 1 + SIGNATURE_BYTES }>() else { return None };
            let signed = |signed: &[u8; 1 + SIGNATURE_BYTES]| Some((signed[0], signed[1..].try_into().ok()?));
            let signatures = signatures.iter().map(signed).collect::<Option<_>>()?;
            (value.len() <= VALUE_BYTES_MAX).then_some(Self { statement, signatures })
        };
        whole().ok_or(NoteError::Encoding)
    }

    /// What has to hold for a note to hold in a block: its signatures, which are by members with more than two thirds of the power of the committee that
    /// decides the block. Checking them is left to the caller.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong besides.
    pub fn open(bytes: &[u8], deciding: &Deciding) -> Result<Opened, NoteError> {
        let Self { statement, signatures } = Self::decode(bytes)?;
        let Deciding { chain, height, epoch, committee } = deciding;
        let last = position_at(*height);
        if statement.position > last || last - statement.position >= POSITIONS_VALID {
            return Err(NoteError::Position { position: statement.position, last });
        }
        if !signatures.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(NoteError::Signers);
        }
        let signers: Option<Vec<_>> = signatures.iter().map(|(place, _)| committee.get(usize::from(*place))).collect();
        let signers = signers.ok_or(NoteError::Signers)?;
        let (power, total) = (signers.iter().map(|member| member.power).sum(), committee.iter().map(|member| member.power).sum());
        if !is_quorum(power, total) {
            return Err(NoteError::Power { power, total });
        }
        let text = statement.text(chain, *epoch);
        let signatures = signers.iter().zip(&signatures).map(|(member, (_, signature))| (member.node, *signature)).collect();
        Ok(Opened { statement, text, signatures })
    }
}

/// A note that holds if its signatures do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub statement: Statement,
    /// What each signature must be over.
    pub text: Vec<u8>,
    /// Signers, each once, and their signatures.
    pub signatures: Vec<(NodeId, [u8; SIGNATURE_BYTES])>,
}

/// Whether this power is more than two thirds of all. The power of a committee is less than 2^60.
pub(crate) fn is_quorum(power: u64, total: u64) -> bool {
    power.saturating_mul(3) > total.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHAIN: [u8; 32] = [9; 32];

    fn committee() -> Vec<Validator> {
        (0..4).map(|node| Validator { node: NodeId([node; 32]), power: 1 }).collect()
    }

    /// A stand-in for a signature: of the member, over the text.
    fn signature(member: NodeId, text: &[u8]) -> [u8; 64] {
        let digest: [u8; 32] = Sha256::new_with_prefix(member.0).chain_update(text).finalize().into();
        std::array::from_fn(|at| digest[at % 32])
    }

    fn open(note: &Note, height: u64, epoch: u64) -> Result<Statement, NoteError> {
        let deciding = Deciding { chain: CHAIN, height, epoch, committee: committee() };
        let Opened { statement, text, signatures } = Note::open(&note.encode(), &deciding)?;
        assert!(signatures.iter().all(|(member, signed)| signature(*member, &text) == *signed) == (epoch == 3));
        Ok(statement)
    }

    fn note(places: &[u8]) -> Note {
        let statement = Statement { kind: Kind::Test as u16, subject: [1; 32], position: 2, value: b"seen".to_vec() };
        let text = statement.text(&CHAIN, 3);
        let sign = |place: &u8| (*place, signature(NodeId([*place; 32]), &text));
        Note { signatures: places.iter().map(sign).collect(), statement }
    }

    #[test]
    fn a_note_holds_at_its_time_in_its_epoch() {
        assert_eq!(open(&note(&[0, 1, 3]), 17, 3).expect("sound").value, b"seen");
        assert!(open(&note(&[0, 1, 2, 3]), 9 * POSITION_HEIGHTS - 1, 3).is_ok());
        assert!(matches!(open(&note(&[0, 1, 3]), 9 * POSITION_HEIGHTS, 3), Err(NoteError::Position { last: 10, .. })));
        assert!(matches!(open(&note(&[0, 1, 3]), 15, 3), Err(NoteError::Position { last: 1, .. })));
        assert!(open(&note(&[0, 1, 3]), 17, 4).is_ok(), "its signatures are over another text in a block of the next epoch");
    }

    #[test]
    fn a_note_needs_more_than_two_thirds_each_counted_once() {
        assert_eq!(open(&note(&[0, 1]), 17, 3), Err(NoteError::Power { power: 2, total: 4 }));
        assert_eq!(open(&note(&[0, 1, 1]), 17, 3), Err(NoteError::Signers));
        assert_eq!(open(&note(&[1, 0, 3]), 17, 3), Err(NoteError::Signers));
        assert_eq!(open(&note(&[0, 1, 4]), 17, 3), Err(NoteError::Signers), "a stranger");
        assert!(!is_quorum(2, 3) && is_quorum(3, 4) && !is_quorum(0, 0));
    }

    proptest! {
        #[test]
        fn notes_round_trip(value in prop::collection::vec(any::<u8>(), 0..100), places in prop::collection::btree_set(0_u8..128, 0..20)) {
            let mut whole = note(&Vec::from_iter(places));
            whole.statement.value = value;
            let bytes = whole.encode();
            prop_assert_eq!(Note::decode(&bytes), Ok(whole.clone()));
        }
        #[test]
        fn any_bytes_decode_to_what_encodes_to_them_or_not_at_all(bytes: Vec<u8>) {
            if let Ok(note) = Note::decode(&bytes) {
                prop_assert_eq!(note.encode(), bytes);
            }
        }
    }
}
