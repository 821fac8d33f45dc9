//! The typed values a record is made of: checked words, hashes, pseudonymous references and times.

use super::Refused;
use super::field::{Chance, Field, put, read_text, take};
use super::json::{Object, Value, is_plain};
use super::words::{AuthMethod, Clock, Role};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

/// Digits of a reference: lower-case Crockford base32, which has no letters that read like digits.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A technical name in the record's alphabet, 1 to 128 bytes: a node, a key id, a setting. Never a person's, never prose.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(Arc<str>);

impl Word {
    /// Longest word in bytes: a log's origin is the longest there is.
    pub const LONGEST: usize = 128;

    /// Checks a word.
    ///
    /// # Errors
    /// [`Refused::BadText`] when it is empty, too long or leaves the alphabet.
    pub fn new(text: &str) -> Result<Self, Refused> {
        let fits = !text.is_empty() && text.len() <= Self::LONGEST && is_plain(text);
        if fits { Ok(Self(text.into())) } else { Err(Refused::BadText) }
    }

    /// The text.
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

impl Field for Word {
    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.as_str().to_owned()))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        Self::new(&read_text(value)?)
    }

    fn sample(chance: &mut Chance) -> Self {
        let length = 1 + chance.below(12);
        let digit = |chance: &mut Chance| char::from(chance.one_of(DIGITS).unwrap_or(b'0'));
        Self((0..length).map(|_| digit(chance)).collect::<String>().into())
    }
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads lower-case hexadecimal of exactly this many bytes.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_fields {
    ($($(#[$doc:meta])* $name:ident($length:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        impl Field for $name {
            fn write(&self) -> Option<Value> {
                Some(Value::Text(hex(&self.0)))
            }

            fn read(value: Option<Value>) -> Result<Self, Refused> {
                unhex(&read_text(value)?).map(Self).ok_or(Refused::BadField)
            }

            fn sample(chance: &mut Chance) -> Self {
                Self(chance.bytes())
            }
        }
    )*};
}

hex_fields! {
    /// A SHA-256 hash, as 64 hexadecimal digits.
    Hash(32);
    /// A random id of one run of the process, as 32 hexadecimal digits.
    Boot(16);
    /// The first 64 bits of the binary's hash, as 16 hexadecimal digits.
    Build(8);
}

/// Number of base32 digits for bytes.
const fn digits_for(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

fn base32(bytes: &[u8], out: &mut String) {
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xFFF;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push_digit(held >> bits, out);
        }
    }
    if bits > 0 {
        push_digit(held << (5 - bits), out);
    }
}

fn push_digit(value: u32, out: &mut String) {
    let digit = usize::try_from(value & 31).ok().and_then(|at| DIGITS.get(at)).copied();
    out.push(char::from(digit.unwrap_or(b'0')));
}

/// Reads base32 of exactly this many bytes; leftover bits must be zero, so that a value has one form.
fn unbase32<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != digits_for(N) {
        return None;
    }
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut bytes = [0; N];
    let mut places = bytes.iter_mut();
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xFFF;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *places.next()? = u8::try_from(held >> bits & 0xFF).ok()?;
        }
    }
    (held & ((1 << bits) - 1) == 0).then_some(bytes)
}

macro_rules! references {
    ($($(#[$doc:meta])* $name:ident($length:literal, $prefix:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) [u8; $length]);

        impl $name {
            /// Its form in the record.
            #[must_use]
            pub fn to_text(self) -> String {
                let mut text = String::with_capacity($prefix.len() + digits_for($length));
                text.push_str($prefix);
                base32(&self.0, &mut text);
                text
            }

            /// Reads its form in the record.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                text.strip_prefix($prefix).and_then(unbase32).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl Field for $name {
            fn write(&self) -> Option<Value> {
                Some(Value::Text(self.to_text()))
            }

            fn read(value: Option<Value>) -> Result<Self, Refused> {
                Self::parse(&read_text(value)?).ok_or(Refused::BadField)
            }

            fn sample(chance: &mut Chance) -> Self {
                Self(chance.bytes())
            }
        }
    )*};
}

references! {
    /// A person or device in one room; another room gives it another reference.
    ParticipantRef(16, "p-");
    /// A room.
    RoomRef(16, "r-");
    /// A consultation: the platform's own reference, keyed.
    ConsultRef(16, "c-");
    /// A track.
    TrackRef(16, "t-");
    /// A data channel.
    ChannelRef(16, "d-");
    /// A token's id.
    TokenRef(16, "j-");
    /// A network address on one day.
    NetRef(8, "n-");
}

/// An administrator's own account, in clear: `adm-` and a stable internal id, never a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdminRef(Word);

impl AdminRef {
    /// Checks an account id.
    ///
    /// # Errors
    /// [`Refused::BadText`] when it does not begin with `adm-` or has other characters than letters, digits and `-`.
    pub fn new(text: &str) -> Result<Self, Refused> {
        let id = text.strip_prefix("adm-").ok_or(Refused::BadText)?;
        let fits = (1..=60).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Word::new(text).map(Self) } else { Err(Refused::BadText) }
    }

    /// The account id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Field for AdminRef {
    fn write(&self) -> Option<Value> {
        self.0.write()
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        Self::new(&read_text(value)?)
    }

    fn sample(chance: &mut Chance) -> Self {
        let id = format!("adm-{:04x}", chance.below(1 << 16));
        Self(Word(id.into()))
    }
}

/// Who decided, where it is not the actor alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// Somebody in the room.
    Participant(ParticipantRef),
    /// An administrator of the operator.
    Admin(AdminRef),
    /// The platform, with its key.
    Platform,
    /// A rule of the tenant.
    Policy,
}

impl Field for By {
    fn write(&self) -> Option<Value> {
        match self {
            Self::Participant(who) => who.write(),
            Self::Admin(who) => who.write(),
            Self::Platform => Some(Value::Text("platform".to_owned())),
            Self::Policy => Some(Value::Text("policy".to_owned())),
        }
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        match read_text(value)?.as_str() {
            "platform" => Ok(Self::Platform),
            "policy" => Ok(Self::Policy),
            text if text.starts_with("adm-") => AdminRef::new(text).map(Self::Admin),
            text => ParticipantRef::parse(text).map(Self::Participant).ok_or(Refused::BadField),
        }
    }

    fn sample(chance: &mut Chance) -> Self {
        match chance.below(4) {
            0 => Self::Admin(AdminRef::sample(chance)),
            1 => Self::Platform,
            2 => Self::Policy,
            _ => Self::Participant(ParticipantRef::sample(chance)),
        }
    }
}

/// What a consent covers. Recording is no scope: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConsentScope {
    /// The consultation at a distance itself.
    Teleconsultation,
    /// A third person of this role.
    ThirdPerson(Role),
    /// Exchange of files.
    FileExchange,
    /// Asides.
    Aside,
}

impl Field for ConsentScope {
    fn write(&self) -> Option<Value> {
        Some(Value::Text(match self {
            Self::Teleconsultation => "teleconsultation".to_owned(),
            Self::ThirdPerson(role) => format!("third_person:{}", role.as_str()),
            Self::FileExchange => "file_exchange".to_owned(),
            Self::Aside => "aside".to_owned(),
        }))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        match read_text(value)?.as_str() {
            "teleconsultation" => Ok(Self::Teleconsultation),
            "file_exchange" => Ok(Self::FileExchange),
            "aside" => Ok(Self::Aside),
            text => {
                let role = text.strip_prefix("third_person:").and_then(Role::parse);
                role.map(Self::ThirdPerson).ok_or(Refused::BadField)
            }
        }
    }

    fn sample(chance: &mut Chance) -> Self {
        match chance.below(4) {
            0 => Self::Teleconsultation,
            1 => Self::FileExchange,
            2 => Self::Aside,
            _ => Self::ThirdPerson(Role::sample(chance)),
        }
    }
}

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

        impl Field for $name {
            fn write(&self) -> Option<Value> {
                let mut object = Object::new();
                $(put(&mut object, stringify!($field), &self.$field);)*
                Some(Value::Object(object))
            }

            fn read(value: Option<Value>) -> Result<Self, Refused> {
                let Some(Value::Object(mut object)) = value else { return Err(Refused::BadField) };
                let read = Self { $($field: take(&mut object, stringify!($field))?,)* };
                if object.is_empty() { Ok(read) } else { Err(Refused::UnknownField) }
            }

            fn sample(chance: &mut Chance) -> Self {
                Self { $($field: Field::sample(chance),)* }
            }
        }
    )*};
}

objects! {
    /// How a person was authenticated, as the signed token asserts it.
    Auth {
        /// The level, as the method counts it.
        acr: u8,
        /// The method.
        method: AuthMethod,
    }

    /// Which protections of the process are on.
    Sandbox {
        /// Landlock's version, 0 when it is off.
        landlock_abi: u8,
        /// Whether memory is locked.
        mlock: bool,
        /// Whether dumps are refused.
        nodump: bool,
        /// Whether system calls are filtered.
        seccomp: bool,
    }
}

/// Microseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// One day.
    pub const DAY: u64 = 86_400_000_000;

    /// The last time with a year of four digits.
    pub const LAST: Self = Self(253_402_300_799_999_999);

    /// From whole seconds since 1970.
    #[must_use]
    pub fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The day, counted from 1970.
    #[must_use]
    pub fn day(self) -> u64 {
        self.0 / Self::DAY
    }

    /// Year and month.
    #[must_use]
    pub fn month(self) -> (u64, u64) {
        let (year, month, _) = civil(self.day());
        (year, month)
    }

    /// RFC 3339 with microseconds: `2026-11-21T09:31:07.204118Z`.
    #[must_use]
    pub fn to_text(self) -> String {
        let (year, month, day) = civil(self.min(Self::LAST).day());
        let rest = self.min(Self::LAST).0 % Self::DAY;
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }

    /// Reads what [`to_text`](Self::to_text) wrote, and no other form of RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 27 || !text.is_ascii() {
            return None;
        }
        let part = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u64>().ok());
        let days = days_since_1970(part(0, 4)?, part(5, 7)?, part(8, 10)?)?;
        let seconds = part(11, 13)? * 3_600 + part(14, 16)? * 60 + part(17, 19)?;
        let micros = days.checked_mul(Self::DAY)?.checked_add(seconds * 1_000_000 + part(20, 26)?)?;
        // Writing it again catches hour 24, signs in front of digits and wrong separators alike.
        Some(Self(micros)).filter(|read| read.to_text() == text)
    }
}

/// Days since 1970 to year, month, day of the Gregorian calendar, by counting from March so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_0000 = days + 719_468;
    let (era, day_of_era) = (since_0000 / 146_097, since_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || day == 0 || year < 1970 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

impl Field for Micros {
    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.to_text()))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        Self::parse(&read_text(value)?).ok_or(Refused::BadField)
    }

    fn sample(chance: &mut Chance) -> Self {
        Self(chance.below(Self::LAST.0))
    }
}

/// The time of one event by the relay's own clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock.
    pub ts: Micros,
    /// Nanoseconds since the machine started.
    pub mono: u64,
    /// How far the wall clock is to be trusted.
    pub clk: Clock,
    /// The kernel's estimate of the largest error in milliseconds, at most 60 000.
    pub clk_err_ms: u32,
}

impl Stamp {
    /// Largest error that is told apart.
    pub const LARGEST_ERROR_MS: u32 = 60_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_calendars() {
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_253_467_204_118, "2026-11-21T09:31:07.204118Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (Micros::LAST.0, "9999-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in known {
            assert_eq!(Micros(micros).to_text(), text);
            assert_eq!(Micros::parse(text), Some(Micros(micros)));
        }
    }

    #[test]
    fn a_time_has_one_form() {
        for text in [
            "2026-11-21T09:31:07Z",
            "2026-02-30T00:00:00.000000Z",
            "2100-02-29T00:00:00.000000Z",
            "2026-11-21T24:00:00.000000Z",
            "2026-11-21T09:31:60.000000Z",
            "2026-11-21t09:31:07.204118Z",
            "2026-11-21T09:31:07.204118+",
            "2026-+1-21T09:31:07.204118Z",
            "1969-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(Micros::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_reference_has_one_form() {
        let mut chance = Chance::new(1);
        for _ in 0..200 {
            let reference = ParticipantRef::sample(&mut chance);
            let text = reference.to_text();
            assert_eq!(text.len(), 28);
            assert_eq!(ParticipantRef::parse(&text), Some(reference));
            assert_eq!(RoomRef::parse(&text), None);
            assert_eq!(ParticipantRef::parse(&text.to_uppercase()), None);
        }
        // 26 digits hold 130 bits: the last two must be zero.
        assert_eq!(ParticipantRef::parse("p-00000000000000000000000001"), None);
        assert_eq!(NetRef([0xFF; 8]).to_text(), "n-zzzzzzzzzzzzy");
    }

    #[test]
    fn words_and_accounts_carry_no_prose() {
        for text in ["", "two words", "a@b.example", "é", "a\n", &"a".repeat(129)] {
            assert!(Word::new(text).is_err(), "{text:?}");
        }
        for text in ["adm-", "adm-a.b", "jane", "adm-a@b"] {
            assert!(AdminRef::new(text).is_err(), "{text}");
        }
        assert!(AdminRef::new("adm-7f3a").is_ok());
        assert_eq!(format!("{:?}", Word::new("secret").unwrap()), "Word(…)");
    }
}
