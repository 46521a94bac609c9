//! Accepted sockets: as many as may be open, as long as the node runs and their clients do something.
//!
//! HTTP/1 alone: a request at a time on a connection, so that connections bound requests.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use subnode_types::ChainName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    RpcLimits,
    held::{Account, Budget, Count, Held},
};

/// What is being answered at the shutdown is waited for as long: an operator waits, and a client that sends half a request would hold that up for
/// ever.
pub(crate) const DRAINS_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a connection that are read before its requests take them.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Serves until `shutdown`, then waits for the requests being answered, for a while. What is not answered then is, or is not, as its chain stops.
pub(crate) async fn serve(mut listener: BoundedListener, router: Router, header_within: Duration, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_within).max_buf_size(READ_BUFFER_BYTES);
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            connection = listener.accept() => connection,
        };
        connections.spawn(serve_one(connection, http.clone(), router.clone(), shutdown.clone()));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAINS_WITHIN, drained).await.is_err() {
        tracing::warn!("requests that were not answered within {DRAINS_WITHIN:?} are waited for no longer");
    }
}

async fn serve_one(connection: Connection, http: http1::Builder, router: Router, shutdown: CancellationToken) {
    let client = connection.client.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client.clone());
        TowerToHyperService::new(router.clone()).call(request)
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(connection), service).with_upgrades());
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whose a connection is.
#[derive(Clone)]
pub(crate) struct Client {
    address: Arc<OfAddress>,
    arrived: Arc<Mutex<Option<Held>>>,
}

impl Client {
    /// Who is charged for what this client asks of a chain.
    pub(crate) fn account(&self, budget: &Budget, chain: &ChainName) -> Account {
        budget.account(&self.address.held, chain)
    }

    /// Waits until the requests of this client's address that are read and answered leave room for one of so many bytes.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let units = bytes.div_ceil(ROOM_UNIT).min(self.address.room_units);
        // The semaphore is never closed.
        Room { _permit: self.address.room.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await.ok() }
    }

    /// Counts all bytes from here on, once the connection is a WebSocket: the port sees a message only when all of it has arrived.
    pub(crate) fn count_arrivals(&self, account: &Account) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held::of(account));
    }

    /// Hands over what was counted since the last time.
    pub(crate) fn take_arrived(&self) -> Held {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.as_mut().map(Held::take).unwrap_or_default()
    }
}

/// What requests of one address have together while they are read and answered, or the longest one alone. A module has several times a request's
/// bytes in memory while it answers.
const ROOM_BYTES: usize = 16 << 20;
/// What room is counted in.
const ROOM_UNIT: usize = 16 << 10;

/// Room that a request has until this is dropped.
pub(crate) struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A listener that holds back connections beyond a number, and closes those of one address beyond half of it: nobody closes the port for all others by
/// keeping connections open.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    of_addresses: Addresses,
    of_address_max: usize,
    budget: Arc<Budget>,
    room_units: usize,
    taken_within: Duration,
}

/// Bound: some 200 bytes for each open connection, of which there are so many as are configured.
type Addresses = Arc<Mutex<HashMap<IpAddr, Weak<OfAddress>>>>;

/// What one address has of the port. The map forgets it with its last connection.
struct OfAddress {
    address: IpAddr,
    open: AtomicUsize,
    held: Arc<Count>,
    /// For requests that are not short, so many units.
    room: Arc<Semaphore>,
    room_units: usize,
    all: Addresses,
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have taken its place meanwhile.
        if all.get(&self.address).is_some_and(|known| known.strong_count() == 0) {
            all.remove(&self.address);
        }
    }
}

/// A connection, and its place among those that may be open.
pub(crate) struct Connection {
    stream: TcpStream,
    client: Client,
    taken_within: Duration,
    /// Runs while the client takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
}

/// A connection's place among those of its address.
struct Place(Arc<OfAddress>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
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
    pub(crate) fn new(listener: TcpListener, connections: usize, budget: Arc<Budget>, limits: &RpcLimits) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(connections)),
            of_addresses: Arc::default(),
            of_address_max: connections.div_ceil(2),
            budget,
            room_units: limits.request_bytes.max(ROOM_BYTES).div_ceil(ROOM_UNIT),
            taken_within: limits.taken_within,
        }
    }

    /// A place for a connection from an address, or none where it has too many.
    fn place(&self, address: IpAddr) -> Option<Place> {
        let address = owner(address);
        let mut all = self.of_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&address).and_then(Weak::upgrade);
        let of_address = known.unwrap_or_else(|| {
            let held = Arc::new(self.budget.of_address());
            let (room, room_units) = (Arc::new(Semaphore::new(self.room_units)), self.room_units);
            let made = Arc::new(OfAddress { address, open: AtomicUsize::new(0), held, room, room_units, all: self.of_addresses.clone() });
            all.insert(address, Arc::downgrade(&made));
            made
        });
        drop(all);
        // Connections are accepted one after the other.
        if of_address.open.load(Ordering::Relaxed) >= self.of_address_max {
            return None;
        }
        of_address.open.fetch_add(1, Ordering::Relaxed);
        Some(Place(of_address))
    }

    /// The next connection.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn accept(&mut self) -> Connection {
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
                    let client = Client { address: place.0.clone(), arrived: Arc::default() };
                    return Connection { stream, client, taken_within: self.taken_within, stalled: None, _permit: permit, _place: place };
                }
                Err(error) => {
                    // Out of file descriptors, mostly: others must close first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Connection {
    /// What a write came to; an error where the client has taken nothing for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.taken_within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        let mut arrived = self.client.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.as_mut().is_none_or(|arrived| arrived.grow(bytes)) {
            return read;
        }
        Poll::Ready(Err(io::Error::other("the port holds as many bytes of its clients as it may")))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn client(units: usize) -> Client {
        let address = OfAddress {
            address: Ipv6Addr::LOCALHOST.into(),
            open: AtomicUsize::new(0),
            held: Arc::new(Count::new(0)),
            room: Arc::new(Semaphore::new(units)),
            room_units: units,
            all: Addresses::default(),
        };
        Client { address: Arc::new(address), arrived: Arc::default() }
    }

    #[test]
    fn long_requests_of_one_address_wait_for_each_other_and_the_longest_has_all_room() {
        let client = client(ROOM_BYTES.div_ceil(ROOM_UNIT));
        let first = client.room(9 << 20).now_or_never();
        assert!(first.is_some() && client.room(6 << 20).now_or_never().is_some());
        let mut second = Box::pin(client.room(9 << 20));
        assert!(second.as_mut().now_or_never().is_none(), "the first has more than half of the room");
        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
        assert!(client.room(64 << 20).now_or_never().is_some(), "one that is longer than all room waits for all of it alone");
    }
}
