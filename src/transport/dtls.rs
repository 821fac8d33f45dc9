//! DTLS 1.2 of one peer, server side: the SRTP keys and the records that carry SCTP (RFC 6347, 5764, 8842).
//!
//! The caller feeds only datagrams from validated paths; who the peer is says its certificate, compared with the
//! fingerprint it signalled before any key leaves here. Nothing an unauthenticated record says can end a call: in the
//! clear only the messages of a handshake in progress are read, alerts and application data never, and a ClientHello
//! that would fail is ignored. How long a handshake may take is the caller's to decide.
//!
//! Answers are sent again verbatim, by a timer and when the peer repeats what they answer: a verbatim record needs no
//! second encryption, and the DTLS crate's own timer stops for ever once a repeated message comes.
//!
//! Entry points: [`DtlsContext::new`] once per process, [`RtcDtls::new`] per peer, [`DtlsTransport`].

mod context;
mod flight;

use crate::model::Instant;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as RtcError;
use thiserror::Error;
use zeroize::Zeroizing;

use super::srtp::Profile;

use context::on_wire;
pub use context::{DtlsContext, Fingerprint};
use flight::{Reassembly, Record};

/// Largest datagram read; a path carries 1,500 bytes.
const MAX_DATAGRAM: usize = 2048;
/// Largest application record sent: one SCTP packet, kept within a path of 1,280 bytes.
const MAX_SEND: usize = 1216;
/// Datagrams waiting to be sent; the caller drains after every call.
const MAX_OUT: usize = 64;
/// Events waiting to be polled; SCTP repeats what is dropped.
const MAX_EVENTS: usize = 64;
/// Datagrams of one flight kept to be sent again; ours have one to three.
const MAX_FLIGHT: usize = 4;
/// Encrypted records tried during a handshake: the client's Finished and its repetitions.
const MAX_EARLY: u8 = 64;
/// Encrypted records that came before the handshake was ready for them.
const MAX_HELD: usize = 4;
/// Largest record of a Finished: 13 + 8 + 12 + 12 + 16 bytes, with room.
const MAX_FINISHED: usize = 128;
/// Handshakes begun anew because a ClientHello failed.
const MAX_STARTS: u8 = 8;
/// First wait before a flight is sent again, doubled each time (RFC 6347, section 4.2.4.1 recommends 1 s; browsers use
/// less, and a call waits for this).
const FIRST_RESEND: Duration = Duration::from_millis(400);
/// Least time between two sendings of one flight, so that repetitions cannot be used to multiply it.
const RESEND_GAP: Duration = Duration::from_millis(40);
/// How often one flight is sent again.
const MAX_RESENDS: u8 = 12;
/// The crate knows one peer, whatever path it comes from.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// The exporter label (RFC 5764, section 4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// A failure of setting up or of sending.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DtlsError {
    /// Caller: the handshake is not complete, or the association has ended.
    #[error("not connected")]
    NotConnected,
    /// Caller: more than one packet's worth.
    #[error("too large for a record")]
    TooLarge,
    /// Caller: too many datagrams are waiting; poll them.
    #[error("send queue full")]
    Full,
    /// Us: no certificate or configuration could be made.
    #[error("set-up failed")]
    SetUp,
}

/// Why an association failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsFailure {
    /// The peer's certificate is not the one it signalled.
    FingerprintMismatch,
    /// The handshake broke off.
    Handshake,
    /// The peer and we share no SRTP profile.
    NoProfile,
}

/// What DTLS has to say.
#[derive(PartialEq, Eq)]
pub enum DtlsEvent {
    /// The peer is the one it said it is, and these are the keys.
    Connected {
        /// The SRTP profile agreed on.
        profile: Profile,
        /// Client key, server key, client salt, server salt (RFC 5764, section 4.2).
        keying_material: Zeroizing<Vec<u8>>,
    },
    /// The association is over before it began.
    Failed(DtlsFailure),
    /// An SCTP packet.
    Data(Bytes),
    /// The peer closed the association, authentically.
    Closed,
}

impl fmt::Debug for DtlsEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { profile, .. } => f.debug_struct("Connected").field("profile", profile).finish_non_exhaustive(),
            Self::Failed(reason) => f.debug_tuple("Failed").field(reason).finish(),
            Self::Data(bytes) => f.debug_struct("Data").field("len", &bytes.len()).finish(),
            Self::Closed => f.write_str("Closed"),
        }
    }
}

/// One peer's DTLS association, whichever crate does it.
pub trait DtlsTransport {
    /// Takes a datagram from a validated path; `false` for one that does not belong, which is ignored.
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> bool;
    /// Sends a flight again where its time has come.
    fn handle_timeout(&mut self, now: Instant);
    /// The next datagram to send.
    fn poll_datagram(&mut self) -> Option<Bytes>;
    /// What happened.
    fn poll_event(&mut self) -> Option<DtlsEvent>;
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Sends one SCTP packet.
    ///
    /// # Errors
    ///
    /// [`DtlsError::NotConnected`], [`DtlsError::TooLarge`] beyond 1,216 bytes, [`DtlsError::Full`].
    fn send(&mut self, now: Instant, packet: &[u8]) -> Result<(), DtlsError>;
    /// Says good-bye where the peer would understand it, and ends the association.
    fn close(&mut self, now: Instant);
    /// What the last ClientHello lacked: the reason to report when the caller gives up waiting for the handshake.
    fn obstacle(&self) -> Option<DtlsFailure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the cookie came back.
    Hello,
    Handshake,
    Connected,
    Ended,
}

/// Our last flight, to be sent again.
#[derive(Default)]
struct Flight {
    datagrams: Vec<Bytes>,
    sent_at: Option<Instant>,
    resend_at: Option<Instant>,
    resends: u8,
}

/// [`DtlsTransport`] by `rtc-dtls`.
pub struct RtcDtls {
    context: Arc<DtlsContext>,
    expected: Fingerprint,
    phase: Phase,
    endpoint: Option<Endpoint>,
    profile: Option<Profile>,
    reassembly: Reassembly,
    random: [u8; 32],
    cookie: Vec<u8>,
    sequence: u32,
    change_cipher_spec: bool,
    held: VecDeque<BytesMut>,
    early: u8,
    starts: u8,
    flight: Flight,
    obstacle: Option<DtlsFailure>,
    out: VecDeque<Bytes>,
    events: VecDeque<DtlsEvent>,
}

impl fmt::Debug for RtcDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcDtls").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl RtcDtls {
    /// Awaits the peer whose certificate has this fingerprint.
    #[must_use]
    pub fn new(context: Arc<DtlsContext>, expected: Fingerprint) -> Self {
        Self {
            context,
            expected,
            phase: Phase::Hello,
            endpoint: None,
            profile: None,
            reassembly: Reassembly::default(),
            random: [0; 32],
            cookie: Vec::new(),
            sequence: 0,
            change_cipher_spec: false,
            held: VecDeque::new(),
            early: 0,
            starts: 0,
            flight: Flight::default(),
            obstacle: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Whether the record belonged.
    fn on_record(&mut self, now: Instant, record: Record<'_>) -> bool {
        match (self.phase, record.epoch, record.kind) {
            (Phase::Hello | Phase::Handshake, 0, flight::HANDSHAKE) => {
                let pushed = self.reassembly.push(record.body);
                if pushed.repeats {
                    self.resend(now);
                }
                self.advance(now);
            }
            (Phase::Handshake, 0, flight::CHANGE_CIPHER_SPEC) if record.body == [1] => {
                self.change_cipher_spec = true;
                self.advance(now);
            }
            (Phase::Handshake, 1, flight::HANDSHAKE) if record.whole.len() <= MAX_FINISHED => self.on_early(now, record),
            // The peer repeats its last flight, so ours was lost (RFC 6347, section 4.2.4).
            (Phase::Connected, 0 | 1, flight::HANDSHAKE) => return self.resend(now),
            (Phase::Connected, 1, flight::ALERT | flight::APPLICATION_DATA) => return self.feed(now, record.whole.into()),
            _ => return false,
        }
        true
    }

    /// Holds an encrypted record until the handshake has come so far that it can be read.
    fn on_early(&mut self, now: Instant, record: Record<'_>) {
        if self.early >= MAX_EARLY {
            return;
        }
        self.early += 1;
        if self.held.len() >= MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back(record.whole.into());
        self.advance(now);
    }

    /// Hands on what is complete and in order.
    fn advance(&mut self, now: Instant) {
        // One turn per message; a message handed on is never ready again.
        for _ in 0..flight::MESSAGES {
            self.open();
            let index = self.reassembly.next();
            let Some(body) = self.reassembly.ready() else { break };
            if index < 2 && !self.suits(index, body) {
                self.reassembly.reject();
                break;
            }
            if index == 1 {
                self.phase = Phase::Handshake;
            }
            let Some(message) = self.reassembly.accept() else { break };
            self.feed_plain(now, flight::HANDSHAKE, &message);
            if self.phase == Phase::Ended {
                return;
            }
        }
        if self.phase != Phase::Handshake || !self.reassembly.is_complete() || !self.change_cipher_spec {
            return;
        }
        self.feed_plain(now, flight::CHANGE_CIPHER_SPEC, &[1]);
        while let Some(record) = self.held.pop_front() {
            if self.phase == Phase::Handshake {
                self.feed(now, record);
            }
        }
    }

    /// Whether the handshake would go on with this ClientHello; if not, it is as if it had not come.
    fn suits(&self, index: usize, body: &[u8]) -> bool {
        let Some(hello) = flight::parse_client_hello(body) else { return false };
        let usable = hello.suits && self.context.choose(|number| hello.offers(number)).is_some();
        usable && (index == 0 || (hello.random == self.random && hello.cookie == self.cookie && !self.cookie.is_empty()))
    }

    fn feed_plain(&mut self, now: Instant, kind: u8, body: &[u8]) {
        let record = flight::plain_record(kind, self.sequence, body);
        self.sequence += 1;
        self.feed(now, record.as_slice().into());
    }

    /// Hands a record to the crate; `false` when nothing came of it.
    fn feed(&mut self, now: Instant, record: BytesMut) -> bool {
        let before = self.phase;
        let Some(endpoint) = self.endpoint.as_mut() else { return false };
        let mut fruitful = false;
        match endpoint.read(now.into(), PEER, None, record) {
            Ok(events) => {
                for event in events {
                    fruitful = true;
                    self.on_endpoint_event(event);
                }
            }
            Err(error) => self.on_endpoint_error(&error),
        }
        self.collect(now, before);
        fruitful || self.phase != before
    }

    fn on_endpoint_event(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::HandshakeComplete => match self.keys() {
                Ok(connected) => {
                    self.phase = Phase::Connected;
                    self.push_event(connected);
                }
                Err(reason) => self.fail(reason),
            },
            EndpointEvent::ApplicationData(data) if self.phase == Phase::Connected => {
                self.push_event(DtlsEvent::Data(data.freeze()));
            }
            EndpointEvent::PeerClosed if self.phase == Phase::Connected => {
                self.push_event(DtlsEvent::Closed);
                self.phase = Phase::Ended;
            }
            EndpointEvent::ApplicationData(_) | EndpointEvent::PeerClosed | _ => {}
        }
    }

    fn on_endpoint_error(&mut self, error: &RtcError) {
        match self.phase {
            Phase::Hello => self.start_anew(),
            Phase::Handshake => self.fail(DtlsFailure::Handshake),
            // Only a fatal alert under the peer's key ends a call; a warning does not.
            Phase::Connected if matches!(error, RtcError::ErrAlertFatalOrClose) => {
                self.push_event(DtlsEvent::Closed);
                self.phase = Phase::Ended;
            }
            Phase::Connected | Phase::Ended => {}
        }
    }

    fn start_anew(&mut self) {
        self.starts += 1;
        if self.starts >= MAX_STARTS {
            self.fail(DtlsFailure::Handshake);
            return;
        }
        self.endpoint = None;
        self.reassembly = Reassembly::default();
        self.sequence = 0;
        self.obstacle = Some(DtlsFailure::Handshake);
    }

    fn fail(&mut self, reason: DtlsFailure) {
        self.phase = Phase::Ended;
        self.endpoint = None;
        self.flight = Flight::default();
        self.push_event(DtlsEvent::Failed(reason));
    }

    /// Checks who the peer is and what was agreed, and only then exports the keys.
    fn keys(&self) -> Result<DtlsEvent, DtlsFailure> {
        let state = self.endpoint.as_ref().and_then(|endpoint| endpoint.get_connection_state(PEER));
        let state = state.ok_or(DtlsFailure::Handshake)?;
        let certificate = state.peer_certificates.first().ok_or(DtlsFailure::FingerprintMismatch)?;
        if Fingerprint::of(certificate) != self.expected {
            return Err(DtlsFailure::FingerprintMismatch);
        }
        let profile = self.profile.ok_or(DtlsFailure::NoProfile)?;
        if state.srtp_protection_profile() != on_wire(profile) {
            return Err(DtlsFailure::NoProfile);
        }
        let length = profile.keying_material_len();
        let material = state.export_keying_material(EXPORTER, &[], length).map_err(|_| DtlsFailure::Handshake)?;
        Ok(DtlsEvent::Connected { profile, keying_material: Zeroizing::new(material.as_ref().to_vec()) })
    }

    fn push_event(&mut self, event: DtlsEvent) {
        if self.events.len() < MAX_EVENTS || !matches!(event, DtlsEvent::Data(_)) {
            self.events.push_back(event);
        }
    }

    /// Takes what the crate wants sent; what it sends before it is connected is a flight.
    fn collect(&mut self, now: Instant, before: Phase) {
        let Some(endpoint) = self.endpoint.as_mut() else { return };
        let mut datagrams = Vec::new();
        while let Some(transmit) = endpoint.poll_transmit() {
            datagrams.push(transmit.message.freeze());
        }
        if !datagrams.is_empty() && before != Phase::Connected {
            if let Some(cookie) = datagrams.first().and_then(|first| flight::issued_cookie(first)) {
                self.cookie = cookie.to_vec();
            }
            // A HelloVerifyRequest is not repeated by a timer (RFC 6347, section 4.2.1), the last flight only on request.
            let timed = self.phase == Phase::Handshake;
            let kept = datagrams.iter().take(MAX_FLIGHT).cloned().collect();
            self.flight =
                Flight { datagrams: kept, sent_at: Some(now), resend_at: timed.then(|| now + FIRST_RESEND), resends: 0 };
        }
        let room = MAX_OUT.saturating_sub(self.out.len());
        self.out.extend(datagrams.into_iter().take(room));
    }

    /// Sends the last flight again, unless that was done too lately or too often.
    fn resend(&mut self, now: Instant) -> bool {
        let flight = &mut self.flight;
        let soon = flight.sent_at.is_some_and(|at| now.saturating_duration_since(at) < RESEND_GAP);
        if soon || flight.resends >= MAX_RESENDS {
            return false;
        }
        flight.resends += 1;
        flight.sent_at = Some(now);
        if flight.resend_at.is_some() {
            // At most 400 ms times 8.
            flight.resend_at = Some(now + FIRST_RESEND * (1 << flight.resends.min(3)));
        }
        let room = MAX_OUT.saturating_sub(self.out.len());
        self.out.extend(flight.datagrams.iter().take(room).cloned());
        true
    }

    /// Makes the crate's endpoint when the first ClientHello is whole, with the profile it asks for.
    fn open(&mut self) {
        if self.endpoint.is_some() || self.reassembly.next() != 0 {
            return;
        }
        let Some(hello) = self.reassembly.ready().and_then(flight::parse_client_hello) else { return };
        let Some((profile, config)) = self.context.choose(|number| hello.offers(number)) else {
            self.obstacle = Some(DtlsFailure::NoProfile);
            return;
        };
        if !hello.suits {
            self.obstacle = Some(DtlsFailure::Handshake);
            return;
        }
        self.obstacle = None;
        self.random = hello.random;
        self.profile = Some(profile);
        self.endpoint = Some(Endpoint::new(PEER, TransportProtocol::UDP, Some(config)));
    }
}

impl DtlsTransport for RtcDtls {
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> bool {
        if datagram.len() > MAX_DATAGRAM {
            return false;
        }
        flight::records(datagram).fold(false, |any, record| self.on_record(now, record) | any)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Handshake && self.flight.resend_at.is_some_and(|at| now >= at) {
            self.resend(now);
            if self.flight.resends >= MAX_RESENDS {
                self.flight.resend_at = None;
            }
        }
    }

    fn poll_datagram(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.flight.resend_at.filter(|_| self.phase == Phase::Handshake)
    }

    fn send(&mut self, now: Instant, packet: &[u8]) -> Result<(), DtlsError> {
        if packet.len() > MAX_SEND {
            return Err(DtlsError::TooLarge);
        }
        if self.out.len() >= MAX_OUT {
            return Err(DtlsError::Full);
        }
        let connected = self.phase == Phase::Connected;
        let endpoint = self.endpoint.as_mut().filter(|_| connected).ok_or(DtlsError::NotConnected)?;
        endpoint.write(now.into(), PEER, packet).map_err(|_| DtlsError::NotConnected)?;
        self.collect(now, Phase::Connected);
        Ok(())
    }

    fn close(&mut self, now: Instant) {
        if self.phase == Phase::Connected {
            if let Some(endpoint) = self.endpoint.as_mut() {
                let _ = endpoint.stop(now.into(), PEER);
            }
            self.collect(now, Phase::Connected);
        }
        self.phase = Phase::Ended;
        self.endpoint = None;
        self.flight = Flight::default();
    }

    fn obstacle(&self) -> Option<DtlsFailure> {
        self.obstacle
    }
}

#[cfg(test)]
mod tests {
    use super::context::self_signed;
    use super::*;
    use rtc_crypto::RTCCryptoProvider;
    use rtc_crypto::providers::AwsLcRsProvider;
    use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
    use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

    /// A DTLS client of some implementation.
    trait Client {
        fn handle(&mut self, now: Instant, datagram: &[u8]);
        fn timeout(&mut self, now: Instant);
        /// What it sends.
        fn poll(&mut self) -> Vec<Vec<u8>>;
        fn material(&self) -> Option<Vec<u8>>;
        fn fingerprint(&self) -> Fingerprint;
        fn send(&mut self, now: Instant, data: &[u8]);
        fn received(&self) -> &[Vec<u8>];
    }

    struct RtcClient {
        endpoint: Endpoint,
        profile: Profile,
        fingerprint: Fingerprint,
        complete: bool,
        received: Vec<Vec<u8>>,
    }

    impl RtcClient {
        fn new(now: Instant, offered: &[SrtpProtectionProfile], expected: Profile) -> Self {
            let provider = Arc::new(AwsLcRsProvider::new());
            let certificate = self_signed(provider.crypto()).unwrap();
            let fingerprint = Fingerprint::of(&certificate.certificate[0]);
            let config = ConfigBuilder::default()
                .with_crypto_provider(provider)
                .with_certificates(vec![certificate])
                .with_srtp_protection_profiles(offered.to_vec())
                .with_insecure_skip_verify(true)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .build(true, Some(PEER))
                .unwrap();
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
            endpoint.connect(now.into(), PEER, Arc::new(config), None).unwrap();
            Self { endpoint, profile: expected, fingerprint, complete: false, received: Vec::new() }
        }

        fn gcm(now: Instant) -> Self {
            Self::new(now, &[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], Profile::AeadAes128Gcm)
        }
    }

    impl Client for RtcClient {
        fn handle(&mut self, now: Instant, datagram: &[u8]) {
            for event in self.endpoint.read(now.into(), PEER, None, datagram.into()).unwrap_or_default() {
                match event {
                    EndpointEvent::HandshakeComplete => self.complete = true,
                    EndpointEvent::ApplicationData(data) => self.received.push(data.to_vec()),
                    EndpointEvent::PeerClosed | _ => {}
                }
            }
        }

        fn timeout(&mut self, now: Instant) {
            let _ = self.endpoint.handle_timeout(PEER, now.into());
        }

        fn poll(&mut self) -> Vec<Vec<u8>> {
            std::iter::from_fn(|| self.endpoint.poll_transmit()).map(|transmit| transmit.message.to_vec()).collect()
        }

        fn material(&self) -> Option<Vec<u8>> {
            let state = self.endpoint.get_connection_state(PEER).filter(|_| self.complete)?;
            let length = self.profile.keying_material_len();
            Some(state.export_keying_material(EXPORTER, &[], length).unwrap().as_ref().to_vec())
        }

        fn fingerprint(&self) -> Fingerprint {
            self.fingerprint
        }

        fn send(&mut self, now: Instant, data: &[u8]) {
            self.endpoint.write(now.into(), PEER, data).unwrap();
        }

        fn received(&self) -> &[Vec<u8>] {
            &self.received
        }
    }

    /// An implementation that shares no code with ours.
    struct DimplClient {
        dtls: dimpl::Dtls,
        fingerprint: Fingerprint,
        material: Option<Vec<u8>>,
        received: Vec<Vec<u8>>,
    }

    impl DimplClient {
        fn new(now: Instant) -> Self {
            let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
            let fingerprint = Fingerprint::of(&certificate.certificate);
            let mut dtls = dimpl::Dtls::new_12(Arc::new(dimpl::Config::default()), certificate, now.into());
            dtls.set_active(true);
            dtls.handle_timeout(now.into()).unwrap();
            Self { dtls, fingerprint, material: None, received: Vec::new() }
        }
    }

    impl Client for DimplClient {
        fn handle(&mut self, _now: Instant, datagram: &[u8]) {
            let _ = self.dtls.handle_packet(datagram);
        }

        fn timeout(&mut self, now: Instant) {
            let _ = self.dtls.handle_timeout(now.into());
        }

        fn poll(&mut self) -> Vec<Vec<u8>> {
            let mut out = Vec::new();
            let mut buffer = vec![0; 4096];
            loop {
                match self.dtls.poll_output(&mut buffer) {
                    dimpl::Output::Packet(packet) => out.push(packet.to_vec()),
                    dimpl::Output::KeyingMaterial(material, _) => self.material = Some(material.to_vec()),
                    dimpl::Output::ApplicationData(data) => self.received.push(data.to_vec()),
                    dimpl::Output::Timeout(_) => return out,
                    dimpl::Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                    dimpl::Output::Connected | dimpl::Output::PeerCert(_) | dimpl::Output::CloseNotify | _ => {}
                }
            }
        }

        fn material(&self) -> Option<Vec<u8>> {
            self.material.clone()
        }

        fn fingerprint(&self) -> Fingerprint {
            self.fingerprint
        }

        fn send(&mut self, _now: Instant, data: &[u8]) {
            self.dtls.send_application_data(data).unwrap();
        }

        fn received(&self) -> &[Vec<u8>] {
            &self.received
        }
    }

    /// A client and a server on a line on which a test may meddle.
    struct Line<C> {
        client: C,
        server: RtcDtls,
        now: Instant,
        events: Vec<DtlsEvent>,
        /// Every datagram, and whether the server sent it.
        log: Vec<(bool, Vec<u8>)>,
    }

    impl<C: Client> Line<C> {
        fn new(now: Instant, client: C) -> Self {
            let context = Arc::new(DtlsContext::new().unwrap());
            let server = RtcDtls::new(context, client.fingerprint());
            Self { client, server, now, events: Vec::new(), log: Vec::new() }
        }

        /// Carries datagrams until neither side sends; `deliver` may drop one by its number.
        fn carry(&mut self, mut deliver: impl FnMut(usize, &mut RtcDtls, &[u8], bool) -> bool) {
            for _ in 0..50 {
                let up = self.client.poll();
                let mut idle = up.is_empty();
                for datagram in up {
                    let number = self.log.len();
                    self.log.push((false, datagram.clone()));
                    if deliver(number, &mut self.server, &datagram, false) {
                        self.server.handle_datagram(self.now, &datagram);
                    }
                }
                while let Some(datagram) = self.server.poll_datagram() {
                    idle = false;
                    let number = self.log.len();
                    self.log.push((true, datagram.to_vec()));
                    if deliver(number, &mut self.server, &datagram, true) {
                        self.client.handle(self.now, &datagram);
                    }
                }
                self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
                if idle {
                    return;
                }
            }
        }

        fn handshake(&mut self) {
            self.carry(|_, _, _, _| true);
        }

        /// The keys the server exported; both sides must have the same.
        fn agreed(&self) -> Profile {
            let [DtlsEvent::Connected { profile, keying_material }] = self.events.as_slice() else {
                panic!("not connected: {:?}", self.events)
            };
            assert_eq!(keying_material.len(), profile.keying_material_len());
            assert_eq!(self.client.material().as_deref(), Some(keying_material.as_slice()));
            *profile
        }
    }

    fn talks_both_ways(line: &mut Line<impl Client>) {
        line.events.clear();
        line.client.send(line.now, b"from client");
        line.server.send(line.now, b"from server").unwrap();
        line.handshake();
        assert_eq!(line.events, [DtlsEvent::Data(Bytes::from_static(b"from client"))]);
        assert_eq!(line.client.received(), [b"from server".to_vec()]);
    }

    #[test]
    fn both_ends_have_the_same_keys_with_the_same_stack() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.handshake();
        assert_eq!(line.agreed(), Profile::AeadAes128Gcm);
        assert_eq!(line.server.poll_timeout(), None);
        talks_both_ways(&mut line);
    }

    #[test]
    fn both_ends_have_the_same_keys_with_an_independent_stack() {
        let now = Instant::now();
        let mut line = Line::new(now, DimplClient::new(now));
        line.handshake();
        assert_eq!(line.agreed(), Profile::AeadAes128Gcm);
        talks_both_ways(&mut line);
        line.events.clear();
        line.client.dtls.close().unwrap();
        line.handshake();
        assert_eq!(line.events, [DtlsEvent::Closed]);
        assert_eq!(line.server.send(now, b"late"), Err(DtlsError::NotConnected));
    }

    #[test]
    fn our_choice_of_profile_does_not_follow_the_clients_order() {
        use SrtpProtectionProfile as Wire;
        let (cm, cm32) = (Wire::Srtp_Aes128_Cm_Hmac_Sha1_80, Wire::Srtp_Aes128_Cm_Hmac_Sha1_32);
        let (gcm128, gcm256) = (Wire::Srtp_Aead_Aes_128_Gcm, Wire::Srtp_Aead_Aes_256_Gcm);
        for (offered, expected) in [
            (&[cm, gcm256, gcm128][..], Profile::AeadAes128Gcm),
            (&[cm, gcm256][..], Profile::AeadAes256Gcm),
            (&[cm32, cm][..], Profile::Aes128CmSha1_80),
        ] {
            let now = Instant::now();
            let mut line = Line::new(now, RtcClient::new(now, offered, expected));
            line.handshake();
            assert_eq!(line.agreed(), expected);
        }
    }

    #[test]
    fn a_client_without_a_profile_of_ours_is_not_answered() {
        let now = Instant::now();
        let offered = [SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32];
        let mut line = Line::new(now, RtcClient::new(now, &offered, Profile::Aes128CmSha1_80));
        line.handshake();
        assert_eq!((line.events.len(), line.server.obstacle()), (0, Some(DtlsFailure::NoProfile)));
        assert!(!line.log.iter().any(|(server, _)| *server));
    }

    #[test]
    fn another_certificate_than_the_signalled_one_gets_no_keys_and_no_finished() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.server = RtcDtls::new(line.server.context.clone(), Fingerprint::from([7; 32]));
        line.handshake();
        assert_eq!(line.events, [DtlsEvent::Failed(DtlsFailure::FingerprintMismatch)]);
        assert_eq!(line.client.material(), None, "nor does the client complete");
        assert_eq!(line.server.send(now, b"x"), Err(DtlsError::NotConnected));
    }

    #[test]
    fn plaintext_alerts_and_data_change_nothing_at_any_point() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        let alerts = |server: &mut RtcDtls| {
            for (kind, body) in [(21, &[2, 40][..]), (21, &[1, 0]), (21, &[2]), (23, b"data"), (20, &[1]), (25, &[0])] {
                for sequence in [0, 1, 5, 1000, u32::MAX] {
                    server.handle_datagram(now, &flight::plain_record(kind, sequence, body));
                }
            }
        };
        line.carry(|_, server, _, _| {
            alerts(server);
            true
        });
        assert_eq!(line.agreed(), Profile::AeadAes128Gcm);
        alerts(&mut line.server);
        assert_eq!(line.server.poll_event(), None);
        talks_both_ways(&mut line);
    }

    #[test]
    fn truncated_datagrams_and_garbage_do_not_stop_the_handshake() {
        let now = Instant::now();
        let mut line = Line::new(now, DimplClient::new(now));
        line.carry(|_, server, datagram, from_server| {
            if !from_server {
                for length in 0..datagram.len() {
                    server.handle_datagram(now, &datagram[..length]);
                    server.handle_datagram(now, &vec![22; length]);
                    server.handle_datagram(now, &vec![0xfe; length]);
                }
            }
            true
        });
        line.agreed();
        talks_both_ways(&mut line);
    }

    #[test]
    fn no_flipped_byte_of_a_handshake_panics_or_yields_keys_of_its_own() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.handshake();
        let sizes: Vec<(usize, usize)> = (0..).zip(&line.log).filter(|(_, (s, _))| !s).map(|(n, (_, d))| (n, d.len())).collect();
        for (number, size) in sizes {
            for index in (0..size).step_by(5) {
                let mut line = Line::new(now, RtcClient::gcm(now));
                line.carry(|n, server, datagram, from_server| {
                    if n != number || from_server {
                        return true;
                    }
                    let mut bad = datagram.to_vec();
                    if let Some(byte) = bad.get_mut(index) {
                        *byte ^= 0x55;
                    }
                    server.handle_datagram(now, &bad);
                    false
                });
                if let Some(DtlsEvent::Connected { keying_material, .. }) = line.events.first() {
                    assert_eq!(line.client.material().as_deref(), Some(keying_material.as_slice()));
                }
            }
        }
    }

    #[test]
    fn a_foreign_client_hello_first_does_not_stop_the_true_one() {
        let now = Instant::now();
        let mut line = Line::new(now, DimplClient::new(now));
        line.carry(|number, server, datagram, _| {
            if number == 0 {
                for (index, byte) in [(25, 0xfe), (26, 0xff), (14, 0xff), (62, 9), (64, 0), (65, 0)] {
                    let mut bad = datagram.to_vec();
                    bad[index] = byte;
                    server.handle_datagram(now, &bad);
                }
            }
            true
        });
        line.agreed();
    }

    #[test]
    fn any_one_lost_datagram_is_made_good_by_the_timers() {
        for lost in 0..9 {
            let t0 = Instant::now();
            let mut line = Line::new(t0, DimplClient::new(t0));
            let mut dropped = false;
            for step in 0..100 {
                line.now = t0 + Duration::from_millis(step * 100);
                line.client.timeout(line.now);
                line.server.handle_timeout(line.now);
                line.carry(|number, _, _, _| {
                    let drop = number == lost && !dropped;
                    dropped |= drop;
                    !drop
                });
            }
            line.agreed();
            talks_both_ways(&mut line);
        }
    }

    #[test]
    fn a_lost_server_flight_comes_again_although_the_client_repeats_its_own() {
        let t0 = Instant::now();
        let mut line = Line::new(t0, DimplClient::new(t0));
        // The two datagrams up are the ClientHellos; all answers to the second are lost three times.
        let mut lost = 0;
        for step in 0..200 {
            line.now = t0 + Duration::from_millis(step * 50);
            line.client.timeout(line.now);
            line.server.handle_timeout(line.now);
            line.carry(|_, server, _, from_server| {
                let drop = from_server && server.phase == Phase::Handshake && lost < 3;
                lost += u32::from(drop);
                !drop
            });
        }
        assert_eq!(lost, 3);
        line.agreed();
    }

    #[test]
    fn nonces_of_records_never_repeat() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.handshake();
        for _ in 0..40 {
            line.server.send(now, b"again").unwrap();
        }
        line.handshake();
        let sent: Vec<_> = line.log.iter().filter(|(server, _)| *server).collect();
        let nonces: Vec<Vec<u8>> = sent
            .iter()
            .flat_map(|(_, datagram)| flight::records(datagram).filter(|r| r.epoch == 1).map(|r| r.body[..8].to_vec()))
            .collect();
        assert!(nonces.len() > 40);
        assert!(nonces.is_sorted() && nonces.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_last_flight_is_repeated_sparingly() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.handshake();
        let last = line.log.iter().rfind(|(server, _)| !server).unwrap().1.clone();
        let mut count = 0;
        for ms in 0..5_000 {
            line.server.handle_datagram(now + Duration::from_millis(ms), &last);
            count += std::iter::from_fn(|| line.server.poll_datagram()).count();
        }
        assert!((1..=usize::from(MAX_RESENDS)).contains(&count), "{count}");
        talks_both_ways(&mut line);
    }

    #[test]
    fn queues_are_bounded() {
        let now = Instant::now();
        let mut line = Line::new(now, RtcClient::gcm(now));
        line.handshake();
        let sent = (0..1000).take_while(|_| line.server.send(now, &[0; MAX_SEND]).is_ok()).count();
        assert_eq!(sent, MAX_OUT);
        assert_eq!(line.server.send(now, b""), Err(DtlsError::Full));
        assert_eq!(line.server.send(now, &[0; MAX_SEND + 1]), Err(DtlsError::TooLarge));
        while line.server.poll_datagram().is_some() {}
        for _ in 0..500 {
            line.client.send(now, b"flood");
        }
        for datagram in line.client.poll() {
            line.server.handle_datagram(now, &datagram);
        }
        assert_eq!(std::iter::from_fn(|| line.server.poll_event()).count(), MAX_EVENTS);
    }

    #[test]
    fn the_certificate_says_nothing() {
        let provider = AwsLcRsProvider::new();
        let certificate = self_signed(provider.crypto()).unwrap();
        let der: &[u8] = &certificate.certificate[0];
        for word in [&b"rcgen"[..], b"colloque", b"localhost"] {
            assert!(!der.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word)));
        }
    }
}
