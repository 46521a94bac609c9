//! Hostile modules: each fails with the fault that names what it did, and a neighbour chain on the same node goes on sealing.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod answers;
mod turns;

use std::{pin::Pin, sync::Arc, time::Duration};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
};
use subnode_chain::{Chain, ChainOptions, Ended, OpenError, Reply, TimeSource};
use subnode_devnet::{Devnet, Signers, default_options};
use subnode_node::{ChainSetup, NodeError};
use subnode_sandbox::{CallError, GuestFault, HostFault, ModuleError, Sandbox, SandboxOptions, World};
use subnode_storage::Retention;
use subnode_tests::module::{ALL_ITS_MEMORY, ALLOCATE, GIGABYTE, LOOP, RECURSE, RECURSION, TRAP_AT_START, module};
use subnode_types::{Sealing, Slice};

/// A node with a chain that works, on which hostile ones are opened.
struct Host {
    net: Devnet,
    sandbox: Sandbox,
}

impl Host {
    async fn new() -> Self {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None }).unwrap();
        Self { net: Devnet::builder().spawn().await.unwrap(), sandbox }
    }

    fn setup(&self, runtime: &[u8], consensus: &[u8]) -> ChainSetup {
        let defaults = default_options(Sealing::Manual, TimeSource::Wall);
        // A loop ends after about a second of these.
        let (mut block, mut query) = (defaults.block, defaults.query);
        (block.fuel, query.fuel) = (3_000_000_000, 3_000_000_000);
        ChainSetup {
            name: "hostile".parse().unwrap(),
            runtime: self.sandbox.load(runtime).unwrap(),
            consensus: self.sandbox.load(consensus).unwrap(),
            spec: b"spec".to_vec().into(),
            consensus_config: b"manual".to_vec(),
            retention: Retention::Archive,
            slice: Slice::WHOLE,
            accounts: Arc::new(Signers::default()),
            options: ChainOptions { block, query, ..defaults },
        }
    }

    async fn open(&self, runtime: &[u8]) -> Result<Chain, NodeError> {
        self.net.node().open(self.setup(runtime, subnode_modules::SOLO)).await
    }

    /// The outcome of something hostile, and how many blocks the neighbour sealed meanwhile. It seals one more after.
    fn beside_a_neighbour<'a, T: 'a>(&'a self, hostile: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = (T, u64)> + 'a>> {
        Box::pin(self.seal_beside(Box::pin(hostile)))
    }

    async fn seal_beside<T>(&self, hostile: Pin<Box<impl Future<Output = T>>>) -> (T, u64) {
        let provider = self.net.chain(0).provider();
        let seal = || async {
            let request = TransactionRequest::default().with_to(Address::repeat_byte(7)).with_value(U256::ONE);
            provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap().block_number.unwrap()
        };
        let before = seal().await;
        let done = std::cell::Cell::new(false);
        let hostile = async {
            let outcome = hostile.await;
            done.set(true);
            (outcome, provider.get_block_number().await.unwrap())
        };
        // Each is waited for: a transaction that is dropped midway may have taken a nonce along.
        let sealing = async {
            while !done.get() {
                seal().await;
            }
        };
        let ((outcome, after), ()) = tokio::join!(hostile, sealing);
        assert!(seal().await > after);
        (outcome, after - before)
    }
}

fn guest_fault(opened: Result<Chain, NodeError>) -> GuestFault {
    match opened.err() {
        Some(NodeError::Open(OpenError::Call(CallError::Guest(fault)))) => fault,
        other => panic!("a guest fault, not {other:?}"),
    }
}

/// The fault at genesis of a runtime that misbehaves there.
async fn fault_at_genesis(body: &str, items: &str) -> GuestFault {
    let host = Host::new().await;
    let runtime = module("runtime", &[("genesis", body)], items).unwrap();
    let (opened, _) = host.beside_a_neighbour(host.open(&runtime)).await;
    guest_fault(opened)
}

/// What a client hears of the method `evil` of a runtime that misbehaves there. Other methods still answer after it.
async fn failing_query(body: &str, items: &str) -> String {
    let host = Host::new().await;
    // The length of the method's name is the sixth of the lowered parameters.
    let runtime = module("runtime", &[("query", &format!("(if (i32.eq (local.get 5) (i32.const 4)) (then {body}))"))], items).unwrap();
    let chain = host.open(&runtime).await.unwrap();
    let (answer, _) = host.beside_a_neighbour(chain.query("evil", b"", None)).await;
    assert_eq!(chain.query("harmless", b"", None).await, Ok(Reply::Null));
    answer.unwrap_err().message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused() {
    let host = Host::new().await;
    for bytes in [b"garbage".to_vec(), Vec::new(), wat::parse_str("(module)").unwrap()] {
        let (error, _) = host.beside_a_neighbour(async { host.sandbox.load(&bytes).unwrap_err() }).await;
        assert!(matches!(error, ModuleError::NotAComponent(_)), "{error}");
        assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_lacks_an_export_is_refused() {
    let host = Host::new().await;
    let component = wat::parse_str("(component)").unwrap();
    let (error, _) = host.beside_a_neighbour(async { host.sandbox.load(&component).unwrap_err() }).await;
    assert!(matches!(&error, ModuleError::Export { runtime, .. } if runtime.contains("no export")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_offered_is_refused_by_name() {
    let host = Host::new().await;
    let component = wat::parse_str(r#"(component (import "foreign:house/door@1.0.0" (instance (export "open" (func)))))"#).unwrap();
    let (error, _) = host.beside_a_neighbour(async { host.sandbox.load(&component).unwrap_err() }).await;
    assert!(matches!(error, ModuleError::Import(_)) && error.to_string().contains("foreign:house/door"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_offered_is_offered_still() {
    let host = Host::new().await;
    let load = |version: &str| {
        let import = format!(
            "(import \"subnode:chain/host@{version}\" (instance (export \"cursor\" (func (param \"id\" u64) (result (option (list u8)))))))"
        );
        host.sandbox.load(&wat::parse_str(format!("(component {import})")).unwrap()).unwrap_err()
    };
    // It exports nothing; what matters is that its imports are there.
    assert!(matches!(load("0.1.0"), ModuleError::Export { .. }));
    assert!(matches!(load("0.2.0"), ModuleError::Import(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_the_other_world_is_refused() {
    let host = Host::new().await;
    let (opened, _) = host.beside_a_neighbour(host.open(subnode_modules::SOLO)).await;
    assert!(matches!(opened.err(), Some(NodeError::Open(OpenError::Module { which: "runtime", error: ModuleError::World { .. } }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_runs_out_of_fuel_beside_a_sealing_neighbour() {
    let host = Host::new().await;
    let runtime = module("runtime", &[("genesis", LOOP)], "").unwrap();
    let (opened, sealed) = host.beside_a_neighbour(host.open(&runtime)).await;
    assert_eq!(guest_fault(opened), GuestFault::Fuel(3_000_000_000));
    assert!(sealed > 0, "the neighbour waited for the loop");
    assert!(failing_query(LOOP, "").await.contains("out of fuel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_allocation_is_refused() {
    assert!(matches!(fault_at_genesis(ALLOCATE, "").await, GuestFault::Memory(_)));
    assert!(failing_query(ALLOCATE, "").await.contains("out of memory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_runtime_makes_of_a_full_slice_is_no_verdict() {
    let host = Host::new().await;
    // It goes on where it is refused 64 MiB: another host may have them.
    let runtime = module("runtime", &[("genesis", "(drop (memory.grow (i32.const 1024)))")], "").unwrap();
    let mut setup = host.setup(&runtime, subnode_modules::SOLO);
    setup.slice.memory_bytes = 32 << 20;
    let (opened, _) = host.beside_a_neighbour(host.net.node().open(setup)).await;
    let fault = opened.err();
    assert!(matches!(fault, Some(NodeError::Open(OpenError::Call(CallError::Host(HostFault::Memory { .. }))))), "{fault:?}");
    // What is beyond an instance's own limit is refused on every host.
    let runtime = module("runtime", &[("genesis", "(drop (memory.grow (i32.const 65000)))")], "").unwrap();
    host.open(&runtime).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_recursion_overflows_its_own_stack() {
    assert_eq!(fault_at_genesis(RECURSE, RECURSION).await, GuestFault::Stack);
    assert!(failing_query(RECURSE, RECURSION).await.contains("stack overflow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_answer_is_not_copied() {
    // Beyond its memory, and beyond what it may hand over.
    assert!(failing_query(GIGABYTE, "").await.contains("failed on this call"));
    assert!(failing_query(ALL_ITS_MEMORY, "").await.contains("failed on this call"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_at_instantiation_is_the_guests_fault() {
    assert!(matches!(fault_at_genesis("", TRAP_AT_START).await, GuestFault::Trap(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_never_builds_keeps_answering() {
    let host = Host::new().await;
    for body in [LOOP, ALLOCATE, "unreachable", ""] {
        let runtime = module("runtime", &[("build", body)], "").unwrap();
        let mut setup = host.setup(&runtime, subnode_modules::SOLO);
        setup.name = format!("builds{}", host.net.node().names().len()).parse().unwrap();
        setup.consensus_config = b"interval 10".to_vec();
        let chain = host.net.node().open(setup).await.unwrap();
        let answers = async {
            for _ in 0..20 {
                assert_eq!(chain.query("harmless", b"", None).await, Ok(Reply::Null));
            }
        };
        host.beside_a_neighbour(answers).await;
        assert_eq!(chain.head().height, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_consensus_stops_its_own_chain_only() {
    let host = Host::new().await;
    let runtime = module("runtime", &[("", "")], "").unwrap();
    for (body, items) in [(LOOP, ""), (ALLOCATE, ""), (RECURSE, RECURSION), ("unreachable", "")] {
        let consensus = module("consensus", &[("start", body)], items).unwrap();
        let (opened, _) = host.beside_a_neighbour(host.net.node().open(host.setup(&runtime, &consensus))).await;
        guest_fault(opened);
    }
}

/// A consensus that asks for 256 blocks when it starts, and for as many again whenever it is told of one or of none.
fn greedy_consensus() -> Vec<u8> {
    // Each effect has 24 bytes and begins with its case: build is the third.
    let effects = format!("(data (i32.const 4096) \"{}\")", format!("\\02{}", "\\00".repeat(23)).repeat(256));
    let list = |at: usize| format!("(i32.store (i32.const {at}) (i32.const 4096)) (i32.store (i32.const {}) (i32.const 256))", at + 4);
    module("consensus", &[("start", &list(1028)), ("handle", &list(1024))], &effects).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consensus_that_asks_for_more_than_is_done_ends_its_chain() {
    let host = Host::new().await;
    let runtime = module("runtime", &[("", "")], "").unwrap();
    let chain = host.net.node().open(host.setup(&runtime, &greedy_consensus())).await.unwrap();
    let (ended, _) = host.beside_a_neighbour(tokio::time::timeout(Duration::from_secs(20), chain.ended())).await;
    assert!(matches!(ended.expect("it ends"), Ended::Failed(reason) if reason.contains("more than is done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_module_on_disk_that_is_damaged_or_foreign_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let load = || {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 1, cache_dir: Some(dir.path().into()) }).unwrap();
        (sandbox.load(subnode_modules::KV).unwrap(), sandbox.load(subnode_modules::SOLO).unwrap())
    };
    load();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let modules = files.filter(|file| file.extension().is_some_and(|extension| extension == "cwasm"));
    let [one, other] = modules.collect::<Vec<_>>().try_into().unwrap();
    let whole: [Vec<u8>; 2] = [&one, &other].map(|file| std::fs::read(file).unwrap());
    std::fs::write(&one, &whole[1]).unwrap();
    std::fs::write(&other, &whole[1][..whole[1].len() / 2]).unwrap();
    let (runtime, consensus) = load();
    assert_eq!((runtime.world(), consensus.world()), (World::Runtime, World::Consensus));
    assert_eq!([&one, &other].map(|file| std::fs::read(file).unwrap()), whole, "both were written anew");
}
