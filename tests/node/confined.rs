//! A running node opens no file outside its directories and starts no program.

use std::fs;

use subnode_tests::operator::{Home, signal};

#[test]
fn the_running_process_reads_nothing_outside_its_directories() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let process = node.run.child().id();
    if node.run.log.contains("are not confined") {
        println!("skipped: this kernel lacks a part of it: {}", node.run.log);
        return;
    }
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap().to_owned();
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));

    // It is asked to, by its own configuration: a genesis and a module elsewhere, after it has confined itself.
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.json");
    fs::copy(home.path("genesis.json"), &secret).unwrap();
    let mut log = node.run.follow();
    home.configure(&format!("[[chain]]\nname = \"a\"\ngenesis = \"{}\"\n", secret.display())).unwrap();
    signal(process, "-HUP").unwrap();
    let said = log.wait("the configuration is not taken").unwrap();
    assert!(said.contains("Permission denied") && said.contains("secret.json"), "{said}");
    // The same file where it may be.
    fs::copy(&secret, home.path("allowed.json")).unwrap();
    home.configure("[[chain]]\nname = \"a\"\ngenesis = \"allowed.json\"\n").unwrap();
    signal(process, "-HUP").unwrap();
    log.wait("the configuration was read again").unwrap();
    assert_eq!(node.operator.show("a").unwrap()["state"], "running");
    assert!(node.stop().unwrap());
}
