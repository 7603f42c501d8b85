//! A trust root's next version: signed by several people one after another, and read before it is.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use seal_protocol::{EnforcementLevel, Micro, Role, UnixSeconds, Verdict};
use seal_trust::{
    DraftError, Pins, RootChain, RootDraft, SigningKey, TrustRoot, TrustedRoot, changes,
    envelope_to_bytes, sign_root,
};

/// Two of three root keys must sign.
fn two_of_three() -> TrustRoot {
    root_document()
        .with_key(Role::Root, &key(21).public())
        .with_key(Role::Root, &key(22).public())
        .with_threshold(Role::Root, 2)
}

fn current() -> TrustedRoot {
    let file = envelope_to_bytes(&sign_root(&two_of_three(), &[&keys().root, &key(21)]).unwrap());
    TrustRoot::open(&file, None, NOW).unwrap()
}

/// What one person does on their own machine: the file in, the file out.
fn signed_at_home(file: &[u8], key: &SigningKey, previous: &TrustedRoot) -> Vec<u8> {
    let mut draft = RootDraft::open(file, Some(previous)).unwrap();
    draft.sign(key, Some(previous)).unwrap();
    draft.to_bytes()
}

#[test]
fn people_sign_one_after_another_and_the_last_signature_makes_the_root() {
    let (current, first) = (current(), keys().root.public());
    // The first root key leaves, a new one comes.
    let next = two_of_three().next().without_key(&first.keyid());
    let next = next.with_key(Role::Root, &key(31).public());
    let mut file = RootDraft::new(&next).unwrap().to_bytes();
    for (signer, complete) in [(keys().root, false), (key(31), false), (key(22), true)] {
        assert!(current.update(&file, NOW).is_err());
        file = signed_at_home(&file, &signer, &current);
        let draft = RootDraft::open(&file, Some(&current)).unwrap();
        assert_eq!(draft.is_complete(Some(&current)).unwrap(), complete);
    }
    let updated = current.update(&file, NOW).unwrap();
    assert_eq!(updated.root(), &next);
    let standing =
        RootDraft::open(&file, Some(&current)).unwrap().standing(Some(&current)).unwrap();
    let counted: Vec<_> =
        standing.iter().map(|of| (of.version, of.needed, of.keyids.len(), of.open.len())).collect();
    assert_eq!(counted, [(1, 2, 2, 1), (2, 2, 2, 1)]);
}

#[test]
fn a_draft_takes_no_second_signature_of_one_key_and_none_of_a_stranger() {
    let current = current();
    let mut draft = RootDraft::new(&two_of_three().next()).unwrap();
    draft.sign(&keys().root, Some(&current)).unwrap();
    let again = draft.sign(&keys().root, Some(&current));
    assert!(matches!(again, Err(DraftError::AlreadySigned { .. })));
    for key in [keys().stranger, keys().auditor] {
        let refused = draft.sign(&key, Some(&current));
        assert!(matches!(refused, Err(DraftError::NoRootKey { .. })));
    }
    assert!(!draft.is_complete(Some(&current)).unwrap());
}

#[test]
fn a_later_version_is_only_read_beside_the_one_before_it() {
    let draft = RootDraft::new(&two_of_three().next()).unwrap().to_bytes();
    assert!(matches!(RootDraft::open(&draft, None), Err(DraftError::NoPredecessor { found: 2 })));
    let skipped = RootDraft::new(&two_of_three().next().next()).unwrap().to_bytes();
    assert!(matches!(RootDraft::open(&skipped, Some(&current())), Err(DraftError::Verify(_))));
}

#[test]
fn a_draft_that_was_altered_on_its_way_is_refused_by_the_next_signer() {
    let current = current();
    let file = RootDraft::new(&two_of_three().next()).unwrap().to_bytes();
    let file = signed_at_home(&file, &key(21), &current);
    for position in 0..file.len() {
        let mut altered = file.clone();
        altered[position] ^= 1;
        assert!(RootDraft::open(&altered, Some(&current)).is_err(), "byte {position}");
    }
}

#[test]
fn a_signer_reads_what_loosens_the_root() {
    let old = two_of_three().with_revocation(&key(41).public().keyid(), 9);
    let read = |new: &TrustRoot| -> Vec<(String, bool)> {
        changes(Some(&old), new).into_iter().map(|line| (line.text, line.loosens)).collect()
    };
    let says = |new: &TrustRoot, wanted: &str, loosens: bool| {
        let found = read(new).into_iter().find(|(text, _)| text.contains(wanted));
        let (text, found) = found.unwrap_or_else(|| panic!("{wanted}: {:?}", read(new)));
        assert_eq!(found, loosens, "{text}");
    };
    let changed = |change: fn(&mut TrustRoot)| {
        let mut new = old.next();
        change(&mut new);
        new
    };
    says(&old.next(), "version: 1 -> 2", false);
    says(&changed(|root| root.expires.0 += 1), "expires", true);
    says(&changed(|root| root.revoked.clear()), "NO LONGER revoked", true);
    says(&changed(|root| root.revoked[0].from_sequence = 12), "9 -> 12", true);
    says(&changed(|root| root.limits.alpha_micro = Micro(60_000)), "chance", true);
    says(&changed(|root| root.limits.min_enforcement = EnforcementLevel::Off), "Full -> Off", true);
    says(&changed(|root| root.limits.verdict_ttl_s -= 1), "life of a verdict", false);
    says(&old.next().with_threshold(Role::Root, 1), "must sign: 2 -> 1", true);
    says(&old.next().with_key(Role::Auditor, &key(42).public()), "+ auditor key", true);
    says(&old.next().with_revocation(&keys().auditor.public().keyid(), 0), "altogether", false);
    let pinned = Pins { suites: vec![digest("suite")], ..Pins::default() };
    says(&old.next().with_pins(pinned), "+ pinned suite", false);
}

#[test]
fn a_voice_that_was_lost_does_not_come_back_by_revoking_again() {
    let keyid = keys().auditor.public().keyid();
    let root = root_document().with_revocation(&keyid, 5).with_revocation(&keyid, 9);
    assert_eq!(root.revoked[0].from_sequence, 5);
    assert_eq!(root.with_revocation(&keyid, 2).revoked[0].from_sequence, 2);
}

/// A new auditor key; the old one leaves its role.
fn rotated() -> TrustRoot {
    let next = root_document().next().without_key(&keys().auditor.public().keyid());
    next.with_key(Role::Auditor, &key(41).public())
}

#[test]
fn a_record_outlives_its_key_but_not_its_revocation() {
    let file = root_file(&root_document());
    let old = TrustRoot::open(&file, None, NOW).unwrap();
    let chain = |next: &TrustRoot| {
        let newest = old.update(&root_file(next), NOW).unwrap();
        RootChain::new(newest, std::slice::from_ref(&file)).unwrap()
    };
    let record = signed(verdict());
    let judged = |next: &TrustRoot| {
        let verified = chain(next).verify_record::<Verdict>(&record, NOW);
        verified.err().map_or("ok", |error| error.code())
    };
    assert_eq!(judged(&rotated()), "ok");
    assert!(chain(&rotated()).newest().verify::<Verdict>(&record, NOW).is_err());
    let keyid = keys().auditor.public().keyid();
    assert_eq!(judged(&rotated().with_revocation(&keyid, 8)), "ok", "sequence 7 came before");
    assert_eq!(judged(&rotated().with_revocation(&keyid, 7)), "key_revoked");
    let late = UnixSeconds(rotated().expires.0);
    assert!(chain(&rotated()).verify_record::<Verdict>(&record, late).is_err());
}

#[test]
fn a_chain_has_no_gap_and_no_foreign_ancestor() {
    let first = opened(&root_document());
    let second = first.update(&root_file(&rotated()), NOW).unwrap();
    let third = second.update(&root_file(&rotated().next()), NOW).unwrap();
    let files = [first.file().to_vec(), second.file().to_vec()];
    assert_eq!(RootChain::new(third.clone(), &files).unwrap().versions().len(), 3);
    assert!(RootChain::new(third.clone(), &files[..1]).is_err(), "a gap");
    let foreign = root_document().without_key(&keys().root.public().keyid());
    let foreign = foreign.with_key(Role::Root, &key(61).public());
    let foreign = envelope_to_bytes(&sign_root(&foreign, &[&key(61)]).unwrap());
    assert!(RootChain::new(second, &[foreign]).is_err(), "whose key signed nothing of ours");
}

proptest! {
    #[test]
    fn no_draft_file_panics(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(RootDraft::open(&file, None).is_err());
        prop_assert!(RootDraft::open(&file, Some(trusted())).is_err());
    }

    #[test]
    fn no_change_of_a_root_goes_unread(ttl in 1_u64..9, skew in 0_u64..9, threshold in 1_usize..3, version in 1_u64..4, from in 0_u64..3, revoke in any::<bool>()) {
        let old = two_of_three();
        let mut new = old.clone().with_threshold(Role::Root, threshold);
        new.version = version;
        new.limits.verdict_ttl_s = old.limits.verdict_ttl_s + ttl - 1;
        new.limits.max_clock_skew_s = old.limits.max_clock_skew_s + skew;
        if revoke {
            new = new.with_revocation("k", from);
        }
        prop_assert_eq!(changes(Some(&old), &new).is_empty(), old == new);
    }
}
