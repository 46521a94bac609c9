//! An alloy provider without a socket.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use alloy::{
    network::EthereumWallet,
    providers::{
        Identity, ProviderBuilder, RootProvider,
        fillers::{BlobGasFiller, ChainIdFiller, FillProvider, GasFiller, JoinFill, NonceFiller, WalletFiller},
    },
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, ResponsePacket},
    },
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use subnode_chain::Chain;
use subnode_rpc::RpcLimits;
use tower::Service;

use crate::Account;

type Fillers = JoinFill<GasFiller, JoinFill<BlobGasFiller, JoinFill<NonceFiller, ChainIdFiller>>>;

/// An alloy provider with a wallet.
pub type DevProvider = FillProvider<JoinFill<JoinFill<Identity, Fillers>, WalletFiller<EthereumWallet>>, RootProvider>;

/// How often alloy asks for a receipt. A dev chain usually has it at the first time.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Calls a chain in this process, as alloy's transport.
#[derive(Clone)]
pub struct ChainTransport {
    chain: Chain,
}

impl ChainTransport {
    /// A transport to this chain.
    #[must_use]
    pub fn new(chain: Chain) -> Self {
        Self { chain }
    }
}

impl Service<RequestPacket> for ChainTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> TransportFut<'static> {
        let chain = self.chain.clone();
        Box::pin(async move {
            let body = serde_json::to_vec(&request).map_err(TransportError::ser_err)?;
            let answer = subnode_rpc::answer(&chain, &body, None, &RpcLimits::DEFAULT).await;
            let answer = answer.ok_or_else(|| TransportErrorKind::custom_str("no answer to a notification"))?;
            serde_json::from_slice(&answer).map_err(|error| TransportError::deser_err(error, String::from_utf8_lossy(&answer)))
        })
    }
}

pub(crate) fn provider(chain: &Chain, accounts: &[Account]) -> DevProvider {
    let mut wallet = EthereumWallet::default();
    for account in accounts.iter().rev() {
        // The last one registered is the default signer: the first account.
        wallet.register_default_signer(account.signer.clone());
    }
    let client = RpcClient::new(ChainTransport::new(chain.clone()), true).with_poll_interval(POLL_INTERVAL);
    ProviderBuilder::new().wallet(wallet).connect_client(client)
}
