//! Chains inside a test, through alloy.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use alloy::{
    consensus::{SignableTransaction, TxLegacy},
    eips::Encodable2718,
    hex,
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, TransactionRequest},
    signers::{SignerSync, local::PrivateKeySigner},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use subnode_devnet::Devnet;
use subnode_tests::counter;

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_mined_and_moves_value() {
    let net = Devnet::builder().spawn().await.unwrap();
    let chain = net.chain(0);
    let provider = chain.provider();
    let to = Address::repeat_byte(0x77);
    let request = TransactionRequest::default().with_to(to).with_value(U256::from(5));
    let receipt = provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.block_number, Some(1));
    assert_eq!(provider.get_balance(to).await.unwrap(), U256::from(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_deployed_called_and_heard() {
    let net = Devnet::builder().chains(2).spawn().await.unwrap();
    for chain in net.chains() {
        let provider = chain.provider();
        assert_eq!(provider.get_chain_id().await.unwrap(), chain.chain_id());
        let deploy = TransactionRequest::default().with_deploy_code(counter::init_code());
        let receipt = provider.send_transaction(deploy).await.unwrap().get_receipt().await.unwrap();
        let address = receipt.contract_address.unwrap();
        let bump = TransactionRequest::default().with_to(address);
        for count in 1..=3 {
            let receipt = provider.send_transaction(bump.clone()).await.unwrap().get_receipt().await.unwrap();
            assert_eq!(receipt.logs()[0].topics()[0], counter::TOPIC);
            assert_eq!(U256::from_be_slice(&receipt.logs()[0].data().data), U256::from(count));
        }
        let returned = provider.call(bump.clone()).await.unwrap();
        assert_eq!(U256::from_be_slice(&returned), U256::from(4));
        let logs = provider.get_logs(&Filter::new().address(address).from_block(0)).await.unwrap();
        assert_eq!(logs.len(), 3);
        let error = provider.call(bump.with_input(vec![1])).await.unwrap_err();
        let payload = error.as_error_resp().unwrap();
        assert_eq!((payload.code, payload.message.as_ref()), (3, "execution reverted: no data"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_brings_back_what_was() {
    let net = Devnet::builder().spawn().await.unwrap();
    let provider = net.chain(0).provider();
    let who = Address::repeat_byte(0x55);
    provider.anvil_set_balance(who, U256::from(1)).await.unwrap();
    let snapshot = provider.anvil_snapshot().await.unwrap();
    provider.anvil_set_balance(who, U256::from(2)).await.unwrap();
    provider.anvil_mine(Some(3), None).await.unwrap();
    assert_eq!(provider.get_block_number().await.unwrap(), 3);
    assert_eq!(provider.get_balance(who).await.unwrap(), U256::from(2));
    assert!(provider.anvil_revert(snapshot).await.unwrap());
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
    assert_eq!(provider.get_balance(who).await.unwrap(), U256::from(1));
    assert!(!provider.anvil_revert(snapshot).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_chains_end_when_they_are_dropped() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let net = Devnet::builder().chains(100).spawn().await.unwrap();
    let url = net.serve("127.0.0.1:0").await.unwrap();
    for chain in net.chains() {
        chain.call("evm_mine", "[]").await.unwrap();
        assert_eq!(chain.provider().get_block_number().await.unwrap(), 1);
    }
    assert!(tasks() > before);
    tokio::net::TcpStream::connect(url).await.unwrap();
    drop(net);
    let ended = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("tasks are left behind");
    assert!(tokio::net::TcpStream::connect(url).await.is_err(), "the port is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_run_gives_the_same_blocks() {
    let mut heads = Vec::new();
    for _ in 0..2 {
        let net = Devnet::builder().spawn().await.unwrap();
        let provider = net.chain(0).provider();
        for value in 1..5 {
            let request = TransactionRequest::default().with_to(Address::repeat_byte(9)).with_value(U256::from(value));
            provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
        }
        heads.push(net.chain(0).chain().head());
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_transactions_out_of_order_are_all_mined() {
    const EACH: u64 = 300;
    let net = Devnet::builder().answer_before_mining().gas_limit(100_000_000).spawn().await.unwrap();
    let chain = net.chain(0);
    let mut calls = Vec::new();
    for account in chain.accounts() {
        let signer = PrivateKeySigner::from_bytes(&account.secret()).unwrap();
        for nonce in 0..EACH {
            let transaction = TxLegacy {
                chain_id: Some(chain.chain_id()),
                nonce,
                gas_price: 20_000_000_000,
                gas_limit: 21_000,
                to: Address::repeat_byte(9).into(),
                ..TxLegacy::default()
            };
            let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
            calls.push(format!("[\"{}\"]", hex::encode_prefixed(transaction.into_signed(signature).encoded_2718())));
        }
    }
    calls.shuffle(&mut StdRng::seed_from_u64(1));
    let sent = futures_util::future::join_all(calls.iter().map(|params| chain.call("eth_sendRawTransaction", params))).await;
    assert!(sent.iter().all(Result::is_ok), "{:?}", sent.iter().find(|sent| sent.is_err()));
    let provider = chain.provider();
    let mined = async {
        for account in chain.accounts() {
            while provider.get_transaction_count(account.address).await.unwrap() < EACH {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), mined).await.expect("some wait for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_fees_serves_an_account_that_has_nothing() {
    let genesis = r#"{"config":{"chainId":9,"terminalTotalDifficulty":0,"shanghaiTime":0,"subnode":{"fees":"zero"}},
        "gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{}}"#;
    let net = Devnet::builder().genesis(genesis).spawn().await.unwrap();
    let provider = net.chain(0).provider();
    // Left to itself alloy offers a wei, which this account does not have.
    let deploy = TransactionRequest::default().with_deploy_code(counter::init_code());
    let error = provider.send_transaction(deploy.clone()).await.unwrap_err();
    assert!(error.as_error_resp().unwrap().message.contains("insufficient funds"), "{error}");
    let deploy = deploy.with_gas_price(provider.get_gas_price().await.unwrap()).with_nonce(0);
    let receipt = provider.send_transaction(deploy).await.unwrap().get_receipt().await.unwrap();
    assert_eq!((receipt.status(), receipt.effective_gas_price), (true, 0));
    assert_eq!(provider.get_balance(receipt.from).await.unwrap(), U256::ZERO);
    let head = provider.get_block(alloy::eips::BlockId::latest()).await.unwrap().unwrap();
    assert_eq!(head.header.base_fee_per_gas, Some(0));
}
