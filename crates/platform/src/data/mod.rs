//! Scans: how they come in, whose they are, where they lie, what is known of them, and their slices.

pub(crate) mod annotations;
pub(crate) mod examine;
pub(crate) mod pairing;
pub(crate) mod slices;
pub(crate) mod uploads;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::accounts::Caller;
pub(crate) use crate::store::scans::Scan;
use crate::store::scans::of_user;

impl Scan {
    /// The scan's header below the server's data folder.
    pub(crate) fn header_path(&self, data: &Path) -> PathBuf {
        scans_folder(data, &self.username).join(&self.header_file)
    }
}

/// Where a user's scans are, below the data folder.
pub(crate) fn scans_folder(data: &Path, username: &str) -> PathBuf {
    data.join("uploads").join(format!("{username}_data"))
}

/// Where an upload's files are until it is a scan, below the data folder.
fn incoming(data: &Path, id: &str) -> PathBuf {
    data.join("incoming").join(id)
}

/// The caller's own scan. Nobody sees another's, administrators neither.
pub(crate) fn scan_for(db: &Connection, caller: &Caller, id: i64) -> rusqlite::Result<Option<Scan>> {
    of_user(db, caller.user_id, id)
}
