//! The port.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State, ws::WebSocketUpgrade},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use subnode_chain::{Chain, charged};
use subnode_node::Node;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{Any, CorsLayer};

use crate::{
    RpcLimits,
    connection::{self, BoundedListener},
    framing, websocket,
};

/// EIP-1474: the resource is not there, or cannot be used now.
const NO_CHAIN: i32 = -32001;
const CHAIN_UNAVAILABLE: i32 = -32002;

/// The port failed.
#[derive(Debug, thiserror::Error)]
#[error("the RPC port failed: {0}")]
pub struct ServeError(#[from] std::io::Error);

#[derive(Clone)]
struct App {
    node: Arc<Node>,
    limits: RpcLimits,
    requests: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Serves the node's chains until `shutdown`, then waits a while for the requests being answered.
///
/// # Errors
/// Where the listener fails.
///
/// # Cancel safety
/// Not cancel safe: dropping it breaks open connections off. Spawn it and await it.
pub async fn serve(node: Arc<Node>, listener: TcpListener, limits: RpcLimits, shutdown: CancellationToken) -> Result<(), ServeError> {
    let app = App { node, limits, requests: Arc::new(Semaphore::new(limits.requests)), shutdown: shutdown.clone() };
    // Wallets in browsers call from pages of any origin. Nothing here depends on cookies.
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::POST, Method::GET]).allow_headers(Any);
    let router = Router::new()
        .route("/", any(first))
        .route("/chain/{name}", any(named))
        .layer(DefaultBodyLimit::max(limits.request_bytes))
        .layer(cors)
        .with_state(app);
    Ok(connection::serve(BoundedListener::new(listener, limits.connections), router, shutdown).await?)
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

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
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
    if request.method() == Method::GET {
        let (mut parts, _) = request.into_parts();
        return match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
            Ok(upgrade) => {
                let limits = app.limits;
                upgrade
                    .max_message_size(limits.request_bytes)
                    .max_frame_size(limits.request_bytes)
                    .on_upgrade(move |socket| websocket::run(socket, chain, limits, app.shutdown))
            }
            Err(_) => {
                (StatusCode::OK, format!("Subnode, chain {}: POST JSON-RPC here, or open a WebSocket.\n", chain.name())).into_response()
            }
        };
    }
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let body = match axum::body::to_bytes(request.into_body(), app.limits.request_bytes).await {
        Ok(body) => body,
        Err(_) => {
            let message = format!("request too large: at most {} bytes", app.limits.request_bytes);
            return json(StatusCode::PAYLOAD_TOO_LARGE, framing::failure(None, -32600, &message));
        }
    };
    answer(&app, &chain, &body).await
}

async fn answer(app: &App, chain: &Chain, body: &Bytes) -> Response {
    // Before it takes a place that other chains' clients could have.
    chain.traffic().receive(body.len()).await;
    // The semaphore is never closed.
    let _permit = app.requests.acquire().await;
    match charged(chain.tenant(), framing::answer(chain, body, None, &app.limits)).await {
        Some(answer) => {
            chain.traffic().send(answer.len());
            json(StatusCode::OK, answer)
        }
        None => Body::empty().into_response(),
    }
}
