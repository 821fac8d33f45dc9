//! Rooms of three against a running node, for the cost of the clients themselves: `crowd URL KEY SECRET ROOMS SECONDS [THREADS]`.
//!
//! Everybody sends 50 voice and 150 video packets a second.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool for a terminal")]

use loadtest::client::Codec;
use loadtest::measure::Second;
use loadtest::swarm::{Audio, Coming, LayerShape, Order, Publish, Report, Swarm, Video};
use loadtest::token;
use std::time::SystemTime;

fn main() {
    let mut words = std::env::args().skip(1);
    let mut word = |name: &str| words.next().unwrap_or_else(|| panic!("missing: {name}"));
    let (url, key, secret) = (word("URL"), word("KEY"), word("SECRET"));
    let number = |text: String| text.parse::<u32>().expect("a number");
    let (rooms, seconds) = (number(word("ROOMS")), number(word("SECONDS")));
    let threads = words.next().map_or(1, number);
    let swarm = Swarm::start(threads as usize, 1).expect("threads");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    for (room, seat) in (0..rooms).flat_map(|room| (0..3_u8).map(move |seat| (room, seat))) {
        let layer =
            LayerShape { width: 640, height: 360, frames_per_s: 25, bits_per_s: 0, fixed: Some((6, 1_000)), key_every: None };
        let video = Video { codec: Codec::Vp8, layers: vec![layer], spread: 0.5, adapt: false };
        let publish = Publish { audio: Some(Audio::default()), video: Some(video) };
        let token = token::join(&key, &secret, &format!("crowd-{room}"), &format!("seat-{seat}"), now);
        let seed = u64::from(room) << 8 | u64::from(seat);
        let coming = Coming { url: url.clone(), token, room, seat, publish, link: None, seed, resumes: true };
        swarm.order(Order::Join(room * 3 + u32::from(seat), Box::new(coming)));
    }
    let mut seconds_left = seconds * threads;
    while seconds_left > 0 {
        match swarm.reports().recv() {
            Ok(Report::Tick(second)) => {
                line(&second);
                seconds_left -= 1;
            }
            Ok(Report::Joined { .. } | Report::FirstMedia { .. }) => {}
            Ok(report) => println!("{report:?}"),
            Err(_) => break,
        }
    }
    println!("{} left over", swarm.stop().len());
}

fn line(second: &Second) {
    let (audio, video) = (&second.audio, &second.video);
    let (sent, received) = (audio.sent_packets + video.sent_packets, audio.received + video.received);
    let mut delay = audio.delay.clone();
    delay.add(&video.delay).expect("same bounds");
    println!(
        "{:>3} up {:>4} sent {sent:>6} received {received:>6} lost {} thinned {} freezes {} frames {} repaired {} again {} needless {} nacked up {} | delay p50 {} p99 {} p99.9 {} max {} µs | cpu {:.3} s, {:.2} µs a packet | late p99 {} waited p99 {} µs errors {}",
        second.second,
        second.clients_up,
        audio.lost + video.lost,
        audio.thinned + video.thinned,
        video.freezes,
        video.frames,
        video.repaired,
        audio.duplicate + video.duplicate,
        video.needless,
        video.repeated,
        delay.value_at_quantile(0.5),
        delay.value_at_quantile(0.99),
        delay.value_at_quantile(0.999),
        delay.max(),
        second.cpu.as_secs_f64(),
        second.cpu.as_secs_f64() * 1e6 / (sent + received).max(1) as f64,
        second.late.value_at_quantile(0.99),
        second.waited.value_at_quantile(0.99),
        second.socket_errors,
    );
}
