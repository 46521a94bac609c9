//! A state that is read as a stream on one backend and gathered on another.

use std::sync::Arc;

use subnode_storage::{
    Batch, ChainStore, Entry, Head, MemoryStore, Place, Retention, RocksStore, StateStream, Store, StoreError, Table, Write,
};

use crate::{OPTIONS, wait};

/// Bytes of a piece: less than some rows have.
const PIECE: usize = 10_000;

fn row(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write { table, key: key.to_vec(), value: Some(value.to_vec()) }
}

/// A chain of some heights; rows of all lengths, one of several pieces.
fn filled(store: &dyn Store, name: &str) -> Arc<ChainStore> {
    let chain = store.open(&name.parse().unwrap(), Retention::Archive).unwrap();
    for height in 0..6_u8 {
        let mut writes: Vec<_> = (0..700_u32)
            .filter(|key| key % 7 >= u32::from(height))
            .map(|key| row(Table::State, &key.to_be_bytes(), &vec![height; usize::try_from(key).unwrap() % 90]))
            .collect();
        writes.push(row(Table::State, b"long", &[height; 35_000]));
        writes.push(Write { table: Table::State, key: u32::from(height).to_be_bytes().to_vec(), value: None });
        wait(chain.commit(Batch { head: Head { height: height.into(), data: vec![height] }, writes })).unwrap();
    }
    chain
}

fn state(chain: &Arc<ChainStore>, height: u64) -> Vec<Entry> {
    let mut view = chain.view();
    view.seek(height).unwrap();
    view.scan(Table::State, &[], None, 10_000).unwrap()
}

fn pieces(chain: &Arc<ChainStore>, height: u64) -> Vec<(Place, Vec<u8>)> {
    let mut view = chain.view();
    view.seek(height).unwrap();
    let mut stream = StateStream::new(view, Place::default());
    std::iter::from_fn(|| stream.next_piece(PIECE).unwrap()).collect()
}

#[test]
fn the_state_at_a_height_is_one_stream_whatever_came_after_and_each_piece_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (rocks, memory) = (RocksStore::open(dir.path(), &OPTIONS).unwrap(), MemoryStore::default());
    let (one, other) = (filled(&rocks, "one"), filled(&memory, "other"));
    for height in 0..6 {
        let all = pieces(&one, height);
        assert_eq!(all, pieces(&other, height), "height {height}");
        assert!(all.len() > 5 && all[..all.len() - 1].iter().all(|(_, piece)| piece.len() == PIECE));
        for (place, piece) in &all {
            let mut view = other.view();
            view.seek(height).unwrap();
            let (found_at, found) = StateStream::new(view, place.clone()).next_piece(PIECE).unwrap().unwrap();
            assert_eq!((&found, &found_at.key), (piece, &place.key), "height {height}, {place:?}");
        }
    }
}

#[test]
fn a_gathered_state_takes_the_chains_place_at_once_and_survives_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryStore::default();
    let source = filled(&memory, "source");
    let (wanted, stream) = (state(&source, 4), pieces(&source, 4));
    let (of, name) = ([7; 32], "target".parse().unwrap());
    let mut rocks = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    rocks.register(&name, b"record").unwrap();
    drop(filled(&rocks, "target"));
    for (index, (_, piece)) in stream.iter().enumerate() {
        // By a new process each time.
        drop(rocks);
        rocks = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        let target = rocks.open(&name, Retention::Archive).unwrap();
        assert_eq!(target.staged().unwrap(), (index > 0).then_some(of));
        assert_eq!(state(&target, 5), state(&source, 5), "the chain is what it was");
        let mut stage = target.stage(of).unwrap();
        assert_eq!(stage.next_piece(), index as u64);
        if index == 1 {
            let early = target.stage(of).unwrap();
            assert!(matches!(wait(target.adopt(early, Head { height: 4, data: vec![] }, vec![])), Err(StoreError::Corrupt(_))), "cut");
        }
        wait(stage.append(&[piece])).unwrap();
    }
    let target = rocks.open(&name, Retention::Archive).unwrap();
    let head = Head { height: 4, data: b"head".to_vec() };
    let beside = vec![row(Table::Meta, b"beside", b"1"), row(Table::Log, b"signed", b"2")];
    wait(target.adopt(target.stage(of).unwrap(), head.clone(), beside)).unwrap();
    assert!(target.view().get(Table::State, b"long").is_err(), "what was open before is closed");
    drop(target);
    drop(rocks);
    let rocks = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    let target = rocks.open(&name, Retention::Archive).unwrap();
    assert_eq!((target.head(), target.staged().unwrap()), (Some(head), None));
    assert_eq!(rocks.record(&name).unwrap(), Some(b"record".to_vec()));
    assert_eq!(state(&target, 4), wanted);
    assert_eq!(target.view().get(Table::Log, b"signed").unwrap(), Some(b"2".to_vec()));
    // Nothing of the chain that was there is left, and it goes on.
    assert!(target.view().get(Table::Block, b"any").unwrap().is_none() && target.version_at(3).unwrap().is_none());
    let writes = vec![row(Table::State, b"more", b"1")];
    wait(target.commit(Batch { head: Head { height: 5, data: vec![] }, writes })).unwrap();
    assert_eq!(state(&target, 4), wanted);
    let mut live = 0;
    for table in [Table::State, Table::Index, Table::Block, Table::Meta, Table::Log] {
        let rows = target.view().scan(table, &[], None, 10_000).unwrap();
        live += rows.iter().map(|row| row.key.len() as u64 + 1 + row.value.len() as u64).sum::<u64>();
    }
    assert!(target.live_bytes() >= live, "{} bytes are live, and {live} in tables", target.live_bytes());
}

#[test]
fn another_state_begins_anew_and_bytes_that_are_no_rows_are_refused() {
    let memory = MemoryStore::default();
    let chain = filled(&memory, "chain");
    let mut stage = chain.stage([1; 32]).unwrap();
    wait(stage.append(&[&pieces(&chain, 0)[0].1])).unwrap();
    assert_eq!(chain.stage([1; 32]).unwrap().next_piece(), 1);
    let mut stage = chain.stage([2; 32]).unwrap();
    assert_eq!((stage.next_piece(), stage.live_bytes()), (0, 0));
    for junk in [&[0_u8; 64][..], &[0xff; 64]] {
        assert!(matches!(wait(stage.append(&[junk])), Err(StoreError::Corrupt(_))));
    }
    assert_eq!(stage.next_piece(), 0);

    let small = memory.open(&"small".parse().unwrap(), Retention::Archive).unwrap();
    small.set_limit_bytes(50_000);
    let mut stage = small.stage([3; 32]).unwrap();
    let all = pieces(&chain, 0);
    let refused = all.iter().map(|(_, piece)| wait(stage.append(&[piece]))).find_map(Result::err);
    assert!(matches!(refused, Some(StoreError::SliceFull { limit: 50_000, .. })), "{refused:?}");
    small.set_limit_bytes(500_000);
    for (_, piece) in &all[usize::try_from(stage.next_piece()).unwrap()..] {
        wait(stage.append(&[piece])).unwrap();
    }
    small.set_limit_bytes(50_000);
    assert!(matches!(wait(small.adopt(stage, Head { height: 0, data: vec![] }, vec![])), Err(StoreError::SliceFull { .. })));
    assert_eq!(small.head(), None, "it is what it was");
}
