//! placeholder
#[test]
fn p() {}
