//! Requests in, responses out: single calls and batches.

use serde_json::value::RawValue;
use subnode_chain::{Begun, Chain, Reply, RpcError, Session};
use subnode_types::{Boxed, Hex, boxed};

use crate::{
    RpcLimits,
    held::Held,
    request::{Batch, NoRequest, Request},
};

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
/// geth's code for an answer that is too large.
const RESPONSE_TOO_LARGE: i32 = -32003;
/// EIP-1474: a limit is exceeded.
const LIMIT_EXCEEDED: i32 = -32005;

/// Answers one request body, a call or a batch. None where there is nothing to say: notifications only.
pub fn answer<'a>(chain: &'a Chain, body: &'a [u8], session: Option<&'a Session>, limits: &'a RpcLimits) -> Boxed<'a, Option<Vec<u8>>> {
    boxed(async move { answer_held(chain, body, session, limits, &mut Held::default()).await })
}

/// The same for a client of a port, whose answer is counted as it comes to be. An answer that finds no room is an error in its place.
///
/// An answer is counted once. While it is framed there are two of it, of a batch two of one call's.
pub(crate) async fn answer_held(
    chain: &Chain,
    body: &[u8],
    session: Option<&Session>,
    limits: &RpcLimits,
    held: &mut Held,
) -> Option<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(body) else { return Some(failure(None, PARSE_ERROR, "the request is not UTF-8")) };
    let text = text.trim_start();
    if !text.starts_with('[') {
        let begun = match Request::read(text) {
            Ok(request) => begin(chain, request, session).await,
            Err(NoRequest::Shape(wrong)) => return Some(failure(None, INVALID_REQUEST, &format!("invalid request: {wrong}"))),
            Err(NoRequest::Syntax(error)) => return Some(failure(None, PARSE_ERROR, &parse_message(text, &error))),
        };
        return Some(finish(kept(begun?, limits.response_bytes, held), limits.response_bytes).await);
    }
    let Batch { calls, count } = match Batch::read(text, limits.batch_calls) {
        Ok(batch) => batch,
        Err(error) => return Some(failure(None, PARSE_ERROR, &parse_message(text, &error))),
    };
    if count == 0 {
        return Some(failure(None, INVALID_REQUEST, "empty batch"));
    }
    if count > limits.batch_calls {
        let message = format!("batch too large: {count} calls, at most {}", limits.batch_calls);
        return Some(failure(None, INVALID_REQUEST, &message));
    }
    // Calls begin in their order; transactions among them are admitted together. Answers wait for those before them.
    let mut begun = Vec::with_capacity(calls.len());
    let mut bytes = 0;
    for call in calls {
        let call = match Request::read(call.get()) {
            Ok(request) => begin(chain, request, session).await,
            Err(NoRequest::Shape(wrong)) => Some(Call::refused(None, INVALID_REQUEST, &format!("invalid request: {wrong}"))),
            Err(NoRequest::Syntax(error)) => Some(Call::refused(None, INVALID_REQUEST, &format!("invalid request: {error}"))),
        };
        let Some(call) = call else { continue };
        begun.push(kept(call, limits.response_bytes.saturating_sub(bytes), held));
        bytes += begun.last().map_or(0, Call::bytes);
    }
    if begun.is_empty() {
        return None;
    }
    let mut response = vec![b'['];
    for (position, call) in begun.into_iter().enumerate() {
        if position > 0 {
            response.push(b',');
        }
        let left = limits.response_bytes.saturating_sub(response.len());
        response.extend_from_slice(&finish(call, left).await);
    }
    response.push(b']');
    Some(response)
}

fn parse_message(text: &str, error: &serde_json::Error) -> String {
    if text.is_empty() { "empty request".to_owned() } else { format!("parse error: {error}") }
}

/// A call on its way.
struct Call {
    id: Option<String>,
    begun: Result<Begun, RpcError>,
}

impl Call {
    fn refused(id: Option<String>, code: i32, message: &str) -> Self {
        Self { id, begun: Err(RpcError { code, message: message.to_owned(), data: None }) }
    }

    /// Bytes of the answer that is there already, as it is framed.
    fn bytes(&self) -> usize {
        let answer = match &self.begun {
            Ok(begun) => begun.bytes(),
            Err(error) => written_bytes(&error.message) + error.data.as_ref().map_or(0, Vec::len),
        };
        answer + self.id.as_ref().map_or(0, String::len)
    }
}

/// Bytes of a text as JSON has it, without its quotes: a control character takes six.
fn written_bytes(text: &str) -> usize {
    let written = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(written).sum()
}

/// A call whose answer is counted, or an error in its place.
fn kept(call: Call, bytes_left: usize, held: &mut Held) -> Call {
    let bytes = call.bytes();
    if bytes > bytes_left {
        Call { begun: Err(too_large()), ..call }
    } else if !held.grow(bytes) {
        Call { begun: Err(busy()), ..call }
    } else {
        call
    }
}

/// The port holds as much as it may.
pub(crate) fn busy() -> RpcError {
    let message = "too many requests and answers are on their way; retry".to_owned();
    RpcError { code: LIMIT_EXCEEDED, message, data: None }
}

fn too_large() -> RpcError {
    RpcError { code: RESPONSE_TOO_LARGE, message: "response too large".to_owned(), data: None }
}

/// Begins a call. None for a notification, which is carried out and not answered.
async fn begin(chain: &Chain, request: Request<'_>, session: Option<&Session>) -> Option<Call> {
    let id = request.id.map(|id| id.get().to_owned());
    if id.as_ref().is_some_and(|id| id.starts_with(['{', '['])) {
        return Some(Call::refused(None, INVALID_REQUEST, "invalid request: the id must be a string, a number or null"));
    }
    if request.jsonrpc.is_some_and(|version| version.get() != "\"2.0\"") {
        return Some(Call::refused(id, INVALID_REQUEST, "invalid request: jsonrpc must be \"2.0\""));
    }
    let Some(method) = request.method else {
        return Some(Call::refused(id, INVALID_REQUEST, "invalid request: method is missing"));
    };
    let params = request.params.map_or("", RawValue::get);
    let begun = chain.begin_query(&method, params.as_bytes(), session).await;
    // A notification was carried out; nobody waits for how it went.
    id.map(|id| Call { id: Some(id), begun })
}

async fn finish(call: Call, bytes_left: usize) -> Vec<u8> {
    let reply = match call.begun {
        Ok(begun) => begun.wait().await,
        Err(error) => Err(error),
    };
    let response = match reply {
        Ok(reply) => success(call.id.as_deref(), reply),
        Err(error) => error_response(call.id.as_deref(), &error),
    };
    if response.len() <= bytes_left { response } else { error_response(call.id.as_deref(), &too_large()) }
}

fn open(id: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.unwrap_or("null").as_bytes());
    out
}

fn success(id: Option<&str>, reply: Reply) -> Vec<u8> {
    let mut out = open(id);
    out.extend_from_slice(br#","result":"#);
    match reply {
        Reply::Json(json) => out.extend_from_slice(&json),
        Reply::Id(id) => out.extend_from_slice(format!("\"0x{}\"", Hex(&id)).as_bytes()),
        Reply::Number(number) => out.extend_from_slice(format!("\"{number:#x}\"").as_bytes()),
        Reply::Truth(truth) => out.extend_from_slice(if truth { b"true" } else { b"false" }),
        Reply::Null => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

pub(crate) fn error_response(id: Option<&str>, error: &RpcError) -> Vec<u8> {
    let mut out = open(id);
    out.extend_from_slice(br#","error":{"code":"#);
    out.extend_from_slice(error.code.to_string().as_bytes());
    out.extend_from_slice(br#","message":"#);
    // Writing a text to memory does not fail.
    drop(serde_json::to_writer(&mut out, &error.message));
    if let Some(data) = &error.data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
    out
}

/// An error response of this crate's own.
pub(crate) fn failure(id: Option<&str>, code: i32, message: &str) -> Vec<u8> {
    error_response(id, &RpcError { code, message: message.to_owned(), data: None })
}

/// A notification to a subscriber.
pub(crate) fn notification(notification: &subnode_chain::Notification) -> Vec<u8> {
    let mut out = br#"{"jsonrpc":"2.0","method":"#.to_vec();
    out.extend_from_slice(serde_json::Value::from(&*notification.method).to_string().as_bytes());
    out.extend_from_slice(br#","params":{"subscription":"#);
    out.extend_from_slice(format!("\"{:#x}\"", notification.subscription).as_bytes());
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(&notification.json);
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_counted_as_long_as_it_is_framed() {
        let every: String = (0..0x100_u32).filter_map(char::from_u32).collect();
        for message in ["", "plain", &every, &"\u{1}".repeat(1_000)] {
            let error = RpcError { code: -1, message: message.to_owned(), data: Some(b"[1]".to_vec()) };
            let framed = error_response(Some("12345"), &error).len();
            let counted = Call { id: Some("12345".into()), begun: Err(error) }.bytes();
            assert_eq!(framed - counted, r#"{"jsonrpc":"2.0","id":,"error":{"code":-1,"message":"","data":}}"#.len(), "{message:?}");
        }
    }
}
