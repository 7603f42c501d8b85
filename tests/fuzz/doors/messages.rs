//! Messages, ledger and requests: what crosses between the roles.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use seal_protocol::{
    AskRequest, AuditRequest, AuditSubmission, ConsolidateRequest, Cosignature, Digest, Envelope,
    EnvelopeSignature, ExtendRequest, IN_TOTO_PAYLOAD_TYPE, InnerUpdateRequest, JudgeRequest,
    Judgement, LedgerQuestion, LedgerShown, PolicyUpdate, PolicyUpdateRequest, Predicate,
    PromoteRequest, ProposeRequest, RollBackRequest, SelfEdit, ServingChange, Verdict, VerdictKind,
};
use seal_trust::{
    Expectation, LedgerProof, RootDraft, SigningKey, TrustRoot, canonical_json, check_verdict,
    envelope_from_file_bytes, envelope_to_bytes, merkle, payload_bytes, pre_authentication,
    verify_checkpoint, vkey,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::let_in;
use super::trust::{self, Keys, NOW, keys, trusted};

/// A file of an envelope: there is one way to write it, and nobody's word is taken but its signer's.
pub fn envelope(sent: &[u8]) -> bool {
    let Some(envelope) = let_in(envelope_from_file_bytes(sent)) else { return false };
    assert_eq!(envelope_to_bytes(&envelope), sent, "two ways to write one envelope");
    let _ = let_in(payload_bytes(&envelope));
    if let Ok(verified) = trusted().verify::<SelfEdit>(&envelope, NOW) {
        assert_eq!(verified.statement, trust::self_edit(), "a statement that no teacher signed");
    }
    true
}

/// A payload under a good signature of the role that says such things.
pub fn statement(sent: &[u8]) -> bool {
    let keys = held();
    let said = [
        says::<SelfEdit>(&keys.teacher, sent),
        says::<PolicyUpdate>(&keys.teacher, sent),
        says::<AuditRequest>(&keys.student, sent),
        says::<ServingChange>(&keys.student, sent),
        says::<Verdict>(&keys.auditor, sent),
        says::<Judgement>(&keys.judge, sent),
    ];
    // Nothing is read as two kinds of message.
    let read = said.into_iter().filter(|said| *said).count();
    assert!(read <= 1);
    let verdict = signed(&keys.auditor, sent);
    let expected = Expectation::of(VerdictKind::Edit);
    let _ = let_in(check_verdict(trusted(), &verdict, &expected, NOW));
    read == 1
}

fn says<P: Predicate + Serialize>(author: &SigningKey, payload: &[u8]) -> bool {
    let Some(verified) = let_in(trusted().verify::<P>(&signed(author, payload), NOW)) else {
        return false;
    };
    assert_eq!(canonical_json(&verified.statement).unwrap(), payload, "read, but not as signed");
    true
}

fn signed(author: &SigningKey, payload: &[u8]) -> Envelope {
    let message = pre_authentication(IN_TOTO_PAYLOAD_TYPE, payload);
    let signature = EnvelopeSignature {
        keyid: author.public().keyid(),
        sig: STANDARD.encode(by(author).sign(&message).to_bytes()),
    };
    Envelope {
        payload: STANDARD.encode(payload),
        payload_type: IN_TOTO_PAYLOAD_TYPE.to_owned(),
        signatures: vec![signature],
    }
}

/// A key that this program holds, in the hands of a library that signs anything.
fn by(key: &SigningKey) -> &'static ed25519_dalek::SigningKey {
    static KEYS: LazyLock<Vec<ed25519_dalek::SigningKey>> = LazyLock::new(|| {
        (1..=9).map(|seed| ed25519_dalek::SigningKey::from_bytes(&[seed; 32])).collect()
    });
    let public = key.public();
    KEYS.iter().find(|known| known.verifying_key().as_bytes() == public.as_bytes()).unwrap()
}

/// The roles' keys, made once.
fn held() -> &'static Keys {
    static HELD: LazyLock<Keys> = LazyLock::new(keys);
    &HELD
}

/// The text of a note under a good signature of the ledger, and as a whole note.
pub fn checkpoint(sent: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(sent) else { return false };
    let key = &held().ledger.public();
    let _ = let_in(verify_checkpoint(text, key));
    let origin = text.lines().next().unwrap_or_default();
    let Ok(verifier) = vkey(origin, seal_trust::NoteAlgorithm::Log, key) else { return false };
    let hash = verifier[origin.len() + 1..].split('+').next().unwrap();
    let hash = u32::from_str_radix(hash, 16).unwrap().to_be_bytes();
    let signature = by(&held().ledger).sign(text.as_bytes()).to_bytes();
    let line = STANDARD.encode([&hash[..], &signature].concat());
    let note = format!("{text}\n— {origin} {line}\n");
    let Some(read) = let_in(verify_checkpoint(&note, key)) else { return false };
    assert_eq!(read.origin, origin);
    assert!(text.contains(&read.size.to_string()));
    true
}

/// A proof file, and its numbers and hashes in trees of any size.
pub fn proof(sent: &[u8]) -> bool {
    if let Some((numbers, hashes)) = sent.split_at_checked(24) {
        let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().unwrap());
        let hashes: Vec<Digest> = hashes
            .chunks_exact(32)
            .map(|hash| Digest::from_bytes(hash.try_into().unwrap()))
            .collect();
        let leaf = merkle::leaf_hash(numbers);
        let _ = let_in(merkle::verify_inclusion(&leaf, number(0), number(8), &hashes, &leaf));
        let _ = let_in(merkle::verify_consistency(number(0), &leaf, number(8), &leaf, &hashes));
    }
    let Ok(text) = std::str::from_utf8(sent) else { return false };
    let Some(proof) = let_in(LedgerProof::from_text(text)) else { return false };
    assert_eq!(proof.to_text(), text, "two ways to write one proof");
    let _ = let_in(proof.verify(b"entry", &held().ledger.public()));
    true
}

/// A trust root that its key holder signed, a draft of one, and the raw file.
pub fn trust_root(sent: &[u8]) -> bool {
    let _ = let_in(TrustRoot::version_of(sent));
    let _ = let_in(RootDraft::open(sent, Some(trusted())));
    let _ = let_in(TrustRoot::open(sent, None, NOW));
    static TYPE: LazyLock<String> = LazyLock::new(|| {
        let file = trust::root_file(&trust::root_document());
        envelope_from_file_bytes(&file).unwrap().payload_type
    });
    let root = &held().root;
    let message = pre_authentication(&TYPE, sent);
    let sig = STANDARD.encode(by(root).sign(&message).to_bytes());
    let signatures = vec![EnvelopeSignature { keyid: root.public().keyid(), sig }];
    let file = envelope_to_bytes(&Envelope {
        payload: STANDARD.encode(sent),
        payload_type: TYPE.clone(),
        signatures,
    });
    let _ = let_in(trusted().successor(&file));
    let Some(opened) = let_in(TrustRoot::open(&file, None, NOW)) else { return false };
    assert_eq!(canonical_json(opened.root()).unwrap(), sent, "read, but not as signed");
    true
}

/// One byte that chooses the path, and the body sent there.
pub fn http_body(sent: &[u8]) -> bool {
    let Some((path, body)) = sent.split_first() else { return false };
    match path % 13 {
        0 => takes::<ProposeRequest>(body),
        1 => takes::<PolicyUpdateRequest>(body),
        2 => takes::<InnerUpdateRequest>(body),
        3 => takes::<ConsolidateRequest>(body),
        4 => takes::<AuditSubmission>(body),
        5 => takes::<LedgerQuestion>(body),
        6 => takes::<Cosignature>(body),
        7 => takes::<LedgerShown>(body),
        8 => takes::<PromoteRequest>(body),
        9 => takes::<RollBackRequest>(body),
        10 => takes::<AskRequest>(body),
        11 => takes::<ExtendRequest>(body),
        _ => takes::<JudgeRequest>(body),
    }
}

fn takes<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(body: &[u8]) -> bool {
    let Ok(taken) = serde_json::from_slice::<T>(body) else { return false };
    let again = serde_json::to_vec(&taken).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), taken);
    true
}
