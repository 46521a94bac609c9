//! What a service manager hears of a node, on a socket as systemd's.

use std::{collections::VecDeque, os::unix::net::UnixDatagram, process::Command, time::Duration};

use subnode_tests::{
    operator::{Home, signal},
    process::{Run, binary},
};

/// A node that is silent for so long is restarted; it says something three times as often.
const WATCHDOG_US: &str = "300000";
/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Manager {
    socket: UnixDatagram,
    /// Said in one message with what was waited for, after it.
    said: VecDeque<String>,
}

impl Manager {
    fn hears(&mut self, wanted: &str) {
        loop {
            while let Some(line) = self.said.pop_front() {
                if line == wanted {
                    return;
                }
            }
            let mut bytes = [0; 4096];
            let count = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("waiting for {wanted}: {error}"));
            self.said.extend(String::from_utf8_lossy(&bytes[..count]).lines().map(str::to_owned));
        }
    }
}

#[test]
fn a_service_manager_hears_of_readiness_life_reloads_and_the_end() {
    let home = Home::new("").unwrap();
    let path = home.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut manager = Manager { socket, said: VecDeque::new() };
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""]).arg(binary().unwrap());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG_US);
    let mut node = Run::start_with(command, &home.config()).unwrap();
    manager.hears("READY=1");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    signal(node.child().id(), "-HUP").unwrap();
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    signal(node.child().id(), "-TERM").unwrap();
    manager.hears("STOPPING=1");
    assert!(node.child().wait().unwrap().success());
}
