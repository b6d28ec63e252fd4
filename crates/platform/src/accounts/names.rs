//! Roles, states, and which names are fine.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Invalid;
use crate::catalog::Message;
use crate::store::names::stored_by_name;

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// 服务端: an administrator, who sees everything except images.
    Server,
    /// 客户端: a medical institution, which sees only its own.
    Client,
}

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Registered, not yet approved.
    Pending,
    /// In use.
    Active,
    /// Put out of use.
    Disabled,
}

stored_by_name! {
    Role { Server "server", Client "client" }
    Status { Pending "pending", Active "active", Disabled "disabled" }
}

/// The name that somebody signs in with: 3 to 32 of `a-z 0-9 - _`, a letter first. It also names folders, so it is the
/// same on every file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Username(String);

impl Username {
    /// Upper case counts as lower case.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let name = text.trim().to_ascii_lowercase();
        let fine = (3..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
        if fine { Ok(Self(name)) } else { Err(Invalid { field: "username", message: Message::BadUsername }) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is the normal form of a name.
pub(crate) fn is_username(text: &str) -> bool {
    Username::parse(text).is_ok_and(|name| name.as_str() == text)
}

/// The same for an institution.
pub(crate) fn is_institution(text: &str) -> bool {
    institution(text).is_ok_and(|name| name == text)
}

/// The name of an institution: 2 to 64 visible characters.
pub(crate) fn institution(text: &str) -> Result<String, Invalid> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Direction marks could make a name look like another one.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if (2..=64).contains(&name.chars().count()) && !name.contains(hidden) {
        Ok(name)
    } else {
        Err(Invalid { field: "institution", message: Message::BadInstitution })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        assert_eq!(Username::parse(" City-First_1 ").unwrap().as_str(), "city-first_1");
        for bad in ["", "ab", "1st", "-ab", "a b c", "市一医院", "a.b.c", "../etc", &"a".repeat(33)] {
            assert!(Username::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(institution("  市第一 \n 医院 ").unwrap(), "市第一 医院");
        for bad in ["", "x", "a\u{202e}b", "a\u{0}b", "零宽\u{200b}空格", &"院".repeat(65)] {
            assert!(institution(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_username_is_its_own_normal_form(text in "[ A-Za-z0-9_.-]{0,40}|\\PC{0,12}") {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(Username::parse(name.as_str()).unwrap(), name.clone());
                prop_assert!(name.as_str().is_ascii() && !name.as_str().contains(['/', '\\', '.', ' ']));
            }
        }
    }
}
