//! One suite for both backends.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use subnode_storage::{
    Batch, ChainStore, Entry, Head, MemoryStore, OpenError, Retention, RocksOptions, RocksStore, Store, StoreError, Table, Write,
};

const OPTIONS: RocksOptions = RocksOptions { cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, ..RocksOptions::SMALL };

/// Runs `test` on every backend.
fn each(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    test(&RocksStore::open(dir.path(), &OPTIONS).unwrap());
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn state(key: &[u8], value: Option<&[u8]>) -> Write {
    Write { table: Table::State, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

fn commit(store: &ChainStore, height: u64, writes: Vec<Write>) {
    wait(store.commit(Batch { head: Head { height, data: vec![u8::try_from(height).unwrap()] }, writes })).unwrap();
}

fn open(store: &dyn Store, name: &str, retention: Retention) -> Arc<ChainStore> {
    store.open(&name.parse().unwrap(), retention).unwrap()
}

#[test]
fn a_past_height_reads_as_it_was() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        commit(&chain, 0, vec![state(b"x", Some(b"0")), state(b"gone", Some(b"here"))]);
        let old = chain.view();
        commit(&chain, 1, vec![state(b"x", Some(b"1")), state(b"gone", None), state(b"new", Some(b"n"))]);
        assert_eq!(old.get(Table::State, b"x").unwrap(), Some(b"0".to_vec()));
        assert_eq!(old.get(Table::State, b"gone").unwrap(), Some(b"here".to_vec()));
        assert_eq!(old.get(Table::State, b"new").unwrap(), None);
        let rows = old.scan(Table::State, b"", None, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.key.as_slice()).collect::<Vec<_>>(), [b"gone".as_slice(), b"x"]);
        let mut sought = chain.view();
        sought.seek(0).unwrap();
        assert_eq!(sought.get(Table::State, b"x").unwrap(), Some(b"0".to_vec()));
        assert!(matches!(sought.seek(2), Err(StoreError::Unavailable { .. })));
    });
}

#[test]
fn a_revert_restores_every_table_and_voids_views() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let index = |value: &[u8]| Write { table: Table::Index, key: b"i".to_vec(), value: Some(value.to_vec()) };
        commit(&chain, 0, vec![state(b"x", Some(b"0")), index(b"0")]);
        let kept = chain.version();
        commit(&chain, 1, vec![state(b"x", Some(b"1")), index(b"1")]);
        commit(&chain, 1, vec![state(b"x", Some(b"amended"))]);
        let view = chain.view();
        wait(chain.revert_to(kept)).unwrap();
        assert!(matches!(view.get(Table::State, b"x"), Err(StoreError::Reverted)));
        assert_eq!(chain.head(), Some(Head { height: 0, data: vec![0] }));
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(b"0".to_vec()));
        assert_eq!(chain.view().get(Table::Index, b"i").unwrap(), Some(b"0".to_vec()));
        assert_eq!(chain.version_at(1).unwrap(), None);
        commit(&chain, 1, vec![state(b"x", Some(b"other"))]);
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(b"other".to_vec()));
    });
}

#[test]
fn pruning_keeps_the_window_and_nothing_more() {
    each(|store| {
        let chain = open(store, "a", Retention::Last(3));
        for height in 0..20 {
            commit(&chain, height, vec![state(b"x", Some(&[u8::try_from(height).unwrap()]))]);
        }
        let mut view = chain.view();
        view.seek(16).unwrap();
        assert_eq!(view.get(Table::State, b"x").unwrap(), Some(vec![16]));
        assert!(matches!(view.seek(15), Err(StoreError::Unavailable { .. })));
        assert_eq!(chain.oldest_height().unwrap(), 16);
        assert!(matches!(wait(chain.revert_to(16)), Err(StoreError::Unavailable { .. })));
        wait(chain.revert_to(17)).unwrap();
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![16]));
    });
}

#[test]
fn chains_do_not_see_each_other() {
    each(|store| {
        let (a, b) = (open(store, "a", Retention::Archive), open(store, "b", Retention::Archive));
        commit(&a, 0, vec![state(b"x", Some(b"a"))]);
        assert_eq!(b.view().get(Table::State, b"x").unwrap(), None);
        store.delete(&"a".parse().unwrap()).unwrap();
        assert_eq!(open(store, "a", Retention::Archive).head(), None);
        assert_eq!(store.names().len(), 2);
    });
}

#[test]
fn a_reopened_store_has_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        let chain = open(&store, "a", Retention::Archive);
        commit(&chain, 7, vec![state(b"x", Some(b"0"))]);
        commit(&chain, 8, vec![state(b"x", Some(b"1"))]);
    }
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    let chain = open(&store, "a", Retention::Archive);
    assert_eq!(chain.head(), Some(Head { height: 8, data: vec![8] }));
    let mut view = chain.view();
    view.seek(7).unwrap();
    assert_eq!(view.get(Table::State, b"x").unwrap(), Some(b"0".to_vec()));
}

#[test]
fn a_directory_in_use_unwritable_newer_or_corrupt_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    assert!(matches!(RocksStore::open(dir.path(), &OPTIONS), Err(OpenError::InUse(_))));
    drop(store);

    let mut options = rocksdb::Options::default();
    options.create_if_missing(false);
    let db = rocksdb::DB::open(&options, dir.path()).unwrap();
    db.put(b"subnode-format", 9u32.to_be_bytes()).unwrap();
    drop(db);
    assert!(matches!(RocksStore::open(dir.path(), &OPTIONS), Err(OpenError::NewerFormat { found: 9, .. })));

    std::fs::write(dir.path().join("CURRENT"), b"nonsense\n").unwrap();
    assert!(matches!(RocksStore::open(dir.path(), &OPTIONS), Err(OpenError::Corrupt { .. } | OpenError::Other { .. })));

    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(RocksStore::open(&file.path().join("below"), &OPTIONS), Err(OpenError::Directory { .. })));
}

#[test]
fn commits_of_many_chains_at_once_all_land() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    let chains: Vec<_> = (0..16).map(|i| open(&store, &format!("c{i}"), Retention::Archive)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = chains
            .iter()
            .cloned()
            .map(|chain| {
                tokio::spawn(async move {
                    for height in 0..20u8 {
                        let head = Head { height: height.into(), data: vec![] };
                        chain.commit(Batch { head, writes: vec![state(b"x", Some(&[height]))] }).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    for chain in chains {
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![19]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against a model that keeps a whole map per version.
    #[test]
    fn any_history_reads_scans_and_reverts_like_a_list_of_maps(
        steps in prop::collection::vec(prop::collection::vec((0u8..12, prop::option::of(any::<u8>())), 0..6), 1..14),
        back in 0usize..14,
        limit in 1usize..8,
    ) {
        each(|store| {
            let chain = open(store, "m", Retention::Archive);
            let mut model: Vec<BTreeMap<Vec<u8>, Vec<u8>>> = Vec::new();
            for (height, writes) in steps.iter().enumerate() {
                let mut map = model.last().cloned().unwrap_or_default();
                let writes = writes.iter().map(|(key, value)| {
                    let (key, value) = (vec![*key, 0, *key], value.map(|value| vec![value]));
                    match &value {
                        Some(value) => drop(map.insert(key.clone(), value.clone())),
                        None => drop(map.remove(&key)),
                    }
                    Write { table: Table::State, key, value }
                }).collect();
                commit(&chain, height as u64, writes);
                model.push(map);
            }
            let check = |chain: &Arc<ChainStore>, model: &[BTreeMap<Vec<u8>, Vec<u8>>]| {
                for (height, map) in model.iter().enumerate() {
                    let mut view = chain.view();
                    view.seek(height as u64).unwrap();
                    let expected: Vec<_> = map.iter().take(limit).map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect();
                    assert_eq!(view.scan(Table::State, b"", None, limit).unwrap(), expected);
                    for key in 0..12u8 {
                        let key = [key, 0, key];
                        assert_eq!(view.get(Table::State, &key).unwrap(), map.get(key.as_slice()).cloned());
                    }
                }
            };
            check(&chain, &model);
            let kept = model.len() - back.min(model.len() - 1);
            wait(chain.revert_to(kept as u64)).unwrap();
            model.truncate(kept);
            check(&chain, &model);
        });
    }
}
