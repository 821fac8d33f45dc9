//! The whole offer: one transport's credentials and its sections.

use std::collections::HashSet;
use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::session::SessionDescription;

use super::lines::admit;
use super::section::{Section, SectionKind};
use super::{MAX_SECTIONS, SdpError};
use crate::model::ExtensionMap;

/// Who opens the DTLS association, as offered (RFC 8842, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The client takes either role.
    ActPass,
    /// The client opens it.
    Active,
}

/// An offer as read; nothing of it is printed by `Debug`.
#[derive(Clone)]
pub struct Offer {
    /// ICE user name fragment.
    pub ice_ufrag: Arc<str>,
    /// ICE password.
    pub ice_pwd: Arc<str>,
    /// SHA-256 of the client's certificate.
    pub fingerprint: [u8; 32],
    /// The DTLS roles the client accepts.
    pub setup: Setup,
    /// The media sections, in their order.
    pub sections: Vec<Section>,
    /// `a=extmap-allow-mixed` for the whole session (RFC 8285, section 6).
    pub(super) allow_mixed: bool,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("sections", &self.sections.len()).finish_non_exhaustive()
    }
}

impl Offer {
    /// Reads an offer.
    ///
    /// Unknown lines and attributes are skipped. Candidates are not read: the client checks us, not the reverse.
    ///
    /// # Errors
    ///
    /// Any [`SdpError`]; each is the peer's fault.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let kept = admit(text)?;
        // The parser's error quotes the line it failed on, so it is dropped.
        let description = SessionDescription::unmarshal(&mut Cursor::new(kept.as_bytes())).map_err(|_| SdpError::Malformed)?;
        if description.media_descriptions.len() > MAX_SECTIONS {
            return Err(SdpError::TooMany("sections"));
        }
        let mut sections = Vec::with_capacity(description.media_descriptions.len());
        let mut mids = HashSet::new();
        for media in &description.media_descriptions {
            let section = Section::read(media, &description.attributes)?;
            if !section.mid.is_empty() && !mids.insert(Arc::clone(&section.mid)) {
                return Err(SdpError::DuplicateMid);
            }
            sections.push(section);
        }
        let tagged = bundle_tag(&description.attributes, &sections)?;
        let mut places: Vec<&[Attribute]> = Vec::with_capacity(sections.len() + 1);
        // The section that names the bundle carries its transport (RFC 9143, section 7.2); then the session, then any.
        let media = &description.media_descriptions;
        places.extend(media.get(tagged).map(|media| media.attributes.as_slice()));
        places.push(&description.attributes);
        let used = media.iter().zip(&sections).filter(|(_, section)| !section.rejected);
        places.extend(used.map(|(media, _)| media.attributes.as_slice()));

        let (ice_ufrag, ice_pwd) = ice(&places)?;
        Ok(Self {
            ice_ufrag,
            ice_pwd,
            fingerprint: fingerprint(&places)?,
            setup: setup(&places)?,
            allow_mixed: has(&description.attributes, "extmap-allow-mixed"),
            sections,
        })
    }

    /// The section with a mid.
    #[must_use]
    pub fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|section| !mid.is_empty() && &*section.mid == mid)
    }

    /// The header extension ids of all sections together; one id means the same everywhere in a bundle.
    #[must_use]
    pub fn extensions(&self) -> ExtensionMap {
        let mut all = ExtensionMap::default();
        for section in self.sections.iter().filter(|section| !section.rejected) {
            for offered in &section.offered_extensions {
                if all.id(offered.extension).is_none() {
                    all.set(offered.extension, offered.id);
                }
            }
        }
        all
    }

    /// The name and clock of a payload type; one number means the same everywhere in a bundle (RFC 9143, section 7.1.1).
    #[must_use]
    pub fn codec(&self, payload_type: u8) -> Option<&super::OfferedCodec> {
        self.sections
            .iter()
            .filter(|section| !section.rejected)
            .find_map(|section| section.codec(payload_type).filter(|codec| !codec.name.is_empty()))
    }
}

/// The value of the first attribute with a key.
pub(super) fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().filter(|attribute| attribute.key == key).find_map(|attribute| attribute.value.as_deref())
}

/// The values of all attributes with a key, in their order.
pub(super) fn values<'a>(attributes: &'a [Attribute], key: &'a str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |attribute| attribute.key == key).filter_map(|attribute| attribute.value.as_deref())
}

/// Whether an attribute is there, with a value or without.
pub(super) fn has(attributes: &[Attribute], key: &str) -> bool {
    attributes.iter().any(|attribute| attribute.key == key)
}

/// Index of the section that names the bundle; all in use must be in that one group and multiplex RTCP.
fn bundle_tag(session: &[Attribute], sections: &[Section]) -> Result<usize, SdpError> {
    let mut groups = values(session, "group").filter_map(|group| {
        let mut words = group.split_whitespace();
        (words.next() == Some("BUNDLE")).then_some(words)
    });
    let group: Vec<&str> = groups.next().ok_or(SdpError::NotBundled)?.take(MAX_SECTIONS).collect();
    if groups.next().is_some() {
        return Err(SdpError::NotBundled);
    }
    let members: HashSet<&str> = group.iter().copied().collect();
    for section in sections.iter().filter(|section| !section.rejected) {
        let media = matches!(section.kind, SectionKind::Media(_));
        if !members.contains(&*section.mid) || (media && !section.rtcp_mux) {
            return Err(SdpError::NotBundled);
        }
    }
    let in_use = |mid: &&&str| sections.iter().any(|section| !section.rejected && &*section.mid == **mid);
    let tag = group.iter().find(in_use).ok_or(SdpError::NotBundled)?;
    sections.iter().position(|section| &*section.mid == *tag).ok_or(SdpError::NotBundled)
}

/// User name fragment and password of one place (RFC 8839, section 5.4).
fn ice(places: &[&[Attribute]]) -> Result<(Arc<str>, Arc<str>), SdpError> {
    let (ufrag, pwd) =
        places.iter().find_map(|place| value(place, "ice-ufrag").zip(value(place, "ice-pwd"))).ok_or(SdpError::MissingIce)?;
    let is_ice = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if !(4..=256).contains(&ufrag.len()) || !is_ice(ufrag) {
        return Err(SdpError::BadAttribute("ice-ufrag"));
    }
    if !(22..=256).contains(&pwd.len()) || !is_ice(pwd) {
        return Err(SdpError::BadAttribute("ice-pwd"));
    }
    Ok((ufrag.into(), pwd.into()))
}

/// The SHA-256 fingerprint of the first place that has one (RFC 8122, section 5).
fn fingerprint(places: &[&[Attribute]]) -> Result<[u8; 32], SdpError> {
    let sha256 = |text: &'_ str| -> Option<String> {
        let (hash, digest) = text.split_once(' ')?;
        hash.eq_ignore_ascii_case("sha-256").then(|| digest.trim().to_owned())
    };
    let digest =
        places.iter().find_map(|place| values(place, "fingerprint").find_map(sha256)).ok_or(SdpError::MissingFingerprint)?;
    let mut bytes = [0_u8; 32];
    let mut pairs = digest.split(':');
    for byte in &mut bytes {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
        let pair = pair.ok_or(SdpError::BadAttribute("fingerprint"))?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| SdpError::BadAttribute("fingerprint"))?;
    }
    if pairs.next().is_some() {
        return Err(SdpError::BadAttribute("fingerprint"));
    }
    Ok(bytes)
}

fn setup(places: &[&[Attribute]]) -> Result<Setup, SdpError> {
    match places.iter().find_map(|place| value(place, "setup")) {
        Some("actpass") => Ok(Setup::ActPass),
        // Without the attribute an offerer is active (RFC 4145, section 4).
        Some("active") | None => Ok(Setup::Active),
        Some("passive" | "holdconn") => Err(SdpError::SetupRole),
        Some(_) => Err(SdpError::BadAttribute("setup")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sdp::fixtures::{CHROMIUM_FIRST, small};

    #[test]
    fn a_small_offer_is_read() {
        let offer = Offer::parse(&small("")).expect("a good offer");
        assert_eq!(offer.sections.len(), 1);
        assert_eq!((&*offer.ice_ufrag, offer.setup), ("abcd", Setup::ActPass));
        assert_eq!(offer.fingerprint[..2], [0xAB, 0xAB]);
    }

    #[test]
    fn debug_and_errors_print_nothing_of_the_description() {
        let offer = Offer::parse(CHROMIUM_FIRST).expect("a good offer");
        let printed = format!("{offer:?} {:?} {:?}", offer.sections[0], offer.sections[0].codecs[0]);
        assert!(printed.contains("Offer"), "positive control: {printed}");
        assert!(!printed.contains(&*offer.ice_ufrag) && !printed.contains("minptime"), "{printed}");
        let bad = small("").replace("m=audio 9", "m=audio Durand");
        let error = Offer::parse(&bad).expect_err("a port is a number");
        assert!(!format!("{error:?} {error}").contains("Durand"));
    }

    #[test]
    fn what_is_missing_or_doubled_is_named() {
        let good = small("");
        let cases = [
            ("a=mid:0\r\n", "", SdpError::MissingMid),
            ("a=ice-pwd:abcdefghijklmnopqrstuv\r\n", "", SdpError::MissingIce),
            ("a=ice-ufrag:abcd", "a=ice-ufrag:abc", SdpError::BadAttribute("ice-ufrag")),
            ("a=ice-ufrag:abcd", "a=ice-ufrag:ab d", SdpError::BadAttribute("ice-ufrag")),
            ("sha-256", "sha-1", SdpError::MissingFingerprint),
            ("sha-256 AB", "sha-256 A", SdpError::BadAttribute("fingerprint")),
            ("sha-256 AB", "sha-256 AB:AB", SdpError::BadAttribute("fingerprint")),
            ("sha-256 AB", "sha-256 +B", SdpError::BadAttribute("fingerprint")),
            ("actpass", "passive", SdpError::SetupRole),
            ("actpass", "both", SdpError::BadAttribute("setup")),
            ("a=group:BUNDLE 0\r\n", "", SdpError::NotBundled),
            ("BUNDLE 0", "BUNDLE 1", SdpError::NotBundled),
            ("a=rtcp-mux\r\n", "", SdpError::NotBundled),
            ("v=0\r\n", "", SdpError::Malformed),
        ];
        for (from, to, expected) in cases {
            assert!(good.contains(from), "{from}");
            assert_eq!(Offer::parse(&good.replacen(from, to, 1)).map(|_| ()), Err(expected), "{from} -> {to}");
        }
        let (head, section) = good.split_at(good.find("m=").expect("a section"));
        assert_eq!(Offer::parse(&format!("{head}{section}{section}")).map(|_| ()), Err(SdpError::DuplicateMid));
    }

    #[test]
    fn other_fingerprints_and_roles_beside_ours_are_tolerated() {
        let sha512 = small("a=fingerprint:sha-512 00:11\r\n").replace("sha-256", "SHA-256");
        assert!(Offer::parse(&sha512).is_ok());
        assert_eq!(Offer::parse(&small("").replace("actpass", "active")).map(|o| o.setup), Ok(Setup::Active));
        assert_eq!(Offer::parse(&small("").replace("a=setup:actpass\r\n", "")).map(|o| o.setup), Ok(Setup::Active));
    }
}
