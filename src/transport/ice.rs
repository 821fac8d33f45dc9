//! ICE-lite: answers the connectivity checks of one peer and says where its media goes (RFC 8445, 7675, 8489).
//!
//! A lite agent answers checks, and only after MESSAGE-INTEGRITY held. It sends one of its own in a single case: authentic
//! media comes from an address that passed no check (`stray` says why nobody can make it send to a third party by that).
//! Whatever fails is dropped in silence.
//!
//! Which path carries media, where a peer nominates several:
//!
//! * the first nomination wins, and a nomination of another path moves the call *at once*,
//! * unless the present path had a valid check within the last second ([`QUIET`]) and either the other path was
//!   nominated within the last two seconds already ([`FRESH`]: the two alternate), or the present path was chosen less
//!   than two seconds ago ([`SETTLE`]) and its PRIORITY is at least as high.
//!
//! So a phone that leaves Wi-Fi is followed with its first check from the new network: that path is new, and the old
//! one was chosen long ago. Firefox, which sets USE-CANDIDATE on every check of every pair, settles on its best pair
//! within the set-up: later pairs win only by priority, and pairs that alternate do not flap. A client that comes
//! back to an earlier path is followed likewise, because that path was silent meanwhile.
//!
//! Media from elsewhere whose check was answered moves the call at once, unless the present path was heard meanwhile.
//!
//! Entry points: [`parse_username`], [`shard_of_ufrag`] and [`parse_tag`] find the peer of a datagram;
//! [`IceLite::handle_request`], [`IceLite::on_media`], [`IceLite::poll_check`], [`IceLite::handle_answer`].

use crate::media::ahead;
use crate::model::Instant;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{RTCCrypto, RTCCryptoProvider};
use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, ATTR_PRIORITY,
    ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, ErrorCodeAttribute};
use rtc_stun::fingerprint::{FINGERPRINT, FINGERPRINT_SIZE, fingerprint_value};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    ATTRIBUTE_HEADER_SIZE, BINDING_ERROR, BINDING_SUCCESS, MAGIC_COOKIE, MESSAGE_HEADER_SIZE, Message, Setter, TransactionId,
};
use rtc_stun::xoraddr::XorMappedAddress;
use zeroize::Zeroizing;

mod bucket;
mod candidate;
mod credentials;
mod error;
mod stray;

use bucket::Bucket;
use credentials::ICE_CHARS;
use stray::Strays;

pub use candidate::{Candidate, MAX_CANDIDATES, candidate_line, host_candidates};
pub use credentials::{Credentials, shard_of_ufrag};
pub use error::IceError;

use crate::model::Path;

/// The most bytes an answer can have: header, XOR-MAPPED-ADDRESS of IPv6 or ERROR-CODE, MESSAGE-INTEGRITY, FINGERPRINT.
///
/// An answer is never larger than its request: with our ufrag of 14 characters the smallest request that
/// authenticates has 20 + 4 + 20 (USERNAME with a ufrag of 4) + 24 (MESSAGE-INTEGRITY) + 8 (FINGERPRINT) = 76 bytes.
pub const MAX_ANSWER: usize = 76;

/// A consent older than this has expired (RFC 7675, section 5.1).
pub const CONSENT: Duration = Duration::from_secs(30);

/// How long a path may be silent before any nomination moves the call away from it.
pub const QUIET: Duration = Duration::from_secs(1);

/// A path that was not nominated for this long counts as new when it is nominated again.
pub const FRESH: Duration = Duration::from_secs(2);

/// How long after a choice only a better priority moves the call: pairs nominated together in the set-up.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Silence of authenticated media on the selected path after which media on another validated one means that the peer has moved:
/// longer than reordering and than the pauses of a peer that sends reports only while it receives.
pub const UNHEARD: Duration = Duration::from_millis(250);

/// Largest request looked at; a browser's has about 120 bytes, and larger ones only cost hashing.
const MAX_REQUEST: usize = 512;
/// Most attributes of a request; browsers send 7 to 9.
const MAX_ATTRIBUTES: usize = 24;
/// Validated paths kept: a browser with v4, v6, Wi-Fi, mobile and VPN has fewer.
const MAX_PATHS: usize = 16;
/// Transaction ids remembered against replay from elsewhere: more than a peer may send in the half second before the
/// bucket empties would need, and a bound on memory.
const MAX_TRANSACTIONS: usize = 64;
/// Shortest and longest ufrag a peer may have (RFC 8839, section 5.4).
const MIN_UFRAG: usize = 4;
const MAX_UFRAG: usize = 256;

static PROVIDER: AwsLcRsProvider = AwsLcRsProvider::new();

/// What a valid check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceEvent {
    /// The path works and may carry DTLS; media stays where it is.
    Validated {
        /// Where the check came from.
        path: Path,
    },
    /// The peer nominated the path the call now uses.
    Nominated {
        /// The selected path.
        path: Path,
        /// The call was elsewhere, or nowhere, before.
        moved: bool,
    },
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Bytes of the answer, to be sent back on the path the request came from.
    pub answer_len: usize,
    /// What it means; `None` where the answer is a role conflict.
    pub event: Option<IceEvent>,
}

/// Where the peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceState {
    /// No valid check yet.
    New,
    /// The peer consents.
    Connected,
    /// No valid check on any path for [`CONSENT`].
    Expired,
}

/// The parts of a Binding request, borrowed from its datagram.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    transaction: [u8; 12],
    username: &'a str,
    priority: u32,
    use_candidate: bool,
    controlled: bool,
    fingerprint: u32,
}

/// One attribute and what follows it.
fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [t0, t1, l0, l1] = *head;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let value = rest.get(..length)?;
    Some((u16::from_be_bytes([t0, t1]), value, rest.get(length.checked_next_multiple_of(4)?..)?))
}

/// The transaction id and the attributes of a Binding request of the right length and cookie.
fn split_header(datagram: &[u8]) -> Option<([u8; 12], &[u8])> {
    if datagram.len() > MAX_REQUEST {
        return None;
    }
    let (head, attributes) = datagram.split_first_chunk::<MESSAGE_HEADER_SIZE>()?;
    let [0, 1, l0, l1, c0, c1, c2, c3, transaction @ ..] = head else { return None };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let cookie = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
    (cookie == MAGIC_COOKIE && length == attributes.len() && length.is_multiple_of(4)).then_some((*transaction, attributes))
}

fn parse_request(datagram: &[u8]) -> Option<Request<'_>> {
    let (transaction, mut rest) = split_header(datagram)?;
    let mut request = Request { transaction, username: "", priority: 0, use_candidate: false, controlled: false, fingerprint: 0 };
    let mut username = None;
    let mut integrity = false;
    for _ in 0..MAX_ATTRIBUTES {
        let (kind, value, after) = split_attribute(rest)?;
        rest = after;
        // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489, section 14.5): only these two may.
        if integrity && kind != ATTR_FINGERPRINT.0 && kind != ATTR_MESSAGE_INTEGRITY_SHA256.0 {
            return None;
        }
        if kind == ATTR_USERNAME.0 {
            username = username.or(Some(std::str::from_utf8(value).ok()?));
        } else if kind == ATTR_PRIORITY.0 {
            request.priority = u32::from_be_bytes(value.try_into().ok()?);
        } else if kind == ATTR_USE_CANDIDATE.0 {
            request.use_candidate = true;
        } else if kind == ATTR_ICE_CONTROLLED.0 {
            request.controlled = true;
        } else if kind == ATTR_MESSAGE_INTEGRITY.0 {
            integrity = value.len() == 20;
            if !integrity {
                return None;
            }
        } else if kind == ATTR_FINGERPRINT.0 {
            request.fingerprint = u32::from_be_bytes(value.try_into().ok()?);
            request.username = username?;
            return (integrity && rest.is_empty()).then_some(request);
        }
    }
    None
}

/// Reads the USERNAME of a STUN Binding request as our ufrag and the peer's, before anything is authenticated.
///
/// It allocates nothing and changes nothing; the order in the attribute is receiver, colon, sender (RFC 8445,
/// section 7.2.2).
#[must_use]
pub fn parse_username(datagram: &[u8]) -> Option<(&str, &str)> {
    let (_, mut rest) = split_header(datagram)?;
    for _ in 0..MAX_ATTRIBUTES {
        let (kind, value, after) = split_attribute(rest)?;
        if kind == ATTR_USERNAME.0 {
            return std::str::from_utf8(value).ok()?.split_once(':');
        }
        rest = after;
    }
    None
}

/// The tag in an answer to a check of ours, before anything is authenticated.
#[must_use]
pub fn parse_tag(datagram: &[u8]) -> Option<[u8; 5]> {
    let [shard, a, b, c, d, ..] = stray::transaction_of(datagram)?;
    Some([shard, a, b, c, d])
}

#[derive(Clone, Copy)]
struct Known {
    path: Path,
    last_check: Instant,
    last_nomination: Option<Instant>,
    priority: u32,
}

#[derive(Clone, Copy)]
struct Selected {
    path: Path,
    since: Instant,
    /// When authenticated media came over it last, or since when it is selected.
    heard: Instant,
}

struct Side {
    local: Credentials,
    /// User fragment and password.
    remote: Option<(String, Zeroizing<String>)>,
}

impl Side {
    fn answers_to(&self, username: &str) -> bool {
        username.split_once(':').is_some_and(|(local, remote)| {
            let known = self.remote.as_ref().map(|(ufrag, _)| ufrag.as_str());
            local == self.local.ufrag() && remote.len() >= MIN_UFRAG && known.is_none_or(|known| known == remote)
        })
    }
}

/// The lite agent of one peer.
#[repr(C)]
pub struct IceLite {
    /// First, where what media touches of a peer ends.
    selected: Option<Selected>,
    current: Side,
    previous: Option<Side>,
    paths: Vec<Known>,
    transactions: VecDeque<([u8; 12], Path)>,
    last_check: Option<Instant>,
    bucket: Bucket,
    strays: Strays,
}

impl fmt::Debug for IceLite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceLite").field("paths", &self.paths.len()).field("selected", &self.selected.is_some()).finish()
    }
}

impl IceLite {
    /// An agent that knows its own credentials and nobody yet.
    #[must_use]
    pub fn new(local: Credentials) -> Self {
        Self {
            current: Side { local, remote: None },
            previous: None,
            paths: Vec::with_capacity(2),
            selected: None,
            transactions: VecDeque::with_capacity(MAX_TRANSACTIONS),
            last_check: None,
            bucket: Bucket::full(),
            strays: Strays::default(),
        }
    }

    /// The credentials to signal.
    #[must_use]
    pub fn local(&self) -> &Credentials {
        &self.current.local
    }

    /// The ufrags the demultiplexer must bring here: the current one and, during a restart, the one before.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(self.previous.as_ref()).map(|side| side.local.ufrag())
    }

    /// Takes the peer's credentials from its description.
    ///
    /// Until it is known a check with any remote ufrag is accepted: an offerer's peer may check before its answer
    /// arrives (RFC 8445, section 7.3).
    ///
    /// # Errors
    ///
    /// [`IceError::BadRemote`] where it is not 4 to 256 ice-chars (RFC 8839, section 5.4).
    pub fn set_remote(&mut self, ufrag: &str, pwd: &str) -> Result<(), IceError> {
        let good = (MIN_UFRAG..=MAX_UFRAG).contains(&ufrag.len()) && ufrag.bytes().all(|byte| ICE_CHARS.contains(&byte));
        if !good {
            return Err(IceError::BadRemote);
        }
        self.current.remote = Some((ufrag.to_owned(), Zeroizing::new(pwd.to_owned())));
        Ok(())
    }

    /// Begins an ICE restart: the old credentials stay valid until the new ones are first used, media stays where it is.
    pub fn restart(&mut self, local: Credentials) {
        let fresh = Side { local, remote: None };
        let old = std::mem::replace(&mut self.current, fresh);
        // A second restart before the first was used: the side that carries the call is the one to keep.
        self.previous.get_or_insert(old);
    }

    /// Checks a Binding request, writes the answer and says what it means.
    ///
    /// # Errors
    ///
    /// Any [`IceError`]: the datagram is dropped without an answer and nothing has changed, except that a copy of a
    /// valid request counts against the rate.
    pub fn handle_request(&mut self, now: Instant, path: Path, datagram: &[u8], answer: &mut [u8]) -> Result<Handled, IceError> {
        let request = parse_request(datagram).ok_or(IceError::NotARequest)?;
        let covered = datagram.len().saturating_sub(FINGERPRINT_SIZE + ATTRIBUTE_HEADER_SIZE);
        if datagram.get(..covered).map(fingerprint_value) != Some(request.fingerprint) {
            return Err(IceError::WrongFingerprint);
        }
        let with_current = self.current.answers_to(request.username);
        let side = if with_current {
            &self.current
        } else {
            self.previous.as_ref().filter(|side| side.answers_to(request.username)).ok_or(IceError::UnknownUsername)?
        };
        check_integrity(datagram, side.local.pwd())?;
        if !self.bucket.take(now) {
            return Err(IceError::RateLimited);
        }
        if self.transactions.iter().any(|(id, seen)| *id == request.transaction && *seen != path) {
            return Err(IceError::Replayed);
        }
        let answer_len = write_answer(&request, path.remote, side.local.pwd(), answer)?;
        self.remember(request.transaction, path);
        if with_current {
            self.previous = None;
        }
        self.last_check = Some(now);
        // Always the controlled side (RFC 8445, section 6.1.1), so a peer that says so too has to switch.
        let event = (!request.controlled).then(|| self.apply(now, path, &request));
        Ok(Handled { answer_len, event })
    }

    fn remember(&mut self, transaction: [u8; 12], path: Path) {
        if self.transactions.iter().any(|(id, _)| *id == transaction) {
            return;
        }
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.transactions.pop_front();
        }
        self.transactions.push_back((transaction, path));
    }

    fn apply(&mut self, now: Instant, path: Path, request: &Request<'_>) -> IceEvent {
        let nomination = request.use_candidate.then_some(now);
        let nominated_before = self.touch(now, path, nomination, request.priority);
        if !request.use_candidate {
            return IceEvent::Validated { path };
        }
        let Some(selected) = self.selected else {
            self.selected = Some(Selected { path, since: now, heard: now });
            return IceEvent::Nominated { path, moved: true };
        };
        if selected.path == path {
            return IceEvent::Nominated { path, moved: false };
        }
        if !self.follows(now, selected, request.priority, nominated_before) {
            return IceEvent::Validated { path };
        }
        self.selected = Some(Selected { path, since: now, heard: now });
        IceEvent::Nominated { path, moved: true }
    }

    /// The rule of the module's head, for a nomination of a path other than the selected one.
    fn follows(&self, now: Instant, selected: Selected, priority: u32, nominated_before: Option<Instant>) -> bool {
        let Some(present) = self.paths.iter().find(|known| known.path == selected.path) else { return true };
        if now.saturating_duration_since(present.last_check) >= QUIET {
            return true;
        }
        let alternates = nominated_before.is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        let settling = now.saturating_duration_since(selected.since) < SETTLE;
        !(alternates || (settling && present.priority >= priority))
    }

    /// Notes a check on a path and returns when that path was nominated before.
    fn touch(&mut self, now: Instant, path: Path, nomination: Option<Instant>, priority: u32) -> Option<Instant> {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.last_check = now;
            known.priority = priority;
            return if nomination.is_some() {
                std::mem::replace(&mut known.last_nomination, nomination)
            } else {
                known.last_nomination
            };
        }
        if self.paths.len() >= MAX_PATHS {
            let used = self.selected.map(|selected| selected.path);
            let oldest = (0..).zip(&self.paths).filter(|(_, known)| Some(known.path) != used).min_by_key(|(_, k)| k.last_check);
            if let Some(index) = oldest.map(|(index, _)| index) {
                self.paths.swap_remove(index);
            }
        }
        self.paths.push(Known { path, last_check: now, last_nomination: nomination, priority });
        None
    }

    /// When the last valid check came, on any path.
    #[must_use]
    pub fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// When the consent expires, where there is any.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.last_check.map(|at| at + CONSENT)
    }

    /// Where the peer stands at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> IceState {
        match self.poll_timeout() {
            None => IceState::New,
            Some(deadline) if now < deadline => IceState::Connected,
            Some(_) => IceState::Expired,
        }
    }

    /// Takes note of authenticated media; `true` when it moved the call.
    ///
    /// A controlling agent sends media on the pair it has selected (RFC 8445, section 12.1.1), and Firefox's later checks carry no
    /// nomination: after a change of address the media itself is the only word of the move.
    pub fn on_media(&mut self, now: Instant, path: Path) -> bool {
        let Some(selected) = &mut self.selected else { return false };
        if selected.path == path {
            selected.heard = now;
            return false;
        }
        let (present, unheard) = (selected.path, now.saturating_duration_since(selected.heard) >= UNHEARD);
        if !self.is_validated(&path) {
            self.strays.on_media(now, path, present);
            return false;
        }
        if !unheard {
            return false;
        }
        self.selected = Some(Selected { path, since: now, heard: now });
        true
    }

    /// Whether media has just come from elsewhere, so that [`poll_check`](Self::poll_check) may have something.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        self.strays.is_due()
    }

    /// Writes the check that media from elsewhere gave cause for, and says where it goes.
    ///
    /// `tag` comes back in the answer and finds the peer then, see [`parse_tag`]; `random` makes the answer hard to guess.
    pub fn poll_check(
        &mut self,
        now: Instant,
        tag: [u8; 5],
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut [u8],
    ) -> Option<(Path, usize)> {
        // As `spoken` says; the strays are borrowed beside it.
        let side = self.previous.as_ref().filter(|side| side.remote.is_some()).unwrap_or(&self.current);
        let (ufrag, pwd) = side.remote.as_ref()?;
        let transaction = || {
            let mut transaction = [0; 12];
            random(&mut transaction);
            transaction.iter_mut().zip(tag).for_each(|(slot, byte)| *slot = byte);
            transaction
        };
        self.strays.poll_check(now, side.local.ufrag(), (ufrag, pwd), transaction, out)
    }

    /// Takes the answer to a check of ours; `true` when it moved the call.
    ///
    /// # Errors
    /// The answer is dropped and nothing has changed: [`IceError::NotARequest`] where it is malformed, [`IceError::Replayed`] where
    /// nothing was asked there, [`IceError::WrongIntegrity`] where it is not the peer's.
    pub fn handle_answer(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<bool, IceError> {
        let (_, pwd) = self.spoken().remote.as_ref().ok_or(IceError::UnknownUsername)?;
        let pwd = pwd.clone();
        let since = self.strays.on_answer(path, &pwd, datagram)?;
        self.last_check = Some(now);
        self.touch(now, path, None, 0);
        let moves = self.selected.is_some_and(|selected| selected.path != path && selected.heard < since);
        if moves {
            self.selected = Some(Selected { path, since: now, heard: now });
        }
        Ok(moves)
    }

    /// The credentials the peer is known to use: during a restart the old ones, until the new ones are first used.
    fn spoken(&self) -> &Side {
        self.previous.as_ref().filter(|side| side.remote.is_some()).unwrap_or(&self.current)
    }

    /// When authenticated media came over the selected path last, or since when it is selected.
    #[must_use]
    pub fn heard(&self) -> Option<Instant> {
        self.selected.map(|selected| selected.heard)
    }

    /// Asks for what a media packet needs, and for what lies before it from `first` on.
    pub(super) fn warm<T>(&self, first: &T) {
        ahead::fetch_span(first, &self.selected);
    }

    /// The path media goes to; only media *from* validated paths may come in.
    #[must_use]
    pub fn selected(&self) -> Option<Path> {
        self.selected.map(|selected| selected.path)
    }

    /// Whether an authenticated check came over this path.
    #[must_use]
    pub fn is_validated(&self, path: &Path) -> bool {
        self.paths.iter().any(|known| known.path == *path)
    }

    /// The validated paths, for the demultiplexer's table.
    pub fn validated(&self) -> impl Iterator<Item = Path> {
        self.paths.iter().map(|known| known.path)
    }
}

fn crypto() -> &'static dyn RTCCrypto {
    PROVIDER.crypto()
}

fn check_integrity(datagram: &[u8], pwd: &str) -> Result<(), IceError> {
    // The structure was checked before, which the crate's own reading relies on.
    let mut message = Message { raw: datagram.to_vec(), ..Message::default() };
    message.decode().map_err(|_| IceError::NotARequest)?;
    MessageIntegrity::check(&mut message, pwd.as_bytes(), crypto()).map_err(|_| IceError::WrongIntegrity)
}

fn write_answer(request: &Request<'_>, remote: SocketAddr, pwd: &str, answer: &mut [u8]) -> Result<usize, IceError> {
    let mapped = XorMappedAddress { ip: remote.ip().to_canonical(), port: remote.port() };
    let conflict = ErrorCodeAttribute { code: CODE_ROLE_CONFLICT, reason: Vec::new() };
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), crypto());
    let (kind, body): (&dyn Setter, &dyn Setter) =
        if request.controlled { (&BINDING_ERROR, &conflict) } else { (&BINDING_SUCCESS, &mapped) };
    let mut message = Message::new();
    message.write_header();
    let parts: [&dyn Setter; 5] = [&TransactionId(request.transaction), kind, body, &integrity, &FINGERPRINT];
    for part in parts {
        part.add_to(&mut message).map_err(|_| IceError::NoAnswer)?;
    }
    let room = answer.get_mut(..message.raw.len()).ok_or(IceError::NoRoom)?;
    room.copy_from_slice(&message.raw);
    Ok(message.raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;
    use rtc_stun::attributes::{AttrType, RawAttribute};
    use rtc_stun::message::{BINDING_REQUEST, Getter};

    const REMOTE: &str = "abcd";
    const REMOTE_PWD: &str = "the-password-of-the-peer";

    fn random() -> impl FnMut(&mut [u8]) {
        let mut state = 0x9e37_79b9_u32;
        move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        }
    }

    fn path(port: u16) -> Path {
        Path { socket: 0, local: None, remote: SocketAddr::from(([192, 0, 2, 7], port)) }
    }

    fn agent() -> IceLite {
        let mut ice = IceLite::new(Credentials::new(&mut random(), ShardId(3)));
        ice.set_remote(REMOTE, REMOTE_PWD).unwrap();
        ice
    }

    struct Check<'a> {
        credentials: &'a Credentials,
        remote: &'a str,
        id: [u8; 12],
        nominate: bool,
        priority: u32,
        controlled: bool,
        after_integrity: Option<u16>,
    }

    impl Check<'_> {
        /// The attributes in the order Chromium writes them.
        fn build(&self) -> Vec<u8> {
            let mut message = Message::new();
            message.write_header();
            BINDING_REQUEST.add_to(&mut message).unwrap();
            TransactionId(self.id).add_to(&mut message).unwrap();
            message.add(ATTR_USERNAME, format!("{}:{}", self.credentials.ufrag(), self.remote).as_bytes());
            message.add(AttrType(0xc057), &[0, 1, 0, 10]);
            message.add(if self.controlled { ATTR_ICE_CONTROLLED } else { AttrType(0x802a) }, &[7; 8]);
            if self.nominate {
                message.add(ATTR_USE_CANDIDATE, &[]);
            }
            message.add(ATTR_PRIORITY, &self.priority.to_be_bytes());
            MessageIntegrity::new_short_term_integrity_with_provider(self.credentials.pwd().to_owned(), crypto())
                .add_to(&mut message)
                .unwrap();
            if let Some(kind) = self.after_integrity {
                message.add(AttrType(kind), &[]);
            }
            FINGERPRINT.add_to(&mut message).unwrap();
            message.raw
        }
    }

    fn check(credentials: &Credentials, nominate: bool, priority: u32, serial: u32) -> Vec<u8> {
        let mut id = [9; 12];
        id[..4].copy_from_slice(&serial.to_be_bytes());
        Check { credentials, remote: REMOTE, id, nominate, priority, controlled: false, after_integrity: None }.build()
    }

    /// Drives one agent with serial transaction ids.
    struct Driver {
        ice: IceLite,
        t0: Instant,
        serial: u32,
    }

    impl Driver {
        fn new() -> Self {
            Self { ice: agent(), t0: Instant::now(), serial: 0 }
        }

        fn check(&mut self, ms: u64, port: u16, nominate: bool, priority: u32) -> Option<IceEvent> {
            self.serial += 1;
            let request = check(&self.ice.local().clone(), nominate, priority, self.serial);
            let mut answer = [0; MAX_ANSWER];
            let handled =
                self.ice.handle_request(self.t0 + Duration::from_millis(ms), path(port), &request, &mut answer).unwrap();
            handled.event
        }

        fn selected_port(&self) -> u16 {
            self.ice.selected().unwrap().remote.port()
        }
    }

    #[test]
    fn a_ufrag_names_its_shard_and_is_never_twice_the_same() {
        let mut random = random();
        let mut seen = std::collections::HashSet::new();
        for shard in 0..64 {
            let credentials = Credentials::new(&mut random, ShardId(shard));
            assert_eq!(shard_of_ufrag(credentials.ufrag()), Some(ShardId(shard)));
            assert!(credentials.ufrag().bytes().chain(credentials.pwd().bytes()).all(|byte| ICE_CHARS.contains(&byte)));
            assert_eq!((credentials.ufrag().len(), credentials.pwd().len()), (14, 24));
            assert!(seen.insert(credentials.ufrag()[1..].to_owned()));
            assert!(!format!("{credentials:?}").contains(credentials.pwd()));
        }
        assert_eq!(shard_of_ufrag(""), None);
        assert_eq!(shard_of_ufrag("-abc"), None);
        assert_eq!(shard_of_ufrag("é"), None);
    }

    #[test]
    fn the_user_name_is_read_before_anything_is_checked() {
        let credentials = Credentials::new(&mut random(), ShardId(5));
        let request = check(&credentials, false, 1, 1);
        assert_eq!(parse_username(&request), Some((credentials.ufrag(), REMOTE)));
        for length in 0..request.len() {
            assert_eq!(parse_username(&request[..length]), None, "truncated to {length}");
        }
    }

    #[test]
    fn a_valid_check_is_answered_with_an_authenticated_mapped_address_no_larger_than_the_request() {
        for remote in [SocketAddr::from(([192, 0, 2, 7], 4000)), "[2001:db8::9]:4001".parse().unwrap()] {
            let mut ice = agent();
            let here = Path { socket: 1, local: None, remote };
            let request = check(ice.local(), true, 100, 1);
            let mut answer = [0; MAX_ANSWER];
            let handled = ice.handle_request(Instant::now(), here, &request, &mut answer).unwrap();
            assert_eq!(handled.event, Some(IceEvent::Nominated { path: here, moved: true }));
            assert!(handled.answer_len <= request.len() && handled.answer_len <= MAX_ANSWER);

            let mut message = Message { raw: answer[..handled.answer_len].to_vec(), ..Message::default() };
            message.decode().unwrap();
            assert_eq!(message.typ, BINDING_SUCCESS);
            assert_eq!(message.transaction_id.0[4..], [9; 8]);
            MessageIntegrity::check(&mut message, ice.local().pwd().as_bytes(), crypto()).unwrap();
            FINGERPRINT.check(&message).unwrap();
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&message).unwrap();
            assert_eq!(SocketAddr::new(mapped.ip, mapped.port), remote);
        }
    }

    #[test]
    fn the_smallest_request_that_authenticates_is_not_amplified() {
        let ice = &mut IceLite::new(Credentials::new(&mut random(), ShardId(0)));
        let local = ice.local().clone();
        let request = |remote: &str| {
            let mut message = Message::new();
            message.write_header();
            BINDING_REQUEST.add_to(&mut message).unwrap();
            message.add(ATTR_USERNAME, format!("{}:{remote}", local.ufrag()).as_bytes());
            MessageIntegrity::new_short_term_integrity_with_provider(local.pwd().to_owned(), crypto())
                .add_to(&mut message)
                .unwrap();
            FINGERPRINT.add_to(&mut message).unwrap();
            message.raw
        };
        let mut answer = [0; MAX_ANSWER];
        let here = Path { socket: 0, local: None, remote: "[2001:db8::9]:4001".parse().unwrap() };
        let smallest = request("abcd");
        let handled = ice.handle_request(Instant::now(), here, &smallest, &mut answer).unwrap();
        assert_eq!((smallest.len(), handled.answer_len), (76, 76));
        let smaller = ice.handle_request(Instant::now(), here, &request(""), &mut answer);
        assert_eq!(smaller, Err(IceError::UnknownUsername));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused_and_changes_nothing() {
        let mut ice = agent();
        let good = check(ice.local(), true, 100, 1);
        let now = Instant::now();
        let mut answer = [0; MAX_ANSWER];
        for length in 0..good.len() {
            assert_eq!(ice.handle_request(now, path(1), &good[..length], &mut answer), Err(IceError::NotARequest));
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x41;
            assert!(ice.handle_request(now, path(1), &bad, &mut answer).is_err(), "byte {index}");
        }
        let longer = [good.as_slice(), &[0; 4]].concat();
        assert_eq!(ice.handle_request(now, path(1), &longer, &mut answer), Err(IceError::NotARequest));
        assert_eq!(ice.state(now), IceState::New);
        assert_eq!(answer, [0; MAX_ANSWER], "nothing was answered");
        assert!(ice.handle_request(now, path(1), &good, &mut answer).is_ok(), "positive control");
    }

    #[test]
    fn each_failure_has_its_own_name() {
        let mut ice = agent();
        let local = ice.local().clone();
        let now = Instant::now();
        let mut answer = [0; MAX_ANSWER];
        let mut result = |request: &[u8]| ice.handle_request(now, path(1), request, &mut answer).unwrap_err();

        let stranger = Credentials::new(&mut |bytes| bytes.fill(1), ShardId(0));
        assert_eq!(result(&check(&stranger, true, 1, 1)), IceError::UnknownUsername);
        let guessed = Credentials { ufrag: local.ufrag.clone(), pwd: stranger.pwd };
        assert_eq!(result(&check(&guessed, true, 1, 1)), IceError::WrongIntegrity);
        let mut crc = check(&local, true, 1, 1);
        *crc.last_mut().unwrap() ^= 1;
        assert_eq!(result(&crc), IceError::WrongFingerprint);
        let base = Check {
            credentials: &local,
            remote: "wxyz",
            id: [1; 12],
            nominate: false,
            priority: 1,
            controlled: false,
            after_integrity: None,
        };
        assert_eq!(result(&base.build()), IceError::UnknownUsername);
        let appended = Check { remote: REMOTE, after_integrity: Some(ATTR_USE_CANDIDATE.0), ..base };
        assert_eq!(result(&appended.build()), IceError::NotARequest, "USE-CANDIDATE outside the integrity");
        let mut no_room = [0; 20];
        let good = check(&local, true, 1, 1);
        assert_eq!(ice.handle_request(now, path(1), &good, &mut no_room), Err(IceError::NoRoom));
    }

    #[test]
    fn a_peer_that_claims_to_be_controlled_is_told_of_the_conflict_only_when_it_is_authentic() {
        let mut ice = agent();
        let local = ice.local().clone();
        let mut conflict = Check {
            credentials: &local,
            remote: REMOTE,
            id: [2; 12],
            nominate: true,
            priority: 1,
            controlled: true,
            after_integrity: None,
        };
        let mut answer = [0; MAX_ANSWER];
        let request = conflict.build();
        let handled = ice.handle_request(Instant::now(), path(1), &request, &mut answer).unwrap();
        assert_eq!(handled.event, None);
        assert!(handled.answer_len <= request.len());
        let mut message = Message { raw: answer[..handled.answer_len].to_vec(), ..Message::default() };
        message.decode().unwrap();
        assert_eq!(message.typ, BINDING_ERROR);
        let mut code = ErrorCodeAttribute::default();
        code.get_from(&message).unwrap();
        assert_eq!(code.code.0, 487);
        MessageIntegrity::check(&mut message, local.pwd().as_bytes(), crypto()).unwrap();
        assert_eq!(ice.selected(), None, "no role flip, no nomination");

        let stranger = Credentials { ufrag: local.ufrag.clone(), pwd: Zeroizing::new("x".repeat(24)) };
        conflict.credentials = &stranger;
        let forged = conflict.build();
        assert_eq!(ice.handle_request(Instant::now(), path(1), &forged, &mut answer), Err(IceError::WrongIntegrity));
    }

    #[test]
    fn a_check_without_nomination_validates_and_a_later_one_nominates() {
        let mut peer = Driver::new();
        assert_eq!(peer.check(0, 1, false, 100), Some(IceEvent::Validated { path: path(1) }));
        assert!(peer.ice.is_validated(&path(1)) && peer.ice.selected().is_none());
        assert!(!peer.ice.is_validated(&path(2)), "positive control");
        assert_eq!(peer.check(50, 1, true, 100), Some(IceEvent::Nominated { path: path(1), moved: true }));
        assert_eq!(peer.check(100, 1, true, 100), Some(IceEvent::Nominated { path: path(1), moved: false }));
    }

    #[test]
    fn a_phone_that_changes_network_is_followed_at_once_even_to_a_lower_priority() {
        let mut peer = Driver::new();
        for ms in (0..10_000).step_by(500) {
            peer.check(ms, 1, true, 200);
        }
        let moved = peer.check(9_600, 2, true, 100);
        assert_eq!(moved, Some(IceEvent::Nominated { path: path(2), moved: true }));
        for ms in (10_000..13_000).step_by(500) {
            peer.check(ms, 2, true, 100);
        }
        let back = peer.check(13_100, 1, true, 200);
        assert_eq!(back, Some(IceEvent::Nominated { path: path(1), moved: true }), "and back to Wi-Fi likewise");
    }

    #[test]
    fn a_phone_that_moves_during_the_set_up_is_followed_within_the_quiet_second() {
        let mut peer = Driver::new();
        peer.check(0, 1, true, 200);
        peer.check(300, 2, true, 100);
        assert_eq!(peer.selected_port(), 1, "could be the set-up of several pairs");
        for ms in (400..=1_000).step_by(100) {
            peer.check(ms, 2, true, 100);
        }
        assert_eq!(peer.selected_port(), 2);
    }

    #[test]
    fn pairs_nominated_in_turn_settle_on_the_best_priority_without_flapping() {
        let mut peer = Driver::new();
        let mut moves = 0;
        for round in 0..100 {
            for (port, priority) in [(1, 100), (2, 300), (3, 200)] {
                let event = peer.check(round * 100 + u64::from(port) * 20, port, true, priority);
                moves += u32::from(matches!(event, Some(IceEvent::Nominated { moved: true, .. })));
            }
        }
        assert_eq!((peer.selected_port(), moves), (2, 2), "first pair, then the best one, and no more");
    }

    #[test]
    fn consent_expires_after_thirty_seconds_without_a_check_on_any_path() {
        let mut peer = Driver::new();
        assert_eq!((peer.ice.state(peer.t0), peer.ice.poll_timeout()), (IceState::New, None));
        peer.check(0, 1, true, 100);
        peer.check(10_000, 2, false, 100);
        assert_eq!(peer.ice.last_check(), Some(peer.t0 + Duration::from_secs(10)));
        assert_eq!(peer.ice.poll_timeout(), Some(peer.t0 + Duration::from_secs(40)));
        assert_eq!(peer.ice.state(peer.t0 + Duration::from_millis(39_999)), IceState::Connected);
        assert_eq!(peer.ice.state(peer.t0 + Duration::from_secs(40)), IceState::Expired);
        peer.check(41_000, 1, true, 100);
        assert_eq!(peer.ice.state(peer.t0 + Duration::from_secs(41)), IceState::Connected, "a late check revives it");
    }

    #[test]
    fn checks_beyond_the_rate_are_not_answered() {
        let mut ice = agent();
        let local = ice.local().clone();
        let t0 = Instant::now();
        let mut answer = [0; MAX_ANSWER];
        let mut answered = |ms: u64, serials: std::ops::Range<u32>| {
            let now = t0 + Duration::from_millis(ms);
            serials.filter(|s| ice.handle_request(now, path(1), &check(&local, false, 1, *s), &mut answer).is_ok()).count()
        };
        assert_eq!(answered(0, 0..150), 100);
        assert_eq!(answered(1_000, 150..300), 50);
        assert_eq!(answered(1_010, 300..310), 0, "half a token");
        assert_eq!(answered(1_020, 310..320), 1);
        assert_eq!(answered(60_000, 320..600), 100);
    }

    #[test]
    fn forged_checks_do_not_use_up_the_rate() {
        let mut ice = agent();
        let local = ice.local().clone();
        let forged = Credentials { ufrag: local.ufrag.clone(), pwd: Zeroizing::new("x".repeat(24)) };
        let mut answer = [0; MAX_ANSWER];
        let now = Instant::now();
        for serial in 0..500 {
            let request = check(&forged, false, 1, serial);
            assert_eq!(ice.handle_request(now, path(1), &request, &mut answer), Err(IceError::WrongIntegrity));
        }
        assert!(ice.handle_request(now, path(1), &check(&local, false, 1, 1), &mut answer).is_ok());
    }

    #[test]
    fn a_copied_request_from_another_address_moves_nothing() {
        let mut ice = agent();
        let request = check(ice.local(), true, 100, 1);
        let mut answer = [0; MAX_ANSWER];
        let now = Instant::now();
        ice.handle_request(now, path(1), &request, &mut answer).unwrap();
        let later = now + Duration::from_secs(5);
        assert_eq!(ice.handle_request(later, path(2), &request, &mut answer), Err(IceError::Replayed));
        assert_eq!(ice.selected(), Some(path(1)));
        assert!(ice.handle_request(later, path(1), &request, &mut answer).is_ok(), "a retransmission is answered");
    }

    #[test]
    fn the_set_of_paths_is_bounded_and_keeps_the_selected_one() {
        let mut peer = Driver::new();
        peer.check(0, 1, true, 100);
        for port in 2..60 {
            peer.check(u64::from(port) * 100, port, false, 100);
        }
        assert_eq!(peer.ice.validated().count(), MAX_PATHS);
        assert!(peer.ice.is_validated(&path(1)) && peer.ice.is_validated(&path(59)) && !peer.ice.is_validated(&path(2)));
    }

    #[test]
    fn a_restart_keeps_the_old_credentials_until_the_new_ones_are_used() {
        let mut ice = agent();
        let old = ice.local().clone();
        let t0 = Instant::now();
        let mut answer = [0; MAX_ANSWER];
        ice.handle_request(t0, path(1), &check(&old, true, 100, 1), &mut answer).unwrap();

        let new = Credentials::new(&mut |bytes| bytes.fill(7), ShardId(3));
        ice.restart(new.clone());
        ice.set_remote(REMOTE, REMOTE_PWD).unwrap();
        assert_eq!(ice.ufrags().collect::<Vec<_>>(), [new.ufrag(), old.ufrag()]);
        assert!(ice.handle_request(t0, path(1), &check(&old, true, 100, 2), &mut answer).is_ok());
        assert_eq!(ice.selected(), Some(path(1)), "media stays");

        assert!(ice.handle_request(t0, path(1), &check(&new, true, 100, 3), &mut answer).is_ok());
        assert_eq!(ice.ufrags().count(), 1);
        let late = ice.handle_request(t0, path(1), &check(&old, true, 100, 4), &mut answer);
        assert_eq!(late, Err(IceError::UnknownUsername));
    }

    #[test]
    fn remote_credentials_are_checked() {
        let mut ice = agent();
        assert_eq!(ice.set_remote("abc", REMOTE_PWD), Err(IceError::BadRemote));
        assert_eq!(ice.set_remote("ab\r\nc", REMOTE_PWD), Err(IceError::BadRemote));
        assert_eq!(ice.set_remote(&"a".repeat(257), REMOTE_PWD), Err(IceError::BadRemote));
        assert_eq!(ice.set_remote("ab+/", REMOTE_PWD), Ok(()));
    }

    #[test]
    fn candidates_take_turns_between_the_families() {
        let addresses = ["192.0.2.1:7882", "192.0.2.2:7882", "[2001:db8::1]:7882"].map(|text| text.parse().unwrap());
        let lines: Vec<_> = host_candidates(&addresses).iter().map(candidate_line).collect();
        assert_eq!(
            lines,
            [
                "candidate:1 1 udp 2130706431 2001:db8::1 7882 typ host",
                "candidate:2 1 udp 2130706175 192.0.2.1 7882 typ host",
                "candidate:3 1 udp 2130705919 192.0.2.2 7882 typ host",
            ]
        );
        assert_eq!(host_candidates(&[addresses[0]; 40]).len(), MAX_CANDIDATES);
    }

    /// Sends a check where media came from, and answers it as the peer would.
    fn ask(peer: &mut Driver, ms: u64) -> Option<(Path, Vec<u8>)> {
        let mut out = [0; 512];
        let now = peer.t0 + Duration::from_millis(ms);
        let (to, len) = peer.ice.poll_check(now, [3, 0, 0, 0, 7], &mut |bytes| bytes.fill(5), &mut out)?;
        let mut request = Message { raw: out[..len].to_vec(), ..Message::default() };
        request.decode().unwrap();
        MessageIntegrity::check(&mut request, REMOTE_PWD.as_bytes(), crypto()).unwrap();
        let mut answer = Message::new();
        answer.write_header();
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(REMOTE_PWD.to_owned(), crypto());
        let parts: [&dyn Setter; 4] = [&request.transaction_id, &BINDING_SUCCESS, &integrity, &FINGERPRINT];
        parts.into_iter().for_each(|part| part.add_to(&mut answer).unwrap());
        Some((to, answer.raw))
    }

    #[test]
    fn media_from_elsewhere_moves_the_call_with_the_answer_to_our_check() {
        let mut peer = Driver::new();
        let at = |ms| peer.t0 + Duration::from_millis(ms);
        let (heard, moved, answered) = (at(5_000), at(5_020), at(5_060));
        peer.check(0, 1, true, 200);
        assert!(!peer.ice.on_media(heard, path(1)) && ask(&mut peer, 5_000).is_none(), "positive control");
        assert!(!peer.ice.on_media(moved, path(2)) && peer.ice.is_astray());
        let (to, answer) = ask(&mut peer, 5_020).unwrap();
        assert_eq!((to, parse_tag(&answer)), (path(2), Some([3, 0, 0, 0, 7])));
        assert_eq!(peer.selected_port(), 1, "nothing moves before the answer");
        assert_eq!(peer.ice.handle_answer(answered, path(2), &answer), Ok(true));
        assert_eq!(peer.selected_port(), 2);
        assert!(peer.ice.is_validated(&path(2)));
    }

    #[test]
    fn while_the_present_path_is_heard_an_answer_only_validates() {
        let mut peer = Driver::new();
        let at = |ms| peer.t0 + Duration::from_millis(ms);
        let (first, second, silent) = (at(5_000), at(5_010), at(5_300));
        peer.check(0, 1, true, 200);
        peer.ice.on_media(first, path(2));
        let (_, answer) = ask(&mut peer, 5_000).unwrap();
        peer.ice.on_media(second, path(1));
        assert_eq!(peer.ice.handle_answer(second, path(2), &answer), Ok(false));
        assert_eq!((peer.selected_port(), peer.ice.is_validated(&path(2))), (1, true));
        assert!(peer.ice.on_media(silent, path(2)), "then silence decides, as ever");
    }

    #[test]
    fn without_a_call_and_without_credentials_nothing_is_asked() {
        let mut peer = Driver::new();
        let now = peer.t0;
        peer.ice.on_media(now, path(2));
        assert!(!peer.ice.is_astray());
        let mut nobody = IceLite::new(Credentials::new(&mut random(), ShardId(1)));
        assert!(nobody.poll_check(now, [0; 5], &mut |_| {}, &mut [0; 512]).is_none());
        assert_eq!(nobody.handle_answer(now, path(2), &[0; 40]), Err(IceError::UnknownUsername));
    }

    #[test]
    fn odd_attributes_are_refused_or_ignored() {
        // Many attributes: a bound on the walk, though the length would allow more.
        let mut message = Message::new();
        message.write_header();
        BINDING_REQUEST.add_to(&mut message).unwrap();
        for _ in 0..60 {
            message.attributes.0.push(RawAttribute::default());
            message.add(AttrType(0xc001), &[]);
        }
        assert_eq!(parse_username(&message.raw), None);
        assert!(parse_request(&message.raw).is_none());
    }
}
