//! One suite for both backends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod damage;
mod import;
mod load;
mod past;
mod stage;

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use subnode_storage::{
    ArchiveError, ArchiveReader, Batch, ChainStore, Entry, Frame, FrameKind, Head, MemoryStore, OpenError, Retention, RocksOptions,
    RocksStore, Store, StoreError, Table, Write,
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
    wait(store.commit(Batch { head: Head { height, data: vec![height.to_be_bytes()[7]] }, writes })).unwrap();
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
fn a_log_is_counted_and_kept_through_a_revert() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let log = |key: &[u8], value: Option<&[u8]>| Write { table: Table::Log, key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        commit(&chain, 0, vec![state(b"x", Some(b"0"))]);
        commit(&chain, 1, vec![state(b"x", Some(b"1"))]);
        let (version, before) = (chain.version(), chain.live_bytes());
        wait(chain.log(vec![log(b"signed", Some(b"vote")), log(b"gone", Some(b"entry"))])).unwrap();
        assert_eq!((chain.version(), chain.live_bytes() > before), (version, true), "no version, but bytes");
        commit(&chain, 2, vec![state(b"x", Some(b"2")), log(b"gone", None)]);
        wait(chain.revert_to(1, b"")).unwrap();
        let view = chain.view();
        assert_eq!(view.get(Table::State, b"x").unwrap(), Some(b"0".to_vec()));
        assert_eq!(view.get(Table::Log, b"signed").unwrap(), Some(b"vote".to_vec()), "what was signed stays signed");
        assert_eq!(view.get(Table::Log, b"gone").unwrap(), None, "what a block did with the log is not undone");
        chain.set_limit_bytes(chain.live_bytes());
        assert!(matches!(wait(chain.log(vec![log(b"more", Some(&[0; 100]))])), Err(StoreError::SliceFull { .. })));
    });
}

#[test]
fn a_revert_restores_every_table_and_voids_views() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let index = |value: &[u8]| Write { table: Table::Index, key: b"i".to_vec(), value: Some(value.to_vec()) };
        commit(&chain, 0, vec![state(b"x", Some(b"0")), index(b"0"), state(b"zgone", Some(b"0"))]);
        let kept = chain.version();
        commit(&chain, 1, vec![state(b"x", Some(b"1")), index(b"1"), state(b"zkept", Some(b"1")), state(b"zgone", None)]);
        commit(&chain, 1, vec![state(b"x", Some(b"amended"))]);
        let view = chain.view();
        wait(chain.revert_to(kept, b"z")).unwrap();
        assert_eq!(chain.view().get(Table::State, b"zkept").unwrap(), Some(b"1".to_vec()), "it outlives the revert");
        assert_eq!(chain.view().get(Table::State, b"zgone").unwrap(), None);
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
        assert!(matches!(wait(chain.revert_to(16, b"")), Err(StoreError::Unavailable { .. })));
        wait(chain.revert_to(17, b"")).unwrap();
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
    let families = rocksdb::DB::list_cf(&options, dir.path()).unwrap();
    let db = rocksdb::DB::open_cf(&options, dir.path(), families).unwrap();
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
            wait(chain.revert_to(kept as u64, b"")).unwrap();
            model.truncate(kept);
            check(&chain, &model);
        });
    }
}

#[test]
fn a_commit_beyond_the_slice_writes_nothing_and_pruning_makes_room() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        for height in 0..20 {
            commit(&chain, height, vec![state(b"x", Some(&[u8::try_from(height).unwrap(); 1000]))]);
        }
        let live = chain.live_bytes();
        assert!((20_000..23_000).contains(&live), "{live}");
        chain.set_limit_bytes(live + 500);
        let batch = || Batch { head: Head { height: 20, data: vec![20] }, writes: vec![state(b"x", Some(&[99; 1000]))] };
        assert!(matches!(wait(chain.commit(batch())), Err(StoreError::SliceFull { .. })));
        assert_eq!((chain.version(), chain.live_bytes()), (20, live));
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![19; 1000]));
        assert!(chain.full().is_some());
        chain.set_retention(Retention::Last(3));
        while wait(chain.prune(4)).unwrap() {}
        assert!(chain.full().is_none() && chain.live_bytes() < live / 3, "{} of {live}", chain.live_bytes());
        wait(chain.commit(batch())).unwrap();
        let mut view = chain.view();
        assert!(view.seek(10).is_err() && view.seek(18).is_ok());
    });
}

/// What is live, counted row by row.
fn counted(chain: &ChainStore) -> u64 {
    let mut export = chain.export().unwrap();
    let mut rows = 0;
    while let Some(frame) = export.next_frame().unwrap() {
        if frame.kind() == FrameKind::End {
            rows = u64::from_be_bytes(frame.payload()[4..12].try_into().unwrap());
        }
    }
    // Each row is exported with two lengths of four bytes.
    export.bytes() - 8 * rows
}

#[test]
fn live_bytes_are_those_of_the_rows_whatever_was_done() {
    each(|store| {
        let chain = open(store, "a", Retention::Last(4));
        for height in 0..30_u8 {
            let value = vec![height; usize::from(height) * 7];
            let index = Write { table: Table::Index, key: vec![height % 5], value: (height % 3 != 0).then(|| value.clone()) };
            commit(&chain, u64::from(height), vec![state(&[height % 7], (height % 4 != 0).then_some(&value)), index]);
            assert_eq!(chain.live_bytes(), counted(&chain), "at height {height}");
        }
        wait(chain.revert_to(chain.version() - 2, b"")).unwrap();
        assert_eq!(chain.live_bytes(), counted(&chain), "after a revert");
        chain.set_retention(Retention::Last(1));
        while wait(chain.prune(1)).unwrap() {}
        assert_eq!(chain.live_bytes(), counted(&chain), "after pruning");
    });
}

/// A chain's archive, frame by frame.
fn archived(chain: &ChainStore) -> Vec<Frame> {
    let mut export = chain.export().unwrap();
    let frames = std::iter::from_fn(|| export.next_frame().unwrap());
    [Frame::header(b"about".to_vec())].into_iter().chain(frames).collect()
}

fn filled(store: &dyn Store) -> Arc<ChainStore> {
    let chain = open(store, "source", Retention::Archive);
    for height in 0..9_u8 {
        let writes = (0..64_u8).map(|key| state(&[key], Some(&vec![key ^ height; 9_000])));
        commit(&chain, height.into(), writes.collect());
    }
    chain
}

#[test]
fn an_archive_restores_the_chain_on_either_backend_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    let memory = MemoryStore::default();
    for (from, to) in [(&rocks as &dyn Store, &memory as &dyn Store), (&memory, &rocks), (&rocks, &rocks)] {
        let source = filled(from);
        let frames = archived(&source);
        // The chain goes on: the archive is of its moment.
        commit(&source, 9, vec![state(b"later", Some(b"x"))]);
        let name = "copy".parse().unwrap();
        let [header, chunks @ .., end] = frames.as_slice() else { panic!("too few frames") };
        assert!(chunks.len() > 2);
        for (index, chunk) in chunks.iter().enumerate() {
            // Each chunk by a new import, as after a kill.
            let mut import = to.import(&name, header).unwrap().unwrap();
            assert_eq!(import.next_chunk() as usize, index);
            assert!(import.append(&chunks[(index + 1) % chunks.len()]).await_now().is_err(), "a chunk out of turn");
            import.append(chunk).await_now().unwrap();
        }
        assert!(to.import(&name, &Frame::header(b"another".to_vec())).unwrap().is_none());
        assert_eq!((to.unfinished(), to.names().contains(&name)), (vec![name.clone()], false));
        to.import(&name, header).unwrap().unwrap().finish(end).await_now().unwrap();
        to.register(&name, b"record").unwrap();
        assert_eq!(to.record(&name).unwrap(), Some(b"record".to_vec()));
        let copy = to.open(&name, Retention::Archive).unwrap();
        assert_eq!(copy.head(), Some(Head { height: 8, data: vec![8] }));
        assert_eq!(archived(&copy), frames);
        wait(source.revert_to(1, b"")).unwrap();
        to.delete(&name).unwrap();
        from.delete(&"source".parse().unwrap()).unwrap();
    }
}

#[test]
fn every_damage_to_an_archive_is_found() {
    let memory = MemoryStore::default();
    let whole: Vec<u8> = archived(&filled(&memory)).iter().flat_map(Frame::encode).collect();
    let read = |bytes: &[u8]| -> Result<u64, ArchiveError> {
        let (mut archive, _) = ArchiveReader::new(bytes)?;
        let mut frames = 1;
        while archive.next()?.kind() != FrameKind::End {
            frames += 1;
        }
        Ok(frames)
    };
    assert!(read(&whole).unwrap() > 2);
    assert!(matches!(read(b"PK"), Err(ArchiveError::Foreign)));
    assert!(matches!(read(&[b"x", whole.as_slice()].concat()), Err(ArchiveError::Foreign)));
    let mut newer = whole.clone();
    newer[11] = 9;
    assert!(matches!(read(&newer), Err(ArchiveError::Newer { found: 9 })));
    for cut in [0, 11, 20, whole.len() / 2, whole.len() - 1] {
        assert!(matches!(read(&whole[..cut]), Err(ArchiveError::Truncated { .. } | ArchiveError::Foreign)), "cut at {cut}");
    }
    for position in (12..whole.len()).step_by(997) {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        assert!(read(&flipped).is_err(), "byte {position} flipped");
    }
}

#[test]
fn deleted_chains_leave_no_family_and_the_reserve_serves_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let options = RocksOptions { families_ready: 4, ..OPTIONS };
    for round in 0..3 {
        let store = RocksStore::open(dir.path(), &options).unwrap();
        for index in 0..8 {
            commit(&open(&store, &format!("r{round}c{index}"), Retention::Archive), 0, vec![state(b"x", Some(b"0"))]);
        }
        for name in store.names() {
            store.delete(&name).unwrap();
        }
        assert!(store.names().is_empty());
        drop(store);
        // The default family, and those kept ready: four, and as many again that were emptied.
        let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), dir.path()).unwrap();
        assert!(families.len() <= 1 + 4 * 4, "{families:?}");
    }
}

trait AwaitNow: Future + Sized {
    fn await_now(self) -> Self::Output {
        wait(self)
    }
}

impl<F: Future> AwaitNow for F {}

#[test]
fn a_deleted_chain_reads_nothing_of_the_one_that_has_its_place() {
    each(|store| {
        let old = open(store, "old", Retention::Archive);
        commit(&old, 0, vec![state(b"x", Some(b"old"))]);
        let view = old.view();
        store.delete(&"old".parse().unwrap()).unwrap();
        // Whichever gets the family.
        let new: Vec<_> = (0..8).map(|index| open(store, &format!("new{index}"), Retention::Archive)).collect();
        for (index, chain) in new.iter().enumerate() {
            assert_eq!((chain.head(), chain.view().get(Table::State, b"x").unwrap()), (None, None), "new{index} is empty");
            commit(chain, 0, vec![state(b"x", Some(b"new"))]);
        }
        assert!(!matches!(view.get(Table::State, b"x"), Ok(Some(value)) if value == b"new"));
        let late = Batch { head: Head { height: 1, data: vec![1] }, writes: vec![state(b"x", Some(b"late"))] };
        drop(wait(old.commit(late)));
        for chain in &new {
            assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(b"new".to_vec()));
        }
    });
}
