use alloy_primitives::keccak256;

use super::{super::parse, *};

/// Accounts as a map has them, and slots of those that came last.
#[derive(Default)]
struct Collected {
    accounts: BTreeMap<Address, (state::Account, BTreeMap<U256, U256>)>,
    slots: BTreeMap<U256, U256>,
}

impl Sink for Collected {
    fn code(&mut self, code: &Bytes) -> B256 {
        keccak256(code)
    }

    fn slot(&mut self, _: Address, slot: U256, word: U256) {
        self.slots.insert(slot, word);
    }

    fn account(&mut self, address: Address, account: state::Account) {
        self.accounts.insert(address, (account, core::mem::take(&mut self.slots)));
    }
}

fn file(alloc: &str) -> String {
    format!(r#"{{"gasLimit":"0x1c9c380","alloc":{alloc},"difficulty":"0x0","config":{{"chainId":7}},"comment":["unknown",{{"a":1}}]}}"#)
}

/// What both ways make of a file.
fn both(json: &str) -> [Result<Collected, String>; 2] {
    let whole = parse(json.as_bytes()).map(|file| {
        let account = |(address, account): (Address, super::super::Account)| {
            let code_hash = account.code.map_or(KECCAK256_EMPTY, keccak256);
            let storage = account.storage.into_iter().flatten().map(|(slot, word)| (slot.into(), word.into())).collect();
            let nonce = account.nonce.unwrap_or_default();
            (address, (state::Account { nonce, balance: account.balance, code_hash, ..Default::default() }, storage))
        };
        Collected { accounts: file.alloc.into_iter().map(account).collect(), slots: BTreeMap::new() }
    });
    let mut sink = Collected::default();
    let streamed = read(json.as_bytes(), &mut sink).map(|_| sink);
    [whole, streamed]
}

#[test]
fn a_file_says_the_same_read_in_parts() {
    let (one, two) = ("0x0000000000000000000000000000000000000001", "0000000000000000000000000000000000000002");
    let allocs = [
        "{}".to_owned(),
        format!(
            r#"{{"{one}":{{"balance":"5","nonce":"0x2","comment":{{"balance":[]}}}},"{two}":{{"storage":{{"0x01":"0x02"}},"balance":"0x6"}}}}"#
        ),
        format!(
            r#"{{"{one}":{{"balance":7,"nonce":null,"code":null,"storage":null}},"{two}":{{"nonce":"9","code":"0x6001","balance":"0x0"}}}}"#
        ),
        // The later of two holds.
        format!(r#"{{"{two}":{{"balance":"1","storage":{{"0x01":"0x01"}}}},"{one}":{{"balance":"1"}},"0x{two}":{{"balance":"2"}}}}"#),
        format!(r#" {{ "{one}" : {{ "balance" : "1" , "storage" : {{ "0x01" : "0x00" , "0x02" : "0x{}" }} }} }} "#, "f".repeat(64)),
    ];
    for alloc in allocs {
        let [whole, streamed] = both(&file(&alloc)).map(|read| read.expect("a genesis file").accounts);
        assert_eq!(whole, streamed, "{alloc}");
    }
}

#[test]
fn what_is_wrong_is_named_alike() {
    let one = "0x0000000000000000000000000000000000000001";
    let wrong = |account: &str| file(&format!(r#"{{"{one}":{account}}}"#));
    let files = [
        ("alloc.0x0000000000000000000000000000000000000001.balance: ", wrong(r#"{"balance":"much"}"#)),
        ("alloc.0x0000000000000000000000000000000000000001.nonce: ", wrong(r#"{"balance":"1","nonce":"-"}"#)),
        ("alloc.0x0000000000000000000000000000000000000001.code: ", wrong(r#"{"code":"0x0g","balance":"1"}"#)),
        ("alloc.0x0000000000000000000000000000000000000001", wrong("{}")),
        ("alloc.0x0000000000000000000000000000000000000001", wrong(r#"{"balance":"1","balance":"1"}"#)),
        (
            "alloc.0x0000000000000000000000000000000000000001.storage",
            wrong(&format!(r#"{{"balance":"1","storage":{{"0x01":"0x{}"}}}}"#, "1".repeat(66))),
        ),
        ("alloc", file(r#"{"0x01":{"balance":"1"}}"#)),
        ("alloc: invalid type", file("[]")),
        ("gasLimit: ", file("{}").replace("0x1c9c380", "lots")),
        ("gasLimit: 1 is less", file("{}").replace("0x1c9c380", "0x1")),
        ("config.chainId: missing", file("{}").replace("chainId", "id")),
        ("no JSON object", "[]".to_owned()),
        ("no JSON: ", "{".to_owned()),
        ("no JSON: ", format!("{}{{", file("{}"))),
        ("config: missing", "{}".to_owned()),
        ("alloc: missing", file("{}").replace("alloc", "genesisAlloc")),
    ];
    for (begins, json) in files {
        for error in both(&json).map(|read| read.err().expect("refused")) {
            assert!(error.starts_with(begins), "{json}: {error}");
        }
    }
}

#[test]
fn a_file_that_is_cut_is_no_file() {
    let whole = file(r#"{"0x0000000000000000000000000000000000000001":{"balance":"5","code":"0x6001","storage":{"0x01":"0x02"}}}"#);
    assert!(read(whole.as_bytes(), &mut Collected::default()).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole.as_bytes()[..end], &mut Collected::default()).is_err(), "{end} bytes");
    }
}
