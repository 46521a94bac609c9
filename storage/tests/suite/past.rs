//! What is dropped of the past, and what is not.

use subnode_storage::{Batch, Head, Retention, RocksStore, StoreError, Table, Write};

use crate::{commit, each, open, state, wait};

fn put(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write { table, key: key.to_vec(), value: Some(value.to_vec()) }
}

/// A block of some bytes, and a look-up.
fn block(height: u8) -> Vec<Write> {
    let key = u64::from(height).to_be_bytes();
    vec![put(Table::Block, &key, &[height; 1000]), put(Table::Index, &key, &[height]), state(b"x", Some(&[height]))]
}

#[test]
fn what_is_held_outlives_the_retention() {
    each(|store| {
        let chain = open(store, "a", Retention::Last(3));
        for height in 0..=10 {
            commit(&chain, height.into(), block(height));
            if height == 4 {
                chain.hold(Some(chain.version()));
            }
        }
        assert_eq!(chain.oldest_version(), 5);
        wait(chain.prune(100)).unwrap();
        let mut sought = chain.view();
        sought.seek(4).unwrap();
        assert_eq!(sought.get(Table::State, b"x").unwrap(), Some(vec![4]));
        wait(chain.revert_to(5, b"")).unwrap();
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![4]));
        for height in 5..=20 {
            commit(&chain, height.into(), block(height));
        }
        chain.hold(None);
        while wait(chain.prune(100)).unwrap() {}
        assert_eq!(chain.oldest_version(), chain.version() - 3);
    });
}

#[test]
fn the_past_stays_within_its_limit_and_genesis_stays() {
    const LIMIT: u64 = 200_000;
    each(|store| {
        let chain = open(store, "a", Retention::Last(80));
        chain.set_past_limit(LIMIT);
        let mut most = 0;
        for height in 0..=255 {
            commit(&chain, height.into(), block(height));
            // An amendment: the height is of two versions.
            commit(&chain, height.into(), vec![state(b"amended", Some(&[height]))]);
            most = most.max(chain.past_bytes());
        }
        assert!((LIMIT / 2..=LIMIT).contains(&most), "{most} bytes");
        let view = chain.view();
        let blocks = view.scan(Table::Block, b"", None, 1000).unwrap();
        let look_ups = view.scan(Table::Index, b"", None, 1000).unwrap();
        assert_eq!(blocks.iter().map(|row| &row.key).collect::<Vec<_>>(), look_ups.iter().map(|row| &row.key).collect::<Vec<_>>());
        assert_eq!(blocks[0].key, 0_u64.to_be_bytes(), "genesis stays");
        let oldest = u64::from_be_bytes(blocks[1].key.clone().try_into().unwrap());
        assert!((60..200).contains(&oldest), "the oldest block kept is {oldest}");
        // Of the height before, the amendment may still be there.
        assert_eq!(chain.version_at(oldest - 2).unwrap(), None);
        for height in oldest..=255 {
            assert!(chain.version_at(height).unwrap().is_some(), "{height}");
        }
        // The state of the last 80 versions is there, and can be returned to.
        let mut sought = chain.view();
        sought.seek(220).unwrap();
        assert_eq!(sought.get(Table::State, b"x").unwrap(), Some(vec![220]));
        wait(chain.revert_to(chain.version() - 20, b"")).unwrap();
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![245]));
        let expected: u64 = blocks.len() as u64 - 10;
        assert_eq!(chain.view().scan(Table::Block, b"", None, 1000).unwrap().len() as u64, expected);
    });
}

#[test]
fn old_states_go_too_where_they_alone_pass_the_limit() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        chain.set_past_limit(50_000);
        for height in 0..=250_u8 {
            commit(&chain, height.into(), block(height));
        }
        assert!(chain.oldest_version() > 100, "{}", chain.oldest_version());
        assert!(chain.version() - chain.oldest_version() >= 64, "the last versions stay whatever they take");
        chain.hold(Some(chain.version()));
        let held = chain.version();
        for height in 251..=255_u8 {
            commit(&chain, height.into(), block(height));
        }
        wait(chain.revert_to(held, b"")).unwrap();
        assert_eq!(chain.view().get(Table::Block, &250_u64.to_be_bytes()).unwrap(), Some(vec![250; 1000]));
    });
}

/// Bytes of old values and of what it takes to undo versions, counted by what their loss frees.
fn old_bytes(chain: &subnode_storage::ChainStore) -> u64 {
    let (before, retention) = (chain.live_bytes(), chain.retention());
    chain.set_retention(Retention::Last(0));
    while wait(chain.prune(1_000)).unwrap() {}
    chain.set_retention(retention);
    before - chain.live_bytes()
}

#[test]
fn old_values_stay_within_their_bytes_across_restarts_and_reverts() {
    const LIMIT: u64 = 100_000;
    /// Grows, so that a count of versions would be another one each time.
    fn block(height: u64) -> Vec<Write> {
        vec![state(b"x", Some(&vec![height.to_be_bytes()[7]; 10 * usize::try_from(height).unwrap()]))]
    }
    let dir = tempfile::tempdir().unwrap();
    let open_with = |retention| {
        let store = RocksStore::open(dir.path(), &crate::OPTIONS).unwrap();
        let chain = crate::open(&store, "a", retention);
        (store, chain)
    };
    let open = || open_with(Retention::within(LIMIT));
    let oldest = {
        let (_store, chain) = open();
        (0..200).for_each(|height| commit(&chain, height, block(height)));
        assert!(chain.oldest_version() > 100, "{}", chain.oldest_version());
        chain.oldest_version()
    };
    // It is known what they take, and nothing but that.
    let (store, chain) = open();
    assert_eq!(chain.oldest_version(), oldest);
    for height in 200..300 {
        commit(&chain, height, block(height));
        assert!(chain.version() - chain.oldest_version() >= 64, "the last versions stay whatever they take");
    }
    let kept = chain.version() - chain.oldest_version();
    assert_eq!(kept, 64, "64 versions of 3 KB are more than the limit");
    // Small blocks take their place, one by one, until the limit holds more versions again.
    (300..1_000).for_each(|height| commit(&chain, height, vec![state(b"y", Some(&height.to_be_bytes()))]));
    let many = chain.version() - chain.oldest_version();
    assert!(many > 200, "{many}");
    wait(chain.revert_to(chain.version() - 100, b"")).unwrap();
    (900..2_500).for_each(|height| commit(&chain, height, vec![state(b"y", Some(&height.to_be_bytes()))]));
    drop((store, chain));
    // Meanwhile nobody counts.
    {
        let (_store, chain) = open_with(Retention::Last(0));
        while wait(chain.prune(1_000)).unwrap() {}
        commit(&chain, 2_500, block(5));
    }
    let (_store, chain) = open();
    (2_501..4_000).for_each(|height| commit(&chain, height, vec![state(b"y", Some(&height.to_be_bytes()))]));
    let bytes = old_bytes(&chain);
    assert!((LIMIT * 9 / 10..=LIMIT).contains(&bytes), "{bytes} bytes of old values");
}

#[test]
fn a_retention_by_bytes_takes_the_place_of_one_by_heights_and_back() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let small = |height: u64| vec![state(b"x", Some(&height.to_be_bytes()))];
        (0..500).for_each(|height| commit(&chain, height, small(height)));
        let all = chain.live_bytes();
        chain.set_retention(Retention::within(20_000));
        while wait(chain.prune(10)).unwrap() {}
        let kept = chain.version() - chain.oldest_version();
        assert!((64..300).contains(&kept) && chain.live_bytes() < all, "{kept} versions");
        // What is counted while nobody asks would be wrong.
        chain.set_retention(Retention::Last(400));
        (500..800).for_each(|height| commit(&chain, height, small(height)));
        chain.hold(Some(chain.version() - 350));
        chain.set_retention(Retention::within(20_000));
        commit(&chain, 800, small(800));
        assert!(chain.version() - chain.oldest_version() >= 350, "what is held stays");
        chain.hold(None);
        while wait(chain.prune(10)).unwrap() {}
        let bytes = old_bytes(&chain);
        assert!((18_000..=20_000).contains(&bytes), "{bytes} bytes of old values");
    });
}

#[test]
fn a_view_whose_version_is_dropped_says_so() {
    each(|store| {
        let chain = open(store, "a", Retention::Last(3));
        commit(&chain, 0, block(0));
        let view = chain.view();
        for height in 1..=3 {
            commit(&chain, height.into(), block(height));
        }
        assert_eq!(view.get(Table::State, b"x").unwrap(), Some(vec![0]));
        commit(&chain, 4, block(4));
        assert!(matches!(view.get(Table::State, b"x"), Err(StoreError::Unavailable { oldest: 2, .. })));
        assert!(matches!(view.scan(Table::State, b"", None, 9), Err(StoreError::Unavailable { .. })));
        assert_eq!(view.get(Table::Block, &4_u64.to_be_bytes()).unwrap(), Some(vec![4; 1000]));
    });
}

#[test]
fn a_chain_that_begins_again_keeps_its_log_alone() {
    each(|store| {
        let chain = open(store, "a", Retention::Last(3));
        chain.set_past_limit(1 << 30);
        wait(chain.log(vec![put(Table::Log, b"signed", b"7")])).unwrap();
        for height in 0..=20 {
            commit(&chain, height.into(), block(height));
        }
        let stale = chain.view();
        let head = Head { height: 0, data: b"again".to_vec() };
        wait(chain.begin_again(Batch { head: head.clone(), writes: block(0) })).unwrap();
        assert!(matches!(stale.get(Table::State, b"x"), Err(StoreError::Reverted)));
        assert_eq!((chain.version(), chain.oldest_version(), chain.head()), (1, 1, Some(head.clone())));
        let other = open(store, "b", Retention::Last(3));
        other.set_past_limit(1 << 30);
        wait(other.log(vec![put(Table::Log, b"signed", b"7")])).unwrap();
        wait(other.begin_again(Batch { head, writes: block(0) })).unwrap();
        assert_eq!((chain.live_bytes(), chain.past_bytes()), (other.live_bytes(), other.past_bytes()));
        let view = chain.view();
        assert_eq!(view.get(Table::State, b"x").unwrap(), Some(vec![0]));
        assert_eq!(view.get(Table::Log, b"signed").unwrap(), Some(b"7".to_vec()));
        assert_eq!(view.scan(Table::Block, b"", None, 100).unwrap().len(), 1);
        for height in 1..=20 {
            commit(&chain, height.into(), block(height));
        }
        wait(chain.revert_to(chain.version() - 3, b"")).unwrap();
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(vec![17]));
    });
}

/// Everything that a view finds, some at a time: the rows, and the most old values that were read at a time.
fn scan_all(view: &subnode_storage::View) -> (Vec<subnode_storage::Entry>, usize) {
    let (mut rows, mut most, mut from) = (Vec::new(), 0, Some(Vec::new()));
    while let Some(start) = from {
        let some = view.scan_some(Table::State, &start, None, 64).unwrap();
        assert!(some.next.as_ref().is_none_or(|next| *next > start), "each scan gets further");
        most = most.max(some.passed);
        rows.extend(some.entries);
        from = some.next;
    }
    (rows, most)
}

#[test]
fn a_scan_of_the_past_reads_few_old_values_at_a_time() {
    const VERSIONS: u64 = 600;
    const GONE: u16 = 2_000;
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let gone = |value: Option<&'static [u8]>| {
            (0..GONE).map(move |row| Write {
                table: Table::State,
                key: [b"g", row.to_be_bytes().as_slice()].concat(),
                value: value.map(Vec::from),
            })
        };
        commit(&chain, 0, [state(b"hot", Some(&[0])), state(b"last", Some(&[0]))].into_iter().chain(gone(Some(b"v"))).collect());
        for height in 1..=VERSIONS {
            commit(&chain, height, vec![state(b"hot", Some(&height.to_be_bytes()))]);
        }
        commit(&chain, VERSIONS + 1, gone(None).collect());
        for (height, count) in [(0, usize::from(GONE) + 2), (VERSIONS / 2, usize::from(GONE) + 2), (VERSIONS + 1, 2)] {
            let mut view = chain.view();
            view.seek(height).unwrap();
            let (rows, most) = scan_all(&view);
            assert_eq!(rows.len(), count, "at height {height}");
            assert_eq!(rows, view.scan(Table::State, b"", None, usize::MAX).unwrap());
            // What the latest state has is read without any. A key's many versions are skipped, and keys that are gone come some at a time.
            assert!(most <= 257, "{most} old values at once at height {height}");
        }
        // Of the hot key alone.
        let mut view = chain.view();
        view.seek(VERSIONS / 2).unwrap();
        let hot = view.scan_some(Table::State, b"hot", Some(b"hou"), 64).unwrap();
        assert_eq!((hot.entries.len(), hot.next), (1, None));
        assert!(hot.passed <= 40, "{} of {VERSIONS} versions were read", hot.passed);
    });
}

#[test]
fn a_scan_of_long_rows_stops_for_its_caller_to_look_around() {
    each(|store| {
        let chain = open(store, "a", Retention::Archive);
        let rows =
            |byte: u8| (0..20).map(move |row| Write { table: Table::State, key: vec![row], value: Some(vec![byte; 50 << 10]) }).collect();
        commit(&chain, 0, rows(1));
        commit(&chain, 1, rows(2));
        for height in [0, 1] {
            let mut view = chain.view();
            view.seek(height).unwrap();
            let some = view.scan_some(Table::State, &[], None, 64).unwrap();
            assert_eq!(some.entries.len(), 2, "64 KiB are reached by the second");
            assert_eq!(scan_all(&view).0.len(), 20);
        }
    });
}
