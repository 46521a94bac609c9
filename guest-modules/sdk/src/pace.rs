//! When a committee begins its next block: as the chain's sealing says.

use crate::consensus::Sealing;

/// How long a proposal is waited for, unless the configuration says otherwise.
const TIMEOUT_MS: u64 = 3_000;

/// Reads a configuration: `instant` (also where it is empty) or `interval MILLISECONDS`, then perhaps `timeout
/// MILLISECONDS`, how long a proposal is waited for.
pub fn parse(config: &[u8]) -> Result<(Sealing, u64), String> {
    let text = std::str::from_utf8(config).map_err(|_| "not text".to_owned())?;
    let milliseconds = |name: &str, text: Option<&str>| match text.and_then(|text| text.parse().ok()) {
        Some(ms) if ms > 0 => Ok(ms),
        _ => Err(format!("{name} {}: give milliseconds, 1 or more", text.unwrap_or_default())),
    };
    let mut words = text.split_whitespace();
    let (mut sealing, mut timeout_ms) = (Sealing::Instant, TIMEOUT_MS);
    while let Some(word) = words.next() {
        match word {
            "instant" => sealing = Sealing::Instant,
            "interval" => sealing = Sealing::Interval(milliseconds(word, words.next())?),
            "timeout" => timeout_ms = milliseconds(word, words.next())?,
            _ => return Err(format!("{text:?}: use instant or interval MILLISECONDS, and timeout MILLISECONDS")),
        }
    }
    Ok((sealing, timeout_ms))
}

/// When the next height begins.
pub struct Pace {
    sealing: Sealing,
    ready: u32,
    /// When the height that is worked on began; none while the next one waits.
    began_ms: Option<u64>,
}

impl Pace {
    /// Before the first height, with so many ready transactions.
    pub fn new(sealing: Sealing, ready: u32) -> Self {
        Self { sealing, ready, began_ms: None }
    }

    /// Whether the next height waits for its time.
    pub fn idle(&self) -> bool {
        self.began_ms.is_none()
    }

    /// So many transactions are ready.
    pub fn set_ready(&mut self, ready: u32) {
        self.ready = ready;
    }

    /// The user changes how blocks are sealed.
    pub fn set_sealing(&mut self, sealing: Sealing) {
        self.sealing = sealing;
    }

    /// Whether blocks come when there is something for them.
    pub fn is_instant(&self) -> bool {
        matches!(self.sealing, Sealing::Instant)
    }

    /// Whether the next height may begin, where `others` have begun it or not.
    pub fn may_begin(&self, others: bool) -> bool {
        self.idle()
            && match self.sealing {
                Sealing::Interval(_) => true,
                Sealing::Instant => self.ready > 0 || others,
                Sealing::Manual => false,
            }
    }

    /// A height begins.
    pub fn begin(&mut self, now_ms: u64) {
        self.began_ms = Some(now_ms);
    }

    /// A height has ended. How long the next one waits; none where it may begin as soon as there is a reason.
    pub fn end(&mut self, now_ms: u64, ready: u32) -> Option<u64> {
        self.ready = ready;
        let began_ms = self.began_ms.take()?;
        match self.sealing {
            Sealing::Interval(ms) => Some(began_ms.saturating_add(ms).saturating_sub(now_ms)),
            Sealing::Instant | Sealing::Manual => None,
        }
    }
}
