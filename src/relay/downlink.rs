//! Members with two peer connections: they publish on one that they offer, and receive on another that the relay offers.
//!
//! Such a member has two links. The first holds its session and what it publishes; the second, the downlink, is the receiver
//! of its routes, so that the packet path knows nothing of all this. Here the relay is the offerer: one offer at a time, what
//! changes meanwhile goes with the next. Entry points: [`Shard::open_downlink`], [`Shard::offer_if_needed`],
//! [`Shard::on_answer`].

use super::command::{Answer, Join};
use super::envelope::ChannelKind;
use super::event::{Event, Sdp};
use super::link::{Half, Timing};
use super::negotiation::{GATHER, GATHER_AGAIN, Placed};
use super::sections::{SectionState, Use};
use super::shard::Shard;
use crate::model::Instant;
use crate::model::roster::{LeaveAction, LeaveReason};
use crate::model::{MediaKind, Now, TrackSid};
use crate::transport::peer::{MAX_MESSAGE_SIZE, OwnChannel};
use crate::transport::sdp::{
    Direction, MAX_SECTIONS, OfferSection, OwnSection, SectionKind, own_payload_types, read_answer, write_offer,
};
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to answer: its own time-out for a negotiation is as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Sections a track may take in turn before it returns to one of them: LiveKit's Rust client does not notice a track that comes
/// back where it was. Whoever turns a picture off and on is served that often; browsers notice it always.
const SECTIONS_PER_TRACK: usize = 8;

/// What only a link has that the relay offers.
#[derive(Debug)]
pub(super) struct Downlink {
    /// Slot of the member's other link.
    pub(super) up: usize,
    /// Number of the last offer.
    offers: u32,
    /// The last offer waits for its answer.
    unanswered: bool,
    offered_at: Option<Instant>,
}

/// Whether a client with two peer connections counts as connected by the one it receives on: not below protocol 3, which knew
/// one order only, and not in a waiting room (LiveKit's own rules).
pub(super) fn receives_first(join: &Join) -> bool {
    join.two_connections && join.client.protocol >= 3 && join.permissions.subscribe
}

impl Shard {
    /// Where a member receives: the link itself, or the one beside it.
    pub(super) fn receiving(&self, link: usize) -> usize {
        self.links.get(link).and_then(super::link::Link::down).unwrap_or(link)
    }

    /// The same, and makes the link that is offered to a member with two peer connections if there is none yet.
    pub(super) fn open_downlink(&mut self, link: usize, now: Instant) -> usize {
        let Some(state) = self.links.get(link) else { return link };
        let down = match state.half {
            Half::Both | Half::Down(_) => return link,
            Half::Up { down: Some(down), .. } => return down,
            Half::Up { down: None, .. } => {
                let (room, member, sid, identity) = (state.room, state.member, state.sid.clone(), state.identity.clone());
                self.new_link(room, member, sid, identity, now)
            }
        };
        let channel =
            |kind| OwnChannel { label: self.config.envelope.label(kind).to_owned(), reliable: kind == ChannelKind::Reliable };
        let channels = vec![channel(ChannelKind::Reliable), channel(ChannelKind::Lossy)];
        let may_receive = self.may_receive_data(link);
        if let Some(state) = self.links.get_mut(down) {
            state.half = Half::Down(Box::new(Downlink { up: link, offers: 0, unanswered: false, offered_at: None }));
            state.peer.announce_channels(channels);
            state.peer.hold_data(!may_receive);
            state.sections.list.push(SectionState::with("0".into(), SectionKind::Application));
        }
        if let Some(Half::Up { down: slot, .. }) = self.links.get_mut(link).map(|state| &mut state.half) {
            *slot = Some(down);
        }
        self.downlinks += 1;
        down
    }

    /// Makes a fresh link the one on which a member with two peer connections publishes; `second` where it counts as connected
    /// by the other, which is then offered at once.
    pub(super) fn split_link(&mut self, link: usize, second: bool, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.half = Half::Up { down: None, second };
        if second {
            // Nothing need come here until something is published.
            state.timing.connect_by = None;
            self.open_downlink(link, now);
        }
    }

    /// Offers a member that just joined what is there, and data channels in any case.
    pub(super) fn first_offer(&mut self, link: usize, now: Instant) {
        let down = self.receiving(link);
        if down != link {
            self.send_offer(down, now);
        }
    }

    /// Something was published: from now on its line has to come up.
    pub(super) fn expect_line(&mut self, link: usize, now: Instant) {
        let within = self.config.connect_within;
        let Some(Timing { connect_by, connected_at: None, .. }) = self.links.get_mut(link).map(|state| &mut state.timing) else {
            return;
        };
        connect_by.get_or_insert(now + within);
        self.mark_dirty(link);
    }

    /// Whether a member's stay ends with this line: not with one that nothing is published on.
    pub(super) fn is_needed(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|state| match state.half {
            Half::Both | Half::Down(_) | Half::Up { second: false, .. } => true,
            Half::Up { second: true, .. } => state.published().next().is_some(),
        })
    }

    /// Whether a member counts as connected by this line.
    pub(super) fn is_primary(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|state| match &state.half {
            Half::Both => true,
            Half::Up { second, .. } => !second,
            Half::Down(down) => !self.is_primary(down.up),
        })
    }

    /// The line by which a member counts as connected.
    pub(super) fn primary(&self, link: usize) -> usize {
        if self.is_primary(link) { link } else { self.receiving(link) }
    }

    /// Sets the time at which a new offer is made, if something has changed since the last one.
    pub(super) fn offer_if_needed(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Half::Down(down) = &state.half else { return };
        let stale = state.sections.list.iter().any(|section| section.answered_send && !matches!(section.used, Use::Send(_)));
        if down.unanswered || !(stale || down.offers == 0 || !state.waiting.is_empty()) {
            return;
        }
        let at = down.offered_at.map_or(now + GATHER, |last| (last + GATHER_AGAIN).max(now + GATHER));
        if state.timing.ask_offer_at.is_none_or(|planned| at < planned) {
            state.timing.ask_offer_at = Some(at);
        }
        self.mark_dirty(link);
    }

    /// Offers everything the member is to receive, unless it has yet to answer or cannot be reached.
    pub(super) fn send_offer(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.timing.ask_offer_at = None;
        let Half::Down(down) = &state.half else { return };
        let (up, unanswered) = (down.up, down.unanswered);
        // A resume brings the next offer.
        let absent = self.links.get(up).is_none_or(|state| state.events.is_none());
        if unanswered || absent {
            return;
        }
        self.place_waiting(link);
        let sections = self.offer_sections(link);
        let tracks_by_mid = self.offered_tracks(link);
        let Some(state) = self.links.get_mut(link) else { return };
        state.sections.version += 1;
        let sdp = write_offer(&state.local_end(&self.config.transport), &sections);
        for section in &mut state.sections.list {
            section.answered_send = matches!(section.used, Use::Send(_));
        }
        let Half::Down(down) = &mut state.half else { return };
        down.offers += 1;
        (down.unanswered, down.offered_at) = (true, Some(now));
        let id = down.offers;
        state.timing.answer_by = Some(now + ANSWER_WITHIN);
        self.tell(up, Event::Offer { id, sdp: Sdp(sdp), tracks_by_mid });
        self.mark_dirty(link);
    }

    /// Gives waiting tracks a section: one that has become free, or a new one.
    fn place_waiting(&mut self, link: usize) {
        let waiting = self.links.get(link).map(|state| state.waiting.clone()).unwrap_or_default();
        for track in waiting {
            let Some((kind, sid)) = self.tracks.get(track).map(|track| (track.codec.kind(), track.sid.clone())) else { continue };
            let ssrcs = vec![self.new_ssrc(), self.new_ssrc()];
            let Some(state) = self.links.get_mut(link) else { return };
            if state.sections.sending(track).is_some() {
                continue;
            }
            let list = &mut state.sections.list;
            let is_free = |section: &SectionState| {
                section.used == Use::Idle && !section.answered_send && section.kind == SectionKind::Media(kind)
            };
            let carried = |section: &SectionState| section.last.as_ref() == Some(&sid);
            let other = list.iter().position(|section| is_free(section) && !carried(section));
            let again = list.iter().filter(|section| carried(section)).count() >= SECTIONS_PER_TRACK;
            let free = other.or_else(|| list.iter().position(is_free).filter(|_| again));
            let index = match free {
                Some(index) => index,
                None if list.len() < MAX_SECTIONS => {
                    let mid: Arc<str> = list.len().to_string().into();
                    list.push(SectionState::with(mid, SectionKind::Media(kind)));
                    list.len() - 1
                }
                None => {
                    self.refuse_subscription(link, track);
                    continue;
                }
            };
            if let Some(section) = list.get_mut(index) {
                (section.used, section.ssrcs) = (Use::Send(track), ssrcs);
                section.last = Some(sid);
            }
        }
    }

    fn offer_sections(&self, link: usize) -> Vec<OfferSection> {
        let Some(state) = self.links.get(link) else { return Vec::new() };
        let content = |section: &SectionState| {
            let kind = match section.kind {
                SectionKind::Media(kind) => kind,
                SectionKind::Application | SectionKind::Other => MediaKind::Audio,
            };
            match section.used {
                Use::Application => OwnSection::Data { max_message_size: MAX_MESSAGE_SIZE as u64 },
                Use::Send(track) => self.offered(section, track).unwrap_or(OwnSection::Inactive(kind)),
                Use::Rejected => OwnSection::Gone(kind),
                Use::Idle | Use::Receive(_) => OwnSection::Inactive(kind),
            }
        };
        let section = |section| OfferSection { mid: SectionState::clone(section).mid, content: content(section) };
        state.sections.list.iter().map(section).collect()
    }

    fn offered(&self, section: &SectionState, track: usize) -> Option<OwnSection> {
        let codec = self.tracks.get(track)?.codec;
        let payload_types = own_payload_types(codec, self.is_stereo(track));
        let [ssrc, rtx_ssrc] = section.ssrcs.first_chunk()?;
        let rtx_ssrc = (codec.kind() == MediaKind::Video).then_some(*rtx_ssrc);
        self.described(track, *ssrc, rtx_ssrc, payload_types).map(OwnSection::Send)
    }

    fn offered_tracks(&self, link: usize) -> Vec<(Arc<str>, TrackSid)> {
        let Some(state) = self.links.get(link) else { return Vec::new() };
        let carried = |section: &SectionState| match section.used {
            Use::Send(track) => Some((section.mid.clone(), self.tracks.get(track)?.sid.clone())),
            Use::Idle | Use::Receive(_) | Use::Application | Use::Rejected => None,
        };
        state.sections.list.iter().filter_map(carried).collect()
    }

    /// Takes the answer to the last offer; one to an earlier offer is late and says nothing.
    pub(super) fn on_answer(&mut self, up: usize, message: &Answer, now: Now) {
        let link = self.receiving(up);
        let Some(state) = self.links.get_mut(link) else { return };
        let Half::Down(down) = &mut state.half else { return };
        if !down.unanswered || (message.id != 0 && message.id != down.offers) {
            return;
        }
        down.unanswered = false;
        state.timing.answer_by = None;
        let offered = state.sections.list.iter().map(|section| (&section.mid, section.kind));
        let taken = read_answer(&message.sdp, offered).ok().and_then(|answer| {
            state.peer.on_answer(&answer).ok()?;
            Some(answer)
        });
        let Some(answer) = taken else { return self.refuse_offer(up) };
        state.sections.offer = Some(Box::new(answer));
        for index in 0..state.sections.list.len() {
            self.settle(link, index, now.mono);
        }
        self.offer_if_needed(link, now.mono);
        self.mark_dirty(link);
    }

    /// Does as the client said of a section.
    fn settle(&mut self, link: usize, index: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Some(answered) = state.sections.offer.as_ref().and_then(|answer| answer.sections.get(index)) else { return };
        let takes = !answered.rejected && matches!(answered.direction, Direction::RecvOnly | Direction::SendRecv);
        let rejected = answered.rejected;
        let Some(section) = state.sections.list.get(index) else { return };
        let ssrcs = section.ssrcs.first_chunk().map(|[ssrc, rtx]| (*ssrc, *rtx));
        if let Use::Send(track) = section.used {
            let open = state.outbound.iter().any(|sent| sent.track == track);
            let types = self.payload_types(link, index, track).filter(|_| takes);
            match (types, ssrcs) {
                (Some((payload_type, rtx)), Some(ssrcs)) if !open => {
                    // The client has applied our offer and its answer; it is ready.
                    self.open_stream(link, Placed { index, track, payload_type, rtx, ssrcs, opens_at: now }, now);
                }
                (Some(_), Some(_)) => {}
                (None, _) | (_, None) => {
                    self.refuse_subscription(link, track);
                    self.close_stream(link, track);
                }
            }
        }
        let section = self.links.get_mut(link).and_then(|state| state.sections.list.get_mut(index));
        if let Some(section) = section.filter(|_| rejected) {
            (section.used, section.answered_send) = (Use::Rejected, false);
        }
    }

    /// The client has a new session: it answers no offer of the old one, and does not restart ICE here by itself.
    pub(super) fn resume_downlink(&mut self, link: usize, now: Instant) {
        let down = self.receiving(link);
        let Some(state) = self.links.get_mut(down) else { return };
        let Half::Down(half) = &mut state.half else { return };
        half.unanswered = false;
        state.timing.answer_by = None;
        if state.peer.is_described() {
            let ufrag = state.peer.restart_ice();
            self.learn_ufrag(down, ufrag);
        }
        self.send_offer(down, now);
    }

    /// No answer came. A client that is there starts over; one that is away gets another offer when it resumes.
    pub(super) fn on_unanswered(&mut self, link: usize) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Half::Down(down) = &mut state.half else { return };
        down.unanswered = false;
        let up = down.up;
        self.tell(up, Event::Leave { action: LeaveAction::Reconnect, reason: LeaveReason::MediaFailure });
    }
}
