//! The pre-flight check: which institutions could take part, and why the others could not. It looks at what a worker will
//! read: scans and `annotations.csv` in the institution's folder, as LUNA16 lays them out.

use std::collections::BTreeSet;
use std::path::Path;

use imaging::luna16::{discover, read_findings};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;

use super::Trainings;
use crate::accounts::{Role, Status};
use crate::data::scans_folder;
use crate::store::StorageError;
use crate::store::uploads;
use crate::store::users::{self, User};

/// An institution that may be chosen, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Candidate {
    #[serde(skip)]
    pub(crate) user_id: i64,
    pub(crate) username: String,
    pub(crate) institution: String,
    /// Scans that are there as a whole.
    pub(crate) complete: u32,
    /// Uploads that are not finished.
    pub(crate) incomplete: u32,
    /// Complete ones that have annotations.
    pub(crate) annotated: u32,
    pub(crate) nodules: u32,
    pub(crate) ready: bool,
    /// What is missing first: `scans` or `annotations`.
    pub(crate) missing: Option<&'static str>,
    /// When scans or annotations changed, or bytes arrived, last.
    pub(crate) active_at: Option<String>,
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    complete: u32,
    incomplete: u32,
    annotated: u32,
    nodules: u32,
}

/// Looks into a folder as a worker does; one that is not there, or cannot be read, holds nothing.
fn content(folder: &Path) -> Content {
    let Ok(dataset) = discover(folder) else { return Content::default() };
    let complete: BTreeSet<&str> = dataset.series.iter().map(|series| series.series_uid.as_str()).collect();
    let header = |path: &Path| path.extension().is_some_and(|kind| kind == "mhd" || kind == "mha");
    let incomplete = dataset.problems.iter().filter(|problem| header(&problem.path)).count();
    // A table that a worker would refuse makes nobody ready.
    let findings = dataset.tables.annotations.and_then(|table| read_findings(&table).ok()).unwrap_or_default();
    let here: Vec<&str> =
        findings.iter().map(|finding| finding.series_uid.as_str()).filter(|uid| complete.contains(uid)).collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Content {
        complete: count(complete.len()),
        incomplete: count(incomplete),
        annotated: count(here.iter().collect::<BTreeSet<_>>().len()),
        nodules: count(here.len()),
    }
}

fn is_institution(user: &User) -> bool {
    user.role == Role::Client && user.status == Status::Active
}

/// Whether somebody may still take part who could a moment ago.
pub(super) fn may_take_part(db: &Connection, username: &str) -> rusqlite::Result<bool> {
    Ok(users::by_name(db, username)?.is_some_and(|user| is_institution(&user)))
}

impl Trainings {
    /// All active institutions, with what the data folder holds of them. Headers are read, so the database is not held
    /// meanwhile.
    pub(crate) async fn candidates(&self) -> Result<Vec<Candidate>, StorageError> {
        let read = self.0.store.read(|db| {
            let institutions = users::all(db)?.into_iter().filter(is_institution);
            let coming = institutions.map(|user| Ok((uploads::activity(db, user.id)?, user)));
            Ok::<_, StorageError>(coming.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        let (users, data) = (read.await?, self.folder().to_owned());
        let look = move || users.into_iter().map(|(coming, user)| candidate(user, &coming, &data)).collect();
        tokio::task::spawn_blocking(look).await.map_err(|_| StorageError::Task)
    }
}

fn candidate(user: User, coming: &uploads::Activity, data: &Path) -> Candidate {
    let Content { complete, incomplete, annotated, nodules } = content(&scans_folder(data, &user.username));
    let missing = match (complete, nodules) {
        (0, _) => Some("scans"),
        (_, 0) => Some("annotations"),
        _ => None,
    };
    Candidate {
        user_id: user.id,
        username: user.username,
        institution: user.institution,
        complete,
        incomplete: incomplete + coming.unfinished,
        annotated,
        nodules,
        active_at: coming.last.map(|at| at.to_string()),
        ready: missing.is_none(),
        missing,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use imaging::metaimage::{Compression, write};
    use imaging::{Geometry, Volume};

    use super::*;

    #[test]
    fn a_folder_is_ready_with_an_annotated_whole_scan() {
        let folder = tempfile::tempdir().unwrap();
        let scan = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let geometry = Geometry::axis_aligned([2; 3], [1.0; 3], [0.0; 3]).unwrap();
            write(&path, &Volume::filled(geometry, 0i16), Compression::None).unwrap();
        };
        assert_eq!(content(&folder.path().join("missing")), Content::default());
        for name in ["1.2.mhd", "1.3.mhd", "1.5.mhd", "subset4/1.4.mha"] {
            scan(name);
        }
        fs::remove_file(folder.path().join("1.2.raw")).unwrap();
        fs::write(folder.path().join("1.5.mhd"), "no header").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert_eq!(content(folder.path()), Content { complete: 2, incomplete: 2, annotated: 0, nodules: 0 });
        let table = folder.path().join("annotations.csv");
        let rows = "1.3,1,2,3,4\n1.3,5,6,7,8\n1.2,1,2,3,4\n9,1,2,3,4\n";
        fs::write(&table, format!("seriesuid,coordX,coordY,coordZ,diameter_mm\n{rows}")).unwrap();
        assert_eq!(content(folder.path()), Content { complete: 2, incomplete: 2, annotated: 1, nodules: 2 });
        // A worker would refuse this table.
        fs::write(&table, format!("seriesuid,coordX,coordY,coordZ,diameter_mm\n{rows}1.3,x,2,3,4\n")).unwrap();
        assert_eq!(content(folder.path()), Content { complete: 2, incomplete: 2, annotated: 0, nodules: 0 });
    }
}
