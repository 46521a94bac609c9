//! Repeats what this host states.

use std::{sync::Arc, time::Duration};

use crate::parts::Parts;

/// How often.
const REPEAT: Duration = Duration::from_secs(1);

/// Repeats what this host states, for as long as it does: frames may be lost.
pub(crate) async fn run(parts: Arc<Parts>) {
    loop {
        tokio::time::sleep(REPEAT).await;
        for frame in parts.statements.own().await {
            parts.exchange.state(frame);
        }
    }
}
