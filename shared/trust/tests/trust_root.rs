//! The trust root: who may change it, and which documents are refused whoever signed them.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::*;
use proptest::prelude::*;
use seal_protocol::{Envelope, Micro, Role, UnixSeconds};
use seal_trust::{
    PublicKey, Revocation, RootError, RootKey, SigningKey, TrustRoot, VerifyError, canonical_json,
    envelope_to_bytes, sha256, sign_root,
};

fn open(file: &[u8]) -> Result<seal_trust::TrustedRoot, VerifyError> {
    TrustRoot::open(file, None, NOW)
}

fn code<T>(outcome: Result<T, VerifyError>) -> &'static str {
    outcome.err().map_or("ok", |error| error.code())
}

fn signed_with(document: &TrustRoot, keys: &[&SigningKey]) -> Vec<u8> {
    envelope_to_bytes(&sign_root(document, keys).unwrap())
}

/// Two of these three root keys must sign.
fn two_of_three() -> TrustRoot {
    root_document()
        .with_key(Role::Root, &key(21).public())
        .with_key(Role::Root, &key(22).public())
        .with_threshold(Role::Root, 2)
}

fn next_of(document: &TrustRoot) -> TrustRoot {
    TrustRoot { version: document.version + 1, ..document.clone() }
}

/// The rule a document breaks.
fn broken(change: impl FnOnce(&mut TrustRoot)) -> RootError {
    let mut document = root_document();
    change(&mut document);
    document.check().unwrap_err()
}

#[test]
fn a_root_signed_by_its_own_threshold_opens_with_the_digest_of_its_file() {
    let file = root_file(&root_document());
    let root = TrustRoot::open(&file, Some(sha256(&file)), NOW).unwrap();
    assert_eq!((root.digest(), root.root()), (sha256(&file), &root_document()));
    assert_eq!(root.role_of(&keys().teacher.public()), Some(Role::Teacher));
    assert_eq!(root.role_of(&keys().stranger.public()), None);
    assert_eq!(root.keys(Role::Witness), []);
}

#[test]
fn another_root_than_the_pinned_one_is_refused() {
    let file = root_file(&root_document());
    assert_eq!(code(TrustRoot::open(&file, Some(digest("other")), NOW)), "trust_root_not_pinned");
}

#[test]
fn every_single_changed_byte_of_a_root_file_is_found() {
    let file = signed_with(&two_of_three(), &[&keys().root, &key(21), &key(22)]);
    open(&file).unwrap();
    for position in 0..file.len() {
        for changed in [file[position] ^ 1, file[position] ^ 4, b' '] {
            let mut altered = file.clone();
            altered[position] = changed;
            assert!(altered == file || open(&altered).is_err(), "byte {position}");
        }
    }
}

#[test]
fn too_few_root_keys_do_not_make_a_root() {
    let one = signed_with(&two_of_three(), &[&keys().root]);
    assert_eq!(code(open(&one)), "trust_root_threshold");
    let none = signed_with(&two_of_three(), &[]);
    assert_eq!(code(open(&none)), "trust_root_threshold");
    assert_eq!(code(open(&signed_with(&two_of_three(), &[&keys().root, &key(22)]))), "ok");
}

#[test]
fn one_root_key_that_signs_twice_counts_once() {
    let mut envelope = sign_root(&two_of_three(), &[&keys().root]).unwrap();
    let again = envelope.signatures[0].clone();
    envelope.signatures.push(again);
    assert_eq!(code(open(&envelope_to_bytes(&envelope))), "trust_root_signature");
    // Under another label: it is that key's signature that must verify.
    let mut labels = [keys().root.public().keyid(), key(21).public().keyid()];
    labels.sort();
    for (signature, label) in envelope.signatures.iter_mut().zip(labels) {
        signature.keyid = label;
    }
    assert_eq!(code(open(&envelope_to_bytes(&envelope))), "trust_root_signature");
}

#[test]
fn one_key_under_two_ids_is_refused() {
    let refused = broken(|document| {
        let twin = document.keys.values().next().unwrap().clone();
        document.keys.insert("0".repeat(64), twin);
    });
    assert!(matches!(refused, RootError::KeyEntry { .. }), "{refused}");
}

#[test]
fn keys_of_other_roles_and_strangers_do_not_sign_roots() {
    for key in [&keys().teacher, &keys().auditor, &keys().stranger] {
        assert_eq!(code(open(&signed_with(&root_document(), &[key]))), "trust_root_signature");
        let both = signed_with(&root_document(), &[&keys().root, key]);
        assert_eq!(code(open(&both)), "trust_root_signature");
    }
}

#[test]
fn an_expired_root_opens_only_to_be_replaced() {
    let file = root_file(&root_document());
    let late = root_document().expires;
    assert_eq!(code(TrustRoot::open(&file, None, late)), "trust_root_expired");
    let old = TrustRoot::open_for_update(&file, sha256(&file)).unwrap();
    let renewed = TrustRoot { expires: UnixSeconds(late.0 + 1), ..next_of(&root_document()) };
    assert_eq!(old.update(&root_file(&renewed), late).unwrap().root().version, 2);
    assert_eq!(
        code(old.update(&root_file(&next_of(&root_document())), late)),
        "trust_root_expired"
    );
}

#[test]
fn the_next_version_needs_the_old_threshold_and_its_own() {
    let old = opened(&root_document());
    // Version 2 hands the root role over to other keys.
    let mut next = next_of(&root_document());
    next.roles.remove(&Role::Root);
    next.keys.remove(&keys().root.public().keyid());
    let next = next
        .with_key(Role::Root, &key(31).public())
        .with_key(Role::Root, &key(32).public())
        .with_threshold(Role::Root, 2);
    let (a, b) = (key(31), key(32));
    let judged = |keys: &[&SigningKey]| code(old.update(&signed_with(&next, keys), NOW));
    assert_eq!(judged(&[&keys().root, &a, &b]), "ok");
    assert_eq!(judged(&[&keys().root]), "trust_root_threshold");
    assert_eq!(judged(&[&keys().root, &a]), "trust_root_threshold");
    assert_eq!(judged(&[&a, &b]), "trust_root_threshold");
    assert_eq!(judged(&[&keys().root, &a, &b, &keys().stranger]), "trust_root_signature");
}

#[test]
fn an_installed_successor_opens_by_its_pin_although_its_predecessors_key_is_gone() {
    let mut next = next_of(&root_document());
    next.roles.remove(&Role::Root);
    let next = next.with_key(Role::Root, &key(31).public());
    let file = signed_with(&next, &[&keys().root, &key(31)]);
    assert_eq!(trusted().update(&file, NOW).unwrap().digest(), sha256(&file));
    assert_eq!(code(TrustRoot::open(&file, Some(sha256(&file)), NOW)), "ok");
    assert_eq!(code(open(&file)), "trust_root_signature");
}

#[test]
fn versions_are_neither_skipped_nor_taken_back() {
    let old = opened(&root_document());
    for version in [0_u64, 1, 3, u64::from(u32::MAX)] {
        let next = TrustRoot { version, ..root_document() };
        if version == 0 {
            assert_eq!(next.check(), Err(RootError::VersionZero));
        } else {
            assert_eq!(code(old.update(&root_file(&next), NOW)), "trust_root_not_next");
        }
    }
    assert_eq!(code(old.update(&root_file(&next_of(&root_document())), NOW)), "ok");
}

#[test]
fn a_key_sits_in_one_role_once() {
    let refused = broken(|document| {
        let teacher = keys().teacher.public();
        *document = document.clone().with_key(Role::Auditor, &teacher);
    });
    assert!(matches!(refused, RootError::KeyInTwoRoles { .. }), "{refused}");
    let refused = broken(|document| {
        let keyids = &mut document.roles.get_mut(&Role::Auditor).unwrap().keyids;
        keyids.push(keyids[0].clone());
    });
    assert!(matches!(refused, RootError::KeyInTwoRoles { .. }), "{refused}");
}

#[test]
fn a_weak_key_is_refused() {
    let refused = broken(|document| {
        let mut weak = document.keys.values().next().unwrap().clone();
        weak.public = format!("01{}", "00".repeat(31));
        document.keys.insert("0".repeat(64), weak);
    });
    assert!(matches!(refused, RootError::Key { .. }), "{refused}");
}

#[test]
fn a_key_of_another_kind_or_spelling_is_refused() {
    let changes: [fn(&mut RootKey); 4] = [
        |key| key.keytype = "rsa".into(),
        |key| key.scheme = "ed25519ph".into(),
        |key| key.public = key.public.to_uppercase(),
        |key| key.public.truncate(60),
    ];
    for change in changes {
        let refused = broken(|document| change(document.keys.values_mut().next().unwrap()));
        assert!(matches!(refused, RootError::KeyEntry { .. }), "{refused}");
    }
}

#[test]
fn a_threshold_must_be_within_reach_and_mean_something() {
    for (role, threshold) in
        [(Role::Root, 0), (Role::Root, 2), (Role::Auditor, 2), (Role::Teacher, 0)]
    {
        let refused =
            broken(|document| *document = document.clone().with_threshold(role, threshold));
        assert!(matches!(refused, RootError::BadThreshold { .. }), "{role} {threshold}");
    }
    let refused = broken(|document| {
        *document = document
            .clone()
            .with_key(Role::Student, &key(40).public())
            .with_threshold(Role::Student, 2);
    });
    assert!(matches!(refused, RootError::BadThreshold { role: Role::Student, .. }));
}

#[test]
fn every_role_of_a_round_has_a_key() {
    for role in [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger] {
        let refused = broken(|document| drop(document.roles.remove(&role)));
        assert_eq!(refused, RootError::MissingRole { role });
    }
    let refused = broken(|document| drop(document.keys.remove(&keys().ledger.public().keyid())));
    assert!(matches!(refused, RootError::UnknownKey { role: Role::Ledger, .. }));
}

#[test]
fn limits_pins_and_format_are_within_range() {
    assert_eq!(broken(|document| document.limits.verdict_ttl_s = 0).code(), "trust_root_invalid");
    assert_eq!(
        broken(|document| document.limits.tau_query_budget = 0).code(),
        "trust_root_invalid"
    );
    for alpha in [-1, 0, 1_000_000] {
        let refused = broken(|document| document.limits.alpha_micro = Micro(alpha));
        assert!(matches!(refused, RootError::Limit { field: "alpha_micro", .. }));
    }
    assert!(matches!(broken(|document| document.spec = "2".into()), RootError::Spec { .. }));
}

#[test]
fn a_revoked_key_does_not_stay_a_root_key() {
    let keyid = keys().root.public().keyid();
    let refused = broken(|document| document.revoked.push(Revocation { keyid, from_sequence: 0 }));
    assert!(matches!(refused, RootError::RevokedRootKey { .. }));
}

#[test]
fn an_endless_root_file_is_refused_unread() {
    assert_eq!(code(open(&vec![b'{'; (256 << 10) + 1])), "message_too_large");
}

#[test]
fn a_root_is_no_statement_and_a_statement_no_root() {
    let statement = envelope_to_bytes(&signed(verdict()));
    assert_eq!(code(open(&statement)), "payload_type_wrong");
    let root: Envelope = sign_root(&root_document(), &[&keys().root]).unwrap();
    assert_eq!(code(trusted().verify::<seal_protocol::Verdict>(&root, NOW)), "payload_type_wrong");
}

#[test]
fn a_payload_in_another_spelling_is_refused_whoever_signed_it() {
    let spaced = serde_json::to_vec_pretty(&root_document()).unwrap();
    assert_ne!(spaced, canonical_json(&root_document()).unwrap());
    let mut envelope = sign_root(&root_document(), &[&keys().root]).unwrap();
    let kind = "application/vnd.seal.trust-root+json";
    use ed25519_dalek::Signer;
    let message = seal_trust::pre_authentication(kind, &spaced);
    let signature = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(&message);
    envelope.payload = STANDARD.encode(&spaced);
    envelope.signatures[0].sig = STANDARD.encode(signature.to_bytes());
    assert_eq!(code(open(&envelope_to_bytes(&envelope))), "message_not_canonical");
}

proptest! {
    #[test]
    fn no_root_file_panics(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&file).is_err());
    }

    #[test]
    fn no_root_document_panics(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut envelope = sign_root(&root_document(), &[&keys().root]).unwrap();
        envelope.payload = STANDARD.encode(payload);
        prop_assert!(open(&envelope_to_bytes(&envelope)).is_err());
    }

    #[test]
    fn no_key_bytes_panic(bytes in any::<[u8; 32]>(), pem in ".{0,200}") {
        let _ = PublicKey::from_bytes(bytes);
        prop_assert!(PublicKey::from_pem(&pem).is_err());
    }
}
