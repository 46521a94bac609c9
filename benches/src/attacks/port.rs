//! One client that takes much of the port of a member's: connections that say nothing or little, and requests of many bytes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    attacks::{
        COLUMNS, SETTLES, Seen,
        net::{NODES, Net},
        runtime, sealing,
    },
    options::Length,
    report::Report,
};

/// Connections that do nothing, or next to nothing.
const CONNECTIONS: usize = 1_500;
/// Connections that post, and what each posts at once: a little less than the longest request.
const POSTING: usize = 8;
const BODY_BYTES: usize = 9 << 20;
/// A slow client sends a byte so often.
const BYTE_EVERY: Duration = Duration::from_secs(1);
/// One that was closed comes again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Where the client is, so that those who measure are of another address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HEAD: &[u8] = b"POST /chain/chain1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ";

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ADDRESS, 0)))?;
    socket.connect(to).await
}

/// Holds a connection, and another one when that is closed, until it is dropped.
async fn hold(to: SocketAddr, slow: bool) {
    loop {
        if let Ok(mut stream) = connect(to).await {
            if slow {
                let mut words = HEAD.iter().cycle();
                // One byte of a request after the other.
                while let Some(byte) = words.next()
                    && stream.write_all(&[*byte]).await.is_ok()
                {
                    tokio::time::sleep(BYTE_EVERY).await;
                }
            } else {
                // Nothing comes until it is closed.
                drop(stream.read(&mut [0; 64]).await);
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Posts requests of the longest kind, one after the other, and reads what is answered.
async fn post(to: SocketAddr, posted: Arc<AtomicU64>) {
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[""#;
    let body = [&call[..], &vec![b'7'; BODY_BYTES], b"\"]}"].concat();
    let request = [HEAD, body.len().to_string().as_bytes(), b"\r\n\r\n", &body].concat();
    loop {
        if let Ok(mut stream) = connect(to).await {
            let mut answer = vec![0; 1 << 16];
            while stream.write_all(&request).await.is_ok() {
                posted.fetch_add(request.len() as u64, Ordering::Relaxed);
                if !stream.read(&mut answer).await.is_ok_and(|read| read > 0) {
                    break;
                }
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// What one client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greed {
    Connections { slow: bool },
    Bytes(u64),
}

fn beside(greed: Greed, length: Length) -> anyhow::Result<(Seen, u64)> {
    let (rounds, time) = (length.of(1, 3, 5), Duration::from_secs(length.of(5, 10, 20)));
    let runtime = runtime()?;
    let mut net = Net::start(NODES, sealing())?;
    net.begin()?;
    let to = net.files.address(0);
    let (mut seen, posted) = (Seen::default(), Arc::new(AtomicU64::new(0)));
    for round in 1..=rounds {
        std::thread::sleep(SETTLES);
        let quiet = net.watch(time, || true)?;
        let mut doing = JoinSet::new();
        let enough = match greed {
            Greed::Connections { slow } => {
                for _ in 0..CONNECTIONS {
                    doing.spawn_on(hold(to, slow), runtime.handle());
                }
                0
            }
            Greed::Bytes(bytes) => {
                for _ in 0..POSTING {
                    doing.spawn_on(post(to, posted.clone()), runtime.handle());
                }
                bytes * round / rounds
            }
        };
        std::thread::sleep(SETTLES);
        let loud = net.watch(time, || posted.load(Ordering::Relaxed) >= enough)?;
        runtime.block_on(doing.shutdown());
        seen.push(quiet, loud);
    }
    Ok((seen, posted.load(Ordering::Relaxed)))
}

pub(super) fn run(length: Length) -> anyhow::Result<()> {
    let bytes: u64 = length.of(100_000_000, 1_000_000_000, 10_000_000_000);
    let mut report = Report::new("A committee of four, and one client of a member's port", COLUMNS);
    for (name, greed) in [
        ("1500 connections that say nothing", Greed::Connections { slow: false }),
        ("1500 connections that say a byte a second", Greed::Connections { slow: true }),
        ("requests of 9 MiB", Greed::Bytes(bytes)),
    ] {
        let (seen, posted) = beside(greed, length)?;
        report.row(&seen.cells(name));
        if posted > 0 {
            eprintln!("{} MB were posted", posted / 1_000_000);
        }
    }
    report.finish();
    Ok(())
}
