//! How long an event waits until it is durable, and how many a second there can be: the writer on a real disk.
//!
//! `AUDIT_BENCH_DIR` names a folder on the disk to measure; without it the build folder is used. Results with machine and
//! file system belong beside the figure: a network disk is another world.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and says what it saw")]

use colloque::audit::note::PrivateKey;
use colloque::audit::record::Source;
use colloque::audit::types::{Boot, Build};
use colloque::audit::{Actor, Event, Fact, Word};
use colloque::worker::audit_writer::disk::Folder;
use colloque::worker::audit_writer::{Recorder, Retention, Root, Running, Settings, SystemClock, TenantLog, start};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Events a second the target speaks of.
const RATE: u64 = 2_000;

/// How long each rate is held.
const HOLD: Duration = Duration::from_secs(5);

fn word(text: &str) -> Word {
    Word::new(text).expect("of the alphabet")
}

fn open(folder: &std::path::Path) -> (Recorder, Running) {
    let settings = Settings {
        deployment: word("bench.example/here"),
        node: word("n1"),
        root: Root::Here(PrivateKey::new(word("bench.example/root"), [1; 32]).expect("a key")),
        tenants: (0..4).map(|tenant| TenantLog { name: word(&format!("t-{tenant}")), retention: Retention::DEFAULT }).collect(),
        retention: Retention::DEFAULT,
        reserve: 0,
        grace: Duration::from_secs(900),
    };
    let source = Source { node: word("n1"), region: word("FR"), build: Build([0; 8]), boot: Boot([0; 16]) };
    let disk = Folder::lock(folder).expect("the bench's own folder");
    start(settings, source, Box::new(disk), Arc::new(SystemClock::default())).expect("a new record")
}

fn fact(number: u64) -> Fact {
    let event = Event::TokenAccepted { auth: None, jti_ref: None, kid: word("APIbench"), role: None, ttl_s: 900 };
    Fact::of_tenant(word(&format!("t-{}", number % 4)), Actor::System, event)
}

/// Hands in events at a steady rate; answers how long each waited, the shortest first.
fn steady(recorder: &Recorder, rate: u64) -> Vec<Duration> {
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    let total = rate * HOLD.as_secs();
    for number in 0..total {
        let due = began + Duration::from_nanos(1_000_000_000 / rate * number);
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        let (tell, at) = (tell.clone(), Instant::now());
        recorder.record_durable(fact(number), move |result| {
            result.expect("the disk holds");
            tell.send(at.elapsed()).expect("the bench waits");
        });
    }
    drop(tell);
    let mut waited: Vec<_> = told.into_iter().collect();
    waited.sort_unstable();
    waited
}

fn main() {
    let named = std::env::var_os("AUDIT_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = named.join(format!("audit-bench-{}", std::process::id()));
    let (recorder, running) = open(&folder);
    for rate in [RATE / 10, RATE, RATE * 2] {
        let before = recorder.figures();
        let waited = steady(&recorder, rate);
        let after = recorder.figures();
        let at = |permille: usize| waited[(waited.len() - 1) * permille / 1_000];
        let each = (after.durable - before.durable) as f64 / (after.commits - before.commits).max(1) as f64;
        println!(
            "audit_append {rate:>5}/s: p50 {:>8.2?}  p99 {:>8.2?}  p99.9 {:>8.2?}  max {:>8.2?}  {each:.1} events a commit",
            at(500),
            at(990),
            at(999),
            at(1_000),
        );
    }
    running.stop();
    std::fs::remove_dir_all(&folder).expect("the bench's own folder");
}
