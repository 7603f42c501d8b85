//! What the conductor reads inside signed messages: enough to route them, never to trust them.
//!
//! The conductor holds no trust root and decides nothing; a forged message is refused by the role
//! that receives it. **Invariant:** nothing here is used as evidence.

use seal_protocol::{
    AuditRequest, Digest, Envelope, Judgement, SelfEdit, Statement, TrainingExample, Verdict,
};
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

/// A judgement in its envelope, with the edit that it is about.
pub struct RoutedJudgement {
    /// As signed.
    pub envelope: Envelope,
    /// Digest of the edit.
    pub edit: Digest,
}

/// Reads judgements.
pub fn judgements(envelopes: Vec<Envelope>) -> Result<Vec<RoutedJudgement>, UnreadableMessage> {
    let unreadable = || UnreadableMessage { what: "judgement", from: "judge" };
    let read = envelopes.into_iter().map(|envelope| {
        let statement: Statement<Judgement> = peek(&envelope).ok_or_else(unreadable)?;
        Ok(RoutedJudgement { edit: statement.predicate.edit_digest, envelope })
    });
    read.collect()
}

/// Reads an audit request.
pub fn audit_request(envelope: &Envelope) -> Result<AuditRequest, UnreadableMessage> {
    peek::<Statement<AuditRequest>>(envelope)
        .map(|statement| statement.predicate)
        .ok_or(UnreadableMessage { what: "audit request", from: "student" })
}

/// The verdicts of those requests on which `quorum` auditors accepted the same edits, in the order of
/// the first auditor's. Others would be refused by whoever acts on them.
pub fn in_quorum(
    verdicts: Vec<Envelope>,
    quorum: usize,
) -> Result<Vec<Envelope>, UnreadableMessage> {
    if quorum <= 1 {
        return Ok(verdicts);
    }
    let mut groups: Vec<(Accepted, Vec<Envelope>)> = Vec::new();
    for envelope in verdicts {
        let accepted = accepted(&envelope)?;
        match groups.iter_mut().find(|(other, _)| *other == accepted) {
            Some((_, group)) => group.push(envelope),
            None => groups.push((accepted, vec![envelope])),
        }
    }
    let enough = groups.into_iter().filter(|(_, group)| group.len() >= quorum);
    Ok(enough.flat_map(|(_, group)| group).collect())
}

/// Those verdicts that are about one context alone, and this one.
pub fn on_context(
    verdicts: Vec<Envelope>,
    context: &Digest,
) -> Result<Vec<Envelope>, UnreadableMessage> {
    let mut kept = Vec::new();
    for envelope in verdicts {
        if verdict(&envelope)?.context_digests == [*context] {
            kept.push(envelope);
        }
    }
    Ok(kept)
}

/// What a verdict is about: the request and the edits.
type Accepted = (Digest, Vec<Digest>);

fn accepted(envelope: &Envelope) -> Result<Accepted, UnreadableMessage> {
    verdict(envelope).map(|verdict| (verdict.request_digest, verdict.edit_digests))
}

fn verdict(envelope: &Envelope) -> Result<Verdict, UnreadableMessage> {
    let statement: Option<Statement<Verdict>> = peek(envelope);
    let read = statement.map(|statement| statement.predicate);
    read.ok_or(UnreadableMessage { what: "verdict", from: "auditor" })
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
