use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;

/// Copies sources, without what was built from them.
///
/// # Errors
/// Where one cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// Builds packages of guest modules as their authors do; the folder that has the components.
///
/// # Errors
/// What cargo says.
pub fn build(workspace: &Path, packages: &[&str], target: &Path) -> anyhow::Result<PathBuf> {
    build_with(workspace, packages, &[], target)
}

/// The same with features (`package/feature`).
///
/// # Errors
/// What cargo says.
pub fn build_with(workspace: &Path, packages: &[&str], features: &[&str], target: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release"]).args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.args(features.iter().flat_map(|feature| ["--features", feature]));
    // Quicker to build, and the same to whoever calls them.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    // Flags of the tests' own build are not the modules'.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let built = cargo.current_dir(workspace).env("CARGO_TARGET_DIR", target).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(target.join("wasm32-wasip2/release"))
}
