//! Why a transaction is refused, why execution stopped, and what a contract said when it reverted: in geth's words, whichever method
//! answers.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, U256};
use revm::context::{
    TxEnv,
    result::{HaltReason, InvalidTransaction},
};

/// The transaction that is refused, as far as the texts name it.
pub struct Refused {
    caller: Address,
    cap: u128,
    tip: u128,
    nonce: u64,
    blob_cap: u128,
    data_bytes: usize,
    base_fee: u64,
    initcode_bytes_max: usize,
}

impl Refused {
    pub fn new(transaction: &TxEnv, base_fee: u64, initcode_bytes_max: usize) -> Self {
        Self {
            caller: transaction.caller,
            cap: transaction.gas_price,
            tip: transaction.gas_priority_fee.unwrap_or(transaction.gas_price),
            nonce: transaction.nonce,
            blob_cap: transaction.max_fee_per_blob_gas,
            data_bytes: transaction.data.len(),
            base_fee,
            initcode_bytes_max,
        }
    }

    pub fn message(&self, invalid: &InvalidTransaction) -> String {
        use InvalidTransaction as Invalid;
        let Self { caller, cap, tip, nonce, blob_cap, data_bytes, base_fee, initcode_bytes_max } = self;
        match invalid {
            Invalid::LackOfFundForMaxFee { fee, balance } => {
                format!("insufficient funds for gas * price + value: address {caller} have {balance} want {fee}")
            }
            Invalid::OverflowPaymentInTransaction => {
                format!("insufficient funds for gas * price + value: address {caller} required balance exceeds 256 bits")
            }
            Invalid::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
                format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
            }
            Invalid::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
                format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
            }
            Invalid::GasPriceLessThanBasefee => {
                format!("max fee per gas less than block base fee: address {caller}, maxFeePerGas: {cap}, baseFee: {base_fee}")
            }
            Invalid::PriorityFeeGreaterThanMaxFee => format!(
                "max priority fee per gas higher than max fee per gas: address {caller}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}"
            ),
            Invalid::CallerGasLimitMoreThanBlock => "gas limit reached".into(),
            Invalid::TxGasLimitGreaterThanCap { gas_limit, cap } => {
                format!("transaction gas limit too high (cap: {cap}, tx: {gas_limit})")
            }
            Invalid::RejectCallerWithCode => format!("sender not an eoa: address {caller}"),
            Invalid::NonceOverflowInTransaction => format!("nonce has max value: address {caller}, nonce: {nonce}"),
            Invalid::NonceTooHigh { tx, state } => format!("nonce too high: address {caller}, tx: {tx} state: {state}"),
            Invalid::NonceTooLow { tx, state } => format!("nonce too low: address {caller}, tx: {tx} state: {state}"),
            Invalid::CreateInitCodeSizeLimit => {
                format!("max initcode size exceeded: code size {data_bytes}, limit {initcode_bytes_max}")
            }
            Invalid::InvalidChainId | Invalid::MissingChainId => "invalid chain id for signer".into(),
            Invalid::BlobGasPriceGreaterThanMax { block_blob_gas_price, .. } => format!(
                "max fee per blob gas less than block blob gas fee: address {caller} blobGasFeeCap: {blob_cap}, blobBaseFee: {block_blob_gas_price}"
            ),
            Invalid::EmptyBlobs => "blob transaction missing blob hashes".into(),
            Invalid::BlobCreateTransaction => "blob transaction of type create".into(),
            Invalid::TooManyBlobs { max, have } => format!("blob transaction has too many blobs (have {have}, max {max})"),
            Invalid::BlobVersionNotSupported => "blob transaction has a hash of an unknown version".into(),
            Invalid::EmptyAuthorizationList => format!("EIP-7702 transaction with empty auth list (sender {caller})"),
            Invalid::AccessListNotSupported
            | Invalid::MaxFeePerBlobGasNotSupported
            | Invalid::BlobVersionedHashesNotSupported
            | Invalid::AuthorizationListNotSupported
            | Invalid::AuthorizationListInvalidFields
            | Invalid::Eip2930NotSupported
            | Invalid::Eip1559NotSupported
            | Invalid::Eip4844NotSupported
            | Invalid::Eip7702NotSupported
            | Invalid::Eip7873NotSupported
            | Invalid::Eip7873MissingTarget => "transaction type not supported".into(),
            Invalid::Str(reason) => reason.to_string(),
        }
    }
}

/// Why execution stopped.
pub fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID".into(),
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode".into(),
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)".into(),
        HaltReason::OutOfOffset => "return data out of bounds".into(),
        HaltReason::CreateCollision => "contract address collision".into(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".into(),
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef".into(),
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => "write protection".into(),
        HaltReason::CallTooDeep => "max call depth exceeded".into(),
        HaltReason::OutOfFunds | HaltReason::OverflowPayment => "insufficient balance for transfer".into(),
        HaltReason::NonceOverflow => "nonce uint64 overflow".into(),
        HaltReason::PrecompileError => "precompile failed".into(),
        HaltReason::PrecompileErrorWithContext(reason) => reason.clone(),
    }
}

/// What a contract says when it reverts, in one of Solidity's two forms. Its own errors have neither: their data says what they are.
pub enum Revert {
    /// `Error(string)`.
    Text(String),
    /// `Panic(uint256)`.
    Panic(U256),
}

impl Revert {
    /// Reads the data of a revert; none where it has another form.
    pub fn decode(output: &[u8]) -> Option<Self> {
        let (selector, data) = output.split_first_chunk::<4>()?;
        match selector {
            [0x08, 0xc3, 0x79, 0xa0] => match DynSolType::String.abi_decode(data).ok()? {
                DynSolValue::String(text) => Some(Self::Text(text)),
                _ => None,
            },
            [0x4e, 0x48, 0x7b, 0x71] => Some(Self::Panic(U256::from_be_slice(data.get(..32)?))),
            _ => None,
        }
    }
}

/// The reason of a revert, where it has one in words.
pub fn reverted(output: &[u8]) -> Option<String> {
    Revert::decode(output).map(|revert| match revert {
        Revert::Text(text) => text,
        Revert::Panic(code) => panicked(code),
    })
}

fn panicked(code: U256) -> String {
    let known = match u8::try_from(code) {
        Ok(0x00) => "generic panic",
        Ok(0x01) => "assert(false)",
        Ok(0x11) => "arithmetic underflow or overflow",
        Ok(0x12) => "division or modulo by zero",
        Ok(0x21) => "enum overflow",
        Ok(0x22) => "invalid encoded storage byte array accessed",
        Ok(0x31) => "out-of-bounds array access; popping on an empty array",
        Ok(0x32) => "out-of-bounds access of an array or bytesN",
        Ok(0x41) => "out of memory",
        Ok(0x51) => "uninitialized function",
        _ => return format!("unknown panic code: {code:#x}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(code: u64) -> Vec<u8> {
        [&[0x4e, 0x48, 0x7b, 0x71][..], &U256::from(code).to_be_bytes::<32>()].concat()
    }

    #[test]
    fn a_panic_is_known_by_its_whole_code() {
        for (code, text) in [
            (0x00, "generic panic"),
            (0x01, "assert(false)"),
            (0x11, "arithmetic underflow or overflow"),
            (0x111, "unknown panic code: 0x111"),
            (0x1234, "unknown panic code: 0x1234"),
            (0x100, "unknown panic code: 0x100"),
            (0x99, "unknown panic code: 0x99"),
        ] {
            assert_eq!(reverted(&panic(code)).as_deref(), Some(text));
        }
        assert_eq!(reverted(&panic(1)[..20]), None, "a code that is cut off is none");
        let all = [&[0x4e, 0x48, 0x7b, 0x71][..], &[0xff; 32]].concat();
        assert_eq!(reverted(&all), Some(format!("unknown panic code: {:#x}", U256::MAX)));
    }

    #[test]
    fn a_contracts_own_error_has_no_text() {
        assert_eq!(reverted(&[1, 2, 3, 4, 5]), None);
        assert_eq!(reverted(&[]), None);
    }
}
