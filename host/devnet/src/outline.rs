//! Where in a long genesis file the parts are that an adopted chain changes: found by reading it once, with no more of it in memory than a key
//! and a buffer.

use std::{
    io::{self, BufRead},
    ops::Range,
};

/// A longer key is none of those looked for.
const KEY_BYTES_MAX: usize = 256;

/// What is found of a file that is one JSON object. Nothing says that the rest of it is good JSON: whoever reads it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Of the value of `config`.
    pub(crate) config: Range<u64>,
    /// Of the value of `timestamp`, where there is one.
    pub(crate) timestamp: Option<Range<u64>>,
    /// Behind the brace that opens `alloc`.
    pub(crate) alloc: u64,
    /// Whether `alloc` has an account.
    pub(crate) has_accounts: bool,
    /// Those of the keys looked for that `alloc` has, in lower case without `0x`.
    pub(crate) there: Vec<String>,
}

impl Outline {
    /// Reads a file; none where it is no such object, or has one of the keys twice.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn of(reader: impl BufRead, looked_for: &[String]) -> io::Result<Option<Self>> {
        let mut scan = Scan { reader, at: 0 };
        match scan.outline(looked_for) {
            Ok(outline) => Ok(Some(outline)),
            Err(Stop::Malformed) => Ok(None),
            Err(Stop::Io(error)) => Err(error),
        }
    }
}

enum Stop {
    Malformed,
    Io(io::Error),
}

struct Scan<R> {
    reader: R,
    /// Bytes read.
    at: u64,
}

impl<R: BufRead> Scan<R> {
    fn peek(&mut self) -> Result<u8, Stop> {
        let buffer = self.reader.fill_buf().map_err(Stop::Io)?;
        buffer.first().copied().ok_or(Stop::Malformed)
    }

    fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.reader.consume(1);
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no space; it stays.
    fn token(&mut self) -> Result<u8, Stop> {
        while self.peek()?.is_ascii_whitespace() {
            self.next()?;
        }
        self.peek()
    }

    fn expect(&mut self, token: u8) -> Result<(), Stop> {
        if self.token()? != token {
            return Err(Stop::Malformed);
        }
        self.next().map(drop)
    }

    /// A string, as it is written; of a long one the start.
    fn string(&mut self) -> Result<Vec<u8>, Stop> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            let byte = self.next()?;
            if byte == b'"' {
                return Ok(text);
            }
            let escaped = if byte == b'\\' { Some(self.next()?) } else { None };
            if text.len() < KEY_BYTES_MAX {
                text.push(byte);
                text.extend(escaped);
            }
        }
    }

    /// Passes a value over; where it is.
    fn value(&mut self) -> Result<Range<u64>, Stop> {
        self.token()?;
        let start = self.at;
        let mut depth = 0_u64;
        loop {
            match self.token()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.next()?;
                }
                // Of what it is within.
                b'}' | b']' if depth == 0 => return Err(Stop::Malformed),
                b'}' | b']' => {
                    depth -= 1;
                    self.next()?;
                }
                b',' | b':' if depth == 0 => return Err(Stop::Malformed),
                b',' | b':' => drop(self.next()?),
                _ => {
                    while !matches!(self.peek()?, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\r' | b'\n') {
                        self.next()?;
                    }
                }
            }
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// Calls `key` with each key of an object; it reads the value.
    fn object(&mut self, mut key: impl FnMut(&mut Self, Vec<u8>) -> Result<(), Stop>) -> Result<(), Stop> {
        self.expect(b'{')?;
        if self.token()? == b'}' {
            return self.next().map(drop);
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            key(self, name)?;
            match self.token()? {
                b',' => self.next().map(drop)?,
                b'}' => return self.next().map(drop),
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn outline(&mut self, looked_for: &[String]) -> Result<Outline, Stop> {
        let (mut config, mut timestamp, mut alloc) = (None, None, None);
        let (mut has_accounts, mut there) = (false, Vec::new());
        self.object(|scan, name| {
            let before = match name.as_slice() {
                b"config" => config.replace(scan.value()?),
                b"timestamp" => timestamp.replace(scan.value()?),
                b"alloc" => {
                    scan.token()?;
                    // The brace is the next byte.
                    let open = scan.at + 1;
                    scan.object(|scan, address| {
                        has_accounts = true;
                        let address = String::from_utf8_lossy(&address).to_ascii_lowercase();
                        let address = address.trim_start_matches("0x");
                        if looked_for.iter().any(|looked_for| looked_for == address) {
                            there.push(address.to_owned());
                        }
                        scan.value().map(drop)
                    })?;
                    alloc.replace(open..open)
                }
                _ => {
                    scan.value()?;
                    None
                }
            };
            if before.is_some() { Err(Stop::Malformed) } else { Ok(()) }
        })?;
        let (config, alloc) = (config.ok_or(Stop::Malformed)?, alloc.ok_or(Stop::Malformed)?);
        Ok(Outline { config, timestamp, alloc: alloc.start, has_accounts, there })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Outline> {
        Outline::of(text.as_bytes(), &["0a".to_owned(), "0b".to_owned()]).expect("memory can be read")
    }

    #[test]
    fn parts_are_found_whatever_is_around_them() {
        let text = r#" { "note":"}\"{" ,"alloc" : {"0x0A":{"code":"0x","storage":{"a":[1,{}]}},"0c":{}},"n":-1.5e3,"config": {"a":[{"alloc":{}}]} ,
            "timestamp":"0x4"}  "#;
        let found = of(text).expect("an object");
        let part = |range: &Range<u64>| &text[usize::try_from(range.start).expect("short")..usize::try_from(range.end).expect("short")];
        assert_eq!(part(&found.config), r#"{"a":[{"alloc":{}}]}"#);
        assert_eq!(found.timestamp.as_ref().map(part), Some(r#""0x4""#));
        assert!(text[usize::try_from(found.alloc).expect("short")..].starts_with(r#""0x0A""#));
        assert_eq!((found.has_accounts, found.there), (true, vec!["0a".to_owned()]));
        assert_eq!(of(r#"{"config":{},"alloc":{ }}"#).map(|found| found.has_accounts), Some(false));
    }

    #[test]
    fn what_is_no_such_object_has_no_outline() {
        let whole = r#"{"config":{"a":1},"alloc":{"0x0a":{"balance":"1"}}}"#;
        assert!(of(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(of(&whole[..end]), None, "{end} bytes");
        }
        for text in [
            "[]",
            "{}",
            r#"{"config":{}}"#,
            r#"{"config":{},"alloc":[]}"#,
            r#"{"config":{},"config":{},"alloc":{}}"#,
            r#"{"config":,"alloc":{}}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
