//! Model files of federations carry their coordinator's signature: one that was changed since is not used.

use std::path::{Path, PathBuf};

use detector::{Model, ModelError, ProvenanceSignature};
use federation::{Digest, ModelSignature};

/// Why a model file is not used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its signature does not fit.
    #[error(
        "{path} was changed after the coordinator of session {session} had signed it: its weights are not used; get the \
         file again from where it came"
    )]
    Signature {
        /// The file.
        path: PathBuf,
        /// The session that it says to be of.
        session: String,
    },
}

/// Loads a model; a signature that is there must fit. (Models that were trained in one place, and such of others, have none.)
///
/// # Errors
/// When the file cannot be used, or is not what was signed.
pub fn load(path: &Path) -> Result<Model, LoadError> {
    let model = Model::load(path)?;
    if let Some(ProvenanceSignature { coordinator, signature }) = &model.provenance.signature {
        let session = &model.provenance.session;
        let fits = Digest::try_from(coordinator.clone()).is_ok_and(|coordinator| {
            let signature = ModelSignature { coordinator, signature: signature.clone() };
            signature.is_valid(session, Digest::of_values(&model.parameters))
        });
        if !fits {
            return Err(LoadError::Signature { path: path.to_owned(), session: session.clone() });
        }
    }
    Ok(model)
}
