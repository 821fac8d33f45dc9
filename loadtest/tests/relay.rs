//! Clients against a node: `COLLOQUE_BIN` names its binary.
//!
//! Without a binary these tests fail; they never pass by not running.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test against a node lives in real time and says what it saw"
)]

use loadtest::client::{Codec, MediaKind, Quality};
use loadtest::impair;
use loadtest::measure::Second;
use loadtest::swarm::{Audio, Coming, LayerShape, Order, Publish, Report, Swarm, Video};
use loadtest::token;
use std::io::{Read as _, Write as _};
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
    port: u16,
}

impl Node {
    fn start() -> Self {
        Self::at(PORT.fetch_add(2, Relaxed))
    }

    fn at(port: u16) -> Self {
        let binary = std::env::var("COLLOQUE_BIN").expect("COLLOQUE_BIN must name the relay's binary");
        let mut command = Command::new(binary);
        command.args(["serve", "--bind", "127.0.0.1", "--advertise", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--udp-port", &(port + 1).to_string(), "--key", &format!("{KEY}:{SECRET}")]);
        command.args(["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay.toml")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let started = Instant::now();
        while !ready(port) {
            if child.try_wait().unwrap().is_some() || started.elapsed() > Duration::from_secs(10) {
                child.kill().ok();
                let mut text = String::new();
                child.stderr.take().unwrap().read_to_string(&mut text).ok();
                panic!("the node does not answer: {text}");
            }
            std::thread::yield_now();
        }
        Self { child, url: format!("ws://127.0.0.1:{port}"), port }
    }
}

/// Whether a node takes calls: it answers "busy" for a moment after it began to listen.
fn ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(1_024).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
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

/// Watches until `of` was reported so many times, or for 20 s: on a machine that has no time a start takes long.
fn watch_for(swarm: &Swarm, times: usize, of: impl Fn(&Report) -> bool) -> Seen {
    let began = Instant::now();
    let mut seen = watch(swarm, Duration::from_millis(200));
    while count(&seen, &of) < times && began.elapsed() < Duration::from_secs(20) {
        let more = watch(swarm, Duration::from_millis(200));
        seen.all.add(&more.all);
        seen.reports.extend(more.reports);
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
    let joining = watch_for(&swarm, 6, |report| matches!(report, Report::FirstMedia { .. }));
    say("joining", &joining);
    assert_eq!(count(&joining, |report| matches!(report, Report::Joined { .. })), 6, "{:?}", joining.reports);
    assert_eq!(count(&joining, |report| matches!(report, Report::FirstMedia { .. })), 6, "{:?}", joining.reports);

    for (room, seat) in ids() {
        swarm.order(Order::KeyFrames(room * 3 + u32::from(seat)));
    }
    let seen = watch(&swarm, Duration::from_secs(5));
    say("running", &seen);

    assert_eq!(count(&seen, |report| matches!(report, Report::Failed { .. } | Report::Refused { .. })), 0, "{:?}", seen.reports);
    for stream in [&seen.all.audio, &seen.all.video] {
        // Against what was offered and not against the clock; the lower layers of a simulcast reach nobody here.
        let offered = 2 * stream.sent_packets / if stream.sent_packets > 2 * seen.all.audio.sent_packets { 3 } else { 1 };
        assert!(stream.received > 100 && stream.received * 10 > offered * 8, "{} of {offered}", stream.received);
        assert_eq!((stream.lost, stream.duplicate), (0, 0));
    }
    let most_per_frame = if layers == 1 { 2 } else { 12 };
    assert!(seen.all.video.frames * most_per_frame > seen.all.video.received, "{}", seen.all.video.frames);
    // Whoever waits for one already does not ask again, and whoever freezes on a machine without time asks once more.
    assert!(seen.all.video.key_frame_waits.len() >= 6, "{}", seen.all.video.key_frame_waits.len());
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

/// A room of three that runs; ids 0 to 2.
fn room(node: &Node, swarm: &Swarm, video_of: &Video) {
    for seat in 0..3 {
        swarm.order(Order::Join(seat.into(), Box::new(coming(node, 0, seat, Some(video_of.clone())))));
    }
    let joining = watch_for(swarm, 3, |report| matches!(report, Report::FirstMedia { .. }));
    assert_eq!(count(&joining, |report| matches!(report, Report::FirstMedia { .. })), 3, "{:?}", joining.reports);
}

fn unharmed(seen: &Seen) {
    assert_eq!(count(seen, |report| matches!(report, Report::Failed { .. } | Report::Refused { .. })), 0, "{:?}", seen.reports);
    assert_eq!((seen.all.audio.lost, seen.all.video.lost), (0, 0));
}

#[test]
fn a_cut_of_the_signalling_is_resumed_and_media_go_on() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    swarm.order(Order::CutSignal(1));
    let seen = watch_for(&swarm, 1, |report| matches!(report, Report::Resumed { .. }));
    say("resumed", &seen);

    unharmed(&seen);
    assert_eq!(count(&seen, |report| matches!(report, Report::Resumed { client: 1, full: false, .. })), 1, "{:?}", seen.reports);
    assert_eq!(seen.all.video.freezes, 0);
}

#[test]
fn a_move_to_another_port_keeps_the_call() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    swarm.order(Order::Move(1));
    watch(&swarm, Duration::from_secs(3));
    let seen = watch(&swarm, Duration::from_secs(3));
    say("moved", &seen);

    unharmed(&seen);
    assert!(seen.all.audio.received * 10 > seen.all.audio.sent_packets * 2 * 8, "{}", seen.all.audio.received);
}

#[test]
fn muting_stops_a_kind_without_loss_or_freeze() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    (0..3).for_each(|client| swarm.order(Order::Mute(client, MediaKind::Video, true)));
    watch(&swarm, Duration::from_secs(2));
    let muted = watch(&swarm, Duration::from_secs(2));
    (0..3).for_each(|client| swarm.order(Order::Mute(client, MediaKind::Video, false)));
    watch(&swarm, Duration::from_secs(1));
    let seen = watch(&swarm, Duration::from_secs(2));
    say("unmuted", &seen);

    assert_eq!(muted.all.video.received, 0);
    unharmed(&seen);
    assert!(seen.all.video.frames >= 6 * 25, "{}", seen.all.video.frames);
    assert_eq!(seen.all.video.freezes, 0);
}

#[test]
fn a_lower_layer_that_is_asked_for_comes_with_fewer_bytes() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 3));
    let high = watch(&swarm, Duration::from_secs(2));

    (0..3).for_each(|client| swarm.order(Order::Ask(client, Quality::Low)));
    watch(&swarm, Duration::from_secs(3));
    let low = watch(&swarm, Duration::from_secs(3));
    say("low", &low);

    unharmed(&low);
    assert!(low.all.video.bytes * 3 < high.all.video.bytes * 2, "{} after {}", low.all.video.bytes, high.all.video.bytes);
    assert!(low.all.video.sent_bytes < high.all.video.sent_bytes, "dynacast pauses what nobody looks at");
    assert!(low.all.video.frames >= 6 * 25 * 2, "{}", low.all.video.frames);
}

#[test]
fn loss_on_the_line_is_repaired_and_counted() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    let mut profile = impair::Profile::default();
    profile.down.loss = 0.05;
    profile.down.delay_ms = 20.0;
    swarm.order(Order::Impair(1, Some(profile)));
    let seen = watch(&swarm, Duration::from_secs(7));
    say("lossy", &seen);

    assert_eq!(count(&seen, |report| matches!(report, Report::Failed { .. })), 0, "{:?}", seen.reports);
    // Some ten are lost before the relay has heard of it and says each packet twice; after that hardly any.
    let (voice, pictures) = (&seen.all.audio, &seen.all.video);
    assert!(voice.lost > 0, "what nothing repairs is counted");
    assert!(voice.duplicate > 100, "each packet comes twice, or makes up for the other: {}", voice.duplicate);
    assert!(pictures.repaired > 0, "what is asked for again is counted");
    assert!(pictures.lost * 3 <= pictures.repaired, "{} of {}", pictures.lost, pictures.repaired);
}

#[test]
fn who_is_not_let_in_hears_why() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();

    let mut forged = coming(&node, 0, 0, None);
    forged.token = token::join(KEY, "another secret of thirty-two bytes", "room-0", "seat-0", Duration::from_secs(4_000_000_000));
    swarm.order(Order::Join(0, Box::new(forged)));
    let mut nowhere = coming(&node, 0, 1, None);
    nowhere.url = "ws://127.0.0.1:9".to_owned();
    swarm.order(Order::Join(1, Box::new(nowhere)));
    let mut odd = coming(&node, 0, 2, None);
    odd.url = "not a url".to_owned();
    swarm.order(Order::Join(2, Box::new(odd)));
    let mut secret = coming(&node, 0, 3, None);
    secret.url = secret.url.replace("ws://", "wss://");
    swarm.order(Order::Join(3, Box::new(secret)));
    let seen = watch(&swarm, Duration::from_secs(2));
    println!("{:?}", seen.reports);

    let status = |of: u32| {
        seen.reports.iter().find_map(|report| match report {
            Report::Refused { client, status, text, .. } if *client == of => Some((*status, text.clone())),
            _ => None,
        })
    };
    assert_eq!(status(0).unwrap().0, Some(401));
    assert_eq!(status(1).unwrap(), (None, "not reachable: connection refused".to_owned()));
    assert!(status(2).is_some());
    assert_eq!(status(3).map(|(status, _)| status), Some(None), "the node speaks no TLS");
}

#[test]
fn a_node_that_starts_again_gets_everybody_back() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    let port = node.port;
    drop(node);
    let node = Node::at(port);
    let seen = watch_for(&swarm, 3, |report| matches!(report, Report::Resumed { .. }));
    assert_eq!(count(&seen, |report| matches!(report, Report::Resumed { full: true, .. })), 3, "{:?}", seen.reports);
    let seen = watch(&swarm, Duration::from_secs(3));
    say("again", &seen);

    unharmed(&seen);
    assert!(seen.all.video.frames >= 6 * 25 * 2, "{}", seen.all.video.frames);
    drop(node);
}

#[test]
fn garbage_towards_the_media_port_harms_nobody() {
    let node = Node::start();
    let swarm = Swarm::start(1, 7).unwrap();
    room(&node, &swarm, &video(Codec::Vp8, 1));

    let to = (Ipv4Addr::LOCALHOST, node.port + 1).into();
    swarm.order(Order::Noise { to, datagrams_per_s: 2_000, for_: Duration::from_secs(2), seed: 3 });
    let seen = watch(&swarm, Duration::from_secs(4));
    say("noise", &seen);

    unharmed(&seen);
    assert!(seen.all.video.frames >= 6 * 25 * 3, "{}", seen.all.video.frames);
}
