//! Scenario files: TOML in, [`Scenario`] out, or one line that says what is wrong where.

use super::{Arrival, Churn, Deed, Event, Limits, Noise, SHIPPED, Scenario, Seat, reference_video};
use crate::client::{Codec, MediaKind};
use crate::impair;
use crate::swarm::{Audio, LayerShape, Publish, Video};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most seats of a room; an identity's number has two digits.
const MOST_SEATS: usize = 99;

/// Why a scenario cannot be had; one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl ScenarioError {
    pub(super) fn unknown(name: &str) -> Self {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        Self(one_line(&format!("no scenario \"{name}\"; there are {}, or name a .toml file", names.join(", "))))
    }

    pub(super) fn unreadable(file: &str, why: &str) -> Self {
        Self(one_line(&format!("{file}: cannot be read: {why}")))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A time as files and options write it: a number with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// When it is not that; the text says what is expected.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\": expected a number with ms, s, m or h, for example 90s");
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = number * scale;
    // A month; what is longer is a slip.
    if !(0.0..=2_700_000.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[derive(Clone, Copy, Debug, Default)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        span(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    about: String,
    rooms: u32,
    #[serde(rename = "for")]
    for_: Span,
    #[serde(default)]
    warm_up: Span,
    #[serde(default)]
    arrival: RawArrival,
    #[serde(default)]
    shapes: BTreeMap<String, RawShape>,
    seats: Vec<RawSeat>,
    churn: Option<RawChurn>,
    #[serde(default)]
    events: Vec<RawEvent>,
    noise: Option<RawNoise>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArrival {
    over: Option<Span>,
    rooms_per_s: Option<f64>,
    until_refused_then_hold: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    #[serde(default)]
    audio: Option<RawAudio>,
    #[serde(default)]
    video: Option<RawVideo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAudio {
    #[serde(default = "usual_audio_bytes")]
    packet_bytes: u16,
    #[serde(default = "usual_audio_rate")]
    per_second: u16,
}

fn usual_audio_bytes() -> u16 {
    Audio::default().packet_bytes
}

fn usual_audio_rate() -> u16 {
    Audio::default().per_second
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVideo {
    #[serde(default)]
    codec: RawCodec,
    layers: Vec<RawLayer>,
    #[serde(default = "usual_spread")]
    spread: f32,
    #[serde(default)]
    adapt: bool,
}

fn usual_spread() -> f32 {
    0.4
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawCodec {
    #[default]
    Vp8,
    Vp9,
    Av1,
    H264,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLayer {
    width: u16,
    height: u16,
    frames_per_s: u16,
    kbits_per_s: Option<u32>,
    packets_per_frame: Option<u8>,
    packet_bytes: Option<u16>,
    key_every: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeat {
    role: String,
    #[serde(default = "one")]
    count: u8,
    #[serde(default = "usual_shape")]
    publish: String,
    #[serde(default)]
    joins_at: Span,
    leaves_at: Option<Span>,
    link: Option<impair::Profile>,
    #[serde(default)]
    events: Vec<RawEvent>,
}

fn one() -> u8 {
    1
}

fn usual_shape() -> String {
    "reference".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    at: Span,
    every: Option<Span>,
    #[serde(rename = "do")]
    what: RawDeed,
    link: Option<impair::Profile>,
    #[serde(default = "everybody")]
    share: f64,
    #[serde(default)]
    roles: Vec<String>,
}

fn everybody() -> f64 {
    1.0
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawDeed {
    CutSignal,
    Move,
    MuteAudio,
    UnmuteAudio,
    MuteVideo,
    UnmuteVideo,
    Link,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChurn {
    call_lasts: Span,
    #[serde(default)]
    pause: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNoise {
    datagrams_per_s: u32,
    #[serde(default)]
    from: Span,
    lasts: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    delay_p99: Option<Span>,
    loss_percent: Option<f64>,
    freezes_per_seat_minute: Option<f64>,
    failures: Option<u64>,
    refusals: Option<u64>,
    join_p99: Option<Span>,
    resume_p99: Option<Span>,
    memory_growth_percent: Option<f64>,
    handle_growth_percent: Option<f64>,
}

/// Reads a scenario; `file` is what errors call it.
///
/// # Errors
/// When the text is no TOML, a key is unknown or a value is out of its range.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let raw: RawScenario = toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        ScenarioError(one_line(&format!("{place}: {}", error.message())))
    })?;
    build(name, raw).map_err(|what| ScenarioError(one_line(&format!("{file}: {what}"))))
}

fn build(name: &str, raw: RawScenario) -> Result<Scenario, String> {
    in_range("rooms", f64::from(raw.rooms), 1.0, 100_000.0)?;
    if raw.for_.0.is_zero() {
        return Err("for: a run of no length measures nothing; write for = \"60s\"".to_owned());
    }
    let shapes: BTreeMap<String, Publish> =
        raw.shapes.into_iter().map(|(name, shape)| Ok((name.clone(), publish(&name, shape)?))).collect::<Result<_, String>>()?;
    let mut seats = Vec::new();
    for seat in raw.seats {
        let count = seat.count;
        let seat = build_seat(seat, &shapes)?;
        seats.extend(std::iter::repeat_n(seat, usize::from(count)));
    }
    if seats.is_empty() || seats.len() > MOST_SEATS {
        return Err(format!("seats: {} of them; a room has 1 to {MOST_SEATS}", seats.len()));
    }
    let events: Vec<Event> = raw.events.into_iter().map(build_event).collect::<Result<_, _>>()?;
    for role in events.iter().flat_map(|event| &event.roles) {
        if !seats.iter().any(|seat| seat.role == *role) {
            return Err(format!("events: roles: no seat is a \"{role}\""));
        }
    }
    let churn = raw.churn.map(|churn| Churn { call_lasts: churn.call_lasts.0, pause: churn.pause.0 });
    if churn.is_some_and(|churn| churn.call_lasts < Duration::from_secs(1)) {
        return Err("churn.call_lasts: shorter than 1s".to_owned());
    }
    Ok(Scenario {
        name: name.to_owned(),
        about: raw.about,
        rooms: raw.rooms,
        for_: raw.for_.0,
        warm_up: raw.warm_up.0,
        arrival: arrival(&raw.arrival)?,
        seats,
        churn,
        events,
        noise: raw.noise.map(noise).transpose()?,
        limits: limits(&raw.limits),
    })
}

fn in_range(key: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(format!("{key} = {value}: expected {least} to {most}")) }
}

fn arrival(raw: &RawArrival) -> Result<Arrival, String> {
    match (raw.over, raw.rooms_per_s) {
        (Some(_), Some(_)) => Err("arrival: write over or rooms_per_s, not both".to_owned()),
        (over, None) if raw.until_refused_then_hold.is_none() => Ok(Arrival::Over(over.map_or(Duration::ZERO, |over| over.0))),
        (_, None) => Err("arrival: until_refused_then_hold needs rooms_per_s".to_owned()),
        (None, Some(rooms_per_s)) => {
            in_range("arrival.rooms_per_s", rooms_per_s, 0.001, 1_000.0)?;
            Ok(Arrival::Rate { rooms_per_s, then_hold: raw.until_refused_then_hold.map(|hold| hold.0) })
        }
    }
}

fn build_seat(raw: RawSeat, shapes: &BTreeMap<String, Publish>) -> Result<Seat, String> {
    let role = raw.role;
    let named = |text: &str| format!("seats: {role}: {text}");
    if role.is_empty() || role.len() > 32 || !role.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') {
        return Err(named("a role is 1 to 32 small letters and hyphens"));
    }
    let publish = match raw.publish.as_str() {
        "reference" => Publish { audio: Some(Audio::default()), video: Some(reference_video()) },
        "audio-only" => Publish { audio: Some(Audio::default()), video: None },
        "nothing" => Publish::default(),
        name => shapes.get(name).cloned().ok_or_else(|| {
            let own: Vec<&str> = shapes.keys().map(String::as_str).collect();
            let own = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
            named(&format!("publish = \"{name}\": expected reference, audio-only, nothing, or a shape of this file ({own})"))
        })?,
    };
    let leaves_at = raw.leaves_at.map(|at| at.0);
    if leaves_at.is_some_and(|leaves_at| leaves_at <= raw.joins_at.0) {
        return Err(named("leaves_at is not after joins_at"));
    }
    Ok(Seat {
        publish,
        joins_at: raw.joins_at.0,
        leaves_at,
        link: raw.link,
        events: raw.events.into_iter().map(build_event).collect::<Result<_, _>>()?,
        role,
    })
}

fn publish(name: &str, raw: RawShape) -> Result<Publish, String> {
    let audio = raw.audio.map(|audio| Audio { packet_bytes: audio.packet_bytes, per_second: audio.per_second });
    if let Some(audio) = audio {
        in_range(&format!("shapes.{name}.audio.packet_bytes"), f64::from(audio.packet_bytes), 1.0, 1_200.0)?;
        in_range(&format!("shapes.{name}.audio.per_second"), f64::from(audio.per_second), 1.0, 200.0)?;
    }
    let video = raw.video.map(|video| build_video(name, video)).transpose()?;
    Ok(Publish { audio, video })
}

fn build_video(name: &str, raw: RawVideo) -> Result<Video, String> {
    let key = format!("shapes.{name}.video");
    in_range(&format!("{key}.layers: their number"), raw.layers.len() as f64, 1.0, 3.0)?;
    in_range(&format!("{key}.spread"), f64::from(raw.spread), 0.0, 1.0)?;
    let codec = match raw.codec {
        RawCodec::Vp8 => Codec::Vp8,
        RawCodec::Vp9 => Codec::Vp9,
        RawCodec::Av1 => Codec::Av1,
        RawCodec::H264 => Codec::H264,
    };
    let layers = raw.layers.iter().map(|layer| build_layer(&key, layer)).collect::<Result<_, _>>()?;
    Ok(Video { codec, layers, spread: raw.spread, adapt: raw.adapt })
}

fn build_layer(key: &str, raw: &RawLayer) -> Result<LayerShape, String> {
    in_range(&format!("{key}.layers.frames_per_s"), f64::from(raw.frames_per_s), 1.0, 120.0)?;
    let fixed = match (raw.kbits_per_s, raw.packets_per_frame, raw.packet_bytes) {
        (Some(_), None, None) => None,
        (None, Some(packets), Some(bytes)) => {
            in_range(&format!("{key}.layers.packets_per_frame"), f64::from(packets), 1.0, 100.0)?;
            in_range(&format!("{key}.layers.packet_bytes"), f64::from(bytes), 40.0, 1_200.0)?;
            Some((packets, bytes))
        }
        _ => return Err(format!("{key}.layers: write kbits_per_s, or packets_per_frame and packet_bytes")),
    };
    let bits_per_s = match (raw.kbits_per_s, fixed) {
        (Some(kbits), _) => {
            in_range(&format!("{key}.layers.kbits_per_s"), f64::from(kbits), 10.0, 50_000.0)?;
            kbits * 1_000
        }
        (None, Some((packets, bytes))) => u32::from(raw.frames_per_s) * u32::from(packets) * u32::from(bytes) * 8,
        (None, None) => 0,
    };
    Ok(LayerShape {
        width: raw.width,
        height: raw.height,
        frames_per_s: raw.frames_per_s,
        bits_per_s,
        fixed,
        key_every: raw.key_every.map(|every| every.0),
    })
}

fn build_event(raw: RawEvent) -> Result<Event, String> {
    in_range("events.share", raw.share, 0.0, 1.0)?;
    if raw.every.is_some_and(|every| every.0 < Duration::from_millis(100)) {
        return Err("events.every: shorter than 100ms".to_owned());
    }
    let what = match (raw.what, raw.link) {
        (RawDeed::Link, Some(profile)) => Deed::Link(Box::new(profile)),
        (RawDeed::Link, None) => return Err("events: do = \"link\" needs link = \"NAME\"".to_owned()),
        (_, Some(_)) => return Err("events: link goes with do = \"link\" only".to_owned()),
        (RawDeed::CutSignal, None) => Deed::CutSignal,
        (RawDeed::Move, None) => Deed::Move,
        (RawDeed::MuteAudio, None) => Deed::Mute(MediaKind::Audio, true),
        (RawDeed::UnmuteAudio, None) => Deed::Mute(MediaKind::Audio, false),
        (RawDeed::MuteVideo, None) => Deed::Mute(MediaKind::Video, true),
        (RawDeed::UnmuteVideo, None) => Deed::Mute(MediaKind::Video, false),
    };
    Ok(Event { at: raw.at.0, every: raw.every.map(|every| every.0), what, share: raw.share, roles: raw.roles })
}

fn noise(raw: RawNoise) -> Result<Noise, String> {
    in_range("noise.datagrams_per_s", f64::from(raw.datagrams_per_s), 1.0, 1_000_000.0)?;
    Ok(Noise { datagrams_per_s: raw.datagrams_per_s, from: raw.from.0, lasts: raw.lasts.map(|lasts| lasts.0) })
}

fn limits(raw: &RawLimits) -> Limits {
    let time = |span: Option<Span>| span.map(|span| span.0);
    Limits {
        delay_p99: time(raw.delay_p99),
        loss_percent: raw.loss_percent,
        freezes_per_seat_minute: raw.freezes_per_seat_minute,
        failures: raw.failures,
        refusals: raw.refusals,
        join_p99: time(raw.join_p99),
        resume_p99: time(raw.resume_p99),
        memory_growth_percent: raw.memory_growth_percent,
        handle_growth_percent: raw.handle_growth_percent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "about = \"One.\"\nrooms = 2\nfor = \"10s\"\n\n[[seats]]\nrole = \"doctor\"\n";

    fn read(text: &str) -> Result<Scenario, String> {
        parse("small", "small.toml", text).map_err(|error| error.to_string())
    }

    fn wrong(text: &str, parts: &[&str]) {
        let error = read(text).unwrap_err();
        assert!(!error.contains('\n'), "one line: {error}");
        for part in parts {
            assert!(error.contains(part), "{part} in: {error}");
        }
    }

    #[test]
    fn a_small_file_has_sensible_defaults() {
        let scenario = read(SMALL).unwrap();

        assert_eq!((scenario.rooms, scenario.for_, scenario.warm_up), (2, Duration::from_secs(10), Duration::ZERO));
        assert_eq!(scenario.arrival, Arrival::Over(Duration::ZERO));
        assert_eq!(scenario.seats[0].publish.video, Some(reference_video()));
        assert_eq!(scenario.limits, Limits::default());
    }

    #[test]
    fn an_unknown_key_names_file_line_key_and_what_is_allowed() {
        wrong(&SMALL.replace("rooms = 2", "rooms = 2\nroms = 3"), &["small.toml:3", "`roms`", "`rooms`", "`seats`"]);
        wrong(&format!("{SMALL}joins = \"3s\"\n"), &["small.toml:", "`joins`", "`joins_at`"]);
        wrong(&format!("{SMALL}[limits]\ndelay = 3\n"), &["`delay`", "`delay_p99`"]);
        wrong(&format!("{SMALL}events = [{{ at = \"1s\", do = \"explode\" }}]\n"), &["explode", "cut-signal", "move"]);
    }

    #[test]
    fn wrong_values_say_what_is_expected() {
        wrong(&SMALL.replace("\"10s\"", "\"10\""), &["small.toml:3", "10", "ms, s, m or h"]);
        wrong(&SMALL.replace("\"10s\"", "\"0s\""), &["for"]);
        wrong(&SMALL.replace("rooms = 2", "rooms = 0"), &["rooms = 0", "1 to 100000"]);
        wrong(&format!("{SMALL}publish = \"film\"\n"), &["film", "reference", "audio-only"]);
        wrong(&format!("{SMALL}link = \"wet-string\"\n"), &["small.toml:7", "wet-string", "home-wifi"]);
        wrong(&format!("{SMALL}leaves_at = \"0s\"\n"), &["doctor", "leaves_at"]);
        wrong(&format!("{SMALL}[arrival]\nover = \"3s\"\nrooms_per_s = 3.0\n"), &["not both"]);
        wrong("about = ", &["small.toml:1"]);
        wrong(&format!("{SMALL}count = 100\n"), &["seats: 100", "1 to 99"]);
    }

    #[test]
    fn shapes_of_the_file_can_be_published() {
        let text = format!(
            "{SMALL}publish = \"camera\"\n[shapes.camera]\naudio = {{}}\n[shapes.camera.video]\ncodec = \"h264\"\nlayers = [{{ width = 320, \
             height = 180, frames_per_s = 15, kbits_per_s = 200 }}]\n"
        );

        let scenario = read(&text).unwrap();

        let video = scenario.seats[0].publish.video.clone().unwrap();
        assert_eq!((video.codec, video.layers[0].bits_per_s), (Codec::H264, 200_000));
        assert_eq!(scenario.seats[0].publish.audio, Some(Audio::default()));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in ["", "5", "s", "-1s", "5 s", "NaNs", "infs", "5d", "1e9h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
