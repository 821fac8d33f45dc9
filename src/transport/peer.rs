//! One peer: connectivity, handshake, keys and data channels behind one door.
//!
//! [`Peer`] is fed datagrams that were already sorted by kind and time, and fills an [`Outbox`]. It knows no room, no track and
//! no person. Media is opened and sealed in place; which media goes where is decided above.

use super::dtls::{DtlsContext, DtlsEvent, DtlsFailure, DtlsTransport, Fingerprint, RtcDtls};
use super::ice::{Credentials, IceError, IceEvent, IceLite, IceState, candidate_line, host_candidates, parse_tag};
use super::outbox::{Debt, MAX_DATAGRAM, Outbox};
pub use super::sctp::OwnChannel;
use super::sctp::{ChannelId, DataChannels, DataEvent};
use super::sdp::Offer;
use super::srtp::{Datagram, OpenedRtp, Profile, Proofs, SessionKeys, SrtpReceiver, SrtpSender};
use crate::model::Instant;
use crate::model::counters::{DropReason, FailureReason};
use crate::model::{Path, ShardId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest data message, in bytes, announced in every answer: one SCTP user message that browsers and the stack both carry.
pub const MAX_MESSAGE_SIZE: usize = 65_535;

/// Content type of DTLS records that carry SCTP (RFC 5246, section 6.2.1).
const APPLICATION_DATA: u8 = 23;

/// What all peers of a process share: its certificate and its addresses.
pub struct Transport {
    dtls: Arc<DtlsContext>,
    candidates: Vec<String>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("candidates", &self.candidates.len()).finish_non_exhaustive()
    }
}

/// The process could not make its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the DTLS certificate could not be made")]
pub struct NoCertificate;

impl Transport {
    /// Makes a fresh certificate and writes the candidates of the addresses at which media is received.
    ///
    /// # Errors
    /// [`NoCertificate`] when the library cannot make one.
    pub fn new(addresses: &[SocketAddr]) -> Result<Self, NoCertificate> {
        Self::with_profiles(addresses, &Profile::ALL)
    }

    /// The same with SRTP profiles of one's own choice, the preferred first.
    ///
    /// # Errors
    /// [`NoCertificate`] when the library cannot make one.
    pub fn with_profiles(addresses: &[SocketAddr], profiles: &[Profile]) -> Result<Self, NoCertificate> {
        let dtls = Arc::new(DtlsContext::with_profiles(profiles).map_err(|_| NoCertificate)?);
        Ok(Self::with_context(dtls, addresses))
    }

    /// The same certificate with other addresses, for a worker with a port of its own.
    #[must_use]
    pub fn at(&self, addresses: &[SocketAddr]) -> Self {
        Self::with_context(self.dtls.clone(), addresses)
    }

    fn with_context(dtls: Arc<DtlsContext>, addresses: &[SocketAddr]) -> Self {
        let candidates = host_candidates(addresses).iter().map(candidate_line).collect();
        Self { dtls, candidates }
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        *self.dtls.fingerprint().as_bytes()
    }

    /// Values of `a=candidate` lines.
    #[must_use]
    pub fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// Fills a buffer with random bytes.
    pub fn fill_random(&self, buffer: &mut [u8]) {
        fill_random(buffer);
    }
}

fn fill_random(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the kernel's random number generator answers");
}

/// The longest check of the relay's own: header, a user name of 256 + 1 + 14 bytes, priority, role, integrity and fingerprint.
const MAX_CHECK: usize = 20 + 276 + 8 + 12 + 24 + 8;

/// Whose check a datagram answers: the shard, and the slot that was given to [`Peer::send_check`]; nothing is authenticated yet.
#[must_use]
pub fn slot_of_answer(datagram: &[u8]) -> Option<(ShardId, u32)> {
    let [shard, a, b, c, d] = parse_tag(datagram)?;
    Some((ShardId(shard), u32::from_be_bytes([a, b, c, d])))
}

/// What a valid connectivity check meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The address is known to be the peer's.
    Checked,
    /// A running call moved to another address.
    Moved,
}

/// What happened to a peer.
#[derive(Debug)]
pub enum PeerEvent {
    /// Keys are there; media and data may flow.
    Connected {
        /// Whether media is protected by AES-GCM.
        gcm: bool,
    },
    /// The peer is of no more use.
    Failed(FailureReason),
    /// Something of its data channels.
    Channel(ChannelEvent),
}

/// What happened on a data channel.
#[derive(Debug)]
pub enum ChannelEvent {
    /// The client opened one, or took one of ours.
    Open {
        /// Its number.
        channel: u16,
        /// What the client calls it.
        label: String,
    },
    /// It closed.
    Closed {
        /// Its number.
        channel: u16,
    },
    /// A message came.
    Message {
        /// On which channel.
        channel: u16,
        /// The message.
        message: Bytes,
    },
}

/// A description that does not fit the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description does not fit this peer")]
pub struct Unfitting;

/// One client's transport. In this order: what media touches comes first, up to the path at the beginning of `ice`.
#[repr(C)]
pub struct Peer {
    receiver: Option<SrtpReceiver>,
    sender: Option<SrtpSender>,
    data_held: bool,
    failed: bool,
    /// Consent has run out: nothing is sent.
    silent: bool,
    ice: IceLite,
    shard: ShardId,
    dtls_context: Arc<DtlsContext>,
    remote: Option<Remote>,
    /// Apart, as the channels are: media passes them by, and what it does touch should lie close together.
    dtls: Option<Box<RtcDtls>>,
    channels: Option<Box<DataChannels>>,
    /// Channels to open once data can flow.
    own_channels: Vec<OwnChannel>,
    events: VecDeque<PeerEvent>,
}

/// What the client's description said of itself.
struct Remote {
    ufrag: Arc<str>,
    pwd: Arc<str>,
    fingerprint: [u8; 32],
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("keys", &self.receiver.is_some()).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer that waits for its description and its first check.
    #[must_use]
    pub fn new(transport: &Transport, shard: ShardId) -> Self {
        Self {
            ice: IceLite::new(Credentials::new(&mut fill_random, shard)),
            shard,
            dtls_context: transport.dtls.clone(),
            remote: None,
            dtls: None,
            receiver: None,
            sender: None,
            channels: None,
            own_channels: Vec::new(),
            events: VecDeque::new(),
            data_held: false,
            failed: false,
            silent: false,
        }
    }

    /// Our credentials for the next answer.
    #[must_use]
    pub fn local(&self) -> &Credentials {
        self.ice.local()
    }

    /// Whether checks for a user fragment are still answered.
    #[must_use]
    pub fn answers_to(&self, ufrag: &str) -> bool {
        self.ice.ufrags().any(|known| known == ufrag)
    }

    /// Takes in what an offer says of the client's transport; answers our new user fragment when the offer restarts ICE
    /// (RFC 8839, section 4.4.3.1.1).
    ///
    /// # Errors
    /// [`Unfitting`] when the certificate changed, which only a new peer connection could explain, or the values are not usable.
    pub fn on_remote_description(&mut self, offer: &Offer) -> Result<Option<Box<str>>, Unfitting> {
        let said = Remote { ufrag: offer.ice_ufrag.clone(), pwd: offer.ice_pwd.clone(), fingerprint: offer.fingerprint };
        let Some(known) = &self.remote else {
            self.ice.set_remote(&said.ufrag, &said.pwd).map_err(|_| Unfitting)?;
            self.dtls = Some(Box::new(RtcDtls::new(self.dtls_context.clone(), Fingerprint::from(said.fingerprint))));
            self.remote = Some(said);
            return Ok(None);
        };
        if known.fingerprint != said.fingerprint {
            return Err(Unfitting);
        }
        if known.ufrag == said.ufrag && known.pwd == said.pwd {
            return Ok(None);
        }
        self.ice.restart(Credentials::new(&mut fill_random, self.shard));
        self.ice.set_remote(&said.ufrag, &said.pwd).map_err(|_| Unfitting)?;
        self.remote = Some(said);
        Ok(Some(self.ice.local().ufrag().into()))
    }

    /// Takes in what the answer to our own offer says of the client's transport.
    ///
    /// # Errors
    /// As [`on_remote_description`](Self::on_remote_description).
    pub fn on_answer(&mut self, answer: &Offer) -> Result<(), Unfitting> {
        let said = Remote { ufrag: answer.ice_ufrag.clone(), pwd: answer.ice_pwd.clone(), fingerprint: answer.fingerprint };
        if self.remote.as_ref().is_some_and(|known| known.fingerprint != said.fingerprint) {
            return Err(Unfitting);
        }
        self.ice.set_remote(&said.ufrag, &said.pwd).map_err(|_| Unfitting)?;
        if self.dtls.is_none() {
            self.dtls = Some(Box::new(RtcDtls::new(self.dtls_context.clone(), Fingerprint::from(said.fingerprint))));
        }
        self.remote = Some(said);
        Ok(())
    }

    /// Whether the client has described its transport.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.remote.is_some()
    }

    /// Takes fresh credentials for the next offer of ours, which restarts ICE with them; answers the new user fragment.
    pub fn restart_ice(&mut self) -> Box<str> {
        self.ice.restart(Credentials::new(&mut fill_random, self.shard));
        self.ice.local().ufrag().into()
    }

    /// Lets data channels be opened by us, as soon as the client's transport is there.
    pub fn announce_channels(&mut self, channels: Vec<OwnChannel>) {
        self.own_channels = channels;
    }

    /// Answers a connectivity check, if it is genuine.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8], outbox: &mut Outbox) -> Result<Outcome, DropReason> {
        let mut handled = Err(IceError::NoAnswer);
        let running = self.ice.selected().is_some();
        outbox.push_with(path, true, |slot| {
            handled = self.ice.handle_request(now, path, datagram, slot);
            handled.as_ref().ok().map(|handled| handled.answer_len)
        });
        match handled.map(|handled| handled.event) {
            Ok(Some(IceEvent::Nominated { moved: true, .. })) if running => Ok(Outcome::Moved),
            Ok(_) => Ok(Outcome::Checked),
            Err(IceError::NotARequest) => Err(DropReason::Malformed),
            Err(IceError::RateLimited) => Err(DropReason::RateLimit),
            Err(_) => Err(DropReason::StunAuth),
        }
    }

    /// Takes the answer to a check of the relay's own; `Moved` when the call goes on where it came from.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_answer(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<Outcome, DropReason> {
        match self.ice.handle_answer(now, path, datagram) {
            Ok(true) => Ok(Outcome::Moved),
            Ok(false) => Ok(Outcome::Checked),
            Err(IceError::NotARequest) => Err(DropReason::Malformed),
            Err(_) => Err(DropReason::StunAuth),
        }
    }

    /// Sends the check that media from an unknown address gave cause for; `slot` finds this peer again when it is answered, see
    /// [`slot_of_answer`]. Whether one went out.
    pub fn send_check(&mut self, now: Instant, slot: u32, outbox: &mut Outbox) -> bool {
        let [a, b, c, d] = slot.to_be_bytes();
        let mut check = [0u8; MAX_CHECK];
        let written = self.ice.poll_check(now, [self.shard.0, a, b, c, d], &mut fill_random, &mut check);
        if let Some((path, len)) = written {
            outbox.push(path, true, check.get(..len).unwrap_or_default());
        }
        written.is_some()
    }

    /// Whether media has just come from an unknown address, so that [`send_check`](Self::send_check) may have something.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        self.ice.is_astray()
    }

    /// When something authentic came last: media on the path in use, or a check on any.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        self.ice.heard().max(self.ice.last_check())
    }

    /// Takes a DTLS datagram from an address that passed a check.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let dtls = self.dtls.as_mut().ok_or(DropReason::NoKeys)?;
        if dtls.handle_datagram(now, datagram) { Ok(()) } else { Err(DropReason::BadDtls) }
    }

    /// Lets the tag of a media packet that lies here in a batch be made with those of others.
    pub fn foresee_rtp(&self, proofs: &mut Proofs, start: usize, packet: &[u8]) {
        self.receiver.iter().for_each(|receiver| proofs.foresee(receiver, start, packet));
    }

    /// Opens a media packet in place.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn open_rtp(&mut self, packet: &mut Datagram<'_>) -> Result<OpenedRtp, DropReason> {
        self.receiver.as_mut().ok_or(DropReason::NoKeys)?.open_datagram(packet).map_err(DropReason::from)
    }

    /// Opens a control packet in place; answers its plain length.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.receiver.as_mut().ok_or(DropReason::NoKeys)?.open_rtcp(packet).map_err(DropReason::from)
    }

    /// Takes note of a packet that was authentic; `true` when it moved the call to its path.
    pub fn on_authentic(&mut self, now: Instant, path: Path) -> bool {
        self.ice.on_media(now, path)
    }

    /// Seals a plain media packet of `len` bytes in place, for an outgoing batch; answers its final length.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], header_len: usize, len: usize, debt: Debt<'_>) -> Option<usize> {
        self.sender.as_mut()?.seal_rtp_on(debt, buffer, header_len, len).ok()
    }

    /// Seals a payload that lies elsewhere behind the header in `buffer`, for an outgoing batch; answers the final length.
    pub fn seal_rtp_from(&mut self, buffer: &mut [u8], header_len: usize, payload: &[u8], debt: Debt<'_>) -> Option<usize> {
        self.sender.as_mut()?.seal_rtp_from(debt, buffer, header_len, payload).ok()
    }

    /// Seals a plain control packet into the outgoing batch.
    pub fn send_rtcp(&mut self, packet: &[u8], outbox: &mut Outbox) -> bool {
        let (Some(path), Some(sender)) = (self.ice.selected(), self.sender.as_mut()) else { return false };
        outbox.push_with(path, true, |slot| {
            slot.get_mut(..packet.len())?.copy_from_slice(packet);
            sender.seal_rtcp(slot, packet.len()).ok()
        })
    }

    /// Asks for the parts that a media packet from it needs.
    pub fn warm_receiver(&self) {
        self.ice.warm(&self.receiver);
    }

    /// Asks for the parts that a media packet to it needs.
    pub fn warm_sender(&self) {
        self.ice.warm(&self.sender);
    }

    /// What opening its packets needs, a step further away.
    pub fn warm_opening(&self) {
        self.receiver.iter().for_each(SrtpReceiver::warm);
    }

    /// What sealing packets for it needs, a step further away.
    pub fn warm_sealing(&self) {
        self.sender.iter().for_each(SrtpSender::warm);
    }

    /// Where media goes now.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether media may be sent: keys are there, and a path.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.sender.is_some() && !self.silent && self.ice.selected().is_some()
    }

    /// Whether an address passed a check and is still remembered.
    #[must_use]
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.ice.validated().any(|path| path.remote == address)
    }

    /// How long no valid check has come, once consent to send has run out (RFC 7675); sending stops with the first look.
    pub fn silent_for(&mut self, now: Instant) -> Option<Duration> {
        self.silent = self.ice.state(now) == IceState::Expired;
        let last = self.ice.last_check().filter(|_| self.silent)?;
        Some(now.saturating_duration_since(last))
    }

    /// Why the peer never came up, as far as it can be told.
    #[must_use]
    pub fn obstacle(&self) -> FailureReason {
        if self.ice.selected().is_none() {
            return FailureReason::IceTimeout;
        }
        self.dtls.as_ref().and_then(|dtls| dtls.obstacle()).map_or(FailureReason::DtlsHandshake, reason_of)
    }

    /// Frees what is kept for a stream that is sent no longer.
    pub fn forget_outbound(&mut self, ssrc: u32) {
        if let Some(sender) = &mut self.sender {
            sender.forget(ssrc);
        }
    }

    /// Frees what is kept for a stream that is received no longer.
    pub fn forget_inbound(&mut self, ssrc: u32) {
        if let Some(receiver) = &mut self.receiver {
            receiver.forget(ssrc);
        }
    }

    /// Sends a data message; `false` when the channel is not open or has no room.
    pub fn send_data(&mut self, channel: u16, message: &[u8], now: Instant) -> bool {
        self.channels.as_mut().is_some_and(|channels| channels.send(ChannelId(channel), message, now).is_ok())
    }

    /// Holds data messages back from the next datagram on, those that were sent and lost included, or lets them go.
    pub fn hold_data(&mut self, held: bool) {
        self.data_held = held;
        if let Some(channels) = &mut self.channels {
            channels.hold(held);
        }
    }

    /// Passes time on.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        // Looking at an association costs allocations, so a link with media looks only when something is due.
        if let Some(channels) = &mut self.channels
            && channels.poll_timeout().is_some_and(|at| at <= now)
        {
            channels.handle_timeout(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.poll_timeout());
        let channels = self.channels.as_ref().and_then(|channels| channels.poll_timeout());
        // Once consent has run out, its end is no longer news.
        let consent = self.ice.poll_timeout().filter(|_| !self.silent);
        [consent, dtls, channels].into_iter().flatten().min()
    }

    /// What happened, until there is no more.
    pub fn poll_event(&mut self, now: Instant) -> Option<PeerEvent> {
        while let Some(event) = self.dtls.as_mut().and_then(|dtls| dtls.poll_event()) {
            self.on_dtls_event(event, now);
        }
        while let Some(event) = self.channels.as_mut().and_then(|channels| channels.poll_event()) {
            self.on_data_event(event);
        }
        self.events.pop_front()
    }

    /// Puts what waits into the outgoing batch.
    pub fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) {
        let Some(dtls) = &mut self.dtls else { return };
        if let Some(channels) = &mut self.channels {
            while let Some(packet) = channels.poll_packet(now) {
                if dtls.send(now, &packet).is_err() {
                    // SCTP repeats what does not arrive.
                    break;
                }
            }
        }
        let Some(path) = self.ice.selected().or_else(|| self.ice.validated().next()) else { return };
        while let Some(datagram) = dtls.poll_datagram() {
            debug_assert!(datagram.len() <= MAX_DATAGRAM, "the handshake is fragmented to the path's size");
            // Records of data channels can wait, handshakes and goodbyes cannot (RFC 6347, section 4.1).
            let urgent = datagram.first() != Some(&APPLICATION_DATA);
            outbox.push(path, urgent, &datagram);
        }
    }

    /// Says goodbye to the client's transport.
    pub fn close(&mut self, now: Instant, outbox: &mut Outbox) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.poll_transmit(now, outbox);
    }

    fn on_dtls_event(&mut self, event: DtlsEvent, now: Instant) {
        match event {
            DtlsEvent::Connected { profile, keying_material } => {
                let contexts = SessionKeys::split(profile, &keying_material, true)
                    .ok()
                    .and_then(|(inbound, outbound)| Some((SrtpReceiver::new(inbound).ok()?, SrtpSender::new(outbound).ok()?)));
                let Some((receiver, sender)) = contexts else { return self.fail(FailureReason::Internal) };
                self.receiver = Some(receiver);
                self.sender = Some(sender);
                let mut channels = DataChannels::new(MAX_MESSAGE_SIZE as u32);
                channels.hold(self.data_held);
                channels.announce(std::mem::take(&mut self.own_channels));
                self.channels = Some(Box::new(channels));
                self.events.push_back(PeerEvent::Connected { gcm: profile != Profile::Aes128CmSha1_80 });
            }
            DtlsEvent::Failed(failure) => self.fail(reason_of(failure)),
            DtlsEvent::Data(packet) => {
                if let Some(channels) = &mut self.channels {
                    channels.handle_packet(now, &packet);
                }
            }
            DtlsEvent::Closed => self.fail(FailureReason::DtlsClosed),
        }
    }

    fn on_data_event(&mut self, event: DataEvent) {
        let event = match event {
            DataEvent::Open { channel, label, .. } => ChannelEvent::Open { channel: channel.0, label },
            DataEvent::Message { channel, bytes, .. } => ChannelEvent::Message { channel: channel.0, message: bytes },
            DataEvent::Closed { channel } => ChannelEvent::Closed { channel: channel.0 },
            // Media goes on without data; the client opens a new peer connection if it needs data again.
            DataEvent::Failed => return,
        };
        self.events.push_back(PeerEvent::Channel(event));
    }

    fn fail(&mut self, reason: FailureReason) {
        if !self.failed {
            self.failed = true;
            self.receiver = None;
            self.sender = None;
            self.events.push_back(PeerEvent::Failed(reason));
        }
    }
}

fn reason_of(failure: DtlsFailure) -> FailureReason {
    match failure {
        DtlsFailure::NoProfile => FailureReason::NoSrtpProfile,
        DtlsFailure::FingerprintMismatch => FailureReason::Fingerprint,
        DtlsFailure::Handshake => FailureReason::DtlsHandshake,
    }
}
