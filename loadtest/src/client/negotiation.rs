//! What a client says and hears over its WebSocket: join, offers and answers, tracks, layers, leave.

use super::sdp::{self, Line, Section};
use super::sender::{RIDS, Sender};
use super::signal::{Outward, Refusal};
use super::{Client, MediaKind, Phase, REPORT, TRANSPORT_TIME, Turn};
use crate::swarm::{Failure, Report};
use livekit_protocol as lk;
use livekit_protocol::signal_request::Message as Up;
use livekit_protocol::signal_response::Message as Down;
use lk::leave_request::Action;

/// Sections for receiving in the first offer, of each kind, as the browser SDK has them.
const POOL: u32 = 3;
/// Sections of one connection; a room asks for two a publisher.
const MOST_SECTIONS: usize = 1_024;
/// Remote tracks kept.
const MOST_TRACKS: usize = 4_096;

impl Client {
    /// What a connection begins with: an offer when it joins, none when it resumes.
    pub(super) fn join_request(&mut self, resumes: bool) -> lk::JoinRequest {
        let client_info = lk::ClientInfo {
            sdk: lk::client_info::Sdk::Rust.into(),
            protocol: 16,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let settings = lk::ConnectionSettings { auto_subscribe: true, ..Default::default() };
        let mut join = lk::JoinRequest {
            client_info: Some(client_info),
            connection_settings: Some(settings),
            reconnect: resumes,
            ..Default::default()
        };
        if resumes {
            join.reconnect_reason = lk::ReconnectReason::RrSignalDisconnected.into();
            join.participant_sid.clone_from(&self.participant);
        } else {
            self.sections.clear();
            self.pool(POOL, POOL);
            join.publisher_offer = Some(self.offer());
        }
        join
    }

    fn pool(&mut self, audios: u32, videos: u32) {
        let kinds = [(MediaKind::Audio, audios), (MediaKind::Video, videos)];
        for (kind, count) in kinds {
            let room = MOST_SECTIONS.saturating_sub(self.sections.len());
            self.sections.extend((0..count as usize).take(room).map(|_| Section { kind, own: None }));
        }
    }

    fn offer(&mut self) -> lk::SessionDescription {
        self.offers += 1;
        self.pending = Some(self.offers);
        self.offer_again = false;
        if std::mem::take(&mut self.restart_wanted) {
            self.transport.restart();
        }
        let (ufrag, pwd) = self.transport.credentials();
        let fingerprint = self.identity.fingerprint();
        let line = Line { session: self.session, version: self.offers, ufrag, pwd, fingerprint: &fingerprint };
        lk::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: sdp::offer(&line, &self.sections),
            id: self.offers,
            ..Default::default()
        }
    }

    /// Offers now, or after the answer that is awaited.
    fn negotiate(&mut self) {
        if self.pending.is_some() {
            self.offer_again = true;
        } else {
            let offer = self.offer();
            self.say(Up::Offer(offer));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a client may pass over what it has no use for")]
    pub(super) fn on_message(&mut self, message: Down, turn: &mut Turn<'_>) {
        match message {
            Down::Join(join) => self.on_join(join, turn),
            Down::Answer(answer) => self.on_answer(&answer, turn),
            Down::MediaSectionsRequirement(wanted) => {
                self.pool(wanted.num_audios, wanted.num_videos);
                self.negotiate();
            }
            Down::TrackPublished(published) => {
                if let Some(sender) = self.senders.iter_mut().find(|sender| sender.cid == published.cid) {
                    sender.sid = published.track.map(|track| track.sid);
                    let (muted, sid) = (sender.muted, sender.sid.clone().unwrap_or_default());
                    if muted {
                        self.say(Up::Mute(lk::MuteTrackRequest { sid, muted }));
                    }
                }
            }
            Down::SubscribedQualityUpdate(update) => self.on_qualities(&update),
            Down::Mute(mute) => {
                self.senders
                    .iter_mut()
                    .filter(|sender| sender.sid.as_deref() == Some(&mute.sid))
                    .for_each(|sender| sender.muted = mute.muted);
            }
            Down::Trickle(trickle) => {
                let init: Option<serde_json::Value> = serde_json::from_str(&trickle.candidate_init).ok();
                if let Some(candidate) = init.as_ref().and_then(|init| init.get("candidate")).and_then(serde_json::Value::as_str)
                {
                    self.transport.on_candidate(candidate);
                }
            }
            Down::Update(update) => self.on_people(&update.participants),
            Down::RefreshToken(token) => self.token = token,
            Down::Reconnect(_) => self.on_resumed(turn),
            Down::Leave(leave) => self.on_leave(&leave, turn),
            _ => {}
        }
    }

    fn on_join(&mut self, join: lk::JoinResponse, turn: &mut Turn<'_>) {
        self.phase = Phase::In;
        self.participant = join.participant.map(|own| own.sid).unwrap_or_default();
        self.remote_tracks.clear();
        self.on_people(&join.other_participants);
        self.deadline = Some(turn.now + TRANSPORT_TIME);
        if self.full {
            self.full = false;
            self.report_resumed(true, turn);
        } else {
            self.signalled = Some(turn.now.saturating_duration_since(self.since));
        }
        self.publish();
    }

    fn publish(&mut self) {
        let publish = self.coming.publish.clone();
        if let Some(audio) = publish.audio {
            let cid = format!("voice-{:016x}", self.random.bits());
            let random = self.random.clone();
            self.add(Sender::voice(self.id, cid, audio, random), Vec::new());
        }
        if let Some(video) = publish.video.filter(|video| !video.layers.is_empty()) {
            let cid = format!("camera-{:016x}", self.random.bits());
            let layers = video.layers.iter().take(RIDS.len()).enumerate().map(|(index, shape)| lk::VideoLayer {
                quality: index as i32,
                width: shape.width.into(),
                height: shape.height.into(),
                bitrate: shape.bits_per_s,
                ..Default::default()
            });
            let layers = layers.collect();
            let random = self.random.clone();
            self.add(Sender::camera(self.id, cid, &video, random), layers);
        }
        if !self.senders.is_empty() {
            self.negotiate();
        }
    }

    fn add(&mut self, mut sender: Sender, layers: Vec<lk::VideoLayer>) {
        // Another stream of numbers for what comes next.
        self.random.bits();
        let video = sender.kind == MediaKind::Video;
        let top = layers.last();
        let codec = sender.codec.map(|codec| lk::SimulcastCodec {
            codec: codec.short_name().to_owned(),
            cid: sender.cid.clone(),
            layers: layers.clone(),
            ..Default::default()
        });
        let request = lk::AddTrackRequest {
            cid: sender.cid.clone(),
            name: if video { "camera" } else { "microphone" }.to_owned(),
            r#type: if video { lk::TrackType::Video } else { lk::TrackType::Audio }.into(),
            source: if video { lk::TrackSource::Camera } else { lk::TrackSource::Microphone }.into(),
            width: top.map_or(0, |layer| layer.width),
            height: top.map_or(0, |layer| layer.height),
            disable_red: true,
            simulcast_codecs: codec.into_iter().collect(),
            layers,
            ..Default::default()
        };
        sender.mid = self.sections.len();
        self.sections.push(Section { kind: sender.kind, own: Some(sender.own()) });
        self.senders.push(sender);
        self.say(Up::AddTrack(request));
    }

    fn on_answer(&mut self, description: &lk::SessionDescription, turn: &mut Turn<'_>) {
        if self.pending != Some(description.id) {
            return;
        }
        self.pending = None;
        let Some(answer) = sdp::read(&description.sdp) else { return self.fail(Failure::Protocol, turn) };
        self.transport.on_answer(&answer, turn.now);
        self.transport.handle_timeout(turn.now);
        for sender in &mut self.senders {
            if let Some(answered) = answer.sections.get(sender.mid) {
                sender.on_answered(answered, turn.now);
                if self.up {
                    sender.on_up(turn.now);
                }
            }
        }
        if self.offer_again {
            self.negotiate();
        }
    }

    /// Dynacast: which layers anybody looks at.
    fn on_qualities(&mut self, update: &lk::SubscribedQualityUpdate) {
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.sid.as_deref() == Some(&update.track_sid)) else {
            return;
        };
        let Some(codec) = sender.codec else { return };
        let named = |one: &&lk::SubscribedCodec| one.codec.eq_ignore_ascii_case(codec.short_name());
        let Some(qualities) = update.subscribed_codecs.iter().find(named).or_else(|| update.subscribed_codecs.first()) else {
            return;
        };
        let top = sender.layers.len().saturating_sub(1);
        for (index, layer) in sender.layers.iter_mut().enumerate() {
            // The last layer stands for every quality from its own upwards.
            let mine = |quality: i32| quality == index as i32 || (index == top && quality >= index as i32);
            let wanted = qualities.qualities.iter().any(|one| one.enabled && mine(one.quality));
            if wanted && !layer.wanted {
                layer.want_key_frame();
            }
            layer.wanted = wanted;
        }
    }

    fn on_people(&mut self, people: &[lk::ParticipantInfo]) {
        for person in people.iter().filter(|person| person.sid != self.participant) {
            self.remote_tracks.retain(|(owner, ..)| *owner != person.sid);
            if person.state() == lk::participant_info::State::Disconnected {
                continue;
            }
            let room = MOST_TRACKS.saturating_sub(self.remote_tracks.len());
            let kind = |track: &lk::TrackInfo| match track.r#type() {
                lk::TrackType::Audio => Some(MediaKind::Audio),
                lk::TrackType::Video => Some(MediaKind::Video),
                lk::TrackType::Data => None,
            };
            let tracks = person.tracks.iter().filter_map(|track| Some((person.sid.clone(), track.sid.clone(), kind(track)?)));
            self.remote_tracks.extend(tracks.take(room));
        }
    }

    /// The relay knows the session still.
    fn on_resumed(&mut self, turn: &mut Turn<'_>) {
        if self.phase != Phase::Resuming {
            return;
        }
        self.phase = Phase::In;
        self.deadline = None;
        self.pending = None;
        let publish_tracks = self.senders.iter().filter_map(|sender| {
            let track = lk::TrackInfo { sid: sender.sid.clone()?, ..Default::default() };
            Some(lk::TrackPublishedResponse { cid: sender.cid.clone(), track: Some(track) })
        });
        let publish_tracks = publish_tracks.collect();
        let state = lk::SyncState { publish_tracks, subscription: Some(lk::UpdateSubscription::default()), ..Default::default() };
        self.say(Up::SyncState(state));
        self.restart_wanted = true;
        self.negotiate();
        self.report_resumed(false, turn);
    }

    fn report_resumed(&mut self, full: bool, turn: &mut Turn<'_>) {
        let after = self.cut_at.take().map(|at| turn.now.saturating_duration_since(at)).unwrap_or_default();
        self.next_report = Some(turn.now + REPORT);
        turn.reports.push(Report::Resumed { client: self.id, after, full });
    }

    fn on_leave(&mut self, leave: &lk::LeaveRequest, turn: &mut Turn<'_>) {
        match (leave.action(), self.phase) {
            (Action::Disconnect, Phase::Joining) => {
                let text = format!("sent away: {}", leave.reason().as_str_name());
                self.on_refused(Refusal { text, ..Refusal::default() }, turn);
            }
            (Action::Disconnect, _) => self.fail(Failure::SentAway, turn),
            (Action::Resume, _) => self.command(Outward::Cut),
            (Action::Reconnect, _) => self.come_anew(turn),
        }
    }
}
