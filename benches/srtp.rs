//! Opening and sealing SRTP with a hot key: the part of forwarding that no design can save.

#[path = "common/meter.rs"]
mod meter;

use colloque::media::packet::{OutgoingHeader, write_header};
use colloque::transport::srtp::{Profile, SessionKeys, SrtpReceiver, SrtpSender};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use meter::Spent;
use std::hint::black_box;

/// A packet of sound, and one of pictures.
const PAYLOADS: [usize; 2] = [120, 1_150];

/// Packets between two looks at the clock, whose cost is then some 2 ns for each; they fit the second-level cache.
const BATCH: usize = 256;

/// One direction of a call: a client that seals, and we who open.
struct Line {
    sender: SrtpSender,
    receiver: SrtpReceiver,
    sequence: u16,
    slots: Vec<Vec<u8>>,
    header_len: usize,
    len: usize,
}

impl Line {
    fn new(profile: Profile, payload: usize) -> Self {
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|i| (7 * i + 3) as u8).collect();
        let (_, outbound) = SessionKeys::split(profile, &material, false).expect("the right length");
        let (inbound, _) = SessionKeys::split(profile, &material, true).expect("the right length");
        let mut line = Self {
            sender: SrtpSender::new(outbound).expect("good keys"),
            receiver: SrtpReceiver::new(inbound).expect("good keys"),
            sequence: 0,
            slots: Vec::new(),
            header_len: 0,
            len: 0,
        };
        line.slots = vec![vec![0x55; payload + 20 + profile.rtp_overhead()]; BATCH];
        line.write_headers();
        line.len = line.header_len + payload;
        line
    }

    /// Makes plain packets with the next sequence numbers.
    fn write_headers(&mut self) {
        for slot in &mut self.slots {
            let header =
                OutgoingHeader { marker: false, payload_type: 96, sequence: self.sequence, timestamp: 3_600, ssrc: 0x1234_5678 };
            self.header_len = write_header(slot, &header, &[(3, &[0x9e])]).expect("room");
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    fn seal(&mut self) {
        for slot in &mut self.slots {
            let len = self.sender.seal_rtp(slot, self.header_len, self.len).expect("fresh sequence numbers");
            black_box(len);
        }
    }

    fn open(&mut self) {
        for slot in &mut self.slots {
            let opened = self.receiver.open_rtp(slot).expect("sealed just now");
            black_box(opened.len);
        }
    }
}

fn rounds(iterations: u64) -> u64 {
    iterations.div_ceil(BATCH as u64)
}

fn srtp(criterion: &mut Criterion) {
    for (name, opens) in [("open", true), ("seal", false)] {
        let mut group = criterion.benchmark_group(format!("srtp/{name}"));
        group.sampling_mode(SamplingMode::Flat);
        for (profile, payload) in Profile::ALL.into_iter().flat_map(|profile| PAYLOADS.map(|payload| (profile, payload))) {
            let mut line = Line::new(profile, payload);
            group.bench_function(BenchmarkId::new(format!("{profile:?}"), payload), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut spent = Spent::default();
                    for _ in 0..rounds(iterations) {
                        line.write_headers();
                        if opens {
                            line.seal();
                            spent.on(|| line.open());
                        } else {
                            spent.on(|| line.seal());
                        }
                    }
                    spent.scaled(rounds(iterations) * BATCH as u64, iterations)
                });
            });
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = meter::criterion();
    srtp(&mut criterion);
    criterion.final_summary();
}
