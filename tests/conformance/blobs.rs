//! How many blobs a transaction and a block may have.

use alloy::{
    consensus::{SignableTransaction, TxEip4844, TxEnvelope},
    primitives::{Address, B256, U256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::json;
use subnode_devnet::{DEFAULT_MNEMONIC, accounts};
use subnode_sandbox::{Attributes, Module};
use subnode_tests::replay::{Replay, pooled};

use crate::{fixtures, rules};

/// Whether a block takes a transaction with this many blobs, under rules with other limits or the fork's own.
async fn is_taken(module: &Module, fork: &str, max: Option<u64>, blobs: u8) -> anyhow::Result<bool> {
    let account = accounts(DEFAULT_MNEMONIC, 1)?.remove(0);
    let mut alloc = json!({ account.address.to_string(): { "balance": "0xde0b6b3a7640000" } });
    rules::add_called_last(&mut alloc);
    let mut rules = rules::named(fork).expect("a fork of this runtime");
    if let Some(max) = max {
        rules.set_blobs(fork, max / 2, max);
    }
    let genesis = rules.genesis(&rules::first_header(), &alloc).to_string();
    let mut replay = Replay::genesis(module, genesis.as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let blob_versioned_hashes = (0..blobs).map(|index| B256::with_last_byte(index) | B256::from(U256::from(1) << 248)).collect();
    let transaction = TxEip4844 {
        chain_id: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        max_fee_per_blob_gas: 1_000_000_000,
        to: Address::repeat_byte(7),
        blob_versioned_hashes,
        ..TxEip4844::default()
    };
    let signature = PrivateKeySigner::from_bytes(&account.secret())?.sign_hash_sync(&transaction.signature_hash())?;
    let transaction = TxEnvelope::from(transaction.into_signed(signature));
    let built = replay.build(vec![pooled(&transaction, account.address)], &Attributes { timestamp_ms: 1_000, seed: vec![0; 32] }).await?;
    let built = built.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    if built.outcome.transactions == 1 {
        replay.execute(&built.block).await?.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    }
    Ok(built.outcome.transactions == 1)
}

/// EIP-7594 limits the blobs of a transaction to six, from Osaka on. Before, and where the block's limit is lower, that one counts.
#[tokio::test]
async fn a_transaction_may_fill_its_block_with_blobs_until_osaka() -> anyhow::Result<()> {
    let module = fixtures::evm()?;
    let most = [
        ("Cancun", None, 6),
        ("Cancun", Some(9), 9),
        ("Prague", None, 9),
        ("Prague", Some(4), 4),
        ("Prague", Some(12), 12),
        ("Osaka", None, 6),
        ("Osaka", Some(3), 3),
        ("BPO2", None, 6),
    ];
    for (fork, max, most) in most {
        assert!(is_taken(&module, fork, max, most).await?, "{fork} with a limit of {max:?}: {most} blobs are refused");
        assert!(!is_taken(&module, fork, max, most + 1).await?, "{fork} with a limit of {max:?}: {} blobs are taken", most + 1);
    }
    Ok(())
}
