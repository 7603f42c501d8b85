//! A statement is believed only as its author signed it, to the last byte of its file.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::*;
use proptest::prelude::*;
use seal_protocol::{Envelope, Role, SelfEdit, UnixSeconds, Verdict};
use seal_trust::{
    Revocation, VerifyError, canonical_json, envelope_from_file_bytes, envelope_to_bytes,
    payload_digest, pre_authentication, sha256, sign_statement,
};

/// What happens to a verdict's file.
fn read(file: &[u8]) -> Result<(), VerifyError> {
    let envelope = envelope_from_file_bytes(file)?;
    trusted().verify::<Verdict>(&envelope, NOW).map(drop)
}

fn code(envelope: &Envelope) -> &'static str {
    match trusted().verify::<Verdict>(envelope, NOW) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

/// A genuine auditor's signature over whatever payload.
fn signed_payload(payload: &[u8]) -> Envelope {
    let mut envelope = signed(verdict());
    let genuine = SigningBytes::of(payload);
    envelope.payload = STANDARD.encode(payload);
    envelope.signatures[0].sig = STANDARD.encode(genuine.0);
    envelope
}

/// Signs with the auditor's secret outside the crate, as an attacker with the key could.
struct SigningBytes([u8; 64]);

impl SigningBytes {
    fn of(payload: &[u8]) -> Self {
        use ed25519_dalek::Signer;
        let message = pre_authentication("application/vnd.in-toto+json", payload);
        Self(ed25519_dalek::SigningKey::from_bytes(&[4; 32]).sign(&message).to_bytes())
    }
}

#[test]
fn a_signed_statement_verifies_with_its_author_and_id() {
    let envelope = signed(verdict());
    let verified = trusted().verify::<Verdict>(&envelope, NOW).unwrap();
    assert_eq!(verified.statement, statement(verdict()));
    assert_eq!(verified.keyid, keys().auditor.public().keyid());
    assert_eq!(verified.payload_digest, payload_digest(&envelope).unwrap());
    let payload = canonical_json(&statement(verdict())).unwrap();
    assert_eq!(verified.payload_digest, sha256(&payload));
}

#[test]
fn signing_again_yields_the_same_bytes() {
    assert_eq!(signed(verdict()), signed(verdict()));
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    let signed = pre_authentication("http://example.com/HelloWorld", b"hello world");
    assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn every_single_changed_byte_of_a_stored_verdict_is_found() {
    let file = envelope_to_bytes(&signed(verdict()));
    read(&file).unwrap();
    for position in 0..file.len() {
        // Each bit, and a blank: whitespace is what a lenient reader overlooks.
        for changed in (0..8).map(|bit| file[position] ^ (1 << bit)).chain([b' ']) {
            let mut altered = file.clone();
            altered[position] = changed;
            assert!(altered == file || read(&altered).is_err(), "byte {position} as {changed}");
        }
    }
}

#[test]
fn added_and_missing_bytes_of_a_stored_verdict_are_found() {
    let file = envelope_to_bytes(&signed(verdict()));
    for position in 0..file.len() {
        let mut shorter = file.clone();
        shorter.remove(position);
        assert!(read(&shorter).is_err(), "without byte {position}");
        let mut longer = file.clone();
        longer.insert(position, b' ');
        assert!(read(&longer).is_err(), "blank at {position}");
    }
    assert!(read(&[&file[..], b"\n"].concat()).is_err());
}

#[test]
fn a_signature_of_another_role_is_refused_and_named() {
    let keys = keys();
    for (key, expected) in [
        (&keys.teacher, "signer_wrong_role"),
        (&keys.student, "signer_wrong_role"),
        (&keys.ledger, "signer_wrong_role"),
        (&keys.root, "signer_wrong_role"),
        (&keys.stranger, "signature_invalid"),
    ] {
        assert_eq!(code(&signed_by(key, verdict())), expected);
    }
    let edit = sign_statement(&keys.auditor, &self_edit()).unwrap();
    let refused = trusted().verify::<SelfEdit>(&edit, NOW).unwrap_err();
    assert!(matches!(refused, VerifyError::WrongRole { found: Role::Auditor, .. }), "{refused}");
}

#[test]
fn a_teachers_edit_does_not_pass_for_another_kind_of_statement() {
    let edit = sign_statement(&keys().teacher, &self_edit()).unwrap();
    trusted().verify::<SelfEdit>(&edit, NOW).unwrap();
    let refused = trusted().verify::<seal_protocol::PolicyUpdate>(&edit, NOW).unwrap_err();
    assert_eq!(refused.code(), "statement_type_wrong");
}

#[test]
fn a_label_that_names_another_key_is_refused() {
    let mut envelope = signed(verdict());
    envelope.signatures[0].keyid = keys().teacher.public().keyid();
    assert_eq!(code(&envelope), "keyid_mismatch");
    envelope.signatures[0].keyid = String::new();
    assert_eq!(code(&envelope), "keyid_mismatch");
}

#[test]
fn a_statement_has_exactly_one_signature() {
    let mut envelope = signed(verdict());
    let twice = envelope.signatures[0].clone();
    envelope.signatures.push(twice);
    assert_eq!(code(&envelope), "signature_count_wrong");
    envelope.signatures.clear();
    assert_eq!(code(&envelope), "signature_count_wrong");
}

#[test]
fn base64_has_one_form() {
    let payload = canonical_json(&statement(verdict())).unwrap();
    let url_safe = base64::engine::general_purpose::URL_SAFE.encode(&payload);
    let unpadded = STANDARD.encode(&payload).trim_end_matches('=').to_owned();
    for other in [url_safe, unpadded + "\n", " ".into()] {
        let mut envelope = signed(verdict());
        if other != envelope.payload {
            envelope.payload = other;
            assert_eq!(code(&envelope), "envelope_not_base64");
        }
    }
    let mut envelope = signed(verdict());
    envelope.signatures[0].sig.truncate(84);
    assert_eq!(code(&envelope), "envelope_not_base64");
}

#[test]
fn another_payload_type_is_refused() {
    let mut envelope = signed(verdict());
    envelope.payload_type = "application/json".into();
    assert_eq!(code(&envelope), "payload_type_wrong");
}

#[test]
fn even_a_genuine_signature_does_not_pass_a_payload_of_another_form() {
    let payload = String::from_utf8(canonical_json(&statement(verdict())).unwrap()).unwrap();
    let cases = [
        (payload.replacen(',', ", ", 1), "message_not_canonical"),
        (payload.replace("\"attempt\":12", "\"attempt\":12,\"attempt\":12"), "message_malformed"),
        (payload.replace("\"attempt\":12", "\"attempt\":12,\"extra\":1"), "message_malformed"),
        (payload.replace("\"attempt\":12", "\"attempt\":12.5"), "message_malformed"),
        (payload.replace("\"verdict\":\"accept\"", "\"verdict\":\"reject\""), "message_malformed"),
        (
            payload.replace("in-toto.io/Statement/v1", "in-toto.io/Statement/v2"),
            "statement_type_wrong",
        ),
        ("{}".into(), "message_malformed"),
        (String::new(), "message_malformed"),
    ];
    assert_eq!(code(&signed_payload(payload.as_bytes())), "ok");
    for (altered, expected) in cases {
        assert_eq!(code(&signed_payload(altered.as_bytes())), expected, "{altered}");
    }
}

#[test]
fn an_overlong_message_is_refused_unread() {
    let mut envelope = signed(verdict());
    envelope.payload = "A".repeat((1 << 20) + 4);
    assert_eq!(code(&envelope), "message_too_large");
    assert_eq!(read(&vec![b' '; (1 << 20) + 1]).unwrap_err().code(), "message_too_large");
}

#[test]
fn a_revoked_key_speaks_only_below_the_number_from_which_it_is_revoked() {
    let revoked = |key: &seal_trust::SigningKey, from_sequence| {
        let mut document = root_document();
        let keyid = key.public().keyid();
        document.revoked.push(Revocation { keyid, from_sequence });
        opened(&document)
    };
    let judged = |from| revoked(&keys().auditor, from).verify::<Verdict>(&signed(verdict()), NOW);
    assert!(judged(8).is_ok(), "sequence 7 was signed before");
    assert_eq!(judged(7).unwrap_err().code(), "key_revoked");
    assert_eq!(judged(0).unwrap_err().code(), "key_revoked");
    // An edit carries no number, so nothing shows that it is old.
    let edit = sign_statement(&keys().teacher, &self_edit()).unwrap();
    let refused = revoked(&keys().teacher, 8).verify::<SelfEdit>(&edit, NOW).unwrap_err();
    assert_eq!(refused.code(), "key_revoked");
}

#[test]
fn nothing_is_believed_under_an_expired_trust_root() {
    let root = trusted();
    let at_end = root.root().expires;
    assert!(root.verify::<Verdict>(&signed(verdict()), UnixSeconds(at_end.0 - 1)).is_ok());
    let refused = root.verify::<Verdict>(&signed(verdict()), at_end).unwrap_err();
    assert_eq!(refused.code(), "trust_root_expired");
}

proptest! {
    #[test]
    fn no_envelope_from_a_peer_panics(payload in ".{0,60}", kind in ".{0,40}", keyid in ".{0,40}", sig in ".{0,90}") {
        let signature = seal_protocol::EnvelopeSignature { keyid, sig };
        let envelope = Envelope { payload, payload_type: kind, signatures: vec![signature] };
        prop_assert!(trusted().verify::<Verdict>(&envelope, NOW).is_err());
    }

    #[test]
    fn no_signed_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(trusted().verify::<Verdict>(&signed_payload(&payload), NOW).is_err());
    }

    #[test]
    fn no_file_panics(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&file).is_err());
    }

    #[test]
    fn no_damaged_file_passes(position in any::<proptest::sample::Index>(), bytes in proptest::collection::vec(any::<u8>(), 1..9)) {
        let file = envelope_to_bytes(&signed(verdict()));
        let mut altered = file.clone();
        let at = position.index(file.len());
        altered.splice(at..(at + bytes.len()).min(file.len()), bytes);
        prop_assert!(altered == file || read(&altered).is_err());
    }
}
