//! Files that are whole or absent, files named by their content, and SQLite opened in one way.

mod atomic;
mod content;
mod sqlite;

pub(crate) use atomic::sweep_below;
pub use atomic::{private_folder, sync_folder, write_atomic};
pub(crate) use content::Incoming;
pub use content::{ContentStore, StoreError};
pub use sqlite::{SqliteError, open_sqlite};
