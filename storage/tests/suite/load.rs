//! A first version that comes in parts.

use std::sync::Arc;

use subnode_storage::{Batch, ChainStore, Entry, Head, Load, Retention, RocksStore, Store, StoreError, Table, Write};

use crate::{OPTIONS, each, open, wait};

/// Rows of more than three parts.
const ROWS: u32 = 200_000;

fn entry(key: &[u8], value: &[u8]) -> Entry {
    Entry { key: key.to_vec(), value: value.to_vec() }
}

/// Keys in no order, each once.
fn scattered(index: u32) -> [u8; 4] {
    index.wrapping_mul(2_654_435_761).to_be_bytes()
}

fn put_all(load: &mut Load) {
    for start in (0..ROWS).step_by(1_000) {
        let rows = (start..start + 1_000).map(|index| entry(&scattered(index), &index.to_be_bytes()));
        wait(load.put(rows.collect())).unwrap();
    }
}

fn rest() -> Batch {
    let write = |table, key: &[u8], value: &[u8]| Write { table, key: key.to_vec(), value: Some(value.to_vec()) };
    let writes = vec![
        write(Table::State, b"more", b"rows"),
        // Of two the later holds.
        write(Table::State, &scattered(7), b"anew"),
        write(Table::Block, b"0", b"block"),
    ];
    Batch { head: Head { height: 0, data: b"first".to_vec() }, writes }
}

/// Bytes of all rows, counted one by one.
fn counted(chain: &Arc<ChainStore>) -> u64 {
    let mut export = chain.export().unwrap();
    while export.next_frame().unwrap().is_some() {}
    // Each row comes with two lengths of 4 bytes.
    let rows = u64::from(ROWS) + 1 + 1 + 2;
    export.bytes() - 8 * rows
}

fn assert_loaded(chain: &Arc<ChainStore>) {
    let view = chain.view();
    let rows: Vec<Entry> = view.scan(Table::State, b"", None, usize::try_from(ROWS).unwrap() + 10).unwrap();
    assert_eq!(rows.len(), usize::try_from(ROWS).unwrap() + 1);
    assert!(rows.is_sorted_by(|one, next| one.key < next.key));
    for index in [0, 1, 99_999, ROWS - 1] {
        assert_eq!(view.get(Table::State, &scattered(index)).unwrap(), Some(index.to_be_bytes().to_vec()));
    }
    assert_eq!(view.get(Table::State, &scattered(7)).unwrap(), Some(b"anew".to_vec()));
    assert_eq!(view.get(Table::State, b"more").unwrap(), Some(b"rows".to_vec()));
    assert_eq!((chain.head().unwrap().data, chain.version(), chain.oldest_version()), (b"first".to_vec(), 1, 1));
    assert_eq!(chain.live_bytes(), counted(chain));
}

#[test]
fn parts_become_one_first_version_that_later_ones_return_to() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let mut load = wait(chain.begin_load()).unwrap();
        assert!(load.is_empty());
        put_all(&mut load);
        assert_eq!((chain.head(), load.is_empty()), (None, false), "nothing is committed before the end");
        wait(chain.finish_load(load, rest())).unwrap();
        assert_loaded(&chain);

        let changed = Write { table: Table::State, key: scattered(1).to_vec(), value: None };
        wait(chain.commit(Batch { head: Head { height: 1, data: b"second".to_vec() }, writes: vec![changed] })).unwrap();
        assert_eq!(chain.view().get(Table::State, &scattered(1)).unwrap(), None);
        wait(chain.revert_to(1, b"")).unwrap();
        assert_loaded(&chain);
    });
}

#[test]
fn entries_come_back_in_order_the_later_of_two_and_are_no_rows() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let mut load = wait(chain.begin_load()).unwrap();
        for value in [b"old", b"new"] {
            for start in (0..ROWS).step_by(1_000) {
                let entries = (start..start + 1_000).filter(|index| value == b"old" || index % 2 == 0);
                wait(load.sort(entries.map(|index| entry(&scattered(index), value)).collect())).unwrap();
            }
        }
        wait(load.sort(vec![entry(&[0xff; 5], &[0; 9_000]), entry(&[0xff; 6], b"last")])).unwrap();
        assert!(!load.is_sorted());
        let mut parts = Vec::new();
        while let Some(part) = Some(wait(load.next_sorted(1_000)).unwrap()).filter(|part| !part.is_empty()) {
            let bytes: usize = part.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
            assert!(bytes <= 1_000 || part.len() == 1, "{} entries of {bytes} bytes", part.len());
            parts.push(part);
        }
        assert!(load.is_sorted() && wait(load.next_sorted(1_000)).unwrap().is_empty(), "the end stays the end");
        let all: Vec<Entry> = parts.concat();
        assert_eq!((all.len(), all.last().map(|last| last.value.clone())), (usize::try_from(ROWS).unwrap() + 2, Some(b"last".to_vec())));
        assert!(all.is_sorted_by(|one, next| one.key < next.key));
        let value = |index: u32| all[all.binary_search_by(|entry| entry.key.as_slice().cmp(&scattered(index))).unwrap()].value.clone();
        assert_eq!((value(10), value(11)), (b"new".to_vec(), b"old".to_vec()));

        put_all(&mut load);
        wait(chain.finish_load(load, rest())).unwrap();
        assert_loaded(&chain);
        assert_eq!(chain.staged().unwrap(), None);
    });
}

#[test]
fn what_a_load_that_did_not_end_left_is_gone_when_the_next_begins() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        let chain = open(&store, "a", Retention::Archive);
        let mut load = wait(chain.begin_load()).unwrap();
        wait(load.put((0..150_000_u32).map(|index| entry(&[&b"left"[..], &scattered(index)].concat(), b"behind")).collect())).unwrap();
        wait(load.sort((0..150_000).map(|index| entry(&scattered(index), b"left behind")).collect())).unwrap();
        // As a process that is killed: nothing is told.
        drop(load);
    }
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    let chain = open(&store, "a", Retention::Archive);
    let families = store.usage().families;
    assert_eq!(chain.head(), None);
    assert!(!chain.view().scan(Table::State, b"left", None, 1).unwrap().is_empty(), "or the test shows nothing");
    let mut load = wait(chain.begin_load()).unwrap();
    assert!(chain.view().scan(Table::State, b"", None, 1).unwrap().is_empty());
    assert!(wait(load.next_sorted(1_000)).unwrap().is_empty());
    put_all(&mut load);
    wait(chain.finish_load(load, rest())).unwrap();
    assert_loaded(&chain);
    assert!(store.usage().families <= families, "the family of the sorter is given back");
    drop((chain, store));
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    assert_loaded(&open(&store, "a", Retention::Archive));
}

#[test]
fn a_load_that_passes_the_slice_of_storage_leaves_nothing() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        chain.set_limit_bytes(1 << 20);
        let mut load = wait(chain.begin_load()).unwrap();
        let refused = (0..ROWS).find_map(|index| wait(load.put(vec![entry(&scattered(index), &[0; 100])])).err());
        assert!(matches!(refused, Some(StoreError::SliceFull { limit, wanted, .. }) if limit == 1 << 20 && wanted <= limit + 105));
        wait(load.discard()).unwrap();
        let mut load = wait(chain.begin_load()).unwrap();
        wait(load.sort(vec![entry(b"k", &[0; 600 << 10])])).unwrap();
        assert!(matches!(wait(load.put(vec![entry(b"k", &[0; 600 << 10])])), Err(StoreError::SliceFull { .. })), "both count");
        wait(load.discard()).unwrap();

        // The rest may be what is too much.
        let mut load = wait(chain.begin_load()).unwrap();
        wait(load.put(vec![entry(b"k", &[0; 1000 << 10])])).unwrap();
        let block = Write { table: Table::Block, key: b"0".to_vec(), value: Some(vec![0; 100 << 10]) };
        let rest = Batch { head: Head { height: 0, data: Vec::new() }, writes: vec![block] };
        assert!(matches!(wait(chain.finish_load(load, rest)), Err(StoreError::SliceFull { .. })));
        assert_eq!((chain.head(), chain.live_bytes()), (None, 0));
        assert!(chain.view().scan(Table::State, b"", None, 1).unwrap().is_empty());
    });
}

#[test]
fn a_small_load_is_the_writes_of_one_batch() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let mut load = wait(chain.begin_load()).unwrap();
        wait(load.put(vec![entry(b"b", b"2"), entry(b"a", b"1"), entry(b"b", b"3")])).unwrap();
        let write = |key: &[u8], value: &[u8]| Write { table: Table::State, key: key.to_vec(), value: Some(value.to_vec()) };
        assert_eq!(wait(load.into_writes()).unwrap(), [write(b"a", b"1"), write(b"b", b"3")]);
        assert!(chain.view().scan(Table::State, b"", None, 1).unwrap().is_empty());
    });
}
