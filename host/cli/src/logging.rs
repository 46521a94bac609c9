//! Logs go to standard error, and each chain's last lines to the log book. A chain may have a level of its own.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    io::IsTerminal,
    sync::{Arc, PoisonError, RwLock},
};

use subnode_node::LogBook;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::config::{Config, LogFormat, LogLevel};

/// A longer line is cut: a chain's log is kept in memory.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// The levels, which can be changed while the node runs.
#[derive(Clone, Default)]
pub struct Levels {
    inner: Arc<RwLock<BTreeMap<String, Level>>>,
    node: Arc<RwLock<Option<Level>>>,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl Levels {
    /// Takes the levels of a configuration.
    pub fn set(&self, config: &Config) {
        let chains = config.chains.iter().filter_map(|chain| Some((chain.name.to_string(), chain.log?.into()))).collect();
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = chains;
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some(config.log.level.into());
    }

    fn allows(&self, chain: Option<&str>, level: Level) -> bool {
        let own = chain.and_then(|chain| self.inner.read().unwrap_or_else(PoisonError::into_inner).get(chain).copied());
        let node = || *self.node.read().unwrap_or_else(PoisonError::into_inner);
        own.or_else(node).is_none_or(|most| level <= most)
    }
}

/// Starts to log as a configuration says. RUST_LOG, where it is set, decides in its place.
pub fn start(config: &Config, book: Arc<LogBook>) -> Levels {
    let levels = Levels::default();
    levels.set(config);
    // Libraries have their say from warnings on; how much of ours is told is decided chain by chain.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,subnode=trace"));
    let registry = tracing_subscriber::registry().with(filter).with(ByChain { levels: levels.clone(), book });
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => registry.with(text.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(text.json().flatten_event(true)).init(),
    }
    levels
}

/// Drops what a chain's level does not want, and notes the rest of what chains say.
struct ByChain {
    levels: Levels,
    book: Arc<LogBook>,
}

#[derive(Default)]
struct Fields {
    chain: Option<String>,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _infallible = match field.name() {
            "chain" => write!(self.chain.get_or_insert_default(), "{value:?}"),
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

impl<S: Subscriber> Layer<S> for ByChain {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let level = *event.metadata().level();
        if !event.metadata().target().starts_with("subnode") {
            return true;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let allowed = self.levels.allows(fields.chain.as_deref(), level);
        if allowed && let Some(chain) = &fields.chain {
            let mut text = fields.message + &fields.others;
            let end = text.floor_char_boundary(TEXT_BYTES_MAX);
            text.truncate(end);
            self.book.add(chain, level.as_str(), text);
        }
        allowed
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}
