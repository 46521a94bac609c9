//! The port.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequestParts, Path, Request, State, ws::WebSocketUpgrade},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use subnode_chain::{Chain, charged};
use subnode_node::Node;
use subnode_types::{Boxed, boxed};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{Any, CorsLayer};

use crate::{
    RpcLimits,
    body::{self, Unread},
    connection::{self, BoundedListener, Client},
    framing,
    held::{Account, Budget, Held},
    websocket::{self, Port},
};

/// EIP-1474: the resource is not there, or cannot be used now.
const NO_CHAIN: i32 = -32001;
const CHAIN_UNAVAILABLE: i32 = -32002;

/// What a WebSocket reads and writes at once. Each has a buffer of it from its first message on.
const SOCKET_BUFFER_BYTES: usize = 16 << 10;

/// The port failed.
#[derive(Debug, thiserror::Error)]
#[error("the RPC port failed: {0}")]
pub struct ServeError(#[from] std::io::Error);

#[derive(Clone)]
struct App {
    node: Arc<Node>,
    limits: RpcLimits,
    requests: Arc<Semaphore>,
    budget: Arc<Budget>,
    shutdown: CancellationToken,
}

/// Serves the node's chains until `shutdown`, then waits a while for the requests being answered.
///
/// # Errors
/// Where the listener fails.
///
/// # Cancel safety
/// Not cancel safe: dropping it breaks open connections off. Spawn it and await it.
pub fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    limits: RpcLimits,
    shutdown: CancellationToken,
) -> Boxed<'static, Result<(), ServeError>> {
    boxed(async move {
        let budget = Arc::new(Budget::new(limits.held_bytes));
        let listener = BoundedListener::new(listener, limits.connections, budget.clone(), &limits);
        let app = App { node, limits, requests: Arc::new(Semaphore::new(limits.requests)), budget, shutdown: shutdown.clone() };
        // Wallets in browsers call from pages of any origin. Nothing here depends on cookies.
        let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::POST, Method::GET]).allow_headers(Any);
        let router = Router::new().route("/", any(first)).route("/chain/{name}", any(named)).layer(cors).with_state(app);
        connection::serve(listener, router, limits.header_within, shutdown).await;
        Ok(())
    })
}

async fn first(State(app): State<App>, request: Request) -> Response {
    let chain = app.node.first().ok_or(None);
    respond(app, chain, request).await
}

async fn named(State(app): State<App>, Path(name): Path<String>, request: Request) -> Response {
    let chain = match name.parse() {
        Ok(name) => app.node.chain(&name).ok_or_else(|| app.node.absent(&name)),
        Err(_) => Err(None),
    };
    respond(app, chain, request).await
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn no_chain(app: &App) -> Response {
    let names: Vec<String> = app.node.names().iter().take(20).map(|name| format!("/chain/{name}")).collect();
    let message = format!("no chain at this path; there are {}", names.join(", "));
    json(StatusCode::NOT_FOUND, framing::failure(None, NO_CHAIN, &message))
}

/// Answers from a chain, or says why there is none.
async fn respond(app: App, chain: Result<Chain, Option<String>>, request: Request) -> Response {
    let chain = match chain {
        Ok(chain) => chain,
        Err(Some(absent)) => return json(StatusCode::SERVICE_UNAVAILABLE, framing::failure(None, CHAIN_UNAVAILABLE, &absent)),
        Err(None) => return no_chain(&app),
    };
    // Each connection says whose it is.
    let Some(client) = request.extensions().get::<Client>().cloned() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let account = client.account(&app.budget, chain.name());
    let limits = app.limits;
    if request.method() == Method::GET {
        let (mut parts, _) = request.into_parts();
        return match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
            Ok(upgrade) => {
                let port = Port { client, account, limits, requests: app.requests, shutdown: app.shutdown };
                upgrade
                    .max_message_size(limits.request_bytes)
                    .max_frame_size(limits.request_bytes)
                    .read_buffer_size(SOCKET_BUFFER_BYTES)
                    .write_buffer_size(SOCKET_BUFFER_BYTES)
                    .on_upgrade(move |socket| websocket::run(socket, chain, port))
            }
            Err(_) => {
                (StatusCode::OK, format!("Subnode, chain {}: POST JSON-RPC here, or open a WebSocket.\n", chain.name())).into_response()
            }
        };
    }
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (parts, body) = request.into_parts();
    let mut held = Held::of(&account);
    match body::read(&client, &parts.headers, body, &mut held, &limits).await {
        Ok(request) => {
            let answered = answer(&app, &chain, &account, &request.bytes).await;
            drop(request.room);
            answered
        }
        Err(unread) => not_read(&unread, &limits),
    }
}

/// The answer to a request that was not read to its end. Its connection ends with it.
fn not_read(unread: &Unread, limits: &RpcLimits) -> Response {
    let (status, answer) = match unread {
        Unread::TooLong => {
            let message = format!("request too large: at most {} bytes", limits.request_bytes);
            (StatusCode::PAYLOAD_TOO_LARGE, framing::failure(None, -32600, &message))
        }
        Unread::Busy => (StatusCode::SERVICE_UNAVAILABLE, framing::error_response(None, &framing::busy())),
        Unread::Late => {
            let message = format!("the request took longer than {:?}", limits.body_within);
            (StatusCode::REQUEST_TIMEOUT, framing::failure(None, -32600, &message))
        }
        Unread::Broken => (StatusCode::BAD_REQUEST, framing::failure(None, -32600, "the request ended early")),
    };
    let mut response = json(status, answer);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn answer(app: &App, chain: &Chain, account: &Account, request: &[u8]) -> Response {
    // Before it takes a place that other chains' clients could have.
    chain.traffic().receive(request.len()).await;
    // The semaphore is never closed.
    let _permit = app.requests.acquire().await;
    let mut held = Held::of(account);
    match charged(chain.tenant(), framing::answer_held(chain, request, None, &app.limits, &mut held)).await {
        Some(answer) => {
            chain.traffic().send(answer.len());
            let answer: Bytes = body::held(answer, held);
            json(StatusCode::OK, answer)
        }
        None => Body::empty().into_response(),
    }
}
