//! Bodies for counting instructions: forwarding, SRTP, silent people. `scripts/bench instructions` runs each under callgrind, which
//! counts what happens within [`measured`] and nothing else; run without it, this says only what was done.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use colloque::media::packet::{OutgoingHeader, write_header};
use colloque::model::Now;
use colloque::transport::srtp::{Profile, SessionKeys, SrtpReceiver, SrtpSender};
use common::hall::{Datagram, Hall, is_media};
use common::meter;
use common::socket::{BATCH, Socket};
use std::time::Duration;

/// Rooms of three: callgrind is some fifty times slower than the processor, and people's own stacks run in it as well.
const ROOMS: usize = 4;

/// The function by whose name callgrind begins and ends to count.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn hall(packets_per_picture: u8) -> Hall {
    let mut hall = Hall::of(ROOMS, 3, 0);
    hall.speak(packets_per_picture);
    hall.run(Duration::from_secs(1));
    hall
}

fn feed(hall: &mut Hall, socket: &mut Socket, batch: &[Datagram], now: Now) {
    let (bytes, received) = socket.receive(batch);
    let shard = &mut hall.shard;
    measured(&mut || {
        shard.handle_timeout(now);
        shard.handle_batch(now, bytes, received, |_, _, _| {});
        shard.finish_batch(now);
        shard.outbox().finish();
    });
}

/// Delivered packets.
fn forwarding() -> u64 {
    let mut hall = hall(6);
    let mut socket = Socket::new();
    let before = hall.shard.counters().forwarded;
    while hall.shard.counters().forwarded - before < 5_000 {
        hall.let_people_act(hall.now + Duration::from_millis(50), 8 * BATCH);
        let waiting: Vec<Datagram> = hall.up.drain(..).filter(|datagram| is_media(&datagram.bytes)).collect();
        for batch in waiting.chunks(BATCH) {
            let Some(now) = batch.last().map(|last| hall.time_at(last.at)) else { continue };
            feed(&mut hall, &mut socket, batch, now);
            let letters = hall.take_letters();
            hall.deliver(letters);
        }
        hall.settle();
    }
    hall.shard.counters().forwarded - before
}

/// Packets sealed and opened again, the preferred cipher.
fn srtp() -> u64 {
    let profile = Profile::ALL[0];
    let material: Vec<u8> = (0..profile.keying_material_len()).map(|i| (7 * i + 3) as u8).collect();
    let (_, outbound) = SessionKeys::split(profile, &material, false).expect("the right length");
    let (inbound, _) = SessionKeys::split(profile, &material, true).expect("the right length");
    let mut sender = SrtpSender::new(outbound).expect("good keys");
    let mut receiver = SrtpReceiver::new(inbound).expect("good keys");
    let packets = 2_000;
    for sequence in 0..packets {
        let mut packet = vec![0x55; 1_020 + profile.rtp_overhead()];
        let header = OutgoingHeader { marker: false, payload_type: 96, sequence, timestamp: 3_600, ssrc: 0x1234_5678 };
        let header_len = write_header(&mut packet, &header, &[(3, &[0x9e])]).expect("room");
        measured(&mut || {
            let len = sender.seal_rtp(&mut packet, header_len, 1_020).expect("a fresh number");
            assert!(receiver.open_rtp(packet.get_mut(..len).expect("whole")).is_ok());
        });
    }
    packets.into()
}

/// Steps of one millisecond with everybody silent.
fn idle() -> u64 {
    let mut hall = hall(1);
    hall.be_silent();
    hall.run(Duration::from_secs(5));
    let steps = 1_000;
    for step in 1..=steps {
        let now = hall.time_at(hall.now + Duration::from_millis(step));
        measured(&mut || {
            hall.shard.handle_timeout(now);
            hall.shard.finish_batch(now);
        });
    }
    steps
}

fn main() {
    meter::forget_time();
    let (what, done) = match std::env::args().nth(1).as_deref() {
        Some("forwarding") => ("delivered packets in rooms of three", forwarding()),
        Some("srtp") => ("packets of 1,000 bytes sealed and opened", srtp()),
        Some("idle") => ("steps with twelve silent peers", idle()),
        _ => return,
    };
    println!("{done} {what}");
}
