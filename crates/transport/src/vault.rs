//! What a site keeps on its own disk while a session runs: encrypted, and replaced in one step.
//!
//! ```text
//! {out}/sites/{site}/identity.key                         the site's Ed25519 key, readable by its owner only
//! {out}/sites/{site}/sessions/{session}/state             where it stands, with the secrets of the open sum
//! {out}/sites/{site}/sessions/{session}/objects/{sha256}  its update and its masked words, named by their hash
//! ```
//!
//! Objects are written before the state that refers to them and removed after the one that no longer does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use federation::secagg::{Basis, Participant, Roster, Standing, Totals};
use federation::{Digest, Protection, Purpose, SessionId, SigningKey, SiteId, StorageKey};
use serde::{Deserialize, Serialize};

use crate::client::Own;
use crate::disk::{self, Disk};
use crate::keys::{self, KeyError};
use crate::store::advice;

/// Version of the state.
const FORMAT: u32 = 1;

/// Why a site cannot keep or find what is its own.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not hold what was stored in it.
    #[error("{} is damaged, or belongs to another key ({reason}): restore it together with identity.key", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The site is not in the session's roster, or with another key.
    #[error("site {site} is not in the roster of session {session} with the key that it has here")]
    NotInRoster {
        /// Who.
        site: SiteId,
        /// The session.
        session: SessionId,
    },
}

/// Where a site stands in a session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SiteState {
    format: u32,
    pub(crate) roster: Roster,
    pub(crate) participant: Participant,
    /// What it has trained and not forgotten yet.
    pub(crate) trained: Option<Trained>,
    /// What it thinks of which model.
    pub(crate) evaluated: Option<Evaluated>,
    /// Its masked words in the open sum.
    pub(crate) words: Option<Digest>,
    /// The newest task that it has done.
    #[serde(default)]
    pub(crate) newest: Option<Done>,
}

/// A task that a site has done.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) round: u32,
    pub(crate) purpose: Purpose,
    pub(crate) protection: Protection,
}

/// An update that waits for its sum.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Trained {
    pub(crate) basis: Basis,
    pub(crate) update: Digest,
    pub(crate) num_examples: u32,
    pub(crate) totals: Totals,
    #[serde(default)]
    pub(crate) own: Option<Own>,
}

/// A judgement that waits for its sum.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Evaluated {
    pub(crate) basis: Basis,
    pub(crate) totals: Totals,
    #[serde(default)]
    pub(crate) own: Option<Own>,
}

/// A site's own folder for one session.
pub(crate) struct Vault {
    disk: Box<dyn Disk>,
    folder: PathBuf,
    pub(crate) identity: SigningKey,
    key: StorageKey,
}

impl Vault {
    /// Opens the folder of a site that lives below `out`, and its state in the session. A state of an earlier session of the
    /// same name, with another roster, is forgotten.
    pub(crate) fn open(
        disk: Box<dyn Disk>,
        out: &Path,
        site: &SiteId,
        session: &SessionId,
        roster: &Roster,
    ) -> Result<(Self, SiteState), VaultError> {
        let identity = keys::identity(disk.as_ref(), out, site)?;
        let unknown = || VaultError::NotInRoster { site: site.clone(), session: session.clone() };
        let id = roster.id_of(site).ok_or_else(unknown)?;
        if roster.key_of(site) != Some(&identity.verifying_key()) {
            return Err(unknown());
        }
        let folder = keys::site_folder(out, site).join("sessions").join(session.as_str());
        let vault = Self { disk, folder, key: StorageKey::of(&identity), identity };
        if let Some(state) = vault.stored()?.filter(|state| state.roster.digest() == roster.digest()) {
            return Ok((vault, state));
        }
        let standing =
            Standing { id, approved_roster: roster.digest(), joined: Default::default(), unmasked: Default::default() };
        let state = SiteState {
            format: FORMAT,
            roster: roster.clone(),
            participant: Participant::new(standing),
            trained: None,
            evaluated: None,
            words: None,
            newest: None,
        };
        Ok((vault, state))
    }

    fn stored(&self) -> Result<Option<SiteState>, VaultError> {
        let path = self.folder.join("state");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(VaultError::Io { action: "read", path, source }),
        };
        let damaged = |reason: String| VaultError::Damaged { path: path.clone(), reason };
        let plain = self.key.open("state", &bytes).ok_or_else(|| damaged("it cannot be decrypted".into()))?;
        let state: SiteState = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        if state.format != FORMAT {
            return Err(damaged(format!("it has format {}, this program knows {FORMAT}", state.format)));
        }
        Ok(Some(state))
    }

    /// Makes a state the one to go on from, then removes what it does not need.
    pub(crate) fn commit(&self, state: &SiteState) -> Result<(), VaultError> {
        let path = self.folder.join("state");
        let plain = serde_json::to_vec(state)
            .map_err(|error| VaultError::Damaged { path: path.clone(), reason: error.to_string() })?;
        self.write(&path, "state", &plain)?;
        let needed = [state.trained.as_ref().map(|trained| trained.update), state.words];
        for entry in fs::read_dir(self.folder.join("objects")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            if !Digest::try_from(name).is_ok_and(|digest| needed.contains(&Some(digest))) {
                // What cannot be removed now is removed after the next commit.
                self.disk.remove_file(&entry.path()).ok();
            }
        }
        Ok(())
    }

    /// Stores words under their hash.
    pub(crate) fn put(&self, digest: Digest, words: impl ExactSizeIterator<Item = u32>) -> Result<(), VaultError> {
        let mut plain = Vec::with_capacity(4 * words.len());
        words.for_each(|word| plain.extend_from_slice(&word.to_le_bytes()));
        let name = digest.to_string();
        self.write(&self.folder.join("objects").join(&name), &name, &plain)
    }

    /// Reads words.
    pub(crate) fn get(&self, digest: Digest) -> Result<Vec<u32>, VaultError> {
        let name = digest.to_string();
        let path = self.folder.join("objects").join(&name);
        let bytes = fs::read(&path).map_err(|source| VaultError::Io { action: "read", path: path.clone(), source })?;
        let damaged = |reason: &str| VaultError::Damaged { path: path.clone(), reason: reason.to_owned() };
        let plain = self.key.open(&name, &bytes).ok_or_else(|| damaged("it cannot be decrypted"))?;
        drop(bytes);
        if Digest::of_bytes(&plain) != digest {
            return Err(damaged("its SHA-256 is not its name"));
        }
        Ok(plain.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    fn write(&self, path: &Path, name: &str, plain: &[u8]) -> Result<(), VaultError> {
        let sealed = self.key.seal(name, keys::random()?, plain);
        let sealed = sealed.ok_or_else(|| VaultError::Damaged {
            path: path.to_owned(),
            reason: "it is too long to be encrypted".to_owned(),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed = |source| VaultError::Io { action: "write", path: path.to_owned(), source };
        disk::create_dir(self.disk.as_ref(), folder).map_err(failed)?;
        disk::replace_private(self.disk.as_ref(), path, &mut |writer| writer.write_all(&sealed)).map_err(failed)
    }
}
