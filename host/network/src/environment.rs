//! What an endpoint runs in. `subnode` gives it a UDP socket, tokio's clock and the system's randomness. A simulation
//! gives it datagrams, a clock that it moves, and a seed; all other code of this crate is the same.

use std::{net::SocketAddr, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

/// Where an endpoint's datagrams, time and random numbers come from.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Sends and receives datagrams.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Has timers, the time, and runs the tasks of connections. It must have the same time as tokio, whose timers this
    /// crate uses beside it.
    pub runtime: Arc<dyn Runtime>,
    /// What random numbers follow from: those of packets, and the waits between calls. None takes the system's. Keys
    /// that secure a connection are always the system's, and connection ids are.
    pub seed: Option<[u8; 32]>,
}

impl Environment {
    /// A UDP socket at an address, in the runtime of tokio that this is called in.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub fn system(listen: SocketAddr) -> std::io::Result<Self> {
        let socket = TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(listen)?)?;
        Ok(Self { socket, runtime: Arc::new(TokioRuntime), seed: None })
    }
}
