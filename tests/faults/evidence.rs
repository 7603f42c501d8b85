//! What a run leaves behind, and how that of a disturbed run may differ from an undisturbed one's: not
//! at all, but for times and signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{
    Attempt, Digest, Envelope, Judgement, PolicyUpdate, Predicate, ServingAction, ServingChange,
    Statement,
};
use seal_trust::{envelope_from_file_bytes, payload_bytes, payload_digest};
use serde::de::DeserializeOwned;

use super::common::{self, Run, files_below};
use super::questions::Endpoint;
use super::steps::kind_of;

/// The end of a run, as an outsider sees it.
#[derive(Debug, PartialEq)]
pub(crate) struct Evidence {
    /// Every attempt, in order: what was judged, and how.
    ledger: Vec<Attempt>,
    /// How many verdicts there are.
    verdicts: usize,
    /// The edits of each policy update.
    taught: Vec<Vec<Digest>>,
    /// Versions in the order in which they came to serve.
    served: Vec<String>,
    /// What the auditor keeps of the judge, in the order of the edits.
    judgements: Vec<Judgement>,
    /// What the judge's endpoint was asked.
    questions: BTreeSet<Vec<u8>>,
    /// How many files of each kind lie in the folders of the roles and the conductor.
    files: BTreeMap<String, usize>,
}

/// Reads it, and whatever of the invariants a single run can break.
pub(crate) fn gather(run: &Run, endpoint: &Endpoint) -> (Evidence, Vec<String>) {
    let mut broken = Vec::new();
    let verified = run.seal(&["verify", "--all"]);
    if !verified.status.success() {
        broken.push(format!("the run does not verify: {}", common::stderr(&verified).trim()));
    }
    let verdicts = verdicts(run, &mut broken);
    let taught = taught(run, &verdicts, &mut broken);
    let served = served(run, &verdicts, &mut broken);
    let judgements = judgements(run, &mut broken);
    let questions = questions(run, endpoint, &mut broken);
    let files = files(run);
    broken
        .extend(files.keys().filter(|kind| is_temporary(kind)).map(|kind| format!("{kind} stays")));
    let (ledger, verdicts) = (run.ledger(), verdicts.len());
    let evidence = Evidence { ledger, verdicts, taught, served, judgements, questions, files };
    (evidence, broken)
}

/// What sets two runs apart, in words; nothing, if all is as it should be.
pub(crate) fn differences(disturbed: &Evidence, undisturbed: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |same: bool, what: String| {
        if !same {
            found.push(what);
        }
    };
    let (here, there) = (disturbed, undisturbed);
    compare(here.ledger == there.ledger, "the ledger says something else".to_owned());
    compare(here.verdicts == there.verdicts, format!("{} verdicts", here.verdicts));
    compare(here.taught == there.taught, format!("taught {:?}", here.taught));
    compare(here.served == there.served, format!("served {:?}", here.served));
    compare(here.judgements == there.judgements, format!("judged {:?}", here.judgements));
    compare(here.questions == there.questions, "other questions left".to_owned());
    let kinds: BTreeSet<&String> = here.files.keys().chain(there.files.keys()).collect();
    for kind in kinds {
        let count = |files: &BTreeMap<String, usize>| files.get(kind).copied().unwrap_or(0);
        let (found, wanted) = (count(&here.files), count(&there.files));
        compare(found == wanted, format!("{found} files {kind} instead of {wanted}"));
    }
    found
}

/// Every verdict that exists, by its payload's digest: in the ledger's table and as a file, each number
/// once and none left out.
fn verdicts(run: &Run, broken: &mut Vec<String>) -> BTreeSet<Digest> {
    let state = run.path("auditor/state");
    let known = match seal_auditor::offline::verdicts(&state) {
        Ok(known) => known,
        Err(finding) => {
            broken.push(format!("the ledger does not read: {finding:?}"));
            return BTreeSet::new();
        }
    };
    let mut numbers: Vec<u64> = known.iter().map(|(_, verdict)| verdict.sequence).collect();
    numbers.sort_unstable();
    if numbers.iter().zip(1..).any(|(number, expected)| *number != expected) {
        broken.push(format!("verdicts have the numbers {numbers:?}"));
    }
    let in_ledger: BTreeSet<Digest> =
        known.iter().map(|(envelope, _)| payload_digest(envelope).unwrap()).collect();
    let as_files: BTreeSet<Digest> =
        envelopes(&state.join("verdicts")).iter().map(|e| payload_digest(e).unwrap()).collect();
    if in_ledger != as_files {
        broken.push(format!("verdicts in the ledger {in_ledger:?}, as files {as_files:?}"));
    }
    in_ledger
}

/// Policy updates, each on verdicts that exist, and no edit twice.
fn taught(run: &Run, verdicts: &BTreeSet<Digest>, broken: &mut Vec<String>) -> Vec<Vec<Digest>> {
    let updates: Vec<PolicyUpdate> = messages(&run.path("teacher/state/policy-updates"));
    let mut edits = BTreeSet::new();
    for update in &updates {
        if let Some(unknown) = update.verdict_digests.iter().find(|one| !verdicts.contains(one)) {
            broken.push(format!("the policy learned from {unknown}, which is no verdict"));
        }
        for edit in &update.edit_digests {
            if !edits.insert(*edit) {
                broken.push(format!("edit {edit} was taught twice"));
            }
        }
    }
    updates.into_iter().map(|update| update.edit_digests).collect()
}

/// Changes of what serves, each promotion on a verdict that exists and was used once.
fn served(run: &Run, verdicts: &BTreeSet<Digest>, broken: &mut Vec<String>) -> Vec<String> {
    let mut changes: Vec<ServingChange> = messages(&run.path("student/state/serving"));
    changes.sort_by_key(|change| change.number);
    let mut used = BTreeSet::new();
    let mut served = Vec::new();
    for change in changes {
        match change.action {
            ServingAction::Promote { version, verdict_digest, .. } => {
                if !verdicts.contains(&verdict_digest) {
                    broken.push(format!("{version} serves without a verdict"));
                }
                if !used.insert(verdict_digest) {
                    broken.push(format!("{version} serves on a verdict that was used before"));
                }
                served.push(version);
            }
            ServingAction::RollBack { version, .. } => served.push(version),
        }
    }
    served
}

/// What was said of each edit, once.
fn judgements(run: &Run, broken: &mut Vec<String>) -> Vec<Judgement> {
    let mut judgements: Vec<Judgement> = messages(&run.path("auditor/state/judgements"));
    judgements.sort_by_key(|one| one.edit_digest);
    for pair in judgements.windows(2).filter(|pair| pair[0].edit_digest == pair[1].edit_digest) {
        broken.push(format!("edit {} was judged twice", pair[0].edit_digest));
    }
    judgements
}

/// Questions that reached the endpoint. One is under way at a time, so one fault takes one answer that was
/// not kept, and nothing that was kept is asked for again. What was to leave stood in the record before.
fn questions(run: &Run, endpoint: &Endpoint, broken: &mut Vec<String>) -> BTreeSet<Vec<u8>> {
    let came = endpoint.questions(run);
    let again: usize = came.values().map(|times| times - 1).sum();
    if again > 1 {
        broken.push(format!("{again} answers were paid for again"));
    }
    match read_record(&run.path("judge/state")) {
        Ok(rows) => {
            let bodies = rows.iter().filter_map(|row| match row {
                EgressRow::Sent { body, .. } => Some(body.as_bytes()),
                EgressRow::Answered { .. } => None,
            });
            let mut recorded = BTreeMap::new();
            bodies.for_each(|body| *recorded.entry(body).or_insert(0) += 1);
            if came.iter().any(|(question, times)| recorded.get(&question[..]) < Some(times)) {
                broken.push("a question left that stands in no record".to_owned());
            }
        }
        Err(error) => broken.push(format!("the record of what left does not read: {error}")),
    }
    came.into_keys().collect()
}

fn messages<P: Predicate + DeserializeOwned>(folder: &Path) -> Vec<P> {
    let parse = |envelope: &Envelope| -> Statement<P> {
        serde_json::from_slice(&payload_bytes(envelope).unwrap()).unwrap()
    };
    envelopes(folder).iter().map(|envelope| parse(envelope).predicate).collect()
}

fn envelopes(folder: &Path) -> Vec<Envelope> {
    let files = if folder.is_dir() { files_below(folder) } else { Vec::new() };
    let envelopes = files.iter().filter(|file| file.extension().is_some_and(|e| e == "json"));
    envelopes.map(|file| envelope_from_file_bytes(&std::fs::read(file).unwrap()).unwrap()).collect()
}

/// Kinds of files with how many there are. A database's log comes and goes with its connections.
pub(crate) fn files(run: &Run) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for part in ["teacher", "student", "auditor", "judge", "conductor", "decoys"] {
        let folder = run.path(part);
        let files = if folder.is_dir() { files_below(&folder) } else { Vec::new() };
        for file in files {
            let place = file.strip_prefix(&run.folder).unwrap().to_string_lossy().into_owned();
            if !place.ends_with("-wal") && !place.ends_with("-shm") {
                *kinds.entry(kind_of(&place)).or_insert(0) += 1;
            }
        }
    }
    kinds
}

fn is_temporary(kind: &str) -> bool {
    [".tmp", ".part", "-journal"].iter().any(|end| kind.ends_with(end)) || kind.contains(".partial")
}
