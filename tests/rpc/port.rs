//! Clients that keep the port busy without asking it anything: each is closed after its time, and what it made the port hold is given back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use subnode_devnet::Devnet;
use subnode_rpc::RpcLimits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What is not closed until then is never closed.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Limits of which a test shortens the one it is about.
fn patient() -> RpcLimits {
    RpcLimits { header_within: LONG, body_within: LONG, taken_within: LONG, ping_every: LONG, ..RpcLimits::DEFAULT }
}

/// A chain behind a port with these limits.
struct Port {
    _net: Devnet,
    address: SocketAddr,
    shutdown: CancellationToken,
}

impl Port {
    async fn new(limits: RpcLimits) -> Self {
        let net = Devnet::builder().spawn().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(subnode_rpc::serve(Arc::clone(net.node()), listener, limits, shutdown.clone()));
        Self { _net: net, address, shutdown }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that has sent this.
    async fn said(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The status and the body of the answer to a request, on a connection of its own.
    async fn post(&self, body: &[u8]) -> (u16, Value) {
        let mut stream = self.said(&head(body.len())).await;
        stream.write_all(body).await.unwrap();
        let heard = heard(&mut stream).await;
        let (head, body) = heard.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn head(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

/// What a connection hears until it is closed.
async fn heard(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    // One that is reset has been closed as well.
    drop(timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the connection stays open"));
    String::from_utf8_lossy(&heard).into_owned()
}

fn call(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// A call whose answer has some KB, and no room where the port may hold few.
fn genesis() -> Value {
    call("eth_getBlockByNumber", &json!(["0x0", true]))
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let port = Port::new(RpcLimits { header_within: SHORT, ..patient() }).await;
    for said in ["", "POST / HTTP/1.1\r\nhost: lo"] {
        assert_eq!(heard(&mut port.said(said).await).await, "", "{said:?}");
    }
    // It is kept open after an answer, and then closed.
    let answered = heard(&mut port.said("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
}

#[tokio::test]
async fn a_request_that_does_not_end_is_refused() {
    let port = Port::new(RpcLimits { body_within: SHORT, ..patient() }).await;
    let answered = heard(&mut port.said(&format!("{}{{", head(1_000))).await).await;
    assert!(answered.starts_with("HTTP/1.1 408") && answered.contains("took longer"), "{answered}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answers_is_closed() {
    let port = Port::new(RpcLimits { taken_within: SHORT, ..patient() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(port.address).await.unwrap();
    // More than both systems' buffers have room for.
    let request = json!(vec![genesis(); 1_000]).to_string();
    let head = head(request.len()).replace("connection: close\r\n", "");
    let (mut reads, mut writes) = stream.split();
    let mut answers = 0;
    let asks = async {
        for _ in 0..64 {
            // The port closes the connection meanwhile.
            if writes.write_all(format!("{head}{request}").as_bytes()).await.is_err() {
                return;
            }
        }
        panic!("the port takes requests and is rid of answers");
    };
    timeout(PATIENCE, asks).await.expect("the connection is closed");
    let mut taken = vec![0; 1 << 16];
    while let Ok(bytes) = reads.read(&mut taken).await {
        if bytes == 0 {
            break;
        }
        answers += taken[..bytes].windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count();
    }
    assert!(answers < 64, "{answers} answers");
}

#[tokio::test]
async fn what_the_port_holds_is_bounded_and_given_back() {
    // An address has half.
    let port = Port::new(RpcLimits { held_bytes: 64 << 10, ..patient() }).await;
    let padded = |bytes: usize| format!("{}{}", genesis(), " ".repeat(bytes));
    for _ in 0..3 {
        let (status, refused) = port.post(padded(40 << 10).as_bytes()).await;
        assert_eq!((status, &refused["error"]["code"]), (503, &json!(-32005)), "{refused}");
        let (status, answered) = port.post(padded(20 << 10).as_bytes()).await;
        assert!(status == 200 && answered["result"].is_object(), "{answered}");
    }
    // Of a batch, as many calls are answered as there is room for.
    let (status, batch) = port.post(json!(vec![genesis(); 100]).to_string().as_bytes()).await;
    let answers = batch.as_array().unwrap();
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == -32005).count();
    assert!(status == 200 && answers.len() == 100 && (1..100).contains(&refused), "{refused} refused");
    let (_, answered) = port.post(padded(20 << 10).as_bytes()).await;
    assert!(answered["result"].is_object(), "{answered}");
}

#[tokio::test]
async fn a_message_that_never_ends_is_counted_as_it_arrives() {
    let port = Port::new(RpcLimits { held_bytes: 64 << 10, ..patient() }).await;
    let mut socket = port.said(UPGRADE).await;
    // A masked text of a MiB, of which a part arrives.
    socket.write_all(&[&[0x81, 0xff][..], &(1_u64 << 20).to_be_bytes(), &[0; 4], &vec![b' '; 40 << 10]].concat()).await.unwrap();
    let answered = heard(&mut socket).await;
    assert!(answered.starts_with("HTTP/1.1 101"), "{answered}");
    let (status, _) = port.post(genesis().to_string().as_bytes()).await;
    assert_eq!(status, 200, "what it held is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_whose_client_is_silent_is_closed_and_one_that_answers_pings_is_not() {
    let port = Port::new(RpcLimits { ping_every: SHORT, ..patient() }).await;
    let address = port.address;
    let answers = tokio::task::spawn_blocking(move || {
        let (mut socket, _) = tungstenite::connect(format!("ws://{address}")).unwrap();
        // The pong to each goes out with the next read.
        for _ in 0..8 {
            assert!(socket.read().unwrap().is_ping());
        }
        socket.send(call("eth_chainId", &json!([])).to_string().into()).unwrap();
        loop {
            let message = socket.read().unwrap();
            if message.is_text() {
                break message.to_text().unwrap().contains("result");
            }
        }
    });
    let silent = heard(&mut port.said(UPGRADE).await).await;
    assert!(silent.starts_with("HTTP/1.1 101"), "{silent}");
    assert!(answers.await.unwrap(), "a client that lives is answered");
}
