//! Cosignatures of a checkpoint under the trust root: who else has seen this ledger.

use std::collections::BTreeMap;

use seal_protocol::{Role, UnixSeconds};

use crate::checkpoint::cosigned_at;
use crate::note::{Note, NoteAlgorithm};
use crate::{NoteError, TrustedRoot, VerifyError};

/// A cosigner and when it saw the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// The name on its line.
    pub name: String,
    /// Its key.
    pub keyid: String,
    /// When.
    pub at: UnixSeconds,
}

impl TrustedRoot {
    /// The trust root's witnesses that cosigned a note, each key once. Lines of others are skipped,
    /// as the format demands; the ledger's own signature is not checked here.
    ///
    /// # Errors
    /// A note of another form.
    pub fn witnesses(&self, note: &str) -> Result<Vec<Witnessed>, NoteError> {
        let parts = Note::parse(note)?;
        let mut found: BTreeMap<String, Witnessed> = BTreeMap::new();
        for (name, _) in parts.lines() {
            for key in self.keys(Role::Witness) {
                let bytes = parts.signature_of(name, NoteAlgorithm::Cosignature, key);
                let at = bytes.and_then(|bytes| cosigned_at(parts.text, &bytes, key));
                if let Some(at) = at {
                    let keyid = key.keyid();
                    let witnessed = Witnessed { name: name.to_owned(), keyid: keyid.clone(), at };
                    found.entry(keyid).or_insert(witnessed);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// How many witnesses must have cosigned a checkpoint; 0 where the trust root names none.
    pub fn witnesses_needed(&self) -> usize {
        let named = self.root().roles.get(&Role::Witness);
        named.map_or(0, |names| names.threshold)
    }

    /// Enough witnesses cosigned the note.
    ///
    /// # Errors
    /// A note of another form, and `QuorumNotMet`.
    pub fn demand_witnesses(&self, note: &str) -> Result<(), VerifyError> {
        let (needed, got) = (self.witnesses_needed(), self.witnesses(note)?.len());
        match got >= needed {
            true => Ok(()),
            false => Err(VerifyError::QuorumNotMet { role: Role::Witness, needed, got }),
        }
    }
}

/// The note with more signature lines, each once, in the order they came.
///
/// Whether they verify is for whoever reads the result.
///
/// # Errors
/// A note or line of another form, and a result that is too long.
pub fn with_lines(note: &str, lines: &[String]) -> Result<String, NoteError> {
    Note::parse(note)?;
    let mut joined = note.to_owned();
    for line in lines {
        if !joined.lines().any(|there| there == line.trim_end_matches('\n')) {
            joined.push_str(line);
        }
    }
    Note::parse(&joined)?;
    Ok(joined)
}
