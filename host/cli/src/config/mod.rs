//! The configuration file. No other code parses it.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer, de};
use subnode_chain::CHECKPOINT_EVERY;
use subnode_types::{ByteSize, ChainName, NodeId, PARTS_OF_A_NODE, Parts, Sealing};

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
    #[serde(default)]
    pub admin: AdminConfig,
    #[serde(default)]
    pub metrics: MetricsConfig,
    #[serde(default)]
    pub log: LogConfig,
    #[serde(default)]
    pub capacity: CapacityConfig,
    /// The other nodes; without it the node's chains have none.
    pub network: Option<NetworkConfig>,
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
    #[serde(deserialize_with = "size")]
    pub request_bytes: u64,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8545)), connections: 1_024, request_bytes: 10 << 20 }
    }
}

/// The operator's socket.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdminConfig {
    /// `subnode.sock` in the data directory where it is not given.
    pub socket: Option<PathBuf>,
}

/// Figures for Prometheus.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MetricsConfig {
    /// None opens no port.
    pub listen: Option<SocketAddr>,
}

/// The node's place among others.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkConfig {
    /// On UDP, for all chains.
    #[serde(default = "network_listen")]
    pub listen: SocketAddr,
    /// Nodes of networks of other names are refused.
    pub name: String,
    /// The file of the node's key, as `subnode key new` makes it.
    pub key: PathBuf,
    /// A file whose first line is the password of a key that is encrypted.
    pub password_file: Option<PathBuf>,
    /// Where other nodes are, by their ids.
    #[serde(default, deserialize_with = "peers")]
    pub peers: BTreeMap<NodeId, SocketAddr>,
}

fn network_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4700))
}

fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<NodeId, SocketAddr>, D::Error> {
    let named = BTreeMap::<String, SocketAddr>::deserialize(deserializer)?;
    named.into_iter().map(|(node, address)| Ok((node.parse().map_err(de::Error::custom)?, address))).collect()
}

/// What is logged.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

/// What the node has to give; what is not given here is looked up, or bounded by nothing.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CapacityConfig {
    pub parts: u32,
    /// Three quarters of the machine's.
    #[serde(deserialize_with = "some_size")]
    pub memory: Option<u64>,
    /// What the disk has left, and what the node uses already.
    #[serde(deserialize_with = "some_size")]
    pub storage: Option<u64>,
    /// Per second.
    #[serde(deserialize_with = "size")]
    pub bandwidth: u64,
    /// Bytes of the disk that are kept free.
    #[serde(deserialize_with = "size")]
    pub keep_free: u64,
}

impl Default for CapacityConfig {
    fn default() -> Self {
        Self { parts: PARTS_OF_A_NODE, memory: None, storage: None, bandwidth: 125_000_000, keep_free: 1 << 30 }
    }
}

/// A chain.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChainConfig {
    #[serde(deserialize_with = "parsed")]
    pub name: ChainName,
    /// Tells chains of a network apart.
    pub id: Option<NonZeroU64>,
    /// An embedded module's name, a component file, or `sha256:` and the hash of a module: one that is not here is got from the nodes of `network.peers`.
    #[serde(default = "evm")]
    pub runtime: String,
    #[serde(default = "solo")]
    pub consensus: String,
    /// The consensus module's own configuration, in place of what `sealing` says to it.
    pub consensus_config: Option<String>,
    /// What the runtime starts from: for the EVM a geth-style genesis file.
    pub genesis: Option<PathBuf>,
    #[serde(default, deserialize_with = "parsed")]
    pub sealing: Sealing,
    #[serde(default, deserialize_with = "history")]
    pub history: HistoryConfig,
    #[serde(default)]
    pub controls: bool,
    #[serde(default = "pool_bytes", deserialize_with = "size")]
    pub pool_bytes: u64,
    /// Heights between two states that other nodes can catch up by, where the chain is created with a committee. All of its nodes must say the same.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// Heights between two blocks that the committee attests whatever they do, where the chain is created with members that attest. All of its nodes must
    /// say the same. 0 attests those alone that precede another committee.
    #[serde(default)]
    pub attest_every: u64,
    /// Parts, or a class.
    #[serde(default, deserialize_with = "slice")]
    pub slice: Option<Parts>,
    /// In place of what the slice brings along.
    #[serde(default, deserialize_with = "some_size")]
    pub memory: Option<u64>,
    #[serde(default, deserialize_with = "some_size")]
    pub storage: Option<u64>,
    #[serde(default, deserialize_with = "some_size")]
    pub bandwidth: Option<u64>,
    /// In place of the node's.
    pub log: Option<LogLevel>,
}

/// `"archive"`, a number of heights, or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryConfig {
    Archive,
    Last(u64),
    /// Bytes that old values and what it takes to undo blocks may have; not 0.
    Within(u64),
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

fn checkpoint_every() -> u64 {
    CHECKPOINT_EVERY
}

fn pool_bytes() -> u64 {
    64 << 20
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

/// A number or a text, as it is written: what it stands for says what is wrong with it.
struct Written(String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }

            // With its point: what counts whole things refuses it.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Written, E> {
                Ok(Written(format!("{number:?}")))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Written::deserialize(deserializer)?.0.parse::<ByteSize>().map(|size| size.0).map_err(de::Error::custom)
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

fn slice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Parts>, D::Error> {
    Written::deserialize(deserializer)?.0.parse().map(Some).map_err(de::Error::custom)
}

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HistoryConfig, D::Error> {
    let Written(text) = Written::deserialize(deserializer)?;
    match text.parse() {
        _ if text == "archive" => Ok(HistoryConfig::Archive),
        Ok(heights) if heights > 0 => Ok(HistoryConfig::Last(heights)),
        _ => match text.parse::<ByteSize>() {
            Ok(size) if size.0 > 0 => Ok(HistoryConfig::Within(size.0)),
            _ => {
                Err(de::Error::custom(format!("history: {text}; use \"archive\", a number of heights of 1 or more, or a size as \"2GiB\"")))
            }
        },
    }
}

impl Config {
    /// Sections that differ in another configuration, and are read at the start alone.
    pub fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let differences = [
            ("data-dir", self.data_dir != other.data_dir),
            ("[rpc]", self.rpc != other.rpc),
            ("[admin]", self.admin != other.admin),
            ("[metrics]", self.metrics != other.metrics),
            ("log.format", self.log.format != other.log.format),
            ("[capacity]", self.capacity != other.capacity),
            ("[network]", self.network != other.network),
        ];
        differences.into_iter().filter_map(|(section, differs)| differs.then_some(section)).collect()
    }

    /// Where the operator's socket is.
    pub fn socket(&self) -> PathBuf {
        self.admin.socket.clone().unwrap_or_else(|| self.data_dir.join("subnode.sock"))
    }
}

/// Whether a module's name is that of a file: it is neither embedded nor named by its hash.
pub fn is_file(module: &str) -> bool {
    subnode_modules::by_name(module).is_none() && !module.starts_with("sha256:")
}

/// Reads and checks a file. Errors name the file, the line, the key, and the nearest right one.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the configuration {}; `subnode config example` prints one", path.display()))?;
    let mut config = parse(&text).with_context(|| format!("configuration {}", path.display()))?;
    // Paths in the file are relative to the file.
    let base = path.parent().unwrap_or(Path::new("."));
    config.data_dir = base.join(&config.data_dir);
    config.admin.socket = config.admin.socket.map(|socket| base.join(socket));
    if let Some(network) = &mut config.network {
        network.key = base.join(&network.key);
        network.password_file = network.password_file.take().map(|file| base.join(file));
    }
    for chain in &mut config.chains {
        chain.genesis = chain.genesis.as_ref().map(|genesis| base.join(genesis));
        for module in [&mut chain.runtime, &mut chain.consensus] {
            if is_file(module) {
                *module = base.join(&*module).to_string_lossy().into_owned();
            }
        }
    }
    Ok(config)
}

fn parse(text: &str) -> anyhow::Result<Config> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let hint = nearest(error.message()).map(|near| format!("did you mean `{near}`?\n")).unwrap_or_default();
        // The parser does not say where it meets its bound on tables and lists in each other.
        if error.span().is_none() && error.message().contains("recursion limit") {
            return anyhow::anyhow!("{} at line {}, or around it: too many tables or lists in each other", error.message(), deepest(text));
        }
        anyhow::anyhow!("{error}{hint}")
    })?;
    for (position, chain) in config.chains.iter().enumerate() {
        if config.chains[..position].iter().any(|earlier| earlier.name == chain.name) {
            bail!("two chains are named {}; give one another name", chain.name);
        }
        if let Some(other) = config.chains[..position].iter().find(|earlier| chain.id.is_some() && earlier.id == chain.id) {
            bail!("chains {} and {} have one id; give one another", other.name, chain.name);
        }
        if chain.runtime == "evm" && chain.genesis.is_none() {
            bail!("chain {}: the evm runtime needs `genesis`, a geth-style genesis file", chain.name);
        }
    }
    if config.metrics.listen.is_some_and(|listen| listen.port() != 0 && listen == config.rpc.listen) {
        bail!("rpc.listen and metrics.listen are both {}; give one another port", config.rpc.listen);
    }
    if config.rpc.connections == 0 || config.rpc.request_bytes == 0 {
        bail!("rpc.connections and rpc.request-bytes are 1 or more (1024 and 10MiB by default): with 0 nobody is answered");
    }
    if Parts::new(config.capacity.parts).is_none() {
        bail!("capacity.parts: 0 parts cannot be divided; use 1 or more ({PARTS_OF_A_NODE} by default)");
    }
    Ok(config)
}

/// The line that opens the most tables and lists, from 1.
fn deepest(text: &str) -> usize {
    let opened = |line: &str| line.bytes().filter(|byte| b"[{.".contains(byte)).count();
    text.lines().enumerate().max_by_key(|(number, line)| (opened(line), std::cmp::Reverse(*number))).map_or(1, |(number, _)| number + 1)
}

/// The right key that is nearest to the unknown one that serde complains of.
fn nearest(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted.map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min().map(|(_, known)| known.to_owned())
}

/// The word of a list that a path's last part is nearly, as a question.
pub fn meant(path: &str, words: &[&str]) -> String {
    let last = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
    let near = words.iter().find(|word| strsim::damerau_levenshtein(last, word) <= 1);
    near.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod fuzzed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_does_not_take_is_named() {
        let read = |more: &str| parse(&format!("data-dir = \"d\"\n{more}")).expect("parses");
        let other = read("[rpc]\nlisten = \"127.0.0.1:1\"\n[capacity]\nparts = 64\n[log]\nlevel = \"debug\"");
        assert_eq!(read("").fixed_differences(&other), ["[rpc]", "[capacity]"]);
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let example = parse(EXAMPLE).expect("the example parses");
        assert_eq!(example.rpc, RpcConfig::default());
        assert_eq!((&example.log, &example.capacity), (&LogConfig::default(), &CapacityConfig::default()));
        let chain = &example.chains[0];
        assert_eq!((chain.sealing, chain.history, chain.controls), (Sealing::default(), HistoryConfig::default(), false));
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
    fn tables_that_are_too_deep_name_their_line() {
        let error = parse(&format!("data-dir = \"d\"\n[{}]\nx = 1\n", ["a"; 1_000].join("."))).expect_err("too deep").to_string();
        assert!(error.contains("recursion limit at line 2"), "{error}");
    }

    #[test]
    fn a_wrong_value_says_what_is_right() {
        let with = |line: &str| parse(&format!("data-dir = \"d\"\n[[chain]]\nname = \"a\"\ngenesis = \"g\"\n{line}\n"));
        for (line, hint) in [
            ("sealing = \"2h\"", "500ms"),
            ("history = 0", "archive"),
            ("history = -1", "history: -1; use \"archive\""),
            ("history = true", "a number or a text"),
            ("history = \"0MiB\"", "a size as"),
            ("history = \"2 parsecs\"", "history: 2 parsecs; use \"archive\""),
            ("memory = -5", "64MiB"),
            ("slice = 1.5", "medium"),
            ("name2 = 1", "did you mean `name`"),
            ("slice = \"tiny\"", "medium"),
            ("memory = \"much\"", "64MiB"),
            ("memory = 4.5", "invalid size \"4.5\""),
            ("bandwidth = 4.0", "a whole number of bytes"),
            ("storage = \"4.5\"", "1.5GB"),
            ("pool-bytes = 1e9", "a whole number of bytes"),
            ("history = 7.0", "history: 7.0; use"),
        ] {
            let error = with(line).expect_err(line).to_string();
            assert!(error.contains(hint) && error.contains("line 5"), "{error}");
        }
        for (line, history) in [("history = \"2GiB\"", HistoryConfig::Within(2 << 30)), ("history = \"7\"", HistoryConfig::Last(7))] {
            assert_eq!(with(line).expect(line).chains[0].history, history);
        }
        let sizes =
            parse("data-dir = \"d\"\n[rpc]\nrequest-bytes = \"1.5MiB\"\n[capacity]\nbandwidth = 7\nkeep-free = \"2kB\"").expect("sizes");
        assert_eq!((sizes.rpc.request_bytes, sizes.capacity.bandwidth, sizes.capacity.keep_free), (3 << 19, 7, 2_000));
        assert!(with("sealing = \"250ms\"").is_ok_and(|config| config.chains[0].sealing.to_string() == "250ms"));
    }
}
