//! What a coordinator signs before anybody trains: a site checks it against the roster and against the bytes of the model that
//! came with it, and trains from nothing else.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::secagg::{Basis, LEAST_SITES, Roster};
use crate::{Digest, Protection, SealedBecause, SessionId};

/// The global model of a round and how updates of it travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The session.
    pub session: SessionId,
    /// The round that starts from the model, or whose model is to be judged.
    pub round: u32,
    /// Hashes of model, network and configuration.
    pub basis: Basis,
    /// How updates are protected.
    pub protection: Protection,
    /// Why not by secure aggregation.
    pub sealed_because: Option<SealedBecause>,
    /// X25519 key that sealed updates are encrypted to.
    pub sealing_key: Digest,
}

/// An announcement with the coordinator's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAnnouncement {
    /// JSON, signed exactly as it is.
    pub bytes: Vec<u8>,
    /// Ed25519.
    pub signature: Vec<u8>,
}

/// Why an announcement is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// Not the coordinator's.
    #[error(
        "the announcement of the model is not signed by the coordinator that the roster names: it was changed on its way, or comes from somebody else"
    )]
    Signature,
    /// No announcement.
    #[error("the announcement of the model cannot be read: {0}")]
    Unreadable(String),
    /// Another model came with it.
    #[error(
        "the model that came has SHA-256 {found}, announced is {announced}: it is damaged or was exchanged, and is not used"
    )]
    Model {
        /// Of what came.
        found: Digest,
        /// In the announcement.
        announced: Digest,
    },
    /// Less protection than the roster allows.
    #[error("the coordinator wants to read single updates although {sites} sites are in the roster: refused")]
    Lowered {
        /// In the roster.
        sites: usize,
    },
    /// For another session or round.
    #[error("the announcement is about session {session}, round {round}, which is not what this site was asked for")]
    Elsewhere {
        /// In the announcement.
        session: SessionId,
        /// In the announcement.
        round: u32,
    },
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [b"FLSE1/announcement".as_slice(), &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// The coordinator's signature under a finished model, to be kept in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSignature {
    /// Ed25519 public key: of the coordinator in the session's roster.
    pub coordinator: Digest,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

impl ModelSignature {
    /// Signs the parameters' hash as the model of that session.
    pub fn sign(session: &SessionId, model: Digest, coordinator: &SigningKey) -> Self {
        let signature = coordinator.sign(&model_text(session.as_str(), model)).to_bytes();
        let signature = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { coordinator: Digest::from(coordinator.verifying_key().to_bytes()), signature }
    }

    /// Whether the named key has signed exactly this model of this session.
    pub fn is_valid(&self, session: &str, model: Digest) -> bool {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let (pairs, []) = self.signature.as_bytes().as_chunks::<2>() else { return false };
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
        let key = VerifyingKey::from_bytes(self.coordinator.as_bytes());
        matches!((signature, key), (Some(signature), Ok(key)) if key.verify_strict(&model_text(session, model), &signature).is_ok())
    }
}

fn model_text(session: &str, model: Digest) -> Vec<u8> {
    let length = (session.len() as u32).to_le_bytes();
    [b"FLSE1/model".as_slice(), &length, session.as_bytes(), model.as_bytes()].concat()
}

impl SignedAnnouncement {
    /// Signs it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sign(announcement: &Announcement, coordinator: &SigningKey) -> Result<Self, AnnouncementError> {
        let bytes =
            serde_json::to_vec(announcement).map_err(|error| AnnouncementError::Unreadable(error.to_string()))?;
        let signature = coordinator.sign(&text(&bytes)).to_bytes().to_vec();
        Ok(Self { bytes, signature })
    }

    /// The announcement, if the coordinator has signed it for this session and round and `model` is the hash of what came.
    ///
    /// # Errors
    /// When one of these does not hold.
    pub fn verify(
        &self,
        roster: &Roster,
        session: &SessionId,
        round: u32,
        model: Digest,
    ) -> Result<Announcement, AnnouncementError> {
        let signature = Signature::from_slice(&self.signature).map_err(|_| AnnouncementError::Signature)?;
        let coordinator = roster.coordinator().ok_or(AnnouncementError::Signature)?;
        coordinator.verify_strict(&text(&self.bytes), &signature).map_err(|_| AnnouncementError::Signature)?;
        let announcement: Announcement =
            serde_json::from_slice(&self.bytes).map_err(|error| AnnouncementError::Unreadable(error.to_string()))?;
        if &announcement.session != session || announcement.round != round {
            return Err(AnnouncementError::Elsewhere { session: announcement.session, round: announcement.round });
        }
        if announcement.basis.model != model {
            return Err(AnnouncementError::Model { found: model, announced: announcement.basis.model });
        }
        let enough = roster.members().len() >= LEAST_SITES;
        if announcement.protection == Protection::Sealed
            && enough
            && announcement.sealed_because != Some(SealedBecause::Chosen)
        {
            return Err(AnnouncementError::Lowered { sites: roster.members().len() });
        }
        Ok(announcement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_signature_fits_one_model_of_one_session() {
        let (key, session) = (SigningKey::from_bytes(&[3; 32]), SessionId::new("s").unwrap());
        let model = Digest::of_bytes(b"model");
        let signature = ModelSignature::sign(&session, model, &key);
        assert!(signature.is_valid("s", model));
        assert!(!signature.is_valid("t", model) && !signature.is_valid("s", Digest::of_bytes(b"other")));
        let other = SigningKey::from_bytes(&[4; 32]).verifying_key();
        let stranger = ModelSignature { coordinator: Digest::from(other.to_bytes()), ..signature.clone() };
        assert!(!stranger.is_valid("s", model));
        for broken in ["", "0", "zz", &signature.signature[2..]] {
            assert!(!ModelSignature { signature: broken.to_owned(), ..signature.clone() }.is_valid("s", model));
        }
    }
}
