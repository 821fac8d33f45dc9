//! How typed fields become values of the record and back.

use super::Refused;
use super::json::{Object, Value, number, read_number};

/// Longest list in a field: four times the people of the largest consultation.
pub const LONGEST_LIST: usize = 256;

/// A typed field of the record.
pub trait Field: Sized {
    /// The value; nothing when the field is absent.
    fn write(&self) -> Option<Value>;

    /// Reads the value, or that it is absent.
    ///
    /// # Errors
    /// [`Refused::BadField`] when the value is none that [`write`](Self::write) gives.
    fn read(value: Option<Value>) -> Result<Self, Refused>;

    /// Any valid value, for tests and sample logs.
    fn sample(chance: &mut Chance) -> Self;
}

/// A small generator of chance for samples; never for keys or ids.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// The next number (SplitMix64).
    #[expect(clippy::should_implement_trait, reason = "an endless source, not a sequence to loop over")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of some things.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(u64::try_from(all.len()).ok()?)).ok()?;
        all.get(at).copied()
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = u8::try_from(self.next() >> 56).unwrap_or_default();
        }
        bytes
    }
}

/// Takes a field out of an object.
pub(super) fn take<T: Field>(object: &mut Object, key: &str) -> Result<T, Refused> {
    T::read(object.remove(key))
}

/// Puts a field into an object.
pub(super) fn put(object: &mut Object, key: &str, field: &impl Field) {
    if let Some(value) = field.write() {
        object.insert(key.to_owned(), value);
    }
}

macro_rules! number_fields {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn write(&self) -> Option<Value> {
                Some(number(u64::from(*self)))
            }

            fn read(value: Option<Value>) -> Result<Self, Refused> {
                value.as_ref().and_then(read_number).and_then(|number| number.try_into().ok()).ok_or(Refused::BadField)
            }

            fn sample(chance: &mut Chance) -> Self {
                // Of every length, so that the borders of the number form are met.
                let bits = chance.below(u64::from(Self::BITS));
                Self::try_from(chance.next() & (u64::MAX >> (63 - bits))).unwrap_or(Self::MAX)
            }
        }
    )*};
}

number_fields!(u8, u16, u32, u64);

impl Field for i64 {
    fn write(&self) -> Option<Value> {
        Some(Value::Int(*self))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        match value {
            Some(Value::Int(int)) => Ok(int),
            Some(Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_)) | None => Err(Refused::BadField),
        }
    }

    fn sample(chance: &mut Chance) -> Self {
        Self::try_from(chance.below(1 << 52)).unwrap_or_default() - (1 << 51)
    }
}

impl Field for bool {
    fn write(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        match value {
            Some(Value::Bool(bool)) => Ok(bool),
            Some(Value::Int(_) | Value::Text(_) | Value::List(_) | Value::Object(_)) | None => Err(Refused::BadField),
        }
    }

    fn sample(chance: &mut Chance) -> Self {
        chance.below(2) == 1
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(Field::write)
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        value.map(|value| T::read(Some(value))).transpose()
    }

    fn sample(chance: &mut Chance) -> Self {
        (chance.below(2) == 1).then(|| T::sample(chance))
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self) -> Option<Value> {
        Some(Value::List(self.iter().filter_map(Field::write).collect()))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        match value {
            Some(Value::List(list)) if list.len() <= LONGEST_LIST => list.into_iter().map(|item| T::read(Some(item))).collect(),
            Some(Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::List(_) | Value::Object(_)) | None => {
                Err(Refused::BadField)
            }
        }
    }

    fn sample(chance: &mut Chance) -> Self {
        (0..chance.below(5)).map(|_| T::sample(chance)).collect()
    }
}

/// Reads a text.
pub(super) fn read_text(value: Option<Value>) -> Result<String, Refused> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Bool(_) | Value::Int(_) | Value::List(_) | Value::Object(_)) | None => Err(Refused::BadField),
    }
}

/// Makes a closed set of words, its text form and its field.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* #[doc = concat!("`", $text, "`.")] $variant,)* }

        impl $name {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word as the record holds it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Reads the word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl $crate::audit::field::Field for $name {
            fn write(&self) -> Option<$crate::audit::json::Value> {
                Some($crate::audit::json::Value::Text(self.as_str().to_owned()))
            }

            fn read(value: Option<$crate::audit::json::Value>) -> Result<Self, $crate::audit::Refused> {
                let text = $crate::audit::field::read_text(value)?;
                Self::parse(&text).ok_or($crate::audit::Refused::BadField)
            }

            fn sample(chance: &mut $crate::audit::field::Chance) -> Self {
                chance.one_of(Self::ALL).expect("a set of words is never empty")
            }
        }
    )*};
}

pub(super) use words;
