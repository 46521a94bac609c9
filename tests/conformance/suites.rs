//! Runs the cases of whole folders on all cores, and counts: what passed, what failed, and what was left out and why.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex,
        mpsc::{Receiver, sync_channel},
    },
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use subnode_sandbox::Module;

use crate::{blocks, fixtures, rules, states};

/// Files that wait for a worker, at most: some have 20 MB.
const FILES_WAITING_MAX: usize = 4;
/// Failures that are shown, at most.
const FAILURES_SHOWN: usize = 40;
/// What a file holds whose content is kept elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// What became of a case that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// Left out, and why.
    Excluded(String),
}

/// What became of the cases of a suite.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    excluded: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, name: impl FnOnce() -> String, result: anyhow::Result<Verdict>) {
        match result {
            Ok(Verdict::Passed) => self.passed += 1,
            Ok(Verdict::Excluded(reason)) => self.exclude(reason, 1),
            Err(error) => self.failures.push(format!("{}: {error:#}", name())),
        }
    }

    fn exclude(&mut self, reason: impl Into<String>, count: usize) {
        *self.excluded.entry(reason.into()).or_default() += count;
    }

    fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        for (reason, count) in other.excluded {
            self.exclude(reason, count);
        }
    }

    /// Says the counts in one line, and fails with the first of what did not hold.
    pub(crate) fn report(self, suite: &str) {
        let left_out: usize = self.excluded.values().sum();
        let reasons: Vec<_> = self.excluded.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let named = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        fixtures::say(&format!("{suite}: {} passed, {} failed, {left_out} left out{named}", self.passed, self.failures.len()));
        let shown: Vec<_> = self.failures.iter().take(FAILURES_SHOWN).map(String::as_str).collect();
        assert!(self.failures.is_empty(), "{suite}: {} failures\n{}", self.failures.len(), shown.join("\n"));
        assert!(self.passed > 0, "{suite}: no case was run");
    }
}

#[test]
fn every_block_and_state_case_passes_through_the_guest() -> anyhow::Result<()> {
    let folders = ["ethereum-tests/BlockchainTests", "ethereum-tests/GeneralStateTests", "execution-spec-tests"];
    every_case_passes("block and state cases", &folders, fixtures::evm)
}

/// The guest does plain transfers itself. A guest that leaves them to revm gives the same.
#[test]
fn every_state_case_passes_where_revm_does_transfers_too() -> anyhow::Result<()> {
    every_case_passes("state cases, transfers by revm", &["ethereum-tests/GeneralStateTests"], fixtures::evm_with_transfers_by_revm)
}

fn every_case_passes(title: &str, folders: &[&str], module: impl FnOnce() -> anyhow::Result<Module>) -> anyhow::Result<()> {
    let roots: Vec<_> = folders.iter().filter_map(|folder| Some((*folder, fixtures::folder(folder)?))).collect();
    if roots.is_empty() {
        return Ok(());
    }
    let module = module()?;
    let (send, files) = sync_channel(FILES_WAITING_MAX);
    let files = Mutex::new(files);
    let tally = std::thread::scope(|scope| -> anyhow::Result<Tally> {
        let reader = scope.spawn(move || -> anyhow::Result<()> {
            for (folder, root) in &roots {
                // Nobody receives any more only where a worker panicked, which fails the test.
                fixtures::each_file(root, &mut |name, content| drop(send.send((format!("{folder} {name}"), content))))?;
            }
            Ok(())
        });
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(|| work(&module, &files))).collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally.merge(worker.join().expect("a worker does not panic")?);
        }
        reader.join().expect("the reader does not panic")?;
        Ok(tally)
    })?;
    tally.report(title);
    Ok(())
}

/// Runs files until there are no more.
fn work(module: &Module, files: &Mutex<Receiver<(String, Vec<u8>)>>) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = Tally::default();
    loop {
        let Ok((file, content)) = files.lock().expect("no worker panics here").recv() else { return Ok(tally) };
        if content.starts_with(LFS_POINTER) {
            tally.exclude("files that are Git LFS pointers", 1);
            continue;
        }
        match serde_json::from_slice::<BTreeMap<String, &RawValue>>(&content) {
            Ok(cases) => {
                for (name, case) in cases {
                    runtime.block_on(run(module, &format!("{file} {name}"), case, &mut tally));
                }
            }
            Err(error) => tally.failures.push(format!("{file}: {error}")),
        }
    }
}

/// What says whether and how a case can be run, without reading all of it.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    network: Option<Cow<'a, str>>,
    blocks: Option<Vec<IgnoredAny>>,
    post: Option<BTreeMap<String, Vec<IgnoredAny>>>,
}

async fn run(module: &Module, name: &str, case: &RawValue, tally: &mut Tally) {
    match serde_json::from_str(case.get()) {
        Ok(Shape { network: Some(network), blocks: Some(_), .. }) => match rules::named(&network) {
            None => tally.exclude(network, 1),
            Some(rules) => {
                let result = match serde_json::from_str(case.get()) {
                    Ok(case) => blocks::run(module, rules, &case).await,
                    Err(error) => Err(error.into()),
                };
                tally.add(|| name.to_owned(), result);
            }
        },
        Ok(Shape { post: Some(posts), .. }) => {
            if posts.values().all(Vec::is_empty) {
                tally.exclude("without an expected state", 1);
            }
            let mut read = None;
            for (fork, posts) in posts {
                let Some(rules) = rules::named(&fork) else {
                    tally.exclude(fork, posts.len());
                    continue;
                };
                for position in 0..posts.len() {
                    let case: &Result<Value, _> = read.get_or_insert_with(|| serde_json::from_str(case.get()));
                    let result = match case {
                        Ok(case) => states::run(module, rules.clone(), case, &case["post"][&fork][position]).await,
                        Err(error) => Err(anyhow::anyhow!("{error}")),
                    };
                    tally.add(|| format!("{name} {fork}[{position}]"), result);
                }
            }
        }
        Ok(_) | Err(_) => tally.exclude("of other formats", 1),
    }
}
