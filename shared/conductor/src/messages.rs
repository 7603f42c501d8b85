//! What the conductor reads inside signed messages: enough to route them, never to trust them.
//!
//! The conductor holds no trust root and decides nothing; a forged message is refused by the role
//! that receives it. **Invariant:** nothing here is used as evidence.

use seal_protocol::{AuditRequest, Digest, Envelope, SelfEdit, Statement, TrainingExample};
use serde::de::DeserializeOwned;

/// A message that cannot be routed.
#[derive(Debug, thiserror::Error)]
#[error("a {what} from the {from} cannot be read; both programs must have the same version")]
pub struct UnreadableMessage {
    what: &'static str,
    from: &'static str,
}

/// An edit together with the envelope it came in.
pub struct RoutedEdit<'a> {
    /// As signed.
    pub envelope: &'a Envelope,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// Its content, unverified.
    pub edit: SelfEdit,
}

/// Reads edits.
pub fn edits(envelopes: &[Envelope]) -> Result<Vec<RoutedEdit<'_>>, UnreadableMessage> {
    let unreadable = || UnreadableMessage { what: "self-edit", from: "teacher" };
    envelopes
        .iter()
        .map(|envelope| {
            let statement: Statement<SelfEdit> = peek(envelope).ok_or_else(unreadable)?;
            let digest = edit_digest(&statement.predicate).ok_or_else(unreadable)?;
            Ok(RoutedEdit { envelope, digest, edit: statement.predicate })
        })
        .collect()
}

/// Reads an audit request.
pub fn audit_request(envelope: &Envelope) -> Result<AuditRequest, UnreadableMessage> {
    peek::<Statement<AuditRequest>>(envelope)
        .map(|statement| statement.predicate)
        .ok_or(UnreadableMessage { what: "audit request", from: "student" })
}

/// For each context of `reference`, the edit of `pool` whose length comes closest; first on ties.
pub fn length_matched<'a>(
    pool: &'a [RoutedEdit<'a>],
    reference: &[RoutedEdit<'_>],
) -> Vec<&'a RoutedEdit<'a>> {
    reference
        .iter()
        .filter_map(|wanted| {
            pool.iter()
                .filter(|edit| edit.edit.context_digest == wanted.edit.context_digest)
                .min_by_key(|edit| length_words(&edit.edit).abs_diff(length_words(&wanted.edit)))
        })
        .collect()
}

/// Words over all training examples.
fn length_words(edit: &SelfEdit) -> usize {
    let texts = edit.examples.iter().flat_map(TrainingExample::texts);
    texts.map(|text| text.split_whitespace().count()).sum()
}

fn edit_digest(edit: &SelfEdit) -> Option<Digest> {
    seal_trust::digest_of(edit).ok()
}

fn peek<T: DeserializeOwned>(envelope: &Envelope) -> Option<T> {
    let payload = seal_trust::payload_bytes(envelope).ok()?;
    serde_json::from_slice(&payload).ok()
}
