//! Transactions to measure with, and the contracts that they call, assembled by hand.

use alloy::{
    consensus::{SignableTransaction, TxEnvelope, TxLegacy},
    hex,
    primitives::{Address, Bytes, TxKind, U256, address, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::{Value, json};
use subnode_devnet::Account;

/// The chain id of all workloads.
pub(crate) const CHAIN_ID: u64 = 31337;
/// Where genesis puts the contract that a workload calls.
pub(crate) const CONTRACT: Address = address!("00000000000000000000000000000000000c0de1");

/// What the transactions of a block do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Move one wei.
    Transfer,
    /// Move one unit of a token: selector, two balances in a mapping, an event.
    Erc20,
    /// Hash 32 bytes, over and over.
    Keccak,
    /// Multiply, add and compare, over and over.
    Arithmetic,
}

impl Workload {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Transfer, Self::Erc20, Self::Keccak, Self::Arithmetic];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfers",
            Self::Erc20 => "ERC-20 transfers",
            Self::Keccak => "keccak loop",
            Self::Arithmetic => "arithmetic loop",
        }
    }

    /// The code of the contract that it calls.
    pub(crate) fn code(self) -> Bytes {
        let code = match self {
            Self::Transfer => String::new(),
            Self::Erc20 => [
                // Is it transfer(address,uint256)?
                "5f3560e01c63a9059cbb14601157",
                "5f5ffd",
                "5b",
                // The sender's balance, from mapping slot 0; everyone starts with 2^128.
                "335f52",
                "5f602052",
                "60405f20",
                "8054",
                "602435",
                "9003",
                "9055",
                // The receiver's.
                "6004355f52",
                "60405f20",
                "8054",
                "602435",
                "01",
                "9055",
                // Transfer(from, to, amount)
                "6024355f52",
                "60043533",
                "7fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
                "60205fa3",
                "60015f5260205ff3",
            ]
            .concat(),
            // n = 20000; do { mstore(0, keccak256(0, 32)) } while (--n)
            Self::Keccak => "614e205b60205f205f52600190038060035700".to_owned(),
            // n = 20000; x = 7; do { x = x * n + n; n < x } while (--n)
            Self::Arithmetic => "6007614e205b80910281019081811050600190038060055700".to_owned(),
        };
        hex::decode(code).unwrap_or_default().into()
    }

    /// Gas that one of its transactions may use.
    pub(crate) fn gas_limit(self) -> u64 {
        match self {
            Self::Transfer => 21_000,
            Self::Erc20 => 120_000,
            Self::Keccak | Self::Arithmetic => 5_000_000,
        }
    }

    /// Transactions in a block of it.
    pub(crate) fn block_transactions(self) -> usize {
        match self {
            Self::Transfer | Self::Erc20 => 2_000,
            Self::Keccak | Self::Arithmetic => 10,
        }
    }

    /// Signed transactions of the accounts in turn, each account's nonces from `nonce` on.
    pub(crate) fn signed(
        self,
        accounts: &[Account],
        contract: Address,
        nonce: u64,
        count: usize,
        gas_price: u128,
    ) -> Vec<(Address, TxEnvelope)> {
        self.signed_for(CHAIN_ID, accounts, contract, nonce, count, gas_price)
    }

    /// The same, for a chain of another id.
    pub(crate) fn signed_for(
        self,
        chain_id: u64,
        accounts: &[Account],
        contract: Address,
        nonce: u64,
        count: usize,
        gas_price: u128,
    ) -> Vec<(Address, TxEnvelope)> {
        let signers: Vec<_> = accounts.iter().map(|account| PrivateKeySigner::from_bytes(&account.secret()).expect("a key")).collect();
        (0..count)
            .map(|index| {
                let position = index % signers.len();
                let receiver = accounts[(position + 3) % accounts.len()].address;
                let (to, value, input) = match self {
                    Self::Transfer => (receiver, U256::ONE, Bytes::new()),
                    Self::Erc20 => {
                        let amount = U256::ONE.to_be_bytes::<32>();
                        let call = [&keccak256("transfer(address,uint256)")[..4], &[0; 12], receiver.as_slice(), &amount].concat();
                        (contract, U256::ZERO, call.into())
                    }
                    Self::Keccak | Self::Arithmetic => (contract, U256::ZERO, Bytes::new()),
                };
                let transaction = TxLegacy {
                    chain_id: Some(chain_id),
                    nonce: nonce + (index / signers.len()) as u64,
                    gas_price,
                    gas_limit: self.gas_limit(),
                    to: TxKind::Call(to),
                    value,
                    input,
                };
                let signature = signers[position].sign_hash_sync(&transaction.signature_hash()).expect("a signature");
                (accounts[position].address, transaction.into_signed(signature).into())
            })
            .collect()
    }

    /// A genesis with rich accounts and the contract.
    pub(crate) fn genesis(self, accounts: &[Account]) -> Value {
        let mut alloc = json!({});
        for account in accounts {
            alloc[account.address.to_string()] = json!({ "balance": "0xffffffffffffffffffffffff" });
        }
        if self != Self::Transfer {
            let mut storage = json!({});
            for account in accounts {
                let slot = keccak256([account.address.into_word().as_slice(), &[0; 32]].concat());
                storage[slot.to_string()] = json!("0x0000000000000000000000000000000100000000000000000000000000000000");
            }
            alloc[CONTRACT.to_string()] = json!({ "balance": "0x0", "code": self.code(), "storage": storage });
        }
        json!({
            "config": {
                "chainId": CHAIN_ID, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0,
                "blobSchedule": { "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 } },
                "subnode": { "sharedSeconds": true },
            },
            "gasLimit": "0x77359400", "baseFeePerGas": "0x7", "timestamp": "0x65920080", "difficulty": "0x0", "alloc": alloc,
        })
    }
}
