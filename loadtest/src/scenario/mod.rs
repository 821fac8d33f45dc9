//! Scenarios: who comes when, what they send over which line, and what the relay is held to.
//!
//! A scenario is a TOML file; those in `loadtest/scenarios` are part of the binary. [`find`] reads one by name or path,
//! [`Script`] plays it from a seed. Nothing here opens a socket or reads a clock.

mod file;
mod script;

pub use file::{ScenarioError, parse, span};
pub use script::{Act, Script};

use crate::client::{Codec, MediaKind};
use crate::impair;
use crate::swarm::{LayerShape, Publish, Video};
use std::path::Path;
use std::time::Duration;

/// Longest scenario file read, in bytes; the shipped ones are under 4 KiB.
const LONGEST_FILE: u64 = 256 * 1024;

/// The files that are part of the binary, by name.
pub const SHIPPED: [(&str, &str); 8] = [
    ("consultation", include_str!("../../scenarios/consultation.toml")),
    ("two-physicians", include_str!("../../scenarios/two-physicians.toml")),
    ("staff-meeting", include_str!("../../scenarios/staff-meeting.toml")),
    ("morning-rush", include_str!("../../scenarios/morning-rush.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("weak-network", include_str!("../../scenarios/weak-network.toml")),
    ("hostile-noise", include_str!("../../scenarios/hostile-noise.toml")),
];

/// A load and what is expected under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What reports call it.
    pub name: String,
    /// One sentence.
    pub about: String,
    /// Rooms, or the most there will be.
    pub rooms: u32,
    /// How long is measured.
    pub for_: Duration,
    /// What passes after the arrival before measuring begins.
    pub warm_up: Duration,
    /// How rooms come.
    pub arrival: Arrival,
    /// The people of a room.
    pub seats: Vec<Seat>,
    /// Calls end and others begin.
    pub churn: Option<Churn>,
    /// What happens to people in all rooms at once.
    pub events: Vec<Event>,
    /// Garbage towards the media port.
    pub noise: Option<Noise>,
    /// What the relay is held to.
    pub limits: Limits,
}

/// How rooms come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// All of them, spread evenly.
    Over(Duration),
    /// So many a second.
    Rate {
        /// Rooms a second.
        rooms_per_s: f64,
        /// The first refusal ends the arrivals; the run then goes on for this long.
        then_hold: Option<Duration>,
    },
}

/// One of the people of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// Who it is; part of the identity.
    pub role: String,
    /// What it sends.
    pub publish: Publish,
    /// Counted from when the room opens.
    pub joins_at: Duration,
    /// Counted from when the room opens; without it, when the room closes.
    pub leaves_at: Option<Duration>,
    /// What its line does.
    pub link: Option<impair::Profile>,
    /// What happens to it, counted from its join.
    pub events: Vec<Event>,
}

/// Something that happens to a seat.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When first.
    pub at: Duration,
    /// Again after each of these.
    pub every: Option<Duration>,
    /// What.
    pub what: Deed,
    /// Part of the people it happens to, 0 to 1.
    pub share: f64,
    /// Only to these; empty is all.
    pub roles: Vec<String>,
}

/// What can happen to somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// The WebSocket breaks.
    CutSignal,
    /// The local address changes.
    Move,
    /// A kind of media stops or goes on.
    Mute(MediaKind, bool),
    /// The line becomes another.
    Link(Box<impair::Profile>),
}

/// Calls end and others begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Mean length of a call; each lasts between half and one and a half of it.
    pub call_lasts: Duration,
    /// From the end of one call to the next.
    pub pause: Duration,
}

/// Garbage towards the media port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// How dense.
    pub datagrams_per_s: u32,
    /// Counted from the beginning of measuring.
    pub from: Duration,
    /// How long; without it to the end.
    pub lasts: Option<Duration>,
}

/// What the relay is held to; what is not named is only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// 99 of 100 packets take at most this long through the relay.
    pub delay_p99: Option<Duration>,
    /// Packets that never came, percent of those expected.
    pub loss_percent: Option<f64>,
    /// Freezes per seat and minute.
    pub freezes_per_seat_minute: Option<f64>,
    /// Calls that never came about or broke.
    pub failures: Option<u64>,
    /// Joins that were refused.
    pub refusals: Option<u64>,
    /// 99 of 100 joins have their media transport after at most this long.
    pub join_p99: Option<Duration>,
    /// 99 of 100 broken connections are back after at most this long.
    pub resume_p99: Option<Duration>,
    /// Growth of the relay's memory between the second and the last tenth of the run, percent.
    pub memory_growth_percent: Option<f64>,
    /// Growth of the relay's open handles in the same time, percent.
    pub handle_growth_percent: Option<f64>,
}

impl Scenario {
    /// When measuring begins, counted from the start.
    #[must_use]
    pub fn measured_from(&self) -> Duration {
        match self.arrival {
            Arrival::Over(ramp) => ramp + self.warm_up,
            Arrival::Rate { .. } => self.warm_up,
        }
    }

    /// When everybody goes, at the latest.
    #[must_use]
    pub fn ends_at(&self) -> Duration {
        self.measured_from() + self.for_
    }

    /// Sends the reference cadence at another rate: every camera of one layer gets `bits_per_s`.
    pub fn override_bitrate(&mut self, bits_per_s: u32) {
        for video in self.seats.iter_mut().filter_map(|seat| seat.publish.video.as_mut()) {
            if let [layer] = video.layers.as_mut_slice() {
                layer.bits_per_s = bits_per_s;
                layer.fixed = None;
            }
        }
    }

    /// A room of `seats` reference publishers, for finding how many this machine holds.
    #[must_use]
    pub fn reference(seats: u8, bits_per_s: u32, rooms: u32) -> Self {
        let seat = |number| Seat {
            role: format!("seat-{number}"),
            publish: Publish { audio: Some(crate::swarm::Audio::default()), video: Some(reference_video()) },
            joins_at: Duration::ZERO,
            leaves_at: None,
            link: None,
            events: Vec::new(),
        };
        let mut scenario = Self {
            name: "size".to_owned(),
            about: format!("{seats} seats of reference load"),
            rooms,
            for_: Duration::from_secs(10),
            warm_up: Duration::from_secs(3),
            arrival: Arrival::Over(Duration::from_secs(2)),
            seats: (0..seats).map(seat).collect(),
            churn: None,
            events: Vec::new(),
            noise: None,
            limits: Limits {
                delay_p99: Some(Duration::from_millis(5)),
                loss_percent: Some(0.1),
                failures: Some(0),
                refusals: Some(0),
                ..Limits::default()
            },
        };
        if bits_per_s != REFERENCE_BITS_PER_S {
            scenario.override_bitrate(bits_per_s);
        }
        scenario
    }
}

/// 30 frames of 5 packets of 1,000 bytes.
pub const REFERENCE_BITS_PER_S: u32 = 1_200_000;

/// The product's reference camera: 30 frames a second of 5 x 1,000 bytes, spread over 40 % of the frame interval.
#[must_use]
pub fn reference_video() -> Video {
    Video {
        codec: Codec::Vp8,
        layers: vec![LayerShape {
            width: 1280,
            height: 720,
            frames_per_s: 30,
            bits_per_s: REFERENCE_BITS_PER_S,
            fixed: Some((5, 1_000)),
            key_every: None,
        }],
        spread: 0.4,
        adapt: false,
    }
}

/// Reads a shipped scenario by name, or a file by path.
///
/// # Errors
/// When there is neither, or what it holds is wrong; the text names file, line, key and what is allowed.
pub fn find(name_or_path: &str) -> Result<Scenario, ScenarioError> {
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == name_or_path) {
        return parse(name, name, text);
    }
    let path = Path::new(name_or_path);
    let looks_like_path = name_or_path.ends_with(".toml") || name_or_path.contains(std::path::MAIN_SEPARATOR);
    if !looks_like_path {
        return Err(ScenarioError::unknown(name_or_path));
    }
    let unreadable = |why: String| ScenarioError::unreadable(name_or_path, &why);
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > LONGEST_FILE {
        return Err(unreadable(format!("longer than {LONGEST_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let name = path.file_stem().map_or_else(|| name_or_path.to_owned(), |stem| stem.to_string_lossy().into_owned());
    parse(&name, name_or_path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shipped_scenarios_parse_and_play() {
        for (name, text) in SHIPPED {
            let scenario = parse(name, name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(scenario.about.ends_with('.'), "{name}: a sentence ends with a full stop");
            let mut script = Script::new(&scenario, 1);
            let mut joins = 0;
            while let Some(act) = script.poll(scenario.ends_at()) {
                joins += u32::from(matches!(act, Act::Join { .. }));
                if joins > 10_000 {
                    break;
                }
            }
            assert!(joins >= scenario.seats.len() as u32, "{name}: {joins} joins");
        }
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        let error = find("consultaton").unwrap_err().to_string();

        assert!(error.contains("consultaton") && error.contains("weak-network") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn another_bitrate_keeps_the_cadence() {
        let slow = Scenario::reference(3, 600_000, 1);
        let same = Scenario::reference(3, REFERENCE_BITS_PER_S, 1);

        let layer = |scenario: &Scenario| scenario.seats[0].publish.video.as_ref().unwrap().layers[0].clone();
        assert_eq!((layer(&slow).frames_per_s, layer(&slow).bits_per_s, layer(&slow).fixed), (30, 600_000, None));
        assert_eq!(layer(&same).fixed, Some((5, 1_000)));
    }
}
