//! A stored entry as the exports see it.

use super::ExportError;
use serde_json::{Map, Value};

/// Longest entry, in bytes.
const LONGEST: usize = 8 * 1024;

/// Version of the envelope.
const VERSION: u64 = 1;

/// Who acted.
#[derive(Clone, Copy)]
pub struct Actor<'a> {
    /// `participant`, `platform`, `admin`, `node` or `system`.
    pub kind: &'a str,
    /// Its pseudonym, account or name; the system has none.
    pub reference: &'a str,
    /// Its role, where it has one.
    pub role: Option<&'a str>,
}

/// What it was done to.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    /// `room`, `participant`, `track`, `channel`, `link`, `key`, `log` or `config`.
    pub kind: &'a str,
    /// Its reference.
    pub reference: &'a str,
}

/// One entry: the bytes as they are stored, and what they say.
#[derive(Clone)]
pub struct Stored {
    bytes: Vec<u8>,
    fields: Map<String, Value>,
    seq: u64,
}

impl Stored {
    /// Reads the bytes of one entry, whose place in the log has been checked before.
    ///
    /// # Errors
    ///
    /// [`ExportError`] names what is missing.
    pub fn read(bytes: &[u8]) -> Result<Self, ExportError> {
        if bytes.len() > LONGEST {
            return Err(ExportError::TooLong);
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Err(ExportError::NotJson) };
        if fields.get("v").and_then(Value::as_u64) != Some(VERSION) {
            return Err(ExportError::Version);
        }
        for name in ["boot", "build", "clk", "eid", "ev", "log", "node", "out", "prev", "region", "ts"] {
            if !fields.get(name).is_some_and(Value::is_string) {
                return Err(ExportError::Field(name));
            }
        }
        let seq = fields.get("seq").and_then(number).ok_or(ExportError::Field("seq"))?;
        let text_in =
            |object: &str, name: &str| fields.get(object).and_then(|value| value.get(name)).is_some_and(Value::is_string);
        if !text_in("actor", "kind") {
            return Err(ExportError::Field("actor"));
        }
        if fields.contains_key("obj") && !(text_in("obj", "kind") && text_in("obj", "ref")) {
            return Err(ExportError::Field("obj"));
        }
        if !fields.get("data").is_none_or(Value::is_object) {
            return Err(ExportError::Field("data"));
        }
        Ok(Self { bytes: bytes.to_vec(), fields, seq })
    }

    /// The bytes as they are stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its number in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// A text of the envelope; empty where there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of the envelope that may be missing.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// The name of the event.
    #[must_use]
    pub fn event(&self) -> &str {
        self.text("ev")
    }

    /// Who acted.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        let field = |name| self.fields.get("actor").and_then(|actor| actor.get(name)).and_then(Value::as_str);
        Actor { kind: field("kind").unwrap_or_default(), reference: field("ref").unwrap_or_default(), role: field("role") }
    }

    /// What it was done to.
    #[must_use]
    pub fn object(&self) -> Option<Object<'_>> {
        let object = self.fields.get("obj")?;
        let field = |name| object.get(name).and_then(Value::as_str);
        Some(Object { kind: field("kind")?, reference: field("ref")? })
    }

    /// A field of `data`.
    #[must_use]
    pub fn data(&self, name: &str) -> Option<&Value> {
        self.fields.get("data").and_then(|data| data.get(name))
    }

    /// A text of `data`.
    #[must_use]
    pub fn data_text(&self, name: &str) -> Option<&str> {
        self.data(name).and_then(Value::as_str)
    }

    /// A number of `data`; numbers from 2^53 on are stored as text.
    #[must_use]
    pub fn data_number(&self, name: &str) -> Option<u64> {
        self.data(name).and_then(number)
    }

    /// Texts of a list in `data`.
    pub fn data_list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.data(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Everything in `data` as pairs of texts, nested names joined by dots, and the reason before all.
    #[must_use]
    pub fn details(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.optional("why").map(|why| ("why".to_owned(), why.to_owned())));
        if let Some(data) = self.fields.get("data") {
            flatten("", data, &mut pairs);
        }
        pairs
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn flatten(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (inner, value) in fields {
                let joined = if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
                flatten(&joined, value, pairs);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| flatten(name, value, pairs)),
        Value::String(text) => pairs.push((name.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => pairs.push((name.to_owned(), value.to_string())),
        Value::Null => {}
    }
}
