//! Keys on disk, and the roster of a session whose sites share one machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use federation::secagg::{Member, NodeId, Roster, RosterError, SignedRoster};
use federation::{Digest, SessionId, SigningKey, SiteId};

use crate::disk::{self, Disk};
use crate::store::advice;

/// Why keys or a roster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
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
    /// A key file that holds something else.
    #[error("{} is no key (64 hexadecimal digits expected): restore it from a backup; without it nothing that belongs to it can be read", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A key of somebody or something else.
    #[error("{} is not the key that the session's roster names: restore it from a backup", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The operating system has no randomness.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    /// More sites than numbers.
    #[error("{0} sites, at most 255 can take part in one session")]
    TooMany(usize),
    /// The list is not sound.
    #[error(transparent)]
    Roster(#[from] RosterError),
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
    Ok(bytes)
}

/// The secret in that file.
pub(crate) fn known_secret(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => KeyError::Malformed { path: path.to_owned() },
        _ => KeyError::Io { action: "read", path: path.to_owned(), source },
    })?;
    let digest = Digest::try_from(text.trim().to_owned());
    digest.map(|key| *key.as_bytes()).map_err(|_| KeyError::Malformed { path: path.to_owned() })
}

/// The secret in that file, made where there is none. Only its owner may read it.
pub(crate) fn secret(disk: &dyn Disk, path: &Path) -> Result<[u8; 32], KeyError> {
    if path.exists() {
        return known_secret(path);
    }
    let failed = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
    let key = random()?;
    let text = Digest::from(key).to_string();
    let folder = path.parent().unwrap_or(Path::new("."));
    disk::create_dir(disk, folder).map_err(failed("create the folder of"))?;
    disk::replace_private(disk, path, &mut |writer| writer.write_all(text.as_bytes())).map_err(failed("write"))?;
    Ok(key)
}

/// Where a site that lives below `out` keeps what is its own.
pub fn site_folder(out: &Path, site: &SiteId) -> PathBuf {
    out.join("sites").join(site.as_str())
}

/// The key of a site that lives below `out`, made at the first time.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn identity(disk: &dyn Disk, out: &Path, site: &SiteId) -> Result<SigningKey, KeyError> {
    Ok(SigningKey::from_bytes(&secret(disk, &site_folder(out, site).join("identity.key"))?))
}

/// The roster of a session whose coordinator and sites all live below `out`. Its consortium's key signs this one list and is
/// forgotten: whoever owns the machine owns all keys, so nobody is protected from its owner here. What it does is to let the
/// same checks run as between machines.
pub(crate) fn local_roster(
    disk: &dyn Disk,
    out: &Path,
    session: &SessionId,
    sites: &[SiteId],
    coordinator: &SigningKey,
) -> Result<Roster, KeyError> {
    let mut members = Vec::new();
    for (number, site) in (1_u16..).zip(sites) {
        let id = NodeId::try_from(number).map_err(|_| KeyError::TooMany(sites.len()))?;
        let public_key = Digest::from(identity(disk, out, site)?.verifying_key().to_bytes());
        members.push(Member { id, name: site.clone(), public_key });
    }
    let consortium = SigningKey::from_bytes(&random()?);
    let name = format!("session {session} on one machine");
    let signed = SignedRoster::sign(&name, 1, None, members, &coordinator.verifying_key(), &consortium)?;
    Ok(signed.verify(&consortium.verifying_key())?)
}
