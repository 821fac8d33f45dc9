//! One participant: an independent WebRTC stack (`str0m`) and the little of a client that signals for it.

use super::media::{self, Kind, Mark};
use super::rng::Rng;
use colloque::consultation::AddTrack;
use colloque::model::roster::{
    Encryption, LeaveReason, Participant, ParticipantState, Permissions, Quality, Source, Text, VideoLayer,
};
use colloque::model::{Codec, MediaKind, ParticipantSid, RoomKey, SessionId, TrackCid, TrackSid};
use colloque::relay::command::{Answer, Offer, Request};
use colloque::relay::event::{Event, EventSink, Gone, Refusal};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsCert;
use str0m::media::{Direction, KeyframeRequestKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{ExtensionValues, RawPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Input, Output, Rtc};

/// Rids of the simulcast layers, lowest first.
const RIDS: [&str; 3] = ["q", "h", "f"];

/// A voice every 20 ms, a picture every 40.
/// A source that is so late was silent, and does not make up for it.
const SILENT: Duration = Duration::from_millis(200);
const AUDIO_EVERY: Duration = Duration::from_millis(20);
const VIDEO_EVERY: Duration = Duration::from_millis(40);

/// How somebody comes.
#[derive(Clone, Debug)]
pub(crate) struct Coming {
    pub(crate) audio: bool,
    /// Simulcast layers of a camera, 0 for none.
    pub(crate) video: usize,
    /// The layers are those of one scalable stream (VP9), not streams of their own.
    pub(crate) scalable: bool,
    /// Takes and sends redundant sound, and prefers it.
    pub(crate) redundant: bool,
    pub(crate) permissions: Permissions,
    pub(crate) auto_subscribe: bool,
    pub(crate) data: bool,
    /// Signals another certificate than it has.
    pub(crate) wrong_fingerprint: bool,
    /// Never sends a datagram.
    pub(crate) mute_line: bool,
    /// Receives on a peer connection that the relay offers; it publishes nothing, so that this is its only one.
    pub(crate) is_offered: bool,
    /// Attributes of its token; with a role among them it comes to a consultation.
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// When its token was issued, seconds since the Unix epoch; 0 for now.
    pub(crate) issued_at_s: u64,
}

impl Default for Coming {
    fn default() -> Self {
        let permissions =
            Permissions { subscribe: true, publish: true, publish_data: true, sources: Vec::new(), update_own_metadata: true };
        Self {
            audio: true,
            video: 1,
            scalable: false,
            redundant: false,
            permissions,
            auto_subscribe: true,
            data: true,
            wrong_fingerprint: false,
            mute_line: false,
            is_offered: false,
            attributes: Vec::new(),
            issued_at_s: 0,
        }
    }
}

impl Coming {
    pub(crate) fn viewer() -> Self {
        Self { audio: false, video: 0, ..Self::default() }
    }

    pub(crate) fn offered() -> Self {
        Self { is_offered: true, ..Self::viewer() }
    }
}

/// A track of one's own.
#[derive(Debug)]
pub(crate) struct OwnTrack {
    pub(crate) kind: Kind,
    pub(crate) sid: Option<TrackSid>,
    pub(crate) mid: Mid,
    cid: TrackCid,
    streams: Vec<Stream>,
    pub(crate) next_at: Option<Instant>,
    /// Packets are made; the relay must hold them back itself while the track is muted.
    pub(crate) sending: bool,
    pub(crate) packets_per_frame: u8,
    /// Spatial layers of each picture.
    pub(crate) spatial: u8,
    scalable: bool,
    pub(crate) packet_len: usize,
    /// Packets of a frame for each layer, where they differ.
    pub(crate) layer_packets: Option<[u8; 3]>,
    /// Frames of 4 to 9 packets within 50 bytes of `packet_len` instead, the last one a little shorter: chosen by this generator.
    pub(crate) varied: Option<Rng>,
    pub(crate) every: Duration,
}

#[derive(Debug)]
struct Stream {
    rid: Option<Rid>,
    sequence: u64,
    timestamp: u32,
    frame: u32,
    keys: u8,
    key_wanted: bool,
    /// The packet of sound before.
    last: Vec<u8>,
}

/// A media packet that came out of the stack.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    /// The relay's count of sent datagrams when it left there.
    pub(crate) left: u64,
    pub(crate) mark: Mark,
    pub(crate) sequence: u64,
    pub(crate) marker: bool,
    pub(crate) mid: Option<Mid>,
}

/// Takes events of the relay; a closed one takes no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox(Arc<Mutex<(VecDeque<Event>, bool)>>);

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, (VecDeque<Event>, bool)> {
        self.0.lock().expect("nobody panics with it")
    }

    pub(crate) fn take(&self) -> Option<Event> {
        self.lock().0.pop_front()
    }

    pub(crate) fn close(&self) {
        self.lock().1 = true;
    }
}

impl EventSink for Inbox {
    fn push(&mut self, event: Event) -> Result<(), Gone> {
        let mut inner = self.lock();
        if inner.1 {
            return Err(Gone);
        }
        inner.0.push_back(event);
        Ok(())
    }
}

/// Control packets the stack saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    pub(crate) twcc_in: usize,
    pub(crate) nack_in: usize,
    pub(crate) nack_out: usize,
    pub(crate) sender_reports_in: usize,
    pub(crate) receiver_reports_in: usize,
    pub(crate) rtx_out: usize,
}

pub(crate) struct Person {
    pub(crate) number: u8,
    pub(crate) name: String,
    pub(crate) room: RoomKey,
    pub(crate) sid: Option<ParticipantSid>,
    pub(crate) session: SessionId,
    pub(crate) issued_at_s: u64,
    pub(crate) inbox: Inbox,
    pub(crate) rtc: Rtc,
    pub(crate) address: SocketAddr,
    pub(crate) tracks: Vec<OwnTrack>,
    pub(crate) received: Vec<Received>,
    pub(crate) key_frame_requests: Vec<(Instant, Mid)>,
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) channels: HashMap<ChannelId, String>,
    pub(crate) control: Control,
    /// Every event of the relay, in order, without roster news.
    pub(crate) heard: Vec<Event>,
    /// Records of people who left.
    pub(crate) departures: usize,
    /// It does not read what it is told for now.
    pub(crate) reads_slowly: bool,
    /// Whom its roster named from a number of sent datagrams on.
    pub(crate) rosters: Vec<(u64, BTreeSet<ParticipantSid>)>,
    pub(crate) roster: HashMap<ParticipantSid, Arc<Participant>>,
    pub(crate) by_mid: HashMap<String, TrackSid>,
    pub(crate) left: Option<LeaveReason>,
    pub(crate) refused: bool,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) connected: bool,
    pub(crate) mute_line: bool,
    pub(crate) voice_level: i8,
    /// Answers no offer.
    pub(crate) is_deaf: bool,
    pub(crate) timeout: Instant,
    pending: Option<(u32, SdpPendingOffer)>,
    wanted: Option<(u32, u32)>,
    offers: u32,
    started: Instant,
    candidate: Candidate,
    wrong_fingerprint: bool,
    redundant: bool,
}

/// A datagram somebody wants to send.
pub(crate) struct Sending {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

fn candidate(address: SocketAddr) -> Candidate {
    Candidate::host(address, "udp").expect("an address makes a candidate")
}

impl Person {
    /// The number of the next frame of a track of this kind, or packet of sound.
    pub(crate) fn next_frame(&self, kind: Kind) -> u32 {
        let track = self.tracks.iter().find(|track| track.kind == kind);
        track.and_then(|track| track.streams.first()).map_or(0, |stream| stream.frame + 1)
    }

    pub(crate) fn new(
        number: u8,
        name: &str,
        room: RoomKey,
        address: SocketAddr,
        certificate: DtlsCert,
        coming: &Coming,
        now: Instant,
    ) -> Self {
        let config = Rtc::builder().clear_codecs().enable_opus(true, coming.redundant).enable_vp8(true).enable_vp9(true);
        let config = config.set_rtp_mode(true).set_dtls_cert(certificate).enable_raw_packets(true);
        let mut rtc = config.build(now);
        let candidate = candidate(address);
        rtc.add_local_candidate(candidate.clone());
        Self {
            number,
            name: name.to_owned(),
            room,
            sid: None,
            session: SessionId(0),
            issued_at_s: 0,
            inbox: Inbox::default(),
            rtc,
            address,
            tracks: Vec::new(),
            received: Vec::new(),
            key_frame_requests: Vec::new(),
            messages: Vec::new(),
            channels: HashMap::new(),
            control: Control::default(),
            heard: Vec::new(),
            departures: 0,
            reads_slowly: false,
            rosters: Vec::new(),
            roster: HashMap::new(),
            by_mid: HashMap::new(),
            left: None,
            refused: false,
            refusal: None,
            connected: false,
            mute_line: coming.mute_line,
            voice_level: -127,
            is_deaf: false,
            timeout: now,
            pending: None,
            wanted: None,
            offers: 0,
            started: now,
            candidate,
            wrong_fingerprint: coming.wrong_fingerprint,
            redundant: coming.redundant,
        }
    }

    /// The first offer and what it announces.
    pub(crate) fn first_offer(&mut self, coming: &Coming) -> (Offer, Vec<AddTrack>) {
        let mut announced = Vec::new();
        let mut api = self.rtc.sdp_api();
        if coming.data {
            let label = |label: &str| ChannelConfig { label: label.to_owned(), ..ChannelConfig::default() };
            api.add_channel_with_config(label("_reliable"));
            let reliability = Reliability::MaxRetransmits { retransmits: 0 };
            api.add_channel_with_config(ChannelConfig { ordered: false, reliability, ..label("_lossy") });
        }
        let mut tracks = Vec::new();
        if coming.audio {
            let cid = format!("voice-{}", self.number);
            let mid = api.add_media(
                str0m::media::MediaKind::Audio,
                Direction::SendOnly,
                Some("camera".into()),
                Some(cid.clone()),
                None,
            );
            announced.push(announcement(&cid, Kind::Audio, 1));
            tracks.push((Kind::Audio, mid, cid, 1));
        }
        if coming.video > 0 {
            let cid = format!("camera-{}", self.number);
            let simulcast = (coming.video > 1 && !coming.scalable).then(|| {
                let mut simulcast = Simulcast::new();
                RIDS.iter().take(coming.video).for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
                simulcast
            });
            let kind = str0m::media::MediaKind::Video;
            let mid = api.add_media(kind, Direction::SendOnly, Some("camera".into()), Some(cid.clone()), simulcast);
            let announcement = announcement(&cid, Kind::Video, coming.video);
            announced.push(AddTrack { codec: Some(if coming.scalable { Codec::Vp9 } else { Codec::Vp8 }), ..announcement });
            tracks.push((Kind::Video, mid, cid, coming.video));
        }
        if tracks.is_empty() && !coming.data {
            api.add_media(str0m::media::MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().expect("something to offer");
        for (kind, mid, cid, layers) in tracks {
            let scalable = coming.scalable && kind == Kind::Video;
            let mut track = OwnTrack::new(kind, mid, &cid, if scalable { 1 } else { layers }, self.number);
            track.spatial = if scalable { layers as u8 } else { 1 };
            track.scalable = scalable;
            self.tracks.push(track);
        }
        self.offers += 1;
        self.pending = Some((self.offers, pending));
        let mut sdp = offer.to_sdp_string();
        if self.wrong_fingerprint {
            sdp = sdp.lines().map(twist_fingerprint).collect::<Vec<_>>().join("\r\n") + "\r\n";
        }
        (Offer { id: self.offers, sdp }, announced)
    }

    /// The next event, if it reads.
    pub(crate) fn next_event(&self) -> Option<Event> {
        if self.reads_slowly { None } else { self.inbox.take() }
    }

    /// Takes one event of the relay and says what the client asks in return.
    pub(crate) fn on_event(&mut self, event: Event) -> Vec<Request> {
        let mut requests = Vec::new();
        match &event {
            Event::Receipt(ticket) => return vec![Request::Written(*ticket)],
            Event::Joined(joined) => {
                self.sid = Some(joined.participant.sid.clone());
                self.on_roster(&joined.others);
            }
            Event::Resumed { participant, .. } => self.sid = Some(participant.sid.clone()),
            Event::Rejected(refusal) => (self.refused, self.refusal) = (true, Some(*refusal)),
            Event::Answer { id, sdp, tracks_by_mid } => {
                if let Some((_, pending)) = self.pending.take_if(|(offered, _)| offered == id) {
                    let answer = SdpAnswer::from_sdp_string(&sdp.0).expect("an answer another stack can read");
                    self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits the offer");
                }
                self.by_mid = tracks_by_mid.iter().map(|(mid, sid)| (mid.to_string(), sid.clone())).collect();
                if let Some((audio, video)) = self.wanted.take() {
                    requests.push(Request::Offer(self.offer_more(audio, video)));
                }
            }
            Event::Offer { id, sdp, tracks_by_mid } if !self.is_deaf => {
                // Left the choice of DTLS roles, this stack would take the passive one, and browsers take the active.
                let offer = sdp.0.replace("a=setup:actpass", "a=setup:passive");
                let offer = SdpOffer::from_sdp_string(&offer).expect("an offer another stack can read");
                let answer = self.rtc.sdp_api().accept_offer(offer).expect("an offer that can be answered");
                self.by_mid = tracks_by_mid.iter().map(|(mid, sid)| (mid.to_string(), sid.clone())).collect();
                requests.push(Request::Answer(Answer { id: *id, sdp: answer.to_sdp_string() }));
            }
            Event::SectionsWanted { audio, video } => {
                if self.pending.is_some() {
                    self.wanted = Some((*audio, *video));
                } else {
                    requests.push(Request::Offer(self.offer_more(*audio, *video)));
                }
            }
            Event::TrackAccepted { cid, track } => {
                if let Some(own) = self.tracks.iter_mut().find(|own| own.cid == *cid) {
                    own.sid = Some(track.sid.clone());
                }
            }
            Event::Leave { reason, .. } => self.left = Some(*reason),
            Event::Roster(records) => {
                self.on_roster(records);
                return requests;
            }
            _ => {}
        }
        self.heard.push(event);
        requests
    }

    fn on_roster(&mut self, records: &[Arc<Participant>]) {
        for record in records {
            if record.state == ParticipantState::Disconnected {
                self.departures += 1;
                self.roster.remove(&record.sid);
            } else {
                self.roster.insert(record.sid.clone(), record.clone());
            }
        }
    }

    fn offer_more(&mut self, audio: u32, video: u32) -> Offer {
        let mut api = self.rtc.sdp_api();
        for _ in 0..audio {
            api.add_media(str0m::media::MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        // This stack makes no offer in which nothing is new.
        for _ in 0..video.max(u32::from(audio == 0)) {
            api.add_media(str0m::media::MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().expect("new sections");
        self.numbered(&offer.to_sdp_string(), pending)
    }

    fn numbered(&mut self, sdp: &str, pending: SdpPendingOffer) -> Offer {
        self.offers += 1;
        self.pending = Some((self.offers, pending));
        Offer { id: self.offers, sdp: sdp.to_owned() }
    }

    /// An offer with fresh ICE credentials (RFC 8839, section 4.4.3.1.1).
    pub(crate) fn restart_ice(&mut self) -> Offer {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().expect("a restart is a change");
        self.numbered(&offer.to_sdp_string(), pending)
    }

    /// From now on the stack sends from another address.
    pub(crate) fn move_to(&mut self, address: SocketAddr) {
        let old = std::mem::replace(&mut self.candidate, candidate(address));
        self.rtc.direct_api().invalidate_candidate(&old);
        self.rtc.add_local_candidate(self.candidate.clone());
        self.address = address;
    }

    /// Asks for no packet again from now on, of pictures received so far.
    pub(crate) fn ask_for_nothing(&mut self) {
        for ssrc in self.video_ssrcs() {
            if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
                stream.suppress_nack(true);
            }
        }
    }

    /// Asks the sender of everything received for a key frame, as a viewer may.
    pub(crate) fn request_key_frames(&mut self) {
        let ssrcs: Vec<Ssrc> = self.video_ssrcs();
        for ssrc in ssrcs {
            if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
    }

    fn video_ssrcs(&mut self) -> Vec<Ssrc> {
        let mids: Vec<Mid> = {
            let mut mids: Vec<Mid> =
                self.received.iter().filter(|received| received.mark.kind == Kind::Video).filter_map(|one| one.mid).collect();
            mids.sort_unstable();
            mids.dedup();
            mids
        };
        let mut api = self.rtc.direct_api();
        mids.into_iter().filter_map(|mid| api.stream_rx_by_mid(mid, None).map(|stream| stream.ssrc())).collect()
    }

    /// Sends a data message; `false` while its channel is not open.
    pub(crate) fn send_data(&mut self, label: &str, message: &[u8]) -> bool {
        let id = self.channels.iter().find(|(_, open)| *open == label).map(|(id, _)| *id);
        id.and_then(|id| self.rtc.channel(id)).is_some_and(|mut channel| channel.write(true, message).expect("a live channel"))
    }

    /// When the next media packet is due.
    pub(crate) fn next_media(&self) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        self.tracks.iter().filter(|track| track.sending).filter_map(|track| track.next_at).min()
    }

    /// When to call [`on_time`](Self::on_time).
    pub(crate) fn next(&self) -> Option<Instant> {
        if !self.rtc.is_alive() {
            return None;
        }
        Some(self.next_media().map_or(self.timeout, |media| media.min(self.timeout)))
    }

    /// Makes media that is due and passes time on.
    pub(crate) fn on_time(&mut self, now: Instant, out: &mut Vec<Sending>) {
        for index in 0..self.tracks.len() {
            while self
                .tracks
                .get(index)
                .is_some_and(|track| self.connected && track.sending && track.next_at.is_some_and(|at| at <= now))
            {
                self.make_media(index, now, out);
            }
        }
        if self.timeout <= now {
            self.input(Input::Timeout(now), now, 0, out);
        }
    }

    /// Takes a datagram in.
    pub(crate) fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], left: u64, out: &mut Vec<Sending>) {
        if let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) {
            self.input(Input::Receive(now, receive), now, left, out);
        }
    }

    fn input(&mut self, input: Input<'_>, now: Instant, left: u64, out: &mut Vec<Sending>) {
        if self.rtc.is_alive() && self.rtc.handle_input(input).is_ok() {
            self.drain(now, left, out);
        }
    }

    /// Lets the stack say what it has to send; wanted after every change to it.
    pub(crate) fn drain(&mut self, now: Instant, left: u64, out: &mut Vec<Sending>) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at.max(now + Duration::from_micros(100));
                    return;
                }
                Ok(Output::Transmit(datagram)) => {
                    if !self.mute_line {
                        let bytes = datagram.contents.to_vec();
                        out.push(Sending { from: datagram.source, to: datagram.destination, bytes });
                    }
                }
                Ok(Output::Event(event)) => self.on_stack(event, now, left),
                Err(_) => {
                    self.rtc.disconnect();
                    return;
                }
            }
        }
    }

    fn on_stack(&mut self, event: str0m::Event, now: Instant, left: u64) {
        match event {
            str0m::Event::Connected => {
                self.connected = true;
                for track in &mut self.tracks {
                    track.next_at.get_or_insert(now);
                }
            }
            str0m::Event::RtpPacket(packet) => {
                let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|stream| stream.mid());
                let marker = packet.header.marker;
                // A redundant packet brings earlier ones as well.
                let sequence = *packet.seq_no;
                let marks = Mark::read_all(&packet.payload);
                self.received.extend(marks.map(|mark| Received { at: now, left, mark, sequence, marker, mid }));
            }
            str0m::Event::KeyframeRequest(request) => {
                self.key_frame_requests.push((now, request.mid));
                if let Some(track) = self.tracks.iter_mut().find(|track| track.mid == request.mid) {
                    for stream in track.streams.iter_mut().filter(|stream| stream.rid == request.rid || request.rid.is_none()) {
                        stream.key_wanted = true;
                    }
                }
            }
            str0m::Event::ChannelOpen(id, label) => {
                self.channels.insert(id, label);
            }
            str0m::Event::ChannelData(data) => {
                let label = self.channels.get(&data.id).cloned().unwrap_or_default();
                self.messages.push((label, data.data));
            }
            str0m::Event::RawPacket(packet) => self.on_raw(&packet),
            _ => {}
        }
    }

    fn on_raw(&mut self, packet: &RawPacket) {
        match packet {
            RawPacket::RtcpRx(Rtcp::Twcc(_)) => self.control.twcc_in += 1,
            RawPacket::RtcpRx(Rtcp::Nack(_)) => self.control.nack_in += 1,
            RawPacket::RtcpTx(Rtcp::Nack(_)) => self.control.nack_out += 1,
            RawPacket::RtcpRx(Rtcp::SenderReport(_)) => self.control.sender_reports_in += 1,
            RawPacket::RtcpRx(Rtcp::ReceiverReport(_)) => self.control.receiver_reports_in += 1,
            RawPacket::RtpTx(header, _) => {
                let rtx = self.rtc.codec_config().iter().any(|params| params.resend() == Some(header.payload_type));
                self.control.rtx_out += usize::from(rtx);
            }
            _ => {}
        }
    }

    fn make_media(&mut self, index: usize, now: Instant, out: &mut Vec<Sending>) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let codec = match track.kind {
            Kind::Audio => str0m::format::Codec::Opus,
            Kind::Video if track.scalable => str0m::format::Codec::Vp9,
            Kind::Video => str0m::format::Codec::Vp8,
        };
        // What was not said while it was silent is not said later.
        let said = |at: Instant| if now.saturating_duration_since(at) > SILENT { now } else { at };
        track.next_at = track.next_at.map(|at| said(at) + track.every);
        let Some(params) = self.rtc.codec_config().find(|params| params.spec().codec == codec) else { return };
        let (pt, red) = (params.pt(), params.red().filter(|_| self.redundant));
        let (mid, kind) = (track.mid, track.kind);
        let (all_parts, len, shorter) = track.next_frame();
        let (spatial, scalable, layer_packets) = (track.spatial, track.scalable, track.layer_packets);
        let mut writes = Vec::new();
        for (layer, stream) in track.streams.iter_mut().enumerate() {
            let key = kind == Kind::Audio || std::mem::take(&mut stream.key_wanted);
            stream.keys = stream.keys.wrapping_add(u8::from(key));
            stream.frame += 1;
            stream.timestamp = stream.timestamp.wrapping_add(if kind == Kind::Audio { 960 } else { 3_600 });
            let parts = layer_packets.and_then(|parts| parts.get(layer).copied()).unwrap_or(all_parts);
            for (sub, part) in (0..spatial).flat_map(|sub| (0..parts).map(move |part| (sub, part))) {
                let mark = Mark { from: self.number, kind, layer: layer as u8 + sub, key, frame: stream.frame, part };
                let len = if part + 1 == parts { len - shorter } else { len };
                let payload = match kind {
                    Kind::Audio => media::audio(&mark, len),
                    Kind::Video if scalable => media::scalable(&mark, stream.frame as u16, part + 1 == parts, len),
                    Kind::Video => media::video(&mark, stream.frame as u16, stream.keys, len),
                };
                let (pt, payload) = match red.filter(|_| kind == Kind::Audio) {
                    Some(red) => {
                        let whole = media::redundant(*pt, &stream.last, &payload);
                        stream.last = payload;
                        (red, whole)
                    }
                    None => (pt, payload),
                };
                stream.sequence += 1;
                let level = (kind == Kind::Audio).then_some(self.voice_level);
                let ext = ExtensionValues { audio_level: level, voice_activity: level.map(|l| l > -50), ..Default::default() };
                let write = RtpWrite::new(pt, stream.sequence.into(), stream.timestamp, now, payload);
                let marker = kind == Kind::Audio || (part + 1 == parts && sub + 1 == spatial);
                writes.push((stream.rid, write.marker(marker).ext_vals(ext).nackable(true)));
            }
        }
        for (rid, write) in writes {
            if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, rid) {
                stream.write_rtp(write);
            }
            self.drain(now, 0, out);
            self.input(Input::Timeout(now), now, 0, out);
        }
    }

    pub(crate) fn own(&self, kind: Kind) -> &OwnTrack {
        self.tracks.iter().find(|track| track.kind == kind).expect("publishes it")
    }

    pub(crate) fn own_mut(&mut self, kind: Kind) -> &mut OwnTrack {
        self.tracks.iter_mut().find(|track| track.kind == kind).expect("publishes it")
    }

    /// The id of a track of its own, once accepted.
    pub(crate) fn track(&self, kind: Kind) -> TrackSid {
        self.own(kind).sid.clone().expect("the relay accepted the track")
    }

    /// How long ago it was made.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

impl OwnTrack {
    fn new(kind: Kind, mid: Mid, cid: &str, layers: usize, number: u8) -> Self {
        let stream = |layer: usize| Stream {
            rid: (layers > 1).then(|| RIDS.get(layer).copied().unwrap_or("f").into()),
            // Close to the wrap, so that every long story crosses it.
            sequence: 65_000 + u64::from(number),
            timestamp: 0x1234_0000 + u32::from(number),
            frame: 0,
            keys: 0,
            key_wanted: true,
            last: Vec::new(),
        };
        Self {
            kind,
            sid: None,
            mid,
            cid: TrackCid::new(cid),
            streams: (0..layers).map(stream).collect(),
            next_at: None,
            sending: true,
            spatial: 1,
            scalable: false,
            packets_per_frame: if kind == Kind::Audio { 1 } else { 2 },
            packet_len: if kind == Kind::Audio { 80 } else { 600 },
            layer_packets: None,
            varied: None,
            every: if kind == Kind::Audio { AUDIO_EVERY } else { VIDEO_EVERY },
        }
    }

    /// Packets of the next frame, their payload in bytes, and how much shorter the last one is.
    fn next_frame(&mut self) -> (u8, usize, usize) {
        match (&mut self.varied, self.kind) {
            (Some(rng), Kind::Video) => (4 + rng.below(6) as u8, self.packet_len - rng.below(51), rng.below(40)),
            (Some(rng), Kind::Audio) => (1, self.packet_len + rng.below(40), 0),
            (None, _) => (self.packets_per_frame, self.packet_len, 0),
        }
    }
}

pub(crate) fn announcement(cid: &str, kind: Kind, layers: usize) -> AddTrack {
    const QUALITIES: [(Quality, u32, u32); 3] =
        [(Quality::Low, 320, 180), (Quality::Medium, 640, 360), (Quality::High, 1_280, 720)];
    let video = kind == Kind::Video;
    let layer = |(quality, width, height): (Quality, u32, u32)| VideoLayer { quality, width, height, bitrate: 0, rid: None };
    AddTrack {
        cid: TrackCid::new(cid),
        codec_cids: Vec::new(),
        name: Text::default(),
        kind: if video { MediaKind::Video } else { MediaKind::Audio },
        source: if video { Source::Camera } else { Source::Microphone },
        muted: false,
        width: if video { 1_280 } else { 0 },
        height: if video { 720 } else { 0 },
        layers: if layers > 1 { QUALITIES.into_iter().take(layers).map(layer).collect() } else { Vec::new() },
        codec: video.then_some(Codec::Vp8),
        stereo: false,
        disable_dtx: false,
        disable_red: false,
        encryption: Encryption::None,
        stream: Text::default(),
        audio_features: Vec::new(),
        existing: None,
    }
}

/// Changes the last byte of a fingerprint line.
fn twist_fingerprint(line: &str) -> String {
    match line.strip_prefix("a=fingerprint:") {
        Some(value) => {
            let (head, tail) = value.split_at(value.len() - 2);
            format!("a=fingerprint:{head}{}", if tail == "00" { "01" } else { "00" })
        }
        None => line.to_owned(),
    }
}
