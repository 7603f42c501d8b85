//! Tables. All are `STRICT`; rows are only ever inserted.

use rusqlite::Connection;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS ledger (
    idx   INTEGER PRIMARY KEY,
    entry BLOB NOT NULL,
    leaf  BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS checkpoints (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS cosignatures (
    size  INTEGER NOT NULL,
    keyid TEXT NOT NULL,
    line  TEXT NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (size, keyid)
) STRICT;
CREATE TABLE IF NOT EXISTS verdicts (
    sequence       INTEGER PRIMARY KEY,
    payload_digest TEXT NOT NULL UNIQUE,
    envelope       BLOB NOT NULL,
    issued_at      INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS inbox (
    request_digest TEXT PRIMARY KEY,
    nonce          TEXT NOT NULL UNIQUE,
    reply          BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS artefacts (
    kind   TEXT NOT NULL,
    digest TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (kind, digest)
) STRICT;
";

/// Creates what is not there.
pub(super) fn create(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(TABLES)
}
