//! The pre-flight check: which institutions could take part, and why the others could not. It looks at what a worker will
//! read: scans and `annotations.csv` in the institution's folder, as LUNA16 lays them out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::site_folder;
use crate::accounts::{Role, Status};
use crate::store::users;

/// An institution that may be chosen, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    complete: u32,
    incomplete: u32,
    annotated: u32,
    nodules: u32,
}

/// Looks into a folder; one that is not there, or cannot be read, holds nothing.
fn content(folder: &Path) -> Content {
    let (mut complete, mut incomplete) = (BTreeSet::new(), 0);
    let subsets = (0..10).map(|number| folder.join(format!("subset{number}")));
    for folder in subsets.chain([folder.to_owned()]) {
        let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|file| file.path());
        for header in files {
            let kind = header.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let voxels = || ["raw", "zraw"].iter().any(|kind| header.with_extension(kind).is_file());
            match (kind, header.file_stem().and_then(|stem| stem.to_str())) {
                ("mha", Some(series)) => drop(complete.insert(series.to_owned())),
                ("mhd", Some(series)) if voxels() => drop(complete.insert(series.to_owned())),
                ("mhd", _) => incomplete += 1,
                _ => {}
            }
        }
    }
    let tables = [folder.join("annotations.csv"), folder.join("CSVFILES").join("annotations.csv")];
    let table = tables.iter().find_map(|table| fs::read_to_string(table).ok()).unwrap_or_default();
    let series = table.lines().skip(1).filter_map(|row| row.split(',').next()).map(str::trim);
    let here: Vec<&str> = series.filter(|series| complete.contains(*series)).collect();
    let annotated = here.iter().collect::<BTreeSet<_>>().len();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Content { complete: count(complete.len()), incomplete, annotated: count(annotated), nodules: count(here.len()) }
}

/// All active institutions, with what the data folder holds of them.
pub(crate) fn candidates(db: &Connection, data: &Path) -> rusqlite::Result<Vec<Candidate>> {
    let all = users::all(db)?.into_iter();
    let active = all.filter(|user| user.role == Role::Client && user.status == Status::Active);
    active
        .map(|user| {
            let Content { complete, incomplete, annotated, nodules } = content(&site_folder(data, &user.username));
            let missing = match (complete, nodules) {
                (0, _) => Some("scans"),
                (_, 0) => Some("annotations"),
                _ => None,
            };
            Ok(Candidate {
                user_id: user.id,
                username: user.username,
                institution: user.institution,
                complete,
                incomplete,
                annotated,
                nodules,
                ready: missing.is_none(),
                missing,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_ready_with_an_annotated_whole_scan() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(content(&folder.path().join("missing")), Content::default());
        write("1.2.mhd", "");
        write("1.3.mhd", "");
        write("1.3.raw", "");
        write("subset4/1.4.mha", "");
        write("notes.txt", "");
        assert_eq!(content(folder.path()), Content { complete: 2, incomplete: 1, annotated: 0, nodules: 0 });
        write(
            "annotations.csv",
            "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.3,1,2,3,4\n1.3,5,6,7,8\n1.2,1,2,3,4\n9,1,2,3,4\n",
        );
        assert_eq!(content(folder.path()), Content { complete: 2, incomplete: 1, annotated: 1, nodules: 2 });
    }
}
