//! A daemon is killed, its disk fails, or its power goes, at any step at which it changes the disk; then all
//! is started again without a fault and must end as if nothing had been.
//!
//! The steps are those of an undisturbed run, listed by a library between each daemon and its disk
//! (`shim.rs`); the list is held against the files that the run left. Each fault is shown to have fired
//! before anything is concluded from its end. Power that goes is a kill after which the folder is laid out
//! anew, as a disk has it that kept what was synced (`record.rs`, `disk.rs`); one host loses it, the
//! victim's.
//!
//! `SEAL_FAULTS=all` tries the whole table, `SEAL_FAULTS=5` five cells of each pair of role and fault;
//! `SEAL_FAULTS_SEED` draws others, `SEAL_FAULTS_ONLY=auditor,student:broken,:lost` keeps to what it names,
//! `SEAL_FAULTS_JOBS` sets how many run side by side.
//!
//! **Absent:** a disk that keeps a part of what was not synced, and one that says it synced and did not.

#![allow(clippy::unwrap_used)]

mod cells;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod disk_tests;
mod evidence;
#[path = "../common/judged.rs"]
mod judged;
mod preload;
mod questions;
mod recording;
mod scenario;
mod steps;
mod tried;

use std::collections::BTreeSet;

use cells::Setting;
use disk::{Disk, Survives};
use preload::{Shim, record, trace};
use scenario::Scenario;
use steps::{Cell, Fault, Step, Steps, Victim};
use tried::Tried;

/// Cells of each pair of victim and fault that a plain test run tries, and what draws them.
const EACH: usize = 1;
const SEED: u64 = 4;

#[test]
fn a_fault_at_any_step_loses_no_work_and_has_no_second_effect() {
    let shim = Shim::build();
    let scenario = Scenario::new();
    let undisturbed = scenario.copy();
    undisturbed.complete();
    let (evidence, broken) = evidence::gather(&undisturbed, &scenario.endpoint);
    assert!(broken.is_empty(), "{broken:?}");
    let questions = scenario.endpoint.questions(&undisturbed);
    assert!(questions.values().all(|times| *times == 1) && questions.len() > 2, "{questions:?}");

    let only = steps::Only::parse(&std::env::var("SEAL_FAULTS_ONLY").unwrap_or_default());
    let victims = Victim::ALL.into_iter().filter(|victim| only.tries(*victim));
    let steps: Vec<(Victim, Steps)> =
        victims.map(|victim| (victim, steps_of(&shim, &scenario, victim))).collect();
    let table = steps.iter().flat_map(|(victim, steps)| steps::table(*victim, steps));
    let all = table.filter(|cell| only.has(cell)).collect();
    let chosen = chosen(all);
    let setting = Setting { shim, scenario, undisturbed: evidence };
    let tried = cells::try_all(&setting, chosen);

    println!("{}", tried::render(&steps, &tried));
    let violations: Vec<String> = tried.iter().filter_map(Tried::violation).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Every step of a victim in a run without faults, held against the files that were there afterwards.
fn steps_of(shim: &Shim, scenario: &Scenario, victim: Victim) -> Steps {
    let run = scenario.copy();
    let disk = || Disk::read(&run.path(victim.disk()));
    let whole = |disk: Disk| disk.tree(Survives::Everything);
    let (disk_before, again) = (disk(), disk());
    let before: BTreeSet<String> = evidence::files(&run).into_keys().collect();
    let ended = scenario::conduct(&run, |command| shim.load(command, &run.folder, victim, None));
    let ended = ended.expect("a run without faults ends");
    assert!(ended.status.success(), "{}", common::stderr(&ended));
    let (steps, fired) = trace(&run.folder);
    assert!(fired.is_empty(), "{fired:?}");
    let seen: BTreeSet<String> = steps.iter().map(|step| steps::kind_of(&step.place)).collect();
    let own = format!("{}/", victim.folder());
    let left = evidence::files(&run).into_keys().filter(|kind| !before.contains(kind));
    let left: Vec<String> =
        left.filter_map(|kind| Some(kind.strip_prefix(&own)?.to_owned())).collect();
    assert!(!left.is_empty(), "the {victim:?} left no file");
    let unseen: Vec<&String> = left.iter().filter(|kind| !was_seen(kind, &seen)).collect();
    assert!(unseen.is_empty(), "the {victim:?} made {unseen:?} without a step that was seen");
    let synced = |file: &str| steps.iter().any(|s| s.call == "sync" && s.place.starts_with(file));
    let databases = left.iter().filter(|kind| kind.ends_with(".sqlite"));
    databases.for_each(|file| assert!(synced(file), "no sync of {file} was seen"));
    // What was recorded makes the disk that is there, to the byte.
    let lines = record(&run.folder);
    let replayed = recording::replay(again, &lines);
    // A database that is being closed has its log still, or has it again.
    let unsynced = replayed.unsynced().into_iter().filter(|place| !place.contains(".sqlite"));
    let unsynced: Vec<String> = unsynced.collect();
    assert!(unsynced.is_empty(), "after a run power could take from the {victim:?}: {unsynced:?}");
    let unlike = disk::unlike(&whole(replayed), &whole(disk()));
    assert!(unlike.is_empty(), "the record of the {victim:?} does not make {unlike:?}");
    let losing = recording::losing(disk_before, &lines, &steps::named(&steps));
    Steps { all: steps, losing }
}

/// By its name, or in a folder that got its name afterwards.
fn was_seen(kind: &str, seen: &BTreeSet<String>) -> bool {
    let elsewhere = |folder: &str, file: &str| {
        let beside = folder.rsplit_once('/').map_or("", |(beside, _)| beside);
        let inside = |place: &&String| place.starts_with(beside) && place.ends_with(file);
        seen.contains(folder) && seen.iter().find(inside).is_some()
    };
    let in_a_folder = kind.rsplit_once('/').map(|(folder, file)| elsewhere(folder, file));
    seen.contains(kind) || in_a_folder == Some(true)
}

/// As the environment asks; a plain test run takes a few.
fn chosen(all: Vec<Cell>) -> Vec<Cell> {
    let seed = number("SEAL_FAULTS_SEED").map_or(SEED, |seed| seed as u64);
    match std::env::var("SEAL_FAULTS").as_deref() {
        Ok("all") => all,
        _ => {
            let each = number("SEAL_FAULTS").unwrap_or(EACH);
            println!("{each} of each pair of victim and fault, drawn by seed {seed}");
            steps::sample(all, each, seed)
        }
    }
}

pub(crate) fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn a_sample_covers_every_role_and_every_fault_and_follows_from_its_seed() {
    let step = |number: u64, call: &str| Step { number, call: call.into(), place: "a".into() };
    let calls = ["create", "write", "sync", "rename"];
    let all: Vec<Step> = (0..40).map(|n| step(n, calls[n as usize % 4])).collect();
    let losing = all.iter().flat_map(|one| [Fault::Lost, Fault::Names].map(|f| (f, one.number)));
    let steps = Steps { losing: losing.collect(), all };
    let all = || Victim::ALL.into_iter().flat_map(|victim| steps::table(victim, &steps)).collect();
    let drawn = steps::sample(all(), 2, 7);
    let pairs: BTreeSet<(Victim, Fault)> = drawn.iter().map(|c| (c.victim, c.fault)).collect();
    assert_eq!((pairs.len(), drawn.len()), (35, 70));
    assert_eq!(steps::sample(all(), 2, 7), drawn);
    assert_ne!(steps::sample(all(), 2, 8), drawn);
}

#[test]
fn equal_calls_in_a_row_are_one_named_step_and_digests_do_not_set_places_apart() {
    let hex = "0123456789abcdef".repeat(4);
    let text = format!(
        "step 1 pwrite a.sqlite-wal\nstep 2 pwrite a.sqlite-wal\nstep 3 sync a.sqlite-wal\n\
         step 4 create edits/.tmp-17-3\nstep 5 rename edits/{hex}.json\nfired 5 rename edits/{hex}.json\n"
    );
    let (steps, fired) = steps::read_trace(&text);
    assert_eq!((steps.len(), fired.as_slice()), (5, &steps[4..]));
    let named: Vec<String> =
        steps::named(&steps).iter().map(|step| format!("{} {step}", step.number)).collect();
    assert_eq!(
        named,
        [
            "2 pwrite a.sqlite-wal",
            "3 sync a.sqlite-wal",
            "4 create edits/.tmp",
            "5 rename edits/<digest>.json"
        ]
    );
}

#[test]
fn a_part_of_the_table_is_named_by_victims_and_faults() {
    let step = |number| Step { number, call: "write".into(), place: "a".into() };
    let steps = Steps { all: vec![step(1)], losing: [(Fault::Lost, 1)].into() };
    let cells = |victim| steps::table(victim, &steps);
    let kept = |text: &str| -> Vec<(Victim, Fault)> {
        let only = steps::Only::parse(text);
        let victims = Victim::ALL.into_iter().filter(|victim| only.tries(*victim));
        let kept = victims.flat_map(cells).filter(|cell| only.has(cell));
        kept.map(|cell| (cell.victim, cell.fault)).collect()
    };
    assert_eq!(kept("student:broken"), [(Victim::Student, Fault::Broken)]);
    assert_eq!(kept("auditor,student:broken").len(), cells(Victim::Auditor).len() + 1);
    assert_eq!(kept(":lost"), Victim::ALL.map(|victim| (victim, Fault::Lost)));
    assert_eq!(kept("").len(), 5 * cells(Victim::Auditor).len());
}
