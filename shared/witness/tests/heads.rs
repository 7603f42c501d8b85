//! What a role was once shown, nobody can take back: attacks of a ledger's operator (A8).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use seal_protocol::{Envelope, LedgerSeen, LedgerShown, Role, UnixSeconds};
use seal_service::clock::FixedClock;
use seal_trust::{
    Limits, RootDraft, SigningKey, TrustRoot, TrustedRoot, verify_cosignature, with_lines,
};
use seal_witness::testing::FakeLedger;
use seal_witness::{HeadsError, LedgerConfig, Witness};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ORIGIN: &str = "seal.internal/auditor";
const ME: &str = "seal.internal/student";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn ledger_key() -> SigningKey {
    key(Role::Ledger as u8 + 1)
}

fn root(witnesses: &[u8]) -> TrustedRoot {
    let roles = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
    let root = TrustRoot::first(UnixSeconds(NOW.0 + 1000), Limits::default());
    let root = roles
        .into_iter()
        .fold(root, |root, role| root.with_key(role, &key(role as u8 + 1).public()));
    let root = witnesses
        .iter()
        .fold(root, |root, seed| root.with_key(Role::Witness, &key(*seed).public()));
    let mut draft = RootDraft::new(&root.with_threshold(Role::Witness, witnesses.len())).unwrap();
    draft.sign(&key(Role::Root as u8 + 1), None).unwrap();
    TrustRoot::open(&draft.to_bytes(), None, NOW).unwrap()
}

/// A role that goes by one ledger; with a voice if `own` is given.
struct Reader {
    folder: tempfile::TempDir,
    witness: Witness,
}

impl Reader {
    fn new(witnesses: &[u8], own: Option<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let witness = open(folder.path(), witnesses, own);
        Self { folder, witness }
    }

    fn reopened(self, witnesses: &[u8], own: Option<u8>) -> Self {
        let Self { folder, witness } = self;
        drop(witness);
        let witness = open(folder.path(), witnesses, own);
        Self { folder, witness }
    }

    fn show(&self, ledger: &FakeLedger, verdicts: &[Envelope]) -> Result<LedgerSeen, HeadsError> {
        self.witness.take(&ledger.show(&self.witness.known().unwrap(), verdicts))
    }

    #[track_caller]
    fn refuses(&self, shown: &LedgerShown, code: &str) {
        let before = self.witness.known().unwrap();
        assert_eq!(self.witness.take(shown).unwrap_err().code(), code);
        assert_eq!(self.witness.known().unwrap(), before, "nothing was remembered");
    }
}

fn open(folder: &std::path::Path, witnesses: &[u8], own: Option<u8>) -> Witness {
    let config = LedgerConfig { witness_name: ME.to_owned(), ..LedgerConfig::default() };
    let clock = Arc::new(FixedClock::at(NOW));
    Witness::open(folder, root(witnesses), config, own.map(key), clock).unwrap()
}

/// Any signed message does for a row.
fn verdict(number: u8) -> Envelope {
    seal_trust::sign_root(root(&[]).root(), &[&key(number)]).unwrap()
}

fn ledger(rows: std::ops::Range<u8>) -> FakeLedger {
    let mut ledger = FakeLedger::new(ledger_key(), ORIGIN);
    rows.for_each(|row| ledger.append(&verdict(row)));
    ledger
}

fn shown(reader: &Reader, number: u8) -> bool {
    reader.witness.demand_shown([&verdict(number)]).is_ok()
}

#[test]
fn a_growing_ledger_is_followed_and_only_what_was_shown_in_it_counts() {
    let reader = Reader::new(&[], None);
    let mut ledger = ledger(1..4);
    assert!(!shown(&reader, 2));
    let seen = reader.show(&ledger, &[verdict(2)]).unwrap();
    assert_eq!((seen.head.size, seen.cosignature, seen.witnesses_missing), (3, None, 0));
    assert!(shown(&reader, 2) && !shown(&reader, 3));
    ledger.append(&verdict(9));
    reader.show(&ledger, &[verdict(9), verdict(200)]).unwrap();
    assert!(shown(&reader, 9) && !shown(&reader, 200));
    let reader = reader.reopened(&[], None);
    assert!(shown(&reader, 2) && shown(&reader, 9));
    assert_eq!(reader.witness.known().unwrap()[0].size, 4);
}

#[test]
fn a_restored_backup_is_refused_until_the_operator_acknowledges_the_loss() {
    let reader = Reader::new(&[], None);
    let mut ledger = ledger(1..6);
    reader.show(&ledger, &[verdict(2)]).unwrap();
    ledger.truncate(3);
    reader.refuses(&ledger.show(&[], &[]), "ledger_rolled_back");
    // It grows again, with other rows, past the size that was seen.
    (20..26).for_each(|row| ledger.append(&verdict(row)));
    let known = reader.witness.known().unwrap();
    reader.refuses(&ledger.show(&known, &[verdict(20)]), "ledger_proof_fails");
    assert!(!shown(&reader, 20));

    let lost = reader.witness.acknowledge(ORIGIN, "disk failed, restored", NOW).unwrap();
    assert_eq!(lost.size, 5);
    assert!(!shown(&reader, 2), "what the lost history showed is to be shown again");
    reader.show(&ledger, &[verdict(20)]).unwrap();
    assert!(shown(&reader, 20));
    let file = reader.folder.path().join(seal_witness::HEADS_FILE);
    let record = rusqlite::Connection::open(file).unwrap();
    let reason: String =
        record.query_row("SELECT reason FROM acknowledged", [], |row| row.get(0)).unwrap();
    assert_eq!(reason, "disk failed, restored");
    assert!(reader.witness.acknowledge("seal.internal/other", "", NOW).is_err());
}

#[test]
fn a_fork_is_refused_at_any_size_and_with_any_proof() {
    let (honest, forked) = (ledger(1..6), ledger(11..16));
    let reader = Reader::new(&[], None);
    reader.show(&honest, &[]).unwrap();
    reader.refuses(&forked.show(&[], &[verdict(12)]), "ledger_forked");
    let longer = ledger(11..30);
    let known = reader.witness.known().unwrap();
    reader.refuses(&longer.show(&known, &[]), "ledger_proof_fails");
    // The honest ledger's proof under the forked checkpoint, and none at all.
    let mut mixed = longer.show(&known, &[]);
    mixed.consistency = ledger(1..30).show(&known, &[]).consistency;
    reader.refuses(&mixed, "ledger_proof_fails");
    mixed.consistency.clear();
    reader.refuses(&mixed, "ledger_proof_fails");
}

#[test]
fn a_row_that_is_not_in_the_tree_is_refused() {
    let reader = Reader::new(&[], None);
    let genuine = ledger(1..6).show(&[], &[verdict(2)]);
    let change = |change: fn(&mut LedgerShown)| {
        let mut shown = genuine.clone();
        change(&mut shown);
        shown
    };
    reader.refuses(&change(|s| s.rows[0].index += 1), "ledger_proof_fails");
    reader.refuses(&change(|s| s.rows[0].entry.push(' ')), "ledger_proof_fails");
    reader.refuses(&change(|s| s.rows[0].path.truncate(1)), "ledger_proof_fails");
    let other = ledger(1..7).show(&[], &[verdict(6)]).rows.remove(0);
    let mut foreign = genuine.clone();
    foreign.rows[0] = other;
    reader.refuses(&foreign, "ledger_proof_fails");
    assert!(!shown(&reader, 2));
    reader.witness.take(&genuine).unwrap();
    assert!(shown(&reader, 2));
}

#[test]
fn a_checkpoint_of_another_key_or_another_ledger_is_refused() {
    let reader = Reader::new(&[], None);
    let mut stranger = FakeLedger::new(key(90), ORIGIN);
    stranger.append(&verdict(1));
    reader.refuses(&stranger.show(&[], &[]), "note_not_signed");
    let mut other = FakeLedger::new(ledger_key(), "seal.internal/other");
    other.append(&verdict(1));
    reader.refuses(&other.show(&[], &[]), "ledger_unknown");
}

#[test]
fn a_witness_signs_what_it_takes_and_rows_count_when_all_witnesses_have_signed() {
    let witnesses = [51, 52];
    let (student, teacher) = (Reader::new(&witnesses, Some(51)), Reader::new(&witnesses, Some(52)));
    let ledger = ledger(1..4);
    let seen = student.show(&ledger, &[verdict(2)]).unwrap();
    assert_eq!(seen.witnesses_missing, 1, "the teacher has not seen it");
    assert!(!shown(&student, 2));
    let line = teacher.show(&ledger, &[]).unwrap().cosignature.unwrap();
    let genuine = ledger.show(&student.witness.known().unwrap(), &[verdict(2)]);
    let mut cosigned = genuine.clone();
    cosigned.checkpoint = with_lines(&genuine.checkpoint, &[line]).unwrap();
    let seen = student.witness.take(&cosigned).unwrap();
    assert_eq!(seen.witnesses_missing, 0);
    assert!(shown(&student, 2));
    let line = seen.cosignature.unwrap();
    let note = with_lines(&genuine.checkpoint, &[line]).unwrap();
    assert_eq!(verify_cosignature(&note, ME, &key(51).public()), Ok(NOW));
}

#[test]
fn a_line_that_no_witness_of_the_trust_root_made_does_not_count() {
    let student = Reader::new(&[51, 52], Some(51));
    let mut shown_to_it = ledger(1..4).show(&[], &[verdict(2)]);
    let forged =
        seal_trust::cosignature(&key(90), "seal.internal/teacher", &shown_to_it.checkpoint, NOW);
    let own = seal_trust::cosignature(&key(51), ME, &shown_to_it.checkpoint, NOW);
    let lines = [forged.unwrap(), own.unwrap()];
    shown_to_it.checkpoint = with_lines(&shown_to_it.checkpoint, &lines).unwrap();
    assert_eq!(student.witness.take(&shown_to_it).unwrap().witnesses_missing, 1);
    assert!(!shown(&student, 2));
}

#[test]
fn two_showings_at_once_never_leave_two_histories_remembered() {
    let reader = Arc::new(Reader::new(&[], None));
    let (one, other) = (ledger(1..6).show(&[], &[]), ledger(11..16).show(&[], &[]));
    let taken: usize = std::thread::scope(|scope| {
        let take = |shown: LedgerShown| {
            let reader = Arc::clone(&reader);
            scope.spawn(move || usize::from(reader.witness.take(&shown).is_ok()))
        };
        let running = [one.clone(), other.clone(), one, other].map(take);
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 2, "both showings of one history, and none of the other");
}
