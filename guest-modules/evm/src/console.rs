//! `console.log` of Hardhat's and Foundry's contracts: calls of an address without code, whose data says what to print.

use std::{collections::BTreeMap, sync::OnceLock};

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, address, hex};

use crate::host;

/// Where contracts call to print: the text `console.log`.
pub const ADDRESS: Address = address!("000000000000000000636F6e736F6c652e6c6f67");

/// Bytes of what is printed in one call of this module, which is what its host prints. What is beyond is left out, and a line says so.
const BYTES_MAX: usize = 16 << 10;

/// Types of which up to four are printed together.
const MIXED: [&str; 4] = ["uint256", "string", "bool", "address"];

/// The types that follow a selector. Older versions of the contracts hash `uint` and `int`, where an ABI has `uint256` and `int256`.
fn signatures() -> &'static BTreeMap<[u8; 4], Vec<DynSolType>> {
    static KNOWN: OnceLock<BTreeMap<[u8; 4], Vec<DynSolType>>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut lists: Vec<Vec<String>> = vec![Vec::new()];
        let mut longest = lists.clone();
        for _ in 0..4 {
            let longer = |list: &Vec<String>, kind: &str| [list.as_slice(), &[kind.to_owned()]].concat();
            longest = longest.iter().flat_map(|list| MIXED.map(|kind| longer(list, kind))).collect();
            lists.extend(longest.iter().cloned());
        }
        lists.extend([vec!["int256".into()], vec!["string".into(), "int256".into()], vec!["bytes".into()]]);
        lists.extend((1..=32).map(|len| vec![format!("bytes{len}")]));
        let mut texts = Vec::new();
        let mut types = Vec::new();
        for list in lists {
            let parsed: Vec<DynSolType> = list.iter().filter_map(|kind| DynSolType::parse(kind).ok()).collect();
            let canonical = format!("log({})", list.join(","));
            let older = canonical.replace("uint256", "uint").replace("int256", "int");
            if older != canonical {
                texts.push(older.into_bytes());
                types.push(parsed.clone());
            }
            texts.push(canonical.into_bytes());
            types.push(parsed);
        }
        let selectors = host::keccak256_many(&texts).into_iter().map(|hash| [hash[0], hash[1], hash[2], hash[3]]);
        selectors.zip(types).collect()
    })
}

/// What contracts printed.
#[derive(Default)]
pub struct Console {
    lines: Vec<String>,
    bytes: usize,
}

impl Console {
    /// Keeps what a call of [`ADDRESS`] prints, if its data is one of the known.
    pub fn hear(&mut self, data: &[u8]) {
        if self.bytes > BYTES_MAX {
            return;
        }
        let line = if data.len() > BYTES_MAX { None } else { line(data) };
        let too_long = data.len() > BYTES_MAX || self.bytes + line.as_ref().map_or(0, String::len) > BYTES_MAX;
        if too_long {
            self.bytes = BYTES_MAX + 1;
            self.lines.push(format!("(what is beyond {BYTES_MAX} bytes is left out)"));
        } else if let Some(line) = line {
            // An empty line is one as well.
            self.bytes += line.len() + 1;
            self.lines.push(line);
        }
    }

    /// The lines, which are then no longer here.
    pub fn take(&mut self) -> Vec<String> {
        self.bytes = 0;
        core::mem::take(&mut self.lines)
    }
}

/// Prints lines into the chain's log.
pub fn print(lines: &[String]) {
    for line in lines {
        eprintln!("console.log: {line}");
    }
}

/// The line that a call prints; none where its data has no known form.
fn line(data: &[u8]) -> Option<String> {
    let (selector, data) = data.split_first_chunk::<4>()?;
    let types = signatures().get(selector)?;
    let DynSolValue::Tuple(values) = DynSolType::Tuple(types.clone()).abi_decode_params(data).ok()? else { return None };
    Some(formatted(&values))
}

/// Values as Node's `util.format` joins them: those that the first text has a place for (`%s`, `%d` and so on) go there, all others follow.
fn formatted(values: &[DynSolValue]) -> String {
    let mut rest = values.iter();
    let mut out = String::new();
    if let Some(DynSolValue::String(text)) = values.first() {
        rest.next();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let place = if letter == '%' { letters.peek().copied() } else { None };
            match place {
                Some('%') => {
                    letters.next();
                    out.push('%');
                }
                Some('s' | 'd' | 'i' | 'f' | 'j' | 'o' | 'O' | 'x') if rest.len() > 0 => {
                    let hexadecimal = letters.next() == Some('x');
                    if let Some(value) = rest.next() {
                        out.push_str(&if hexadecimal { in_hexadecimal(value) } else { shown(value) });
                    }
                }
                _ => out.push(letter),
            }
        }
    } else if let Some(first) = rest.next() {
        out.push_str(&shown(first));
    }
    for value in rest {
        out.push(' ');
        out.push_str(&shown(value));
    }
    out
}

fn shown(value: &DynSolValue) -> String {
    match value {
        DynSolValue::String(text) => text.clone(),
        DynSolValue::Bool(truth) => truth.to_string(),
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::FixedBytes(word, len) => hex::encode_prefixed(&word[..(*len).min(32)]),
        DynSolValue::Bytes(bytes) => hex::encode_prefixed(bytes),
        // No known form has them.
        other => format!("{other:?}"),
    }
}

fn in_hexadecimal(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Uint(number, _) => format!("{number:#x}"),
        DynSolValue::Int(number, _) => format!("{number:#x}"),
        other => shown(other),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, I256, U256, bytes, keccak256};

    use super::*;

    fn call(signature: &str, values: Vec<DynSolValue>) -> Vec<u8> {
        [&keccak256(signature)[..4], &DynSolValue::Tuple(values).abi_encode_params()].concat()
    }

    fn text(text: &str) -> DynSolValue {
        DynSolValue::String(text.into())
    }

    fn number(number: u64) -> DynSolValue {
        DynSolValue::Uint(U256::from(number), 256)
    }

    #[test]
    fn a_call_as_solidity_encodes_it_is_a_line() {
        // console.log("Hello"): selector 0x41304fac, as in Hardhat's console.sol.
        let data = bytes!(
            "41304fac000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000\
             0548656c6c6f000000000000000000000000000000000000000000000000000000"
        );
        assert_eq!(line(&data).as_deref(), Some("Hello"));
        // log(uint256) is 0xf82c50f1, and log(uint), which older versions call, 0xf5b1bba9.
        for selector in [[0xf8, 0x2c, 0x50, 0xf1], [0xf5, 0xb1, 0xbb, 0xa9]] {
            let data = [selector.as_slice(), &U256::from(42).to_be_bytes::<32>()].concat();
            assert_eq!(line(&data).as_deref(), Some("42"));
        }
    }

    #[test]
    fn every_known_form_is_read() {
        let address = DynSolValue::Address(Address::with_last_byte(7));
        let cases = [
            ("log()", vec![], ""),
            ("log(int256)", vec![DynSolValue::Int(I256::MINUS_ONE, 256)], "-1"),
            ("log(string,int256)", vec![text("x"), DynSolValue::Int(I256::MINUS_ONE, 256)], "x -1"),
            ("log(bytes)", vec![DynSolValue::Bytes(vec![1, 2])], "0x0102"),
            ("log(bytes2)", vec![DynSolValue::FixedBytes(B256::with_last_byte(0), 2)], "0x0000"),
            (
                "log(bool,address,uint256,string)",
                vec![DynSolValue::Bool(true), address, number(5), text("end")],
                "true 0x0000000000000000000000000000000000000007 5 end",
            ),
            ("log(string,string,uint)", vec![text("a"), text("b"), number(1)], "a b 1"),
        ];
        for (signature, values, expected) in cases {
            assert_eq!(line(&call(signature, values)).as_deref(), Some(expected), "{signature}");
        }
        assert_eq!(line(&call("log(uint8)", vec![number(1)])), None, "a form that nobody has");
        assert_eq!(line(&call("log(string)", vec![text("cut off")])[..40]), None);
        assert_eq!(line(&[1, 2]), None);
    }

    #[test]
    fn a_text_with_places_takes_the_values() {
        for (values, expected) in [
            (vec![text("%s has %d"), text("she"), number(3)], "she has 3"),
            (vec![text("100%% of %s"), text("it")], "100% of it"),
            (vec![text("%s and %s"), text("one")], "one and %s"),
            (vec![text("%x"), number(255)], "0xff"),
            (vec![text("odd %"), number(1)], "odd % 1"),
            (vec![text("%q"), number(1), number(2)], "%q 1 2"),
        ] {
            assert_eq!(formatted(&values), expected);
        }
    }

    #[test]
    fn what_is_printed_is_bounded() {
        let mut console = Console::default();
        let line = call("log(string)", vec![text(&"x".repeat(1000))]);
        for _ in 0..100 {
            console.hear(&line);
        }
        let lines = console.take();
        assert_eq!(lines.len(), 16 + 1, "16 lines of 1,001 bytes, and one that says that more is left out");
        assert!(lines[16].contains("left out"));
        console.hear(&call("log(string)", vec![text(&"x".repeat(BYTES_MAX))]));
        console.hear(&line);
        assert_eq!(console.take().len(), 1);
        console.hear(&line);
        assert_eq!(console.take().len(), 1, "a new call has room again");
    }
}
