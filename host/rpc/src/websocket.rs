//! One WebSocket: calls and notifications on one connection.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::{StreamExt, stream::FuturesUnordered};
use subnode_chain::{Chain, Session, charged};
use tokio_util::sync::CancellationToken;

use crate::{RpcLimits, framing};

/// A client that takes a message no sooner has left, or never reads: its calls hold places of the chain's.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Serves a client until it leaves, breaks the protocol, or the chain or the node stops.
pub(crate) async fn run(mut socket: WebSocket, chain: Chain, limits: RpcLimits, shutdown: CancellationToken) {
    let (session, mut notifications) = Session::new(limits.notifications_per_socket, limits.notification_bytes_per_socket);
    let mut calls = FuturesUnordered::new();
    loop {
        let message = tokio::select! {
            // Answers first: the id of a subscription must arrive before its first notification.
            biased;
            () = shutdown.cancelled() => break,
            // The next of its name may have other blocks: the client connects again.
            () = chain.ends() => break,
            Some(response) = calls.next(), if !calls.is_empty() => match response {
                Some(response) => text(response),
                None => continue,
            },
            Some(notification) = notifications.recv() => {
                let told = framing::notification(&notification);
                chain.traffic().send(told.len());
                text(told)
            }
            received = socket.recv(), if calls.len() < limits.calls_per_socket => {
                let body = match received {
                    Some(Ok(Message::Text(text))) => bytes::Bytes::from(text),
                    Some(Ok(Message::Binary(body))) => body,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                };
                let (chain, session) = (&chain, &session);
                calls.push(async move {
                    chain.traffic().receive(body.len()).await;
                    let answer = charged(chain.tenant(), framing::answer(chain, &body, Some(session), &limits)).await;
                    answer.inspect(|answer| chain.traffic().send(answer.len()))
                });
                continue;
            }
        };
        if !tokio::time::timeout(TAKEN_WITHIN, socket.send(message)).await.is_ok_and(|sent| sent.is_ok()) {
            break;
        }
    }
}

fn text(json: Vec<u8>) -> Message {
    // Answers are JSON, which is UTF-8; a guest that breaks this gets its bytes replaced.
    Message::text(String::from_utf8(json).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
