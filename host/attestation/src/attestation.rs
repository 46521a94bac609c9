use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{Eip712Domain, SolStruct};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::decimal;

/// Bytes of a block's id, as runtimes give them.
pub const BLOCK_ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Where signatures count: for every verifier on every L1, so neither a chain id nor a contract is named.
const DOMAIN: Eip712Domain = alloy_sol_types::eip712_domain! {
    name: "Subnode attestation",
    version: "1",
};

/// What EIP-712 calls the message. A member named `bytes` is in the hash by its Keccak-256, whatever its length.
mod typed {
    #![allow(missing_docs, unreachable_pub, reason = "the macro has them")]
    alloy_sol_types::sol! {
        struct Attestation {
            bytes32 network;
            uint64 chain;
            bytes32 genesis;
            uint64 epoch;
            uint64 height;
            bytes blockId;
            bytes32 outboxRoot;
            uint64 outboxCount;
            uint64 timeMs;
            bytes32 extra;
        }

        struct Extra {
            bytes32 delivered;
            bytes32 nextCommittee;
            bytes32 claims;
        }

        struct Anchor {
            bytes32 network;
            uint64 chain;
            bytes32 genesis;
            uint64 epoch;
            bytes32 committee;
        }
    }
}

/// What a committee says about a committed block. All of it is a function of that block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attestation {
    /// Keccak-256 of the L1's chain id and the manager's address; 0 for a chain that no manager has.
    pub network: B256,
    /// The chain's number in its network; 0 for a chain that no manager has.
    #[serde(with = "decimal")]
    pub chain: u64,
    /// The id of the chain's genesis.
    pub genesis: B256,
    /// Which committee decided the block: how many changes of committee came before it.
    #[serde(with = "decimal")]
    pub epoch: u64,
    /// The block's height.
    #[serde(with = "decimal")]
    pub height: u64,
    /// The id that the runtime gives the block, [`BLOCK_ID_BYTES`] long; on an `evm` chain the block's hash.
    #[serde(deserialize_with = "block_id")]
    pub block_id: Bytes,
    /// The root of all messages that the chain sent up to the block.
    pub outbox_root: B256,
    /// How many messages these are.
    #[serde(with = "decimal")]
    pub outbox_count: u64,
    /// The block's time, milliseconds since 1970.
    #[serde(with = "decimal")]
    pub time_ms: u64,
    /// The root of an [`Extra`].
    pub extra: B256,
}

fn block_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let id = Bytes::deserialize(deserializer)?;
    if !BLOCK_ID_BYTES.contains(&id.len()) {
        return Err(D::Error::custom(format!("a block id of {} bytes: it has {BLOCK_ID_BYTES:?}", id.len())));
    }
    Ok(id)
}

impl Attestation {
    /// What members sign: the hash of EIP-712.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let typed = typed::Attestation {
            network: self.network,
            chain: self.chain,
            genesis: self.genesis,
            epoch: self.epoch,
            height: self.height,
            blockId: self.block_id.clone(),
            outboxRoot: self.outbox_root,
            outboxCount: self.outbox_count,
            timeMs: self.time_ms,
            extra: self.extra,
        };
        typed.eip712_signing_hash(&DOMAIN)
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject { network: self.network, chain: self.chain, genesis: self.genesis }
    }

    /// Whether both are of one height of one chain. Two that differ and are must not have one signer.
    #[must_use]
    pub fn is_of_the_height_of(&self, other: &Self) -> bool {
        self.subject() == other.subject() && self.height == other.height
    }
}

/// A chain, as attestations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// [`Attestation::network`].
    pub network: B256,
    /// [`Attestation::chain`].
    pub chain: u64,
    /// [`Attestation::genesis`].
    pub genesis: B256,
}

impl Subject {
    /// What verifiers trust: the EIP-712 hash of the chain's name, an epoch, and [`crate::Committee::hash`] of its committee. One
    /// committee may decide several chains, so its hash alone is not enough.
    #[must_use]
    pub fn anchor(&self, epoch: u64, committee: B256) -> B256 {
        typed::Anchor { network: self.network, chain: self.chain, genesis: self.genesis, epoch, committee }.eip712_hash_struct()
    }
}

/// What an attestation says beside its block and outbox, each 0 where there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extra {
    /// The root of what was delivered to this chain, for each source.
    pub delivered: B256,
    /// [`crate::Committee::hash`] of the committee of the next epoch, once it is named. An epoch names one.
    pub next_committee: B256,
    /// The root of the claims that this chain noted.
    pub claims: B256,
}

impl Extra {
    /// [`Attestation::extra`]: the EIP-712 hash of this struct, also where all is 0.
    #[must_use]
    pub fn root(&self) -> B256 {
        typed::Extra { delivered: self.delivered, nextCommittee: self.next_committee, claims: self.claims }.eip712_hash_struct()
    }
}
