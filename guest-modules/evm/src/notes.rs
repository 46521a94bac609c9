//! What members of the committee saw outside of the chain (wit/notes.wit): the notes of a block, and the storage of a contract at [`ADDRESS`] that
//! remembers them.
//!
//! A block's notes follow the block's RLP, as a list of their bytes. The header's parent beacon block root stands for them: 0 without notes, else
//! `keccak256("subnode notes 1" ‖ list)`. They come before the transactions, which can read them.
//!
//! | slot | value |
//! |---|---|
//! | 0 | the standing: 0 open, 1 frozen (notes and no transactions), 2 closed (the same for ever) |
//! | `keccak256(kind ‖ subject)`, 32 bytes each | the position of the last statement that was noted of this kind and subject |
//! | the next one | the `keccak256` of its value |
//! | the one after | the height of the block that noted it |
//!
//! `noted(uint16 kind, bytes32 subject)` answers the last three, `standing()` the first. The first note puts the contract there.

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_rlp::{Decodable, Encodable};
use revm::database_interface::Database;

use crate::{
    assembly::{Piece, RETURN_WORD, REVERT, SELECTOR, SLOT_0, assemble},
    bindings::{
        exports::Invalid,
        subnode::chain::{
            declare::{self, NextModule, Role},
            notes as host,
        },
    },
    state::{Account, State},
    verdict::{ensure, invalid},
};

/// Where the contract is.
const ADDRESS: Address = address!("00000000000000000000000000000000005b0de2");
/// Before what the root is the hash of.
const DOMAIN: &[u8] = b"subnode notes 1";
/// Bytes of the notes of a block.
const BYTES_MAX: usize = 64 << 10;
/// The kind that says whether the chain takes transactions, of the subject 0.
const STANDING: u16 = 5;
/// The kind that has the chain go over to another module, of the subject that is the number of the role.
const UPGRADE: u16 = 4;
/// Blocks between the note of an upgrade and the first block that the module decides: hosts get the module and check it meanwhile.
const UPGRADE_NOTICE: u64 = 16;
/// And blocks at most.
const UPGRADE_AHEAD_MAX: u64 = 1 << 20;

/// Whether the chain takes transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    Frozen,
    Closed,
}

impl Standing {
    /// On a state.
    pub fn load(state: &mut State) -> Self {
        let Ok(word) = state.storage(ADDRESS, U256::ZERO);
        Self::of(word.try_into().unwrap_or_default()).unwrap_or(Self::Open)
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Open, Self::Frozen, Self::Closed].get(usize::from(number)).copied()
    }

    /// What a sender is told where no transaction is taken.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Frozen => Some("the chain is frozen: it takes no transactions until its committee opens it"),
            Self::Closed => Some("the chain is closed: it takes no transactions any more"),
        }
    }
}

/// The notes of a block, in its order.
#[derive(Default)]
pub struct Notes {
    list: Vec<Bytes>,
    statements: Vec<Statement>,
}

/// A statement, once its note was found to hold.
pub struct Statement {
    pub kind: u16,
    pub subject: B256,
    pub position: u64,
    pub value: Vec<u8>,
}

impl Notes {
    /// Those that the host has for the next block, but for notes that are not newer than what is noted of their matter.
    pub fn waiting() -> Self {
        let mut notes = Self::default();
        let mut state = State::default();
        let mut bytes = 0;
        for note in host::waiting() {
            let Some(statement) = open(&note) else { continue };
            bytes += note.len();
            let twice = notes.statements.iter().any(|other| (other.kind, other.subject) == (statement.kind, statement.subject));
            if bytes <= BYTES_MAX && !twice && statement.is_newer(&mut state) {
                notes.list.push(note.into());
                notes.statements.push(statement);
            }
        }
        notes
    }

    /// Those behind a block's RLP; `foreign` chains have none.
    pub fn behind(bytes: &[u8]) -> Result<Self, Invalid> {
        let list = decode(bytes)?;
        let opened =
            list.iter().enumerate().map(|(position, note)| open(note).ok_or_else(|| invalid(format!("note {position} does not hold"))));
        let statements = opened.collect::<Result<_, _>>()?;
        Ok(Self { list, statements })
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What the header says of them.
    pub fn root(&self) -> B256 {
        if self.list.is_empty() { B256::ZERO } else { keccak256([DOMAIN, &self.encode()].concat()) }
    }

    /// What follows the block's RLP.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.list.is_empty() {
            self.list.encode(&mut bytes);
        }
        bytes
    }

    /// Writes them to the state of their block.
    pub fn apply(&self, state: &mut State, height: u64) -> Result<(), Invalid> {
        for (position, statement) in self.statements.iter().enumerate() {
            ensure(statement.is_newer(state), || format!("note {position} is not newer than what is noted of its kind and subject"))?;
            statement.apply(state, height);
            host::noted(statement.kind, statement.subject.as_slice(), statement.position);
            if let Some(module) = statement.upgrade(height) {
                declare::upgrade(&module);
            }
        }
        Ok(())
    }

    /// Writes the notes of a block of the chain to the state, for its transactions to be executed again.
    pub fn apply_again(behind: &[u8], state: &mut State, height: u64) {
        for statement in decode(behind).unwrap_or_default().iter().filter_map(|note| Statement::decode(note)) {
            statement.apply(state, height);
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<Bytes>, Invalid> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rest = bytes;
    let list = Vec::<Bytes>::decode(&mut rest).map_err(|error| invalid(format!("notes do not decode: {error}")))?;
    ensure(rest.is_empty(), || format!("{} bytes after the notes", rest.len()))?;
    ensure(!list.is_empty(), || "an empty list of notes: without notes there is none".into())?;
    let total: usize = list.iter().map(|note| note.len()).sum();
    ensure(total <= BYTES_MAX, || format!("notes of {total} bytes, at most {BYTES_MAX}"))?;
    Ok(list)
}

fn open(note: &[u8]) -> Option<Statement> {
    let host::Statement { kind, subject, position, value } = host::open(note)?;
    Some(Statement { kind, subject: B256::try_from(subject.as_slice()).ok()?, position, value })
}

impl Statement {
    /// Of a note whose signatures were checked: kind, subject, position, the length of the value, the value, signatures.
    pub fn decode(note: &[u8]) -> Option<Self> {
        let (kind, rest) = note.split_first_chunk()?;
        let (subject, rest) = rest.split_first_chunk::<32>()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let value = rest.get(..usize::from(u16::from_be_bytes(*length)))?.to_vec();
        Some(Self { kind: u16::from_be_bytes(*kind), subject: subject.into(), position: u64::from_be_bytes(*position), value })
    }

    /// The module that a block of a height has the chain go over to; none where this is another statement, or comes too late.
    fn upgrade(&self, height: u64) -> Option<NextModule> {
        let (role, rest) = self.value.split_first()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (sha256, size) = rest.split_first_chunk::<32>()?;
        let size = u64::from_be_bytes(size.try_into().ok()?);
        let (is_of_role, at) = (self.subject == B256::from(U256::from(*role)), u64::from_be_bytes(*at));
        let role = [Role::Runtime, Role::Consensus].into_iter().nth(usize::from(*role))?;
        let in_time = at >= height.saturating_add(UPGRADE_NOTICE) && at - height <= UPGRADE_AHEAD_MAX;
        (self.kind == UPGRADE && is_of_role && in_time).then(|| NextModule { role, height: at, sha256: sha256.to_vec(), size })
    }

    /// Its first slot.
    fn slot(&self) -> U256 {
        keccak256([B256::from(U256::from(self.kind)), self.subject].concat()).into()
    }

    fn is_newer(&self, state: &mut State) -> bool {
        let Ok(last) = state.storage(ADDRESS, self.slot());
        U256::from(self.position) > last
    }

    fn apply(&self, state: &mut State, height: u64) {
        if !state.has_code(ADDRESS) {
            state.set_account(ADDRESS, Account { nonce: 1, ..Account::default() });
            state.set_code(ADDRESS, code());
        }
        let slot = self.slot();
        for (place, value) in (0_u64..).zip([U256::from(self.position), keccak256(&self.value).into(), U256::from(height)]) {
            state.set_storage(ADDRESS, slot.wrapping_add(U256::from(place)), value);
        }
        let standing = match self.value[..] {
            [number] if self.kind == STANDING && self.subject.is_zero() => Standing::of(number),
            _ => None,
        };
        // Closed is for ever.
        if let Some(standing) = standing
            && Standing::load(state) != Standing::Closed
        {
            state.set_storage(ADDRESS, U256::ZERO, U256::from(standing as u8));
        }
    }
}

/// Where a jump goes to.
#[derive(Clone, Copy, PartialEq)]
enum Label {
    Noted,
    Standing,
}

/// The contract.
fn code() -> Bytes {
    use Piece::{At, Code, If};
    assemble(&[
        Code(SELECTOR),
        If("noted(uint16,bytes32)", Label::Noted),
        If("standing()", Label::Standing),
        Code(REVERT),
        At(Label::Noted),
        // The hash of both arguments.
        Code(&[0x60, 0x40, 0x60, 0x04, 0x5f, 0x37, 0x60, 0x40, 0x5f, 0x20]),
        // The three words from that slot on.
        Code(&[0x80, 0x54, 0x5f, 0x52]),
        Code(&[0x80, 0x60, 0x01, 0x01, 0x54, 0x60, 0x20, 0x52]),
        Code(&[0x60, 0x02, 0x01, 0x54, 0x60, 0x40, 0x52]),
        Code(&[0x60, 0x60, 0x5f, 0xf3]),
        At(Label::Standing),
        Code(SLOT_0),
        Code(RETURN_WORD),
    ])
}
