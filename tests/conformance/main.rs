//! Public test suites, through the guest that chains run. `SUBNODE_FIXTURES` names the folder that holds them.
//!
//! | folder | what is replayed |
//! |---|---|
//! | `ethereum-tests/GeneralStateTests` | each transaction in a block built on its pre-state: state root and logs, or its refusal |
//! | `ethereum-tests/BlockchainTests` | each block verified: accepted with its hash, or refused |
//!
//! Beside them, blocks of random transfers through a guest that leaves those to revm.

mod blocks;
mod fixtures;
mod states;
mod transfers;

/// Prints a suite's count, and fails with the first of what did not hold.
fn report(suite: &str, passed: usize, excluded: &[String], failures: &[String]) {
    println!("{suite}: {passed} passed, {} failed, {} excluded", failures.len(), excluded.len());
    for exclusion in excluded {
        println!("  excluded: {exclusion}");
    }
    let shown: Vec<_> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{suite}: {} failures\n{}", failures.len(), shown.join("\n"));
    assert!(passed > 0, "{suite}: the folder has no tests");
}
