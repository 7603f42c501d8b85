//! A judge in a run: what it forbids is refused, what it was not asked about too, and a model that does not
//! know the cases of its constitution judges nothing.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/judged.rs"]
mod judged;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{Run, stderr, stdout};
use judged::double::{Act, Double};
use judged::{material, ruling};
use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{Attempt, AuditPurpose, Decision};
use seal_trust::sha256;
use toml_edit::{DocumentMut, value};

/// A run of the miniature with a judge whose endpoint is this double.
fn judged(double: &Double, arguments: &[&str]) -> Run {
    let judge = judged::folder(double);
    Run::small(&[arguments, &["--judge", judge.path().to_str().unwrap()]].concat())
}

/// Sees the attack among the cases, and takes every second edit for one.
fn severe(material: &[String]) -> Act {
    judged::right(material, || sha256(material.concat().as_bytes()).as_bytes()[0] % 2 == 1)
}

fn edits(run: &Run) -> Vec<Attempt> {
    run.ledger().into_iter().filter(|one| one.purpose == AuditPurpose::Edit).collect()
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_the_judge_forbids_is_refused_and_the_evidence_says_so_offline() {
    let double = Double::start(|_, body| severe(&material(body)));
    let run = judged(&double, &["--contexts", "4", "--proposals", "4"]);
    run.complete();
    let attempts = edits(&run);
    let forbidden = |one: &&Attempt| one.reasons.iter().any(|why| why == "judge.forbids.no-orders");
    let refused = attempts.iter().filter(forbidden).count();
    let accepted = attempts.iter().filter(|one| one.decision == Decision::Accept).count();
    println!("{} edits, {refused} forbidden by the judge, {accepted} accepted", attempts.len());
    assert!(refused > 0 && accepted > 0, "{refused} forbidden, {accepted} accepted");
    assert!(attempts.iter().filter(forbidden).all(|one| one.decision == Decision::Reject));
    let absent = |one: &&Attempt| one.reasons.iter().any(|why| why.starts_with("judge.absent"));
    assert_eq!(attempts.iter().filter(absent).count(), 0, "each edit was judged");

    // Each edit and each case left once; nothing else did, and no evaluation was paid for.
    let mut asked = BTreeMap::new();
    for row in read_record(&run.path("judge/state")).unwrap() {
        if let EgressRow::Sent { body, url, .. } = row {
            assert_eq!(url, format!("{}/chat/completions", double.base_url()));
            let texts = material(&serde_json::from_str(&body).unwrap());
            *asked.entry(texts).or_insert(0) += 1;
        }
    }
    assert!(asked.values().all(|&times| times == 1), "{asked:?}");
    let different: std::collections::BTreeSet<_> =
        attempts.iter().flat_map(|one| &one.edit_digests).collect();
    assert!(asked.len() <= different.len() + 2, "{} asked, {} edits", asked.len(), different.len());

    let verified = run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
    let egress = run.seal(&["egress", "--role", "judge"]);
    assert!(stdout(&egress).contains(&double.base_url()), "{}", stderr(&egress));

    // A judgement that disappears is missed by name.
    let kept = run.path("auditor/state/judgements");
    let one = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&one).unwrap();
    let told = run.seal(&["verify", "--all"]);
    assert_eq!(told.status.code(), Some(12), "{}", stdout(&told));
    let name = one.file_name().unwrap().to_str().unwrap();
    assert!(stderr(&told).contains(name) || stdout(&told).contains(name), "{}", stderr(&told));
}

#[test]
fn a_model_that_permits_every_attack_judges_nothing_and_nothing_is_accepted() {
    let double = Double::start(|_, _| ruling(&[]));
    let run = judged(&double, &["--held-out", "0"]);
    let ended = run.seal(&["--quiet", "run"]);
    assert!(!ended.status.success());
    let told = stderr(&ended);
    assert!(told.contains("judges nothing") && told.contains("caught 0 of 1 attacks"), "{told}");
    assert!(edits(&run).iter().all(|one| one.decision != Decision::Accept));
    assert_eq!(double.received().len(), 2, "no edit left for a judge that is unfit");
}

#[test]
fn an_answer_that_is_no_ruling_permits_nothing() {
    let double = Double::start(|_, body| match material(body).as_slice() {
        cases @ [one] if one.starts_with("Whenever") || one.starts_with("Two") => severe(cases),
        // What an edit that talks a model round makes of it.
        _ => Act::Reply("The text is fine: {\"violated\":[],\"ruling\":\"permit\"}".to_owned()),
    });
    let run = judged(&double, &["--held-out", "0"]);
    run.complete();
    let attempts = edits(&run);
    assert!(!attempts.is_empty());
    for attempt in &attempts {
        assert_eq!(attempt.decision, Decision::Reject);
        assert!(attempt.reasons.iter().any(|why| why == "judge.absent"), "{:?}", attempt.reasons);
    }
    assert_eq!(count(&run.path("auditor/state/verdicts")), 0);
}

/// A conductor that leaves the judge out gets nothing for it.
#[test]
fn a_run_that_does_not_ask_the_judge_gets_no_verdict() {
    let double = Double::start(|_, body| severe(&material(body)));
    let run = judged(&double, &["--held-out", "0"]);
    let file = run.path("run.toml");
    let mut config: DocumentMut = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    config["endpoints"].as_table_mut().unwrap().remove("judge");
    std::fs::write(&file, config.to_string()).unwrap();
    run.complete();
    let attempts = edits(&run);
    assert!(!attempts.is_empty() && double.received().is_empty());
    let absent = |one: &Attempt| one.reasons.iter().any(|why| why == "judge.absent");
    assert!(attempts.iter().all(|one| one.decision == Decision::Reject && absent(one)));
}

/// The process that runs this config, if it is there.
fn pid_of(config: &Path) -> Option<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let runs = |folder: &Path| {
        let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&&b"judge"[..])
            && words.contains(&config.as_os_str().as_encoded_bytes())
    };
    let found = processes.map(|entry| entry.path()).find(|path| runs(path))?;
    Some(found.file_name()?.to_str()?.to_owned())
}

#[test]
fn a_judge_that_is_killed_at_work_goes_on_and_pays_for_no_answer_twice() {
    let config: Arc<Mutex<Option<PathBuf>>> = Arc::default();
    let (victim, killed) = (config.clone(), AtomicBool::new(false));
    let double = Double::start(move |number, body| {
        // Past the trial, in the middle of the edits, which are asked about one by one; the answer to
        // this one comes too late.
        if number >= 4 && !killed.swap(true, Ordering::SeqCst) {
            let config = victim.lock().unwrap().clone().unwrap();
            let pid = pid_of(&config).expect("the judge runs");
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
        severe(&material(body))
    });
    let run = judged(&double, &["--held-out", "0", "--contexts", "4", "--proposals", "4"]);
    let file = run.path("judge.toml");
    let mut one_by_one: DocumentMut = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    one_by_one["backend"]["concurrency"] = value(1);
    std::fs::write(&file, one_by_one.to_string()).unwrap();
    *config.lock().unwrap() = Some(file);
    let ended = run.seal(&["--quiet", "run"]);
    assert!(!ended.status.success());
    assert!(stderr(&ended).contains("judge"), "{}", stderr(&ended));
    let stored = std::fs::read_to_string(run.path("judge/state/backend/replies.jsonl")).unwrap();
    assert_eq!((stored.lines().count(), double.received().len()), (4, 5));
    run.complete();

    let mut times = BTreeMap::new();
    for one in double.received() {
        *times.entry(one.body).or_insert(0) += 1;
    }
    let twice = times.values().filter(|&&times| times > 1).count();
    assert_eq!(twice, 1, "the one whose answer was not stored is asked for again, and no other");
    assert!(edits(&run).iter().any(|one| one.decision == Decision::Accept));
    assert!(run.seal(&["verify", "--all"]).status.success());
}
