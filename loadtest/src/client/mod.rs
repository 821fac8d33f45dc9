//! One synthetic client: its signalling, its WebRTC stack, the media it makes and what it makes of others'.
//!
//! Sans-IO but for the task of its WebSocket: `Client` takes news, datagrams and time, and leaves datagrams in a batch.
//! It speaks the LiveKit protocol with one peer connection (`/rtc/v1`) and assumes nothing of a relay beyond it.

mod adapt;
mod batch;
mod negotiation;
mod receiver;
mod rtcp;
mod sdp;
mod sender;
mod shape;
mod signal;
mod srtp;
mod stream;
mod transport;

pub(crate) use batch::Batch;
pub(crate) use signal::{Inbox, Letter, News};
pub(crate) use transport::Identity;

use crate::measure::Second;
use crate::random::Random;
use crate::swarm::{ClientId, Coming, Failure, Report};
use adapt::Adapt;
use livekit_protocol as lk;
use livekit_protocol::signal_request::Message as Up;
use receiver::{Head, Receiver};
use rtcp::Told;
use sdp::Section;
use sender::{Sender, Way};
use signal::{Call, OUTWARD, Outward, Refusal};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use transport::{State, Transport};

/// From the order to the join response; the upgrade may take 15 s and the first message 5.
const SIGNAL_TIME: Duration = Duration::from_secs(20);
/// From the join response to ICE and DTLS being done, as browsers' SDKs allow.
const TRANSPORT_TIME: Duration = Duration::from_secs(15);
/// How often streams are looked at for key frames they need.
const CHECK: Duration = Duration::from_millis(50);
/// Sender reports.
const REPORT: Duration = Duration::from_secs(1);
/// Pauses before the tries to come back, each half to one and a half times as long.
const RETRIES_MS: [u64; 10] = [200, 300, 1_200, 2_700, 4_800, 7_000, 7_000, 7_000, 7_000, 7_000];

/// How pictures are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// The AV1 RTP payload specification.
    Av1,
    /// RFC 6184.
    H264,
}

/// Voice or camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A voice.
    Audio,
    /// A camera.
    Video,
}

/// Which layer a receiver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// The lowest.
    Low,
    /// The middle one.
    Medium,
    /// The highest.
    High,
    /// None: the track is switched off.
    Off,
}

/// What a client's turn may use.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    /// ns of the wall clock.
    pub(crate) wall: u64,
    pub(crate) second: &'a mut Second,
    pub(crate) batch: &'a mut Batch,
    pub(crate) reports: &'a mut Vec<Report>,
    pub(crate) runtime: &'a Handle,
    pub(crate) inbox: &'a Inbox,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the join response.
    Joining,
    /// In the room; the transport may still be on its way.
    In,
    /// Comes back after a cut.
    Resuming,
    Over,
}

/// One client.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    slot: usize,
    coming: Box<Coming>,
    identity: Identity,
    random: Random,
    generation: u32,
    phase: Phase,
    since: Instant,
    signalled: Option<Duration>,
    up: bool,
    has_media: bool,
    deadline: Option<Instant>,
    signal: Option<mpsc::Sender<Outward>>,
    token: String,
    participant: String,
    transport: Transport,
    sections: Vec<Section>,
    senders: Vec<Sender>,
    receiver: Receiver,
    remote_tracks: Vec<(String, String, MediaKind)>,
    session: u64,
    offers: u32,
    pending: Option<u32>,
    offer_again: bool,
    restart_wanted: bool,
    transport_number: u16,
    adapt: Option<Adapt>,
    cut_at: Option<Instant>,
    retry_at: Option<Instant>,
    tries: usize,
    full: bool,
    next_check: Option<Instant>,
    next_report: Option<Instant>,
    key_frames_forced: bool,
    /// It wants a socket of another port.
    pub(crate) wants_socket: bool,
    scratch: Vec<u8>,
}

impl Client {
    /// A client on its way in.
    pub(crate) fn new(
        id: ClientId,
        (slot, generation): (usize, u32),
        coming: Box<Coming>,
        identity: &Identity,
        local: SocketAddr,
        turn: &Turn<'_>,
    ) -> Self {
        let mut random = Random::new(coming.seed ^ u64::from(id) << 32);
        let own_ssrc = random.bits() as u32;
        let adapts = coming.publish.video.as_ref().is_some_and(|video| video.adapt);
        let mut client = Self {
            id,
            slot,
            identity: identity.clone(),
            generation,
            phase: Phase::Joining,
            since: turn.now,
            signalled: None,
            up: false,
            has_media: false,
            deadline: Some(turn.now + SIGNAL_TIME),
            signal: None,
            token: coming.token.clone(),
            coming,
            participant: String::new(),
            transport: Transport::new(identity, local, turn.now),
            sections: Vec::new(),
            senders: Vec::new(),
            receiver: Receiver::new(own_ssrc, turn.now),
            remote_tracks: Vec::new(),
            session: random.bits() >> 1,
            random,
            offers: 0,
            pending: None,
            offer_again: false,
            restart_wanted: false,
            transport_number: 0,
            adapt: adapts.then(Adapt::new),
            cut_at: None,
            retry_at: None,
            tries: 0,
            full: false,
            next_check: None,
            next_report: None,
            key_frames_forced: false,
            wants_socket: false,
            scratch: Vec::new(),
        };
        client.call(turn);
        client
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up && self.transport.state == State::Up
    }

    pub(crate) fn takes(&self, generation: u32) -> bool {
        self.generation == generation
    }

    /// Begins a join or a resume.
    fn call(&mut self, turn: &Turn<'_>) {
        let resumes = self.phase == Phase::Resuming && !self.full;
        let join = self.join_request(resumes);
        self.generation = self.generation.wrapping_add(1);
        let (send, commands) = mpsc::channel(OUTWARD);
        self.signal = Some(send);
        let (url, token) = (self.coming.url.clone(), self.token.clone());
        let call = Call { slot: self.slot, generation: self.generation, url, token, join };
        drop(turn.runtime.spawn(signal::run(call, commands, turn.inbox.clone())));
        self.deadline = Some(turn.now + SIGNAL_TIME);
    }

    /// A queue that is full is a connection that stands still; the ping's timeout ends it.
    fn say(&self, message: Up) {
        self.command(Outward::Say(Box::new(message)));
    }

    fn command(&self, command: Outward) {
        if let Some(signal) = &self.signal {
            let _ = signal.try_send(command);
        }
    }

    /// Takes what the task of the WebSocket says.
    pub(crate) fn on_news(&mut self, news: News, turn: &mut Turn<'_>) {
        match news {
            News::Heard(message) => self.on_message(*message, turn),
            News::Refused(refusal) => self.on_refused(refusal, turn),
            News::Closed => self.on_closed(turn),
        }
        self.drain(turn);
    }

    fn on_refused(&mut self, refusal: Refusal, turn: &mut Turn<'_>) {
        self.signal = None;
        match self.phase {
            Phase::Joining => {
                let Refusal { status, retry_after, text } = refusal;
                turn.reports.push(Report::Refused { client: self.id, status, busy: status == Some(503), retry_after, text });
                self.phase = Phase::Over;
            }
            Phase::Resuming if matches!(refusal.status, Some(401 | 403)) => self.fail(Failure::SignalLost, turn),
            Phase::Resuming => self.retry(turn),
            Phase::In | Phase::Over => {}
        }
    }

    fn on_closed(&mut self, turn: &mut Turn<'_>) {
        self.signal = None;
        match self.phase {
            Phase::Joining => self.fail(Failure::SignalLost, turn),
            Phase::In if self.coming.resumes => {
                self.phase = Phase::Resuming;
                self.cut_at.get_or_insert(turn.now);
                self.tries = 0;
                self.retry(turn);
            }
            Phase::In => self.fail(Failure::SignalLost, turn),
            Phase::Resuming => self.retry(turn),
            Phase::Over => {}
        }
    }

    fn retry(&mut self, turn: &mut Turn<'_>) {
        let Some(pause) = RETRIES_MS.get(self.tries) else { return self.fail(Failure::SignalLost, turn) };
        self.tries += 1;
        self.deadline = None;
        self.retry_at = Some(turn.now + Duration::from_millis(*pause).mul_f64(0.5 + self.random.unit()));
    }

    fn fail(&mut self, why: Failure, turn: &mut Turn<'_>) {
        self.phase = Phase::Over;
        self.command(Outward::Bye);
        turn.reports.push(Report::Failed { client: self.id, why });
    }

    /// Says goodbye.
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Over;
        self.command(Outward::Bye);
        turn.reports.push(Report::Left { client: self.id });
    }

    /// Goes without a word.
    pub(crate) fn vanish(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Over;
        self.command(Outward::Cut);
        turn.reports.push(Report::Left { client: self.id });
    }

    /// Drops the WebSocket.
    pub(crate) fn cut_signal(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::In {
            self.cut_at = Some(turn.now);
            self.command(Outward::Cut);
        }
    }

    /// The swarm gave it a socket of another port.
    pub(crate) fn on_socket(&mut self, local: SocketAddr, turn: &mut Turn<'_>) {
        self.wants_socket = false;
        if self.full {
            self.restart(local, turn);
        } else {
            self.transport.moved(local);
        }
        self.drain(turn);
    }

    /// Everything anew but who it is.
    fn restart(&mut self, local: SocketAddr, turn: &mut Turn<'_>) {
        self.transport = Transport::new(&self.identity, local, turn.now);
        self.receiver = Receiver::new(self.random.bits() as u32, turn.now);
        self.sections.clear();
        self.senders.clear();
        self.remote_tracks.clear();
        (self.offers, self.pending, self.offer_again) = (0, None, false);
        self.up = false;
        self.retry(turn);
    }

    /// Gives up the session and comes anew.
    fn come_anew(&mut self, turn: &mut Turn<'_>) {
        if !self.coming.resumes {
            return self.fail(Failure::TransportLost, turn);
        }
        self.command(Outward::Bye);
        self.signal = None;
        // News of the connection that is left behind are not for this one.
        self.generation = self.generation.wrapping_add(1);
        self.cut_at.get_or_insert(turn.now);
        self.phase = Phase::Resuming;
        (self.full, self.wants_socket, self.tries) = (true, true, 0);
    }

    /// Stops or goes on with a kind of media.
    pub(crate) fn mute(&mut self, kind: MediaKind, muted: bool) {
        let mut said = Vec::new();
        for sender in self.senders.iter_mut().filter(|sender| sender.kind == kind) {
            sender.muted = muted;
            said.extend(sender.sid.clone());
        }
        said.into_iter().for_each(|sid| self.say(Up::Mute(lk::MuteTrackRequest { sid, muted })));
    }

    /// Asks for a layer of every camera it knows of.
    pub(crate) fn ask(&mut self, quality: Quality) {
        let sids: Vec<String> =
            self.remote_tracks.iter().filter(|(_, _, kind)| *kind == MediaKind::Video).map(|(_, sid, _)| sid.clone()).collect();
        if sids.is_empty() {
            return;
        }
        if quality == Quality::Off {
            self.receiver.streams.iter_mut().filter(|stream| stream.kind == MediaKind::Video).for_each(stream::Incoming::pause);
        }
        let (wanted, width, height) = match quality {
            Quality::Low => (lk::VideoQuality::Low, 320, 180),
            Quality::Medium => (lk::VideoQuality::Medium, 640, 360),
            Quality::High | Quality::Off => (lk::VideoQuality::High, 1_280, 720),
        };
        let disabled = quality == Quality::Off;
        let settings =
            lk::UpdateTrackSettings { track_sids: sids, disabled, quality: wanted.into(), width, height, ..Default::default() };
        self.say(Up::TrackSetting(settings));
    }

    /// Asks the senders of all cameras it gets for a key frame.
    pub(crate) fn ask_key_frames(&mut self, turn: &Turn<'_>) {
        self.key_frames_forced = true;
        self.next_check = Some(turn.now);
    }

    /// Takes a datagram; `arrived` is ns of the wall clock by the kernel.
    pub(crate) fn on_datagram(&mut self, from: SocketAddr, bytes: &mut [u8], arrived: u64, turn: &mut Turn<'_>) {
        match bytes.first() {
            Some(128..=191) => match bytes.get(1) {
                Some(192..=223) => self.on_rtcp(bytes, turn),
                _ => self.on_rtp(bytes, arrived, turn),
            },
            _ => {
                self.transport.handle_datagram(turn.now, from, bytes);
                self.drain(turn);
            }
        }
    }

    fn on_rtp(&mut self, bytes: &mut [u8], arrived: u64, turn: &mut Turn<'_>) {
        let (Some(head), Some(srtp)) = (Head::read(bytes), &self.transport.srtp) else { return };
        let index = self.receiver.index(&head);
        let Some(len) = srtp.open_rtp(bytes, head.len, head.ssrc, index) else { return };
        let Some(payload) = bytes.get(head.len..len) else { return };
        let media = self.receiver.handle_rtp(&head, payload, turn.now, arrived, turn.second);
        if media && !self.has_media {
            self.has_media = true;
            let after = turn.now.saturating_duration_since(self.since);
            crate::measure::note(&mut turn.second.first_media, after.as_millis() as u64);
            turn.reports.push(Report::FirstMedia { client: self.id, after });
        }
        if media {
            self.next_check.get_or_insert(turn.now + CHECK);
        }
    }

    fn on_rtcp(&mut self, bytes: &mut [u8], turn: &mut Turn<'_>) {
        let Some(len) = self.transport.srtp.as_ref().and_then(|srtp| srtp.open_rtcp(bytes)) else { return };
        let compound = bytes.get(..len).unwrap_or_default();
        self.receiver.on_sender_report(compound, turn.now);
        let mut all = Vec::new();
        rtcp::read(compound, |told| all.push(told));
        let (mut first, mut feedback) = (true, false);
        for told in all {
            match told {
                Told::Nack { ssrc, sequence } => self.repeat(ssrc, sequence, turn),
                Told::KeyFrame { ssrc } => {
                    turn.second.video.key_frame_requests += 1;
                    self.senders.iter_mut().filter_map(|sender| sender.layer_mut(ssrc)).for_each(sender::Layer::want_key_frame);
                }
                Told::Reported { ssrc } => {
                    self.senders.iter_mut().filter_map(|sender| sender.layer_mut(ssrc)).for_each(sender::Layer::on_reported);
                }
                Told::Transport { sequence, delta } => {
                    feedback = true;
                    let Some(adapt) = &mut self.adapt else { continue };
                    if first && delta.is_some() {
                        adapt.on_first(sequence);
                        first = false;
                    } else {
                        adapt.on_packet(sequence, delta);
                    }
                }
            }
        }
        if let Some(adapt) = self.adapt.as_mut().filter(|_| feedback) {
            adapt.on_feedback(turn.now);
            let scale = adapt.scale;
            self.senders.iter_mut().filter(|sender| sender.kind == MediaKind::Video).for_each(|sender| sender.scale = scale);
        }
    }

    fn repeat(&mut self, ssrc: u32, sequence: u16, turn: &mut Turn<'_>) {
        let (Some(srtp), Some(remote)) = (&self.transport.srtp, self.transport.remote) else { return };
        let transport = &mut self.transport_number;
        let mut way = Way { srtp, remote, batch: turn.batch, wall: turn.wall, transport, adapt: self.adapt.as_mut() };
        if self.senders.iter_mut().any(|sender| sender.repeat(ssrc, sequence, &mut way)) {
            turn.second.video.repeated += 1;
        }
    }

    /// When it wants a turn.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        if self.phase == Phase::Over {
            return None;
        }
        let times = [self.transport.poll_timeout(), self.deadline, self.retry_at];
        let media = [self.next_check, self.next_report, self.receiver.due()];
        let sending = self.senders.iter().filter_map(Sender::due).min();
        let media = media.into_iter().flatten().chain(sending).filter(|_| self.up).min();
        times.into_iter().flatten().chain(media).min()
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.call(turn);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            match self.phase {
                Phase::Joining => self.fail(Failure::SignalTimeout, turn),
                Phase::In if !self.up => self.fail(Failure::TransportTimeout, turn),
                Phase::Resuming => self.retry(turn),
                Phase::In | Phase::Over => {}
            }
        }
        if self.transport.poll_timeout().is_none_or(|at| at <= now) {
            self.transport.handle_timeout(now);
            self.drain(turn);
        }
        if self.up {
            self.media(turn);
            self.control(turn);
        }
    }

    fn media(&mut self, turn: &mut Turn<'_>) {
        let (Some(srtp), Some(remote)) = (&self.transport.srtp, self.transport.remote) else { return };
        for sender in &mut self.senders {
            if sender.due().is_none_or(|at| at > turn.now) {
                continue;
            }
            let transport = &mut self.transport_number;
            let mut way = Way { srtp, remote, batch: turn.batch, wall: turn.wall, transport, adapt: self.adapt.as_mut() };
            let Second { audio, video, late, .. } = &mut *turn.second;
            let seen = if sender.kind == MediaKind::Audio { audio } else { video };
            sender.on_time(turn.now, &mut way, seen, late);
        }
    }

    fn control(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.scratch.clear();
        if self.next_check.is_some_and(|at| at <= now) {
            self.next_check = Some(now + CHECK);
            self.receiver.key_frames(now, turn.wall, std::mem::take(&mut self.key_frames_forced), &mut self.scratch);
        }
        if self.receiver.due().is_some_and(|at| at <= now) {
            self.receiver.on_time(now, &mut self.scratch);
        }
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT);
            // Seconds since 1900 (RFC 3550 section 4).
            let ntp = u128::from(turn.wall) + 2_208_988_800 * 1_000_000_000;
            let ntp = ((ntp << 32) / 1_000_000_000) as u64;
            for (ssrc, timestamp, packets, bytes) in self.senders.iter().flat_map(Sender::reports) {
                rtcp::sender_report(&mut self.scratch, ssrc, ntp, timestamp, packets, bytes);
            }
        }
        let (Some(srtp), Some(remote)) = (self.transport.srtp.as_mut(), self.transport.remote) else { return };
        if !self.scratch.is_empty() {
            let scratch = &self.scratch;
            turn.batch.write(remote, |out| {
                let start = out.len();
                out.extend_from_slice(scratch);
                srtp.seal_rtcp(out, start);
            });
        }
    }

    /// Lets the transport speak and looks at how far it is.
    fn drain(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Over {
            return;
        }
        self.transport.drain(turn.now, turn.batch);
        match self.transport.state {
            State::Up if !self.up && self.phase != Phase::Joining => self.on_up(turn),
            State::Lost if self.phase == Phase::In => self.come_anew(turn),
            State::Wrong => self.fail(Failure::Protocol, turn),
            State::Connecting | State::Up | State::Lost => {}
        }
    }

    fn on_up(&mut self, turn: &mut Turn<'_>) {
        self.up = true;
        if self.phase == Phase::In {
            self.deadline = None;
        }
        self.next_report = Some(turn.now + REPORT.mul_f64(self.random.unit()));
        self.senders.iter_mut().for_each(|sender| sender.on_up(turn.now));
        if let Some(signalled) = self.signalled.take() {
            let connected = turn.now.saturating_duration_since(self.since);
            crate::measure::note(&mut turn.second.signalled, signalled.as_millis() as u64);
            crate::measure::note(&mut turn.second.joined, connected.as_millis() as u64);
            turn.reports.push(Report::Joined { client: self.id, signalled, connected });
        }
    }

    /// Once a second: gaps that stayed, streams that ended.
    pub(crate) fn every_second(&mut self, turn: &mut Turn<'_>) {
        self.receiver.every_second(turn.now, turn.second);
        if self.is_up() {
            turn.second.clients_up += 1;
        } else {
            turn.second.clients_joining += 1;
        }
    }
}
