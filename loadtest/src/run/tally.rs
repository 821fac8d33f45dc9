//! Adds up what the clients report: totals of the measured time, and a row for each second.
//!
//! It reads no clock. A second is complete when later ones have come from the threads; its histograms then melt into the
//! totals and only a [`Row`] stays, so that a run of a day fits in memory.

use crate::measure::{self, Second, Stream};
use crate::process::Sample;
use crate::report::{Calls, Generator, Media, Percentiles, Process, Row, percent};
use crate::swarm::{ClientId, Report};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Threads report a second within this many seconds of its end; those who watch see figures as old as this.
const SETTLE: u32 = 2;

/// Different texts of refusals kept; the rest is counted as one.
const REASONS: usize = 32;

/// Somebody who was in this long without any media of others counts as silent.
const SILENCE: Duration = Duration::from_secs(10);

struct Member {
    room: u32,
    joined: Option<Duration>,
    heard: bool,
}

/// What is known of the processes in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Processes {
    relay_cores: Option<f64>,
    relay: Option<Sample>,
    generator_cores: f64,
}

/// The sums of a run.
pub struct Tally {
    from: u32,
    /// The first second that does not count any more.
    until: u32,
    total: Second,
    open: BTreeMap<u32, Second>,
    rows: BTreeMap<u32, Row>,
    processes: BTreeMap<u32, Processes>,
    calls: Calls,
    reasons: HashMap<String, u64>,
    signalled: Histogram<u64>,
    connected: Histogram<u64>,
    first_media: Histogram<u64>,
    resumed: Histogram<u64>,
    /// Who is in; emptied when they leave or fail.
    members: HashMap<ClientId, Member>,
    /// Rooms in which somebody was refused; one entry for each, they end a run.
    torn: HashSet<u32>,
    peak_expected: u64,
}

/// What a driver does about a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// This one was refused; the relay said this status.
    Refused(ClientId, Option<u16>),
    /// This one is not in its room any more.
    Gone(ClientId),
}

impl Tally {
    /// Begins; the seconds from `from` on count.
    #[must_use]
    pub fn new(from: Duration) -> Self {
        Self {
            from: from.as_secs_f64().ceil() as u32,
            until: u32::MAX,
            total: Second::new(0, 0),
            open: BTreeMap::new(),
            rows: BTreeMap::new(),
            processes: BTreeMap::new(),
            calls: Calls::default(),
            reasons: HashMap::new(),
            signalled: measure::histogram(),
            connected: measure::histogram(),
            first_media: measure::histogram(),
            resumed: measure::histogram(),
            members: HashMap::new(),
            torn: HashSet::new(),
            peak_expected: 0,
        }
    }

    /// Measuring ends; what the clients see while they leave does not count.
    pub fn end_measuring(&mut self, now: Duration) {
        self.until = self.until.min(now.as_secs() as u32);
    }

    /// Somebody was told to join.
    pub fn on_join(&mut self, client: ClientId, room: u32, now: Duration) {
        self.calls.asked += 1;
        self.row(now).joins += 1;
        self.members.insert(client, Member { room, joined: None, heard: false });
    }

    /// Somebody was told to leave.
    pub fn on_leave(&mut self, client: ClientId, now: Duration) {
        self.settle_member(client, now);
    }

    /// Somebody's signalling was broken.
    pub fn on_cut(&mut self) {
        self.calls.cut += 1;
    }

    /// Rooms opened so far.
    pub fn on_rooms(&mut self, rooms: u32) {
        self.calls.rooms = rooms;
    }

    /// Somebody was still there at the very end.
    pub fn on_leftover(&mut self, count: usize) {
        self.calls.leftover += count as u64;
    }

    /// Adds a report that came at `now`.
    pub fn handle(&mut self, report: Report, now: Duration) -> News {
        match report {
            Report::Joined { client, signalled, connected } => {
                self.calls.joined += 1;
                measure::note(&mut self.signalled, millis(signalled));
                measure::note(&mut self.connected, millis(connected));
                if let Some(member) = self.members.get_mut(&client) {
                    member.joined = Some(now);
                }
            }
            Report::FirstMedia { client, after } => {
                measure::note(&mut self.first_media, millis(after));
                if let Some(member) = self.members.get_mut(&client) {
                    member.heard = true;
                }
            }
            Report::Refused { client, status, busy, text, .. } => {
                self.calls.refused += 1;
                self.calls.busy += u64::from(busy);
                self.row(now).refused += 1;
                let status_text = status.map_or_else(String::new, |status| format!("{status} "));
                self.reason(format!("refused: {status_text}{text}"));
                self.torn.extend(self.members.remove(&client).map(|member| member.room));
                return News::Refused(client, status);
            }
            Report::Failed { client, why } => {
                self.calls.failed += 1;
                self.row(now).failed += 1;
                self.reason(why.text().to_owned());
                self.members.remove(&client);
                return News::Gone(client);
            }
            Report::Resumed { after, full, .. } => {
                self.calls.resumed += 1;
                self.calls.rejoined += u64::from(full);
                measure::note(&mut self.resumed, millis(after));
            }
            Report::Left { .. } => self.calls.left += 1,
            Report::Tick(second) => self.tick(&second),
        }
        News::None
    }

    /// Adds what the processes used in the second that ended at `now`.
    pub fn on_processes(&mut self, now: Duration, relay_cores: Option<f64>, relay: Option<Sample>, generator_cores: f64) {
        let second = (now.as_secs() as u32).saturating_sub(1);
        self.processes.insert(second, Processes { relay_cores, relay, generator_cores });
    }

    /// The last second that is complete, for those who watch.
    #[must_use]
    pub fn latest(&self) -> Option<Row> {
        self.rows.values().rev().find(|row| row.delivered > 0 || row.up > 0).copied()
    }

    /// The sums so far, for those who watch.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    fn reason(&mut self, text: String) {
        let known = self.reasons.contains_key(&text) || self.reasons.len() < REASONS;
        *self.reasons.entry(if known { text } else { "others".to_owned() }).or_default() += 1;
    }

    fn row(&mut self, now: Duration) -> &mut Row {
        let second = now.as_secs() as u32;
        self.rows.entry(second).or_insert_with(|| Row { second, ..Row::default() })
    }

    fn tick(&mut self, second: &Second) {
        let number = second.second;
        self.open.entry(number).and_modify(|open| open.add(second)).or_insert_with(|| second.clone());
        while let Some((&first, _)) = self.open.first_key_value() {
            if first + SETTLE > number {
                break;
            }
            self.close(first);
        }
    }

    fn close(&mut self, number: u32) {
        let Some(second) = self.open.remove(&number) else { return };
        let measured = (self.from..self.until).contains(&number);
        if measured {
            self.total.add(&second);
        }
        self.calls.most_up = self.calls.most_up.max(second.clients_up);
        self.peak_expected = self.peak_expected.max(second.audio.expected + second.video.expected);
        let mut delay = second.audio.delay.clone();
        let _same_bounds = delay.add(&second.video.delay);
        let delay = Percentiles::of(&delay);
        let row = self.rows.entry(number).or_insert_with(|| Row { second: number, ..Row::default() });
        row.measured = measured;
        row.up += second.clients_up;
        row.delivered += second.audio.received + second.video.received;
        row.expected += second.audio.expected + second.video.expected;
        row.lost += second.audio.lost + second.video.lost;
        row.freezes += second.video.freezes;
        row.delay_p50_us = delay.p50;
        row.delay_p99_us = delay.p99;
        row.delay_p999_us = delay.p999;
        row.mbit += (second.audio.bytes + second.video.bytes) as f64 * 8.0 / 1e6;
        row.late_p99_us = Percentiles::of(&second.late).p99;
    }

    /// Counts somebody who goes, if nothing ever came to them.
    fn settle_member(&mut self, client: ClientId, now: Duration) {
        let Some(member) = self.members.remove(&client) else { return };
        let long_in = member.joined.is_some_and(|joined| now.saturating_sub(joined) >= SILENCE);
        if long_in && !member.heard && !self.torn.contains(&member.room) {
            self.calls.silent += 1;
            self.reason("joined, but no media of others came".to_owned());
        }
    }

    /// Ends the sums; `alone` says that rooms have one seat or nobody sends, so silence is as it should be.
    #[must_use]
    pub fn finish(mut self, alone: bool) -> Sums {
        let open: Vec<u32> = self.open.keys().copied().collect();
        open.into_iter().for_each(|number| self.close(number));
        self.join_processes();
        if alone {
            self.calls.silent = 0;
        }
        let measured: Vec<Row> = self.rows.values().filter(|row| row.measured).copied().collect();
        let seconds = measured.len().max(1) as f64;
        let mut both = self.total.audio.clone();
        both.add(&self.total.video);
        let media = media(&both, seconds);
        let relay = relay(&self.rows, &measured, media.delivered, self.calls.most_up);
        let mut calls = self.calls;
        calls.reasons = self.reasons.into_iter().collect();
        calls.reasons.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        calls.signalled_ms = Percentiles::of(&self.signalled);
        calls.joined_ms = Percentiles::of(&self.connected);
        calls.first_media_ms = Percentiles::of(&self.first_media);
        calls.resumed_ms = Percentiles::of(&self.resumed);
        let generator = Generator {
            cpu_s: self.total.cpu.as_secs_f64(),
            cores: measured.iter().map(|row| row.generator_cores).sum::<f64>() / seconds,
            late_us: Percentiles::of(&self.total.late),
            waited_us: Percentiles::of(&self.total.waited),
            socket_errors: self.total.socket_errors,
        };
        let (audio, video) = (self::media(&self.total.audio, seconds), self::media(&self.total.video, seconds));
        let seat_minutes = measured.iter().map(|row| f64::from(row.up)).sum::<f64>() / 60.0;
        Sums { calls, media, audio, video, relay, generator, seat_minutes, rows: self.rows.into_values().collect() }
    }

    fn join_processes(&mut self) {
        for (second, seen) in &self.processes {
            let row = self.rows.entry(*second).or_insert_with(|| Row { second: *second, ..Row::default() });
            row.relay_cores = seen.relay_cores;
            row.relay_mib = seen.relay.map(|sample| mib(sample.memory));
            row.relay_handles = seen.relay.map(|sample| sample.handles);
            row.generator_cores = seen.generator_cores;
        }
    }
}

/// The sums of a run, ready to be judged.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Joins.
    pub calls: Calls,
    /// All packets.
    pub media: Media,
    /// Voices.
    pub audio: Media,
    /// Cameras.
    pub video: Media,
    /// The relay.
    pub relay: Option<Process>,
    /// The load test.
    pub generator: Generator,
    /// Minutes of all transports that were up, added.
    pub seat_minutes: f64,
    /// Second by second.
    pub rows: Vec<Row>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn media(stream: &Stream, seconds: f64) -> Media {
    Media {
        delay_us: Percentiles::of(&stream.delay),
        sent: stream.sent_packets,
        expected: stream.expected,
        delivered: stream.received,
        lost: stream.lost,
        loss_percent: percent(stream.lost, stream.expected),
        repaired: stream.repaired,
        duplicate: stream.duplicate,
        reordered: stream.reordered,
        frames: stream.frames,
        freezes: u64::from(stream.freezes),
        frozen_s: stream.frozen.as_secs_f64(),
        key_frame_ms: Percentiles::of(&stream.key_frame_waits),
        delivered_per_s: stream.received as f64 / seconds,
        mbit_per_s: stream.bytes as f64 * 8.0 / 1e6 / seconds,
    }
}

fn relay(rows: &BTreeMap<u32, Row>, measured: &[Row], delivered: u64, most_up: u32) -> Option<Process> {
    let memory: Vec<f64> = measured.iter().filter_map(|row| row.relay_mib).collect();
    let handles: Vec<u32> = measured.iter().filter_map(|row| row.relay_handles).collect();
    let cores: Vec<f64> = measured.iter().filter_map(|row| row.relay_cores).collect();
    let (first, last) = (*memory.first()?, *memory.last()?);
    let most = memory.iter().copied().fold(0.0, f64::max);
    // A row is a second long.
    let cpu_s: f64 = cores.iter().sum();
    let before = rows.values().find_map(|row| row.relay_mib);
    let per_seat = before.filter(|_| most_up > 0).map(|before| (most - before).max(0.0) * 1_024.0 / f64::from(most_up));
    Some(Process {
        cpu_s,
        cores: cpu_s / cores.len().max(1) as f64,
        cpu_us_per_delivered: (delivered > 0 && cores.len() == measured.len()).then(|| cpu_s * 1e6 / delivered as f64),
        memory_mib_first: first,
        memory_mib_last: last,
        memory_mib_most: most,
        memory_kib_per_seat: per_seat,
        handles: [handles.first().copied().unwrap_or(0), handles.last().copied().unwrap_or(0)],
        memory_growth_percent: growth(&memory),
        handle_growth_percent: growth(&handles.iter().map(|count| f64::from(*count)).collect::<Vec<_>>()),
    })
}

/// From the mean of the second tenth to that of the last, percent; nothing for less than a minute.
fn growth(values: &[f64]) -> Option<f64> {
    let tenth = values.len() / 10;
    if values.len() < 60 {
        return None;
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let (early, late) = (mean(values.get(tenth..2 * tenth)?), mean(values.get(values.len() - tenth..)?));
    (early > 0.0).then(|| (late - early) * 100.0 / early)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Failure;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn second(thread: usize, number: u32, delay: u64) -> Report {
        let mut second = Second::new(thread, number);
        second.clients_up = 2;
        second.audio.expected = 100;
        second.audio.received = 99;
        second.audio.lost = 1;
        (0..99).for_each(|_| measure::note(&mut second.audio.delay, delay));
        Report::Tick(Box::new(second))
    }

    #[test]
    fn threads_and_seconds_add_up_and_the_warm_up_does_not_count() {
        let mut tally = Tally::new(S(2));
        for number in 0..10 {
            for thread in 0..2 {
                tally.handle(second(thread, number, if number < 2 { 50_000 } else { 200 }), S(u64::from(number)));
            }
        }

        let sums = tally.finish(false);

        assert_eq!(sums.media.expected, 8 * 2 * 100);
        assert_eq!(sums.media.lost, 16);
        assert!((sums.media.loss_percent - 1.0).abs() < 1e-9);
        assert!((195..=205).contains(&sums.media.delay_us.max), "{:?}", sums.media.delay_us);
        assert_eq!((sums.rows.len(), sums.rows[0].up, sums.rows[0].measured, sums.rows[2].measured), (10, 4, false, true));
        assert!(sums.rows[0].delay_p99_us > 49_000);
    }

    #[test]
    fn seconds_after_the_end_do_not_count() {
        let mut tally = Tally::new(S(0));
        (0..4).for_each(|number| _ = tally.handle(second(0, number, 100), S(4)));
        tally.end_measuring(S(4));
        (4..12).for_each(|number| _ = tally.handle(second(0, number, 100), S(12)));

        assert_eq!(tally.finish(false).media.expected, 400);
    }

    #[test]
    fn refusals_failures_and_silence_are_told_apart() {
        let mut tally = Tally::new(S(0));
        (0..6).for_each(|client| tally.on_join(client, client / 2, S(0)));
        let joined = |client| Report::Joined { client, signalled: S(1), connected: S(2) };
        for client in [0, 1, 2, 4] {
            tally.handle(joined(client), S(2));
        }
        tally.handle(Report::FirstMedia { client: 0, after: S(3) }, S(3));
        let busy = Report::Refused { client: 3, status: Some(503), busy: true, retry_after: None, text: "busy".to_owned() };
        assert_eq!(tally.handle(busy, S(3)), News::Refused(3, Some(503)));
        assert_eq!(tally.handle(Report::Failed { client: 5, why: Failure::TransportTimeout }, S(9)), News::Gone(5));
        (0..5).for_each(|client| tally.on_leave(client, S(20)));

        let calls = tally.finish(false).calls;

        // 1 heard nobody though 0 was there; 2 is alone because 3 was refused; 4 is alone because 5 failed, and silent.
        assert_eq!((calls.asked, calls.joined, calls.refused, calls.busy, calls.failed, calls.silent), (6, 4, 1, 1, 1, 2));
        assert_eq!(calls.joined_ms.count, 4);
        assert!(calls.reasons.iter().any(|(text, count)| text == "refused: 503 busy" && *count == 1), "{:?}", calls.reasons);
    }

    #[test]
    fn growth_compares_early_with_late() {
        let level = vec![100.0; 100];
        let rising: Vec<f64> = (0..100).map(|number| 100.0 + f64::from(number)).collect();

        assert_eq!(growth(&level), Some(0.0));
        assert!(growth(&rising).unwrap() > 50.0);
        assert_eq!(growth(&level[..30]), None);
    }

    #[test]
    fn processes_become_part_of_their_second() {
        let mut tally = Tally::new(S(0));
        for number in 0..6_u32 {
            tally.handle(second(0, number, 100), S(u64::from(number)));
            let sample = Sample { cpu: S(0), memory: 10 << 20, handles: 20 };
            tally.on_processes(S(u64::from(number) + 1), Some(0.5), Some(sample), 0.25);
        }

        let sums = tally.finish(false);

        let relay = sums.relay.unwrap();
        assert!((relay.cores - 0.5).abs() < 1e-9 && (relay.cpu_s - 3.0).abs() < 1e-9, "{relay:?}");
        assert!((relay.cpu_us_per_delivered.unwrap() - 3e6 / 594.0).abs() < 1e-6);
        assert!((sums.generator.cores - 0.25).abs() < 1e-9);
    }
}
