//! Encryption of what a site keeps on its own disk, with a key that only its identity gives: a copied folder tells nothing
//! without the site's key file.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::SigningKey;

/// ChaCha20-Poly1305 under HKDF-SHA256 of a site's signing key.
pub struct StorageKey(ChaCha20Poly1305);

/// Bytes that a file is longer than its content.
const NONCE: usize = 12;

impl StorageKey {
    /// The key that belongs to an identity.
    pub fn of(identity: &SigningKey) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, identity.as_bytes())
            .expand(b"fednodule/at-rest", key.as_mut())
            .expect("32 bytes are within HKDF's limit");
        Self(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Encrypts the content of the file of that name. The nonce must be random: with 2³² files the chance of a repetition is
    /// 2⁻³³.
    pub fn seal(&self, name: &str, nonce: [u8; NONCE], content: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: content, aad: name.as_bytes() };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts it; nothing where it was changed, or is another file.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.0.decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_file_of_the_same_site_is_opened() {
        let key = StorageKey::of(&SigningKey::from_bytes(&[1; 32]));
        let sealed = key.seal("state", [7; 12], b"secret").unwrap();
        assert_eq!(key.open("state", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open("other", &sealed).is_none());
        assert!(StorageKey::of(&SigningKey::from_bytes(&[2; 32])).open("state", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("state", &changed).is_none());
        }
        assert!(key.open("state", &sealed[..11]).is_none());
    }
}
