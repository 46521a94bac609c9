//! Random requests and kills for a while: what runs is what should run, and nothing is left behind. Tests go by name: the longest begins among the
//! first, and the others run beside it.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use subnode_tests::operator::{Home, Node};

/// How long it goes on by default; SUBNODE_CHURN_SECONDS says otherwise.
const SECONDS: u64 = 180;
/// Column families a node keeps ready, emptied ones with them.
const READY: u64 = 32;
/// Names that come and go.
const NAMES: usize = 6;

/// A chain as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    parts: u64,
    state: &'static str,
    /// At least so high.
    height: u64,
}

struct Churn {
    home: Home,
    random: StdRng,
    expected: BTreeMap<String, Expected>,
    requests: u64,
}

impl Churn {
    fn name(&mut self) -> String {
        format!("c{}", self.random.random_range(0..NAMES))
    }

    /// One random request, and what it should lead to.
    fn step(&mut self, node: &mut Node) {
        let name = self.name();
        let operator = &mut node.operator;
        let known = self.expected.get(&name).cloned();
        self.requests += 1;
        match (self.random.random_range(0..9), known) {
            (0..=3, None) => {
                let parts = self.random.random_range(1..=8_u64);
                operator.create(&name, json!({ "slice": parts, "sealing": "10ms" })).unwrap();
                self.expected.insert(name, Expected { parts, state: "running", height: 0 });
            }
            (_, None) => assert!(operator.show(&name).is_err()),
            (0, Some(_)) => {
                operator.call("chain_delete", json!({ "name": name, "force": true })).unwrap();
                self.expected.remove(&name);
            }
            (1, Some(_)) => {
                operator.call("chain_stop", json!({ "name": name })).unwrap();
                self.expect(&name).state = "stopped";
            }
            (2, Some(was)) => {
                operator.call("chain_start", json!({ "name": name })).unwrap();
                self.expect(&name).state = if was.state == "stopped" { "running" } else { was.state };
            }
            (3, Some(was)) if was.state != "stopped" => {
                operator.call("chain_pause", json!({ "name": name })).unwrap();
                self.expect(&name).state = "paused";
            }
            (4, Some(was)) if was.state == "paused" => {
                operator.call("chain_resume", json!({ "name": name })).unwrap();
                self.expect(&name).state = "running";
            }
            (5, Some(_)) => {
                let parts = self.random.random_range(1..=8_u64);
                operator.call("chain_resize", json!({ "name": name, "slice": parts })).unwrap();
                self.expect(&name).parts = parts;
            }
            (6, Some(_)) => {
                let file = self.home.path("moved.subnode");
                self.home.succeeds(&["chain", "export", &name, "--output", file.to_str().unwrap()]).unwrap();
                let copy = self.name();
                if !self.expected.contains_key(&copy) {
                    let imported =
                        self.home.succeeds(&["chain", "import", &copy, file.to_str().unwrap(), "--slice", "2", "--json"]).unwrap();
                    let imported: Value = serde_json::from_str(&imported).unwrap();
                    self.expected.insert(copy, Expected { parts: 2, state: "running", height: imported["height"].as_u64().unwrap() });
                }
                fs::remove_file(file).unwrap();
            }
            (_, Some(_)) => {
                let shown = operator.show(&name).unwrap();
                if let Some(height) = shown["height"].as_u64() {
                    let expected = self.expect(&name);
                    assert!(height >= expected.height, "{name} went back from {} to {height}", expected.height);
                    expected.height = height;
                }
            }
        }
    }

    fn expect(&mut self, name: &str) -> &mut Expected {
        self.expected.get_mut(name).unwrap()
    }

    /// What runs is what should run.
    fn check(&mut self, node: &mut Node) {
        let chains = node.operator.call("chain_list", json!({})).unwrap();
        let chains = chains.as_array().unwrap();
        let names: Vec<&str> = chains.iter().map(|chain| chain["name"].as_str().unwrap()).collect();
        assert_eq!(names, self.expected.keys().map(String::as_str).collect::<Vec<_>>());
        let mut parts = 0;
        for chain in chains {
            let expected = self.expected.get(chain["name"].as_str().unwrap()).unwrap();
            assert_eq!(
                (chain["slice"]["parts"].as_u64(), chain["state"].as_str()),
                (Some(expected.parts), Some(expected.state)),
                "{chain}"
            );
            assert!(chain["height"].as_u64().is_none_or(|height| height >= expected.height), "{chain} lost blocks: {expected:?}");
            parts += expected.parts;
        }
        let status = node.operator.call("node_status", json!({})).unwrap();
        assert_eq!(status["granted"]["parts"].as_u64(), Some(parts), "nothing stays granted that is not used");
    }

    /// Nothing is left of what is gone: families, files, threads.
    fn check_leaks(&self, node: &mut Node, baseline: &Value) {
        let status = node.operator.call("node_status", json!({})).unwrap();
        // Those kept ready, and those that wait to be dropped.
        let families = status["store"]["families"].as_u64().unwrap();
        assert!(families <= self.expected.len() as u64 + READY, "{families} families for {} chains", self.expected.len());
        let process = node.run.child().id();
        let count = |what: &str| fs::read_dir(format!("/proc/{process}/{what}")).map_or(0, |entries| entries.count());
        // The store's own files are up to 1024 at once; sockets, threads and exports are few.
        assert!(count("task") < 64, "{} threads", count("task"));
        assert!(count("fd") < 512, "{} open files", count("fd"));
        let resident = |status: &Value| status["residentBytes"].as_u64().unwrap();
        let grown = resident(&status).saturating_sub(resident(baseline));
        assert!(grown < 200 << 20, "{} MiB more than at the start", grown >> 20);
    }
}

#[test]
fn desired_and_actual_agree_after_random_requests_and_kills() {
    let seed = std::env::var("SUBNODE_CHURN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()));
    let seconds = std::env::var("SUBNODE_CHURN_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS);
    println!("SUBNODE_CHURN_SEED={seed}");
    let mut churn = Churn { home: Home::new("").unwrap(), random: StdRng::seed_from_u64(seed), expected: BTreeMap::new(), requests: 0 };
    let mut node = churn.home.start().unwrap();
    let baseline = node.operator.call("node_status", json!({})).unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < until {
        for _ in 0..churn.random.random_range(1..25) {
            churn.step(&mut node);
        }
        churn.check(&mut node);
        churn.check_leaks(&mut node, &baseline);
        if churn.random.random_bool(0.7) {
            // In the midst of a request whose answer nobody hears.
            let name = churn.name();
            let mut killed = Operators::at(&churn.home);
            let request = killed.random(&mut churn.random, &name, churn.expected.get(&name));
            node.kill().unwrap();
            kills += 1;
            node = churn.home.start().unwrap();
            killed.settle(&mut node, &name, request, &mut churn.expected);
            churn.check(&mut node);
        }
    }
    println!("{} requests, {kills} kills", churn.requests);
    assert!(churn.requests > 20 && kills > 2);
    for name in churn.expected.keys() {
        node.operator.call("chain_delete", json!({ "name": name, "force": true })).unwrap();
    }
    churn.expected.clear();
    churn.check(&mut node);
    assert!(node.stop().unwrap());
    // After a stop every family that nobody uses is gone, but for those kept ready.
    let families = rocksdb_families(&churn.home);
    assert!(families <= 1 + READY, "{families} families are left");
}

/// How many families the store on disk has, as it says itself to a node that opens it.
fn rocksdb_families(home: &Home) -> u64 {
    let mut node = home.start().unwrap();
    let status = node.operator.call("node_status", json!({})).unwrap();
    status["store"]["families"].as_u64().unwrap()
}

/// Sends a request without waiting for its answer.
struct Operators {
    stream: std::os::unix::net::UnixStream,
}

impl Operators {
    fn at(home: &Home) -> Self {
        Self { stream: std::os::unix::net::UnixStream::connect(home.socket()).unwrap() }
    }

    fn random(&mut self, random: &mut StdRng, name: &str, known: Option<&Expected>) -> &'static str {
        use std::io::Write;
        let (method, params) = match (random.random_range(0..4), known) {
            (_, None) => {
                ("chain_create", json!({ "name": name, "genesis": subnode_tests::operator::GENESIS, "slice": 3, "sealing": "10ms" }))
            }
            (0, Some(_)) => ("chain_delete", json!({ "name": name, "force": true })),
            (1, Some(_)) => ("chain_stop", json!({ "name": name })),
            (2, Some(_)) => ("chain_resize", json!({ "name": name, "slice": 5 })),
            (_, Some(_)) => ("chain_start", json!({ "name": name })),
        };
        let request = json!({ "id": 1, "method": method, "params": params });
        self.stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        // Somewhere between before it is read and after it is done.
        std::thread::sleep(Duration::from_micros(random.random_range(0..8_000)));
        method
    }

    /// The request was carried out as a whole, or not at all: which, the node says.
    fn settle(&self, node: &mut Node, name: &str, method: &str, expected: &mut BTreeMap<String, Expected>) {
        let Ok(shown) = node.operator.show(name) else {
            assert!(method == "chain_delete" || method == "chain_create", "{name} is gone after {method}");
            expected.remove(name);
            return;
        };
        let parts = shown["slice"]["parts"].as_u64().unwrap();
        let state = match shown["state"].as_str().unwrap() {
            "running" => "running",
            "paused" => "paused",
            "stopped" => "stopped",
            other => panic!("{name} is {other} after {method}: {shown}"),
        };
        let was = expected.entry(name.to_owned()).or_insert(Expected { parts: 3, state: "running", height: 0 });
        let allowed = match method {
            "chain_stop" => state == was.state || state == "stopped",
            "chain_start" => state == was.state || (was.state == "stopped" && state == "running"),
            _ => state == was.state,
        };
        assert!(allowed && (parts == was.parts || (method == "chain_resize" && parts == 5)), "{method} led from {was:?} to {shown}");
        (was.parts, was.state) = (parts, state);
    }
}
