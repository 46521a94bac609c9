//! Imports that are interrupted, mixed up, or larger than they may be.

use subnode_storage::{ArchiveError, Frame, Retention, Store, StoreError};

use crate::{archived, commit, each, filled, open, state, wait};

/// Archives of two chains that have no key in common.
fn two_archives(store: &dyn Store) -> [Vec<Frame>; 2] {
    let source = filled(store);
    let other = open(store, "other", Retention::Archive);
    commit(&other, 0, vec![state(b"another key", Some(b"1"))]);
    let mut frames = archived(&other);
    frames[0] = Frame::header(b"another".to_vec());
    [archived(&source), frames]
}

fn import(store: &dyn Store, frames: &[Frame]) {
    let [header, chunks @ .., end] = frames else { panic!("too few frames") };
    let mut import = store.import(&"copy".parse().unwrap(), header).unwrap().unwrap();
    for chunk in &chunks[import.next_chunk() as usize..] {
        wait(import.append(chunk)).unwrap();
    }
    wait(import.finish(end)).unwrap();
}

#[test]
fn an_import_that_ended_without_a_chain_leaves_nothing_to_the_next_one() {
    each(|store| {
        let [first, other] = two_archives(store);
        let name = "copy".parse().unwrap();
        for frames in [&other, &first, &other] {
            import(store, &first);
            // Nobody registers it: its slice did not fit, or the process was killed.
            assert_eq!(store.unfinished(), std::slice::from_ref(&name));
            import(store, frames);
            store.register(&name, b"record").unwrap();
            let copy = store.open(&name, Retention::Archive).unwrap();
            assert_eq!(archived(&copy)[1..], frames[1..], "all of the archive, and nothing of the other");
            store.delete(&name).unwrap();
        }
    });
}

#[test]
fn an_import_ends_at_its_slice_and_goes_on_with_a_larger_one() {
    each(|store| {
        let [frames, _] = two_archives(store);
        let [header, first, second, .., end] = frames.as_slice() else { panic!("too few frames") };
        let mut import = store.import(&"copy".parse().unwrap(), header).unwrap().unwrap();
        import.set_limit_bytes(1_500_000);
        wait(import.append(first)).unwrap();
        let refused = wait(import.append(second));
        assert!(matches!(refused, Err(ArchiveError::Store(StoreError::SliceFull { limit: 1_500_000, .. }))), "{refused:?}");
        assert_eq!(import.next_chunk(), 1);
        assert!(matches!(import.check_end(end), Err(ArchiveError::Damaged { .. })), "too early");
        import.set_limit_bytes(u64::MAX);
        for chunk in &frames[2..frames.len() - 1] {
            wait(import.append(chunk)).unwrap();
        }
        import.check_end(end).unwrap();
    });
}
