use super::*;

#[tokio::test]
async fn a_socket_takes_the_place_of_a_socket_alone() {
    let dir = std::env::temp_dir().join(format!("subnode-admin-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("admin.sock");
    for round in 0..2 {
        // What it leaves behind is a socket that nobody listens on.
        drop(bind_admin(&path).unwrap_or_else(|error| panic!("round {round}: {error}")));
    }
    std::fs::remove_file(&path).expect("is there");
    std::fs::write(&path, b"a file of somebody's").expect("writes");
    assert_eq!(bind_admin(&path).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::AlreadyExists));
    assert_eq!(std::fs::read(&path).expect("is there still"), b"a file of somebody's");
    let link = dir.join("link.sock");
    std::os::unix::fs::symlink(&path, &link).expect("links");
    assert!(bind_admin(&link).is_err() && link.is_symlink(), "nor that of a link");
    std::fs::remove_dir_all(&dir).expect("removes");
}

#[test]
fn parameters_that_a_method_does_not_have_are_refused_by_name() {
    let create: Create = params(json!({ "name": "a", "slice": 4, "memoryBytes": 5, "history": null })).ok().expect("sound");
    assert!(refuse(&create.unknown).is_ok() && create.slice.memory_bytes == Some(5));
    let typo: Create = params(json!({ "name": "a", "slice": 4, "memoryByte": 5 })).ok().expect("decodes");
    assert!(refuse(&typo.unknown).is_err_and(|failure| failure.message.contains("memoryByte")));
    let resized: Resized = params(json!({ "name": "a", "storage": 5 })).ok().expect("decodes");
    assert!(refuse(&resized.unknown).is_err());
}
