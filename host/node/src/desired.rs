//! What should run: kept beside each chain's tables, in the store, from before the chain comes to be until it is deleted.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use subnode_storage::Retention;
use subnode_types::{Parts, Sealing, Slice};

/// Who asked for a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The configuration file. It alone decides of its chains' settings, and whether they run.
    Config,
    /// An operator, while the node ran.
    Operator,
}

/// What a chain should be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Making blocks.
    Running,
    /// Answering, and making none.
    Paused,
    /// Nothing.
    Stopped,
}

/// A chain as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Tells chains of a network apart; none takes the next free number.
    pub id: Option<NonZeroU64>,
    /// Who asked for it.
    pub origin: Origin,
    /// What it should be doing.
    pub wanted: Wanted,
    /// An embedded module's name, or `sha256:` and the hash of one that was added.
    pub runtime: String,
    /// The same for the consensus.
    pub consensus: String,
    /// What the runtime starts from; empty once the chain was born.
    pub spec: Vec<u8>,
    /// For the consensus module.
    pub consensus_config: Vec<u8>,
    /// How it seals at first; the consensus configuration says the same.
    pub sealing: Sealing,
    /// What it may use.
    pub slice: Slice,
    /// How much of the past it keeps.
    pub retention: Retention,
    /// Whether clients may use the developer's controls.
    pub controls: bool,
    /// Bytes of its pool, within its memory.
    pub pool_bytes: u64,
    /// Heights between two states that other nodes can catch up by, where it is created with a committee; 0 for none.
    pub checkpoint_every: u64,
    /// Heights between two blocks that its committee attests whatever they do, where it is created with members that attest; 0 for none.
    pub attest_every: u64,
    /// Whether it came from another host, and has not been heard to be alone with its key: it does not vote.
    pub silent: bool,
}

/// The layout of a record, so that a later release can read an earlier one's.
const VERSION: u8 = 3;
/// The one before: without the last field.
const VERSION_2: u8 = 2;
/// The first: without the last three fields.
const VERSION_1: u8 = 1;

/// Marks a history that is counted in bytes.
const BYTES: u64 = 1 << 63;

/// [`Desired`] as it is kept: `types` knows no serialization.
#[derive(Serialize, Deserialize)]
struct Row {
    id: u64,
    origin: Origin,
    wanted: Wanted,
    runtime: String,
    consensus: String,
    spec: Vec<u8>,
    consensus_config: Vec<u8>,
    /// Milliseconds; 0 is instant, the largest number manual.
    sealing_ms: u64,
    parts: u32,
    memory_bytes: u64,
    storage_bytes: u64,
    bandwidth_bytes: u64,
    /// Heights; 0 keeps all. With [`BYTES`] set, bytes.
    history: u64,
    controls: bool,
    pool_bytes: u64,
    checkpoint_every: u64,
    silent: bool,
    attest_every: u64,
}

impl Desired {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let row = Row {
            id: self.id.map_or(0, NonZeroU64::get),
            origin: self.origin,
            wanted: self.wanted,
            runtime: self.runtime.clone(),
            consensus: self.consensus.clone(),
            spec: self.spec.clone(),
            consensus_config: self.consensus_config.clone(),
            sealing_ms: match self.sealing {
                Sealing::Instant => 0,
                Sealing::Interval(ms) => ms.get(),
                Sealing::Manual => u64::MAX,
            },
            parts: self.slice.cpu.get(),
            memory_bytes: self.slice.memory_bytes,
            storage_bytes: self.slice.storage_bytes,
            bandwidth_bytes: self.slice.bandwidth_bytes,
            history: match self.retention {
                Retention::Archive => 0,
                Retention::Last(heights) => heights.min(BYTES - 1),
                Retention::Within { bytes, .. } => bytes.min(BYTES - 1) | BYTES,
            },
            controls: self.controls,
            pool_bytes: self.pool_bytes,
            checkpoint_every: self.checkpoint_every,
            silent: self.silent,
            attest_every: self.attest_every,
        };
        // Into memory, plain values cannot fail to be written.
        postcard::to_extend(&row, vec![VERSION]).unwrap_or_default()
    }

    /// From bytes; none where they are no record that this release knows.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let row: Row = match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok()?,
            (&VERSION_2, rest) => postcard::from_bytes(&[rest, &[0]].concat()).ok()?,
            (&VERSION_1, rest) => postcard::from_bytes(&[rest, &[0, 0, 0]].concat()).ok()?,
            _ => return None,
        };
        Some(Self {
            id: NonZeroU64::new(row.id),
            origin: row.origin,
            wanted: row.wanted,
            runtime: row.runtime,
            consensus: row.consensus,
            spec: row.spec,
            consensus_config: row.consensus_config,
            sealing: match row.sealing_ms {
                u64::MAX => Sealing::Manual,
                ms => NonZeroU64::new(ms).map_or(Sealing::Instant, Sealing::Interval),
            },
            slice: Slice {
                cpu: Parts::new(row.parts)?,
                memory_bytes: row.memory_bytes,
                storage_bytes: row.storage_bytes,
                bandwidth_bytes: row.bandwidth_bytes,
            },
            retention: match row.history {
                0 => Retention::Archive,
                bytes if bytes & BYTES != 0 => Retention::within(bytes & !BYTES),
                heights => Retention::Last(heights),
            },
            controls: row.controls,
            pool_bytes: row.pool_bytes,
            checkpoint_every: row.checkpoint_every,
            attest_every: row.attest_every,
            silent: row.silent,
        })
    }

    /// Whether both describe one chain, whatever it should be doing. A spec is compared where both have one: it is forgotten
    /// once the chain was born.
    #[must_use]
    pub fn same_chain(&self, other: &Self) -> bool {
        let comparable = |one: &Self| Self { wanted: Wanted::Running, spec: Vec::new(), id: None, silent: false, ..one.clone() };
        let same_spec = self.spec.is_empty() || other.spec.is_empty() || self.spec == other.spec;
        let same_id = self.id.is_none() || other.id.is_none() || self.id == other.id;
        same_spec && same_id && comparable(self) == comparable(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_strange_ones_are_refused() {
        let mut desired = Desired {
            id: NonZeroU64::new(7),
            origin: Origin::Operator,
            wanted: Wanted::Paused,
            runtime: "evm".into(),
            consensus: "solo".into(),
            spec: b"spec".to_vec(),
            consensus_config: b"interval 5".to_vec(),
            sealing: Sealing::Interval(NonZeroU64::MIN),
            slice: Slice::WHOLE,
            retention: Retention::Last(9),
            controls: true,
            pool_bytes: 5,
            checkpoint_every: 7,
            attest_every: 9,
            silent: false,
        };
        assert_eq!(Desired::decode(&desired.encode()).as_ref(), Some(&desired));
        let bytes = desired.encode();
        assert_eq!(Desired::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Desired::decode(b""), None);
        let before = [&[VERSION_2], &bytes[1..bytes.len() - 1]].concat();
        assert_eq!(Desired::decode(&before), Some(Desired { attest_every: 0, ..desired.clone() }));
        let before = [&[VERSION_1], &bytes[1..bytes.len() - 3]].concat();
        assert_eq!(Desired::decode(&before), Some(Desired { checkpoint_every: 0, attest_every: 0, ..desired.clone() }));
        (desired.sealing, desired.retention) = (Sealing::Manual, Retention::Archive);
        assert_eq!(Desired::decode(&desired.encode()).as_ref(), Some(&desired));
        desired.retention = Retention::within(3 << 40);
        assert_eq!(Desired::decode(&desired.encode()).as_ref(), Some(&desired));
        let born = Desired { spec: Vec::new(), wanted: Wanted::Running, ..desired.clone() };
        assert!(desired.same_chain(&born));
        assert!(!desired.same_chain(&Desired { pool_bytes: 6, ..born }));
    }
}
