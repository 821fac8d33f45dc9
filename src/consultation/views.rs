//! What each member of a consultation is shown, and in which order the effects of a command are carried out.

use super::act::Gate;
use super::fact::Fact;
use super::room::Member;
use super::subscription::Unsettled;
use super::{Effect, Effects, MemberId, Refusal, Room, To};
use crate::model::roster::{Encryption, Participant, ParticipantState, Role, RoomFacts, Text};
use crate::model::{Identity, Now};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names tracks of others: for those who see these others only.
const RECEIVES: &str = "consultation.receives";

impl Room {
    /// Puts a fact on record, in consultations.
    pub(super) fn note(&mut self, fact: Fact) {
        if let Some(consultation) = &mut self.consultation {
            consultation.noted.push(fact);
        }
    }

    /// Brings the consultation into line after a command and puts the effects in order: what reduces, its record, the records of
    /// what widens, news for the rosters, and last what opens.
    pub(super) fn finish(&mut self, mut effects: Effects, now: Now) -> Effects {
        let mut openings = Effects::new();
        self.align(now, &mut effects, &mut openings);
        self.reconcile(&mut effects, &mut openings);
        if self.refresh_facts() {
            openings.push(Effect::RoomChanged);
        }
        effects.retain(|effect| !matches!(effect, Effect::Roster { .. }));
        self.note_media(&effects);
        self.note_media(&openings);
        let (departures, news) = self.show();
        let Some(consultation) = &mut self.consultation else { return effects };
        consultation.departed.clear();
        let noted = std::mem::take(&mut consultation.noted);
        // That somebody waits follows from a token that was accepted; it takes nothing away.
        let later = |fact: &Fact| fact.widens() || matches!(fact, Fact::Waiting { .. });
        let (widening, reducing): (Vec<_>, Vec<_>) = noted.into_iter().partition(later);
        let record = |fact| Effect::Record(Box::new(fact));
        // Nothing comes after the end, and it wants no room.
        let closed = effects.extract_if(.., |effect| matches!(effect, Effect::Closed)).next();
        effects.extend(departures);
        effects.extend(reducing.into_iter().map(record));
        effects.extend(widening.into_iter().map(record));
        effects.extend(news);
        effects.extend(openings);
        effects.extend(closed);
        effects
    }

    /// Notes what happens to tracks and routes.
    fn note_media(&mut self, effects: &[Effect]) {
        for effect in effects {
            let fact = match effect {
                Effect::TrackOpened { member, track } => self.seat_of(*member).map(|seat| {
                    let sealed = track.encryption != Encryption::None;
                    Fact::Published { seat, track: track.sid.clone(), source: track.source, sealed }
                }),
                Effect::TrackClosed { member, track, .. } => {
                    self.seat_of(*member).map(|seat| Fact::Unpublished { seat, track: track.clone() })
                }
                Effect::Route { receiver, publisher, track } => {
                    let pair = self.seat_of(*receiver).zip(self.seat_of(*publisher));
                    let streams = self.consultation.as_mut().map(|consultation| &mut consultation.streams);
                    pair.zip(streams).map(|((seat, from), streams)| {
                        streams.insert((*receiver, track.clone()), (seat.clone(), from.clone()));
                        Fact::Subscribed { seat, from, track: track.clone() }
                    })
                }
                Effect::Unroute { receiver, track, .. } => {
                    let streams = self.consultation.as_mut().map(|consultation| &mut consultation.streams);
                    let pair = streams.and_then(|streams| streams.remove(&(*receiver, track.clone())));
                    pair.map(|(seat, from)| Fact::Unsubscribed { seat, from, track: track.clone() })
                }
                Effect::Joined(_)
                | Effect::Roster { .. }
                | Effect::RoomChanged
                | Effect::TrackAccepted { .. }
                | Effect::TrackRefused { .. }
                | Effect::TrackMuted { .. }
                | Effect::MuteRequested { .. }
                | Effect::SubscriptionAllowed { .. }
                | Effect::Gone { .. }
                | Effect::Gate { .. }
                | Effect::Receipt { .. }
                | Effect::Record(_)
                | Effect::Closed => None,
            };
            if let Some(fact) = fact {
                self.note(fact);
            }
        }
    }

    /// The seat of a member, or of one who has just gone.
    fn seat_of(&self, id: MemberId) -> Option<Identity> {
        let departed = || {
            let consultation = self.consultation.as_ref()?;
            consultation.departed.iter().find(|(member, _)| *member == id).map(|(_, record)| record)
        };
        self.record(id).or_else(departed).map(|record| record.identity.clone())
    }

    /// Compares what everybody should see with what everybody was shown: first who is gone, then what is new. Those who learn of
    /// somebody inside are asked for a receipt.
    fn show(&mut self) -> (Effects, Effects) {
        let mut views = Vec::new();
        for viewer in &self.members {
            let seen: BTreeMap<_, _> =
                self.members.iter().filter_map(|subject| Some((subject.id, self.view(viewer, subject)?))).collect();
            views.push((viewer.id, seen));
        }
        let Some(consultation) = &mut self.consultation else { return (Effects::new(), Effects::new()) };
        let ticket = consultation.ticket + 1;
        let (mut departures, mut news, mut asked) = (Effects::new(), Effects::new(), false);
        for (viewer, seen) in views {
            let Some(at) = self.members.iter().position(|member| member.id == viewer) else { continue };
            let gone: Vec<MemberId> = self.members.get(at).map_or_else(Vec::new, |member| {
                member.place.shown.keys().filter(|id| !seen.contains_key(*id)).copied().collect()
            });
            let last: Vec<_> = gone.iter().filter_map(|id| self.last_record(*id)).collect();
            let Some(member) = self.members.get_mut(at) else { continue };
            for id in gone {
                member.place.shown.remove(&id);
                member.place.named.remove(&id);
            }
            let (mut fresh, mut names) = (Vec::new(), false);
            for (id, (record, whole)) in seen {
                let before = member.place.shown.insert(id, (record.version, whole));
                // Its own record came with its join.
                if before != Some((record.version, whole)) && !(id == viewer && before.is_none()) {
                    fresh.push(record);
                }
                if !whole {
                    member.place.named.remove(&id);
                } else if id != viewer && !member.place.named.contains_key(&id) {
                    member.place.named.insert(id, ticket);
                    names = true;
                }
            }
            departures.extend((!last.is_empty()).then_some(Effect::Roster { to: To::One(viewer), records: last }));
            news.extend((!fresh.is_empty()).then_some(Effect::Roster { to: To::One(viewer), records: fresh }));
            news.extend(names.then_some(Effect::Receipt { member: viewer, ticket }));
            asked |= names;
        }
        if let Some(consultation) = self.consultation.as_mut().filter(|_| asked) {
            consultation.ticket = ticket;
        }
        (departures, news)
    }

    /// What a viewer may see of somebody, and whether that is the whole record.
    fn view(&self, viewer: &Member, subject: &Member) -> Option<(Arc<Participant>, bool)> {
        if viewer.id == subject.id {
            return Some((subject.record.clone(), true));
        }
        let consultation = self.consultation.as_ref().filter(|_| viewer.place.open)?;
        if subject.place.open {
            return Some((subject.record.clone(), true));
        }
        let asked = || {
            // Who must agree to somebody sees that somebody waits.
            let file = consultation.seats.get(&viewer.record.identity);
            let agrees = viewer.place.role == Some(Role::Patient) || file.is_some_and(|file| file.legal_rep);
            agrees && subject.record.attributes.get("consultation.gate").map(String::as_str) == Some(Gate::ThirdPerson.as_str())
        };
        let leads = consultation.policy.doctor_sees_waiting && viewer.place.role == Some(Role::Doctor);
        (leads || asked()).then(|| (Arc::new(outside(&subject.record)), false))
    }

    /// The record that takes somebody off a roster.
    fn last_record(&self, id: MemberId) -> Option<Arc<Participant>> {
        let departed = self.consultation.as_ref()?.departed.iter().find(|(member, _)| *member == id);
        let record = departed.map(|(_, record)| record).or_else(|| self.record(id))?;
        let mut record = outside(record);
        record.state = ParticipantState::Disconnected;
        Some(Arc::new(record))
    }

    /// The others a member sees, for the roster it gets with its join or resume.
    #[must_use]
    pub fn seen_by(&self, viewer: MemberId) -> Vec<Arc<Participant>> {
        let Some(viewer) = self.member(viewer) else { return Vec::new() };
        if self.consultation.is_none() {
            let others = self.members.iter().filter(|member| member.id != viewer.id);
            return others.map(|member| member.record.clone()).collect();
        }
        let shown = self.members.iter().filter(|member| member.id != viewer.id && viewer.place.shown.contains_key(&member.id));
        shown.filter_map(|member| self.view(viewer, member)).map(|(record, _)| record).collect()
    }

    /// Whether a member's roster names another, or itself.
    #[must_use]
    pub fn shows(&self, viewer: MemberId, subject: MemberId) -> bool {
        let whole = |viewer: &Member| viewer.place.shown.get(&subject).is_some_and(|(_, whole)| *whole);
        viewer == subject || self.consultation.is_none() || self.member(viewer).is_some_and(whole)
    }

    /// The room as a member may see it: somebody before the gate sees a room with nobody in it.
    #[must_use]
    pub fn facts_for(&self, member: MemberId) -> RoomFacts {
        let facts = self.facts.clone();
        if self.is_open(member) {
            return facts;
        }
        RoomFacts { participants: 1, publishers: 0, metadata: Text::default(), ..facts }
    }

    pub(super) fn written(&mut self, id: MemberId, ticket: u64) -> Result<(), Refusal> {
        let given = self.consultation.as_ref().map_or(0, |consultation| consultation.ticket);
        let member = self.member_mut(id)?;
        member.place.written = member.place.written.max(ticket.min(given));
        self.unsettled.push(Unsettled::Publisher(id));
        Ok(())
    }
}

/// What may be seen of somebody who is not inside: role, name and state.
fn outside(record: &Participant) -> Participant {
    let mut record = record.clone();
    record.tracks.clear();
    record.metadata = "".into();
    record.attributes.retain(|key, _| key.starts_with("consultation.") && key != RECEIVES);
    record
}
