//! Policies and their updates, held against the verdicts they claim.
//!
//! **Invariant:** a policy holds no edit that no verdict allowed: not among what it was trained on, here or by
//! an endpoint, and not among the examples that it is shown.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use seal_endpoint::training_file;
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

/// The policy is what its digest says: weights, an adapter over the `first` one, the examples that a
/// writer elsewhere is shown, or the file that an endpoint was to learn from.
pub(super) fn check(
    state: &Path,
    first: &PolicySource,
    update: &PolicyUpdate,
    verdicts: &Verdicts,
) -> Result<()> {
    let policy = &update.policy_digest;
    let examples = state.join(format!("exemplars/{policy}.json"));
    let tuned = state.join(format!("fine-tuned/{policy}.json"));
    if examples.exists() {
        check_examples(&examples, policy, verdicts)
    } else if tuned.exists() {
        check_tuned(state, &tuned, update)
    } else {
        check_weights(&state.join(format!("policies/{policy}")), first, policy)
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

/// What matters here of a model that an endpoint tuned.
#[derive(Deserialize)]
struct Tuned {
    training_file: Digest,
    edits: Vec<Digest>,
}

/// What the endpoint made of the file is its word; what was in the file is ours.
fn check_tuned(state: &Path, file: &Path, update: &PolicyUpdate) -> Result<()> {
    let bytes = read(file)?;
    ensure!(
        sha256(&bytes) == update.policy_digest,
        "`{}` names another model than its policy update says",
        file.display()
    );
    let tuned: Tuned = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no policy of an endpoint", file.display()))?;
    let training_file = training_file(state, &tuned.training_file);
    let lines = read(&training_file)?;
    ensure!(
        sha256(&lines) == tuned.training_file,
        "`{}` is not what the endpoint was sent",
        training_file.display()
    );
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    ensure!(
        tuned.edits == update.edit_digests && count == tuned.edits.len(),
        "`{}` learned from other edits than its policy update says",
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

    fn update(policy_digest: Digest, edit_digests: Vec<Digest>) -> PolicyUpdate {
        PolicyUpdate {
            stage: "round-1".to_owned(),
            parent_policy_digest: Digest::from_bytes([9; 32]),
            policy_digest,
            verdict_digests: Vec::new(),
            edit_digests,
            recipe_digest: Digest::from_bytes([8; 32]),
            seed: 7,
        }
    }

    fn checked(state: &Path, update: &PolicyUpdate) -> Result<()> {
        check(state, &PolicySource::folder(state), update, &Verdicts::new())
    }

    fn refused(state: &Path, policy: &Digest) -> String {
        checked(state, &update(*policy, Vec::new())).unwrap_err().to_string()
    }

    #[test]
    fn a_policy_without_weights_is_its_examples() {
        let (state, digest) = policy(&[]);
        checked(state.path(), &update(digest, Vec::new())).unwrap();
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
    fn a_tuned_policy_is_its_name_and_the_file_it_was_to_learn() {
        let state = tempfile::tempdir().unwrap();
        let lines = b"{\"messages\":[]}\n";
        let edits = vec![Digest::from_bytes([1; 32])];
        let file = training_file(state.path(), &sha256(lines));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, lines).unwrap();
        let text =
            serde_json::json!({ "training_file": sha256(lines), "edits": edits }).to_string();
        let digest = sha256(text.as_bytes());
        std::fs::create_dir(state.path().join("fine-tuned")).unwrap();
        let policy = state.path().join(format!("fine-tuned/{digest}.json"));
        std::fs::write(&policy, &text).unwrap();
        let told = |edits: Vec<Digest>| {
            checked(state.path(), &update(digest, edits)).unwrap_err().to_string()
        };
        checked(state.path(), &update(digest, edits.clone())).unwrap();
        assert!(told(vec![Digest::from_bytes([2; 32])]).contains("other edits"));
        std::fs::write(&file, [lines, lines.as_slice()].concat()).unwrap();
        assert!(told(edits.clone()).contains("is not what the endpoint was sent"));
        std::fs::write(&policy, text + " ").unwrap();
        assert!(told(edits).contains("names another model"));
    }

    #[test]
    fn a_policy_that_is_nowhere_is_missed() {
        let (state, _) = policy(&[]);
        let absent = Digest::from_bytes([2; 32]);
        assert!(refused(state.path(), &absent).contains("cannot digest the policy"));
    }
}
