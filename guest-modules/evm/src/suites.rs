//! Public suites of what this guest decodes and computes roots with. `SUBNODE_FIXTURES` names the folder that holds them.
//!
//! Here: RLP. The suite of tries is run where the trie is (`trie`), those of blocks and states on the compiled guest (`tests/conformance`).

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use alloy_consensus::Block;
use alloy_primitives::{U512, hex};
use alloy_rlp::{Decodable, Encodable, Header, PayloadView};
use serde_json::Value;

use crate::{
    transaction::{self, Transaction},
    trie,
};

/// A file's name, and its cases by theirs.
type File = (String, BTreeMap<String, Value>);

/// The files of a folder of `ethereum-tests`; none where it is missing, which is said.
pub fn files(folder: &str) -> Option<Vec<File>> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures").into();
    let root = env::var_os("SUBNODE_FIXTURES").map_or_else(beside, PathBuf::from).join("ethereum-tests").join(folder);
    if !root.is_dir() {
        say(&format!("{folder}: skipped, for it is not in SUBNODE_FIXTURES"));
        return None;
    }
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(files)
}

fn collect(dir: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let cases = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push((path.display().to_string(), cases));
        }
    }
}

/// Prints a line past the test harness, which swallows what a test that passes prints.
fn say(line: &str) {
    writeln!(io::stdout(), "{line}").unwrap();
}

/// What became of a suite's cases.
#[derive(Default)]
pub struct Counts {
    passed: usize,
    excluded: BTreeMap<&'static str, usize>,
}

impl Counts {
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    pub fn exclude(&mut self, reason: &'static str) {
        *self.excluded.entry(reason).or_default() += 1;
    }

    /// Says the counts in one line.
    pub fn report(self, suite: &str) {
        let left_out: usize = self.excluded.values().sum();
        let reasons: Vec<_> = self.excluded.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let named = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        say(&format!("{suite}: {} passed, 0 failed, {left_out} left out{named}", self.passed));
        assert!(self.passed > 0, "{suite}: no case was run");
    }
}

/// A value of RLP.
#[derive(Debug, PartialEq)]
enum Item {
    Text(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    /// A case's input: text, a number (after `#` where it is large), or a list.
    fn of(value: &Value) -> Self {
        let number = |digits: &str| Self::Text(digits.parse::<U512>().unwrap().to_be_bytes_trimmed_vec());
        match value {
            Value::String(text) => text.strip_prefix('#').map_or_else(|| Self::Text(text.clone().into_bytes()), number),
            Value::Number(small) => number(&small.to_string()),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            other => panic!("no input: {other}"),
        }
    }

    fn decode(rlp: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match Header::decode_raw(rlp)? {
            PayloadView::String(text) => Ok(Self::Text(text.to_vec())),
            PayloadView::List(items) => items.into_iter().map(|mut item| Self::decode(&mut item)).collect::<Result<_, _>>().map(Self::List),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => text.as_slice().encode(out),
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.encode(&mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend(payload);
            }
        }
    }
}

#[test]
fn rlp_is_read_and_written_as_the_public_suite_does() {
    let Some(files) = files("RLPTests") else { return };
    let mut counts = Counts::default();
    for (file, cases) in files {
        for (name, case) in cases {
            let out = case["out"].as_str().unwrap();
            let rlp = hex::decode(out.strip_prefix("0x").unwrap_or(out)).unwrap();
            let mut rest = rlp.as_slice();
            let decoded = Item::decode(&mut rest);
            if case["in"] == "INVALID" {
                assert!(decoded.is_err() || !rest.is_empty(), "{file} {name}: read as {decoded:?}");
                // What comes from others, and what a broken store may hold.
                assert!(Block::<Transaction>::decode(&mut rlp.as_slice()).is_err(), "{file} {name}: a block");
                assert!(transaction::decode(&rlp).is_err(), "{file} {name}: a transaction");
                assert!(!trie::is_node(&rlp), "{file} {name}: a node of a trie");
            } else {
                let decoded = decoded.unwrap_or_else(|error| panic!("{file} {name}: {error}"));
                assert!(rest.is_empty(), "{file} {name}: {} bytes are left", rest.len());
                if case["in"] != "VALID" {
                    assert_eq!(decoded, Item::of(&case["in"]), "{file} {name}");
                }
                let mut written = Vec::new();
                decoded.encode(&mut written);
                assert_eq!(written, rlp, "{file} {name}: written otherwise");
            }
            counts.pass();
        }
    }
    counts.report("RLPTests");
}
