//! Scans: whose they are, where they lie, and their slices.

pub(crate) mod slices;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::accounts::Caller;
pub(crate) use crate::store::scans::Scan;
use crate::store::scans::of_user;

impl Scan {
    /// The scan's header below the server's data folder.
    pub(crate) fn header_path(&self, data: &Path) -> PathBuf {
        data.join("uploads").join(format!("{}_data", self.username)).join(&self.header_file)
    }
}

/// The caller's own scan. Nobody sees another's, administrators neither.
pub(crate) fn scan_for(db: &Connection, caller: &Caller, id: i64) -> rusqlite::Result<Option<Scan>> {
    of_user(db, caller.user_id, id)
}
