//! Turns end though a guest spends them in host functions: a neighbour that wants the core, and whoever shares a thread with the guest, wait
//! for no longer than [`GAP_NS_MAX`].
//!
//! Gaps are measured in CPU time of the thread that has them, so that what else runs on the machine is no part of them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use subnode_chain::{Chain, ChainOptions, ChainParts, TimeSource};
use subnode_devnet::{DEFAULT_MNEMONIC, Signers, accounts, default_options};
use subnode_sandbox::{Limits, Module, Sandbox, SandboxOptions, Tenant};
use subnode_scheduler::{Cores, Turn, Work};
use subnode_storage::{Retention, RocksOptions, RocksStore, Store};
use subnode_tests::guests;
use subnode_types::{Parts, Sealing};

/// The longest that a neighbour waits.
const GAP_NS_MAX: u64 = 5_000_000;
/// How long the neighbour's own turns are.
const TURN_NS: u64 = 50_000;
/// Fuel of a call: a tenth of a second of work.
const FUEL: u64 = 100_000_000;
/// A virtual machine's host may hold a thread up and call it the thread's own time. What holds turns up itself does so every time.
const TRIES: usize = 3;
/// What a call takes at least that gets so far as to its host function: some refuse nonsense quickly.
const RAN_NS_MIN: u64 = 300_000;
const MEMORY_BYTES: usize = 256 << 20;
/// Transactions in the pool that lists of it go through.
const POOLED: u64 = 1_000;

/// The queries of `guest-modules/demanding` that ask for as much as one call's fuel pays for.
const DEMANDS: [&str; 46] = [
    "keccak256",
    "keccak256-pieces",
    "keccak256-word",
    "keccak256-pair",
    "keccak256-many",
    "keccak256-many-long",
    "sha256",
    "recover",
    "recover-many",
    "verify-p256",
    "verify-ed25519",
    "modexp",
    "modexp-even",
    "modexp-of-a-power-of-two",
    "modexp-long",
    "modexp-long-exponent",
    "bn254-add",
    "bn254-mul",
    "bn254-pairing",
    "bls-g1-add",
    "bls-g2-add",
    "bls-g1-msm",
    "bls-g2-msm",
    "bls-pairing",
    "bls-map-g1",
    "bls-map-g2",
    "verify-kzg",
    "get",
    "get-part",
    "get-many",
    "scan",
    "seek",
    "pool-all",
    "pool-by-sender",
    "pool-since",
    "pool-get",
    "cursor",
    "status",
    "accounts",
    "sign",
    "wasi-clock",
    "get-of-a-long-row",
    "get-part-of-a-long-row",
    "scan-of-long-rows",
    "wasi-output",
    "loop",
];

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Wants every turn of the one worker there is, and notes the longest time between two of its own.
#[derive(Default)]
struct Neighbour {
    ended_ns: AtomicU64,
    longest_gap_ns: AtomicU64,
    turns: AtomicU64,
    stop: AtomicBool,
}

impl Work for Neighbour {
    fn turn(self: Arc<Self>) -> Turn {
        let began = thread_cpu_ns();
        let ended = self.ended_ns.load(Ordering::Relaxed);
        if ended > 0 {
            self.longest_gap_ns.fetch_max(began - ended, Ordering::Relaxed);
        }
        while thread_cpu_ns() < began + TURN_NS {
            std::hint::spin_loop();
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.ended_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        Turn { ns: TURN_NS, again: !self.stop.load(Ordering::Relaxed) }
    }
}

/// Awaits something beside a ticker on the same thread: what it answers, and the longest time between two ticks.
async fn beside_a_ticker<T>(work: impl Future<Output = T>) -> (T, u64) {
    let mut work = Box::pin(work);
    let (mut last, mut longest) = (thread_cpu_ns(), 0);
    let answer = std::future::poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        let now = thread_cpu_ns();
        longest = longest.max(now - last);
        last = now;
        if polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    });
    let answer = answer.await;
    (answer, longest)
}

pub(crate) fn modules() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-modules"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kit-target");
    BUILT.get_or_init(|| guests::build(workspace, &["subnode-demanding"], &target).unwrap()).clone()
}

/// A durable chain of this runtime on one core that others share.
async fn chain(cores: &Arc<Cores>, store: &RocksStore, sandbox: &Sandbox, runtime: Module, spec: &[u8], limits: Limits) -> Chain {
    let name = "demanding".parse().unwrap();
    let defaults = default_options(Sealing::Manual, TimeSource::Wall);
    let parts = ChainParts {
        tenant: Tenant::new("demanding".parse().unwrap(), cores, Parts::ONE, 1 << 30),
        runtime,
        consensus: sandbox.load(subnode_modules::SOLO).unwrap(),
        store: store.open(&name, Retention::Archive).unwrap(),
        spec: spec.to_vec().into(),
        consensus_config: b"manual".to_vec(),
        accounts: Arc::new(Signers::of(&accounts(DEFAULT_MNEMONIC, 10).unwrap())),
        network: None,
        vote_secret: None,
        attest_secret: None,
    };
    Box::pin(Chain::open(parts, ChainOptions { query: limits, block: limits, ..defaults })).await.unwrap()
}

/// The longest gap beside work, of a neighbour on the worker or of the thread that asked.
async fn gaps<T>(cores: &Arc<Cores>, work: impl Future<Output = T>) -> (T, u64) {
    let (share, neighbour) = (cores.join(Parts::ONE), Arc::new(Neighbour::default()));
    let _place = share.hand_over(neighbour.clone());
    // It has the worker before the work begins.
    beside_a_ticker(std::future::poll_fn(|_| if neighbour.turns.load(Ordering::Relaxed) > 0 { Poll::Ready(()) } else { Poll::Pending }))
        .await;
    let (answer, ticker) = beside_a_ticker(work).await;
    neighbour.stop.store(true, Ordering::Relaxed);
    (answer, ticker.max(neighbour.longest_gap_ns.load(Ordering::Relaxed)))
}

/// The longest gap beside a call that ends with this error, for each try: until one is short enough.
async fn tried(cores: &Arc<Cores>, chain: &Chain, method: &str, params: &[u8], error: &str) -> Vec<u64> {
    let mut tries = Vec::new();
    while tries.len() < TRIES && tries.last().is_none_or(|longest| *longest > GAP_NS_MAX) {
        let ran_ns = chain.stats().usage.ran_ns;
        let (answer, longest) = gaps(cores, chain.query(method, params, None)).await;
        let ended = answer.unwrap_err().message;
        assert!(ended.contains(error), "{method}: {ended}");
        // One whose first call costs more fuel than there is would do nothing.
        let ran_ns = chain.stats().usage.ran_ns - ran_ns;
        assert!(ran_ns > RAN_NS_MIN, "{method} ran for {ran_ns} ns");
        tries.push(longest);
    }
    tries
}

fn limits(fuel: u64) -> Limits {
    Limits { memory_bytes: MEMORY_BYTES, fuel, transfer_bytes: MEMORY_BYTES, wall: Duration::from_secs(60) }
}

#[tokio::test]
async fn a_host_function_ends_the_turn_whatever_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).unwrap();
    let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None }).unwrap();
    let runtime = sandbox.load(&std::fs::read(modules().join("subnode_demanding.wasm")).unwrap()).unwrap();
    let cores = Cores::new(1);
    let chain = chain(&cores, &store, &sandbox, runtime, b"", limits(FUEL)).await;
    for sequence in 0..POOLED {
        let transaction = [sequence.to_be_bytes().as_slice(), &[7; 1_016]].concat();
        chain.query("send", &transaction, None).await.unwrap();
    }
    let mut late = Vec::new();
    for demand in DEMANDS {
        let tries = tried(&cores, &chain, demand, b"", "out of fuel").await;
        println!("{demand}: longest gaps in us: {:?}", tries.iter().map(|ns| ns / 1_000).collect::<Vec<_>>());
        late.extend(tries.iter().all(|longest| *longest > GAP_NS_MAX).then_some(demand));
    }
    chain.stop().await;
    assert!(late.is_empty(), "a neighbour waits too long for {late:?}");
}

#[tokio::test]
async fn a_contract_that_hashes_long_texts_ends_its_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).unwrap();
    let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None }).unwrap();
    let runtime = sandbox.load(subnode_modules::EVM).unwrap();
    let cores = Cores::new(1);
    // for (;;) keccak256(0, 32 KiB)
    let contract = json!({ "balance": "0x0", "code": "0x5b6180005f20505f56" });
    let genesis = json!({
        "config": { "chainId": 1, "terminalTotalDifficulty": 0, "shanghaiTime": 0 },
        "gasLimit": "0x1c9c380", "baseFeePerGas": "0x7", "difficulty": "0x0",
        "alloc": { "0x00000000000000000000000000000000000c0de1": contract },
    });
    let fuel = 50_000_000_000;
    let chain = chain(&cores, &store, &sandbox, runtime, genesis.to_string().as_bytes(), limits(fuel)).await;
    let call = json!([{ "to": "0x00000000000000000000000000000000000c0de1", "gas": "0x1c9c380" }, "latest"]).to_string();
    let tries = tried(&cores, &chain, "eth_call", call.as_bytes(), "out of gas").await;
    chain.stop().await;
    assert!(tries.iter().any(|longest| *longest <= GAP_NS_MAX), "a neighbour waits for {tries:?} ns");
}

#[tokio::test]
async fn a_turn_lasts_though_a_guest_calls_the_host_often() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).unwrap();
    let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None }).unwrap();
    let runtime = sandbox.load(&std::fs::read(modules().join("subnode_demanding.wasm")).unwrap()).unwrap();
    let cores = Cores::new(1);
    let chain = chain(&cores, &store, &sandbox, runtime, b"", limits(FUEL)).await;
    for demand in ["loop", "keccak256-word", "get"] {
        let before = chain.stats().usage;
        chain.query(demand, b"", None).await.unwrap_err();
        let after = chain.stats().usage;
        let (turns, ran_ns) = (after.turns - before.turns, after.ran_ns - before.ran_ns);
        // A turn has 100 us, and a thread that the system interrupts has shorter ones.
        assert!(turns <= 20 + ran_ns / 50_000, "{demand}: {turns} turns in {ran_ns} ns");
    }
    chain.stop().await;
}
