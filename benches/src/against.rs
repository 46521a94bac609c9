//! Measures this commit against another commit, whose benches are built in a work tree of their own: `make bench
//! AGAINST=REV`.
//!
//! The other commit is in `against/REV` of the target folder, with its work tree in `tree` and its binaries in
//! `bin`. Both are kept, so a second comparison with the same commit builds nothing. Dependencies are copied from
//! this commit's build, so the first comparison builds the workspace's crates and the dependencies whose versions
//! differ. Each round runs each measurement of both commits, one after the other.
//!
//! Not here: reading what the benches print (`tables`), comparing it (`comparison`). A measurement that fails
//! counts as far as it printed. If the measurement is this commit's, the comparison ends with an error.

use std::{
    env, fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    process::Command,
    signal::unix::{SignalKind, signal},
};

use crate::{Measurement, comparison, tables};

const ROUNDS: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");
const BENCHES: &str = "subnode-benches";
/// Where a target folder has built dependencies.
const BUILT: [&str; 4] = ["release/.fingerprint", "release/build", "release/deps", "guest-modules"];

/// Compares with the revision that is the first argument; the others name measurements, none means all of them. Ends what it started when it
/// is asked to end.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    tokio::select! {
        compared = compare(arguments) => compared,
        asked = asked_to_end() => {
            asked?;
            bail!("interrupted")
        }
    }
}

async fn compare(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (revision, names) = arguments.split_first().context("which commit is it measured against? `make bench AGAINST=REV`")?;
    let wanted = Measurement::wanted(names)?;
    let rounds = rounds(&env::var("ROUNDS").unwrap_or_default())?;
    let here = env::current_exe()?;
    let release = here.parent().context("a binary is in a folder")?;
    let (revision, theirs) = built(revision, release).await?;
    let binaries = [(revision.as_str(), theirs.join(BENCHES)), ("this tree", here.clone())];
    let mut printed = [Vec::new(), Vec::new()];
    let mut failed = Vec::new();
    for round in 1..=rounds.get() {
        let mut texts = [String::new(), String::new()];
        for name in wanted.iter().map(|measurement| measurement.name()) {
            for ((side, binary), text) in binaries.iter().zip(&mut texts) {
                eprintln!("round {round} of {rounds}: {name}, {side}");
                let mut command = Command::new(binary);
                let (status, tables) = finished(command.arg(&name)).await?;
                *text += &tables;
                if !status.success() {
                    eprintln!("{name} of {side} failed ({status}); what it printed counts");
                    if *binary == here {
                        failed.push(format!("{name} in round {round}"));
                    }
                }
            }
        }
        for (printed, text) in printed.iter_mut().zip(&texts) {
            printed.push(tables::parse(text));
        }
    }
    let [theirs, ours] = &printed;
    println!("\nMedians of {rounds} rounds; ratios are medians of the rounds' pairs.");
    print!("{}", comparison::tables(&revision, theirs, ours));
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed in this tree: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn rounds(text: &str) -> anyhow::Result<NonZeroUsize> {
    if text.is_empty() { Ok(ROUNDS) } else { text.parse().with_context(|| format!("ROUNDS={text} is no number of rounds")) }
}

/// The short name of a revision's commit, and the folder with its binaries. Builds them where they are not there.
async fn built(revision: &str, release: &Path) -> anyhow::Result<(String, PathBuf)> {
    let commit = git(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]).await;
    let commit = commit.with_context(|| format!("{revision:?} names no commit of this repository"))?;
    let name = git(["rev-parse", "--short", &commit]).await?;
    let target = release.parent().context("cargo builds into target/release")?;
    let folder = target.join("against").join(&name);
    let bin = folder.join("bin");
    if bin.join(BENCHES).is_file() {
        eprintln!("{name} is built already, in {}", bin.display());
        return Ok((name, bin));
    }
    let tree = folder.join("tree");
    let path = tree.to_str().context("the target folder's path is UTF-8")?;
    if tree.exists() {
        eprintln!("using the work tree of {name} in {path}");
        git(["-C", path, "checkout", "--quiet", "--force", "--detach", &commit]).await?;
    } else {
        eprintln!("making a work tree of {name} in {path}");
        // Forced, since a target folder that was removed leaves its work trees in git's list.
        git(["worktree", "add", "--quiet", "--force", "--detach", path, &commit]).await?;
    }
    // In one target folder, cargo takes two checkouts' crates for the same and tells them apart by the files' times alone.
    let own = folder.join("target");
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    eprintln!("building {name}, with a copy of the dependencies in {}", target.display());
    for built in BUILT.into_iter().filter(|built| target.join(built).exists()) {
        copy_dependencies(&target.join(built), &own.join(built)).with_context(|| format!("copy {}", target.join(built).display()))?;
    }
    // The Makefile's, which may be several words.
    let cargo = env::var("CARGO").unwrap_or_default();
    let mut words = cargo.split_whitespace();
    let mut cargo = Command::new(words.next().unwrap_or("cargo"));
    cargo.args(words).args(["build", "--release", "--workspace", "--locked"]).current_dir(&tree).env("CARGO_TARGET_DIR", &own);
    let (status, _) = finished(&mut cargo).await?;
    ensure!(status.success(), "{name} does not build ({status}); its work tree is {path}");
    // Renamed when complete: a folder of this name is taken for a whole build.
    let staging = folder.join("bin.new");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    for binary in ["subnode", BENCHES] {
        fs::copy(own.join("release").join(binary), staging.join(binary)).with_context(|| format!("{name} has no {binary}"))?;
    }
    // Both measure the same peers; the first one installs them.
    fs::create_dir_all(release.join("peers"))?;
    std::os::unix::fs::symlink(release.join("peers"), staging.join("peers"))?;
    fs::rename(&staging, &bin)?;
    fs::remove_dir_all(&own)?;
    Ok((name, bin))
}

/// Copies what cargo built of other crates than the workspace's, whose names all begin with `subnode`. Times are kept, by which cargo knows
/// what is fresh.
fn copy_dependencies(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let target = to.join(&name);
        // Binaries and tests are what has no extension; those of tests do not bear our name.
        let linked = from.ends_with("deps") && entry.extension().is_none();
        if linked || name.to_string_lossy().contains("subnode") {
            continue;
        }
        if entry.is_dir() {
            copy_dependencies(&entry, &target)?;
        } else {
            fs::copy(&entry, &target)?;
            fs::File::options().write(true).open(&target)?.set_modified(fs::metadata(&entry)?.modified()?)?;
        }
    }
    Ok(())
}

/// What git answers, on one line.
async fn git<const N: usize>(arguments: [&str; N]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    let (status, printed) = finished(command.args(arguments)).await?;
    ensure!(status.success(), "git {}: {status}", arguments.join(" "));
    Ok(printed.trim().to_owned())
}

/// A process group that is ended with this value: a measurement that is stopped leaves no server behind that would disturb the next.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody of it may be left, which is as good.
        kill_process_group(self.0, Signal::TERM).unwrap_or_default();
    }
}

/// Runs a command to its end, in a process group of its own: how it ended, and what it printed.
///
/// # Cancel safety
/// Dropping it ends the command.
async fn finished(command: &mut Command) -> anyhow::Result<(ExitStatus, String)> {
    let program = command.as_std().get_program().to_owned();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
    let mut child = spawned.with_context(|| format!("start {}", program.display()))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("a process that was started has an id")?);
    let mut stdout = child.stdout.take().context("its output is piped")?;
    let ended = async move {
        let status = child.wait().await;
        // What it started and left behind may hold its output open.
        drop(group);
        status
    };
    let mut printed = Vec::new();
    let (status, read) = tokio::join!(ended, stdout.read_to_end(&mut printed));
    read?;
    Ok((status?, String::from_utf8_lossy(&printed).into_owned()))
}

/// Waits for what ends a program from a terminal or a supervisor.
async fn asked_to_end() -> io::Result<()> {
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn rounds_are_three_unless_told() {
        assert_eq!(rounds("").expect("a default"), ROUNDS);
        assert_eq!(rounds("5").expect("a number").get(), 5);
        assert!(rounds("0").is_err() && rounds("many").is_err());
    }

    #[test]
    fn dependencies_are_copied_with_their_times_and_without_our_crates() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("deps"))?;
        for name in ["liballoy.rlib", "libsubnode_rpc.rlib", "subnode.d", "a_test"] {
            fs::write(from.join("deps").join(name), name)?;
        }
        let built = SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789);
        fs::File::options().write(true).open(from.join("deps/liballoy.rlib"))?.set_modified(built)?;
        copy_dependencies(&from, &to)?;
        let copied: Vec<_> = fs::read_dir(to.join("deps"))?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
        assert_eq!(copied, ["liballoy.rlib"]);
        assert_eq!(fs::metadata(to.join("deps/liballoy.rlib"))?.modified()?, built);
        Ok(())
    }
}
