//! Accepted sockets: as many as may be open, and as long as the node runs.

use std::{
    collections::HashMap,
    fmt::Debug,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// What is being answered at the shutdown is waited for as long: an operator waits, and a client that sends half a request would hold that up for
/// ever.
pub(crate) const DRAINS_WITHIN: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, then waits for the requests being answered, for a while. What is not answered then is, or is not, as its chain stops.
pub(crate) async fn serve<L: Listener>(listener: L, router: Router, shutdown: CancellationToken) -> io::Result<()>
where
    L::Addr: Debug,
{
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAINS_WITHIN).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_long => {
            tracing::warn!("requests that were not answered within {DRAINS_WITHIN:?} are waited for no longer");
            Ok(())
        }
    }
}

/// A listener that holds back connections beyond a number, and closes those of one address beyond half of it: nobody closes the port for all others by
/// keeping connections open.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    of_addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    of_address_max: usize,
}

/// A connection, and its place among those that may be open.
pub(crate) struct Connection {
    stream: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
}

/// A connection's place among those of its address.
struct Place {
    address: IpAddr,
    of_addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.of_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// What stands for whoever has an address: of IPv6 the network, as each has all of one.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, connections: usize) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(connections)),
            of_addresses: Arc::default(),
            of_address_max: connections.div_ceil(2),
        }
    }

    /// A place for a connection from an address, or none where it has too many.
    fn place(&self, address: IpAddr) -> Option<Place> {
        let address = owner(address);
        let mut all = self.of_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.entry(address).or_default();
        if *open >= self.of_address_max {
            return None;
        }
        *open += 1;
        Some(Place { address, of_addresses: self.of_addresses.clone() })
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed.
        let permit = self.permits.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let Some(place) = self.place(address.ip()) else {
                        tracing::debug!(%address, most = self.of_address_max, "an address has too many connections: one more is closed");
                        continue;
                    };
                    // Without it a small answer waits for the client's acknowledgement of the one before.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    return (Connection { stream, _permit: permit, _place: place }, address);
                }
                Err(error) => {
                    // Out of file descriptors, mostly: others must close first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
