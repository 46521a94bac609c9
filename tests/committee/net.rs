//! Nodes of a test network, and the wires between them, which can be cut.

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use subnode_tests::{
    http::Client,
    process::{Run, binary},
    testnet::Testnet,
};

/// Heights between states that others can catch up by: few enough that a test leaves a node behind.
pub(crate) const CHECKPOINT_EVERY: u64 = 4;

/// Heights between blocks that are attested whatever they do.
pub(crate) const ATTEST_EVERY: u64 = 8;

/// A line of each chain, and what is put after it: absent proposers are waited for a second, not three.
const SEALING: &str = "sealing = \"500ms\"";
const CONSENSUS: &str = "consensus-config = \"interval 500 timeout 1000\"";

/// A network of nodes that can be started, killed and cut off.
pub(crate) struct Net {
    files: Testnet,
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
        let numbers = [chains as u64, CHECKPOINT_EVERY, ATTEST_EVERY].map(|number| number.to_string());
        let [chains, checkpoints, attested] = numbers.each_ref().map(String::as_str);
        let arguments = ["--sealing", "500ms", "--chains", chains, "--checkpoint-every", checkpoints, "--attest-every", attested];
        let files = Testnet::new(nodes, &arguments).unwrap();
        let cut: Vec<_> = (0..nodes).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let keys: Vec<_> = (0..nodes).map(|node| files.key(node).unwrap()).collect();
        for node in 0..nodes {
            let file = files.config(node);
            let mut text = std::fs::read_to_string(&file).unwrap().replace(SEALING, &format!("{SEALING}\n{CONSENSUS}"));
            let at = |node| files.address(node);
            for other in (0..nodes).filter(|other| *other != node) {
                let wire = wire(at(node), at(other), [cut[node].clone(), cut[other].clone()]);
                let (direct, wired) = (format!("{} = \"{}\"", keys[other], at(other)), format!("{} = \"{wire}\"", keys[other]));
                assert!(text.contains(&direct), "{text}");
                text = text.replace(&direct, &wired);
            }
            std::fs::write(file, text).unwrap();
        }
        Self { files, nodes: (0..nodes).map(|_| Mutex::default()).collect(), cut, keys }
    }

    /// Starts a node, and waits until it is ready.
    pub(crate) fn start(&self, node: usize) {
        let run = Run::start(&self.files.config(node)).unwrap();
        *self.nodes[node].lock().unwrap() = Some(run);
    }

    /// Ends a node with SIGKILL.
    pub(crate) fn kill(&self, node: usize) {
        drop(self.nodes[node].lock().unwrap().take());
    }

    /// An operator's command to a node; what it prints.
    pub(crate) fn operate(&self, node: usize, command: &[&str]) -> String {
        let done = Command::new(binary().unwrap()).args(command).arg("--config").arg(self.files.config(node)).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// The address that a node attests with.
    pub(crate) fn attester(&self, node: usize) -> String {
        self.files.attester(node).unwrap()
    }

    /// Cuts a node off, or joins it again.
    pub(crate) fn cut(&self, node: usize, cut: bool) {
        self.cut[node].store(cut, Ordering::Relaxed);
    }

    /// A connection to a chain of a node; none while that does not run.
    pub(crate) fn client(&self, node: usize, chain: usize) -> Option<Client> {
        self.files.client(node, chain).ok()
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
