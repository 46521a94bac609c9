//! A client's parameters, read one after the other.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error;
use crate::bindings::exports::RpcError;

/// Parameters in their order.
pub struct Params {
    values: Vec<Value>,
    taken: usize,
}

impl Params {
    pub fn parse(json: &[u8]) -> Result<Self, RpcError> {
        let values = match json {
            [] => Vec::new(),
            json => match serde_json::from_slice(json) {
                Ok(Value::Array(values)) => values,
                Ok(Value::Null) => Vec::new(),
                Ok(_) => return Err(error::invalid_params("non-array args")),
                Err(reason) => return Err(error::invalid_params(format!("invalid params: {reason}"))),
            },
        };
        Ok(Self { values, taken: 0 })
    }

    /// The next parameter, which must be there.
    pub fn required<T: DeserializeOwned>(&mut self) -> Result<T, RpcError> {
        let position = self.taken;
        self.optional()?.ok_or_else(|| error::invalid_params(format!("missing value for required argument {position}")))
    }

    /// The next parameter, or none where it is absent or null.
    pub fn optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>, RpcError> {
        let position = self.taken;
        self.taken += 1;
        match self.values.get_mut(position).map(Value::take) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|reason| error::invalid_params(format!("invalid argument {position}: {reason}"))),
        }
    }

    /// The block a client names: a number, a tag, a hash, or EIP-1898's object. Without one, the latest.
    pub fn block(&mut self) -> Result<BlockId, RpcError> {
        Ok(self.optional_block()?.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest)))
    }

    /// The same, or none where it is absent or null.
    pub fn optional_block(&mut self) -> Result<Option<BlockId>, RpcError> {
        let position = self.taken;
        let value: Option<Value> = self.optional()?;
        let invalid = |reason: String| error::invalid_params(format!("invalid argument {position}: {reason}"));
        let block = match value {
            None => return Ok(None),
            // A bare 32-byte hash is not in the specification, and every node takes it.
            Some(Value::String(text)) if text.len() == 66 => {
                text.parse::<B256>().map(BlockId::from).map_err(|reason| invalid(reason.to_string()))
            }
            // Nor is a JSON number, which older libraries send.
            Some(Value::Number(number)) => {
                number.as_u64().map(BlockId::from).ok_or_else(|| invalid(format!("{number} is no number of 64 bits")))
            }
            Some(value) => serde_json::from_value(value).map_err(|reason| invalid(reason.to_string())),
        };
        block.map(Some)
    }

    /// A block's number or tag, which must be there.
    pub fn block_number(&mut self) -> Result<BlockNumberOrTag, RpcError> {
        let position = self.taken;
        match self.optional_block()? {
            Some(BlockId::Number(number)) => Ok(number),
            Some(BlockId::Hash(_)) => {
                Err(error::invalid_params(format!("invalid argument {position}: a hash in place of a block's number")))
            }
            None => Err(error::invalid_params(format!("missing value for required argument {position}"))),
        }
    }

    /// A number given as hexadecimal text or as a JSON number.
    pub fn number(&mut self) -> Result<u64, RpcError> {
        let position = self.taken;
        self.optional_number()?.ok_or_else(|| error::invalid_params(format!("missing value for required argument {position}")))
    }

    pub fn optional_number(&mut self) -> Result<Option<u64>, RpcError> {
        let position = self.taken;
        let value: Option<Value> = self.optional()?;
        let Some(value) = value else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse::<U256>().ok().and_then(|number| number.try_into().ok()),
            _ => None,
        };
        number.map(Some).ok_or_else(|| error::invalid_params(format!("invalid argument {position}: {value} is no number of 64 bits")))
    }

    /// A storage slot: hexadecimal of at most 32 bytes, padded or not.
    pub fn slot(&mut self) -> Result<B256, RpcError> {
        let text: String = self.required()?;
        parse_slot(&text).map_err(error::invalid_params)
    }
}

/// A storage slot in hexadecimal, worded as geth does where it is none.
pub fn parse_slot(text: &str) -> Result<B256, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.len() > 64 {
        return Err(format!("storage key too long (want at most 32 bytes): {text:?}"));
    }
    U256::from_str_radix(if digits.is_empty() { "0" } else { digits }, 16)
        .map(B256::from)
        .map_err(|_| format!("invalid hex in storage key: {text:?}"))
}
