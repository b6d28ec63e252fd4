//! Every sentence that a user of the web pages reads, in Chinese and in English, side by side.
//!
//! [`Message`] holds what the program composes, [`page`] what templates and scripts show. The catalogue of `workflow`
//! follows the same pattern; it lies in a crate that brings the neural network with it, which accounts and pages do not
//! need.

mod messages;
pub(crate) mod page;

pub(crate) use messages::Message;

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

    /// The short tag for addresses and cookies.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    /// The tag for HTML: it chooses fonts, too.
    pub(crate) fn html_tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// The other one, for the switch.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Zh => Self::En,
            Self::En => Self::Zh,
        }
    }
}
