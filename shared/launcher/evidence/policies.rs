//! Policies and their updates, held against the verdicts they claim.
//!
//! **Invariant:** a policy holds no edit that no verdict allowed: not among what it was trained on, and
//! not among the examples that it is shown.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use seal_protocol::{Digest, PolicyUpdate, VerdictKind};
use seal_teacher::PolicySource;
use seal_trust::sha256;
use serde::Deserialize;

use super::verification::{Verdicts, read};

/// Each verdict it lists exists, allows edits to feed a policy, and allows just the listed ones.
pub(super) fn check_update(file: &Path, update: &PolicyUpdate, verdicts: &Verdicts) -> Result<()> {
    let mut allowed = BTreeSet::new();
    for digest in &update.verdict_digests {
        let verdict = verdicts.get(digest).filter(|verdict| verdict.kind == VerdictKind::Edit);
        let verdict = verdict.with_context(|| {
            format!(
                "`{}` lists verdict {}, which the auditor never gave",
                file.display(),
                digest.short()
            )
        })?;
        allowed.extend(verdict.edit_digests.iter().copied());
    }
    let used: BTreeSet<Digest> = update.edit_digests.iter().copied().collect();
    ensure!(used == allowed, "`{}` learned from edits that no verdict allows", file.display());
    Ok(())
}

/// The policy is what its digest says: weights, an adapter over the `first` one, or the examples
/// that a writer elsewhere is shown.
pub(super) fn check(
    state: &Path,
    first: &PolicySource,
    policy: &Digest,
    verdicts: &Verdicts,
) -> Result<()> {
    let examples = state.join(format!("exemplars/{policy}.json"));
    match examples.exists() {
        true => check_examples(&examples, policy, verdicts),
        false => check_weights(&state.join(format!("policies/{policy}")), first, policy),
    }
}

fn check_weights(folder: &Path, first: &PolicySource, policy: &Digest) -> Result<()> {
    let digest = seal_teacher::policy_digest(folder, first)
        .with_context(|| format!("cannot digest the policy `{}`", folder.display()))?;
    ensure!(
        digest == *policy,
        "`{}` holds other weights than its policy update says",
        folder.display()
    );
    Ok(())
}

/// What matters here of a policy without weights.
#[derive(Deserialize)]
struct Examples {
    edits: Vec<Digest>,
}

fn check_examples(file: &Path, policy: &Digest, verdicts: &Verdicts) -> Result<()> {
    let bytes = read(file)?;
    ensure!(
        sha256(&bytes) == *policy,
        "`{}` holds other examples than its policy update says",
        file.display()
    );
    let examples: Examples = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no policy of examples", file.display()))?;
    let of_edits = verdicts.values().filter(|verdict| verdict.kind == VerdictKind::Edit);
    let allowed: BTreeSet<Digest> =
        of_edits.flat_map(|verdict| verdict.edit_digests.iter().copied()).collect();
    ensure!(
        examples.edits.iter().all(|edit| allowed.contains(edit)),
        "`{}` shows edits that no verdict allows",
        file.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A state folder with a policy that shows these edits; its digest.
    fn policy(edits: &[Digest]) -> (tempfile::TempDir, Digest) {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("exemplars")).unwrap();
        let writer = Digest::from_bytes([9; 32]);
        let text = serde_json::json!({ "writer": writer, "edits": edits }).to_string();
        let digest = sha256(text.as_bytes());
        std::fs::write(state.path().join(format!("exemplars/{digest}.json")), text).unwrap();
        (state, digest)
    }

    fn refused(state: &Path, policy: &Digest) -> String {
        check(state, &PolicySource::folder(state), policy, &Verdicts::new())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_policy_without_weights_is_its_examples() {
        let (state, digest) = policy(&[]);
        check(state.path(), &PolicySource::folder(state.path()), &digest, &Verdicts::new())
            .unwrap();
        let file = state.path().join(format!("exemplars/{digest}.json"));
        std::fs::write(file, "{\"writer\":null,\"edits\":[]}").unwrap();
        assert!(refused(state.path(), &digest).contains("other examples"));
    }

    #[test]
    fn an_example_that_no_verdict_allows_is_found() {
        let (state, digest) = policy(&[Digest::from_bytes([1; 32])]);
        assert!(refused(state.path(), &digest).contains("no verdict allows"));
    }

    #[test]
    fn a_policy_that_is_nowhere_is_missed() {
        let (state, _) = policy(&[]);
        let absent = Digest::from_bytes([2; 32]);
        assert!(refused(state.path(), &absent).contains("cannot digest the policy"));
    }
}
