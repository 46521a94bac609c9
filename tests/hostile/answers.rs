//! What the host answers a guest is charged to its chain before it is made, and the same on every host.

use std::time::Duration;

use subnode_sandbox::{
    Attributes, CallError, HostFault, Lent, Limits, ListLimit, Module, Occupancy, PoolReader, Pooled, QueryLent, Ready, RuntimeGuest,
    Sandbox, SandboxOptions, Scanned, StateReader, Table, Tenant, Unavailable,
};
use subnode_scheduler::Cores;
use subnode_types::{BlockRef, Parts, Sealing};

use crate::turns::modules;

/// A row that is longer than the chain has memory.
const ROW_BYTES: usize = 64 << 20;
const MEMORY_BYTES: u64 = 32 << 20;
/// A pooled transaction.
const TRANSACTION_BYTES: usize = 100 << 10;

/// A state in which every key has the same long row.
struct LongRows(Vec<u8>);

impl StateReader for LongRows {
    fn read(&self, _: Table, _: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        found(&self.0);
        Ok(())
    }

    fn scan(&self, _: Table, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Scanned, HostFault> {
        Ok(Scanned::default())
    }

    fn seek(&mut self, _: u64) -> Result<Result<(), Unavailable>, HostFault> {
        Ok(Ok(()))
    }
}

/// A pool that has as much as it is asked for.
struct FullPool;

impl FullPool {
    fn list(limit: ListLimit) -> Vec<Pooled> {
        let pooled = |sequence| Pooled { id: vec![7; 32], sender: vec![7; 20], sequence, data: vec![7; TRANSACTION_BYTES], ready: true };
        (0..limit.count.min(limit.bytes.div_ceil(TRANSACTION_BYTES)) as u64).map(pooled).collect()
    }
}

impl PoolReader for FullPool {
    fn next(&mut self, _: ListLimit, _: &mut dyn FnMut(Ready<'_>)) {}

    fn rank(&mut self, _: u64) -> usize {
        0
    }

    fn discard(&mut self, _: &[u8]) {}

    fn reserve(&mut self, _: &[u8], _: u64, _: [u8; 32], _: [u8; 32]) -> Option<[u8; 32]> {
        None
    }

    fn skip_sender(&mut self, _: &[u8]) {}

    fn get(&self, _: &[u8]) -> Option<Pooled> {
        None
    }

    fn by_sender(&self, _: &[u8], limit: ListLimit) -> Vec<Pooled> {
        Self::list(limit)
    }

    fn all(&self, limit: ListLimit) -> Vec<Pooled> {
        Self::list(limit)
    }

    fn next_sequence(&self, _: &[u8]) -> Option<u64> {
        None
    }

    fn counts(&self) -> Occupancy {
        Occupancy { ready: 0, waiting: 0 }
    }

    fn since(&self, mark: u64, _: usize) -> (Vec<Vec<u8>>, u64) {
        (Vec::new(), mark)
    }
}

fn demanding() -> Module {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None }).unwrap();
    sandbox.load(&std::fs::read(modules().join("subnode_demanding.wasm")).unwrap()).unwrap()
}

async fn guest(memory_bytes: u64) -> RuntimeGuest {
    let tenant = Tenant::new("demanding".parse().unwrap(), &Cores::new(1), Parts::ONE, memory_bytes);
    let limits = Limits { memory_bytes: 1 << 30, fuel: 1_000_000_000, transfer_bytes: 256 << 20, wall: Duration::from_secs(60) };
    RuntimeGuest::new(&demanding(), &tenant, limits, &[]).await.unwrap().unwrap()
}

fn lent(row_bytes: usize) -> Lent {
    let status = subnode_sandbox::ChainStatus {
        now_ms: 0,
        clock_offset_ms: 0,
        sealing: subnode_sandbox::convert::runtime_sealing(Sealing::Manual),
        controls: false,
        version: String::new(),
    };
    let query = QueryLent { accounts: None, cursor: Box::new(|_| None) };
    Lent { pool: Some(Box::new(FullPool)), status: Some(status), query: Some(query), ..Lent::of(LongRows(vec![7; row_bytes])) }
}

fn block(timestamp_ms: u64) -> BlockRef {
    BlockRef { height: 1, id: vec![7; 32], timestamp_ms }
}

#[tokio::test]
async fn a_long_row_is_charged_before_it_is_copied() {
    let mut guest = guest(MEMORY_BYTES).await;
    let fault = guest.query(&block(0), "get-of-a-long-row", b"", lent(ROW_BYTES)).await.unwrap_err();
    // What is wanted is the host's copy: the guest has not been asked for room yet.
    assert!(matches!(fault, CallError::Host(HostFault::Memory { wanted, .. }) if wanted == ROW_BYTES as u64), "{fault}");
}

#[tokio::test]
async fn lists_of_the_pool_end_with_their_bytes() {
    // Of 4,096 transactions, as many as a chain's whole memory would not have room for.
    let mut guest = guest(MEMORY_BYTES).await;
    for method in ["pool-all", "pool-by-sender"] {
        let fault = guest.query(&block(0), method, b"", lent(0)).await.unwrap_err();
        assert!(fault.to_string().contains("out of fuel"), "{method}: {fault}");
        guest = self::guest(MEMORY_BYTES).await;
    }
}

#[tokio::test]
async fn whoever_builds_and_whoever_executes_see_one_clock() {
    let mut guest = guest(256 << 20).await;
    let attributes = Attributes { timestamp_ms: 9_000, seed: vec![7; 32] };
    let built = guest.build(&block(5_000), &attributes, lent(0)).await.unwrap().unwrap_err();
    let executed = guest.execute(&block(5_000), b"", lent(0)).await.unwrap().unwrap_err();
    assert_eq!(built.reason, executed.reason);
    let later = guest.execute(&block(6_000), b"", lent(0)).await.unwrap().unwrap_err();
    assert_ne!(later.reason, executed.reason, "it is the parent's time");
}
