//! The base's outcomes, kept by the commitment to the items asked.
//!
//! A cache: a row that is gone, altered or unreadable is measured again. Rows carry an HMAC, because
//! a changed base outcome would change what counts as a gain.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use seal_protocol::Digest;
use seal_service::store::{SqliteError, open_sqlite};
use seal_trust::hmac_commitment;

use crate::gate::Outcome;
use crate::grading::Grading;
use crate::items::Item;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS base_outcomes (
    key TEXT PRIMARY KEY, mac TEXT NOT NULL, body BLOB NOT NULL
) STRICT";

/// Base outcomes by items.
pub struct BaseCache {
    db: Connection,
    secret: [u8; 32],
    /// Everything besides the items that fixes an outcome.
    scope: Digest,
}

impl BaseCache {
    /// Opens the cache; `scope` names base, tokenizer and prompt.
    ///
    /// # Errors
    /// A database that cannot be opened.
    pub fn open(path: &Path, secret: [u8; 32], scope: Digest) -> Result<Self, SqliteError> {
        let db = open_sqlite(path)?;
        db.execute_batch(TABLE)
            .map_err(|source| SqliteError::Open { path: path.to_owned(), source })?;
        Ok(Self { db, secret, scope })
    }

    pub(super) fn get(&self, items: &[Item], grading: &Grading) -> Option<Vec<Outcome>> {
        let key = self.key(items, grading);
        let query = "SELECT mac, body FROM base_outcomes WHERE key = ?1";
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
        let (mac, body) = self.db.query_row(query, [key.to_string()], row).optional().ok()??;
        let honest = mac == self.mac(&key, &body).to_string();
        let outcomes: Vec<Outcome> = serde_json::from_slice(&body).ok().filter(|_| honest)?;
        (outcomes.len() == items.len()).then_some(outcomes)
    }

    pub(super) fn put(&self, items: &[Item], grading: &Grading, outcomes: &[Outcome]) {
        let key = self.key(items, grading);
        let Ok(body) = serde_json::to_vec(outcomes) else { return };
        let insert = "INSERT OR REPLACE INTO base_outcomes (key, mac, body) VALUES (?1, ?2, ?3)";
        let stored = self
            .db
            .execute(insert, params![key.to_string(), self.mac(&key, &body).to_string(), body]);
        if let Err(error) = stored {
            // Only time is lost: the next group measures again.
            tracing::warn!(%error, "the base's outcomes were not cached");
        }
    }

    fn key(&self, items: &[Item], grading: &Grading) -> Digest {
        let mut bytes = self.scope.as_bytes().to_vec();
        let mut add = |text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        for item in items {
            add(&item.asked());
            add(&item.answer);
        }
        if *grading != Grading::FirstChoice {
            add(&serde_json::to_string(grading).unwrap_or_default());
        }
        hmac_commitment(&self.secret, &bytes)
    }

    fn mac(&self, key: &Digest, body: &[u8]) -> Digest {
        hmac_commitment(&self.secret, &[key.as_bytes(), body].concat())
    }
}
