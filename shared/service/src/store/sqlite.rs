//! SQLite, opened in the one way that survives a crash and notices damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a connection waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a database is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// It cannot be opened or set up.
    #[error("cannot open the database `{}`; its folder must exist, be writable and have space left", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// Its own check found damage.
    #[error("the database `{}` is damaged ({finding}); restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// First line of `integrity_check`.
        finding: String,
    },
}

/// Opens or creates a database: WAL, `synchronous=FULL`, foreign keys on, temporary tables in
/// memory, checked for damage. Tables are the caller's and should be `STRICT`.
///
/// # Errors
/// A file that cannot be opened or that fails the check.
pub fn open_sqlite(path: &Path) -> Result<Connection, SqliteError> {
    let refused = |source| refused(path, source);
    let connection = Connection::open_with_flags(path, flags()).map_err(refused)?;
    set_up(&connection).map_err(refused)?;
    match finding(&connection).map_err(refused)? {
        ok if ok == "ok" => Ok(connection),
        finding => Err(SqliteError::Damaged { path: path.to_path_buf(), finding }),
    }
}

fn refused(path: &Path, source: rusqlite::Error) -> SqliteError {
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            SqliteError::Damaged { path, finding: source.to_string() }
        }
        _ => SqliteError::Open { path, source },
    }
}

fn flags() -> OpenFlags {
    // No URI file names: a path in a config is a path and carries no options.
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", "OFF")
}

fn finding(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_written_through_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        let first = open_sqlite(&path).unwrap();
        first.execute_batch("CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES (7)").unwrap();
        let mode: String = first.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        let full: i64 = first.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), full), ("wal", 2));
        drop(first);
        let second = open_sqlite(&path).unwrap();
        let found: i64 = second.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(found, 7);
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let error = open_sqlite(&path).unwrap_err();
        assert!(matches!(error, SqliteError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("state.sqlite"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = open_sqlite(Path::new("/no/such/folder/state.sqlite")).unwrap_err();
        assert!(matches!(error, SqliteError::Open { .. }));
        assert!(error.to_string().contains("/no/such/folder/state.sqlite"));
    }
}
