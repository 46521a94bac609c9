//! The client libraries, installed once into the target folder.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::Context;

use subnode_tests::process::foundry;

use crate::{run, run_within};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/scripts");

/// A registry may be slow, and a project of Hardhat is hundreds of packages.
const INSTALLED_WITHIN: Duration = Duration::from_secs(600);

/// A folder with the scripts, the packages they need, and the compiled contract.
pub(crate) struct Packages {
    dir: PathBuf,
    solc: String,
}

impl Packages {
    /// The folder; what is missing in it is installed, once per process.
    pub(crate) fn install() -> anyhow::Result<&'static Self> {
        static INSTALLED: OnceLock<Result<Packages, String>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| install().map_err(|error| format!("{error:#}")));
        installed.as_ref().map_err(|error| anyhow::anyhow!("the client libraries are not installed: {error}"))
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(script).current_dir(&self.dir);
        command
    }

    pub(crate) fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.dir.join("python/bin/python"));
        command.arg(script).current_dir(&self.dir);
        command
    }

    /// Hardhat of a project, run in it; the project is installed and compiled, once per process.
    pub(crate) fn hardhat(&self, project: &'static str) -> anyhow::Result<Command> {
        static READY: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.dir.join(project);
        let path = self.path_of(project)?;
        let hardhat = || {
            let mut command = Command::new(dir.join("node_modules/.bin/hardhat"));
            command.env("PATH", &path).current_dir(&dir);
            command
        };
        if !ready.contains(project) {
            // What an earlier version of the scripts had must not be run.
            for folder in ["test", "contracts"] {
                remove(&dir.join(folder))?;
            }
            copy(&Path::new(SCRIPTS).join("contracts"), &dir.join("contracts"))?;
            // Releases of Hardhat 2 differ in their packages alone.
            for part in [if project == "hardhat3" { "hardhat3" } else { "hardhat2" }, project] {
                copy(&Path::new(SCRIPTS).join(part), &dir)?;
            }
            npm_install(&dir, &path)?;
            run(hardhat().args(if project == "hardhat3" { ["build", "--quiet"] } else { ["compile", "--quiet"] }))?;
            ready.insert(project);
        }
        Ok(hardhat())
    }

    /// Where a project finds Node: Hardhat 3 needs a newer one than a distribution may have, which npm has as well.
    fn path_of(&self, project: &str) -> anyhow::Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        if project != "hardhat3" {
            return Ok(path);
        }
        let packages = fs::read_dir(self.dir.join("node_modules"))?.flatten();
        let mut bins =
            packages.filter(|package| package.file_name().to_string_lossy().starts_with("node-")).map(|package| package.path().join("bin"));
        let newer = bins.find(|bin| bin.join("node").is_file()).context("no Node of npm's for this platform")?;
        Ok(env::join_paths(std::iter::once(newer).chain(env::split_paths(&path)))?)
    }

    /// A program of Foundry, run in its project.
    pub(crate) fn foundry(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(foundry(&self.dir, name).with_context(|| format!("no {name} for this platform"))?);
        command.current_dir(self.dir.join("foundry"));
        Ok(command)
    }

    pub(crate) fn solc(&self) -> &str {
        &self.solc
    }

    pub(crate) fn bytecode(&self) -> anyhow::Result<String> {
        let artefact: serde_json::Value = serde_json::from_slice(&fs::read(self.dir.join("Counter.json"))?)?;
        Ok(artefact["bytecode"].as_str().context("bytecode")?.to_owned())
    }
}

fn install() -> anyhow::Result<Packages> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    for part in ["foundry", "shared"] {
        copy(&Path::new(SCRIPTS).join(part), &dir.join(part))?;
    }
    copy_files(Path::new(SCRIPTS), &dir)?;
    npm_install(&dir, &env::var_os("PATH").unwrap_or_default())?;
    once(&dir, "requirements.txt", || {
        run(Command::new("python3").args(["-m", "venv", "python"]).current_dir(&dir))?;
        run_within(
            INSTALLED_WITHIN,
            Command::new("python/bin/pip").args(["install", "--quiet", "-r", "requirements.txt"]).current_dir(&dir),
        )
    })?;
    copy(&Path::new(SCRIPTS).join("contracts"), &dir.join("foundry/src"))?;
    copy(&Path::new(SCRIPTS).join("contracts"), &dir.join("contracts"))?;
    run(Command::new("node").arg("solc.mjs").current_dir(&dir))?;
    let solc = dir.join("solc.mjs").into_os_string().into_string().ok().context("the target folder's name is text")?;
    Ok(Packages { dir, solc })
}

/// The packages of a folder's package.json.
fn npm_install(dir: &Path, path: &OsString) -> anyhow::Result<()> {
    once(dir, "package.json", || {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).env("PATH", path).current_dir(dir);
        run_within(INSTALLED_WITHIN, &mut npm)
    })
}

/// Installs what a list names, unless that was done for the same list.
fn once(dir: &Path, list: &str, install: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let wanted = fs::read(dir.join(list))?;
    let stamp = dir.join(format!("{list}.installed"));
    if fs::read(&stamp).ok().as_deref() != Some(&wanted) {
        eprintln!("installing {}", dir.join(list).display());
        install()?;
        fs::write(&stamp, wanted)?;
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The files of a folder, without the folders in it.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    copy_files(from, to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
