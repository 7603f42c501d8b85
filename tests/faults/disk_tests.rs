//! What a disk keeps of traces whose answer is known.

use super::disk::{Disk, Survives, lay_out};
use super::recording::{self, Line, replay};
use super::steps::{Fault, Step};

/// A disk that holds `old` with `old` in it and `folder/inside` with `in`, and the inodes of the four.
fn disk() -> (tempfile::TempDir, Disk, [u64; 4]) {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("old"), "old").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("folder/inside"), "in").unwrap();
    let inode = |name: &str| std::fs::metadata(path(name)).unwrap().ino();
    let inodes = ["", "old", "folder", "folder/inside"].map(inode);
    let disk = Disk::read(folder.path());
    (folder, disk, inodes)
}

/// What is there afterwards: everything, names, what was synced. `$top`, `$old`, `$folder` and `$inside`
/// stand for inodes.
fn after(trace: &str) -> [String; 3] {
    let (_folder, disk, inodes) = disk();
    let disk = replay(disk, &recording::read(&numbered(trace, inodes)));
    [Survives::Everything, Survives::Names, Survives::Synced].map(|survives| shown(&disk, survives))
}

fn numbered(trace: &str, inodes: [u64; 4]) -> Vec<u8> {
    let names = ["$top", "$old", "$folder", "$inside"];
    let trace = names
        .iter()
        .zip(inodes)
        .fold(trace.to_owned(), |trace, (name, inode)| trace.replace(name, &inode.to_string()));
    trace.into_bytes()
}

fn shown(disk: &Disk, survives: Survives) -> String {
    let shown = disk.tree(survives).into_iter().map(|(place, bytes)| match bytes {
        Some(bytes) => format!("{place}={}", String::from_utf8(bytes).unwrap()),
        None => format!("{place}/"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

const UNTOUCHED: &str = "folder/ folder/inside=in old=old";

#[test]
fn what_lay_there_before_is_there_and_what_was_never_synced_is_not() {
    assert_eq!(after(""), [UNTOUCHED; 3]);
    let written = after("create 1 new\nwrite 1 0 3\nnew");
    assert_eq!(
        written,
        [
            "folder/ folder/inside=in new=new old=old",
            "folder/ folder/inside=in new= old=old",
            UNTOUCHED
        ]
    );
}

#[test]
fn a_sync_of_a_file_keeps_its_bytes_and_not_its_name_and_that_of_a_folder_the_reverse() {
    let trace = "create 1 new\nwrite 1 0 3\nnewsync 1\nwrite 1 3 1\n!";
    let kept = "folder/ folder/inside=in new=new old=old";
    assert_eq!(after(trace)[1..], [kept, UNTOUCHED]);
    assert_eq!(after(&format!("{trace}sync $top\n"))[1..], [kept, kept]);
    let empty = "folder/ folder/inside=in new= old=old";
    assert_eq!(after("create 1 new\nwrite 1 0 3\nnewsync $top\n")[1..], [empty, empty]);
    // A folder's sync says nothing of the folders in it, nor of the one that it stands in.
    let deep = "create 1 folder/new\nsync 1\n";
    assert_eq!(after(&format!("{deep}sync $top\n"))[2], UNTOUCHED);
    let both = "mkdir 1 made\ncreate 2 made/new\nsync 2\nsync 1\n";
    assert_eq!(after(both)[2], UNTOUCHED);
    assert_eq!(
        after(&format!("{both}sync $top\n"))[2],
        format!("folder/ folder/inside=in made/ made/new= old=old")
    );
}

#[test]
fn a_rename_before_the_sync_leaves_an_empty_file_or_the_old_one() {
    let renamed = "create 1 .tmp\nwrite 1 0 3\nnewfrom .tmp\nto old\n";
    assert_eq!(
        after(renamed),
        ["folder/ folder/inside=in old=new", "folder/ folder/inside=in old=", UNTOUCHED]
    );
    let in_order = "create 1 .tmp\nwrite 1 0 3\nnewsync 1\nfrom .tmp\nto old\n";
    assert_eq!(after(in_order)[1..], ["folder/ folder/inside=in old=new", UNTOUCHED]);
    assert_eq!(after(&format!("{in_order}sync $top\n"))[2], "folder/ folder/inside=in old=new");
    // The name of a file is nothing to its descriptor: it is synced after it was renamed.
    let later = "create 1 .tmp\nfrom .tmp\nto new\nwrite 1 0 3\nnewsync 1\nsync $top\n";
    assert_eq!(after(later)[2], "folder/ folder/inside=in new=new old=old");
}

#[test]
fn between_two_folders_a_file_has_both_names_or_none_until_both_are_synced() {
    let moved = "from old\nto folder/old\n";
    assert_eq!(after(moved)[0], "folder/ folder/inside=in folder/old=old");
    assert_eq!(
        after(&format!("{moved}sync $folder\n"))[2],
        "folder/ folder/inside=in folder/old=old old=old"
    );
    assert_eq!(after(&format!("{moved}sync $top\n"))[2], "folder/ folder/inside=in");
    // What is in a folder goes with it.
    let away = "from folder\nto moved\ncreate 1 moved/new\nsync $top\n";
    assert_eq!(
        after(away),
        ["moved/ moved/inside=in moved/new= old=old"; 2]
            .iter()
            .copied()
            .chain(["moved/ moved/inside=in old=old"])
            .collect::<Vec<_>>()[..]
    );
}

#[test]
fn what_was_removed_comes_back_until_its_folder_is_synced() {
    let removed = "remove old\nremove folder/inside\nremove folder\n";
    assert_eq!(after(removed), ["", "", UNTOUCHED]);
    assert_eq!(after(&format!("{removed}sync $top\n")), [""; 3]);
    let contents = "remove folder/inside\nsync $folder\n";
    assert_eq!(after(contents)[2], "folder/ old=old");
    // An open file has bytes after its name is gone, and an inode that was freed another file.
    let open = "remove old\nwrite $old 0 3\nnewsync $old\ncreate $old next\nwrite $old 0 4\nnextsync $old\n";
    assert_eq!(
        after(open),
        [
            "folder/ folder/inside=in next=next",
            "folder/ folder/inside=in next=next",
            "folder/ folder/inside=in old=new"
        ]
    );
}

#[test]
fn lengths_and_places_of_writes_are_bytes_like_others() {
    let cut = "truncate $old 1\nwrite $old 3 1\n!";
    let now = "folder/ folder/inside=in old=o\0\0!";
    assert_eq!(after(cut), [now, UNTOUCHED, UNTOUCHED]);
    assert_eq!(after(&format!("{cut}sync $old\ntruncate $old 0\n"))[1..], [now, now]);
}

#[test]
fn steps_that_lose_nothing_of_their_own_are_left_out() {
    let (_folder, disk, inodes) = disk();
    // 1: nothing is lost. 2, 3: the same is there after both, the bytes of a file that has its name. 4: its
    // bytes are synced and its name is not. 5, 6: nothing is lost any more.
    let trace = "step 1\ncreate 1 new\nstep 2\nwrite 1 0 3\nnewstep 3\nsync 1\nstep 4\nsync $top\nstep 5\nstep 6\n";
    let lines = recording::read(&numbered(trace, inodes));
    assert_eq!(lines.iter().filter(|line| matches!(line, Line::Step(_))).count(), 6);
    let step = |number| Step { number, call: "write".into(), place: "a".into() };
    let named: Vec<Step> = (1..=6).map(step).collect();
    let losing: Vec<(Fault, u64)> = recording::losing(disk, &lines, &named).into_iter().collect();
    assert_eq!(losing, [(Fault::Lost, 4), (Fault::Names, 3)]);
}

#[test]
fn a_disk_is_laid_out_as_it_was_left() {
    let (folder, disk, inodes) = disk();
    let trace =
        "mkdir 1 made\ncreate 2 made/new\nwrite 2 0 3\nnewsync 2\nsync 1\nsync $top\nremove old\n";
    let disk = replay(disk, &recording::read(&numbered(trace, inodes)));
    lay_out(&disk.tree(Survives::Synced), folder.path());
    let again = shown(&Disk::read(folder.path()), Survives::Everything);
    assert_eq!(again, "folder/ folder/inside=in made/ made/new=new old=old");
}
