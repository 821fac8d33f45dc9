//! Drives one run: the script's acts become orders, reports become sums, sums become a verdict.
//!
//! Entry point: [`drive`]. It owns the clock of the run and waits in one place only, for reports.

pub mod clock;
pub mod door;
pub mod progress;
pub mod serve;
pub mod tally;
pub mod verdict;

use crate::process::{Sample, Watch, machine};
use crate::report::{Asked, Outcome, Results, SCHEMA};
use crate::scenario::{Act, Scenario, Script};
use crate::swarm::{Coming, Order, Report, Swarm};
use crate::token;
use progress::{Live, Progress};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally::{News, Sums, Tally};

/// After everybody was told to go, this long is waited for goodbyes and for the loss of the last second to be known.
const GOODBYES: Duration = Duration::from_secs(6);

/// At least this long of it, because a packet counts as lost only after a second.
const LAST_SECONDS: Duration = Duration::from_secs(3);

/// The most acts between two looks at the reports, so that neither waits for the other.
const ACTS: usize = 256;

/// What to run, and where.
#[derive(Clone)]
pub struct Plan {
    /// The load.
    pub scenario: Scenario,
    /// The relay.
    pub url: String,
    /// Id of the key tokens are signed with.
    pub key: String,
    /// Its secret; it gets into no report.
    pub secret: String,
    /// What all choices come from.
    pub seed: u64,
    /// Threads of clients.
    pub threads: usize,
    /// The relay's process, where it is on this machine.
    pub pid: Option<u32>,
    /// The relay's media port, for noise.
    pub media: Option<SocketAddr>,
    /// Bits a second of each camera, where the command line set them.
    pub bitrate: Option<u32>,
    /// The command line without the secret.
    pub command: String,
}

/// Why there was no run; one line each.
#[derive(Debug, thiserror::Error)]
pub enum NoRun {
    /// What was asked for cannot be.
    #[error("{0}")]
    Asked(String),
    /// The machine does not give what a run needs.
    #[error("the clients cannot be started: {0}")]
    Machine(#[from] std::io::Error),
    /// The threads of clients ended.
    #[error("the threads of clients ended early; this is a fault of the load test")]
    Ours,
}

/// Looks at the processes once a second.
struct Gauge {
    relay: Option<Watch>,
    own: Watch,
    last: (Instant, Option<Sample>, Option<Sample>),
}

impl Gauge {
    fn new(pid: Option<u32>, now: Instant) -> Self {
        let (mut relay, mut own) = (pid.map(Watch::new), Watch::new(std::process::id()));
        let last = (now, relay.as_mut().and_then(Watch::sample), own.sample());
        Self { relay, own, last }
    }

    /// Cores of the relay, its sample, cores of ours since the last look.
    fn look(&mut self, now: Instant) -> (Option<f64>, Option<Sample>, f64) {
        let (relay, own) = (self.relay.as_mut().and_then(Watch::sample), self.own.sample());
        let passed = now.saturating_duration_since(self.last.0).as_secs_f64().max(0.001);
        let cores = |old: Option<Sample>, new: Option<Sample>| Some((new?.cpu.saturating_sub(old?.cpu)).as_secs_f64() / passed);
        let seen = (cores(self.last.1, relay), relay, cores(self.last.2, own).unwrap_or(0.0));
        self.last = (now, relay, own);
        seen
    }
}

struct Run<'a> {
    plan: &'a Plan,
    swarm: Swarm,
    script: Script,
    tally: Tally,
    gauge: Gauge,
    started: Instant,
    next_look: Duration,
    /// Part of room names, so that two runs against one relay never meet.
    mark: String,
}

/// Runs a plan to its end, or until `stop` is set.
///
/// # Errors
/// When the relay is not there, refuses the token, or the clients cannot be started.
pub fn drive(plan: &Plan, stop: &AtomicBool, progress: &Progress) -> Result<Results, NoRun> {
    check(plan)?;
    let wall = clock::wall();
    let machine = machine();
    let swarm = Swarm::start(plan.threads, plan.seed)?;
    // The threads count their seconds from their start, so the run begins with them.
    let started = clock::now();
    let mut run = Run {
        plan,
        swarm,
        script: Script::new(&plan.scenario, plan.seed),
        tally: Tally::new(plan.scenario.measured_from()),
        gauge: Gauge::new(plan.pid, started),
        started,
        next_look: Duration::from_secs(1),
        mark: format!("{:x}", wall.as_nanos() & 0xffff_ffff),
    };
    let finished = run.play(stop, progress);
    run.tally.end_measuring(run.passed());
    let measured = run.passed().saturating_sub(plan.scenario.measured_from());
    let early = run.passed() + Duration::from_millis(500) < run.script.ends_at();
    let said_goodbye = run.goodbye(progress);
    progress.end();
    finished.and(said_goodbye)?;
    let leftover = run.swarm.stop();
    run.tally.on_leftover(leftover.len());
    let sums = run.tally.finish(plan.scenario.seats.iter().filter(|seat| sends(seat)).count() < 2);
    let mut verdict = verdict::judge(&plan.scenario.limits, &sums);
    if early {
        verdict = verdict::shortened(verdict, measured);
    }
    Ok(results(plan, sums, verdict, machine, clock::utc(wall)))
}

fn sends(seat: &crate::scenario::Seat) -> bool {
    seat.publish.audio.is_some() || seat.publish.video.is_some()
}

fn check(plan: &Plan) -> Result<(), NoRun> {
    let place = door::place(&plan.url).map_err(NoRun::Asked)?;
    if plan.scenario.noise.is_some() && plan.media.is_none() {
        let text =
            format!("scenario {}: noise needs to know where to; add --media HOST:PORT, the relay's UDP port", plan.scenario.name);
        return Err(NoRun::Asked(text));
    }
    let token = token::join(&plan.key, &plan.secret, "loadtest-knock", "knock", clock::wall());
    door::knock(&place, &token).map_err(NoRun::Asked)?;
    match plan.pid {
        Some(pid) if Watch::new(pid).sample().is_none() => {
            Err(NoRun::Asked(format!("--pid {pid}: no such process on this machine, or not ours to look at")))
        }
        _ => Ok(()),
    }
}

impl Run<'_> {
    fn passed(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    fn play(&mut self, stop: &AtomicBool, progress: &Progress) -> Result<(), NoRun> {
        while !stop.load(Ordering::Relaxed) {
            let passed = self.passed();
            if passed >= self.script.ends_at() {
                break;
            }
            for _ in 0..ACTS {
                let Some(act) = self.script.poll(passed) else { break };
                self.carry_out(act, passed);
            }
            self.look(passed, progress);
            let next = self.script.due_at().unwrap_or(Duration::MAX).min(self.next_look).min(self.script.ends_at());
            self.hear(next.saturating_sub(self.passed()))?;
        }
        Ok(())
    }

    /// Everybody leaves; what they still report counts for the calls.
    fn goodbye(&mut self, progress: &Progress) -> Result<(), NoRun> {
        let begun = self.passed();
        for act in self.script.leave_all() {
            self.carry_out(act, begun);
        }
        loop {
            let waited = self.passed().saturating_sub(begun);
            let calls = self.tally.calls();
            let gone = calls.left + calls.refused + calls.failed >= calls.asked;
            if waited >= GOODBYES || (gone && waited >= LAST_SECONDS) {
                return Ok(());
            }
            self.look(self.passed(), progress);
            self.hear(Duration::from_millis(100))?;
        }
    }

    /// Waits for a report, and takes those that wait behind it.
    fn hear(&mut self, at_most: Duration) -> Result<(), NoRun> {
        // A stop by hand is noticed within this.
        let at_most = at_most.min(Duration::from_millis(200));
        let mut report = match self.swarm.reports().recv_timeout(at_most) {
            Ok(report) => report,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => return Ok(()),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Err(NoRun::Ours),
        };
        for _ in 0..ACTS {
            self.handle(report)?;
            match self.swarm.reports().try_recv() {
                Ok(next) => report = next,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn handle(&mut self, report: Report) -> Result<(), NoRun> {
        let passed = self.passed();
        match self.tally.handle(report, passed) {
            News::Refused(_, Some(401 | 403)) if self.tally.calls().joined == 0 => {
                Err(NoRun::Asked(format!("the relay at {} refuses the token: check --key and --secret", self.plan.url)))
            }
            News::Refused(client, _) => {
                self.script.handle_refused(client, passed);
                Ok(())
            }
            News::Gone(client) => {
                self.script.handle_gone(client);
                Ok(())
            }
            News::None => Ok(()),
        }
    }

    fn look(&mut self, passed: Duration, progress: &Progress) {
        if passed < self.next_look {
            return;
        }
        self.next_look = Duration::from_secs(passed.as_secs() + 1);
        let (relay_cores, relay, own) = self.gauge.look(clock::now());
        self.tally.on_processes(passed, relay_cores, relay, own);
        progress.show(&Live {
            passed,
            ends_at: self.script.ends_at(),
            measuring: passed >= self.plan.scenario.measured_from(),
            row: self.tally.latest(),
            calls: self.tally.calls(),
            relay_cores,
            relay_mib: relay.map(|sample| sample.memory as f64 / 1_048_576.0),
        });
    }

    fn carry_out(&mut self, act: Act, passed: Duration) {
        let order = match act {
            Act::Join { client, room, seat, seed } => {
                let Some(coming) = self.coming(room, seat, seed) else { return };
                self.tally.on_join(client, room, passed);
                self.tally.on_rooms(self.script.rooms_opened());
                Order::Join(client, Box::new(coming))
            }
            Act::Leave(client) => {
                self.tally.on_leave(client, passed);
                Order::Leave(client)
            }
            Act::CutSignal(client) => {
                self.tally.on_cut();
                Order::CutSignal(client)
            }
            Act::Move(client) => Order::Move(client),
            Act::Mute(client, kind, muted) => Order::Mute(client, kind, muted),
            Act::Link(client, profile) => Order::Impair(client, Some(*profile)),
            Act::Noise { datagrams_per_s, lasts, seed } => {
                let Some(to) = self.plan.media else { return };
                Order::Noise { to, datagrams_per_s, for_: lasts, seed }
            }
        };
        self.swarm.order(order);
    }

    fn coming(&self, room: u32, seat: u8, seed: u64) -> Option<Coming> {
        let plan = self.plan;
        let person = plan.scenario.seats.get(usize::from(seat))?;
        let (name, identity) = (format!("lt-{}-{room}", self.mark), format!("{}-{seat}", person.role));
        Some(Coming {
            url: plan.url.clone(),
            token: token::join(&plan.key, &plan.secret, &name, &identity, clock::wall()),
            room,
            seat,
            publish: person.publish.clone(),
            link: person.link.clone(),
            seed,
            resumes: true,
        })
    }
}

fn results(
    plan: &Plan,
    sums: Sums,
    verdict: crate::report::Verdict,
    machine: crate::report::Machine,
    started: String,
) -> Results {
    let scenario = &plan.scenario;
    Results {
        schema: SCHEMA,
        tool: concat!("loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: plan.command.clone(),
        started,
        asked: Asked {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            rooms: scenario.rooms,
            seats_per_room: scenario.seats.len(),
            for_s: scenario.for_.as_secs_f64(),
            before_s: scenario.measured_from().as_secs_f64(),
            seed: plan.seed,
            threads: plan.threads,
            bitrate: plan.bitrate,
            url: plan.url.clone(),
        },
        machine,
        verdict,
        calls: sums.calls,
        media: sums.media,
        audio: sums.audio,
        video: sums.video,
        relay: sums.relay,
        generator: sums.generator,
        seconds: sums.rows,
    }
}

/// The exit code of an outcome: 0 for a pass, 1 otherwise.
#[must_use]
pub fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => 0,
        Outcome::Fail | Outcome::NotMeasured => 1,
    }
}
