//! Random consultations against a reference model of a few lines.
//!
//! Whatever happens, for every packet that leaves the relay the model lets the sender reach the receiver at that moment, and the
//! receiver is on the roster the sender's client was written. What the model allows arrives once everybody has caught up.

use super::consultation::{coming, consent};
use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::rng::Rng;
use crate::world::{Log, Rules, Who, World};
use colloque::model::Identity;
use colloque::model::roster::Role;
use colloque::relay::command::{Act, AdminAction, By, Emergency, Fact, Refusal, Scope};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

const ROLES: [Role; 6] = [Role::Doctor, Role::Doctor, Role::Colleague, Role::Companion, Role::Patient, Role::Relative];

/// Scopes a patient of this model may agree to.
const SCOPES: [Scope; 4] = [
    Scope::Teleconsultation,
    Scope::ThirdPerson(Role::Colleague),
    Scope::ThirdPerson(Role::Companion),
    Scope::ThirdPerson(Role::Relative),
];

/// Who reaches whom: sender, receiver.
type Pairs = BTreeSet<(Who, Who)>;

#[derive(Debug, Default)]
struct Seat {
    here: Option<Who>,
    admitted: bool,
    welcome: bool,
    known: bool,
    removed_at_s: Option<u64>,
    out: bool,
    consent: BTreeSet<Scope>,
    emergency: bool,
}

#[derive(Debug, Default)]
struct Model {
    seats: [Seat; ROLES.len()],
    aside: BTreeSet<usize>,
    locked: bool,
}

impl Model {
    fn agreed(&self, patient: usize, scope: Scope) -> bool {
        self.seats[patient].emergency || self.seats[patient].consent.contains(&scope)
    }

    fn own_gate(&self, seat: usize) -> bool {
        let agreed = ROLES[seat] != Role::Patient || self.agreed(seat, Scope::Teleconsultation);
        self.seats[seat].here.is_some() && self.seats[seat].admitted && agreed
    }

    fn open(&self, seat: usize) -> bool {
        let third = !matches!(ROLES[seat], Role::Doctor | Role::Patient);
        let patients = (0..ROLES.len()).filter(|other| ROLES[*other] == Role::Patient && self.own_gate(*other));
        let accepted = !third || patients.into_iter().all(|patient| self.agreed(patient, Scope::ThirdPerson(ROLES[seat])));
        self.own_gate(seat) && accepted
    }

    fn doctor_inside(&self) -> bool {
        (0..ROLES.len()).any(|seat| ROLES[seat] == Role::Doctor && self.own_gate(seat))
    }

    fn may_enter(&self, seat: usize) -> bool {
        !self.locked && (!matches!(ROLES[seat], Role::Patient | Role::Relative) || self.doctor_inside())
    }

    /// What the rules do by themselves.
    fn align(&mut self) {
        for (seat, role) in ROLES.into_iter().enumerate() {
            let welcome = role == Role::Doctor || self.seats[seat].welcome;
            if self.seats[seat].here.is_some() && !self.seats[seat].admitted && welcome && self.may_enter(seat) {
                self.seats[seat].admitted = true;
            }
        }
        let open: BTreeSet<usize> = self.aside.iter().copied().filter(|seat| self.open(*seat)).collect();
        self.aside = if open.len() < 2 { BTreeSet::new() } else { open };
    }

    fn allows(&self) -> Pairs {
        let mut pairs = Pairs::new();
        for (from, sender) in self.seats.iter().enumerate() {
            for (to, receiver) in self.seats.iter().enumerate() {
                let apart = self.aside.contains(&from) == self.aside.contains(&to);
                if let (Some(sender), Some(receiver)) = (sender.here, receiver.here)
                    && from != to
                    && apart
                    && self.open(from)
                    && self.open(to)
                {
                    pairs.insert((sender, receiver));
                }
            }
        }
        pairs
    }
}

struct Day {
    world: World,
    model: Model,
    rng: Rng,
    history: Vec<(u64, Pairs)>,
    log: Vec<String>,
    audit: bool,
}

impl Day {
    fn new(seed: u64, audit: bool) -> Self {
        let world = World::with(seed, Rules { audit, ..Rules::default() });
        let mut day = Self { world, model: Model::default(), rng: Rng::new(seed), history: Vec::new(), log: Vec::new(), audit };
        let open = AdminAction::OpenConsultation(Box::default());
        day.world.admin("consultation", open).expect("its rules are good");
        day.note("dawn".to_owned());
        day
    }

    fn note(&mut self, what: String) {
        self.model.align();
        self.log.push(format!("{}: {what}", self.world.sent.len()));
        self.history.push((self.world.sent.len() as u64, self.model.allows()));
    }

    fn identity(seat: usize) -> Identity {
        Identity::new(format!("seat-{seat}"))
    }

    /// Does something to the room, and asks the model whether it may be done.
    fn act(&mut self, by: By, act: Act, change: impl FnOnce(&mut Model) -> bool) {
        let what = format!("{by:?} {act:?}");
        let mark = self.world.sent.len() as u64;
        let before = self.log.len();
        let allowed = change(&mut self.model);
        if allowed {
            self.note(what.clone());
        }
        let done = self.world.consult(by, act);
        assert_eq!(done.is_ok(), allowed, "{what} {done:?} at {mark}\n{}", self.log.join("\n"));
        assert!(allowed || self.log.len() == before);
    }

    fn pick(&mut self) -> usize {
        self.rng.below(ROLES.len())
    }

    fn something_happens(&mut self) {
        match self.rng.below(20) {
            0..=3 => self.somebody_joins(),
            4 => self.somebody_leaves(),
            5..=7 => self.somebody_is_admitted(),
            8 => self.somebody_is_removed(),
            9..=11 => self.a_patient_agrees(),
            12 => self.a_patient_withdraws(),
            13..=14 => self.an_aside_starts(),
            15 => self.an_aside_ends(),
            16 => self.somebody_loses_its_socket(),
            17 => self.somebody_reads_slowly(),
            18 => self.the_door_is_locked_or_not(),
            _ => self.an_emergency(),
        }
    }

    fn somebody_joins(&mut self) {
        let seat = self.pick();
        let present = self.model.seats[seat].here.is_some();
        if present && !self.rng.chance(0.2) || self.world.people.len() >= 16 {
            return;
        }
        let issued = self.world.wall_s();
        let expected = self.model.seats[seat].removed_at_s.is_none_or(|at| issued > at);
        let who = Who(self.world.people.len());
        if expected {
            let one = &mut self.model.seats[seat];
            if one.out {
                *one = Seat { removed_at_s: one.removed_at_s, ..Seat::default() };
            }
            (one.here, one.known) = (Some(who), true);
            self.model.aside.remove(&seat);
            self.note(format!("seat {seat} ({:?}) joins as {who:?}", ROLES[seat]));
        }
        let coming = Coming { video: usize::from(self.rng.chance(0.5)), ..coming(ROLES[seat].as_str()) };
        assert_eq!(self.world.join(Self::identity(seat).as_str(), coming), who);
        let refusal = (!expected).then_some(Refusal::Removed);
        assert_eq!(self.world.person(who).refusal, refusal, "{}", self.log.join("\n"));
        let bad = Weather { jitter: SECOND / 50, twice: 0.02, ..Weather::losing(0.02) };
        (self.world.line(who).up, self.world.line(who).down) = (bad, bad);
    }

    fn somebody_leaves(&mut self) {
        let seat = self.pick();
        let Some(who) = self.model.seats[seat].here.take() else { return };
        self.model.aside.remove(&seat);
        self.note(format!("seat {seat} leaves"));
        self.world.leave(who);
    }

    fn somebody_is_admitted(&mut self) {
        let seat = self.pick();
        let by = if self.rng.chance(0.5) { By::Platform } else { By::Seat(Self::identity(0)) };
        let leads = by == By::Platform || self.model.open(0);
        self.act(by, Act::Admit(Self::identity(seat)), |model| {
            let enters = model.may_enter(seat);
            let one = &mut model.seats[seat];
            let known = leads && one.known && !one.out;
            match (known, one.admitted, one.here) {
                (false, ..) => false,
                (true, true, _) => true,
                (true, false, None) => {
                    one.welcome = true;
                    true
                }
                (true, false, Some(_)) => {
                    one.admitted = enters;
                    enters
                }
            }
        });
    }

    fn somebody_is_removed(&mut self) {
        let seat = self.pick();
        let by = if self.rng.chance(0.7) { By::Platform } else { By::Seat(Self::identity(4)) };
        let guest = matches!(ROLES[seat], Role::Companion | Role::Relative);
        let may = by == By::Platform || guest && self.model.open(4);
        let now = self.world.wall_s();
        self.act(by, Act::Remove(Self::identity(seat)), |model| {
            if !may || !model.seats[seat].known {
                return false;
            }
            let one = &mut model.seats[seat];
            (one.here, one.admitted, one.welcome, one.out) = (None, false, false, true);
            one.removed_at_s = Some(now);
            model.aside.remove(&seat);
            true
        });
    }

    fn a_patient_agrees(&mut self) {
        let mut scopes: Vec<Scope> = SCOPES.into_iter().filter(|_| self.rng.chance(0.6)).collect();
        scopes.push(Scope::Teleconsultation);
        let by = if self.rng.chance(0.5) { By::Platform } else { By::Seat(Self::identity(4)) };
        let Some(who) = self.model.seats[4].here else { return };
        let act = consent(&self.world, who, &scopes);
        self.act(by, act, |model| {
            model.seats[4].consent.extend(scopes);
            true
        });
    }

    fn a_patient_withdraws(&mut self) {
        if !self.model.seats[4].known {
            return;
        }
        let all = self.rng.chance(0.6);
        let scopes = if all { BTreeSet::new() } else { BTreeSet::from([SCOPES[1 + self.rng.below(3)]]) };
        let act = Act::WithdrawConsent { seat: Self::identity(4), scopes: scopes.clone() };
        self.act(By::Seat(Self::identity(4)), act, |model| {
            model.seats[4].consent.retain(|scope| !all && !scopes.contains(scope));
            model.seats[4].emergency = false;
            true
        });
    }

    fn an_aside_starts(&mut self) {
        let apart: BTreeSet<usize> = (0..ROLES.len()).filter(|_| self.rng.chance(0.5)).collect();
        let starter = self.pick();
        let by = By::Seat(Self::identity(starter));
        self.act(by, Act::StartAside(apart.iter().copied().map(Self::identity).collect()), |model| {
            let professional = |seat: &usize| matches!(ROLES[*seat], Role::Doctor | Role::Colleague | Role::Companion);
            let starts = match ROLES[starter] {
                Role::Doctor => true,
                Role::Colleague => apart.iter().all(professional),
                _ => false,
            };
            let here = apart.iter().all(|seat| model.open(*seat));
            let may = starts && apart.contains(&starter) && here && apart.len() >= 2 && model.aside.is_empty();
            if may {
                model.aside = apart;
            }
            may
        });
    }

    fn an_aside_ends(&mut self) {
        self.act(By::Platform, Act::EndAside, |model| !std::mem::take(&mut model.aside).is_empty());
    }

    fn somebody_loses_its_socket(&mut self) {
        let seat = self.pick();
        let Some(who) = self.model.seats[seat].here.filter(|who| self.world.person(*who).connected) else { return };
        self.note(format!("seat {seat} loses its socket"));
        self.world.lose_socket(who);
        for _ in 0..3 {
            // The others go on meanwhile.
            self.world.run(SECOND / 8);
            match self.rng.below(3) {
                0 => self.somebody_joins(),
                1 => self.somebody_is_admitted(),
                _ => self.a_patient_agrees(),
            }
        }
        if self.model.seats[seat].here == Some(who) {
            self.world.resume(who);
        }
    }

    fn somebody_reads_slowly(&mut self) {
        let seat = self.pick();
        let Some(who) = self.model.seats[seat].here else { return };
        let slow = !self.world.person(who).reads_slowly;
        self.log.push(format!("seat {seat} reads slowly: {slow}"));
        self.world.person_mut(who).reads_slowly = slow;
        self.world.catch_up();
    }

    fn the_door_is_locked_or_not(&mut self) {
        let locked = self.rng.chance(0.3);
        self.act(By::Platform, if locked { Act::Lock } else { Act::Unlock }, |model| {
            model.locked = locked;
            true
        });
    }

    fn an_emergency(&mut self) {
        let act = Act::EmergencyOverride { seat: Self::identity(4), why: Emergency::LifeThreat };
        let doctor = self.rng.below(2);
        self.act(By::Seat(Self::identity(doctor)), act, |model| {
            let may = model.open(doctor) && model.seats[4].known && !model.seats[4].out;
            model.seats[4].emergency |= may;
            may
        });
    }

    /// Every packet of every person: allowed when it left, and towards somebody on the sender's roster.
    fn check_what_was_sent(&self) -> usize {
        let mut checked = 0;
        for to in (0..self.world.people.len()).map(Who) {
            for one in &self.world.person(to).received {
                let from = Who(usize::from(one.mark.from));
                let then = self.history.partition_point(|(since, _)| *since < one.left);
                let story = || format!("{from:?} to {to:?} {:?} at {}:\n{}", one.mark, one.left, self.log.join("\n"));
                assert!(self.history[then - 1].1.contains(&(from, to)), "not allowed: {}", story());
                let seen = &self.world.person(from).rosters;
                let then = seen.partition_point(|(since, _)| *since < one.left);
                let sid = self.world.person(to).sid.as_ref().expect("it joined");
                assert!(then > 0 && seen[then - 1].1.contains(sid), "not on the roster: {}", story());
                self.check_it_was_on_disk(from, to, one.left, &story);
                checked += 1;
            }
        }
        checked
    }

    /// With an audit log: that somebody receives somebody was on disk before the packet left.
    fn check_it_was_on_disk(&self, from: Who, to: Who, left: u64, story: &dyn Fn() -> String) {
        if !self.audit {
            return;
        }
        let (sender, receiver) = (self.world.seat_of(from), self.world.seat_of(to));
        let before = self.world.durable.partition_point(|(since, _)| *since < left);
        let known = self.world.durable[..before]
            .iter()
            .any(|(_, fact)| matches!(fact, Fact::Subscribed { seat, from, .. } if *seat == receiver && *from == sender));
        assert!(known, "not on disk: {}", story());
    }

    fn check_what_is_allowed_arrives(&mut self) -> usize {
        let here: Vec<Who> = self.model.seats.iter().filter_map(|seat| seat.here).collect();
        for who in &here {
            (self.world.line(*who).up, self.world.line(*who).down) = (Weather::FAIR, Weather::FAIR);
            self.world.person_mut(*who).reads_slowly = false;
        }
        self.world.catch_up();
        self.world.run(12 * SECOND);
        let since = self.world.now;
        self.world.run(SECOND);
        let pairs = self.model.allows();
        for (from, to) in &pairs {
            let count = self.world.count(*to, *from, Kind::Audio, since);
            assert!(count >= 20, "{from:?} to {to:?}: {count}\n{}", self.log.join("\n"));
        }
        pairs.len()
    }
}

#[test]
fn every_packet_is_allowed_and_its_receiver_is_on_the_senders_roster() {
    days(1..=10, false);
}

#[test]
fn with_an_audit_log_every_packet_was_on_record_before_it_left() {
    days(101..=106, true);
}

fn days(seeds: std::ops::RangeInclusive<u64>, audit: bool) {
    let (mut packets, mut pairs, mut steps, mut facts) = (0, 0, 0, 0);
    for seed in seeds {
        let mut day = Day::new(seed, audit);
        (0..8).for_each(|_| day.somebody_joins());
        for step in 1..=72 {
            let pause = Duration::from_millis(day.rng.below(400) as u64);
            day.world.run(pause);
            day.world.log = Log::Prompt(Duration::from_millis(day.rng.below(200) as u64));
            day.something_happens();
            if step % 24 == 0 {
                pairs += day.check_what_is_allowed_arrives();
            }
            steps += 1;
        }
        packets += day.check_what_was_sent();
        facts += check_record(&day.world.facts());
        assert_eq!(day.world.counters().panics, 0);
    }
    println!("{steps} steps, {packets} packets checked, {pairs} pairs open when looked at, {facts} facts");
    assert!(packets > 20_000 && pairs > 30 && facts > 500, "the days were not idle: {packets}, {pairs}, {facts}");
}

/// Whoever receives a track was let in and joined before, on record; and every track received is let go of at most once.
fn check_record(facts: &[Fact]) -> usize {
    let mut open: BTreeMap<Identity, bool> = BTreeMap::new();
    let mut streams = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::GateOpened { seat } => assert_ne!(open.insert(seat.clone(), true), Some(true)),
            Fact::GateClosed { seat, .. } | Fact::Left { seat, .. } => {
                open.insert(seat.clone(), false);
            }
            Fact::Subscribed { seat, from, track } => {
                assert_eq!((open.get(seat), open.get(from)), (Some(&true), Some(&true)));
                assert!(streams.insert((seat.clone(), track.clone())));
            }
            Fact::Unsubscribed { seat, track, .. } => assert!(streams.remove(&(seat.clone(), track.clone()))),
            _ => {}
        }
    }
    facts.len()
}
