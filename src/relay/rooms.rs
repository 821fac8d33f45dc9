//! The rooms of a shard: commands of the doors become decisions of a room, and its effects are carried out.

use super::command::{Command, Join, Request, Resume, Simulation};
use super::event::{Event, EventSink, Happening, Joined};
use super::held::Held;
use super::link::{Budget, DataState, Half, Link, Timing};
use super::sections::Sections;
use super::shard::Shard;
use super::timers::Owner;
use crate::consultation::room::Defaults;
use crate::consultation::{self as rules, Effect, Effects, MemberId, Refusal, Room, RoomSettings, Seat};
use crate::media::speaker::SpeakerDetector;
use crate::media::twcc::TwccRecorder;
use crate::model::Instant;
use crate::model::roster::{LeaveAction, LeaveReason, RoomFacts};
use crate::model::{Now, ParticipantSid, RoomKey, RoomSid, SessionId, TenantId, TrackSid};
use crate::transport::peer::Peer;
use std::collections::BTreeMap;
use std::time::Duration;

/// A room and what the shard keeps beside its rules.
#[derive(Debug)]
pub(super) struct RoomState {
    pub(super) generation: u32,
    pub(super) key: RoomKey,
    pub(super) rules: Room,
    /// Slot of each member's link.
    pub(super) links: BTreeMap<MemberId, usize>,
    /// Slot of each open track.
    pub(super) tracks: BTreeMap<TrackSid, usize>,
    pub(super) speakers: SpeakerDetector,
    /// Recent reliable messages, for members whose channel opens a moment later.
    pub(super) recent: super::data::Recent,
    pub(super) nonces: super::data::Nonces,
    /// When it closes, while nobody is in it.
    pub(super) close_at: Option<Instant>,
    /// What its members were told of each other's lines.
    pub(super) truth: super::truth::Truth,
    /// Effects that wait for the record.
    pub(super) held: Held,
    /// What reaches whom, where it is a consultation.
    pub(super) tally: super::tally::Tallying,
    /// When its rules want to hear of the time.
    pub(super) rules_at: Option<Instant>,
    pub(super) scheduled: Option<Instant>,
    /// Joins and other openings ever taken by this room, for the directory.
    pub(super) openings: u64,
    /// Whether anybody ever came.
    pub(super) visited: bool,
}

impl Shard {
    /// Takes one command of a door.
    pub fn on_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Join(join) => self.on_join(*join, now),
            Command::Resume(resume) => self.on_resume(*resume, now),
            Command::Request { room, participant, session, request } => {
                if let Some(link) = self.find_link(&room, &participant, session) {
                    self.on_request(link, request, now);
                }
            }
            Command::SocketClosed { room, participant, session } => self.on_socket_closed(&room, &participant, session, now),
            Command::Admin { room, action, reply } => self.on_admin(&room, action, reply, now),
            Command::ListRooms { tenant, names, reply } => {
                let facts = self.list_rooms(&tenant, &names);
                (reply.0)(facts);
            }
            Command::Durable { ticket, .. } => self.on_durable(ticket, true, now),
            Command::NotDurable { ticket, .. } => self.on_durable(ticket, false, now),
            Command::Recording(recording) => self.on_recording(recording, now),
            Command::Shutdown => self.on_shutdown(now),
        }
    }

    fn on_join(&mut self, mut join: Join, now: Now) {
        let receives_first = super::downlink::receives_first(&join);
        let offers_now = !join.two_connections || join.permissions.publish;
        let Some(room) = self.room_for(&mut join, now) else { return };
        self.note_away(room, &join.identity, now);
        let sid = ParticipantSid::new(self.new_id("PA_"));
        let seat = Seat {
            sid: sid.clone(),
            identity: join.identity.clone(),
            name: join.name,
            metadata: join.metadata,
            attributes: join.attributes,
            permissions: join.permissions,
            kind: join.kind,
            client: join.client,
            auto_subscribe: join.auto_subscribe,
            issued_at_s: join.issued_at_s,
            token: join.token,
        };
        let record = self.check_record(room, now);
        let Some(state) = self.rooms.get_mut(room) else { return };
        state.openings += 1;
        state.visited = true;
        let effects = match record.and_then(|()| state.rules.apply(rules::Command::Join(Box::new(seat)), now)) {
            Ok(effects) => effects,
            Err(refusal) => {
                let mut events = join.events;
                // A session that is gone already needs no refusal.
                let _ = events.push(Event::Rejected(refusal));
                self.check_room(room, now.mono);
                return;
            }
        };
        let joined = |effect: &Effect| if let Effect::Joined(member) = effect { Some(*member) } else { None };
        let Some(member) = effects.iter().find_map(joined) else {
            return;
        };
        self.counters.joins += 1;
        let link = self.new_link(room, member, sid, join.identity, now.mono);
        self.begin_session(link, join.session, join.events, now.mono);
        if join.two_connections {
            self.split_link(link, receives_first, now.mono);
        }
        self.gate_data(room, member);
        self.send_joined(room, link, member, (receives_first, offers_now));
        self.carry_out(room, effects, now);
        self.first_offer(link, now.mono);
        for add in join.tracks {
            self.on_request(link, Request::AddTrack(add), now);
        }
        if let Some(offer) = join.offer {
            self.on_offer(link, &offer, now);
        }
        self.mark_dirty(link);
    }

    fn begin_session(&mut self, link: usize, session: SessionId, events: Box<dyn EventSink>, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        (state.session, state.events) = (session, Some(events));
        let Some(room) = self.rooms.get_mut(state.room) else { return };
        // In a consultation nothing passes before its rules say so.
        state.data.shut = room.rules.is_consultation();
        room.links.insert(state.member, link);
        room.close_at = None;
        room.tally.begin(room.rules.is_consultation(), now);
    }

    fn send_joined(&mut self, room: usize, link: usize, member: MemberId, (receives_first, offers_now): (bool, bool)) {
        let Some(state) = self.rooms.get(room) else { return };
        let Some(own) = state.rules.record(member) else { return };
        // In a consultation the others come once it is on record that they may.
        let others = if state.rules.is_consultation() { Vec::new() } else { state.rules.seen_by(member) };
        let room = state.rules.facts_for(member);
        let joined = Joined { participant: own.clone(), others, room, receives_first, offers_now };
        self.tell(link, Event::Joined(Box::new(joined)));
    }

    pub(super) fn new_link(
        &mut self,
        room: usize,
        member: MemberId,
        sid: ParticipantSid,
        identity: crate::model::Identity,
        now: Instant,
    ) -> usize {
        self.generation = self.generation.wrapping_add(1);
        let peer = Peer::new(&self.config.transport, self.config.id);
        let ufrag: Box<str> = peer.local().ufrag().into();
        let own_ssrc = self.new_ssrc();
        let link = self.links.insert(Link {
            generation: self.generation,
            room,
            member,
            sid,
            identity,
            session: SessionId(0),
            events: None,
            missed: Vec::new(),
            peer,
            addresses: Vec::new(),
            ufrags: vec![ufrag.clone()],
            sections: Sections::default(),
            extensions: crate::model::ExtensionMap::default(),
            inbound: Vec::new(),
            control_ssrc: None,
            outbound: Vec::new(),
            waiting: Vec::new(),
            resting: Vec::new(),
            twcc: TwccRecorder::default(),
            line: None,
            own_ssrc,
            rtt: None,
            data: DataState::default(),
            budget: Budget::new(self.config.publisher_rate, now),
            timing: Timing::new(now, self.config.connect_within),
            half: Half::Both,
        });
        self.ufrags.insert(ufrag, link);
        self.mark_dirty(link);
        link
    }

    pub(super) fn open_room(&mut self, key: &RoomKey, policy: rules::Policy, settings: &RoomSettings, now: Now) -> usize {
        if let Some(room) = self.room_index.get(key) {
            return *room;
        }
        self.generation = self.generation.wrapping_add(1);
        let sid = RoomSid::new(self.new_id("RM_"));
        let defaults: Defaults = self.config.room_defaults;
        let usual = self.config.usual.get(&key.tenant);
        let rules = Room::new(key, sid, policy, settings, defaults, now).with_usual(usual);
        let room = self.rooms.insert(RoomState {
            generation: self.generation,
            key: key.clone(),
            rules,
            links: BTreeMap::new(),
            tracks: BTreeMap::new(),
            speakers: SpeakerDetector::default(),
            recent: super::data::Recent::default(),
            nonces: super::data::Nonces::default(),
            close_at: None,
            truth: super::truth::Truth::default(),
            held: Held::default(),
            tally: super::tally::Tallying::default(),
            rules_at: None,
            scheduled: None,
            openings: 0,
            visited: false,
        });
        self.room_index.insert(key.clone(), room);
        room
    }

    fn on_resume(&mut self, resume: Resume, now: Now) {
        let mut events = resume.events;
        let known = self.room_index.get(&resume.room).and_then(|room| self.rooms.get(*room));
        if let Some(Err(refusal)) = known.map(|state| state.rules.check_token(&resume.identity, resume.issued_at_s)) {
            // Nobody to tell when the session is gone already.
            let _ = events.push(Event::Rejected(refusal));
            return;
        }
        let found = self.room_index.get(&resume.room).and_then(|room| {
            let state = self.rooms.get(*room)?;
            let member = state.rules.id_of(&resume.identity)?;
            let record = state.rules.record(member)?.clone();
            let link = *state.links.get(&member)?;
            (resume.participant.is_none_or(|sid| sid == record.sid)).then_some((*room, link, record))
        });
        let Some((room, link, record)) = found else {
            // Nobody to tell when the session is gone already.
            let _ = events.push(Event::Rejected(Refusal::UnknownSession));
            return;
        };
        self.counters.resumes += 1;
        let Some(state) = self.links.get_mut(link) else { return };
        state.end_session(Event::Close);
        state.session = resume.session;
        state.events = Some(events);
        let missed = std::mem::take(&mut state.missed);
        state.data.order.resumed(now.mono);
        let last_data_sequence = state.data.order.last();
        state.tell(Event::Resumed { participant: record, last_data_sequence });
        if !missed.is_empty() {
            state.tell(Event::Roster(missed));
        }
        if let Some((room, member)) = self.rooms.get(room).zip(self.links.get(link).map(|state| state.member)) {
            let own = room.rules.record(member).cloned();
            // Whose gate still waits for the record sees nobody yet.
            let shut = self.links.get(link).is_some_and(|state| state.data.shut);
            let others = if shut { Vec::new() } else { room.rules.seen_by(member) };
            let everybody = own.into_iter().chain(others).collect();
            let facts = room.rules.facts_for(member);
            self.tell(link, Event::Roster(everybody));
            self.tell(link, Event::Room(facts));
        }
        if let Some(member) = self.links.get(link).map(|state| state.member) {
            // It was found above.
            let _ = self.apply(room, rules::Command::Back(member), now);
        }
        let published: Vec<usize> = self.links.get(link).map(|state| state.published().collect()).unwrap_or_default();
        for track in published {
            if let Some(track) = self.tracks.get_mut(track) {
                track.demand.forget();
            }
            self.poll_demand(track, now.mono);
        }
        self.resume_downlink(link, now.mono);
        self.ask_for_offer_if_needed(link, now.mono);
        self.mark_dirty(link);
    }

    fn on_socket_closed(&mut self, room: &RoomKey, participant: &ParticipantSid, session: SessionId, now: Now) {
        let Some(link) = self.find_link(room, participant, session) else { return };
        let Some(state) = self.links.get_mut(link) else { return };
        state.events = None;
        let (room, member) = (state.room, state.member);
        self.happen(link, Happening::SignalLost, now.mono);
        // The member is in the room as long as its link exists.
        let _ = self.apply(room, rules::Command::Away(member), now);
        let primary = self.primary(link);
        if self.links.get(primary).is_some_and(|state| state.timing.connected_at.is_none()) {
            // Media never came up: nothing keeps this stay alive.
            self.leave(link, LeaveReason::SignalClose, now);
        }
    }

    fn on_request(&mut self, link: usize, request: Request, now: Now) {
        let Some(state) = self.links.get_mut(link) else { return };
        let (room, member) = (state.room, state.member);
        let command = match request {
            Request::Offer(offer) => return self.on_offer(link, &offer, now),
            Request::Answer(answer) => return self.on_answer(link, &answer, now),
            Request::Trickle => return,
            Request::AddTrack(add) => {
                let sid = self.new_track_sid(add.kind, add.source);
                rules::Command::AddTrack { member, sid, add: Box::new(add) }
            }
            Request::Mute { track, muted } => return self.on_mute(link, track, muted, now),
            Request::Subscribe { tracks, subscribe } => rules::Command::Subscribe { member, tracks, subscribe },
            Request::TrackSetting { tracks, setting } => return self.on_track_setting(link, &tracks, setting, now.mono),
            Request::SubscriptionPermission(permission) => rules::Command::Audience { member, permission },
            Request::SyncState(sync) => return self.on_sync_state(link, sync, now),
            Request::UpdateMetadata { request_id, metadata, name, attributes } => {
                let update = rules::Command::UpdateRecord { member, metadata, name, attributes, by_owner: true };
                return self.on_update_metadata(link, request_id, update, now);
            }
            Request::UpdateAudioTrack { track, features } => rules::Command::UpdateAudioTrack { member, track, features },
            Request::UpdateVideoTrack { track, width, height } => {
                rules::Command::UpdateVideoTrack { member, track, width, height }
            }
            Request::Unsupported(request) => {
                let event = Event::Refused { request_id: 0, refusal: Refusal::NotAllowed, request: Box::new(request) };
                return self.tell(link, event);
            }
            Request::Written(ticket) => rules::Command::Written { member, ticket },
            Request::Leave(reason) => return self.leave(link, reason, now),
            Request::Simulate(Simulation::CloseSocket) => return state.end_session(Event::Close),
            Request::Simulate(Simulation::FullReconnect) => {
                let reason = LeaveReason::StateMismatch;
                return state.tell(Event::Leave { action: LeaveAction::Reconnect, reason });
            }
        };
        // A client's request that no longer fits (a track that just went) is not worth an answer.
        let _ = self.apply(room, command, now);
    }

    fn on_mute(&mut self, link: usize, track: TrackSid, muted: bool, now: Now) {
        let Some(state) = self.links.get(link) else { return };
        let (room, member) = (state.room, state.member);
        let command = rules::Command::Mute { member, track: track.clone(), muted };
        if let Err(refusal) = self.apply(room, command, now) {
            let request = Box::new(super::command::RefusedRequest::Mute { track, muted });
            self.tell(link, Event::Refused { request_id: 0, refusal, request });
        }
    }

    fn on_update_metadata(&mut self, link: usize, request_id: u32, update: rules::Command, now: Now) {
        let Some(room) = self.links.get(link).map(|state| state.room) else { return };
        let event = match self.apply(room, update, now) {
            Ok(()) => Event::Acknowledged { request_id },
            Err(refusal) => {
                let request = Box::new(super::command::RefusedRequest::UpdateMetadata);
                Event::Refused { request_id, refusal, request }
            }
        };
        self.tell(link, event);
    }

    fn on_sync_state(&mut self, link: usize, sync: super::command::SyncState, now: Now) {
        let Some(state) = self.links.get(link) else { return };
        let (room, member) = (state.room, state.member);
        let Some(rules) = self.rooms.get(room).map(|room| &room.rules) else { return };
        if sync.published.iter().any(|sid| !rules.owns(member, sid)) {
            let event = Event::Leave { action: LeaveAction::Reconnect, reason: LeaveReason::StateMismatch };
            return self.tell(link, event);
        }
        if !sync.subscription_tracks.is_empty() {
            let command = rules::Command::Subscribe { member, tracks: sync.subscription_tracks, subscribe: sync.subscribe };
            // Over the bound on wishes: the client keeps what it has.
            let _ = self.apply(room, command, now);
        }
        for track in sync.disabled {
            let setting = super::command::TrackSetting { disabled: true, ..Default::default() };
            self.on_track_setting(link, &[track], setting, now.mono);
        }
    }

    /// Applies a command to a room's rules and carries out what follows.
    pub(super) fn apply(&mut self, room: usize, command: rules::Command, now: Now) -> Result<(), Refusal> {
        let effects = self.rooms.get_mut(room).ok_or(Refusal::NoSuchRoom)?.rules.apply(command, now)?;
        self.carry_out(room, effects, now);
        Ok(())
    }

    /// Ends a member's stay.
    pub(super) fn leave(&mut self, link: usize, reason: LeaveReason, now: Now) {
        let Some(state) = self.links.get(link) else { return };
        let (room, member) = (state.room, state.member);
        // The member was in the room a line above.
        let _ = self.apply(room, rules::Command::Leave { member, reason }, now);
    }

    fn carry_out(&mut self, room: usize, effects: Effects, now: Now) {
        if effects.iter().any(super::tally::ends_media) {
            self.read_tally(room, now);
        }
        self.tell_said(room, &effects, now);
        let held = self.config.audit && self.rooms.get(room).is_some_and(|state| state.rules.is_consultation());
        let effects = if held { self.hold(room, effects, now) } else { effects };
        for effect in effects {
            self.perform(room, effect, now);
        }
        self.bound_held(room, now);
        self.note_rules_deadline(room, now);
        self.check_room(room, now.mono);
    }

    pub(super) fn perform(&mut self, room: usize, effect: Effect, now: Now) {
        match effect {
            Effect::Joined(_) => {}
            Effect::Roster { to, records } => self.tell_room(room, to, &Event::Roster(records)),
            Effect::RoomChanged => {
                self.tell_facts(room);
            }
            Effect::TrackAccepted { member, cid, track } => {
                self.tell_member(room, member, Event::TrackAccepted { cid, track });
            }
            Effect::TrackRefused { member, refusal, add } => {
                let request = Box::new(super::command::RefusedRequest::AddTrack(*add));
                self.tell_member(room, member, Event::Refused { request_id: 0, refusal, request });
            }
            Effect::TrackOpened { member, track } => {
                self.open_track(room, member, &track);
                if let Some(link) = self.link_of(room, member) {
                    self.expect_line(link, now.mono);
                }
            }
            Effect::TrackClosed { member, track, withdrawn } => {
                self.close_track(room, &track, now.mono);
                if withdrawn {
                    self.tell_member(room, member, Event::TrackWithdrawn(track));
                }
            }
            Effect::TrackMuted { track, muted } => {
                self.note_muted(room, &track, muted, now.mono);
                self.set_muted(room, &track, muted, now.mono);
            }
            Effect::MuteRequested { member, track } => self.tell_member(room, member, Event::MuteRequested(track)),
            Effect::Route { receiver, track, .. } => self.open_route(room, receiver, &track, now.mono),
            Effect::Unroute { receiver, track, rests: true } => self.rest_route(room, receiver, &track, now.mono),
            Effect::Unroute { receiver, track, rests: false } => self.close_route(room, receiver, &track, now.mono),
            Effect::SubscriptionAllowed { receiver, publisher, track, allowed } => {
                let event = Event::SubscriptionAllowed { publisher, track, allowed };
                self.tell_member(room, receiver, event);
            }
            Effect::Gate { member, open } => self.set_gate(room, member, open),
            Effect::Record(fact) => self.record(room, *fact, None, now),
            Effect::Closed => self.close_room(room),
            Effect::Receipt { member, ticket } => self.tell_member(room, member, Event::Receipt(ticket)),
            Effect::Gone { member, reason, action } => self.drop_member(room, member, reason, action, now.mono),
        }
    }

    fn drop_member(&mut self, room: usize, member: MemberId, reason: LeaveReason, action: LeaveAction, now: Instant) {
        let Some(link) = self.rooms.get_mut(room).and_then(|room| room.links.remove(&member)) else { return };
        let down = self.receiving(link);
        if let Some(state) = self.links.get_mut(link) {
            state.end_session(Event::Leave { action, reason });
        }
        self.drop_link(link, now);
        if down != link {
            self.drop_link(down, now);
            self.downlinks -= 1;
        }
    }

    fn drop_link(&mut self, link: usize, now: Instant) {
        let Some(mut state) = self.links.try_remove(link) else { return };
        state.peer.close(now, &mut self.outbox);
        for ufrag in &state.ufrags {
            self.ufrags.remove(ufrag);
        }
        for ssrc in state.inbound.iter().map(|inbound| inbound.ssrc).chain(state.control_ssrc) {
            self.ssrcs.remove(ssrc, link);
        }
        for address in state.addresses {
            self.addresses.remove(&super::datagrams::Endpoint::of(address));
            self.address_changes.push((address, false));
        }
    }

    /// Looks whether a room has become empty, or is no longer, and sets its timer.
    pub(super) fn check_room(&mut self, room: usize, now: Instant) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        if !state.rules.is_empty() {
            state.close_at = None;
        } else if state.close_at.is_none() {
            let facts = state.rules.facts();
            let seconds = if state.visited { facts.departure_timeout_s } else { facts.empty_timeout_s };
            state.close_at = Some(now + Duration::from_secs(seconds.into()));
        }
        let watching = [state.speakers.next_deadline(), state.truth.next_deadline(), state.tally.next_deadline()];
        let due = watching.into_iter().chain([state.held.deadline(), state.close_at, state.rules_at]).flatten().min();
        if let Some(due) = due
            && state.scheduled.is_none_or(|scheduled| due < scheduled)
        {
            state.scheduled = Some(due);
            self.timers.set(now, due, Owner::Room(room, state.generation));
        }
    }

    pub(super) fn on_room_timer(&mut self, room: usize, now: Now) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        state.scheduled = None;
        if state.close_at.is_some_and(|at| at <= now.mono) && state.rules.is_empty() {
            return self.close_empty_room(room, now);
        }
        if state.rules.next_deadline_ms().is_some_and(|at| at <= now.wall_ms) {
            // Time is never refused.
            let _ = self.apply(room, rules::Command::Tick, now);
        }
        self.expire_held(room, now);
        self.poll_tally(room, now);
        self.poll_speakers(room, now.mono);
        self.poll_truth(room, now);
        self.note_rules_deadline(room, now);
        self.check_room(room, now.mono);
    }

    pub(super) fn close_room(&mut self, room: usize) {
        if let Some(state) = self.rooms.try_remove(room) {
            self.room_index.remove(&state.key);
            self.closed_rooms.push((state.key, state.openings));
            Self::drop_held(state.held);
        }
        if self.rooms.is_empty() {
            self.release_memory();
        }
    }

    fn on_shutdown(&mut self, now: Now) {
        let rooms: Vec<usize> = self.rooms.iter().map(|(room, _)| room).collect();
        for room in rooms {
            // The room was just listed.
            let _ = self.apply(room, rules::Command::Close(LeaveReason::ServerShutdown), now);
        }
    }

    fn list_rooms(&self, tenant: &TenantId, names: &[crate::model::RoomName]) -> Vec<RoomFacts> {
        let wanted = |key: &RoomKey| key.tenant == *tenant && (names.is_empty() || names.contains(&key.name));
        self.rooms.iter().filter(|(_, room)| wanted(&room.key)).map(|(_, room)| room.rules.facts().clone()).collect()
    }

    fn find_link(&self, room: &RoomKey, participant: &ParticipantSid, session: SessionId) -> Option<usize> {
        let room = self.rooms.get(*self.room_index.get(room)?)?;
        let link = *room.links.get(&room.rules.id_of_stay(participant)?)?;
        (self.links.get(link)?.session == session).then_some(link)
    }

    pub(super) fn link_of(&self, room: usize, member: MemberId) -> Option<usize> {
        self.rooms.get(room)?.links.get(&member).copied()
    }
}
