//! Conversions between the contract's types and the host's, for what wit/ names and `subnode-types` too.

use std::num::NonZeroU64;

use subnode_types::{BlockRef, NodeId, Position, Sealing, Validator};

use crate::bindings::{consensus, runtime};

/// A block, as runtimes name it.
pub fn runtime_ref(block: &BlockRef) -> runtime::subnode::chain::types::BlockRef {
    runtime::subnode::chain::types::BlockRef { height: block.height, id: block.id.clone(), timestamp_ms: block.timestamp_ms }
}

pub(crate) fn consensus_ref(block: &BlockRef) -> consensus::subnode::chain::types::BlockRef {
    consensus::subnode::chain::types::BlockRef { height: block.height, id: block.id.clone(), timestamp_ms: block.timestamp_ms }
}

/// The block an outcome names.
pub fn block_ref(outcome: &crate::Outcome) -> BlockRef {
    BlockRef { height: outcome.block.height, id: outcome.block.id.clone(), timestamp_ms: outcome.block.timestamp_ms }
}

/// The sealing a runtime asks for. An interval of 0 is none a chain can keep: it becomes 1 ms.
pub fn sealing(sealing: runtime::subnode::chain::types::Sealing) -> Sealing {
    use runtime::subnode::chain::types::Sealing as Guest;
    match sealing {
        Guest::Instant => Sealing::Instant,
        Guest::Interval(ms) => Sealing::Interval(NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN)),
        Guest::Manual => Sealing::Manual,
    }
}

/// For [`crate::ChainStatus`].
pub fn runtime_sealing(sealing: Sealing) -> runtime::subnode::chain::types::Sealing {
    use runtime::subnode::chain::types::Sealing as Guest;
    match sealing {
        Sealing::Instant => Guest::Instant,
        Sealing::Interval(ms) => Guest::Interval(ms.get()),
        Sealing::Manual => Guest::Manual,
    }
}

/// For [`crate::Input::SetSealing`].
pub fn set_sealing(sealing: Sealing) -> crate::Input {
    use consensus::subnode::chain::types::Sealing as Guest;
    crate::Input::SetSealing(match sealing {
        Sealing::Instant => Guest::Instant,
        Sealing::Interval(ms) => Guest::Interval(ms.get()),
        Sealing::Manual => Guest::Manual,
    })
}

/// For [`crate::Input::Committed`].
pub fn committed(block: &BlockRef, ready: u32, committee: &[Validator]) -> crate::Input {
    crate::Input::Committed(consensus::subnode::chain::agreement::Committed {
        block: consensus_ref(block),
        ready,
        committee: validators(committee),
    })
}

pub(crate) fn validators(committee: &[Validator]) -> Vec<consensus::subnode::chain::types::Validator> {
    let validator = |one: &Validator| consensus::subnode::chain::types::Validator { key: one.node.0.to_vec(), power: one.power };
    committee.iter().map(validator).collect()
}

/// The members that a runtime names. A key of another length is none.
pub fn members(members: &[runtime::subnode::chain::types::Validator]) -> Option<Vec<Validator>> {
    let member = |one: &runtime::subnode::chain::types::Validator| {
        Some(Validator { node: NodeId(one.key.as_slice().try_into().ok()?), power: one.power })
    };
    members.iter().map(member).collect()
}

pub(crate) fn position(at: consensus::subnode::chain::signing::Position) -> Position {
    Position { height: at.height, round: at.round, step: at.step }
}
