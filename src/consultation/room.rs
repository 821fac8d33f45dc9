//! One room: its members, and the dispatcher of what happens to it.

use super::seats::{Consultation, Place};
use super::subscription::Unsettled;
use super::{
    By, Closing, Command, ConsultationPolicy, Effect, Effects, MemberId, Policy, Refusal, RoomSettings, SubscriptionPermission,
    To,
};
use crate::model::roster::{LeaveAction, LeaveReason, Participant, RoomFacts, Text, Track};
use crate::model::{Identity, Now, ParticipantSid, RoomKey, RoomSid, TrackCid, TrackSid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a room without settings of its own does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Seconds it stays open if nobody comes.
    pub empty_timeout_s: u32,
    /// Seconds it stays open after the last member left.
    pub departure_timeout_s: u32,
    /// Seats it may hold, 0 for no limit.
    pub max_participants: u32,
}

/// A room with its members.
#[derive(Debug)]
pub struct Room {
    /// Its rules, where it is a consultation.
    pub(super) consultation: Option<Box<Consultation>>,
    pub(super) facts: RoomFacts,
    pub(super) members: Vec<Member>,
    /// What the command being applied leaves to [`Room::reconcile`].
    pub(super) unsettled: Vec<Unsettled>,
    next_member: u32,
}

/// One member as the rules see it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) record: Arc<Participant>,
    pub(super) auto_subscribe: bool,
    /// Explicit wishes by track; they outlive the track's absence but not the member, bounded by `MAX_WISHES`.
    pub(super) wishes: BTreeMap<TrackSid, bool>,
    /// Who may receive this member's tracks.
    pub(super) audience: SubscriptionPermission,
    /// Announced, not yet negotiated.
    pub(super) pending: Vec<super::publication::Pending>,
    /// Announced again while the first is still there.
    pub(super) queued: Vec<super::publication::Pending>,
    /// Negotiated sections that no announcement explains yet.
    pub(super) unexplained: Vec<super::Section>,
    /// Sections of withdrawn tracks, with the track id each names, while the client still sends on them: what they carry must
    /// not pass for another track. At most one for each section.
    pub(super) spent: Vec<(Arc<str>, TrackCid)>,
    /// What this member receives now.
    pub(super) receives: BTreeSet<TrackSid>,
    /// What it will receive again when an aside is over.
    pub(super) rests: BTreeSet<TrackSid>,
    /// Tracks a publisher keeps from this member, as last told.
    pub(super) withheld: BTreeSet<TrackSid>,
    /// Where it stands in a consultation.
    pub(super) place: Place,
}

impl Member {
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Participant)) {
        let record = Arc::make_mut(&mut self.record);
        change(record);
        record.version += 1;
    }

    pub(super) fn track(&self, sid: &TrackSid) -> Option<&Arc<Track>> {
        self.record.tracks.iter().find(|track| track.sid == *sid)
    }
}

impl Room {
    /// Opens a room.
    #[must_use]
    pub fn new(key: &RoomKey, sid: RoomSid, policy: Policy, settings: &RoomSettings, defaults: Defaults, now: Now) -> Self {
        let facts = RoomFacts {
            sid,
            name: key.name.clone(),
            metadata: settings.metadata.clone().unwrap_or_default(),
            opened_at_ms: now.wall_ms,
            participants: 0,
            publishers: 0,
            max_participants: settings.max_participants.unwrap_or(defaults.max_participants),
            empty_timeout_s: settings.empty_timeout_s.unwrap_or(defaults.empty_timeout_s),
            departure_timeout_s: settings.departure_timeout_s.unwrap_or(defaults.departure_timeout_s),
        };
        let consultation = match policy {
            Policy::Open => None,
            Policy::Consultation => Some(Box::new(Consultation::new(ConsultationPolicy::default(), now))),
        };
        Self { consultation, facts, members: Vec::new(), unsettled: Vec::new(), next_member: 0 }
    }

    /// Gives a consultation that nobody arranged the rules of its tenant; a plain room has none.
    #[must_use]
    pub fn with_usual(mut self, usual: Option<&ConsultationPolicy>) -> Self {
        if let Some((consultation, usual)) = self.consultation.as_mut().zip(usual) {
            consultation.policy = usual.clone();
        }
        self
    }

    /// Applies one command and says what follows from it.
    ///
    /// # Errors
    /// A [`Refusal`] when a rule forbids it; the room is then unchanged.
    pub fn apply(&mut self, command: Command, now: Now) -> Result<Effects, Refusal> {
        let mut effects = Effects::new();
        self.dispatch(command, now, &mut effects)?;
        if self.consultation.is_some() {
            return Ok(self.finish(effects, now));
        }
        let mut openings = Effects::new();
        self.reconcile(&mut effects, &mut openings);
        effects.append(&mut openings);
        if self.refresh_facts() {
            effects.push(Effect::RoomChanged);
        }
        Ok(effects)
    }

    fn dispatch(&mut self, command: Command, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        match command {
            Command::Join(seat) => self.join(*seat, now, effects)?,
            Command::Connected(member) => self.connected(member, effects)?,
            Command::Leave { member, reason } => {
                self.depart(member, reason, LeaveAction::Disconnect, To::All, now, effects)?;
            }
            Command::Remove(identity) => {
                let member = self.id_of(&identity).ok_or(Refusal::NoSuchParticipant)?;
                if self.consultation.is_some() {
                    return self.remove(By::Platform, &identity, now, effects);
                }
                self.depart(member, LeaveReason::ParticipantRemoved, LeaveAction::Disconnect, To::All, now, effects)?;
            }
            Command::AddTrack { member, sid, add } => self.add_track(member, sid, *add, effects)?,
            Command::Bind { member, section } => self.bind(member, section, effects)?,
            Command::Unbind { member, mid } => self.unbind(member, &mid, effects)?,
            Command::Mute { member, track, muted } => self.mute(member, &track, muted, effects)?,
            Command::MuteRemotely { identity, track, muted } => {
                self.mute_remotely(&identity, &track, muted, &By::Platform, effects)?;
            }
            Command::Subscribe { member, tracks, subscribe } => self.subscribe(member, tracks, subscribe)?,
            Command::Audience { member, permission } => self.audience(member, permission)?,
            Command::UpdateRecord { member, metadata, name, attributes, by_owner } => {
                self.update_record(member, &metadata, &name, attributes, by_owner, effects)?;
            }
            Command::Permit { member, permissions } => self.permit(member, permissions, effects)?,
            Command::UpdateAudioTrack { member, track, features } => {
                self.edit_track(member, &track, |track| track.audio_features = features, effects)?;
            }
            Command::UpdateVideoTrack { member, track, width, height } => {
                self.edit_track(member, &track, |track| (track.width, track.height) = (width, height), effects)?;
            }
            Command::Settings(settings) => self.change_settings(&settings, effects),
            Command::Close(reason) => {
                let why = if reason == LeaveReason::ServerShutdown {
                    Closing::NodeStopped
                } else if self.members.is_empty() {
                    Closing::Empty
                } else {
                    Closing::Ended
                };
                let by = if why == Closing::Ended { By::Platform } else { By::Policy };
                self.end(why, by, reason, now, effects);
            }
            Command::Open(policy) => self.open_consultation(*policy, now)?,
            Command::Consult { by, act, asked_at } => self.consult(by, act, asked_at, now, effects)?,
            Command::Away(member) => self.away(member, now)?,
            Command::Back(member) => self.back(member, now, effects)?,
            Command::Written { member, ticket } => self.written(member, ticket)?,
            Command::Receives { member, what } => self.member_mut(member)?.place.receives = what,
            Command::Tick => self.tick(now, effects),
            Command::Recording(recording) => self.set_recording(recording),
            Command::Undo(facts) => self.undo(facts, now, effects),
        }
        Ok(())
    }

    /// The room as its members see it.
    #[must_use]
    pub fn facts(&self) -> &RoomFacts {
        &self.facts
    }

    /// Whether it is a consultation.
    #[must_use]
    pub fn is_consultation(&self) -> bool {
        self.consultation.is_some()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Every member's id and record, in the order they came.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, &Arc<Participant>)> {
        self.members.iter().map(|member| (member.id, &member.record))
    }

    /// One member's record.
    #[must_use]
    pub fn record(&self, member: MemberId) -> Option<&Arc<Participant>> {
        self.member(member).map(|member| &member.record)
    }

    /// The member with an identity.
    #[must_use]
    pub fn id_of(&self, identity: &Identity) -> Option<MemberId> {
        self.members.iter().find(|member| member.record.identity == *identity).map(|member| member.id)
    }

    /// The member with a stay.
    #[must_use]
    pub fn id_of_stay(&self, sid: &ParticipantSid) -> Option<MemberId> {
        self.members.iter().find(|member| member.record.sid == *sid).map(|member| member.id)
    }

    /// Who publishes a track, and its record.
    #[must_use]
    pub fn track(&self, sid: &TrackSid) -> Option<(MemberId, &Arc<Track>)> {
        self.members.iter().find_map(|member| member.track(sid).map(|track| (member.id, track)))
    }

    /// Whether a member announced or published a track, for checking what a resumed client believes.
    #[must_use]
    pub fn owns(&self, member: MemberId, sid: &TrackSid) -> bool {
        self.member(member).is_some_and(|member| {
            member.track(sid).is_some() || member.pending.iter().chain(&member.queued).any(|pending| pending.track.sid == *sid)
        })
    }

    pub(super) fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    pub(super) fn member_mut(&mut self, id: MemberId) -> Result<&mut Member, Refusal> {
        self.members.iter_mut().find(|member| member.id == id).ok_or(Refusal::NoSuchParticipant)
    }

    pub(super) fn new_member_id(&mut self) -> MemberId {
        self.next_member += 1;
        MemberId(self.next_member)
    }

    fn change_settings(&mut self, settings: &RoomSettings, effects: &mut Effects) {
        if let Some(Text(metadata)) = &settings.metadata
            && self.facts.metadata.0 != *metadata
        {
            self.facts.metadata = Text(metadata.clone());
            effects.push(Effect::RoomChanged);
        }
        if let Some(seconds) = settings.empty_timeout_s {
            self.facts.empty_timeout_s = seconds;
        }
        if let Some(seconds) = settings.departure_timeout_s {
            self.facts.departure_timeout_s = seconds;
        }
        if let Some(seats) = settings.max_participants {
            self.facts.max_participants = seats;
        }
    }

    pub(super) fn refresh_facts(&mut self) -> bool {
        let consultation = self.consultation.is_some();
        let inside = || self.members.iter().filter(|member| !consultation || member.place.open);
        let participants = u32::try_from(inside().count()).unwrap_or(u32::MAX);
        let publishing = inside().filter(|member| !member.record.tracks.is_empty()).count();
        let publishers = u32::try_from(publishing).unwrap_or(u32::MAX);
        let changed = (self.facts.participants, self.facts.publishers) != (participants, publishers);
        self.facts.participants = participants;
        self.facts.publishers = publishers;
        changed
    }
}
