//! What gas costs on a chain, and what one sender may have of a chain where gas costs nothing: `config.subnode.fees` of a genesis file.
//!
//! | value | base fee |
//! |---|---|
//! | `"eip1559"` (default) | moves with use, by at most an eighth per block |
//! | `"zero"`, or `{"zero": {"senderTransactions": n, "senderGas": n}}` | 0 for ever |
//! | `{"fixed": wei}` | this price per gas, for ever |
//!
//! Where gas costs nothing, a price keeps nobody from taking all of it. There a [`Quota`] does, in three places:
//! - Admission refuses a nonce that is [`Quota::transactions`] or more ahead of the account's, so no sender has more of them in the pool.
//! - No transaction may ask for more than [`Quota::gas`]. This is a rule of the chain, as EIP-7825's cap is (`Spec::tx_gas_max`).
//! - A block that is built has at most [`Quota::gas`] of one sender while others have transactions that fit. What others leave unused is
//!   anyone's ([`Shares`]). This is no rule of the chain: a proposer that ignores it makes valid blocks.

use alloy_primitives::{Address, U256, map::HashMap};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// Transactions of one sender in the pool, where the file says nothing else.
const SENDER_TRANSACTIONS: u64 = 256;
/// Transactions that the host's pool keeps of one sender (`PoolLimits::per_sender`).
const SENDER_TRANSACTIONS_MAX: u64 = 16_384;
/// Parts of a block's gas limit of which one sender has one, where the file says nothing else: a contract of EIP-170's size still fits into
/// a block of 30 million gas.
const GAS_PARTS: u64 = 2;
/// What the cheapest transaction costs (Yellow Paper, appendix G): less is nothing.
const SENDER_GAS_MIN: u64 = 21_000;

/// What gas costs, as a chain's spec keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fees {
    #[default]
    Eip1559,
    Zero(Quota),
    /// Wei per gas; not 0.
    Fixed(u64),
}

/// What one sender may have of a chain without fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Transactions in the pool.
    pub transactions: u64,
    /// Gas of a transaction, and of a block while others wait.
    pub gas: u64,
}

/// `config.subnode.fees` as a genesis file writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    #[default]
    Eip1559,
    Zero {
        transactions: Option<u64>,
        gas: Option<u64>,
    },
    Fixed(u64),
}

impl Asked {
    /// The fees of a chain whose blocks have this gas limit at first.
    pub fn fees(self, gas_limit: u64) -> Result<Fees, String> {
        let within = |key: &str, value: u64, least: u64, most: u64| {
            let fits = (least..=most).contains(&value);
            fits.then_some(value).ok_or_else(|| format!("config.subnode.fees.zero.{key}: {value}; use {least} to {most}"))
        };
        Ok(match self {
            Self::Eip1559 => Fees::Eip1559,
            Self::Fixed(price) => Fees::Fixed(price),
            Self::Zero { transactions, gas } => {
                let default = (gas_limit / GAS_PARTS).max(SENDER_GAS_MIN);
                Fees::Zero(Quota {
                    transactions: within("senderTransactions", transactions.unwrap_or(SENDER_TRANSACTIONS), 1, SENDER_TRANSACTIONS_MAX)?,
                    gas: match gas {
                        Some(gas) => within("senderGas", gas, SENDER_GAS_MIN, gas_limit.max(SENDER_GAS_MIN))?,
                        None => default,
                    },
                })
            }
        })
    }
}

/// What is allowed, for errors.
const ALLOWED: &str =
    r#"use "eip1559", "zero", {"zero": {"senderTransactions": 256, "senderGas": 15000000}} or {"fixed": 1000000000}, in wei per gas"#;

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        asked(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn asked(value: &Value) -> Result<Asked, String> {
    let wrong = || format!("{value}; {ALLOWED}");
    let of_object = |object: &Map<String, Value>| {
        let mut entries = object.iter();
        match (entries.next(), entries.next()) {
            (Some((key, price)), None) if key == "fixed" => match number(price) {
                Some(0) => Err("a fixed price of 0; use \"zero\" for a chain without fees".to_owned()),
                Some(price) => Ok(Asked::Fixed(price)),
                None => Err(format!("fixed: {price}; use wei per gas, 1 to {}", u64::MAX)),
            },
            (Some((key, Value::Object(quota))), None) if key == "zero" => zero(quota),
            _ => Err(wrong()),
        }
    };
    match value {
        Value::String(name) if name == "eip1559" => Ok(Asked::Eip1559),
        Value::String(name) if name == "zero" => Ok(Asked::Zero { transactions: None, gas: None }),
        Value::Object(object) => of_object(object),
        _ => Err(wrong()),
    }
}

fn zero(quota: &Map<String, Value>) -> Result<Asked, String> {
    let (mut transactions, mut gas) = (None, None);
    for (key, value) in quota {
        let slot = match key.as_str() {
            "senderTransactions" => &mut transactions,
            "senderGas" => &mut gas,
            _ => return Err(format!("zero.{key}: unknown; use senderTransactions and senderGas")),
        };
        *slot = Some(number(value).ok_or_else(|| format!("zero.{key}: {value}; use a whole number that is not negative"))?);
    }
    Ok(Asked::Zero { transactions, gas })
}

/// A number as genesis files write it: in JSON, or as decimal or hexadecimal text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse::<U256>().ok()?.try_into().ok(),
        _ => None,
    }
}

impl Fees {
    /// The base fee of genesis, of which the file says this or nothing.
    pub fn genesis_base_fee(self, given: Option<u128>) -> Result<u64, String> {
        let (own, name) = match self {
            Self::Eip1559 => {
                let fee = given.unwrap_or(u128::from(alloy_eips::eip1559::INITIAL_BASE_FEE));
                return fee.try_into().map_err(|_| "baseFeePerGas: too large".to_owned());
            }
            Self::Zero(_) => (0, "zero"),
            Self::Fixed(price) => (price, "fixed"),
        };
        match given {
            Some(other) if other != u128::from(own) => {
                Err(format!("baseFeePerGas: {other}, but config.subnode.fees is {name}; leave it out, or put {own}"))
            }
            _ => Ok(own),
        }
    }

    /// The base fee of every block, where it does not move.
    pub fn constant(self) -> Option<u64> {
        match self {
            Self::Eip1559 => None,
            Self::Zero(_) => Some(0),
            Self::Fixed(price) => Some(price),
        }
    }

    /// What a sender may have, where gas costs nothing.
    pub fn quota(self) -> Option<Quota> {
        match self {
            Self::Zero(quota) => Some(quota),
            Self::Eip1559 | Self::Fixed(_) => None,
        }
    }
}

impl Quota {
    /// Whether a transaction of this nonce may wait in the pool, for a sender whose account has the other.
    pub fn admits(self, sender: Address, nonce: u64, next: u64) -> Result<(), String> {
        if nonce.saturating_sub(next) < self.transactions {
            return Ok(());
        }
        Err(format!(
            "too many transactions of one sender on a chain without fees: address {sender}, tx nonce {nonce}, next nonce {next}, limit {}; \
             wait until a block has some of them",
            self.transactions
        ))
    }
}

/// How much of the block that is built each sender has, and what waits for others to be served first.
pub struct Shares<T> {
    quota: Quota,
    used: HashMap<Address, u64>,
    /// In order. Bound: [`Self::gas_left`] and [`Self::bytes_left`].
    aside: Vec<T>,
    waiting: HashMap<Address, ()>,
    /// What may still be put aside: no more than one block holds.
    gas_left: u64,
    bytes_left: usize,
}

/// What to do with a transaction that the pool offers.
#[derive(Debug, PartialEq, Eq)]
pub enum Share {
    /// Its sender's share has room.
    Now,
    /// Others first: [`Shares::put_aside`] it.
    Later,
    /// Its sender has put aside more than a block holds.
    Never,
}

impl<T> Shares<T> {
    /// For a block of this gas and so many bytes.
    pub fn new(quota: Quota, gas: u64, bytes: usize) -> Self {
        Self { quota, used: HashMap::default(), aside: Vec::new(), waiting: HashMap::default(), gas_left: gas, bytes_left: bytes }
    }

    /// What becomes of the next transaction of a sender, which may take this gas and so many bytes.
    pub fn of(&mut self, sender: Address, gas: u64, bytes: usize) -> Share {
        let used = self.used.get(&sender).copied().unwrap_or_default();
        if !self.waiting.contains_key(&sender) && used.saturating_add(gas) <= self.quota.gas {
            return Share::Now;
        }
        let (Some(gas_left), Some(bytes_left)) = (self.gas_left.checked_sub(gas), self.bytes_left.checked_sub(bytes)) else {
            return Share::Never;
        };
        (self.gas_left, self.bytes_left) = (gas_left, bytes_left);
        // What follows depends on it.
        self.waiting.insert(sender, ());
        Share::Later
    }

    /// A transaction of this sender is in the block and took this gas.
    pub fn took(&mut self, sender: Address, gas: u64) {
        *self.used.entry(sender).or_default() += gas;
    }

    pub fn put_aside(&mut self, transaction: T) {
        self.aside.push(transaction);
    }

    /// What was put aside, in order: for once nobody else has anything that fits.
    pub fn into_aside(self) -> Vec<T> {
        self.aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: Value) -> Result<Fees, String> {
        asked(&value)?.fees(30_000_000)
    }

    #[test]
    fn a_file_says_one_of_three_things() {
        assert_eq!(parsed(json!("eip1559")), Ok(Fees::Eip1559));
        assert_eq!(parsed(json!("zero")), Ok(Fees::Zero(Quota { transactions: 256, gas: 15_000_000 })));
        let quota = json!({ "zero": { "senderTransactions": "0x10", "senderGas": 21_000 } });
        assert_eq!(parsed(quota), Ok(Fees::Zero(Quota { transactions: 16, gas: 21_000 })));
        assert_eq!(parsed(json!({ "zero": {} })), parsed(json!("zero")));
        for price in [json!(7), json!("7"), json!("0x7")] {
            assert_eq!(parsed(json!({ "fixed": price })), Ok(Fees::Fixed(7)));
        }
    }

    #[test]
    fn anything_else_is_named_with_what_is_allowed() {
        for (value, texts) in [
            (json!("free"), ["\"free\"", "\"eip1559\", \"zero\""]),
            (json!(null), ["null", "\"eip1559\""]),
            (json!(0), ["0; use", "\"zero\""]),
            (json!(["zero"]), ["[\"zero\"]", "use"]),
            (json!({}), ["{}", "\"fixed\""]),
            (json!({ "fixed": 1, "zero": {} }), ["\"fixed\":1", "use"]),
            (json!({ "fixed": -1 }), ["fixed: -1", "wei per gas"]),
            (json!({ "fixed": 1.5 }), ["fixed: 1.5", "wei per gas"]),
            (json!({ "fixed": "lots" }), ["fixed: \"lots\"", "1 to 18446744073709551615"]),
            (json!({ "fixed": "0x10000000000000000" }), ["0x10000000000000000", "1 to 18446744073709551615"]),
            (json!({ "fixed": 0 }), ["a fixed price of 0", "\"zero\""]),
            (json!({ "zero": 5 }), ["{\"zero\":5}", "senderGas"]),
            (json!({ "zero": { "senderGas": -5 } }), ["zero.senderGas: -5", "not negative"]),
            (json!({ "zero": { "senderGas": 20_999 } }), ["senderGas: 20999", "21000 to 30000000"]),
            (json!({ "zero": { "senderGas": 30_000_001 } }), ["senderGas: 30000001", "21000 to 30000000"]),
            (json!({ "zero": { "senderTransactions": 0 } }), ["senderTransactions: 0", "1 to 16384"]),
            (json!({ "zero": { "gas": 1 } }), ["zero.gas: unknown", "senderTransactions and senderGas"]),
        ] {
            let error = parsed(value.clone()).expect_err("refused");
            assert!(texts.iter().all(|text| error.contains(text)), "{value}: {error}");
        }
    }

    #[test]
    fn a_base_fee_that_the_chain_cannot_have_is_refused() {
        let zero = parsed(json!("zero")).expect("fees");
        assert_eq!((zero.genesis_base_fee(None), zero.genesis_base_fee(Some(0))), (Ok(0), Ok(0)));
        assert!(zero.genesis_base_fee(Some(7)).expect_err("refused").contains("baseFeePerGas: 7, but config.subnode.fees is zero"));
        assert_eq!((Fees::Fixed(9).genesis_base_fee(None), Fees::Fixed(9).genesis_base_fee(Some(9))), (Ok(9), Ok(9)));
        assert!(Fees::Fixed(9).genesis_base_fee(Some(7)).expect_err("refused").contains("put 9"));
        assert_eq!(Fees::Eip1559.genesis_base_fee(None), Ok(1_000_000_000));
        assert_eq!(Fees::Eip1559.genesis_base_fee(Some(7)), Ok(7));
    }

    #[test]
    fn a_sender_beyond_its_share_waits_with_all_that_follows() {
        let [one, other] = [1, 2].map(Address::repeat_byte);
        let mut shares = Shares::new(Quota { transactions: 9, gas: 100 }, 150, 1000);
        assert_eq!(shares.of(one, 60, 1), Share::Now);
        shares.took(one, 50);
        assert_eq!(shares.of(one, 50, 1), Share::Now, "what was not used is not counted");
        shares.took(one, 50);
        assert_eq!(shares.of(one, 60, 1), Share::Later);
        shares.put_aside(1);
        assert_eq!(shares.of(one, 0, 1), Share::Later, "in the sender's order");
        shares.put_aside(2);
        assert_eq!(shares.of(other, 100, 1), Share::Now);
        assert_eq!(shares.of(one, 91, 1), Share::Never, "no more is kept than one block holds");
        assert_eq!(shares.of(one, 1, 999), Share::Never);
        assert_eq!(shares.into_aside(), [1, 2]);
    }

    #[test]
    fn a_nonce_too_far_ahead_is_refused_with_its_sender() {
        let quota = Quota { transactions: 3, gas: 100 };
        let sender = Address::repeat_byte(7);
        assert_eq!((quota.admits(sender, 5, 5), quota.admits(sender, 7, 5)), (Ok(()), Ok(())));
        let error = quota.admits(sender, 8, 5).expect_err("refused");
        for text in ["one sender", &sender.to_string(), "tx nonce 8", "next nonce 5", "limit 3", "wait until"] {
            assert!(error.contains(text), "{error}");
        }
    }
}
