//! Every sentence that a user reads, in Chinese and in English, side by side.
//!
//! Nothing else in the workspace holds user-facing text. Errors of libraries are English and say what happened; the
//! catalogue says what to do about them ([`crate::failure`]).

mod help;
mod messages;

use std::str::FromStr;

pub use help::help;
pub use messages::Message;

/// The language of what a user reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// Simplified Chinese.
    #[default]
    Zh,
    /// English.
    En,
}

impl Language {
    /// Both, the first one first.
    pub const ALL: [Self; 2] = [Self::Zh, Self::En];

    /// The tag for HTML and for `--lang`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    /// The first of `wishes` that is Chinese or English, in falling priority; Chinese where none is.
    pub fn choose<'a>(wishes: impl IntoIterator<Item = &'a str>) -> Self {
        wishes.into_iter().find_map(|wish| wish.parse().ok()).unwrap_or_default()
    }
}

/// A tag that is neither Chinese nor English.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("language {0:?} is not known: choose zh or en")]
pub struct UnknownLanguage(String);

impl FromStr for Language {
    type Err = UnknownLanguage;

    /// Takes `zh` and `en`, and locale names such as `zh_CN.UTF-8`.
    fn from_str(tag: &str) -> Result<Self, UnknownLanguage> {
        let language = tag.split(['_', '-', '.', '@']).next().unwrap_or_default();
        match language.to_ascii_lowercase().as_str() {
            "zh" => Ok(Self::Zh),
            "en" => Ok(Self::En),
            _ => Err(UnknownLanguage(tag.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_wish_counts_and_chinese_is_the_default() {
        assert_eq!(Language::choose(["", "C.UTF-8", "en_US.UTF-8", "zh_CN"]), Language::En);
        assert_eq!(Language::choose(["zh-Hans-CN", "en"]), Language::Zh);
        assert_eq!(Language::choose(["POSIX", "fr_FR"]), Language::Zh);
        assert_eq!(Language::choose([]), Language::Zh);
    }

    #[test]
    fn a_message_names_its_arguments_in_both_languages() {
        let message = Message::EvaluationUnlistedNodules { count: &7 };
        for language in Language::ALL {
            assert!(message.text(language).contains('7'));
        }
        assert_ne!(message.text(Language::Zh), message.text(Language::En));
    }
}
