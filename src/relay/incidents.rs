//! Technical incidents of a seat worth a line in the record: what a line or a device did to a call, and with or without pictures.
//!
//! Judged by what [`truth`](super::truth) looks at anyway, every other second; no packet pays for it. What does not last is none:
//! an incident begins once it was seen in three looks in a row, and ends once it was not in eight. A seat begins six a minute at most,
//! so that the worst line makes some twelve entries a minute, 9 KB: far below the 64 KB a minute that a participant may cost the disk.
//! What follows from something worse is not told beside it.
//!
//! Entry points: [`Incidents::look`], and `Shard::trouble` for what it looks at.

use super::rooms::RoomState;
use super::shard::Shard;
use super::tracks::Track;
use crate::consultation::{Fact, Incident, MemberId, ModeCause};
use crate::media::allocation::Class;
use crate::media::grade::Word;
use crate::media::layers::Cap;
use crate::model::Instant;
use crate::model::{Identity, MediaKind};
use std::collections::VecDeque;
use std::time::Duration;

/// Looks in a row after which something is an incident: six seconds.
const BEGINS_AFTER: u8 = 3;
/// Looks in a row without it after which it is over: a line that comes back for moments is still the same trouble.
const ENDS_AFTER: u8 = 8;
/// Incidents and times without pictures a seat may begin in a minute; what lasts begins when there is room again.
const MOST_BEGUN: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// A picture that has not changed for so long stands still.
const STILL: Duration = Duration::from_secs(2);
/// Sound of which more than this is lost cannot be followed.
const SOUND_LOST: f32 = 0.5;
/// Of whom nothing authentic came for so long, nothing else can be said.
const SILENT: Duration = Duration::from_secs(5);

/// What one look at a seat shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its signalling is gone, or nothing comes from it.
    pub(super) away: bool,
    /// Its microphone is open and brings nothing, or it hears little of somebody.
    pub(super) audio_lost: bool,
    /// Its camera is on and brings nothing, or it gets none of the pictures it wishes for.
    pub(super) video_lost: bool,
    /// A picture stands still for it.
    pub(super) frozen: bool,
    /// Its line is hard to follow.
    pub(super) poor: bool,
    /// It takes part with sound.
    pub(super) talks: bool,
    /// Why it is without pictures, where it is.
    pub(super) without_pictures: Option<ModeCause>,
}

/// Something seen for a number of looks.
#[derive(Clone, Copy, Debug, Default)]
struct Lasting {
    on: bool,
    looks: u8,
}

impl Lasting {
    /// Whether it turns with this look; `may` says whether it may begin now.
    fn look(&mut self, seen: bool, may: bool) -> bool {
        if seen == self.on {
            self.looks = 0;
            return false;
        }
        let needed = if self.on { ENDS_AFTER } else { BEGINS_AFTER };
        self.looks = (self.looks + 1).min(needed);
        let turns = self.looks >= needed && (self.on || may);
        if turns {
            *self = Self { on: seen, looks: 0 };
        }
        turns
    }
}

/// The incidents of one seat.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    kinds: [Lasting; Incident::ALL.len()],
    without_pictures: Lasting,
    why: Option<ModeCause>,
    /// When those of the last minute began.
    begun: VecDeque<Instant>,
}

impl Incidents {
    /// Takes a look; answers what began and what is over, as facts of the seat.
    pub(super) fn look(&mut self, seat: &Identity, seen: &Seen, now: Instant) -> Vec<Fact> {
        while self.begun.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            self.begun.pop_front();
        }
        let mut facts = Vec::new();
        let worse = seen.audio_lost || seen.video_lost || seen.frozen;
        for (kind, lasting) in Incident::ALL.into_iter().zip(&mut self.kinds) {
            let present = match kind {
                Incident::Reconnect => seen.away,
                // Nothing can be said of who is away.
                _ if seen.away => continue,
                Incident::AudioLost => seen.audio_lost,
                Incident::VideoLost => seen.video_lost,
                Incident::Frozen => seen.frozen,
                Incident::LowQuality => seen.poor && !worse,
            };
            if lasting.look(present, self.begun.len() < MOST_BEGUN) {
                let seat = seat.clone();
                facts.push(if lasting.on { Fact::IncidentStarted { seat, kind } } else { Fact::IncidentEnded { seat, kind } });
                self.begun.extend(lasting.on.then_some(now));
            }
        }
        if !seen.away && seen.talks && self.without_pictures.look(seen.without_pictures.is_some(), self.begun.len() < MOST_BEGUN)
        {
            let pictures = !self.without_pictures.on;
            self.begun.extend((!pictures).then_some(now));
            // Back for the same reason it went.
            self.why = if pictures { self.why } else { seen.without_pictures };
            facts.push(Fact::ModeChanged { seat: seat.clone(), pictures, why: self.why.unwrap_or(ModeCause::User) });
        }
        facts
    }
}

impl Shard {
    /// What is wrong with a member's call now.
    pub(super) fn trouble(
        &self,
        room: &RoomState,
        member: MemberId,
        link: usize,
        word: Option<Word>,
        now: Instant,
    ) -> Option<Seen> {
        let up = self.links.get(link).filter(|_| room.rules.is_open(member))?;
        let away = up.events.is_none() || word == Some(Word::Lost);
        let mut seen = Seen { away, poor: word == Some(Word::Poor), ..Seen::default() };
        let (mut shows, mut dead) = (false, false);
        for track in up.published().filter_map(|track| self.tracks.get(track)) {
            let sound = track.codec.kind() == MediaKind::Audio;
            let camera = track.is_video() && track.class != Class::Screen;
            let nothing = !track.muted && is_wanted(track) && track.live_layers(now) == 0;
            seen.talks |= sound;
            seen.audio_lost |= sound && nothing;
            dead |= camera && nothing;
            shows |= camera && !track.muted;
        }
        seen.video_lost = dead;
        let (mut wished, mut paused) = (0_u32, 0_u32);
        for (track, route) in self.routes_to(self.receiving(link)) {
            // What the sender does not bring is the sender's incident, not that of everybody who waits for it.
            if track.muted || track.live_layers(now) == 0 || self.is_silent(track.publisher, now) {
                continue;
            }
            if !track.is_video() {
                let lost = route.out.as_ref().and_then(|out| out.stats.reception()).map_or(0.0, |word| word.fraction_lost);
                seen.audio_lost |= lost > SOUND_LOST;
            } else if track.class != Class::Screen && route.choice.wanted(&track.set).is_some() {
                wished += 1;
                let pauses = route.choice.cap() == Cap::Pause;
                paused += u32::from(pauses);
                seen.frozen |= !pauses && route.guardian.still_for(now).is_some_and(|still| still >= STILL);
            }
        }
        let starved = wished > 0 && paused == wished;
        seen.video_lost |= starved;
        seen.without_pictures = match (starved, dead, shows) {
            (true, ..) => Some(ModeCause::Bandwidth),
            (_, true, _) => Some(ModeCause::Device),
            (_, _, false) => Some(ModeCause::User),
            _ => None,
        };
        Some(seen)
    }

    fn is_silent(&self, link: usize, now: Instant) -> bool {
        let heard = self.links.get(link).and_then(|link| link.peer.last_heard());
        heard.is_none_or(|at| now.saturating_duration_since(at) >= SILENT)
    }
}

/// Whether somebody gets what a track brings: of what nobody wishes for the sender sends nothing.
fn is_wanted(track: &Track) -> bool {
    let wanted =
        |route: &super::tracks::RouteState| route.choice.cap() != Cap::Pause && route.choice.wanted(&track.set).is_some();
    if track.is_video() { track.routes.iter().any(wanted) } else { !track.routes.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line {
        incidents: Incidents,
        now: Instant,
    }

    impl Line {
        fn new() -> Self {
            let now = Instant::now();
            Self { incidents: Incidents::default(), now }
        }

        fn looks(&mut self, count: u32, seen: Seen) -> Vec<String> {
            let mut told = Vec::new();
            for _ in 0..count {
                self.now += Duration::from_secs(2);
                told.extend(self.incidents.look(&Identity::new("p"), &seen, self.now));
            }
            let word = |fact: &Fact| {
                if let Fact::IncidentStarted { kind, .. } = fact {
                    return format!("+{}", kind.as_str());
                }
                if let Fact::IncidentEnded { kind, .. } = fact {
                    return format!("-{}", kind.as_str());
                }
                let Fact::ModeChanged { pictures, why, .. } = fact else { panic!("{fact:?}") };
                format!("pictures {pictures} {}", why.as_str())
            };
            told.iter().map(word).collect()
        }
    }

    const FINE: Seen = Seen {
        away: false,
        audio_lost: false,
        video_lost: false,
        frozen: false,
        poor: false,
        talks: true,
        without_pictures: None,
    };

    #[test]
    fn what_does_not_last_is_no_incident_and_what_comes_back_is_the_same() {
        let mut line = Line::new();
        let frozen = Seen { frozen: true, ..FINE };
        for _ in 0..5 {
            assert!(line.looks(2, frozen).is_empty() && line.looks(1, FINE).is_empty());
        }
        assert_eq!(line.looks(3, frozen), ["+frozen"]);
        assert!(line.looks(7, FINE).is_empty() && line.looks(1, frozen).is_empty());
        assert_eq!(line.looks(8, FINE), ["-frozen"]);
    }

    #[test]
    fn the_worst_is_told_and_not_what_follows_from_it() {
        let mut line = Line::new();
        let everything = Seen { away: true, audio_lost: true, video_lost: true, frozen: true, poor: true, ..FINE };
        assert_eq!(line.looks(30, everything), ["+reconnect"]);
        assert_eq!(line.looks(8, Seen { poor: true, ..FINE }), ["+low_quality", "-reconnect"]);
        let mut line = Line::new();
        assert_eq!(line.looks(30, Seen { frozen: true, poor: true, ..FINE }), ["+frozen"]);
    }

    #[test]
    fn the_worst_line_makes_so_many_entries_a_minute() {
        let mut line = Line::new();
        let bad = Seen { audio_lost: true, video_lost: true, frozen: true, without_pictures: Some(ModeCause::Device), ..FINE };
        let mut told = Vec::new();
        for _ in 0..60 {
            // The shortest that counts, over and over, for 22 minutes.
            told.extend(line.looks(BEGINS_AFTER.into(), bad));
            told.extend(line.looks(ENDS_AFTER.into(), FINE));
        }
        let minutes = 60 * usize::from(BEGINS_AFTER + ENDS_AFTER) * 2 / 60;
        assert!(told.len() <= (minutes + 1) * 2 * MOST_BEGUN, "{} entries in {minutes} minutes", told.len());
        assert!(told.len() >= minutes * MOST_BEGUN, "{} entries in {minutes} minutes", told.len());
        let begun = told.iter().filter(|word| word.starts_with('+') || word.contains("false")).count();
        assert!(begun <= (minutes + 1) * MOST_BEGUN, "{begun} begun");
    }

    #[test]
    fn pictures_go_and_come_back_for_the_same_reason() {
        let mut line = Line::new();
        let off = Seen { without_pictures: Some(ModeCause::Bandwidth), ..FINE };
        assert_eq!(line.looks(9, off), ["pictures false bandwidth"]);
        assert_eq!(line.looks(9, FINE), ["pictures true bandwidth"]);
        let silent = Seen { talks: false, without_pictures: Some(ModeCause::User), ..FINE };
        assert!(line.looks(9, silent).is_empty(), "who only looks on has no mode");
    }
}
