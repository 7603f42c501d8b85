//! Edits sorted into groups that compete with each other: those of one context.
//!
//! **Invariant:** pure; each distinct edit is in exactly one group, once.

use std::collections::HashSet;

use seal_protocol::{Digest, SelfEdit};

/// An edit whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckedEdit {
    /// SHA-256 of its canonical JSON.
    pub(crate) digest: Digest,
    pub(crate) edit: SelfEdit,
}

/// The edits of one context, in the order of their proposal number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) context: Digest,
    pub(crate) edits: Vec<CheckedEdit>,
}

/// Groups in the order in which their contexts first appear.
pub(crate) fn by_context(edits: Vec<CheckedEdit>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for edit in distinct(edits) {
        let context = edit.edit.context_digest;
        match groups.iter_mut().find(|group| group.context == context) {
            Some(group) => group.edits.push(edit),
            None => groups.push(Group { context, edits: vec![edit] }),
        }
    }
    for group in &mut groups {
        group.edits.sort_by_key(|edit| edit.edit.proposal);
    }
    groups
}

/// Each edit once, first come first kept.
pub(crate) fn distinct(edits: Vec<CheckedEdit>) -> Vec<CheckedEdit> {
    let mut seen = HashSet::new();
    let mut kept = edits;
    kept.retain(|edit| seen.insert(edit.digest));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_protocol::{Directives, EditOrigin, Micro};

    fn edit(number: u8, context: u8, proposal: u32) -> CheckedEdit {
        let digest = |byte| Digest::from_bytes([byte; 32]);
        CheckedEdit {
            digest: digest(number),
            edit: SelfEdit {
                context_digest: digest(context),
                proposal,
                examples: Vec::new(),
                directives: Directives::default(),
                rationale: String::new(),
                origin: EditOrigin {
                    writer: String::new(),
                    policy_digest: digest(0),
                    prompt_family: String::new(),
                    prompt_digest: digest(0),
                    temperature_micro: Micro(0),
                    seed: 0,
                    reply_schema: None,
                },
            },
        }
    }

    #[test]
    fn edits_of_one_context_compete_in_the_order_of_their_proposals() {
        let edits = vec![edit(1, 9, 1), edit(2, 8, 0), edit(3, 9, 0), edit(1, 9, 1)];
        let groups = by_context(edits);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].edits, [edit(3, 9, 0), edit(1, 9, 1)]);
        assert_eq!(groups[1].edits, [edit(2, 8, 0)]);
    }
}
