//! The real file system, and messages, with one chosen operation at which this process dies or the disk is in trouble.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use transport::{Disk, FileSystem};

/// Operations that are counted, each kind for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// At most one directory is missing.
    CreateDir,
    /// Several directories are, one below the other.
    CreateDirs,
    Write,
    WritePrivate,
    SyncFile,
    SyncDir,
    Rename,
    /// The renaming after which a session or a site goes on from another state.
    Commit,
    /// What makes the final model visible.
    LinkNew,
    RemoveFile,
    /// From the coordinator to a site.
    Request,
    /// From a site to the coordinator.
    Reply,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::CreateDir,
        Self::CreateDirs,
        Self::Write,
        Self::WritePrivate,
        Self::SyncFile,
        Self::SyncDir,
        Self::Rename,
        Self::Commit,
        Self::LinkNew,
        Self::RemoveFile,
        Self::Request,
        Self::Reply,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateDir => "create_dir_all, at most one missing",
            Self::CreateDirs => "create_dir_all, several missing",
            Self::Write => "write",
            Self::WritePrivate => "write_private",
            Self::SyncFile => "sync_file",
            Self::SyncDir => "sync_dir",
            Self::Rename => "rename of an object, a key, the history",
            Self::Commit => "rename that commits a state",
            Self::LinkNew => "link_new that commits the final model",
            Self::RemoveFile => "remove_file",
            Self::Request => "send: request to a site",
            Self::Reply => "send: reply to the coordinator",
        }
    }
}

/// What happens at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// `kill -9` before it.
    Before,
    /// `kill -9` when half of it is done.
    In,
    /// `kill -9` after it.
    After,
    /// There is no space left from here on, not for this operation and for none but removals later.
    DiskFull,
    /// It fails this once.
    SyncFails,
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] = [Self::Before, Self::In, Self::After, Self::DiskFull, Self::SyncFails];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Before => "killed before",
            Self::In => "killed in",
            Self::After => "killed after",
            Self::DiskFull => "disk full",
            Self::SyncFails => "sync fails",
        }
    }

    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Before | Self::In | Self::After)
    }

    pub(crate) fn can_meet(self, kind: Kind) -> bool {
        match self {
            Self::Before | Self::After => true,
            Self::In => matches!(kind, Kind::CreateDirs | Kind::Write | Kind::WritePrivate),
            Self::DiskFull => !matches!(kind, Kind::Request | Kind::Reply),
            Self::SyncFails => matches!(kind, Kind::SyncFile | Kind::SyncDir),
        }
    }
}

/// The operation of that kind and number, counted from 1, and what happens there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) kind: Kind,
    pub(crate) trouble: Trouble,
    pub(crate) number: usize,
}

impl FromStr for Point {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        let (kind, trouble, number) = (words.next(), words.next(), words.next());
        let kind = Kind::ALL.into_iter().find(|known| Some(format!("{known:?}").as_str()) == kind);
        let trouble = Trouble::ALL.into_iter().find(|known| Some(format!("{known:?}").as_str()) == trouble);
        let number = number.and_then(|number| number.parse().ok());
        match (kind, trouble, number) {
            (Some(kind), Some(trouble), Some(number)) => Ok(Self { kind, trouble, number }),
            _ => Err("no point"),
        }
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {}", self.kind, self.trouble, self.number)
    }
}

/// How much of an operation is done.
#[derive(PartialEq)]
enum Part {
    Half,
    Whole,
}

type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

#[derive(Default)]
struct State {
    counts: BTreeMap<Kind, usize>,
    point: Option<Point>,
    full: bool,
    /// Where the path is noted that trouble met.
    note: PathBuf,
}

/// Shared by the coordinator and the sites of a process.
#[derive(Clone, Default)]
pub(crate) struct Mortal(Arc<Mutex<State>>);

impl Mortal {
    pub(crate) fn new(point: Option<Point>, note: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(State { point, note, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations there were, in the order of [`Kind::ALL`].
    pub(crate) fn counts(&self) -> [usize; Kind::ALL.len()] {
        Kind::ALL.map(|kind| self.state().counts.get(&kind).copied().unwrap_or(0))
    }

    /// Hands a message to whoever it is for.
    pub(crate) fn deliver<T>(&self, kind: Kind, message: impl FnOnce() -> T) -> T {
        match self.next(kind, Path::new("")) {
            None => message(),
            Some(trouble) => {
                if trouble == Trouble::After {
                    message();
                }
                die()
            }
        }
    }

    /// Counts an operation; what happens at it.
    fn next(&self, kind: Kind, path: &Path) -> Option<Trouble> {
        let mut state = self.state();
        let count = state.counts.entry(kind).or_default();
        *count += 1;
        let number = *count;
        let struck = state.point.filter(|point| (point.kind, point.number) == (kind, number));
        if let Some(Point { trouble, .. }) = struck {
            state.full = trouble == Trouble::DiskFull;
            if !trouble.kills() {
                fs::write(&state.note, path.to_str().unwrap()).unwrap();
            }
            return Some(trouble);
        }
        let needs_space = Trouble::DiskFull.can_meet(kind) && kind != Kind::RemoveFile;
        (state.full && needs_space).then_some(Trouble::DiskFull)
    }

    fn operation(&self, kind: Kind, path: &Path, act: impl FnOnce(Part) -> io::Result<()>) -> io::Result<()> {
        match self.next(kind, path) {
            None => return act(Part::Whole),
            Some(Trouble::Before) => {}
            Some(Trouble::In) => act(Part::Half)?,
            Some(Trouble::After) => drop(act(Part::Whole)),
            Some(Trouble::DiskFull) => {
                act(Part::Half)?;
                return Err(Errno::NOSPC.into());
            }
            Some(Trouble::SyncFails) => return Err(Errno::IO.into()),
        }
        die()
    }

    /// An operation that has no half.
    fn at_once(&self, kind: Kind, path: &Path, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.operation(kind, path, |part| if part == Part::Whole { act() } else { Ok(()) })
    }

    fn write_by(
        &self,
        kind: Kind,
        path: &Path,
        write: fn(&FileSystem, &Path, Fill<'_>) -> io::Result<()>,
        fill: Fill<'_>,
    ) -> io::Result<()> {
        self.operation(kind, path, |part| {
            if part == Part::Whole {
                return write(&FileSystem, path, fill);
            }
            let mut bytes = Vec::new();
            fill(&mut bytes)?;
            write(&FileSystem, path, &mut |writer| writer.write_all(&bytes[..bytes.len() / 2]))
        })
    }
}

/// `kill -9`: nothing is flushed, dropped or said.
fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

impl Disk for Mortal {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        let kind = if missing.len() > 1 { Kind::CreateDirs } else { Kind::CreateDir };
        self.operation(kind, path, |part| match (part, kind) {
            (Part::Whole, _) => FileSystem.create_dir_all(path),
            (Part::Half, Kind::CreateDirs) => fs::create_dir(missing[missing.len() - 1]),
            (Part::Half, _) => Ok(()),
        })
    }

    fn write(&self, path: &Path, fill: Fill<'_>) -> io::Result<()> {
        self.write_by(Kind::Write, path, Disk::write, fill)
    }

    fn write_private(&self, path: &Path, fill: Fill<'_>) -> io::Result<()> {
        self.write_by(Kind::WritePrivate, path, Disk::write_private, fill)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.at_once(Kind::SyncFile, path, || FileSystem.sync_file(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.at_once(Kind::SyncDir, path, || FileSystem.sync_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let is_state = to.file_name().is_some_and(|name| name == "session.json" || name == "state");
        let kind = if is_state { Kind::Commit } else { Kind::Rename };
        self.at_once(kind, to, || FileSystem.rename(from, to))
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at_once(Kind::LinkNew, to, || FileSystem.link_new(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at_once(Kind::RemoveFile, path, || FileSystem.remove_file(path))
    }
}
