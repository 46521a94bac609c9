//! The last lines of each chain's log, for whoever asks later.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Lines kept of a chain.
const LINES_MAX: usize = 512;
/// Chains of which lines are kept; the first to have logged makes room.
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
    chains: Mutex<BTreeMap<String, Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    count: u64,
    last: VecDeque<LogLine>,
}

impl LogBook {
    /// Adds a line.
    pub fn add(&self, chain: &str, level: &'static str, text: String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= CHAINS_MAX && !chains.contains_key(chain) {
            chains.pop_first();
        }
        let lines = chains.entry(chain.to_owned()).or_default();
        lines.count += 1;
        if lines.last.len() >= LINES_MAX {
            lines.last.pop_front();
        }
        lines.last.push_back(LogLine { number: lines.count, time_ms, level, text });
    }

    /// The lines after a number, as far as they are kept.
    pub fn after(&self, chain: &str, number: u64) -> Vec<LogLine> {
        let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        chains.get(chain).map(|lines| lines.last.iter().filter(|line| line.number > number).cloned().collect()).unwrap_or_default()
    }

    /// Forgets a chain's lines.
    pub fn forget(&self, chain: &str) {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).remove(chain);
    }
}
