//! What a connection may cost: times, windows and numbers of streams.

use std::time::Duration;

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::handshake::CHAINS_MAX;

/// How long a silent connection is believed alive, and how often one that has nothing to say says so.
const IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// From the first packet to the end of the greetings.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// What a peer may send on a stream before it is read: at 50 ms there and back this is 80 MB/s.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same on all streams of a connection. A chain that does not read its stream leaves the others room.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Longest packet that is tried: what Ethernet's jumbo frames carry. Where the way between two nodes takes no such packets, a few probes are lost.
const DATAGRAM_BYTES_MAX: u16 = 8_952;
/// Questions of a peer at once.
const REQUESTS_MAX: u32 = 64;

pub(crate) fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    transport
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        // One for each chain and purpose.
        .max_concurrent_uni_streams(VarInt::from_u32(u32::try_from(4 * CHAINS_MAX).unwrap_or(u32::MAX)))
        // The greeting's, and those of questions.
        .max_concurrent_bidi_streams(VarInt::from_u32(1 + REQUESTS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        // Streams of one purpose in the order they were written to: an answer that is whole is worth more than parts of many, and whoever reads it
        // wakes less often. Slices are kept before anything is written.
        .send_fairness(false)
        // Nothing here fits a datagram or may be lost.
        .datagram_receive_buffer_size(None);
    transport
}
