//! Data messages: taken from one member, stamped with its true name, handed to the others.

use super::envelope::{ChannelKind, Sender};
use super::link::{Half, Link};
use super::shard::Shard;
use crate::consultation::{Effect, Fact, MemberId};
use crate::model::Instant;
use crate::model::counters::DropReason;
use crate::model::{Identity, Now, ParticipantSid};
use crate::transport::peer::ChannelEvent;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a reliable message waits for members whose channel is about to open: a join takes about a second.
const RECENT_FOR: Duration = Duration::from_secs(2);

/// Bytes of such messages a room keeps at most.
const RECENT_BYTES: usize = 100 * 1024;

/// How long the platform may repeat a call whose answer it did not get; server SDKs give up after 10 s.
const REPEATED_FOR: Duration = Duration::from_secs(30);

/// Nonces kept at most, 32 bytes each; a platform that sends more within half a minute repeats none.
const MAX_NONCES: usize = 1_024;

/// Numbers of the platform's last messages to a room, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Nonces(VecDeque<(Instant, [u8; 16])>);

impl Nonces {
    /// Whether a message was sent already; remembers it.
    pub(super) fn seen(&mut self, nonce: [u8; 16], now: Instant) -> bool {
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > REPEATED_FOR) {
            self.0.pop_front();
        }
        if self.0.iter().any(|(_, seen)| *seen == nonce) {
            return true;
        }
        if self.0.len() == MAX_NONCES {
            self.0.pop_front();
        }
        self.0.push_back((now, nonce));
        false
    }
}

/// Reliable messages of the last moments, for members whose channel opens a moment later.
#[derive(Debug, Default)]
pub(super) struct Recent {
    messages: VecDeque<RecentMessage>,
    bytes: usize,
}

/// A reliable message that waits for those before it.
#[derive(Debug)]
pub(super) struct Waiting {
    to: Vec<Identity>,
    message: Bytes,
}

#[derive(Debug)]
struct RecentMessage {
    at: Instant,
    from: ParticipantSid,
    to: Vec<Identity>,
    /// Who could be reached then, in a consultation: what was said without somebody is not for them later.
    heard: Option<Vec<MemberId>>,
    message: Bytes,
}

impl Recent {
    fn push(&mut self, message: RecentMessage) {
        self.bytes += message.message.len();
        self.messages.push_back(message);
        while self.bytes > RECENT_BYTES {
            self.pop();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.messages.front().is_some_and(|message| now.saturating_duration_since(message.at) > RECENT_FOR) {
            self.pop();
        }
        if self.messages.is_empty() {
            self.messages.shrink_to_fit();
        }
    }

    /// Drops what a member said, and keeps the rest from it.
    pub(super) fn forget(&mut self, from: &ParticipantSid, to: MemberId) {
        self.messages.retain(|message| message.from != *from);
        self.bytes = self.messages.iter().map(|message| message.message.len()).sum();
        for message in &mut self.messages {
            if let Some(heard) = &mut message.heard {
                heard.retain(|member| *member != to);
            }
        }
    }

    fn pop(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.message.len();
        }
    }
}

impl Shard {
    pub(super) fn on_channel_event(&mut self, link: usize, event: ChannelEvent, now: Instant) {
        match event {
            ChannelEvent::Open { channel, label } => match self.config.envelope.channel(&label) {
                Some(ChannelKind::Reliable) => {
                    if let Some(state) = self.links.get_mut(link) {
                        state.data.reliable = Some(channel);
                    }
                    if self.receives_data(link) {
                        self.replay_recent(link, now);
                    }
                }
                Some(ChannelKind::Lossy) => {
                    if let Some(state) = self.links.get_mut(link) {
                        state.data.lossy = Some(channel);
                    }
                }
                None => {}
            },
            ChannelEvent::Closed { channel } => {
                if let Some(state) = self.links.get_mut(link) {
                    state.data.reliable.take_if(|open| *open == channel);
                    state.data.lossy.take_if(|open| *open == channel);
                }
            }
            ChannelEvent::Message { channel, message } => self.on_data(link, channel, &message, now),
        }
    }

    fn on_data(&mut self, link: usize, channel: u16, message: &[u8], now: Instant) {
        self.counters.data_in += 1;
        let Some(state) = self.links.get_mut(link) else { return };
        if state.up().is_some() {
            // What a member says comes on the line on which it publishes.
            return self.counters.drop(DropReason::BadData);
        }
        if !state.budget.take(message.len(), now) {
            return self.counters.drop(DropReason::RateLimit);
        }
        let reliable = state.data.reliable == Some(channel);
        if !reliable && state.data.lossy != Some(channel) {
            return self.counters.drop(DropReason::BadData);
        }
        let Some(record) = self.record_of(link).cloned() else { return };
        if !record.permissions.publish_data {
            return self.counters.drop(DropReason::DataRefused);
        }
        let sender = Sender { participant: &record.sid, identity: &record.identity, reliable };
        let Ok(stamped) = self.config.envelope.stamp(message, &sender) else {
            return self.counters.drop(DropReason::BadData);
        };
        if !stamped.relayed {
            return self.counters.drop(DropReason::DataRefused);
        }
        if let Some(state) = self.links.get_mut(link).filter(|state| state.data.shut) {
            // Its number counts all the same: nobody waits for it later.
            state.data.order.note(stamped.sequence);
            return self.counters.drop(DropReason::DataRefused);
        }
        let Some(room) = self.links.get(link).map(|state| state.room) else { return };
        let mut to = stamped.to;
        if let Some(room) = self.rooms.get(room) {
            let by_sid = stamped.to_sids.iter().filter_map(|sid| room.rules.record(room.rules.id_of_stay(sid)?));
            to.extend(by_sid.map(|record| record.identity.clone()));
            if to.is_empty() && !stamped.to_sids.is_empty() {
                return;
            }
        }
        let waiting = Waiting { to, message: stamped.message.0 };
        if !reliable {
            return self.fan_out_data(room, Some(link), false, &waiting.to, &waiting.message, now);
        }
        let ready = match self.links.get_mut(link) {
            // A client that resumed sends again what it is not sure of, and what it kept back.
            Some(state) if stamped.sequence > 0 => {
                let size = waiting.message.len();
                state.data.order.push(stamped.sequence, waiting, size, now)
            }
            _ => vec![waiting],
        };
        self.pass_on(link, ready, now);
    }

    /// Hands reliable messages of a member to the others.
    fn pass_on(&mut self, link: usize, ready: Vec<Waiting>, now: Instant) {
        let may = self.record_of(link).filter(|record| record.permissions.publish_data).map(|record| record.sid.clone());
        let (Some(from), Some(room)) = (may, self.links.get(link).map(|state| state.room)) else { return };
        for Waiting { to, message } in ready {
            self.fan_out_data(room, Some(link), true, &to, &message, now);
            let heard = self.reached_by(room, link);
            if let Some(room) = self.rooms.get_mut(room) {
                room.recent.expire(now);
                room.recent.push(RecentMessage { at: now, from: from.clone(), to, heard, message });
            }
        }
    }

    /// Lets go of messages that waited long enough for one before them.
    pub(super) fn poll_held_data(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let ready = state.data.order.poll(now, state.events.is_none());
        if !ready.is_empty() {
            self.pass_on(link, ready, now);
        }
    }

    /// Lets data flow to a member, or holds it back, as its permission says: what was lost on the way is not repeated to who may
    /// no longer receive.
    pub(super) fn gate_data(&mut self, room: usize, member: MemberId) {
        let Some(link) = self.link_of(room, member) else { return };
        let may = self.may_receive_data(link);
        for link in [link, self.receiving(link)] {
            if let Some(state) = self.links.get_mut(link) {
                state.peer.hold_data(!may);
            }
        }
    }

    /// Whether data may go out to the member behind a link now.
    pub(super) fn may_receive_data(&self, link: usize) -> bool {
        let session = self.links.get(link).and_then(Link::up).unwrap_or(link);
        let open = self.links.get(session).is_some_and(|state| !state.data.shut);
        open && self.record_of(link).is_some_and(|record| record.permissions.subscribe)
    }

    /// Whom the member behind a link reaches now; `None` in an open room, where it is everybody.
    fn reached_by(&self, room: usize, link: usize) -> Option<Vec<MemberId>> {
        let state = self.rooms.get(room).filter(|state| state.rules.is_consultation())?;
        let from = self.links.get(link)?.member;
        Some(state.links.keys().copied().filter(|to| state.rules.may_reach(from, *to)).collect())
    }

    /// The line on which a member gets data: the one it receives on. A member that did not begin with that one gets data where
    /// it publishes, until the channels of the other are open.
    fn data_line(&self, link: usize, reliable: bool) -> usize {
        let Some(Half::Up { down: Some(down), second }) = self.links.get(link).map(|state| &state.half) else { return link };
        let open = |state: &Link| if reliable { state.data.reliable.is_some() } else { state.data.lossy.is_some() };
        if *second || self.links.get(*down).is_some_and(open) { *down } else { link }
    }

    /// Whether a channel that opens on this line is the first to bring its member data.
    fn receives_data(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|state| match state.half {
            Half::Both => true,
            Half::Up { second, .. } => !second,
            Half::Down(_) => self.is_primary(link),
        })
    }

    /// Sends a message of the platform into a room, unless it was sent a moment ago.
    pub(super) fn send_from_platform(
        &mut self,
        room: usize,
        message: &[u8],
        reliable: bool,
        to: &[Identity],
        nonce: Option<[u8; 16]>,
        now: Instant,
    ) {
        let repeated = nonce.zip(self.rooms.get_mut(room)).is_some_and(|(nonce, room)| room.nonces.seen(nonce, now));
        if repeated {
            return;
        }
        self.fan_out_data(room, None, reliable, to, message, now);
    }

    fn fan_out_data(&mut self, room: usize, from: Option<usize>, reliable: bool, to: &[Identity], message: &[u8], now: Instant) {
        let Some(state) = self.rooms.get(room) else { return };
        let sender = from.and_then(|link| self.links.get(link)).map(|link| link.member);
        let receivers: Vec<usize> = state
            .links
            .iter()
            .filter(|(member, link)| {
                let named = |identity| to.is_empty() || to.contains(identity);
                // Who may not subscribe receives no data either: a waiting room must not leak.
                let open = state.rules.record(**member);
                let reached = sender.is_none_or(|sender| state.rules.may_reach(sender, **member));
                reached
                    && Some(**link) != from
                    && open.is_some_and(|record| named(&record.identity))
                    && self.may_receive_data(**link)
            })
            .map(|(_, link)| *link)
            .collect();
        if let Some(state) = from.filter(|_| !receivers.is_empty()).and_then(|link| self.links.get_mut(link)) {
            state.data.said.0 += 1;
            state.data.said.1 += message.len() as u64;
        }
        for receiver in receivers {
            self.send_data(receiver, reliable, message, now);
        }
    }

    /// Tells what members said whose gate shuts or who go with these effects; the record must hear of it before.
    pub(super) fn tell_said(&mut self, room: usize, effects: &[Effect], now: Now) {
        for effect in effects {
            let (Effect::Gone { member, .. } | Effect::Gate { member, open: false }) = effect else { continue };
            let Some(state) = self.link_of(room, *member).and_then(|link| self.links.get_mut(link)) else { continue };
            let ((messages, bytes), seat) = (std::mem::take(&mut state.data.said), state.identity.clone());
            if messages > 0 && self.rooms.get(room).is_some_and(|state| state.rules.is_consultation()) {
                self.record(room, Fact::DataSaid { seat, messages, bytes }, None, now);
            }
        }
    }

    fn send_data(&mut self, link: usize, reliable: bool, message: &[u8], now: Instant) {
        let link = self.data_line(link, reliable);
        let Some(state) = self.links.get_mut(link) else { return };
        let channel = if reliable { state.data.reliable } else { state.data.lossy };
        let Some(channel) = channel else { return };
        if state.peer.send_data(channel, message, now) {
            self.counters.data_out += 1;
        } else {
            self.counters.drop(DropReason::DataBackpressure);
        }
        self.mark_dirty(link);
    }

    fn replay_recent(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get(link) else { return };
        let (room, own, identity, since) = (state.room, state.sid.clone(), state.identity.clone(), state.timing.since);
        let (may, member) = (self.may_receive_data(link), state.member);
        let Some(room) = self.rooms.get_mut(room).filter(|_| may) else { return };
        room.recent.expire(now);
        let missed: Vec<Bytes> = room
            .recent
            .messages
            .iter()
            // What was said before it came is not for the newcomer, nor for the next one in a seat.
            .filter(|recent| recent.at >= since && recent.from != own)
            .filter(|recent| recent.heard.as_ref().is_none_or(|heard| heard.contains(&member)))
            .filter(|recent| recent.to.is_empty() || recent.to.contains(&identity))
            .map(|recent| recent.message.clone())
            .collect();
        for message in missed {
            self.send_data(link, true, &message, now);
        }
    }
}
