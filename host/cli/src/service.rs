//! Notifies a service manager, by systemd's `sd_notify`. Does nothing where there is no service manager.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;
use subnode_node::Supervisor;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager does not listen");
    }
}

/// SIGHUPs, each of which asks to read the configuration again.
pub fn reloads() -> anyhow::Result<Signal> {
    Ok(signal(SignalKind::hangup())?)
}

/// The node answers.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
}

/// The node ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells the watchdog, where one is set, that the node is alive: that its tasks run, and its list of chains can be read.
pub fn watchdog(supervisor: Arc<Supervisor>, stop: CancellationToken) -> JoinHandle<()> {
    let mut micros = 0;
    let watched = sd_notify::watchdog_enabled(false, &mut micros);
    tokio::spawn(async move {
        while watched && stop.run_until_cancelled(tokio::time::sleep(Duration::from_micros(micros / 3))).await.is_some() {
            let chains = supervisor.list().len();
            notify(&[NotifyState::Watchdog, NotifyState::Status(&format!("{chains} chains"))]);
        }
    })
}
