//! A disk that gets into trouble at one operation. It knows what was made durable, and takes the rest away when power is lost.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use transport::Disk;

/// What happens at the troubled operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// The process dies before it; in the middle, where the operation writes a file.
    Crash,
    /// The process dies after it.
    CrashAfter,
    /// The process dies before it, and everything that was not made durable is lost or torn.
    PowerLoss,
    /// There is no space left.
    DiskFull,
    /// Nothing can be made durable; the next attempt works again. Other operations succeed until then.
    SyncFails,
}

enum Undo {
    Rename { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Link { to: PathBuf },
    Directory { to: PathBuf },
}

impl Undo {
    fn directory(&self) -> &Path {
        let (Self::Rename { to, .. } | Self::Link { to } | Self::Directory { to }) = self;
        to.parent().unwrap()
    }
}

/// The state of a disk, which outlives the process that uses it.
#[derive(Default)]
pub(crate) struct Machinery {
    /// Operations so far.
    pub(crate) operations: u64,
    /// The process that used the disk is dead.
    pub(crate) dead: bool,
    /// At which operation what happens.
    pub(crate) trouble: Option<(u64, Trouble)>,
    /// The operation at which it happened.
    pub(crate) struck: u64,
    /// Files whose content is not durable.
    unsynced: BTreeSet<PathBuf>,
    /// Changes of directories that are not durable.
    pending: Vec<Undo>,
}

impl Machinery {
    /// What power loss takes away. Only a process that ignores a failed sync can have removed what is undone here.
    pub(crate) fn lose_power(&mut self) {
        while let Some(change) = self.pending.pop() {
            match change {
                Undo::Link { to } => drop(fs::remove_file(to)),
                Undo::Directory { to } => drop(fs::remove_dir_all(to)),
                Undo::Rename { from, to, replaced } => {
                    fs::rename(&to, &from).ok();
                    if self.unsynced.remove(&to) {
                        self.unsynced.insert(from);
                    }
                    if let Some(bytes) = replaced {
                        fs::write(to, bytes).unwrap();
                    }
                }
            }
        }
        for path in std::mem::take(&mut self.unsynced) {
            let Ok(bytes) = fs::read(&path) else { continue };
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

/// What an operation has to do.
enum Fate {
    Works,
    /// It is done, and the process dies.
    LastOne,
}

impl Fate {
    fn told(self) -> io::Result<()> {
        match self {
            Self::Works => Ok(()),
            Self::LastOne => Err(io::Error::other("crash")),
        }
    }
}

/// A file system in trouble.
#[derive(Clone, Default)]
pub(crate) struct TroubledDisk(Arc<Mutex<Machinery>>);

impl TroubledDisk {
    /// A disk with one trouble ahead: at the operation of that number, counted from 1.
    pub(crate) fn with(at: u64, trouble: Trouble) -> Self {
        let disk = Self::default();
        disk.state().trouble = Some((at, trouble));
        disk
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Machinery> {
        self.0.lock().unwrap()
    }

    /// Counts one operation; with an error if it is the troubled one, or comes after a crash.
    fn operation(&self, is_sync: bool) -> io::Result<Fate> {
        let mut state = self.state();
        state.operations += 1;
        if state.dead {
            return Err(io::Error::other("the process is dead"));
        }
        let Some((_, trouble)) = state.trouble.filter(|(at, _)| state.operations >= *at) else {
            return Ok(Fate::Works);
        };
        if trouble == Trouble::SyncFails && !is_sync {
            return Ok(Fate::Works);
        }
        (state.trouble, state.struck) = (None, state.operations);
        match trouble {
            Trouble::DiskFull => return Err(io::ErrorKind::StorageFull.into()),
            Trouble::SyncFails => return Err(io::Error::other("input/output error")),
            Trouble::CrashAfter => {
                state.dead = true;
                return Ok(Fate::LastOne);
            }
            Trouble::Crash => state.dead = true,
            Trouble::PowerLoss => {
                state.dead = true;
                state.lose_power();
            }
        }
        Err(io::Error::other("crash"))
    }

    fn change(&self, is_sync: bool, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let fate = self.operation(is_sync)?;
        change()?;
        fate.told()
    }
}

impl Disk for TroubledDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(false, || {
            let missing: Vec<PathBuf> =
                path.ancestors().take_while(|directory| !directory.exists()).map(Into::into).collect();
            fs::create_dir_all(path)?;
            self.state().pending.extend(missing.into_iter().rev().map(|to| Undo::Directory { to }));
            Ok(())
        })
    }

    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        let dead = self.state().dead;
        match self.operation(false) {
            Err(error) => {
                if !dead {
                    fs::write(path, &bytes[..bytes.len() / 2])?;
                }
                Err(error)
            }
            Ok(fate) => {
                self.state().unsynced.insert(path.into());
                fs::write(path, bytes)?;
                fate.told()
            }
        }
    }

    fn write_private(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(path, fill)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.change(true, || {
            self.state().unsynced.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(true, || {
            self.state().pending.retain(|change| change.directory() != path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(false, || {
            let replaced = fs::read(to).ok();
            fs::rename(from, to)?;
            let mut state = self.state();
            if state.unsynced.remove(from) {
                state.unsynced.insert(to.into());
            }
            state.pending.push(Undo::Rename { from: from.into(), to: to.into(), replaced });
            Ok(())
        })
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(false, || {
            fs::hard_link(from, to)?;
            let mut state = self.state();
            if state.unsynced.contains(from) {
                state.unsynced.insert(to.into());
            }
            state.pending.push(Undo::Link { to: to.into() });
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(false, || fs::remove_file(path))
    }
}
