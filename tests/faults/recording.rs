//! What the library wrote down of a run (`record.rs`), read.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::disk::{Change, Disk, Survives, Tree, without_shared_memory};
use super::steps::{Fault, Step};

/// One line: a step is named before it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Step(u64),
    Changed(Change),
}

/// Reads a record, which ends where the process did.
pub(crate) fn read(mut record: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(head) = next(&mut record) {
        let (word, rest) = head.split_once(' ').unwrap();
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let node = || first.parse().unwrap();
        let place = |place: &str| {
            assert!(!place.starts_with('/'), "`{head}` goes to another disk");
            place.to_owned()
        };
        lines.push(Line::Changed(match word {
            "step" => {
                lines.push(Line::Step(node()));
                continue;
            }
            "create" => Change::Create { node: node(), place: place(second) },
            "mkdir" => Change::Folder { node: node(), place: place(second) },
            "write" => {
                let (at, count) = second.split_once(' ').unwrap();
                let bytes;
                (bytes, record) = record.split_at(count.parse().unwrap());
                Change::Write { node: node(), at: at.parse().unwrap(), bytes: bytes.to_vec() }
            }
            "truncate" => Change::Truncate { node: node(), length: second.parse().unwrap() },
            "from" => {
                let to = next(&mut record).unwrap();
                Change::Rename { from: place(rest), to: place(to.strip_prefix("to ").unwrap()) }
            }
            "remove" => Change::Remove { place: place(rest) },
            "sync" => Change::Sync { node: node() },
            other => panic!("the record says {other}"),
        }));
    }
    lines
}

/// The next line. A process that is killed writes no part of one: each is one call.
fn next(record: &mut &[u8]) -> Option<String> {
    let end = record.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&record[..end]).unwrap().to_owned();
    *record = &record[end + 1..];
    Some(line)
}

/// Every change, made on a disk.
pub(crate) fn replay(mut disk: Disk, lines: &[Line]) -> Disk {
    for line in lines {
        if let Line::Changed(change) = line {
            disk.apply(change);
        }
    }
    disk
}

/// The steps of these at which power that goes leaves a disk of its own: neither what a kill leaves, nor
/// what the other fault leaves, nor, of equal ones in a row, any but the last.
pub(crate) fn losing(mut disk: Disk, lines: &[Line], named: &[Step]) -> BTreeSet<(Fault, u64)> {
    let named: BTreeSet<u64> = named.iter().map(|step| step.number).collect();
    let (mut lost, mut only_names) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Changed(change) => disk.apply(change),
            Line::Step(number) if named.contains(number) => {
                let left = |survives| without_shared_memory(disk.tree(survives));
                let everything = left(Survives::Everything);
                let (synced, names) = (left(Survives::Synced), left(Survives::Names));
                let of_its_own = names != everything && names != synced;
                lost.push((*number, (synced != everything).then(|| hash(&synced))));
                only_names.push((*number, of_its_own.then(|| hash(&names))));
            }
            Line::Step(_) => {}
        }
    }
    let last_of_equal = |fault: Fault, row: &[(u64, Option<u64>)]| -> Vec<(Fault, u64)> {
        let rows = row.chunk_by(|one, next| one.1 == next.1).filter_map(<[_]>::last);
        rows.filter(|(_, tree)| tree.is_some()).map(|(number, _)| (fault, *number)).collect()
    };
    let lost = last_of_equal(Fault::Lost, &lost);
    lost.into_iter().chain(last_of_equal(Fault::Names, &only_names)).collect()
}

fn hash(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    tree.hash(&mut hasher);
    hasher.finish()
}
