//! Entries about what follows from a call's course: incidents, times without pictures, data channels, end-to-end encryption.
//!
//! A seat's data channels are one channel of the record: the pair that LiveKit clients open, reliable and lossy, from when the seat's gate
//! opens until it shuts. What a message is for stands in its content, so the label is always `other`.

use super::{Chronicle, Entry};
use crate::audit::event::Event;
use crate::audit::record::Target;
use crate::audit::types::Micros;
use crate::audit::words;
use crate::consultation::{Fact, Incident, ModeCause};
use crate::model::Identity;

impl Chronicle {
    /// The entries about media, and those about data channels and end-to-end encryption that follow.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing follows from the rest")]
    pub(super) fn with_data_and_e2ee(&mut self, fact: &Fact, at: Micros) -> Vec<Entry> {
        if let Fact::Muted { seat, track, .. } = fact {
            let camera = self.tracks.get(track).is_some_and(|note| note.kind == words::TrackKind::Video);
            self.seats.entry(seat.clone()).or_default().stopped |= camera;
        }
        let mut entries = Vec::new();
        if let Fact::GateOpened { seat } = fact {
            // Before anything is said; and the gate's own entry comes last, because it is the one that is waited for.
            entries.extend(self.open_channel(seat));
        }
        entries.extend(self.of_media(fact, at));
        match fact {
            Fact::GateClosed { seat, .. } => entries.extend(self.close_channel(seat)),
            Fact::Published { seat, .. } | Fact::Unpublished { seat, .. } => entries.extend(self.of_e2ee(seat)),
            _ => {}
        }
        entries
    }

    fn open_channel(&mut self, seat: &Identity) -> Option<Entry> {
        self.channels += 1;
        let channel = self.refs.channel(&format!("{}|{}", self.channels, seat.as_str()));
        let note = self.seats.entry(seat.clone()).or_default();
        (note.channel, note.said) = (Some(channel), (0, 0));
        // What a message is for stands in its content.
        let event = Event::DataChannelOpened { channel, label: words::ChannelLabel::Other };
        Some(self.entry(self.seat(seat), Some(Target::Channel(channel)), event))
    }

    fn close_channel(&mut self, seat: &Identity) -> Option<Entry> {
        let note = self.seats.get_mut(seat)?;
        let channel = note.channel.take()?;
        let (msgs, bytes) = std::mem::take(&mut note.said);
        let event = Event::DataChannelClosed { bytes_kib: rounded_kib(bytes), channel, label: words::ChannelLabel::Other, msgs };
        Some(self.entry(self.seat(seat), Some(Target::Channel(channel)), event))
    }

    /// What the tracks that are there declare together, where that has changed.
    fn of_e2ee(&mut self, seat: &Identity) -> Option<Entry> {
        let sealed = self.tracks.values().filter(|track| track.sealed).count();
        let state = match (sealed, self.tracks.len()) {
            // Nothing is sent, so nothing changes.
            (_, 0) => return None,
            (0, _) => words::E2eeState::Off,
            (some, all) if some == all => words::E2eeState::On,
            _ => words::E2eeState::Mixed,
        };
        if std::mem::replace(&mut self.e2ee, state) == state {
            return None;
        }
        let event = Event::E2eeStateChanged { evidence: words::E2eeEvidence::Declared, state };
        Some(self.entry(self.seat(seat), Some(Target::Room(self.refs.room())), event))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    pub(super) fn of_line(&mut self, fact: &Fact, at: Micros) -> Vec<Entry> {
        let (seat, event) = match fact {
            Fact::IncidentStarted { seat, kind } => {
                self.seats.entry(seat.clone()).or_default().incidents.insert(*kind, at);
                (seat, Event::MediaIncidentStarted { kind: incident(*kind) })
            }
            Fact::IncidentEnded { seat, kind } => {
                let since = self.seats.get_mut(seat).and_then(|note| note.incidents.remove(kind)).unwrap_or(at);
                (seat, Event::MediaIncidentEnded { dur_s: at.secs().saturating_sub(since.secs()), kind: incident(*kind) })
            }
            Fact::ModeChanged { seat, pictures, why } => {
                let note = self.seats.entry(seat.clone()).or_default();
                let why = match why {
                    ModeCause::Bandwidth => words::ModeReason::Bandwidth,
                    ModeCause::Device => words::ModeReason::Device,
                    ModeCause::User if note.stopped => words::ModeReason::Policy,
                    ModeCause::User => words::ModeReason::User,
                };
                note.stopped &= !*pictures;
                let mode = if *pictures { words::MediaMode::AudioVideo } else { words::MediaMode::AudioOnly };
                (seat, Event::MediaModeChanged { why, mode })
            }
            _ => return Vec::new(),
        };
        vec![self.entry(self.seat(seat), Some(self.person(seat)), event)]
    }

    /// What ends with a stay, before the stay does.
    pub(super) fn over(&mut self, seat: &Identity, at: Micros) -> Vec<Entry> {
        let open = self.seats.get_mut(seat).map(|note| std::mem::take(&mut note.incidents)).unwrap_or_default();
        let ended = |(kind, since): (Incident, Micros)| {
            let event = Event::MediaIncidentEnded { dur_s: at.secs().saturating_sub(since.secs()), kind: incident(kind) };
            self.entry(self.seat(seat), Some(self.person(seat)), event)
        };
        let mut entries: Vec<_> = open.into_iter().map(ended).collect();
        entries.extend(self.close_channel(seat));
        entries
    }
}

/// Kilobytes rounded up to a power of four: 1, 4, 16, 64, and so on.
fn rounded_kib(bytes: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    let mut kib: u64 = 1;
    while kib.saturating_mul(1_024) < bytes {
        kib = kib.saturating_mul(4);
    }
    kib
}

fn incident(kind: Incident) -> words::IncidentKind {
    match kind {
        Incident::Reconnect => words::IncidentKind::Reconnect,
        Incident::AudioLost => words::IncidentKind::AudioLost,
        Incident::VideoLost => words::IncidentKind::VideoLost,
        Incident::Frozen => words::IncidentKind::Frozen,
        Incident::LowQuality => words::IncidentKind::LowQuality,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::SecretKey;
    use crate::audit::pseudonym::TenantPseudonyms;
    use crate::audit::types::Word;
    use crate::consultation::{By, Closing};
    use crate::model::TrackSid;
    use crate::model::roster::{LeaveReason, Source};

    fn chronicle() -> Chronicle {
        let word = |text| Word::new(text).expect("a word");
        Chronicle::new(word("t"), word("platform"), &TenantPseudonyms::new(SecretKey::new([3; 32])), "RM_1", Some("c"))
    }

    fn told(chronicle: &mut Chronicle, fact: &Fact, seconds: u64) -> Vec<Event> {
        chronicle.entries(fact, Micros::from_secs(seconds)).into_iter().map(|entry| entry.event).collect()
    }

    fn names(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(Event::name).collect()
    }

    fn seat() -> Identity {
        Identity::new("p")
    }

    #[test]
    fn sizes_say_no_more_than_a_power_of_four() {
        let rounded: Vec<_> = [0, 1, 1_024, 1_025, 4_096, 4_097, 70_000, u64::MAX].map(rounded_kib).into();
        assert_eq!(rounded[..7], [0, 1, 1, 4, 4, 16, 256]);
        assert!(rounded[7] >= u64::MAX / 1_024);
    }

    #[test]
    fn a_channel_is_open_while_the_gate_is_and_says_how_much_and_no_more() {
        let mut chronicle = chronicle();
        let opened = told(&mut chronicle, &Fact::GateOpened { seat: seat() }, 1);
        assert_eq!(names(&opened), ["data.channel_opened", "media.gate_opened"], "the last is waited for");
        assert!(told(&mut chronicle, &Fact::DataSaid { seat: seat(), messages: 3, bytes: 5_000 }, 2).is_empty());
        let left = Fact::Left { seat: seat(), why: LeaveReason::ClientInitiated, stayed_s: 4 };
        let left = told(&mut chronicle, &left, 5);
        assert_eq!(names(&left), ["data.channel_closed", "participant.left"]);
        let Some(Event::DataChannelClosed { bytes_kib: 16, msgs: 3, .. }) = left.first() else { panic!("{left:?}") };
    }

    #[test]
    fn an_incident_ends_with_its_stay_at_the_latest() {
        let mut chronicle = chronicle();
        let kind = Incident::Frozen;
        told(&mut chronicle, &Fact::IncidentStarted { seat: seat(), kind }, 10);
        let left = Fact::Left { seat: seat(), why: LeaveReason::ConnectionTimeout, stayed_s: 4 };
        let left = told(&mut chronicle, &left, 17);
        assert_eq!(names(&left), ["media.incident_ended", "participant.left"]);
        let Some(Event::MediaIncidentEnded { dur_s: 7, .. }) = left.first() else { panic!("{left:?}") };
    }

    #[test]
    fn a_camera_that_somebody_else_stopped_is_off_by_policy() {
        let mut chronicle = chronicle();
        let track = TrackSid::new("TR_1");
        let camera = Fact::Published { seat: seat(), track: track.clone(), source: Source::Camera, sealed: false };
        told(&mut chronicle, &camera, 1);
        told(&mut chronicle, &Fact::Muted { seat: seat(), track, by: By::Platform }, 2);
        let off = |pictures| Fact::ModeChanged { seat: seat(), pictures, why: ModeCause::User };
        let why = |events: &[Event]| events.first().and_then(Event::why);
        assert_eq!(why(&told(&mut chronicle, &off(false), 3)), Some("policy"));
        assert_eq!(why(&told(&mut chronicle, &off(true), 4)), Some("policy"));
        assert_eq!(why(&told(&mut chronicle, &off(false), 5)), Some("user"));
    }

    #[test]
    fn encryption_is_what_all_tracks_declare() {
        let mut chronicle = chronicle();
        let mut publish = |number: u32, sealed| {
            let track = TrackSid::new(format!("TR_{number}"));
            let fact = Fact::Published { seat: seat(), track, source: Source::Camera, sealed };
            let state = |event: &Event| if let Event::E2eeStateChanged { state, .. } = event { Some(*state) } else { None };
            told(&mut chronicle, &fact, 1).iter().find_map(state)
        };
        assert_eq!(publish(1, true), Some(words::E2eeState::On));
        assert_eq!(publish(2, true), None);
        assert_eq!(publish(3, false), Some(words::E2eeState::Mixed));
    }

    #[test]
    fn who_is_taken_out_and_what_is_ended_has_no_token_any_more() {
        let mut chronicle = chronicle();
        let removed = told(&mut chronicle, &Fact::Removed { seat: seat(), by: By::Platform }, 1);
        assert_eq!(names(&removed), ["participant.removed", "token.revoked"]);
        let closed = |why| Fact::RoomClosed { why, by: By::Platform, lasted_s: 1, seats: 1, peak: 1 };
        assert_eq!(names(&told(&mut chronicle, &closed(Closing::Ended), 2)), ["token.revoked", "room.closed"]);
        assert_eq!(names(&told(&mut chronicle, &closed(Closing::Empty), 2)), ["room.closed"], "it may be gone back to");
    }
}
