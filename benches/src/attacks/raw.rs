//! Endpoints that speak the network's protocol by hand, to say what `subnode_network` itself would never say.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use subnode_chain_core::wire::{self, Asked, Question};
use subnode_network::{ChainKey, NodeKey};
use subnode_types::{NodeId, Purpose};

use crate::attacks::member::NETWORK;

/// The protocol's version.
const VERSION: u16 = 1;
/// Questions that a peer may have open at once.
const QUESTIONS: usize = 64;
/// Before a connection that is refused is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How an endpoint breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Says that frames follow that are far too long.
    Lengths,
    /// Begins the longest frames, and does not end them.
    HalfFrames,
    /// Asks, and reads neither answers nor anything else.
    NeverReads,
    /// Connects, greets, and leaves, over and over.
    Reconnects,
}

/// Breaks the rules towards one node, until it is dropped.
pub(crate) async fn attack(raw: Raw, key: NodeKey, chain: ChainKey, to: NodeId, address: SocketAddr) {
    loop {
        // Being refused is part of it.
        if let Err(error) = once(raw, &key, chain, to, address).await {
            tracing::debug!(%error, "refused");
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn once(raw: Raw, key: &NodeKey, chain: ChainKey, to: NodeId, address: SocketAddr) -> anyhow::Result<()> {
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut config = ClientConfig::new(Arc::new(key.client(to)?));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    let connection = endpoint.connect_with(config, address, "subnode")?.await?;
    // The greeting's stream stays open as long as the connection.
    let _greeted = greet(&connection, chain).await?;
    match raw {
        Raw::Lengths => lengths(&connection, chain).await?,
        Raw::HalfFrames => half_frames(&connection, chain).await?,
        Raw::NeverReads => never_read(&connection, chain).await?,
        Raw::Reconnects => connection.close(0_u32.into(), b"bye"),
    }
    endpoint.wait_idle().await;
    Ok(())
}

/// Says the protocol's version, the network, and a chain; waits for an answer.
async fn greet(connection: &Connection, chain: ChainKey) -> anyhow::Result<(SendStream, RecvStream)> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let hello = [&VERSION.to_be_bytes()[..], &[u8::try_from(NETWORK.len())?], NETWORK.as_bytes(), &chain.0].concat();
    send.write_all(&[&u32::try_from(hello.len())?.to_be_bytes()[..], &hello].concat()).await?;
    receive.read_exact(&mut [0; 4]).await?;
    Ok((send, receive))
}

fn header(chain: ChainKey, purpose: Purpose) -> Vec<u8> {
    [&chain.0[..], &[purpose as u8]].concat()
}

async fn lengths(connection: &Connection, chain: ChainKey) -> anyhow::Result<()> {
    loop {
        for purpose in Purpose::OF_CHAIN {
            let mut stream = connection.open_uni().await?;
            stream.write_all(&[header(chain, purpose), u32::MAX.to_be_bytes().to_vec(), vec![7; 1 << 10]].concat()).await?;
            stream.finish()?;
        }
    }
}

async fn half_frames(connection: &Connection, chain: ChainKey) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for purpose in Purpose::OF_CHAIN {
        let length = subnode_network::frame_bytes_max(purpose);
        let mut stream = connection.open_uni().await?;
        stream.write_all(&[header(chain, purpose), u32::try_from(length)?.to_be_bytes().to_vec(), vec![7; length / 2]].concat()).await?;
        streams.push(stream);
    }
    connection.closed().await;
    Ok(())
}

async fn never_read(connection: &Connection, chain: ChainKey) -> anyhow::Result<()> {
    let mut unread = Vec::new();
    for height in (0..QUESTIONS as u64).cycle() {
        let (mut ask, answer) = connection.open_bi().await?;
        let question = wire::encode(&Question::Block(Asked::Decided(height)));
        ask.write_all(&[header(chain, Purpose::Blocks), u32::try_from(question.len())?.to_be_bytes().to_vec(), question].concat()).await?;
        ask.finish()?;
        unread.push(answer);
    }
    Ok(())
}
