//! What the operator's methods are given.

use std::{collections::BTreeMap, num::NonZeroU64};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use subnode_chain::{CHECKPOINT_EVERY, Kind};
use subnode_node::{Desired, Origin, SliceRequest, Supervisor, Wanted};
use subnode_storage::Retention;
use subnode_types::{ChainName, Parts, Sealing, Slice};

use super::failure::{Failure, invalid};

pub(super) fn params<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    let params = if params.is_null() { json!({}) } else { params };
    serde_json::from_value(params).map_err(|error| invalid(format!("invalid parameters: {error}")))
}

pub(super) fn chain_name(name: &str) -> Result<ChainName, Failure> {
    name.parse().map_err(|error| invalid(format!("{error}")))
}

pub(super) fn bytes_of(base64: &str) -> Result<Vec<u8>, Failure> {
    BASE64_STANDARD.decode(base64).map_err(|error| invalid(format!("not base64: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    pub(super) name: String,
}

/// Of `chain_show`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: bool,
}

/// Of `chain_state`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stated {
    pub(super) name: String,
    pub(super) kind: StatedKind,
    pub(super) value: Option<String>,
}

/// What an operator has a node state.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StatedKind {
    Standing,
    Test,
}

impl StatedKind {
    /// The kind of the statement, and the bytes that stand for the value.
    pub(super) fn statement(self, value: Option<String>) -> Result<(Kind, Option<Vec<u8>>), Failure> {
        let standing = |value: String| {
            let number = ["open", "frozen", "closed"].iter().zip(0..).find(|(name, _)| **name == value).map(|(_, number)| vec![number]);
            number.ok_or_else(|| invalid(format!("{value:?} is no standing: open, frozen or closed")))
        };
        match self {
            Self::Standing => Ok((Kind::Standing, value.map(standing).transpose()?)),
            Self::Test => Ok((Kind::Test, value.map(String::into_bytes))),
        }
    }
}

/// Parameters that a method does not have. Where others are flattened, serde leaves it to us to refuse them.
/// Bound: what `LINE_BYTES_MAX` bytes of a line hold; operators alone send lines.
pub(super) type Unknown = BTreeMap<String, Value>;

pub(super) fn refuse(unknown: &Unknown) -> Result<(), Failure> {
    match unknown.keys().next() {
        Some(key) => Err(invalid(format!("invalid parameters: there is no `{key}`"))),
        None => Ok(()),
    }
}

/// Parts of a slice, each of which may be left out.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SliceParams {
    pub(super) slice: Option<Value>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) storage_bytes: Option<u64>,
    pub(super) bandwidth_bytes: Option<u64>,
    pub(super) history: Option<u64>,
    pub(super) history_bytes: Option<NonZeroU64>,
}

impl SliceParams {
    pub(super) fn parts(&self) -> Result<Option<Parts>, Failure> {
        let text = match &self.slice {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        text.parse().map(Some).map_err(|error| invalid(format!("{error}")))
    }

    pub(super) fn retention(&self) -> Result<Option<Retention>, Failure> {
        match (self.history, self.history_bytes) {
            (Some(_), Some(_)) => Err(invalid("history counts heights and historyBytes bytes; give one of them")),
            (None, Some(bytes)) => Ok(Some(Retention::within(bytes.get()))),
            (Some(0), None) => Ok(Some(Retention::Archive)),
            (heights, None) => Ok(heights.map(Retention::Last)),
        }
    }

    pub(super) fn request(&self) -> Result<SliceRequest, Failure> {
        Ok(SliceRequest {
            parts: self.parts()?,
            memory_bytes: self.memory_bytes,
            storage_bytes: self.storage_bytes,
            bandwidth_bytes: self.bandwidth_bytes,
        })
    }

    /// The slice that is asked for, or the one that a node of this capacity gives by itself.
    pub(super) fn slice(&self, supervisor: &Supervisor) -> Result<Slice, Failure> {
        let capacity = supervisor.granted().0;
        Ok(self.request()?.over(capacity.default_slice(), &capacity))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    pub(super) name: String,
    #[serde(default)]
    pub(super) id: Option<NonZeroU64>,
    #[serde(default)]
    pub(super) genesis: String,
    #[serde(default)]
    pub(super) runtime: Option<String>,
    #[serde(default)]
    pub(super) consensus: Option<String>,
    #[serde(default)]
    pub(super) consensus_config: Option<String>,
    #[serde(default)]
    pub(super) sealing: Option<String>,
    #[serde(default)]
    pub(super) controls: bool,
    #[serde(default)]
    pub(super) pool_bytes: Option<u64>,
    pub(super) checkpoint_every: Option<u64>,
    pub(super) attest_every: Option<u64>,
    #[serde(default)]
    pub(super) stopped: bool,
    #[serde(flatten)]
    pub(super) slice: SliceParams,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// Heights that a chain keeps unless told otherwise.
const KEPT_HEIGHTS: u64 = 10_000;
/// Most of a chain's pool unless told otherwise.
const POOL_BYTES: u64 = 64 << 20;

impl Create {
    pub(super) fn desired(&self, supervisor: &Supervisor) -> Result<Desired, Failure> {
        let sealing: Sealing = match &self.sealing {
            None => Sealing::default(),
            Some(text) => text.parse().map_err(|error| invalid(format!("{error}")))?,
        };
        let slice = self.slice.slice(supervisor)?;
        Ok(Desired {
            id: self.id,
            origin: Origin::Operator,
            wanted: if self.stopped { Wanted::Stopped } else { Wanted::Running },
            runtime: self.runtime.clone().unwrap_or_else(|| "evm".into()),
            consensus: self.consensus.clone().unwrap_or_else(|| "solo".into()),
            spec: self.genesis.clone().into_bytes(),
            consensus_config: self.consensus_config.clone().unwrap_or_else(|| sealing.consensus_config()).into_bytes(),
            sealing,
            slice,
            retention: self.slice.retention()?.unwrap_or(Retention::Last(KEPT_HEIGHTS)),
            controls: self.controls,
            // Half of its memory at most is for what waits.
            pool_bytes: self.pool_bytes.unwrap_or(POOL_BYTES).min(slice.memory_bytes / 2),
            checkpoint_every: self.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
            attest_every: self.attest_every.unwrap_or(0),
            silent: false,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resized {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) slice: SliceParams,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upgraded {
    pub(super) name: String,
    #[serde(default)]
    pub(super) runtime: Option<String>,
    #[serde(default)]
    pub(super) consensus: Option<String>,
    #[serde(default)]
    pub(super) at: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deleted {
    pub(super) name: String,
    #[serde(default)]
    pub(super) force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logs {
    pub(super) name: String,
    #[serde(default)]
    pub(super) after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) component: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportFrame {
    pub(super) export: u64,
    pub(super) index: u64,
}

#[derive(Deserialize)]
pub(super) struct ImportBegin {
    pub(super) name: String,
    pub(super) header: String,
    #[serde(default)]
    pub(super) stopped: Option<bool>,
    #[serde(flatten)]
    pub(super) slice: SliceParams,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportFrame {
    pub(super) import: u64,
    pub(super) frame: String,
}
