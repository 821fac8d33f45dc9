//! The canonical JSON of the record: RFC 8785 with objects, arrays, booleans, integers and plain strings only.
//!
//! One value has exactly one form, so what [`parse`] takes it also writes again byte for byte. Floats, `null`, blanks,
//! escapes, doubled keys and keys out of order are refused, not repaired.

use super::Refused;
use std::collections::BTreeMap;

/// Longest entry in bytes: the longest event of the catalogue, with its lists, stays below.
pub const LONGEST_ENTRY: usize = 8 * 1024;

/// Deepest nesting: the envelope holds `data`, which holds objects of plain values.
const DEEPEST: u8 = 6;

/// First integer that JSON readers with double precision cannot hold; from there on numbers are written as text.
const UNSAFE: u64 = 1 << 53;

/// A value of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An integer below 2^53 either way.
    Int(i64),
    /// A string of the record's alphabet.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(Object),
}

/// An object; its keys are in byte order, which for this alphabet is the order of RFC 8785.
pub type Object = BTreeMap<String, Value>;

/// Whether a string may stand in the record: `A-Z a-z 0-9 . _ : / + = -`, nothing that could carry prose.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte)
}

/// A number as the record holds it: an integer, or text from 2^53 on.
#[must_use]
pub(super) fn number(number: u64) -> Value {
    match i64::try_from(number) {
        Ok(small) if number < UNSAFE => Value::Int(small),
        _ => Value::Text(number.to_string()),
    }
}

/// Reads what [`number`] wrote, and nothing else.
pub(super) fn read_number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(small) => u64::try_from(*small).ok(),
        Value::Text(text) => text.parse().ok().filter(|number: &u64| *number >= UNSAFE && number.to_string() == *text),
        Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
    }
}

/// Writes a value.
///
/// # Errors
/// [`Refused`] when a string leaves the alphabet, an integer is too large, or the result is longer than [`LONGEST_ENTRY`].
pub fn write(value: &Value) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::with_capacity(1024);
    write_into(value, DEEPEST, &mut out)?;
    if out.len() > LONGEST_ENTRY { Err(Refused::TooLong) } else { Ok(out) }
}

fn write_into(value: &Value, depth: u8, out: &mut Vec<u8>) -> Result<(), Refused> {
    let below = depth.checked_sub(1).ok_or(Refused::TooDeep)?;
    match value {
        Value::Bool(bool) => out.extend_from_slice(if *bool { b"true" } else { b"false" }),
        Value::Int(int) if int.unsigned_abs() >= UNSAFE => return Err(Refused::BadNumber),
        Value::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
        Value::Text(text) => write_text(text, out)?,
        Value::List(list) => {
            out.push(b'[');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_into(item, below, out)?;
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, (key, item)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(key, out)?;
                out.push(b':');
                write_into(item, below, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), Refused> {
    if !is_plain(text) {
        return Err(Refused::BadText);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Reads the canonical form of one value.
///
/// # Errors
/// [`Refused`] names the shape that is not canonical.
pub fn parse(bytes: &[u8]) -> Result<Value, Refused> {
    if bytes.len() > LONGEST_ENTRY {
        return Err(Refused::TooLong);
    }
    let mut reader = Reader { rest: bytes };
    let value = reader.value(DEEPEST)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Refused::Malformed) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, depth: u8) -> Result<Value, Refused> {
        let below = depth.checked_sub(1).ok_or(Refused::TooDeep)?;
        match self.rest.first() {
            Some(b'"') => self.text().map(Value::Text),
            Some(b'{') => self.object(below).map(Value::Object),
            Some(b'[') => self.list(below).map(Value::List),
            Some(b't') => self.word(b"true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word(b"false").map(|()| Value::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.int().map(Value::Int),
            Some(_) | None => Err(Refused::Malformed),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refused> {
        self.rest = self.rest.strip_prefix(word).ok_or(Refused::Malformed)?;
        Ok(())
    }

    /// Takes one byte when it is the next.
    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn text(&mut self) -> Result<String, Refused> {
        self.word(b"\"")?;
        let end = self.rest.iter().position(|byte| *byte == b'"').ok_or(Refused::Malformed)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(Refused::Malformed)?;
        if !text.iter().copied().all(is_plain_byte) {
            return Err(Refused::BadText);
        }
        self.rest = rest;
        self.word(b"\"")?;
        String::from_utf8(text.to_vec()).map_err(|_| Refused::BadText)
    }

    fn int(&mut self) -> Result<i64, Refused> {
        let end = self.rest.iter().position(|byte| !matches!(byte, b'-' | b'0'..=b'9')).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end).ok_or(Refused::Malformed)?;
        let text = std::str::from_utf8(digits).map_err(|_| Refused::BadNumber)?;
        let int: i64 = text.parse().map_err(|_| Refused::BadNumber)?;
        // `-0`, `007` and `+1` have a shorter form, which is the canonical one.
        if int.unsigned_abs() >= UNSAFE || int.to_string() != text {
            return Err(Refused::BadNumber);
        }
        self.rest = rest;
        Ok(int)
    }

    fn list(&mut self, depth: u8) -> Result<Vec<Value>, Refused> {
        self.word(b"[")?;
        let mut list = Vec::new();
        if self.take(b']') {
            return Ok(list);
        }
        loop {
            list.push(self.value(depth)?);
            if self.take(b']') {
                return Ok(list);
            }
            self.word(b",")?;
        }
    }

    fn object(&mut self, depth: u8) -> Result<Object, Refused> {
        self.word(b"{")?;
        let mut object = Object::new();
        if self.take(b'}') {
            return Ok(object);
        }
        loop {
            let key = self.text()?;
            if object.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Refused::KeyOrder);
            }
            self.word(b":")?;
            object.insert(key, self.value(depth)?);
            if self.take(b'}') {
                return Ok(object);
            }
            self.word(b",")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forbidden_shape_is_refused() {
        let shapes: [(&str, Refused); 30] = [
            ("null", Refused::Malformed),
            ("1.5", Refused::Malformed),
            ("1e3", Refused::Malformed),
            ("-0", Refused::BadNumber),
            ("007", Refused::BadNumber),
            ("+1", Refused::Malformed),
            ("--1", Refused::BadNumber),
            ("-", Refused::BadNumber),
            ("9007199254740992", Refused::BadNumber),
            ("-9007199254740992", Refused::BadNumber),
            ("99999999999999999999", Refused::BadNumber),
            (" 1", Refused::Malformed),
            ("1 ", Refused::Malformed),
            ("[1, 2]", Refused::Malformed),
            ("[1,]", Refused::Malformed),
            ("[1", Refused::Malformed),
            ("[", Refused::Malformed),
            ("{\"a\":1,\"a\":2}", Refused::KeyOrder),
            ("{\"b\":1,\"a\":2}", Refused::KeyOrder),
            ("{\"a\":1,}", Refused::Malformed),
            ("{\"a\" :1}", Refused::Malformed),
            ("{\"a\":null}", Refused::Malformed),
            ("{a:1}", Refused::Malformed),
            ("\"a b\"", Refused::BadText),
            ("\"\\u0061\"", Refused::BadText),
            ("\"é\"", Refused::BadText),
            ("\"a@b.example\"", Refused::BadText),
            ("\"open", Refused::Malformed),
            ("", Refused::Malformed),
            ("[[[[[[1]]]]]]", Refused::TooDeep),
        ];
        for (shape, why) in shapes {
            assert_eq!(parse(shape.as_bytes()), Err(why), "{shape}");
        }
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in ["{\"a\":[1,-2,true],\"b\":{\"c\":\"x._:/+=-9\"},\"b.c\":\"\"}", "9007199254740991", "[]", "{}"] {
            assert_eq!(write(&parse(text.as_bytes()).unwrap()).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn large_numbers_become_text_and_have_one_form() {
        for value in [0, UNSAFE - 1, UNSAFE, u64::MAX] {
            assert_eq!(read_number(&number(value)), Some(value));
        }
        assert_eq!(number(UNSAFE), Value::Text("9007199254740992".to_owned()));
        assert_eq!(read_number(&Value::Text("5".to_owned())), None, "small numbers are never text");
        assert_eq!(read_number(&Value::Text("09007199254740992".to_owned())), None);
    }

    #[test]
    fn too_long_is_refused_both_ways() {
        let long = Value::Text("a".repeat(LONGEST_ENTRY));
        assert_eq!(write(&long), Err(Refused::TooLong));
        assert_eq!(parse(format!("\"{}\"", "a".repeat(LONGEST_ENTRY)).as_bytes()), Err(Refused::TooLong));
    }
}
