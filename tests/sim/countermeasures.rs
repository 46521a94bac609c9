//! Takes the countermeasures against bad members out of `bft`, one after another. The runs beside that member must then
//! fail. A test that nothing can fail shows nothing.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use subnode_simulator::{Bad, LyingSyncPeer, Modules, Plan, Withholder, run_all};
use subnode_tests::{
    bad_member::{Actor, Kind},
    guests,
};

use crate::{modules, sandbox};

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Runs of each.
const SEEDS: u64 = 40;

/// What is taken out: the file of `bft`, what is there, what is put in its place.
struct Without {
    file: &'static str,
    what: &'static str,
    instead: &'static str,
}

const EVIDENCE: Without = Without {
    file: "desk.rs",
    what: "self.effects.push(sdk::Effect::Evidence(sdk::Evidence { member: key.0.to_vec(), proof }));",
    instead: "drop(proof);",
};
const CERTIFICATES: Without = Without {
    file: "lib.rs",
    what: "let certificate: Certificate = decode(&certificate).ok_or(\"it does not decode\")?;",
    instead: "if height > 0 { return Ok(()); } let certificate: Certificate = decode(&certificate).ok_or(\"it does not decode\")?;",
};
const VERDICTS: Without = Without {
    file: "lib.rs",
    what: "self.judge(BlockId(id), matches!(verdict, Verdict::Valid));",
    instead: "drop(verdict); self.judge(BlockId(id), true);",
};
const DECODING: Without = Without {
    file: "lib.rs",
    what: "let Some(message) = decode::<Message>(&bytes) else { return };",
    instead: "let Some(message) = decode::<Message>(&bytes) else { panic!(\"no message\") };",
};
const TIMEOUTS: Without = Without {
    file: "desk.rs",
    what: "self.effects.push(sdk::Effect::SetTimer((timer(timeout), after_ms.max(1))));",
    instead: "self.effects.push(sdk::Effect::SetTimer((timer(timeout), after_ms.max(1_000_000_000))));",
};
const TWO_THIRDS: Without = Without {
    file: "lib.rs",
    what: "ThresholdParams::default()",
    instead: "ThresholdParams { quorum: malachite_types::ThresholdParam::F_PLUS_ONE, honest: malachite_types::ThresholdParam::F_PLUS_ONE }",
};

/// `bft` without something.
fn without(gone: &Without) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("countermeasures");
    drop(fs::remove_dir_all(dir.join("guest-modules")));
    for part in ["guest-modules", "wit"] {
        guests::copy(&Path::new(PROJECT).join(part), &dir.join(part)).unwrap();
    }
    let file = dir.join("guest-modules/bft/src").join(gone.file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(gone.what), "{} has changed: {}", gone.file, gone.what);
    fs::write(&file, text.replace(gone.what, gone.instead)).unwrap();
    let built = guests::build(&dir.join("guest-modules"), &["subnode-bft"], &dir.join("target")).unwrap();
    fs::read(built.join("subnode_bft.wasm")).unwrap()
}

#[test]
fn a_clock_that_is_an_hour_ahead_hurries_all_once_hosts_take_any_block() {
    let gullible = |seed| Plan { future_ms_max: u64::MAX, ..Plan::beside(Bad::Hurries, seed, modules("bft")) };
    let failed = run_all(0..4, gullible, |_, _| {});
    assert!(failed.iter().any(|(_, reason)| reason.contains("no good clock")), "{failed:?}");
}

#[test]
#[ignore = "builds bft anew for each: make countermeasures"]
fn each_bad_member_does_harm_once_its_countermeasure_is_taken_out() {
    let tampers: [(&str, Bad, Without); 8] = [
        ("Equivocator", Bad::Tampers(|member| Box::new(Actor::new(Kind::Equivocator, member))), EVIDENCE),
        ("ForgedCertificates", Bad::Tampers(|member| Box::new(Actor::new(Kind::ForgedCertificates, member))), CERTIFICATES),
        ("LyingSyncPeer", Bad::Tampers(|member| Box::new(LyingSyncPeer::new(member))), CERTIFICATES),
        ("InvalidProposer", Bad::Tampers(|member| Box::new(Actor::new(Kind::InvalidProposer, member))), VERDICTS),
        ("Flooder", Bad::Tampers(|member| Box::new(Actor::new(Kind::Flooder, member))), DECODING),
        ("Withholder", Bad::Tampers(|_| Box::new(Withholder)), TIMEOUTS),
        ("Amnesiac", Bad::Forgets, TWO_THIRDS),
        ("Twins", Bad::Twins, TWO_THIRDS),
    ];
    let mut built: Option<(&str, Modules)> = None;
    let mut harmless = Vec::new();
    for (name, bad, gone) in tampers {
        let weak = match built.take() {
            Some((what, weak)) if what == gone.what => weak,
            _ => Modules { consensus: sandbox().load(&without(&gone)).unwrap(), ..modules("bft") },
        };
        let unseen = AtomicU64::new(0);
        let failed = run_all(
            0..SEEDS,
            |seed| Plan::beside(bad, seed, weak.clone()),
            |_, report| {
                unseen.fetch_add(u64::from(report.evidence == 0), Ordering::Relaxed);
            },
        );
        let harm = if name == "Equivocator" { unseen.into_inner() > 0 } else { !failed.is_empty() };
        println!("{name}: {}", failed.first().map_or(if harm { "nobody saw it" } else { "no harm" }, |(_, reason)| reason));
        if !harm {
            harmless.push(name);
        }
        built = Some((gone.what, weak));
    }
    assert!(harmless.is_empty(), "{harmless:?} do no harm without what stops them: their tests show nothing");
}
