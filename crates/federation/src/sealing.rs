//! What one or two sites send: encrypted to the coordinator and signed. It reads every single one of them, and nobody else
//! can; for three sites and more there is [`secagg`](crate::secagg).
//!
//! A fresh X25519 key pair for every message, HKDF-SHA256 over the shared secret with the context as its information,
//! ChaCha20-Poly1305 (RFC 8439) with that key, used once; an Ed25519 signature of the site over context and ciphertext.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use serde::{Deserialize, Serialize};

use crate::{Digest, Evaluation, Metrics, SessionId, SiteId, Update};

/// What a message is about: bound into its key and its signature, so that it fits nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealContext {
    /// The session.
    pub session: SessionId,
    /// The round.
    pub round: u32,
    /// The site that sends.
    pub site: SiteId,
    /// The global model that it is about.
    pub model: Digest,
}

/// An encrypted and signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    ephemeral: [u8; 32],
    ciphertext: Vec<u8>,
    signature: [u8; 64],
}

/// What a site says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// What it has learned.
    Update(Update),
    /// What it thinks of the new model; nothing where it has no data for that.
    Evaluation(Option<Evaluation>),
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// Not the site's, or about something else.
    #[error("the signature under the sealed message of site {0} is not valid: it was changed, or belongs elsewhere")]
    Signature(SiteId),
    /// Signed, but not readable with the coordinator's key.
    #[error("the sealed message of site {0} cannot be decrypted: it is meant for another coordinator")]
    Key(SiteId),
    /// Decrypted, but no message.
    #[error("the sealed message of site {site} is malformed: {problem}")]
    Content {
        /// Whose.
        site: SiteId,
        /// What is wrong.
        problem: String,
    },
}

/// The part of an update before its values.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateHeader {
    num_examples: u32,
    schema_hash: Digest,
    metrics: Metrics,
}

impl Content {
    fn to_bytes(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let (tag, header, values): (u8, _, &[f32]) = match self {
            Self::Update(Update { delta, num_examples, schema_hash, metrics }) => {
                let header = UpdateHeader { num_examples: *num_examples, schema_hash: *schema_hash, metrics: *metrics };
                (0, serde_json::to_vec(&header)?, delta)
            }
            Self::Evaluation(evaluation) => (1, serde_json::to_vec(evaluation)?, &[]),
        };
        let mut bytes = Vec::with_capacity(5 + header.len() + 4 * values.len());
        bytes.push(tag);
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        Ok(Zeroizing::new(bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (tag, rest) = bytes.split_first().ok_or("it is empty")?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or("it is cut off")?;
        let (header, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("it is cut off")?;
        match tag {
            0 => {
                let UpdateHeader { num_examples, schema_hash, metrics } =
                    serde_json::from_slice(header).map_err(|error| error.to_string())?;
                let (values, []) = rest.as_chunks::<4>() else {
                    return Err(format!("{} bytes of values are no multiple of 4", rest.len()));
                };
                let delta = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                Ok(Self::Update(Update { delta, num_examples, schema_hash, metrics }))
            }
            1 if rest.is_empty() => {
                serde_json::from_slice(header).map(Self::Evaluation).map_err(|error| error.to_string())
            }
            1 => Err(format!("{} bytes too many", rest.len())),
            other => Err(format!("its kind is {other}, expected 0 or 1")),
        }
    }
}

impl SealContext {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"FLSE1/context".to_vec();
        for part in [self.session.as_str(), self.site.as_str()] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.round.to_le_bytes());
        bytes.extend_from_slice(self.model.as_bytes());
        bytes
    }
}

fn cipher(shared: &[u8; 32], ephemeral: &[u8; 32], recipient: &[u8; 32], context: &[u8]) -> ChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, shared)
        .expand_multi_info(&[b"FLSE1/key", ephemeral, recipient, context], key.as_mut())
        .expect("32 bytes are within HKDF's limit");
    ChaCha20Poly1305::new(&Key::from(*key))
}

fn signed_text(context: &[u8], ephemeral: &[u8; 32], ciphertext: &[u8]) -> Vec<u8> {
    let digest = Digest::of_bytes(ciphertext);
    [b"FLSE1/sealed".as_slice(), &(context.len() as u32).to_le_bytes(), context, ephemeral, digest.as_bytes()].concat()
}

/// The public half of a sealing key.
pub fn public_key(secret: &[u8; 32]) -> Digest {
    Digest::from(PublicKey::from(&StaticSecret::from(*secret)).to_bytes())
}

impl Sealed {
    /// Encrypts and signs. `random` is used up: 32 uniform bytes for this message alone.
    ///
    /// # Errors
    /// When the coordinator's key gives no secret, or the content cannot be written.
    pub fn seal(
        content: &Content,
        context: &SealContext,
        recipient: Digest,
        identity: &SigningKey,
        random: Zeroizing<[u8; 32]>,
    ) -> Result<Self, SealingError> {
        let malformed = |problem: String| SealingError::Content { site: context.site.clone(), problem };
        let plain = content.to_bytes().map_err(|error| malformed(error.to_string()))?;
        let secret = StaticSecret::from(*random);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(*recipient.as_bytes()));
        if !shared.was_contributory() {
            return Err(SealingError::Key(context.site.clone()));
        }
        let about = context.bytes();
        let cipher = cipher(shared.as_bytes(), &ephemeral, recipient.as_bytes(), &about);
        let payload = Payload { msg: &plain, aad: &about };
        let ciphertext = cipher.encrypt(&Nonce::from([0; 12]), payload);
        let ciphertext = ciphertext.map_err(|_| SealingError::Key(context.site.clone()))?;
        let signature = identity.sign(&signed_text(&about, &ephemeral, &ciphertext)).to_bytes();
        Ok(Self { ephemeral, ciphertext, signature })
    }

    /// Checks the site's signature, then decrypts.
    ///
    /// # Errors
    /// When it is not that site's message about exactly this, or not for the owner of `secret`.
    pub fn open(&self, context: &SealContext, secret: &[u8; 32], site: &VerifyingKey) -> Result<Content, SealingError> {
        let about = context.bytes();
        let signature = Signature::from_bytes(&self.signature);
        site.verify_strict(&signed_text(&about, &self.ephemeral, &self.ciphertext), &signature)
            .map_err(|_| SealingError::Signature(context.site.clone()))?;
        let secret = StaticSecret::from(*secret);
        let recipient = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(self.ephemeral));
        let cipher = cipher(shared.as_bytes(), &self.ephemeral, &recipient, &about);
        let payload = Payload { msg: &self.ciphertext, aad: &about };
        let plain = cipher.decrypt(&Nonce::from([0; 12]), payload);
        let plain = Zeroizing::new(plain.map_err(|_| SealingError::Key(context.site.clone()))?);
        let malformed = |problem| SealingError::Content { site: context.site.clone(), problem };
        Content::from_bytes(&plain).map_err(malformed)
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.ephemeral.as_slice(), &self.signature, &self.ciphertext].concat()
    }

    /// Reads it; nothing where the bytes are too few.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ephemeral, rest) = bytes.split_first_chunk()?;
        let (signature, ciphertext) = rest.split_first_chunk()?;
        Some(Self { ephemeral: *ephemeral, signature: *signature, ciphertext: ciphertext.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> SealContext {
        SealContext {
            session: SessionId::new("s").unwrap(),
            round: 3,
            site: SiteId::new("a").unwrap(),
            model: Digest::of_bytes(b"model"),
        }
    }

    fn update() -> Content {
        Content::Update(Update {
            delta: vec![0.5, -1.25, f32::MIN_POSITIVE],
            num_examples: 7,
            schema_hash: Digest::of_bytes(b"schema"),
            metrics: Metrics { loss: 0.1, foreground_probability: None },
        })
    }

    fn sealed(content: &Content) -> Sealed {
        let identity = SigningKey::from_bytes(&[1; 32]);
        Sealed::seal(content, &context(), public_key(&[2; 32]), &identity, Zeroizing::new([3; 32])).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened() {
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
        let metrics = Metrics { loss: 2.0, foreground_probability: Some(0.5) };
        for content in
            [update(), Content::Evaluation(None), Content::Evaluation(Some(Evaluation { num_examples: 2, metrics }))]
        {
            let travelled = Sealed::from_bytes(&sealed(&content).to_bytes()).unwrap();
            assert_eq!(travelled.open(&context(), &[2; 32], &key), Ok(content));
        }
    }

    #[test]
    fn nothing_of_it_can_be_changed_or_used_elsewhere() {
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
        let bytes = sealed(&update()).to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let opened = Sealed::from_bytes(&changed).unwrap().open(&context(), &[2; 32], &key);
            assert_eq!(opened, Err(SealingError::Signature(context().site)), "byte {at}");
        }
        let honest = Sealed::from_bytes(&bytes).unwrap();
        let elsewhere = [
            SealContext { round: 4, ..context() },
            SealContext { session: SessionId::new("t").unwrap(), ..context() },
            SealContext { site: SiteId::new("b").unwrap(), ..context() },
            SealContext { model: Digest::of_bytes(b"other"), ..context() },
        ];
        for other in elsewhere {
            assert!(matches!(honest.open(&other, &[2; 32], &key), Err(SealingError::Signature(_))));
        }
        let stranger = SigningKey::from_bytes(&[9; 32]).verifying_key();
        assert!(matches!(honest.open(&context(), &[2; 32], &stranger), Err(SealingError::Signature(_))));
        assert!(matches!(honest.open(&context(), &[4; 32], &key), Err(SealingError::Key(_))));
        assert_eq!(Sealed::from_bytes(&bytes[..95]), None);
        let low_order = Sealed::seal(
            &update(),
            &context(),
            Digest::from([0; 32]),
            &SigningKey::from_bytes(&[1; 32]),
            Zeroizing::new([3; 32]),
        );
        assert_eq!(low_order, Err(SealingError::Key(context().site)));
    }

    #[test]
    fn malformed_contents_are_named() {
        assert_eq!(Content::from_bytes(&[]).unwrap_err(), "it is empty");
        assert_eq!(Content::from_bytes(&[0, 9, 0, 0, 0]).unwrap_err(), "it is cut off");
        assert_eq!(Content::from_bytes(&[7, 0, 0, 0, 0]).unwrap_err(), "its kind is 7, expected 0 or 1");
        let mut odd = update().to_bytes().unwrap().to_vec();
        odd.pop();
        assert_eq!(Content::from_bytes(&odd).unwrap_err(), "11 bytes of values are no multiple of 4");
    }
}
