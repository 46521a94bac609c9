use std::path::Path;

use super::*;
use crate::{
    Batch, ChainStore, Entry, Head, MemoryStore, Place, Retention, RocksOptions, RocksStore, StateStream, Store, Write, dying::Dying,
};

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// A state, and the stream of it in pieces.
struct State {
    of: [u8; 32],
    rows: Vec<Entry>,
    pieces: Vec<Vec<u8>>,
}

fn rows_of(chain: &Arc<ChainStore>) -> Vec<Entry> {
    chain.view().scan(Table::State, &[], None, 10_000).expect("reads")
}

/// A state of which no row is in one with another number.
fn state(number: u8) -> State {
    let store = MemoryStore::default();
    let chain = store.open(&"source".parse().expect("a name"), Retention::Archive).expect("opens");
    let row = |index: u8| Write { table: Table::State, key: vec![number, index], value: Some(vec![index; 300]) };
    wait(chain.commit(Batch { head: Head { height: 0, data: vec![number] }, writes: (0..30).map(row).collect() })).expect("commits");
    let mut stream = StateStream::new(chain.view(), Place::default());
    let pieces = std::iter::from_fn(|| stream.next_piece(4_000).expect("reads")).map(|(_, piece)| piece).collect();
    State { of: [number; 32], rows: rows_of(&chain), pieces }
}

/// Gathers what is lacking of a state, and puts it in the chain's place.
fn adopt(chain: &ChainStore, state: &State) -> Result<(), StoreError> {
    let mut stage = chain.stage(state.of)?;
    while let Some(piece) = state.pieces.get(usize::try_from(stage.next_piece()).expect("a small number")) {
        wait(stage.append(&[piece]))?;
    }
    wait(chain.adopt(stage, Head { height: 9, data: state.of.to_vec() }, Vec::new()))
}

fn opened(dir: &Path) -> (RocksStore, Arc<ChainStore>) {
    let store = RocksStore::open(dir, &RocksOptions::SMALL).expect("opens");
    let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    (store, chain)
}

#[test]
fn whenever_the_process_dies_the_next_state_is_that_state_and_nothing_of_another() {
    let (first, other) = (state(1), state(2));
    assert!(first.pieces.len() > 2, "{} pieces", first.pieces.len());
    for next in [&first, &other] {
        let mut died = 0;
        loop {
            let dir = tempfile::tempdir().expect("a directory");
            let (store, chain) = opened(dir.path());
            let before = Write { table: Table::State, key: b"before".to_vec(), value: Some(vec![0]) };
            wait(chain.commit(Batch { head: Head { height: 0, data: vec![] }, writes: vec![before] })).expect("commits");
            let dying = Dying::new(chain.rows.clone(), died);
            let done = adopt(&ChainStore::open(Arc::new(dying), Retention::Archive).expect("opens"), &first).is_ok();
            drop((store, chain));

            let (store, chain) = opened(dir.path());
            let expected = if done { first.rows.clone() } else { vec![Entry { key: b"before".to_vec(), value: vec![0] }] };
            assert_eq!(rows_of(&chain), expected, "the chain is what it was, or what took its place: killed after {died} steps");
            adopt(&chain, next).expect("adopts");
            drop((store, chain));

            let (store, chain) = opened(dir.path());
            assert_eq!(rows_of(&chain), next.rows, "killed after {died} steps");
            assert_eq!((chain.head().map(|head| head.data), chain.staged().expect("reads")), (Some(next.of.to_vec()), None));
            drop(store);
            if done {
                break;
            }
            died += 1;
        }
        // A place, its note, two writes for each piece, the chain's own rows, and the change of places.
        assert!(died >= 2 * first.pieces.len() as u64 + 4, "{died} steps");
    }
}

#[test]
fn rows_that_nothing_says_whose_they_are_go_before_others_are_gathered() {
    let store = MemoryStore::default();
    let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    let left = key::latest(Table::State, b"left");
    wait(chain.rows.staging().expect("a place").append(vec![(left.clone(), b"behind".to_vec())])).expect("appends");
    let stage = chain.stage([1; 32]).expect("begins");
    assert_eq!(stage.rows.get(&left).expect("reads"), None);
}

#[test]
fn an_append_that_outlives_its_asker_is_not_taken_for_another_states() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, chain) = opened(dir.path());
    let other = state(2);
    // Takes a while to write.
    let mut large = Vec::new();
    (0..200_000_u32).for_each(|index| crate::rows::put_row(&mut large, &index.to_be_bytes(), &index.to_le_bytes().repeat(25)));
    let large = [large];
    let is_written = || {
        let files = std::fs::read_dir(dir.path()).expect("reads").flatten();
        files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("appended-"))
    };
    wait(async {
        let mut stage = chain.stage([1; 32]).expect("begins");
        let begun = async {
            while !is_written() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = begun => {}
            done = stage.append(&large) => panic!("it ended with {done:?} before it was given up"),
        }
        let mut stage = chain.stage(other.of).expect("begins");
        stage.append(&other.pieces).await.expect("appends");
        chain.adopt(stage, Head { height: 1, data: vec![] }, Vec::new()).await.expect("adopts");
        // The runtime waits for the append that was given up.
    });
    drop(chain);
    let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    assert_eq!(rows_of(&chain), other.rows);
}

#[test]
fn a_state_that_does_not_fit_is_not_gathered() {
    let store = MemoryStore::default();
    let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    chain.set_limit_bytes(6_000);
    let first = state(1);
    let mut stage = chain.stage(first.of).expect("begins");
    wait(stage.append(&first.pieces[..1])).expect("fits");
    assert!(matches!(wait(stage.append(&first.pieces[1..2])), Err(StoreError::SliceFull { limit: 6_000, .. })));
    assert_eq!(stage.next_piece(), 1);
    chain.set_limit_bytes(60_000);
    wait(stage.append(&first.pieces[1..])).expect("fits once the chain is resized");
}
