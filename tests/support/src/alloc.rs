//! Genesis files of any size.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use alloy::primitives::{Address, keccak256};

/// Everything of such a file but its accounts: a dev chain of Cancun.
pub const CONFIG: &str = r#"{"chainId":7,"terminalTotalDifficulty":0,"shanghaiTime":0,"cancunTime":0,"subnode":{"dev":true}}"#;

/// The address of an account.
#[must_use]
pub fn address(index: u64) -> Address {
    Address::from_slice(&keccak256(index.to_be_bytes())[12..])
}

/// What it has, in wei.
#[must_use]
pub fn balance(index: u64) -> u64 {
    1_000_000_000_000_000_000 + index
}

/// Its entry in `alloc`.
#[must_use]
pub fn account(index: u64) -> String {
    format!(r#""{:?}":{{"balance":"{:#x}"}}"#, address(index), balance(index))
}

/// A file whose `alloc` is this text.
#[must_use]
pub fn file(alloc: &str) -> String {
    format!(r#"{{"config":{CONFIG},"alloc":{{{alloc}}},"gasLimit":"0x1c9c380","difficulty":"0x0","baseFeePerGas":"0x7"}}"#)
}

/// Writes a file of so many plain accounts.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, accounts: u64) -> io::Result<()> {
    let mut to = BufWriter::new(File::create(path)?);
    let whole = file("@");
    let (before, behind) = whole.split_once('@').unwrap_or((&whole, ""));
    to.write_all(before.as_bytes())?;
    for index in 0..accounts {
        if index > 0 {
            to.write_all(b",\n")?;
        }
        to.write_all(account(index).as_bytes())?;
    }
    to.write_all(behind.as_bytes())?;
    to.flush()
}
