//! Whole files: written completely or not at all, read within bounds, named by their hash.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use sha2::{Digest as _, Sha256 as Hasher};

use crate::{DecodeError, FileError};

/// A larger file is refused before it is read: our largest network takes 60 MB.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// A SHA-256 hash.
pub type Sha256 = [u8; 32];

/// What happens to a file of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced.
    Allow,
    /// It stays and the write fails. (Another process that creates it between check and write is not noticed.)
    Refuse,
}

/// A hash in lower-case hexadecimal, as `sha256sum` prints it.
pub fn hex(hash: &Sha256) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of a file, which need not fit in memory.
///
/// # Errors
/// [`FileError::Read`].
pub fn sha256_of_file(path: &Path) -> Result<Sha256, FileError> {
    let hash = || {
        let mut file = File::open(path)?;
        let mut hasher = Hasher::new();
        let mut block = vec![0; 1 << 16];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(hasher.finalize().into()),
                count => hasher.update(&block[..count]),
            }
        }
    };
    hash().map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Writes a temporary file beside `path`, flushes it to the disk and renames it; gives the hash of what was written.
pub(crate) fn save(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<Sha256, FileError> {
    let write = || -> io::Result<()> {
        let mut file = AtomicWriteFile::open(path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    let error = |source| FileError::Write { path: path.to_owned(), source };
    if overwrite == Overwrite::Refuse && path.try_exists().map_err(error)? {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    write().map_err(error)?;
    Ok(Hasher::digest(bytes).into())
}

/// Opens a file unless it is larger than [`MAX_FILE_BYTES`].
pub(crate) fn open_bounded(path: &Path) -> Result<File, FileError> {
    let error = |source| FileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    match file.metadata().map_err(error)?.len() {
        bytes if bytes > MAX_FILE_BYTES => Err(FileError::TooLarge { path: path.to_owned(), bytes }),
        _ => Ok(file),
    }
}

/// Puts the path into an error about the bytes of a file.
pub(crate) fn in_file(path: &Path) -> impl Fn(DecodeError) -> FileError {
    move |source| FileError::Decode { path: path.to_owned(), source }
}
