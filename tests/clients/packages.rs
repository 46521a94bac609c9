//! The client libraries, installed once into the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::Context;

use subnode_tests::process::foundry;

use crate::run;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/scripts");

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

    /// Hardhat, run in its project.
    pub(crate) fn hardhat(&self) -> Command {
        let mut command = Command::new(self.dir.join("node_modules/.bin/hardhat"));
        command.current_dir(self.dir.join("hardhat"));
        command
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
    copy(Path::new(SCRIPTS), &dir)?;
    let wanted = [fs::read(dir.join("package.json"))?, fs::read(dir.join("requirements.txt"))?].concat();
    let stamp = dir.join("installed");
    if fs::read(&stamp).ok().as_deref() != Some(&wanted) {
        eprintln!("installing the client libraries of {SCRIPTS} from npm and PyPI");
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&dir))?;
        run(Command::new("python3").args(["-m", "venv", "python"]).current_dir(&dir))?;
        run(Command::new("python/bin/pip").args(["install", "--quiet", "-r", "requirements.txt"]).current_dir(&dir))?;
        fs::write(&stamp, wanted)?;
    }
    for project in ["hardhat/contracts", "foundry/src"] {
        fs::create_dir_all(dir.join(project))?;
        fs::copy(dir.join("Counter.sol"), dir.join(project).join("Counter.sol"))?;
    }
    run(Command::new("node").arg("solc.mjs").current_dir(&dir))?;
    let solc = dir.join("solc.mjs").into_os_string().into_string().ok().context("the target folder's name is text")?;
    Ok(Packages { dir, solc })
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
