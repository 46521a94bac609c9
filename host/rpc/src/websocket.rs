//! One WebSocket: calls and notifications on one connection.
//!
//! A future of its own sends what waits. So a client that reads slowly holds no call up: its calls end, and give back what they have of the
//! chain. No more is read of it while [`RpcLimits::calls_per_socket`] calls are answered or answers wait.
//!
//! Bytes of a message are counted from when they arrive until its call is answered, and bytes of an answer until it is sent. The transport keeps
//! a buffer of the longest answer that it sent, which is counted until the socket is closed.

use std::{collections::VecDeque, pin::pin, sync::Arc};

use axum::{
    body::Bytes,
    extract::ws::{Message, Utf8Bytes, WebSocket},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{FuturesUnordered, SplitSink},
};
use subnode_chain::{Chain, Session, charged};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    RpcLimits,
    connection::Client,
    framing,
    held::{Account, Held},
};

/// A message to send, and what is counted for it.
type Outgoing = (Message, Held);

/// What a WebSocket has of its port.
pub(crate) struct Port {
    pub(crate) client: Client,
    pub(crate) account: Account,
    pub(crate) limits: RpcLimits,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

/// Serves a client until it leaves, breaks the protocol, takes nothing, is silent, or the chain or the node stops.
pub(crate) async fn run(socket: WebSocket, chain: Chain, port: Port) {
    let limits = &port.limits;
    let (session, mut notifications) = Session::new(limits.notifications_per_socket, limits.notification_bytes_per_socket);
    let (sink, mut received) = socket.split();
    // Bound: one message, whose bytes are held of the port.
    let (next, taken) = mpsc::channel(1);
    let mut sending = pin!(send(sink, taken));
    let mut outgoing: VecDeque<Outgoing> = VecDeque::new();
    let mut calls = FuturesUnordered::new();
    let mut pings = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_heard = true;
    port.client.count_arrivals(&port.account);
    loop {
        let reads = calls.len() + outgoing.len() < limits.calls_per_socket;
        tokio::select! {
            // Answers first: the id of a subscription must arrive before its first notification.
            biased;
            () = port.shutdown.cancelled() => break,
            // The next of its name may have other blocks: the client connects again.
            () = chain.ends() => break,
            () = &mut sending => break,
            Ok(place) = next.reserve(), if !outgoing.is_empty() => {
                if let Some(message) = outgoing.pop_front() {
                    place.send(message);
                }
            }
            Some(answer) = calls.next(), if !calls.is_empty() => outgoing.extend(answer),
            Some(notification) = notifications.recv(), if outgoing.is_empty() => {
                let told = framing::notification(&notification);
                chain.traffic().send(told.len());
                // One at a time is here, beside those that the session counts.
                outgoing.push_back((text(told), Held::default()));
            }
            message = received.next(), if reads => {
                let message = match message {
                    Some(Ok(Message::Text(text))) => Bytes::from(text),
                    Some(Ok(Message::Binary(message))) => message,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        is_heard = true;
                        continue;
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                };
                is_heard = true;
                calls.push(call(&chain, &port, &session, message, port.client.take_arrived()));
            }
            _ = pings.tick() => {
                // Of a client that is not read, nothing can be heard.
                if !std::mem::take(&mut is_heard) && reads {
                    break;
                }
                // Where something waits, the client has so long to take it.
                if outgoing.is_empty() {
                    outgoing.push_back((Message::Ping(Bytes::new()), Held::default()));
                }
            }
        }
    }
}

/// The answer to a message, if it has one. `arrived` is what was counted for the message.
async fn call(chain: &Chain, port: &Port, session: &Session, message: Bytes, arrived: Held) -> Option<Outgoing> {
    chain.traffic().receive(message.len()).await;
    // The semaphore is never closed.
    let _permit = port.requests.acquire().await;
    let mut held = Held::of(&port.account);
    let answer = charged(chain.tenant(), framing::answer_held(chain, &message, Some(session), &port.limits, &mut held)).await;
    drop((message, arrived));
    let answer = answer?;
    chain.traffic().send(answer.len());
    Some((text(answer), held))
}

/// Sends what it is given until the client has left. A client that takes nothing for too long has: its connection fails.
async fn send(mut sink: SplitSink<WebSocket, Message>, mut given: mpsc::Receiver<Outgoing>) {
    let mut longest = Held::default();
    while let Some((message, held)) = given.recv().await {
        // The transport's buffer was as long as the longest before. What is counted of that stands for this one as well.
        let (more, less) = if held.bytes() > longest.bytes() { (held, longest) } else { (longest, held) };
        drop(less);
        longest = more;
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

fn text(json: Vec<u8>) -> Message {
    // Answers are JSON, which is UTF-8; a guest that breaks this gets its bytes replaced.
    let json = Bytes::from(json);
    let text = Utf8Bytes::try_from(json.clone());
    Message::Text(text.unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned().into()))
}
