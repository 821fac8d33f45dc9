//! Who receives what: wishes, permissions of publishers, and the comparison of wanted and existing routes.

use super::{Effect, Effects, MemberId, Refusal, Room, SubscriptionPermission};
use crate::model::TrackSid;
use crate::model::roster::Participant;
use std::collections::BTreeSet;

/// Explicit wishes kept per member: far above what a call of any size needs, low enough that ids from outside cannot pile up.
const MAX_WISHES: usize = 1_024;

/// Pairs of a receiver and a track for which a command may have changed the answer.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// Everything for one member.
    Receiver(MemberId),
    /// Some tracks for one member.
    Wishes(MemberId, Vec<TrackSid>),
    /// Everything of one member, for everybody else.
    Publisher(MemberId),
    /// One track of a member, for everybody else.
    Track(MemberId, TrackSid),
}

/// What a receiver should have of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It receives it.
    Wanted,
    /// It would, but the publisher keeps it.
    Withheld,
    /// It will again, once an aside is over.
    Apart,
    /// Nothing.
    Unwanted,
}

impl Room {
    pub(super) fn subscribe(&mut self, id: MemberId, tracks: Vec<TrackSid>, subscribe: bool) -> Result<(), Refusal> {
        let member = self.member_mut(id)?;
        let fresh: BTreeSet<_> = tracks.iter().filter(|track| !member.wishes.contains_key(*track)).collect();
        if member.wishes.len() + fresh.len() > MAX_WISHES {
            return Err(Refusal::LimitExceeded);
        }
        member.wishes.extend(tracks.iter().map(|track| (track.clone(), subscribe)));
        self.unsettled.push(Unsettled::Wishes(id, tracks));
        Ok(())
    }

    pub(super) fn audience(&mut self, id: MemberId, permission: SubscriptionPermission) -> Result<(), Refusal> {
        self.member_mut(id)?.audience = permission;
        self.unsettled.push(Unsettled::Publisher(id));
        Ok(())
    }

    /// Compares what members should receive with what they do receive, where the last command may have changed it, and says the
    /// difference: closings and openings. Looking at every pair instead would say the same.
    pub(super) fn reconcile(&mut self, closings: &mut Effects, openings: &mut Effects) {
        for unsettled in std::mem::take(&mut self.unsettled) {
            match unsettled {
                Unsettled::Receiver(receiver) => {
                    for publisher in self.ids() {
                        for track in self.tracks_of(publisher) {
                            self.settle(receiver, publisher, &track, closings, openings);
                        }
                    }
                }
                Unsettled::Wishes(receiver, tracks) => {
                    for track in tracks {
                        if let Some((publisher, _)) = self.track(&track) {
                            self.settle(receiver, publisher, &track, closings, openings);
                        }
                    }
                }
                Unsettled::Publisher(publisher) => {
                    for track in self.tracks_of(publisher) {
                        for receiver in self.ids() {
                            self.settle(receiver, publisher, &track, closings, openings);
                        }
                    }
                }
                Unsettled::Track(publisher, track) => {
                    for receiver in self.ids() {
                        self.settle(receiver, publisher, &track, closings, openings);
                    }
                }
            }
        }
    }

    /// Brings one pair into its standing, and says what that takes.
    fn settle(&mut self, id: MemberId, publisher: MemberId, sid: &TrackSid, closings: &mut Effects, openings: &mut Effects) {
        let standing = self.standing(id, publisher, sid);
        let Some(from) = self.record(publisher).map(|record| record.sid.clone()) else { return };
        let Ok(receiver) = self.member_mut(id) else { return };
        let rests = standing == Standing::Apart;
        if standing != Standing::Wanted && receiver.receives.remove(sid) {
            closings.push(Effect::Unroute { receiver: id, track: sid.clone(), rests });
            if rests {
                receiver.rests.insert(sid.clone());
            }
        } else if !rests && receiver.rests.remove(sid) && standing != Standing::Wanted {
            closings.push(Effect::Unroute { receiver: id, track: sid.clone(), rests });
        }
        if standing == Standing::Wanted && !receiver.receives.contains(sid) {
            receiver.receives.insert(sid.clone());
            openings.push(Effect::Route { receiver: id, publisher, track: sid.clone() });
        }
        let withheld = standing == Standing::Withheld;
        if withheld != receiver.withheld.contains(sid) {
            if withheld {
                receiver.withheld.insert(sid.clone());
            } else {
                receiver.withheld.remove(sid);
            }
            let track = sid.clone();
            openings.push(Effect::SubscriptionAllowed { receiver: id, publisher: from, track, allowed: !withheld });
        }
    }

    fn standing(&self, receiver: MemberId, publisher: MemberId, track: &TrackSid) -> Standing {
        let (Some(receiver), Some(publisher)) = (self.member(receiver), self.member(publisher)) else {
            return Standing::Unwanted;
        };
        let wish = receiver.wishes.get(track).copied().unwrap_or(receiver.auto_subscribe);
        if receiver.id == publisher.id || !wish || !receiver.record.permissions.subscribe || publisher.track(track).is_none() {
            Standing::Unwanted
        } else if !self.exchange(publisher, receiver) {
            if self.parted_by_aside(publisher, receiver) { Standing::Apart } else { Standing::Unwanted }
        } else if permits(&publisher.audience, &receiver.record, track) {
            Standing::Wanted
        } else {
            Standing::Withheld
        }
    }

    /// Forgets a track that is being closed, so that its routes go before it does.
    pub(super) fn drop_track_routes(&mut self, track: &TrackSid, effects: &mut Effects) {
        for member in &mut self.members {
            if member.receives.remove(track) {
                effects.push(Effect::Unroute { receiver: member.id, track: track.clone(), rests: false });
            }
            member.rests.remove(track);
            member.withheld.remove(track);
            member.wishes.remove(track);
        }
    }

    fn ids(&self) -> Vec<MemberId> {
        self.members.iter().map(|member| member.id).collect()
    }

    fn tracks_of(&self, id: MemberId) -> Vec<TrackSid> {
        self.record(id).map(|record| record.tracks.iter().map(|track| track.sid.clone()).collect()).unwrap_or_default()
    }
}

fn permits(audience: &SubscriptionPermission, receiver: &Participant, track: &TrackSid) -> bool {
    audience.all_participants
        || audience.participants.iter().any(|permission| {
            let named = permission.participant.as_ref().is_some_and(|sid| *sid == receiver.sid)
                || permission.identity.as_ref().is_some_and(|identity| *identity == receiver.identity);
            named && (permission.all_tracks || permission.tracks.contains(track))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consultation::room::Defaults;
    use crate::consultation::tests::microphone;
    use crate::consultation::{AddTrack, Command, Policy, RoomSettings, Seat, Section, TrackPermission};
    use crate::model::Instant;
    use crate::model::roster::{Attributes, ClientFacts, LeaveReason, ParticipantKind, Permissions, Text};
    use crate::model::{Codec, Identity, MediaKind, Now, ParticipantSid, RoomKey, RoomName, RoomSid, TenantId, TrackCid};
    use proptest::prelude::*;

    const PEOPLE: u8 = 6;
    const TRACKS: u8 = 3;

    #[derive(Clone, Debug)]
    enum Act {
        Join { auto_subscribe: bool, subscribe: bool },
        Leave,
        Publish(u8),
        Unpublish(u8),
        Mute(u8, bool),
        Subscribe(Vec<(u8, u8)>, bool),
        Audience { all: bool, permissions: Vec<(u8, Option<u8>)> },
        Permit { subscribe: bool, publish: bool },
    }

    fn acts() -> impl Strategy<Value = (u8, Act)> {
        let (person, track) = (0..PEOPLE, 0..TRACKS);
        let act = prop_oneof![
            3 => any::<(bool, bool)>().prop_map(|(a, b)| Act::Join { auto_subscribe: a, subscribe: b || a }),
            1 => Just(Act::Leave),
            4 => track.clone().prop_map(Act::Publish),
            1 => track.clone().prop_map(Act::Unpublish),
            1 => (track.clone(), any::<bool>()).prop_map(|(track, muted)| Act::Mute(track, muted)),
            3 => (proptest::collection::vec((person.clone(), track.clone()), 1..4), any::<bool>())
                .prop_map(|(tracks, on)| Act::Subscribe(tracks, on)),
            3 => (any::<bool>(), proptest::collection::vec((person.clone(), proptest::option::of(track)), 0..4))
                .prop_map(|(all, permissions)| Act::Audience { all, permissions }),
            2 => any::<(bool, bool)>().prop_map(|(a, b)| Act::Permit { subscribe: a, publish: b }),
        ];
        (person, act)
    }

    fn sid(person: u8, track: u8) -> TrackSid {
        TrackSid::new(format!("TR_{person}_{track}"))
    }

    fn identity(person: u8) -> Identity {
        Identity::new(format!("person-{person}"))
    }

    fn permissions(subscribe: bool, publish: bool) -> Permissions {
        Permissions { subscribe, publish, publish_data: false, sources: Vec::new(), update_own_metadata: false }
    }

    fn seat(person: u8, auto_subscribe: bool, subscribe: bool) -> Seat {
        Seat {
            sid: ParticipantSid::new(format!("PA_{person}")),
            identity: identity(person),
            name: Text::default(),
            metadata: Text::default(),
            attributes: Attributes::default(),
            permissions: permissions(subscribe, true),
            kind: ParticipantKind::Standard,
            client: ClientFacts::default(),
            auto_subscribe,
            issued_at_s: 0,
            token: Default::default(),
        }
    }

    fn announcement(track: u8) -> AddTrack {
        microphone(TrackCid::new(format!("cid-{track}")))
    }

    fn section(track: u8) -> Section {
        Section {
            mid: track.to_string().into(),
            kind: MediaKind::Audio,
            track_id: Some(TrackCid::new(format!("cid-{track}"))),
            codecs: vec![Codec::Opus],
            rids: Vec::new(),
        }
    }

    fn commands(room: &Room, person: u8, act: Act) -> Vec<Command> {
        if let Act::Join { auto_subscribe, subscribe } = act {
            return vec![Command::Join(Box::new(seat(person, auto_subscribe, subscribe)))];
        }
        let Some(member) = room.id_of(&identity(person)) else { return Vec::new() };
        let command = match act {
            Act::Join { .. } => return Vec::new(),
            Act::Leave => Command::Leave { member, reason: LeaveReason::ClientInitiated },
            Act::Publish(track) => {
                let add = Command::AddTrack { member, sid: sid(person, track), add: Box::new(announcement(track)) };
                return vec![add, Command::Bind { member, section: section(track) }];
            }
            Act::Unpublish(track) => Command::Unbind { member, mid: track.to_string().into() },
            Act::Mute(track, muted) => Command::Mute { member, track: sid(person, track), muted },
            Act::Subscribe(tracks, subscribe) => {
                Command::Subscribe { member, tracks: tracks.iter().map(|(of, track)| sid(*of, *track)).collect(), subscribe }
            }
            Act::Audience { all, permissions } => {
                let allowed = |(to, track): &(u8, Option<u8>)| TrackPermission {
                    participant: None,
                    identity: Some(identity(*to)),
                    all_tracks: track.is_none(),
                    tracks: track.iter().map(|track| sid(person, *track)).collect(),
                };
                let participants = permissions.iter().map(allowed).collect();
                Command::Audience { member, permission: SubscriptionPermission { all_participants: all, participants } }
            }
            Act::Permit { subscribe, publish } => Command::Permit { member, permissions: permissions(subscribe, publish) },
        };
        vec![command]
    }

    /// What everybody should receive, and what is kept from them, by looking at all of it.
    fn whole(room: &Room, id: MemberId) -> (BTreeSet<TrackSid>, BTreeSet<TrackSid>) {
        let (mut wanted, mut withheld) = (BTreeSet::new(), BTreeSet::new());
        for (publisher, record) in room.members() {
            for track in &record.tracks {
                match room.standing(id, publisher, &track.sid) {
                    Standing::Wanted => wanted.insert(track.sid.clone()),
                    Standing::Withheld => withheld.insert(track.sid.clone()),
                    Standing::Apart | Standing::Unwanted => false,
                };
            }
        }
        (wanted, withheld)
    }

    proptest! {
        #[test]
        fn what_a_command_changes_is_all_that_there_is_to_change(steps in proptest::collection::vec(acts(), 1..80)) {
            let now = Now { mono: Instant::now(), wall_ms: 0 };
            let key = RoomKey { tenant: TenantId::new("t"), name: RoomName::new("r") };
            let defaults = Defaults { empty_timeout_s: 0, departure_timeout_s: 0, max_participants: 0 };
            let mut room = Room::new(&key, RoomSid::new("RM_"), Policy::Open, &RoomSettings::default(), defaults, now);
            let mut routes: BTreeSet<(MemberId, TrackSid)> = BTreeSet::new();
            for (person, act) in steps {
                for command in commands(&room, person, act) {
                    // A refusal changes nothing, which the comparison below sees.
                    for effect in room.apply(command, now).unwrap_or_default() {
                        if let Effect::Route { receiver, track, .. } = &effect {
                            prop_assert!(routes.insert((*receiver, track.clone())));
                        } else if let Effect::Unroute { receiver, track, .. } = &effect {
                            prop_assert!(routes.remove(&(*receiver, track.clone())));
                        }
                    }
                    let mut expected = BTreeSet::new();
                    for member in &room.members {
                        let (wanted, withheld) = whole(&room, member.id);
                        prop_assert_eq!(&member.receives, &wanted);
                        prop_assert_eq!(&member.withheld, &withheld);
                        expected.extend(wanted.into_iter().map(|track| (member.id, track)));
                    }
                    prop_assert_eq!(&routes, &expected);
                }
            }
        }
    }
}
