//! The last lines of each chain's log, for whoever asks later.
//!
//! A module logs what it likes, so a chain's lines are bounded in bytes: 4,096 chains x 256 KiB = 1 GiB at most.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Lines kept of a chain.
const LINES_MAX: usize = 512;
/// Bytes of the lines kept of a chain: 512 lines of 512 bytes, several times what most have.
const BYTES_MAX: usize = 256 << 10;
/// Bytes kept of a line: as much as a module may log at once.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Chains of which lines are kept. The one that has not logged for the longest makes room.
const CHAINS_MAX: usize = 4_096;

/// A line of a chain's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counted over all of the chain's lines since the node was started, from 1.
    pub number: u64,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: &'static str,
    /// What it says.
    pub text: String,
}

/// The last lines of each chain's log.
#[derive(Debug, Default)]
pub struct LogBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Bound: [`CHAINS_MAX`] chains of [`BYTES_MAX`] bytes, 1 GiB.
    chains: BTreeMap<String, Lines>,
    /// Lines that were added.
    added: u64,
}

#[derive(Debug, Default)]
struct Lines {
    count: u64,
    bytes: usize,
    /// How many lines had been added to the book when this chain's last one was.
    last_added: u64,
    /// Bound: [`LINES_MAX`] lines of [`BYTES_MAX`] bytes together.
    last: VecDeque<LogLine>,
}

impl Lines {
    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.last.push_back(line);
        while self.last.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.last.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

impl LogBook {
    /// Adds a line. What of it is too long is cut off.
    pub fn add(&self, chain: &str, level: &'static str, mut text: String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.added += 1;
        let added = inner.added;
        if inner.chains.len() >= CHAINS_MAX && !inner.chains.contains_key(chain) {
            let oldest = inner.chains.iter().min_by_key(|(_, lines)| lines.last_added).map(|(chain, _)| chain.clone());
            oldest.and_then(|oldest| inner.chains.remove(&oldest));
        }
        let lines = inner.chains.entry(chain.to_owned()).or_default();
        lines.count += 1;
        lines.last_added = added;
        lines.push(LogLine { number: lines.count, time_ms, level, text });
    }

    /// The lines after a number, as far as they are kept.
    pub fn after(&self, chain: &str, number: u64) -> Vec<LogLine> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.chains.get(chain).map(|lines| lines.last.iter().filter(|line| line.number > number).cloned().collect()).unwrap_or_default()
    }

    /// Forgets a chain's lines.
    pub fn forget(&self, chain: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).chains.remove(chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_that_was_silent_for_longest_makes_room() {
        let book = LogBook::default();
        let name = |index: usize| format!("c{index:05}");
        (0..CHAINS_MAX).for_each(|index| book.add(&name(index), "INFO", "first".into()));
        book.add(&name(0), "INFO", "again".into());
        book.add("a new one", "INFO", "first".into());
        assert_eq!(book.after(&name(0), 0).len(), 2, "it has logged since, whatever its name");
        assert_eq!(book.after(&name(1), 0), []);
        assert_eq!((book.after(&name(2), 0).len(), book.after("a new one", 0).len()), (1, 1));
    }

    #[test]
    fn lines_of_a_chain_are_bounded_in_bytes() {
        let book = LogBook::default();
        for _ in 0..LINES_MAX {
            book.add("a", "WARN", "\u{e9}".repeat(LINE_BYTES_MAX));
        }
        let lines = book.after("a", 0);
        assert_eq!(lines.iter().map(|line| line.text.len()).sum::<usize>(), BYTES_MAX);
        assert_eq!(lines.last().map(|line| (line.number, line.text.len())), Some((LINES_MAX as u64, LINE_BYTES_MAX)));
        for _ in 0..2 * LINES_MAX {
            book.add("a", "WARN", "short".into());
        }
        assert_eq!(book.after("a", 0).len(), LINES_MAX);
    }
}
