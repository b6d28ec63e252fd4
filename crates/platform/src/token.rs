//! Random tokens: 256 bits that a person or a browser carries, of which we keep the hash only.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// SHA-256 of a token: what is stored, and what is looked up.
pub(crate) type TokenHash = [u8; 32];

/// A token as its holder knows it. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// A new one from the operating system's random numbers.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// One that somebody presents. A text that cannot be one of ours is none.
    pub(crate) fn presented(text: &str) -> Option<Self> {
        (text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> TokenHash {
        hash("token", &self.0)
    }

    /// The token that a page of this session sends back in a header. It follows from the session's, which scripts and
    /// other sites cannot read.
    pub(crate) fn csrf(&self) -> String {
        URL_SAFE_NO_PAD.encode(hash("csrf", &self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// SHA-256 of a text for one purpose. Comparing hashes tells nobody how much of a guess was right.
pub(crate) fn hash(purpose: &str, text: &str) -> TokenHash {
    let mut hasher = Sha256::new();
    hasher.update(purpose);
    hasher.update([0]);
    hasher.update(text);
    hasher.finalize().into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_256_bits_and_hidden() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(Token::presented(one.expose()).unwrap().hash(), one.hash());
        assert!(Token::presented("short").is_none() && Token::presented(&"ä".repeat(22)).is_none());
        assert!(!format!("{one:?}").contains(one.expose()));
        assert_ne!(one.csrf(), URL_SAFE_NO_PAD.encode(one.hash()));
    }
}
