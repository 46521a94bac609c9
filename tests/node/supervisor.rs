//! A supervisor in this process: what it grants and keeps while requests come at the same moment, and imports are interrupted.

use std::{path::Path, sync::Arc};

use subnode_devnet::{Signers, default_options};
use subnode_node::{ControlError, Desired, Modules, ModulesError, Origin, Supervisor, SupervisorParts, Wanted};
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_scheduler::Capacity;
use subnode_storage::{MemoryStore, Retention, Table};
use subnode_types::{ChainName, Parts, Sealing, Slice};

const CAPACITY: Capacity = Capacity { parts: Parts::ONE, memory_bytes: 1 << 30, storage_bytes: 100 << 20, bandwidth_bytes: 1 << 30 };

fn name(name: &str) -> ChainName {
    name.parse().unwrap()
}

/// A chain of `kv`, with so much storage.
fn kv(storage_bytes: u64, origin: Origin) -> Desired {
    let sealing = Sealing::Manual;
    Desired {
        id: None,
        origin,
        wanted: Wanted::Running,
        runtime: "kv".into(),
        consensus: "solo".into(),
        spec: Vec::new(),
        consensus_config: sealing.consensus_config().into_bytes(),
        sealing,
        slice: Slice { cpu: Parts::ONE, memory_bytes: 128 << 20, storage_bytes, bandwidth_bytes: 1 << 20 },
        retention: Retention::Archive,
        controls: true,
        pool_bytes: 1 << 20,
        checkpoint_every: 0,
        attest_every: 0,
        silent: false,
    }
}

async fn start(dir: &Path, configured: Vec<(ChainName, Desired)>) -> Arc<Supervisor> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None }).unwrap();
    let parts = SupervisorParts {
        store: Arc::new(MemoryStore::default()),
        modules: Modules::new(sandbox, &subnode_modules::ALL, dir.to_owned()),
        capacity: Capacity { parts: Parts::new(16).unwrap(), ..CAPACITY },
        options: default_options(Sealing::Manual, subnode_chain::TimeSource::Wall),
        accounts: Arc::new(Signers::default()),
        disk_free_bytes_min: 0,
        peering: None,
    };
    Box::pin(Supervisor::start(parts, configured)).await.unwrap()
}

/// An archive of a chain: its header, and the other frames.
async fn export(supervisor: &Supervisor, chain: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let begun = supervisor.begin_export(&name(chain)).await.unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = supervisor.export_frame(begun.export, frames.len() as u64 + 1).await.unwrap() {
        frames.push(frame);
    }
    (begun.header, frames)
}

#[tokio::test]
async fn an_import_has_its_slice_before_its_first_row_and_goes_on_where_its_chain_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = start(dir.path(), Vec::new()).await;
    let a = supervisor.create(&name("a"), kv(20 << 20, Origin::Operator)).await.unwrap();
    let (header, frames) = export(&supervisor, "a").await;
    let granted = || supervisor.granted().1.storage_bytes >> 20;
    let wants = |storage_bytes| move |was: Desired| Desired { slice: kv(storage_bytes, Origin::Operator).slice, ..was };

    let refused = Box::pin(supervisor.begin_import(&name("b"), &header, wants(90 << 20))).await;
    assert!(matches!(refused, Err(ControlError::Refused { .. })));
    let refused = Box::pin(supervisor.begin_import(&name("b"), &header, wants(1))).await;
    assert!(matches!(refused, Err(ControlError::LessThanInUse { what: "storage", .. })));
    assert_eq!((granted(), supervisor.store().unfinished()), (20, vec![]), "nothing was written");

    // What it is to have is not another's meanwhile, and neither is its name.
    let with_id = |was: Desired| Desired { id: a.desired.id, ..wants(70 << 20)(was) };
    let begun = Box::pin(supervisor.begin_import(&name("b"), &header, with_id)).await.unwrap();
    assert_eq!(granted(), 90);
    assert!(matches!(supervisor.create(&name("c"), kv(20 << 20, Origin::Operator)).await, Err(ControlError::Refused { .. })));
    assert!(matches!(supervisor.create(&name("b"), kv(1 << 20, Origin::Operator)).await, Err(ControlError::Exists(_))));
    let (end, chunks) = frames.split_last().unwrap();
    for chunk in chunks {
        assert!(supervisor.import_frame(begun.import, chunk).await.unwrap().is_none());
    }
    let refused = Box::pin(supervisor.import_frame(begun.import, end)).await;
    assert!(matches!(refused, Err(ControlError::IdTaken { .. })));

    // All of its rows are here, and nothing of them comes again.
    let begun = Box::pin(supervisor.begin_import(&name("b"), &header, wants(60 << 20))).await.unwrap();
    assert_eq!((begun.next_chunk as usize, granted()), (chunks.len(), 80));
    let b = Box::pin(supervisor.import_frame(begun.import, end)).await.unwrap().unwrap();
    let rows = |chain: &subnode_chain::Chain| chain.store().view().scan(Table::State, &[], None, 1_000).unwrap();
    assert_eq!(rows(&b.chain.unwrap()), rows(&a.chain.unwrap()));
    assert_eq!((granted(), supervisor.store().unfinished()), (80, vec![]));

    Box::pin(supervisor.begin_import(&name("d"), &header, wants(20 << 20))).await.unwrap();
    assert_eq!(granted(), 100);
    supervisor.delete(&name("d"), false).await.unwrap();
    assert_eq!((granted(), supervisor.store().unfinished()), (80, vec![]), "an import that is given up gives its slice back");
    supervisor.shut_down().await;
}

#[tokio::test]
async fn what_is_asked_of_a_chain_while_it_is_deleted_does_not_make_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = start(dir.path(), Vec::new()).await;
    let a = name("a");
    for _ in 0..3 {
        supervisor.create(&a, kv(20 << 20, Origin::Operator)).await.unwrap();
        let (deleted, stopped, voted) = tokio::join!(supervisor.delete(&a, true), supervisor.stop(&a), supervisor.vote(&a));
        deleted.unwrap();
        assert!(matches!(stopped, Err(ControlError::Unknown(_))) && matches!(voted, Err(ControlError::Unknown(_))));
        assert_eq!((supervisor.store().names(), supervisor.granted().1.parts), (vec![], 0));
    }
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_configuration_that_is_read_again_loses_nothing_that_an_operator_says_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let a = name("a");
    for _ in 0..3 {
        let supervisor = start(dir.path(), vec![(a.clone(), Desired { silent: true, ..kv(20 << 20, Origin::Config) })]).await;
        let (configured, voted) = tokio::join!(supervisor.configure(Vec::new()), supervisor.vote(&a));
        configured.unwrap();
        voted.unwrap();
        let kept = Desired::decode(&supervisor.store().record(&a).unwrap().unwrap()).unwrap();
        assert_eq!((kept.wanted, kept.silent), (Wanted::Stopped, false));
        assert_eq!(supervisor.show(&a).unwrap().desired, kept);
        supervisor.shut_down().await;
    }
}

#[test]
fn modules_that_are_added_are_whole_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let added = dir.path().join("modules");
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None }).unwrap();
    let modules = Modules::new(sandbox, &[], added.clone());
    let solo = subnode_modules::by_name("solo").unwrap();
    assert!(matches!(modules.add(&vec![0; (32 << 20) + 1]), Err(ModulesError::TooLarge { .. })));
    std::fs::create_dir_all(&added).unwrap();
    let large = added.join("large.wasm");
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(modules.add(solo), Err(ModulesError::TooMany { .. })));
    std::fs::remove_file(&large).unwrap();
    // What a process left that was killed while it wrote.
    std::fs::write(added.join("half.partial"), b"half").unwrap();
    let name = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| modules.add(solo).unwrap()));
        let [one, other] = both.map(|added| added.join().unwrap());
        assert_eq!(one, other);
        one
    });
    assert_eq!(modules.added(&name).unwrap().as_deref(), Some(solo));
    assert_eq!(std::fs::read_dir(&added).unwrap().count(), 1);
}
