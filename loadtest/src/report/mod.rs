//! What a run is written down as: JSON for machines, one HTML page for people.
//!
//! [`Results`] is the document; docs/loadtest.md explains its fields. It holds no token and no secret.

mod html;
mod plot;

pub use html::page;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// All a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version of the load test.
    pub tool: String,
    /// The command line, without the secret.
    pub command: String,
    /// UTC, when the first order was given.
    pub started: String,
    /// What was asked for.
    pub asked: Asked,
    /// Where it ran.
    pub machine: Machine,
    /// What came of it.
    pub verdict: Verdict,
    /// Joins and what became of them.
    pub calls: Calls,
    /// Voices and cameras together, while measuring.
    pub media: Media,
    /// Voices alone.
    pub audio: Media,
    /// Cameras alone.
    pub video: Media,
    /// The relay's process; without its pid nothing is known.
    pub relay: Option<Process>,
    /// The load test's own process.
    pub generator: Generator,
    /// Second by second, from the first order on.
    pub seconds: Vec<Row>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Name of the scenario.
    pub scenario: String,
    /// Its sentence.
    pub about: String,
    /// Rooms, or the most there should be.
    pub rooms: u32,
    /// People of a room.
    pub seats_per_room: usize,
    /// Seconds measured, as asked for.
    pub for_s: f64,
    /// Seconds before measuring.
    pub before_s: f64,
    /// What all choices come from.
    pub seed: u64,
    /// Threads of clients.
    pub threads: usize,
    /// Bits a second of each camera, where the command line set them.
    pub bitrate: Option<u32>,
    /// The relay's address.
    pub url: String,
}

/// The machine of the load test.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// Its processor.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// MiB.
    pub memory_mib: u64,
    /// Its kernel.
    pub kernel: String,
    /// Load of the last minute, before the run.
    pub load: String,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All limits were kept.
    Pass,
    /// A limit was not kept.
    Fail,
    /// The load test itself was too slow for its figures to count.
    NotMeasured,
}

/// What came of a run, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// In one line.
    pub line: String,
    /// Each limit.
    pub checks: Vec<Check>,
}

/// One limit and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The limit's key in scenario files.
    pub name: String,
    /// What was seen; nothing where nothing could be.
    pub seen: Option<f64>,
    /// The most that is allowed.
    pub most: f64,
    /// Of both.
    pub unit: String,
    /// It was kept.
    pub kept: bool,
}

/// Percentiles of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Half are at most this.
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// All.
    pub max: u64,
}

impl Percentiles {
    /// Reads them off a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// Joins and what became of them, over the whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// Rooms that were opened.
    pub rooms: u32,
    /// Orders to join.
    pub asked: u64,
    /// Media transports that came up.
    pub joined: u64,
    /// Refused by the relay.
    pub refused: u64,
    /// Of these, because it was full.
    pub busy: u64,
    /// Never came about, or broke.
    pub failed: u64,
    /// Joined and never got any media of others who were there.
    pub silent: u64,
    /// Breaks of signalling that were ordered.
    pub cut: u64,
    /// Signalling that came back.
    pub resumed: u64,
    /// Of these, by a new join.
    pub rejoined: u64,
    /// Left as told.
    pub left: u64,
    /// Still there when the load test ended.
    pub leftover: u64,
    /// Most transports that were up in one second.
    pub most_up: u32,
    /// Why some failed or were refused, and how many.
    pub reasons: Vec<(String, u64)>,
    /// Order to join response, ms.
    pub signalled_ms: Percentiles,
    /// Order to media transport, ms.
    pub joined_ms: Percentiles,
    /// Order to the first media of somebody else, ms.
    pub first_media_ms: Percentiles,
    /// Cut to being back, ms.
    pub resumed_ms: Percentiles,
}

/// What became of packets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Media {
    /// Added delay: send stamp to the kernel's arrival stamp, µs.
    pub delay_us: Percentiles,
    /// Media packets the clients sent.
    pub sent: u64,
    /// Packets that should have come.
    pub expected: u64,
    /// Packets that came.
    pub delivered: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Percent of those expected.
    pub loss_percent: f64,
    /// Packets that came by a repetition.
    pub repaired: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came late.
    pub reordered: u64,
    /// Whole pictures.
    pub frames: u64,
    /// Times a picture stood still.
    pub freezes: u64,
    /// Seconds pictures stood still, all together.
    pub frozen_s: f64,
    /// Request for a key frame to its first packet, ms.
    pub key_frame_ms: Percentiles,
    /// Delivered packets a second.
    pub delivered_per_s: f64,
    /// Delivered payload, Mbit/s.
    pub mbit_per_s: f64,
}

/// A process seen from outside, while measuring.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// Seconds of CPU.
    pub cpu_s: f64,
    /// Cores busy, mean.
    pub cores: f64,
    /// CPU for each packet delivered, µs.
    pub cpu_us_per_delivered: Option<f64>,
    /// Resident memory when measuring began, MiB.
    pub memory_mib_first: f64,
    /// At its end, MiB.
    pub memory_mib_last: f64,
    /// The most, MiB.
    pub memory_mib_most: f64,
    /// What each seat added to the memory before anybody came, KiB.
    pub memory_kib_per_seat: Option<f64>,
    /// Open handles when measuring began and at its end.
    pub handles: [u32; 2],
    /// Second to last tenth of the run, percent.
    pub memory_growth_percent: Option<f64>,
    /// The same of handles.
    pub handle_growth_percent: Option<f64>,
}

/// How the load test itself did, while measuring.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// Seconds of CPU of the threads of clients.
    pub cpu_s: f64,
    /// Cores busy, mean; the whole process.
    pub cores: f64,
    /// How much later than due its packets left, µs.
    pub late_us: Percentiles,
    /// How long datagrams waited in its sockets, µs; not part of the added delay.
    pub waited_us: Percentiles,
    /// Datagrams its sockets lost or refused.
    pub socket_errors: u64,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Seconds since the start.
    pub second: u32,
    /// It counts for the verdict.
    pub measured: bool,
    /// Transports up.
    pub up: u32,
    /// Orders to join in this second.
    pub joins: u32,
    /// Refusals and failures in this second.
    pub refused: u32,
    /// Failures in this second.
    pub failed: u32,
    /// Packets delivered.
    pub delivered: u64,
    /// Packets that should have come.
    pub expected: u64,
    /// Packets known lost.
    pub lost: u64,
    /// Freezes that ended.
    pub freezes: u32,
    /// Added delay, µs.
    pub delay_p50_us: u64,
    /// Added delay, µs.
    pub delay_p99_us: u64,
    /// Added delay, µs.
    pub delay_p999_us: u64,
    /// Payload received, Mbit/s.
    pub mbit: f64,
    /// Cores the relay used.
    pub relay_cores: Option<f64>,
    /// Resident memory of the relay, MiB.
    pub relay_mib: Option<f64>,
    /// Open handles of the relay.
    pub relay_handles: Option<u32>,
    /// Cores the load test used.
    pub generator_cores: f64,
    /// How late its packets left, µs, 99 of 100.
    pub late_p99_us: u64,
}

/// `part` of `whole` in percent, 0 of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure;

    #[test]
    fn percentiles_come_from_merged_histograms() {
        let (mut one, mut other) = (measure::histogram(), measure::histogram());
        (1..=900).for_each(|value| measure::note(&mut one, value));
        (901..=1_000).for_each(|value| measure::note(&mut other, value));
        one.add(&other).unwrap();

        let percentiles = Percentiles::of(&one);

        let near = |seen: u64, value: u64| seen.abs_diff(value) <= value / 50 + 1;
        assert_eq!(percentiles.count, 1_000);
        assert!(near(percentiles.p50, 500) && near(percentiles.p90, 900), "{percentiles:?}");
        assert!(near(percentiles.p99, 990) && near(percentiles.p999, 999), "{percentiles:?}");
        assert!(near(percentiles.max, 1_000), "{percentiles:?}");
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Percentiles::of(&measure::histogram()), Percentiles::default());
        assert!(percent(3, 0).abs() < f64::EPSILON);
    }
}
