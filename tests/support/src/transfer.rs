use alloy::{
    consensus::{SignableTransaction, TxLegacy},
    eips::Encodable2718,
    primitives::{Address, TxKind, U256, hex},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::{Value, json};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};

use crate::http::Client;

/// The chain id of [`crate::operator::GENESIS`].
const CHAIN_ID: u64 = 7;

/// One of the usual ten accounts, which signs what it sends.
pub struct Sender {
    chain_id: u64,
    signer: PrivateKeySigner,
    /// Of its next transaction.
    pub nonce: u64,
}

impl Sender {
    /// The account at this place.
    ///
    /// # Panics
    /// Beyond the usual ten.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self::on(CHAIN_ID, index)
    }

    /// The same on a chain of another id.
    ///
    /// # Panics
    /// Beyond the usual ten.
    #[must_use]
    pub fn on(chain_id: u64, index: usize) -> Self {
        let accounts: Vec<Account> = accounts(DEFAULT_MNEMONIC, 10).expect("a good mnemonic");
        Self { chain_id, signer: accounts[index].signer.clone(), nonce: 0 }
    }

    /// Who it is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// Signs its next transaction, to a contract and with so much gas.
    ///
    /// # Errors
    /// Where it cannot sign.
    pub fn sign(&mut self, to: Address, gas_limit: u64, data: Vec<u8>) -> anyhow::Result<String> {
        let transaction = TxLegacy {
            chain_id: Some(self.chain_id),
            nonce: self.nonce,
            gas_price: 10_000_000_000,
            gas_limit,
            to: TxKind::Call(to),
            value: U256::ZERO,
            input: data.into(),
        };
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash())?;
        self.nonce += 1;
        let envelope: alloy::consensus::TxEnvelope = transaction.into_signed(signature).into();
        Ok(hex::encode_prefixed(envelope.encoded_2718()))
    }

    /// Sends its next transaction, to nobody, with some data; its hash. One that is refused can be sent again.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn send(&mut self, client: &mut Client, data: Vec<u8>) -> anyhow::Result<Value> {
        let gas_limit = 21_000 + 16 * data.len() as u64;
        self.call(client, Address::repeat_byte(7), gas_limit, data)
    }

    /// The same, to a contract and with so much gas.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn call(&mut self, client: &mut Client, to: Address, gas_limit: u64, data: Vec<u8>) -> anyhow::Result<Value> {
        let signed = self.sign(to, gas_limit, data)?;
        let sent = client.call("eth_sendRawTransaction", &json!([signed]));
        if sent.is_err() {
            self.nonce -= 1;
        }
        sent
    }
}
