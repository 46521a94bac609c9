//! Nodes of a test network, and the wires between them, which can be cut.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use subnode_tests::process::{Run, binary, free_ports};
use tempfile::TempDir;

/// Heights between states that others can catch up by: few enough that a test leaves a node behind.
pub(crate) const CHECKPOINT_EVERY: u64 = 4;

/// A network of nodes that can be started, killed and cut off.
pub(crate) struct Net {
    dir: TempDir,
    nodes: Vec<Mutex<Option<Run>>>,
    /// Whether the wires of a node are cut.
    cut: Vec<Arc<AtomicBool>>,
    keys: Vec<String>,
}

/// Carries packets between two nodes until one of them is cut off: what comes from `to` goes to `from`, all else to `to`.
fn wire(from: SocketAddr, to: SocketAddr, cut: [Arc<AtomicBool>; 2]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 65_536];
        while let Ok((length, sender)) = socket.recv_from(&mut packet) {
            if cut.iter().all(|cut| !cut.load(Ordering::Relaxed)) {
                // A packet to a node that is gone is lost, as on any wire.
                drop(socket.send_to(&packet[..length], if sender == to { from } else { to }));
            }
        }
    });
    address
}

impl Net {
    /// Writes the files of a network. No node runs yet.
    pub(crate) fn new(nodes: usize, chains: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports(u16::try_from(nodes).unwrap());
        let written = Command::new(binary().unwrap())
            .args(["testnet", "--write-only", "--sealing", "500ms", "--checkpoint-every", &CHECKPOINT_EVERY.to_string(), "--dir"])
            .arg(dir.path())
            .args(["--nodes", &nodes.to_string(), "--chains", &chains.to_string(), "--port", &port.to_string()])
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
        let cut: Vec<_> = (0..nodes).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let at = |node: usize| SocketAddr::from(([127, 0, 0, 1], port + u16::try_from(node).unwrap()));
        let keys: Vec<_> = (0..nodes)
            .map(|node| {
                let shown = Command::new(binary().unwrap())
                    .args(["key", "show"])
                    .arg(dir.path().join(format!("node{}/node.key", node + 1)))
                    .output();
                String::from_utf8(shown.unwrap().stdout).unwrap().trim().to_owned()
            })
            .collect();
        for node in 0..nodes {
            let file = dir.path().join(format!("node{}/subnode.toml", node + 1));
            let mut text = std::fs::read_to_string(&file).unwrap();
            for other in (0..nodes).filter(|other| *other != node) {
                let wire = wire(at(node), at(other), [cut[node].clone(), cut[other].clone()]);
                let (direct, wired) = (format!("{} = \"{}\"", keys[other], at(other)), format!("{} = \"{wire}\"", keys[other]));
                assert!(text.contains(&direct), "{text}");
                text = text.replace(&direct, &wired);
            }
            std::fs::write(file, text).unwrap();
        }
        Self { dir, nodes: (0..nodes).map(|_| Mutex::default()).collect(), cut, keys }
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node{}", node + 1))
    }

    /// Starts a node, and waits until it is ready.
    pub(crate) fn start(&self, node: usize) {
        let run = Run::start(&self.folder(node).join("subnode.toml")).unwrap();
        *self.nodes[node].lock().unwrap() = Some(run);
    }

    /// Ends a node with SIGKILL.
    pub(crate) fn kill(&self, node: usize) {
        drop(self.nodes[node].lock().unwrap().take());
    }

    /// An operator's command to a node.
    pub(crate) fn operate(&self, node: usize, command: &[&str]) {
        let done =
            Command::new(binary().unwrap()).args(command).arg("--config").arg(self.folder(node).join("subnode.toml")).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Cuts a node off, or joins it again.
    pub(crate) fn cut(&self, node: usize, cut: bool) {
        self.cut[node].store(cut, Ordering::Relaxed);
    }

    /// Where a node answers clients; none while it does not run.
    pub(crate) fn address(&self, node: usize) -> Option<SocketAddr> {
        self.nodes[node].lock().unwrap().as_ref().map(|run| run.address)
    }

    /// What a node is known by.
    pub(crate) fn key(&self, node: usize) -> String {
        self.keys[node].clone()
    }

    /// What the nodes logged.
    pub(crate) fn logs(&self) -> String {
        let log = |(node, run): (usize, &Mutex<Option<Run>>)| {
            let later = run.lock().unwrap().as_ref().map(Run::logged).unwrap_or_default();
            format!("node {node}:\n{later}")
        };
        self.nodes.iter().enumerate().map(log).collect::<Vec<_>>().join("\n")
    }
}
