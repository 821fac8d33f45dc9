//! Keyed references: the record names people, rooms and addresses only by what a secret key makes of them.
//!
//! The key of a tenant and month gives each room a key of its own, so that a person has another reference in every room
//! and the record alone cannot follow anybody from one room to the next. Destroying a month's key makes all its
//! references meaningless.

use super::types::{ChannelRef, ConsultRef, Micros, NetRef, ParticipantRef, RoomRef, TokenRef, TrackRef};
use aws_lc_rs::hkdf;
use aws_lc_rs::hmac;
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Length of a key in bytes: that of the hash.
pub const KEY_LENGTH: usize = 32;

/// A secret from which references are made.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; KEY_LENGTH]>);

impl SecretKey {
    /// Wraps random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the file they are kept in only.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// A key below this one (HKDF-SHA-256, RFC 5869, without salt: the key is random).
    fn derive(&self, label: &str, id: &str) -> Self {
        let mut key = [0; KEY_LENGTH];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.0.as_slice());
        let filled = prk.expand(&[label.as_bytes(), id.as_bytes()], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
        filled.expect("one hash length can always be expanded");
        Self::new(key)
    }

    /// The first bytes of HMAC-SHA-256 over a label and an id.
    fn tag<const N: usize>(&self, label: &str, id: &[u8]) -> [u8; N] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(label.as_bytes());
        context.update(id);
        let mut first = [0; N];
        for (place, byte) in first.iter_mut().zip(context.sign().as_ref()) {
            *place = *byte;
        }
        first
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A calendar month, in which rooms are created and after which their references share a fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
}

impl Period {
    /// The month of a time, UTC.
    #[must_use]
    pub fn of(at: Micros) -> Self {
        let (year, month) = at.min(Micros::LAST).month();
        Self { year: u16::try_from(year).unwrap_or(u16::MAX), month: u8::try_from(month).unwrap_or(12) }
    }

    /// Reads `2026-11`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let read = Self { year: year.parse().ok()?, month: month.parse().ok()? };
        ((1..=12).contains(&read.month) && read.to_text() == text).then_some(read)
    }

    /// `2026-11`.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }
}

/// References of one tenant in one month.
#[derive(Clone, Debug)]
pub struct TenantPseudonyms(SecretKey);

impl TenantPseudonyms {
    /// From the tenant's key of that month.
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// The reference of a consultation.
    #[must_use]
    pub fn consultation(&self, id: &str) -> ConsultRef {
        ConsultRef(self.0.tag("cons|", id.as_bytes()))
    }

    /// The reference of a token's id, or of the token's bytes where it has none.
    #[must_use]
    pub fn token(&self, id: &[u8]) -> TokenRef {
        TokenRef(self.0.tag("jti|", id))
    }

    /// References inside one room; the id must be that of one opening of the room, not a name used again.
    #[must_use]
    pub fn room(&self, id: &str) -> RoomPseudonyms {
        RoomPseudonyms { room: RoomRef(self.0.tag("room|", id.as_bytes())), key: self.0.derive("room|", id) }
    }
}

/// References inside one room.
#[derive(Clone, Debug)]
pub struct RoomPseudonyms {
    room: RoomRef,
    key: SecretKey,
}

impl RoomPseudonyms {
    /// The room's own reference.
    #[must_use]
    pub fn room(&self) -> RoomRef {
        self.room
    }

    /// The reference of a person or device, by the opaque reference in its token.
    #[must_use]
    pub fn participant(&self, id: &str) -> ParticipantRef {
        ParticipantRef(self.key.tag("part|", id.as_bytes()))
    }

    /// The reference of a track.
    #[must_use]
    pub fn track(&self, id: &str) -> TrackRef {
        TrackRef(self.key.tag("track|", id.as_bytes()))
    }

    /// The reference of a data channel.
    #[must_use]
    pub fn channel(&self, id: &str) -> ChannelRef {
        ChannelRef(self.key.tag("chan|", id.as_bytes()))
    }
}

/// References of network addresses on one day.
#[derive(Clone, Debug)]
pub struct NetPseudonyms(SecretKey);

impl NetPseudonyms {
    /// From the day's key.
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// The reference of an address and its family, 4 or 6.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> (NetRef, u8) {
        match address.to_canonical() {
            IpAddr::V4(v4) => (NetRef(self.0.tag("net|", &v4.octets())), 4),
            IpAddr::V6(v6) => (NetRef(self.0.tag("net|", &v6.octets())), 6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(byte: u8) -> TenantPseudonyms {
        TenantPseudonyms::new(SecretKey::new([byte; KEY_LENGTH]))
    }

    #[test]
    fn a_person_has_another_reference_in_every_room_and_tenant() {
        let here = tenant(1).room("RM_a");
        assert_eq!(here.participant("pid"), tenant(1).room("RM_a").participant("pid"));
        assert_ne!(here.participant("pid"), tenant(1).room("RM_b").participant("pid"));
        assert_ne!(here.participant("pid"), tenant(2).room("RM_a").participant("pid"));
        assert_ne!(here.room(), tenant(2).room("RM_a").room());
        assert_ne!(here.participant("x").to_text()[2..], here.track("x").to_text()[2..], "labels keep kinds apart");
    }

    #[test]
    fn keys_and_references_follow_the_text_of_the_specification() {
        // Computed with Python's hmac module from the words of the specification.
        let room = tenant(1).room("room-1");
        assert_eq!(room.room().to_text(), "r-4zazgn65yksccjby5cfna36vy4");
        assert_eq!(room.participant("pid-1").to_text(), "p-pjgteckaeyb12j5kr6bvn4dkzr");
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let day = NetPseudonyms::new(SecretKey::new([3; KEY_LENGTH]));
        let (plain, family) = day.address("192.0.2.7".parse().unwrap());
        assert_eq!(family, 4);
        assert_eq!(day.address("::ffff:192.0.2.7".parse().unwrap()).0, plain);
        assert_ne!(day.address("192.0.2.8".parse().unwrap()).0, plain);
        assert_eq!(day.address("2001:db8::1".parse().unwrap()).1, 6);
    }

    #[test]
    fn a_month_is_the_calendars() {
        assert_eq!(Period::of(Micros(1_795_253_467_204_118)).to_text(), "2026-11");
        assert_eq!(Period::parse("2026-11"), Some(Period { year: 2026, month: 11 }));
        assert!(["2026-13", "2026-1", "2026", "+026-01", "2026-00"].iter().all(|text| Period::parse(text).is_none()));
        assert!(Period { year: 2026, month: 12 } < Period { year: 2027, month: 1 });
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", tenant(7)), "TenantPseudonyms(SecretKey(…))");
    }
}
