//! Bodies of requests, counted as they arrive, and of answers, counted until they are sent.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::{
    RpcLimits,
    connection::{Client, Room},
    held::{Held, HeldBytes},
};

/// Requests that need no room beside others: a call, or a few.
const SHORT_BYTES: usize = 16 << 10;

/// A body, and the room that it has until it is answered.
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) room: Option<Room>,
}

/// Why a body was not read to its end.
pub(crate) enum Unread {
    /// It is longer than a request may be.
    TooLong,
    /// The port holds as much as it may.
    Busy,
    /// It took too long.
    Late,
    /// The client broke off.
    Broken,
}

/// Reads a body. Its bytes are counted by `held` before they are kept. One that is not short is read once its client's address has room for it; of
/// one that does not say its length, as if it were the longest.
///
/// What comes of a body that is refused is dropped, up to twice the longest request: a client that sends hears nothing before it is done.
pub(crate) async fn read(client: &Client, headers: &HeaderMap, body: Body, held: &mut Held, limits: &RpcLimits) -> Result<Request, Unread> {
    let until = Instant::now() + limits.body_within;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut refused = length.filter(|length| *length > limits.request_bytes).map(|_| Unread::TooLong);
    let (mut read, mut total, mut room) = (Vec::new(), 0_usize, None);
    let in_time = async |bytes: usize| timeout_at(until, client.room(bytes)).await.ok();
    if let Some(length) = length.filter(|length| (SHORT_BYTES..=limits.request_bytes).contains(length)) {
        room = in_time(length).await;
        refused = refused.or(room.is_none().then_some(Unread::Busy));
    }
    let mut pieces = body.into_data_stream();
    while let Ok(Some(piece)) = timeout_at(until, pieces.next()).await.map_err(|_| refused = refused.take().or(Some(Unread::Late))) {
        let Ok(piece) = piece else { return Err(Unread::Broken) };
        total = total.saturating_add(piece.len());
        if refused.is_none() && total > limits.request_bytes {
            refused = Some(Unread::TooLong);
        } else if refused.is_none() && !held.grow(piece.len()) {
            refused = Some(Unread::Busy);
        }
        if refused.is_none() && room.is_none() && total > SHORT_BYTES {
            room = in_time(limits.request_bytes).await;
            refused = room.is_none().then_some(Unread::Busy);
        }
        if refused.is_none() {
            // A vector that grows piece by piece has up to twice the bytes. One of a known length has no more than that, which it touches in turn.
            if let (0, Some(length)) = (read.capacity(), length) {
                read.reserve_exact(length);
            }
            read.extend_from_slice(&piece);
        } else if total <= limits.request_bytes.saturating_mul(2) {
            (read, room) = (Vec::new(), None);
            drop(held.take());
        } else {
            break;
        }
    }
    refused.map_or(Ok(Request { bytes: read, room }), Err)
}

/// The body of an answer that is counted until the transport has sent it.
pub(crate) fn held(bytes: Vec<u8>, held: Held) -> Bytes {
    Bytes::from_owner(HeldBytes::new(bytes, held))
}
