//! LUNA16 on disk as people unpack it: which scans are there, and what is wrong with the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::metaimage::{DataFile, Limits, Reader, read_header};

/// Folders below the given one that are looked into: `DIR/data/subset0/subset0/` is a common way to unpack.
const MAX_DEPTH: usize = 3;

/// A scan that can be read: header understood, data there and of the right length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// The file's stem, which in LUNA16 is the SeriesInstanceUID.
    pub series_uid: String,
    /// The header, .mhd or .mha.
    pub path: PathBuf,
    /// The data file of a .mhd.
    pub data_path: Option<PathBuf>,
    /// `subset0` … `subset9` where the scan lies in a folder of this name.
    pub subset: Option<u8>,
}

/// Something in the folder that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetProblem {
    /// The file or folder.
    pub path: PathBuf,
    /// What was found, what was expected and what to do.
    pub message: String,
}

/// LUNA16's tables, where they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tables {
    /// `annotations.csv`.
    pub annotations: Option<PathBuf>,
    /// `annotations_excluded.csv`.
    pub excluded: Option<PathBuf>,
    /// `seriesuids.csv`.
    pub series_uids: Option<PathBuf>,
}

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Readable scans, sorted by [`Series::series_uid`].
    pub series: Vec<Series>,
    /// The rest, sorted by path.
    pub problems: Vec<DatasetProblem>,
    /// The tables.
    pub tables: Tables,
}

/// Why a folder could not be searched.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the folder {}", path.display())]
pub struct DatasetError {
    /// The folder.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

/// Finds the scans in a folder and up to three levels below it (`subset0` … `subset9` or any other layout, also flat)
/// and LUNA16's tables in it, in a `CSVFILES` folder, or one level up.
///
/// Headers are read, voxels are not. A folder below that cannot be listed is a problem, the given one an error.
pub fn discover(folder: &Path) -> Result<Dataset, DatasetError> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    list(folder, MAX_DEPTH, &mut files, &mut problems)
        .map_err(|source| DatasetError { path: folder.to_path_buf(), source })?;
    files.sort();

    let mut by_uid: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut named_data = Vec::new();
    for path in files.iter().filter(|path| has_extension(path, &["mhd", "mha"])) {
        let uid = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        by_uid.entry(uid).or_default().push(path.clone());
        match read_header(path) {
            Ok(header) => named_data.extend(data_path(path, &header.data_file)),
            // Its own problem is told below; the data file beside it is not another one.
            Err(_) => named_data.extend(["raw", "zraw"].map(|extension| path.with_extension(extension))),
        }
    }
    let mut series = Vec::new();
    for (series_uid, paths) in by_uid {
        if let [path] = paths.as_slice() {
            match Reader::open(path, &Limits::local()) {
                Ok(reader) => series.push(Series {
                    series_uid,
                    path: path.clone(),
                    data_path: data_path(path, &reader.header().data_file),
                    subset: subset(path),
                }),
                // The error names the file and, where the system refused, its answer is the source.
                Err(error) => problems.push(DatasetProblem { path: path.clone(), message: with_causes(&error) }),
            }
        } else {
            let others = |own: &Path| {
                let others = paths.iter().filter(|path| *path != own).map(|path| path.display().to_string());
                others.collect::<Vec<_>>().join(", ")
            };
            problems.extend(paths.iter().map(|path| DatasetProblem {
                path: path.clone(),
                message: format!(
                    "series {series_uid} is there {} times, also as {}; keep one, none of them is used",
                    paths.len(),
                    others(path)
                ),
            }));
        }
    }
    for path in files.iter().filter(|path| has_extension(path, &["raw", "zraw"]) && !named_data.contains(path)) {
        problems.push(DatasetProblem {
            path: path.clone(),
            message: format!(
                "no header names this data file; put {} beside it, or remove it",
                Path::new(path.file_name().unwrap_or_default()).with_extension("mhd").display()
            ),
        });
    }
    problems.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
    Ok(Dataset { series, problems, tables: find_tables(folder) })
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Vec<DatasetProblem>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Archives from macOS bring a `._x.mhd` for every `x.mhd`; temporary files also begin with a dot.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Follows links: subsets are often linked from another disk, and the depth bounds a circle.
        if path.is_dir() {
            if depth > 0
                && let Err(error) = list(&path, depth - 1, files, problems)
            {
                problems.push(DatasetProblem { message: format!("the folder cannot be listed: {error}"), path });
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

fn data_path(header: &Path, data_file: &DataFile) -> Option<PathBuf> {
    match data_file {
        DataFile::Local => None,
        DataFile::Named(name) => Some(header.with_file_name(name)),
    }
}

fn subset(path: &Path) -> Option<u8> {
    path.parent()?
        .components()
        .rev()
        .find_map(|part| part.as_os_str().to_str()?.strip_prefix("subset")?.parse().ok().filter(|&n: &u8| n < 10))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// In the folder, in a folder within it, in the one above and in its other folders: as near as possible.
fn find_tables(folder: &Path) -> Tables {
    let mut places = vec![folder.to_path_buf(), folder.join("CSVFILES")];
    if let Some(parent) = fs::canonicalize(folder).ok().as_deref().and_then(Path::parent) {
        places.extend([parent.to_path_buf(), parent.join("CSVFILES")]);
        let siblings = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut siblings: Vec<_> = siblings.filter(|path| path.is_dir()).collect();
        siblings.sort();
        places.extend(siblings);
    }
    let find = |name: &str| {
        let names = [name.to_owned(), format!("{name}.gz")];
        places.iter().flat_map(|place| names.iter().map(|name| place.join(name))).find(|path| path.is_file())
    };
    Tables {
        annotations: find("annotations.csv"),
        excluded: find("annotations_excluded.csv"),
        series_uids: find("seriesuids.csv"),
    }
}
