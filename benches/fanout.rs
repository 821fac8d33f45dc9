//! Forwarding: genuine datagrams of an independent stack go through one shard in batches of 64 as from a socket, and what comes out
//! is thrown away. One iteration is one delivered packet: opened once, and routed, rewritten and sealed for each receiver.
//!
//! Included are the timers that fall due, checks and control packets of the same virtual time. Not included are sockets and
//! what receivers report. Pictures come as whole frames of 1,000-byte packets, sound as packets of 80 bytes, four to one or
//! rather more; the senders' work is not measured, but it does use the caches between the batches.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use colloque::transport::srtp::Profile;
use common::hall::{Datagram, Hall, is_media};
use common::meter::{self, Spent};
use common::socket::{BATCH, Socket};
use criterion::{Criterion, SamplingMode};
use std::time::Duration;

/// Datagrams prepared at a time. The senders' work drives the relay's state out of the caches, which no sender on another machine
/// does: so the relay then works for a while undisturbed.
const PREPARED: usize = 512 * BATCH;

/// People talk that long before they hear of the relay again; their checks wait as long for an answer.
const AHEAD: Duration = Duration::from_millis(200);

struct Feed {
    hall: Hall,
    socket: Socket,
    /// Of each packet.
    receivers: u64,
    spent: Spent,
    /// The part of it that is taking datagrams in and writing what they become; the rest is timers, feedback and reports.
    intake: Spent,
    delivered: u64,
    expected: u64,
    /// Media packets fed and their length in all.
    packets: u64,
    bytes: u64,
    /// Batches of nothing but media, and the allocations of taking them in.
    media_batches: u64,
    media_allocations: usize,
}

impl Feed {
    fn new(mut hall: Hall, receivers: u64, load: Load) -> Self {
        match load {
            Load::Pictures(packets) => hall.speak(packets),
            Load::Browsers => hall.speak_as_browsers(),
        }
        // Streams are learnt, first pictures asked for, and what is kept of a second is full.
        hall.run(Duration::from_millis(1_200));
        let mut feed = Self {
            hall,
            receivers,
            socket: Socket::new(),
            spent: Spent::default(),
            intake: Spent::default(),
            delivered: 0,
            expected: 0,
            packets: 0,
            bytes: 0,
            media_batches: 0,
            media_allocations: 0,
        };
        for _ in 0..3 {
            feed.round();
        }
        (feed.spent, feed.delivered, feed.expected) = (Spent::default(), 0, 0);
        (feed.media_batches, feed.media_allocations) = (0, 0);
        feed.intake = Spent::default();
        feed
    }

    /// Prepares some batches and feeds them.
    fn round(&mut self) {
        let before = self.hall.shard.counters().forwarded;
        self.hall.let_people_act(self.hall.now + AHEAD, PREPARED);
        let waiting: Vec<Datagram> = self.hall.up.drain(..).collect();
        for datagram in waiting.iter().filter(|datagram| is_media(&datagram.bytes)) {
            self.packets += 1;
            self.bytes += datagram.bytes.len() as u64;
            self.expected += self.receivers;
        }
        let mut letters = Vec::new();
        for batch in waiting.chunks(BATCH) {
            self.feed(batch);
            letters.extend(self.hall.take_letters());
        }
        self.hall.deliver(letters);
        self.hall.hear();
        self.delivered += self.hall.shard.counters().forwarded - before;
    }

    fn feed(&mut self, batch: &[Datagram]) {
        let Some(last) = batch.last() else { return };
        let now = self.hall.time_at(last.at);
        let (buffer, received) = self.socket.receive(batch);
        let only_media = batch.iter().all(|datagram| is_media(&datagram.bytes));
        let shard = &mut self.hall.shard;
        let mut intake = Spent::default();
        self.spent.on(|| shard.handle_timeout(now));
        intake.on(|| shard.handle_batch(now, buffer, received, |_, _, _| {}));
        self.spent.on(|| {
            shard.finish_batch(now);
            shard.outbox().finish();
        });
        self.spent.add(intake);
        self.intake.add(intake);
        if only_media {
            self.media_batches += 1;
            self.media_allocations += intake.allocations;
        }
    }

    /// Delivers so many packets or a few more, and says what so many take.
    fn deliver(&mut self, packets: u64) -> Duration {
        let (spent, delivered) = (self.spent, self.delivered);
        let mut idle = 0;
        while self.delivered - delivered < packets {
            let before = self.delivered;
            self.round();
            idle = if self.delivered == before { idle + 1 } else { 0 };
            assert!(idle < 10, "media flows");
        }
        Spent { time: self.spent.time - spent.time, allocations: 0 }.scaled(self.delivered - delivered, packets)
    }
}

/// What publishers send.
#[derive(Clone, Copy)]
enum Load {
    /// Pictures of so many packets, 1,000 bytes each, and voice.
    Pictures(u8),
    /// [`Hall::speak_as_browsers`].
    Browsers,
}

/// A name, the profiles the relay takes, then rooms, publishers and viewers in each, and the load.
type Case = (&'static str, &'static [Profile], usize, usize, usize, Load);

const CASES: [Case; 6] = [
    ("1 to 2", &Profile::ALL, 1, 1, 2, Load::Pictures(60)),
    ("1 to 10", &Profile::ALL, 1, 1, 10, Load::Pictures(60)),
    ("1 to 100", &Profile::ALL, 1, 1, 100, Load::Pictures(60)),
    // The same people in the caches: what a thousand rooms cost beyond it is slow memory.
    ("one room of three", &Profile::ALL, 1, 3, 0, Load::Browsers),
    ("1000 rooms of three", &Profile::ALL, 1_000, 3, 0, Load::Browsers),
    ("1000 rooms with AES-CM", &[Profile::Aes128CmSha1_80], 1_000, 3, 0, Load::Browsers),
];

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    // A round of preparing and feeding is thousands of packets.
    group.warm_up_time(Duration::from_secs(2)).measurement_time(Duration::from_secs(4));
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for (name, profiles, rooms, publishers, viewers, load) in CASES {
        // Thousands of handshakes are too many for what is not asked for.
        if only.as_ref().is_some_and(|only| !format!("fanout/{name}").contains(only.as_str())) {
            continue;
        }
        // Before criterion looks at the clock: it plans its samples by what the first iterations take.
        let receivers = (publishers + viewers - 1) as u64;
        let hall = Hall::with_profiles(profiles).filled(rooms, publishers, viewers);
        let mut feed = Feed::new(hall, receivers, load);
        group.bench_function(name, |bencher| bencher.iter_custom(|packets| feed.deliver(packets)));
        if feed.delivered == 0 {
            continue;
        }
        assert!(feed.delivered * 100 >= feed.expected * 99, "{} of {} packets arrive", feed.delivered, feed.expected);
        let per_packet = feed.spent.allocations as f64 / feed.delivered as f64;
        let intake = feed.intake.scaled(feed.delivered, 1).as_nanos();
        println!("fanout/{name}: {intake} ns of it in the batches themselves, the rest in timers, feedback and reports");
        let bytes = feed.bytes as f64 / feed.packets as f64;
        println!("fanout/{name}: {} allocations in {} batches of media only", feed.media_allocations, feed.media_batches);
        let counters = feed.hall.shard.counters();
        println!(
            "fanout/{name}: {per_packet:.4} allocations per delivered packet; {} delivered, {bytes:.0} B on average, {} peers ({} \
             with GCM)",
            feed.delivered, counters.peers, counters.srtp_gcm
        );
    }
    group.finish();
}

fn main() {
    let mut criterion = meter::criterion();
    fanout(&mut criterion);
    criterion.final_summary();
}
