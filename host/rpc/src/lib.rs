//! One port: JSON-RPC over HTTP and WebSocket, routed to chains
