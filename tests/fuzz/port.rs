//! Bytes on connections to the port: HTTP that is whole, in pieces or none, and WebSockets. What is answered is right, and others are answered.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use subnode_devnet::Devnet;
use subnode_fuzzer::{Fuzz, alone, kind};
use subnode_tests::http::Client;

use crate::framing::{WORDS, checked_all, samples};

/// What is not heard until then is never heard.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests from one check that the port serves others to the next.
const BETWEEN_CHECKS: u64 = 100;
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Asked behind a message: its answer says that the message was read.
const LAST: &[u8] = br#"{"id":"last","method":"eth_chainId"}"#;
const HEAD: &str = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";

struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Says something. A port that has heard enough may have closed.
    fn say(&mut self, parts: &[&[u8]]) {
        drop(self.0.write_all(&parts.concat()));
    }

    /// What comes until the port closes, where it is told that nothing follows. It may close before it has answered then.
    fn heard_to_the_end(self) -> Vec<u8> {
        drop(self.0.shutdown(Shutdown::Write));
        self.heard()
    }

    /// What comes until the port closes.
    fn heard(mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut heard) {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "a connection that stays open");
        }
        heard
    }

    /// The next frame of a WebSocket: its first byte, and what it carries. None once it is closed.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.read(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.read(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.read(&mut length)?;
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            short => usize::from(short),
        };
        assert!(length <= 64 << 20, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        Some((head[0], payload))
    }

    fn read(&mut self, into: &mut [u8]) -> Option<()> {
        match self.0.read_exact(into) {
            Ok(()) => Some(()),
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "a WebSocket that does not answer");
                None
            }
        }
    }

    fn upgraded(address: SocketAddr) -> Self {
        let mut connection = Self::open(address);
        connection.say(&[UPGRADE]);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read(&mut byte).unwrap();
            head.extend(byte);
        }
        connection
    }
}

/// A frame of a client, under a mask that changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first, 0x80 | 127], &length[..], &[0; 4], payload].concat()
}

/// The status of an answer, and its body.
fn split(answer: &[u8]) -> (u16, &[u8]) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    (head[9..12].parse().unwrap(), &answer[end + 4..])
}

/// The kind of an answer to a whole request.
fn answered(answer: &[u8]) -> u64 {
    let (status, body) = split(answer);
    assert_eq!(status, 200, "{:.200}", String::from_utf8_lossy(answer));
    if body.is_empty() { 1 } else { checked_all(body) }
}

/// Says a message on a WebSocket; the kind of what it is answered with.
fn conversed(address: SocketAddr, first: u8, message: &[u8]) -> u64 {
    let mut connection = Connection::upgraded(address);
    connection.say(&[&masked(first, message), &masked(0x81, LAST)]);
    let mut heard = 0;
    // What is no message closes the connection.
    while let Some((0x81, text)) = connection.frame() {
        let is_last = text.starts_with(br#"{"jsonrpc":"2.0","id":"last""#);
        if !is_last {
            heard ^= checked_all(&text);
        } else {
            return heard;
        }
    }
    2
}

#[test]
fn fuzzed_connections_are_answered_or_closed() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let net = runtime.block_on(Devnet::builder().manual_sealing().answer_before_mining().spawn()).unwrap();
    let address = runtime.block_on(net.serve("127.0.0.1:0")).unwrap();
    let mut asked = 0_u64;
    let requests = samples(8 << 10).into_iter().flat_map(|body| (0..5).map(move |way| [&[way], &body[..]].concat()));
    let heads = [UPGRADE, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"POST /chain/dev1 HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"];
    let heads = heads.into_iter().map(|head| [&[2], head].concat());
    let words = ["content-length: ", "transfer-encoding: chunked\r\n", "\r\n", "expect: 100-continue\r\n", "HTTP/1.1", "/chain/", "\u{81}"];
    let fuzz = Fuzz::new("port", 16 << 10).samples(requests).samples(heads).words(WORDS).words(words);
    fuzz.run(|input| {
        let (way, bytes) = input.split_first().map_or((0, input), |(way, bytes)| (way % 6, bytes));
        asked += 1;
        if asked.is_multiple_of(BETWEEN_CHECKS) {
            let mut client = Client::connect(address).unwrap();
            checked_all(client.post(LAST).unwrap());
        }
        let connection = || Connection::open(address);
        let of_this_way = match way {
            0 => {
                let mut connection = connection();
                connection.say(&[HEAD.as_bytes(), format!("content-length: {}\r\n\r\n", bytes.len()).as_bytes(), bytes]);
                answered(&connection.heard())
            }
            1 => {
                let mut connection = connection();
                let piece = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                let pieces: Vec<u8> = bytes.chunks(1_000).flat_map(piece).collect();
                connection.say(&[HEAD.as_bytes(), b"transfer-encoding: chunked\r\n\r\n", &pieces, b"0\r\n\r\n"]);
                answered(&connection.heard())
            }
            2 => {
                let mut connection = connection();
                connection.say(&[bytes]);
                let heard = connection.heard_to_the_end();
                if heard.is_empty() { 0 } else { u64::from(split(&heard).0) }
            }
            3 => conversed(address, 0x81, bytes),
            4 => conversed(address, 0x82, bytes),
            _ => {
                let mut connection = Connection::upgraded(address);
                connection.say(&[bytes]);
                let heard = connection.heard_to_the_end();
                kind(heard.first())
            }
        };
        kind((way, of_this_way))
    });
    drop(net);
}
