//! Chains inside a test, through alloy.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, TransactionRequest},
};
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
