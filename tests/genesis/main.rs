//! Chains that are born of long genesis files: read in parts, sorted by the host, written as they come.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, U256, keccak256},
    providers::Provider,
};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount};
use subnode_chain::{Chain, ChainOptions, OpenError, Reply, Spec, TimeSource};
use subnode_devnet::{Devnet, Signers, default_options};
use subnode_node::{ChainSetup, Node, NodeError};
use subnode_sandbox::{CallError, GuestFault, Limits, Sandbox, SandboxOptions};
use subnode_storage::{Entry, MemoryStore, Retention, RocksOptions, RocksStore, Store, StoreError, Table};
use subnode_tests::alloc;
use subnode_types::{ChainName, Sealing, Slice};

/// The contract's bound of a spec that is given whole.
const WHOLE_BYTES: usize = 4 << 20;
/// Memory of a guest in these tests: an eighth of a dev chain's.
const MEMORY_BYTES: usize = 64 << 20;

fn name() -> ChainName {
    "born".parse().unwrap()
}

fn sandbox() -> Sandbox {
    Sandbox::new(&SandboxOptions { instances: 16, cache_dir: subnode_devnet::module_cache_dir() }).unwrap()
}

struct Birth {
    store: Arc<dyn Store>,
    storage_bytes: u64,
    memory_bytes: usize,
}

impl Birth {
    fn on(store: Arc<dyn Store>) -> Self {
        Self { store, storage_bytes: u64::MAX, memory_bytes: MEMORY_BYTES }
    }

    async fn of(&self, spec: impl Into<Spec>) -> Result<Chain, NodeError> {
        let sandbox = sandbox();
        let defaults = default_options(Sealing::Manual, TimeSource::Wall);
        let block = Limits { memory_bytes: self.memory_bytes, ..defaults.block };
        let setup = ChainSetup {
            name: name(),
            runtime: sandbox.load(subnode_modules::EVM).unwrap(),
            consensus: sandbox.load(subnode_modules::SOLO).unwrap(),
            spec: spec.into(),
            consensus_config: b"manual".to_vec(),
            retention: Retention::Archive,
            slice: Slice { storage_bytes: self.storage_bytes, ..Slice::WHOLE },
            accounts: Arc::new(Signers::of(&[])),
            options: ChainOptions { block, ..defaults },
        };
        Box::pin(Node::new(self.store.clone()).open(setup)).await
    }

    fn rows(&self, table: Table) -> Vec<Entry> {
        self.store.open(&name(), Retention::Archive).unwrap().view().scan(table, b"", None, usize::MAX).unwrap()
    }

    /// Whether the chain is as one that was never tried.
    fn is_unborn(&self) -> bool {
        let chain = self.store.open(&name(), Retention::Archive).unwrap();
        chain.head().is_none()
            && [Table::State, Table::Index, Table::Block, Table::Meta, Table::Log]
                .into_iter()
                .all(|table| chain.view().scan(table, b"", None, 1).unwrap().is_empty())
    }
}

fn backends(dir: &tempfile::TempDir) -> [Arc<dyn Store>; 2] {
    [Arc::new(MemoryStore::default()), Arc::new(RocksStore::open(dir.path(), &RocksOptions::SMALL).unwrap())]
}

/// The same file, too long to be given whole.
fn padded(file: &str) -> Vec<u8> {
    let mut file = file.to_owned();
    file.insert_str(1, &" ".repeat(WHOLE_BYTES));
    file.into_bytes()
}

async fn block(chain: &Chain) -> serde_json::Value {
    match chain.query("eth_getBlockByNumber", br#"["latest",true]"#, None).await {
        Ok(Reply::Json(json)) => serde_json::from_slice(&json).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Accounts of all kinds: plain ones, contracts with one code and with their own, with much storage, empty ones, one that is there twice.
fn mixed() -> String {
    let mut alloc = String::new();
    for index in 0..2_000_u64 {
        let address = alloc::address(index);
        match index % 5 {
            0 => write!(alloc, r#""{address:?}":{{"balance":"{index}","nonce":"{index:#x}"}},"#),
            1 => write!(alloc, r#""{address:?}":{{"code":"0x60016000{:04x}","balance":"0x0","note":[{{}}]}},"#, index % 300),
            2 => {
                let slots: Vec<String> = (0..index % 40).map(|slot| format!(r#""{slot:#04x}":"{:#04x}""#, slot * index % 7)).collect();
                write!(alloc, r#""{address:?}":{{"storage":{{{}}},"nonce":"1","balance":"1","code":"0x6001"}},"#, slots.join(","))
            }
            3 => write!(
                alloc,
                r#""{}":{{"balance":"{:#x}"}},"#,
                format!("{address:?}").trim_start_matches("0x"),
                U256::MAX / U256::from(index)
            ),
            _ => write!(alloc, r#""{address:?}":{{"balance":"0"}},"#),
        }
        .unwrap();
    }
    let twice = alloc::address(7);
    write!(alloc, r#""{twice:?}":{{"balance":"9","storage":{{"0x05":"0x06"}}}}"#).unwrap();
    alloc::file(&alloc)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_in_parts_makes_the_rows_of_one_that_is_not() {
    let file = mixed();
    // The contracts of committee and deployers are put over whatever is at their addresses.
    let founders = r#""deployers":{"owner":"0x00000000000000000000000000000000000000bb","allowed":["0x00000000000000000000000000000000000000cc"]},"committee":{"owner":"0x00000000000000000000000000000000000000aa","members":[{"key":"0x1111111111111111111111111111111111111111111111111111111111111111","power":3}]}"#;
    let at_its_address = r#""alloc":{"0x00000000000000000000000000000000005b0de0":{"balance":"1","storage":{"0x01":"0x02"}},"0x00000000000000000000000000000000005b0de1":{"balance":"1","code":"0x00","storage":{"0x03":"0x04"}},"#;
    let founded = file.replace(r#""dev":true"#, &format!(r#""dev":true,{founders}"#)).replace(r#""alloc":{"#, at_its_address);
    for file in [&file, &founded, &alloc::file(""), &alloc::file(&alloc::account(1))] {
        assert!(file.len() < WHOLE_BYTES);
        let (whole_dir, parts_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (one, other) in backends(&whole_dir).into_iter().zip(backends(&parts_dir)) {
            let (whole, parts) = (Birth::on(one), Birth::on(other));
            let (one, other) = (whole.of(file.clone().into_bytes()).await, parts.of(padded(file)).await);
            for table in [Table::State, Table::Index, Table::Block] {
                assert!(!whole.rows(table).is_empty());
                assert_eq!(whole.rows(table), parts.rows(table), "{table:?}");
            }
            let (one, other) = match (one, other) {
                (Ok(one), Ok(other)) => (one, other),
                // A single sequencer does not run a committee's chain. It is born all the same.
                (Err(NodeError::Open(OpenError::Consensus(_))), Err(NodeError::Open(OpenError::Consensus(_)))) => continue,
                (one, other) => panic!("{:?}, {:?}", one.err(), other.err()),
            };
            assert_eq!(block(&one).await, block(&other).await);
            other.stop().await;
            // It is known by its spec, and opened again as it is.
            let again = parts.of(padded(file)).await.unwrap();
            assert_eq!(block(&again).await, block(&one).await);
            again.stop().await;
            assert!(matches!(parts.of(file.clone().into_bytes()).await.err(), Some(NodeError::Open(OpenError::OtherSpec))));
            one.stop().await;
        }
    }
}

/// The state root of plain accounts, by alloy.
fn root(accounts: u64) -> B256 {
    let mut leaves: Vec<(B256, u64)> = (0..accounts).map(|index| (keccak256(alloc::address(index)), alloc::balance(index))).collect();
    leaves.sort_unstable();
    let mut builder = HashBuilder::default();
    for (key, balance) in leaves {
        let account = TrieAccount { balance: U256::from(balance), ..TrieAccount::default() };
        builder.add_leaf(Nibbles::unpack(key), &alloy::rlp::encode(account));
    }
    builder.root()
}

/// How many accounts a long file has; `SUBNODE_GENESIS_ACCOUNTS` says another number.
fn accounts() -> u64 {
    std::env::var("SUBNODE_GENESIS_ACCOUNTS").ok().map_or(200_000, |count| count.parse().unwrap())
}

async fn assert_has_accounts(chain: &Chain, accounts: u64) {
    let block = block(chain).await;
    assert_eq!(block["stateRoot"], serde_json::to_value(root(accounts)).unwrap());
    for index in [0, accounts / 2, accounts - 1] {
        let params = serde_json::to_vec(&(alloc::address(index), "latest")).unwrap();
        let answer = chain.query("eth_getBalance", &params, None).await;
        assert_eq!(answer, Ok(Reply::Json(serde_json::to_vec(&U256::from(alloc::balance(index))).unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_fit_into_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genesis.json");
    alloc::write(&path, accounts()).unwrap();
    let file = Arc::new(std::fs::File::open(&path).unwrap());
    let mut spec = Spec::default();
    spec.push_file(&file, 0, file.metadata().unwrap().len());
    let store = RocksStore::open(&dir.path().join("data"), &RocksOptions::SMALL).unwrap();
    let birth = Birth { memory_bytes: 16 << 20, ..Birth::on(Arc::new(store)) };
    let began = Instant::now();
    let chain = birth.of(spec.clone()).await.unwrap();
    println!("{} accounts, {} bytes: {:?}, {} fuel", accounts(), spec.len(), began.elapsed(), chain.stats().usage.fuel);
    assert_has_accounts(&chain, accounts()).await;
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_opens_a_long_file_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genesis.json");
    // Longer than what is adopted in memory.
    let accounts = accounts().max(500_000);
    alloc::write(&path, accounts).unwrap();
    let began = Instant::now();
    let net = Devnet::builder().genesis_file(&path).spawn().await.unwrap();
    let opened = began.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    println!("{accounts} accounts, {} bytes: {opened:?}, {peak}", path.metadata().unwrap().len());
    let provider = net.chain(0).provider();
    let beacon_roots = alloy::eips::eip4788::BEACON_ROOTS_ADDRESS;
    assert_eq!(provider.get_balance(alloc::address(1)).await.unwrap(), U256::from(alloc::balance(1)));
    assert!(!provider.get_code_at(beacon_roots).await.unwrap().is_empty(), "what Cancun needs is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genesis_that_fails_leaves_nothing_and_can_be_tried_again() {
    let file = String::from_utf8(padded(&mixed())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for store in backends(&dir) {
        let mut birth = Birth::on(store);
        for (spec, reason) in [
            (file.get(..file.len() - 300).unwrap().to_owned(), "genesis: no JSON: EOF"),
            (file.replace(r#""balance":"9""#, r#""balance":"much""#), "genesis: alloc."),
            (file.replace(r#""chainId":7"#, r#""chainId":0"#), "genesis: config.chainId"),
        ] {
            let error = birth.of(spec.into_bytes()).await.err().unwrap().to_string();
            assert!(error.starts_with(reason), "{error}");
            assert!(birth.is_unborn(), "{reason}");
        }
        birth.storage_bytes = 300_000;
        let error = birth.of(file.clone().into_bytes()).await.err().unwrap();
        assert!(matches!(&error, NodeError::Open(OpenError::Store(StoreError::SliceFull { limit: 300_000, .. }))), "{error}");
        assert!(birth.is_unborn());
        birth.storage_bytes = u64::MAX;
        birth.of(file.clone().into_bytes()).await.unwrap().stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_birth_that_is_given_up_midway_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genesis.json");
    alloc::write(&path, 100_000).unwrap();
    let spec = std::fs::read(&path).unwrap();
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(&dir.path().join("data"), &RocksOptions::SMALL).unwrap());
    let birth = Birth::on(store);
    let stored = || !birth.rows(Table::State).is_empty();
    {
        let born = birth.of(spec.clone());
        tokio::pin!(born);
        // Rows are there before it ends.
        loop {
            tokio::select! {
                chain = &mut born => panic!("it ended before any row was written: {:?}", chain.err()),
                () = tokio::time::sleep(Duration::from_millis(1)) => if stored() { break },
            }
        }
    }
    assert!(birth.store.open(&name(), Retention::Archive).unwrap().head().is_none());
    // The call that was given up ends at its next turn.
    let chain = birth.of(spec).await.unwrap();
    assert_eq!(block(&chain).await["stateRoot"], serde_json::to_value(root(100_000)).unwrap());
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_takes_no_parts_gets_the_whole_spec_or_says_that_it_is_too_long() {
    let sandbox = sandbox();
    let runtime = sandbox.load(subnode_modules::KV).unwrap();
    assert!(!runtime.streams_genesis() && sandbox.load(subnode_modules::EVM).unwrap().streams_genesis());
    let defaults = default_options(Sealing::Manual, TimeSource::Wall);
    let open = |spec: Vec<u8>| {
        let block = Limits { memory_bytes: MEMORY_BYTES, ..defaults.block };
        let setup = ChainSetup {
            name: name(),
            runtime: runtime.clone(),
            consensus: sandbox.load(subnode_modules::SOLO).unwrap(),
            spec: spec.into(),
            consensus_config: b"manual".to_vec(),
            retention: Retention::Archive,
            slice: Slice::WHOLE,
            accounts: Arc::new(Signers::of(&[])),
            options: ChainOptions { block, ..defaults.clone() },
        };
        async move { Box::pin(Node::new(Arc::new(MemoryStore::default())).open(setup)).await }
    };
    let spaces = |bytes: usize| [b"{".as_slice(), &vec![b' '; bytes], b"}"].concat();
    open(spaces(WHOLE_BYTES + 1)).await.unwrap().stop().await;
    let error = open(spaces(MEMORY_BYTES)).await.err().unwrap();
    assert!(matches!(&error, NodeError::Open(OpenError::Spec(reason)) if reason.contains("more than this runtime")), "{error}");
    let error = open(spaces(MEMORY_BYTES - (1 << 20))).await.err().unwrap();
    assert!(matches!(error, NodeError::Open(OpenError::Call(CallError::Guest(GuestFault::Memory(_))))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_history_is_gone_begins_again_from_a_long_file() {
    let net = Devnet::builder().genesis(padded(&mixed())).history(Some(2)).manual_sealing().spawn().await.unwrap();
    let provider = net.chain(0).provider();
    let genesis = provider.get_block(0.into()).await.unwrap().unwrap();
    provider.raw_request::<_, bool>("hardhat_mine".into(), ("0x100",)).await.unwrap();
    provider.raw_request::<_, ()>("anvil_setBalance".into(), (alloc::address(0), "0x7")).await.unwrap();
    provider.raw_request::<_, serde_json::Value>("anvil_reset".into(), ()).await.unwrap();
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
    assert_eq!(provider.get_block(0.into()).await.unwrap().unwrap().header.hash, genesis.header.hash);
    assert_eq!(provider.get_balance(alloc::address(5)).await.unwrap(), U256::from(5));
    assert_eq!(provider.get_balance(alloc::address(0)).await.unwrap(), U256::ZERO);
}
