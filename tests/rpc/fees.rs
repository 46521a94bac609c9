//! Chains whose genesis says what gas costs and who creates contracts, as wallets and deployers see them. They are durable ones: nobody is
//! impersonated there, and no base fee is set by a developer.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxLegacy, TypedTransaction},
    eips::Encodable2718,
    primitives::{Address, Bytes, TxKind, U256, bytes, hex, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::{Value, json};
use subnode_devnet::{DEFAULT_MNEMONIC, accounts};
use subnode_tests::{
    http::Client,
    operator::{GENESIS, Home, Node},
};

use crate::chain::quantity;

/// Creates a contract of one instruction.
const CREATION: Bytes = bytes!("5f5f5360015ff3");
/// Creates a contract of what it is called with. Where that fails, it reverts with what the creation did.
const FACTORY: &str = "0x365f5f37365f5ff0806013573d5f5f3e3d5ffd5b5f5260205ff3";
const FACTORY_AT: Address = Address::repeat_byte(0xfa);
const DEPLOYERS: &str = "0x00000000000000000000000000000000005b0de1";
const GWEI: u128 = 1_000_000_000;

/// A genesis with more in its `config.subnode`, and blocks of this gas.
fn genesis(subnode: &Value, gas_limit: u64) -> String {
    let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
    for (key, value) in subnode.as_object().unwrap() {
        genesis["config"]["subnode"][key] = value.clone();
    }
    genesis["gasLimit"] = json!(format!("{gas_limit:#x}"));
    genesis["alloc"][FACTORY_AT.to_string()] = json!({ "balance": "0x0", "code": FACTORY });
    genesis.to_string()
}

/// A chain that seals when it is asked.
struct Chain {
    node: Node,
    client: Client,
    signers: Vec<PrivateKeySigner>,
    _home: Home,
}

impl Chain {
    fn start(subnode: &Value, gas_limit: u64) -> Self {
        let home = Home::new("").unwrap();
        let mut node = home.start().unwrap();
        let setup = json!({ "genesis": genesis(subnode, gas_limit), "sealing": "manual", "controls": true });
        node.operator.create("a", setup).unwrap();
        let client = node.chain("a").unwrap();
        let signers = accounts(DEFAULT_MNEMONIC, 10).unwrap().into_iter().map(|account| account.signer).collect();
        Self { node, client, signers, _home: home }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.client.call(method, params).unwrap()
    }

    /// What an error says.
    fn refusal(&mut self, method: &str, params: &Value) -> String {
        self.client.ask(method, params).unwrap().unwrap_err()["message"].as_str().unwrap().to_owned()
    }

    /// Signs a transaction of one of the usual accounts and sends it; its hash, or what the error says.
    fn send(&mut self, account: usize, transaction: impl Into<TypedTransaction>) -> Result<Value, String> {
        let transaction = transaction.into();
        let signer = &self.signers[account];
        let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
        let raw = hex::encode_prefixed(transaction.into_envelope(signature).encoded_2718());
        self.client.ask("eth_sendRawTransaction", &json!([raw])).unwrap().map_err(|error| error["message"].as_str().unwrap().to_owned())
    }

    fn mine(&mut self) {
        self.call("evm_mine", &json!([]));
    }

    fn receipt(&mut self, hash: &Value) -> Value {
        self.call("eth_getTransactionReceipt", &json!([hash]))
    }

    /// What wallets ask before they send.
    fn suggested(&mut self) -> [u64; 4] {
        let head = self.call("eth_getBlockByNumber", &json!(["latest", false]));
        let price = self.call("eth_gasPrice", &json!([]));
        let tip = self.call("eth_maxPriorityFeePerGas", &json!([]));
        let history = self.call("eth_feeHistory", &json!(["0x400", "latest", [50]]));
        let fees: Vec<u64> = history["baseFeePerGas"].as_array().unwrap().iter().map(quantity).collect();
        assert!(fees.len() > 1 && fees.iter().all(|fee| *fee == fees[0]), "{history}");
        [quantity(&head["baseFeePerGas"]), quantity(&price), quantity(&tip), fees[0]]
    }
}

fn legacy(nonce: u64, gas_price: u128, to: TxKind, input: Bytes) -> TxLegacy {
    TxLegacy { chain_id: Some(7), nonce, gas_price, gas_limit: 21_000, to, value: U256::ZERO, input }
}

fn transfer(nonce: u64, gas_price: u128) -> TxLegacy {
    legacy(nonce, gas_price, Address::repeat_byte(7).into(), Bytes::new())
}

#[test]
fn an_account_without_a_coin_uses_a_chain_without_fees() {
    let mut chain = Chain::start(&json!({ "fees": "zero" }), 100_000);
    assert_eq!(chain.suggested(), [0, 0, 0, 0]);
    let priced = TxEip1559 { chain_id: 7, nonce: 1, gas_limit: 21_000, to: Address::repeat_byte(7).into(), ..TxEip1559::default() };
    let sent = [chain.send(5, transfer(0, 0)).unwrap(), chain.send(5, priced).unwrap()];
    chain.mine();
    for hash in &sent {
        let receipt = chain.receipt(hash);
        assert_eq!((&receipt["status"], &receipt["effectiveGasPrice"]), (&json!("0x1"), &json!("0x0")), "{receipt}");
    }
    // Blocks that are full do not make it dearer.
    for nonce in [2, 4] {
        chain.send(5, transfer(nonce, 0)).unwrap();
        chain.send(5, transfer(nonce + 1, 0)).unwrap();
        chain.send(6, transfer(nonce - 2, 0)).unwrap();
        chain.send(6, transfer(nonce - 1, 0)).unwrap();
        chain.mine();
        assert_eq!(chain.call("eth_getBlockByNumber", &json!(["latest", false]))["gasUsed"], "0x14820");
        assert_eq!(chain.suggested(), [0, 0, 0, 0]);
    }
    let balance = chain.call("eth_getBalance", &json!([chain.signers[5].address(), "latest"]));
    assert_eq!(balance, "0x0");
    assert_eq!(chain.call("anvil_nodeInfo", &json!([]))["environment"]["gasPrice"], "0x0");
    let refused = chain.refusal("anvil_setNextBlockBaseFeePerGas", &json!(["0x5"]));
    assert!(refused.contains("always 0") && refused.contains("not 5"), "{refused}");
    // What a sender may have is no more than half a block.
    let refused = chain.send(5, TxLegacy { gas_limit: 50_001, ..transfer(6, 0) }).unwrap_err();
    assert!(refused.contains("cap: 50000, tx: 50001") && refused.contains("without fees"), "{refused}");
    let estimated = chain.refusal("eth_estimateGas", &json!([{ "from": chain.signers[5].address(), "data": "0x5b5f56" }]));
    assert!(estimated.contains("(50000)"), "{estimated}");
    assert!(chain.node.stop().unwrap());
}

#[test]
fn a_fixed_price_is_what_everybody_pays() {
    let mut chain = Chain::start(&json!({ "fees": { "fixed": "0x3b9aca07" } }), 100_000);
    let price = GWEI + 7;
    let all = [1_000_000_007, 1_000_000_007, 0, 1_000_000_007];
    assert_eq!(chain.suggested(), all);
    let refused = chain.send(0, transfer(0, price - 1)).unwrap_err();
    let said = format!("address {}, maxFeePerGas: {}, baseFee: {price}", chain.signers[0].address(), price - 1);
    assert!(refused.contains("max fee per gas less than block base fee") && refused.contains(&said), "{refused}");
    let hash = chain.send(0, transfer(0, price)).unwrap();
    for nonce in 1..4 {
        chain.send(0, transfer(nonce, price)).unwrap();
    }
    chain.mine();
    assert_eq!(chain.receipt(&hash)["effectiveGasPrice"], "0x3b9aca07");
    assert_eq!(chain.suggested(), all, "after a full block");
    chain.mine();
    assert_eq!(chain.suggested(), all, "after an empty one");
}

#[test]
fn a_sender_that_floods_a_chain_without_fees_keeps_nobody_out_of_a_block() {
    // A block has room for five transfers, three of them one sender's.
    let quota = json!({ "fees": { "zero": { "senderTransactions": 10, "senderGas": 63_000 } } });
    let mut chain = Chain::start(&quota, 105_000);
    let flooding = chain.signers[7].address();
    assert!(chain.signers.iter().all(|signer| signer.address() >= flooding), "the first in every list by address");
    for nonce in 0..10 {
        chain.send(7, transfer(nonce, 0)).unwrap();
    }
    let refused = chain.send(7, transfer(10, 0)).unwrap_err();
    for text in ["too many transactions of one sender", &flooding.to_string(), "tx nonce 10, next nonce 0, limit 10", "wait until"] {
        assert!(refused.contains(text), "{text:?} expected: {refused}");
    }
    let senders = |chain: &mut Chain| -> Vec<String> {
        chain.mine();
        let block = chain.call("eth_getBlockByNumber", &json!(["latest", true]));
        block["transactions"].as_array().unwrap().iter().map(|one| one["from"].as_str().unwrap().to_owned()).collect()
    };
    let name = |chain: &Chain, account: usize| format!("{:#x}", chain.signers[account].address());
    for round in 0..2 {
        for account in 1..4 {
            chain.send(account, transfer(round, 0)).unwrap();
        }
        let block = senders(&mut chain);
        for account in 1..4 {
            assert!(block.contains(&name(&chain, account)), "round {round}: {block:?} without {account}");
        }
        assert_eq!(block.iter().filter(|sender| **sender == format!("{flooding:#x}")).count(), 2, "{block:?}");
    }
    // Two of its ten were in each block: so many it may send now. When nobody else wants a block, it has all of it.
    chain.send(7, transfer(13, 0)).unwrap();
    chain.send(7, transfer(14, 0)).unwrap_err();
    assert_eq!(senders(&mut chain), vec![format!("{flooding:#x}"); 5]);
}

#[test]
fn those_on_the_list_create_contracts_and_others_are_told_who_can_help() {
    let home_accounts = accounts(DEFAULT_MNEMONIC, 3).unwrap();
    let [owner, listed, stranger] = [0, 1, 2].map(|account: usize| home_accounts[account].address);
    let mut chain = Chain::start(&json!({ "fees": "zero", "deployers": { "owner": owner, "allowed": [listed] } }), 30_000_000);
    let creation = |nonce: u64| TxLegacy { gas_limit: 100_000, ..legacy(nonce, 0, TxKind::Create, CREATION) };
    let manufacture = |nonce: u64| TxLegacy { gas_limit: 200_000, ..legacy(nonce, 0, FACTORY_AT.into(), CREATION) };
    let said =
        format!("{stranger} may not create contracts on this chain; its owner {owner} allows it by allow({stranger}) at {DEPLOYERS}");
    assert_eq!(chain.send(2, creation(0)).unwrap_err(), said.replace(DEPLOYERS, &DEPLOYERS.parse::<Address>().unwrap().to_string()));

    // Before it is sent a wallet hears the same, of a creation and of a factory, and of nobody's on the list.
    let request = |from: Address, to: Option<Address>| json!([{ "from": from, "to": to, "data": CREATION }]);
    for to in [None, Some(FACTORY_AT)] {
        for method in ["eth_estimateGas", "eth_call"] {
            let refused = chain.refusal(method, &request(stranger, to));
            assert!(refused.starts_with("execution reverted: ") && refused.contains(&said[..100]), "{method}: {refused}");
            chain.call(method, &request(listed, to));
        }
    }
    let created = chain.send(1, creation(0)).unwrap();
    let manufactured = [chain.send(1, manufacture(1)).unwrap(), chain.send(2, manufacture(0)).unwrap()];
    chain.mine();
    let receipt = chain.receipt(&created);
    assert_eq!(chain.call("eth_getCode", &json!([receipt["contractAddress"], "latest"])), "0x00");
    let statuses = manufactured.map(|hash| chain.receipt(&hash)["status"].clone());
    assert_eq!(statuses, ["0x1", "0x0"], "a factory creates for whom the list has");

    // The owner lets it in, and another out.
    let change = |nonce: u64, function: &str, argument: Address| {
        let data = [&keccak256(function)[..4], argument.into_word().as_slice()].concat();
        TxLegacy { gas_limit: 100_000, ..legacy(nonce, 0, DEPLOYERS.parse::<Address>().unwrap().into(), data.into()) }
    };
    let is_allowed = |chain: &mut Chain, account: Address| {
        let data = [&keccak256("isAllowed(address)")[..4], account.into_word().as_slice()].concat();
        chain.call("eth_call", &json!([{ "to": DEPLOYERS, "data": hex::encode_prefixed(data) }, "latest"])) == json!(format!("{:#066x}", 1))
    };
    assert_eq!([owner, listed, stranger].map(|account| is_allowed(&mut chain, account)), [false, true, false]);
    let theft = chain.send(2, change(1, "allow(address)", stranger)).unwrap();
    chain.send(0, change(0, "allow(address)", stranger)).unwrap();
    chain.send(0, change(1, "disallow(address)", listed)).unwrap();
    chain.mine();
    assert_eq!(chain.receipt(&theft)["status"], "0x0", "it is the owner's");
    assert_eq!([owner, listed, stranger].map(|account| is_allowed(&mut chain, account)), [false, false, true]);
    let created = chain.send(2, creation(2)).unwrap();
    assert!(chain.send(1, creation(2)).unwrap_err().contains(&format!("{listed} may not create")));
    chain.mine();
    assert_eq!(chain.receipt(&created)["status"], "0x1");
}
