//! Counters of workers and doors, put together when somebody asks, in the Prometheus text format.
//!
//! Workers publish one [`Counters`] value a second on a [`Board`]; doors count in the atomics of [`Doors`]. No registry is
//! kept: [`render`] builds the families from these values, so that there is one place where a number gets its name.

use super::health::Health;
use super::process;
use crate::model::ShardId;
use crate::model::counters::{
    Counters, DELAY_BOUNDS_US, DropReason, ESTIMATE_BOUNDS_KBPS, FailureReason, FreezeCause, FreezeRepair, Pressure,
};
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Where each worker leaves its counters once a second.
#[derive(Debug)]
pub struct Board(Mutex<Vec<Counters>>);

impl Board {
    /// A board for a fixed number of shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self(Mutex::new(vec![Counters::default(); shards]))
    }

    /// Replaces the counters of one shard; a shard the board was not made for is ignored.
    pub fn publish(&self, shard: ShardId, counters: Counters) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shards.get_mut(usize::from(shard.0)) {
            *slot = counters;
        }
    }

    /// The counters of every shard as last published.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the node's admission of newcomers shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitting {
    /// New rooms are taken.
    pub rooms: bool,
    /// Newcomers to running rooms are taken, on one worker at least.
    pub members: bool,
    /// Refusals so far, in the order of [`Pressure::ALL`].
    pub refused: [u64; Pressure::ALL.len()],
    /// Each worker's time in use with what the newcomers of the last seconds will add, in thousandths.
    pub expected_permille: Vec<u64>,
}

impl Admitting {
    fn families(&self, shards: &[Counters]) -> Vec<MetricFamily> {
        let admits = [("room", u64::from(self.rooms)), ("member", u64::from(self.members))];
        let refused = Pressure::ALL.iter().zip(self.refused).map(|(pressure, count)| (pressure.as_str(), count));
        vec![
            labelled(
                "colloque_admits",
                "1 while newcomers are taken: to a new room, to a running room",
                MetricType::GAUGE,
                "newcomer",
                admits.into_iter(),
            ),
            labelled(
                "colloque_joins_refused_total",
                "Joins and rooms refused because the node was busy, by reason",
                MetricType::COUNTER,
                "reason",
                refused,
            ),
            by_worker("colloque_worker_busy_ratio", "Share of its time a worker spent working, smoothed over two seconds", {
                shards.iter().map(|counters| u64::from(counters.busy_permille))
            }),
            by_worker(
                "colloque_worker_expected_ratio",
                "The same with what the newcomers of the last seconds will add; admission goes by it",
                self.expected_permille.iter().copied(),
            ),
        ]
    }
}

/// What the node's audit record shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// How well it can be written, in a word.
    pub state: &'static str,
    /// Every such word.
    pub states: &'static [&'static str],
    /// Events that wait for the disk.
    pub waiting: u64,
    /// Events made durable.
    pub durable: u64,
    /// Groups they were made durable in.
    pub commits: u64,
    /// Events that were refused, and with them what they would have given.
    pub refused: u64,
    /// Events kept aside while the log could not be written.
    pub kept: u64,
    /// Events lost.
    pub lost: u64,
    /// Tenants whose log is damaged and closed.
    pub damaged: u64,
}

impl Recording {
    fn families(&self) -> Vec<MetricFamily> {
        use MetricType::{COUNTER, GAUGE};
        let states = self.states.iter().map(|state| (*state, u64::from(*state == self.state)));
        let plain = [
            ("colloque_audit_waiting", "Events that wait for the audit log's disk", GAUGE, self.waiting),
            ("colloque_audit_durable_total", "Events made durable in the audit log", COUNTER, self.durable),
            ("colloque_audit_commits_total", "Groups of events made durable at once", COUNTER, self.commits),
            ("colloque_audit_refused_total", "Events refused, with the access they would have given", COUNTER, self.refused),
            ("colloque_audit_kept_total", "Events kept aside while the audit log could not be written", COUNTER, self.kept),
            ("colloque_audit_lost_total", "Events lost; more than none wants looking at", COUNTER, self.lost),
            ("colloque_audit_damaged_logs", "Tenants whose audit log is damaged and closed", GAUGE, self.damaged),
        ];
        let state = labelled("colloque_audit_state", "1 for how well the audit log can be written", GAUGE, "state", states);
        let plain = plain.into_iter().map(|(name, help, kind, value)| simple(name, help, kind, float(value)));
        std::iter::once(state).chain(plain).collect()
    }
}

macro_rules! door_counters {
    ($($(#[$doc:meta])* $field:ident: $kind:ident $name:literal $help:literal,)*) => {
        /// What the doors count; each number stands alone and is never read together with another as one value.
        #[derive(Debug, Default)]
        pub struct Doors { $($(#[$doc])* pub $field: Tally,)* }

        impl Doors {
            fn families(&self) -> Vec<MetricFamily> {
                vec![$(simple($name, $help, MetricType::$kind, float(self.$field.value())),)*]
            }
        }
    };
}

door_counters! {
    /// HTTP requests answered with success or a redirect.
    http_answered: COUNTER "colloque_http_answered_total" "HTTP requests answered with a status below 400",
    /// HTTP requests refused as the client's fault.
    http_refused: COUNTER "colloque_http_refused_total" "HTTP requests answered with a status from 400 to 499",
    /// HTTP requests that failed as ours.
    http_failed: COUNTER "colloque_http_failed_total" "HTTP requests answered with a status from 500",
    /// Open HTTP and WebSocket connections.
    http_connections: GAUGE "colloque_http_connections" "Open HTTP and WebSocket connections",
    /// Connections closed because a bound was reached.
    http_over_limit: COUNTER "colloque_http_over_limit_total" "Connections closed because a connection limit was reached",
    /// Open signalling sessions.
    signal_sessions: GAUGE "colloque_signal_sessions" "Open signalling sessions",
    /// Signalling messages received.
    signal_in: COUNTER "colloque_signal_messages_in_total" "Signalling messages received",
    /// Signalling messages sent.
    signal_out: COUNTER "colloque_signal_messages_out_total" "Signalling messages sent",
    /// Signalling messages refused as malformed, too large or too many.
    signal_refused: COUNTER "colloque_signal_messages_refused_total" "Signalling messages refused as malformed, too large or too many",
    /// Joins and calls refused for their token.
    tokens_refused: COUNTER "colloque_tokens_refused_total" "Requests refused for their token",
    /// Commands refused because a shard was busy.
    busy: COUNTER "colloque_busy_total" "Commands refused because a worker was busy",
    /// Events that receivers of webhooks took.
    webhooks_delivered: COUNTER "colloque_webhooks_delivered_total" "Events that receivers of webhooks took",
    /// Attempts that failed and are made again.
    webhooks_retried: COUNTER "colloque_webhooks_retried_total" "Attempts to deliver an event that failed and are made again",
    /// Events a receiver refused for good.
    webhooks_refused: COUNTER "colloque_webhooks_refused_total" "Events that a receiver of webhooks refused for good",
    /// Events that fell out of the queue.
    webhooks_lost: COUNTER "colloque_webhooks_lost_total" "Events that fell out of the queue before a receiver took them",
}

/// One number of the doors.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Counts one.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes one off a gauge; never goes below 0.
    pub fn down(&self) {
        // An update that fails found 0: there is nothing to take off.
        let _at_zero = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| value.checked_sub(1));
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Holds a gauge up by one for as long as it lives.
#[derive(Debug)]
pub struct Held {
    doors: Arc<Doors>,
    gauge: fn(&Doors) -> &Tally,
}

impl Held {
    /// Counts one more.
    #[must_use]
    pub fn new(doors: &Arc<Doors>, gauge: fn(&Doors) -> &Tally) -> Self {
        gauge(doors).up();
        Self { doors: doors.clone(), gauge }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.gauge)(&self.doors).down();
    }
}

/// Name, help and reader of a plain counter or gauge of the shards.
type Plain = (&'static str, &'static str, MetricType, fn(&Counters) -> u64);

#[rustfmt::skip]
const PLAIN: &[Plain] = {
    use MetricType::{COUNTER, GAUGE};
    &[
        ("colloque_rooms", "Open rooms", GAUGE, |c| c.rooms),
        ("colloque_participants", "Participants in rooms", GAUGE, |c| c.participants),
        ("colloque_tracks", "Published tracks", GAUGE, |c| c.tracks),
        ("colloque_peers", "Media transports", GAUGE, |c| c.peers),
        ("colloque_packets_in_total", "Datagrams received", COUNTER, |c| c.packets_in),
        ("colloque_bytes_in_total", "Bytes of datagrams received", COUNTER, |c| c.bytes_in),
        ("colloque_packets_out_total", "Datagrams sent", COUNTER, |c| c.packets_out),
        ("colloque_bytes_out_total", "Bytes of datagrams sent", COUNTER, |c| c.bytes_out),
        ("colloque_forwarded_packets_total", "Media packets forwarded to a receiver", COUNTER, |c| c.forwarded),
        ("colloque_retransmitted_packets_total", "Retransmissions sent to receivers", COUNTER, |c| c.retransmitted),
        ("colloque_probes_total", "Probes for more bandwidth sent to receivers", COUNTER, |c| c.probes),
        ("colloque_padding_bytes_total", "Bytes sent to receivers only to fill probes", COUNTER, |c| c.padding_bytes),
        ("colloque_padding_repeats_total", "Packets sent again to receivers unasked, to fill probes", COUNTER, |c| c.padding_repeats),
        ("colloque_pictures_paused_total", "Times a receiver's line made a picture pause", COUNTER, |c| c.tracks_paused),
        ("colloque_pictures_resumed_total", "Times a paused picture went on", COUNTER, |c| c.tracks_resumed),
        ("colloque_layer_downs_total", "Times a receiver's line made a picture go on smaller", COUNTER, |c| c.layer_downs),
        ("colloque_nacked_packets_out_total", "Lost packets asked of publishers", COUNTER, |c| c.nack_out),
        ("colloque_nacked_packets_in_total", "Lost packets asked by receivers", COUNTER, |c| c.nack_in),
        ("colloque_sound_recovered_total", "Lost packets of sound taken out of redundant ones", COUNTER, |c| c.recovered),
        ("colloque_key_frame_requests_out_total", "Key-frame requests sent to publishers", COUNTER, |c| c.pli_out),
        ("colloque_key_frame_requests_in_total", "Key-frame requests received", COUNTER, |c| c.pli_in),
        ("colloque_stun_answered_total", "Connectivity checks answered", COUNTER, |c| c.stun_answered),
        ("colloque_stun_sent_total", "Connectivity checks sent to where a peer's media came from unexpectedly", COUNTER, |c| c.stun_sent),
        ("colloque_dtls_handshakes_total", "DTLS handshakes completed", COUNTER, |c| c.dtls_completed),
        ("colloque_srtp_gcm_total", "Transports that negotiated AES-GCM", COUNTER, |c| c.srtp_gcm),
        ("colloque_srtp_cm_sha1_total", "Transports that fell back to AES-CM with HMAC-SHA1", COUNTER, |c| c.srtp_cm_sha1),
        ("colloque_path_changes_total", "Running calls moved to a new address", COUNTER, |c| c.path_changes),
        ("colloque_data_messages_in_total", "Data messages received", COUNTER, |c| c.data_in),
        ("colloque_data_messages_out_total", "Data messages sent", COUNTER, |c| c.data_out),
        ("colloque_joins_total", "Joins accepted", COUNTER, |c| c.joins),
        ("colloque_resumes_total", "Signalling sockets resumed", COUNTER, |c| c.resumes),
        ("colloque_panics_total", "Panics contained to one peer or room", COUNTER, |c| c.panics),
        ("colloque_facts_lost_total", "Facts of consultations that nobody fetched in time", COUNTER, |c| c.facts_lost),
        ("colloque_facts_refused_total", "Commands taken back because they could not be put on record", COUNTER, |c| c.facts_refused),
    ]
};

/// The page a scraper reads.
#[must_use]
pub fn render(
    shards: &[Counters],
    doors: &Doors,
    health: &Health,
    admitting: &Admitting,
    recording: Option<&Recording>,
) -> String {
    let mut families: Vec<MetricFamily> =
        PLAIN.iter().map(|(name, help, kind, read)| simple(name, help, *kind, float(sum(shards, read)))).collect();
    families.extend(reasons(shards));
    families.push(labelled(
        "colloque_udp_offload",
        "Worker threads for which the kernel cuts (gso) or joins (gro) datagrams",
        MetricType::GAUGE,
        "kind",
        [("gso", sum(shards, |c| u64::from(c.gso))), ("gro", sum(shards, |c| u64::from(c.gro)))].into_iter(),
    ));
    families.push(delay_histogram(shards));
    families.push(estimate_histogram(shards));
    families.push(simple("colloque_shards", "Worker threads, one shard each", MetricType::GAUGE, float(shards.len() as u64)));
    families.push(simple(
        "colloque_ready",
        "1 between start and drain; whether newcomers are taken says colloque_admits",
        MetricType::GAUGE,
        f64::from(u8::from(health.ready())),
    ));
    families.extend(admitting.families(shards));
    families.extend(recording.into_iter().flat_map(Recording::families));
    families.extend(doors.families());
    families.extend(process_families());
    families.push(labelled(
        "colloque_build_info",
        "Always 1; the version is the label",
        MetricType::GAUGE,
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)].into_iter(),
    ));
    // The encoder refuses an empty family, and a node without workers has some.
    families.retain(|family| !family.get_metric().is_empty());
    // Every name above is a valid constant, which is all else the encoder checks.
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

/// What went wrong, by reason.
fn reasons(shards: &[Counters]) -> Vec<MetricFamily> {
    vec![
        by_reason("colloque_drops_total", "Datagrams and packets that went no further, by reason", DropReason::ALL, |reason| {
            (reason.as_str(), sum(shards, |counters| counters.drops(reason)))
        }),
        by_reason("colloque_failures_total", "Media transports that failed, by reason", FailureReason::ALL, |reason| {
            (reason.as_str(), sum(shards, |counters| counters.failures(reason)))
        }),
        labelled(
            "colloque_freezes_total",
            "Freezes of receivers' pictures as browsers count them, by cause",
            MetricType::COUNTER,
            "cause",
            FreezeCause::ALL.iter().map(|cause| (cause.as_str(), sum(shards, |counters| counters.freezes(*cause)))),
        ),
        labelled(
            "colloque_freeze_repairs_total",
            "What was done for pictures that stood still",
            MetricType::COUNTER,
            "kind",
            FreezeRepair::ALL.iter().map(|kind| (kind.as_str(), sum(shards, |counters| counters.repairs(*kind)))),
        ),
    ]
}

fn process_families() -> Vec<MetricFamily> {
    let Some(process) = process::read() else { return Vec::new() };
    vec![
        simple("colloque_process_resident_memory_bytes", "Resident memory", MetricType::GAUGE, process.resident_bytes),
        simple("colloque_process_cpu_seconds_total", "User and system time", MetricType::COUNTER, process.cpu_seconds),
        simple("colloque_process_threads", "Threads", MetricType::GAUGE, process.threads),
        simple("colloque_process_open_fds", "Open file descriptors", MetricType::GAUGE, process.open_fds),
    ]
}

fn delay_histogram(shards: &[Counters]) -> MetricFamily {
    let (mut packets, mut sum_us) = (vec![0_u64; DELAY_BOUNDS_US.len() + 1], 0_u64);
    for counters in shards {
        let (buckets, shard_sum) = counters.delays();
        packets.iter_mut().zip(buckets).for_each(|(total, own)| *total += own);
        sum_us = sum_us.saturating_add(shard_sum);
    }
    histogram(
        "colloque_forwarding_delay_seconds",
        "Time a forwarded packet stays in the relay, from the wake-up that received it to the send call",
        DELAY_BOUNDS_US.iter().map(|us| float(*us) / 1e6),
        &packets,
        float(sum_us) / 1e6,
    )
}

fn estimate_histogram(shards: &[Counters]) -> MetricFamily {
    let (mut looks, mut sum_kbps) = (vec![0_u64; ESTIMATE_BOUNDS_KBPS.len() + 1], 0_u64);
    for counters in shards {
        let (buckets, shard_sum) = counters.estimates();
        looks.iter_mut().zip(buckets).for_each(|(total, own)| *total += own);
        sum_kbps = sum_kbps.saturating_add(shard_sum);
    }
    histogram(
        "colloque_line_estimate_kbps",
        "What the lines to receivers were estimated to bear, in kbit/s, each looked at every other second while something is sent",
        ESTIMATE_BOUNDS_KBPS.iter().map(|kbps| float(*kbps)),
        &looks,
        float(sum_kbps),
    )
}

fn histogram(name: &str, help: &str, bounds: impl Iterator<Item = f64>, counts: &[u64], sum: f64) -> MetricFamily {
    let mut so_far = 0;
    // The encoder writes the open bucket from the sample count.
    let buckets = bounds.zip(counts).map(|(bound, own)| {
        so_far += own;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

fn by_reason<R: Copy>(name: &str, help: &str, reasons: &'static [R], read: impl Fn(R) -> (&'static str, u64)) -> MetricFamily {
    labelled(name, help, MetricType::COUNTER, "reason", reasons.iter().map(|reason| read(*reason)))
}

fn labelled(
    name: &str,
    help: &str,
    kind: MetricType,
    label: &str,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> MetricFamily {
    let metrics = values.map(|(text, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(label.to_owned());
        pair.set_value(text.to_owned());
        let mut metric = number(kind, float(value));
        metric.set_label(vec![pair]);
        metric
    });
    family(name, help, kind, metrics.collect())
}

/// A gauge for each worker, from thousandths; without workers there is no family.
fn by_worker(name: &str, help: &str, permille: impl Iterator<Item = u64>) -> MetricFamily {
    let metrics = permille.enumerate().map(|(worker, permille)| {
        let mut pair = LabelPair::default();
        pair.set_name("worker".to_owned());
        pair.set_value(worker.to_string());
        let mut metric = number(MetricType::GAUGE, float(permille) / 1_000.0);
        metric.set_label(vec![pair]);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

fn simple(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    family(name, help, kind, vec![number(kind, value)])
}

fn number(kind: MetricType, value: f64) -> Metric {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn sum(shards: &[Counters], read: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(read).fold(0, u64::saturating_add)
}

/// Prometheus knows floats only; counts beyond 2^53 lose their last digits.
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    fn counted(set: impl FnOnce(&mut Counters)) -> Counters {
        let mut counters = Counters::default();
        set(&mut counters);
        counters
    }

    fn page(shards: &[Counters]) -> String {
        let admitting = Admitting { expected_permille: vec![0; shards.len()], ..Admitting::default() };
        render(shards, &Doors::default(), &Health::default(), &admitting, None)
    }

    fn sample(page: &str, name: &str) -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing from\n{page}")).parse().expect("a number")
    }

    #[test]
    fn shards_are_summed() {
        let board = Board::new(2);
        board.publish(ShardId(0), counted(|c| (c.packets_in, c.rooms) = (3, 1)));
        board.publish(ShardId(1), counted(|c| c.packets_in = 4));
        board.publish(ShardId(1), counted(|c| c.packets_in = 5));
        board.publish(ShardId(9), counted(|c| c.packets_in = 100));
        let page = page(&board.snapshot());
        assert_eq!(sample(&page, "colloque_packets_in_total").to_bits(), 8.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_rooms").to_bits(), 1.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_shards").to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn every_plain_counter_of_a_shard_has_one_metric_of_its_own() {
        let source = include_str!("../model/counters.rs");
        let fields = source.lines().filter(|line| line.trim().starts_with("pub ") && line.trim().ends_with(": u64,")).count();
        assert_eq!(fields, PLAIN.len(), "a counter was added or removed");
        let mut numbered = Counters::default();
        let c = &mut numbered;
        #[rustfmt::skip]
        let fields = [
            &mut c.rooms, &mut c.participants, &mut c.tracks, &mut c.peers, &mut c.packets_in, &mut c.bytes_in,
            &mut c.packets_out, &mut c.bytes_out, &mut c.forwarded, &mut c.retransmitted, &mut c.nack_out, &mut c.nack_in,
            &mut c.recovered, &mut c.pli_out, &mut c.pli_in, &mut c.stun_answered, &mut c.stun_sent, &mut c.dtls_completed, &mut c.srtp_gcm, &mut c.srtp_cm_sha1,
            &mut c.path_changes, &mut c.data_in, &mut c.data_out, &mut c.joins, &mut c.resumes, &mut c.panics, &mut c.facts_lost,
            &mut c.facts_refused, &mut c.probes, &mut c.padding_bytes, &mut c.padding_repeats, &mut c.tracks_paused, &mut c.tracks_resumed, &mut c.layer_downs,
        ];
        for (field, number) in fields.into_iter().zip(1..) {
            *field = number;
        }
        let values: HashSet<u64> = PLAIN.iter().map(|(_, _, _, read)| read(&numbered)).collect();
        let names: HashSet<&str> = PLAIN.iter().map(|(name, ..)| *name).collect();
        assert_eq!(values, (1..=PLAIN.len() as u64).collect::<HashSet<u64>>(), "two metrics read one field");
        assert_eq!(names.len(), PLAIN.len());
    }

    #[test]
    fn reasons_are_labels() {
        let mut counters = Counters::default();
        counters.drop(DropReason::Replay);
        counters.drop(DropReason::Replay);
        counters.fail(FailureReason::Fingerprint);
        let page = page(&[counters]);
        assert_eq!(sample(&page, "colloque_drops_total{reason=\"replay\"}").to_bits(), 2.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_drops_total{reason=\"malformed\"}").to_bits(), 0.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_failures_total{reason=\"fingerprint\"}").to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_delay_histogram_is_cumulative_and_in_seconds() {
        let mut counters = Counters::default();
        counters.delay(Duration::from_micros(40), 2);
        counters.delay(Duration::from_micros(150), 3);
        counters.delay(Duration::from_secs(2), 1);
        let page = page(&[counters.clone(), counters]);
        let bucket = |bound: &str| sample(&page, &format!("colloque_forwarding_delay_seconds_bucket{{le=\"{bound}\"}}"));
        assert_eq!(
            [bucket("0.00005"), bucket("0.0002"), bucket("0.5"), bucket("+Inf")].map(f64::to_bits),
            [4.0_f64, 10.0, 10.0, 12.0].map(f64::to_bits)
        );
        assert_eq!(sample(&page, "colloque_forwarding_delay_seconds_count").to_bits(), 12.0_f64.to_bits());
        let sum = sample(&page, "colloque_forwarding_delay_seconds_sum");
        assert!((sum - 4.00106).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn estimates_fill_a_histogram_in_kilobits() {
        let mut counters = Counters::default();
        [40, 250, 250, 99_000].into_iter().for_each(|kbps| counters.estimate(kbps));
        let page = page(&[counters]);
        let bucket = |bound: &str| sample(&page, &format!("colloque_line_estimate_kbps_bucket{{le=\"{bound}\"}}"));
        assert_eq!(
            [bucket("64"), bucket("200"), bucket("300"), bucket("20000"), bucket("+Inf")].map(f64::to_bits),
            [1.0_f64, 1.0, 3.0, 3.0, 4.0].map(f64::to_bits)
        );
        assert_eq!(sample(&page, "colloque_line_estimate_kbps_sum").to_bits(), 99_540.0_f64.to_bits());
    }

    #[test]
    fn doors_and_health_move_their_metrics() {
        let (doors, health) = (Doors::default(), Health::default());
        doors.http_connections.up();
        doors.http_connections.up();
        doors.http_connections.down();
        doors.signal_sessions.down();
        health.set_ready(true);
        let admitting = Admitting { rooms: true, expected_permille: vec![40, 870], ..Admitting::default() };
        let recording = Recording { state: "low", states: &["writing", "low"], kept: 7, ..Recording::default() };
        let page = render(&[counted(|c| c.busy_permille = 640)], &doors, &health, &admitting, Some(&recording));
        assert_eq!(sample(&page, "colloque_audit_state{state=\"low\"}").to_bits(), 1.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_audit_state{state=\"writing\"}").to_bits(), 0.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_audit_kept_total").to_bits(), 7.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_admits{newcomer=\"room\"}").to_bits(), 1.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_admits{newcomer=\"member\"}").to_bits(), 0.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_joins_refused_total{reason=\"memory\"}").to_bits(), 0.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_worker_busy_ratio{worker=\"0\"}").to_bits(), 0.64_f64.to_bits());
        assert_eq!(sample(&page, "colloque_worker_expected_ratio{worker=\"1\"}").to_bits(), 0.87_f64.to_bits());
        assert_eq!(sample(&page, "colloque_http_connections").to_bits(), 1.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_signal_sessions").to_bits(), 0.0_f64.to_bits());
        assert_eq!(sample(&page, "colloque_ready").to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn every_name_is_ours_has_help_and_counters_end_in_total() {
        let page = page(&[Counters::default()]);
        let types: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(types.len() > PLAIN.len() + 15, "positive control: {}", types.len());
        for line in types {
            let (name, kind) = line.split_once(' ').expect("name and kind");
            assert!(name.starts_with("colloque_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help");
        }
        let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a name is used twice");
    }
}
