//! The changes that are made to a file system, and how they are made durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes the content of a file.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// Every operation that changes something. Tests let each of them fail, or lose what was not yet made durable.
pub trait Disk: Send {
    /// Creates a directory and its parents where they are missing.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates or truncates a file and fills it.
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>;
    /// The same for a file that nobody but its owner may read.
    fn write_private(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>;
    /// Makes the content of a file durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; fails when that name is taken.
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
pub struct FileSystem;

impl Disk for FileSystem {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(1 << 16, File::create(path)?);
        fill(&mut writer)?;
        writer.flush()
    }

    fn write_private(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut writer = BufWriter::with_capacity(1 << 16, options.open(path)?);
        fill(&mut writer)?;
        writer.flush()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // Windows flushes only what was opened for writing.
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows cannot open a directory to flush it; NTFS journals its entries.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Replaces a file: whoever reads it, also after a crash, finds the old content or the new one.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, fill: Fill<'_>) -> io::Result<()> {
    with_temporary(disk, path, |temporary| disk.write(temporary, fill), |temporary| disk.rename(temporary, path))
}

/// [`replace`] for a file that nobody but its owner may read.
pub(crate) fn replace_private(disk: &dyn Disk, path: &Path, fill: Fill<'_>) -> io::Result<()> {
    with_temporary(
        disk,
        path,
        |temporary| disk.write_private(temporary, fill),
        |temporary| disk.rename(temporary, path),
    )
}

/// Creates a file that must not exist yet: it appears with its whole content or not at all.
pub(crate) fn create(disk: &dyn Disk, path: &Path, fill: Fill<'_>) -> io::Result<()> {
    let write = |temporary: &Path| disk.write(temporary, fill);
    with_temporary(disk, path, write, |temporary| {
        disk.link_new(temporary, path)?;
        disk.remove_file(temporary)
    })
}

/// The name under which a file is written before it gets its own.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn with_temporary(
    disk: &dyn Disk,
    path: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path);
    let placed = write(&temporary).and_then(|()| disk.sync_file(&temporary)).and_then(|()| place(&temporary));
    if placed.is_err() {
        // The first error is the one to report; what may remain is overwritten by the next attempt.
        disk.remove_file(&temporary).ok();
    }
    placed.and_then(|()| disk.sync_dir(parent(path)))
}

/// Creates a directory durably, with its parents.
pub(crate) fn create_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> =
        path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).map(Into::into).collect();
    disk.create_dir_all(path)?;
    missing.iter().try_for_each(|created| disk.sync_dir(parent(created)))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
