//! What a monitoring system sees.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use subnode_tests::operator::{Home, Node};

/// Status and body of a path on the metrics port.
fn get(node: &Node, path: &str) -> (u16, String) {
    let address: SocketAddr = node.run.log.split("metrics=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of one series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series} in {text}"));
    line.trim().parse().unwrap()
}

#[test]
fn figures_follow_what_chains_do_and_the_dashboard_names_only_those_there_are() {
    let home = Home::new("[metrics]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({ "sealing": "10ms", "controls": true })).unwrap();
    node.operator.create("b", json!({})).unwrap();
    node.operator.wait("a", |chain| chain["height"].as_u64() > Some(3)).unwrap();
    node.chain("a").unwrap().call("eth_chainId", &json!([])).unwrap();
    let (status, text) = get(&node, "/metrics");
    assert_eq!(status, 200);
    assert!(text.trim_end().ends_with("# EOF"));
    assert!(value(&text, "subnode_chain_height{chain=\"a\"}") > 3.0);
    assert!((value(&text, "subnode_chain_height{chain=\"b\"}")).abs() < f64::EPSILON);
    assert!(value(&text, "subnode_chain_cpu_seconds_total{chain=\"a\"}") > 0.0);
    assert!(value(&text, "subnode_chain_fuel_total{chain=\"a\"}") > 0.0);
    assert!(value(&text, "subnode_chain_queries_total{chain=\"a\"}") >= 1.0);
    assert!(value(&text, "subnode_chain_received_bytes_total{chain=\"a\"}") > 20.0);
    assert!(value(&text, "subnode_chain_memory_bytes{chain=\"a\"}") > 0.0);
    assert!((value(&text, "subnode_chain_state{chain=\"a\",state=\"running\"}") - 1.0).abs() < f64::EPSILON);
    assert!((value(&text, "subnode_node_parts_granted") - 2.0).abs() < f64::EPSILON);
    assert!(value(&text, "subnode_store_synced_writes_total") > 3.0);

    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let dashboard: Value = serde_json::from_str(&home.succeeds_alone(&["config", "grafana"]).unwrap()).unwrap();
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("subnode_")) {
                assert!(known.contains(word), "the dashboard shows {word}, which there is not");
                panels += 1;
            }
        }
    }
    assert!(panels > 15);

    assert_eq!(get(&node, "/health").0, 200);
    assert_eq!(get(&node, "/ready").0, 200);
    std::fs::write(home.path("failing.wasm"), subnode_tests::module::failing_consensus().unwrap()).unwrap();
    home.succeeds(&["chain", "create", "bad", "--genesis", "genesis.json", "--slice", "small", "--consensus", "failing.wasm"]).unwrap();
    node.operator.wait("bad", |chain| chain["state"] == "quarantined").unwrap();
    let (status, problems) = get(&node, "/health");
    assert!(status == 503 && problems.contains("bad is quarantined"), "{problems}");
    let (status, missing) = get(&node, "/ready");
    assert!(status == 503 && missing.contains("\"bad\""), "{missing}");
    let (_, text) = get(&node, "/metrics");
    assert!((value(&text, "subnode_chain_failures_total{chain=\"bad\"}") - 5.0).abs() < f64::EPSILON);
}
