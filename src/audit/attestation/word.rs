//! Words and roles of the record in signed documents: the same small alphabet, so that a document has one spelling only.

use crate::audit::types::Word;
use crate::audit::words::Role;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("not a role"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_read() {
        assert!(serde_json::from_str::<Word>("\"clinic.example/fr1/t-7q2m/n03/1\"").is_ok());
        for wrong in ["", "Dr Martin", "é", "a\nb", &"x".repeat(129)] {
            assert!(serde_json::from_value::<Word>(serde_json::Value::from(wrong)).is_err());
        }
        assert!(serde_json::from_str::<Role>("\"observer\"").is_err());
    }
}
