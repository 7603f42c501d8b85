//! A role's trust root goes forward, version by version, and never back.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use seal_protocol::{Role, UnixSeconds};
use seal_trust::{Limits, RootDraft, SigningKey, TrustRoot, TrustedRoot, sha256};
use seal_witness::{KEPT_FILE, OwnKeyError, RootInForceError, RootSource, own_key, version_file};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const HOUR: u64 = 3600;

fn key(role: Role) -> SigningKey {
    SigningKey::from_seed([role as u8 + 1; 32])
}

fn first() -> TrustRoot {
    let roles = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
    let root = TrustRoot::first(UnixSeconds(NOW.0 + HOUR), Limits::default());
    roles.into_iter().fold(root, |root, role| root.with_key(role, &key(role).public()))
}

fn later(root: &TrustRoot) -> TrustRoot {
    TrustRoot { expires: UnixSeconds(root.expires.0 + HOUR), ..root.next() }
}

/// The owners' side: versions signed one after another.
fn signed(documents: &[TrustRoot]) -> Vec<TrustedRoot> {
    let mut versions: Vec<TrustedRoot> = Vec::new();
    for document in documents {
        let mut draft = RootDraft::new(document).unwrap();
        draft.sign(&key(Role::Root), versions.last()).unwrap();
        let file = draft.to_bytes();
        versions.push(match versions.last() {
            None => TrustRoot::open(&file, None, NOW).unwrap(),
            Some(before) => before.successor(&file).unwrap(),
        });
    }
    versions
}

/// The role's side: a trust folder and a state folder.
struct Machine {
    folder: tempfile::TempDir,
    pinned: bool,
    first: TrustedRoot,
}

impl Machine {
    fn new(versions: &[TrustedRoot]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, pinned: true, first: versions[0].clone() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("root.json")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Lays the newest of `versions` where the config looks, the others beside it.
    fn install(&self, versions: &[TrustedRoot]) {
        let (newest, earlier) = versions.split_last().unwrap();
        std::fs::write(self.file(), newest.file()).unwrap();
        for root in earlier {
            std::fs::write(version_file(&self.file(), root.root().version), root.file()).unwrap();
        }
    }

    fn start_at(&self, now: UnixSeconds) -> Result<u64, RootInForceError> {
        let (file, state) = (self.file(), self.state());
        let pinned = self.pinned.then(|| self.first.digest());
        let source = RootSource { file: &file, pinned, state: &state };
        source.in_force(now).map(|chain| chain.newest().root().version)
    }

    fn start(&self) -> Result<u64, RootInForceError> {
        self.start_at(NOW)
    }
}

fn kept(state: &Path) -> Vec<u8> {
    std::fs::read(state.join(KEPT_FILE)).unwrap()
}

#[test]
fn a_role_follows_its_trust_root_from_version_to_version_and_keeps_each_first() {
    let one = first();
    let (two, three) = (later(&one), later(&later(&one)));
    let versions = signed(&[one, two, three]);
    let machine = Machine::new(&versions);
    for count in 1..=3 {
        machine.install(&versions[..count]);
        assert_eq!(machine.start().unwrap(), count as u64);
        assert_eq!(kept(&machine.state()), versions[count - 1].file());
        assert_eq!(machine.start().unwrap(), count as u64, "and a restart changes nothing");
    }
}

#[test]
fn a_new_machine_and_one_that_slept_get_to_the_newest_over_every_step() {
    let one = first();
    let versions = signed(&[one.clone(), later(&one), later(&later(&one))]);
    for slept in [false, true] {
        let machine = Machine::new(&versions);
        if slept {
            machine.install(&versions[..1]);
            assert_eq!(machine.start().unwrap(), 1);
        }
        machine.install(&versions);
        std::fs::remove_file(version_file(&machine.file(), 2)).unwrap();
        let missing = machine.start().unwrap_err();
        assert!(matches!(missing, RootInForceError::StepMissing { version: 2, .. }), "{missing}");
        machine.install(&versions);
        assert_eq!(machine.start().unwrap(), 3);
    }
}

#[test]
fn an_older_version_never_comes_back_even_if_the_pin_names_it() {
    let one = first();
    let versions = signed(&[one.clone(), later(&one)]);
    let machine = Machine::new(&versions);
    machine.install(&versions);
    assert_eq!(machine.start().unwrap(), 2);
    machine.install(&versions[..1]);
    let refused = machine.start().unwrap_err();
    assert!(matches!(refused, RootInForceError::RolledBack { found: 1, kept: 2, .. }), "{refused}");
    assert_eq!(kept(&machine.state()), versions[1].file());
}

#[test]
fn two_documents_under_one_number_are_told() {
    let one = first();
    let other = TrustRoot { expires: UnixSeconds(one.expires.0 + 7), ..one.next() };
    let versions = signed(&[one.clone(), later(&one)]);
    let forked = signed(&[one, other]);
    let machine = Machine::new(&versions);
    machine.install(&versions);
    machine.start().unwrap();
    machine.install(&forked);
    let refused = machine.start().unwrap_err();
    assert!(matches!(refused, RootInForceError::Forked { version: 2, .. }), "{refused}");
}

#[test]
fn an_expired_root_refuses_until_its_successor_is_there() {
    let one = first();
    let versions = signed(&[one.clone(), later(&one)]);
    let machine = Machine::new(&versions);
    machine.install(&versions[..1]);
    machine.start().unwrap();
    let late = versions[0].root().expires;
    let refused = machine.start_at(late).unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
    machine.install(&versions);
    assert_eq!(machine.start_at(late).unwrap(), 2);
    assert!(machine.start_at(versions[1].root().expires).is_err());
}

#[test]
fn a_root_that_others_signed_is_refused_at_the_first_start_and_later() {
    let stranger = SigningKey::from_seed([99; 32]);
    let foreign = first().without_key(&key(Role::Root).public().keyid());
    let foreign = foreign.with_key(Role::Root, &stranger.public());
    let sign = |document: &TrustRoot| {
        seal_trust::envelope_to_bytes(&seal_trust::sign_root(document, &[&stranger]).unwrap())
    };
    let versions = signed(&[first()]);
    let machine = Machine::new(&versions);
    std::fs::write(machine.file(), sign(&foreign)).unwrap();
    let refused = machine.start().unwrap_err();
    assert!(matches!(refused, RootInForceError::NotPinned { .. }), "{refused}");
    machine.install(&versions);
    machine.start().unwrap();
    std::fs::write(machine.file(), sign(&foreign.next())).unwrap();
    let refused = machine.start().unwrap_err();
    assert!(matches!(refused, RootInForceError::Verify { .. }), "{refused}");
    assert_eq!(sha256(&kept(&machine.state())), versions[0].digest(), "nothing foreign was kept");
}

#[test]
fn a_missing_file_is_named() {
    let machine = Machine::new(&signed(&[first()]));
    let refused = machine.start().unwrap_err();
    assert!(refused.to_string().contains("root.json"), "{refused}");
}

#[test]
fn a_revoked_key_and_a_key_of_another_role_do_not_speak() {
    let folder = tempfile::tempdir().unwrap();
    let path = |role: Role| folder.path().join(role.name());
    for role in [Role::Teacher, Role::Auditor] {
        key(role).write(&path(role)).unwrap();
    }
    let revoked = first().with_revocation(&key(Role::Auditor).public().keyid(), 12);
    let root = signed(&[revoked]).remove(0);
    assert!(own_key(&root, Role::Teacher, &path(Role::Teacher)).is_ok());
    let other = own_key(&root, Role::Student, &path(Role::Teacher)).unwrap_err();
    assert!(matches!(other, OwnKeyError::NotOfRole { role: Role::Student, .. }), "{other}");
    let revoked = own_key(&root, Role::Auditor, &path(Role::Auditor)).unwrap_err();
    assert!(matches!(revoked, OwnKeyError::Revoked { .. }), "{revoked}");
}
