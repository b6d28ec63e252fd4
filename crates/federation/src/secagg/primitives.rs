//! Hashes, keys and masks, with the labels that keep one use apart from another.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// 32 secret bytes, wiped when they are dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// Words of a mask that are made at once: small enough for the first-level cache.
const BLOCK_WORDS: usize = 2048;

/// SHA-256 of the parts one after the other.
pub(super) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// HKDF-SHA256, 32 bytes.
pub(super) fn derive(salt: &[u8; 32], secret: &[u8; 32], info: &[&[u8]]) -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, key.as_mut())
        .expect("32 bytes are within HKDF's limit");
    key
}

/// Whether a mask is added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// Adds the key's mask to `words`, or takes it away, modulo 2³²: ChaCha20 (RFC 8439) with counter and nonce 0, its key
/// stream read as little-endian words.
pub(super) fn mask(key: &[u8; 32], sign: Sign, words: &mut [u32]) {
    let mut stream = ChaCha20::new(key.into(), &[0; 12].into());
    let mut block = Zeroizing::new([0_u8; 4 * BLOCK_WORDS]);
    for chunk in words.chunks_mut(BLOCK_WORDS) {
        let bytes = &mut block[..4 * chunk.len()];
        bytes.fill(0);
        stream.apply_keystream(bytes);
        let masks = bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes));
        match sign {
            Sign::Plus => chunk.iter_mut().zip(masks).for_each(|(word, mask)| *word = word.wrapping_add(mask)),
            Sign::Minus => chunk.iter_mut().zip(masks).for_each(|(word, mask)| *word = word.wrapping_sub(mask)),
        }
    }
}

/// SHA-256 of words as they travel.
pub(super) fn hash_of_words(words: &[u32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut block = [0_u8; 4 * BLOCK_WORDS];
    for chunk in words.chunks(BLOCK_WORDS) {
        for (bytes, word) in block.chunks_exact_mut(4).zip(chunk) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        hasher.update(&block[..4 * chunk.len()]);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439, appendix A.1, first test vector.
    #[test]
    fn the_mask_is_the_key_stream_of_the_standard() {
        let mut words = [0, 1, 0];
        mask(&[0; 32], Sign::Plus, &mut words);
        assert_eq!(words[0].to_le_bytes(), [0x76, 0xb8, 0xe0, 0xad]);
        assert_eq!(words[1].wrapping_sub(1).to_le_bytes(), [0xa0, 0xf1, 0x3d, 0x90]);
        mask(&[0; 32], Sign::Minus, &mut words);
        assert_eq!(words, [0, 1, 0]);
    }

    #[test]
    fn blocks_join_without_a_seam() {
        let mut long = vec![0; 3 * BLOCK_WORDS + 5];
        mask(&[7; 32], Sign::Plus, &mut long);
        let mut bytes = vec![0; 4 * long.len()];
        ChaCha20::new(&[7; 32].into(), &[0; 12].into()).apply_keystream(&mut bytes);
        let expected: Vec<u32> = bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
        assert_eq!(long, expected);
        assert_eq!(hash_of_words(&long), hash([bytes.as_slice()]));
    }
}
