//! Words that may stand in a signed document: short, from a small alphabet, never free text.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Longest word, as long as the longest log origin.
const LONGEST: usize = 128;

/// A pseudonym, code or name of a closed vocabulary: 1 to 128 of `A-Z a-z 0-9 . _ : / + = -`.
///
/// The alphabet needs no escapes in JSON, so that a document has one spelling only. `Debug` is redacted, because a word may
/// be a pseudonym.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Word(String);

impl Word {
    /// Takes a text that is a word; `None` where it is too long, empty or has another character.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
        (!text.is_empty() && text.len() <= LONGEST && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The text itself, for encoders.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Word(…)")
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("a text that is no word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_words_pass() {
        assert!(Word::new("clinic.example/fr1/t-7q2m/n03/1").is_some());
        for wrong in ["", "Dr Martin", "é", "\"", "a\nb", &"x".repeat(129)] {
            assert!(Word::new(wrong).is_none());
            assert!(serde_json::from_value::<Word>(serde_json::Value::from(wrong)).is_err());
        }
    }
}
