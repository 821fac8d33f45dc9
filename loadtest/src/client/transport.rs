//! ICE and DTLS of one client: who the other end is and which keys are shared with it.
//!
//! Sans-IO: datagrams and time in, datagrams out. The agent and the handshake are those of `str0m`, used by themselves.

use super::batch::Batch;
use super::sdp::Answer;
use super::srtp::Srtp;
use aws_lc_rs::{digest, hmac};
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol, Sha1HmacProvider};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Room for a DTLS record: an MTU is 1,150 in `dimpl`.
const DTLS_BUFFER: usize = 2_048;

/// HMAC-SHA1 of STUN's message integrity (RFC 8489 section 14.5).
#[derive(Debug)]
struct Integrity;

impl Sha1HmacProvider for Integrity {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        payloads.iter().for_each(|payload| context.update(payload));
        let mut out = [0; 20];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

static INTEGRITY: Integrity = Integrity;

/// What clients of a swarm share: one certificate, one configuration of DTLS.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
}

impl Identity {
    /// A fresh self-signed certificate; `None` when the library cannot make one.
    pub(crate) fn new() -> Option<Self> {
        let certificate = dimpl::certificate::generate_self_signed_certificate().ok()?;
        Some(Self { certificate, config: Arc::new(Config::default()) })
    }

    /// As in the `a=fingerprint` line, without the name of the hash.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.certificate.certificate)
    }
}

fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Up,
    Lost,
    /// The other end has another certificate than its answer says, or speaks no SRTP profile of ours.
    Wrong,
}

pub(crate) struct Transport {
    ice: IceAgent,
    dtls: Dtls,
    dtls_due: Option<Instant>,
    started: bool,
    we_are_server: bool,
    local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) srtp: Option<Srtp>,
    pub(crate) state: State,
    expected: Option<String>,
}

impl Transport {
    pub(crate) fn new(identity: &Identity, local: SocketAddr, now: Instant) -> Self {
        let mut ice = IceAgent::with_hmac(IceCreds::new(), &INTEGRITY);
        ice.set_controlling(true);
        add_local(&mut ice, local);
        Self {
            ice,
            dtls: Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now),
            dtls_due: None,
            started: false,
            we_are_server: true,
            local,
            remote: None,
            srtp: None,
            state: State::Connecting,
            expected: None,
        }
    }

    /// User name fragment and password for an offer.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        let own = self.ice.local_credentials();
        (&own.ufrag, &own.pass)
    }

    /// New credentials (RFC 8445 section 2.4); the old path is used until the new one is found.
    pub(crate) fn restart(&mut self) {
        self.ice.ice_restart(IceCreds::new(), true);
    }

    /// A new local port: the old candidate is gone, checks begin anew with the same credentials.
    pub(crate) fn moved(&mut self, local: SocketAddr) {
        if let Ok(old) = Candidate::host(self.local, "udp") {
            self.ice.invalidate_candidate(&old);
        }
        self.local = local;
        add_local(&mut self.ice, local);
    }

    pub(crate) fn on_answer(&mut self, answer: &Answer, now: Instant) {
        let remote = IceCreds { ufrag: answer.ufrag.clone(), pass: answer.pwd.clone() };
        if self.ice.remote_credentials() != Some(&remote) {
            self.ice.set_remote_credentials(remote);
        }
        for candidate in &answer.candidates {
            self.on_candidate(candidate);
        }
        self.expected = Some(answer.fingerprint.clone());
        if !self.started {
            self.started = true;
            self.we_are_server = answer.active;
            self.dtls.set_active(!answer.active);
            self.dtls_due = Some(now);
        }
    }

    /// Takes a `candidate:` line; what is not IPv4 over UDP is passed over.
    pub(crate) fn on_candidate(&mut self, line: &str) {
        if let Ok(candidate) = Candidate::from_sdp_string(line)
            && candidate.proto() == Protocol::Udp
            && candidate.addr().is_ipv4()
        {
            self.ice.add_remote_candidate(candidate);
        }
    }

    /// Takes a datagram that is STUN or DTLS.
    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        match bytes.first() {
            Some(0..=3) => {
                if let Ok(message) = StunMessage::parse(bytes) {
                    let packet = StunPacket { proto: Protocol::Udp, source: from, destination: self.local, message };
                    self.ice.handle_packet(now, packet);
                    self.ice.handle_timeout(now);
                }
            }
            Some(20..=63) if self.started => {
                let known = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(bytes));
                if known.is_err() && self.state == State::Connecting {
                    self.state = State::Wrong;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.ice.poll_timeout().is_none_or(|due| due <= now) {
            self.ice.handle_timeout(now);
        }
        if self.dtls_due.is_some_and(|due| due <= now) && self.remote.is_some() {
            self.dtls_due = None;
            // A fatal error shows as a handshake that never ends.
            let _ = self.dtls.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let dtls = self.dtls_due.filter(|_| self.remote.is_some());
        self.ice.poll_timeout().into_iter().chain(dtls).min()
    }

    /// Moves what ICE and DTLS want to send into the batch.
    pub(crate) fn drain(&mut self, now: Instant, out: &mut Batch) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { destination, .. } => self.remote = Some(destination),
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) if self.state == State::Up => {
                    self.state = State::Lost;
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Connected | IceConnectionState::Completed)
                    if self.state == State::Lost =>
                {
                    self.state = State::Up;
                }
                IceAgentEvent::IceRestart(_)
                | IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
        while let Some(datagram) = self.ice.poll_transmit() {
            out.push(datagram.destination, &datagram.contents);
        }
        let Some(remote) = self.remote.filter(|_| self.started) else { return };
        let mut buffer = [0; DTLS_BUFFER];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.push(remote, packet),
                Output::PeerCert(der) => {
                    let own = self.expected.as_deref().is_none_or(|expected| !fingerprint(der).eq_ignore_ascii_case(expected));
                    if own {
                        self.state = State::Wrong;
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    self.srtp = Srtp::new(profile, &material, self.we_are_server);
                    if self.srtp.is_none() {
                        self.state = State::Wrong;
                    }
                }
                Output::Connected | Output::ApplicationData(_) => {}
                Output::CloseNotify => self.state = State::Lost,
                Output::Timeout(due) => {
                    // Idle states answer with far times; a second is soon enough for those.
                    self.dtls_due = Some(due.max(now + Duration::from_millis(1)));
                    break;
                }
                Output::BufferTooSmall { .. } | _ => break,
            }
        }
        if self.state == State::Connecting && self.srtp.is_some() {
            self.state = State::Up;
        }
    }
}

fn add_local(ice: &mut IceAgent, local: SocketAddr) {
    if let Ok(candidate) = Candidate::host(local, "udp") {
        ice.add_local_candidate(candidate);
    }
}
