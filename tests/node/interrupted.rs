//! A kill in the midst of each thing an operator can ask: it was done as a whole or not at all, and asking again does it.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use subnode_tests::{
    operations::{OPERATIONS, facts, furnish},
    operator::Home,
    process::{Process, binary},
};

/// Kills for each, spread over the time that it takes.
const KILLS: u32 = 6;

#[test]
fn a_kill_in_the_midst_of_each_operation_leaves_all_or_nothing_of_it() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    furnish(&home, &mut node).unwrap();
    for operation in &OPERATIONS {
        let command = || {
            let mut command = Command::new(binary().unwrap());
            command.args(operation.arguments).arg("--socket").arg(home.socket()).current_dir(home.path(""));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        operation.prepare(&home, &mut node.operator).unwrap();
        let started = Instant::now();
        assert!(command().status().unwrap().success(), "{:?}", operation.arguments);
        let takes: Duration = started.elapsed();
        operation.check(&home, &facts(&mut node.operator)).unwrap();
        for kill in 1..=KILLS {
            let before = operation.prepare(&home, &mut node.operator).unwrap();
            let client = Process(command().spawn().unwrap());
            // Where the kill falls, not what it waits for.
            std::thread::sleep(takes * kill / (KILLS + 1));
            node.kill().unwrap();
            drop(client);
            node = home.start().unwrap();
            operation.complete(&home, &mut node.operator, &before).unwrap();
        }
    }
    assert!(node.stop().unwrap());
}
