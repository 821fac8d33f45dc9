//! Clients against a node: `COLLOQUE_BIN` names its binary.
//!
//! Without a binary these tests fail; they never pass by not running.

use loadtest::client::Codec;
use loadtest::measure::Second;
use loadtest::swarm::{Audio, Coming, LayerShape, Order, Publish, Report, Swarm, Video};
use loadtest::token;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

const KEY: &str = "devkey";
const SECRET: &str = "a secret of more than thirty-two bytes";
static PORT: AtomicU16 = AtomicU16::new(21_230);

/// A node with ports of its own, ended with the value.
struct Node {
    child: Child,
    url: String,
}

impl Node {
    fn start() -> Self {
        let binary = std::env::var("COLLOQUE_BIN").expect("COLLOQUE_BIN must name the relay's binary");
        let port = PORT.fetch_add(2, Relaxed);
        let mut command = Command::new(binary);
        command.args(["serve", "--bind", "127.0.0.1", "--advertise", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--udp-port", &(port + 1).to_string(), "--key", &format!("{KEY}:{SECRET}")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if child.try_wait().unwrap().is_some() || started.elapsed() > Duration::from_secs(10) {
                child.kill().ok();
                let mut text = String::new();
                child.stderr.take().unwrap().read_to_string(&mut text).ok();
                panic!("the node does not answer: {text}");
            }
            std::thread::yield_now();
        }
        Self { child, url: format!("ws://127.0.0.1:{port}") }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn video(codec: Codec, layers: usize) -> Video {
    let shapes = [(320, 180, 150_000), (640, 360, 500_000), (1_280, 720, 1_500_000)];
    let shape =
        |(width, height, bits_per_s)| LayerShape { width, height, frames_per_s: 25, bits_per_s, fixed: None, key_every: None };
    Video { codec, layers: shapes.into_iter().take(layers).map(shape).collect(), spread: 0.5, adapt: false }
}

fn coming(node: &Node, room: u32, seat: u8, video: Option<Video>) -> Coming {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let token = token::join(KEY, SECRET, &format!("room-{room}"), &format!("seat-{seat}"), now);
    let publish = Publish { audio: Some(Audio::default()), video };
    Coming {
        url: node.url.clone(),
        token,
        room,
        seat,
        publish,
        link: None,
        seed: u64::from(room) << 8 | u64::from(seat),
        resumes: true,
    }
}

/// What came in a while: reports, and the seconds added up.
#[derive(Debug)]
struct Seen {
    all: Second,
    reports: Vec<Report>,
}

fn watch(swarm: &Swarm, for_: Duration) -> Seen {
    let until = Instant::now() + for_;
    let mut seen = Seen { all: Second::new(0, 0), reports: Vec::new() };
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match swarm.reports().recv_timeout(left) {
            Ok(Report::Tick(second)) => seen.all.add(&second),
            Ok(report) => seen.reports.push(report),
            Err(_) => break,
        }
    }
    seen
}

fn count(seen: &Seen, of: impl Fn(&Report) -> bool) -> usize {
    seen.reports.iter().filter(|report| of(report)).count()
}

fn say(name: &str, seen: &Seen) {
    for (kind, stream) in [("audio", &seen.all.audio), ("video", &seen.all.video)] {
        println!(
            "{name} {kind}: sent {} expected {} received {} lost {} thinned {} repaired {} again {} late {} frames {} freezes {} keys {} missed {}; delay p50 {} p99 {} max {} µs; key wait p50 {} max {} ms; asked {}",
            stream.sent_packets,
            stream.expected,
            stream.received,
            stream.lost,
            stream.thinned,
            stream.repaired,
            stream.duplicate,
            stream.reordered,
            stream.frames,
            stream.freezes,
            stream.key_frame_waits.len(),
            stream.key_frames_missed,
            stream.delay.value_at_quantile(0.5),
            stream.delay.value_at_quantile(0.99),
            stream.delay.max(),
            stream.key_frame_waits.value_at_quantile(0.5),
            stream.key_frame_waits.max(),
            stream.key_frame_requests,
        );
    }
    let all = &seen.all;
    println!(
        "{name}: signalled p50 {} ms, joined p50 {} ms, first media p50 {} ms; cpu {:?}; sent late p99 {} µs; waited p99 {} µs; socket errors {}",
        all.signalled.value_at_quantile(0.5),
        all.joined.value_at_quantile(0.5),
        all.first_media.value_at_quantile(0.5),
        all.cpu,
        all.late.value_at_quantile(0.99),
        all.waited.value_at_quantile(0.99),
        all.socket_errors,
    );
}

fn rooms_of_three(codec: Codec, layers: usize) {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    let ids = || (0..2).flat_map(|room| (0..3).map(move |seat| (room, seat)));
    for (room, seat) in ids() {
        swarm.order(Order::Join(room * 3 + u32::from(seat), Box::new(coming(&node, room, seat, Some(video(codec, layers))))));
    }
    let joining = watch(&swarm, Duration::from_secs(3));
    say("joining", &joining);
    assert_eq!(count(&joining, |report| matches!(report, Report::Joined { .. })), 6, "{:?}", joining.reports);
    assert_eq!(count(&joining, |report| matches!(report, Report::FirstMedia { .. })), 6, "{:?}", joining.reports);

    for (room, seat) in ids() {
        swarm.order(Order::KeyFrames(room * 3 + u32::from(seat)));
    }
    let seen = watch(&swarm, Duration::from_secs(5));
    say("running", &seen);

    assert_eq!(count(&seen, |report| matches!(report, Report::Failed { .. } | Report::Refused { .. })), 0, "{:?}", seen.reports);
    for (stream, least) in [(&seen.all.audio, 2 * 6 * 50 * 4), (&seen.all.video, 2 * 6 * 25 * 4)] {
        assert!(stream.received > least, "{} of {least}", stream.received);
        assert_eq!((stream.lost, stream.duplicate), (0, 0));
    }
    assert!(seen.all.video.frames > 2 * 6 * 25 * 4, "{}", seen.all.video.frames);
    assert_eq!(seen.all.video.key_frame_waits.len() as u32 + seen.all.video.key_frames_missed, 12);
    assert_eq!(seen.all.video.key_frames_missed, 0, "somebody never got the key frame they asked for");
    for (room, seat) in ids() {
        swarm.order(Order::Leave(room * 3 + u32::from(seat)));
    }
    assert_eq!(count(&watch(&swarm, Duration::from_millis(500)), |report| matches!(report, Report::Left { .. })), 6);
    assert_eq!(swarm.stop(), []);
}

#[test]
fn two_rooms_of_three_with_vp8() {
    rooms_of_three(Codec::Vp8, 1);
}

#[test]
fn two_rooms_of_three_with_vp8_simulcast() {
    rooms_of_three(Codec::Vp8, 3);
}

#[test]
fn two_rooms_of_three_with_h264() {
    rooms_of_three(Codec::H264, 1);
}

#[test]
fn two_rooms_of_three_with_vp9() {
    rooms_of_three(Codec::Vp9, 1);
}

#[test]
fn two_rooms_of_three_with_av1() {
    rooms_of_three(Codec::Av1, 1);
}
