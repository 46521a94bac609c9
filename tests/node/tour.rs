//! The tour that README.md shows the end of.

use std::process::Command;

use subnode_tests::process::binary;

#[test]
fn the_tour_of_the_readme_runs() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tour.sh");
    let output = Command::new("sh").arg(script).arg(binary().unwrap()).env_remove("RUST_LOG").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "created hostile",
        "resized alpha: running",
        "imported beta: running",
        "3 chains, 3 running",
        "\nwell\n",
        "13 of 128 parts granted",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let hostile = said.lines().find(|line| line.starts_with("hostile ")).unwrap();
    assert!(hostile.contains("running"), "{hostile}");
}
