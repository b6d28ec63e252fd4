//! Folders of results that appear whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;

/// Why results are not on disk.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The operating system refused.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds something that is not a result of ours.
    #[error("{} exists and holds no results of fednodule: it is not replaced, choose another output folder", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> OutputError + '_ {
    |source| OutputError::Write { path: path.to_path_buf(), source }
}

/// Creates a folder for results and tries whether a file can be made in it, before hours are spent on making one.
pub(crate) fn writable_folder(path: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(path).map_err(cannot_write(path))?;
    let probe = path.join(format!(".fednodule-{}", std::process::id()));
    fs::write(&probe, []).and_then(|()| fs::remove_file(&probe)).map_err(cannot_write(path))
}

/// Writes files into the folder `out`: each whole, and none unless there is room for all.
pub(crate) fn write_together(out: &Path, files: &[(&str, &[u8])]) -> Result<(), OutputError> {
    fs::create_dir_all(out).map_err(cannot_write(out))?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = out.join(name);
        let write = || -> io::Result<AtomicWriteFile> {
            let mut file = AtomicWriteFile::open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        written.push((write().map_err(cannot_write(&path))?, path));
    }
    for (file, path) in written {
        file.commit().map_err(cannot_write(&path))?;
    }
    Ok(())
}

/// A folder under a temporary name, which goes away unless it is [placed](Staging::place).
pub(crate) struct Staging {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staging {
    /// A folder that is to become `parent/name`.
    pub(crate) fn new(parent: &Path, name: &str) -> Result<Self, OutputError> {
        let staging = Self { temporary: parent.join(format!(".{name}.partial")), target: parent.join(name) };
        // What a killed run may have left.
        match fs::remove_dir_all(&staging.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot_write(&staging.temporary)(error));
            }
            _ => {}
        }
        fs::create_dir(&staging.temporary).map_err(cannot_write(&staging.target))?;
        Ok(staging)
    }

    /// Where a file of this name is to be written for now.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let write = || {
            let mut file = fs::File::create(self.path(name))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        // The name that the user knows, not the temporary one.
        write().map_err(cannot_write(&self.target.join(name)))
    }

    /// Gives the folder its name. An earlier result, known by its file `marker`, is replaced; anything else stays.
    pub(crate) fn place(self, marker: &str) -> Result<(), OutputError> {
        let old = self.temporary.with_extension("old");
        let replaces = self.target.try_exists().map_err(cannot_write(&self.target))?;
        if replaces {
            if !self.target.join(marker).is_file() {
                return Err(OutputError::Foreign { path: self.target.clone() });
            }
            fs::rename(&self.target, &old).map_err(cannot_write(&self.target))?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            if replaces {
                // The first error is the one to report.
                fs::rename(&old, &self.target).ok();
            }
            return Err(cannot_write(&self.target)(error));
        }
        if replaces {
            fs::remove_dir_all(&old).map_err(cannot_write(&old))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `place` it is gone; an error here would only hide the one that brought us here.
        fs::remove_dir_all(&self.temporary).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_that_is_not_placed_leaves_nothing() {
        let out = tempfile::tempdir().unwrap();
        let staging = Staging::new(out.path(), "1.2.3").unwrap();
        staging.write("a.csv", b"x").unwrap();
        drop(staging);
        assert!(names(out.path()).is_empty());
    }

    #[test]
    fn an_earlier_result_is_replaced_as_a_whole() {
        let out = tempfile::tempdir().unwrap();
        for files in [["a.csv", "old.png"], ["a.csv", "new.png"]] {
            let staging = Staging::new(out.path(), "1.2.3").unwrap();
            files.iter().for_each(|name| staging.write(name, b"x").unwrap());
            staging.place("a.csv").unwrap();
        }
        assert_eq!(names(out.path()), ["1.2.3"]);
        assert_eq!(names(&out.path().join("1.2.3")), ["a.csv", "new.png"]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("1.2.3")).unwrap();
        fs::write(out.path().join("1.2.3/diary.txt"), "dear").unwrap();
        let staging = Staging::new(out.path(), "1.2.3").unwrap();
        staging.write("a.csv", b"x").unwrap();
        assert!(matches!(staging.place("a.csv"), Err(OutputError::Foreign { .. })));
        assert_eq!(names(out.path()), ["1.2.3"]);
        assert_eq!(names(&out.path().join("1.2.3")), ["diary.txt"]);
    }
}
