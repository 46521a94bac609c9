//! What the store knows of a chain is damaged, or outlives it.

use std::path::Path;

use subnode_storage::{Frame, Head, Retention, RocksStore, Store, StoreError, Table};
use subnode_types::ChainName;

use crate::{OPTIONS, commit, each, open, state};

/// Writes a row of the default family of a store that is closed; what was there.
fn put(dir: &Path, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, dir).unwrap();
    let db = rocksdb::DB::open_cf(&options, dir, families).unwrap();
    let before = db.get(key).unwrap();
    db.put(key, value).unwrap();
    before
}

#[test]
fn a_chain_whose_row_is_damaged_stays_closed_and_the_others_open() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b): (ChainName, ChainName) = ("a".parse().unwrap(), "b".parse().unwrap());
    {
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        for name in ["a", "b"] {
            store.register(&name.parse().unwrap(), b"record").unwrap();
            commit(&open(&store, name, Retention::Archive), 0, vec![state(b"x", Some(name.as_bytes()))]);
        }
    }
    // Cut short; a family that is not there; another chain's family; a state that is gathered into a family that is not there.
    let of_b = put(dir.path(), b"stage/b", &[0, 0, 0, 0, 0, 0, 9, 9, 1]).unwrap_or_default();
    assert!(of_b.is_empty());
    let row_of_b = {
        let before = put(dir.path(), b"chain/b", b"").unwrap();
        put(dir.path(), b"chain/b", &before);
        before
    };
    let whole = put(dir.path(), b"chain/a", b"cut").unwrap();
    let missing = [0, 0, 0, 0, 0, 0, 9, 9, 0];
    for (damage, b_opens) in [(&b"cut"[..], true), (&missing[..], true), (&row_of_b, false)] {
        put(dir.path(), b"chain/a", damage);
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        let damaged: Vec<_> = store.damaged().into_iter().map(|(name, _)| name).collect();
        assert_eq!(damaged, if b_opens { vec![a.clone()] } else { vec![a.clone(), b.clone()] });
        assert!(!store.names().contains(&a));
        assert!(matches!(store.open(&a, Retention::Archive), Err(StoreError::Corrupt(_))));
        assert!(matches!(store.register(&a, b""), Err(StoreError::Corrupt(_))), "its name is taken");
        assert!(matches!(store.record(&a), Err(StoreError::Corrupt(_))));
        assert!(matches!(store.import(&a, &Frame::header(b"about".to_vec())), Err(StoreError::Corrupt(_))));
        if b_opens {
            let chain = open(&store, "b", Retention::Archive);
            assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(b"b".to_vec()));
        }
        // Others come to be meanwhile, and get families.
        for index in 0..6 {
            assert_eq!(open(&store, &format!("new{index}"), Retention::Archive).head(), None);
            store.delete(&format!("new{index}").parse().unwrap()).unwrap();
        }
    }
    put(dir.path(), b"chain/a", &whole);
    {
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        assert!(store.damaged().is_empty());
        assert_eq!(store.record(&a).unwrap(), Some(b"record".to_vec()));
        let chain = open(&store, "a", Retention::Archive);
        assert_eq!(chain.head(), Some(Head { height: 0, data: vec![0] }), "whoever repairs the row has the chain again");
        assert_eq!(chain.view().get(Table::State, b"x").unwrap(), Some(b"a".to_vec()));
    }
    put(dir.path(), b"chain/a", b"cut");
    let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
    store.delete(&a).unwrap();
    assert!(store.damaged().is_empty());
    assert_eq!(open(&store, "a", Retention::Archive).head(), None);
}

#[test]
fn a_tombstone_outlives_its_chain_and_whatever_takes_its_name() {
    each(|store| {
        let name = "a".parse().unwrap();
        commit(&open(store, "a", Retention::Archive), 0, vec![state(b"x", Some(b"0"))]);
        let b = open(store, "b", Retention::Archive);
        assert_eq!(b.tombstone(&[7; 32]).unwrap(), None);
        store.bury(&name, &[7; 32], b"signed at 9").unwrap();
        assert!(!store.names().contains(&name));
        let again = open(store, "a", Retention::Archive);
        assert_eq!((again.head(), again.tombstone(&[7; 32]).unwrap()), (None, Some(b"signed at 9".to_vec())));
        store.delete(&name).unwrap();
        assert_eq!((b.tombstone(&[7; 32]).unwrap(), b.tombstone(&[8; 32]).unwrap()), (Some(b"signed at 9".to_vec()), None));
    });
    let dir = tempfile::tempdir().unwrap();
    for opened in 0..2 {
        let store = RocksStore::open(dir.path(), &OPTIONS).unwrap();
        let chain = open(&store, "a", Retention::Archive);
        if opened == 0 {
            store.bury(&"a".parse().unwrap(), &[7; 32], b"signed").unwrap();
        } else {
            assert_eq!(chain.tombstone(&[7; 32]).unwrap(), Some(b"signed".to_vec()));
        }
    }
}
