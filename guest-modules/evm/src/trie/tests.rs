use std::collections::BTreeMap;

use alloy_primitives::keccak256;
use serde_json::Value;

use super::*;
use crate::suites::{self, Counts};

/// Writes what a commit changes.
fn write(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
    for (path, row) in writes {
        match row {
            Some(row) => drop(rows.insert(path, row)),
            None => drop(rows.remove(&path)),
        }
    }
}

#[test]
fn roots_are_those_of_alloy_as_keys_come_change_and_go() {
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut values: BTreeMap<B256, Vec<u8>> = BTreeMap::new();
    let mut root = EMPTY_ROOT_HASH;
    // Short values make nodes that lie inside their parents; few keys at first, and none at the end.
    for round in 0..60_u64 {
        let mut trie = Trie::new(root, |path: &[u8]| rows.get(path).cloned());
        for index in 0..20 {
            let key = keccak256([round.wrapping_mul(7).wrapping_add(index * index) as u8 % 64]);
            let value = (round < 55 && (round + index) % 3 > 0).then(|| vec![index as u8 + 1; 1 + (round as usize * 5) % 40]);
            trie.update(key, value.as_ref().map(alloy_rlp::encode));
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(&key)),
            }
        }
        let writes;
        (root, writes) = trie.commit(|many| many.iter().map(keccak256).collect());
        write(&mut rows, writes);
        let mut expected = alloy_trie::HashBuilder::default();
        for (key, value) in &values {
            expected.add_leaf(alloy_trie::Nibbles::unpack(key), &alloy_rlp::encode(value));
        }
        assert_eq!(root, expected.root(), "round {round}");
        assert_eq!(rows.is_empty(), values.is_empty(), "round {round}: rows that nothing needs");
    }
}

/// Keys that share from none to all but two of their nibbles with others, in their order.
fn sorted_keys(count: u64, seed: u64) -> Vec<B256> {
    let mut keys: Vec<B256> = (0..count)
        .map(|index| {
            let mut key = keccak256((index / 4 + seed).to_be_bytes());
            let from = (index as usize * 7 + seed as usize) % 32;
            let own = keccak256((index ^ 0xabcd).to_be_bytes());
            if index % 4 > 0 {
                key[from..].copy_from_slice(&own[from..]);
            }
            key
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[test]
fn a_trie_from_sorted_keys_has_the_rows_of_any_other() {
    // Values of one byte make nodes that lie inside their parents.
    for (count, value_bytes) in (0..9).chain([40, 600]).flat_map(|count| [1, 20, 100].map(|bytes| (count, bytes))) {
        for seed in 0..5 {
            let keys = sorted_keys(count, seed);
            let value = |key: &B256| alloy_rlp::encode(key[..value_bytes.min(32)].repeat(value_bytes.div_ceil(32)));
            let mut trie = Trie::new(EMPTY_ROOT_HASH, |_: &[u8]| None);
            keys.iter().for_each(|key| trie.update(*key, Some(value(key))));
            let (root, writes) = trie.commit(|many| many.iter().map(keccak256).collect());
            let expected: BTreeMap<_, _> = writes.into_iter().map(|(path, row)| (path, row.unwrap())).collect();

            let mut rows = BTreeMap::new();
            let mut sorted = Sorted::new(|path: &[u8], rlp: &[u8]| {
                assert!(rows.insert(path.to_vec(), rlp.to_vec()).is_none(), "a row twice");
                keccak256(rlp)
            });
            keys.iter().for_each(|key| sorted.push(*key, value(key)));
            assert_eq!(sorted.finish().unwrap_or(EMPTY_ROOT_HASH), root, "{count} keys, values of {value_bytes}");
            assert_eq!(rows, expected, "{count} keys, values of {value_bytes}");
        }
    }
}

/// A key or a value of the public suite: text, or hexadecimal after `0x`.
fn bytes(text: &str) -> Vec<u8> {
    text.strip_prefix("0x").map_or_else(|| text.as_bytes().to_vec(), |hex| alloy_primitives::hex::decode(hex).unwrap())
}

/// What a case does, in its order: keys, and values or none.
fn steps(case: &Value) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let step = |key: &str, value: &Value| (bytes(key), value.as_str().map(bytes));
    match &case["in"] {
        Value::Object(fields) => fields.iter().map(|(key, value)| step(key, value)).collect(),
        Value::Array(items) => items.iter().map(|item| step(item[0].as_str().unwrap(), &item[1])).collect(),
        other => panic!("no steps: {other}"),
    }
}

/// The root after these steps, committed after each `batch` of them.
fn root_after(steps: &[(B256, Option<Vec<u8>>)], batch: usize) -> B256 {
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut root = EMPTY_ROOT_HASH;
    for steps in steps.chunks(batch) {
        let mut trie = Trie::new(root, |path: &[u8]| rows.get(path).cloned());
        for (key, value) in steps {
            trie.update(*key, value.clone());
        }
        let writes;
        (root, writes) = trie.commit(|many| many.iter().map(keccak256).collect());
        write(&mut rows, writes);
    }
    root
}

#[test]
fn roots_are_those_of_the_public_suite() {
    let Some(files) = suites::files("TrieTests") else { return };
    let mut counts = Counts::default();
    for (file, cases) in files {
        for (name, case) in cases {
            let Some(expected) = case["root"].as_str() else {
                counts.exclude("that ask for neighbours of a key");
                continue;
            };
            let expected: B256 = expected.parse().unwrap();
            let steps = steps(&case);
            // The suite's secure tries hash their keys, as the state's does. In the others our trie takes keys as long as a hash.
            let secure = file.to_lowercase().contains("secure");
            let hashed: Option<Vec<(B256, Option<Vec<u8>>)>> = steps
                .into_iter()
                .map(|(key, value)| Some((if secure { keccak256(&key) } else { B256::try_from(key.as_slice()).ok()? }, value)))
                .collect();
            let Some(mut steps) = hashed else {
                counts.exclude("of keys of other lengths");
                continue;
            };
            for batch in [1, 2, steps.len()] {
                assert_eq!(root_after(&steps, batch), expected, "{file} {name}, committed after each {batch}");
            }
            if file.contains("anyorder") {
                steps.reverse();
                assert_eq!(root_after(&steps, 1), expected, "{file} {name}, backwards");
            }
            counts.pass();
        }
    }
    counts.report("TrieTests");
}
