use std::time::Duration;

/// Bounds of the port. Each names what a client hears when it passes it.
#[derive(Clone, Copy, Debug)]
pub struct RpcLimits {
    /// Bytes of a request: HTTP 413, or the WebSocket is closed.
    pub request_bytes: usize,
    /// Calls in a batch: an error in place of the batch.
    pub batch_calls: usize,
    /// Bytes of an answer: an error in place of each call's that would pass it.
    pub response_bytes: usize,
    /// Requests being answered, over all connections and those of WebSockets too; further ones wait.
    pub requests: usize,
    /// Open connections; further ones wait to be accepted. One address may have half of them; further ones of it are closed.
    pub connections: usize,
    /// Calls being answered on one WebSocket; further ones wait.
    pub calls_per_socket: usize,
    /// Notifications that wait for a WebSocket's client before it is told no more.
    pub notifications_per_socket: usize,
    /// Bytes of notifications that wait for a WebSocket's client before it is told no more. They are charged to the chain's memory.
    pub notification_bytes_per_socket: usize,
    /// Bytes of requests and answers that the port holds, over all connections: an error in place of the answer, or the WebSocket is closed.
    /// One address may have half of them, and so may the clients of one chain.
    pub held_bytes: usize,
    /// From one answer to the end of the next request's header, and from a connection's start: it is closed.
    pub header_within: Duration,
    /// From a request's header to the end of its body: HTTP 408.
    pub body_within: Duration,
    /// For a client to take some of what is sent: its connection is closed.
    pub taken_within: Duration,
    /// Between pings of a WebSocket. One whose client sent nothing from one ping to the next, not even the pong, is closed.
    pub ping_every: Duration,
}

impl RpcLimits {
    /// Limits for a port that anyone may reach.
    pub const DEFAULT: Self = Self {
        request_bytes: 10 << 20,
        batch_calls: 1_000,
        response_bytes: 50 << 20,
        requests: 512,
        connections: 1_024,
        calls_per_socket: 64,
        notifications_per_socket: 4_096,
        notification_bytes_per_socket: 4 << 20,
        // Twice two of the longest answers: an address has room for two, and so has every other.
        held_bytes: 256 << 20,
        // nginx's value for idle connections is 75 s, and clients that pool them expect to use one again within that.
        header_within: Duration::from_secs(75),
        // The longest request at 350 KB/s.
        body_within: Duration::from_secs(30),
        // A TCP connection that lives acknowledges within that, also over a bad link.
        taken_within: Duration::from_secs(10),
        // Proxies close connections that are silent for a minute.
        ping_every: Duration::from_secs(30),
    };
}
