//! How many rooms this machine holds: a ramp until the limits break, then a bisection, then repetitions for medians.
//!
//! Each try starts a relay of its own, so that no try inherits the memory of another. The load test shares the machine
//! with the relay, so what is *measured* is the machine's answer with both on it. What the relay alone would hold with a
//! core to itself is *computed* from its CPU share, and is called so wherever it is shown.

use crate::report::{Outcome, Results};
use crate::run::progress::Progress;
use crate::run::serve::{DEV_KEY, Served};
use crate::run::{self, NoRun, Plan};
use crate::scenario::Scenario;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A bisection ends when the step is this part of what holds; finer would be noise.
const FINE: f64 = 0.05;

/// A number of rooms that did not hold is tried again until it was tried this often.
const TRIES: u32 = 2;

/// Rooms that begin in a second.
const ROOMS_PER_S: f64 = 5.0;

/// What to search for.
#[derive(Clone, Debug)]
pub struct Search {
    /// People of a room.
    pub seats: u8,
    /// Bits a second of each camera.
    pub bitrate: u32,
    /// Workers of the relay; 0 is one per core.
    pub workers: u16,
    /// The relay's binary.
    pub serve: PathBuf,
    /// Runs at the number that held, for medians.
    pub repeat: usize,
    /// How long each try is measured.
    pub hold: Duration,
    /// Threads of clients.
    pub threads: usize,
    /// What all choices come from.
    pub seed: u64,
    /// Rooms never tried more of.
    pub most: u32,
    /// Rooms the ramp begins with.
    pub first: u32,
    /// The command line.
    pub command: String,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Rooms held; 0 when not even one was.
    pub rooms: u32,
    /// Why more did not hold; nothing when the search ended at its bound.
    pub beyond: Option<String>,
    /// The runs at the number that held.
    pub runs: Vec<Results>,
}

/// The ramp and bisection alone: what to try next, told what held. Pure, so that it can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    holds: u32,
    breaks: Option<u32>,
    first: u32,
    most: u32,
}

impl Steps {
    /// Begins with `first` rooms and never goes above `most`.
    #[must_use]
    pub fn new(first: u32, most: u32) -> Self {
        Self { holds: 0, breaks: None, first: first.clamp(1, most.max(1)), most: most.max(1) }
    }

    /// How many rooms to try; nothing when the answer is known.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        match self.breaks {
            None if self.holds == 0 => Some(self.first),
            None => (self.holds < self.most).then(|| self.holds.saturating_mul(2).min(self.most)),
            Some(breaks) => {
                let step = (f64::from(self.holds) * FINE).ceil().max(1.0) as u32;
                (breaks - self.holds > step).then(|| self.holds + (breaks - self.holds) / 2)
            }
        }
    }

    /// So many rooms held, or did not.
    pub fn tried(&mut self, rooms: u32, held: bool) {
        if held {
            self.holds = self.holds.max(rooms);
        } else {
            self.breaks = Some(self.breaks.map_or(rooms, |breaks| breaks.min(rooms)));
        }
    }

    /// The most rooms that held so far.
    #[must_use]
    pub fn holds(&self) -> u32 {
        self.holds
    }
}

/// Searches until it knows, or until `stop` is set.
///
/// # Errors
/// When a relay or the clients cannot be started.
pub fn search(search: &Search, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Found, NoRun> {
    let mut steps = Steps::new(search.first, search.most);
    let mut beyond = None;
    let mut held_run = None;
    while let Some(rooms) = steps.next() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let results = tries(search, rooms, stop, say)?;
        if stop.load(Ordering::Relaxed) {
            // Cut short, it says nothing about holding.
            break;
        }
        let held = results.verdict.outcome == Outcome::Pass;
        steps.tried(rooms, held);
        if held {
            held_run = Some(results);
        } else {
            beyond = Some(format!("{rooms} rooms: {}", results.verdict.line));
        }
    }
    let mut runs: Vec<Results> = held_run.into_iter().collect();
    while steps.holds() > 0 && runs.len() < search.repeat && !stop.load(Ordering::Relaxed) {
        let results = attempt(search, steps.holds(), stop)?;
        say(&format!("{} rooms again: {}", steps.holds(), results.verdict.line));
        if !stop.load(Ordering::Relaxed) {
            runs.push(results);
        }
    }
    Ok(Found { rooms: steps.holds(), beyond, runs })
}

/// Tries until it holds, a few times: other work on the machine breaks a run now and then, too few rooms never hold one.
fn tries(search: &Search, rooms: u32, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Results, NoRun> {
    let mut left = TRIES;
    loop {
        let results = attempt(search, rooms, stop)?;
        say(&format!("{rooms} rooms: {}", results.verdict.line));
        left -= 1;
        if left == 0 || results.verdict.outcome == Outcome::Pass || stop.load(Ordering::Relaxed) {
            return Ok(results);
        }
    }
}

fn attempt(search: &Search, rooms: u32, stop: &AtomicBool) -> Result<Results, NoRun> {
    let relay = Served::start(&search.serve, search.workers).map_err(NoRun::Asked)?;
    let mut scenario = Scenario::reference(search.seats, search.bitrate, rooms);
    scenario.for_ = search.hold;
    scenario.arrival = crate::scenario::Arrival::Over(arrival(rooms));
    let plan = Plan {
        scenario,
        url: relay.url.clone(),
        key: DEV_KEY.0.to_owned(),
        secret: DEV_KEY.1.to_owned(),
        seed: search.seed,
        threads: search.threads,
        pid: Some(relay.pid()),
        media: Some(relay.media),
        bitrate: Some(search.bitrate),
        command: search.command.clone(),
    };
    run::drive(&plan, stop, &Progress::Silent)
}

/// How long so many rooms take to arrive. The joins themselves are not what is searched for, and a relay holds time back for what those
/// of the last seconds will add: at twenty rooms a second 68 were refused where 128 hold at five.
fn arrival(rooms: u32) -> Duration {
    Duration::from_secs(2).max(Duration::from_secs_f64(f64::from(rooms) / ROOMS_PER_S))
}

/// The Markdown of what was found: the table of what was measured, then what was computed from it.
#[must_use]
pub fn markdown(search: &Search, found: &Found) -> String {
    if found.runs.is_empty() {
        return format!(
            "Not even {} rooms held. {}\n",
            search.first,
            found.beyond.as_deref().unwrap_or("The search was ended by hand.")
        );
    }
    let of = |value: fn(&Results) -> f64| median(found.runs.iter().map(value).collect());
    let relay = |value: fn(&crate::report::Process) -> Option<f64>| {
        median(found.runs.iter().filter_map(|run| value(run.relay.as_ref()?)).collect())
    };
    let delay = |value: fn(&crate::report::Percentiles) -> u64| {
        median(found.runs.iter().map(|run| value(&run.media.delay_us) as f64 / 1e3).collect())
    };
    let cores = relay(|relay| Some(relay.cores));
    let mut text = format!(
        "Measured: relay and load test on the same machine, median of {} runs of {} s.\n\n\
         | seats | Mbit/s a camera | rooms held | delivered packets/s | relay CPU µs per delivered packet | relay KiB per seat | \
         added delay p50 / p99 / p99.9, ms |\n|---|---|---|---|---|---|---|\n",
        found.runs.len(),
        search.hold.as_secs()
    );
    text.push_str(&format!(
        "| {} | {} | {} | {:.0} | {:.2} | {:.0} | {:.2} / {:.2} / {:.2} |\n",
        search.seats,
        f64::from(search.bitrate) / 1e6,
        found.rooms,
        of(|run| run.media.delivered_per_s),
        relay(|relay| relay.cpu_us_per_delivered),
        relay(|relay| relay.memory_kib_per_seat),
        delay(|delay| delay.p50),
        delay(|delay| delay.p99),
        delay(|delay| delay.p999)
    ));
    if let Some(run) = found.runs.first() {
        let machine = &run.machine;
        text.push_str(&format!("\nMachine: {}, {} cores, {}.\n", machine.processor, machine.cores, machine.kernel));
    }
    if found.rooms > 0 {
        let generator = of(|run| run.generator.cores);
        text.push_str(&format!("The relay used {cores:.2} cores of it, the load test {generator:.2}.\n"));
    }
    match &found.beyond {
        Some(why) => text.push_str(&format!("More did not hold: {why}\n")),
        None => text.push_str("The search ended before anything broke: the machine holds at least this.\n"),
    }
    if cores > 0.0 && found.rooms > 0 {
        let per_core = f64::from(found.rooms) / cores;
        text.push_str(&format!(
            "\nComputed, not measured: at this CPU per packet one core free for the relay alone would carry {per_core:.0} rooms at 100 % \
             ({:.0} at 70 %).\n",
            per_core * 0.7
        ));
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => (value + values.get(middle.saturating_sub(1)).copied().unwrap_or(*value)) / 2.0,
        (None, _) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold_of(limit: u32, first: u32, most: u32) -> (u32, usize) {
        let mut steps = Steps::new(first, most);
        let mut tries = 0;
        while let Some(rooms) = steps.next() {
            steps.tried(rooms, rooms <= limit);
            tries += 1;
            assert!(tries < 50, "it ends");
        }
        (steps.holds(), tries)
    }

    #[test]
    fn the_search_finds_a_limit_within_its_step() {
        for limit in [1, 2, 7, 30, 100, 333] {
            let (holds, tries) = hold_of(limit, 1, 1_000);
            assert!(holds <= limit && f64::from(limit - holds) <= f64::from(limit) * FINE + 1.0, "{limit}: {holds}");
            assert!(tries <= 16, "{limit}: {tries} tries");
        }
    }

    #[test]
    fn the_search_ends_at_its_bounds() {
        assert_eq!(hold_of(0, 1, 100), (0, 1));
        assert_eq!(hold_of(1_000, 10, 64).0, 64);
        assert_eq!(hold_of(3, 40, 100).0, 3, "a first try that is too much goes down");
    }

    #[test]
    fn medians_stand_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 100.0]) - 3.0).abs() < 1e-9);
        assert!((median(vec![1.0, 3.0]) - 2.0).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }
}
