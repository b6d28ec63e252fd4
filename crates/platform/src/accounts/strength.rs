//! How good a password is, as zxcvbn rates it, in words that help to choose a better one.

use schemars::JsonSchema;
use serde::Serialize;
use zxcvbn::feedback::{Feedback, Warning};
use zxcvbn::zxcvbn;

use super::Invalid;
use crate::catalog::{Language, Message};

/// bcrypt ignores what comes after; 24 Chinese characters fill it.
pub(crate) const MAX_PASSWORD_BYTES: usize = 72;
/// Words that are no secret here.
const PUBLIC_WORDS: [&str; 6] = ["fednodule", "hospital", "yiyuan", "nodule", "feijiejie", "医院"];

/// A rating to show while somebody types.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Strength {
    /// 0 (worst) to 4.
    pub(crate) score: u8,
    /// Whether it is accepted.
    pub(crate) enough: bool,
    /// The score in a word.
    pub(crate) word: String,
    /// What is weak about it, or too long; empty where there is nothing to say.
    pub(crate) hint: String,
}

/// Rates a password; what the person is called makes a bad password.
pub(crate) fn strength(password: &str, about: &[&str], needed: u8, language: Language) -> Strength {
    let (score, hint) = match too_long(password) {
        Some(message) => (0, Some(message)),
        None => rate(password, about),
    };
    let word = [
        Message::StrengthVeryWeak,
        Message::StrengthWeak,
        Message::StrengthFair,
        Message::StrengthGood,
        Message::StrengthStrong,
    ];
    Strength {
        score,
        enough: score >= needed,
        word: word[usize::from(score)].text(language),
        hint: hint.map(|hint| hint.text(language)).unwrap_or_default(),
    }
}

/// Says why a new password cannot be used.
pub(crate) fn check(password: &str, about: &[&str], needed: u8) -> Result<(), Invalid> {
    let refused = |message| Err(Invalid { field: "password", message });
    if let Some(message) = too_long(password) {
        return refused(message);
    }
    match rate(password, about) {
        (score, _) if score >= needed => Ok(()),
        (_, Some(hint)) => refused(hint),
        (_, None) => refused(Message::PasswordGuessable),
    }
}

fn too_long(password: &str) -> Option<Message> {
    let bytes = password.len();
    (bytes > MAX_PASSWORD_BYTES)
        .then(|| Message::PasswordTooLong { bytes: bytes.to_string(), limit: MAX_PASSWORD_BYTES.to_string() })
}

fn rate(password: &str, about: &[&str]) -> (u8, Option<Message>) {
    let known: Vec<&str> = about.iter().copied().chain(PUBLIC_WORDS).filter(|word| !word.is_empty()).collect();
    let rating = zxcvbn(password, &known);
    (u8::from(rating.score()).min(4), rating.feedback().and_then(Feedback::warning).map(hint))
}

fn hint(warning: Warning) -> Message {
    match warning {
        Warning::StraightRowsOfKeysAreEasyToGuess | Warning::ShortKeyboardPatternsAreEasyToGuess => {
            Message::PasswordKeyboard
        }
        Warning::RepeatsLikeAaaAreEasyToGuess | Warning::RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess => {
            Message::PasswordRepeats
        }
        Warning::ThisIsATop10Password
        | Warning::ThisIsATop100Password
        | Warning::ThisIsACommonPassword
        | Warning::ThisIsSimilarToACommonlyUsedPassword => Message::PasswordCommon,
        Warning::SequencesLikeAbcAreEasyToGuess => Message::PasswordSequence,
        Warning::RecentYearsAreEasyToGuess | Warning::DatesAreOftenEasyToGuess => Message::PasswordDate,
        Warning::AWordByItselfIsEasyToGuess => Message::PasswordWord,
        Warning::NamesAndSurnamesByThemselvesAreEasyToGuess | Warning::CommonNamesAndSurnamesAreEasyToGuess => {
            Message::PasswordName
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_passwords_are_refused_with_a_reason() {
        let reason = |password: &str| check(password, &["city-first"], 3).unwrap_err().message;
        assert_eq!(reason("password"), Message::PasswordCommon);
        assert_eq!(reason("qwertyuiop"), Message::PasswordCommon);
        assert_eq!(reason("aaaaaaaaaaaa"), Message::PasswordRepeats);
        assert_ne!(check("city-first", &["city-first"], 3), Ok(()));
        assert_ne!(check("", &[], 2), Ok(()));
        assert_eq!(check("copper lantern drifting 42", &["city-first"], 3), Ok(()));
    }

    #[test]
    fn what_bcrypt_would_cut_off_is_refused_with_both_numbers() {
        let chinese = "肺".repeat(25);
        let message = check(&chinese, &[], 2).unwrap_err().message;
        assert_eq!(message, Message::PasswordTooLong { bytes: "75".to_owned(), limit: "72".to_owned() });
        let shown = strength(&chinese, &[], 2, Language::Zh);
        assert!(!shown.enough && shown.hint.contains("75") && shown.hint.contains("72"));
        assert_eq!(check(&"肺癌筛查联邦学习".repeat(3), &[], 2), Ok(()));
    }
}
