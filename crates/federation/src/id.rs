//! Names of sessions and sites. They become parts of file names, so their alphabet is small.

use serde::{Deserialize, Serialize};

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {found:?} is not usable: give 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'")]
pub struct IdError {
    kind: &'static str,
    /// At most the first 80 characters of what was given.
    found: String,
}

fn validated(kind: &'static str, text: String) -> Result<String, IdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(IdError { kind, found: text.chars().take(80).collect() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text`: 1 to 64 characters out of `A-Z a-z 0-9 _ -`.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                validated($kind, text.into()).map(Self)
            }

            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Name of a training session, chosen by its creator; part of the name of the model file.
    SessionId,
    "session"
);
id!(
    /// Name of a site (a hospital) within the federation; not its display name.
    SiteId,
    "site"
);
