//! What a genesis says of fees and of who creates contracts, as rules of blocks: built, verified, and refused where a proposer breaks them.

use alloy::{
    consensus::{Block, SignableTransaction, TxEnvelope, TxLegacy},
    primitives::{Address, Bytes, TxKind, U256, bytes},
    rlp::{Decodable, Encodable},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::{Value, json};
use subnode_devnet::{DEFAULT_MNEMONIC, accounts};
use subnode_sandbox::{Attributes, Built, Pooled};
use subnode_tests::replay::{Replay, pooled};

use crate::{fixtures, rules};

/// Loops until its gas is spent.
const LOOP: Bytes = bytes!("5b5f56");
/// Creates a contract of no code.
const EMPTY: Bytes = bytes!("5f5ff3");
/// Creates a contract of what it is called with. Where that fails, it reverts with what the creation did.
const FACTORY: &str = "0x365f5f37365f5ff0806013573d5f5f3e3d5ffd5b5f5260205ff3";
const AT: Address = Address::repeat_byte(0xfa);
const GAS: u64 = 21_000;

/// A chain of Shanghai's rules with what only Subnode reads.
async fn chain(subnode: Value, gas_limit: u64) -> anyhow::Result<Replay> {
    let accounts = json!({ AT.to_string(): { "balance": "0x0", "code": FACTORY } });
    let mut genesis = rules::named("Shanghai").expect("a fork of this runtime").genesis(&rules::first_header(), &accounts);
    genesis["config"]["subnode"] = subnode;
    genesis["gasLimit"] = json!(format!("{gas_limit:#x}"));
    genesis.as_object_mut().expect("an object").remove("baseFeePerGas");
    Replay::genesis(&fixtures::evm()?, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)
}

struct Account {
    signer: PrivateKeySigner,
    nonce: u64,
}

impl Account {
    fn all() -> Vec<Self> {
        let accounts = accounts(DEFAULT_MNEMONIC, 4).expect("a good mnemonic");
        accounts.into_iter().map(|account| Self { signer: account.signer, nonce: 0 }).collect()
    }

    /// Its next transaction, which pays nothing.
    fn sends(&mut self, to: TxKind, gas_limit: u64, input: Bytes) -> Pooled {
        let transaction = TxLegacy { chain_id: Some(1), nonce: self.nonce, gas_price: 0, gas_limit, to, value: U256::ZERO, input };
        self.nonce += 1;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).expect("signs");
        pooled(&transaction.into_signed(signature).into(), self.signer.address())
    }

    fn transfers(&mut self) -> Pooled {
        self.sends(Address::repeat_byte(7).into(), GAS, Bytes::new())
    }
}

/// A block on the head, executed as another host would, and kept.
async fn next(replay: &mut Replay, transactions: Vec<Pooled>) -> anyhow::Result<Block<TxEnvelope>> {
    let seconds = replay.head().timestamp_ms / 1000 + 1;
    let built = replay.build(transactions, &Attributes { timestamp_ms: seconds * 1000, seed: vec![0; 32] }).await?;
    let Built { block, .. } = built.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    let outcome = replay.execute(&block).await?.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    let decoded = Block::decode(&mut block.as_slice())?;
    replay.commit(&block, &outcome);
    Ok(decoded)
}

/// Why another host refuses an empty block with this base fee.
async fn refusal(replay: &mut Replay, base_fee: u64) -> anyhow::Result<Option<String>> {
    let seconds = replay.head().timestamp_ms / 1000 + 1;
    let built = replay.build(Vec::new(), &Attributes { timestamp_ms: seconds * 1000, seed: vec![0; 32] }).await?;
    let mut block = Block::<TxEnvelope>::decode(&mut built.map_err(|invalid| anyhow::anyhow!(invalid.reason))?.block.as_slice())?;
    block.header.base_fee_per_gas = Some(base_fee);
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    Ok(replay.execute(&bytes).await?.err().map(|invalid| invalid.reason))
}

#[tokio::test]
async fn where_gas_costs_nothing_full_blocks_change_nothing() -> anyhow::Result<()> {
    let mut replay = chain(json!({ "fees": "zero" }), 1_000_000).await?;
    let mut accounts = Account::all();
    for _ in 0..3 {
        let full = accounts[..2].iter_mut().map(|account| account.sends(TxKind::Create, 500_000, LOOP)).collect();
        let block = next(&mut replay, full).await?;
        assert_eq!((block.header.gas_used, block.header.base_fee_per_gas), (1_000_000, Some(0)), "of accounts that have nothing");
    }
    assert_eq!(refusal(&mut replay, 0).await?, None);
    let refused = refusal(&mut replay, 1).await?.expect("refused");
    assert!(refused.contains("base fee: header has Some(1), parent asks for 0"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_fixed_price_stays_and_no_block_has_another() -> anyhow::Result<()> {
    let mut replay = chain(json!({ "fees": { "fixed": 1_000 } }), 1_000_000).await?;
    let mut accounts = Account::all();
    for _ in 0..2 {
        let block = next(&mut replay, vec![accounts[0].transfers()]).await?;
        assert_eq!((block.header.base_fee_per_gas, block.body.transactions.len()), (Some(1_000), 0), "empty blocks do not lower it");
    }
    assert_eq!(refusal(&mut replay, 1_000).await?, None);
    for other in [0, 999, 875] {
        assert!(refusal(&mut replay, other).await?.expect("refused").contains("parent asks for 1000"));
    }
    Ok(())
}

#[tokio::test]
async fn no_transaction_asks_for_more_than_one_sender_may_have() -> anyhow::Result<()> {
    let mut replay = chain(json!({ "fees": { "zero": { "senderGas": 100_000 } } }), 1_000_000).await?;
    let mut account = Account::all().remove(0);
    let block = next(&mut replay, vec![account.sends(AT.into(), 100_001, Bytes::new())]).await?;
    assert!(block.body.transactions.is_empty());
    account.nonce = 0;
    let block = next(&mut replay, vec![account.sends(AT.into(), 100_000, Bytes::new())]).await?;
    assert_eq!(block.body.transactions.len(), 1);
    Ok(())
}

/// The pool here offers what it has in the order given, as one whose first sender tips more would.
#[tokio::test]
async fn a_sender_beyond_its_share_of_a_block_waits_for_those_that_others_sent() -> anyhow::Result<()> {
    const ROOM: usize = 10;
    let mut replay = chain(json!({ "fees": { "zero": { "senderGas": 3 * GAS } } }), ROOM as u64 * GAS).await?;
    let mut accounts = Account::all();
    let [first, second, third, _] = accounts.as_mut_slice() else { panic!("four accounts") };
    let mut offered: Vec<Pooled> = (0..20).map(|_| first.transfers()).collect();
    offered.extend((0..2).map(|_| second.transfers()));
    offered.extend((0..3).map(|_| third.transfers()));
    let block = next(&mut replay, offered).await?;
    let sender = |transaction: &TxEnvelope| {
        let sender = alloy::consensus::transaction::SignerRecoverable::recover_signer(transaction).expect("signed");
        [&*first, second, third].iter().position(|account| account.signer.address() == sender).expect("one of them")
    };
    let senders: Vec<_> = block.body.transactions.iter().map(sender).collect();
    assert_eq!(senders, [0, 0, 0, 1, 1, 2, 2, 2, 0, 0], "what others leave is anyone's");

    // Where all want all of it, nobody has more than its share.
    let mut accounts = Account::all();
    for (account, nonce) in accounts.iter_mut().zip([5, 2, 3, 0]) {
        account.nonce = nonce;
    }
    let offered = accounts.iter_mut().flat_map(|account| (0..20).map(|_| account.transfers()).collect::<Vec<_>>()).collect();
    let block = next(&mut replay, offered).await?;
    assert_eq!(block.body.transactions.len(), ROOM);
    assert_eq!(block.body.transactions.iter().filter(|transaction| sender_is(transaction, &accounts[0])).count(), 3);
    Ok(())
}

fn sender_is(transaction: &TxEnvelope, account: &Account) -> bool {
    alloy::consensus::transaction::SignerRecoverable::recover_signer(transaction).is_ok_and(|sender| sender == account.signer.address())
}

/// Nonce and code of an account.
async fn account(replay: &Replay, address: Address) -> anyhow::Result<(Value, Value)> {
    let mut found = Vec::new();
    for method in ["eth_getTransactionCount", "eth_getCode"] {
        let answer = replay.query(method, &json!([address, "latest"]).to_string()).await?;
        found.push(serde_json::from_str(&answer.map_err(|error| anyhow::anyhow!(error.message))?)?);
    }
    let code = found.pop().unwrap_or_default();
    Ok((found.pop().unwrap_or_default(), code))
}

async fn statuses(replay: &Replay) -> anyhow::Result<Vec<Value>> {
    let answer = replay.query("eth_getBlockReceipts", &json!(["latest"]).to_string()).await?;
    let receipts: Vec<Value> = serde_json::from_str(&answer.map_err(|error| anyhow::anyhow!(error.message))?)?;
    Ok(receipts.into_iter().map(|receipt| receipt["status"].clone()).collect())
}

#[tokio::test]
async fn a_creation_that_the_list_does_not_allow_reverts_in_a_block_and_takes_a_nonce() -> anyhow::Result<()> {
    let mut accounts = Account::all();
    let [owner, listed, stranger, _] = accounts.as_mut_slice() else { panic!("four accounts") };
    let deployers = json!({ "owner": owner.signer.address(), "allowed": [listed.signer.address()] });
    let mut replay = chain(json!({ "fees": "zero", "deployers": deployers }), 10_000_000).await?;
    // Past the pool's admission: a proposer may put them into a block, and they may have been allowed when they were admitted.
    let creations = vec![
        listed.sends(TxKind::Create, 100_000, EMPTY),
        stranger.sends(TxKind::Create, 100_000, EMPTY),
        listed.sends(AT.into(), 100_000, EMPTY),
        stranger.sends(AT.into(), 100_000, EMPTY),
        // A call that creates nothing is nobody's business.
        stranger.transfers(),
        owner.sends(TxKind::Create, 100_000, EMPTY),
    ];
    let block = next(&mut replay, creations.clone()).await?;
    assert_eq!(block.body.transactions.len(), 6);
    assert_eq!(statuses(&replay).await?, ["0x1", "0x0", "0x1", "0x0", "0x1", "0x0"], "the owner is allowed what it allows itself");
    for (account, nonce) in [(&*owner, "0x1"), (listed, "0x2"), (stranger, "0x3")] {
        assert_eq!(self::account(&replay, account.signer.address()).await?.0, nonce);
    }
    // Once more they are too old: nothing is good for ever.
    assert!(next(&mut replay, creations).await?.body.transactions.is_empty());

    // The list changes within a block, and from one transaction to the next.
    let call = |function: &str, argument: Address| {
        let mut data = alloy::primitives::keccak256(function)[..4].to_vec();
        data.extend(argument.into_word());
        Bytes::from(data)
    };
    let contract: Address = "0x00000000000000000000000000000000005b0de1".parse()?;
    let (stranger_is, listed_is) = (stranger.signer.address(), listed.signer.address());
    let changes = vec![
        owner.sends(contract.into(), 100_000, call("allow(address)", stranger_is)),
        owner.sends(contract.into(), 100_000, call("disallow(address)", listed_is)),
        stranger.sends(TxKind::Create, 100_000, EMPTY),
        listed.sends(TxKind::Create, 100_000, EMPTY),
        listed.sends(contract.into(), 100_000, call("allow(address)", listed_is)),
        listed.sends(AT.into(), 100_000, EMPTY),
    ];
    assert_eq!(next(&mut replay, changes).await?.body.transactions.len(), 6);
    assert_eq!(statuses(&replay).await?, ["0x1", "0x1", "0x1", "0x0", "0x0", "0x0"]);
    let created = stranger_is.create(3);
    assert_eq!(self::account(&replay, created).await?, (json!("0x1"), json!("0x")));
    Ok(())
}
