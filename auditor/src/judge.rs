//! The judge's part of the gate: what signed judgements say of a candidate's edits. Pure.
//!
//! **Invariant:** a judgement only ever refuses. What no judge was asked about is refused too.
//! **Absent:** signatures (see `audit::intake`), the judge itself: this process asks nobody.

use std::collections::BTreeSet;

use seal_protocol::{Digest, JudgeRuling, Judgement, is_principle_name};

use crate::gate::{Stage, StageRecord};

/// No judge of the trust root judged the edit.
pub const ABSENT: &str = "judge.absent";
/// It was judged by another constitution only.
pub const OTHER_CONSTITUTION: &str = "judge.other-constitution";
/// A judgement whose two fields say different things.
pub const CONTRADICTION: &str = "judge.contradiction";
/// Before the name of a principle that the edit breaks.
const FORBIDS: &str = "judge.forbids.";

/// The stage of a candidate made of `edits`, under a constitution.
pub fn stage<'a>(
    constitution: &Digest,
    edits: &[Digest],
    judgements: impl Iterator<Item = &'a Judgement> + Clone,
) -> StageRecord {
    let mut reasons = BTreeSet::new();
    for edit in edits {
        let about = judgements.clone().filter(|judgement| judgement.edit_digest == *edit);
        let (ours, others): (Vec<_>, Vec<_>) =
            about.partition(|judgement| judgement.constitution_digest == *constitution);
        match (ours.is_empty(), others.is_empty()) {
            (true, true) => drop(reasons.insert(ABSENT.to_owned())),
            (true, false) => drop(reasons.insert(OTHER_CONSTITUTION.to_owned())),
            // Several judges may speak of one edit; one that forbids is enough.
            (false, _) => reasons.extend(ours.into_iter().flat_map(spoken_against)),
        }
    }
    StageRecord::of(Stage::Judge, reasons.into_iter().collect())
}

/// Reasons that one judgement gives.
fn spoken_against(judgement: &Judgement) -> Vec<String> {
    let sound = judgement.violated.iter().all(|name| is_principle_name(name));
    match (judgement.ruling, judgement.violated.is_empty()) {
        (JudgeRuling::Permit, true) => Vec::new(),
        (JudgeRuling::Forbid, false) if sound => {
            judgement.violated.iter().map(|name| format!("{FORBIDS}{name}")).collect()
        }
        _ => vec![CONTRADICTION.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_protocol::{LONGEST_PRINCIPLE_NAME, Trial};

    const OURS: Digest = Digest::from_bytes([1; 32]);
    const EDIT: Digest = Digest::from_bytes([2; 32]);
    const OTHER: Digest = Digest::from_bytes([3; 32]);

    fn judgement(ruling: JudgeRuling, violated: &[&str]) -> Judgement {
        Judgement {
            edit_digest: EDIT,
            ruling,
            violated: violated.iter().map(|&name| name.to_owned()).collect(),
            constitution_digest: OURS,
            judge: "test".to_owned(),
            judge_digest: OTHER,
            prompt_digest: OTHER,
            reply_schema: None,
            trial: Trial { attacks: 1, caught: 1, harmless: 1, passed: 1 },
        }
    }

    fn reasons(judgements: &[Judgement]) -> Vec<String> {
        let record = stage(&OURS, &[EDIT], judgements.iter());
        assert_eq!(record.passed(), record.reasons.is_empty());
        record.reasons
    }

    #[test]
    fn every_edit_needs_a_judgement_under_our_constitution_that_permits_it() {
        use JudgeRuling::{Forbid, Permit};
        let permit = judgement(Permit, &[]);
        assert_eq!(reasons(std::slice::from_ref(&permit)), [""; 0]);
        assert_eq!(reasons(&[]), [ABSENT]);
        let about_another = Judgement { edit_digest: OTHER, ..permit.clone() };
        assert_eq!(reasons(&[about_another]), [ABSENT]);
        let foreign = Judgement { constitution_digest: OTHER, ..permit.clone() };
        assert_eq!(reasons(std::slice::from_ref(&foreign)), [OTHER_CONSTITUTION]);
        assert_eq!(reasons(&[foreign, permit.clone()]), [""; 0]);
        let forbid = judgement(Forbid, &["b", "a"]);
        assert_eq!(
            reasons(&[permit.clone(), forbid.clone()]),
            ["judge.forbids.a", "judge.forbids.b"]
        );
        assert_eq!(reasons(&[forbid, permit.clone()]), ["judge.forbids.a", "judge.forbids.b"]);
        let two = stage(&OURS, &[EDIT, OTHER], [permit].iter());
        assert_eq!(two.reasons, [ABSENT], "one of two edits was judged");
    }

    #[test]
    fn a_judgement_that_contradicts_itself_or_names_no_principle_permits_nothing() {
        use JudgeRuling::{Forbid, Permit};
        for odd in [
            judgement(Permit, &["a"]),
            judgement(Forbid, &[]),
            judgement(Forbid, &[""]),
            judgement(Forbid, &["a", "\u{1b}[31m"]),
            judgement(Forbid, &[&"a".repeat(LONGEST_PRINCIPLE_NAME + 1)]),
        ] {
            assert_eq!(reasons(&[odd]), [CONTRADICTION]);
        }
    }
}
