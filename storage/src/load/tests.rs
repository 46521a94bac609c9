use super::*;
use crate::{Head, Retention, RocksOptions, RocksStore, Store, dying::Dying};

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn entry(key: &[u8], bytes: usize) -> Entry {
    Entry { key: key.to_vec(), value: vec![1; bytes] }
}

/// A first version of two parts, and as many that are sorted.
async fn load(chain: &Arc<ChainStore>, of: u8) -> Result<(), StoreError> {
    let mut load = chain.begin_load().await?;
    for index in 0..6 {
        load.put(vec![entry(&[of, index], 3 << 20)]).await?;
        load.sort(vec![entry(&[of, index], 3 << 20)]).await?;
    }
    while !load.next_sorted(1).await?.is_empty() {}
    chain.finish_load(load, Batch { head: Head { height: 0, data: vec![of] }, writes: Vec::new() }).await
}

fn keys(chain: &Arc<ChainStore>) -> Vec<Vec<u8>> {
    chain.view().scan(Table::State, &[], None, 100).expect("reads").into_iter().map(|entry| entry.key).collect()
}

#[test]
fn whenever_the_process_dies_the_first_version_is_whole_or_the_next_load_begins_anew() {
    let expected = |of: u8| (0..6).map(|index| vec![of, index]).collect::<Vec<_>>();
    let mut died = 0;
    loop {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || {
            let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).expect("opens");
            let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
            (store, chain)
        };
        let (store, chain) = open();
        let dying = ChainStore::open(Arc::new(Dying::new(chain.rows.clone(), died)), Retention::Archive).expect("opens");
        let done = wait(load(&dying, 1)).is_ok();
        drop((store, chain, dying));

        let (_store, chain) = open();
        assert_eq!(chain.head().map(|head| head.data), done.then(|| vec![1]), "killed after {died} steps");
        if done {
            assert_eq!(keys(&chain), expected(1));
            break;
        }
        wait(load(&chain, 2)).expect("loads");
        assert_eq!(keys(&chain), expected(2), "killed after {died} steps");
        assert_eq!(chain.staged().expect("reads"), None);
        died += 1;
    }
    // The mark, the place to sort in, two parts of each kind, that place's end, the head.
    assert!(died >= 8, "{died} steps");
}

#[test]
fn a_load_whose_end_is_given_up_leaves_nothing_in_the_next_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = RocksStore::open(dir.path(), &RocksOptions::SMALL).expect("opens");
    let open = || store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    wait(async {
        let (given_up, other) = (open(), open());
        let mut load = given_up.begin_load().await.expect("begins");
        load.put(vec![entry(&[1], 9 << 20)]).await.expect("fits");
        let rest = Batch { head: Head { height: 0, data: vec![1] }, writes: Vec::new() };
        tokio::select! {
            biased;
            done = given_up.finish_load(load, rest) => panic!("it ended with {done:?} before it was given up"),
            () = std::future::ready(()) => {}
        }
        let mut load = other.begin_load().await.expect("begins");
        load.put(vec![entry(&[2], 1)]).await.expect("fits");
        let rest = Batch { head: Head { height: 0, data: vec![2] }, writes: Vec::new() };
        other.finish_load(load, rest).await.expect("ends");
    });
    let chain = open();
    assert_eq!((chain.head().map(|head| head.data), keys(&chain)), (Some(vec![2]), vec![vec![2]]));
}

#[test]
fn nothing_is_sorted_after_what_was_sorted_was_asked_for() {
    let store = crate::MemoryStore::default();
    let chain = store.open(&"a".parse().expect("a name"), Retention::Archive).expect("opens");
    let mut load = wait(chain.begin_load()).expect("begins");
    assert!(!load.is_sorted() && wait(load.next_sorted(1)).expect("reads").is_empty());
    assert!(load.is_sorted(), "though nothing was there to sort");
}
