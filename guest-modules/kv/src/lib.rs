//! The smallest useful runtime: a signed key-value store. Read this module to learn the `runtime` world.
//!
//! A transaction is `public key (32) ‖ sequence (8) ‖ key length (1) ‖ key ‖ value ‖ signature (64)`, big-endian,
//! signed with Ed25519 over what comes before the signature. An empty value deletes the key. The first writer of a key
//! owns the key.
//!
//! A block is `parent id (32) ‖ height (8) ‖ time (8) ‖ seed (32) ‖ notes ‖ transactions`, each note and transaction
//! behind its length (4). The top bit of a note's length is set. The block's id is its SHA-256.
//!
//! The committee is the value of the key `committee`: members of 40 bytes each, key (32) ‖ power (8). A change holds
//! from the second block after it on. Genesis sets the committee and the key's owner from the spec: `{"owner": "0x…",
//! "committee": [{"key": "0x…", "power": 1}]}`. An empty spec sets neither.
//!
//! State: `k key` to owner ‖ value, `s owner` to next sequence, `n kind subject` to position ‖ value of the last
//! statement that was noted. Methods: `kv_get [key]`, `kv_sequence [owner]`, `kv_send [transaction]`, `kv_height []`,
//! `kv_noted [kind ‖ subject]`, `kv_seed []` (the head's), all values in hexadecimal.

use std::collections::BTreeMap;

use subnode_sdk::runtime::{
    Action, Admission, Answer, Attributes, BlockRef, Built, Change, CommitteeChange, Invalid, Outcome, Progress, RpcError, Runtime, Table,
    Validator, crypto, declare, notes, pool, state,
};

const BLOCK_BYTES_MAX: usize = 1 << 20;
const TRANSACTION_BYTES_MAX: usize = 64 << 10;
const KEY_BYTES_MAX: usize = 200;
const SEED_BYTES: usize = 32;
const HEADER_BYTES: usize = 48 + SEED_BYTES;
const NOTES_BYTES_MAX: usize = 64 << 10;
/// The kind of statements that have the chain go over to another module, and blocks between the note and that.
const UPGRADE: u16 = 4;
const UPGRADE_NOTICE: u64 = 16;
/// In a length: that a note follows.
const NOTE: u32 = 1 << 31;
/// The key whose value says who decides blocks, the length of a member there, and how many there may be.
const COMMITTEE_KEY: &[u8] = b"committee";
const MEMBER_BYTES: usize = 40;
const MEMBERS_MAX: usize = 128;
/// A committee decides from the second block after the block that names it, since the next block is on its way already.
const COMMITTEE_DELAY: u64 = 2;

fn sha256(data: &[u8]) -> Vec<u8> {
    let word = crypto::sha256(data);
    [word.a, word.b, word.c, word.d].iter().flat_map(|part| part.to_le_bytes()).collect()
}

struct Transaction<'a> {
    owner: &'a [u8],
    sequence: u64,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Transaction<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err("transaction too large");
        }
        let (signed, signature) = bytes.split_last_chunk::<64>().ok_or("transaction too short")?;
        let (owner, rest) = signed.split_first_chunk::<32>().ok_or("transaction too short")?;
        let (sequence, rest) = rest.split_first_chunk::<8>().ok_or("transaction too short")?;
        let (len, rest) = rest.split_first().ok_or("transaction too short")?;
        let (key, value) = rest.split_at_checked(usize::from(*len)).ok_or("key longer than the transaction")?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err("key must have 1 to 200 bytes");
        }
        if !crypto::verify_ed25519(signed, signature, owner) {
            return Err("invalid signature");
        }
        Ok(Self { owner, sequence: u64::from_be_bytes(*sequence), key, value })
    }
}

/// The state of the parent block, and what this block has changed of it.
#[derive(Default)]
struct State {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    progress: BTreeMap<Vec<u8>, u64>,
    committee: Option<Vec<Validator>>,
}

/// The members that a value names.
fn members(value: &[u8]) -> Option<Vec<Validator>> {
    let count = value.len() / MEMBER_BYTES;
    let member = |member: &[u8]| {
        let (key, power) = member.split_at(32);
        let power = u64::from_be_bytes(power.try_into().ok()?);
        (1..=1 << 32).contains(&power).then(|| Validator { key: key.to_vec(), power })
    };
    let members: Vec<_> = value.chunks_exact(MEMBER_BYTES).map(member).collect::<Option<_>>()?;
    let keys: std::collections::BTreeSet<_> = members.iter().map(|member| &member.key).collect();
    (value.len() == count * MEMBER_BYTES && (1..=MEMBERS_MAX).contains(&count) && keys.len() == count).then_some(members)
}

/// What a chain starts with.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Spec {
    owner: String,
    committee: Vec<Member>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    key: String,
    power: u64,
}

impl Spec {
    /// The row of the committee, where there is one.
    fn row(&self) -> Result<Option<Vec<u8>>, String> {
        if self.committee.is_empty() {
            return Ok(None);
        }
        let key = |text: &str| from_hex(text).filter(|key| key.len() == 32).ok_or_else(|| format!("{text:?}: no key of 32 bytes"));
        let mut row = key(&self.owner)?;
        for member in &self.committee {
            row.extend_from_slice(&key(&member.key)?);
            row.extend_from_slice(&member.power.to_be_bytes());
        }
        Ok(Some(row))
    }
}

impl State {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.changes.get(key).cloned().unwrap_or_else(|| state::get(Table::State, key))
    }

    fn sequence(&self, owner: &[u8]) -> u64 {
        let row = self.get(&[b"s", owner].concat());
        row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    /// Applies a transaction, or says why it cannot be next.
    fn apply(&mut self, transaction: &Transaction<'_>) -> Result<(), &'static str> {
        if transaction.sequence != self.sequence(transaction.owner) {
            return Err("sequence is not the owner's next");
        }
        let row = [b"k", transaction.key].concat();
        match self.get(&row) {
            Some(held) if !held.starts_with(transaction.owner) => return Err("key belongs to another owner"),
            // Whoever came first would decide who decides.
            None if transaction.key == COMMITTEE_KEY => return Err("the chain has no committee, as its genesis says"),
            _ => {}
        }
        if transaction.key == COMMITTEE_KEY {
            self.committee = Some(members(transaction.value).ok_or("the value names no committee")?);
        }
        let value = (!transaction.value.is_empty()).then(|| [transaction.owner, transaction.value].concat());
        self.changes.insert(row, value);
        let next = transaction.sequence + 1;
        self.changes.insert([b"s", transaction.owner].concat(), Some(next.to_be_bytes().to_vec()));
        self.progress.insert(transaction.owner.to_vec(), next);
        Ok(())
    }

    /// Applies a note, or says why no block can hold it now.
    fn note(&mut self, note: &[u8], height: u64) -> Result<(), &'static str> {
        let notes::Statement { kind, subject, position, value } = notes::open(note).ok_or("a note that does not hold")?;
        let row = [b"n".as_slice(), &kind.to_be_bytes(), &subject].concat();
        let last = self.get(&row).and_then(|held| held.first_chunk().copied()).map_or(0, u64::from_be_bytes);
        if position <= last {
            return Err("a note that is not newer than the last of its matter");
        }
        notes::noted(kind, &subject, position);
        if kind == UPGRADE
            && let Some(module) = next_module(&value).filter(|module| module.height >= height + UPGRADE_NOTICE)
        {
            declare::upgrade(&module);
        }
        self.changes.insert(row, Some([position.to_be_bytes().as_slice(), &value].concat()));
        Ok(())
    }

    fn into_outcome(self, height: u64, timestamp_ms: u64, block: &[u8], transactions: u32) -> Outcome {
        Outcome {
            block: BlockRef { height, id: sha256(block), timestamp_ms },
            transactions,
            committee: self.committee.map(|members| CommitteeChange { from_height: height + COMMITTEE_DELAY, members }),
            state: self.changes.into_iter().map(|(key, value)| Change { key, value }).collect(),
            index: Vec::new(),
            progress: self.progress.into_iter().map(|(sender, next_sequence)| Progress { sender, next_sequence }).collect(),
        }
    }
}

/// The module that a statement names: role (1), height (8), SHA-256 (32), size (8).
fn next_module(value: &[u8]) -> Option<declare::NextModule> {
    let (role, rest) = value.split_first()?;
    let (height, rest) = rest.split_first_chunk()?;
    let (sha256, size) = rest.split_at_checked(32)?;
    let role = [declare::Role::Runtime, declare::Role::Consensus].into_iter().nth(usize::from(*role))?;
    let (height, size) = (u64::from_be_bytes(*height), u64::from_be_bytes(size.try_into().ok()?));
    Some(declare::NextModule { role, height, sha256: sha256.to_vec(), size })
}

fn header(parent: &[u8], height: u64, timestamp_ms: u64, seed: &[u8]) -> Vec<u8> {
    [parent, &height.to_be_bytes(), &timestamp_ms.to_be_bytes(), seed].concat()
}

fn error(message: &str) -> RpcError {
    RpcError { code: -32000, message: message.to_owned(), data: None }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() % 2 == 1 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

fn to_hex(bytes: &[u8]) -> Vec<u8> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"0x{digits}\"").into_bytes()
}

struct Kv;

impl Runtime for Kv {
    fn genesis(spec: Vec<u8>) -> Result<Built, String> {
        let parsed: Spec =
            if spec.is_empty() { Spec::default() } else { serde_json::from_slice(&spec).map_err(|error| error.to_string())? };
        // Two chains of different specs are two chains.
        let block = header(&sha256(&spec), 0, 0, &[0; SEED_BYTES]);
        let mut state = State::default();
        let mut committee = None;
        if let Some(row) = parsed.row()? {
            let members = members(&row[32..]).ok_or("committee: 1 to 128 different members, each with a power of 1 to 2^32")?;
            committee = Some(CommitteeChange { from_height: 1, members });
            state.changes.insert([b"k", COMMITTEE_KEY].concat(), Some(row));
        }
        let outcome = Outcome { committee, ..state.into_outcome(0, 0, &block, 0) };
        Ok(Built { block, outcome })
    }

    fn admit(_head: BlockRef, transactions: Vec<Vec<u8>>) -> Vec<Result<Admission, RpcError>> {
        let state = State::default();
        let admit = |bytes: &Vec<u8>| {
            let transaction = Transaction::decode(bytes).map_err(error)?;
            let next_sequence = state.sequence(transaction.owner);
            if transaction.sequence < next_sequence {
                return Err(error("sequence already used"));
            }
            Ok(Admission {
                id: sha256(bytes),
                sender: transaction.owner.to_vec(),
                sequence: transaction.sequence,
                next_sequence,
                priority: 0,
                cap: 0,
            })
        };
        transactions.iter().map(admit).collect()
    }

    fn build(parent: BlockRef, attributes: Attributes) -> Result<Built, Invalid> {
        let timestamp_ms = attributes.timestamp_ms.max(parent.timestamp_ms);
        let mut block = header(&parent.id, parent.height + 1, timestamp_ms, &attributes.seed);
        declare::seed(&attributes.seed);
        let mut state = State::default();
        let mut transactions = 0;
        for note in notes::waiting() {
            if block.len() + 4 + note.len() <= HEADER_BYTES + NOTES_BYTES_MAX && state.note(&note, parent.height + 1).is_ok() {
                block.extend_from_slice(&(NOTE | note.len() as u32).to_be_bytes());
                block.extend_from_slice(&note);
            }
        }
        loop {
            let batch = pool::next(64);
            if batch.is_empty() {
                break;
            }
            for pooled in batch {
                let fits = block.len() + 4 + pooled.data.len() <= BLOCK_BYTES_MAX;
                let applied = fits && Transaction::decode(&pooled.data).is_ok_and(|transaction| state.apply(&transaction).is_ok());
                if applied {
                    transactions += 1;
                    block.extend_from_slice(&(pooled.data.len() as u32).to_be_bytes());
                    block.extend_from_slice(&pooled.data);
                } else {
                    pool::skip_sender(&pooled.sender);
                }
            }
        }
        let outcome = state.into_outcome(parent.height + 1, timestamp_ms, &block, transactions);
        Ok(Built { block, outcome })
    }

    fn execute(parent: BlockRef, block: Vec<u8>) -> Result<Outcome, Invalid> {
        let invalid = |reason: &str| Invalid { reason: reason.to_owned() };
        if block.len() > BLOCK_BYTES_MAX {
            return Err(invalid("block too large"));
        }
        let (head, mut rest) = block.split_at_checked(HEADER_BYTES).ok_or_else(|| invalid("block too short"))?;
        let (before, seed) = head.split_at(HEADER_BYTES - SEED_BYTES);
        let time = before[40..].try_into().map(u64::from_be_bytes).map_err(|_| invalid("block too short"))?;
        if head != header(&parent.id, parent.height + 1, time, seed) || time < parent.timestamp_ms {
            return Err(invalid("header does not follow its parent"));
        }
        declare::seed(seed);
        let mut state = State::default();
        let mut transactions = 0;
        while !rest.is_empty() {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(|| invalid("cut transaction"))?;
            let len = u32::from_be_bytes(*len);
            let (bytes, tail) = tail.split_at_checked((len & !NOTE) as usize).ok_or_else(|| invalid("cut transaction"))?;
            if len & NOTE != 0 {
                if transactions > 0 || block.len() - tail.len() > HEADER_BYTES + NOTES_BYTES_MAX {
                    return Err(invalid("a note behind transactions, or too many"));
                }
                state.note(bytes, parent.height + 1).map_err(invalid)?;
                rest = tail;
                continue;
            }
            let transaction = Transaction::decode(bytes).map_err(invalid)?;
            state.apply(&transaction).map_err(invalid)?;
            transactions += 1;
            rest = tail;
        }
        Ok(state.into_outcome(parent.height + 1, time, &block, transactions))
    }

    fn query(head: BlockRef, method: String, params: Vec<u8>) -> Result<Answer, RpcError> {
        let params: Vec<String> = if params.is_empty() {
            Vec::new()
        } else {
            serde_json::from_slice(&params).map_err(|_| RpcError {
                code: -32602,
                message: "params must be a list of strings".into(),
                data: None,
            })?
        };
        let bytes = || {
            let first = params.first().and_then(|text| from_hex(text));
            first.filter(|bytes| (1..=TRANSACTION_BYTES_MAX).contains(&bytes.len())).ok_or_else(|| RpcError {
                code: -32602,
                message: "the parameter must be hexadecimal".into(),
                data: None,
            })
        };
        let json = match method.as_str() {
            "kv_height" => format!("\"{:#x}\"", head.height).into_bytes(),
            "kv_get" => {
                let key = bytes()?;
                if key.len() > KEY_BYTES_MAX {
                    return Err(error("key must have 1 to 200 bytes"));
                }
                state::get(Table::State, &[b"k", key.as_slice()].concat()).map_or_else(|| b"null".to_vec(), |held| to_hex(&held[32..]))
            }
            "kv_noted" => {
                let matter = bytes()?;
                if matter.len() != 34 {
                    return Err(error("a kind of 2 bytes and a subject of 32"));
                }
                state::get(Table::State, &[b"n", matter.as_slice()].concat()).map_or_else(|| b"null".to_vec(), |held| to_hex(&held))
            }
            "kv_seed" => {
                let head = state::get_part(Table::Block, &head.height.to_be_bytes(), (HEADER_BYTES - SEED_BYTES) as u32, SEED_BYTES as u32);
                head.map_or_else(|| b"null".to_vec(), |seed| to_hex(&seed))
            }
            "kv_sequence" => {
                let owner = bytes()?;
                if owner.len() != 32 {
                    return Err(error("an owner has 32 bytes"));
                }
                format!("\"{:#x}\"", State::default().sequence(&owner)).into_bytes()
            }
            "kv_send" => {
                let transaction = bytes()?;
                Transaction::decode(&transaction).map_err(error)?;
                return Ok(Answer { json: None, action: Some(Action::Submit(transaction)) });
            }
            _ => {
                return Err(RpcError { code: -32601, message: format!("the method {method} does not exist/is not available"), data: None });
            }
        };
        Ok(Answer { json: Some(json), action: None })
    }
}

subnode_sdk::runtime!(Kv);
