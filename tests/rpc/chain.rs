//! A dev chain and its first client, for tests that ask one thing after the other.

use serde_json::{Value, json};
use subnode_tests::{
    http::{self, Client},
    process::Dev,
};

/// A dev chain, its first client, and its accounts.
pub(crate) struct Chain {
    pub(crate) node: Dev,
    pub(crate) client: Client,
    pub(crate) accounts: Vec<String>,
}

impl Chain {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let node = Dev::start(arguments).unwrap();
        let mut client = node.client().unwrap();
        let accounts = serde_json::from_value(client.call("eth_accounts", &json!([])).unwrap()).unwrap();
        Self { node, client, accounts }
    }

    /// The result of a call that succeeds.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.client.ask(method, &params).unwrap().unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// The error of a call that fails.
    pub(crate) fn error(&mut self, method: &str, params: Value) -> Value {
        match self.client.ask(method, &params).unwrap() {
            Err(error) => error,
            Ok(result) => panic!("{method} {params} answered {result}"),
        }
    }

    pub(crate) fn quantity(&mut self, method: &str, params: Value) -> u64 {
        quantity(&self.call(method, params))
    }

    pub(crate) fn receipt(&mut self, hash: &Value) -> Value {
        self.call("eth_getTransactionReceipt", json!([hash]))
    }

    /// Deploys this code, in hexadecimal; its address.
    pub(crate) fn deploy(&mut self, code: &str) -> String {
        let length = code.len() / 2;
        let init = format!("0x60{length:02x}600c60003960{length:02x}6000f3{code}");
        let from = self.accounts[0].clone();
        let hash = self.call("eth_sendTransaction", json!([{ "from": from, "data": init, "gas": "0x100000" }]));
        if self.receipt(&hash).is_null() {
            self.call("evm_mine", json!([]));
        }
        self.receipt(&hash)["contractAddress"].as_str().unwrap().to_owned()
    }
}

/// A quantity in an answer.
pub(crate) fn quantity(value: &Value) -> u64 {
    http::quantity(value).unwrap_or_else(|| panic!("{value} is no quantity"))
}
