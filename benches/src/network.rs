//! The network against raw quinn, in one process, over loopback: what chains cost on one connection, whether slices
//! are kept, and whether consensus waits behind bulk traffic.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use subnode_network::{ChainKey, Inboxes, Incoming, Membership, Network, NetworkOptions, NodeKey, Purpose};
use subnode_scheduler::Bandwidth;
use subnode_types::NodeId;
use tokio::task::JoinSet;

use crate::ratio::{Pairs, quantile};

/// Bytes of a transfer, and of an answer: pieces of states are so long.
pub(crate) const TRANSFER_BYTES: u64 = 256 << 20;
const ANSWER_BYTES: usize = 512 << 10;
/// Questions on their way at once, of all chains; at least one of each.
pub(crate) const AT_ONCE: usize = 16;
const ROUNDS: usize = 5;
const SLICES: [u64; 3] = [8 << 20, 16 << 20, 32 << 20];
const SHARED_FOR: Duration = Duration::from_secs(8);
/// Consensus frames whose delay is measured, and how far apart.
const FRAMES: u64 = 1_000;
const FRAME_EVERY: Duration = Duration::from_millis(4);
const FRAME_BYTES: usize = 300;

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Two nodes that have these chains, with so many bytes per second each.
struct Pair {
    nodes: [Network; 2],
    asking: Vec<Membership>,
    answering: Vec<Membership>,
    inboxes: Vec<Inboxes>,
}

impl Pair {
    async fn open(bandwidths: &[u64]) -> anyhow::Result<Self> {
        let open = || -> anyhow::Result<Network> {
            let options = NetworkOptions { listen: loopback(), network: "bench".into(), strangers_max: 1 };
            Ok(Network::open(NodeKey::from_secret(NodeKey::new_secret()?)?, options)?)
        };
        let nodes = [open()?, open()?];
        let members = BTreeMap::from([(nodes[0].id(), None), (nodes[1].id(), Some(nodes[1].address()?))]);
        let (mut asking, mut answering, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, bandwidth) in (0_u8..).zip(bandwidths) {
            let key = ChainKey([index; 32]);
            let (membership, inbox) = nodes[0].join(key, members.clone(), Arc::new(Bandwidth::new(*bandwidth)))?;
            asking.push(membership);
            inboxes.push(inbox);
            let (membership, inbox) =
                nodes[1].join(key, BTreeMap::from([(nodes[0].id(), None), (nodes[1].id(), None)]), Arc::new(Bandwidth::new(*bandwidth)))?;
            answering.push(membership);
            inboxes.push(inbox);
        }
        while asking.iter().any(|membership| membership.connected().is_empty()) || answering.iter().any(|one| one.connected().is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self { nodes, asking, answering, inboxes })
    }

    /// Answers questions with so many bytes, and hands frames on.
    fn answer(&mut self, heard: &Arc<impl Fn(Bytes) + Send + Sync + 'static>) {
        for mut inbox in self.inboxes.drain(..) {
            let heard = heard.clone();
            tokio::spawn(async move {
                let answer = Bytes::from(vec![7; ANSWER_BYTES]);
                while let Some(incoming) = inbox.next().await {
                    match incoming {
                        Incoming::Request(request) => request.answer(answer.clone()),
                        Incoming::Frame(received) => heard(received.frame),
                    }
                }
            });
        }
    }

    fn other(&self) -> NodeId {
        self.nodes[1].id()
    }

    /// Asks on all chains at once until `enough` says so; the bytes of each chain's answers.
    async fn ask(self: &Arc<Self>, enough: impl Fn(u64) -> bool + Send + Sync + 'static) -> anyhow::Result<Vec<u64>> {
        let chains = self.asking.len();
        let got: Arc<Vec<AtomicU64>> = Arc::new((0..chains).map(|_| AtomicU64::new(0)).collect());
        let (total, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(enough));
        let mut asking = JoinSet::new();
        for worker in 0..AT_ONCE.max(chains) {
            let (pair, got, total, enough) = (self.clone(), got.clone(), total.clone(), enough.clone());
            asking.spawn(async move {
                let chain = worker % chains;
                while !enough(total.load(Ordering::Relaxed)) {
                    let question = Bytes::from_static(b"more");
                    // One that took too long for its slice is asked again.
                    if let Ok(answer) = pair.asking[chain].request(pair.other(), Purpose::Snapshot, question).await {
                        got[chain].fetch_add(answer.len() as u64, Ordering::Relaxed);
                        total.fetch_add(answer.len() as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended?;
        }
        Ok(got.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect())
    }

    async fn close(&self) {
        self.nodes[0].close().await;
        self.nodes[1].close().await;
    }
}

/// The same bytes in pieces of the same length by quinn alone, with the same cryptography: a stream for each piece, as many at once.
pub(crate) async fn raw(at_once: usize) -> anyhow::Result<Duration> {
    let (one, other) = (NodeKey::from_secret(NodeKey::new_secret()?)?, NodeKey::from_secret(NodeKey::new_secret()?)?);
    let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(other.server()?)), loopback())?;
    let client = Endpoint::client(loopback())?;
    let address = server.local_addr()?;
    let config = ClientConfig::new(Arc::new(one.client(other.id())?));
    let pieces = usize::try_from(TRANSFER_BYTES)? / ANSWER_BYTES;
    let sending = tokio::spawn(async move {
        let connection = server.accept().await.context("nobody calls")?.await?;
        let piece = Bytes::from(vec![7; ANSWER_BYTES]);
        let mut sending = JoinSet::new();
        for worker in 0..at_once {
            let (connection, piece) = (connection.clone(), piece.clone());
            sending.spawn(async move {
                for _ in (worker..pieces).step_by(at_once) {
                    let mut stream = connection.open_uni().await?;
                    stream.write_all_chunks(&mut [piece.clone()]).await?;
                    stream.finish()?;
                    // As an answer is waited for before the next question.
                    stream.stopped().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = sending.join_next().await {
            ended??;
        }
        connection.closed().await;
        anyhow::Ok(())
    });
    let connection = client.connect_with(config, address, "subnode")?.await?;
    let started = Instant::now();
    let mut reading = JoinSet::new();
    for _ in 0..pieces {
        let mut stream = connection.accept_uni().await?;
        reading.spawn(async move { stream.read_to_end(ANSWER_BYTES).await });
    }
    while let Some(read) = reading.join_next().await {
        read??;
    }
    let took = started.elapsed();
    connection.close(0_u32.into(), b"done");
    sending.await??;
    Ok(took)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn megabytes(bytes: u64, took: f64) -> f64 {
    bytes as f64 / took / 1e6
}

pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## network: {} MiB in pieces of 512 KiB over loopback, one process, against quinn alone\n", TRANSFER_BYTES >> 20);
    println!("| chains | MB/s | quinn MB/s | ratio (quartiles) |\n|---|---|---|---|");
    for chains in [1_usize, 16, 128] {
        let mut pairs = Pairs::new();
        for _ in 0..ROUNDS {
            let mut pair = Pair::open(&vec![u64::MAX; chains]).await?;
            pair.answer(&Arc::new(|_| {}));
            let pair = Arc::new(pair);
            let started = Instant::now();
            pair.ask(|total| total >= TRANSFER_BYTES).await?;
            let ours = started.elapsed();
            pair.close().await;
            pairs.push(ours, raw(AT_ONCE.max(chains)).await?);
        }
        let ((ours, theirs), (ratio, low, high)) = (pairs.medians(), pairs.speed());
        println!(
            "| {chains} | {:.0} | {:.0} | {ratio:.2} ({low:.2} to {high:.2}) |",
            megabytes(TRANSFER_BYTES, ours),
            megabytes(TRANSFER_BYTES, theirs)
        );
    }
    shares().await?;
    urgency().await
}

/// Busy chains of different slices.
async fn shares() -> anyhow::Result<()> {
    let mut pair = Pair::open(&SLICES).await?;
    pair.answer(&Arc::new(|_| {}));
    let pair = Arc::new(pair);
    let until = Instant::now() + SHARED_FOR;
    let got = pair.ask(move |_| Instant::now() >= until).await?;
    pair.close().await;
    println!("\nBusy chains for {} s, each with its slice of bandwidth:\n", SHARED_FOR.as_secs());
    println!("| slice, MB/s | used, MB/s | used of all | entitled to | ratio |\n|---|---|---|---|---|");
    let share = |part: u64, all: u64| megabytes(part, 1.0) / megabytes(all, 1.0);
    let (granted, used): (u64, u64) = (SLICES.iter().sum(), got.iter().sum());
    for (slice, got) in SLICES.into_iter().zip(got) {
        let (has, should) = (share(got, used), share(slice, granted));
        let rate = megabytes(got, SHARED_FOR.as_secs_f64());
        println!("| {:.1} | {rate:.1} | {:.1} % | {:.1} % | {:.3} |", megabytes(slice, 1.0), has * 100.0, should * 100.0, has / should);
    }
    Ok(())
}

/// A small frame of one chain's consensus beside another chain's bulk.
async fn urgency() -> anyhow::Result<()> {
    println!("\nA frame of consensus of {FRAME_BYTES} bytes, each {} ms, while another chain gets states:\n", FRAME_EVERY.as_millis());
    println!("| beside | p50, us | p99, us | p99 against quiet |\n|---|---|---|---|");
    let mut quiet = f64::NAN;
    for (beside, bulk) in [("nothing", None), ("64 MiB/s", Some(64 << 20)), ("all that fits", Some(u64::MAX))] {
        let bandwidths = [u64::MAX, bulk.unwrap_or(u64::MAX)];
        let mut pair = Pair::open(&bandwidths).await?;
        let began = Instant::now();
        let delays: Arc<std::sync::Mutex<Vec<f64>>> = Arc::default();
        let heard = {
            let delays = delays.clone();
            move |frame: Bytes| {
                let sent = frame.first_chunk().map(|sent| Duration::from_nanos(u64::from_be_bytes(*sent)));
                if let (Some(sent), Ok(mut delays)) = (sent, delays.lock()) {
                    delays.push((began.elapsed() - sent).as_secs_f64() * 1e6);
                }
            }
        };
        pair.answer(&Arc::new(heard));
        let pair = Arc::new(pair);
        let done = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        if bulk.is_some() {
            for _ in 0..AT_ONCE {
                let (pair, done) = (pair.clone(), done.clone());
                load.spawn(async move {
                    while !done.load(Ordering::Relaxed) {
                        drop(pair.asking[1].request(pair.other(), Purpose::Snapshot, Bytes::from_static(b"more")).await);
                    }
                });
            }
        }
        let mut ticks = tokio::time::interval(FRAME_EVERY);
        for _ in 0..FRAMES {
            ticks.tick().await;
            let mut frame = vec![0; FRAME_BYTES];
            let now = u64::try_from(began.elapsed().as_nanos())?;
            frame[..8].copy_from_slice(&now.to_be_bytes());
            // The way that the states come.
            if pair.answering[0].send(pair.nodes[0].id(), Purpose::Consensus, frame.into()).is_err() {
                anyhow::bail!("a frame of consensus was not taken");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        done.store(true, Ordering::Relaxed);
        while load.join_next().await.is_some() {}
        let delays = delays.lock().map(|delays| delays.clone()).unwrap_or_default();
        let (p50, p99) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
        if bulk.is_none() {
            quiet = p99;
        }
        println!("| {beside} | {p50:.0} | {p99:.0} | {:.2} |", p99 / quiet);
        pair.close().await;
    }
    Ok(())
}
