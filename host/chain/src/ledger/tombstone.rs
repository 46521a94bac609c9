//! What this node signed for a chain outlives the chain on this node.
//!
//! A chain that is deleted and made again, of the same genesis under the same name, is the same chain to its committee. Its key signs there as before,
//! so the last position that was signed at is kept under the chain's key, and nothing before it is signed again.

use std::sync::Arc;

use subnode_signer::Guard;
use subnode_storage::{ChainStore, Retention, Store, StoreError, Table};
use subnode_types::ChainName;

use super::{genesis::key_of, rows::GUARD_KEY};

/// Deletes a chain that does not run, or an import that is not finished. What this node signed for it is remembered.
///
/// # Errors
/// Where the store fails: nothing is deleted then.
pub fn bury(store: &dyn Store, name: &ChainName) -> Result<(), StoreError> {
    let signed = if store.names().contains(name) { signed(store, name) } else { Ok(None) };
    match signed {
        Ok(None) => store.delete(name),
        Ok(Some((key, guard))) => store.bury(name, &key, &guard),
        // Whoever deletes it may do so because its tables are damaged.
        Err(StoreError::Corrupt(reason)) => {
            tracing::error!(chain = %name, reason, "what was signed for this chain cannot be read, and goes with it");
            store.delete(name)
        }
        Err(error) => Err(error),
    }
}

/// A chain's key, and the guard to remember of it.
type Tombstone = ([u8; 32], Vec<u8>);

/// What to remember of a chain; none where nothing was signed.
fn signed(store: &dyn Store, name: &ChainName) -> Result<Option<Tombstone>, StoreError> {
    let tables = store.open(name, Retention::Archive)?;
    let Some(key) = key_of(&tables, name)? else { return Ok(None) };
    let mut guard = guard(&tables, Some(key))?;
    guard.forget_before(u64::MAX);
    Ok((!guard.is_empty()).then(|| (key, guard.encode())))
}

/// What was signed for a chain, by its tables and by those of an earlier one with this key.
pub(crate) fn guard(tables: &Arc<ChainStore>, key: Option<[u8; 32]>) -> Result<Guard, StoreError> {
    let decode = |bytes: Option<Vec<u8>>| {
        let guard = bytes.map_or(Ok(Guard::default()), |bytes| Guard::decode(&bytes));
        guard.map_err(|error| StoreError::Corrupt(error.to_string()))
    };
    let own = decode(tables.view().get(Table::Log, GUARD_KEY)?)?;
    let former = decode(key.map_or(Ok(None), |key| tables.tombstone(&key))?)?;
    Ok(own.merge(former))
}

#[cfg(test)]
mod tests {
    use subnode_signer::{AttestKey, Voter};
    use subnode_storage::{Batch, Head, MemoryStore, Write};
    use subnode_types::Position;

    use super::{super::genesis::genesis_row, *};

    fn at(height: u64, round: u32) -> Position {
        Position { height, round, step: 1 }
    }

    fn wait<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    /// A chain of this genesis, and what was signed for it.
    fn make(store: &dyn Store, genesis: &[u8], signed: &[Position]) -> Arc<ChainStore> {
        let tables = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
        let mut guard = Guard::default();
        signed.iter().for_each(|at| assert_eq!(guard.sign(*at, b"yes"), Some(true)));
        let guard = Write { table: Table::Log, key: GUARD_KEY.to_vec(), value: (!signed.is_empty()).then(|| guard.encode()) };
        let writes = vec![guard, genesis_row(genesis)];
        wait(tables.commit(Batch { head: Head { height: 0, data: Vec::new() }, writes })).expect("commits");
        tables
    }

    fn opened(tables: &Arc<ChainStore>) -> Guard {
        let key = key_of(tables, &"a".parse().expect("a name")).expect("reads");
        guard(tables, key).expect("reads")
    }

    #[test]
    fn a_chain_that_goes_on_from_below_what_it_attested_attests_nothing_up_to_there() {
        let (store, name) = (MemoryStore::default(), "a".parse().expect("a name"));
        let signs = |guard: Guard| Voter::new(None, [7; 32], guard).with_attest_key(AttestKey::from_secret([1; 32]).ok());
        let attested = |guard: Guard, height| {
            let voter = signs(guard);
            voter.attest(height, [1; 32]).expect("the first there");
            Guard::decode(&voter.guard()).expect("encoded")
        };
        let write = |tables: &Arc<ChainStore>, guard: &Guard| {
            wait(tables.log(vec![Write { table: Table::Log, key: GUARD_KEY.to_vec(), value: Some(guard.encode()) }])).expect("writes");
        };
        let early = attested(Guard::default(), 5);
        write(&make(&store, b"genesis", &[]), &attested(early.clone(), 20));
        bury(&store, &name).expect("buries");
        // Restored from an export of height 5.
        let tables = make(&store, b"genesis", &[]);
        write(&tables, &early);
        let voter = signs(opened(&tables));
        for (height, digest) in [(5, 1), (6, 1), (19, 2), (20, 2)] {
            assert_eq!(voter.attest(height, [digest; 32]), None, "height {height}");
        }
        assert!(voter.attest(20, [1; 32]).is_some(), "the same again");
        assert!(voter.attest(21, [2; 32]).is_some(), "what it had not attested");
    }

    #[test]
    fn a_chain_that_is_deleted_and_made_again_signs_nothing_before_what_it_signed() {
        let (store, name) = (MemoryStore::default(), "a".parse().expect("a name"));
        make(&store, b"genesis", &[at(4, 0), at(5, 2)]);
        bury(&store, &name).expect("buries");
        assert!(store.names().is_empty());

        let mut again = opened(&make(&store, b"genesis", &[]));
        assert_eq!(again.sign(at(5, 1), b"no"), None, "before the last");
        assert_eq!((again.sign(at(5, 2), b"no"), again.sign(at(5, 2), b"yes")), (None, Some(false)), "beside the last");
        assert_eq!(again.sign(at(5, 3), b"no"), Some(true), "after it");

        // Deleted before it signed again, or of an export from before: the tombstone stays, and is the later one.
        bury(&store, &name).expect("buries");
        assert_eq!(opened(&make(&store, b"genesis", &[at(3, 0)])).last(), Some(at(5, 2)));
        bury(&store, &name).expect("buries");
        assert_eq!(opened(&make(&store, b"genesis", &[at(9, 0)])).last(), Some(at(9, 0)), "its own is the later one");
        bury(&store, &name).expect("buries");
        assert_eq!(opened(&make(&store, b"another genesis", &[])).last(), None, "another chain");
        bury(&store, &name).expect("nothing was signed");
        assert_eq!(opened(&make(&store, b"genesis", &[])).last(), Some(at(9, 0)));
    }
}
