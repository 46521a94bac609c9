use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use super::*;
use crate::{Batch, Head, Table, Write, key};

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

fn name(name: &str) -> ChainName {
    name.parse().expect("a name")
}

#[test]
fn a_family_is_drained_once_nobody_writes_to_it() {
    let alive = Alive::new();
    let held = alive.hold().expect("alive");
    alive.retire();
    assert!(alive.hold().is_none() && !alive.is_alive());
    let (drained, told) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            alive.drain();
            drained.send(()).expect("somebody waits");
        });
        assert_eq!(told.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        drop(held);
        assert_eq!(told.recv(), Ok(()));
    });
}

#[test]
fn rows_that_are_appended_to_a_deleted_chain_do_not_become_another_chains() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).expect("opens");
    let old = store.open(&name("old"), Retention::Archive).expect("opens");
    let rows = (0..300_000_u32).map(|index| (key::latest(Table::State, &index.to_be_bytes()), index.to_le_bytes().repeat(25)));
    let rows = rows.collect();
    wait(async {
        // Nobody awaits it at first: it runs all the same.
        let append = old.rows.append(rows);
        let is_file = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("appended-");
        while !std::fs::read_dir(dir.path()).expect("reads").flatten().any(|entry| is_file(&entry)) {
            std::thread::yield_now();
        }
        store.delete(&name("old")).expect("deletes");
        let new: Vec<_> = (0..8).map(|index| store.open(&name(&format!("new{index}")), Retention::Archive).expect("opens")).collect();
        let appended = append.await;
        for chain in &new {
            assert!(chain.rows.is_empty().expect("reads"), "rows of a deleted chain, whose append ended with {appended:?}");
        }
    });
}

#[test]
fn two_appends_to_one_family_at_once_are_both_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).expect("opens");
    let chain = store.open(&name("a"), Retention::Archive).expect("opens");
    let rows =
        |first: u8| (0..20_000_u32).map(move |index| ([&[0x10, first][..], &index.to_be_bytes()].concat(), vec![first; 50])).collect();
    wait(async {
        let appends = [1, 2, 3].map(|first| chain.rows.append(rows(first)));
        for append in appends {
            append.await.expect("appends");
        }
    });
    for first in [1, 2, 3] {
        for index in [0_u32, 19_999] {
            assert_eq!(chain.rows.get(&[&[0x10, first][..], &index.to_be_bytes()].concat()).expect("reads"), Some(vec![first; 50]));
        }
    }
}

#[test]
fn a_record_that_is_written_while_other_tables_take_a_chains_place_is_kept_with_those_tables() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = RocksStore::open(dir.path(), &RocksOptions { families_ready: 8, ..RocksOptions::SMALL }).expect("opens");
    for round in 0..40_u8 {
        let chain = store.open(&name("a"), Retention::Archive).expect("opens");
        let piece = {
            let mut piece = Vec::new();
            crate::rows::put_row(&mut piece, b"key", &[round]);
            piece
        };
        std::thread::scope(|scope| {
            let registered = scope.spawn(|| {
                for step in 0..20_u8 {
                    store.register(&name("a"), &[round, step]).expect("registers");
                }
            });
            wait(async {
                let mut stage = chain.stage([round; 32]).expect("begins");
                stage.append(&[&piece]).await.expect("appends");
                chain.adopt(stage, Head { height: round.into(), data: vec![] }, Vec::new()).await.expect("adopts");
            });
            registered.join().expect("registers");
        });
        assert_eq!(store.record(&name("a")).expect("reads"), Some(vec![round, 19]));
        let chain = store.open(&name("a"), Retention::Archive).expect("opens");
        assert_eq!(chain.view().get(Table::State, b"key").expect("reads"), Some(vec![round]), "round {round}");
    }
}

#[test]
fn a_disk_that_fills_up_takes_votes_for_longer_than_blocks_and_what_makes_room_for_longest() {
    let dir = tempfile::tempdir().expect("a directory");
    let free = DiskGuard::new(dir.path().into(), 0).free_bytes().expect("this system tells");
    let write = |table| vec![Write { table, key: b"x".to_vec(), value: Some(vec![1]) }];
    let batch = |height| Batch { head: Head { height, data: vec![] }, writes: write(Table::State) };
    {
        let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).expect("opens");
        let chain = store.open(&name("a"), Retention::Archive).expect("opens");
        (0..9).for_each(|height| wait(chain.commit(batch(height))).expect("commits"));
    }
    // Free are: two thirds of what blocks leave, which is more than half of it; a quarter; a sixteenth.
    for (kept, log, prune) in [(free / 2 * 3, true, true), (free.saturating_mul(4), false, true), (free.saturating_mul(16), false, false)] {
        let store = RocksStore::open(dir.path(), &RocksOptions { disk_free_bytes_min: kept, ..RocksOptions::SMALL }).expect("opens");
        let chain = store.open(&name("a"), Retention::Archive).expect("opens");
        let oldest = chain.oldest_version();
        assert!(matches!(wait(chain.commit(batch(9))), Err(StoreError::Full(_))), "no block");
        assert!(
            matches!(wait(async { chain.rows.append(vec![(vec![0x10, 1], vec![])]).await }), Err(StoreError::Full(_))),
            "no state of others"
        );
        assert_eq!(wait(chain.log(write(Table::Log))).is_ok(), log, "what is signed, at {kept}");
        chain.set_retention(Retention::Last(chain.version() - oldest.max(1) - 1));
        assert_eq!(wait(chain.prune(100)).is_ok(), prune, "pruning, at {kept}");
        assert_eq!(chain.oldest_version() > oldest, prune);
    }
    let store = RocksStore::open(dir.path(), &RocksOptions { disk_free_bytes_min: u64::MAX, ..RocksOptions::SMALL }).expect("opens");
    store.delete(&name("a")).expect("a chain can be deleted whatever the disk has left");
    assert!(store.names().is_empty());
}
