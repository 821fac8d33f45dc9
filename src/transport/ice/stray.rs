//! Media from an address that passed no check: the relay asks there itself whether its peer has moved.
//!
//! The tag of a packet proves who wrote it, not who brought it, so nothing is sent to such an address but a few checks of the size of
//! a voice packet, and media goes there only once a check was answered under the peer's password. Checks are sent only while
//! authentic packets keep coming from there, and never to a place nearer to this machine than the peer is now.
//!
//! Entry points: [`Strays::on_media`], [`Strays::poll_check`], [`Strays::on_answer`].

use super::{IceError, TransactionId, check_integrity, crypto, split_attribute};
use crate::model::Instant;
use crate::model::Path;
use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, ATTR_PRIORITY, ATTR_USERNAME,
};
use rtc_stun::fingerprint::{FINGERPRINT, FINGERPRINT_SIZE, fingerprint_value};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{ATTRIBUTE_HEADER_SIZE, BINDING_REQUEST, MAGIC_COOKIE, MESSAGE_HEADER_SIZE, Message, Setter};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Addresses looked into at a time: a moving client has one or two, more are somebody's game.
const MAX_STRAYS: usize = 4;
/// An address that was silent for so long gives its place to another.
const KEPT: Duration = Duration::from_secs(5);
/// Checks sent to one address while it is remembered.
const MAX_CHECKS: u8 = 7;
/// Time to the second check; each further one waits twice as long, so that seven span three seconds.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Largest answer looked at, as for requests.
const MAX_ANSWER_READ: usize = 512;
/// Most attributes of an answer; browsers send three or four.
const MAX_ATTRIBUTES: usize = 16;
/// Priority of a peer-reflexive candidate of component 1 (RFC 8445, section 5.1.2.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// An address from which authentic media came.
#[derive(Clone, Copy)]
struct Stray {
    path: Path,
    /// When it was heard first and last.
    since: Instant,
    heard: Instant,
    transaction: [u8; 12],
    checks: u8,
    /// When the next check may go out.
    next: Instant,
}

/// The addresses one peer may have moved to.
#[derive(Default)]
pub(super) struct Strays {
    list: Vec<Stray>,
    /// A packet has just come from this one.
    fresh: Option<Path>,
}

impl Strays {
    /// Authentic media came from a path that passed no check, while `selected` carries the call.
    pub(super) fn on_media(&mut self, now: Instant, path: Path, selected: Path) {
        if !may_check(path.remote, selected.remote) {
            return;
        }
        self.list.retain(|stray| now.saturating_duration_since(stray.heard) < KEPT);
        if let Some(stray) = self.list.iter_mut().find(|stray| stray.path == path) {
            stray.heard = now;
        } else if self.list.len() < MAX_STRAYS {
            self.list.push(Stray { path, since: now, heard: now, transaction: [0; 12], checks: 0, next: now });
        } else {
            return;
        }
        self.fresh = Some(path);
    }

    /// Writes the check that the last packet gave cause for; its path and length. `transaction` makes the number of a first check.
    pub(super) fn poll_check(
        &mut self,
        now: Instant,
        local: &str,
        (remote, pwd): (&str, &str),
        transaction: impl FnOnce() -> [u8; 12],
        out: &mut [u8],
    ) -> Option<(Path, usize)> {
        let path = self.fresh.take()?;
        let stray = self.list.iter_mut().find(|stray| stray.path == path)?;
        if stray.checks >= MAX_CHECKS || now < stray.next {
            return None;
        }
        if stray.checks == 0 {
            stray.transaction = transaction();
        }
        stray.next = now + FIRST_WAIT * (1 << stray.checks);
        stray.checks += 1;
        Some((path, write_check(stray.transaction, &format!("{remote}:{local}"), pwd, out)?))
    }

    /// Whether something is to be sent.
    pub(super) fn is_due(&self) -> bool {
        self.fresh.is_some()
    }

    /// Reads an answer that came over `path`; since when media has come from there.
    pub(super) fn on_answer(&mut self, path: Path, pwd: &str, datagram: &[u8]) -> Result<Instant, IceError> {
        let transaction = parse_answer(datagram).ok_or(IceError::NotARequest)?;
        let asked = |stray: &Stray| stray.checks > 0 && stray.path == path && stray.transaction == transaction;
        let at = self.list.iter().position(asked).ok_or(IceError::Replayed)?;
        check_integrity(datagram, pwd)?;
        Ok(self.list.swap_remove(at).since)
    }
}

fn write_check(transaction: [u8; 12], username: &str, pwd: &str, out: &mut [u8]) -> Option<usize> {
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), crypto());
    let mut message = Message::new();
    message.write_header();
    BINDING_REQUEST.add_to(&mut message).ok()?;
    TransactionId(transaction).add_to(&mut message).ok()?;
    message.add(ATTR_USERNAME, username.as_bytes());
    message.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
    // Always the controlled side; a lite agent breaks no ties, so the number means nothing.
    message.add(ATTR_ICE_CONTROLLED, transaction.first_chunk::<8>()?);
    integrity.add_to(&mut message).ok()?;
    FINGERPRINT.add_to(&mut message).ok()?;
    out.get_mut(..message.raw.len())?.copy_from_slice(&message.raw);
    Some(message.raw.len())
}

/// The transaction of a Binding success response, without reading further.
pub(super) fn transaction_of(datagram: &[u8]) -> Option<[u8; 12]> {
    let head = datagram.first_chunk::<MESSAGE_HEADER_SIZE>()?;
    let [1, 1, _, _, c0, c1, c2, c3, transaction @ ..] = head else { return None };
    (u32::from_be_bytes([*c0, *c1, *c2, *c3]) == MAGIC_COOKIE).then_some(*transaction)
}

/// The transaction of a well-formed Binding success response that ends with MESSAGE-INTEGRITY and perhaps FINGERPRINT.
fn parse_answer(datagram: &[u8]) -> Option<[u8; 12]> {
    let transaction = transaction_of(datagram).filter(|_| datagram.len() <= MAX_ANSWER_READ)?;
    let (head, mut rest) = datagram.split_first_chunk::<MESSAGE_HEADER_SIZE>()?;
    let [_, _, l0, l1, ..] = head;
    if usize::from(u16::from_be_bytes([*l0, *l1])) != rest.len() || !rest.len().is_multiple_of(4) {
        return None;
    }
    let mut integrity = false;
    for _ in 0..MAX_ATTRIBUTES {
        if rest.is_empty() {
            return integrity.then_some(transaction);
        }
        let (kind, value, after) = split_attribute(rest)?;
        if kind == ATTR_FINGERPRINT.0 {
            let covered = datagram.get(..datagram.len().checked_sub(FINGERPRINT_SIZE + ATTRIBUTE_HEADER_SIZE)?)?;
            let said = u32::from_be_bytes(value.try_into().ok()?);
            return (integrity && after.is_empty() && fingerprint_value(covered) == said).then_some(transaction);
        }
        if integrity && kind != ATTR_MESSAGE_INTEGRITY_SHA256.0 {
            return None;
        }
        if kind == ATTR_MESSAGE_INTEGRITY.0 {
            integrity = value.len() == 20;
            if !integrity {
                return None;
            }
        }
        rest = after;
    }
    None
}

/// Whether a check may go to an address, given where the peer is now: never to what is no one host, and never to a place nearer to
/// this machine, which a forged source address could name.
fn may_check(to: SocketAddr, now_at: SocketAddr) -> bool {
    let unusable = match to.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.octets().first() == Some(&0),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    to.port() != 0 && !unusable && distance(to) >= distance(now_at)
}

/// This machine, its link, its site, the world.
fn distance(address: SocketAddr) -> u8 {
    match address.ip().to_canonical() {
        ip if ip.is_loopback() => 0,
        IpAddr::V4(ip) if ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 1,
        IpAddr::V4(ip) if ip.is_private() => 2,
        IpAddr::V6(ip) if ip.is_unique_local() => 2,
        IpAddr::V4(_) | IpAddr::V6(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_username;
    use super::*;
    use rtc_stun::message::BINDING_SUCCESS;

    const PWD: &str = "the-password-of-the-client";

    fn path(port: u16) -> Path {
        Path { socket: 0, local: None, remote: SocketAddr::from(([192, 0, 2, 7], port)) }
    }

    fn check(strays: &mut Strays, now: Instant) -> Option<(Path, Vec<u8>)> {
        let mut out = [0; 512];
        let (path, len) = strays.poll_check(now, "ours", ("theirs", PWD), || [9; 12], &mut out)?;
        Some((path, out[..len].to_vec()))
    }

    fn answer(transaction: [u8; 12], pwd: &str) -> Vec<u8> {
        let mut message = Message::new();
        message.write_header();
        BINDING_SUCCESS.add_to(&mut message).unwrap();
        TransactionId(transaction).add_to(&mut message).unwrap();
        MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), crypto()).add_to(&mut message).unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }

    #[test]
    fn media_from_elsewhere_is_answered_with_a_check_no_larger_than_voice() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        assert!(check(&mut strays, now).is_none(), "nothing without media");
        strays.on_media(now, path(2), path(1));
        let (to, request) = check(&mut strays, now).unwrap();
        assert_eq!((to, parse_username(&request)), (path(2), Some(("theirs", "ours"))));
        assert!(request.len() <= 100, "{} bytes", request.len());
        check_integrity(&request, PWD).unwrap();
        assert!(check(&mut strays, now).is_none(), "one packet, one check");
    }

    #[test]
    fn checks_to_one_address_come_to_an_end_and_addresses_too() {
        let (mut strays, t0) = (Strays::default(), Instant::now());
        let mut sent = 0;
        for ms in 0..4_900 {
            let now = t0 + Duration::from_millis(ms);
            strays.on_media(now, path(2), path(1));
            sent += usize::from(check(&mut strays, now).is_some());
        }
        assert_eq!(sent, usize::from(MAX_CHECKS));
        for port in 3..60 {
            strays.on_media(t0 + Duration::from_secs(5), path(port), path(1));
        }
        assert_eq!(strays.list.len(), MAX_STRAYS);
    }

    #[test]
    fn only_the_answer_to_our_own_check_under_the_right_password_from_the_same_place_counts() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        strays.on_media(now, path(2), path(1));
        let good = answer([9; 12], PWD);
        assert_eq!(strays.on_answer(path(2), PWD, &good), Err(IceError::Replayed), "nothing was asked yet");
        check(&mut strays, now).unwrap();
        assert_eq!(strays.on_answer(path(3), PWD, &good), Err(IceError::Replayed), "from elsewhere");
        assert_eq!(strays.on_answer(path(2), PWD, &answer([8; 12], PWD)), Err(IceError::Replayed));
        assert_eq!(strays.on_answer(path(2), PWD, &answer([9; 12], "guess")), Err(IceError::WrongIntegrity));
        for length in 0..good.len() {
            assert!(strays.on_answer(path(2), PWD, &good[..length]).is_err(), "cut to {length}");
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x41;
            assert!(strays.on_answer(path(2), PWD, &bad).is_err(), "byte {index}");
        }
        assert_eq!(strays.on_answer(path(2), PWD, &good), Ok(now));
        assert_eq!(strays.on_answer(path(2), PWD, &good), Err(IceError::Replayed), "once");
    }

    #[test]
    fn no_check_goes_nearer_to_the_relay_than_the_peer_is() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let world = at("198.51.100.7:4000");
        for place in ["127.0.0.1:80", "[::1]:80", "169.254.169.254:80", "[fe80::1]:80", "10.0.0.1:80", "[fd00::1]:80"] {
            assert!(!may_check(at(place), world), "{place}");
        }
        for place in ["0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80", "[::]:80", "203.0.113.9:0"] {
            assert!(!may_check(at(place), at("127.0.0.1:4000")), "{place}");
        }
        assert!(!may_check(at("[::ffff:127.0.0.1]:80"), world));
        assert!(may_check(at("203.0.113.9:5000"), world) && may_check(at("203.0.113.9:5000"), at("192.168.1.4:4000")));
        assert!(may_check(at("10.1.2.3:5000"), at("192.168.1.4:4000")) && may_check(at("127.0.0.1:2"), at("127.0.0.1:1")));
    }
}
