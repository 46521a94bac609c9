/// Bounds of the port. Each names what a client hears when it passes it.
#[derive(Clone, Copy, Debug)]
pub struct RpcLimits {
    /// Bytes of a request: HTTP 413, or the WebSocket is closed.
    pub request_bytes: usize,
    /// Calls in a batch: an error in place of the batch.
    pub batch_calls: usize,
    /// Bytes of an answer: an error in place of each call's that would pass it.
    pub response_bytes: usize,
    /// Requests being answered, over all connections; further ones wait.
    pub requests: usize,
    /// Open connections; further ones wait to be accepted. One address may have half of them; further ones of it are closed.
    pub connections: usize,
    /// Calls being answered on one WebSocket; further ones wait.
    pub calls_per_socket: usize,
    /// Notifications that wait for a WebSocket's client before it is told no more.
    pub notifications_per_socket: usize,
    /// Bytes of notifications that wait for a WebSocket's client before it is told no more. They are charged to the chain's memory.
    pub notification_bytes_per_socket: usize,
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
    };
}
