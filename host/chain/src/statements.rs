//! What the members of the committee state about the world outside of the chain, until a block notes it.
//!
//! A host makes a statement anew at each position until a block holds a note of its matter, and repeats it each second, as frames may be lost. Nothing
//! runs on a chain where nobody states anything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use subnode_chain_core::{
    Board, Committees, Refused,
    statement::{Deciding, Note, Statement, VALUE_BYTES_MAX, position_at},
};
use subnode_sandbox::{HostFault, Lease, Notes, Opening, Tenant};
use subnode_signer::{Voter, Vouched};
use subnode_types::NodeId;
use tokio::sync::Notify;

/// How a frame begins that has a statement.
pub(crate) const STATEMENT: u8 = 0;
/// Matters that this host states at once.
const WANTED_MAX: usize = 64;
/// Bytes of the notes that a build is offered.
const OFFERED_BYTES_MAX: usize = 64 << 10;
/// The chain's memory is charged for statements in steps of this.
const LEASE_BYTES: usize = 64 << 10;
/// What a statement takes at most.
const STATEMENT_BYTES_MAX: usize = VALUE_BYTES_MAX + 256;

/// What a statement is about: its kind and subject.
pub(crate) type Matter = (u16, [u8; 32]);
/// A statement that a block notes: its matter and its position.
pub(crate) type Noted = (Matter, u64);

/// See the module.
pub(crate) struct Statements {
    /// The chain, where its blocks can hold notes.
    chain: Option<[u8; 32]>,
    tenant: Tenant,
    held: Mutex<Held>,
    /// This host states something.
    speaks: Notify,
}

#[derive(Default)]
struct Held {
    board: Board,
    /// Bound: [`WANTED_MAX`] values of 4 KiB.
    wanted: BTreeMap<Matter, Vec<u8>>,
    /// The frames that say it.
    /// Bound: as `wanted`, and 120 bytes for each.
    own: BTreeMap<Matter, Bytes>,
    memory: Vec<Lease>,
}

impl Held {
    /// Charges for what the board takes, and for so many bytes more.
    fn pay(&mut self, tenant: &Tenant, more: usize) -> Result<(), HostFault> {
        let steps = (self.board.bytes() + more).div_ceil(LEASE_BYTES);
        self.memory.truncate(steps);
        while self.memory.len() < steps {
            self.memory.push(tenant.lease(LEASE_BYTES as u64)?);
        }
        Ok(())
    }
}

impl Statements {
    /// Of a chain whose blocks can hold notes, or of any other.
    pub(crate) fn new(chain: Option<[u8; 32]>, tenant: Tenant) -> Self {
        Self { chain, tenant, held: Mutex::default(), speaks: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether blocks can hold notes.
    pub(crate) fn are_noted(&self) -> bool {
        self.chain.is_some()
    }

    /// The head is of this height: who decides the next block makes statements.
    pub(crate) fn seat(&self, height: u64, committees: &Committees) {
        if self.chain.is_none() {
            return;
        }
        let mut held = self.held();
        let epoch = committees.epoch_at(height + 1);
        if epoch != held.board.epoch() {
            held.own.clear();
        }
        held.board.seat(epoch, committees.at(height + 1));
        held.board.forget_before(height);
        // What is less is given back.
        drop(held.pay(&self.tenant, 0));
    }

    /// Blocks note these. Whether this host stated one of them, which it does no longer.
    pub(crate) fn noted(&self, noted: &[Noted]) -> bool {
        let mut held = self.held();
        let mut stated = false;
        for ((kind, subject), position) in noted {
            held.board.noted(*kind, *subject, *position);
            stated |= held.wanted.remove(&(*kind, *subject)).is_some();
            held.own.remove(&(*kind, *subject));
        }
        stated
    }

    /// How many notes wait for a block.
    pub(crate) fn ready(&self) -> u32 {
        if self.chain.is_none() {
            return 0;
        }
        u32::try_from(self.held().board.ready()).unwrap_or(u32::MAX)
    }

    /// What this host states: matters and values.
    pub(crate) fn wanted(&self) -> BTreeMap<Matter, Vec<u8>> {
        self.held().wanted.clone()
    }

    /// Has this host state a value of a matter, or none.
    ///
    /// # Errors
    /// Where that is too much.
    pub(crate) fn want(&self, matter: Matter, value: Option<Vec<u8>>) -> Result<(), String> {
        if self.chain.is_none() {
            return Err("the blocks of this chain can hold no notes: its runtime takes none, or it has no committee".into());
        }
        let mut held = self.held();
        match value {
            None => {
                held.wanted.remove(&matter);
                held.own.remove(&matter);
            }
            Some(value) if value.len() > VALUE_BYTES_MAX => {
                return Err(format!("a value of {} bytes, at most {VALUE_BYTES_MAX}", value.len()));
            }
            Some(value) => {
                if !held.wanted.contains_key(&matter) && held.wanted.len() >= WANTED_MAX {
                    return Err(format!("this host states {WANTED_MAX} matters already"));
                }
                held.wanted.insert(matter, value);
            }
        }
        Ok(())
    }

    /// Signs what this host wants to state on a head of this height, where it has not done so. The frames to send once the voter's guard is durable.
    pub(crate) fn sign(&self, voter: &Voter, key: NodeId, height: u64) -> Vec<Bytes> {
        let Some(chain) = self.chain else { return Vec::new() };
        let mut held = self.held();
        let (epoch, position) = (held.board.epoch(), position_at(height));
        let mut frames = Vec::new();
        for (matter, value) in held.wanted.clone() {
            if held.pay(&self.tenant, STATEMENT_BYTES_MAX).is_err() {
                break;
            }
            let statement = Statement { kind: matter.0, subject: matter.1, position, value };
            let text = statement.text(&chain, epoch);
            let vouched = Vouched { kind: matter.0, subject: matter.1, position, text: &text };
            let Some(signature) = voter.vouch(&vouched) else { continue };
            if held.board.take(key, height, epoch, statement.clone(), signature, |_| true).is_err() {
                // It is here, or this node is no member any more.
                continue;
            }
            let frame = Bytes::from(encode(epoch, &Note { statement, signatures: vec![(0, signature)] }));
            held.own.insert(matter, frame.clone());
            frames.push(frame);
        }
        drop(held);
        if !frames.is_empty() {
            self.speaks.notify_one();
        }
        frames
    }

    /// Takes what another node states. Whether a note waits for a block now that did not before.
    ///
    /// # Errors
    /// What is wrong with it; none where it is nobody's fault.
    pub(crate) fn take(&self, from: NodeId, height: u64, frame: &[u8]) -> Result<bool, Option<String>> {
        let Some(chain) = self.chain else { return Ok(false) };
        let (epoch, note) = decode(frame).ok_or_else(|| Some("a statement that does not decode".to_owned()))?;
        let [(_, signature)] = note.signatures[..] else { return Err(Some("a statement with several signatures".into())) };
        let mut held = self.held();
        // Where the chain's memory is full, the member's next repetition is taken.
        held.pay(&self.tenant, STATEMENT_BYTES_MAX).map_err(|_| None)?;
        let before = held.board.ready();
        let signed = |statement: &Statement| Voter::has_vouched(from, &statement.text(&chain, epoch), &signature);
        match held.board.take(from, height, epoch, note.statement, signature, signed) {
            Ok(()) => {}
            Err(Refused::Foreign | Refused::Known) => return Err(None),
            Err(refused) => return Err(Some(format!("a statement is refused: {refused}"))),
        }
        Ok(held.board.ready() > before)
    }

    /// The notes that a block at the next height could hold, as many as a build is offered.
    fn offered(&self) -> Vec<(Statement, Vec<u8>)> {
        let mut bytes = 0;
        let notes = self.held().board.notes();
        let encoded = notes.into_iter().map(|note| (note.encode(), note.statement));
        encoded
            .take_while(|(note, _)| {
                bytes += note.len();
                bytes <= OFFERED_BYTES_MAX
            })
            .map(|(note, statement)| (statement, note))
            .collect()
    }

    /// A build was offered notes and left these out.
    fn left_out<'a>(&self, statements: impl Iterator<Item = &'a Statement>) {
        let mut held = self.held();
        for statement in statements {
            held.board.left_out(statement);
        }
    }

    /// What the guest is lent that builds or executes the block on a head of this height.
    pub(crate) fn lend(&self, height: u64, committees: &Committees, builds: bool) -> Option<BlockNotes> {
        let chain = self.chain?;
        let offered = if builds { self.offered() } else { Vec::new() };
        let next = height + 1;
        let deciding = Deciding { chain, height: next, epoch: committees.epoch_at(next), committee: committees.at(next).to_vec() };
        Some(BlockNotes { deciding, offered, noted: Arc::default() })
    }

    /// The frames of this host, once it states something.
    pub(crate) async fn own(&self) -> Vec<Bytes> {
        loop {
            let own: Vec<Bytes> = self.held().own.values().cloned().collect();
            if !own.is_empty() {
                return own;
            }
            self.speaks.notified().await;
        }
    }
}

fn encode(epoch: u64, note: &Note) -> Vec<u8> {
    [&[STATEMENT], epoch.to_be_bytes().as_slice(), &note.encode()].concat()
}

fn decode(frame: &[u8]) -> Option<(u64, Note)> {
    let (epoch, note) = frame.strip_prefix(&[STATEMENT])?.split_first_chunk()?;
    Some((u64::from_be_bytes(*epoch), Note::decode(note).ok()?))
}

/// The notes of one block, for the guest that builds or executes it.
pub(crate) struct BlockNotes {
    deciding: Deciding,
    offered: Vec<(Statement, Vec<u8>)>,
    /// Bound: 1,024 of 48 bytes, a bound of the contract.
    noted: Arc<Mutex<Vec<Noted>>>,
}

/// What a guest that had notes lent did with them.
pub(crate) struct NotedHere {
    offered: Vec<Statement>,
    /// Bound: 1,024 of 48 bytes, a bound of the contract.
    noted: Arc<Mutex<Vec<Noted>>>,
}

impl BlockNotes {
    /// What will have been done with them.
    pub(crate) fn outcome(&self) -> NotedHere {
        NotedHere { offered: self.offered.iter().map(|(statement, _)| statement.clone()).collect(), noted: self.noted.clone() }
    }
}

impl NotedHere {
    /// What the block notes. What it was offered besides is not offered again.
    pub(crate) fn take(self, statements: &Statements) -> Vec<Noted> {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        let is_noted = |offered: &&Statement| noted.contains(&((offered.kind, offered.subject), offered.position));
        statements.left_out(self.offered.iter().filter(|offered| !is_noted(offered)));
        noted
    }
}

impl Notes for BlockNotes {
    fn waiting(&mut self) -> Vec<Vec<u8>> {
        self.offered.iter().map(|(_, note)| note.clone()).collect()
    }

    fn open(&self, note: &[u8]) -> Option<Opening> {
        let opened = Note::open(note, &self.deciding).ok()?;
        let Statement { kind, subject, position, value } = opened.statement;
        let statement = subnode_sandbox::Statement { kind, subject: subject.to_vec(), position, value };
        Some(Opening { statement, text: opened.text, signatures: opened.signatures })
    }

    fn noted(&mut self, kind: u16, subject: [u8; 32], position: u64) -> usize {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(((kind, subject), position));
        noted.len()
    }
}
