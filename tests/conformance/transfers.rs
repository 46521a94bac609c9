//! Transfers that the guest does itself, and everything that looks like one, against a guest that leaves them to revm: the same blocks.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEnvelope, TxLegacy},
    eips::Encodable2718,
    primitives::{Address, Bytes, TxKind, U256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_sandbox::{Attributes, Module, Pooled};
use subnode_tests::replay::Replay;

use crate::{fixtures, rules};

const FORKS: [&str; 5] = ["Paris", "Shanghai", "Cancun", "Prague", "Osaka"];
const BLOCKS: u64 = 60;
const TRANSACTIONS: usize = 40;
const BASE_FEE: u128 = 1_000;

fn address(last: u16) -> Address {
    Address::left_padding_from(&last.to_be_bytes())
}

/// One of these, the first most of the time.
fn mostly<T: Copy>(random: &mut StdRng, usual: T, others: &[T]) -> T {
    if random.random_bool(0.7) { usual } else { others.choose(random).copied().unwrap_or(usual) }
}

/// Signs what may be a transfer, or nearly one.
fn transaction(random: &mut StdRng, sender: &Account, nonce: u64, receivers: &[Address]) -> TxEnvelope {
    let to = *receivers.choose(random).expect("there are some");
    let nonce = mostly(random, nonce, &[nonce + 1, 0, u64::MAX]);
    let value = U256::from(mostly(random, 5_u128, &[0, 1 << 60, 1 << 100, u128::MAX]));
    let gas_limit = mostly(random, 21_000, &[20_999, 21_001, 50_000, 1 << 20, 1 << 24, (1 << 24) + 1]);
    let fee = mostly(random, BASE_FEE + 10, &[0, BASE_FEE - 1, BASE_FEE, 1 << 70, 1 << 110, u128::MAX]);
    let tip = mostly(random, 3, &[0, 1 << 69, fee, fee.saturating_add(1), u128::MAX]);
    let input = mostly(random, "", &["", "00", "0102"]).parse::<Bytes>().expect("hexadecimal");
    let chain_id = mostly(random, 1, &[1, 2]);
    let signer = PrivateKeySigner::from_bytes(&sender.secret()).expect("a key");
    macro_rules! signed {
        ($transaction:expr) => {{
            let transaction = $transaction;
            let signature = signer.sign_hash_sync(&transaction.signature_hash()).expect("a signature");
            transaction.into_signed(signature).into()
        }};
    }
    let (to, access_list) = (TxKind::Call(to), alloy::eips::eip2930::AccessList::default());
    match random.random_range(0..4) {
        0 => signed!(TxLegacy { chain_id: None, nonce, gas_price: fee, gas_limit, to, value, input }),
        1 => signed!(TxLegacy { chain_id: Some(chain_id), nonce, gas_price: fee, gas_limit, to, value, input }),
        2 => signed!(TxEip2930 { chain_id, nonce, gas_price: fee, gas_limit, to, value, access_list, input }),
        _ => signed!(TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            to,
            value,
            access_list,
            input
        }),
    }
}

async fn block(module: &Module, genesis: &str, pooled: Vec<Pooled>) -> anyhow::Result<(u32, Vec<u8>)> {
    let mut replay = Replay::genesis(module, genesis.as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let attributes = Attributes { timestamp_ms: replay.head().timestamp_ms + 1_000, seed: vec![7; 32] };
    let built = replay.build(pooled, &attributes).await?.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    Ok((built.outcome.transactions, built.block))
}

#[tokio::test]
async fn transfers_make_the_blocks_that_revm_makes_of_them() -> anyhow::Result<()> {
    let (ours, by_revm) = (fixtures::evm()?, fixtures::evm_with_transfers_by_revm()?);
    let senders = accounts(DEFAULT_MNEMONIC, 6)?;
    let (contract, delegated, rich, fresh) = (address(0xc0de), address(0xde1e), address(0x7fff), address(0xf4e5));
    let mut included = 0;
    for seed in 0..BLOCKS {
        for fork in FORKS {
            let random = &mut StdRng::seed_from_u64(seed);
            let coinbase = *[senders[0].address, contract, rich, fresh, Address::ZERO].choose(random).expect("there are some");
            let mut alloc = json!({
                contract.to_string(): { "balance": "0x1", "code": "0x60015f5500" },
                rich.to_string(): { "balance": (U256::MAX - U256::from(seed * 7)).to_string() },
            });
            if ["Prague", "Osaka"].contains(&fork) {
                rules::add_called_last(&mut alloc);
                alloc[delegated.to_string()] = json!({ "balance": "0x1", "code": format!("0xef0100{}", &contract.to_string()[2..]) });
            }
            for (index, sender) in senders.iter().enumerate() {
                let balance = if index == 5 { U256::ONE << 200 } else { U256::from(1_u128 << (40 + 10 * index)) };
                alloc[sender.address.to_string()] = json!({ "balance": balance.to_string() });
            }
            let header = json!({
                "number": "0x0", "timestamp": "0x65920080", "gasLimit": "0x1c9c380", "gasUsed": "0xe4e1c0", "difficulty": "0x0",
                "baseFeePerGas": format!("{BASE_FEE:#x}"), "coinbase": coinbase, "extraData": "0x",
            });
            let genesis = rules::named(fork).expect("a fork of this runtime").genesis(&header, &alloc).to_string();
            let mut receivers =
                vec![coinbase, contract, delegated, rich, fresh, address(0x01), address(0x0a), address(0x11), address(0x100)];
            receivers.extend(senders.iter().map(|sender| sender.address));
            let mut nonces = vec![0; senders.len()];
            let pooled: Vec<Pooled> = (0..TRANSACTIONS)
                .map(|_| {
                    let index = random.random_range(0..senders.len());
                    let transaction = transaction(random, &senders[index], nonces[index], &receivers);
                    nonces[index] += 1;
                    Pooled {
                        id: transaction.tx_hash().to_vec(),
                        sender: senders[index].address.to_vec(),
                        sequence: nonces[index],
                        data: transaction.encoded_2718(),
                        ready: true,
                    }
                })
                .collect();
            let (count, one) = block(&ours, &genesis, pooled.clone()).await?;
            let (_, other) = block(&by_revm, &genesis, pooled).await?;
            anyhow::ensure!(one == other, "seed {seed}, {fork}: the blocks differ");
            included += count;
        }
    }
    anyhow::ensure!(included > 500, "{included} transactions were included: too few to say anything");
    Ok(())
}
