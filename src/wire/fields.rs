//! Protobuf at the level of fields: walk, count and copy an encoded message without decoding its content.
//!
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>. Groups are refused; nobody sends them.

use std::fmt;

/// A message that does not follow the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf")]
pub struct Malformed;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint.
    Number(u64),
    /// Bytes, text, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Four or eight bytes.
    Fixed,
}

/// One field of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
    /// Tag and value as they stand.
    pub raw: &'a [u8],
}

/// Walks the fields of one message; stops after the first error.
#[derive(Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(_) => f.write_str("Number"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Fixed => f.write_str("Fixed"),
        }
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("number", &self.number).field("value", &self.value).finish_non_exhaustive()
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({} bytes)", self.rest.len())
    }
}

/// The fields of an encoded message.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = take_field(&mut self.rest);
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *rest;
    let tag = u32::try_from(take_varint(rest)?).ok()?;
    let number = tag >> 3;
    if number == 0 {
        return None;
    }
    let value = match tag & 7 {
        0 => Value::Number(take_varint(rest)?),
        1 => {
            take(rest, 8)?;
            Value::Fixed
        }
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Value::Fixed
        }
        _ => return None,
    };
    let raw = start.get(..start.len() - rest.len())?;
    Some(Field { number, value, raw })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes, text or an encoded message.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Levels of nesting looked at; the deepest known message (`sync_state`) has seven.
const MAX_DEPTH: u32 = 10;

/// Whether an encoded message has at most `limit` fields on all its levels together.
///
/// An empty sub-message takes two bytes on the wire and some hundred in memory, so a decoder's memory is bounded by counting
/// fields first and not by the size of the message. Text that happens to parse as a message counts as one.
#[must_use]
pub fn within(message: &[u8], limit: usize) -> bool {
    let mut budget = limit;
    spend(message, MAX_DEPTH, &mut budget)
}

fn spend(message: &[u8], depth: u32, budget: &mut usize) -> bool {
    for field in fields(message) {
        let Ok(field) = field else { return true };
        let Some(left) = budget.checked_sub(1) else { return false };
        *budget = left;
        if let Value::Bytes(inner) = field.value
            && depth > 0
            && !spend(inner, depth - 1, budget)
        {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_walked_as_they_were_written() {
        let mut message = Vec::new();
        put_number(&mut message, 16, 300);
        put_bytes(&mut message, 4, b"abc");
        let seen: Vec<_> = fields(&message).map(Result::unwrap).map(|field| (field.number, field.value)).collect();
        assert_eq!(seen, [(16, Value::Number(300)), (4, Value::Bytes(b"abc"))]);
    }

    #[test]
    fn groups_field_zero_and_cut_values_are_refused() {
        for bad in [&[0x0b][..], &[0x02, 0x00], &[0x0a, 0x05, 1], &[0x80; 11], &[0x0d, 1, 2]] {
            assert_eq!(fields(bad).next(), Some(Err(Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn a_bomb_of_empty_messages_is_over_its_limit() {
        let bomb = [0x1a, 0x00].repeat(5_000);
        let mut nested = Vec::new();
        put_bytes(&mut nested, 12, &bomb);
        assert!(!within(&nested, 4_096));
        assert!(within(&nested, 5_001));
    }

    #[test]
    fn nesting_beyond_the_depth_ends_the_walk() {
        let mut message = vec![0x0a, 0x00];
        for _ in 0..5_000 {
            let mut outer = Vec::new();
            put_bytes(&mut outer, 1, &message);
            message = outer;
        }
        assert!(within(&message, 100), "the decoder's own recursion limit takes over");
    }
}
