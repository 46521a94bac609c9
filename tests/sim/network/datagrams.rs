//! Datagrams between simulated hosts, which `quinn` takes for UDP. Datagrams are late, lost, doubled, overtake each
//! other, or are cut off. Each host has a link of bounded bandwidth with a bounded queue in front of it. Time passes in
//! milliseconds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use quinn::{
    AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::Notify, time::Instant};

use super::memory::{Owner, Scope, owned};

/// How long a datagram waits for its host's link at most; then the queue is full.
const QUEUED_MAX: Duration = Duration::from_millis(100);
/// Datagrams that a host was sent and has not read; then they are lost, as of a socket's buffer.
const UNREAD_MAX: usize = 2_048;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Between two hosts, at least and at most: datagrams overtake each other.
    pub latency_ms: (u64, u64),
    /// Of a thousand datagrams, so many are lost.
    pub lost: u32,
    /// And so many arrive twice.
    pub doubled: u32,
    /// Longer datagrams are lost.
    pub bytes_max: usize,
}

struct Flight {
    arrives: Instant,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Box<[u8]>,
}

impl Flight {
    fn order(&self) -> (Instant, u64) {
        (self.arrives, self.number)
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

struct Link {
    bytes_per_second: u64,
    free_at: Instant,
}

struct State {
    random: StdRng,
    weather: Weather,
    ports: BTreeMap<SocketAddr, Arc<Port>>,
    links: BTreeMap<IpAddr, Link>,
    /// Hosts of two sides that do not reach each other, while the network is cut. All others reach both.
    apart: [BTreeSet<IpAddr>; 2],
    flights: BinaryHeap<Reverse<Flight>>,
    sent: u64,
    /// Bytes in the name of addresses that there are not, and bytes that were sent to them.
    forged: BTreeMap<SocketAddr, (u64, u64)>,
}

/// All links.
#[derive(Clone)]
pub(crate) struct Internet {
    state: Arc<Mutex<State>>,
    sooner: Arc<Notify>,
}

impl Internet {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed ^ 0xda7a),
            weather,
            ports: BTreeMap::new(),
            links: BTreeMap::new(),
            apart: Default::default(),
            flights: BinaryHeap::new(),
            sent: 0,
            forged: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), sooner: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A host's link.
    pub(crate) fn connect(&self, host: IpAddr, bytes_per_second: u64) {
        self.state().links.insert(host, Link { bytes_per_second, free_at: Instant::now() });
    }

    /// A port of a host that has a link.
    pub(crate) fn port(&self, address: SocketAddr) -> Arc<Port> {
        let _scope = Scope::of(Owner::Simulation);
        let port = Arc::new(Port { internet: self.clone(), address, inner: Mutex::default() });
        self.state().ports.insert(address, port.clone());
        port
    }

    /// Cuts hosts off from others, whom all but these reach.
    pub(crate) fn cut(&self, apart: [BTreeSet<IpAddr>; 2]) {
        self.state().apart = apart;
    }

    /// For each address that there is not: bytes in its name, and bytes sent to it.
    pub(crate) fn forged(&self) -> Vec<(u64, u64)> {
        self.state().forged.values().copied().collect()
    }

    /// Datagrams sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// Sends a datagram over the link of `host`, in the name of `from`.
    pub(crate) fn send(&self, host: IpAddr, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let _scope = Scope::of(Owner::Simulation);
        let (mut state, now) = (self.state(), Instant::now());
        let state = &mut *state;
        let Some(link) = state.links.get_mut(&host) else { return };
        if link.free_at.saturating_duration_since(now) > QUEUED_MAX {
            return;
        }
        let length = bytes.len() as u64;
        link.free_at = link.free_at.max(now) + Duration::from_nanos(length * 1_000_000_000 / link.bytes_per_second);
        let leaves = link.free_at;
        state.sent += 1;
        if from.ip() != host && !state.ports.contains_key(&from) {
            state.forged.entry(from).or_default().0 += length;
        } else if !state.ports.contains_key(&to)
            && let Some(forged) = state.forged.get_mut(&to)
        {
            forged.1 += length;
        }
        let Weather { latency_ms: (least, most), lost, doubled, bytes_max } = state.weather;
        let [one, other] = &state.apart;
        let to_host = to.ip();
        let cut = one.contains(&host) && other.contains(&to_host) || other.contains(&host) && one.contains(&to_host);
        if cut || bytes.len() > bytes_max || state.random.random_ratio(lost, 1_000) {
            return;
        }
        let copies = if state.random.random_ratio(doubled, 1_000) { 2 } else { 1 };
        for copy in 0..copies {
            let number = state.sent * 2 + copy;
            let arrives = leaves + Duration::from_micros(state.random.random_range(least * 1_000..=most * 1_000));
            let first = state.flights.peek().is_none_or(|first| arrives < first.0.arrives);
            state.flights.push(Reverse(Flight { arrives, number, from, to, bytes: bytes.into() }));
            if first {
                self.sooner.notify_one();
            }
        }
    }

    /// Carries datagrams for as long as it is polled.
    pub(crate) async fn carry(self) {
        loop {
            let next = self.state().flights.peek().map(|flight| flight.0.arrives);
            match next {
                None => self.sooner.notified().await,
                Some(at) if at > Instant::now() => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                Some(_) => self.deliver(),
            }
        }
    }

    fn deliver(&self) {
        let (port, flight) = {
            let mut state = self.state();
            let Some(Reverse(flight)) = state.flights.pop() else { return };
            (state.ports.get(&flight.to).cloned(), flight)
        };
        if let Some(port) = port {
            port.take(flight.from, flight.bytes);
        }
    }
}

#[derive(Default)]
struct Inner {
    unread: VecDeque<(SocketAddr, Box<[u8]>)>,
    reader: Option<Waker>,
    sent: u64,
    /// Says nothing more after so many datagrams.
    mute_after: Option<u64>,
    /// The first datagrams, where they are kept.
    kept: Option<Vec<(SocketAddr, Box<[u8]>)>>,
}

/// A simulated socket.
pub(crate) struct Port {
    internet: Internet,
    address: SocketAddr,
    inner: Mutex<Inner>,
}

impl Port {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say nothing more after so many datagrams.
    pub(crate) fn mute_after(&self, datagrams: u64) {
        self.inner().mute_after = Some(datagrams);
    }

    /// Keeps what it sends from now on, instead of sending it.
    pub(crate) fn keep(&self) {
        self.inner().kept = Some(Vec::new());
    }

    /// What it kept.
    pub(crate) fn kept(&self) -> Vec<Box<[u8]>> {
        self.inner().kept.iter().flatten().map(|(_, bytes)| bytes.clone()).collect()
    }

    fn take(&self, from: SocketAddr, bytes: Box<[u8]>) {
        let mut inner = self.inner();
        if inner.unread.len() < UNREAD_MAX {
            inner.unread.push_back((from, bytes));
        }
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.address)
    }
}

impl AsyncUdpSocket for Port {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let _scope = Scope::of(Owner::Simulation);
        let mut inner = self.inner();
        inner.sent += 1;
        if let Some(kept) = &mut inner.kept {
            kept.push((transmit.destination, transmit.contents.into()));
        } else if inner.mute_after.is_none_or(|most| inner.sent <= most) {
            drop(inner);
            self.internet.send(self.address.ip(), self.address, transmit.destination, transmit.contents);
        }
        Ok(())
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffers: &mut [io::IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        let mut read = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some((from, bytes)) = inner.unread.pop_front() else { break };
            // As a socket does: what does not fit is cut off.
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            *meta = RecvMeta { addr: from, len: length, stride: length, ecn: None, dst_ip: None };
            read += 1;
        }
        if read > 0 {
            return Poll::Ready(Ok(read));
        }
        inner.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// A full queue loses datagrams: a simulated socket can always be written to.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The clock of a run, and what runs the tasks of an endpoint: a task that could go on is at times put behind all
/// others that can, so that tasks come in orders in which threads would run them.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    owner: Owner,
    random: Arc<Mutex<StdRng>>,
    polls: Arc<AtomicU64>,
}

/// Of so many times that a task could go on, it is put behind others once.
const PASSED_OVER: u32 = 8;

impl Clock {
    pub(super) fn new(owner: Owner, seed: u64) -> Self {
        Self { owner, random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))), polls: Arc::default() }
    }

    /// How often any task went on.
    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }
}

/// A task of an endpoint.
struct Task {
    clock: Clock,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.clock.polls.fetch_add(1, Ordering::Relaxed);
        if self.clock.random.lock().unwrap().random_ratio(1, PASSED_OVER) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

impl Runtime for Clock {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::spawn(owned(self.owner, Task { clock: self.clone(), future })));
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}
