//! Known nodules: LUNA16's `annotations.csv`, taken in as a whole or not at all, and written into the folder of each
//! institution that has scans of these series, for workers to read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use imaging::luna16::{CheckedFindings, Finding, TableError, check_findings, write_findings};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::uploads::{DataError, tell};
use super::{incoming, scans_folder};
use crate::accounts::{Address, Caller, Role};
use crate::catalog::Message;
use crate::clock::Moment;
use crate::store::annotations as table;
use crate::store::audit::{self, Action};
use crate::store::scans;
use crate::store::{StorageError, Store, make_private_folder};
use crate::token::{Token, hex};

/// Wrong rows that are told at once.
const MOST_WRONG: usize = 50;
const TABLE: &str = "annotations.csv";

/// What was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ImportedAnnotations")]
pub(crate) struct Imported {
    pub(crate) nodules: usize,
    pub(crate) series: usize,
    /// Series that there is a scan of.
    pub(crate) matched: usize,
    /// Rows whose place lies outside of their scan, by their lines in the table.
    pub(crate) outside: Vec<u64>,
}

/// Why nothing was taken in.
#[derive(Debug)]
pub(crate) enum ImportError {
    /// What is wrong with the table, row by row.
    Wrong(Vec<Message>),
    Data(DataError),
}

impl<E: Into<DataError>> From<E> for ImportError {
    fn from(error: E) -> Self {
        Self::Data(error.into())
    }
}

/// Whose rows somebody's table becomes: an administrator's hold for everybody.
fn owner(caller: &Caller) -> Option<i64> {
    (caller.role == Role::Client).then_some(caller.user_id)
}

/// Takes a table in. The series in it have its rows afterwards and no others; other series keep theirs.
pub(crate) async fn import(
    store: &Arc<Store>,
    data: &Path,
    caller: &Caller,
    text: Vec<u8>,
    address: Address,
    now: Moment,
) -> Result<Imported, ImportError> {
    let folder = data.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&folder, &text)).await.map_err(|_| StorageError::Task)??;
    let rows = match read {
        Ok(CheckedFindings { findings, wrong }) if wrong.is_empty() => findings,
        Ok(CheckedFindings { wrong, .. }) => return Err(ImportError::Wrong(wrong.iter().map(in_words).collect())),
        Err(error) => return Err(ImportError::Wrong(vec![in_words(&error)])),
    };
    if rows.is_empty() {
        return Err(ImportError::Wrong(vec![Message::TableEmpty]));
    }
    let (caller, data) = (caller.clone(), data.to_owned());
    let import = store.write(now, move |db| {
        let findings: Vec<Finding> = rows.iter().map(|(_, finding)| finding.clone()).collect();
        table::replace(db, owner(&caller), &findings)?;
        let mut by_series: BTreeMap<&str, Vec<(u64, [f64; 3])>> = BTreeMap::new();
        for (line, finding) in &rows {
            by_series.entry(&finding.series_uid).or_default().push((*line, finding.center_mm_xyz));
        }
        let users = concerned(db, &caller)?;
        let (mut matched, mut outside) = (Vec::new(), Vec::new());
        for (user_id, _) in &users {
            for scan in scans::all_of_user(db, *user_id)? {
                let Some(places) = by_series.get(scan.series_uid.as_str()) else { continue };
                matched.push(scan.series_uid);
                let Some(grid) = scan.grid else { continue };
                let is_outside = |place: [f64; 3]| {
                    let index = grid.index_from_world(place);
                    (0..3).any(|axis| index[axis] < -0.5 || index[axis] > grid.shape_zyx[axis] as f64 - 0.5)
                };
                outside.extend(places.iter().filter(|(_, place)| is_outside(*place)).map(|(line, _)| *line));
            }
        }
        let series = by_series.len();
        write_tables(db, &data, &users, now)?;
        let detail = format!("{} × {series}", findings.len());
        audit::append_by(db, Action::AnnotationsImported, &caller, address, &detail, now)?;
        outside.sort_unstable();
        outside.dedup();
        matched.sort_unstable();
        matched.dedup();
        Ok::<_, DataError>(Imported { nodules: findings.len(), series, matched: matched.len(), outside })
    });
    Ok(import.await?)
}

/// Forgets all that the caller took in.
pub(crate) async fn remove(
    store: &Arc<Store>,
    data: &Path,
    caller: &Caller,
    address: Address,
    now: Moment,
) -> Result<(), DataError> {
    let (caller, data) = (caller.clone(), data.to_owned());
    let remove = store.write(now, move |db| {
        let removed = table::remove_all(db, owner(&caller))?;
        let users = concerned(db, &caller)?;
        write_tables(db, &data, &users, now)?;
        Ok::<_, DataError>(audit::append_by(
            db,
            Action::AnnotationsRemoved,
            &caller,
            address,
            &removed.to_string(),
            now,
        )?)
    });
    remove.await
}

/// What the caller took in, and what administrators did for everybody.
pub(crate) async fn extents(
    store: &Arc<Store>,
    caller: &Caller,
) -> Result<(table::Extent, table::Extent), StorageError> {
    let own = owner(caller);
    store
        .read(move |db| {
            let own = own.map(|id| table::extent(db, Some(id))).transpose()?.unwrap_or_default();
            Ok::<_, StorageError>((own, table::extent(db, None)?))
        })
        .await
}

fn concerned(db: &Connection, caller: &Caller) -> rusqlite::Result<Vec<(i64, String)>> {
    match owner(caller) {
        Some(id) => Ok(vec![(id, caller.username.clone())]),
        None => table::users_with_scans(db),
    }
}

fn write_tables(db: &Connection, data: &Path, users: &[(i64, String)], now: Moment) -> Result<(), DataError> {
    for (user_id, username) in users {
        write_table(db, data, *user_id, username, now)?;
        tell(db, *user_id, username, now)?;
    }
    Ok(())
}

/// Writes what holds for a user's scans into the user's folder; part of the transaction that changes it. A table that
/// somebody else put there is never lost: it stays while there is nothing to write, and is kept aside otherwise.
pub(super) fn write_table(
    db: &Connection,
    data: &Path,
    user_id: i64,
    username: &str,
    now: Moment,
) -> Result<(), DataError> {
    let findings = table::of_scans(db, user_id)?;
    let folder = scans_folder(data, username);
    let path = folder.join(TABLE);
    let hash = |content: &[u8]| hex(&Sha256::digest(content));
    match fs::read(&path) {
        Ok(content) => {
            let ours = table::written(db, user_id)?.is_some_and(|written| written == hash(&content));
            if !ours && findings.is_empty() {
                return Ok(());
            }
            if !ours {
                fs::rename(&path, folder.join(format!("annotations.kept-{}.csv", now.0)))?;
                tracing::warn!("a table of annotations that was put into a folder by hand was kept aside");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_private_folder(&folder)?,
        Err(error) => return Err(error.into()),
    }
    write_findings(&path, &findings).map_err(|error| match error {
        TableError::Write { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })?;
    Ok(table::set_written(db, user_id, &hash(&fs::read(&path)?), now)?)
}

/// The reader of tables takes files.
fn read(data: &Path, text: &[u8]) -> io::Result<Result<CheckedFindings, TableError>> {
    let folder = incoming(data, "");
    make_private_folder(&folder)?;
    let name = Token::random().map_err(io::Error::other)?;
    let path = folder.join(format!("{}.csv", name.expose()));
    fs::write(&path, text)?;
    let checked = check_findings(&path, MOST_WRONG);
    fs::remove_file(&path)?;
    Ok(checked)
}

fn in_words(error: &TableError) -> Message {
    let text = |value: &dyn ToString| value.to_string();
    match error {
        TableError::Header { column, found, .. } => Message::TableHeader { column: text(column), found: found.clone() },
        TableError::FieldCount { line, found, expected, .. } => {
            Message::TableFields { line: text(line), found: text(found), expected: text(expected) }
        }
        TableError::Field { line, column, found, expected, .. } => {
            let (line, column, expected) = (text(line), text(column), text(expected));
            Message::TableField { line, column, found: found.clone(), expected }
        }
        TableError::NotText { line, reason, .. } => Message::TableText { line: text(line), reason: text(reason) },
        TableError::Read { .. } | TableError::Write { .. } => Message::TableUnreadable,
    }
}
