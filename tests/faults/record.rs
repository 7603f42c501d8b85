//! What `shim.rs` writes down beside steps: every change of one folder with its bytes, and every sync, in
//! the order in which they took effect. `recording.rs` reads it, `disk.rs` says what a power cut leaves.
//!
//! A file or folder is named by its inode where a call has a descriptor of it, since it may have been
//! renamed or removed since it was opened, and by its place where a call has a name.
//!
//! **Invariant:** one call at a time changes the folder, and is written down before the next one begins.

use std::ffi::{OsStr, c_int, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::real::{self, Part};

const O_TRUNC: c_int = 0o1000;
const SEEK_CUR: c_int = 1;

unsafe extern "C" {
    fn lseek(file: c_int, by: i64, from: c_int) -> i64;
}

pub(crate) struct Recorder {
    /// Open since the start: nothing can be opened once the daemon has confined itself.
    to: c_int,
    /// The folder whose changes are written down.
    disk: Vec<u8>,
    turn: Mutex<()>,
}

/// The right to change the folder; other threads wait until it is dropped.
pub(crate) struct Turn<'a> {
    recorder: &'a Recorder,
    _alone: MutexGuard<'a, ()>,
}

impl Recorder {
    pub(crate) fn new(to: File, disk: Vec<u8>) -> Self {
        Self { to: to.into_raw_fd(), disk, turn: Mutex::new(()) }
    }

    /// For a call on this path; none if it lies elsewhere.
    pub(crate) fn turn(&self, path: Option<&[u8]>) -> Option<Turn<'_>> {
        self.place(path?)?;
        let alone = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Turn { recorder: self, _alone: alone })
    }

    /// Nobody gets a turn any more.
    pub(crate) fn close(&self) {
        std::mem::forget(self.turn.lock());
    }

    /// Relative to the folder.
    fn place(&self, path: &[u8]) -> Option<String> {
        let inside = path.strip_prefix(self.disk.as_slice())?;
        let inside = match inside {
            [] => inside,
            [b'/', rest @ ..] => rest,
            _ => return None,
        };
        Some(String::from_utf8_lossy(inside).into_owned())
    }

    /// As [`Self::place`]; what lies elsewhere is no part of this disk, and its reader stops at it.
    fn inside(&self, path: Option<&[u8]>) -> String {
        path.and_then(|path| self.place(path)).unwrap_or_else(|| "/elsewhere".to_owned())
    }

    fn note(&self, head: &str, bytes: &[&[u8]]) {
        let line: Vec<u8> = [head.as_bytes(), b"\n"]
            .into_iter()
            .chain(bytes.iter().copied())
            .flatten()
            .copied()
            .collect();
        let mut left = line.as_slice();
        while !left.is_empty() {
            // SAFETY: the bytes live across the call.
            let taken = unsafe { real::write(self.to, left.as_ptr().cast::<c_void>(), left.len()) };
            match usize::try_from(taken) {
                Ok(taken) if taken > 0 => left = &left[taken..],
                // A record with a gap would say that something was not lost.
                _ => std::process::abort(),
            }
        }
    }
}

impl Turn<'_> {
    pub(crate) fn step(&self, number: u64) {
        self.recorder.note(&format!("step {number}"), &[]);
    }

    /// A write that took `count` bytes, at `at` or where the descriptor stands.
    pub(crate) fn wrote(&self, to: c_int, parts: &[Part], at: Option<i64>, count: isize) {
        let Ok(count) = usize::try_from(count) else { return };
        // SAFETY: takes numbers.
        let at = at.unwrap_or_else(|| unsafe { lseek(to, 0, SEEK_CUR) } - count as i64);
        let mut left = count;
        let mut taken = Vec::new();
        for part in parts {
            // SAFETY: the caller's bytes, of which the kernel has read as many.
            let bytes = unsafe {
                std::slice::from_raw_parts(part.bytes.cast::<u8>(), part.count.min(left))
            };
            left -= bytes.len();
            taken.push(bytes);
        }
        self.recorder.note(&format!("write {} {at} {count}", node_of(to)), &taken);
    }

    /// Whether a name is taken, before a call that may take it.
    pub(crate) fn is_there(&self, path: Option<&[u8]>) -> bool {
        path.is_some_and(|path| std::fs::symlink_metadata(as_path(path)).is_ok())
    }

    pub(crate) fn opened(&self, file: c_int, flags: c_int, path: Option<&[u8]>, was_there: bool) {
        if file < 0 {
            return;
        }
        match was_there {
            false => self.named(&format!("create {}", node_of(file)), path),
            true if flags & O_TRUNC != 0 => self.truncated(file, 0),
            true => {}
        }
    }

    pub(crate) fn made(&self, path: Option<&[u8]>) {
        let made = path.and_then(|path| std::fs::symlink_metadata(as_path(path)).ok());
        let node = made.map_or(0, |made| made.ino());
        self.named(&format!("mkdir {node}"), path);
    }

    pub(crate) fn truncated(&self, file: c_int, length: i64) {
        self.recorder.note(&format!("truncate {} {length}", node_of(file)), &[]);
    }

    /// Two lines: the name that is gone and the one that is there.
    pub(crate) fn renamed(&self, from: Option<&[u8]>, to: Option<&[u8]>) {
        let (from, to) = (self.recorder.inside(from), self.recorder.inside(to));
        self.recorder.note(&format!("from {from}\nto {to}"), &[]);
    }

    pub(crate) fn removed(&self, path: Option<&[u8]>) {
        self.named("remove", path);
    }

    pub(crate) fn synced(&self, file: c_int) {
        self.recorder.note(&format!("sync {}", node_of(file)), &[]);
    }

    fn named(&self, head: &str, path: Option<&[u8]>) {
        self.recorder.note(&format!("{head} {}", self.recorder.inside(path)), &[]);
    }
}

fn node_of(file: c_int) -> u64 {
    // SAFETY: the caller's descriptor, open across the call and not closed here.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file) });
    file.metadata().map_or(0, |known| known.ino())
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
