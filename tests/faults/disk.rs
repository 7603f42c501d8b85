//! A folder on a disk whose power goes: what was made durable, told from what was not.
//!
//! Strictly as POSIX says: a sync of a file makes its bytes durable and not its name; a sync of a folder
//! makes the names in it durable, new ones and missing ones, and not what they name. Linux file systems
//! keep more than that (ext4: the name of a new file that was synced), none has to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// One change or sync, as it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create { node: u64, place: String },
    Folder { node: u64, place: String },
    Write { node: u64, at: usize, bytes: Vec<u8> },
    Truncate { node: u64, length: usize },
    Rename { from: String, to: String },
    Remove { place: String },
    Sync { node: u64 },
}

/// How much of the disk there is afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    /// All of it, as after a kill.
    Everything,
    /// Every name, and of each file the bytes that were synced.
    Names,
    /// What was synced, names and bytes.
    Synced,
}

/// Places with their bytes; a folder has none.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

pub(crate) struct Disk {
    /// The first is the folder itself.
    nodes: Vec<Node>,
    /// Where descriptors lead. An inode that was freed may come again.
    inodes: HashMap<u64, usize>,
}

enum Node {
    File(Both<Vec<u8>>),
    Folder(Both<BTreeMap<String, usize>>),
}

#[derive(Default)]
struct Both<T> {
    now: T,
    durable: T,
}

impl Disk {
    /// A folder that lies there: all of it is durable.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut disk = Self { nodes: Vec::new(), inodes: HashMap::new() };
        disk.take(folder);
        disk
    }

    fn take(&mut self, path: &Path) -> usize {
        let known = std::fs::symlink_metadata(path).unwrap();
        let folder = known.is_dir();
        let id = self.add(known.ino(), folder);
        if folder {
            for entry in std::fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let child = self.take(&entry.path());
                let name = entry.file_name().into_string().unwrap();
                self.names(id).now.insert(name, child);
            }
        } else if known.is_file() {
            self.bytes(id).now = std::fs::read(path).unwrap();
        }
        self.sync(id);
        id
    }

    fn add(&mut self, inode: u64, folder: bool) -> usize {
        self.nodes.push(match folder {
            true => Node::Folder(Both::default()),
            false => Node::File(Both::default()),
        });
        let id = self.nodes.len() - 1;
        self.inodes.insert(inode, id);
        id
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { node, place } => self.name(*node, place, false),
            Change::Folder { node, place } => self.name(*node, place, true),
            Change::Write { node, at, bytes } => {
                let (end, file) = (at + bytes.len(), self.file(*node));
                file.resize(file.len().max(end), 0);
                file[*at..end].copy_from_slice(bytes);
            }
            Change::Truncate { node, length } => self.file(*node).resize(*length, 0),
            Change::Rename { from, to } => {
                let moved = self.unname(from);
                let (folder, name) = self.folder_of(to);
                self.names(folder).now.insert(name, moved);
            }
            Change::Remove { place } => {
                self.unname(place);
            }
            Change::Sync { node } => {
                let id = self.at(*node);
                self.sync(id);
            }
        }
    }

    fn name(&mut self, inode: u64, place: &str, as_folder: bool) {
        let id = self.add(inode, as_folder);
        let (folder, name) = self.folder_of(place);
        self.names(folder).now.insert(name, id);
    }

    fn unname(&mut self, place: &str) -> usize {
        let (folder, name) = self.folder_of(place);
        let gone = self.names(folder).now.remove(&name);
        gone.unwrap_or_else(|| panic!("nothing is at `{place}`"))
    }

    /// The folder in which a name stands now.
    fn folder_of(&mut self, place: &str) -> (usize, String) {
        let mut parts: Vec<&str> = place.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.pop().unwrap_or_else(|| panic!("`{place}` is no name"));
        let mut folder = 0;
        for part in parts {
            let inside = self.names(folder).now.get(part).copied();
            folder = inside.unwrap_or_else(|| panic!("`{place}` lies in no folder"));
        }
        (folder, name.to_owned())
    }

    fn sync(&mut self, id: usize) {
        match &mut self.nodes[id] {
            Node::File(bytes) => bytes.durable.clone_from(&bytes.now),
            Node::Folder(names) => names.durable.clone_from(&names.now),
        }
    }

    fn at(&self, inode: u64) -> usize {
        *self.inodes.get(&inode).unwrap_or_else(|| panic!("inode {inode} was never named"))
    }

    fn file(&mut self, inode: u64) -> &mut Vec<u8> {
        let id = self.at(inode);
        &mut self.bytes(id).now
    }

    fn bytes(&mut self, id: usize) -> &mut Both<Vec<u8>> {
        match &mut self.nodes[id] {
            Node::File(bytes) => bytes,
            Node::Folder(_) => panic!("a folder holds no bytes"),
        }
    }

    fn names(&mut self, id: usize) -> &mut Both<BTreeMap<String, usize>> {
        match &mut self.nodes[id] {
            Node::Folder(names) => names,
            Node::File(_) => panic!("a file holds no names"),
        }
    }

    pub(crate) fn tree(&self, survives: Survives) -> Tree {
        let mut tree = Tree::new();
        self.grow(0, "", survives, &mut tree);
        tree
    }

    /// Places that a power cut now would change.
    pub(crate) fn unsynced(&self) -> Vec<String> {
        unlike(&self.tree(Survives::Everything), &self.tree(Survives::Synced))
    }

    fn grow(&self, folder: usize, place: &str, survives: Survives, tree: &mut Tree) {
        let Node::Folder(names) = &self.nodes[folder] else { return };
        let names = match survives {
            Survives::Everything | Survives::Names => &names.now,
            Survives::Synced => &names.durable,
        };
        for (name, id) in names {
            let place = if place.is_empty() { name.clone() } else { format!("{place}/{name}") };
            let bytes = match (&self.nodes[*id], survives) {
                (Node::Folder(_), _) => None,
                (Node::File(bytes), Survives::Everything) => Some(bytes.now.clone()),
                (Node::File(bytes), _) => Some(bytes.durable.clone()),
            };
            tree.insert(place.clone(), bytes);
            self.grow(*id, &place, survives, tree);
        }
    }
}

/// Makes a folder hold a tree and nothing else.
pub(crate) fn lay_out(tree: &Tree, folder: &Path) {
    use std::io::Write;
    let mode = std::fs::metadata(folder).unwrap().permissions().mode();
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::DirBuilder::new().mode(mode).create(folder).unwrap();
    // A folder sorts before what is in it.
    for (place, bytes) in tree {
        let path = folder.join(place);
        match bytes {
            None => std::fs::DirBuilder::new().mode(0o700).create(path).unwrap(),
            Some(bytes) => {
                let mut options = std::fs::OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(path);
                file.unwrap().write_all(bytes).unwrap();
            }
        }
    }
}

/// Places in which two trees differ, but for SQLite's shared memory.
pub(crate) fn unlike(one: &Tree, other: &Tree) -> Vec<String> {
    let places: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = |place: &&&String| one.get(**place) != other.get(**place);
    let differing = places.iter().filter(differ).filter(|place| !is_shared_memory(place));
    differing.map(|place| (*place).clone()).collect()
}

fn is_shared_memory(place: &str) -> bool {
    place.ends_with("-shm")
}

/// A disk without what SQLite keeps in shared memory: its file's bytes mean nothing to the next process.
pub(crate) fn without_shared_memory(mut tree: Tree) -> Tree {
    tree.retain(|place, _| !is_shared_memory(place));
    tree
}
