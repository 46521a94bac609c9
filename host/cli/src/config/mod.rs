//! The configuration file: the only place it is parsed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer, de};
use subnode_types::ChainName;

/// A commented configuration. A test reads it and compares it with the defaults.
pub const EXAMPLE: &str = include_str!("example.toml");

/// A node.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    #[serde(default)]
    pub rpc: RpcConfig,
    /// The chains, the first of which answers at `/`.
    #[serde(rename = "chain", default)]
    pub chains: Vec<ChainConfig>,
}

/// The port.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RpcConfig {
    pub listen: SocketAddr,
    pub connections: usize,
    pub request_bytes: usize,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8545)), connections: 1_024, request_bytes: 10 << 20 }
    }
}

/// A chain.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChainConfig {
    #[serde(deserialize_with = "chain_name")]
    pub name: ChainName,
    /// An embedded module's name, or a component file.
    #[serde(default = "evm")]
    pub runtime: String,
    #[serde(default = "solo")]
    pub consensus: String,
    /// What the runtime starts from: for the EVM a geth-style genesis file.
    pub genesis: Option<PathBuf>,
    #[serde(default, deserialize_with = "sealing")]
    pub sealing: SealingConfig,
    #[serde(default, deserialize_with = "history")]
    pub history: HistoryConfig,
    #[serde(default)]
    pub controls: bool,
    #[serde(default = "pool_bytes")]
    pub pool_bytes: usize,
}

/// `"instant"`, `"manual"`, or a time as `"2s"` or `"500ms"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealingConfig {
    #[default]
    Instant,
    Manual,
    /// Milliseconds.
    Interval(u64),
}

/// `"archive"`, or a number of heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryConfig {
    Archive,
    Last(u64),
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self::Last(10_000)
    }
}

fn evm() -> String {
    "evm".into()
}

fn solo() -> String {
    "solo".into()
}

fn pool_bytes() -> usize {
    64 << 20
}

fn chain_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChainName, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn sealing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SealingConfig, D::Error> {
    let text = String::deserialize(deserializer)?;
    let interval =
        |number: &str, scale: u64| number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).filter(|ms| *ms > 0);
    let parsed = match text.as_str() {
        "instant" => Some(SealingConfig::Instant),
        "manual" => Some(SealingConfig::Manual),
        text => match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _) => interval(number, 1).map(SealingConfig::Interval),
            (None, Some(number)) => interval(number, 1000).map(SealingConfig::Interval),
            (None, None) => None,
        },
    };
    parsed.ok_or_else(|| de::Error::custom(format!("sealing {text:?}: use \"instant\", \"manual\", or a time as \"2s\" or \"500ms\"")))
}

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HistoryConfig, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Heights(u64),
        Word(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Heights(heights) if heights > 0 => Ok(HistoryConfig::Last(heights)),
        Either::Word(word) if word == "archive" => Ok(HistoryConfig::Archive),
        Either::Heights(_) | Either::Word(_) => Err(de::Error::custom("history: use \"archive\", or a number of heights of 1 or more")),
    }
}

/// Reads and checks a file. Errors name the file, the line, the key, and the nearest right one.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the configuration {}; `subnode config example` prints one", path.display()))?;
    let mut config = parse(&text).with_context(|| format!("configuration {}", path.display()))?;
    // Paths in the file are relative to the file.
    let base = path.parent().unwrap_or(Path::new("."));
    config.data_dir = base.join(&config.data_dir);
    for chain in &mut config.chains {
        chain.genesis = chain.genesis.as_ref().map(|genesis| base.join(genesis));
        for module in [&mut chain.runtime, &mut chain.consensus] {
            if subnode_modules::by_name(module).is_none() {
                *module = base.join(&*module).to_string_lossy().into_owned();
            }
        }
    }
    Ok(config)
}

fn parse(text: &str) -> anyhow::Result<Config> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let hint = nearest(error.message()).map(|near| format!("did you mean `{near}`?\n")).unwrap_or_default();
        anyhow::anyhow!("{error}{hint}")
    })?;
    for (position, chain) in config.chains.iter().enumerate() {
        if config.chains[..position].iter().any(|earlier| earlier.name == chain.name) {
            bail!("two chains are named {}; give one another name", chain.name);
        }
        if chain.runtime == "evm" && chain.genesis.is_none() {
            bail!("chain {}: the evm runtime needs `genesis`, a geth-style genesis file", chain.name);
        }
    }
    if config.chains.is_empty() {
        bail!("there is no chain in it; add a [[chain]] section");
    }
    Ok(config)
}

/// The right key that is nearest to the unknown one that serde complains of.
fn nearest(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted.map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min().map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let example = parse(EXAMPLE).expect("the example parses");
        assert_eq!(example.rpc, RpcConfig::default());
        let chain = &example.chains[0];
        assert_eq!((chain.sealing, chain.history, chain.controls), (SealingConfig::default(), HistoryConfig::default(), false));
        assert_eq!((chain.runtime.as_str(), chain.consensus.as_str(), chain.pool_bytes), ("evm", "solo", pool_bytes()));
        let minimal = parse("data-dir = \"d\"\n[[chain]]\nname = \"a\"\ngenesis = \"g\"\n").expect("parses");
        assert_eq!(minimal.chains[0].history, chain.history);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_right_one() {
        let error = parse("data-dir = \"d\"\n[rpc]\nlitsen = \"127.0.0.1:1\"\n").expect_err("unknown").to_string();
        assert!(error.contains("line 3") && error.contains("did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_wrong_value_says_what_is_right() {
        let with = |line: &str| parse(&format!("data-dir = \"d\"\n[[chain]]\nname = \"a\"\ngenesis = \"g\"\n{line}\n"));
        for (line, hint) in [("sealing = \"2h\"", "500ms"), ("history = 0", "archive"), ("name2 = 1", "did you mean `name`")] {
            let error = with(line).expect_err(line).to_string();
            assert!(error.contains(hint) && error.contains("line 5"), "{error}");
        }
        assert!(with("sealing = \"250ms\"").is_ok_and(|config| config.chains[0].sealing == SealingConfig::Interval(250)));
    }
}
