//! The statements that members of a committee made, until they are noted in a block.

use std::{collections::BTreeMap, sync::Arc};

use subnode_types::{NodeId, Validator};

use crate::statement::{Note, Statement, VALUE_BYTES_MAX, is_quorum, position_at};

/// Bytes of one member's statements.
const MEMBER_BYTES_MAX: usize = 64 << 10;
/// What a statement takes besides its value: itself, its signature, and its places in maps.
const STATEMENT_BYTES: usize = 256;
/// How much later a statement may be than this host's head makes one: its member may be that far ahead.
const POSITIONS_AHEAD: u64 = 1;

/// What a statement is about.
type Matter = (u16, [u8; 32]);

/// A member's statement.
struct Said {
    position: u64,
    value: Arc<[u8]>,
    signature: [u8; 64],
}

/// See the module. A board is of one epoch: statements of another are none.
#[derive(Default)]
pub struct Board {
    epoch: u64,
    committee: Vec<Validator>,
    /// By matter, then by the member's place in the committee.
    /// Bound: [`MEMBER_BYTES_MAX`] bytes of each of 128 members.
    said: BTreeMap<Matter, BTreeMap<u8, Said>>,
    /// Bytes of each member.
    bytes: Vec<usize>,
    /// Positions at which `build` left a note out that it was offered.
    /// Bound: 42 bytes for each matter in `said`.
    left_out: BTreeMap<Matter, u64>,
}

/// Why a statement is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its signer decides nothing, or it is of another epoch, too old or too new: a host that is behind or ahead says such things.
    #[error("it is of no member, or of another time")]
    Foreign,
    /// It is here, or a newer one is.
    #[error("it is known")]
    Known,
    /// Its member has no room left.
    #[error("its member says more than {MEMBER_BYTES_MAX} bytes")]
    Full,
    /// The value is too long.
    #[error("its value is longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// Its signature is wrong.
    #[error("its signature is wrong")]
    Signature,
}

impl Board {
    /// Goes over to the committee that decides the next block. Statements of another epoch are forgotten.
    pub fn seat(&mut self, epoch: u64, committee: &[Validator]) {
        if (epoch, committee) != (self.epoch, self.committee.as_slice()) {
            *self = Self { epoch, committee: committee.to_vec(), bytes: vec![0; committee.len()], ..Self::default() };
        }
    }

    /// The number of the committee.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Bytes that all statements take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Takes a member's statement, if it is newer than what the member said of this matter. `is_signed` is asked last: checking a signature is dear.
    ///
    /// # Errors
    /// [`Refused`] says why it is not taken.
    pub fn take(
        &mut self,
        from: NodeId,
        height: u64,
        epoch: u64,
        statement: Statement,
        signature: [u8; 64],
        is_signed: impl FnOnce(&Statement) -> bool,
    ) -> Result<(), Refused> {
        let place = self.committee.iter().position(|member| member.node == from).and_then(|place| u8::try_from(place).ok());
        let place = place.filter(|_| epoch == self.epoch).ok_or(Refused::Foreign)?;
        let now = position_at(height);
        if statement.position > now + POSITIONS_AHEAD || statement.position + POSITIONS_AHEAD < now {
            return Err(Refused::Foreign);
        }
        if statement.value.len() > VALUE_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let matter = (statement.kind, statement.subject);
        let known = self.said.get(&matter).and_then(|said| said.get(&place));
        if known.is_some_and(|known| known.position >= statement.position) {
            return Err(Refused::Known);
        }
        let freed = known.map_or(0, |known| STATEMENT_BYTES + known.value.len());
        let bytes = self.bytes.get_mut(usize::from(place)).ok_or(Refused::Foreign)?;
        let taken = *bytes - freed + STATEMENT_BYTES + statement.value.len();
        if taken > MEMBER_BYTES_MAX {
            return Err(Refused::Full);
        }
        if !is_signed(&statement) {
            return Err(Refused::Signature);
        }
        *bytes = taken;
        let said = Said { position: statement.position, value: statement.value.into(), signature };
        self.said.entry(matter).or_default().insert(place, said);
        Ok(())
    }

    /// The notes that a block at the next height could hold.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.said.iter().filter_map(|(matter, said)| self.note(*matter, said)).collect()
    }

    /// How many notes that are.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.said.iter().filter(|(matter, said)| self.agreed(matter, said).is_some()).count()
    }

    /// The newest position and value of a matter that members with enough power stated, unless `build` left it out.
    fn agreed<'a>(&self, matter: &Matter, said: &'a BTreeMap<u8, Said>) -> Option<(u64, &'a [u8])> {
        let total = self.committee.iter().map(|member| member.power).sum();
        let mut powers: BTreeMap<(u64, &[u8]), u64> = BTreeMap::new();
        for (place, one) in said {
            let power = self.committee.get(usize::from(*place)).map_or(0, |member| member.power);
            *powers.entry((one.position, &one.value)).or_default() += power;
        }
        let (agreed, _) = powers.into_iter().rev().find(|(_, power)| is_quorum(*power, total))?;
        self.left_out.get(matter).is_none_or(|left_out| agreed.0 > *left_out).then_some(agreed)
    }

    fn note(&self, matter: Matter, said: &BTreeMap<u8, Said>) -> Option<Note> {
        let (position, value) = self.agreed(&matter, said)?;
        let of_it = said.iter().filter(|(_, one)| one.position == position && *one.value == *value);
        Some(Note {
            statement: Statement { kind: matter.0, subject: matter.1, position, value: value.to_vec() },
            signatures: of_it.map(|(place, one)| (*place, one.signature)).collect(),
        })
    }

    /// A block noted a statement at a position: what was said up to there is done with.
    pub fn noted(&mut self, kind: u16, subject: [u8; 32], position: u64) {
        self.drop_up_to((kind, subject), position);
    }

    /// `build` was offered a note and left it out: it is not offered again, since it would keep the chain making blocks.
    pub fn left_out(&mut self, statement: &Statement) {
        let matter = (statement.kind, statement.subject);
        if self.said.contains_key(&matter) {
            self.left_out.insert(matter, statement.position);
        }
    }

    /// Forgets statements that no note on a head of this height can have.
    pub fn forget_before(&mut self, height: u64) {
        let oldest = position_at(height).saturating_sub(POSITIONS_AHEAD);
        for matter in Vec::from_iter(self.said.keys().copied()) {
            self.drop_up_to(matter, oldest.saturating_sub(1));
        }
    }

    fn drop_up_to(&mut self, matter: Matter, position: u64) {
        let Self { said, bytes, left_out, .. } = self;
        let Some(of_it) = said.get_mut(&matter) else { return };
        of_it.retain(|place, one| {
            let stays = one.position > position;
            if !stays && let Some(bytes) = bytes.get_mut(usize::from(*place)) {
                *bytes -= STATEMENT_BYTES + one.value.len();
            }
            stays
        });
        if of_it.is_empty() {
            said.remove(&matter);
            left_out.remove(&matter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(powers: &[u64]) -> Board {
        let mut board = Board::default();
        let committee: Vec<_> = (0_u8..).zip(powers).map(|(node, power)| Validator { node: NodeId([node; 32]), power: *power }).collect();
        board.seat(7, &committee);
        board
    }

    fn statement(subject: u8, position: u64, value: &[u8]) -> Statement {
        Statement { kind: 1, subject: [subject; 32], position, value: value.to_vec() }
    }

    fn say(board: &mut Board, node: u8, statement: Statement) -> Result<(), Refused> {
        board.take(NodeId([node; 32]), 20, 7, statement, [node; 64], |_| true)
    }

    #[test]
    fn more_than_two_thirds_of_one_value_are_a_note() {
        let mut board = board(&[1, 1, 1, 1]);
        assert_eq!(say(&mut board, 0, statement(1, 2, b"a")), Ok(()));
        assert_eq!(say(&mut board, 1, statement(1, 2, b"b")), Ok(()));
        assert_eq!(say(&mut board, 2, statement(1, 2, b"a")), Ok(()));
        assert_eq!(board.notes(), [], "two of four");
        assert_eq!(say(&mut board, 1, statement(1, 2, b"a")), Err(Refused::Known), "a member says one thing at a position");
        assert_eq!(say(&mut board, 3, statement(1, 2, b"a")), Ok(()));
        let [note] = <[Note; 1]>::try_from(board.notes()).expect("one");
        assert_eq!(note.signatures.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2, 3]);
        // The position is burnt for member 1, whose next one agrees.
        board.noted(1, [1; 32], 2);
        assert_eq!((board.notes(), board.bytes()), (Vec::new(), 0));
    }

    #[test]
    fn a_note_that_is_left_out_comes_again_with_a_later_position() {
        let mut board = board(&[5, 1]);
        assert_eq!(say(&mut board, 0, statement(1, 2, b"a")), Ok(()));
        board.left_out(&board.notes()[0].statement.clone());
        assert_eq!(board.notes(), []);
        assert_eq!(say(&mut board, 0, statement(1, 3, b"a")), Ok(()));
        assert_eq!(board.notes()[0].statement.position, 3);
        board.forget_before(5 * 16);
        assert_eq!((board.notes(), board.bytes()), (Vec::new(), 0));
    }

    #[test]
    fn strangers_other_times_and_floods_are_refused() {
        let mut board = board(&[1, 1]);
        assert_eq!(say(&mut board, 9, statement(1, 2, b"a")), Err(Refused::Foreign));
        for position in [0, 4, u64::MAX - 1] {
            assert_eq!(say(&mut board, 0, statement(1, position, b"a")), Err(Refused::Foreign), "{position}");
        }
        let other = board.take(NodeId([0; 32]), 20, 8, statement(1, 2, b"a"), [0; 64], |_| true);
        assert_eq!(other, Err(Refused::Foreign), "another epoch");
        let forged = board.take(NodeId([0; 32]), 20, 7, statement(1, 2, b"a"), [0; 64], |_| false);
        assert_eq!((forged, board.bytes()), (Err(Refused::Signature), 0));
        assert_eq!(say(&mut board, 0, statement(1, 2, &[0; VALUE_BYTES_MAX + 1])), Err(Refused::TooLong));
        let said = (0..=u8::MAX).take_while(|subject| say(&mut board, 0, statement(*subject, 2, &[0; VALUE_BYTES_MAX])).is_ok()).count();
        assert!(board.bytes() <= MEMBER_BYTES_MAX && said == MEMBER_BYTES_MAX / (VALUE_BYTES_MAX + STATEMENT_BYTES));
        assert_eq!(say(&mut board, 1, statement(1, 2, b"a")), Ok(()), "another member has room");
        board.seat(8, &[]);
        assert_eq!(board.bytes(), 0);
    }
}
